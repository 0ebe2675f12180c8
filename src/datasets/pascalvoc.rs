//! Pascal VOC 2007: images with lists of which of them show a class.
//!
//! The score is to rate the class that is named, so its images are the anomalous ones (label 1) and all others normal. In the
//! paper this is "nominal label 1": outliers, if there are any, are what is pulled to zero, in place of the other images. An
//! image in which the class is marked as difficult (0 in the list) is left out, as VOC's own evaluation does.

use std::path::{Path, PathBuf};

use super::imagenet;
use super::preset::Preset;
use super::recipe::{ImageNoise, Moments, Recipe, SeenPart};
use super::spec::{DatasetKind, DatasetReader, DatasetSpec, missing, words};
use crate::data::folder::{self, Listed};
use crate::data::resize_mode::ResizeMode;
use crate::data::split::{Labels, Part, Query, Split};
use crate::error::{Error, Result};
use crate::files;
use crate::printable::Printable;

pub(crate) const PASCALVOC: DatasetKind = DatasetKind::new(&DatasetSpec {
    word: "pascalvoc",
    explanation: "Pascal VOC 2007: images of a class, such as horses, are the anomalies",
    reader: &PascalVoc,
    home: None,
    may_be_file: false,
    labels_good: false,
    rates_its_class: true,
    good_alone: false,
    recipe: Recipe {
        resize: |_| ResizeMode::Squash,
        raw_side: 224,
        view: SeenPart::Whole,
        augment: |to| to.then_whole(vec![to.jitter_all(0.01)]),
        noise: ImageNoise::Plain { std: 0.001 },
        mean_std: Some(MOMENTS),
        joint_extremes: false,
    },
    imagenet_ids: &LIKE_PASCAL_VOC,
    outliers: &[],
    preset: || Preset { class: "horse", quantile: 0.99, ..imagenet::preset() },
});

/// Mean and standard deviation that the authors use whatever the class.
pub(crate) const MOMENTS: Moments = [[0.4469, 0.4227, 0.3906], [0.2691, 0.2659, 0.2789]];

/// Classes of ImageNet (2012) one of whose names has that of a Pascal VOC class as a word or as the end of one.
#[rustfmt::skip]
const LIKE_PASCAL_VOC: [&str; 64] = [
    // bicycle; boat; bottle; bus
    "n02835271", "n03344393", "n03662601", "n03873416", "n04273569", "n04347754",
    "n02823428", "n03109150", "n03937543", "n03983396", "n04557648", "n04591713", "n03769881", "n04146614", "n04487081",
    // bird
    "n01534433", "n01537544", "n01833805", "n02165456",
    // car
    "n02814533", "n02965783", "n02974003", "n03393912", "n03895866", "n04037443", "n04285008", "n04335435", "n04461696",
    // cat
    "n02123045", "n02123159", "n02123394", "n02123597", "n02124075", "n02443114", "n02445715", "n02497673", "n02509815",
    // chair; dining table
    "n02791124", "n03376595", "n04099969", "n03201208",
    // dog
    "n02085936", "n02097474", "n02105641", "n02105855", "n02106662", "n02107574", "n02107683", "n02108915", "n02109961",
    "n02110341", "n02110627", "n02110958", "n02111277", "n02116738", "n03218198", "n07697537",
    // horse; sheep; train; television and monitor
    "n02398521", "n03538406", "n12768682", "n02415577", "n02917067", "n03782006", "n04404412",
];

#[derive(Debug)]
struct PascalVoc;

const TREE: &str = "  DIR/JPEGImages/*.jpg (or in DIR/VOCdevkit/VOC2007)
  DIR/ImageSets/Main/CLASS_trainval.txt
  DIR/ImageSets/Main/CLASS_test.txt";

/// Label of the images that show the class.
const SHOWN: u16 = 1;

impl DatasetReader for PascalVoc {
    fn classes(&self, _root: &Path) -> Result<Vec<String>> {
        Ok(words(
            "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep \
             sofa train tvmonitor",
        ))
    }

    fn labels(&self, _root: &Path, classes: &[String], class: u16) -> Result<Labels> {
        Ok(Labels { names: vec!["rest".to_string(), classes[usize::from(class)].clone()], normal: 0 })
    }

    fn read(&self, query: &Query) -> Result<Split> {
        let nested = query.root.join("VOCdevkit").join("VOC2007");
        let root = if nested.is_dir() { nested } else { query.root.to_path_buf() };
        let list = match query.part {
            Part::Train => format!("{}_trainval.txt", query.class),
            Part::Test => format!("{}_test.txt", query.class),
        };
        let list = root.join("ImageSets").join("Main").join(list);
        if !list.is_file() {
            return Err(missing(&list, "the list of images is missing", TREE));
        }
        let images = root.join("JPEGImages");
        let listed = parse(&list, &images)?;
        let absent = |image: &&Listed| query.wants(image.class) && !image.path.exists();
        if let Some(absent) = listed.iter().find(absent).filter(|_| !query.skip_broken) {
            let name = Path::new(absent.path.file_name().unwrap_or_default()).printable();
            let problem = format!("names {name}, which is not in {}", images.printable());
            return Err(missing(&list, problem, TREE));
        }
        folder::read(query, listed.into_iter().filter(|image| query.wants(image.class)).collect())
    }

    fn tree(&self) -> &'static str {
        TREE
    }
}

/// The images of a list: a name per line, then 1 where the class is shown, -1 where not, 0 where it is hard to tell.
pub(crate) fn parse(list: &Path, images: &Path) -> Result<Vec<Listed>> {
    let bytes = files::read(list)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut listed = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut parts = line.split_whitespace();
        let image = |name: &str| -> PathBuf { images.join(format!("{name}.jpg")) };
        match (parts.next(), parts.next()) {
            (Some(name), Some("1")) => listed.push(Listed::unmarked(image(name), SHOWN)),
            (Some(name), Some("-1")) => listed.push(Listed::unmarked(image(name), 0)),
            (Some(_), Some("0")) => {}
            _ => {
                let problem = format!("line {} is not the name of an image with 1, 0 or -1: '{line}'", number + 1);
                return Err(Error::file(list, problem, "give VOC's own list"));
            }
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::PASCALVOC;
    use crate::data::folder::tests::save;
    use crate::datasets::dataset::{Dataset, DatasetSource};
    use std::fs;

    #[test]
    fn images_of_the_class_are_the_anomalous_ones() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("VOCdevkit/VOC2007");
        (1..=6u8).for_each(|i| save(&root, &format!("JPEGImages/00000{i}.jpg"), (8, 8), 20 * i));
        let lists = root.join("ImageSets/Main");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("horse_trainval.txt"), "000001 -1\n000002  1\n000003  0\n").unwrap();
        fs::write(lists.join("horse_test.txt"), "000004  1\r\n000005 -1\r\n000006 -1\r\n").unwrap();
        let horse = DatasetSource { class: "horse", ..DatasetSource::new(PASCALVOC, Some(dir.path()), 8, 3) };
        let set = Dataset::load(&DatasetSource { anomalies: true, ..horse }).unwrap();
        assert_eq!(
            (set.class.as_str(), set.normal, set.class_names.as_slice()),
            ("horse", 0, &["rest", "horse"].map(String::from)[..])
        );
        assert_eq!((set.train.classes.as_slice(), set.test.classes.as_slice()), (&[0, 1][..], &[1, 0, 0][..]));
        assert_eq!(
            set.train.names,
            ["VOCdevkit/VOC2007/JPEGImages/000001.jpg", "VOCdevkit/VOC2007/JPEGImages/000002.jpg"]
        );
        let horses = Dataset::load(&DatasetSource { normal: false, anomalies: true, ..horse }).unwrap();
        assert_eq!(horses.train.classes, [1]);
        let says = |source: &DatasetSource, words: &[&str]| {
            let message = Dataset::load(source).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        says(
            &DatasetSource { class: "cow", ..horse },
            &["cow_", "the list of images is missing", "DIR/ImageSets/Main"],
        );
        says(&DatasetSource { class: "unicorn", ..horse }, &["no class 'unicorn'", "tvmonitor"]);
        fs::write(lists.join("horse_test.txt"), "000004  1\n000005 yes\n").unwrap();
        says(&horse, &["horse_test.txt", "line 2", "000005 yes"]);
        fs::write(lists.join("horse_test.txt"), "000009 -1\n").unwrap();
        says(&horse, &["000009.jpg"]);
    }
}
