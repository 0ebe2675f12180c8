//! The tables of predictions and of their regions: written as they come, and read again by a call that goes on.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::jobs::ImageJob;
use super::what::{DRAWN, PredictOptions, What};
use super::{ImageReport, Prediction};
use crate::error::Result;
use crate::files;
use crate::printable::Printable;
use crate::run::directory::{self, CsvTable, write_csv};
use crate::run::own_files::REGION_COLUMNS;
use crate::run::regions::Region;

/// A row of the table of regions.
#[derive(Serialize, Deserialize)]
struct RegionRow {
    image: String,
    /// From 1 for each image.
    region: usize,
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    area: usize,
    peak: f32,
    peak_x: usize,
    peak_y: usize,
    mean: f32,
    /// `x,y` of each corner, with a space between.
    contour: String,
}

impl RegionRow {
    /// The rows of an image.
    fn of(report: &ImageReport) -> impl Iterator<Item = RegionRow> {
        let image = &report.prediction.image;
        report.regions.iter().flatten().zip(1..).map(|(region, number)| {
            let Region { x, y, width, height, area, peak, peak_x, peak_y, mean, contour } = region.clone();
            let mut corners = String::new();
            for (i, (x, y)) in contour.into_iter().enumerate() {
                let _ = write!(corners, "{}{x},{y}", if i > 0 { " " } else { "" });
            }
            let image = image.clone();
            RegionRow { image, region: number, x, y, width, height, area, peak, peak_x, peak_y, mean, contour: corners }
        })
    }

    /// None of a row that was changed.
    fn region(self) -> Option<Region> {
        let RegionRow { x, y, width, height, area, peak, peak_x, peak_y, mean, contour, .. } = self;
        let corner = |text: &str| text.split_once(',').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
        let contour = contour.split(' ').map(corner).collect::<Option<Vec<(usize, usize)>>>()?;
        Some(Region { x, y, width, height, area, peak, peak_x, peak_y, mean, contour })
    }
}

/// Both tables in the making.
pub(super) struct Tables {
    scores: CsvTable,
    regions: Option<CsvTable>,
}

impl Tables {
    /// Tables in a folder with what an earlier call has left.
    pub(super) fn new<'a>(
        place: &Path,
        options: &PredictOptions,
        earlier: impl Iterator<Item = &'a ImageReport> + Clone,
    ) -> Result<Tables> {
        let rows = earlier.clone().flat_map(RegionRow::of);
        let regions = options.wants(What::Regions).then(|| CsvTable::new(&place.join(directory::REGIONS), rows));
        let scores = CsvTable::new(&place.join(directory::SCORES), earlier.map(|report| &report.prediction))?;
        Ok(Tables { scores, regions: regions.transpose()? })
    }

    /// Tables that go on where they were so long, in bytes.
    pub(super) fn go_on(place: &Path, options: &PredictOptions, len: TablesLen) -> Result<Tables> {
        let [scores, regions] = [directory::SCORES, directory::REGIONS].map(|name| place.join(name));
        let go_on = || match len.regions {
            0 => no_regions(&regions).and_then(|columns| CsvTable::go_on(&regions, columns)),
            len => CsvTable::go_on(&regions, len),
        };
        let regions = options.wants(What::Regions).then(go_on).transpose()?;
        Ok(Tables { scores: CsvTable::go_on(&scores, len.scores)?, regions })
    }

    /// How long they are.
    pub(super) fn len(&self) -> TablesLen {
        TablesLen { scores: self.scores.len(), regions: self.regions.as_ref().map_or(0, CsvTable::len) }
    }

    /// Adds what was found of some images. Their regions come first: where an image has a row, they are there.
    pub(super) fn push<'a>(&mut self, reports: impl Iterator<Item = &'a ImageReport> + Clone) -> Result<()> {
        if let Some(regions) = &mut self.regions {
            regions.push(&reports.clone().flat_map(RegionRow::of).collect::<Vec<_>>())?;
        }
        self.scores.push(&reports.map(|report| &report.prediction).collect::<Vec<_>>())
    }

    /// The table of scores in the order of the images; none without images.
    pub(super) fn finish(self, place: &Path, done: &[Prediction]) -> Result<()> {
        let [scores, regions] = [directory::SCORES, directory::REGIONS].map(|name| place.join(name));
        if done.is_empty() {
            return files::remove(&scores).and_then(|()| files::remove(&regions));
        }
        if self.regions.is_some_and(|table| table.is_empty()) {
            no_regions(&regions)?;
        }
        write_csv(&scores, done)
    }
}

/// Bytes of both tables, whose last rows are whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TablesLen {
    pub scores: u64,
    pub regions: u64,
}

/// Writes a table of regions without rows; its bytes.
fn no_regions(path: &Path) -> Result<u64> {
    let columns = REGION_COLUMNS.join(",") + "\n";
    files::write_atomically(path, columns.as_bytes()).map(|()| columns.len() as u64)
}

/// What an earlier call has left of each job, where all of it is there.
pub(super) fn earlier(
    place: &Path,
    jobs: &[ImageJob],
    options: &PredictOptions,
    out: &Path,
) -> Vec<Option<ImageReport>> {
    let scores = by_image(rows(&place.join(directory::SCORES)), |row: &Prediction| &row.image);
    let regions = by_image(rows(&place.join(directory::REGIONS)), |row: &RegionRow| &row.image);
    let mut regions: HashMap<String, Option<Vec<Region>>> =
        regions.into_iter().map(|(image, rows)| (image, rows.into_iter().map(RegionRow::region).collect())).collect();
    let mut jobs_of: HashMap<String, usize> = HashMap::new();
    jobs.iter().for_each(|job| *jobs_of.entry(job.image.printable()).or_default() += 1);
    let of = |job: &ImageJob| {
        let image = job.image.printable();
        // Of images whose names are equal as text nobody knows whose row it is.
        let (1, [row]) = (jobs_of[&image], scores.get(&image)?.as_slice()) else { return None };
        let named = [&row.heatmap, &row.overlay, &row.mask, &row.map];
        let is_whole = DRAWN.iter().zip(named).all(|(&what, shown)| {
            let result = job.result(what);
            match options.wants(what) {
                true => *shown == out.join(&result).printable() && place.join(result).is_file(),
                false => shown.is_empty(),
            }
        });
        let regions = match options.wants(What::Regions) {
            true => Some(regions.remove(&image).unwrap_or_else(|| Some(Vec::new()))?),
            false => None,
        };
        let is_whole = is_whole && row.region_count == regions.as_ref().map(Vec::len);
        is_whole.then(|| ImageReport { prediction: row.clone(), regions })
    };
    jobs.iter().map(of).collect()
}

/// The rows of a table. One that was cut short, or is of another kind, ends before that.
fn rows<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let Ok(table) = csv::Reader::from_path(path) else { return Vec::new() };
    table.into_deserialize().map_while(std::result::Result::ok).collect()
}

fn by_image<T>(rows: Vec<T>, image: impl Fn(&T) -> &String) -> HashMap<String, Vec<T>> {
    let mut by_image: HashMap<String, Vec<T>> = HashMap::new();
    for row in rows {
        by_image.entry(image(&row).clone()).or_default().push(row);
    }
    by_image
}
