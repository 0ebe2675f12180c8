//! Plots as SVG: sharp at any size, a few kilobytes, and the same text as a file and within a page.

use std::ops::Range;

use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use super::significant;
use crate::error::{Error, Result};

/// Width and height in pixels. Small enough for text to stay readable where a phone shrinks the plot to its width.
const SIZE: (u32, u32) = (560, 380);

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);

/// Of the diagonal that guessing gives.
const CHANCE: RGBColor = RGBColor(0x99, 0x99, 0x99);

/// Text sizes in pixels.
const LABEL: u32 = 18;
const AXIS: u32 = 19;

/// Curves of up to this many points show each of them.
const DOTTED: usize = 40;

/// Opacity of curves without a name.
const MANY: f64 = 0.55;

/// Bins of a histogram.
const BINS: usize = 60;

/// Numbers along an axis, at most.
const TICKS: usize = 8;

/// Fine numbers along an axis are at least this part of it apart.
const SPACES: f64 = 6.0;

/// A histogram's axis spans at least this factor.
const SMALLEST_SPAN: f64 = 2.0;

/// Room above the data, for the legend.
const HEADROOM: f64 = 1.35;

/// Colours of curves. They stay apart for colour-blind eyes and in grey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hue {
    Ink,
    /// For normal images.
    Blue,
    /// Of what is anomalous.
    Red,
}

impl Hue {
    fn colour(self) -> RGBColor {
        match self {
            Hue::Ink => INK,
            Hue::Blue => RGBColor(0x1b, 0x6c, 0xa8),
            Hue::Red => RGBColor(0xc8, 0x4b, 0x1f),
        }
    }
}

/// A named line.
#[derive(Clone, Debug)]
pub(crate) struct Curve<X> {
    pub hue: Hue,
    /// For the legend; a curve without a name is one of many, drawn thin.
    pub name: String,
    /// From left to right.
    pub points: Vec<(X, f64)>,
}

/// Losses over the epochs (counted from 1), as SVG.
pub(crate) fn losses(curves: &[Curve<i32>]) -> Result<String> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|p| p.0).max().unwrap_or(1);
    let highest = points().map(|p| p.1).fold(0.0, f64::max);
    let epochs = if last > 1 { 1..last } else { 0..2 };
    svg(|area| {
        let mut chart = builder(area).build_cartesian_2d(epochs, 0.0..top(highest)).map_err(bug)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("epoch").y_desc("mean loss").x_labels((last as usize).clamp(2, 8)).y_labels(6);
        style(&mut mesh).draw().map_err(bug)?;
        for curve in curves {
            let colour = curve.hue.colour();
            let dots = if curve.points.len() <= DOTTED { 3 } else { 0 };
            let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)).point_size(dots);
            chart.draw_series(line).map_err(bug)?.label(&curve.name).legend(stroke(colour));
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

/// ROC curves over the diagonal of guessing, as SVG.
pub(crate) fn roc(curves: &[Curve<f64>]) -> Result<String> {
    svg(|area| {
        let mut chart = builder(area).build_cartesian_2d(0.0..1.0, 0.0..1.0).map_err(bug)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("false positive rate").y_desc("true positive rate").x_labels(6).y_labels(6);
        style(&mut mesh).draw().map_err(bug)?;
        chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 5, 5, CHANCE.into())).map_err(bug)?;
        for curve in curves {
            let colour = curve.hue.colour();
            let points = curve.points.iter().copied();
            if curve.name.is_empty() {
                chart.draw_series(LineSeries::new(points, colour.mix(MANY))).map_err(bug)?;
            } else {
                let line = LineSeries::new(points, colour.stroke_width(2));
                chart.draw_series(line).map_err(bug)?.label(&curve.name).legend(stroke(colour));
            }
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    })
}

/// Histogram of the scores of each label, in percent of the label's images, over a logarithmic axis: scores of normal images lie
/// orders of magnitude below those of anomalous ones. Scores of 0 or less count as the smallest positive one.
pub(crate) fn histogram(normal: &[f32], anomalous: &[f32], threshold: f32) -> Result<String> {
    let range = decades(normal.iter().chain(anomalous).chain([&threshold]).copied());
    let labels = [(Hue::Blue, "normal", normal), (Hue::Red, "anomalous", anomalous)];
    let bars = labels.map(|(hue, name, scores)| Curve { hue, name: name.to_string(), points: steps(scores, &range) });
    let highest = bars.iter().flat_map(|bars| &bars.points).map(|p| p.1).fold(0.0, f64::max);
    svg(|area| {
        let scale = range.clone().log_scale().with_key_points(ticks(&range));
        let mut chart = builder(area).build_cartesian_2d(scale, 0.0..top(highest)).map_err(bug)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("score").y_desc("% of the label's images").x_labels(TICKS).y_labels(6);
        mesh.x_label_formatter(&|x| if (1e-3..1e4).contains(x) { x.to_string() } else { format!("{x:e}") });
        mesh.y_label_formatter(&|y| y.to_string());
        style(&mut mesh).draw().map_err(bug)?;
        for bars in bars.iter().filter(|bars| !bars.points.is_empty()) {
            let colour = bars.hue.colour();
            let area = AreaSeries::new(bars.points.iter().copied(), 0.0, colour.mix(0.25)).border_style(colour);
            let swatch = move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.mix(0.5).filled());
            chart.draw_series(area).map_err(bug)?.label(&bars.name).legend(swatch);
        }
        let at = f64::from(threshold).max(range.start);
        let line = DashedLineSeries::new([(at, 0.0), (at, highest)], 6, 4, INK.stroke_width(2));
        let name = format!("threshold {}", significant(f64::from(threshold)));
        chart.draw_series(line).map_err(bug)?.label(name).legend(stroke(INK));
        legend(&mut chart, SeriesLabelPosition::UpperRight)
    })
}

/// A range around the positive values, wide enough to draw on.
fn decades(values: impl Iterator<Item = f32>) -> Range<f64> {
    let positive = values.filter(|&v| v > 0.0 && v.is_finite()).map(f64::from);
    let (low, high) = positive.fold((f64::INFINITY, 0.0), |(low, high), v| (low.min(v), f64::max(high, v)));
    let (low, high) = if high > 0.0 { (low, high) } else { (0.1, 1.0) };
    let margin = (SMALLEST_SPAN / (high / low)).sqrt().max(1.1);
    low / margin..high * margin
}

/// Round numbers within the range: 1, 2, 5, 10 … or, where those are too many, powers of ten, or some of these; where they are fewer
/// than three, whole numbers, halves or fifths as far as there is room.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let within = |digits: &[f64], step: usize| -> Vec<f64> {
        let power = decades.clone().step_by(step).flat_map(|d| digits.iter().map(move |m| format!("{m}e{d}")));
        power.filter_map(|text| text.parse().ok()).filter(|tick| range.contains(tick)).collect()
    };
    let usual = within(&[1.0, 2.0, 5.0], 1);
    if usual.len() < 3 {
        let apart = (range.end / range.start).powf(1.0 / SPACES);
        let thinned = |digits: Vec<f64>| {
            let mut kept: Vec<f64> = Vec::new();
            for tick in within(&digits, 1) {
                if kept.last().is_none_or(|last| tick > last * apart) {
                    kept.push(tick);
                }
            }
            kept
        };
        let finer =
            [1, 2, 5].map(|parts| thinned((parts..10 * parts).map(|i| f64::from(i) / f64::from(parts)).collect()));
        return finer.into_iter().find(|ticks| ticks.len() >= 3).unwrap_or(usual);
    }
    let coarser = (1..).map(|step| within(&[1.0], step));
    std::iter::once(usual).chain(coarser).find(|ticks| ticks.len() <= TICKS).unwrap_or_default()
}

/// The outline of a histogram: two points per bin, percentages of all values; none without values.
fn steps(values: &[f32], range: &Range<f64>) -> Vec<(f64, f64)> {
    let span = (range.end / range.start).ln();
    let mut counts = [0u32; BINS];
    for &value in values {
        let place = (f64::from(value).max(range.start) / range.start).ln() / span;
        counts[((place * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let edge = |i: usize| range.start * (span * i as f64 / BINS as f64).exp();
    let outline = counts.iter().enumerate().flat_map(|(i, &count)| {
        let percent = 100.0 * f64::from(count) / values.len() as f64;
        [(edge(i), percent), (edge(i + 1), percent)]
    });
    if values.is_empty() { Vec::new() } else { outline.collect() }
}

/// Where the vertical axis ends.
fn top(highest: f64) -> f64 {
    if highest.is_finite() && highest > 0.0 { highest * HEADROOM } else { 1.0 }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG document that `draw` fills.
fn svg(draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    // Only measures text: SVG leaves the choice of the letters to the viewer.
    let unreadable = |_| Error::internal("the built-in font cannot be read");
    register_font("sans-serif", FontStyle::Normal, UBUNTU_LIGHT).map_err(unreadable)?;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(bug)?;
        draw(&area)?;
        area.present().map_err(bug)?;
    }
    Ok(text)
}

fn builder<'a, 's>(area: &'a Area<'s>) -> ChartBuilder<'a, 'a, SVGBackend<'s>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(12).margin_right(24).x_label_area_size(48).y_label_area_size(64);
    builder
}

type Mesh<'a, 'b, 's, X, Y> = MeshStyle<'a, 'b, X, Y, SVGBackend<'s>>;

fn style<'m, 'a, 'b, 's, X: Ranged, Y: Ranged>(mesh: &'m mut Mesh<'a, 'b, 's, X, Y>) -> &'m mut Mesh<'a, 'b, 's, X, Y> {
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", LABEL, &INK))
        .axis_desc_style(("sans-serif", AXIS, &INK))
}

/// A short line for the legend.
fn stroke(colour: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
}

fn legend<'a, 's: 'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, SVGBackend<'s>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .margin(8)
        .legend_area_size(26)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", LABEL, &INK))
        .draw()
        .map_err(bug)
}

/// Drawing into a string fails only where this file is wrong.
fn bug(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a plot could not be drawn ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_svg_with_their_words() {
        let curve =
            |name: &str, points: &[(i32, f64)]| Curve { hue: Hue::Blue, name: name.into(), points: points.to_vec() };
        let losses = losses(&[curve("all", &[(1, 0.5), (2, 0.25)]), curve("normal", &[])]).unwrap();
        let all = Curve { hue: Hue::Ink, name: "images <1>".into(), points: vec![(0.0, 0.0), (0.1, 1.0), (1.0, 1.0)] };
        let roc = roc(&[all]).unwrap();
        let scores = histogram(&[0.001, 0.002], &[0.5, 0.0], 0.01).unwrap();
        for (svg, words) in [(&losses, "mean loss"), (&roc, "images &lt;1&gt;"), (&scores, "threshold 0.0100")] {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains(words), "{words} is not in {svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    /// The corners of the plot are (76, 319) and (535, 12): what margins and labels leave.
    #[test]
    fn points_lie_where_they_belong() {
        let curve = Curve { hue: Hue::Red, name: "images".into(), points: vec![(0.0, 0.0), (0.5, 0.75), (1.0, 1.0)] };
        let svg = roc(&[curve]).unwrap();
        let line = svg.split('<').find(|element| element.starts_with("polyline") && element.contains("#C84B1F"));
        assert!(line.is_some_and(|line| line.contains("points=\"76,319 305,89 535,12 \"")), "{svg}");
    }

    #[test]
    fn degenerate_values_are_harmless() {
        let one = Curve { hue: Hue::Ink, name: "all".into(), points: vec![(1, 0.0)] };
        for svg in [
            losses(&[]),
            losses(&[one]),
            roc(&[]),
            histogram(&[], &[], 0.0),
            histogram(&[0.0; 3], &[], 0.0),
            histogram(&[0.3; 9], &[0.3], 0.3),
            histogram(&[1e-38, 1e-45], &[f32::MAX], 1.0),
        ] {
            let svg = svg.unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(&(0.07..3.0)), [0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(ticks(&(0.0015..30.0)), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!(ticks(&(0.21..0.43)), [0.25, 0.3, 0.35, 0.4]);
        assert_eq!(ticks(&(0.0049..0.0098)), [0.005, 0.006, 0.007, 0.008, 0.009]);
        // Wherever the narrowest range lies.
        for start in (0..200).map(|i| 1e-4 * 10f64.powf(f64::from(i) / 100.0)) {
            let ticks = ticks(&(start..start * SMALLEST_SPAN));
            assert!((3..=TICKS).contains(&ticks.len()), "{start}: {ticks:?}");
        }
        assert!((2..=TICKS).contains(&ticks(&(1e-45..1e38)).len()));
    }

    #[test]
    fn bins_hold_all_values() {
        let range = decades([0.01, 10.0, 0.0].into_iter());
        assert!(range.start < 0.01 && range.end > 10.0 && range.end < 12.0);
        let outline = steps(&[0.0, 0.01, 0.01, 10.0], &range);
        assert_eq!(outline.len(), 2 * BINS);
        assert_eq!(outline.iter().step_by(2).map(|p| p.1).sum::<f64>(), 100.0);
        assert_eq!((outline[0].1, outline[2 * BINS - 1].1), (75.0, 25.0), "0 counts as the smallest positive value");
    }
}
