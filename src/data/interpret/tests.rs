use super::*;
use crate::data::levels::Levels;
use crate::data::resize_mode::ResizeMode;
use proptest::prelude::*;

fn preprocessing(raw_side: usize, side: usize, channels: usize, train: Vec<Transform>) -> Preprocessing {
    let test = vec![Transform::ResizeNearest { side }, Transform::ToUnit];
    let p = Preprocessing { channels, raw_side, resize: ResizeMode::Squash, levels: Levels::ALL, side, train, test };
    p.check().unwrap();
    p
}

proptest! {
    /// Whatever the augmentation does to an image, it does to the map: pixels are marked by their value.
    #[test]
    fn maps_follow_their_images(seed: u64, sample: u32, channels in prop_oneof![Just(1usize), Just(3)]) {
        let geometry = vec![
            Transform::PadCrop { pad: 3 },
            Transform::Shift { pad: 2 },
            Transform::Choice {
                first: vec![Transform::Crop { side: 10 }],
                second: vec![Transform::ResizeNearest { side: 11 }, Transform::Flip, Transform::Crop { side: 10 }],
            },
            Transform::Flip,
            Transform::FlipVertical,
            Transform::QuarterTurn,
            Transform::Crop { side: 8 },
            Transform::ToUnit,
        ];
        let p = preprocessing(12, 8, channels, geometry);
        let mask: Vec<u8> = (0..144).map(|i| u8::from(i * 5 % 7 < 2)).collect();
        let image: Vec<u8> = mask.iter().flat_map(|&m| vec![255 * m; channels]).collect();
        let (mut map, mut out) = (vec![9.0; 64], vec![9.0; 64 * channels]);
        p.apply_train(&image, Some((&mask, &mut map)), seed, 3, sample, &mut out);
        for (pixel, &m) in out.chunks(channels).zip(&map) {
            prop_assert_eq!(pixel, &vec![m; channels]);
        }
    }
}

#[test]
fn test_images_are_resized_by_pixel_centres() {
    let p = preprocessing(4, 2, 1, vec![Transform::Crop { side: 2 }, Transform::ToUnit]);
    let image: Vec<u8> = (0..16).collect();
    let mut out = [0.0; 4];
    p.apply_test(&image, &mut out);
    assert_eq!(out.map(|v| (v * 255.0).round()), [5.0, 7.0, 13.0, 15.0]);
}

/// Numbers are left out for the list that is not taken, so that what follows draws the same.
#[test]
fn either_list_is_taken_and_the_rest_does_not_notice() {
    let choice = |first, second| vec![Transform::Choice { first, second }, Transform::Flip, Transform::ToUnit];
    let shift = Transform::PadCrop { pad: 1 };
    let both = [
        preprocessing(3, 3, 1, choice(vec![shift.clone()], vec![Transform::ResizeNearest { side: 3 }])),
        preprocessing(3, 3, 1, choice(vec![Transform::ResizeNearest { side: 3 }], vec![shift])),
    ];
    let image: Vec<u8> = (1..10).collect();
    let mut unmoved = [0; 2];
    for sample in 0..400 {
        let made = both.each_ref().map(|p| {
            let mut out = [0.0; 9];
            p.apply_train(&image, None, 3, 0, sample, &mut out);
            out
        });
        let [plain, flipped] = [[0, 1, 2], [2, 1, 0]].map(|row| [0, 3, 6].map(|y| row.map(|x| y + x)).concat());
        let is =
            |out: &[f32; 9], order: &[usize]| order.iter().zip(out).all(|(&i, &v)| v * 255.0 == f32::from(image[i]));
        // One of the two left the image where it was, flipped or not.
        let straight = made.each_ref().map(|out| is(out, &plain) || is(out, &flipped));
        assert!(straight[0] || straight[1], "{sample}");
        for (count, straight) in unmoved.iter_mut().zip(straight) {
            *count += u32::from(straight);
        }
    }
    // A half, and of the other half the ninth that is not shifted; a standard error is 10.
    assert!(unmoved.iter().all(|count| (180..270).contains(count)), "{unmoved:?}");
}

#[test]
fn centres_and_borders_are_cut_or_blackened() {
    let image: Vec<u8> = (0..100).collect();
    let p = preprocessing(10, 4, 1, vec![Transform::CentreCrop { side: 4 }, Transform::ToUnit]);
    let mut out = [0.0; 16];
    p.apply_train(&image, None, 0, 0, 0, &mut out);
    assert_eq!(out[..5].iter().map(|v| (v * 255.0).round()).collect::<Vec<_>>(), [33.0, 34.0, 35.0, 36.0, 43.0]);
    let [centre, border] = [false, true].map(|border| {
        let p = preprocessing(10, 10, 1, vec![Transform::ToUnit, Transform::BlackOut { border }]);
        let mut out = [9.0; 100];
        p.apply_train(&[255; 100], None, 0, 0, 0, &mut out);
        out
    });
    for (i, pair) in centre.iter().zip(&border).enumerate() {
        let in_centre = (2..8).contains(&(i / 10)) && (2..8).contains(&(i % 10));
        assert_eq!(pair, if in_centre { (&0.0, &1.0) } else { (&1.0, &0.0) });
    }
}

#[test]
fn spread_noise_follows_the_image_and_the_coin() {
    let list = vec![Transform::ToUnit, Transform::SpreadNoise { share: 0.1 }, Transform::Clamp];
    let p = preprocessing(20, 20, 1, list);
    let image: Vec<u8> = (0..400).map(|i| 100 + (i % 2) as u8 * 51).collect(); // its deviation is 0.1
    let (mut noisy, mut squares) = (0, 0.0);
    for sample in 0..300 {
        let mut out = [0.0; 400];
        p.apply_train(&image, None, 1, 0, sample, &mut out);
        let square: f32 = out.iter().zip(&image).map(|(v, &b)| (v - f32::from(b) / 255.0).powi(2)).sum();
        noisy += u32::from(square > 0.0);
        squares += square;
    }
    assert!((120..180).contains(&noisy), "{noisy}"); // a standard error is 9
    assert!((squares / (400 * noisy) as f32 - 1e-4).abs() < 3e-6, "{squares}"); // and 0.6e-6
}

#[test]
fn crops_reach_every_place_and_pad_with_black() {
    let p = preprocessing(3, 3, 1, vec![Transform::PadCrop { pad: 1 }, Transform::ToUnit]);
    let mut seen = std::collections::BTreeSet::new();
    for sample in 0..200 {
        let mut out = [0.0; 9];
        p.apply_train(&[0, 0, 0, 0, 255, 0, 0, 0, 0], None, 1, 0, sample, &mut out);
        seen.insert(out.iter().position(|&v| v == 1.0));
    }
    assert!(seen.into_iter().eq((0..9).map(Some)), "the centre goes to each of the nine places");
    let mut out = [9.0; 9];
    let sums: f32 = (0..100)
        .map(|sample| {
            p.apply_train(&[255; 9], None, 1, 0, sample, &mut out);
            out.iter().sum::<f32>()
        })
        .sum();
    assert!(sums < 850.0, "black comes in from outside: {sums}");
}

#[test]
fn flips_half_of_the_time_and_noise_has_its_deviation() {
    let p = preprocessing(2, 2, 1, vec![Transform::Flip, Transform::ToUnit, Transform::Noise { std: 0.1 }]);
    let (mut flips, mut squares) = (0, 0.0);
    for sample in 0..4000 {
        let mut out = [0.0; 4];
        p.apply_train(&[0, 255, 0, 255], None, 1, 0, sample, &mut out);
        flips += u32::from(out[0] > 0.5);
        squares += out.iter().map(|v| (v - v.round()).powi(2)).sum::<f32>();
    }
    assert!((1900..2100).contains(&flips), "{flips}");
    assert!((squares / 16_000.0 - 0.01).abs() < 5e-4, "{squares}");
}

/// What can become of an image whose pixels are numbered by rows, and how often; the mask follows.
fn arrangements(transform: Transform) -> Vec<(Vec<usize>, u32)> {
    let p = preprocessing(3, 3, 3, vec![transform, Transform::ToUnit]);
    let image: Vec<u8> = (0..27).map(|i| 10 * (i / 3) + i % 3).collect();
    let mask: Vec<u8> = (0..9).map(|i| u8::from(i == 1)).collect();
    let mut found = std::collections::BTreeMap::new();
    for sample in 0..4000 {
        let (mut out, mut map) = ([0.0; 27], [9.0; 9]);
        p.apply_train(&image, Some((&mask, &mut map)), 6, 0, sample, &mut out);
        let bytes = out.map(|v| (v * 255.0).round() as usize);
        let pixels: Vec<usize> = bytes.chunks(3).map(|pixel| pixel[0] / 10).collect();
        assert!(bytes.iter().enumerate().all(|(i, byte)| byte % 10 == i % 3), "channels stay in order");
        assert!(pixels.iter().zip(map).all(|(&pixel, mark)| mark == f32::from(u8::from(pixel == 1))), "{map:?}");
        *found.entry(pixels).or_default() += 1;
    }
    found.into_iter().collect()
}

#[test]
fn images_are_mirrored_and_turned_pixel_by_pixel() {
    let [as_it_was, left_right] = [[0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 0, 5, 4, 3, 8, 7, 6]];
    let [top_bottom, clockwise] = [[6, 7, 8, 3, 4, 5, 0, 1, 2], [6, 3, 0, 7, 4, 1, 8, 5, 2]];
    let [half, counter] = [[8, 7, 6, 5, 4, 3, 2, 1, 0], [2, 5, 8, 1, 4, 7, 0, 3, 6]];
    for (transform, mut expected) in [
        (Transform::Flip, vec![as_it_was, left_right]),
        (Transform::FlipVertical, vec![as_it_was, top_bottom]),
        (Transform::QuarterTurn, vec![as_it_was, clockwise, half, counter]),
    ] {
        expected.sort_unstable();
        let (found, counts): (Vec<_>, Vec<_>) = arrangements(transform.clone()).into_iter().unzip();
        assert_eq!(found, expected, "{transform:?}");
        let share = 4000 / expected.len() as u32;
        // A standard error is 32 of a half, 27 of a quarter.
        assert!(counts.iter().all(|count| count.abs_diff(share) < 130), "{transform:?}: {counts:?}");
    }
}

#[test]
fn turns_are_clockwise_by_the_number_of_quarters_that_is_drawn() {
    let quarters = (0..12).map(|sample| Stream::new(6, Purpose::Augment, 0, sample).below(0, 4)).collect::<Vec<_>>();
    let p = preprocessing(2, 2, 1, vec![Transform::QuarterTurn, Transform::ToUnit]);
    for (sample, quarters) in quarters.into_iter().enumerate() {
        let mut out = [0.0; 4];
        p.apply_train(&[255, 0, 0, 0], None, 6, 0, sample as u32, &mut out);
        // The bright corner goes round clockwise.
        assert_eq!(out.iter().position(|&v| v == 1.0), Some([0, 1, 3, 2][quarters as usize]), "sample {sample}");
    }
}

#[test]
fn a_batch_is_its_images() {
    let p = preprocessing(4, 2, 1, vec![Transform::Crop { side: 2 }, Transform::Lcn]);
    let images = Images { count: 5, height: 4, width: 4, channels: 1, pixels: (0..80).collect() };
    let (mut batch, mut one) = (vec![0.0; 3 * 4], [0.0; 4]);
    p.test_batch(&images, 1..4, &mut batch);
    p.apply_test(images.image(2), &mut one);
    assert_eq!(batch[4..8], one);
}
