//! Images that the program itself has written: they are known by their names and by what lies beside them, and are nobody's data.

use std::path::Path;

/// Names of the images of a run or an evaluation, and what lies beside one of them at least.
const OF_RUNS: [&str; 6] =
    ["preview.png", "overview_training.png", "overview.png", "paper.png", "chosen.png", "compare.png"];
const BESIDE: [&str; 5] = ["config.json", "evaluation.json", "report.html", "compare.csv", "demo.json"];

/// How names of what is drawn of a prediction end; several lie side by side, or one of them in the folder of a table.
pub const OF_PREDICTIONS: [&str; 4] = ["_heatmap.png", "_overlay.png", "_mask.png", "_map.npy"];
const TABLES: [&str; 2] = ["scores.csv", "unfinished.json"];

/// Whether an image is a result of the program.
pub fn is_result(image: &Path) -> bool {
    let Some(name) = image.file_name().and_then(|name| name.to_str()) else { return false };
    let beside = |other: &str| image.with_file_name(other).is_file();
    if OF_RUNS.contains(&name) {
        return BESIDE.into_iter().any(beside);
    }
    let of = |end: &'static str| name.strip_suffix(end).map(|stem| (stem, end));
    let Some((stem, own)) = OF_PREDICTIONS.into_iter().find_map(of) else { return false };
    let mut others = OF_PREDICTIONS.into_iter().filter(|&end| end != own);
    others.any(|end| beside(&format!("{stem}{end}"))) || TABLES.into_iter().any(beside)
}

#[cfg(test)]
mod tests {
    use super::super::tests::save;
    use std::path::Path;

    use super::super::{holds_images, images, is_image_within};

    #[test]
    fn results_are_no_images_to_learn_from_or_to_score() {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str| save(dir.path(), name, (4, 4), 0);
        let listed = || images(dir.path(), true).unwrap().len();
        // Of these names, but with nothing beside that makes them results.
        for name in ["overview.png", "a_heatmap.png", "deep/b_overlay.png"] {
            add(name);
        }
        assert_eq!(listed(), 3);
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        assert_eq!(listed(), 2);
        add("a_overlay.png");
        assert_eq!(listed(), 1);
        std::fs::write(dir.path().join("deep/scores.csv"), "").unwrap();
        assert!(listed() == 0 && !holds_images(dir.path()));
        // Ground truth has the name of a prediction's mask.
        add("truth/c_mask.png");
        assert_eq!(listed(), 1);
        add("truth/c_heatmap.png");
        assert_eq!(listed(), 0);
        add("b.png");
        assert!(listed() == 1 && holds_images(dir.path()));
        // One by one, as all together.
        for (place, is_one) in [
            ("b.png", true),
            ("truth/c_mask.png", false),
            ("new/d.JPG", true),
            (".b.png", false),
            (".new/b.png", false),
            ("b.txt", false),
        ] {
            assert_eq!(is_image_within(dir.path(), Path::new(place)), is_one, "{place}");
        }
    }
}
