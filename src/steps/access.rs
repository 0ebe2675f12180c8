//! What a step reads and writes, and what may be wrong with its operands.

use std::ops::Deref;

use arrayvec::ArrayVec;

use super::norm::{Norm, Stats};
use crate::device::cuda::DeviceBuffers;
use crate::device::{ByteView, DType, View};

/// The elements of a tensor of these sizes; the largest number where they are more than that, which no buffer has.
pub(crate) fn elements<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

/// What is wrong where operands lie in different buffers that belong into one, which the CPU form takes once.
pub(super) fn apart<const N: usize>(operands: [(&str, View); N]) -> Option<String> {
    let (of, first) = operands.first()?;
    let other = operands.iter().find(|(_, view)| view.buffer != first.buffer);
    other.map(|(name, _)| format!("its {name} lies in another buffer than its {of}"))
}

/// What a step reads or writes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Named as in the step.
    pub reals: ArrayVec<(&'static str, View), 10>,
    /// The winners of a pool.
    pub argmax: Option<ByteView>,
    /// The first operand that has not the length that it needs.
    wrong_length: Option<WrongLength>,
}

/// A length that is not the one of the geometry.
#[derive(Clone, Copy, Debug)]
struct WrongLength {
    operand: &'static str,
    found: usize,
    needed: usize,
}

/// So many values in parts of equal length, without those that are left over.
pub(super) fn whole(values: usize, parts: usize) -> usize {
    values.checked_div(parts).unwrap_or(0) * parts
}

/// The number types in which kernels take operands: f32, but for those that are named here.
#[derive(Clone, Copy)]
pub struct NumberTypes {
    /// All of them in f32, or all of them in bf16.
    alike: &'static [&'static str],
    /// Each in either type.
    either: &'static [&'static str],
    /// In bf16.
    bf16: &'static [&'static str],
}

impl NumberTypes {
    /// All operands in f32.
    pub(super) const F32: NumberTypes = NumberTypes { alike: &[], either: &[], bf16: &[] };

    /// These operands in f32 or bf16, all of them alike; others in f32.
    pub(super) const fn alike(operands: &'static [&'static str]) -> NumberTypes {
        NumberTypes { alike: operands, ..NumberTypes::F32 }
    }

    /// These operands in bf16.
    pub(super) const fn and_bf16(self, operands: &'static [&'static str]) -> NumberTypes {
        NumberTypes { bf16: operands, ..self }
    }

    /// These operands in f32 or bf16, each as it likes.
    pub(super) const fn and_either(self, operands: &'static [&'static str]) -> NumberTypes {
        NumberTypes { either: operands, ..self }
    }

    /// An operand of a type that kernels do not take.
    pub(super) fn fault(&self, reads: &Access, writes: &Access) -> Option<String> {
        let operands = || reads.reals.iter().chain(&writes.reals);
        let first = operands().find(|(name, _)| self.alike.contains(name));
        operands().filter(|(name, _)| !self.either.contains(name)).find_map(|&(name, view)| {
            let taken = match first {
                _ if self.bf16.contains(&name) => DType::Bf16,
                Some((_, first)) if self.alike.contains(&name) => first.dtype,
                _ => DType::F32,
            };
            let beside =
                first.filter(|_| self.alike.contains(&name)).map(|(first, _)| format!(" beside such an {first}"));
            let problem = || {
                format!("its {name} is of {:?}, its kernels take {taken:?}{}", view.dtype, beside.unwrap_or_default())
            };
            (view.dtype != taken).then(problem)
        })
    }
}

impl Access {
    /// Operands: name, view, and the length that it needs.
    pub(super) fn new<const N: usize>(reals: [(&'static str, View, usize); N]) -> Access {
        let and = |access: Access, (name, view, needed)| access.and(name, Some(view), needed);
        reals.into_iter().fold(Access::default(), and)
    }

    pub(super) fn and(mut self, name: &'static str, view: Option<View>, needed: usize) -> Access {
        let Some(view) = view else { return self };
        self.reals.push((name, view));
        self.measured(name, view.len, needed)
    }

    pub(super) fn and_argmax(self, argmax: Option<ByteView>, needed: usize) -> Access {
        let found = argmax.map_or(needed, |view| view.len);
        Access { argmax, ..self }.measured("argmax", found, needed)
    }

    /// What is wrong with the lengths.
    pub(super) fn wrong_length(&self) -> Option<String> {
        let WrongLength { operand, found, needed } = self.wrong_length?;
        Some(format!("its {operand} has {found} elements, {needed} are needed"))
    }

    /// A length that has to be another's.
    pub(super) fn measured(mut self, operand: &'static str, found: usize, needed: usize) -> Access {
        if found != needed {
            self.wrong_length = self.wrong_length.or(Some(WrongLength { operand, found, needed }));
        }
        self
    }

    /// What statistics of `c` channels read beside the values.
    pub(super) fn and_reads_of(self, stats: Option<Stats>, c: usize) -> Access {
        self.and("running_mean", stats.map(|s| s.running_mean), c)
            .and("running_var", stats.map(|s| s.running_var), c)
            .and("bias", stats.and_then(|s| s.bias), c)
    }

    pub(super) fn and_writes_of(self, stats: Option<Stats>, c: usize) -> Access {
        self.and("mean", stats.map(|s| s.mean), c)
            .and("var", stats.map(|s| s.var), c)
            .and("running_mean", stats.map(|s| s.running_mean), c)
            .and("running_var", stats.map(|s| s.running_var), c)
    }

    pub(super) fn and_norm(self, norm: Option<Norm>, c: usize) -> Access {
        let affine = norm.and_then(|n| n.affine);
        self.and("mean", norm.map(|n| n.mean), c)
            .and("var", norm.map(|n| n.var), c)
            .and("gamma", affine.map(|a| a.gamma), c)
            .and("beta", affine.map(|a| a.beta), c)
    }

    /// An operand that does not lie in this memory.
    pub(super) fn lacking(&self, memory: &DeviceBuffers) -> Option<String> {
        let mut reals = self.reals.iter().filter_map(|&(name, view)| Some((name, memory.lacks(view)?)));
        let argmax = || self.argmax.and_then(|view| Some(("argmax", memory.lacks_bytes(view)?)));
        reals.next().or_else(argmax).map(|(name, problem)| format!("its {name} {problem}"))
    }

    /// Bytes, each operand counted once.
    pub(crate) fn bytes(&self) -> u64 {
        let reals: usize = self.reals.iter().map(|(_, view)| view.len * view.dtype.size()).sum();
        (reals + self.argmax.map_or(0, |view| view.len)) as u64
    }
}

/// Device memory in which a step may run: it was [checked](super::Step::cuda) against what the step asks of it.
pub struct CheckedBuffers<'a>(pub(super) &'a DeviceBuffers);

impl Deref for CheckedBuffers<'_> {
    type Target = DeviceBuffers;

    fn deref(&self) -> &DeviceBuffers {
        self.0
    }
}
