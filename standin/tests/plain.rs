//! The plain stand-in: the device language, the driver API, and the faults that it finds without a checked build.

mod common;
use common::{Gpu, config, numbers};

#[test]
fn grid_stride_loop_has_the_bits_of_fused_multiply_add() {
    let Some(gpu) = Gpu::plain() else { return };
    let (x, y) = (numbers(10_007, 1), numbers(10_007, 2));
    let (dx, mut dy) = (gpu.stream.clone_htod(&x).unwrap(), gpu.stream.clone_htod(&y).unwrap());
    launch!(gpu, "basic_saxpy", config(7, 256, 0), &dx, &mut dy, &0.3f32, &10_007i32).unwrap();
    let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 0.3f32.mul_add(*x, *y)).collect();
    assert_eq!(gpu.stream.clone_dtoh(&dy).unwrap(), want);
}
