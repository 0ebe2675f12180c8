//! What a pickle makes. Objects name each other by their places, so that many may name one, and what is made is counted.

use super::reader::damaged;
use super::tensor::{Kind, Storage, Tensor};
use super::{REMEDY, STATE_DICT};
use crate::error::{Error, Result};

/// Objects of a file and places in its lists, tuples and dictionaries, at most: of a training state of a thousand tensors there are some
/// ten thousands.
pub(super) const MOST: usize = 1 << 20;

/// How deep lists, tuples and dictionaries may lie in each other.
const DEEPEST: usize = 64;

/// The place of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

#[derive(Debug)]
pub(super) enum Object {
    None,
    Bool(bool),
    Integer(i64),
    Float,
    Text(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Class(Class),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    /// A parameter before its state, whose first part is its tensor: so the first versions of PyTorch wrote them.
    Parameter,
}

/// What may be named, and called, in a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    OrderedDict,
    /// Of the milestones of a schedule.
    Counter,
    Size,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`, which has more arguments behind those.
    Tensor,
    /// `_rebuild_parameter` and, as it was before, the class itself.
    Parameter,
    Storage(Kind),
}

impl Class {
    /// The class of a module and a name; None where it is none of those that are known.
    pub(super) fn of(module: &str, name: &str) -> Option<Class> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Class::OrderedDict,
            ("collections", "Counter") => Class::Counter,
            ("torch", "Size") => Class::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Class::Tensor,
            ("torch._utils", "_rebuild_parameter") | ("torch.nn.parameter", "Parameter") => Class::Parameter,
            ("torch", name) => Class::Storage(Kind::of_storage(name)?),
            _ => return None,
        })
    }
}

impl Object {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Object::None => "None",
            Object::Bool(_) => "True or False",
            Object::Integer(_) | Object::Float => "a number",
            Object::Text(_) => "a text",
            Object::List(_) => "a list",
            Object::Tuple(_) => "a tuple",
            Object::Dict(_) => "a dictionary",
            Object::Class(_) => "a class",
            Object::Storage(_) => "a storage",
            Object::Tensor(_) => "a tensor",
            Object::Parameter => "a parameter",
        }
    }
}

/// All objects of a file.
#[derive(Default)]
pub(super) struct Objects {
    all: Vec<Object>,
    /// What was [counted](Objects::count).
    counted: usize,
}

impl Objects {
    pub(super) fn push(&mut self, object: Object) -> Result<Id> {
        self.count(1)?;
        self.all.push(object);
        Ok(Id(self.all.len() as u32 - 1))
    }

    /// Counts objects, or places in them.
    ///
    /// # Errors
    /// More than there may be.
    pub(super) fn count(&mut self, more: usize) -> Result<()> {
        self.counted = self.counted.saturating_add(more);
        if self.counted > MOST {
            return Err(Error::setting(format!("is made of more than {MOST} objects"), STATE_DICT));
        }
        Ok(())
    }

    pub(super) fn get(&self, id: Id) -> &Object {
        &self.all[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.all[id.0 as usize]
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Object::Text(text) = self.get(id) { Some(text) } else { None }
    }

    pub(super) fn integer(&self, id: Id) -> Option<i64> {
        if let Object::Integer(value) = self.get(id) { Some(*value) } else { None }
    }

    /// What a list or a tuple consists of.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        if let Object::List(items) | Object::Tuple(items) = self.get(id) { Some(items) } else { None }
    }

    /// A length or a place that a pickle gives.
    pub(super) fn length(&self, id: Id, what: &str) -> Result<usize> {
        let Some(value) = self.integer(id) else {
            return Err(damaged(format!("gives {} as {what}", self.get(id).kind())));
        };
        usize::try_from(value).map_err(|_| damaged(format!("gives {value} as {what}")))
    }

    /// Lengths or places, of which tensors have few.
    pub(super) fn lengths(&self, id: Id, what: &str) -> Result<Vec<usize>> {
        let items = self.items(id).ok_or_else(|| damaged(format!("gives {} as {what}s", self.get(id).kind())))?;
        if items.len() > Tensor::MOST_DIMENSIONS {
            return Err(damaged(format!("has a tensor of {} dimensions", items.len())));
        }
        items.iter().map(|&item| self.length(item, what)).collect()
    }

    /// Fails where something holds itself, or lies too deep: what is made of the tree afterwards may go through all of it.
    pub(super) fn check_tree(&self, root: Id) -> Result<()> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut states = vec![State::New; self.all.len()];
        let mut open = vec![(root, self.parts(root))];
        states[root.0 as usize] = State::Open;
        while let Some((id, parts)) = open.last_mut() {
            let Some(part) = parts.pop() else {
                states[id.0 as usize] = State::Done;
                open.pop();
                continue;
            };
            match states[part.0 as usize] {
                State::Done => {}
                State::Open => {
                    let problem = format!("holds {} that holds itself", self.get(part).kind());
                    return Err(Error::setting(problem, REMEDY));
                }
                State::New if open.len() >= DEEPEST => {
                    return Err(Error::setting(format!("holds what lies more than {DEEPEST} deep"), STATE_DICT));
                }
                State::New => {
                    states[part.0 as usize] = State::Open;
                    open.push((part, self.parts(part)));
                }
            }
        }
        Ok(())
    }

    fn parts(&self, id: Id) -> Vec<Id> {
        match self.get(id) {
            Object::List(items) | Object::Tuple(items) => items.clone(),
            Object::Dict(entries) => entries.iter().flat_map(|&(key, value)| [key, value]).collect(),
            Object::None
            | Object::Bool(_)
            | Object::Integer(_)
            | Object::Float
            | Object::Text(_)
            | Object::Class(_)
            | Object::Storage(_)
            | Object::Tensor(_)
            | Object::Parameter => Vec::new(),
        }
    }
}
