//! The structs that kernels take, laid out as C lays them out, which both compilers are made to confirm.

use std::collections::BTreeMap;

use super::signatures::{Enum, Error, Kernel, NUMBERS, Named, Shared, Struct, Token, is_word, list, named, words};

/// Copies read it where it was passed, so what has one is taken `const __grid_constant__`.
const TENSOR_MAP: &str = "CUtensorMap";

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

/// C++ that compiles where the values that files share are those that were read here.
pub fn value_checks<'a>(files: impl Iterator<Item = &'a Shared>) -> String {
    let mut checks = String::new();
    for Shared { enums, constants, .. } in files {
        let of = |Enum { name, values }: &Enum| {
            values
                .iter()
                .map(|(value, number)| (format!("static_cast<int>({name}::{value})"), *number))
                .collect::<Vec<_>>()
        };
        let constants = constants.iter().map(|(name, &number)| (name.clone(), number));
        for (written, number) in constants.chain(enums.iter().flat_map(of)) {
            checks += &format!("static_assert({written} == {number}, \"{written} is read as {number} in Rust\");\n");
        }
    }
    checks
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
