//! Colour jitter on bytes as torchvision's `ColorJitter` does it through Pillow, bit for bit.

use serde::{Deserialize, Serialize};

use crate::data::images::luma;
use crate::rng::Draws;

/// How far a jitter goes. Brightness, contrast and saturation are multiplied by factors from 1 ± the amount, and never less
/// than 0; the hue is turned by up to the amount of a full turn either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// Largest change of brightness, as a share.
    pub brightness: f32,
    /// Largest change of contrast, as a share.
    pub contrast: f32,
    /// Largest change of saturation, as a share. Nothing to a grey image.
    #[serde(default)]
    pub saturation: f32,
    /// Largest turn of the hue, up to ½. Nothing to a grey image.
    #[serde(default)]
    pub hue: f32,
}

/// One change of all pixels.
#[derive(Clone, Copy)]
enum Change {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

impl Amounts {
    /// The same amount of everything.
    pub fn all(amount: f32) -> Amounts {
        Amounts { brightness: amount, contrast: amount, saturation: amount, hue: amount }
    }

    /// Whether the channels of a pixel are mixed.
    pub(crate) fn mixes(&self) -> bool {
        self.saturation > 0.0 || self.hue > 0.0
    }

    /// Numbers drawn: the order, the factors of brightness and contrast and, where channels are mixed, those of saturation and hue.
    pub(crate) fn draws(&self) -> u32 {
        if self.mixes() { 5 } else { 3 }
    }

    /// Whether the amounts mean something.
    pub(crate) fn are_valid(&self) -> bool {
        let shares = [self.brightness, self.contrast, self.saturation];
        shares.iter().all(|share| share.is_finite() && *share >= 0.0) && (0.0..=0.5).contains(&self.hue)
    }
}

/// Changes an image of 1 or 3 channels in place by random factors within `amounts`, in random order.
pub fn jitter(image: &mut [u8], channels: usize, amounts: &Amounts, draws: &mut Draws) {
    let order = order(draws.below(24) as usize);
    let mut factor = |amount: f32| draws.range((1.0 - amount).max(0.0), 1.0 + amount);
    let (bright, steep) = (factor(amounts.brightness), factor(amounts.contrast));
    let (vivid, turn) =
        if amounts.mixes() { (factor(amounts.saturation), draws.range(-amounts.hue, amounts.hue)) } else { (1.0, 0.0) };
    for change in order {
        match change {
            Change::Brightness => blend(image, 0, bright),
            Change::Contrast => blend(image, mean_luma(image, channels), steep),
            Change::Saturation if channels == 3 && amounts.saturation > 0.0 => saturate(image, vivid),
            Change::Hue if channels == 3 && amounts.hue > 0.0 => turn_hue(image, turn),
            Change::Saturation | Change::Hue => {}
        }
    }
}

/// One of the 24 orders. Which of brightness and contrast comes first is the highest bit of a random number, whether colours
/// change or not.
fn order(index: usize) -> Vec<Change> {
    let mut order = if index >= 12 {
        vec![Change::Brightness, Change::Contrast]
    } else {
        vec![Change::Contrast, Change::Brightness]
    };
    order.insert(index % 12 / 4, Change::Saturation);
    order.insert(index % 4, Change::Hue);
    order
}

/// `base + factor · (value − base)`, truncated to a byte: Pillow's `Image.blend` of two values.
fn blended(base: u8, value: u8, factor: f32) -> u8 {
    let (base, value) = (f32::from(base), f32::from(value));
    (base + factor * (value - base)).clamp(0.0, 255.0) as u8
}

/// Blends a constant image with this one.
fn blend(image: &mut [u8], base: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|v| blended(base, v as u8, factor));
    for value in image {
        *value = table[usize::from(*value)];
    }
}

/// Blends the grey image with this one.
fn saturate(image: &mut [u8], factor: f32) {
    for pixel in image.as_chunks_mut().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|value| blended(grey, value, factor));
    }
}

/// Turns the hue, of 255 steps, by the whole steps of a share of a full turn. Even no step loses some of the colours, which
/// become hue, saturation and value of 8 bits.
fn turn_hue(image: &mut [u8], turn: f32) {
    let steps = (turn * 255.0) as i32 as u8;
    for pixel in image.as_chunks_mut().0 {
        let [hue, saturation, value] = hsv(*pixel);
        *pixel = rgb([hue.wrapping_add(steps), saturation, value]);
    }
}

/// Hue, saturation and value of a colour, in Pillow's arithmetic: quotients in f32, sums in f64.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [red, green, blue] = [r, g, b].map(|v| f64::from(f32::from(most - v) / range));
    let sixths = if r == most {
        blue - green
    } else if g == most {
        2.0 + red - blue
    } else {
        4.0 + green - red
    };
    let turn = (f64::from(sixths as f32) / 6.0 + 1.0) % 1.0;
    let bytes = |share: f32| (f64::from(share) * 255.0) as u8;
    [bytes(turn as f32), bytes(range / f32::from(most)), most]
}

/// The colour of hue, saturation and value: Pillow's, whose rounding is that of exact quotients.
fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    const ONE: u32 = 255 * 255;
    let (sixth, rest) = (u32::from(hue) * 6 / 255, u32::from(hue) * 6 % 255);
    // value · (1 − saturation · share / 255), rounded half up.
    let dimmed = |share: u32| {
        let kept = ONE - u32::from(saturation) * share;
        ((2 * u32::from(value) * kept + ONE) / (2 * ONE)) as u8
    };
    let (low, falling, rising) = (dimmed(255), dimmed(rest), dimmed(255 - rest));
    match sixth % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Mean brightness, rounded half up.
fn mean_luma(image: &[u8], channels: usize) -> u8 {
    let sum: u64 = match channels {
        3 => image.as_chunks().0.iter().map(|&pixel| u64::from(luma(pixel))).sum(),
        _ => image.iter().map(|&v| u64::from(v)).sum(),
    };
    let n = (image.len() / channels) as u64;
    ((2 * sum + n) / (2 * n)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    #[test]
    fn blends_as_pillow() {
        // Values of Pillow 12: ImageEnhance.Brightness(image).enhance(1.05), Contrast(image).enhance(0.5) and 1.3.
        let blended = |base, factor| {
            let mut image = [0, 10, 100, 255];
            blend(&mut image, base, factor);
            image
        };
        assert_eq!(blended(0, 1.05), [0, 10, 104, 255]);
        assert_eq!(blended(91, 0.5), [45, 50, 95, 173]);
        assert_eq!(blended(91, 1.3), [0, 0, 102, 255]);
        assert_eq!(mean_luma(&[0, 10, 100, 255], 1), 91);
        assert_eq!(mean_luma(&[255, 0, 0, 0, 0, 255], 3), 53); // (76 + 29) / 2 = 52.5
    }

    /// Every colour there is, hashed (FNV-1a) after Pillow 13's convert("HSV") and, taken as hue, saturation and value, after
    /// convert("RGB").
    #[test]
    fn hue_is_pillows() {
        let hash = |convert: fn([u8; 3]) -> [u8; 3]| {
            (0..1u32 << 24).fold(0xcbf2_9ce4_8422_2325u64, |hash, colour| {
                let [_, r, g, b] = colour.to_be_bytes();
                let [x, y, z] = convert([r, g, b]).map(u64::from);
                (hash ^ (x << 16 | y << 8 | z)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        assert_eq!(hash(hsv), 0xf252_9311_c4a0_c5a5);
        assert_eq!(hash(rgb), 0x6b2a_2e56_5d84_f923);
    }

    /// Values of Pillow 13: ImageEnhance.Color(image).enhance(1.3), and the hue turned as torchvision's adjust_hue does.
    #[test]
    fn colours_change_as_in_pillow() {
        const COLOURS: [u8; 12] = [200, 30, 90, 10, 10, 250, 7, 99, 98, 128, 128, 128];
        let changed = |change: fn(&mut [u8])| {
            let mut image = COLOURS;
            change(&mut image);
            image
        };
        assert_eq!(changed(|image| saturate(image, 1.3)), [233, 12, 90, 1, 1, 255, 0, 107, 106, 128, 128, 128]);
        assert_eq!(changed(|image| turn_hue(image, 0.1)), [200, 66, 31, 151, 11, 250, 7, 46, 99, 128, 128, 128]);
        assert_eq!(changed(|image| turn_hue(image, -0.1)), [200, 31, 190, 11, 151, 250, 7, 99, 44, 128, 128, 128]);
        assert_eq!(changed(|image| turn_hue(image, 0.001)), [200, 31, 90, 11, 11, 250, 7, 99, 98, 128, 128, 128]);
    }

    #[test]
    fn no_amount_changes_nothing_and_amounts_bound_the_change() {
        let image: Vec<u8> = (0..=255).collect();
        for sample in 0..50 {
            let mut draws = Stream::new(4, Purpose::Augment, 0, sample).draws();
            let mut same = image.clone();
            jitter(&mut same, 1, &Amounts::default(), &mut draws);
            assert_eq!(same, image);
            let mut changed = image.clone();
            jitter(&mut changed, 1, &Amounts::all(0.1), &mut draws);
            assert_ne!(changed, image);
            assert!(changed.iter().zip(&image).all(|(&a, &b)| a.abs_diff(b) <= 42), "{changed:?}");
        }
    }

    #[test]
    fn orders_are_as_many_as_there_are_and_grey_stays_grey() {
        let orders: std::collections::BTreeSet<_> =
            (0..24).map(|i| order(i).iter().map(|&change| change as u8).collect::<Vec<_>>()).collect();
        assert_eq!(orders.len(), 24);
        let mut grey: Vec<u8> = (0..60).flat_map(|i| [4 * i; 3]).collect();
        jitter(&mut grey, 3, &Amounts::all(0.5), &mut Stream::new(4, Purpose::Augment, 0, 1).draws());
        assert!(grey.chunks(3).all(|p| p[0] == p[1] && p[0] == p[2]));
    }
}
