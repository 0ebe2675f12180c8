//! Tests that fail on purpose, each in another way, so that the proof on a GPU can be rehearsed:
//! `--ignored --exact planted::never_ends`.

use crate::kernels::{Needs, planted, with_kernels};

/// The kernel's error stays with the context: whatever the process does afterwards fails too.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn writes_out_of_bounds() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let x = gpu.cuda().upload(&[0.0f32]).unwrap();
        planted::planted_out_of_bounds(kernels.launch(1, 1, 0), x.pointer_mut()).unwrap();
        kernels.wait().unwrap();
    });
}

/// The kernel hangs, and the test with it, until somebody ends the process.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn never_ends() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let flag = gpu.cuda().upload(&[0i32]).unwrap();
        planted::planted_endless(kernels.launch(1, 1, 0), flag.pointer_mut()).unwrap();
        kernels.wait().unwrap();
    });
}

/// The process ends by a signal, without a word from the harness.
#[test]
#[ignore = "planted fault: for rehearsals of scripts/gpu-proof"]
fn kills_its_process() {
    std::process::abort();
}
