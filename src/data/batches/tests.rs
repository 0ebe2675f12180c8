use super::*;
use crate::data::dataset::DatasetKind;
use crate::data::images::Images;
use crate::data::pipeline::{PipelineKind, Transform};
use NoiseMode::*;
use Supervise::*;

/// Twenty-four gradients with some texture; `shift` makes sets of them differ.
fn images(side: usize, channels: usize, shift: usize) -> Images {
    let n = side * side * channels;
    let value = |i: usize| (50 + shift + (i % n) * 100 / n + (i * 31 + i / n * 17) % 29) as u8;
    Images { count: 24, height: side, width: side, channels, pixels: (0..24 * n).map(value).collect() }
}

fn ingredients(raw: usize, side: usize, channels: usize, supervise: Supervise, noise: NoiseMode) -> Ingredients {
    let nominal = Store::from(images(raw, channels, 0));
    let (kind, dataset) = match channels {
        1 => (PipelineKind::Lcnaug1, DatasetKind::Fmnist),
        _ => (PipelineKind::Aug1, DatasetKind::Folder),
    };
    let preprocessing = Preprocessing::new(kind, dataset, raw, side, channels, &nominal).unwrap();
    let half = Mask { height: raw, width: raw, pixels: (0..raw * raw).map(|i| u8::from(i % raw < raw / 2)).collect() };
    let masks = (0..24).map(|i| (i % 2 == 0).then(|| half.clone())).collect();
    let others = Some(Others { images: images(raw, channels, 70).into(), masks });
    Ingredients {
        nominal,
        others,
        outliers: Some(images(raw, channels, 40).into()),
        preprocessing,
        supervise,
        noise,
        seed: 42,
    }
}

struct Batch {
    inputs: Vec<f32>,
    labels: Vec<f32>,
    maps: Vec<f32>,
}

fn fill(set: &TrainingSet, epoch: u32, samples: &[u32]) -> Batch {
    let p = &set.ingredients().preprocessing;
    let n = samples.len();
    let mut batch = Batch {
        inputs: vec![f32::NAN; n * p.input_len()],
        labels: vec![f32::NAN; n],
        maps: vec![f32::NAN; n * p.side * p.side],
    };
    set.fill(epoch, samples, &mut batch.inputs, &mut batch.labels, Some(&mut batch.maps)).unwrap();
    batch
}

/// FNV-1a over the bits of all floats.
fn hash(batch: &Batch) -> u64 {
    let floats = batch.inputs.iter().chain(&batch.labels).chain(&batch.maps);
    let bytes = floats.flat_map(|v| v.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What batches of this code are, bit for bit: a device that makes them has to make the same.
#[test]
fn golden_hashes() {
    let samples: Vec<u32> = (0..24).collect();
    let mut found = Vec::new();
    for channels in [1, 3] {
        for supervise in [Unsupervised, Other] {
            found.push((channels, supervise, Gaussian));
        }
        found.extend([Gaussian, Uniform, Solid, Blob, MixedBlob, Outliers].map(|noise| (channels, Noise, noise)));
        found.extend(
            [Gaussian, Blob, MixedBlob, Confetti, FineConfetti].map(|noise| (channels, MalformedNormalGt, noise)),
        );
        found.push((channels, MalformedNormal, Confetti));
    }
    let found: Vec<_> = found
        .into_iter()
        .map(|(channels, supervise, noise)| {
            let (raw, side) = if channels == 1 { (28, 28) } else { (48, 42) };
            let set = TrainingSet::new(ingredients(raw, side, channels, supervise, noise)).unwrap();
            (channels, supervise, noise, hash(&fill(&set, 3, &samples)))
        })
        .collect();
    let table = |rows: &[(usize, Supervise, NoiseMode, u64)]| {
        let line =
            |(channels, supervise, noise, hash): &_| format!("({channels}, {supervise:?}, {noise:?}, {hash:#018x}),");
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    assert!(found == GOLDEN, "batches are now\n{}", table(&found));
}

const GOLDEN: [(usize, Supervise, NoiseMode, u64); 28] = [
    (1, Unsupervised, Gaussian, 0x35eb_b705_a58d_b1b4),
    (1, Other, Gaussian, 0x8199_31ea_253b_bd9c),
    (1, Noise, Gaussian, 0xc1fa_bca0_aa24_e31b),
    (1, Noise, Uniform, 0x8c7a_755b_a609_aa3c),
    (1, Noise, Solid, 0xb8bf_dba1_7574_9a5c),
    (1, Noise, Blob, 0x2428_5b8c_a8e7_f834),
    (1, Noise, MixedBlob, 0x9349_cbed_a933_453c),
    (1, Noise, Outliers, 0xd818_811b_e0dc_451e),
    (1, MalformedNormalGt, Gaussian, 0xeacb_56a4_5432_9787),
    (1, MalformedNormalGt, Blob, 0xe081_f6ce_216c_ed21),
    (1, MalformedNormalGt, MixedBlob, 0xaed2_6cc9_0938_1e20),
    (1, MalformedNormalGt, Confetti, 0x4efc_57a3_cf4b_c373),
    (1, MalformedNormalGt, FineConfetti, 0xdb11_03f6_9cfa_ef1c),
    (1, MalformedNormal, Confetti, 0x5862_04e7_410d_efca),
    (3, Unsupervised, Gaussian, 0x957c_4794_6f19_9a3b),
    (3, Other, Gaussian, 0xdb49_e03f_dbec_4f4d),
    (3, Noise, Gaussian, 0x1159_b991_90e7_99e2),
    (3, Noise, Uniform, 0xdf30_e607_1e08_6334),
    (3, Noise, Solid, 0x82d5_44b3_54dd_257d),
    (3, Noise, Blob, 0xdb69_f5c9_ac87_c8d4),
    (3, Noise, MixedBlob, 0xbbc4_e7e4_88aa_eefb),
    (3, Noise, Outliers, 0x8684_805c_b5df_0d7c),
    (3, MalformedNormalGt, Gaussian, 0xad77_8b61_901d_3b1c),
    (3, MalformedNormalGt, Blob, 0x17d1_58f9_cd01_063e),
    (3, MalformedNormalGt, MixedBlob, 0x4816_589d_95de_df04),
    (3, MalformedNormalGt, Confetti, 0xab48_d349_210d_14cf),
    (3, MalformedNormalGt, FineConfetti, 0xb4d7_9d45_6894_1737),
    (3, MalformedNormal, Confetti, 0xe3f2_634c_f022_6cce),
];

#[test]
fn samples_do_not_depend_on_their_batch_or_on_threads() {
    let set = TrainingSet::new(ingredients(48, 42, 3, MalformedNormalGt, Confetti)).unwrap();
    let samples = set.order(1);
    let whole = fill(&set, 1, &samples);
    let (input_len, map_len) = (set.ingredients().preprocessing.input_len(), 42 * 42);
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
    let set = TrainingSet::new(ingredients(8, 8, 1, Noise, Solid)).unwrap();
    let samples: Vec<u32> = (0..24).collect();
    let epochs: Vec<Vec<f32>> = (0..500).map(|epoch| fill(&set, epoch, &samples).labels).collect();
    let anomalies: f32 = epochs.iter().flatten().sum();
    assert!((anomalies / 12_000.0 - 0.5).abs() < 0.02, "{anomalies} of 12000"); // standard error 0.0046
    assert_ne!(epochs[0], epochs[1]);
    let none = TrainingSet::new(ingredients(8, 8, 1, Unsupervised, Solid)).unwrap();
    assert_eq!(fill(&none, 0, &samples).labels, [0.0; 24]);
}

/// With geometry that changes nothing, inputs times 255 are the bytes.
fn plain(side: usize, channels: usize, supervise: Supervise, noise: NoiseMode) -> TrainingSet {
    let list = vec![Transform::ToUnit];
    let preprocessing =
        Preprocessing { channels, raw_side: side, fit: Fit::Squash, side, train: list.clone(), test: list };
    let channels_one = ingredients(side, side, channels, supervise, noise);
    TrainingSet::new(Ingredients { preprocessing, ..channels_one }).unwrap()
}

#[test]
fn maps_say_where_the_anomaly_is() {
    let samples: Vec<u32> = (0..24).collect();
    type Check<'a> = &'a dyn Fn(&[f32], &[f32], &[u8]); // of an anomaly's input and map, and of the nominal image
    let check = |supervise, noise, expected: Check| {
        let set = plain(40, 3, supervise, noise);
        let batch = fill(&set, 0, &samples);
        assert!(batch.labels.contains(&1.0) && batch.labels.contains(&0.0));
        for i in 0..24 {
            let (input, map) = (&batch.inputs[i * 4800..][..4800], &batch.maps[i * 1600..][..1600]);
            let nominal = &set.ingredients().nominal.load(&[i]).unwrap().pixels;
            if batch.labels[i] == 0.0 {
                assert!(map.iter().all(|&v| v == 0.0));
                assert!(input.iter().zip(nominal).all(|(&v, &b)| v == f32::from(b) / 255.0));
            } else {
                expected(input, map, nominal);
            }
        }
    };
    let ones = |_: &[f32], map: &[f32], _: &[u8]| assert!(map.iter().all(|&v| v == 1.0));
    check(Noise, Uniform, &ones);
    check(MalformedNormal, Confetti, &ones);
    for noise in [Confetti, FineConfetti, Blob, MixedBlob, Outliers] {
        check(MalformedNormalGt, noise, &|input, map, nominal| {
            assert!(map.contains(&1.0), "{noise:?}");
            for (p, &marked) in map.iter().enumerate() {
                let changed = (0..3).any(|c| input[3 * p + c] != f32::from(nominal[3 * p + c]) / 255.0);
                assert_eq!(marked, f32::from(u8::from(changed)), "{noise:?}");
            }
        });
    }
    let others = images(40, 3, 70);
    check(Other, Gaussian, &|input, map, _| {
        let same = |image: &[u8]| input.iter().zip(image).all(|(&v, &b)| v == f32::from(b) / 255.0);
        let pick = (0..24).find(|&k| same(others.image(k))).expect("one of the others");
        let expected = |p: usize| if pick % 2 == 0 { f32::from(u8::from(p % 40 < 20)) } else { 1.0 };
        assert!((0..1600).all(|p| map[p] == expected(p)));
    });
}

#[test]
fn one_pixel_is_enough_for_anything() {
    for channels in [1, 3] {
        for noise in [Gaussian, Uniform, Solid, Blob, MixedBlob, Confetti, FineConfetti, Outliers] {
            for supervise in [Unsupervised, Other, Noise, MalformedNormal, MalformedNormalGt] {
                if supervise != Noise || noise.stands_alone() {
                    let set = TrainingSet::new(ingredients(1, 1, channels, supervise, noise)).unwrap();
                    let batch = fill(&set, 0, &(0..24).collect::<Vec<_>>());
                    assert!(batch.inputs.iter().all(|v| v.is_finite()), "{supervise:?} {noise:?}");
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |change: &dyn Fn(&mut Ingredients), words: &str| {
        let mut parts = ingredients(8, 8, 1, Noise, Outliers);
        change(&mut parts);
        let message = TrainingSet::new(parts).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused(&|parts| parts.outliers = None, "no source of outliers");
    refused(&|parts| parts.outliers = Some(images(9, 1, 0).into()), "outliers of 9×9×1");
    refused(&|parts| parts.noise = Confetti, "confetti");
    refused(&|parts| parts.noise = FineConfetti, "confetti");
    refused(&|parts| parts.nominal = Images::empty(8, 8, 1).into(), "0 nominal training images");
    refused(&|parts| (parts.supervise, parts.others) = (Other, None), "no true anomalies");
    refused(
        &|parts| {
            (parts.supervise, parts.others) =
                (Other, Some(Others { images: images(8, 1, 0).into(), masks: vec![None] }))
        },
        "masks",
    );
    refused(&|parts| parts.preprocessing.test.clear(), "preprocessing");
    let mut unused = ingredients(8, 8, 1, MalformedNormal, Gaussian);
    unused.outliers = Some(Images::empty(8, 8, 1).into());
    assert_eq!(TrainingSet::new(unused).unwrap().len(), 24);
}
