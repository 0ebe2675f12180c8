//! What safe code may ask of the device is refused where a kernel would leave its memory or miss what it waits for.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fcdd::data::cuda::{DeviceSet, DeviceTestSet};
use fcdd::data::supervise::{NoiseMode, Supervise};
use fcdd::device::cuda::{Buffer, Cuda, DeviceBuffers};
use fcdd::device::{ByteBufferId, ByteView, DType, View};
use fcdd::engine::Step;
use fcdd::steps::activation::Activation;
use fcdd::steps::add::{Add, AddBackward};
use fcdd::steps::average_pool::{AveragePool, AveragePoolBackward};
use fcdd::steps::cast::{Cast, CastLayer, CastWeights};
use fcdd::steps::concat::{Concat, ConcatBackward, ConcatPart};
use fcdd::steps::conv::weights::WeightForm;
use fcdd::steps::conv::{Algorithm, ConvGeometry, Dgrad, Epilogue, Fprop, Wgrad};
use fcdd::steps::dropout::Dropout;
use fcdd::steps::head::{Head, HeadBackward};
use fcdd::steps::norm_act_pool::{NormActPool, NormActPoolBackward};
use fcdd::steps::pool::PoolGeometry;
use fcdd::steps::upsample::{GaussianTaps, ReceptiveField, Upsample, UpsampleAdjoint};
use fcdd::{CudaError, Error};

use crate::epoch::{BATCH, COUNT, Trained, hypers, set};
use crate::support::{Gpu, on_device};

fn add(y: View) -> Step {
    Add { activation: Activation::IDENTITY, a: View::of(1, 8), b: View::of(2, 8), y }.into()
}

fn buffers(gpu: &Gpu, lengths: [usize; 3]) -> DeviceBuffers {
    DeviceBuffers::new(gpu.cuda(), &lengths.map(|len| (len, DType::F32)), &[], 0).unwrap()
}

#[track_caller]
fn refused(memory: &DeviceBuffers, step: impl Into<Step>, why: &str) {
    let step = step.into();
    let error = step.cuda(memory).err().unwrap_or_else(|| panic!("{step:?} ran")).to_string();
    assert!(error.contains(why), "{error}");
}

/// Kernels find the number of windows by a division that rounds towards zero: where there are none they would find one, or fewer than none.
/// Empty operands have the length of none.
#[test]
fn windows_that_fit_nowhere() {
    on_device(|gpu| {
        for dtype in [DType::F32, DType::Bf16] {
            let lengths = [(24, dtype), (0, dtype), (3136, dtype), (3136, DType::F32)];
            let memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[0], 0).unwrap();
            let view = |i: usize, len| View { dtype: lengths[i].1, ..View::of(i, len) };
            let (x, none, w, dw) = (view(0, 24), view(1, 0), view(2, 3136), view(3, 3136));
            let geometry = ConvGeometry { n: 3, h: 1, w: 1, c: 8, k: 8, side: 7, stride: 1, pad: 0 };
            let why = "its windows of 7×7 do not fit into maps of 1×1";
            let (stats, epilogue) = (None, Epilogue::NONE);
            refused(
                &memory,
                Fprop { geometry, x, w, b: None, y: none, stats, epilogue, algorithm: Algorithm::Direct },
                why,
            );
            refused(&memory, Dgrad { geometry, dy: none, w, dx: x, algorithm: Algorithm::Direct }, why);
            refused(&memory, Wgrad { geometry, x, dy: none, dw, db: None, algorithm: Algorithm::Direct }, why);
            // Kernels would divide by it.
            let geometry = ConvGeometry { side: 1, stride: 0, ..geometry };
            refused(
                &memory,
                Dgrad { geometry, dy: none, w: view(2, 64), dx: x, algorithm: Algorithm::Direct },
                "side 1 and stride 0",
            );

            let pool = PoolGeometry { n: 3, h: 1, w: 1, c: 8, side: 2, stride: 2, pad: 0 };
            let why = "its windows of 2×2 do not fit into maps of 1×1";
            let (norm, activation) = (None, Activation::IDENTITY);
            let argmax = Some(ByteView { buffer: ByteBufferId(0), len: 0 });
            let (batch_statistics, daffine) = (false, None);
            refused(&memory, NormActPool { pool, norm, activation, x, y: none, argmax }, why);
            let back =
                NormActPoolBackward { pool, norm, batch_statistics, activation, x, argmax, dy: none, dx: x, daffine };
            refused(&memory, back, why);
            refused(&memory, AveragePool { geometry: pool, x, y: none }, why);
            refused(&memory, AveragePoolBackward { geometry: pool, dy: none, dx: x }, why);
            // Its kernels know no padding.
            let geometry = PoolGeometry { pad: 1, ..pool };
            refused(&memory, AveragePool { geometry, x, y: view(2, 24) }, "it has no padding");
            refused(&memory, AveragePoolBackward { geometry, dy: view(2, 24), dx: x }, "it has no padding");
        }
    });
}

/// Kernels read and write 16 bytes at a time, from addresses that are multiples of it.
#[test]
fn operands_that_start_between_16_bytes() {
    on_device(|gpu| {
        let activation = Activation::IDENTITY;
        let pool = PoolGeometry::none(2, 2, 2, 8);
        let conv = ConvGeometry { n: 2, h: 2, w: 2, c: 8, k: 8, side: 1, stride: 1, pad: 0 };
        let head = ConvGeometry { k: 1, ..conv };
        let of = |channels, view| ConcatPart { channels, view: Some(view) };
        // Lengths of three operands, and a step of them.
        type Case<'a> = (&'a str, [usize; 3], &'a dyn Fn([View; 3]) -> Step);
        let cases: [Case; 8] = [
            ("add", [64; 3], &|[a, b, y]| Add { activation, a, b, y }.into()),
            ("add_backward", [64; 3], &|[y, dy, dx]| AddBackward { activation, y, dy, dx }.into()),
            ("concat", [64, 64, 128], &|[a, b, y]| {
                Concat { parts: [of(8, a), of(8, b)].into_iter().collect(), y }.into()
            }),
            ("concat_backward", [64, 64, 128], &|[a, b, dy]| {
                ConcatBackward { parts: [of(8, a), of(8, b)].into_iter().collect(), dy }.into()
            }),
            ("average_pool", [64, 64, 0], &|[x, y, _]| AveragePool { geometry: pool, x, y }.into()),
            ("average_pool_backward", [64, 64, 0], &|[dy, dx, _]| {
                AveragePoolBackward { geometry: pool, dy, dx }.into()
            }),
            ("norm_act_pool", [64, 64, 0], &|[x, y, _]| {
                NormActPool { pool, norm: None, activation, x, y, argmax: None }.into()
            }),
            ("norm_act_pool_backward", [64; 3], &|[x, dy, dx]| {
                let (norm, argmax, daffine) = (None, None, None);
                NormActPoolBackward { pool, norm, batch_statistics: false, activation, x, argmax, dy, dx, daffine }
                    .into()
            }),
        ];
        let f32s = |i: usize, len| View::of(3 + i, len);
        let heads: [Case; 2] = [
            ("head", [64, 0, 0], &|[x, ..]| {
                let [w, z, a, score] = [(0, 8), (1, 8), (2, 8), (3, 2)].map(|(i, len)| f32s(i, len));
                Head { geometry: head, x, w, b: None, z, a, score, labels: None }.into()
            }),
            ("head_backward", [64, 64, 0], &|[x, dx, _]| {
                let [w, dz, dw] = [0, 1, 2].map(|i| f32s(i, 8));
                HeadBackward { geometry: head, x, w, dz, dx: Some(dx), dw, db: None }.into()
            }),
        ];
        let of_bf16: [Case; 4] = [
            ("cast", [64, 0, 0], &|[y, ..]| Cast { x: f32s(0, 64), y }.into()),
            ("conv_fprop", [64; 3], &|[x, w, y]| {
                Fprop {
                    geometry: conv,
                    x,
                    w,
                    b: None,
                    y,
                    stats: None,
                    epilogue: Epilogue::NONE,
                    algorithm: Algorithm::Direct,
                }
                .into()
            }),
            ("conv_dgrad", [64; 3], &|[dy, w, dx]| {
                Dgrad { geometry: conv, dy, w, dx, algorithm: Algorithm::Direct }.into()
            }),
            ("conv_wgrad", [64, 64, 0], &|[x, dy, _]| {
                Wgrad { geometry: conv, x, dy, dw: f32s(0, 64), db: None, algorithm: Algorithm::Direct }.into()
            }),
        ];
        for dtype in [DType::F32, DType::Bf16] {
            let bf16 = if dtype == DType::Bf16 { &of_bf16[..] } else { &[] };
            let lengths = [[(129, dtype); 3].as_slice(), &[(64, DType::F32); 4]].concat();
            let memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[], 1 << 10).unwrap();
            for (name, lengths, step) in cases.iter().chain(&heads).chain(bf16) {
                let views = |crooked: usize| {
                    std::array::from_fn(|i| View { start: usize::from(i == crooked), dtype, ..View::of(i, lengths[i]) })
                };
                step(views(3)).cuda(&memory).unwrap_or_else(|error| panic!("{name} of {dtype:?}: {error}"));
                for crooked in (0..3).filter(|&i| lengths[i] > 0) {
                    refused(&memory, step(views(crooked)), "starts at element 1, at no multiple of 16 bytes");
                }
            }
        }
        let memory = buffers(gpu, [65, 1, 1]);
        let x = View { start: 1, ..View::of(0, 64) };
        refused(&memory, Cast { x, y: View::of(1, 64).bf16() }, "its x starts at element 1");
        gpu.cuda().synchronize().unwrap();
    });
}

/// The kernel goes to the places of the layers.
#[test]
fn weights_that_lie_elsewhere() {
    on_device(|gpu| {
        let lengths = [(30, DType::F32), (80, DType::Bf16)];
        let mut memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[], 0).unwrap();
        let (params, casts) = (View::of(0, 30), View::of(1, 80).bf16());
        let geometry = ConvGeometry { n: 1, h: 1, w: 1, c: 3, k: 5, side: 1, stride: 1, pad: 0 };
        let layer = |form: WeightForm, start| CastLayer {
            form,
            geometry,
            source: View { start: 15, len: 15, ..params },
            target: View { start, len: form.len(&geometry), ..casts },
        };
        let (first, second) = (layer(WeightForm::Krsc, 0), layer(WeightForm::Flipped, 40));
        let step = |layers: &[CastLayer]| CastWeights { params, casts, layers: layers.to_vec() };
        refused(&memory, step(&[first, second]), "does not hold its table");
        memory.hold_table(step(&[first, second]).table()).unwrap();
        Step::from(step(&[first, second])).cuda(&memory).unwrap();
        refused(&memory, step(&[first]), "does not hold its table");
        refused(&memory, step(&[]), "it has no layers");
        let outside = "its layer 1 does not lie within parameters and casts";
        let source = |start, len| CastLayer { source: View { start, len, ..params }, ..second };
        refused(&memory, step(&[first, source(16, 15)]), outside);
        refused(&memory, step(&[first, source(15, 14)]), outside);
        refused(&memory, step(&[first, CastLayer { source: View::of(1, 15), ..second }]), outside);
        refused(&memory, step(&[first, layer(WeightForm::Flipped, 64)]), outside);
        refused(
            &memory,
            step(&[first, CastLayer { target: View { dtype: DType::F32, ..second.target }, ..second }]),
            outside,
        );
        for start in [32, 44] {
            let moved = step(&[first, layer(WeightForm::Flipped, start)]);
            refused(&memory, moved, "the cast of its layer 1 does not start at a multiple of 8 behind the others");
        }
        gpu.cuda().synchronize().unwrap();
    });
}

#[test]
fn steps_whose_operands_do_not_fit() {
    on_device(|gpu| {
        let memory = buffers(gpu, [1 << 16, 8, 8]);
        let error = add(View::of(0, 1 << 16)).cuda(&memory).unwrap_err().to_string();
        assert!(error.contains("its a has 8 elements, 65536 are needed"), "{error}");
        let behind = add(View { start: 1 << 16, ..View::of(0, 8) });
        refused(&memory, behind, "its y starts at element 65536 and has 8, its buffer has 65536");
        // The last element of the view would be the first of all memory again.
        let wraps = add(View { start: usize::MAX - 3, len: 8, ..View::of(0, 8) });
        refused(&memory, wraps, "its y starts at");
        refused(&memory, add(View::of(3, 8)), "its y lies in no buffer of F32");
        add(View::of(0, 8)).cuda(&memory).unwrap();
        gpu.cuda().synchronize().unwrap();
    });
}

/// A part that is absent is null to the kernel.
#[test]
fn parts_that_are_not_there() {
    on_device(|gpu| {
        let memory = buffers(gpu, [8, 8, 16]);
        let part = |view| ConcatPart { channels: 1, view };
        let concat =
            |b| Concat { parts: [part(Some(View::of(0, 8))), part(b)].into_iter().collect(), y: View::of(2, 16) };
        Step::from(concat(Some(View::of(1, 8)))).cuda(&memory).unwrap();
        refused(&memory, concat(None), "its b is not there");
        // Of gradients those that are wanted are there.
        let parts = [part(Some(View::of(0, 8))), part(None)].into_iter().collect();
        Step::from(ConcatBackward { parts, dy: View::of(2, 16) }).cuda(&memory).unwrap();
        gpu.cuda().synchronize().unwrap();
    });
}

/// Kernels know one Gaussian for all outputs; folded taps are a number for each.
#[test]
fn taps_that_are_folded() {
    on_device(|gpu| {
        let memory = buffers(gpu, [4, 4, 2]);
        let field = ReceptiveField { n: 2, jump: 2, size: 3, shift: 0.0 };
        let taps = GaussianTaps::new(field, 4, 1.0).folded(2);
        let (a, out, kernel) = (View::of(0, 4), View::of(1, 4), View::of(2, 2));
        refused(&memory, Upsample { taps: taps.clone(), kernel, u: 2, a, out }, "its taps are folded");
        refused(&memory, UpsampleAdjoint { taps, kernel, u: 2, dout: out, da: a }, "its taps are folded");
    });
}

/// Their kernels take numbers of one type, those of bf16 with a stride of 1.
#[test]
fn gradients_without_a_kernel() {
    on_device(|gpu| {
        let lengths = [(128, DType::Bf16), (64, DType::Bf16), (32, DType::Bf16), (128, DType::F32)];
        let memory = DeviceBuffers::new(gpu.cuda(), &lengths, &[], 1 << 10).unwrap();
        let view = |i: usize, len| View { dtype: lengths[i].1, ..View::of(i, len) };
        let (x, w, dy, dw) = (view(0, 128), view(1, 64), view(2, 32), view(3, 64));
        let geometry = ConvGeometry { n: 1, h: 4, w: 4, c: 8, k: 8, side: 1, stride: 2, pad: 0 };
        let why = "its kernels of Bf16 do not have its stride, 2";
        refused(&memory, Dgrad { geometry, dy, w, dx: x, algorithm: Algorithm::Direct }, why);
        refused(&memory, Wgrad { geometry, x, dy, dw, db: None, algorithm: Algorithm::Direct }, why);
        let geometry = ConvGeometry { stride: 1, ..geometry };
        refused(
            &memory,
            Wgrad { geometry, x: view(3, 128), dy, dw, db: None, algorithm: Algorithm::Direct },
            "its dy is of Bf16, its kernels take F32",
        );
    });
}

/// A pointer to numbers of another type, or to bytes behind a buffer, would be none.
#[test]
fn operands_that_memory_does_not_have() {
    on_device(|gpu| {
        let reals = [(16, DType::Bf16), (16, DType::F32), (16, DType::F32)];
        let memory = DeviceBuffers::new(gpu.cuda(), &reals, &[3], 0).unwrap();
        let [a, b, y] = std::array::from_fn(|buffer| View::of(buffer, 16));
        let add = |a, b| Add { activation: Activation::RELU, a, b, y };
        refused(&memory, add(a.bf16(), b), "its b is of F32, its kernels take Bf16 beside such an a");
        refused(&memory, add(a, b), "its a lies in no buffer of F32");
        let half = [a, b].map(View::bf16);
        refused(&memory, Dropout { seed: 0, number: 0, n: 1, x: half[0], y: half[1] }, "its x is of Bf16");
        let pool = PoolGeometry { side: 2, stride: 2, ..PoolGeometry::none(1, 4, 4, 1) };
        let argmax = Some(ByteView { buffer: ByteBufferId(0), len: 4 });
        let activation = Activation::IDENTITY;
        let max = NormActPool { pool, norm: None, activation, x: b, y: View { len: 4, ..y }, argmax };
        refused(&memory, max, "its argmax has 4 bytes, its buffer has 3");
        gpu.cuda().synchronize().unwrap();
    });
}

/// Nor do those that are timed side by side run there.
#[test]
fn tiles_whose_operands_memory_does_not_have() {
    on_device(|gpu| {
        let memory = buffers(gpu, [128, 64, 128]);
        let [x, w, y] = [(0, 128), (1, 64), (2, 128)].map(|(buffer, len)| View::of(buffer, len).bf16());
        let geometry = ConvGeometry { n: 1, h: 4, w: 4, c: 8, k: 8, side: 1, stride: 1, pad: 0 };
        let step = Step::from(Fprop {
            geometry,
            x,
            w,
            b: None,
            y,
            stats: None,
            epilogue: Epilogue::NONE,
            algorithm: Algorithm::Direct,
        });
        let candidates = step.candidates(gpu.cuda());
        assert!(!candidates.is_empty());
        for candidate in candidates {
            let error = candidate.cuda(&memory).unwrap_err().to_string();
            assert!(error.contains("its x lies in no buffer of Bf16"), "{error}");
        }
    });
}

#[test]
fn steps_without_their_workspace() {
    on_device(|gpu| {
        let geometry = ConvGeometry { n: 64, h: 16, w: 16, c: 4, k: 8, side: 3, stride: 1, pad: 1 };
        let views = [geometry.x_len(), geometry.y_len(), geometry.w_len()];
        let memory = buffers(gpu, views);
        let [x, dy, dw] = [0, 1, 2].map(|i| View::of(i, views[i]));
        let step = Step::from(Wgrad { geometry, x, dy, dw, db: None, algorithm: Algorithm::Direct });
        assert!(step.cuda_workspace() > 0);
        let error = step.cuda(&memory).unwrap_err().to_string();
        assert!(error.contains("its workspace has 0 elements"), "{error}");
    });
}

#[test]
fn more_memory_than_there_can_be() {
    on_device(|gpu| {
        // 2⁶² · 4 bytes are 0 in 64 bits.
        let error = gpu.cuda().alloc::<f32>(1 << 62).err().unwrap().to_string();
        assert!(error.contains("out of GPU memory"), "{error}");
    });
}

#[test]
fn batches_that_have_no_room() {
    on_device(|gpu| {
        let set = set(Supervise::MalformedNormalGt, NoiseMode::Blob);
        let (cuda, p) = (gpu.cuda(), &set.data().preprocessing);
        let device = DeviceSet::new(cuda, &set, BATCH).unwrap();
        let room = |len| cuda.zeros::<f32>(len).unwrap();
        let made = |inputs: usize, labels: usize, maps: usize| {
            let [inputs, labels, maps] = [inputs, labels, maps].map(room);
            let into = [&inputs, &labels, &maps].map(Buffer::as_slice);
            device.draw(0, &set.order(0), (0, BATCH), into).map(drop).map_err(|error| error.to_string())
        };
        let (inputs, pixels) = (BATCH * p.input_len(), BATCH * p.side * p.side);
        made(inputs, BATCH, pixels).unwrap();
        assert!(made(inputs - 1, BATCH, pixels).unwrap_err().contains("values of inputs"));
        assert!(made(inputs, BATCH - 1, pixels).unwrap_err().contains("labels"));
        assert!(made(inputs, BATCH, pixels - 1).unwrap_err().contains("pixels of maps"));
        let memory = buffers(gpu, [inputs + 1, 1, 1]);
        let [labels, maps] = [BATCH, pixels].map(room);
        let into = [memory.slice(View { start: 1, ..View::of(0, inputs) }), labels.as_slice(), maps.as_slice()];
        let error = device.draw(0, &set.order(0), (0, BATCH), into).unwrap_err().to_string();
        assert!(error.contains("values of inputs do not start at a multiple of 16 bytes"), "{error}");
        let tests = DeviceTestSet::with_room(cuda, p, 4).unwrap();
        let error = tests.enqueue(0, 4, room(4 * p.input_len() - 1).as_slice()).unwrap_err().to_string();
        assert!(error.contains("values of inputs"), "{error}");
        let beyond = || tests.enqueue(usize::MAX - 1, 4, room(4 * p.input_len()).as_slice());
        assert!(catch_unwind(AssertUnwindSafe(beyond)).is_err());
        cuda.synchronize().unwrap();
    });
}

/// Each opening of a device has a stream of its own: steps would not wait for a batch that is made in another's.
#[test]
fn batches_of_another_opening_of_the_device() {
    on_device(|gpu| {
        let set = set(Supervise::Unsupervised, NoiseMode::Confetti);
        let there = DeviceSet::new(&Cuda::open(0).unwrap(), &set, BATCH).unwrap();
        let mut network = Trained::PLAIN.network(&gpu.device);
        network.attach(Box::new(there), COUNT).unwrap();
        let error = network.epoch(0, &set.order(0), &hypers(0), |_, _, _| Ok(true)).unwrap_err().to_string();
        assert!(error.contains("another opening of a device"), "{error}");
    });
}

/// Within an epoch its order and hyperparameters are in use; inference does not change what it trains.
#[test]
fn epochs_within_epochs() {
    on_device(|gpu| {
        let set = set(Supervise::Unsupervised, NoiseMode::Confetti);
        let source = || Box::new(DeviceSet::new(gpu.cuda(), &set, BATCH).unwrap());
        let attached = |samples| {
            let mut network = Trained::PLAIN.network(&gpu.device);
            network.attach(source(), samples).unwrap();
            network
        };
        let (order, hypers) = (set.order(1), hypers(1));
        let mut alone = attached(COUNT);
        let expected = alone.epoch(1, &order, &hypers, |_, _, _| Ok(true)).unwrap();
        assert_eq!(expected.losses.len(), COUNT);

        let mut network = attached(COUNT);
        let log = network.epoch(1, &order, &hypers, |network, _, _| {
            let hyper = &hypers[0];
            let within = |result: Result<(), Error>| {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("the network is within an epoch"), "{error}");
            };
            within(network.epoch(0, &order, &hypers, |_, _, _| Ok(true)).map(drop));
            within(network.attach(source(), 1));
            within(network.train(BATCH, hyper).map(drop));
            within(network.forward(BATCH, hyper));
            within(network.backward(BATCH));
            within(network.captured(&[], hyper, |_, _| Ok(())));
            within(network.time(&[], hyper, || Ok(())).map(drop));
            network.infer(BATCH)?;
            Ok(true)
        });
        assert_eq!(log.unwrap(), expected);
        assert_eq!(network.weights().unwrap(), alone.weights().unwrap());
        // What runs after the last batch has hyperparameters too.
        let step = network.plan(BATCH).unwrap().update[0].clone();
        network.launch(&step).unwrap();
        gpu.cuda().synchronize().unwrap();

        // An epoch that panics or fails is over.
        let panics = || network.epoch(0, &order, &hypers, |_, _, _| panic!("on purpose")).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        network.train(BATCH, &hypers[0]).unwrap();
        network.epoch(0, &order, &hypers, |_, _, _| Err(CudaError::NoBf16.into())).unwrap_err();
        network.train(BATCH, &hypers[0]).unwrap();

        // The order and the hyperparameters of an epoch lie in the memory of its own network.
        let mut other = attached(1);
        let exchanged = network.epoch(0, &order, &hypers, |network, _, _| {
            std::mem::swap(network, &mut other);
            Ok(true)
        });
        assert!(exchanged.unwrap_err().to_string().contains("the epoch is another network's"));
    });
}
