//! Of CutPaste: its patches are the described ones, and pasted as described.

use super::*;
use crate::data::anomaly::malform::malform;
use crate::rng::Purpose;

const SIDE: usize = 224;

/// A square block of the image itself, in its middle, as it is.
const PLAIN: Patch = Patch {
    centre: [128 * SIDE as i32; 2],
    along: 256 * 12,
    across: 256 * 12,
    sine: 0,
    cosine: 16384,
    sharpness: 4096,
    from_other: false,
    flips: [false; 2],
    transposes: false,
    roll: [0; 2],
    contrast: 256,
    brightness: 0,
};

fn stream(sample: u32) -> Stream {
    Stream::new(5, Purpose::Anomaly, 2, sample)
}

/// Patches as images of a side take them.
fn drawn(side: usize, count: u32) -> Vec<Patch> {
    let tables = Tables::new(side);
    (0..count).map(|sample| Patch::draw(stream(sample), sample % MOST_PATCHES, side, &tables)).collect()
}

/// A gradient with some texture, another one for each salt.
fn texture(side: usize, channels: usize, salt: u32) -> Vec<u8> {
    let n = side * side * channels;
    let random = Stream::new(1, Purpose::Check, salt, 0);
    (0..n).map(|i| (60 + 80 * i / n) as u8 + (random.bits(i as u32) >> 26) as u8).collect()
}

#[test]
fn patches_are_the_described_ones() {
    let patches = drawn(SIDE, 4000);
    let is_block = |patch: &&Patch| {
        let tables = Tables::new(SIDE);
        !(tables.lengths.contains(&patch.along) && tables.widths.contains(&patch.across))
    };
    let pixels = |half: i32| f64::from(half) / 128.0;
    let (mut areas, mut aspects) = (Vec::new(), Vec::new());
    for block in patches.iter().filter(is_block) {
        areas.push(pixels(block.along) * pixels(block.across) / (SIDE * SIDE) as f64);
        aspects.push(pixels(block.along) / pixels(block.across));
    }
    let share = |count: usize| count as f64 / patches.len() as f64;
    // Standard deviation 0.008.
    let half = 0.46..0.54;
    assert!(half.contains(&share(areas.len())), "{} of {} are blocks", areas.len(), patches.len());
    let strips = patches.iter().filter(|patch| !is_block(patch));
    let [lengths, widths]: [Vec<f64>; 2] =
        strips.map(|strip| [pixels(strip.along), pixels(strip.across)]).fold([vec![], vec![]], |mut all, new| {
            all.iter_mut().zip(new).for_each(|(all, new)| all.push(new));
            all
        });
    // Their whole range is used, evenly on a logarithmic scale: the geometric mean of its ends is the middle.
    for (values, [low, high]) in [(areas, AREAS), (aspects, ASPECTS), (lengths, LENGTHS), (widths, WIDTHS)] {
        let [least, most] = [f64::min, f64::max].map(|of| values.iter().copied().reduce(of).unwrap());
        assert!((least / low - 1.0).abs() < 0.02 && (most / high - 1.0).abs() < 0.02, "{least} to {most}");
        let below = values.iter().filter(|&&value| value < (low * high).sqrt()).count() as f64;
        assert!((below / values.len() as f64 - 0.5).abs() < 0.05, "{below} of {} in {low} to {high}", values.len());
    }
    for of in [
        |patch: &&Patch| patch.from_other,
        |patch: &&Patch| patch.flips[0],
        |patch: &&Patch| patch.flips[1],
        |patch: &&Patch| patch.transposes,
        |patch: &&Patch| patch.cosine > 0,
        |patch: &&Patch| patch.brightness > 0,
        |patch: &&Patch| patch.contrast > 255,
        |patch: &&Patch| patch.roll[0] < SIDE / 2,
    ] {
        assert!(half.contains(&share(patches.iter().filter(of).count())));
    }
    for patch in &patches {
        assert!((180..=332).contains(&patch.contrast) && (-25..=25).contains(&patch.brightness));
        assert!((4096.0 / 1.5..=4096.0 / 0.299).contains(&f64::from(patch.sharpness)));
        assert!(
            (16380i64.pow(2)..=16384i64.pow(2))
                .contains(&(i64::from(patch.sine).pow(2) + i64::from(patch.cosine).pow(2)))
        );
        for (centre, extent) in patch.centre.into_iter().zip(patch.extents()) {
            assert!(extent <= centre && centre + extent <= 256 * SIDE as i32, "{patch:?} lies inside");
        }
    }
}

#[test]
fn edges_are_those_of_a_gaussian_blur() {
    let curve = Tables::new(SIDE).curve;
    let at = |sigmas: f64| f64::from(curve[(64.0 + 16.0 * sigmas) as usize]) / 32768.0;
    for (sigmas, value) in [(-4.0, 0.0), (-1.0, 0.158_655), (0.0, 0.5), (1.0, 0.841_345), (2.0, 0.977_250), (4.0, 1.0)]
    {
        assert!((at(sigmas) - value).abs() < 2e-5, "{sigmas}: {}", at(sigmas));
    }
    assert!(curve.is_sorted());
    // An upright edge of σ = 1 px at 100 px: one pixel on, half a pixel further at its centre, covers Φ(−0.5) and so on.
    let patch = PLAIN;
    for (x, value) in [(99, 0.066_807), (100, 0.308_538), (101, 0.691_462), (112, 1.0), (124, 0.308_538), (130, 0.0)] {
        let x = if x < 112 { x - 1 } else { x };
        let covered = f64::from(patch.coverage(&curve, 112, x)) / 65536.0;
        assert!((covered - value).abs() < 1e-4, "{x}: {covered}");
    }
}

/// The GPU leaves out what lies beyond the bounds, so nothing may be covered there.
#[test]
fn coverage_is_a_share_and_ends_within_the_bounds() {
    for side in [1, 2, 9, 40, SIDE, 700] {
        let curve = Tables::new(side).curve;
        for patch in drawn(side, if side > SIDE { 12 } else { 60 }) {
            let [rows, columns] = patch.bounds(side);
            let mut sum = 0.0;
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                let covered = patch.coverage(&curve, y, x);
                assert!((0..=65536).contains(&covered), "{covered}");
                assert!(covered == 0 || rows.contains(&y) && columns.contains(&x), "{side}: {patch:?} at {y}, {x}");
                sum += f64::from(covered) / 65536.0;
            }
            // A blur keeps the area, but for what it moves beyond the image's border and for the pixel grid.
            let [along, across] = [patch.along, patch.across].map(|half| f64::from(half) / 128.0);
            if side >= SIDE {
                let rim = 2.0 * (along + across);
                assert!((sum - along * across).abs() < 0.1 * rim + 1.0 || sum < along * across, "{patch:?}: {sum}");
                assert!(sum > along * across - 0.6 * rim, "{patch:?}: {sum}");
            }
        }
    }
}

/// Where nothing else is changed, bytes of the source stand in a patch as they are.
#[test]
fn a_patch_holds_bytes_of_its_source() {
    let (side, channels) = (64, 3);
    let plain = Patch {
        centre: [256 * 30, 256 * 40],
        along: 256 * 14,
        across: 256 * 10,
        sharpness: 4096 * 3,
        from_other: true,
        ..PLAIN
    };
    let (normal, other) = (texture(side, channels, 1), texture(side, channels, 2));
    let curve = Tables::new(side).curve;
    let pasted = |patch: Patch| {
        let mut image = normal.clone();
        patch.paste(&other, (side, channels), &curve, &mut image);
        image
    };
    let pixel = |image: &[u8], y: usize, x: usize| image[(y * side + x) * channels..][..channels].to_vec();
    let turned = Patch { along: plain.across, across: plain.along, sine: 16384, cosine: 0, ..plain };
    for (patch, source) in [
        (plain, (|y, x| (y, x)) as fn(usize, usize) -> (usize, usize)),
        (turned, |y, x| (y, x)),
        (Patch { flips: [true, false], ..plain }, |y, x| (63 - y, x)),
        (Patch { flips: [false, true], ..plain }, |y, x| (y, 63 - x)),
        (Patch { transposes: true, ..plain }, |y, x| (x, y)),
        (Patch { roll: [50, 3], ..plain }, |y, x| ((y + 50) % 64, x + 3)),
    ] {
        let image = pasted(patch);
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            // Rows 20 to 40 and columns 26 to 54, and two pixels of edge to either side.
            let [inside, outside] =
                [(22..38, 28..52), (18..42, 24..56)].map(|(ys, xs)| ys.contains(&y) && xs.contains(&x));
            let (from_y, from_x) = source(y, x);
            if inside {
                assert_eq!(pixel(&image, y, x), pixel(&other, from_y, from_x), "{patch:?} at {y}, {x}");
            } else if !outside {
                assert_eq!(pixel(&image, y, x), pixel(&normal, y, x), "{patch:?} at {y}, {x}");
            }
        }
    }
    // Half the contrast about the mean of the source, and ten levels more.
    let changed = pasted(Patch { contrast: 128, brightness: 10, ..plain });
    let mean = plain.mean(&other, side, channels);
    let of_source: Vec<i32> = other.iter().map(|&v| i32::from(v)).collect();
    let exact = of_source.iter().sum::<i32>() / of_source.len() as i32;
    assert!((mean - exact).abs() < 20, "{mean} {exact}");
    for (now, then) in pixel(&changed, 30, 40).into_iter().zip(pixel(&other, 30, 40)) {
        assert_eq!(i32::from(now), mean + ((i32::from(then) - mean + 1) >> 1) + 10);
    }
}

#[test]
fn noise_is_the_pixels_that_change_by_more_than_two_levels() {
    for channels in [1, 3] {
        let (normal, other) = (texture(SIDE, channels, 3), texture(SIDE, channels, 4));
        let given = Ingredients { normal: &normal, other: Some(&other) };
        let cutpaste = CutPaste { side: SIDE, channels, tables: Tables::new(SIDE) };
        let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
        let (n, mut shares, mut small) = (200, Vec::new(), 0);
        for sample in 0..n {
            cutpaste.fill(stream(sample), given, &mut scratch, &mut noise);
            let mut image = normal.clone();
            malform(&noise, &mut image);
            let mut changed = 0;
            for ((noise, before), after) in
                noise.chunks(channels).zip(normal.chunks(channels)).zip(image.chunks(channels))
            {
                let most = before.iter().zip(after).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                assert!(most == 0 || most > 2, "{before:?} became {after:?}");
                assert!(noise.iter().all(|&v| (most > 0) == (v != 0) && (v == 0 || (1024..1280).contains(&v))));
                changed += usize::from(most > 0);
                small += usize::from(most == 3);
            }
            shares.push(changed as f64 / (SIDE * SIDE) as f64);
        }
        let mean = shares.iter().sum::<f64>() / f64::from(n);
        // Two patches on average: of blocks 3.2 % of the area, of strips 0.4 %; overlaps and pixels that happen to be alike take some
        // away, soft edges add some.
        assert!((0.02..0.05).contains(&mean), "{mean}");
        assert!(shares.iter().all(|&share| share > 0.0 && share < 0.35), "{shares:?}");
        assert!(small > 0, "changes of three levels count");
    }
}

#[test]
fn half_of_the_patches_come_from_each_image() {
    // Without contrast a patch has its source's level, and 25 more or less.
    let (normal, other) = (vec![60; SIDE * SIDE], vec![180; SIDE * SIDE]);
    let cutpaste = CutPaste { side: SIDE, channels: 1, tables: Tables::new(SIDE) };
    let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
    let mut levels = [0; 2];
    for sample in 0..300 {
        cutpaste.fill(stream(sample), Ingredients { normal: &normal, other: Some(&other) }, &mut scratch, &mut noise);
        let has = |range: std::ops::RangeInclusive<i16>| noise.iter().any(|v| range.contains(&(v - REPLACED)));
        levels[0] += u32::from(has(35..=57) || has(63..=85));
        levels[1] += u32::from(has(155..=205));
    }
    // An image has none of one kind with probability (1/2 + 1/4 + 1/8) / 3 = 0.29; edges have levels between.
    assert!(levels[1] > 180 && levels[1] < 245 && levels[0] > 180, "{levels:?}");
}

#[test]
fn small_images_are_mostly_changed_too() {
    for side in [1, 4, 28, 64] {
        let (normal, other) = (texture(side, 1, 5), texture(side, 1, 6));
        let cutpaste = CutPaste { side, channels: 1, tables: Tables::new(side) };
        let (mut noise, mut scratch) = (vec![0; normal.len()], Scratch::default());
        let mut changed = 0;
        for sample in 0..200 {
            cutpaste.fill(
                stream(sample),
                Ingredients { normal: &normal, other: Some(&other) },
                &mut scratch,
                &mut noise,
            );
            changed += u32::from(noise.iter().any(|&v| v != 0));
        }
        assert!(changed >= if side >= 28 { 195 } else { 100 }, "{changed} of 200 at {side} px");
    }
}
