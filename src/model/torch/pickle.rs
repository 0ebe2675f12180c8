//! The machine that makes objects of a pickle. It has a stack, a memo and the operations below; none of them calls anything.

use std::collections::{BTreeMap, HashMap};

use super::objects::{Class, Id, Object, Objects};
use super::reader::{Reader, damaged};
use super::tensor::{Kind, Storage, Tensor};
use super::{REMEDY, STATE_DICT};
use crate::error::{Error, Result};
use crate::printable::escaped;

/// Bytes of a text, at most.
const LONGEST_TEXT: usize = 1 << 16;

/// The newest version of the format.
const NEWEST: u8 = 5;

/// The type and the number of elements of each storage that a pickle names.
pub(super) type NamedStorages = BTreeMap<String, (Kind, usize)>;

/// A machine, for all pickles of a file.
#[derive(Default)]
pub(super) struct Machine {
    pub objects: Objects,
    pub storages: NamedStorages,
}

/// What a pickle is at.
struct Run<'a, 'b> {
    machine: &'b mut Machine,
    reader: &'b mut Reader<'a>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine {
    /// Reads the pickle that comes next; returns what it makes.
    pub(super) fn run(&mut self, reader: &mut Reader) -> Result<Id> {
        let mut run = Run { machine: self, reader, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        loop {
            let opcode = run.reader.byte()?;
            if opcode == b'.' {
                return match (run.stack.as_slice(), run.marks.as_slice()) {
                    (&[made], []) => Ok(made),
                    _ => Err(damaged("is a pickle that ends with something else than one object")),
                };
            }
            run.step(opcode)?;
        }
    }

    /// Takes note of a storage.
    fn storage(&mut self, key: &str, kind: Kind, len: usize) -> Result<()> {
        let known = self.storages.entry(key.to_string()).or_insert((kind, len));
        if *known != (kind, len) {
            let problem = format!("names storage {} twice, with different types or lengths", escaped(key));
            return Err(damaged(problem));
        }
        Ok(())
    }
}

impl Run<'_, '_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO
            0x80 => match self.reader.byte()? {
                0..=NEWEST => Ok(()),
                version => Err(Error::setting(format!("is a pickle of version {version}"), STATE_DICT)),
            },
            // FRAME: a length that helps those who read from a pipe.
            0x95 => self.reader.length().map(drop),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' => self.reader.array().and_then(|bytes| self.push(Object::Integer(i32::from_le_bytes(bytes).into()))),
            b'K' => self.reader.byte().and_then(|value| self.push(Object::Integer(value.into()))),
            b'M' => self.reader.u16().and_then(|value| self.push(Object::Integer(value.into()))),
            0x8a => self.long(),
            b'G' => self.reader.take(8).and_then(|_| self.push(Object::Float)),
            // BINUNICODE, SHORT_BINUNICODE, and the texts of Python 2: BINSTRING, SHORT_BINSTRING
            b'X' | b'T' => self.reader.u32().and_then(|len| self.text(len as usize)),
            0x8c | b'U' => self.reader.byte().and_then(|len| self.text(len.into())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b'(' => self.mark(),
            b't' => self.marked().and_then(|items| self.push(Object::Tuple(items))),
            0x85..=0x87 => self.pop_many(usize::from(opcode - 0x84)).and_then(|items| self.push(Object::Tuple(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.marked().and_then(|items| self.append(items)),
            b's' => self.pop_many(2).and_then(|items| self.set_items(&items)),
            b'u' => self.marked().and_then(|items| self.set_items(&items)),
            b'q' => self.reader.byte().and_then(|at| self.put(at.into())),
            b'r' => self.reader.u32().and_then(|at| self.put(at)),
            0x94 => self.put(self.memo.len() as u32),
            b'h' => self.reader.byte().and_then(|at| self.get(at.into())),
            b'j' => self.reader.u32().and_then(|at| self.get(at)),
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.class(&String::from_utf8_lossy(module), &String::from_utf8_lossy(name))
            }
            0x93 => self.stack_global(),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            0x81 => self.new_object(),
            b'b' => self.build(),
            other => Err(unknown(other)),
        }
    }

    fn push(&mut self, object: Object) -> Result<()> {
        let id = self.machine.objects.push(object)?;
        self.stack.push(id);
        Ok(())
    }

    /// What lies on top, above the last mark.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or_default();
        if self.stack.len() <= floor {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
        items.reverse();
        self.machine.objects.count(count)?;
        Ok(items)
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(empty)
    }

    fn mark(&mut self) -> Result<()> {
        self.machine.objects.count(1)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// What lies above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let floor = self.marks.pop().ok_or_else(empty)?;
        let items = self.stack.split_off(floor);
        self.machine.objects.count(items.len())?;
        Ok(items)
    }

    fn long(&mut self) -> Result<()> {
        let len = self.reader.byte()?;
        let bytes = self.reader.take(len.into())?;
        if bytes.len() > 8 {
            return Err(Error::setting(format!("holds a number of {len} bytes"), STATE_DICT));
        }
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut value = [fill; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        self.push(Object::Integer(i64::from_le_bytes(value)))
    }

    fn text(&mut self, len: usize) -> Result<()> {
        if len > LONGEST_TEXT {
            return Err(Error::setting(format!("holds a text of {len} bytes"), STATE_DICT));
        }
        let bytes = self.reader.take(len)?.to_vec();
        let text = String::from_utf8(bytes).map_err(|_| damaged("holds a text that is not in UTF-8"))?;
        self.push(Object::Text(text))
    }

    fn append(&mut self, mut items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        if let Object::List(all) = self.machine.objects.get_mut(list) {
            all.append(&mut items);
            return Ok(());
        }
        Err(damaged(format!("appends to {}", self.machine.objects.get(list).kind())))
    }

    /// Keys and values in turn, for the dictionary below.
    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(damaged("sets a key without a value"));
        }
        if let Object::Dict(all) = self.machine.objects.get_mut(dict) {
            all.extend(pairs.iter().map(|&[key, value]| (key, value)));
            return Ok(());
        }
        Err(damaged(format!("sets keys of {}", self.machine.objects.get(dict).kind())))
    }

    fn put(&mut self, at: u32) -> Result<()> {
        let id = self.top()?;
        self.machine.objects.count(1)?;
        self.memo.insert(at, id);
        Ok(())
    }

    fn get(&mut self, at: u32) -> Result<()> {
        let id = self.memo.get(&at).copied().ok_or_else(|| damaged("names an object that it has not made"))?;
        self.machine.objects.count(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn stack_global(&mut self) -> Result<()> {
        let items = self.pop_many(2)?;
        let [module, name] = [0, 1].map(|i| self.machine.objects.text(items[i]).map(str::to_string));
        match (module, name) {
            (Some(module), Some(name)) => self.class(&module, &name),
            _ => Err(damaged("names a class by what is no text")),
        }
    }

    fn class(&mut self, module: &str, name: &str) -> Result<()> {
        match Class::of(module, name) {
            Some(class) => self.push(Object::Class(class)),
            None => {
                let problem = format!("holds {}.{}, which is not read", escaped(module), escaped(name));
                Err(Error::setting(problem, STATE_DICT))
            }
        }
    }

    /// `('storage', class, key, place, length)`, in the format before 1.6 with a view of it, or none, at the end.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let odd = || damaged("names a storage in a way that PyTorch does not");
        let objects = &self.machine.objects;
        let (class, key, len, view) = match *objects.items(id).ok_or_else(odd)? {
            [word, class, key, _, len] if objects.text(word) == Some("storage") => (class, key, len, None),
            [word, class, key, _, len, view] if objects.text(word) == Some("storage") => (class, key, len, Some(view)),
            _ => return Err(odd()),
        };
        let (&Object::Class(Class::Storage(kind)), Some(key)) = (objects.get(class), objects.text(key)) else {
            return Err(odd());
        };
        let (key, len) = (key.to_string(), objects.length(len, "a length")?);
        let (start, part) = match view.map(|view| (view, objects.get(view))) {
            None | Some((_, Object::None)) => (0, len),
            Some((view, _)) => {
                let &[_, start, part] = objects.items(view).ok_or_else(odd)? else { return Err(odd()) };
                (objects.length(start, "an offset")?, objects.length(part, "a length")?)
            }
        };
        if start.checked_add(part).is_none_or(|end| end > len) {
            return Err(damaged(format!("has a view that leaves its storage of {len} elements")));
        }
        self.machine.storage(&key, kind, len)?;
        self.push(Object::Storage(Box::new(Storage { key, kind, start, len: part })))
    }

    /// Calls, as far as anything is called: a class with its arguments.
    fn reduce(&mut self) -> Result<()> {
        let items = self.pop_many(2)?;
        let objects = &self.machine.objects;
        let &Object::Class(class) = objects.get(items[0]) else {
            return Err(damaged(format!("calls {}", objects.get(items[0]).kind())));
        };
        let odd = || damaged(format!("makes {class:?} of other things than PyTorch does"));
        let Object::Tuple(arguments) = objects.get(items[1]) else { return Err(odd()) };
        let is_dict = |id: Id| matches!(objects.get(id), Object::Dict(_));
        let is_tensor = |id: Id| matches!(objects.get(id), Object::Tensor(_));
        match (class, arguments.as_slice()) {
            (Class::OrderedDict | Class::Counter, []) => self.push(Object::Dict(Vec::new())),
            // The same dictionary: nothing is changed afterwards.
            (Class::OrderedDict | Class::Counter, &[dict]) if is_dict(dict) => self.push_again(dict),
            (Class::OrderedDict, &[pairs]) => {
                let pair = |&pair: &Id| match *objects.items(pair)? {
                    [key, value] => Some((key, value)),
                    _ => None,
                };
                let pairs = objects.items(pairs).ok_or_else(odd)?.iter().map(pair).collect::<Option<Vec<_>>>();
                let pairs = pairs.ok_or_else(odd)?;
                self.machine.objects.count(pairs.len())?;
                self.push(Object::Dict(pairs))
            }
            (Class::Size, &[sides]) if objects.items(sides).is_some() => self.push_again(sides),
            (Class::Tensor, &[storage, offset, shape, strides, ..]) => {
                let Object::Storage(storage) = objects.get(storage) else { return Err(odd()) };
                let offset = objects.length(offset, "an offset")?;
                let (shape, strides) = (objects.lengths(shape, "a size")?, objects.lengths(strides, "a stride")?);
                let tensor = Tensor::new((**storage).clone(), offset, shape, strides)?;
                self.push(Object::Tensor(Box::new(tensor)))
            }
            (Class::Parameter, &[tensor, ..]) if is_tensor(tensor) => self.push_again(tensor),
            _ => Err(odd()),
        }
    }

    fn push_again(&mut self, id: Id) -> Result<()> {
        self.machine.objects.count(1)?;
        self.stack.push(id);
        Ok(())
    }

    /// NEWOBJ: of parameters alone, with a tensor or without.
    fn new_object(&mut self) -> Result<()> {
        let items = self.pop_many(2)?;
        let objects = &self.machine.objects;
        match (objects.get(items[0]), objects.items(items[1])) {
            (Object::Class(Class::Parameter), Some(&[])) => self.push(Object::Parameter),
            (Object::Class(Class::Parameter), Some(&[tensor])) if matches!(objects.get(tensor), Object::Tensor(_)) => {
                self.push_again(tensor)
            }
            _ => Err(refused("NEWOBJ")),
        }
    }

    /// Sets what an object has beside its content: dictionaries of tensors tell the versions of layers so, old parameters whether they are
    /// trained. Nothing of it is needed but the tensor of a parameter that has none.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let of = self.top()?;
        let objects = &self.machine.objects;
        match (objects.get(of), objects.get(state)) {
            (Object::Dict(_), Object::Dict(_)) | (Object::Tensor(_), Object::Tuple(_)) => Ok(()),
            (Object::Parameter, Object::Tuple(parts)) => {
                let Some(Object::Tensor(tensor)) = parts.first().map(|&part| objects.get(part)) else {
                    return Err(damaged("has a parameter without a tensor"));
                };
                *self.machine.objects.get_mut(of) = Object::Tensor(tensor.clone());
                Ok(())
            }
            (of, state) => Err(damaged(format!("sets the state of {} to {}", of.kind(), state.kind()))),
        }
    }
}

fn empty() -> Error {
    damaged("is a pickle that takes what it has not made")
}

/// The error of an operation, by its name in Python's `pickle`.
fn refused(name: &str) -> Error {
    Error::setting(format!("takes the operation {name}, which dictionaries of tensors do without"), STATE_DICT)
}

/// The error of an operation that is not known.
fn unknown(opcode: u8) -> Error {
    let name = match opcode {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'F' => "FLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'P' => "PERSID",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'B' => "BINBYTES",
        b'C' => "SHORT_BINBYTES",
        b'd' => "DICT",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8b => "LONG4",
        0x8d => "BINUNICODE8",
        0x8e => "BINBYTES8",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => {
            return Error::setting(
                format!("has the byte {opcode:#04x} where an operation of a pickle should be"),
                REMEDY,
            );
        }
    };
    refused(name)
}
