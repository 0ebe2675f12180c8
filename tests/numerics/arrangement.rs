//! `reshape`, `upsample_nearest` and `dropout`: steps that only move values or drop them.

use crate::support::{dot, memory, noise};
use fcdd::steps::dropout::Dropout;
use fcdd::steps::operation::{Hyper, Operation};
use fcdd::steps::reshape::Reshape;
use fcdd::steps::upsample_nearest::{UpsampleNearest2x, UpsampleNearest2xBackward, UpsampleNearestGeometry};

#[test]
fn reshape_there_and_back() {
    let (rows, columns) = (3, 4);
    let x = noise(0, 2 * rows * columns);
    let (mut memory, [x_view, y, back]) = memory::<f64, 3>([&x, &x, &x], &[], 0);
    Reshape { rows, columns, x: x_view, y }.cpu(&mut memory, &Hyper::IDLE);
    // Channel 2 of pixel 1 of the second image.
    assert_eq!(memory.get(y)[12 + 3 + 2], x[12 + 2 * 4 + 1]);
    Reshape { rows: columns, columns: rows, x: y, y: back }.cpu(&mut memory, &Hyper::IDLE);
    assert_eq!(memory.get(back), x);
}

#[test]
fn upsample_nearest_and_its_gradient() {
    for (n, side, c) in [(1, 1, 1), (2, 3, 2), (3, 4, 5)] {
        let geometry = UpsampleNearestGeometry { n, side, c };
        let (small, large) = (noise(0, geometry.small_len()), noise(1, geometry.large_len()));
        let (mut memory, [x, y, dy, dx]) = memory::<f64, 4>([&small, &large, &large, &small], &[], 0);
        UpsampleNearest2x { geometry, x, y }.cpu(&mut memory, &Hyper::IDLE);
        UpsampleNearest2xBackward { geometry, dy, dx }.cpu(&mut memory, &Hyper::IDLE);
        for (i, &value) in memory.get(y).iter().enumerate() {
            let (channel, pixel, wide) = (i % c, i / c, 2 * side);
            let (image, row, column) = (pixel / (wide * wide), pixel / wide % wide, pixel % wide);
            assert_eq!(value, small[((image * side + row / 2) * side + column / 2) * c + channel]);
        }
        // Sums of some tens of products in f64.
        let (up, down) = (dot(memory.get(y), &large), dot(&small, memory.get(dx)));
        assert!((up - down).abs() < 1e-12, "{up} {down}");
    }
}

#[test]
fn dropout_drops_half_and_the_same_in_both_passes() {
    let (n, length) = (3, 1001);
    let ones = vec![1.0; n * length];
    let dropped = |seed, number, update| {
        let (mut memory, [values]) = memory::<f64, 1>([&ones], &[], 0);
        Dropout { seed, number, x: values, y: values, n }.cpu(&mut memory, &Hyper { step: update, ..Hyper::IDLE });
        memory.get(values).to_vec()
    };
    let first = dropped(1, 0, 5);
    assert!(first.iter().all(|&v| v == 0.0 || v == 2.0));
    // Half of 3003 values, within five standard deviations of √3003/2.
    let kept = first.iter().filter(|&&v| v > 0.0).count() as f64;
    assert!((kept - 1501.5).abs() < 5.0 * 27.4, "{kept}");
    assert_eq!(first, dropped(1, 0, 5));
    assert!(first != dropped(1, 0, 6) && first != dropped(2, 0, 5) && first != dropped(1, 1, 5));
    assert!(first[..length] != first[length..2 * length], "images differ");
}
