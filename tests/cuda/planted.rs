//! Tests that fail on purpose, each in a different way, for rehearsals of scripts/gpu-proof. To run one:
//! `--ignored --exact planted::never_ends`.

use crate::kernels::{EndlessParameters, Needs, OutOfBoundsParameters, planted, with_kernels};

/// The kernel's error is sticky: all later CUDA calls of the process fail too.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn writes_out_of_bounds() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let x = gpu.cuda().upload(&[0.0f32]).unwrap();
        let parameters = OutOfBoundsParameters { x: x.pointer_mut() };
        // Unsafe indeed.
        unsafe { planted::planted_out_of_bounds(kernels.launch(1, 1, 0), &parameters) }.unwrap();
        kernels.wait().unwrap();
    });
}

/// The kernel hangs, and the test with it, until the process is killed.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn never_ends() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let flag = gpu.cuda().upload(&[0i32]).unwrap();
        // SAFETY: it reads the flag.
        unsafe { planted::planted_endless(kernels.launch(1, 1, 0), &EndlessParameters { flag: flag.pointer_mut() }) }
            .unwrap();
        kernels.wait().unwrap();
    });
}

/// The process is killed by a signal, and the test harness prints nothing.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn kills_its_process() {
    std::process::abort();
}
