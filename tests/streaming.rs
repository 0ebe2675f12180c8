//! A set that is not held: batches come out the same, and no more than a few are in memory at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fcdd::data::batches::{EpochPlan, TrainingData, TrainingSet};
use fcdd::data::folder::{Broken, images, read_all};
use fcdd::data::image_source::{Hold, Raw};
use fcdd::data::levels::Levels;
use fcdd::data::pipeline::PipelineKind;
use fcdd::data::prefetch::{Job, prefetched};
use fcdd::data::resize_mode::{RawForm, ResizeMode};
use fcdd::data::supervise::{NoiseMix, Supervise};
use fcdd::datasets::folder::FOLDER;

/// Counts the bytes that are allocated, and the most there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const IMAGES: u32 = 600;
const SIDE: usize = 64;
const BATCH: usize = 4;

fn write(folder: &Path, salt: u32) -> Vec<PathBuf> {
    std::fs::create_dir(folder).unwrap();
    for i in 0..IMAGES {
        let pixel = |x: u32, y: u32| image::Rgb([(x * 3 + i) as u8, (y * 5 + salt) as u8, (x * y + i * salt) as u8]);
        image::RgbImage::from_fn(SIDE as u32, 70, pixel).save(folder.join(format!("{i:04}.png"))).unwrap();
    }
    images(folder, false).unwrap()
}

fn set(normal: &[PathBuf], outliers: &[PathBuf], (supervise, noise): (Supervise, &str), hold: Hold) -> TrainingSet {
    let raw = Raw { form: RawForm { side: SIDE, channels: 3, resize: ResizeMode::Squash, levels: Levels::ALL }, hold };
    let normal = read_all(normal, raw, Broken::Refused).unwrap().images;
    TrainingSet::new(TrainingData {
        preprocessing: FOLDER.recipe.preprocessing(PipelineKind::Aug1, SIDE, SIDE, 3, &normal).unwrap(),
        normal,
        labelled: None,
        labelled_share: 0,
        outliers: Some(read_all(outliers, raw, Broken::Refused).unwrap().images),
        counted: None,
        supervise,
        noise: noise.parse::<NoiseMix>().unwrap(),
        plan: EpochPlan::default(),
        seed: 5,
    })
    .unwrap()
}

#[test]
fn a_streamed_set_is_the_held_one_a_few_batches_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (normal, outliers) = (write(&folder.path().join("good"), 1), write(&folder.path().join("other"), 9));
    for anomalies in [
        (Supervise::Noise, "outliers"),
        (Supervise::MalformedNormalGt, "outliers"),
        (Supervise::MalformedNormalGt, "blob,cutpaste:3"),
    ] {
        let streamed = set(&normal, &outliers, anomalies, Hold::Never);
        assert!(!streamed.is_held());
        let order = streamed.order(2);
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let bytes = streamed.batch_bytes(BATCH, true);
        let jobs = order.chunks(BATCH).map(|samples| Job { bytes, make: || streamed.batch(2, samples, true) });
        let sums: Vec<f64> = prefetched(3 * bytes, jobs, |batches| {
            batches.map(|batch| batch.unwrap().inputs.iter().map(|&v| f64::from(v)).sum()).collect()
        });
        let most = MOST.load(Ordering::Relaxed) - before;
        // Three batches of floats, and what each thread decodes and transforms; held, the set would take 14 MiB.
        let batch = BATCH * SIDE * SIDE * 4 * 4;
        let decoding = rayon::current_num_threads() * 40 * SIDE * SIDE * 3;
        assert!(most < 4 * batch + decoding, "{most} bytes, a batch has {batch}");
        assert!(4 * batch + decoding < 2 * IMAGES as usize * SIDE * SIDE * 3 || rayon::current_num_threads() > 16);

        let held = set(&normal, &outliers, anomalies, Hold::Always);
        assert!(held.is_held());
        assert_eq!(held.data().preprocessing, streamed.data().preprocessing);
        assert_eq!(held.fingerprint().unwrap(), streamed.fingerprint().unwrap());
        for (samples, sum) in order.chunks(BATCH).zip(sums) {
            let expected = held.batch(2, samples, true).unwrap();
            assert_eq!(expected.inputs.iter().map(|&v| f64::from(v)).sum::<f64>(), sum);
        }
        let [a, b] = [&held, &streamed].map(|set| set.batch(3, &order[..9], true).unwrap());
        assert!(a.inputs == b.inputs && a.labels == b.labels && a.maps == b.maps);
    }
}
