//! Host memory of a plan: numbered buffers that steps name by views.

use std::ops::Range;

use rayon::prelude::*;

use crate::real::Real;

/// A buffer of reals in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A buffer of bytes in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteBufferId(pub usize);

/// The data type of a buffer of reals.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    serde::Serialize,
    serde::Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// 32 bits
    #[default]
    F32,
    /// 16 bits, for the tensor cores of GPUs: half the bytes; CPUs keep 32 bits, round to 16 after each step, and multiply pairs of 16 bits where they have AVX512-BF16
    Bf16,
}

impl DType {
    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            DType::F32 => size_of::<f32>(),
            DType::Bf16 => size_of::<half::bf16>(),
        }
    }
}

/// A contiguous part of a real buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub buffer: BufferId,
    pub start: usize,
    pub len: usize,
    /// Data type of the buffer.
    pub dtype: DType,
}

impl View {
    /// All of an f32 buffer, `buffer` counted from 0.
    pub fn of(buffer: usize, len: usize) -> View {
        View { buffer: BufferId(buffer), start: 0, len, dtype: DType::F32 }
    }

    /// The same elements of a bf16 buffer.
    pub fn bf16(self) -> View {
        View { dtype: DType::Bf16, ..self }
    }

    /// The elements that this view covers in its buffer: an end beyond all numbers is one beyond all buffers.
    pub fn range(self) -> Range<usize> {
        self.start..self.start.saturating_add(self.len)
    }
}

/// The first `len` bytes of a byte buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteView {
    pub buffer: ByteBufferId,
    pub len: usize,
}

/// Weights as a step of the CPU reads them: laid out once, for as long as they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    pub w: View,
    /// Biases that lie with them.
    pub b: Option<View>,
    /// How they lie.
    pub form: &'static str,
    /// What they are of: input channels, output channels and side of a kernel.
    pub of: [usize; 3],
    /// Elements.
    pub len: usize,
}

#[derive(Clone, Debug)]
struct Packed<T> {
    packing: Packing,
    /// What the buffers of the weights and of the biases were when it was made, and whether nothing was rounded.
    versions: Option<([u64; 2], bool)>,
    values: Vec<T>,
}

/// All buffers of one plan, in host memory.
///
/// A step takes the buffers that it writes out of the store, reads the others, and puts the written ones back; so the borrow
/// checker sees disjoint memory and nothing is copied or allocated.
#[derive(Clone, Debug, Default)]
pub struct HostBuffers<T> {
    reals: Vec<Vec<T>>,
    /// How often each of them was handed out to be written.
    versions: Vec<u64>,
    packed: Vec<Packed<T>>,
    bytes: Vec<Vec<u8>>,
    workspace: Vec<T>,
    /// Whether what is bf16 on a GPU is not rounded here.
    unrounded: bool,
}

impl<T: Real> HostBuffers<T> {
    /// Rounds what a step has just written to a view; [versions](Self::version) stay.
    pub(crate) fn round(&mut self, view: View) {
        /// Numbers of a task.
        const TOGETHER: usize = 1 << 14;
        self.reals[view.buffer.0][view.range()].par_chunks_mut(TOGETHER).for_each(T::round_to_bf16);
    }
}

impl<T: Copy + Default> HostBuffers<T> {
    /// Zeroed buffers of the given lengths.
    pub fn new(reals: &[usize], bytes: &[usize], workspace: usize) -> HostBuffers<T> {
        HostBuffers {
            reals: reals.iter().map(|&len| vec![T::default(); len]).collect(),
            versions: vec![0; reals.len()],
            packed: Vec::new(),
            bytes: bytes.iter().map(|&len| vec![0; len]).collect(),
            workspace: vec![T::default(); workspace],
            unrounded: false,
        }
    }

    /// From now on steps no longer round what is bf16 on a GPU: a plan then differs from the formulas by rounding of `T` alone.
    pub fn keep_unrounded(&mut self) {
        self.unrounded = true;
    }

    /// Whether steps round what they write to a view.
    pub(crate) fn rounds(&self, view: View) -> bool {
        view.dtype == DType::Bf16 && !self.unrounded
    }

    /// Computes while nothing is rounded.
    pub(crate) fn without_rounding(&mut self, compute: impl FnOnce(&mut HostBuffers<T>)) {
        let unrounded = std::mem::replace(&mut self.unrounded, true);
        compute(self);
        self.unrounded = unrounded;
    }

    /// How often a buffer was handed out to be written.
    pub(crate) fn version(&self, buffer: BufferId) -> u64 {
        self.versions[buffer.0]
    }

    /// Reads a view.
    pub fn get(&self, view: View) -> &[T] {
        &self.reals[view.buffer.0][view.range()]
    }

    /// Reads an optional view.
    pub fn get_opt(&self, view: Option<View>) -> Option<&[T]> {
        view.map(|v| self.get(v))
    }

    /// Writes a view in place.
    pub fn get_mut(&mut self, view: View) -> &mut [T] {
        self.versions[view.buffer.0] += 1;
        &mut self.reals[view.buffer.0][view.range()]
    }

    /// Views of different buffers, for filling a batch; None where two share one.
    pub fn get_many_mut<const N: usize>(&mut self, views: [View; N]) -> Option<[&mut [T]; N]> {
        let buffers = self.reals.get_disjoint_mut(views.map(|v| v.buffer.0)).ok()?;
        views.iter().for_each(|view| self.versions[view.buffer.0] += 1);
        let mut views = views.into_iter();
        Some(buffers.map(|b| match views.next() {
            Some(v) => &mut b[v.range()],
            None => &mut [][..],
        }))
    }

    /// Reads a byte view.
    pub fn bytes(&self, view: ByteView) -> &[u8] {
        &self.bytes[view.buffer.0][..view.len]
    }

    /// Takes a buffer out, to write it while others are read; [`HostBuffers::put`] brings it back.
    pub fn take(&mut self, buffer: BufferId) -> Vec<T> {
        self.versions[buffer.0] += 1;
        std::mem::take(&mut self.reals[buffer.0])
    }

    /// Brings back a buffer taken with [`HostBuffers::take`].
    pub fn put(&mut self, buffer: BufferId, data: Vec<T>) {
        self.reals[buffer.0] = data;
    }

    /// Takes a byte buffer out; [`HostBuffers::put_bytes`] brings it back.
    pub fn take_bytes(&mut self, buffer: ByteBufferId) -> Vec<u8> {
        std::mem::take(&mut self.bytes[buffer.0])
    }

    /// Brings back a buffer taken with [`HostBuffers::take_bytes`].
    pub fn put_bytes(&mut self, buffer: ByteBufferId, data: Vec<u8>) {
        self.bytes[buffer.0] = data;
    }

    /// Room for packed weights, unless there is some.
    pub(crate) fn reserve(&mut self, packing: Packing) {
        if !self.packed.iter().any(|packed| packed.packing == packing) {
            self.packed.push(Packed { packing, versions: None, values: vec![T::default(); packing.len] });
        }
    }

    /// Takes packed weights out, and tells whether they are those of now: otherwise they are to be packed anew.
    /// [`HostBuffers::put_packed`] brings them back.
    pub(crate) fn take_packed(&mut self, packing: Packing) -> (Vec<T>, bool) {
        self.reserve(packing);
        let now = self.versions_of(packing);
        let found = self.packed.iter_mut().find(|packed| packed.packing == packing);
        found.map_or_else(Default::default, |packed| (std::mem::take(&mut packed.values), packed.versions == Some(now)))
    }

    /// Brings back packed weights, which are those of now.
    pub(crate) fn put_packed(&mut self, packing: Packing, values: Vec<T>) {
        let now = self.versions_of(packing);
        if let Some(packed) = self.packed.iter_mut().find(|packed| packed.packing == packing) {
            (packed.versions, packed.values) = (Some(now), values);
        }
    }

    fn versions_of(&self, Packing { w, b, .. }: Packing) -> ([u64; 2], bool) {
        ([w, b.unwrap_or(w)].map(|view| self.version(view.buffer)), self.unrounded)
    }

    /// Makes room for so many elements of scratch space.
    pub fn reserve_workspace(&mut self, len: usize) {
        if self.workspace.len() < len {
            self.workspace.resize(len, T::default());
        }
    }

    /// Takes the scratch space that any step may use while it runs.
    pub fn take_workspace(&mut self) -> Vec<T> {
        std::mem::take(&mut self.workspace)
    }

    /// Brings the scratch space back.
    pub fn put_workspace(&mut self, workspace: Vec<T>) {
        self.workspace = workspace;
    }

    /// Lengths of the real buffers.
    pub fn lengths(&self) -> Vec<usize> {
        self.reals.iter().map(Vec::len).collect()
    }

    /// Bytes held by all buffers.
    pub fn size_in_bytes(&self) -> usize {
        let packed: usize = self.packed.iter().map(|packed| packed.values.len()).sum();
        let reals: usize = self.reals.iter().map(Vec::len).sum::<usize>() + packed + self.workspace.len();
        reals * size_of::<T>() + self.bytes.iter().map(Vec::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_weights_hold_until_their_buffers_are_written() {
        let [w, b, other] = [0, 1, 2].map(|buffer| View::of(buffer, 4));
        let mut memory = HostBuffers::<f32>::new(&[4; 3], &[], 0);
        let packing = Packing { w, b: Some(b), form: "some", of: [2, 2, 1], len: 5 };
        let is_current = |memory: &mut HostBuffers<f32>, packing: Packing| {
            let (values, is_current) = memory.take_packed(packing);
            assert_eq!(values.len(), packing.len);
            memory.put_packed(packing, values);
            is_current
        };
        assert!(!is_current(&mut memory, packing), "nothing was packed yet");
        assert!(is_current(&mut memory, packing));
        memory.get_mut(other)[0] = 1.0;
        let taken = memory.take(other.buffer);
        memory.put(other.buffer, taken);
        assert!(is_current(&mut memory, packing), "others were written");
        for buffer in [w, b] {
            memory.get_mut(buffer)[0] = 1.0;
            assert!(!is_current(&mut memory, packing));
            let taken = memory.take(buffer.buffer);
            memory.put(buffer.buffer, taken);
            assert!(!is_current(&mut memory, packing));
            assert!(memory.get_many_mut([buffer, other]).is_some());
            assert!(!is_current(&mut memory, packing));
            assert!(is_current(&mut memory, packing));
        }
        for other in [Packing { form: "other", ..packing }, Packing { of: [4, 1, 1], ..packing }] {
            assert!(!is_current(&mut memory, other), "another form, and another shape, is packed by itself");
        }
        assert!(is_current(&mut memory, packing));
        assert_eq!(memory.size_in_bytes(), (3 * 4 + 3 * 5) * size_of::<f32>());
    }
}
