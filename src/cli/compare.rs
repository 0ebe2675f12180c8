//! `fcdd compare`

use std::path::PathBuf;

use super::Outcome;
use super::common::{DeviceArg, context, print_json, print_lines};
use crate::error::Result;
use crate::printable::Printable;
use crate::run::compare::{Compared, compare};
use crate::run::figures::Measure;
use crate::run::own_files::SHEET;

/// Show the heatmaps of several models side by side, for the same test images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folders of runs, or model files
    #[arg(required = true, value_name = "RUN|MODEL")]
    models: Vec<PathBuf>,
    /// Folder with the test images, laid out as the dataset [default: where training found it]
    #[arg(long, value_name = "PATH", alias = "test")]
    data: Option<PathBuf>,
    /// Test images to show, by their number in a report (#0 is the first row of scores.csv) [default: of each label, equally spaced by the first model's score]
    #[arg(long = "viz-ids", value_name = "I,J,…", value_delimiter = ',')]
    chosen: Vec<usize>,
    /// Leave out images that cannot be read
    #[arg(long)]
    skip_broken: bool,
    /// Folder for compare.png and compare.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArg,
    /// Print the figures as a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let device = args.device.choose()?;
    let Args { models, data, chosen, skip_broken, out, .. } = &args;
    let compared = compare(&context(&device), models, data.as_deref(), *skip_broken, chosen, out)?;
    if args.json {
        print_json(&compared)?;
        return Ok(Outcome::Fine);
    }
    let width = compared.iter().map(|row| row.run.chars().count()).max().unwrap_or(0).max("run".len());
    let line = |run: &str, cells: [String; 3], gain: &str| {
        let [image, pixel, pro] = cells;
        print_lines(format!("{run:<width$}  {image:>11}  {pixel:>11}  {pro:>6}  {gain}").trim_end())
    };
    let first = &compared.first().map_or("", |first| &first.run);
    line(
        "run",
        Measure::MAIN.map(|measure| measure.name().to_string()),
        &format!("image AUROC less that of {first}, in 95 of 100 cases"),
    )?;
    for Compared { run, evaluation, image_auroc_gain_interval: gain, .. } in &compared {
        let figure = |measure: Measure| measure.of(evaluation).map_or("–".to_string(), |value| format!("{value:.4}"));
        let gain = gain.0.map_or(String::new(), |[low, high]| format!("{low:+.4} to {high:+.4}"));
        line(run, Measure::MAIN.map(figure), &gain)?;
    }
    print_lines(&format!("images  {}", args.out.join(SHEET).printable()))?;
    Ok(Outcome::Fine)
}
