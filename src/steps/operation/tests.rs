//! What steps refuse.

use super::*;
use crate::device::{ByteBufferId, ByteView};
use crate::steps::Step;
use crate::steps::activation::Activation;
use crate::steps::add::{Add, AddBackward};
use crate::steps::average_pool::{AveragePool, AveragePoolBackward};
use crate::steps::cast::Cast;
use crate::steps::concat::{Concat, ConcatBackward, ConcatPart};
use crate::steps::conv::{Algorithm, ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad};
use crate::steps::dropout::Dropout;
use crate::steps::head::HeadBackward;
use crate::steps::hsc_loss::HscScore;
use crate::steps::norm::{Affine, Norm, Stats};
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
    let conv = Fprop { geometry, x, w, b, y, stats: None, epilogue: Epilogue::NONE, algorithm: Algorithm::Direct };
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
    refused(Fprop { stats: Some(stats), ..conv }.into(), "it takes statistics of what its bias or epilogue changes");
    let conv = Fprop { b: None, ..conv };
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
    let argmax = ByteView { buffer: ByteBufferId(0), len: 8 };
    let back = NormActPoolBackward {
        pool,
        norm: None,
        batch_statistics: false,
        activation: Activation::IDENTITY,
        x: view(0, 32),
        argmax: Some(argmax),
        dy: view(1, 8),
        dx: view(2, 32),
        daffine: None,
    };
    assert_eq!(fault(&back.into()), None);
    refused(NormActPoolBackward { argmax: None, ..back }.into(), "its argmax is not there");
    // No pass took them: they kept what was there.
    let daffine = Some(Affine { gamma: view(3, 2), beta: view(4, 2) });
    let norm = Some(Norm { mean: view(5, 2), var: view(6, 2), affine: None, eps: 0.1 });
    assert_eq!(fault(&NormActPoolBackward { daffine, norm, batch_statistics: true, ..back }.into()), None);
    refused(NormActPoolBackward { daffine, norm, ..back }.into(), "for a norm of batch statistics alone");
    refused(
        NormActPoolBackward { daffine, batch_statistics: true, ..back }.into(),
        "for a norm of batch statistics alone",
    );
    refused(
        NormActPoolBackward { argmax: Some(ByteView { len: 7, ..argmax }), ..back }.into(),
        "its argmax has 7 elements",
    );
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
        Fprop { geometry, x, w, b: None, y, stats: None, epilogue: Epilogue::NONE, algorithm: Algorithm::Direct }.into()
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
    refused(max(PoolGeometry { side: 3, pad: 2, ..PoolGeometry::none(1, 1, 1, 1) }).into(), "its padding, 2, is more");
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
    let error = Step::from(Fprop { geometry, x, w, b: Some(b), y, stats, epilogue, algorithm: Algorithm::Direct })
        .cuda_check()
        .unwrap_err();
    assert!(error.to_string().contains("it takes statistics of what its bias or epilogue changes"), "{error}");
}

#[test]
fn convolutions_multiply_one_type() {
    let geometry = ConvGeometry { n: 1, h: 1, w: 1, c: 8, k: 8, side: 1, stride: 1, pad: 0 };
    let [x, w, y] = [8, 64, 8].map(|len| View::of(len, len));
    let fprop = |x, w| {
        Fprop { geometry, x, w, b: None, y, stats: None, epilogue: Epilogue::NONE, algorithm: Algorithm::Direct }
            .wrong_numbers()
    };
    let dgrad = |dy, w| Dgrad { geometry, dy, w, dx: y, algorithm: Algorithm::Direct }.wrong_numbers();
    for fault in [fprop(x.bf16(), w), fprop(x, w.bf16()), dgrad(x.bf16(), w), dgrad(x, w.bf16())] {
        assert!(fault.is_some_and(|fault| fault.contains("by those of")));
    }
    let wgrad = |x, dy| Wgrad { geometry, x, dy, dw: w, db: None, algorithm: Algorithm::Direct }.wrong_numbers();
    assert!([wgrad(x.bf16(), y), wgrad(x, y.bf16())].iter().all(Option::is_some));
    assert_eq!([wgrad(x, y), wgrad(x.bf16(), y.bf16())], [const { None }; 2]);
    assert_eq!([fprop(x, w), fprop(x.bf16(), w.bf16()), dgrad(x, w), dgrad(x.bf16(), w.bf16())], [const { None }; 4]);
}

/// A pointer to numbers of another type would be none.
#[test]
fn kernels_take_operands_of_their_types() {
    let refused = |step: Step, what: &str| {
        let error = step.cuda_check().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let [a, b, y, dx] = std::array::from_fn(|buffer| View::of(buffer, 16));
    let activation = Activation::RELU;
    let add = Add { activation, a, b, y };
    let half = Add { a: a.bf16(), b: b.bf16(), y: y.bf16(), ..add };
    for legal in [Step::from(add), half.into()] {
        legal.cuda_check().unwrap();
    }
    refused(Add { b: b.bf16(), ..add }.into(), "its b is of Bf16, its kernels take F32 beside such an a");
    refused(Add { y, ..half }.into(), "its y is of F32, its kernels take Bf16 beside such an a");
    refused(AddBackward { activation, y, dy: b.bf16(), dx }.into(), "its dy is of Bf16");
    let part = |view| ConcatPart { channels: 1, view: Some(view) };
    let parts = |a, b| [part(a), part(b)].into_iter().collect();
    let joined = View::of(2, 32);
    Step::from(Concat { parts: parts(a.bf16(), b.bf16()), y: joined.bf16() }).cuda_check().unwrap();
    refused(Concat { parts: parts(a, b.bf16()), y: joined }.into(), "its b is of Bf16");
    refused(ConcatBackward { parts: parts(a, b.bf16()), dy: joined }.into(), "its db is of Bf16");
    let geometry = PoolGeometry::none(1, 4, 4, 1);
    refused(AveragePool { geometry, x: a, y: y.bf16() }.into(), "its y is of Bf16");
    refused(AveragePoolBackward { geometry, dy: a, dx: dx.bf16() }.into(), "its dx is of Bf16");
    let norm = |mean, var| Norm { mean, var, affine: None, eps: 0.1 };
    let pass = |norm, y| NormActPool { pool: geometry, norm, activation, x: a, y, argmax: None };
    let (mean, var) = (View::of(4, 1), View::of(5, 1));
    Step::from(pass(Some(norm(mean, var)), y)).cuda_check().unwrap();
    refused(pass(None, y.bf16()).into(), "its y is of Bf16, its kernels take F32 beside such an x");
    refused(pass(Some(norm(mean, var.bf16())), y).into(), "its var is of Bf16, its kernels take F32");
    let back = NormActPoolBackward {
        pool: geometry,
        norm: None,
        batch_statistics: false,
        activation,
        x: a,
        argmax: None,
        dy: b,
        dx,
        daffine: None,
    };
    Step::from(back).cuda_check().unwrap();
    refused(NormActPoolBackward { dx: dx.bf16(), ..back }.into(), "its dx is of Bf16");
    refused(Dropout { seed: 0, number: 0, n: 1, x: a.bf16(), y: y.bf16() }.into(), "its x is of Bf16");
    refused(Sgd { params: a.bf16(), grads: b, momentum: y }.into(), "its params is of Bf16");
    Step::from(Cast { x: a, y: y.bf16() }).cuda_check().unwrap();
    refused(Cast { x: a, y }.into(), "its y is of F32, its kernels take Bf16");
    refused(Cast { x: a.bf16(), y: y.bf16() }.into(), "its x is of Bf16");
    // What a convolution of bf16 gives is of either type, what one of f32 gives is f32.
    let geometry = ConvGeometry { n: 1, h: 4, w: 4, c: 1, k: 1, side: 1, stride: 1, pad: 0 };
    let fprop = |x, w, y| Fprop {
        geometry,
        x,
        w,
        b: None,
        y,
        stats: None,
        epilogue: Epilogue::NONE,
        algorithm: Algorithm::Direct,
    };
    let (w, half) = (View::of(6, 1), View::of(6, 8).bf16());
    for legal in [fprop(a, w, y), fprop(a.bf16(), half, y), fprop(a.bf16(), half, y.bf16())] {
        Step::from(legal).cuda_check().unwrap();
    }
    refused(fprop(a, w, y.bf16()).into(), "its y is of Bf16");
    refused(Fprop { b: Some(w.bf16()), ..fprop(a.bf16(), half, y) }.into(), "its b is of Bf16");
    refused(Dgrad { geometry, dy: a, w, dx: dx.bf16(), algorithm: Algorithm::Direct }.into(), "its dx is of Bf16");
    let wgrad = Wgrad { geometry, x: a.bf16(), dy: b.bf16(), dw: w.bf16(), db: None, algorithm: Algorithm::Direct };
    refused(wgrad.into(), "its dw is of Bf16");
}

#[test]
fn activations_keep_the_sign_of_their_input() {
    let [a, b, y] = std::array::from_fn(|buffer| View::of(buffer, 16));
    let geometry = ConvGeometry { n: 1, h: 4, w: 4, c: 1, k: 1, side: 1, stride: 1, pad: 0 };
    for slope in [-0.5, 1.5, f64::NAN, f64::INFINITY] {
        let activation = Activation { slope };
        let epilogue = Epilogue { norm: None, activation };
        let pool = PoolGeometry::none(1, 4, 4, 1);
        for step in [
            Step::from(Add { activation, a, b, y }),
            AddBackward { activation, y: a, dy: b, dx: y }.into(),
            NormActPool { pool, norm: None, activation, x: a, y, argmax: None }.into(),
            Fprop {
                geometry,
                x: a,
                w: View::of(3, 1),
                b: None,
                y,
                stats: None,
                epilogue,
                algorithm: Algorithm::Direct,
            }
            .into(),
        ] {
            let error = step.check().unwrap_err().to_string();
            assert!(error.contains(&format!("its activation has a slope of {slope}")), "{error}");
        }
    }
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
    let wgrad = |db| Step::from(Wgrad { geometry, x, dy, dw: grads, db: Some(db), algorithm: Algorithm::Direct });
    let head = |db| Step::from(HeadBackward { geometry, x, w, dz: dy, dx: None, dw: grads, db: Some(db) });
    let stats = |var, running_var| {
        let (mean, running_mean) = (View::of(3, 1), View::of(4, 1));
        let stats = Some(Stats { x: dy, c: 1, bias: None, mean, var, running_mean, running_var });
        Step::from(Fprop {
            geometry,
            x,
            w,
            b: None,
            y: dy,
            stats,
            epilogue: Epilogue::NONE,
            algorithm: Algorithm::Direct,
        })
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
    refused(Dgrad { geometry, dy, w, dx: x, algorithm: Algorithm::Direct }.into(), what);
    refused(Wgrad { geometry, x, dy, dw: View::of(0, 64), db: None, algorithm: Algorithm::Direct }.into(), what);
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
    assert_eq!(add(b, View { start: 8, ..b }).unwrap(), "its output y lies in the buffer of b");
    let dropout = |y| Dropout { seed: 0, number: 0, n: 2, x: a, y }.overlap();
    assert_eq!((dropout(a), dropout(b)), (None, None));
    assert_eq!(dropout(View { start: 1, ..a }).unwrap(), "its output y overlaps x");
    let sgd = |momentum| Sgd { params: a, grads: b, momentum }.overlap();
    assert_eq!(sgd(y), None);
    assert_eq!(sgd(a).unwrap(), "its output params overlaps momentum");
}
