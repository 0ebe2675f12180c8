//! The plain stand-in: CUDA C++, the driver API, and the faults that are found without the checked build.

mod common;
use common::{Gpu, config, numbers};
use cudarc::driver::{LaunchConfig, result, sys};
use fcdd_standin::{CpAsync, Device, Mode, Options, Order};

const ORDERS: [Order; 4] = [Order::Ascending, Order::Descending, Order::Shuffled(1), Order::Shuffled(2)];

fn bf16(x: f32) -> u16 {
    let u = x.to_bits();
    if x.is_nan() { 0x7fff } else { ((u + 0x7fff + (u >> 16 & 1)) >> 16) as u16 }
}
fn from_bf16(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

// ---- CUDA C++

#[test]
fn grid_stride_loop_has_the_bits_of_fused_multiply_add() {
    let Some(gpu) = Gpu::plain() else { return };
    let (x, y) = (numbers(10_007, 1), numbers(10_007, 2));
    let (dx, mut dy) = (gpu.stream.clone_htod(&x).unwrap(), gpu.stream.clone_htod(&y).unwrap());
    launch!(gpu, "basic_saxpy", config(7, 256, 0), &dx, &mut dy, &0.3f32, &10_007i32).unwrap();
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 0.3f32.mul_add(*x, *y)).collect();
    assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), want);
}

#[test]
fn indices_in_three_dimensions() {
    let Some(gpu) = Gpu::plain() else { return };
    let (grid, block) = ((3, 4, 2), (5, 2, 3));
    let mut out = gpu.stream.alloc_zeros::<u32>(24 * 30 * 4).unwrap();
    launch!(gpu, "basic_indices", LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes: 0 }, &mut out)
        .unwrap();
    let got = gpu.stream.clone_dtoh(&out).unwrap();
    for (i, v) in got.chunks(4).enumerate() {
        let (b, t) = (i as u32 / 30, i as u32 % 30);
        assert_eq!(v, [(b % 3) | ((b / 3 % 4) << 8) | ((b / 12) << 16), t % 5, t / 5 % 2, t / 10]);
    }
}

#[test]
fn orders_of_blocks_and_threads() {
    let Some(gpu) = Gpu::plain() else { return };
    let run = |order| {
        fcdd_standin::set_order(order);
        let mut blocks = gpu.stream.alloc_zeros::<u32>(10).unwrap();
        let mut threads = gpu.stream.alloc_zeros::<u32>(640).unwrap();
        let mut counters = gpu.stream.alloc_zeros::<u32>(2).unwrap();
        launch!(gpu, "basic_order", config(10, 64, 0), &mut blocks, &mut threads, &mut counters).unwrap();
        (gpu.stream.clone_dtoh(&blocks).unwrap(), gpu.stream.clone_dtoh(&threads).unwrap()[..64].to_vec())
    };
    // The last thread to come to the barrier goes on first.
    let after_barrier = |mut threads: Vec<u32>| {
        let last = threads.remove(0);
        (last, threads)
    };
    let (blocks, threads) = run(Order::Ascending);
    assert_eq!(blocks, (0..10).collect::<Vec<_>>());
    assert_eq!(after_barrier(threads).0, 63);
    let (blocks, threads) = run(Order::Descending);
    assert_eq!(blocks, (0..10).rev().collect::<Vec<_>>());
    assert_eq!(after_barrier(threads).0, 0);
    let one = run(Order::Shuffled(1));
    assert_eq!(one, run(Order::Shuffled(1)), "a seed stands for one order");
    assert_ne!(one, run(Order::Shuffled(2)));
    let sorted = |mut v: Vec<u32>| {
        v.sort();
        v
    };
    assert_eq!((sorted(one.0), sorted(one.1)), ((0..10).collect(), (0..64).collect()));
}

#[test]
fn barriers_and_shared_memory_in_every_order() {
    let Some(gpu) = Gpu::plain() else { return };
    for order in ORDERS {
        fcdd_standin::set_order(order);
        for (name, n) in [("basic_rotate_96", 96usize), ("basic_rotate_1000", 1000)] {
            let x: Vec<i32> = (0..n as i32).collect();
            let dx = gpu.stream.clone_htod(&x).unwrap();
            let mut dy = gpu.stream.alloc_zeros::<i32>(n).unwrap();
            launch!(gpu, name, config(1, n as u32, 4 * n as u32), &dx, &mut dy, &7i32).unwrap();
            let want: Vec<i32> = (0..n).map(|i| ((i + 7) % n) as i32).collect();
            assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), want, "{name} {order:?}");
        }
    }
}

#[test]
fn shuffles_votes_and_reductions() {
    let Some(gpu) = Gpu::plain() else { return };
    let x: Vec<i32> = (0..32).map(|i| (i * 37 + 11) % 1000).collect();
    for order in ORDERS {
        fcdd_standin::set_order(order);
        let dx = gpu.stream.clone_htod(&x).unwrap();
        let mut dy = gpu.stream.alloc_zeros::<i32>(384).unwrap();
        launch!(gpu, "basic_warp", config(1, 32, 0), &dx, &mut dy).unwrap();
        let y = gpu.stream.clone_dtoh(&dy).unwrap();
        let ballot = (0..32).fold(0u32, |b, i| b | ((x[i] as u32 & 1) << i)) as i32;
        for t in 0..32usize {
            let want = [
                x[5],
                x[t / 8 * 8 + (t + 3) % 8],
                x[if t >= 3 { t - 3 } else { t }],
                x[if t % 16 >= 1 { t - 1 } else { t }],
                x[if t + 7 < 32 { t + 7 } else { t }],
                x[if t % 4 + 2 < 4 { t + 2 } else { t }],
                x[t ^ 17],
                ballot,
                1,
                x.iter().sum(),
                *x.iter().max().unwrap(),
                x[t ^ 1],
            ];
            let got: Vec<i32> = (0..12).map(|row| y[row * 32 + t]).collect();
            assert_eq!(got, want, "lane {t}, {order:?}");
        }
    }
}

#[test]
fn votes_of_a_block() {
    let Some(gpu) = Gpu::plain() else { return };
    let x: Vec<i32> = (0..96).map(|i| i % 3).collect();
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let mut dy = gpu.stream.alloc_zeros::<i32>(96).unwrap();
    launch!(gpu, "basic_block_votes", config(1, 96, 0), &dx, &mut dy).unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), vec![32 * 4 + 1; 96]);
}

#[test]
fn threads_may_end_before_a_barrier() {
    let Some(gpu) = Gpu::plain() else { return };
    for order in ORDERS {
        fcdd_standin::set_order(order);
        let mut dy = gpu.stream.alloc_zeros::<i32>(70).unwrap();
        launch!(gpu, "basic_early_exit", config(1, 128, 0), &mut dy, &70i32).unwrap();
        assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), vec![69 * 70 / 2; 70]);
    }
}

#[test]
fn asynchronous_copies_come_late_or_early_and_fill_with_zeros() {
    let Some(gpu) = Gpu::plain() else { return };
    let x: Vec<i32> = (1..=12).collect();
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let run = |when| {
        fcdd_standin::set_cp_async(when);
        let mut dy = gpu.stream.alloc_zeros::<i32>(36).unwrap();
        launch!(gpu, "basic_cp_async", config(1, 1, 0), &dx, &mut dy).unwrap();
        let y = gpu.stream.clone_dtoh(&dy).unwrap();
        [y[..12].to_vec(), y[12..24].to_vec(), y[24..].to_vec()]
    };
    let before = vec![-7; 12];
    let first = vec![1, 2, 3, 4, -7, -7, -7, -7, -7, -7, -7, -7];
    let all = vec![1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0];
    assert_eq!(run(CpAsync::Late), [before, first, all.clone()]);
    assert_eq!(run(CpAsync::Early), [all.clone(), all.clone(), all]);
}

#[test]
fn ldmatrix_gives_each_lane_its_elements() {
    let Some(gpu) = Gpu::plain() else { return };
    let x: Vec<u16> = (0..256).collect();
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let mut dy = gpu.stream.alloc_zeros::<u32>(384).unwrap();
    launch!(gpu, "basic_ldmatrix", config(1, 32, 0), &dx, &mut dy).unwrap();
    let y = gpu.stream.clone_dtoh(&dy).unwrap();
    let at = |m: usize, r: usize, c: usize| (m * 64 + r * 8 + c) as u32;
    for lane in 0..32 {
        let (r, c) = (lane / 4, 2 * (lane % 4));
        let straight = |m| at(m, r, c) | at(m, r, c + 1) << 16;
        let turned = |m| at(m, c, r) | at(m, c + 1, r) << 16;
        let want: Vec<u32> = (0..4)
            .map(straight)
            .chain((0..4).map(turned))
            .chain((0..2).map(straight))
            .chain((0..2).map(turned))
            .collect();
        assert_eq!(y[lane * 12..lane * 12 + 12], want, "lane {lane}");
    }
}

#[test]
fn mma_is_a_matrix_product() {
    let Some(gpu) = Gpu::plain() else { return };
    // Small integers: exact in bf16 and in any order of addition.
    let ints = |n, seed| -> Vec<f32> { numbers(n, seed).iter().map(|v| (v * 8.0).round()).collect() };
    let (a, b, c) = (ints(256, 1), ints(128, 2), ints(128, 3));
    let (da, db, dc) =
        (gpu.stream.clone_htod(&a).unwrap(), gpu.stream.clone_htod(&b).unwrap(), gpu.stream.clone_htod(&c).unwrap());
    let mut dd = gpu.stream.alloc_zeros::<f32>(128).unwrap();
    launch!(gpu, "basic_mma", config(1, 32, 0), &da, &db, &dc, &mut dd).unwrap();
    let d = gpu.stream.clone_dtoh(&dd).unwrap();
    for (i, row) in d.chunks(8).enumerate() {
        for (j, v) in row.iter().enumerate() {
            let want = c[i * 8 + j] + (0..16).map(|k| a[i * 16 + k] * b[k * 8 + j]).sum::<f32>();
            assert_eq!(*v, want, "{i} {j}");
        }
    }
}

#[test]
fn a_tensor_core_product_of_odd_size_in_every_order() {
    let Some(gpu) = Gpu::plain() else { return };
    let (m, n, k) = (70usize, 72usize, 88usize);
    let half = |count, seed| -> Vec<u16> { numbers(count, seed).into_iter().map(bf16).collect() };
    let (a, b) = (half(m * k, 1), half(k * n, 2));
    let (da, db) = (gpu.stream.clone_htod(&a).unwrap(), gpu.stream.clone_htod(&b).unwrap());
    for (order, when) in ORDERS.into_iter().flat_map(|o| [(o, CpAsync::Late), (o, CpAsync::Early)]) {
        fcdd_standin::set_order(order);
        fcdd_standin::set_cp_async(when);
        // SAFETY: the kernel writes all of it, or the comparison meets NaN.
        let mut dc = unsafe { gpu.stream.alloc::<f32>(m * n) }.unwrap();
        let shape = LaunchConfig {
            grid_dim: (n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1),
            block_dim: (128, 1, 1),
            shared_mem_bytes: (2 * 64 * 40 + 2 * 32 * 72) * 2,
        };
        let (mi, ni, ki) = (m as i32, n as i32, k as i32);
        launch!(gpu, "basic_gemm", shape, &da, &db, &mut dc, &mi, &ni, &ki).unwrap();
        let c = gpu.stream.clone_dtoh(&dc).unwrap();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let want: f64 =
                (0..k).map(|q| f64::from(from_bf16(a[i * k + q])) * f64::from(from_bf16(b[q * n + j]))).sum();
            assert!((f64::from(c[i * n + j]) - want).abs() < 1e-5, "{i} {j} {order:?} {when:?}");
        }
    }
}

#[test]
fn conversions_to_bf16_round_to_nearest_even() {
    let Some(gpu) = Gpu::plain() else { return };
    let mut x = numbers(100, 1);
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-42]);
    x.extend([0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff].map(f32::from_bits));
    let n = x.len() as i32;
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let mut dy = gpu.stream.alloc_zeros::<u16>(x.len()).unwrap();
    let mut back = gpu.stream.alloc_zeros::<f32>(x.len()).unwrap();
    launch!(gpu, "basic_bf16", config(1, 32, 0), &dx, &mut dy, &mut back, &n).unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), x.iter().map(|v| bf16(*v)).collect::<Vec<_>>());
    let back = gpu.stream.clone_dtoh(&back).unwrap();
    assert!((0..100).all(|i| back[i] == from_bf16(bf16(x[i]))));
}

#[test]
fn functions_of_float() {
    let Some(gpu) = Gpu::plain() else { return };
    let n = 333usize;
    let x: Vec<f32> = numbers(n, 4).iter().map(|v| v * 3.0).collect();
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let mut dy = gpu.stream.alloc_zeros::<f32>(8 * n).unwrap();
    launch!(gpu, "basic_math", config(1, 64, 0), &dx, &mut dy, &333i32).unwrap();
    let y = gpu.stream.clone_dtoh(&dy).unwrap();
    let near = |a: f32, b: f32| (a - b).abs() <= 4.0 * f32::EPSILON * b.abs();
    for (i, &v) in x.iter().enumerate() {
        let row = |r: usize| y[r * n + i];
        assert_eq!(row(0), v.abs().sqrt());
        assert!(near(row(1), f64::from(v).exp_m1() as f32) && near(row(2), f64::from(1.0 + v.abs()).ln() as f32));
        assert_eq!(row(3), v.min(0.25) + v.max(-0.25));
        assert_eq!(row(4), (v * 10.0).round_ties_even());
        assert_eq!(row(5), -v);
        assert_eq!(row(6), [0.25, 0.5, 0.25][i % 3] * v + v);
        assert_eq!(row(7), v * 1.1 - v);
    }
}

#[test]
fn integer_operations() {
    let Some(gpu) = Gpu::plain() else { return };
    let mut dy = gpu.stream.alloc_zeros::<u32>(160).unwrap();
    launch!(gpu, "basic_integers", config(1, 32, 0), &mut dy).unwrap();
    let y = gpu.stream.clone_dtoh(&dy).unwrap();
    for t in 0..32u32 {
        let a = t.wrapping_mul(0x9E3779B9).wrapping_add(7);
        let want = [
            ((u64::from(a) * 0xD2511F53) >> 32) as u32,
            ((u64::from(a).wrapping_mul(0xCD9E8D57)) >> 17) as u32,
            a.count_ones() + 100 * a.leading_zeros() + 10000 * (a.trailing_zeros() + 1),
            (if t & 1 == 1 { i32::MIN } else { i32::MAX }) as u32,
            a.min(5) + t.max(3),
        ];
        assert_eq!([0, 1, 2, 3, 4].map(|row| y[row * 32 + t as usize]), want, "{t}");
    }
}

#[test]
fn bytes_through_vectors() {
    let Some(gpu) = Gpu::plain() else { return };
    let x: Vec<u8> = (0..400).map(|i| (i * 7) as u8).collect();
    let dx = gpu.stream.clone_htod(&x).unwrap();
    let mut dy = gpu.stream.alloc_zeros::<f32>(400).unwrap();
    launch!(gpu, "basic_bytes", config(4, 32, 0), &dx, &mut dy, &100i32).unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), x.iter().map(|v| f32::from(*v)).collect::<Vec<_>>());
}

#[test]
fn atomics_with_several_workers() {
    let options = Options { quiet: true, threads: 2, ..Options::default() };
    let Some(gpu) = Gpu::new(options) else { return };
    let mut dy = gpu.stream.clone_htod(&[0i32, 0, 99, 0, 0, 0, 0]).unwrap();
    launch!(gpu, "basic_atomics", config(64, 32, 0), &mut dy).unwrap();
    let y = gpu.stream.clone_dtoh(&dy).unwrap();
    assert_eq!([&y[..5], &y[6..]].concat(), [64 * 496, 31, 0, 255, 9, 2048 % 10]);
    assert!((1..=32).contains(&y[5]));
}

// ---- the driver

#[test]
fn launch_limits_are_a_drivers() {
    let Some(gpu) = Gpu::plain() else { return };
    let mut y = gpu.stream.alloc_zeros::<i32>(1000).unwrap();
    let x = gpu.stream.alloc_zeros::<i32>(1000).unwrap();
    let invalid = Err(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    let code = |r: Result<_, cudarc::driver::DriverError>| r.map(|_: Option<_>| ()).map_err(|e| e.0);
    let run = |y: &mut _, c| code(launch!(gpu, "basic_rotate_96", c, &x, y, &1i32));
    assert_eq!(run(&mut y, config(1, 128, 512)), invalid, "more threads than __launch_bounds__");
    assert_eq!(run(&mut y, config(1, 96, 50_000)), invalid, "48 KiB without asking");
    assert!(
        fcdd_standin::last_report().unwrap().starts_with("kernel basic_rotate_96 cannot be launched with grid (1,1,1)")
    );
    assert_eq!(run(&mut y, config(0, 96, 400)), invalid);
    let high = LaunchConfig { grid_dim: (1, 70_000, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
    assert_eq!(run(&mut y, high), invalid);
    let function = gpu.kernel("basic_rotate_96");
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert!(function.set_attribute(attribute, 300_000).is_err());
    function.set_attribute(attribute, 100_000).unwrap();
    assert_eq!(run(&mut y, config(1, 96, 100_000)), Ok(()));
    function.set_attribute(attribute, 48 << 10).unwrap();
    assert_eq!(function.get_attribute(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK).unwrap(), 96);
    gpu.sync().unwrap();
    assert!(gpu.module.load_function("no_such_kernel").is_err());
    assert!(
        gpu.context.load_module(cudarc::nvrtc::Ptx::from_binary(vec![0; 64])).is_err(),
        "neither fatbin nor cubin nor PTX"
    );
}

#[test]
fn a_graph_replays_what_was_captured() {
    let Some(gpu) = Gpu::plain() else { return };
    let x = gpu.stream.clone_htod(&[1f32; 100]).unwrap();
    let mut y = gpu.stream.alloc_zeros::<f32>(100).unwrap();
    gpu.sync().unwrap();
    let capture = |y: &mut cudarc::driver::CudaSlice<f32>, a: f32| {
        gpu.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        launch!(gpu, "basic_saxpy", config(1, 64, 0), &x, &mut *y, &a, &100i32).unwrap();
        launch!(gpu, "basic_saxpy", config(1, 64, 0), &x, &mut *y, &a, &100i32).unwrap();
        gpu.stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap()
    };
    let graph = capture(&mut y, 1.0);
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), [0f32; 100], "a capture does not run");
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), [6f32; 100]);
    // Update: other parameters in the same nodes.
    let other = capture(&mut y, 10.0);
    let mut nodes = 0;
    // SAFETY: live graphs of this test, and a result structure of the API.
    unsafe {
        sys::cuGraphGetNodes(graph.cu_graph(), std::ptr::null_mut(), &mut nodes).result().unwrap();
        let mut info = std::mem::zeroed();
        sys::cuGraphExecUpdate_v2(graph.cu_graph_exec(), other.cu_graph(), &mut info).result().unwrap();
    }
    assert_eq!(nodes, 2);
    graph.launch().unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), [26f32; 100]);
}

#[test]
fn a_capture_forbids_waiting_and_uncaptured_events() {
    let Some(gpu) = Gpu::plain() else { return };
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let event = gpu.stream.record_event(None).unwrap();
    gpu.stream.begin_capture(mode).unwrap();
    assert_eq!(gpu.sync().unwrap_err().0, sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    let end = gpu.stream.end_capture(sys::CUgraphInstantiate_flags(0));
    assert_eq!(end.err().unwrap().0, sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    gpu.stream.begin_capture(mode).unwrap();
    assert_eq!(gpu.stream.wait(&event).unwrap_err().0, sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert!(gpu.stream.end_capture(sys::CUgraphInstantiate_flags(0)).is_err());
    gpu.sync().unwrap();
}

#[test]
fn a_second_stream_joins_a_capture_by_events_and_has_to_come_back() {
    let Some(gpu) = Gpu::plain() else { return };
    let side = gpu.context.new_stream().unwrap();
    let x = gpu.stream.clone_htod(&[1f32; 10]).unwrap();
    let mut y = gpu.stream.alloc_zeros::<f32>(10).unwrap();
    let record = |y: &mut cudarc::driver::CudaSlice<f32>, back: bool| {
        use cudarc::driver::PushKernelArg;
        gpu.stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        side.wait(&gpu.stream.record_event(None).unwrap()).unwrap();
        let function = gpu.kernel("basic_saxpy");
        // SAFETY: the kernel's own arguments.
        unsafe { side.launch_builder(&function).arg(&x).arg(y).arg(&1f32).arg(&10i32).launch(config(1, 32, 0)) }
            .unwrap();
        if back {
            gpu.stream.wait(&side.record_event(None).unwrap()).unwrap();
        }
        gpu.stream.end_capture(sys::CUgraphInstantiate_flags(0))
    };
    let lost = record(&mut y, false).err().unwrap();
    assert_eq!(lost.0, sys::CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    record(&mut y, true).unwrap().unwrap().launch().unwrap();
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), [1f32; 10]);
}

#[test]
fn lazy_streams_run_when_waited_for() {
    let Some(gpu) = Gpu::plain() else { return };
    fcdd_standin::set_lazy(true);
    let launches = || fcdd_standin::statistics().launches;
    let x = gpu.stream.clone_htod(&[1f32; 10]).unwrap();
    let mut y = gpu.stream.alloc_zeros::<f32>(10).unwrap();
    let before = launches();
    launch!(gpu, "basic_saxpy", config(1, 32, 0), &x, &mut y, &2f32, &10i32).unwrap();
    assert_eq!(launches(), before);
    // Another stream that waits for an event makes the first one run up to it.
    let event = gpu.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    launch!(gpu, "basic_saxpy", config(1, 32, 0), &x, &mut y, &2f32, &10i32).unwrap();
    let side = gpu.context.new_stream().unwrap();
    side.wait(&event).unwrap();
    assert_eq!(launches(), before);
    side.synchronize().unwrap();
    assert_eq!(launches(), before + 1);
    // A copy reads pinned memory when it runs, not when it is submitted.
    // SAFETY: filled below before it is read.
    let mut pinned = unsafe { gpu.context.alloc_pinned::<f32>(10) }.unwrap();
    pinned.as_mut_slice().unwrap().fill(1.0);
    gpu.sync().unwrap();
    assert_eq!(launches(), before + 2);
    assert_eq!(gpu.stream.clone_dtoh(&y).unwrap(), [4f32; 10]);
    let later = gpu.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    later.synchronize().unwrap();
    assert!(event.elapsed_ms(&later).unwrap() >= 0.0);
    fcdd_standin::set_lazy(false);
}

#[test]
fn memory_runs_out_where_it_is_set_to() {
    let Some(gpu) = Gpu::plain() else { return };
    fcdd_standin::set_device(Device { memory_mib: 4, ..Device::default() });
    let (free, total) = gpu.context.mem_get_info().unwrap();
    assert!(total == 4 << 20 && free <= total);
    let half = gpu.stream.alloc_zeros::<u8>(2 << 20).unwrap();
    let more = gpu.stream.alloc_zeros::<u8>(3 << 20);
    assert_eq!(more.err().unwrap().0, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    drop(half);
    gpu.stream.alloc_zeros::<u8>(3 << 20).unwrap();
    gpu.context.check_err().unwrap();
}

#[test]
fn an_old_driver_no_device_and_an_old_device() {
    let Some(gpu) = Gpu::plain() else { return };
    let device = Device::default();
    fcdd_standin::set_device(Device { count: 0, ..device });
    assert_eq!(result::init().unwrap_err().0, sys::CUresult::CUDA_ERROR_NO_DEVICE);
    fcdd_standin::set_device(Device { driver_version: 11040, ..device });
    let mut version = 0;
    // SAFETY: a place for the number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().unwrap();
    assert_eq!(version, 11040);
    let image = cudarc::nvrtc::Ptx::from_binary(fcdd_standin::EMPTY_FATBIN.to_vec());
    assert_eq!(gpu.context.load_module(image).unwrap_err().0, sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    fcdd_standin::set_device(Device { compute_capability: 75, ..device });
    assert_eq!(gpu.context.compute_capability().unwrap(), (7, 5));
    let x = gpu.stream.alloc_zeros::<i32>(12).unwrap();
    let mut y = gpu.stream.alloc_zeros::<i32>(36).unwrap();
    launch!(gpu, "basic_cp_async", config(1, 1, 0), &x, &mut y).unwrap();
    assert_eq!(gpu.sync().unwrap_err().0, sys::CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION);
    assert!(fcdd_standin::last_report().unwrap().ends_with("the instruction needs sm_80, the device is sm_75"));
    fcdd_standin::reset();
    fcdd_standin::set_device(device);
}

// ---- faults

/// The error's number and the report after a launch and a synchronisation.
fn fault_of(gpu: &Gpu, launch: impl FnOnce()) -> (u32, String) {
    fcdd_standin::reset();
    launch();
    let code = gpu.sync().err().map_or(0, |e| e.0 as u32);
    let report = fcdd_standin::last_report().unwrap_or_default();
    fcdd_standin::reset();
    (code, report)
}

#[test]
fn out_of_bounds_is_error_700_and_says_where() {
    let Some(gpu) = Gpu::plain() else { return };
    let y = gpu.stream.alloc_zeros::<f32>(1000).unwrap();
    let store = |i: i64| fault_of(&gpu, || drop(launch!(gpu, "basic_store", config(2, 32, 0), &y, &i).unwrap()));
    assert_eq!(store(999), (0, String::new()));
    let (code, report) = store(1030);
    assert_eq!(code, 700);
    let place =
        "kernel basic_store, block (1,0,0), thread (2,0,0): access at offset 4120 of an allocation of 4000 bytes";
    assert!(report.starts_with(place), "{report}");
    // Between the end and the alignment there is no guard page: the write is found after the launch.
    let (code, report) = store(1001);
    assert_eq!(
        (code, report.as_str()),
        (700, "kernel basic_store: write at offset 4004 of an allocation of 4000 bytes")
    );
    let (code, report) = store(-2000);
    assert_eq!(code, 700, "{report}");
    let host = [0f32; 4];
    let pointer = host.as_ptr() as u64;
    fcdd_standin::reset();
    let refused = launch!(gpu, "basic_store", config(2, 32, 0), &pointer, &0i64);
    assert_eq!(refused.unwrap_err().0, sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert!(fcdd_standin::last_report().unwrap().ends_with("is not device memory"));
    fcdd_standin::reset();
    std::mem::forget(y); // freeing it would report the write again
}

#[test]
fn the_error_is_sticky_until_reset() {
    let Some(gpu) = Gpu::plain() else { return };
    launch!(gpu, "basic_assert", config(1, 1, 0), &5i32).unwrap();
    let asserted = sys::CUresult::CUDA_ERROR_ASSERT;
    assert_eq!(gpu.sync().unwrap_err().0, asserted);
    assert_eq!(gpu.module.load_function("basic_assert").err().unwrap().0, asserted);
    assert_eq!(gpu.stream.alloc_zeros::<u8>(1).err().unwrap().0, asserted);
    assert!(fcdd_standin::last_report().unwrap().contains("assertion failed: n < 3"));
    fcdd_standin::reset();
    launch!(gpu, "basic_assert", config(1, 1, 0), &0i32).unwrap();
    gpu.sync().unwrap();
    assert_eq!(fcdd_standin::last_report(), None);
}

#[test]
fn fresh_memory_is_poison() {
    let Some(gpu) = Gpu::plain() else { return };
    // SAFETY: reading it is the point.
    let fresh = unsafe { gpu.stream.alloc::<f32>(1000) }.unwrap();
    assert!(gpu.stream.clone_dtoh(&fresh).unwrap().iter().all(|v| v.is_nan()));
    let mut y = gpu.stream.alloc_zeros::<f32>(8).unwrap();
    launch!(gpu, "basic_read_shared", config(1, 8, 64), &mut y, &3i32).unwrap();
    assert!(gpu.stream.clone_dtoh(&y).unwrap().iter().all(|v| v.is_nan()), "static and dynamic shared memory");
}

#[test]
fn dynamic_shared_memory_ends_at_a_guard_page() {
    let Some(gpu) = Gpu::plain() else { return };
    let mut y = gpu.stream.alloc_zeros::<f32>(8).unwrap();
    let (code, report) =
        fault_of(&gpu, || drop(launch!(gpu, "basic_read_shared", config(1, 8, 128), &mut y, &40i32).unwrap()));
    assert_eq!(code, 700);
    assert!(report.contains("access at offset 160 of 128 bytes of dynamic shared memory"), "{report}");
}

#[test]
fn a_threads_stack_that_overflows_is_named() {
    let Some(gpu) = Gpu::plain() else { return };
    let mut y = gpu.stream.alloc_zeros::<f32>(8).unwrap();
    let (code, report) = fault_of(&gpu, || drop(launch!(gpu, "basic_deep", config(1, 8, 0), &mut y, &4i32).unwrap()));
    assert_eq!(code, 719);
    assert!(report.contains("stack overflow of a thread (65536 bytes)"), "{report}");
}

/// Faults that need no shadow memory: rules of barriers and collectives, alignment, waits.
#[test]
fn the_plain_build_finds_part_of_the_planted_faults() {
    let Some(gpu) = Gpu::plain() else { return };
    for (name, code) in [
        ("divergent_barrier", 719),
        ("barrier_in_a_branch", 719),
        ("part_of_a_warp", 719),
        ("wrong_mask", 719),
        ("forgotten_copy", 719),
        ("misaligned_rows", 716),
    ] {
        for order in ORDERS {
            fcdd_standin::set_order(order);
            for (twin, want) in [("sound", 0), ("faulty", code)] {
                let x = gpu.stream.clone_htod(&numbers(128, 1)).unwrap();
                let y = gpu.stream.alloc_zeros::<f32>(128).unwrap();
                let kernel = format!("{twin}_{name}");
                let got = fault_of(&gpu, || drop(launch!(gpu, &kernel, config(1, 128, 0), &x, &y, &128i32).unwrap()));
                assert_eq!(got.0, want, "{kernel} {order:?}: {}", got.1);
            }
        }
    }
}

#[test]
fn a_weak_wait_shows_as_poison_in_late_mode() {
    let Some(gpu) = Gpu::plain() else { return };
    let x = gpu.stream.clone_htod(&numbers(128, 1)).unwrap();
    let nans = |kernel: &str| {
        let mut y = gpu.stream.alloc_zeros::<f32>(128).unwrap();
        launch!(gpu, kernel, config(1, 128, 0), &x, &mut y, &128i32).unwrap();
        gpu.stream.clone_dtoh(&y).unwrap().iter().filter(|v| v.is_nan()).count()
    };
    assert_eq!(nans("sound_weak_wait"), 0);
    assert!(nans("faulty_weak_wait") >= 64, "half of the threads read before their partner's last wait");
}

#[test]
fn one_mode_per_process() {
    let Some(_gpu) = Gpu::plain() else { return };
    let other = fcdd_standin::activate(&Options { mode: Mode::Checked, ..Options::default() });
    assert_eq!(other, Err(fcdd_standin::Unavailable::OtherMode(Mode::Plain)));
    assert_eq!(fcdd_standin::active(), Some(Mode::Plain));
    assert!(fcdd_standin::library_dir(Mode::Checked).unwrap().join("libcuda.so").exists());
}
