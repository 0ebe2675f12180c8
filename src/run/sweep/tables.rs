//! A summary as tables: on the page, as Markdown, as CSV, on the terminal.

use std::path::Path;

use super::published::{Published, class_count};
use super::summary::{Figure, Summary};
use crate::data::supervise::Supervise;
use crate::error::{Error, Result};
use crate::files;
use crate::model::Objective;
use crate::printable;
use crate::run::directory::csv_of_cells;
use crate::run::figures::Measure;
use crate::run::own_files::{SUMMARY_CSV, SUMMARY_MD};

/// Marks published figures that are quoted from memory.
const DAGGER: &str = "†";

/// What the mark means.
const FOOTNOTE: &str =
    "† quoted from memory; their averages are the published means to within .01: for orientation only.";

/// A table of text.
pub(crate) struct TextTable {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Writes `summary.csv` and `summary.md`.
pub(crate) fn write(summary: &Summary, folder: &Path) -> Result<()> {
    files::write_atomically(&folder.join(SUMMARY_CSV), &csv(summary)?)?;
    files::write_atomically(&folder.join(SUMMARY_MD), markdown(summary).as_bytes())
}

/// What the sweep is called.
pub(crate) fn title(summary: &Summary) -> String {
    let settings = &summary.plan.settings;
    format!("{}: {}", settings.dataset.name(), settings.net)
}

/// A row per class and one over all, with what was published per class.
pub(crate) fn per_class(summary: &Summary) -> TextTable {
    let measures = || summary.overall.iter().map(|figure| figure.measure);
    let beside = published_per_class(summary);
    let class = format!("{} class", summary.plan.settings.dataset.class_is());
    let mut header: Vec<String> = vec![class, "runs".to_string()];
    header.extend(measures().map(|measure| measure.name().to_string()));
    header.extend(beside.iter().map(|row| format!("published {}: {}{DAGGER}", row.measure.name(), row.method)));
    let cell = |value: Option<String>| value.unwrap_or_else(|| "–".to_string());
    let published = |value: Option<f64>| cell(value.map(|value| format!("{value:.2}")));
    let row = |class: &super::summary::Class| {
        let mut row = vec![printable::escaped(&class.name).into_owned(), class.seeds.len().to_string()];
        row.extend(measures().map(|measure| cell(class.figure(measure).map(in_words))));
        row.extend(beside.iter().map(|row| published(row.of_class(&class.name))));
        row
    };
    let mut rows: Vec<Vec<String>> = summary.classes.iter().map(row).collect();
    let runs = summary.classes.iter().map(|class| class.seeds.len()).sum::<usize>();
    let mut last = vec!["all classes".to_string(), runs.to_string()];
    last.extend(summary.overall.iter().map(in_words));
    last.extend(beside.iter().map(|row| published(Some(row.mean))));
    rows.push(last);
    TextTable { header, rows }
}

/// The published figures per class that were learned as in the sweep.
fn published_per_class(summary: &Summary) -> Vec<&Published> {
    let settings = &summary.plan.settings;
    let labelled = settings.learns_mvtec_gt() || settings.supervise == Supervise::Other;
    let is_alike = |row: &&Published| !row.per_class.is_empty() && row.labelled == labelled;
    summary.published.iter().filter(|_| settings.objective == Objective::Fcdd).filter(is_alike).collect()
}

/// What has to be said beside the tables.
pub(crate) fn notes(summary: &Summary) -> Vec<String> {
    let (own, all) = (summary.classes.len(), class_count(summary.plan.settings.dataset));
    let footnote = (!published_per_class(summary).is_empty()).then(|| FOOTNOTE.to_string());
    let part = (!summary.published.is_empty() && own < all)
        .then(|| format!("Published means are over all {all} classes, those of this sweep over {own}."));
    footnote.into_iter().chain(part).collect()
}

/// What others report, and the sweep's own mean beside it; none where nothing is published.
pub(crate) fn beside_published(summary: &Summary) -> Option<TextTable> {
    let row = |row: &Published| {
        let mean = Figure { measure: row.measure, mean: row.mean, sd: row.sd, values: Vec::new() };
        let decimals = if row.sd.is_some() || row.mean * 100.0 == (row.mean * 100.0).round() { 2 } else { 3 };
        let sd = mean.sd.map_or(String::new(), |sd| format!(" ± {sd:.2}"));
        vec![row.method.to_string(), row.measure.name().to_string(), format!("{:.decimals$}{sd}", mean.mean)]
    };
    let of_measure = |measure: Measure| {
        let own = summary.overall.iter().filter(move |figure| figure.measure == measure);
        let own = own.map(|figure| vec!["this sweep".to_string(), measure.name().to_string(), in_words(figure)]);
        let rows = summary.published.iter().filter(move |row| row.measure == measure).map(row).collect::<Vec<_>>();
        if rows.is_empty() { Vec::new() } else { own.chain(rows).collect() }
    };
    let rows: Vec<Vec<String>> = Measure::MAIN.into_iter().flat_map(of_measure).collect();
    let header = ["method", "measure", "mean over the classes"].map(str::to_string).into();
    (!rows.is_empty()).then_some(TextTable { header, rows })
}

/// So many of something.
pub(crate) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Mean and standard deviation.
fn in_words(figure: &Figure) -> String {
    let sd = figure.sd.map_or(String::new(), |sd| format!(" ± {sd:.3}"));
    format!("{:.3}{sd}", figure.mean)
}

/// The runs that are missing, as a text.
pub(crate) fn missing(summary: &Summary) -> Option<String> {
    let n = summary.missing.len();
    (n > 0).then(|| format!("{n} of the sweep's runs are not finished: {}.", summary.missing.join("; ")))
}

/// The classes as plain text, columns aligned.
pub(crate) fn plain(summary: &Summary) -> String {
    let TextTable { mut header, mut rows } = per_class(summary);
    // Of what was published the figures are enough here.
    header.iter_mut().filter(|name| name.ends_with(DAGGER)).for_each(|name| *name = format!("published{DAGGER}"));
    rows.insert(0, header);
    rows.iter_mut().flatten().for_each(|cell| *cell = printable::escaped(cell).into_owned());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let aligned =
            cells.map(|(i, (cell, &width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        aligned.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn markdown(summary: &Summary) -> String {
    let mut text = format!("# {}\n\n{}\n", title(summary), ABOUT);
    for TextTable { header, rows } in [Some(per_class(summary)), beside_published(summary)].into_iter().flatten() {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| printable::markdown(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        text += &format!("\n{}{}", line(&header), line(&vec!["---".to_string(); header.len()]));
        rows.iter().for_each(|row| text += &line(row));
    }
    for note in notes(summary).into_iter().chain(missing(summary)) {
        text += &format!("\n{}\n", printable::markdown(&note));
    }
    text
}

/// What the figures are.
pub(crate) const ABOUT: &str =
    "Mean ± standard deviation over the seeds of a class; in the last row over the means of the classes.";

/// A row per class and measure: `class`, `measure`, `values`, `mean`, `sd`. The values are those of a class's runs; where the class is
/// empty, the means of the classes.
fn csv(summary: &Summary) -> Result<Vec<u8>> {
    let mut rows = vec![["class", "measure", "values", "mean", "sd"].map(str::to_string)];
    let of_classes =
        summary.classes.iter().flat_map(|class| class.figures.iter().map(|figure| (class.name.as_str(), figure)));
    for (class, figure) in of_classes.chain(summary.overall.iter().map(|figure| ("", figure))) {
        let sd = figure.sd.map_or(String::new(), |sd| sd.to_string());
        let [n, mean] = [figure.values.len().to_string(), figure.mean.to_string()];
        rows.push([class.to_string(), figure.measure.name().to_string(), n, mean, sd]);
    }
    csv_of_cells(rows.iter().map(|row| Ok(row.iter().collect())))
        .map_err(|e| Error::internal(format!("the summary cannot be written as CSV ({e})")))
}
