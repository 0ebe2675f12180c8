//! The subcommand `compare`: heatmaps and scores of several models for the same test images, side by side.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Serialize;
use serde_json::{Value, json};
use strum::VariantArray;

use super::breakdown::{Interval, Score, difference};
use super::context::Context;
use super::directory::write_csv;
use super::evaluate::{Tested, evaluate};
use super::figures::{Evaluation, Measure};
use super::heatmap::Renderer;
use super::kind::Kind;
use super::model::Model;
use super::output::{Output, check_outside};
use super::own_files::{SHEET, TABLE};
use super::prepare::TestSet;
use super::score::{Scorer, Shown};
use super::select::spaced;
use super::sheets::{mask_image, rgb};
use crate::data::images::Mask;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::report::png::save_png;
use crate::report::sheet::{Group, Row, Tile, sheet, whole_enlargement};
use crate::report::significant;

/// Test images per label where none are chosen: equally spaced by the first model's score.
const SPACED: usize = 6;

/// Side of a tile in pixels, at most.
const TILE: usize = 128;

/// Columns of [`Compared::image_auroc_gain_interval`].
const GAIN: [&str; 2] = ["image_auroc_gain_low", "image_auroc_gain_high"];

/// Figures of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    /// The shortest end of its path that tells it from the others.
    pub run: String,
    pub net: String,
    pub side: usize,
    pub epochs: u32,
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Within what its image AUROC less that of the first model would lie on other images like these: where 0 is not within, one of the two
    /// is better. None of the first.
    pub image_auroc_gain_interval: Interval,
}

/// One column of the sheet.
struct Column {
    name: String,
    /// Per chosen image: the heatmap on the model's own scale, and the score.
    tiles: Vec<Tile>,
}

/// Scores the first model's test set, or the one in `data`, with each model, and leaves sheet and table in `out`. The sheet shows the
/// `chosen` images, by their place in the set.
///
/// # Errors
/// Where the models' settings name different test sets.
pub(crate) fn compare(
    context: &Context,
    paths: &[PathBuf],
    data: Option<&Path>,
    skip_broken: bool,
    chosen: &[usize],
    out: &Path,
) -> Result<Vec<Compared>> {
    let names = distinct_ends(paths);
    let models = paths.iter().map(Model::load).collect::<Result<Vec<_>>>()?;
    let (Some(first), Some(path)) = (models.first(), paths.first()) else {
        return Err(Error::setting("there is nothing to compare", "name the folders of runs"));
    };
    let test = TestSet::load(first, data, skip_broken, context).map_err(|error| error.at(path))?;
    test.check(chosen)?;
    test.data.iter().try_for_each(|data| check_outside(out, data))?;
    let output = Output::begin(out, Kind::Compare, &[], None, Vec::new())?;
    let (mut compared, mut columns) = (Vec::<Compared>::new(), Vec::new());
    let mut of_first = None;
    let mut chosen = chosen.to_vec();
    for ((name, model), at) in names.into_iter().zip(&models).zip(paths) {
        // Each net has its own side, at which its images are held.
        let own = TestSet::load(model, data, skip_broken, context).map_err(|error| error.at(at))?;
        if !same_images(first, &test, model, &own) {
            let problem = format!("{} and {} have different test images", path.printable(), at.printable());
            return Err(Error::setting(
                problem,
                "compare runs of one dataset and class that left the same images out of the test, or name the data with `data` PATH",
            ));
        }
        let tested = evaluate(context, model, &own, &mut |_| Ok(()))?;
        if chosen.is_empty() {
            chosen = equally_spaced(&tested);
        }
        columns.push(Column { tiles: heatmaps(context.device, model, &own, &chosen)?, name: name.clone() });
        let gain =
            of_first.as_ref().map_or(Interval::default(), |first: &Vec<Score>| difference(first, &tested.scores));
        compared.push(Compared::new(name, model, tested.evaluation, gain));
        of_first.get_or_insert(tested.scores);
    }
    let sheet = comparison(&test, &chosen, &columns)?;
    save_png(output.to_write(SHEET)?, &sheet)?;
    let figures = Measure::VARIANTS.iter().map(|measure| measure.key());
    let header = ["run", "net", "side", "epochs"].into_iter().chain(figures).chain(GAIN);
    let rows = std::iter::once(header.map(Value::from).collect()).chain(compared.iter().map(Compared::row));
    write_csv(&output.to_write(TABLE)?, rows)?;
    output.finish()?;
    Ok(compared)
}

impl Compared {
    fn new(run: String, model: &Model, evaluation: Evaluation, gain: Interval) -> Compared {
        let settings = &model.meta.settings;
        Compared {
            run,
            net: settings.net.clone(),
            side: settings.side,
            epochs: model.meta.epochs,
            evaluation,
            image_auroc_gain_interval: gain,
        }
    }

    /// A row of the table.
    fn row(&self) -> Vec<Value> {
        let own = [json!(self.run), json!(self.net), json!(self.side), json!(self.epochs)];
        let figures = Measure::VARIANTS.iter().map(|measure| json!(measure.of(&self.evaluation)));
        let gain = (0..GAIN.len()).map(|end| json!(self.image_auroc_gain_interval.0.map(|ends| ends[end])));
        own.into_iter().chain(figures).chain(gain).collect()
    }
}

/// Whether two models are tested by the same images with the same labels.
fn same_images(a: &Model, of_a: &TestSet, b: &Model, of_b: &TestSet) -> bool {
    a.meta.settings.dataset == b.meta.settings.dataset
        && of_a.data == of_b.data
        && of_a.name == of_b.name
        && of_a.split.names == of_b.split.names
}

/// Some normal and some anomalous images, from the lowest score to the highest.
fn equally_spaced(tested: &Tested) -> Vec<usize> {
    let scores: Vec<f32> = tested.scores.iter().map(|row| row.score).collect();
    let labelled = |label: u8| (0..scores.len()).filter(|&i| tested.scores[i].label == label).collect::<Vec<_>>();
    [0, 1].into_iter().flat_map(|label| spaced(&labelled(label), &scores, SPACED)).collect()
}

/// A model's heatmaps and scores of the chosen images.
fn heatmaps(device: &Device, model: &Model, test: &TestSet, chosen: &[usize]) -> Result<Vec<Tile>> {
    let (mut scorer, renderer) = (Scorer::new(device, model)?, Renderer::new(model)?);
    let raw = [model.meta.preprocessing.raw_side; 2].into();
    let seen = model.meta.preprocessing.seen(raw);
    let (mut tiles, scorer_side) = (Vec::new(), scorer.side());
    scorer.score(&test.split.images.select(chosen), Shown::Heatmaps, |_, scored| {
        let size = scored.heatmap_size(scorer_side);
        let values = renderer.of_heatmap(scored.heatmap);
        let heatmap = renderer.heatmap(model.meta.scale, values, Some(size)).within(raw, seen);
        tiles.push(Tile::new(heatmap.to_image(), significant(f64::from(scored.score))));
        Ok(())
    })?;
    Ok(tiles)
}

/// A row per image: the image, each model's heatmap with its score below, and the mask where there are any.
fn comparison(test: &TestSet, chosen: &[usize], columns: &[Column]) -> Result<RgbImage> {
    let split = &test.split;
    let title_tile = |text: &str| Tile::new(RgbImage::new(0, 0), text);
    let mut titles = vec![title_tile("input")];
    titles.extend(columns.iter().map(|column| title_tile(&column.name)));
    titles.extend((!split.masks.is_empty()).then(|| title_tile("mask")));
    let inputs = split.images.load(chosen)?;
    let mut rows = vec![Row::new("", titles)];
    for (place, &i) in chosen.iter().enumerate() {
        let class = test.class_names.get(usize::from(split.classes[i])).map_or("", String::as_str);
        let mut tiles = vec![Tile::new(rgb(&inputs, place), "")];
        tiles.extend(columns.iter().map(|column| column.tiles[place].clone()));
        // Squashed or cut as the image beside it.
        let fitted = |mask: &Mask| test.resize.square_mask(mask, inputs.height);
        tiles.extend(split.masks.get(i).map(|mask| Tile::new(mask_image(mask.as_ref().map(fitted).as_ref()), "")));
        rows.push(Row::new(&format!("{class}\n#{i}"), tiles));
    }
    let about = format!("Class: {}. Below each heatmap its score; colours on each model's own scale.", test.name);
    let group = Group { heading: about, rows };
    sheet("Heatmaps of several models for the same test images", &[group], whole_enlargement(inputs.height, TILE))
}

/// Paths without the beginning that all of them share.
fn distinct_ends(paths: &[PathBuf]) -> Vec<String> {
    let parts = |path: &PathBuf| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let all: Vec<Vec<_>> = paths.iter().map(parts).collect();
    let shortest = all.iter().map(Vec::len).min().unwrap_or(0);
    // The last part always stays.
    let shared = (0..shortest.saturating_sub(1)).take_while(|&i| all.iter().all(|parts| parts[i] == all[0][i])).count();
    let end = |parts: &Vec<_>| parts[shared..].iter().collect::<PathBuf>().printable();
    all.iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let ends = |paths: &[&str]| distinct_ends(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(ends(&["runs/a/it_0", "runs/a/it_1"]), ["it_0", "it_1"]);
        assert_eq!(ends(&["runs/a/it_0", "runs/b/it_0"]), ["a/it_0", "b/it_0"]);
        assert_eq!(ends(&["runs/a", "runs/a/model.safetensors"]), ["a", "a/model.safetensors"]);
        assert_eq!(ends(&["run"]), ["run"]);
        assert_eq!(ends(&["a/run", "a/run"]), ["run", "run"]);
    }
}
