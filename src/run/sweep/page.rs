//! A sweep on one page: `report.html`.

use std::path::Path;

use maud::{Markup, html};

use super::curves::{self, Plots};
use super::summary::Summary;
use super::tables::{self, ABOUT, TextTable, counted};
use crate::error::Result;
use crate::files;
use crate::report::html::{figures, page, pairs, plots, section, table};
use crate::run::directory;
use crate::run::report::quoted;

/// Draws the ROC curves and writes the page into the sweep's folder.
pub(crate) fn write(summary: &Summary, folder: &Path) -> Result<()> {
    let drawn = curves::write(summary, folder)?;
    let mut sections = vec![section("Results", &results(summary, &drawn))];
    if let Some(published) = tables::beside_published(summary) {
        sections.push(section("Beside what is published", &html! {
            p {
                "Means over all classes of the dataset and five seeds, from summaries of the paper (Liznerski et al., ICLR 2021): check them "
                "there before you cite them. They can be compared with a sweep that has the paper's settings, among them its outliers and its number of "
                "epochs."
            }
            (text_table(&published))
        }));
    }
    sections.push(section("Runs", &runs(summary)));
    sections
        .extend(drawn.iter().map(|drawn| section(&format!("ROC curves of the {}", drawn.of()), &of_classes(drawn))));
    sections.push(section("How to reproduce", &reproduction(summary)));
    let page = page(&tables::title(summary), &lead(summary), &sections);
    files::write_atomically(&folder.join(directory::REPORT), page.as_bytes())
}

fn lead(summary: &Summary) -> Markup {
    let plan = &summary.plan;
    let classes = counted(plan.classes.len(), "class", "classes");
    let seeds = counted(plan.seeds as usize, "seed", "seeds");
    html! {
        p {
            (classes) ", " (seeds) " each. The images of a run's class are its " (plan.settings.dataset.class_is()) " ones. A figure of a \
            class is the mean over its seeds."
        }
        @if let Some(missing) = tables::missing(summary) { p.notice { (missing) } }
    }
}

fn results(summary: &Summary, drawn: &[Plots]) -> Markup {
    let large = summary.overall.iter().map(|figure| (figure.measure.name().to_string(), format!("{:.4}", figure.mean)));
    let shown = drawn.iter().map(|drawn| {
        let alt = format!("ROC curves of the {}, one per class, and their mean", drawn.of());
        let caption =
            format!("Of the {}: each class averaged over its seeds, and the mean of the classes.", drawn.of());
        (drawn.overall.clone(), alt, caption)
    });
    html! {
        (figures(&large.collect::<Vec<_>>()))
        (plots(&shown.collect::<Vec<_>>()))
        p { (ABOUT) @for note in tables::notes(summary) { " " (note) } }
        (text_table(&tables::per_class(summary)))
    }
}

fn text_table(TextTable { header, rows }: &TextTable) -> Markup {
    table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// Links to the pages of the runs.
fn runs(summary: &Summary) -> Markup {
    let links = summary.classes.iter().map(|class| {
        let page = |seed: &u64| format!("normal_{}/it_{seed}/{}", class.name, directory::REPORT);
        (class.name.clone(), html! { @for seed in &class.seeds { a href=(page(seed)) { "seed " (seed) } " " } })
    });
    pairs(&links.collect::<Vec<_>>())
}

fn of_classes(drawn: &Plots) -> Markup {
    let shown = drawn.classes.iter().map(|(class, svg)| {
        (
            svg.clone(),
            format!("ROC curves of the seeds of {class}, and their mean"),
            format!("{class}: each seed, and the mean."),
        )
    });
    plots(&shown.collect::<Vec<_>>())
}

fn reproduction(summary: &Summary) -> Markup {
    let command = summary.plan.command("DIR").iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    html! { pre { code { (command) } } }
}
