use super::*;
use crate::data::folder::{Broken, read_all};
use crate::data::image_source::{Hold, Raw};
use crate::data::images::Images;
use crate::data::levels::Levels;
use crate::data::pipeline::{PipelineKind, Transform};
use crate::data::resize_mode::{RawForm, ResizeMode};
use crate::data::supervise::NoiseMode;
use crate::datasets::fmnist::FMNIST;
use crate::datasets::folder::FOLDER;
use crate::named::Named;
use crate::steps::fcdd_loss;
use NoiseMode::*;
use Supervise::*;

/// Twenty-four gradients with some texture; `shift` makes sets of them differ.
fn images(side: usize, channels: usize, shift: usize) -> Images {
    let n = side * side * channels;
    let value = |i: usize| (50 + shift + (i % n) * 100 / n + (i * 31 + i / n * 17) % 29) as u8;
    Images { count: 24, height: side, width: side, channels, pixels: (0..24 * n).map(value).collect() }
}

fn data(raw: usize, side: usize, channels: usize, supervise: Supervise, noise: NoiseMode) -> TrainingData {
    let normal = ImageSource::from(images(raw, channels, 0));
    let (kind, dataset) = match channels {
        1 => (PipelineKind::Lcnaug1, FMNIST),
        _ => (PipelineKind::Aug1, FOLDER),
    };
    let preprocessing = dataset.recipe.preprocessing(kind, raw, side, channels, &normal).unwrap();
    let half = Mask { height: raw, width: raw, pixels: (0..raw * raw).map(|i| u8::from(i % raw < raw / 2)).collect() };
    let masks = (0..24).map(|i| (i % 2 == 0).then(|| half.clone())).collect();
    let labelled = Some(LabelledAnomalies {
        images: images(raw, channels, 70).into(),
        masks,
        without_mask: 2,
        untested: Vec::new(),
    });
    TrainingData {
        normal,
        labelled,
        labelled_share: 0,
        outliers: Some(images(raw, channels, 40).into()),
        preprocessing,
        counted: None,
        supervise,
        noise: noise.into(),
        plan: EpochPlan::default(),
        seed: 42,
    }
}

struct FilledBatch {
    inputs: Vec<f32>,
    labels: Vec<f32>,
    maps: Vec<f32>,
}

fn fill(set: &TrainingSet, epoch: u32, samples: &[u32]) -> FilledBatch {
    let p = &set.data().preprocessing;
    let n = samples.len();
    let mut batch = FilledBatch {
        inputs: vec![f32::NAN; n * p.input_len()],
        labels: vec![f32::NAN; n],
        maps: vec![f32::NAN; n * p.side * p.side],
    };
    set.fill(epoch, samples, &mut batch.inputs, &mut batch.labels, Some(&mut batch.maps)).unwrap();
    batch
}

/// FNV-1a over the bits of all floats.
fn hash(batch: &FilledBatch) -> u64 {
    let floats = batch.inputs.iter().chain(&batch.labels).chain(&batch.maps);
    let bytes = floats.flat_map(|v| v.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[test]
fn samples_do_not_depend_on_their_batch_or_on_threads() {
    let set = TrainingSet::new(data(48, 42, 3, MalformedNormalGt, Confetti)).unwrap();
    let samples = set.order(1);
    let whole = fill(&set, 1, &samples);
    let (input_len, map_len) = (set.data().preprocessing.input_len(), 42 * 42);
    for (i, &sample) in samples.iter().enumerate() {
        let one = fill(&set, 1, &[sample]);
        assert_eq!(one.inputs, whole.inputs[i * input_len..][..input_len]);
        assert_eq!(one.maps, whole.maps[i * map_len..][..map_len]);
        assert_eq!(one.labels, whole.labels[i..=i]);
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(hash(&pool.install(|| fill(&set, 1, &samples))), hash(&whole));
    }
    assert_ne!(hash(&fill(&set, 2, &samples)), hash(&whole), "each epoch is another");
    let mut without_maps = vec![0.0; whole.inputs.len()];
    set.fill(1, &samples, &mut without_maps, &mut vec![0.0; samples.len()], None).unwrap();
    assert_eq!(without_maps, whole.inputs);
}

#[test]
fn half_of_the_samples_become_anomalies_afresh_in_each_epoch() {
    let set = TrainingSet::new(data(8, 8, 1, Noise, Solid)).unwrap();
    let samples: Vec<u32> = (0..24).collect();
    let epochs: Vec<Vec<f32>> = (0..500).map(|epoch| fill(&set, epoch, &samples).labels).collect();
    let anomalies: f32 = epochs.iter().flatten().sum();
    assert!((anomalies / 12_000.0 - 0.5).abs() < 0.02, "{anomalies} of 12000"); // standard error 0.0046
    assert_ne!(epochs[0], epochs[1]);
    let none = TrainingSet::new(data(8, 8, 1, Unsupervised, Solid)).unwrap();
    assert_eq!(fill(&none, 0, &samples).labels, [0.0; 24]);
}

/// With geometry that changes nothing, inputs times 255 are the bytes.
fn plain(side: usize, channels: usize, supervise: Supervise, noise: NoiseMode) -> TrainingSet {
    let list = vec![Transform::ToUnit];
    let preprocessing = Preprocessing {
        channels,
        raw_side: side,
        resize: ResizeMode::Squash,
        levels: Levels::ALL,
        side,
        train: list.clone(),
        test: list,
    };
    let channels_one = data(side, side, channels, supervise, noise);
    TrainingSet::new(TrainingData { preprocessing, ..channels_one }).unwrap()
}

#[test]
fn maps_say_where_the_anomaly_is() {
    let samples: Vec<u32> = (0..24).collect();
    type CheckAnomaly<'a> = &'a dyn Fn(&[f32], &[f32], &[u8]); // of an anomaly's input and map, and of the normal image
    let check = |supervise, noise, expected: CheckAnomaly| {
        let set = plain(40, 3, supervise, noise);
        let batch = fill(&set, 0, &samples);
        assert!(batch.labels.contains(&1.0) && batch.labels.contains(&0.0));
        for i in 0..24 {
            let (input, map) = (&batch.inputs[i * 4800..][..4800], &batch.maps[i * 1600..][..1600]);
            let normal = &set.data().normal.load(&[i]).unwrap().pixels;
            if batch.labels[i] == 0.0 {
                assert!(map.iter().all(|&v| v == 0.0));
                assert!(input.iter().zip(normal).all(|(&v, &b)| v == f32::from(b) / 255.0));
            } else {
                expected(input, map, normal);
            }
        }
    };
    let ones = |_: &[f32], map: &[f32], _: &[u8]| assert!(map.iter().all(|&v| v == 1.0));
    check(Noise, Uniform, &ones);
    check(MalformedNormal, Confetti, &ones);
    for noise in [Confetti, FineConfetti, CutPaste, Blob, MixedBlob, Outliers] {
        check(MalformedNormalGt, noise, &|input, map, normal| {
            assert!(map.contains(&1.0), "{noise:?}");
            for (p, &marked) in map.iter().enumerate() {
                let changed = (0..3).any(|c| input[3 * p + c] != f32::from(normal[3 * p + c]) / 255.0);
                assert_eq!(marked, f32::from(u8::from(changed)), "{noise:?}");
            }
        });
    }
    let others = images(40, 3, 70);
    check(Other, Gaussian, &|input, map, _| {
        let same = |image: &[u8]| input.iter().zip(image).all(|(&v, &b)| v == f32::from(b) / 255.0);
        let pick = (0..24).find(|&k| same(others.image(k))).expect("one of the others");
        let expected = |p: usize| if pick % 2 == 0 { f32::from(u8::from(p % 40 < 20)) } else { fcdd_loss::UNMARKED };
        assert!((0..1600).all(|p| map[p] == expected(p)));
    });
}

/// What several modes make of a sample is what one of them makes of it, by their shares.
#[test]
fn each_anomaly_is_made_by_one_mode_of_a_mix() {
    let samples: Vec<u32> = (0..24).collect();
    let of = |noise: NoiseMix| {
        let data = plain(40, 3, MalformedNormalGt, Blob).data().clone();
        TrainingSet::new(TrainingData { noise, ..data }).unwrap()
    };
    let mixed = of("fine-confetti:1,cutpaste:2,confetti:1".parse().unwrap());
    let alone = [FineConfetti, CutPaste, Confetti].map(|mode| of(mode.into()));
    let mut made = [0; 3];
    for epoch in 0..40 {
        let batch = fill(&mixed, epoch, &samples);
        let alone = alone.each_ref().map(|set| fill(set, epoch, &samples));
        for i in 0..24 {
            let image = |batch: &FilledBatch| {
                (batch.inputs[i * 4800..][..4800].to_vec(), batch.maps[i * 1600..][..1600].to_vec())
            };
            let found: Vec<usize> = (0..3).filter(|&mode| image(&alone[mode]) == image(&batch)).collect();
            if batch.labels[i] == 0.0 {
                assert_eq!(found, [0, 1, 2]);
            } else {
                made[found[0]] += 1;
                assert_eq!(found.len(), 1, "one mode alone makes it: {found:?}");
            }
        }
    }
    // Of 480 anomalies: standard deviations 9 and 11.
    let [fine, pasted, confetti] = made;
    assert!((75..165).contains(&fine) && (185..295).contains(&pasted) && (75..165).contains(&confetti), "{made:?}");
}

/// Anomalies are labelled ones by their share, and those of the noise modes otherwise: each as it is without the others.
#[test]
fn labelled_anomalies_stand_among_artificial_ones() {
    let samples: Vec<u32> = (0..24).collect();
    let of = |supervise: Supervise, noise: &str, labelled_share| {
        let data = TrainingData { noise: noise.parse().unwrap(), ..plain(40, 3, supervise, Blob).data().clone() };
        TrainingSet::new(TrainingData { labelled_share, ..data }).unwrap()
    };
    for (supervise, noise) in [(MalformedNormalGt, "blob,cutpaste"), (Noise, "uniform,solid")] {
        let mixed = of(supervise, noise, 25);
        let labelled = of(Other, noise, 0);
        let made = noise.split(',').map(|noise| of(supervise, noise, 0));
        let sources: Vec<TrainingSet> = std::iter::once(labelled).chain(made).collect();
        let mut counts = [0; 3];
        for epoch in 0..40 {
            let batch = fill(&mixed, epoch, &samples);
            let alone: Vec<FilledBatch> = sources.iter().map(|set| fill(set, epoch, &samples)).collect();
            for i in (0..24).filter(|&i| batch.labels[i] == 1.0) {
                let image = |batch: &FilledBatch| {
                    (batch.inputs[i * 4800..][..4800].to_vec(), batch.maps[i * 1600..][..1600].to_vec())
                };
                let found: Vec<usize> = (0..3).filter(|&source| image(&alone[source]) == image(&batch)).collect();
                assert_eq!(found.len(), 1, "{found:?}");
                counts[found[0]] += 1;
            }
        }
        // Of 480 anomalies 120, 180 and 180: standard deviations 9 and 11.
        let [labelled, first, second] = counts;
        assert!(
            (75..165).contains(&labelled) && (135..225).contains(&first) && (135..225).contains(&second),
            "{counts:?}"
        );
    }
    // All of them, and a share of those that are made beforehand.
    let all = fill(&of(MalformedNormalGt, "blob", 100), 3, &samples);
    assert_eq!(hash(&all), hash(&fill(&of(Other, "blob", 0), 3, &samples)));
    let plan = EpochPlan { offline: true, ..EpochPlan::default() };
    let set = TrainingSet::new(TrainingData { plan, ..of(MalformedNormalGt, "blob", 50).data().clone() }).unwrap();
    let maps = fill(&set, 0, &(24..48).collect::<Vec<_>>()).maps;
    let unmarked = maps.chunks_exact(1600).filter(|map| map.contains(&fcdd_loss::UNMARKED)).count();
    // Half of 24 are labelled, half of these unmarked: six, with a standard deviation of 2.1.
    assert!((1..14).contains(&unmarked), "{unmarked}");
}

/// The other image is never the sample's own, unless it is the only one.
#[test]
fn another_image_is_another() {
    let set = plain(4, 1, MalformedNormalGt, CutPaste);
    let mut seen = [0; 24];
    for epoch in 0..200 {
        let (images, other) = set.ingredient(7, epoch, 7).unwrap();
        assert_eq!(images.count(), 24);
        seen[other] += 1;
    }
    // Each of 23 about nine times.
    assert!(seen[7] == 0 && seen.iter().enumerate().all(|(i, n)| i == 7 || (1..30).contains(n)), "{seen:?}");
    let mut data = set.data().clone();
    data.normal = data.normal.select(&[3]);
    assert_eq!(TrainingSet::new(data).unwrap().ingredient(0, 0, 0).unwrap().1, 0);
}

#[test]
fn one_pixel_is_enough_for_anything() {
    for channels in [1, 3] {
        for noise in NoiseMode::all() {
            for supervise in [Unsupervised, Other, Noise, MalformedNormal, MalformedNormalGt] {
                if supervise != Noise || noise.stands_alone() {
                    let set = TrainingSet::new(data(1, 1, channels, supervise, noise)).unwrap();
                    let batch = fill(&set, 0, &(0..24).collect::<Vec<_>>());
                    assert!(batch.inputs.iter().all(|v| v.is_finite()), "{supervise:?} {noise:?}");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |change: &dyn Fn(&mut TrainingData), words: &str| {
        let mut parts = data(8, 8, 1, Noise, Outliers);
        change(&mut parts);
        let message = TrainingSet::new(parts).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused(&|parts| parts.outliers = None, "no source of outliers");
    refused(&|parts| parts.outliers = Some(images(9, 1, 0).into()), "outliers of 9×9×1");
    refused(&|parts| parts.noise = Confetti.into(), "confetti");
    refused(&|parts| parts.noise = FineConfetti.into(), "confetti");
    refused(&|parts| parts.normal = Images::empty(8, 8, 1).into(), "0 normal training images");
    refused(&|parts| (parts.supervise, parts.labelled) = (Other, None), "no labelled anomalies");
    refused(
        &|parts| {
            (parts.supervise, parts.labelled) = (
                Other,
                Some(LabelledAnomalies {
                    images: images(8, 1, 0).into(),
                    masks: vec![None],
                    without_mask: UNMARKED,
                    untested: Vec::new(),
                }),
            )
        },
        "masks",
    );
    refused(&|parts| (parts.labelled_share, parts.labelled) = (1, None), "no labelled anomalies");
    refused(&|parts| parts.labelled_share = 101, "101 %");
    refused(&|parts| parts.preprocessing.test.clear(), "preprocessing");
    let mut unused = data(8, 8, 1, MalformedNormal, Gaussian);
    unused.outliers = Some(Images::empty(8, 8, 1).into());
    assert_eq!(TrainingSet::new(unused).unwrap().len(), 24);
}

#[test]
fn passes_go_through_all_images_each_in_its_own_order() {
    let plan = EpochPlan { passes: 3, ..EpochPlan::default() };
    let set = TrainingSet::new(TrainingData { plan, ..data(8, 8, 1, Noise, Uniform) }).unwrap();
    let once = TrainingSet::new(data(8, 8, 1, Noise, Uniform)).unwrap();
    let order = set.order(5);
    assert_eq!((set.len(), order.len()), (72, 72));
    assert_eq!(order[..24], once.order(5), "the first pass is that of a single one");
    for (pass, samples) in order.chunks(24).enumerate() {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(24 * pass as u32..24 * (pass as u32 + 1)));
    }
    let images = |pass: usize| order[24 * pass..][..24].iter().map(|sample| sample % 24).collect::<Vec<_>>();
    assert_ne!(images(0), images(1));
    // One image on two passes is two samples, and another coin.
    let labels = |set: &TrainingSet, pass: u32| fill(set, 5, &(24 * pass..24 * (pass + 1)).collect::<Vec<_>>()).labels;
    assert_eq!(labels(&set, 0), labels(&once, 0));
    assert_ne!(labels(&set, 0), labels(&set, 1));
    let too_many = EpochPlan { passes: u32::MAX, ..EpochPlan::default() };
    assert!(TrainingSet::new(TrainingData { plan: too_many, ..data(8, 8, 1, Noise, Uniform) }).is_err());
    let short = EpochPlan { at_most: Some(10), ..plan };
    let set = TrainingSet::new(TrainingData { plan: short, ..data(8, 8, 1, Noise, Uniform) }).unwrap();
    assert_eq!((set.len(), set.order(5).len()), (30, 30));
    assert_eq!(set.order(5)[10..20], order[24..34]);
}

#[test]
fn anomalies_made_beforehand_stand_beside_the_normal_images() {
    for (supervise, noise) in [
        (Noise, Uniform),
        (MalformedNormal, Confetti),
        (MalformedNormalGt, Blob),
        (MalformedNormalGt, CutPaste),
        (Other, Solid),
        (Noise, Outliers),
    ] {
        let online = plain(40, 3, supervise, noise);
        let plan = EpochPlan { offline: true, ..EpochPlan::default() };
        let set = TrainingSet::new(TrainingData { plan, ..online.data().clone() }).unwrap();
        let mut order = set.order(0);
        assert_eq!((set.len(), order.len()), (48, 48));
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..48));
        let batch = fill(&set, 0, &order);
        assert!(batch.labels.iter().enumerate().all(|(i, &label)| label == f32::from(u8::from(i >= 24))));
        let pixel = |i: usize| (batch.inputs[i * 4800] * 255.0).round() as u8;
        assert!((0..24).all(|i| pixel(i) == set.data().normal.held().unwrap().image(i)[0]));
        // The same ones in every epoch.
        let later = fill(&set, 7, &order);
        assert!(batch.inputs == later.inputs && batch.maps == later.maps, "{supervise:?} {noise:?}");
        let (normal, anomalous) = batch.maps.split_at(24 * 1600);
        assert!(normal.iter().all(|&v| v == 0.0));
        let marked = anomalous.iter().filter(|&&v| v == 1.0).count();
        match supervise {
            Noise | MalformedNormal => assert_eq!(marked, 24 * 1600),
            _ => assert!(marked > 0 && marked < 24 * 1600, "{supervise:?}: {marked}"),
        }
    }
    let plan = EpochPlan { offline: true, ..EpochPlan::default() };
    let message = TrainingSet::new(TrainingData { plan, ..data(8, 8, 1, Unsupervised, Solid) }).unwrap_err();
    assert!(message.to_string().contains("no anomalies to make"), "{message}");
}

/// Each image as it is and as an anomaly, in epochs that do not change; a few of a set's images are drawn as those of a set.
#[test]
fn images_can_be_drawn_both_ways_and_sets_of_few() {
    let set = TrainingSet::new(data(28, 28, 1, MalformedNormalGt, FineConfetti)).unwrap();
    let ways = set.both_ways(100);
    let labels: Vec<f32> = ways.iter().map(|&(epoch, sample)| fill(&set, epoch, &[sample]).labels[0]).collect();
    assert_eq!(labels, [0.0, 1.0].repeat(24));
    assert!(ways.iter().map(|&(_, sample)| sample).eq((0..24).flat_map(|sample| [sample; 2])));
    let samples: Vec<u32> = set.both_ways(3).iter().map(|&(_, sample)| sample).collect();
    assert_eq!(samples, [0, 0, 8, 8, 16, 16], "some of them, spread evenly");
    let few = set.of_few(5).unwrap();
    assert_eq!((few.len(), few.data().normal.count()), (5, 5));
    for &(epoch, sample) in &ways[..10] {
        assert_eq!(fill(&few, epoch, &[sample]).inputs, fill(&set, epoch, &[sample]).inputs);
    }
    assert_eq!(set.of_few(100).unwrap().len(), 24);
    let labelled = TrainingSet::new(data(28, 28, 1, Other, FineConfetti)).unwrap().of_few(3).unwrap();
    assert_eq!(
        labelled.data().labelled.as_ref().map(|labelled| (labelled.images.count(), labelled.masks.len())),
        Some((3, 3))
    );
}

/// What is held out tells a set from others too.
#[test]
fn images_that_are_held_out_count_in_the_fingerprint() {
    let of = |shift: usize| {
        let held_out = TrainingData { normal: images(28, 1, shift).into(), ..data(28, 28, 1, Noise, Gaussian) };
        let set = TrainingSet::new(data(28, 28, 1, Noise, Gaussian)).unwrap();
        set.holding_out(TrainingSet::new(held_out).unwrap()).fingerprint().unwrap()
    };
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

/// Half of the images, as the mask of labelled anomalies marks it in `data`.
fn right_half() -> Counted {
    serde_json::from_str(r#"{"height":1,"width":2,"runs":[1,1]}"#).unwrap()
}

/// What does not count moves along with the image, and changes nothing else of a batch.
#[test]
fn what_does_not_count_is_outside_of_the_ground_truth() {
    for (raw, side, channels) in [(28, 28, 1), (48, 42, 3)] {
        for (supervise, noise) in [
            (Unsupervised, Uniform),
            (Noise, Outliers),
            (MalformedNormal, Confetti),
            (MalformedNormalGt, CutPaste),
            (Other, Solid),
        ] {
            let mut plain = data(raw, side, channels, supervise, noise);
            let half = plain.labelled.as_ref().unwrap().masks[0].clone();
            plain.labelled.as_mut().unwrap().masks.fill(half.clone());
            // Samples that are all labelled anomalies, whose masks mark what does not count, show where that comes to lie.
            let marked = TrainingData { supervise: Other, normal: plain.normal.clone(), ..plain.clone() };
            let set = |data| TrainingSet::new(data).unwrap();
            let masked = set(TrainingData { counted: Some(right_half()), ..plain.clone() });
            let (plain, marked, order) = (set(plain), set(marked), masked.order(3));
            let (all, some, there) = (fill(&plain, 3, &order), fill(&masked, 3, &order), fill(&marked, 3, &order));
            assert!(all.inputs == some.inputs && all.labels == some.labels, "{supervise:?}");
            let len = side * side;
            for i in 0..order.len() {
                let [all, some, there] = [&all.maps, &some.maps, &there.maps].map(|maps| &maps[i * len..][..len]);
                let is_out = |&g: &f32| g == fcdd_loss::OUTSIDE;
                assert!(some.iter().filter(|g| is_out(g)).count().abs_diff(len / 2) <= len / 5, "{supervise:?}");
                assert!(all.iter().zip(some).all(|(all, some)| is_out(some) || all == some), "{supervise:?}");
                if there.contains(&1.0) {
                    assert!(
                        there.iter().zip(some).all(|(there, some)| is_out(some) == (*there == 1.0)),
                        "{supervise:?}"
                    );
                }
            }
        }
    }
    let offline = EpochPlan { offline: true, ..EpochPlan::default() };
    let data = TrainingData { plan: offline, counted: Some(right_half()), ..data(28, 28, 1, Noise, Uniform) };
    let message = TrainingSet::new(data).unwrap_err().to_string();
    assert!(message.contains("`roi` and `ignore`"), "{message}");
}

/// Images of which the left part is black, the rest white: what counts is what is white, in whatever way squares are made of them.
#[test]
fn squares_of_images_take_their_part_of_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.png");
    let save = |white: std::ops::Range<u32>| {
        let pixel = |x: u32, _| image::Luma([if white.contains(&x) { 255 } else { 0 }]);
        image::GrayImage::from_fn(192, 64, pixel).save(&path).unwrap();
    };
    for resize in [
        ResizeMode::Squash,
        ResizeMode::Letterbox,
        ResizeMode::Tile { side: 32, overlap: 8 },
        ResizeMode::Tile { side: 128, overlap: 32 },
    ] {
        let form = RawForm { side: 32, channels: 1, resize, levels: Levels::ALL };
        let draw = |white: std::ops::Range<u32>| {
            save(white);
            let counted = Counted::read(Some(&path), None).unwrap();
            let images = read_all(std::slice::from_ref(&path), Raw { form, hold: Hold::Always }, Broken::Refused)
                .unwrap()
                .images;
            let preprocessing = FMNIST.recipe.preprocessing(PipelineKind::None, 32, 32, 1, &images).unwrap();
            let data = data(32, 32, 1, MalformedNormal, Confetti);
            let plan = EpochPlan { passes: 200, ..EpochPlan::default() };
            let data = TrainingData { normal: images.tiles(), preprocessing, counted, plan, labelled: None, ..data };
            let set = TrainingSet::new(TrainingData { supervise: Unsupervised, ..data.clone() }).unwrap();
            let order = set.order(0);
            let anomalies = fill(&TrainingSet::new(data).unwrap(), 0, &order);
            (fill(&set, 0, &order), anomalies, set)
        };
        let (batch, anomalies, set) = draw(96..192);
        let (least, most) = batch.inputs.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        for (map, input) in batch.maps.chunks(1024).zip(batch.inputs.chunks(1024)) {
            // What padding mirrors in counts for nothing whatever its colour; in between are the pixels at the edge.
            let rows = match resize {
                ResizeMode::Letterbox => 11,
                ResizeMode::Tile { side: 128, .. } => 16,
                _ => 32,
            };
            for (&g, &v) in map.iter().zip(input).take(32 * rows).filter(|&(_, &v)| v == least || v == most) {
                assert_eq!(g, if v == most { 0.0 } else { fcdd_loss::OUTSIDE }, "{resize}");
            }
            assert!(map[32 * rows..].iter().all(|&g| g == fcdd_loss::OUTSIDE));
        }
        // Of anomalies the same places are left out, and all others are anomalous.
        let mut pairs = batch.maps.iter().zip(&anomalies.maps);
        assert!(pairs.all(|(&g, &h)| g == h || (g, h) == (0.0, 1.0)), "{resize}");
        assert!(anomalies.maps.contains(&1.0) && anomalies.maps.contains(&fcdd_loss::OUTSIDE), "{resize}");
        // Of a small part few squares show nothing: each of a tile's size reaches it.
        let (batch, _, other) = draw(180..186);
        let shows = batch.maps.chunks(1024).filter(|map| map.contains(&0.0)).count();
        assert_eq!(shows, batch.labels.len(), "{resize}");
        // Another mask is another set, of the same images.
        let of = |counted: Option<Counted>| {
            TrainingSet::new(TrainingData { counted, ..other.data().clone() }).unwrap().fingerprint().unwrap()
        };
        assert_eq!(of(other.data().counted.clone()), other.fingerprint().unwrap());
        assert_ne!(of(set.data().counted.clone()), other.fingerprint().unwrap());
        assert_eq!(of(None).checksum, other.fingerprint().unwrap().checksum);
    }
}
