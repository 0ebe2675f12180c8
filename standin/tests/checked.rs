//! The checked stand-in finds every planted fault of `tests/kernels/faults.cu`, names it, and reports nothing for the same kernel without
//! the fault, in any order.

mod common;

use std::ffi::c_void;

use common::{Gpu, config, numbers};
use cudarc::driver::{DevicePtr, LaunchConfig, sys};
use fcdd_standin::{CpAsync, Order};

/// Kernel, blocks, the error's number, and what the report has to contain.
const FAULTS: &[(&str, u32, u32, &str)] = &[
    (
        "missing_barrier",
        1,
        719,
        "uninitialised: read of 4 bytes at offset 4 of the shared array tile (512 bytes) (faults.cu:17)",
    ),
    ("write_after_read", 1, 719, "race with a write: read of 4 bytes at offset 508 of the shared array tile"),
    (
        "race_between_warps",
        1,
        719,
        "race with a write: write of 4 bytes at offset 0 of the shared array part (16 bytes)",
    ),
    ("missing_warp_barrier", 1, 719, "uninitialised: read of 4 bytes"),
    ("shuffle_is_no_fence", 1, 719, "race with a write"),
    (
        "uninitialised_shared",
        1,
        719,
        "uninitialised: read of 4 bytes at offset 516 of the shared array tile (520 bytes)",
    ),
    ("halo_off_by_one", 1, 700, "read of 4 bytes at offset 516 of the shared array tile (516 bytes)"),
    ("index_beyond_row", 1, 700, "index beyond the bounds of an array (faults.cu:"),
    ("dynamic_shared_bounds", 1, 700, "write of 4 bytes at offset 400 of 400 bytes of dynamic shared memory"),
    ("missing_tail_check", 1, 700, "write of 4 bytes at offset 400 of an allocation of 400 bytes"),
    ("read_one_beyond", 1, 700, "read of 4 bytes at offset 400 of an allocation of 400 bytes"),
    ("uninitialised_global", 1, 719, "uninitialised: read of 4 bytes"),
    ("race_between_blocks", 3, 719, "race with a write: write of 4 bytes at offset 0 of an allocation"),
    ("lost_update", 2, 719, "race with a"),
    ("counter_without_fence", 3, 719, "race with a write: read of 4 bytes"),
    ("misaligned_vector", 1, 716, "misaligned access (faults.cu:"),
    ("index_overflow", 1, 719, "signed overflow of a multiplication (faults.cu:"),
    ("divergent_barrier", 1, 719, "divergent barrier: "),
    ("barrier_in_a_branch", 1, 719, "divergent barrier: "),
    ("part_of_a_warp", 1, 719, "deadlock: thread 0 waits at"),
    ("wrong_mask", 1, 719, "the calling lane 16 is not in the mask 0000ffff"),
    ("absent_lane", 1, 719, "reads from lane 16, which does not take part in the shuffle"),
    ("weak_wait", 1, 719, "an asynchronous copy to it has not been waited for"),
    ("wait_without_barrier", 1, 719, "uninitialised: read of 4 bytes"),
    ("copy_into_read_buffer", 1, 719, "race with a write: read of 4 bytes at offset 508"),
    ("copy_beyond", 1, 700, "read of 16 bytes at offset 400 of an allocation of 400 bytes"),
    ("forgotten_copy", 1, 719, "the thread ends with a cp.async that was not waited for"),
    ("misaligned_rows", 1, 716, "ldmatrix row"),
    ("product_without_fence", 1, 719, "no wgmma_fence since the sums' registers were free"),
    ("forgotten_product", 1, 719, "the thread ends with a wgmma that was not waited for"),
    (
        "ldmatrix_before_barrier",
        1,
        719,
        "uninitialised: read of 16 bytes at offset 0 of the shared array tile (512 bytes) (standin/tests/kernels/faults.cu:",
    ),
];

/// Runs a kernel with or without its fault; `Err` holds the error's number.
fn run(gpu: &Gpu, kernel: &str, blocks: u32) -> Result<(), u32> {
    // Where sizes matter they are 100; elsewhere each of 128 threads has its element.
    let sized = ["dynamic_shared_bounds", "missing_tail_check", "read_one_beyond", "copy_beyond"]
        .iter()
        .any(|s| kernel.ends_with(s));
    let n: usize = if sized { 100 } else { 128 };
    let count = n as i32;
    let x_len = if kernel.ends_with("dynamic_shared_bounds") { 128 } else { n };
    let y_len = if kernel.ends_with("missing_tail_check") { n } else { 128 };
    let x = gpu.stream.clone_htod(&numbers(x_len, 5)).unwrap();
    // SAFETY: whether the kernel fills it is the question.
    let mut y = unsafe { gpu.stream.alloc::<f32>(y_len) }.unwrap();
    if kernel.ends_with("counter_without_fence") {
        gpu.stream.memset_zeros(&mut y).unwrap();
    }
    launch!(gpu, kernel, config(blocks, 128, 400), &x, &mut y, &count).unwrap();
    let result = gpu.sync().map_err(|e| e.0 as u32);
    if result.is_err() {
        // Freeing them would return the sticky error; the next case resets it.
        std::mem::forget((x, y));
    }
    result
}

#[test]
fn planted_faults_are_found_and_their_twins_are_clean() {
    let Some(gpu) = Gpu::checked() else { return };
    let mut wrong = Vec::new();
    for (name, blocks, code, says) in FAULTS {
        for (order, when) in [
            (Order::Ascending, CpAsync::Late),
            (Order::Descending, CpAsync::Early),
            (Order::Shuffled(3), CpAsync::Late),
        ] {
            fcdd_standin::set_order(order);
            fcdd_standin::set_cp_async(when);
            fcdd_standin::reset();
            let sound = run(&gpu, &format!("sound_{name}"), *blocks);
            if sound.is_err() || fcdd_standin::last_report().is_some() {
                wrong.push(format!("sound_{name}, {order:?}: {sound:?} {:?}", fcdd_standin::last_report()));
            }
            fcdd_standin::reset();
            let faulty = run(&gpu, &format!("faulty_{name}"), *blocks);
            let report = fcdd_standin::last_report().unwrap_or_default();
            // In other orders the same fault may be detected at the other of two conflicting accesses.
            let named = if order == Order::Ascending { report.contains(says) } else { true };
            if faulty != Err(*code) || !named || !report.starts_with(&format!("kernel faulty_{name}, block (")) {
                wrong.push(format!("faulty_{name}, {order:?}: {faulty:?} {report:?}"));
            }
        }
    }
    fcdd_standin::reset();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A kernel without faults that uses everything at once: double-buffered asynchronous copies, ldmatrix, mma, barriers, odd sizes.
#[test]
fn a_pipelined_product_is_clean_in_every_order() {
    let Some(gpu) = Gpu::checked() else { return };
    let (m, n, k) = (70u32, 72u32, 88u32);
    let a = gpu.stream.clone_htod(&vec![0x3f80u16; (m * k) as usize]).unwrap();
    let b = gpu.stream.clone_htod(&vec![0x4000u16; (k * n) as usize]).unwrap();
    let shape =
        LaunchConfig { grid_dim: (2, 2, 1), block_dim: (128, 1, 1), shared_mem_bytes: (2 * 64 * 40 + 2 * 32 * 72) * 2 };
    for order in [Order::Ascending, Order::Descending, Order::Shuffled(1), Order::Shuffled(2)] {
        for when in [CpAsync::Late, CpAsync::Early] {
            fcdd_standin::set_order(order);
            fcdd_standin::set_cp_async(when);
            // SAFETY: an element that the kernel does not write is NaN below.
            let mut c = unsafe { gpu.stream.alloc::<f32>((m * n) as usize) }.unwrap();
            launch!(gpu, "basic_gemm", shape, &a, &b, &mut c, &70i32, &72i32, &88i32).unwrap();
            assert_eq!(gpu.stream.clone_dtoh(&c).unwrap(), vec![176f32; (m * n) as usize], "{order:?} {when:?}");
            assert_eq!(fcdd_standin::last_report(), None);
        }
    }
}

#[test]
fn what_a_copy_leaves_unwritten_stays_so() {
    let Some(gpu) = Gpu::checked() else { return };
    let x = gpu.stream.clone_htod(&[1f32; 64]).unwrap();
    // SAFETY: reading it uninitialised is the point.
    let (fresh, mut copy) = unsafe { (gpu.stream.alloc::<f32>(64).unwrap(), gpu.stream.alloc::<f32>(64).unwrap()) };
    gpu.stream.memcpy_dtod(&fresh, &mut copy).unwrap();
    launch!(gpu, "basic_saxpy", config(1, 64, 0), &x, &mut copy, &1f32, &64i32).unwrap();
    assert!(gpu.sync().is_err());
    assert!(
        fcdd_standin::last_report()
            .unwrap()
            .contains("uninitialised: read of 4 bytes at offset 0 of an allocation (256 bytes)")
    );
    fcdd_standin::reset();
    gpu.stream.memcpy_dtod(&x, &mut copy).unwrap();
    launch!(gpu, "basic_saxpy", config(1, 64, 0), &x, &mut copy, &1f32, &64i32).unwrap();
    gpu.sync().unwrap();
}

/// A kernel that is launched ahead of the end of those before it (programmatic dependent launch) has to wait for them.
#[test]
fn memory_before_the_kernels_before_are_done() {
    let Some(gpu) = Gpu::checked() else { return };
    fcdd_standin::reset();
    for (name, ahead, fine) in [
        ("sound_early_read", true, true),
        ("sound_early_read", false, true),
        ("faulty_early_read", false, true),
        ("faulty_early_read", true, false),
    ] {
        let x = gpu.stream.clone_htod(&numbers(128, 5)).unwrap();
        let y = gpu.stream.clone_htod(&numbers(128, 6)).unwrap();
        let function = gpu.kernel(name);
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: i32::from(ahead) },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: 1,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: 128,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: gpu.stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: 1,
        };
        let (from, to, count) = (x.device_ptr(&gpu.stream).0, y.device_ptr(&gpu.stream).0, 128i32);
        let mut parameters = [(&raw const from).cast(), (&raw const to).cast(), (&raw const count).cast()]
            .map(<*const c_void>::cast_mut);
        // SAFETY: the parameters are those of the kernel, and live until the call returns.
        let status = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.cu_function(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        let report = fcdd_standin::last_report().unwrap_or_default();
        assert_eq!(status.result().is_ok() && gpu.sync().is_ok(), fine, "{name}, ahead {ahead}: {report}");
        assert!(fine || report.contains("has not waited for the kernels before this one"), "{report}");
        if !fine {
            std::mem::forget((x, y));
        }
    }
    fcdd_standin::reset();
}
