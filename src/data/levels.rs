//! Which samples of 16 bits are black and which white. Cameras write 10 or 12 bits into files of 16, and X-rays of a part may differ by a
//! few hundred levels of 65,536: nets see 256 levels, which are laid over what the good images use.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Of an image's samples this share, at either end, says nothing of what it uses: pixels that are stuck or dead.
const STRAY: f64 = 0.001;

/// What samples of 16 bits look like, as 8: linear from black to white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Significant bits of a sample: the largest is 2^bits − 1, which 255 in a file of 8 bits stands for.
    bits: u8,
    /// What becomes 0, as does what is less.
    black: u16,
    /// What becomes 255, as does what is more.
    white: u16,
}

impl Default for Levels {
    fn default() -> Levels {
        Levels::ALL
    }
}

impl Levels {
    /// All samples of 16 bits.
    pub const ALL: Levels = Levels { bits: 16, black: 0, white: u16::MAX };

    /// All samples of so many bits.
    fn whole(bits: u8) -> Levels {
        Levels { bits, black: 0, white: largest(bits) }
    }

    /// Levels for all of these. Where they use less than a quarter of their range, it is narrowed to what they use and half of that on either
    /// side: defects may be darker or brighter.
    pub(crate) fn over(used: impl Iterator<Item = SamplesUsed>) -> Levels {
        let wider = |a: SamplesUsed, b: SamplesUsed| SamplesUsed {
            bits: a.bits.max(b.bits),
            low: a.low.min(b.low),
            high: a.high.max(b.high),
        };
        let Some(SamplesUsed { bits, low, high }) = used.reduce(wider) else { return Levels::ALL };
        let whole = Levels::whole(bits);
        let around = (high - low) / 2;
        let (black, white) = (low.saturating_sub(around), high.saturating_add(around).min(whole.white));
        let is_narrow = black < white && white - black <= whole.white / 2;
        if is_narrow { Levels { bits, black, white } } else { whole }
    }

    /// A sample of 16 bits as one of 8.
    pub(crate) fn byte(self, sample: u16) -> u8 {
        let range = u32::from(self.white - self.black);
        let above = u32::from(sample.saturating_sub(self.black)).min(range);
        ((above * 255 + range / 2) / range) as u8
    }

    /// What a sample of a file of 8 bits becomes: it stands for one among all of 16.
    pub(crate) fn byte_of_byte(self, byte: u8) -> u8 {
        let largest = u32::from(largest(self.bits));
        self.byte(((u32::from(byte) * largest + 127) / 255) as u16)
    }

    /// Whether samples of 8 bits stay as they are.
    pub(crate) fn keeps_bytes(self) -> bool {
        self == Levels::whole(self.bits)
    }

    /// What there is to say of them; nothing where they are all of 16 bits.
    pub(crate) fn in_words(self) -> Option<String> {
        let Levels { bits, black, white } = self;
        let narrow = if self.keeps_bytes() { "" } else { ", of which good images use a part" };
        (self != Levels::ALL).then(|| format!("{bits} significant bits{narrow}: {black} is black, {white} white"))
    }

    /// Fails unless they are some: for values that come from a file.
    pub(crate) fn check(self) -> Result<()> {
        let Levels { bits, black, white } = self;
        if (8..=16).contains(&bits) && black < white && white <= largest(bits) {
            return Ok(());
        }
        let problem = format!("`levels` of {bits} bits from {black} to {white} are none");
        Err(Error::setting(problem, "the file was changed; give the model as it was written"))
    }
}

/// The samples of an image of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SamplesUsed {
    /// How many of their bits are significant.
    bits: u8,
    /// From the darkest to the brightest, but for stray ones.
    low: u16,
    high: u16,
}

impl SamplesUsed {
    /// Of an image that has so many samples of each value, and whose file tells how many bits its samples had, or does not.
    pub(crate) fn of(counts: &[u32], told: Option<u8>) -> SamplesUsed {
        let all: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let stray = (all as f64 * STRAY) as u64;
        let mut passed = [0; 2];
        let mut passes = |end: usize, value: usize| {
            passed[end] += u64::from(counts[value]);
            passed[end] > stray
        };
        let low = (0..counts.len()).find(|&value| passes(0, value)).unwrap_or_default() as u16;
        let high = (0..counts.len()).rfind(|&value| passes(1, value)).unwrap_or_default() as u16;
        let highest = counts.iter().rposition(|&count| count > 0).unwrap_or_default() as u16;
        SamplesUsed { bits: significant_bits(highest, told).max(8), low, high }
    }
}

/// Significant bits of an image's samples, of which this is the largest. A file may tell how many they had; where they fill the upper bits
/// instead of the lower ones, all 16 are significant here.
pub(crate) fn significant_bits(highest: u16, told: Option<u8>) -> u8 {
    let found = (u16::BITS - highest.leading_zeros()) as u8;
    told.filter(|bits| (found..=16).contains(bits)).unwrap_or(found)
}

/// The largest sample of so many bits.
fn largest(bits: u8) -> u16 {
    u16::MAX >> (16 - bits.clamp(1, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(bits: u8, low: u16, high: u16) -> SamplesUsed {
        SamplesUsed { bits, low, high }
    }

    fn over(used: &[SamplesUsed]) -> Levels {
        Levels::over(used.iter().copied())
    }

    #[test]
    fn all_of_sixteen_bits_is_the_upper_byte_rounded() {
        for sample in 0..=u16::MAX {
            assert_eq!(u32::from(Levels::ALL.byte(sample)), (u32::from(sample) + 128) / 257);
        }
        assert_eq!(over(&[]), Levels::ALL);
        assert_eq!(over(&[used(16, 0, 60_000)]), Levels::ALL);
        assert_eq!(Levels::ALL.in_words(), None);
    }

    #[test]
    fn twelve_bits_fill_the_range() {
        let levels = over(&[used(11, 30, 2000), used(12, 100, 4000)]);
        assert_eq!(levels, Levels { bits: 12, black: 0, white: 4095 });
        assert_eq!([0, 2048, 4095, 60_000].map(|sample| levels.byte(sample)), [0, 128, 255, 255]);
        assert!((0..=255).all(|byte| levels.byte_of_byte(byte) == byte));
        assert_eq!(levels.in_words().unwrap(), "12 significant bits: 0 is black, 4095 white");
    }

    /// An X-ray whose good images differ by 1000 of 65,536 levels.
    #[test]
    fn a_narrow_range_is_spread() {
        let levels = over(&[used(16, 30_000, 30_900), used(16, 30_100, 31_000)]);
        assert_eq!(levels, Levels { bits: 16, black: 29_500, white: 31_500 });
        let distinct: std::collections::BTreeSet<u8> = (30_000..=31_000).map(|sample| levels.byte(sample)).collect();
        assert!(distinct.len() >= 127, "{}", distinct.len());
        assert_eq!([0, 29_500, 31_500, u16::MAX].map(|sample| levels.byte(sample)), [0, 0, 255, 255]);
        assert_eq!([0, 118, 255].map(|byte| levels.byte_of_byte(byte)), [0, 105, 255]);
        // One grey value for all of an image says nothing of how much others differ.
        assert_eq!(over(&[used(16, 30_000, 30_000)]), Levels::ALL);
    }

    #[test]
    fn stray_samples_do_not_count_but_for_their_bits() {
        let mut counts = vec![0; 1 << 16];
        (1000..2000).for_each(|value| counts[value] = 10);
        (counts[0], counts[4095]) = (5, 5);
        assert_eq!(SamplesUsed::of(&counts, None), used(12, 1000, 1999));
        assert_eq!(SamplesUsed::of(&[0; 1 << 16], None), used(8, 0, 0));
    }

    #[test]
    fn what_a_file_tells_of_its_bits_counts_where_it_can_be() {
        assert_eq!(significant_bits(2000, Some(12)), 12);
        assert_eq!(significant_bits(65_000, Some(12)), 16);
        assert_eq!([0, 1, 255, 4080, 4096].map(|highest| significant_bits(highest, None)), [0, 1, 8, 12, 13]);
    }

    #[test]
    fn changed_levels_are_refused() {
        Levels::ALL.check().unwrap();
        for (bits, black, white) in [(12, 0, 4096), (12, 5, 5), (17, 0, 255), (7, 0, 100)] {
            assert!(Levels { bits, black, white }.check().is_err(), "{bits} {black} {white}");
        }
    }
}
