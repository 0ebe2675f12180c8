//! What every kind of step implements, each in its own file.

pub use super::access::{Access, CheckedBuffers};
pub(super) use super::access::{NumberTypes, apart, whole};
use super::conv::candidates::Candidate;
use crate::device::cuda::kernels::constants::hyper;
use crate::device::cuda::{self, Cuda, DeviceBuffers};
use crate::device::{HostBuffers, Packing, View};
use crate::real::Real;

/// What kernels count to in 32 bits, at most: with room for the last block to overshoot.
pub(crate) const MOST_COUNTED: usize = (1 << 31) - (1 << 16);

/// Where kernels read and write several numbers at a time: at multiples of so many bytes, as buffers begin.
const ALIGNMENT: usize = 16;

/// A kind of step: an operation with its geometry and the views that it reads and writes.
pub trait Operation {
    /// Name of the kind in reports and errors; [`super`] lists the files.
    fn kind(&self) -> &'static str;

    /// The largest of all that its kernels take as numbers of 32 bits: pixels, channels, values or parameters. Any numbers may be asked.
    fn counted(&self) -> usize;

    /// What tells it apart from steps of its kind with operands of the same lengths.
    fn variant(&self) -> String;

    /// What the step reads, scratch space aside.
    fn reads(&self) -> Access;

    /// What the step writes, scratch space aside.
    fn writes(&self) -> Access;

    /// The outputs that may take the place of an input of another name.
    fn in_place(&self) -> &'static [&'static str] {
        &[]
    }

    /// The operands that kernels read and write number by number, or ask for their address before: they may start anywhere in a buffer,
    /// as parameters do. All others start at multiples of 16 bytes.
    fn anywhere(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is wrong with its numbers, lengths aside: windows that fit nowhere, a geometry that no device has, or operands apart that lie in
    /// one buffer.
    fn wrong_numbers(&self) -> Option<String> {
        None
    }

    /// What the CPU form can compute and the kernels cannot.
    fn without_kernel(&self) -> Option<String> {
        None
    }

    /// Why the step may run nowhere, in this order: [wrong numbers](Operation::wrong_numbers), an operand of another length than its geometry
    /// asks for, an empty one, or an [overlap](Operation::overlap).
    fn fault(&self) -> Option<String> {
        self.wrong_numbers().or_else(|| self.wrong_length()).or_else(|| self.overlap())
    }

    /// The number types that its kernels take.
    fn kernel_types(&self) -> NumberTypes {
        NumberTypes::F32
    }

    /// Why the step may not run on a GPU: there is [no kernel](Operation::without_kernel), or none of its operands' [number
    /// types](Operation::kernel_types), it has [more](Operation::counted) than kernels count, it may run [nowhere](Operation::fault), or an
    /// operand [starts](Operation::anywhere) between the places that kernels read.
    fn cuda_fault(&self) -> Option<String> {
        let counted = self.counted();
        let uncountable =
            || (counted > MOST_COUNTED).then(|| format!("its kernels count to {MOST_COUNTED}, it has {counted}"));
        let types = || self.kernel_types().fault(&self.reads(), &self.writes());
        self.without_kernel().or_else(types).or_else(uncountable).or_else(|| self.fault()).or_else(|| self.unaligned())
    }

    /// An operand of another length than the geometry asks for, or an empty one.
    fn wrong_length(&self) -> Option<String> {
        let (reads, writes) = (self.reads(), self.writes());
        let empty = || reads.reals.iter().chain(&writes.reals).find(|(_, view)| view.len == 0);
        let empty = || empty().map(|(name, _)| format!("its {name} is empty"));
        reads.wrong_length().or_else(|| writes.wrong_length()).or_else(empty)
    }

    /// An operand that starts where it must not.
    fn unaligned(&self) -> Option<String> {
        let (reads, writes) = (self.reads(), self.writes());
        reads.reals.iter().chain(&writes.reals).find_map(|&(name, View { start, dtype, .. })| {
            let aligned = start.is_multiple_of(ALIGNMENT / dtype.size()) || self.anywhere().contains(&name);
            (!aligned).then(|| format!("its {name} starts at element {start}, at no multiple of {ALIGNMENT} bytes"))
        })
    }

    /// What would be written while it is read: outputs that overlap each other, or an input of which they are not the whole, whether by its
    /// name (as running statistics) or [in place](Operation::in_place). The CPU form takes the buffers of outputs as a whole: whatever else it
    /// reads lies in others.
    fn overlap(&self) -> Option<String> {
        let (reads, writes) = (self.reads().reals, self.writes().reals);
        let meet = |a: View, b: View| a.buffer == b.buffer && a.start.max(b.start) < a.range().end.min(b.range().end);
        for (i, &(name, output)) in writes.iter().enumerate() {
            let same = |other: &str, view: View| view == output && (other == name || self.in_place().contains(&name));
            let read = reads.iter().find(|&&(other, view)| meet(output, view) && !same(other, view));
            if let Some((other, _)) = read.or(writes[..i].iter().find(|&&(_, view)| meet(output, view))) {
                return Some(format!("its output {name} overlaps {other}"));
            }
            let beside = |&&(_, view): &&(_, View)| view.buffer == output.buffer && !writes.iter().any(|w| w.1 == view);
            if let Some((other, _)) = reads.iter().find(beside) {
                return Some(format!("its output {name} lies in the buffer of {other}"));
            }
        }
        None
    }

    /// Runs on the CPU. The workspace of `memory` holds at least [`Operation::workspace`] elements.
    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper);

    /// Whether the CPU form itself rounds its outputs of bf16 where [that is done](HostBuffers::rounds), while they are in the cache.
    fn rounds(&self) -> bool {
        false
    }

    /// Weights that the CPU form keeps packed.
    fn packing(&self) -> Option<Packing> {
        None
    }

    /// Scratch elements that the CPU form needs.
    fn workspace(&self) -> usize {
        0
    }

    /// Runs on the GPU: launches its kernels and returns. Hyperparameters are those that `memory` holds for the present batch, its
    /// workspace holds at least [`Operation::cuda_workspace`] elements.
    fn cuda(&self, memory: &CheckedBuffers) -> cuda::Result<()>;

    /// Scratch elements that the GPU form needs.
    fn cuda_workspace(&self) -> usize {
        0
    }

    /// Kernels that the GPU form launches.
    fn launches(&self) -> usize {
        1
    }

    /// Floating-point operations of a convolution, a multiply-add counted as two; 0 for all other steps.
    fn flops(&self) -> u64 {
        0
    }

    /// How the values of the output of this name are summed. `largest` holds the largest magnitude of each input, `reference` the inputs.
    fn sums(&self, output: &str, largest: &[f64], reference: &HostBuffers<f64>) -> Sums;

    /// Moves inputs where rounding could flip a decision of the step away from there, before two forms of it are compared.
    fn settle(&self, _: &mut HostBuffers<f64>, _: &Hyper) {}

    /// For steps whose plain formula takes long: the step on fewer pixels, in f32 buffers of its own of these lengths, so that the formula
    /// takes at most so many products. None where the CPU form is the formula.
    fn sample(&self, _products: usize) -> Option<(Self, Vec<usize>)>
    where
        Self: Sized,
    {
        None
    }

    /// Runs the plain formula of a [sample](Operation::sample).
    fn formula(&self, memory: &mut HostBuffers<f64>, hyper: &Hyper) {
        self.cpu(memory, hyper);
    }

    /// Renews the outputs that follow from the first one, after that was made up in the place of the formula.
    fn complete(&self, _: &mut HostBuffers<f64>, _: &Hyper) {}

    /// Whether the GPU form sums on tensor cores.
    fn on_tensor_cores(&self) -> bool {
        false
    }

    /// The tiles that the GPU form could be computed in, to be timed side by side; none where there is no choice.
    fn candidates(&self, _: &Cuda) -> Vec<Candidate<'_>> {
        Vec::new()
    }

    /// Shape of the layer that the step belongs to, such as `128×14² 128→128 5×5`; None where it belongs to none.
    fn layer(&self) -> Option<String> {
        None
    }
}

/// How the values of an output are summed, from which checks derive their tolerance: the rounding errors of a sum of n terms of either
/// sign grow like √n times the sum's own size.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// Terms of each value.
    pub terms: usize,
    /// What rounding errors are relative to, where that is larger than the output.
    pub scale: f64,
}

impl Sums {
    /// Values of a few operations, none of which cancels.
    pub(super) const NONE: Sums = Sums { terms: 1, scale: 0.0 };

    /// Sums of so many terms that do not cancel.
    pub(super) fn of(terms: usize) -> Sums {
        Sums { terms, scale: 0.0 }
    }
}

/// Decay of Adam's first and second moments.
pub const ADAM_BETA: [f64; 2] = [0.9, 0.999];

/// The hyperparameters of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    pub lr: f64,
    pub weight_decay: f64,
    /// Updates made so far, this one included: counts from 1.
    pub step: u64,
    /// Weight of this batch in the norms' running statistics; 0.1 in training.
    pub norm_momentum: f64,
}

impl Hyper {
    /// For steps that read none.
    pub const IDLE: Hyper = Hyper { lr: 0.0, weight_decay: 0.0, step: 0, norm_momentum: 0.0 };

    /// Learning rate with the bias correction of Adam's first moment, and the root of the second moment's.
    pub(super) fn bias_corrected(&self) -> (f64, f64) {
        let [first, second] = ADAM_BETA.map(|b| 1.0 - b.powf(self.step as f64));
        (self.lr / first, second.sqrt())
    }

    /// As the kernels read them: see `kernels/hyper.cuh`.
    pub fn row(&self) -> [f32; DeviceBuffers::HYPER] {
        let (rate, root) = self.bias_corrected();
        let mut row = [0.0; DeviceBuffers::HYPER];
        for (column, value) in [
            (hyper::HYPER_LR, self.lr),
            (hyper::HYPER_WEIGHT_DECAY, self.weight_decay),
            (hyper::HYPER_NORM_MOMENTUM, self.norm_momentum),
            (hyper::HYPER_ADAM_RATE, rate),
            (hyper::HYPER_ADAM_ROOT, root),
        ] {
            row[column as usize] = value as f32;
        }
        row[hyper::HYPER_UPDATE as usize] = f32::from_bits(self.step as u32);
        row
    }
}

#[cfg(test)]
mod tests;
