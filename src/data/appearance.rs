//! What images look like to whoever took them, whatever they show: size, brightness, contrast, sharpness, colour. An image that looks
//! otherwise than all good ones cannot be judged by a net that has learned from those.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::data::images::{Images, Original, luma};
use crate::data::levels::SignificantBits;
use crate::error::{Error, Result};

/// Fewest images whose appearance says what others may look like.
pub(crate) const FEWEST: usize = 20;

/// By how much bounds are wider than it takes to hold all images of the second half.
const MARGIN: f64 = 1.5;

/// Values up to here are black, and from 255 less this on white.
const CLIPPED: u8 = 2;

/// One thing that is measured of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Property {
    /// Columns and rows.
    Width,
    Height,
    /// Columns by rows.
    Aspect,
    /// Mean of all grey values.
    Brightness,
    /// Standard deviation of all grey values.
    Contrast,
    /// Mean distance of the grey values of neighbours.
    Sharpness,
    /// Shares of pixels that are black, and white.
    Black,
    White,
    /// Mean distance of the largest and the smallest of red, green and blue.
    Colour,
}

/// What an image looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Appearance {
    /// For each [`Property`], in their order.
    values: [f64; Property::VARIANTS.len()],
    /// Significant bits of its samples, where they have 16: those of 8 stand for all that there are.
    bits: Option<u8>,
}

/// Within what a value has to lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub property: Property,
    pub low: f64,
    pub high: f64,
}

/// What good images look like, and by which others are turned away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InputCheck {
    /// How many good images were looked at.
    pub images: usize,
    /// The share of good images, those to come included, that are turned away, is at most this on average.
    pub false_alarm_rate: f64,
    pub bits: SignificantBits,
    pub bounds: Vec<Bounds>,
}

impl Appearance {
    /// Of an image that a net sees as `seen`: that square, or its canvas.
    pub(crate) fn of(seen: &Images, original: &Original) -> Appearance {
        let &Original { height, width, bits } = original;
        let Images { channels, ref pixels, width: columns, .. } = *seen;
        let grey: Vec<u8> = match channels {
            3 => pixels.as_chunks().0.iter().map(|&colour| luma(colour)).collect(),
            _ => pixels.clone(),
        };
        let n = grey.len().max(1) as f64;
        let mut counts = [0u64; 256];
        grey.iter().for_each(|&value| counts[usize::from(value)] += 1);
        let moment = |of: &dyn Fn(f64) -> f64| {
            counts.iter().zip(0u32..).map(|(&count, value)| count as f64 * of(f64::from(value))).sum::<f64>() / n
        };
        let brightness = moment(&|value| value);
        let contrast = moment(&|value| (value - brightness).powi(2)).sqrt();
        let share = |of: std::ops::RangeInclusive<u8>| {
            counts[usize::from(*of.start())..=usize::from(*of.end())].iter().sum::<u64>() as f64 / n
        };
        let apart = |a: u8, b: u8| u64::from(a.abs_diff(b));
        let rows = grey.chunks_exact(columns.max(1));
        let across: u64 = rows.clone().flat_map(|row| row.windows(2).map(|pair| apart(pair[0], pair[1]))).sum();
        let down: u64 = grey.iter().zip(grey.iter().skip(columns)).map(|(&a, &b)| apart(a, b)).sum();
        let colour = match channels {
            3 => {
                let range = |&[r, g, b]: &[u8; 3]| u64::from(r.max(g).max(b) - r.min(g).min(b));
                pixels.as_chunks().0.iter().map(range).sum::<u64>() as f64 / n
            }
            _ => 0.0,
        };
        let (width, height) = (width as f64, height as f64);
        let values = [
            width,
            height,
            width / height,
            brightness,
            contrast,
            (across + down) as f64 / (2.0 * n),
            share(0..=CLIPPED),
            share(255 - CLIPPED..=255),
            colour,
        ];
        Appearance { values, bits }
    }

    fn value(&self, property: Property) -> f64 {
        self.values[property as usize]
    }
}

impl Property {
    /// Differences that matter are ratios of some, and of others the same everywhere. Both ways a value becomes one whose distances count.
    fn scaled(self, value: f64) -> f64 {
        match self {
            Property::Width | Property::Height | Property::Aspect => value.ln(),
            Property::Contrast => (value + 2.0).ln(),
            Property::Sharpness => (value + 0.5).ln(),
            Property::Brightness | Property::Black | Property::White | Property::Colour => value,
        }
    }

    /// The value of a scaled one.
    fn unscaled(self, scaled: f64) -> f64 {
        match self {
            Property::Width | Property::Height | Property::Aspect => scaled.exp(),
            Property::Contrast => scaled.exp() - 2.0,
            Property::Sharpness => scaled.exp() - 0.5,
            Property::Brightness | Property::Black | Property::White | Property::Colour => scaled,
        }
    }

    /// The distance that is none, however alike the good images are: 5 % of a length, 2 % of a share, 5 grey values …
    fn least(self) -> f64 {
        match self {
            Property::Width | Property::Height | Property::Aspect => 0.05,
            Property::Contrast | Property::Sharpness => 0.15,
            Property::Brightness | Property::Colour => 5.0,
            Property::Black | Property::White => 0.02,
        }
    }

    /// What is wrong with an image whose value is too low, or too high.
    fn fault(self, too_low: bool) -> &'static str {
        match (self, too_low) {
            (Property::Width, true) => "too narrow",
            (Property::Width, false) => "too wide",
            (Property::Height, true) => "too low",
            (Property::Height, false) => "too tall",
            (Property::Aspect, true) => "of another shape, too tall for its width",
            (Property::Aspect, false) => "of another shape, too wide for its height",
            (Property::Brightness, true) => "too dark",
            (Property::Brightness, false) => "too bright",
            (Property::Contrast, true) => "of too little contrast",
            (Property::Contrast, false) => "of too much contrast",
            (Property::Sharpness, true) => "blurred",
            (Property::Sharpness, false) => "noisy, or too sharp",
            (Property::Black, _) => "black in parts",
            (Property::White, _) => "white in parts",
            (Property::Colour, true) => "of too little colour",
            (Property::Colour, false) => "too colourful",
        }
    }

    /// A value with what it is, for people.
    fn shown(self, value: f64) -> String {
        match self {
            Property::Width | Property::Height => format!("{value:.0} px"),
            Property::Aspect => format!("{value:.2}"),
            Property::Black | Property::White => format!("{:.0} %", 100.0 * value.clamp(0.0, 1.0)),
            Property::Brightness | Property::Contrast | Property::Sharpness | Property::Colour => {
                format!("{:.1}", value.max(0.0))
            }
        }
    }

    /// As tables call it.
    fn name(self) -> &'static str {
        match self {
            Property::Width => "width",
            Property::Height => "height",
            Property::Aspect => "width by height",
            Property::Brightness => "brightness",
            Property::Contrast => "contrast",
            Property::Sharpness => "sharpness",
            Property::Black => "black pixels",
            Property::White => "white pixels",
            Property::Colour => "colour",
        }
    }
}

impl Bounds {
    /// What they are, for people.
    pub(crate) fn in_words(&self) -> (&'static str, String) {
        let Bounds { property, low, high } = *self;
        (property.name(), format!("{} to {}", property.shown(low), property.shown(high)))
    }

    /// By how many times the distance to the middle a value lies beyond; 1 or less within.
    fn beyond(&self, value: f64) -> f64 {
        let Bounds { property, low, high } = *self;
        let [low, high, value] = [low, high, value].map(|value| property.scaled(value));
        (value - (low + high) / 2.0).abs() / ((high - low) / 2.0)
    }
}

impl InputCheck {
    /// What good images look like; None where they are too few. The first, third … of them say how far each property spreads around its median,
    /// the others how many such spreads all of them stay within: one more image goes beyond with a probability of at most 1 / (n + 1), n the
    /// number of the others (a split conformal bound), and the bounds are wider than that.
    pub(crate) fn learn(images: &[Appearance]) -> Option<InputCheck> {
        if images.len() < FEWEST {
            return None;
        }
        let half = |first: usize| images.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
        let (fitted, others) = (half(0), half(1));
        let spreads: Vec<(Property, f64, f64)> = Property::VARIANTS
            .iter()
            .map(|&property| {
                let mut values: Vec<f64> = fitted.iter().map(|image| property.scaled(image.value(property))).collect();
                let median = middle(&mut values);
                let mut apart: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
                (property, median, middle(&mut apart).max(property.least()))
            })
            .collect();
        let most = |image: &Appearance| {
            let apart = |&(property, median, spread): &(Property, f64, f64)| {
                (property.scaled(image.value(property)) - median).abs() / spread
            };
            spreads.iter().map(apart).fold(1.0, f64::max)
        };
        let reach = MARGIN * others.iter().map(most).fold(1.0, f64::max);
        let bounds = spreads.iter().map(|&(property, median, spread)| Bounds {
            property,
            low: property.unscaled(median - reach * spread),
            high: property.unscaled(median + reach * spread),
        });
        let false_alarm_rate = 1.0 / (others.len() + 1) as f64;
        let bits = || images.iter().filter_map(|image| image.bits);
        let bits = SignificantBits { fewest: bits().min().unwrap_or(16), most: bits().max().unwrap_or(16) };
        Some(InputCheck { images: images.len(), false_alarm_rate, bits, bounds: bounds.collect() })
    }

    /// Why an image cannot be judged, the worst first; nothing where it can. Bits come first: where they differ, so does all that is seen.
    pub(crate) fn reasons(&self, image: &Appearance) -> Vec<String> {
        let mut beyond: Vec<(f64, String)> = self
            .bounds
            .iter()
            .filter_map(|bounds| {
                let value = image.value(bounds.property);
                let (name, within) = bounds.in_words();
                let fault = bounds.property.fault(value < bounds.low);
                let by = bounds.beyond(value);
                let text = || format!("{fault}: {name} {}, good images have {within}", bounds.property.shown(value));
                (by > 1.0).then(|| (by, text()))
            })
            .collect();
        beyond.sort_by(|a, b| b.0.total_cmp(&a.0));
        image
            .bits
            .and_then(|bits| self.bits.fault(bits))
            .into_iter()
            .chain(beyond.into_iter().map(|(_, reason)| reason))
            .collect()
    }

    /// Fails unless images can be checked by it: for values that come from a file.
    pub(crate) fn check(&self) -> Result<()> {
        let InputCheck { images, false_alarm_rate, bits, bounds } = self;
        let are_bounds = |bounds: &Bounds| {
            let [low, high] = [bounds.low, bounds.high].map(|end| bounds.property.scaled(end));
            low.is_finite() && high.is_finite() && low < high
        };
        if *images >= FEWEST
            && *false_alarm_rate > 0.0
            && *false_alarm_rate < 1.0
            && bits.fewest <= bits.most
            && bits.most <= 16
            && bounds.iter().all(are_bounds)
        {
            return Ok(());
        }
        Err(Error::setting(
            "what images may look like is told by no bounds, or by too few images",
            "the file was changed",
        ))
    }
}

/// The median of some values, which are put into order.
fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// Grey images of a gradient, some noise, and brightness that differs from one to the next.
    fn part(number: u32) -> Images {
        let stream = Stream::new(5, Purpose::Check, 0, number);
        let lamp = (stream.bits(0) % 21) as i32 - 10;
        let pixel = |i: usize| {
            let noise = (stream.bits(i as u32 + 1) % 13) as i32;
            (80 + lamp + noise + (i % 32) as i32 * 3) as u8
        };
        Images { count: 1, height: 32, width: 32, channels: 1, pixels: (0..1024).map(pixel).collect() }
    }

    fn original((height, width): (usize, usize)) -> Original {
        Original { height, width, bits: None }
    }

    fn learned(n: u32) -> InputCheck {
        let images: Vec<Appearance> = (0..n).map(|i| Appearance::of(&part(i), &original((480, 640)))).collect();
        InputCheck::learn(&images).unwrap()
    }

    fn why(check: &InputCheck, image: &Images, size: (usize, usize)) -> Vec<String> {
        check.reasons(&Appearance::of(image, &original(size)))
    }

    #[test]
    fn frames_that_show_nothing_are_turned_away_with_their_reason() {
        let check = learned(40);
        check.check().unwrap();
        let of = |pixel: &dyn Fn(usize) -> u8| Images { pixels: (0..1024).map(pixel).collect(), ..part(0) };
        let noise = Stream::new(9, Purpose::Check, 0, 0);
        let one = part(77);
        // The mean of 5 × 5 neighbours.
        let blurred = |i: usize| {
            let near = |at: usize, d: usize| (at + d).saturating_sub(2).min(31);
            let pixel = |d: usize| one.pixels[32 * near(i / 32, d / 5) + near(i % 32, d % 5)];
            let sum: u32 = (0..25).map(|d| u32::from(pixel(d))).sum();
            (sum / 25) as u8
        };
        for (image, words) in [
            (of(&|_| 0), "black in parts"),
            (of(&|_| 255), "white in parts"),
            (of(&|i| noise.bits(i as u32) as u8), "noisy, or too sharp"),
            (of(&blurred), "blurred"),
            (of(&|i| if i < 512 { 0 } else { one.pixels[i] }), "black in parts"),
            (of(&|i| one.pixels[i] / 16), "too dark"),
        ] {
            let reasons = why(&check, &image, (480, 640));
            assert!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {reasons:?}");
        }
        assert_eq!(why(&check, &one, (480, 640)), Vec::<String>::new());
        for (size, words) in [((240, 320), "too narrow"), ((960, 1280), "too wide"), ((480, 480), "of another shape")] {
            let reasons = why(&check, &one, size);
            assert!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {reasons:?}");
        }
        assert!(why(&check, &one, (240, 320))[0].contains("good images have"));
    }

    #[test]
    fn samples_of_other_depths_are_turned_away() {
        let of = |bits: Option<u8>| Appearance::of(&part(3), &Original { bits, ..original((480, 640)) });
        let eight = learned(40);
        assert_eq!(eight.bits, SignificantBits { fewest: 16, most: 16 });
        let reasons = eight.reasons(&of(Some(12)));
        assert_eq!(reasons, ["of fewer bits: 12 of 16 are significant, of good images 16"]);
        for bits in [None, Some(16), Some(15), Some(3)] {
            assert!(eight.reasons(&of(bits)).is_empty(), "{bits:?}");
        }
        let twelve = InputCheck { bits: SignificantBits { fewest: 11, most: 12 }, ..learned(40) };
        assert!(twelve.reasons(&of(Some(16)))[0].starts_with("of more bits: 16 of 16"));
        assert!(twelve.reasons(&of(Some(9)))[0].contains("of good images 11 to 12"));
        assert!(
            [None, Some(10), Some(11), Some(12), Some(13)].iter().all(|&bits| twelve.reasons(&of(bits)).is_empty())
        );
    }

    #[test]
    fn colour_is_looked_at_where_there_is_some() {
        let rgb = |image: Images, tint: u8| Images {
            channels: 3,
            pixels: image.pixels.iter().flat_map(|&grey| [grey + tint, grey, grey]).collect(),
            ..image
        };
        let images: Vec<Appearance> = (0..30).map(|i| Appearance::of(&rgb(part(i), 10), &original((32, 32)))).collect();
        let check = InputCheck::learn(&images).unwrap();
        assert!(check.reasons(&Appearance::of(&rgb(part(50), 10), &original((32, 32)))).is_empty());
        let reasons = check.reasons(&Appearance::of(&rgb(part(50), 60), &original((32, 32))));
        assert!(reasons.iter().any(|reason| reason.contains("too colourful")), "{reasons:?}");
    }

    /// Good images that were not looked at are turned away no more often than is said.
    #[test]
    fn the_false_alarm_rate_is_kept() {
        let alarms: usize = (0..10)
            .map(|round| {
                let images: Vec<Appearance> =
                    (0..40).map(|i| Appearance::of(&part(1000 * round + i), &original((32, 32)))).collect();
                let check = InputCheck::learn(&images).unwrap();
                assert_eq!(check.false_alarm_rate, 1.0 / 21.0);
                (40..240).filter(|i| !why(&check, &part(1000 * round + i), (32, 32)).is_empty()).count()
            })
            .sum();
        assert!(alarms <= 2000 / 21, "{alarms} of 2000");
    }

    #[test]
    fn few_images_say_nothing_and_changed_bounds_are_refused() {
        let images: Vec<Appearance> =
            (0..FEWEST as u32 - 1).map(|i| Appearance::of(&part(i), &original((32, 32)))).collect();
        assert_eq!(InputCheck::learn(&images), None);
        let mut check = learned(20);
        check.bounds[3].low = f64::NAN;
        assert!(check.check().is_err());
    }
}
