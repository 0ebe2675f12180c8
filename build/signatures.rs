//! Reads the kernels' signatures out of CUDA sources, without a compiler.
//!
//! A kernel is an entry of the form
//!
//! ```text
//! extern "C" __global__ void __launch_bounds__(256) name(const float* __restrict__ x, float* y, int n)
//! ```
//!
//! followed by `{` (its definition) or `;` (a prototype). Preprocessor lines are not expanded. So kernels made by a macro are
//! listed as prototypes ahead of it, one each; a prototype and the definition of the same kernel count once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// What is wrong, where, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// A kernel as its source declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// First value of `__launch_bounds__`, where it can be told.
    pub max_threads: Option<u32>,
    pub line: usize,
}

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// C++ type of the value or of what is pointed to, e.g. `unsigned int`.
    pub c_type: String,
    /// Its Rust name, e.g. `u32`.
    pub rust_type: &'static str,
    pub passed: Passed,
}

/// How a parameter is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    Value,
    Pointer,
    PointerMut,
}

/// Types that a kernel may take: as C++ writes them and as Rust does.
const TYPES: &[(&str, &str)] = &[
    ("float", "f32"),
    ("double", "f64"),
    ("bf16", "half::bf16"),
    ("__nv_bfloat16", "half::bf16"),
    ("int", "i32"),
    ("int32_t", "i32"),
    ("unsigned", "u32"),
    ("unsigned int", "u32"),
    ("uint32_t", "u32"),
    ("signed char", "i8"),
    ("int8_t", "i8"),
    ("unsigned char", "u8"),
    ("uint8_t", "u8"),
    ("short", "i16"),
    ("int16_t", "i16"),
    ("unsigned short", "u16"),
    ("unsigned short int", "u16"),
    ("uint16_t", "u16"),
    ("long long", "i64"),
    ("int64_t", "i64"),
    ("unsigned long long", "u64"),
    ("uint64_t", "u64"),
    (TENSOR_MAP, "TensorMap<'_>"),
];

/// Copies read it where it was passed, so its parameter must be `const __grid_constant__`.
const TENSOR_MAP: &str = "CUtensorMap";

/// What to write in place of types that are refused; the rest is told the whole list.
const INSTEAD: [(&str, &str); 9] = [
    ("bool", "pass an int or unsigned char; bool has no fixed layout between the two languages"),
    ("char", "write signed char or unsigned char; the sign of char is the compiler's choice"),
    ("long", "write long long (int64_t); the size of long is the compiler's choice"),
    ("unsigned long", "write unsigned long long (uint64_t); the size of long is the compiler's choice"),
    ("size_t", "write unsigned long long (uint64_t)"),
    ("void", "write the element's type, e.g. unsigned char*"),
    ("float2", "take float* and cast inside the kernel"),
    ("float4", "take float* and cast inside the kernel"),
    ("int4", "take int* and cast inside the kernel"),
];

/// The kernels of one source, in order. `headers` are the texts of what it includes, for constants in launch bounds.
pub fn kernels(file: &str, source: &str, headers: &[String]) -> Result<Vec<Kernel>, Error> {
    let mut constants = Constants::default();
    for header in headers {
        // A header that cannot be read gives no constants; the compiler will have more to say about it.
        if let Ok(text) = tokenize(file, header) {
            constants.collect(&text);
        }
    }
    let text = tokenize(file, source)?;
    constants.collect(&text);
    let mut found: Vec<(Kernel, bool)> = Vec::new();
    for start in text.tokens.iter().enumerate().filter(|(_, t)| t.is("__global__")).map(|(i, _)| i) {
        let (kernel, defined) = Reader { file, tokens: &text.tokens, at: start, constants: &constants }.kernel()?;
        match found.iter_mut().find(|(k, _)| k.name == kernel.name) {
            None => found.push((kernel, defined)),
            Some((first, first_defined)) => {
                let error = |message| Error { file: file.into(), line: kernel.line, message };
                let (name, line) = (&first.name, first.line);
                if defined && *first_defined {
                    let hint = "one body with the #if inside, or two names";
                    return Err(error(format!("kernel {name} is defined in line {line} already: write {hint}")));
                }
                if first.signature() != kernel.signature() {
                    let text = "the same types and names";
                    return Err(error(format!("kernel {name} differs from what line {line} declares: write {text}")));
                }
                *first_defined |= defined;
                first.max_threads = first.max_threads.or(kernel.max_threads);
            }
        }
    }
    Ok(found.into_iter().map(|(kernel, _)| kernel).collect())
}

/// The integer constants that a text defines and whose values it tells by itself: names in capitals.
pub fn constants(file: &str, text: &str) -> Result<BTreeMap<String, i32>, Error> {
    let mut constants = Constants::default();
    constants.collect(&tokenize(file, text)?);
    let capitals = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let capitals = constants.0.into_iter().filter(|(name, _)| capitals(name));
    Ok(capitals.filter_map(|(name, value)| Some((name, i32::try_from(value?).ok()?))).collect())
}

impl Kernel {
    /// `name(const float* x, int n)`
    pub fn signature(&self) -> String {
        let parameters: Vec<String> = self.parameters.iter().map(Parameter::declaration).collect();
        format!("{}({})", self.name, parameters.join(", "))
    }
}

impl Parameter {
    fn declaration(&self) -> String {
        let Parameter { name, c_type, .. } = self;
        match self.passed {
            Passed::Value => format!("{c_type} {name}"),
            Passed::Pointer => format!("const {c_type}* {name}"),
            Passed::PointerMut => format!("{c_type}* {name}"),
        }
    }
}

/// A word, a number, a string or one punctuation mark.
#[derive(Debug)]
struct Token {
    kind: Kind,
    text: String,
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    String,
    Mark,
}

impl Token {
    /// Whether it is this word or mark.
    fn is(&self, text: &str) -> bool {
        self.kind != Kind::String && self.text == text
    }
}

/// A source as tokens, and its object-like macros apart.
#[derive(Debug, Default)]
struct Text {
    tokens: Vec<Token>,
    defines: Vec<(String, Vec<Token>)>,
}

fn tokenize(file: &str, source: &str) -> Result<Text, Error> {
    let bytes = source.as_bytes();
    let mut text = Text::default();
    let (mut at, mut line, mut line_start) = (0, 1, true);
    let unfinished = |line, what: &str| Error { file: file.into(), line, message: format!("this {what} has no end") };
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 128;
    while at < bytes.len() {
        let rest = &source.as_bytes()[at..];
        let from = at;
        let first_line = line;
        let mut kind = None;
        if rest.starts_with(b"//") {
            at = line_end(bytes, at);
        } else if rest.starts_with(b"/*") {
            let end = rest[2..].windows(2).position(|w| w == b"*/");
            at += 4 + end.ok_or_else(|| unfinished(line, "comment"))?;
        } else if rest[0] == b'#' && line_start {
            at = line_end(bytes, at);
            let directive = source[from + 1..at].replace("\\\r\n", " ").replace("\\\n", " ");
            if let Some(define) = define(file, &directive) {
                text.defines.push(define);
            }
        } else if rest.starts_with(b"R\"") {
            let open = rest.iter().position(|&b| b == b'(').ok_or_else(|| unfinished(line, "string"))?;
            let close = [b")", &rest[2..open], b"\""].concat();
            let end = rest.windows(close.len()).position(|w| w == close);
            at += end.ok_or_else(|| unfinished(line, "string"))? + close.len();
            kind = Some(Kind::String);
        } else if rest[0] == b'"' || rest[0] == b'\'' {
            at += 1;
            while bytes.get(at).is_some_and(|&b| b != rest[0]) {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            if at > bytes.len() {
                return Err(unfinished(line, "string"));
            }
            kind = Some(Kind::String);
        } else if rest[0].is_ascii_digit() {
            // A quote between digits is a separator of a number, not the start of a character.
            let inside = |(i, &b): (usize, &u8)| {
                word(b) || b == b'.' || (b == b'\'' && rest.get(i + 1).is_some_and(u8::is_ascii_hexdigit))
            };
            at += rest.iter().enumerate().take_while(|&t| inside(t)).count();
            kind = Some(Kind::Number);
        } else if word(rest[0]) {
            at += rest.iter().take_while(|&&b| word(b)).count();
            kind = Some(Kind::Word);
        } else {
            at += 1;
            // A backslash before a line's end joins two lines.
            kind = (!rest[0].is_ascii_whitespace() && rest[0] != b'\\').then_some(Kind::Mark);
        }
        let passed = &source[from..at];
        line += passed.matches('\n').count();
        line_start = if kind.is_some() { false } else { line_start || passed.contains('\n') };
        if let Some(kind) = kind {
            text.tokens.push(Token { kind, text: passed.to_string(), line: first_line });
        }
    }
    Ok(text)
}

/// Where a line ends whose continuation lines count.
fn line_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'\n' {
        let joined = bytes[at] == b'\\' && matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
        at += match joined {
            true if bytes[at + 1] == b'\r' => 3,
            true => 2,
            false => 1,
        };
    }
    at
}

/// Name and tokens of `define NAME …`; macros with arguments define no constant.
fn define(file: &str, directive: &str) -> Option<(String, Vec<Token>)> {
    let rest = directive.trim_start().strip_prefix("define")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    let value = &rest[name.len()..];
    (!value.starts_with('(')).then_some(())?;
    Some((name.into(), tokenize(file, value).ok()?.tokens))
}

/// Integer constants by name; `None` for one with several values.
#[derive(Debug, Default)]
struct Constants(HashMap<String, Option<i64>>);

impl Constants {
    /// Adds what `#define NAME value`, `constexpr int NAME = value, …;`, `const int NAME = value;` and `enum { NAME, … };` define, in
    /// order.
    fn collect(&mut self, text: &Text) {
        for (name, value) in &text.defines {
            self.add(name, value);
        }
        let tokens = &text.tokens;
        let mut at = 0;
        while at < tokens.len() {
            let constant = tokens[at].is("constexpr") || tokens[at].is("const");
            if tokens[at].is("enum") {
                self.enumerators(&tokens[at + 1..]);
            }
            at += 1;
            if !constant {
                continue;
            }
            // Words of the type, then `name = value` separated by commas.
            let integer = ["int", "unsigned", "long", "uint32_t", "int32_t", "static", "const", "size_t"];
            while tokens.get(at).is_some_and(|t| integer.contains(&t.text.as_str())) {
                at += 1;
            }
            while let [name, equals, ..] = &tokens[at.min(tokens.len())..]
                && name.kind == Kind::Word
                && equals.is("=")
            {
                at += 2;
                let end = end_of_value(tokens, at);
                self.add(&name.text, &tokens[at..end]);
                if !tokens.get(end).is_some_and(|t| t.is(",")) {
                    break;
                }
                at = end + 1;
            }
        }
    }

    /// Adds `{ NAME, NAME = value, … }` behind an enum's name; those of `enum class` are no constants by themselves.
    fn enumerators(&mut self, tokens: &[Token]) {
        let named = tokens.first().is_some_and(|t| t.kind == Kind::Word);
        let open = usize::from(named);
        if !tokens.get(open).is_some_and(|t| t.is("{")) {
            return;
        }
        let (mut at, mut next) = (open + 1, Some(0));
        while let Some(name) = tokens.get(at).filter(|t| t.kind == Kind::Word) {
            let end = end_of_value(tokens, at);
            if tokens.get(at + 1).is_some_and(|t| t.is("=")) {
                next = self.value(&tokens[at + 2..end]);
            }
            self.insert(&name.text, next);
            next = next.map(|value| value + 1);
            if !tokens.get(end).is_some_and(|t| t.is(",")) {
                break;
            }
            at = end + 1;
        }
    }

    fn add(&mut self, name: &str, value: &[Token]) {
        let value = self.value(value);
        self.insert(name, value);
    }

    fn insert(&mut self, name: &str, value: Option<i64>) {
        let known = self.0.entry(name.into()).or_insert(value);
        if *known != value {
            *known = None;
        }
    }

    /// The value of an expression of integers, named constants, `+ - * / % << >>` and brackets.
    fn value(&self, tokens: &[Token]) -> Option<i64> {
        let mut expression = Expression { constants: self, tokens, at: 0 };
        let value = expression.binary(0)?;
        (expression.at == tokens.len()).then_some(value)
    }
}

/// Where a value ends that starts at `at`: at a comma or semicolon outside of brackets.
fn end_of_value(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0;
    let end = tokens[at..].iter().position(|t| {
        match t.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth < 0 || (depth == 0 && (t.is(",") || t.is(";")))
    });
    end.map_or(tokens.len(), |n| at + n)
}

struct Expression<'a> {
    constants: &'a Constants,
    tokens: &'a [Token],
    at: usize,
}

impl Expression<'_> {
    fn mark(&mut self, mark: &str) -> bool {
        let marks = self.tokens[self.at..].iter().map(|t| t.text.as_str());
        let yes = marks.take(mark.len()).collect::<String>() == mark;
        self.at += if yes { mark.len() } else { 0 };
        yes
    }

    fn binary(&mut self, level: usize) -> Option<i64> {
        const LEVELS: [&[&str]; 3] = [&["<<", ">>"], &["+", "-"], &["*", "/", "%"]];
        let Some(marks) = LEVELS.get(level) else { return self.single() };
        let mut value = self.binary(level + 1)?;
        while let Some(mark) = marks.iter().find(|m| self.mark(m)) {
            let right = self.binary(level + 1)?;
            value = match *mark {
                "<<" => value.checked_shl(right.try_into().ok()?)?,
                ">>" => value.checked_shr(right.try_into().ok()?)?,
                "+" => value.checked_add(right)?,
                "-" => value.checked_sub(right)?,
                "*" => value.checked_mul(right)?,
                "/" => value.checked_div(right)?,
                _ => value.checked_rem(right)?,
            };
        }
        Some(value)
    }

    fn single(&mut self) -> Option<i64> {
        if self.mark("(") {
            let value = self.binary(0)?;
            return self.mark(")").then_some(value);
        }
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        match token.kind {
            Kind::Number => number(&token.text),
            Kind::Word => *self.constants.0.get(&token.text)?,
            _ => None,
        }
    }
}

/// `256`, `0x100`, `1'024u`
fn number(text: &str) -> Option<i64> {
    let text = text.replace('\'', "").to_ascii_lowercase();
    let digits = text.trim_end_matches(['u', 'l']);
    match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        // Octal numbers are not told from decimal ones, so they are left alone.
        None if digits.len() > 1 && digits.starts_with('0') => None,
        None => digits.parse().ok(),
    }
}

/// Reads one kernel from its `__global__` on.
struct Reader<'a> {
    file: &'a str,
    tokens: &'a [Token],
    at: usize,
    constants: &'a Constants,
}

impl<'a> Reader<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line);
        Err(Error { file: self.file.into(), line, message: message.into() })
    }

    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("the end of the file", |t| &t.text)
    }

    /// Tokens inside the brackets that open here; moves behind them.
    fn bracketed(&mut self) -> Result<&'a [Token], Error> {
        let start = self.at + 1;
        let mut depth = 0;
        for (i, token) in self.tokens.iter().enumerate().skip(self.at) {
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            if depth == 0 {
                if i < start {
                    break;
                }
                self.at = i + 1;
                return Ok(&self.tokens[start..i]);
            }
        }
        self.error("a bracket was expected here, and closed")
    }

    /// The kernel, and whether its body follows.
    fn kernel(mut self) -> Result<(Kernel, bool), Error> {
        const FORM: &str = "extern \"C\" __global__ void __launch_bounds__(threads) name(parameters)";
        let before = &self.tokens[..self.at];
        if !matches!(before, [.., e, c] if e.is("extern") && c.kind == Kind::String && c.text == "\"C\"") {
            return self.error(format!(
                "__global__ without extern \"C\" right before it: write {FORM}; a template stands behind such kernels as a \
                 __device__ function"
            ));
        }
        self.at += 1;
        let mut max_threads = None;
        let mut void = false;
        loop {
            match self.peek() {
                "void" => {
                    void = true;
                    self.at += 1;
                }
                "__launch_bounds__" => {
                    self.at += 1;
                    let bounds = self.bracketed()?;
                    let threads = self.constants.value(&bounds[..end_of_value(bounds, 0)]);
                    max_threads = threads.and_then(|t| u32::try_from(t).ok());
                }
                "__cluster_dims__" | "__maxnreg__" => {
                    self.at += 1;
                    self.bracketed()?;
                }
                _ => break,
            }
        }
        let name = self.peek();
        let line = self.tokens.get(self.at).map_or(0, |t| t.line);
        let named = self.tokens.get(self.at).is_some_and(|t| t.kind == Kind::Word);
        if !void || !named || !self.tokens.get(self.at + 1).is_some_and(|t| t.is("(")) {
            return self.error(format!("cannot read this kernel at `{name}`: write {FORM}"));
        }
        self.at += 1;
        let open = self.at;
        let list = self.bracketed()?;
        let parameters = Reader { at: open + 1, ..self }.parameters(list.len())?;
        let defined = match self.peek() {
            "{" => true,
            ";" => false,
            other => return self.error(format!("kernel {name} ends with `{other}`: write a body or a semicolon")),
        };
        Ok((Kernel { name: name.into(), parameters, max_threads, line }, defined))
    }

    fn parameters(mut self, len: usize) -> Result<Vec<Parameter>, Error> {
        let end = self.at + len;
        if len == 0 || (len == 1 && self.peek() == "void") {
            return Ok(Vec::new());
        }
        let mut parameters: Vec<Parameter> = Vec::new();
        loop {
            let stop = end_of_value(&self.tokens[..end], self.at);
            let parameter = self.parameter(stop)?;
            if parameters.iter().any(|p| p.name == parameter.name) {
                return self.error(format!("two parameters are called {}", parameter.name));
            }
            parameters.push(parameter);
            if stop == end {
                return Ok(parameters);
            }
            self.at = stop + 1;
        }
    }

    fn parameter(&self, stop: usize) -> Result<Parameter, Error> {
        let tokens = &self.tokens[self.at..stop];
        let written: Vec<&str> = tokens.iter().map(|t| t.text.as_str()).collect();
        let written = written.join(" ").replace(" *", "*").replace(" : : ", "::");
        let (mut words, mut stars, mut constant, mut in_place) = (Vec::new(), 0, false, false);
        for token in tokens {
            match token.text.as_str() {
                "const" if stars == 0 => constant = true,
                "const" | "__restrict__" | "__restrict" if stars > 0 => {}
                "__grid_constant__" => in_place = true,
                "std" | ":" => {}
                "*" => stars += 1,
                "[" | "]" => return self.error(format!("`{written}` is an array: write a pointer, T* name")),
                "&" => return self.error(format!("`{written}` is a reference: write a pointer or a value")),
                "=" => return self.error(format!("`{written}` has a default: leave it out")),
                _ if token.kind == Kind::Word => words.push((token.text.as_str(), stars)),
                _ => {
                    return self.error(format!(
                        "cannot read the parameter `{written}`: write T name, T* name or const T* name"
                    ));
                }
            }
        }
        if stars > 1 {
            return self.error(format!("`{written}` points to pointers: pass one buffer and offsets into it"));
        }
        // The name is the last word, and behind the star.
        let name = match words.pop() {
            Some((name, depth)) if depth == stars && !words.is_empty() => name,
            _ => return self.error(format!("`{written}` has no name: write T name or T* name")),
        };
        let c_type = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" ");
        if words.iter().any(|(_, depth)| *depth != 0) {
            return self.error(format!("cannot read the parameter `{written}`: write T* __restrict__ name"));
        }
        if TYPES.iter().any(|(c, _)| *c == name) {
            return self.error(format!("`{written}` has no name: write T name or T* name"));
        }
        let Some(&(_, rust_type)) = TYPES.iter().find(|(c, _)| *c == c_type) else {
            let instead = INSTEAD.iter().find(|(c, _)| *c == c_type).map(|(_, instead)| instead.to_string());
            let all = || TYPES.iter().map(|(c, _)| *c).collect::<Vec<_>>().join(", ");
            let instead = instead.unwrap_or_else(|| format!("write one of {}, or a pointer to it", all()));
            return self.error(format!("type `{c_type}` of `{name}` cannot be passed to a kernel: {instead}"));
        };
        if c_type == TENSOR_MAP && !(stars == 0 && constant && in_place) {
            return self.error(format!("`{written}`: write const __grid_constant__ {TENSOR_MAP} {name}"));
        }
        let passed = match (stars, constant) {
            (0, _) => Passed::Value,
            (_, true) => Passed::Pointer,
            (_, false) => Passed::PointerMut,
        };
        Ok(Parameter { name: name.into(), c_type, rust_type, passed })
    }
}
