//! The buffers of a plan, and parts of them.

use std::collections::BTreeMap;

use crate::device::{BufferId, ByteBufferId, ByteView, DType, View};
use crate::engine::plan::Buffers;

/// Hands out buffers. Those of values that pass are handed out again once they are released.
#[derive(Default)]
pub(super) struct Allocator {
    pub buffers: Buffers,
    /// Passing buffers that nobody holds.
    free: BTreeMap<BufferId, DType>,
    /// How many hold each of the others.
    held: BTreeMap<BufferId, usize>,
}

impl Allocator {
    /// f32 numbers, for as long as the plan lives.
    pub(super) fn real(&mut self, len: usize) -> View {
        self.of(DType::F32, len)
    }

    /// Numbers for as long as the plan lives.
    pub(super) fn of(&mut self, dtype: DType, len: usize) -> View {
        self.buffers.reals.push((len, dtype));
        View { buffer: BufferId(self.buffers.reals.len() - 1), start: 0, len, dtype }
    }

    /// Numbers until they are released. Which buffer it is does not depend on the length, so that plans of several batch sizes take the
    /// same.
    pub(super) fn passing(&mut self, dtype: DType, len: usize) -> View {
        let free = self.free.iter().find(|&(_, &of)| of == dtype).map(|(&buffer, _)| buffer);
        let buffer = free.unwrap_or_else(|| self.of(dtype, 0).buffer);
        self.free.remove(&buffer);
        let longest = &mut self.buffers.reals[buffer.0].0;
        *longest = len.max(*longest);
        self.held.insert(buffer, 1);
        View { buffer, start: 0, len, dtype }
    }

    /// One more holds a view.
    pub(super) fn hold(&mut self, view: View) {
        if let Some(holders) = self.held.get_mut(&view.buffer) {
            *holders += 1;
        }
    }

    /// One no longer needs a view; nothing happens to views that do not pass.
    pub(super) fn release(&mut self, view: View) {
        let Some(holders) = self.held.get_mut(&view.buffer) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.held.remove(&view.buffer);
            self.free.insert(view.buffer, view.dtype);
        }
    }

    pub(super) fn bytes(&mut self, len: usize) -> ByteView {
        self.buffers.bytes.push(len);
        ByteView { buffer: ByteBufferId(self.buffers.bytes.len() - 1), len }
    }
}

/// Part of a view.
pub(super) fn part(view: View, start: usize, len: usize) -> View {
    View { start: view.start + start, len, ..view }
}
