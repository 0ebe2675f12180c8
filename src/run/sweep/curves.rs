//! ROC curves of a sweep: of the seeds of a class, and of the classes.

use std::path::Path;

use serde::Deserialize;

use super::plan::class_folder;
use super::summary::Summary;
use super::tables::counted;
use crate::error::{Error, Result};
use crate::files;
use crate::report::plot::{Curve, Hue, roc};
use crate::run::directory;
use crate::run::figures::Measure;

/// Steps of the false positive rate at which curves are averaged.
const STEPS: usize = 500;

/// ROC plots of one measure, as SVG.
pub(crate) struct Plots {
    pub measure: Measure,
    /// The classes, each averaged over its seeds.
    pub overall: String,
    /// Name of each class, and the curves of its seeds.
    pub classes: Vec<(String, String)>,
}

/// A point of a run's table of its curve.
#[derive(Deserialize)]
struct RatePoint {
    false_positive_rate: f64,
    true_positive_rate: f64,
}

/// From (0, 0) to (1, 1).
type Points = Vec<(f64, f64)>;

/// Draws the curves of the finished runs and writes the plots into the folders of the classes and of the sweep.
pub(crate) fn write(summary: &Summary, folder: &Path) -> Result<Vec<Plots>> {
    let kinds = [
        (Measure::ImageAuroc, directory::ROC, directory::ROC_PLOT),
        (Measure::PixelAuroc, directory::PIXEL_ROC, directory::PIXEL_ROC_PLOT),
    ];
    let mut all = Vec::new();
    for (measure, table, plot) in kinds {
        let (mut classes, mut means) = (Vec::new(), Vec::new());
        for class in &summary.classes {
            let class_folder = class_folder(folder, &class.name);
            // Runs without the figure have no curve either: they are complete so.
            let tables = class.seeds.iter().map(|seed| class_folder.join(format!("it_{seed}/{table}")));
            let curves: Vec<Points> =
                tables.filter(|table| table.exists()).map(|table| read(&table)).collect::<Result<_>>()?;
            let Some(figure) = class.figure(measure).filter(|_| !curves.is_empty()) else { continue };
            let seeds = counted(curves.len(), "seed", "seeds");
            means.push(mean(&curves));
            let svg = draw(curves, format!("mean of {seeds}, area {:.3}", figure.mean))?;
            files::write_atomically(&class_folder.join(plot), svg.as_bytes())?;
            classes.push((class.name.clone(), svg));
        }
        let area = summary.overall.iter().find(|figure| figure.measure == measure);
        if let Some(area) = area.filter(|_| !means.is_empty()) {
            let of = counted(means.len(), "class", "classes");
            let overall = draw(means, format!("mean of {of}, area {:.3}", area.mean))?;
            files::write_atomically(&folder.join(plot), overall.as_bytes())?;
            all.push(Plots { measure, overall, classes });
        }
    }
    Ok(all)
}

impl Plots {
    /// What the curves are of.
    pub(crate) fn of(&self) -> &'static str {
        if self.measure == Measure::PixelAuroc { "pixels" } else { "images" }
    }
}

/// Thin curves, and their mean with a name.
fn draw(curves: Vec<Points>, name: String) -> Result<String> {
    let mean = Curve { hue: Hue::Ink, name, points: mean(&curves) };
    let each = curves.into_iter().map(|points| Curve { hue: Hue::Blue, name: String::new(), points });
    roc(&each.chain([mean]).collect::<Vec<_>>())
}

/// The mean true positive rate at each false positive rate.
fn mean(curves: &[Points]) -> Points {
    let at = |rate: f64| curves.iter().map(|curve| interpolated(curve, rate)).sum::<f64>() / curves.len() as f64;
    let along = (0..=STEPS).map(|i| i as f64 / STEPS as f64).map(|rate| (rate, at(rate)));
    std::iter::once((0.0, 0.0)).chain(along).collect()
}

/// The highest true positive rate of a curve at a false positive rate.
fn interpolated(curve: &[(f64, f64)], rate: f64) -> f64 {
    let after = curve.partition_point(|point| point.0 <= rate);
    match (curve[..after].last(), curve.get(after)) {
        (Some(&(x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (rate - x0) / (x1 - x0),
        (Some(&(_, y)), None) => y,
        (None, _) => 0.0,
    }
}

/// The curve of a run.
fn read(path: &Path) -> Result<Points> {
    let broken =
        |e: csv::Error| Error::file(path, format!("cannot be read ({e})"), "evaluate the run again to restore it");
    let mut rows = csv::Reader::from_path(path).map_err(broken)?;
    let points =
        rows.deserialize::<RatePoint>().map(|point| point.map(|p| (p.false_positive_rate, p.true_positive_rate)));
    points.collect::<Result<_, _>>().map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_averaged_upwards() {
        let step = vec![(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)];
        assert_eq!([0.0, 0.5, 1.0].map(|rate| interpolated(&step, rate)), [0.5, 0.75, 1.0]);
        let both = mean(&[step, vec![(0.0, 0.0), (1.0, 1.0)]]);
        assert_eq!((both[0], both[1], both[STEPS + 1]), ((0.0, 0.0), (0.0, 0.25), (1.0, 1.0)));
        // What the mean curve encloses is the mean of what the curves enclose: 0.75 and 0.5. The grid meets their corners.
        let area: f64 = both.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
        assert!((area - 0.625).abs() < 1e-12, "{area}");
    }
}
