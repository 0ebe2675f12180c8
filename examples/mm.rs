use fcdd::device::matmul::*;
use std::time::Instant;
fn go(m: usize, k: usize, n: usize, ta: bool, tb: bool) {
    let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32).collect();
    let mut c = vec![0f32; m * n];
    let am = if ta { Matrix::row_major(&a, k, m).transposed() } else { Matrix::row_major(&a, m, k) };
    let bm = if tb { Matrix::row_major(&b, n, k).transposed() } else { Matrix::row_major(&b, k, n) };
    matmul(&mut c, am, bm, false);
    let mut best = 1e9f64;
    let reps = (2e9 / (2.0 * (m * k * n) as f64)) as usize + 1;
    for _ in 0..5 {
        let t = Instant::now();
        for _ in 0..reps {
            matmul(&mut c, am, bm, true);
        }
        best = best.min(t.elapsed().as_secs_f64() / reps as f64);
    }
    println!("{m}x{k}x{n} ta{ta} tb{tb}: {:.1} GFLOP/s", 2.0 * (m * k * n) as f64 / best / 1e9);
}
fn main() {
    for tb in [false, true] {
        for (m, k, n) in [
            (32, 4608, 512),
            (64, 4608, 512),
            (128, 4608, 512),
            (256, 4608, 512),
            (512, 4608, 512),
            (1024, 4608, 512),
            (256, 512, 512),
            (256, 256, 256),
            (256, 128, 128),
            (1024, 256, 256),
            (256, 64, 128),
            (1024, 576, 128),
            (1024, 27, 64),
            (4096, 25, 128),
            (1024, 3200, 128),
            (256, 3200, 128),
            (128, 3200, 128),
            (1024, 1152, 256),
        ] {
            go(m, k, n, false, tb);
        }
    }
    println!("transposed a");
    for (m, k, n) in [(256, 4096, 1152), (128, 4096, 3200)] {
        go(m, k, n, true, false);
    }
}
