//! Reads out of CUDA sources, without a compiler, what Rust and C++ share: kernels, the structs of their parameters, enums, constants.
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
//! Structs are laid out as C lays them out, which both compilers are made to confirm.

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
    /// `constexpr int NAME = 256;` and `enum { FIRST, … };`: integers in capitals that stand there as numbers.
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
    body: Vec<Token>,
}

/// `enum class Name { FIRST, SECOND = 4 };`, an `int` in C++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    pub name: String,
    pub values: Vec<(String, i32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    /// In bytes, from the start of its struct.
    pub offset: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By its name in C++.
    Number(String),
    /// `T*`, or `const T*`: what is only read.
    Pointer {
        to: String,
        read: bool,
    },
    TensorMap,
    Enum(String),
    Struct(Named),
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

/// Copies read it where it was passed, so what has one is taken `const __grid_constant__`.
const TENSOR_MAP: &str = "CUtensorMap";

/// What the text of a file shares with Rust.
pub fn read(file: &str, text: &str) -> Result<Shared, Error> {
    let tokens = tokenize(file, text)?;
    let mut shared = Shared::default();
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (&tokens[..at], &tokens[at + 1..]);
        let error = |message: &str| Error { file: file.into(), line: token.line, message: message.into() };
        match token.text.as_str() {
            "KERNEL" => shared.kernels.push(kernel(token.line, after).ok_or_else(|| {
                error("cannot read this kernel: write KERNEL(name, Parameters, (threads, blocks), function)")
            })?),
            "__global__" => {
                return Err(error("a kernel by itself: write KERNEL(name, Parameters, (threads, blocks), function)"));
            }
            "struct" => shared.structs.extend(structure(file, before, after)),
            "enum" => {
                enumeration(after, &mut shared).ok_or_else(|| error("write enum class Name { FIRST, SECOND = 4 };"))?
            }
            "constexpr" => constants(after, &mut shared.constants),
            _ => {}
        }
    }
    Ok(shared)
}

/// A word, a number or one punctuation mark. Comments, strings and lines of the preprocessor are left out.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is(&self, text: &str) -> bool {
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

fn is_word(text: &str) -> bool {
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
fn list(tokens: &[Token]) -> Vec<&[Token]> {
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
fn named(tokens: &[Token]) -> Option<Named> {
    let (name, of) = match tokens {
        [name] => (name, None),
        [name, open, of @ .., close] if open.is("<") && close.is(">") => (name, Some(words(of))),
        _ => return None,
    };
    is_word(&name.text).then(|| Named { name: name.text.clone(), of })
}

fn words(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// None for what defines no struct.
fn structure(file: &str, before: &[Token], after: &[Token]) -> Option<Struct> {
    let (name, body) = (after.first()?, bracketed(&after[1..], "{")?);
    let generic = words(&before[before.len().saturating_sub(5)..]) == "template < class T >";
    Some(Struct { file: file.into(), name: name.text.clone(), generic, line: name.line, body: body.to_vec() })
}

/// The values of an `enum class` belong to it, those of another enum are constants. None where they cannot be told.
fn enumeration(after: &[Token], shared: &mut Shared) -> Option<()> {
    let class = after.first()?.is("class");
    let named = &after[usize::from(class)..];
    let Some(body) = named.iter().position(|token| !is_word(&token.text)).and_then(|at| bracketed(&named[at..], "{"))
    else {
        return (!class).then_some(());
    };
    let (mut values, mut next) = (Vec::new(), 0);
    for value in list(body).into_iter().filter(|value| !value.is_empty()) {
        if let [_, equals, number @ ..] = value {
            next = equals.is("=").then(|| integer(number)).flatten()?;
        }
        values.push((value[0].text.clone(), next));
        next += 1;
    }
    match class {
        true => shared.enums.push(Enum { name: named[0].text.clone(), values }),
        false => shared.constants.extend(values),
    }
    Some(())
}

/// Adds those of `int NAME = 1, OTHER = 2;` that are numbers.
fn constants(after: &[Token], constants: &mut BTreeMap<String, i32>) {
    let end = after.iter().position(|token| token.is(";")).unwrap_or(0);
    for part in list(&after[..end]) {
        if let Some(equals) = part.iter().position(|token| token.is("=")).filter(|&at| at > 0)
            && part[..equals].iter().all(|token| is_word(&token.text))
            && let (name, Some(value)) = (&part[equals - 1].text, integer(&part[equals + 1..]))
            && !name.contains(|c: char| c.is_lowercase())
        {
            constants.insert(name.clone(), value);
        }
    }
}

/// `256`, `0x100`, `1'024u`, `-1`.
fn integer(tokens: &[Token]) -> Option<i32> {
    let text = tokens.iter().map(|token| token.text.as_str()).collect::<String>().replace('\'', "");
    let digits = text.trim_end_matches(['u', 'l', 'U', 'L']);
    match digits.strip_prefix("0x") {
        Some(hex) => i32::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// Structs and enums of several files, by name.
#[derive(Debug, Default)]
pub struct Types {
    structs: BTreeMap<String, Vec<Struct>>,
    pub enums: Vec<Enum>,
}

/// A struct's bytes, what its address is a multiple of, and its fields in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub size: usize,
    pub align: usize,
    pub fields: Vec<Field>,
}

impl Types {
    pub fn add(&mut self, shared: &Shared) {
        for structure in &shared.structs {
            self.structs.entry(structure.name.clone()).or_default().push(structure.clone());
        }
        self.enums.extend(shared.enums.iter().cloned());
    }

    /// The struct of a name, of which there has to be one.
    pub fn of(&self, name: &str) -> Result<&Struct, String> {
        match self.structs.get(name).map_or(&[][..], |structs| structs) {
            [one] => Ok(one),
            [] => Err(format!("there is no struct {name}")),
            [first, second, ..] => {
                let at = |s: &Struct| format!("{}:{}", s.file, s.line);
                Err(format!(
                    "{} and {} have a struct {name}: what kernels take needs a name of its own",
                    at(first),
                    at(second)
                ))
            }
        }
    }

    /// The layout of a kernel's parameters.
    pub fn parameters(&self, file: &str, kernel: &Kernel) -> Result<Layout, Error> {
        let error = |message: String| Error { file: file.into(), line: kernel.line, message };
        let layout = self.layout(self.of(&kernel.parameters.name).map_err(error)?)?;
        let maps = self.leaves(&layout)?.iter().any(|leaf| leaf.kind == Kind::TensorMap);
        if maps != kernel.in_place {
            let of = &kernel.parameters.name;
            return Err(error(format!(
                "write {}, since it has {} tensor map",
                if maps { format!("const __grid_constant__ {of}") } else { of.clone() },
                if maps { "a" } else { "no" }
            )));
        }
        Ok(layout)
    }

    /// The layout of a struct.
    pub fn layout(&self, structure: &Struct) -> Result<Layout, Error> {
        let (mut end, mut most, mut fields) = (0usize, 1, Vec::<Field>::new());
        for declaration in structure.body.split(|token| token.is(";")).filter(|declaration| !declaration.is_empty()) {
            let error = |message| Error { file: structure.file.clone(), line: declaration[0].line, message };
            for (name, kind) in self.declared(structure, declaration).ok_or_else(|| {
                let numbers = NUMBERS.map(|(number, ..)| number).join(", ");
                error(format!(
                    "`{}` of struct {}, which a kernel takes: write `type name;` with one of {numbers}, or `const type* name;`, `type* \
                     name;`, {TENSOR_MAP}, a struct or an enum class of such",
                    words(declaration),
                    structure.name
                ))
            })? {
                if fields.iter().any(|field| field.name == name) {
                    return Err(error(format!("two fields are called {name}")));
                }
                let (size, align) = match &kind {
                    Kind::Number(number) => NUMBERS.iter().find(|(n, ..)| n == number).map(|&(_, _, size)| (size, size)).unwrap_or((0, 1)),
                    Kind::Pointer { .. } => (8, 8),
                    Kind::TensorMap => (128, 128),
                    Kind::Enum(_) => (4, 4),
                    Kind::Struct(named) => {
                        let layout = self.layout(self.of(&named.name).map_err(error)?)?;
                        (layout.size, layout.align)
                    }
                };
                let offset = end.next_multiple_of(align);
                (end, most) = (offset + size, most.max(align));
                fields.push(Field { name, kind, offset });
            }
        }
        Ok(Layout { size: end.next_multiple_of(most), align: most, fields })
    }

    /// The fields of `const T *a, *b` and the like.
    fn declared(&self, structure: &Struct, declaration: &[Token]) -> Option<Vec<(String, Kind)>> {
        let read = declaration[0].is("const");
        let mut parts = list(&declaration[usize::from(read)..]);
        let typed = parts[0].iter().rposition(|token| is_word(&token.text) && token.text != "const")?;
        let star = usize::from(typed > 0 && parts[0][typed - 1].is("*"));
        let (of, first) = parts[0].split_at(typed - star);
        parts[0] = first;
        let written = words(of);
        let is_number = |text: &str| NUMBERS.iter().any(|(number, ..)| *number == text);
        let kind = |pointer: bool| match named(of) {
            _ if pointer && (is_number(&written) || (structure.generic && written == "T")) => {
                Some(Kind::Pointer { to: written.clone(), read })
            }
            _ if pointer || read => None,
            _ if is_number(&written) => Some(Kind::Number(written.clone())),
            _ if written == TENSOR_MAP => Some(Kind::TensorMap),
            Some(named) if self.enums.iter().any(|e| e.name == named.name) => Some(Kind::Enum(named.name)),
            Some(named) => self.structs.contains_key(&named.name).then_some(Kind::Struct(named)),
            None => None,
        };
        let field = |part: &&[Token]| match part {
            [name] => Some((name.text.clone(), kind(false)?)),
            [star, name] if star.is("*") => Some((name.text.clone(), kind(true)?)),
            _ => None,
        };
        parts.iter().map(field).collect()
    }

    /// The fields that are no structs, those of structs within included; offsets from the start of the whole.
    pub fn leaves(&self, layout: &Layout) -> Result<Vec<Field>, Error> {
        let mut leaves = Vec::new();
        for field in &layout.fields {
            let Kind::Struct(named) = &field.kind else {
                leaves.push(field.clone());
                continue;
            };
            if let Ok(structure) = self.of(&named.name) {
                let within = self.leaves(&self.layout(structure)?)?;
                leaves.extend(within.into_iter().map(|leaf| Field { offset: field.offset + leaf.offset, ..leaf }));
            }
        }
        Ok(leaves)
    }
}

/// C++ that compiles where a compiler lays structs out as [`Types::layout`] does: those that these kernels take, and the structs in them.
pub fn checks(types: &Types, kernels: &[Kernel]) -> Result<String, Error> {
    let mut checks = BTreeMap::new();
    let mut left: Vec<Named> = kernels.iter().map(|kernel| kernel.parameters.clone()).collect();
    while let Some(named) = left.pop() {
        let Ok(structure) = types.of(&named.name) else { continue };
        let Layout { size, align, fields } = types.layout(structure)?;
        let written = named.of.as_ref().map_or(named.name.clone(), |of| format!("{}<{of}>", named.name));
        let mut all = format!("sizeof({written}) == {size} && alignof({written}) == {align}");
        for Field { name, kind, offset } in fields {
            all += &format!(" && offsetof({written}, {name}) == {offset}");
            if let Kind::Struct(Named { name, of }) = kind {
                // Its T is that of the struct around it.
                left.push(Named { name, of: of.map(|of| if of == "T" { named.of.clone().unwrap_or(of) } else { of }) });
            }
        }
        checks.insert(written, all);
    }
    let line = |(written, all)| format!("static_assert({all}, \"{written} is laid out as in Rust\");\n");
    Ok(checks.into_iter().map(line).collect())
}
