//! How fast the stand-in is: `cargo test -p fcdd-standin --release --test costs -- --ignored --nocapture`, with
//! `STANDIN_MODE=checked` for the checked build.

mod common;
use common::{Gpu, config};
use cudarc::driver::LaunchConfig;
use fcdd_standin::{Mode, Options};
use std::time::Instant;

#[test]
#[ignore = "a measurement, no test"]
fn costs() {
    let checked = std::env::var("STANDIN_MODE").is_ok_and(|m| m == "checked");
    let mode = if checked { Mode::Checked } else { Mode::Plain };
    let Some(gpu) = Gpu::new(Options { mode, ..Options::default() }) else { return };
    let timed = |what: &str, work: f64, unit: &str, f: &mut dyn FnMut()| {
        f();
        let begin = Instant::now();
        f();
        gpu.sync().unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        println!("{mode:?} {what}: {:.3} ms, {:.4} {unit}", seconds * 1e3, work / seconds / 1e9);
    };
    let n = 1 << 18;
    let x = gpu.stream.clone_htod(&vec![1f32; n]).unwrap();
    let mut y = gpu.stream.clone_htod(&vec![1f32; n]).unwrap();
    timed("1000 launches of one block", 1000.0, "G launches/s", &mut || {
        for _ in 0..1000 {
            launch!(gpu, "basic_saxpy", config(1, 32, 0), &x, &mut y, &1f32, &32i32).unwrap();
        }
    });
    timed("saxpy, a thread per element", n as f64, "G elements/s", &mut || {
        launch!(gpu, "basic_saxpy", config(n as u32 / 256, 256, 0), &x, &mut y, &1f32, &(1 << 18)).unwrap();
    });
    let ints = gpu.stream.alloc_zeros::<i32>(1000).unwrap();
    let mut out = gpu.stream.alloc_zeros::<i32>(1000).unwrap();
    timed("500 barriers of 1000 threads", 500.0 * 1000.0, "G thread barriers/s", &mut || {
        launch!(gpu, "basic_rotate_1000", config(1, 1000, 4000), &ints, &mut out, &250i32).unwrap();
    });
    let side = 128u32;
    let half = gpu.stream.alloc_zeros::<u16>((side * side) as usize).unwrap();
    let shape = LaunchConfig {
        grid_dim: (side / 64, side / 64, 1),
        block_dim: (128, 1, 1),
        shared_mem_bytes: (2 * 64 * 40 + 2 * 32 * 72) * 2,
    };
    timed("tensor-core product 128 x 128 x 128", f64::from(side).powi(3), "GMAC/s", &mut || {
        launch!(gpu, "basic_gemm", shape, &half, &half, &mut y, &128i32, &128i32, &128i32).unwrap();
    });
}
