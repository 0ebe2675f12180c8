//! The crate as other programs use it: detection and training without the command line.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fcdd::model::weights::Layout;
use fcdd::model::{Weights, nets};
use fcdd::settings::{DatasetKind, Named, NoiseMode, Setting, ValueForm};
use fcdd::{
    Detection, Detector, Device, Evaluation, Evaluator, Event, Heatmap, ImageView, Input, Model, Region, Settings,
    Stop, Trained, Trainer, Verdict,
};
use image::DynamicImage;
use safetensors::tensor::{Dtype, TensorView, serialize};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/run-0.1");

fn detector() -> Detector {
    Detector::load(Path::new(GOLDEN).join("run"), Device::Cpu).unwrap()
}

/// The images that the golden model was tested on.
fn images() -> Vec<PathBuf> {
    let folders = ["good", "dent"].map(|kind| Path::new(GOLDEN).join("data/test").join(kind));
    let mut images: Vec<PathBuf> =
        folders.iter().flat_map(|folder| folder.read_dir().unwrap().map(|entry| entry.unwrap().path())).collect();
    images.sort();
    images
}

/// The same bits, in whatever company an image was scored.
fn same(a: &Detection, b: &Detection) {
    assert_eq!((a.score.to_bits(), a.threshold, a.verdict), (b.score.to_bits(), b.threshold, b.verdict));
    assert_eq!(a.heatmap().unwrap(), b.heatmap().unwrap());
}

#[test]
fn what_is_public_may_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Detector>();
    crosses::<Detection>();
    crosses::<Device>();
    crosses::<Heatmap>();
    crosses::<Input>();
    crosses::<Model>();
    crosses::<Settings>();
    crosses::<Stop>();
    crosses::<fcdd::Error>();
    crosses::<Trained>();
    crosses::<Trainer<'static>>();
    crosses::<Evaluation>();
    crosses::<Evaluator<'static>>();
}

#[test]
fn images_in_memory_are_scored_as_files_are() {
    let detector = detector();
    let by_file: Vec<Detection> = detector.detect_iter(images()).collect::<Result<_, _>>().unwrap();
    assert_eq!(by_file.len(), 8);
    let decoded: Vec<DynamicImage> = images().iter().map(|path| image::open(path).unwrap()).collect();
    for (detection, image) in by_file.iter().zip(&decoded) {
        same(detection, &detector.detect(image).unwrap());
        let grey = image.to_luma8();
        let (height, width) = (grey.height() as usize, grey.width() as usize);
        same(detection, &detector.detect(ImageView::grey8(grey.as_raw(), height, width).unwrap()).unwrap());
        let rgb = image.to_rgb8();
        same(detection, &detector.detect(ImageView::rgb8(rgb.as_raw(), height, width).unwrap()).unwrap());
        let wide = image.to_luma16();
        same(detection, &detector.detect(ImageView::grey16(wide.as_raw(), height, width).unwrap()).unwrap());
        // Rows that lie apart, as in the memory of a camera.
        let padded: Vec<u8> = grey.chunks(width).flat_map(|row| row.iter().copied().chain([255; 5])).collect();
        let view = ImageView::grey8(&padded, height, width).unwrap().with_stride(width + 5).unwrap();
        same(detection, &detector.detect(view).unwrap());
    }
    // Buffers that are handed over.
    let recording: Vec<_> = decoded.iter().map(DynamicImage::to_luma16).collect();
    let views = recording.into_iter().map(|wide| {
        let (height, width) = (wide.height() as usize, wide.width() as usize);
        ImageView::grey16(wide.into_raw(), height, width).unwrap()
    });
    for (detection, again) in by_file.iter().zip(detector.detect_iter(views)) {
        same(detection, &again.unwrap());
    }
    for (detection, again) in by_file.iter().zip(detector.detect_iter(decoded)) {
        same(detection, &again.unwrap());
    }
}

/// In tasks of rayon, that keep all of its threads busy, detections take their turns and end.
#[test]
fn tasks_of_rayon_may_detect() {
    use rayon::prelude::*;
    let detector = detector();
    let decoded: Vec<DynamicImage> = images().iter().map(|path| image::open(path).unwrap()).collect();
    let alone: Vec<Detection> = decoded.iter().map(|image| detector.detect(image).unwrap()).collect();
    let counts = rayon::broadcast(|_| detector.detect_iter(images()).filter(|found| found.is_ok()).count());
    assert!(counts.iter().all(|&count| count == decoded.len()));
    let again = (0..40 * decoded.len()).into_par_iter().map(|i| {
        let detection = detector.detect(&decoded[i % decoded.len()]).unwrap();
        detection.heatmap().unwrap();
        (i, detection)
    });
    again.collect::<Vec<_>>().iter().for_each(|(i, detection)| same(&alone[i % decoded.len()], detection));
}

/// An image without pixels is an error, and of several fails alone.
#[test]
fn an_image_without_pixels_is_an_error() {
    let (detector, empty) = (detector(), DynamicImage::new_luma8(0, 0));
    let says = |detected: Result<Detection, fcdd::Error>| {
        let message = detected.err().unwrap().to_string();
        assert!(message.contains("0×0 pixels"), "{message}");
    };
    says(detector.detect(&empty));
    let mut detected = detector.detect_iter([DynamicImage::new_rgb8(9, 9), empty, DynamicImage::new_luma8(9, 9)]);
    assert!(detected.next().unwrap().is_ok());
    says(detected.next().unwrap());
    assert!(detected.next().unwrap().is_ok() && detected.next().is_none());
}

#[test]
fn heatmaps_have_the_size_of_their_image() {
    let image = DynamicImage::new_rgb8(50, 31);
    let heatmap = detector().detect(&image).unwrap().heatmap().unwrap();
    assert_eq!((heatmap.height(), heatmap.width(), heatmap.values().len()), (31, 50, 31 * 50));
    assert!(heatmap.values().iter().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!((heatmap.to_image().width(), heatmap.to_image().height()), (50, 31));
}

/// The authors crop `custom` images to their centre. Of rows it is 28 from the 2nd on of 31, here the 2nd to the 34th of 36; of columns the same
/// of the middle square.
/// Regions hold the pixels of the map above a threshold, all of them and no others.
#[test]
fn regions_are_where_the_map_exceeds_the_threshold() {
    let image = image::open(&images()[0]).unwrap().resize_exact(70, 50, image::imageops::FilterType::Triangle);
    let detection = detector().detect(&image).unwrap();
    let map = detection.map().unwrap();
    assert_eq!(map.len(), 50 * 70);
    let highest = map.iter().copied().fold(0.0, f32::max);
    let threshold = highest / 2.0;
    let regions = detection.regions(Some(threshold), 0).unwrap();
    let above = |region: &Region| {
        let rows = map.chunks(70).skip(region.y).take(region.height);
        rows.flat_map(|row| &row[region.x..region.x + region.width]).filter(|&&value| value > threshold).count()
    };
    assert!(regions.iter().all(|region| above(region) >= region.area && region.area > 0));
    let all = map.iter().filter(|&&value| value > threshold).count();
    assert_eq!(regions.iter().map(|region| region.area).sum::<usize>(), all);
    let hottest = &regions[0];
    assert_eq!((hottest.peak, map[hottest.peak_y * 70 + hottest.peak_x]), (highest, highest));
    assert!(hottest.mean > threshold && hottest.mean <= highest);
    assert!(detection.regions(Some(threshold), all + 1).unwrap().is_empty());
    assert!(detection.regions(Some(highest), 0).unwrap().is_empty(), "a pixel has to exceed it");

    // A model of version 0.1 knows no threshold of pixels.
    let told = detection.regions(None, 0).unwrap_err().to_string();
    assert!(told.contains("fcdd calibrate") && told.contains("`pixel_threshold`"), "{told}");
    let detector = detector().with_pixel_threshold(threshold).unwrap();
    assert_eq!(detector.detect(&image).unwrap().regions(None, 0).unwrap(), regions);
    assert!(detector.with_pixel_threshold(f32::NAN).is_err());
}

#[test]
fn heatmaps_lie_where_the_image_was_cropped() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("custom/train/part");
    std::fs::create_dir_all(&class).unwrap();
    for (i, path) in images().iter().enumerate() {
        std::fs::copy(path, class.join(format!("{i}.png"))).unwrap();
    }
    let given =
        [("data", folder.path().display().to_string()), ("class", "part".to_string()), ("side", "28".to_string())];
    let mut settings = Settings::with(DatasetKind::parse("custom").unwrap(), &given).unwrap();
    (settings.net, settings.epochs, settings.batch) = ("FCDD_CNN28".to_string(), 1, 4);
    let trained = Trainer::new(settings).train(&Device::Cpu).unwrap();
    let detector = Detector::new(&trained.model, &Device::Cpu).unwrap();
    let heatmap = detector.detect(&DynamicImage::new_rgb8(72, 36)).unwrap().heatmap().unwrap().values();
    let seen = |i: usize| (1..34).contains(&(i / 72)) && (19..52).contains(&(i % 72));
    assert!((0..36 * 72).all(|i| seen(i) || heatmap[i] == 0.0));
    assert!((0..36 * 72).any(|i| seen(i) && heatmap[i] > 0.0));
}

#[test]
fn the_threshold_decides_the_verdict() {
    let image = DynamicImage::new_luma8(28, 28);
    let score = detector().detect(&image).unwrap().score;
    let verdict = |threshold| detector().with_threshold(threshold).unwrap().detect(&image).unwrap().verdict;
    assert_eq!(verdict(score), Verdict::Good);
    assert_eq!(verdict(score.next_down()), Verdict::Anomalous);
    // Scores are 0 or more; what lies just below a score of 0 is taken, as what lies just below any other is.
    assert!(detector().with_threshold(0f32.next_down()).is_ok());
    for none in [-1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let message = detector().with_threshold(none).err().unwrap().to_string();
        assert!(message.contains("not a score") && message.contains("0 or more"), "{message}");
    }
}

#[test]
fn a_file_that_cannot_be_read_fails_alone() {
    let mut paths = images();
    paths.insert(3, "absent.png".into());
    let results: Vec<_> = detector().detect_iter(paths).collect();
    let failed: Vec<usize> = (0..results.len()).filter(|&i| results[i].is_err()).collect();
    assert_eq!((results.len(), failed), (9, vec![3]));
    let message = results[3].as_ref().err().unwrap().to_string();
    assert!(message.contains("absent.png"), "{message}");
}

#[test]
fn threads_share_a_detector() {
    let detector = detector();
    let decoded: Vec<DynamicImage> = images().iter().map(|path| image::open(path).unwrap()).collect();
    let alone: Vec<f32> = decoded.iter().map(|image| detector.detect(image).unwrap().score).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (image, &score) in decoded.iter().zip(&alone) {
                    assert_eq!(detector.detect(image).unwrap().score, score);
                }
            });
        }
    });
}

/// Settings for a quick training on the golden run's images.
fn settings() -> Settings {
    let mut settings = Settings::folder(Path::new(GOLDEN).join("data"));
    (settings.net, settings.side) = ("FCDD_CNN28".to_string(), 28);
    (settings.epochs, settings.batch, settings.seed) = (3, 4, 3);
    settings
}

#[test]
fn training_tells_of_itself_and_gives_a_model() {
    let told = Mutex::new((Vec::new(), 0, Vec::new()));
    let observe = |event: Event| {
        let mut told = told.lock().unwrap();
        match event {
            Event::Progress { task, done, total, detail } => {
                assert_eq!((task, total), ("training", 36));
                told.0.push(done);
                told.1 += usize::from(detail().contains("loss"));
            }
            Event::Finished { summary, .. } => told.2.push(summary.to_string()),
            _ => {}
        }
    };
    let trained = Trainer::new(settings()).on_event(&observe).train(&Device::Cpu).unwrap();
    let (done, losses, finished) = told.into_inner().unwrap();
    assert!(done.is_sorted() && done.last() == Some(&36) && losses > 0, "{done:?}");
    assert!(finished.len() == 1 && finished[0].starts_with("finished after 3 of 3 epochs"), "{finished:?}");
    assert_eq!((trained.history.len(), trained.interrupted), (3, false));

    // The model file holds all that a detector needs.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    trained.model.save(&path).unwrap();
    let absent = folder.path().join("absent/model.safetensors");
    let message = trained.model.save(&absent).unwrap_err().to_string();
    let named = message.starts_with(&format!("cannot write {}: ", absent.display()));
    assert!(named && !message.contains(".fcdd-"), "of the file, not of a temporary one: {message}");
    let (kept, loaded) =
        (Detector::new(&trained.model, &Device::Cpu).unwrap(), Detector::load(&path, Device::Cpu).unwrap());
    for image in images() {
        let image = image::open(image).unwrap();
        same(&kept.detect(&image).unwrap(), &loaded.detect(&image).unwrap());
    }
}

#[test]
fn training_in_a_folder_leaves_a_run_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (run, stop) = (folder.path().join("run"), Stop::new());
    let stop_after_an_epoch = |event: Event| {
        if let Event::Progress { done: 12.., .. } = event {
            stop.request();
        }
    };
    let mut settings = settings();
    settings.epochs = 50;
    let trainer = Trainer::new(settings.clone()).in_folder(&run);
    let trained = trainer.on_event(&stop_after_an_epoch).stop_by(&stop).train(&Device::Cpu).unwrap();
    assert!(trained.interrupted && (1..50).contains(&trained.history.len()), "{}", trained.history.len());
    assert!(run.join("model.safetensors").is_file() && run.join("report.html").is_file());
    let again = Trainer::new(settings).in_folder(&run).train(&Device::Cpu).unwrap_err().to_string();
    assert!(again.contains("already holds a run"), "{again}");
}

#[test]
fn a_model_is_tested_on_images_whose_labels_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let (run, data, out) = (Path::new(GOLDEN).join("run"), Path::new(GOLDEN).join("data"), folder.path().join("out"));
    let told = Mutex::new(Vec::new());
    let observe = |event: Event| {
        if let Event::Finished { summary, .. } = event {
            told.lock().unwrap().push(summary.to_string());
        }
    };
    let figures = Evaluator::new(&run).on_data(&data).on_event(&observe).evaluate(&Device::Cpu).unwrap();
    assert_eq!((figures.normal, figures.anomalous), (4, 4));
    // It has hardly learned, and all its dents score lower than the good ones (scores.csv).
    assert_eq!(figures.image_auroc, Some(0.0));
    assert!(figures.pixel_auroc.is_some() && figures.pro.is_some());
    assert_eq!(figures.threshold, detector().threshold());
    assert_eq!(told.into_inner().unwrap(), ["evaluated 8 images"]);

    let written = Evaluator::new(&run).on_data(&data).in_folder(&out).evaluate(&Device::Cpu).unwrap();
    let file = std::fs::read_to_string(out.join("evaluation.json")).unwrap();
    assert!(written == figures && serde_json::from_str::<Evaluation>(&file).unwrap() == figures);
    assert!(out.join("report.html").is_file() && out.join("scores.csv").is_file());

    // One that cannot be read is left out where that is asked for.
    let copy = folder.path().join("data");
    for path in images() {
        let to = copy.join(path.strip_prefix(&data).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&path, to).unwrap();
    }
    std::fs::create_dir_all(copy.join("train/good")).unwrap();
    std::fs::copy(&images()[4], copy.join("train/good/0.png")).unwrap();
    std::fs::write(copy.join("test/dent/broken.png"), "none").unwrap();
    let error = Evaluator::new(&run).on_data(&copy).evaluate(&Device::Cpu).unwrap_err();
    assert!(error.problem().contains("broken.png"), "{error}");
    let figures = Evaluator::new(&run).on_data(&copy).skipping_broken().evaluate(&Device::Cpu).unwrap();
    assert_eq!((figures.normal, figures.anomalous), (4, 4));

    // The folder is this process's own before images are read, which takes long: nobody trains another model there meanwhile.
    let held = Mutex::new(Vec::new());
    let observe = |event: Event| {
        if let Event::Note(_) = event {
            held.lock().unwrap().push(out.join(".fcdd.lock").exists());
        }
    };
    let test = Evaluator::new(&run).on_data(&copy).skipping_broken().in_folder(&out).on_event(&observe);
    test.evaluate(&Device::Cpu).unwrap();
    assert_eq!(held.into_inner().unwrap(), [true], "one note, of what was left out");
}

#[test]
fn settings_say_what_they_are() {
    let of = |name: &str| Setting::all().iter().find(|setting| setting.name() == name).unwrap();
    assert!(matches!(of("epochs").form(), ValueForm::Integer) && matches!(of("lr").form(), ValueForm::Number));
    assert!(matches!(of("roi").form(), ValueForm::Path) && matches!(of("maps").form(), ValueForm::Bool));
    assert!(matches!(of("flips").form(), ValueForm::Choice(words) if words().iter().any(|(word, _)| *word == "hv")));
    assert!(matches!(of("noise").form(), ValueForm::Mix(words) if words().iter().any(|(word, _)| *word == "cutpaste")));
    assert!(matches!(of("schedule").form(), ValueForm::Text));
    assert!(Setting::all().iter().all(|setting| !setting.about().is_empty()));
}

/// Stopped in the middle of an epoch and resumed, twice, a training ends in the bits of one that was not.
#[test]
fn a_stopped_training_is_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    let whole = Trainer::new(settings()).in_folder(whole).train(&Device::Cpu).unwrap();
    let stopped_after = |trainer: Trainer, images: u64| {
        let stop = Stop::new();
        let observe = |event: Event| match event {
            Event::Progress { task: "training", done, .. } if done >= images => stop.request(),
            _ => {}
        };
        trainer.on_event(&observe).stop_by(&stop).train(&Device::Cpu).unwrap()
    };
    // An epoch is 12 images in 3 steps.
    let stopped = stopped_after(Trainer::new(settings()).in_folder(&run), 4);
    assert!(stopped.interrupted && stopped.history.is_empty(), "{stopped:?}");
    let stopped = stopped_after(Trainer::resume(&run), 12);
    assert!(stopped.interrupted && stopped.history.len() == 1, "{stopped:?}");
    assert!(stopped.model != whole.model);
    let resumed = Trainer::resume(&run).train(&Device::Cpu).unwrap();
    assert!(!resumed.interrupted && resumed.model == whole.model, "{resumed:?}");
    let losses = |trained: &Trained| trained.history.iter().map(|epoch| epoch.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&resumed), losses(&whole));

    let error = |trainer: Trainer| trainer.train(&Device::Cpu).unwrap_err().to_string();
    let message = error(Trainer::resume(folder.path()));
    assert!(message.contains("is not the folder of a run"), "{message}");
    let message = error(Trainer::resume(&run).in_folder(folder.path()));
    assert!(message.contains("stays in its folder"), "{message}");
}

/// Random weights of a net with fixed features, in torchvision's names.
fn random_backbone(net: &str, path: &Path) {
    let arch = nets::by_name(net, true).unwrap();
    let (layout, weights) = (Layout::new(&arch), Weights::init(&arch, 5));
    let bytes = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let params = layout.params.iter().map(|param| {
        let values = &mut (0..param.len()).map(|i| weights.params[param.start + param.inside(i)]);
        (param.name.clone(), param.shape.clone(), bytes(values))
    });
    let stats = layout.norms.iter().flat_map(|norm| {
        [("running_mean", norm.start), ("running_var", norm.start + norm.c)].map(|(part, start)| {
            let values = &mut weights.stats[start..][..norm.c].iter().copied();
            (format!("{}.{part}", norm.name), vec![norm.c], bytes(values))
        })
    });
    let tensors: Vec<_> = params.chain(stats).filter(|(name, ..)| name.starts_with("features.")).collect();
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data.as_slice()).unwrap())
    });
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// A net with fixed features: its head learns from features that were computed once what it learns from images, but for the rounding to 16
/// bits; stopped and resumed it ends in the same bits; and the model is one of the whole net.
#[test]
fn heads_learn_from_features_that_were_computed_once() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("vgg11_bn.safetensors");
    random_backbone("FCDD_VGG11_MS", &weights);
    let given = [("net", "FCDD_VGG11_MS"), ("side", "32"), ("batch", "4"), ("epochs", "3"), ("seed", "3")];
    let given = given.map(|(name, value)| (name, value.to_string()));
    let mut settings = Settings::with(DatasetKind::parse("folder").unwrap(), &given).unwrap();
    settings.data = Some(Path::new(GOLDEN).join("data"));
    settings.weights = Some(weights);
    assert_eq!((settings.views, settings.sigma), (Some(2), 12.0 * 32.0 / 224.0));

    let tasks = Mutex::new(Vec::new());
    let observe = |event: Event| match event {
        Event::Progress { task, total, .. } => tasks.lock().unwrap().push((task.to_string(), total)),
        Event::Note(note) => tasks.lock().unwrap().push((note.to_string(), 0)),
        _ => {}
    };
    let whole = Trainer::new(settings.clone()).on_event(&observe).train(&Device::Cpu).unwrap();
    let tasks = tasks.into_inner().unwrap();
    assert!(tasks.contains(&("features".to_string(), 24)), "two views of 12 images: {tasks:?}");
    // 192 numbers of 16 bits in each of 4 × 4 places, as many numbers of the map and a label.
    let said = format!("the features of 24 views take {:.1} MiB of memory", 24.0 * 6212.0 / f64::from(1 << 20));
    assert!(tasks.contains(&(said, 0)), "{tasks:?}");

    let run = folder.path().join("run");
    let stop = Stop::new();
    let in_the_second_epoch = |event: Event| {
        if let Event::Progress { task: "training", done: 16.., .. } = event {
            stop.request();
        }
    };
    let trainer = Trainer::new(settings.clone()).in_folder(&run).on_event(&in_the_second_epoch);
    let stopped = trainer.stop_by(&stop).train(&Device::Cpu).unwrap();
    assert!(stopped.interrupted && stopped.history.len() == 1, "{stopped:?}");
    let resumed = Trainer::resume(&run).train(&Device::Cpu).unwrap();
    assert!(!resumed.interrupted && resumed.model == whole.model, "{resumed:?}");

    // Without features that are kept: the same views in the first epochs.
    settings.views = None;
    let by_images = Trainer::new(settings).train(&Device::Cpu).unwrap();
    for (kept, seen) in whole.history.iter().zip(&by_images.history).take(2) {
        // Features of 11 bits.
        assert!((kept.loss - seen.loss).abs() < 2e-3 * seen.loss, "{} from features, {}", kept.loss, seen.loss);
    }
    let detector = Detector::new(&whole.model, &Device::Cpu).unwrap();
    assert!(detector.detect(&image::open(&images()[0]).unwrap()).unwrap().score.is_finite());
}

/// Of a net with fixed features the head alone is measured on what is held out, and stopped and resumed it ends in the same bits.
#[test]
fn heads_are_measured_on_features_of_what_is_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("vgg11_bn.safetensors");
    random_backbone("FCDD_VGG11_MS", &weights);
    for i in 0..80u8 {
        let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([3 * x as u8 + i, 5 * y as u8, 90 + i]));
        image.save(folder.path().join(format!("{i}.png"))).unwrap();
    }
    let given = [("net", "FCDD_VGG11_MS"), ("side", "32"), ("batch", "8"), ("epochs", "3"), ("patience", "3")];
    let given = given.map(|(name, value)| (name, value.to_string()));
    let mut settings = Settings::with(DatasetKind::parse("folder").unwrap(), &given).unwrap();
    settings.data = Some(folder.path().to_path_buf());
    settings.weights = Some(weights);
    let whole = Trainer::new(settings.clone()).train(&Device::Cpu).unwrap();
    let separations: Vec<f64> = whole.history.iter().filter_map(|epoch| epoch.separation).collect();
    assert!(separations.len() == 3 && separations.iter().all(|s| (0.0..=1.0).contains(s)), "{separations:?}");

    let (out, stop) = (tempfile::tempdir().unwrap(), Stop::new());
    // An epoch is 72 images, 8 being held out.
    let in_the_second_epoch = |event: Event| {
        if let Event::Progress { task: "training", done: 90.., .. } = event {
            stop.request();
        }
    };
    let run = out.path().join("run");
    let trainer = Trainer::new(settings).in_folder(&run).on_event(&in_the_second_epoch);
    let stopped = trainer.stop_by(&stop).train(&Device::Cpu).unwrap();
    assert!(stopped.interrupted && stopped.history.len() == 1, "{stopped:?}");
    let resumed = Trainer::resume(&run).train(&Device::Cpu).unwrap();
    let of = |trained: &Trained| trained.history.iter().map(|epoch| epoch.separation).collect::<Vec<_>>();
    assert!(resumed.model == whole.model && of(&resumed) == of(&whole), "{resumed:?}");
}

#[test]
fn views_are_refused_where_none_are_kept() {
    let mut settings = settings();
    settings.views = Some(2);
    let message = Trainer::new(settings).train(&Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("`views` 2 with `net` FCDD_CNN28"), "{message}");
}

/// A model trained with it could not be loaded again.
#[test]
fn a_noise_mode_that_no_word_names_is_refused() {
    let mut settings = settings();
    settings.noise = NoiseMode::Own(NoiseMode::Confetti.mode()).into();
    let message = Trainer::new(settings).train(&Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("`noise` confetti is no mode of the library's"), "{message}");
}

#[test]
fn a_schedule_by_no_number_is_refused() {
    let mut settings = settings();
    settings.schedule = fcdd::settings::Schedule::Lambda { gamma: f64::NAN };
    let message = Trainer::new(settings).train(&Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("NaN is no factor"), "{message}");
}

/// On one core, in tasks of one pool: a training whose observer detects, and detections of files and of images in memory meanwhile. In a
/// process of its own, since the number of threads is read once.
#[test]
fn on_one_core_trainings_and_detections_wait_for_nobody() {
    if std::env::var_os("FCDD_ONE_CORE").is_some() {
        return train_and_detect_at_once();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "on_one_core_trainings_and_detections_wait_for_nobody"])
        .envs([("FCDD_ONE_CORE", "1"), ("RAYON_NUM_THREADS", "1")])
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() && started.elapsed().as_secs() < 240 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let _ = child.kill(); // where it has not ended within four minutes
    assert!(child.wait().unwrap().success());
}

fn train_and_detect_at_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (detector, trainings) = (detector(), AtomicUsize::new(0));
    let image = image::open(&images()[0]).unwrap();
    let expected = detector.detect(&image).unwrap();
    let train = |seed| {
        let mut settings = settings();
        settings.seed = seed;
        let observer = |event: Event| {
            if let Event::Progress { done: 1, .. } | Event::Note(_) | Event::Finished { .. } = event {
                same(&expected, &detector.detect(&image).unwrap());
            }
        };
        assert_eq!(Trainer::new(settings).on_event(&observer).train(&Device::Cpu).unwrap().history.len(), 3);
        trainings.fetch_add(1, Ordering::SeqCst);
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    pool.scope(|scope| {
        (0..2).for_each(|seed| scope.spawn(move |_| train(seed)));
        scope.spawn(|_| {
            while trainings.load(Ordering::SeqCst) < 2 {
                assert_eq!(detector.detect_iter(images()).filter(Result::is_ok).count(), 8);
                // Not when the trainings are over.
                let started = std::time::Instant::now();
                same(&expected, &detector.detect(&image).unwrap());
                assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
            }
        });
    });
}

/// A training waits for what is read ahead in another thread: where all threads of a pool wait so, none is left to read.
#[test]
fn tasks_of_rayon_may_train() {
    use rayon::prelude::*;
    let (done, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let train = |seed| {
            let mut settings = settings();
            settings.seed = seed;
            Trainer::new(settings).train(&Device::Cpu).unwrap().history.len()
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let both = pool.install(|| rayon::join(|| train(1), || train(2)));
        let within: Vec<usize> = (0..6).into_par_iter().map(train).collect();
        done.send((both, within)).unwrap();
    });
    let trained = answer.recv_timeout(std::time::Duration::from_secs(120)).expect("an end within two minutes");
    assert_eq!(trained, ((3, 3), vec![3; 6]));
}
