//! A dataset for tests, made of what CONTRIBUTING.md lists for a new dataset and of nothing else.

use std::path::Path;

use super::preset::Preset;
use super::recipe::{ImageNoise, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, OutlierImages, OutlierSpec, words};
use crate::data::images::Images;
use crate::data::pipeline::Transform;
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Query, Split};
use crate::error::Result;

pub(super) const TOY: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "toy",
    explanation: "Toys: images from nowhere, dark ones and bright ones",
    reader: &Toy,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: false,
    good_alone: false,
    recipe: Recipe {
        resize: |_| ResizeMode::Squash,
        raw_side: 224,
        view: SeenPart::Whole,
        augment: |to| to.then_whole(vec![Transform::Flip]),
        noise: ImageNoise::Plain { std: 0.01 },
        mean_std: None,
        joint_extremes: false,
    },
    imagenet_ids: &[],
    outliers: &[OutlierSpec { word: "toy", images: OutlierImages::Labelled(|_| Ok(images())) }],
    preset: || Preset { class: "bright", epochs: 3, ..Preset::small_grey() },
});

#[derive(Debug)]
struct Toy;

impl DatasetReader for Toy {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words("dark bright"))
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let (images, labels) = images();
        query.labelled(images, labels)
    }

    fn tree(&self) -> &'static str {
        "  DIR"
    }
}

/// Three gradients, the second of which is bright.
fn images() -> (Images, Vec<u8>) {
    let (side, labels) = (7, vec![0, 1, 0]);
    let pixels = labels.iter().flat_map(|label| (0..49).map(move |i| i + 100 * label)).collect();
    (Images { count: labels.len(), pixels, ..Images::empty(side, side, 1) }, labels)
}

mod tests {
    use super::*;
    use crate::data::image_source::{Hold, Raw};
    use crate::data::levels::Levels;
    use crate::data::resize_mode::RawForm;
    use crate::datasets::outliers::{OutlierSource, Wanted};
    use crate::device::Device;
    use crate::named::Named;
    use crate::run::context::Context;
    use crate::run::prepare::prepare;
    use crate::run::settings::Settings;
    use std::fs;
    use std::path::PathBuf;

    #[test]
    fn a_dataset_of_one_file_is_trained_on() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = DatasetKind::parse("toy").unwrap();
        assert!(DatasetKind::all().contains(&dataset) && dataset.name() == "Toys");
        let preset = Settings { data: Some(dir.path().to_path_buf()), ..Settings::preset(dataset) };
        assert_eq!((preset.class.as_str(), preset.epochs), ("bright", 3));
        let settings = preset.with_anomalies(None, None);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
        let task = prepare(&settings, &Context::silent(&Device::Cpu)).unwrap();
        assert_eq!((task.test.name.as_str(), task.test.split.classes.as_slice()), ("bright", &[0, 1, 0][..]));
        let (set, side) = (&task.set, settings.side);
        let order = set.order(0);
        let n = order.len();
        assert_eq!(n, 1, "one image is bright");
        let (mut inputs, mut labels) = (vec![f32::NAN; n * side * side], vec![f32::NAN; n]);
        set.fill(0, &order, &mut inputs, &mut labels, None).unwrap();
        assert!(inputs.iter().chain(&labels).all(|value| value.is_finite()));
    }

    #[test]
    fn its_images_are_outliers() {
        let dir = tempfile::tempdir().unwrap();
        let source: OutlierSource = format!("toy:{}", dir.path().to_string_lossy()).parse().unwrap();
        let form = RawForm { side: 7, channels: 1, resize: ResizeMode::Squash, levels: Levels::ALL };
        let raw = Raw { form, hold: Hold::Always };
        let beside = |class| source.load(&Wanted { dataset: TOY, class, raw, limit: None }).unwrap().images.count();
        assert_eq!((beside("dark"), beside("bright"), beside("odd")), (1, 2, 3));
    }

    /// The files that CONTRIBUTING.md lists are those that know this dataset.
    #[test]
    fn nothing_else_knows_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut folders, mut know) = (vec![root.join("src")], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read_to_string(&path).unwrap().contains("TOY") {
                    know.push(path.strip_prefix(root).unwrap().to_path_buf());
                }
            }
        }
        know.sort();
        assert_eq!(know, ["src/datasets/mod.rs", "src/datasets/toy.rs"].map(PathBuf::from));
        let guide = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
        let section = guide.split("\n## ").find(|section| section.starts_with("A new dataset\n")).unwrap();
        let mut listed: Vec<&str> = section.split('`').filter(|word| word.starts_with("src/")).collect();
        listed.sort_unstable();
        assert_eq!(listed, ["src/datasets/NAME.rs", "src/datasets/mod.rs"]);
    }
}
