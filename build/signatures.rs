//! Reads out of CUDA sources, without a compiler, what Rust and C++ share: kernels, the structs of their parameters (which `layout.rs` reads
//! further), enums, constants.
//!
//! A kernel is a line of this form; its parameters are one struct of numbers, pointers, tensor maps, `enum class`es and other structs:
//!
//! ```text
//! template <class T>
//! struct AddParameters {
//!   const T *a, *b;
//!   T* y;
//!   float slope;
//!   int count;
//! };
//! KERNEL(add_f32x4, AddParameters<float>, (THREADS), add<float, 4>)
//! ```
//!
use std::collections::BTreeMap;
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

/// What a file shares with Rust.
#[derive(Debug, Default)]
pub struct Shared {
    pub kernels: Vec<Kernel>,
    pub structs: Vec<Struct>,
    pub enums: Vec<Enum>,
    /// `constexpr int NAME = 256;` and `enum { FIRST, … };` outside of all braces: integers in capitals that stand there as numbers.
    pub constants: BTreeMap<String, i32>,
}

/// A line `KERNEL(…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    pub parameters: Named,
    /// Whether they are declared `const __grid_constant__`.
    pub in_place: bool,
    pub line: usize,
}

/// A struct or an enum, and the type that takes the place of `T` where it is a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub of: Option<String>,
}

/// A struct as it is written: only those that kernels take are read further.
#[derive(Clone, Debug)]
pub struct Struct {
    pub file: String,
    pub name: String,
    /// Whether it is a template of one type, `T`.
    pub generic: bool,
    pub line: usize,
    pub body: Vec<Token>,
}

/// `enum class Name { FIRST, SECOND = 4 };`, an `int` in C++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub name: String,
    pub values: Vec<(String, i32)>,
}

/// Numbers: as C++ writes them, as Rust does, and their bytes.
pub const NUMBERS: [(&str, &str, usize); 11] = [
    ("float", "f32", 4),
    ("double", "f64", 8),
    ("bf16", "half::bf16", 2),
    ("int", "i32", 4),
    ("unsigned", "u32", 4),
    ("short", "i16", 2),
    ("unsigned short", "u16", 2),
    ("signed char", "i8", 1),
    ("unsigned char", "u8", 1),
    ("long long", "i64", 8),
    ("unsigned long long", "u64", 8),
];

/// What the text of a file shares with Rust.
pub fn read(file: &str, text: &str) -> Result<Shared, Error> {
    let tokens = tokenize(file, text)?;
    let mut shared = Shared::default();
    // Whether the braces that are open hide a name: those of an unnamed namespace do not.
    let mut braces = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (&tokens[..at], &tokens[at + 1..]);
        match token.text.as_str() {
            "{" => braces.push(!before.last().is_some_and(|token| token.is("namespace"))),
            "}" => drop(braces.pop()),
            _ => {}
        }
        let outside = !braces.contains(&true);
        let error = |message: &str| Error { file: file.into(), line: token.line, message: message.into() };
        match token.text.as_str() {
            "KERNEL" => shared.kernels.push(kernel(token.line, after).ok_or_else(|| {
                error("cannot read this kernel: write KERNEL(name, Parameters, (threads, blocks), function)")
            })?),
            "__global__" => {
                return Err(error("a kernel by itself: write KERNEL(name, Parameters, (threads, blocks), function)"));
            }
            "struct" => shared.structs.extend(structure(file, before, after)),
            "enum" if outside => {
                let Some(Enum { name, values }) = enumeration(after) else {
                    return Err(error("write enum class Name { FIRST, SECOND = 4 };"));
                };
                if name.is_empty() {
                    shared.add_constants(values).map_err(|message| error(&message))?;
                } else if !values.is_empty() {
                    shared.enums.push(Enum { name, values });
                }
            }
            "constexpr" if outside => shared.add_constants(constants(after)).map_err(|message| error(&message))?,
            _ => {}
        }
    }
    Ok(shared)
}

impl Shared {
    fn add_constants(&mut self, constants: Vec<(String, i32)>) -> Result<(), String> {
        for (name, value) in constants {
            if self.constants.insert(name.clone(), value).is_some() {
                return Err(format!("{name} is there twice in this file: Rust could not tell which is meant"));
            }
        }
        Ok(())
    }
}

/// A word, a number or one punctuation mark. Comments, strings and lines of the preprocessor are left out.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

fn tokenize(file: &str, source: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut line_start) = (source, 1, true);
    while let Some(first) = rest.chars().next() {
        let until = |end: Option<usize>| end.unwrap_or(rest.len());
        let unfinished = |what| Error { file: file.into(), line, message: format!("this {what} has no end") };
        let (taken, is_token) = if rest.starts_with("//") {
            (until(rest.find('\n')), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").ok_or_else(|| unfinished("comment"))? + 2, false)
        } else if first == '#' && line_start {
            // A backslash before a line's end joins two lines.
            let mut ends = rest.match_indices('\n').map(|(at, _)| at);
            (until(ends.find(|&at| !rest[..at].trim_end_matches('\r').ends_with('\\'))), false)
        } else if first == '"' || first == '\'' {
            let mut escaped = false;
            let ends = |c| {
                let ends = c == first && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            };
            (rest[1..].find(ends).ok_or_else(|| unfinished("string"))? + 2, false)
        } else if is_word(rest) || first.is_ascii_digit() {
            // A quote between digits separates them.
            let inside = |c: char| c.is_alphanumeric() || c == '_' || (c == '\'' && first.is_ascii_digit());
            (until(rest.find(|c| !inside(c))), true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (text, after) = rest.split_at(taken);
        if is_token {
            tokens.push(Token { text: text.into(), line });
        }
        line += text.matches('\n').count();
        line_start = !is_token && (line_start || text.contains('\n'));
        rest = after;
    }
    Ok(tokens)
}

pub fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// What stands in the brackets that open here.
fn bracketed<'a>(tokens: &'a [Token], open: &str) -> Option<&'a [Token]> {
    tokens.first().filter(|token| token.is(open))?;
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth +=
            i32::from(["(", "{", "["].contains(&&*token.text)) - i32::from([")", "}", "]"].contains(&&*token.text));
        depth == 0
    })?;
    Some(&tokens[1..end])
}

/// The parts of a list, between its commas outside of brackets.
pub fn list(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    let at_comma = |token: &Token| {
        depth += i32::from(["(", "{"].contains(&&*token.text)) - i32::from([")", "}"].contains(&&*token.text));
        depth == 0 && token.is(",")
    };
    tokens.split(at_comma).collect()
}

fn kernel(line: usize, after: &[Token]) -> Option<Kernel> {
    let parts = list(bracketed(after, "(")?);
    let [[name], parameters, bounds, _, ..] = parts[..] else { return None };
    bracketed(bounds, "(").filter(|inside| inside.len() + 2 == bounds.len())?;
    let (parameters, in_place) = match parameters {
        [constant, place, rest @ ..] if constant.is("const") && place.is("__grid_constant__") => (rest, true),
        _ => (parameters, false),
    };
    Some(Kernel { name: name.text.clone(), parameters: named(parameters)?, in_place, line })
}

/// `Name` or `Name<type>`.
pub fn named(tokens: &[Token]) -> Option<Named> {
    let (name, of) = match tokens {
        [name] => (name, None),
        [name, open, of @ .., close] if open.is("<") && close.is(">") => (name, Some(words(of))),
        _ => return None,
    };
    is_word(&name.text).then(|| Named { name: name.text.clone(), of })
}

pub fn words(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// None for what defines no struct.
fn structure(file: &str, before: &[Token], after: &[Token]) -> Option<Struct> {
    let (name, body) = (after.first()?, bracketed(&after[1..], "{")?);
    let generic = words(&before[before.len().saturating_sub(5)..]) == "template < class T >";
    Some(Struct { file: file.into(), name: name.text.clone(), generic, line: name.line, body: body.to_vec() })
}

/// An `enum class`, or the values of another enum, which are constants, without a name. None where they cannot be told.
fn enumeration(after: &[Token]) -> Option<Enum> {
    let class = after.first()?.is("class");
    let named = &after[usize::from(class)..];
    let name = if class { named.first()?.text.clone() } else { String::new() };
    let Some(body) = named.iter().position(|token| !is_word(&token.text)).and_then(|at| bracketed(&named[at..], "{"))
    else {
        return (!class).then_some(Enum { name, values: Vec::new() });
    };
    let (mut values, mut next) = (Vec::new(), 0);
    for value in list(body).into_iter().filter(|value| !value.is_empty()) {
        if let [_, equals, number @ ..] = value {
            next = equals.is("=").then(|| integer(number)).flatten()?;
        }
        values.push((value[0].text.clone(), next));
        next += 1;
    }
    Some(Enum { name, values })
}

/// Those of `int NAME = 1, OTHER = 2;` that are numbers.
fn constants(after: &[Token]) -> Vec<(String, i32)> {
    let mut constants = Vec::new();
    let end = after.iter().position(|token| token.is(";")).unwrap_or(0);
    for part in list(&after[..end]) {
        if let Some(equals) = part.iter().position(|token| token.is("=")).filter(|&at| at > 0)
            && part[..equals].iter().all(|token| is_word(&token.text))
            && let (name, Some(value)) = (&part[equals - 1].text, integer(&part[equals + 1..]))
            && !name.contains(|c: char| c.is_lowercase())
        {
            constants.push((name.clone(), value));
        }
    }
    constants
}

/// `256`, `0x100`, `0b11`, `0400` (256), `1'024u`, `-1`.
fn integer(tokens: &[Token]) -> Option<i32> {
    let text = tokens.iter().map(|token| token.text.as_str()).collect::<String>().replace('\'', "");
    let (sign, size) = text.strip_prefix('-').map_or((1, text.as_str()), |size| (-1, size));
    let digits = size.trim_end_matches(['u', 'l', 'U', 'L']).to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0", 8)];
    let based = prefixes.iter().find_map(|&(prefix, base)| Some((digits.strip_prefix(prefix)?, base)));
    let (digits, base) = based.filter(|(digits, _)| !digits.is_empty()).unwrap_or((&digits, 10));
    i32::from_str_radix(digits, base).ok().map(|value| sign * value)
}
