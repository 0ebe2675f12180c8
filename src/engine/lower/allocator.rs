//! The buffers of a plan, and parts of them.

use crate::device::{BufferId, ByteBufferId, ByteView, DType, View};
use crate::engine::plan::Buffers;

/// Hands out buffers.
#[derive(Default)]
pub(super) struct Allocator {
    pub buffers: Buffers,
}

impl Allocator {
    /// f32 numbers.
    pub(super) fn real(&mut self, len: usize) -> View {
        self.of(DType::F32, len)
    }

    pub(super) fn of(&mut self, dtype: DType, len: usize) -> View {
        self.buffers.reals.push((len, dtype));
        View { buffer: BufferId(self.buffers.reals.len() - 1), start: 0, len, dtype }
    }

    pub(super) fn bytes(&mut self, len: usize) -> ByteView {
        self.buffers.bytes.push(len);
        ByteView { buffer: ByteBufferId(self.buffers.bytes.len() - 1), len }
    }
}

/// The first `len` elements of a view.
pub(super) fn prefix(view: View, len: usize) -> View {
    View { len, ..view }
}

/// Part of a view.
pub(super) fn part(view: View, start: usize, len: usize) -> View {
    View { start: view.start + start, len, ..view }
}
