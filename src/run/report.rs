//! A run on one page: `report.html`.

use std::path::Path;

use maud::{Markup, html};

use super::breakdown::{FEW_GOOD, KindFigures, WrongVerdict};
use super::calibration::percent;
use super::directory;
use super::evaluate::Tested;
use super::figures::Evaluation;
use super::model::Model;
use super::plots::{TestPlots, Training};
use super::prepare::TestSet;
use super::settings::{SETTINGS, Settings};
use super::sheets::REFERENCE;
use super::state::Epoch;
use crate::data::appearance::Bounds;
use crate::data::supervise::Supervise;
use crate::error::Result;
use crate::files;
use crate::model::Objective;
use crate::named::Named;
use crate::printable::Printable;
use crate::report::html::{figures, image_figure, page, pairs, plots, section, table};
use crate::report::png::png_size;
use crate::report::significant;

/// What the page tells.
pub(crate) struct Story<'a> {
    pub model: &'a Model,
    /// None where the run's folder is not known.
    pub training: Option<&'a Training>,
    pub set: &'a TestSet,
    /// None where the model was not tested.
    pub test: Option<(&'a Tested, &'a TestPlots)>,
}

/// The page, for a folder where the test's images lie. Its order is that of a reader's questions: does it work, where does it fail, by which
/// threshold, what did it learn from, how can it be had again.
pub(crate) fn of_story(folder: &Path, story: &Story) -> Result<String> {
    let settings = &story.model.meta.settings;
    let mut sections = vec![section("Does it work?", &results(story))];
    if let Some((tested, _)) = story.test {
        sections.push(section("Where does it fail?", &failures(&tested.evaluation, folder)?));
    }
    sections.push(section("By which threshold?", &threshold(story)));
    sections.push(section("What did it learn from?", &training(story)?));
    let reproduced = html! { (reproduction(settings, story)) (pairs(&described(settings, story))) };
    sections.push(section("How can it be had again?", &reproduced));
    Ok(page(&title(settings, story), &lead(story), &sections))
}

/// What the run is about: the good images of a folder, or a class of a dataset.
fn title(settings: &Settings, story: &Story) -> String {
    match settings.dataset.good_alone {
        true => format!("Good images of {}", data(settings)),
        false => format!("{}: class {}", settings.dataset.name(), story.set.name),
    }
}

fn lead(story: &Story) -> Markup {
    let meta = &story.model.meta;
    let (done, asked) = (meta.epochs, meta.settings.epochs);
    html! {
        p {
            "The net " (meta.settings.net) " was trained for " (count(done as usize, "epoch")) " " (method(meta.settings.objective))
        }
        @if meta.imported.is_some() {
            p.notice {
                "The authors' code has trained it. Which images it has learned from is not known: copies of them among the test images make \
                figures look better."
            }
        } @else if let Some(all) = meta.best_of {
            p {
                "Training ended after epoch " (all) " of at most " (asked) ". The weights are those after epoch " (done) ", when good images that \
                were held out were told best from anomalies made of them."
            }
        } @else if !meta.is_whole() {
            p.notice {
                "The training was stopped after " (done) " of " (count(asked as usize, "epoch")) ". It can be resumed, and the model as it \
                is can be evaluated."
            }
        }
    }
}

/// By what a net was trained, and what its scores and heatmaps say.
fn method(objective: Objective) -> &'static str {
    match objective {
        Objective::Fcdd => {
            "by Fully Convolutional Data Description to know normal images. Its score is the mean of the anomaly map: near 0 where an image \
             looks normal, without an upper bound. The heatmap is that map, upsampled."
        }
        Objective::Hsc => {
            "by hypersphere classification to know normal images. Its score is near 0 where an image looks normal and grows without \
             bound the more it deviates; the heatmap is the gradient of the score by the pixels."
        }
        Objective::Ae => {
            "as an autoencoder of normal images. Its score is the mean squared error of the reconstruction; the heatmap shows where the \
             errors lie."
        }
    }
}

fn results(story: &Story) -> Markup {
    let Some((tested, test_plots)) = story.test else {
        return html! {
            p.notice {
                @if story.model.meta.calibration.as_ref().is_some_and(|calibration| calibration.images.came_later()) {
                    "The model has not been tested since its threshold was set anew: " code { "fcdd evaluate" } " tests it, on the test images \
                    of its data or on those that " code { "--data" } " names."
                } @else if story.set.split.images.count() > 0 {
                    "The model has not been tested, since its training was stopped."
                } @else if !story.model.meta.untested.is_empty() {
                    "The model has not been tested: all test images were learned from, or show parts that were."
                } @else {
                    "The model has not been tested: the data has no test images. It can be evaluated with images in DIR/test/good and \
                    DIR/test/DEFECT, or in DIR/good and DIR/DEFECT."
                }
            }
        };
    };
    let e = &tested.evaluation;
    let found = e.figures();
    let named = found.iter().map(|(measure, value)| (measure.name().to_string(), format!("{value:.4}")));
    let readings = found.iter().map(|(measure, _)| (measure.name().to_string(), measure.reading()));
    let roc = test_plots.roc.as_ref().map(|svg| {
        let alt = "ROC curve: true positive rate over false positive rate for every threshold";
        let caption = "True positive rate over false positive rate, for every threshold. Dashed: guessing.";
        (svg.clone(), alt.to_string(), caption.to_string())
    });
    html! {
        p {
            "Measured on " (count(e.normal, "normal image")) " and " (count(e.anomalous, "anomalous image")) "."
        }
        @if e.normal > 0 && e.normal < FEW_GOOD {
            p.notice {
                "Fewer than " (FEW_GOOD) " normal images say little of how many are called anomalous: one of them is \
                " (percent(1.0 / e.normal as f64)) "."
            }
        }
        @for note in e.overlap.in_words(e.normal + e.anomalous) { p.notice { (note) "." } }
        (figures(&named.collect::<Vec<_>>()))
        details { summary { "How to read the figures" } (pairs(&readings.collect::<Vec<_>>())) }
        @if roc.is_none() {
            p.notice { "There is no ROC curve: that needs both normal and anomalous test images." }
        }
        (plots(&roc.into_iter().collect::<Vec<_>>()))
    }
}

/// What is missed and what is called anomalous wrongly: by kind of defect, by count, by name, in pictures.
fn failures(e: &Evaluation, folder: &Path) -> Result<Markup> {
    let breakdown = &e.breakdown;
    let kind = |kind: &KindFigures| {
        let auroc = kind.image_auroc.map_or("–".to_string(), |area| format!("{area:.3}"));
        vec![
            kind.kind.clone(),
            kind.images.to_string(),
            auroc + &kind.image_auroc_interval.in_words(),
            format!("{:.2}{}", kind.true_positive_rate, kind.true_positive_rate_interval.in_words()),
        ]
    };
    let kinds: Vec<_> = breakdown.kinds.iter().map(kind).collect();
    let [alarms, hits] = breakdown.called_anomalous;
    let row = |name: &str, n: usize, anomalous: usize| {
        vec![name.to_string(), (n - anomalous).to_string(), anomalous.to_string()]
    };
    let confusion = [row("normal", e.normal, alarms), row("anomalous", e.anomalous, hits)];
    let [good, anomalous] = breakdown.unusable;
    let names = |images: &[WrongVerdict]| {
        let row = |image: &WrongVerdict| vec![image.image.clone(), significant(f64::from(image.score))];
        images.iter().map(row).collect::<Vec<_>>()
    };
    Ok(html! {
        @if !kinds.is_empty() {
            h3 { "By kind of anomaly" }
            (table(&["kind", "images", "image AUROC", "found at the threshold"], &kinds))
            p { "In brackets: within what a figure would lie on other images like these, in 95 of 100 cases." }
        }
        h3 { "What images are called" }
        (table(&["in truth", "called good", "called anomalous"], &confusion))
        @if good + anomalous > 0 {
            p {
                "Of these " (good) " normal and " (anomalous) " anomalous ones look otherwise than all good training images (size, brightness, \
                sharpness …). fcdd predict calls them unusable."
            }
        }
        @if !breakdown.misses.is_empty() {
            h3 { "Defects that were missed" }
            p { "Called good, the most confident first." }
            (table(&["image", "score"], &names(&breakdown.misses)))
        }
        @if !breakdown.false_alarms.is_empty() {
            h3 { "False alarms" }
            p { "Good images that were called anomalous, the most confident first." }
            (table(&["image", "score"], &names(&breakdown.false_alarms)))
        }
        h3 { "Test images" }
        (test_images(folder)?)
    })
}

fn test_images(folder: &Path) -> Result<Markup> {
    let colours = "Heatmaps run from dark blue (normal) over green to dark red (anomalous)";
    let overview = format!(
        "{colours}. All of them share one scale, taken from up to {REFERENCE} test images of each label; fcdd predict uses the model's \
         scale, taken from training samples. Below each image: its score, its class and its row in scores.csv, from #0."
    );
    let paper = format!(
        "{colours}. On its own scale a heatmap shows where its highest values are, even if all of them are low; on the common scale it \
         shows which images deviate."
    );
    Ok(html! {
        (image_file(folder, directory::CHOSEN, "Chosen test images with their heatmaps", &paper)?)
        (image_file(folder, directory::PAPER, "Test images equally spaced by score, with their heatmaps", &paper)?)
        (image_file(folder, directory::OVERVIEW, "Test images at both ends of the scores, with their heatmaps", &overview)?)
    })
}

/// What the threshold is and promises, and where the scores of the test images lie.
fn threshold(story: &Story) -> Markup {
    let meta = &story.model.meta;
    let shown = |value: f32| significant(f64::from(value));
    let histogram = story.test.map(|(_, plots)| {
        let alt = "Histogram of the scores of normal and of anomalous test images, with the model's threshold";
        let caption = "Scores of the test images, on a logarithmic axis, and the model's threshold.";
        (plots.scores.clone(), alt.to_string(), caption.to_string())
    });
    html! {
        p { "Images whose score exceeds " strong { (shown(meta.threshold)) } ", the threshold, are called anomalous, all others good." }
        @if !meta.has_threshold() {
            p.notice { "Nothing has set this threshold: " code { "fcdd calibrate" } " sets one by good images." }
        }
        @if let Some(calibration) = &meta.calibration {
            p { "What it promises: " (calibration.promise()) "." }
            @if let Some([low, high]) = calibration.interval {
                p {
                    "On other good images like these it would lie between " (shown(low)) " and " (shown(high)) " in 95 of 100 cases: with \
                    more of them it is known better."
                }
            }
            @if calibration.false_positive_rate.is_none() {
                p.notice { "Set one that promises something by good images that the model has not learned from: fcdd calibrate RUN --good DIR" }
            }
        }
        @if let Some(check) = &meta.input_check {
            p {
                "Images that look otherwise than all good ones are unusable: their score says nothing. At most " (percent(check.false_alarm_rate)) " \
                of good images are called so, by the " (check.images) " that were looked at."
            }
            details {
                summary { "What images have to look like" }
                (pairs(&check.bounds.iter().map(Bounds::in_words).map(|(name, within)| (name.to_string(), within)).collect::<Vec<_>>()))
            }
        }
        (plots(&histogram.into_iter().collect::<Vec<_>>()))
    }
}

fn training(story: &Story) -> Result<Markup> {
    let Some(Training { folder, history, plot }) = story.training else {
        let absent = "The model does not lie in the folder of its run: its training cannot be shown.";
        return Ok(html! { p.notice { (absent) } });
    };
    let loss = plot.iter().map(|svg| {
        let alt = "Mean loss over the epochs, of all samples, of the normal and of the anomalous ones";
        (svg.clone(), alt.to_string(), "Mean loss of each epoch's samples.".to_string())
    });
    let preview = samples(&story.model.meta.settings);
    let overview = "Samples of one more epoch with the heatmaps of the trained net, and their scores.";
    Ok(html! {
        @if plot.is_none() { p.notice { "No epoch was completed: there are no losses to show." } }
        (plots(&loss.collect::<Vec<_>>()))
        @if !history.is_empty() { details { summary { "All epochs as a table" } (epochs(history)) } }
        (image_file(folder, directory::PREVIEW, "Training samples after augmentation", &preview)?)
        (image_file(folder, directory::TRAINING_OVERVIEW, "Training samples with their heatmaps", overview)?)
    })
}

/// What the preview shows.
fn samples(settings: &Settings) -> String {
    let anomalies = match settings.supervise {
        _ if settings.offline_supervision => "Half of them are anomalies that were made before training.",
        Supervise::Unsupervised => "All of them are normal.",
        Supervise::Other => "With probability 0.5, a labelled anomaly took a normal image's place.",
        Supervise::Noise => "With probability 0.5, an artificial anomaly took a normal image's place.",
        Supervise::MalformedNormal | Supervise::MalformedNormalGt => {
            "With probability 0.5, a normal image was turned into an anomaly by noise added to it."
        }
    };
    let contrast = if settings.pipeline.normalises_contrast() {
        " Contrast is normalised, so brightness does not compare between images."
    } else {
        ""
    };
    format!("What the net learned from: samples of the first batch. {anomalies}{contrast}")
}

/// An image of the folder; nothing if it is not there.
fn image_file(folder: &Path, name: &str, alt: &str, caption: &str) -> Result<Markup> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(Markup::default());
    }
    let (width, _) = png_size(&path)?;
    Ok(image_figure(&files::read(&path)?, width, alt, caption))
}

fn epochs(history: &[Epoch]) -> Markup {
    let optional = |loss: Option<f64>| loss.map_or("–".to_string(), |loss| format!("{loss:.5}"));
    let row = |e: &Epoch| {
        vec![
            e.epoch.to_string(),
            significant(e.lr),
            format!("{:.5}", e.loss),
            optional(e.loss_normal),
            optional(e.loss_anomalous),
            optional(e.separation),
            format!("{:.0}", e.images_per_second),
        ]
    };
    let header = ["epoch", "learning rate", "loss", "normal", "anomalous", "separation", "images/s"];
    table(&header, &history.iter().map(row).collect::<Vec<_>>())
}

/// The settings, and what the run made of them.
fn described(settings: &Settings, story: &Story) -> Vec<(String, String)> {
    let meta = &story.model.meta;
    let mut rows = vec![("Dataset", settings.dataset.explanation().to_string())];
    if let Some(data) = story.set.data.as_ref().filter(|_| story.set.data != settings.data) {
        rows.push(("Test data", data.printable()));
    }
    let is_normal = settings.dataset.class_is() == "normal";
    rows.push((if is_normal { "Normal class" } else { "Anomalous class" }, story.set.name.clone()));
    rows.extend(SETTINGS.iter().filter_map(|setting| Some((setting.title, setting.shown(settings)?))));
    rows.push(("Epochs done", meta.epochs.to_string()));
    if !meta.untested.is_empty() {
        rows.push(("Left out of the test", count(meta.untested.len(), "image") + " of parts that were learned from"));
    }
    rows.push(("Program", format!("fcdd {}", meta.version)));
    rows.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn reproduction(settings: &Settings, story: &Story) -> Markup {
    let train = match &story.model.meta.imported {
        Some(snapshot) => format!("fcdd import {} --config config.txt --out RUN", quoted(snapshot)),
        None => settings.command("RUN").iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    };
    let data = story.set.data.as_ref().map(|path| format!(" --data {}", quoted(&path.to_string_lossy())));
    let evaluate = story.test.map(|_| format!("fcdd evaluate RUN{}", data.unwrap_or_default()));
    html! {
        pre { code { (train) @if let Some(evaluate) = &evaluate { "\n" (evaluate) } } }
        p { "The result does not depend on the number of threads. Every figure and image of this page is a file in the run's folder." }
    }
}

/// A word as a POSIX shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn data(settings: &Settings) -> String {
    settings.data.as_ref().map_or("as installed".to_string(), |path| path.printable())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pipeline::PipelineKind;
    use crate::datasets::folder::FOLDER;

    /// What the page says of the training samples follows from the settings.
    #[test]
    fn samples_are_described_as_they_are() {
        let preset = Settings::preset(FOLDER);
        let says = |supervise, pipeline| samples(&Settings { supervise, pipeline, ..preset.clone() });
        let text = says(Supervise::Unsupervised, PipelineKind::Aug1);
        assert!(text.ends_with("All of them are normal."), "{text}");
        let text = says(Supervise::MalformedNormalGt, PipelineKind::Lcnaug1);
        assert!(text.contains("noise added") && text.contains("Contrast is normalised"), "{text}");
        assert!(says(Supervise::Other, PipelineKind::None).contains("a labelled anomaly"));
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, shown) in
            [("runs/a-b_1", "runs/a-b_1"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), shown);
        }
    }
}
