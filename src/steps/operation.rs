//! What every kind of step implements, each in its own file.

use std::ops::Deref;

use arrayvec::ArrayVec;

use super::conv::candidates::Candidate;
use super::norm::{Norm, Stats};
use crate::device::cuda::kernels::constants::hyper;
use crate::device::cuda::{self, Cuda, DeviceBuffers};
use crate::device::{ByteView, HostBuffers, View};
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

    /// Why the step may not run on a GPU: there is [no kernel](Operation::without_kernel), it has [more](Operation::counted) than kernels
    /// count, it may run [nowhere](Operation::fault), or an operand [starts](Operation::anywhere) between the places that kernels read.
    fn cuda_fault(&self) -> Option<String> {
        let counted = self.counted();
        let uncountable =
            || (counted > MOST_COUNTED).then(|| format!("its kernels count to {MOST_COUNTED}, it has {counted}"));
        self.without_kernel().or_else(uncountable).or_else(|| self.fault()).or_else(|| self.unaligned())
    }

    /// An operand of another length than the geometry asks for, or an empty one.
    fn wrong_length(&self) -> Option<String> {
        let (reads, writes) = (self.reads(), self.writes());
        if let Some(WrongLength { operand, found, needed }) = reads.wrong_length.or(writes.wrong_length) {
            return Some(format!("its {operand} has {found} elements, {needed} are needed"));
        }
        let empty = reads.reals.iter().chain(&writes.reals).find(|(_, view)| view.len == 0);
        empty.map(|(name, _)| format!("its {name} is empty"))
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
    /// name (as running statistics) or [in place](Operation::in_place).
    fn overlap(&self) -> Option<String> {
        let (reads, writes) = (self.reads().reals, self.writes().reals);
        let meet = |a: View, b: View| a.buffer == b.buffer && a.start.max(b.start) < a.range().end.min(b.range().end);
        for (i, &(name, output)) in writes.iter().enumerate() {
            let same = |other: &str, view: View| view == output && (other == name || self.in_place().contains(&name));
            let read = reads.iter().find(|&&(other, view)| meet(output, view) && !same(other, view));
            if let Some((other, _)) = read.or(writes[..i].iter().find(|&&(_, view)| meet(output, view))) {
                return Some(format!("its output {name} overlaps {other}"));
            }
        }
        None
    }

    /// Runs on the CPU. The workspace of `memory` holds at least [`Operation::workspace`] elements. Outputs of bf16 are not rounded yet.
    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, hyper: &Hyper);

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

    /// How the values of the output of this name are summed. `largest` holds the largest magnitude of each input, `exact` the inputs.
    fn sums(&self, output: &str, largest: &[f64], exact: &HostBuffers<f64>) -> Sums;

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

/// Device memory in which a step may run: it was [checked](super::Step::cuda) against what the step asks of it.
pub struct CheckedBuffers<'a>(pub(super) &'a DeviceBuffers);

impl Deref for CheckedBuffers<'_> {
    type Target = DeviceBuffers;

    fn deref(&self) -> &DeviceBuffers {
        self.0
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

    /// Bytes, each operand counted once.
    pub(crate) fn bytes(&self) -> u64 {
        let reals: usize = self.reals.iter().map(|(_, view)| view.len * view.dtype.size()).sum();
        (reals + self.argmax.map_or(0, |view| view.len)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::ByteBufferId;
    use crate::steps::Step;
    use crate::steps::activation::Activation;
    use crate::steps::add::Add;
    use crate::steps::average_pool::AveragePool;
    use crate::steps::concat::{Concat, ConcatPart};
    use crate::steps::conv::{ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad};
    use crate::steps::dropout::Dropout;
    use crate::steps::head::HeadBackward;
    use crate::steps::hsc_loss::HscScore;
    use crate::steps::norm::Affine;
    use crate::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
    use crate::steps::optimizer::{Adam, Sgd};
    use crate::steps::pool::PoolGeometry;
    use crate::steps::upsample::{GaussianTaps, ReceptiveField, Upsample, UpsampleAdjoint};

    /// A kernel reads and writes as far as the geometry tells: an operand that is shorter would let it leave its buffer.
    #[test]
    fn operands_have_the_lengths_of_the_geometry() {
        let view = |buffer, len| View::of(buffer, len);
        let fault = |step: &Step| step.cuda_check().err().map(|error| error.to_string());
        let refused = |step: Step, what: &str| {
            let error = fault(&step).unwrap_or_else(|| panic!("{step:?} was not refused"));
            assert!(error.contains(what), "{error}");
        };
        let geometry = ConvGeometry { n: 2, h: 5, w: 5, c: 3, k: 4, side: 3, stride: 2, pad: 1 };
        let (x, w, b, y) = (view(0, 150), view(1, 108), Some(view(2, 4)), view(3, 72));
        let conv = Fprop { geometry, x, w, b, y, stats: None, epilogue: Epilogue::NONE };
        assert_eq!(fault(&conv.into()), None);
        refused(Fprop { x: view(0, 149), ..conv }.into(), "its x has 149 elements, 150 are needed");
        refused(Fprop { x: conv.x.bf16(), w: w.bf16(), ..conv }.into(), "its w has 108 elements, 128 are needed"); // rows of 27 take 32
        refused(Fprop { b: Some(view(2, 3)), ..conv }.into(), "its b");
        refused(Fprop { y: view(3, 73), ..conv }.into(), "its y");
        let stats = Stats {
            x: y,
            c: 4,
            bias: None,
            mean: view(4, 4),
            var: View { start: 4, ..view(4, 4) },
            running_mean: view(5, 4),
            running_var: View { start: 4, ..view(5, 4) },
        };
        assert_eq!(fault(&Fprop { stats: Some(stats), ..conv }.into()), None);
        refused(Fprop { stats: Some(Stats { c: 5, ..stats }), ..conv }.into(), "channels of statistics");
        refused(Fprop { stats: Some(Stats { mean: view(4, 3), ..stats }), ..conv }.into(), "its mean");
        let part = |buffer, channels, len| ConcatPart { channels, view: Some(view(buffer, len)) };
        let concat = |a, b| Concat { parts: [part(0, 2, a), part(1, 3, b)].into_iter().collect(), y: view(2, 20) };
        assert_eq!(fault(&concat(8, 12).into()), None);
        refused(concat(8, 11).into(), "its b has 11 elements, 12 are needed");
        // The CPU form left there what was there, a kernel read from nowhere.
        let mut absent = concat(8, 12);
        absent.parts[1].view = None;
        assert!(absent.fault().is_some());
        refused(absent.into(), "its b is not there");
        let pool = PoolGeometry { n: 1, h: 4, w: 4, c: 2, side: 2, stride: 2, pad: 0 };
        let window = PoolGeometry { n: 1, h: 1, w: 1, c: 2, side: 3, stride: 2, pad: 0 };
        let average = AveragePool { geometry: window, x: view(0, 2), y: view(1, 2) };
        refused(average.into(), "do not fit");
        let back = NormActPoolBackward {
            pool,
            norm: None,
            batch_statistics: false,
            activation: Activation::IDENTITY,
            x: view(0, 32),
            argmax: Some(ByteView { buffer: ByteBufferId(0), len: 8 }),
            dy: view(1, 8),
            dx: view(2, 32),
            daffine: None,
        };
        assert_eq!(fault(&back.into()), None);
        refused(NormActPoolBackward { argmax: None, ..back }.into(), "its argmax");
        refused(HscScore { o: view(0, 7), score: view(1, 2) }.into(), "its o has 7 elements, 6 are needed");
        refused(HscScore { o: view(0, 7), score: view(1, 0) }.into(), "its o");
    }

    /// No numbers may be asked of a step that wrap, on the host or in the 32 bits of a kernel: views of wrapped lengths would pass.
    #[test]
    fn numbers_that_kernels_cannot_count() {
        let refused = |step: Step, what: &str| {
            let error = step.cuda_check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        let view = View::of;
        let one = ConvGeometry { n: 1, h: 1, w: 1, c: 1, k: 1, side: 1, stride: 1, pad: 0 };
        let conv = |geometry: ConvGeometry, x, w, y| -> Step {
            let (x, w, y) = (view(0, x), view(1, w), view(2, y));
            Fprop { geometry, x, w, b: None, y, stats: None, epilogue: Epilogue::NONE }.into()
        };
        conv(one, 1, 1, 1).cuda_check().unwrap();
        conv(ConvGeometry { n: 1 << 28, ..one }, 1 << 28, 1, 1 << 28).cuda_check().unwrap();
        refused(conv(ConvGeometry { n: 1 << 31, ..one }, 1 << 31, 1, 1 << 31), "its kernels count to 2147418112");
        refused(conv(ConvGeometry { k: 1 << 31, ..one }, 1, 1 << 31, 1 << 31), "its kernels count to");
        // 2³² · 2³² pixels are none in 64 bits, and strides of 2³² none in 32.
        refused(conv(ConvGeometry { n: 1 << 32, h: 1 << 32, ..one }, 0, 1, 0), "its kernels count to");
        refused(conv(ConvGeometry { stride: 1 << 32, ..one }, 1, 1, 1), "its kernels count to");
        refused(conv(ConvGeometry { pad: 1 << 63, ..one }, 1, 1, 1), "its kernels count to");
        refused(conv(ConvGeometry { n: 0, ..one }, 0, 1, 0), "its x is empty");
        let pool = PoolGeometry { stride: 1 << 32, ..PoolGeometry::none(1, 1, 1, 1) };
        let (norm, activation) = (None, Activation::IDENTITY);
        let max = |pool| NormActPool { pool, norm, activation, x: view(0, 1), y: view(1, 1), argmax: None };
        refused(max(pool).into(), "its kernels count to");
        refused(max(PoolGeometry { side: 17, pad: 8, ..PoolGeometry::none(1, 1, 1, 1) }).into(), "17 rows");
        refused(AveragePool { geometry: pool, x: view(0, 1), y: view(1, 1) }.into(), "its kernels count to");
        let field = |jump| ReceptiveField { n: 1, jump, size: 1, shift: 0.0 };
        let spread = |jump| -> Step {
            let taps = GaussianTaps::new(field(jump), 1, 1.0);
            Upsample { taps, kernel: view(0, 1), u: 1, a: view(1, 1), out: view(2, 1) }.into()
        };
        spread(1).cuda_check().unwrap();
        refused(spread(0), "its outputs lie 0 pixels apart");
        refused(spread(1 << 32), "its kernels count to");
    }

    /// Ten operands: more than any step has that may run.
    #[test]
    fn statistics_and_an_epilogue_exclude_each_other() {
        let geometry = ConvGeometry { n: 1, h: 1, w: 1, c: 1, k: 1, side: 1, stride: 1, pad: 0 };
        let [x, w, b, y, mean, var, running_mean, running_var, gamma, beta] =
            std::array::from_fn(|buffer| View::of(buffer, 1));
        let stats = Some(Stats { x: y, c: 1, bias: Some(b), mean, var, running_mean, running_var });
        let norm = Some(Norm { mean, var, affine: Some(Affine { gamma, beta }), eps: 0.1 });
        let epilogue = Epilogue { norm, ..Epilogue::NONE };
        let error = Step::from(Fprop { geometry, x, w, b: Some(b), y, stats, epilogue }).cuda_check().unwrap_err();
        assert!(error.to_string().contains("it takes statistics of what its epilogue changes"), "{error}");
    }

    #[test]
    fn convolutions_multiply_one_type() {
        let geometry = ConvGeometry { n: 1, h: 1, w: 1, c: 8, k: 8, side: 1, stride: 1, pad: 0 };
        let [x, w, y] = [8, 64, 8].map(|len| View::of(len, len));
        let fprop = |x, w| Fprop { geometry, x, w, b: None, y, stats: None, epilogue: Epilogue::NONE }.wrong_numbers();
        let dgrad = |dy, w| Dgrad { geometry, dy, w, dx: y }.wrong_numbers();
        for fault in [fprop(x.bf16(), w), fprop(x, w.bf16()), dgrad(x.bf16(), w), dgrad(x, w.bf16())] {
            assert!(fault.is_some_and(|fault| fault.contains("by those of")));
        }
        let wgrad = |x, dy| Wgrad { geometry, x, dy, dw: w, db: None }.wrong_numbers();
        assert!([wgrad(x.bf16(), y), wgrad(x, y.bf16())].iter().all(Option::is_some));
        assert_eq!([wgrad(x, y), wgrad(x.bf16(), y.bf16())], [const { None }; 2]);
        assert_eq!(
            [fprop(x, w), fprop(x.bf16(), w.bf16()), dgrad(x, w), dgrad(x.bf16(), w.bf16())],
            [const { None }; 4]
        );
    }

    /// The CPU form takes one buffer and would write at the places of the other.
    #[test]
    fn operands_of_one_buffer_lie_in_one() {
        let refused = |step: Step, what: &str| {
            let error = step.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        let geometry = ConvGeometry { n: 1, h: 1, w: 1, c: 4, k: 1, side: 1, stride: 1, pad: 0 };
        let (x, w, dy, grads) = (View::of(0, 4), View::of(1, 4), View::of(2, 1), View::of(3, 4));
        let (beside, elsewhere) = (View { start: 4, len: 1, ..grads }, View::of(4, 1));
        let wgrad = |db| Step::from(Wgrad { geometry, x, dy, dw: grads, db: Some(db) });
        let head = |db| Step::from(HeadBackward { geometry, x, w, dz: dy, dx: None, dw: grads, db: Some(db) });
        let stats = |var, running_var| {
            let (mean, running_mean) = (View::of(3, 1), View::of(4, 1));
            let stats = Some(Stats { x: dy, c: 1, bias: None, mean, var, running_mean, running_var });
            Step::from(Fprop { geometry, x, w, b: None, y: dy, stats, epilogue: Epilogue::NONE })
        };
        let adam = |v| Step::from(Adam { params: x, grads: w, m: grads, v });
        let (var, running_var) = (beside, View { start: 1, ..elsewhere });
        for legal in [wgrad(beside), head(beside), stats(var, running_var), adam(View { start: 4, ..grads })] {
            legal.check().unwrap();
        }
        for step in [wgrad(elsewhere), head(elsewhere)] {
            refused(step, "its db lies in another buffer than its dw");
        }
        refused(stats(View::of(5, 1), running_var), "its var lies in another buffer than its mean");
        refused(stats(var, View::of(5, 1)), "its running_var lies in another buffer than its running_mean");
        refused(adam(View::of(5, 4)), "its v lies in another buffer than its m");
        let moments = Adam { params: x, grads: w, m: View { start: 4, ..grads }, v: grads };
        refused(moments.into(), "its v does not lie behind its m");
    }

    /// What the CPU computes and no kernel.
    #[test]
    fn steps_without_a_kernel() {
        let refused = |step: Step, what: &str| {
            step.check().unwrap();
            let error = step.cuda_check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        let geometry = ConvGeometry { n: 1, h: 4, w: 4, c: 8, k: 8, side: 1, stride: 2, pad: 0 };
        let [x, w, dy] = [128, 64, 32].map(|len| View::of(len, len).bf16());
        let what = "its kernels of Bf16 do not have its stride, 2";
        refused(Dgrad { geometry, dy, w, dx: x }.into(), what);
        refused(Wgrad { geometry, x, dy, dw: View::of(0, 64), db: None }.into(), what);
        let field = ReceptiveField { n: 2, jump: 2, size: 3, shift: 0.0 };
        let taps = GaussianTaps::new(field, 4, 1.0).folded(2);
        let (kernel, a, out) = (View::of(0, 2), View::of(1, 4), View::of(2, 4));
        refused(Upsample { taps: taps.clone(), kernel, u: 2, a, out }.into(), "its taps are folded");
        refused(UpsampleAdjoint { taps, kernel, u: 2, dout: out, da: a }.into(), "its taps are folded");
    }

    #[test]
    fn outputs_lie_apart_from_inputs() {
        let [a, b, y] = [0, 1, 2].map(|buffer| View::of(buffer, 8));
        let add = |b, y| Add { activation: Activation { slope: 1.0 }, a, b, y }.overlap();
        assert_eq!(add(b, y), None);
        assert_eq!(add(b, a).unwrap(), "its output y overlaps a");
        assert_eq!(add(b, View { start: 4, len: 8, ..b }).unwrap(), "its output y overlaps b");
        assert_eq!(add(b, View { start: 8, ..b }), None);
        let dropout = |y| Dropout { seed: 0, number: 0, n: 2, x: a, y }.overlap();
        assert_eq!((dropout(a), dropout(b)), (None, None));
        assert_eq!(dropout(View { start: 1, ..a }).unwrap(), "its output y overlaps x");
        let sgd = |momentum| Sgd { params: a, grads: b, momentum }.overlap();
        assert_eq!(sgd(y), None);
        assert_eq!(sgd(a).unwrap(), "its output params overlaps momentum");
    }
}
