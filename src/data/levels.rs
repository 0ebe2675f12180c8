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

    /// Levels for all of these images; None stands for one of 8 bits. Where all have 16 and use less than a quarter of their range, it is
    /// narrowed to what they use and half of that on either side: defects may be darker or brighter.
    pub(crate) fn over(used: &[Option<SamplesUsed>]) -> Levels {
        let wider = |a: SamplesUsed, b: SamplesUsed| SamplesUsed {
            bits: a.bits.max(b.bits),
            low: a.low.min(b.low),
            high: a.high.max(b.high),
        };
        let Some(SamplesUsed { bits, low, high }) = used.iter().copied().flatten().reduce(wider) else {
            return Levels::ALL;
        };
        let whole = Levels::whole(bits);
        let around = (high - low) / 2;
        let (black, white) = (low.saturating_sub(around), high.saturating_add(around).min(whole.white));
        let is_narrow = used.iter().all(Option::is_some) && black < white && white - black <= whole.white / 2;
        if is_narrow { Levels { bits, black, white } } else { whole }
    }

    /// How many bits of other images may be significant, where good images tell.
    pub(crate) fn significant(self) -> Option<SignificantBits> {
        (self != Levels::ALL).then_some(SignificantBits { fewest: self.bits, most: self.bits })
    }

    /// A sample of 16 bits as one of 8.
    pub(crate) fn byte(self, sample: u16) -> u8 {
        let range = u32::from(self.white - self.black);
        let above = u32::from(sample.saturating_sub(self.black)).min(range);
        ((above * 255 + range / 2) / range) as u8
    }

    /// What a sample becomes of a file that tells which one is white: of 8 bits, or scaled to 16.
    pub(crate) fn byte_of_scaled(self, sample: u16) -> u8 {
        let (sample, largest) = (u64::from(sample), u64::from(largest(self.bits)));
        self.byte(((sample * largest + 32_767) / 65_535) as u16)
    }

    /// The same of 8 bits.
    pub(crate) fn byte_of_byte(self, byte: u8) -> u8 {
        self.byte_of_scaled(u16::from(byte) * 257)
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

/// How many bits of the samples of good images are significant; 16 where none has samples of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignificantBits {
    pub fewest: u8,
    pub most: u8,
}

impl SignificantBits {
    /// What is wrong with an image of so many. Its brightest sample may have twice or half the value of all others that were seen. Where fewer
    /// than 9 are left of 16 it is all but black, and no camera's.
    pub(crate) fn fault(self, bits: u8) -> Option<String> {
        let SignificantBits { fewest, most } = self;
        let fault = if bits > most + 1 {
            "more bits"
        } else if bits + 1 < fewest && bits > 8 {
            "fewer bits"
        } else {
            return None;
        };
        Some(format!("of {fault}: {bits} of 16 are significant, of good images {}", self.in_words()))
    }

    /// How many there are, for people.
    pub(crate) fn in_words(self) -> String {
        let SignificantBits { fewest, most } = self;
        if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") }
    }
}

/// The samples of an image of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SamplesUsed {
    /// How many of their bits are significant, of a camera's: 8, 10, 12, 14 or 16.
    pub bits: u8,
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
        // A file may tell how many bits its samples had; where they fill the upper bits instead of the lower ones, that says nothing here.
        let found = bit_length(high);
        let bits = told.filter(|bits| (found..=16).contains(bits)).unwrap_or(found);
        SamplesUsed { bits: depth(bits), low, high }
    }
}

/// How many samples have how many bits, from 0 to 16.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitLengths([u64; 17]);

impl BitLengths {
    /// Counts samples.
    pub(crate) fn add<'a>(&mut self, samples: impl Iterator<Item = &'a u16>) {
        samples.for_each(|&sample| self.0[bit_length(sample) as usize] += 1);
    }

    /// How many bits are significant, but for stray samples.
    pub(crate) fn significant(&self) -> u8 {
        let stray = (self.0.iter().sum::<u64>() as f64 * STRAY) as u64;
        let mut beyond = 0;
        let is_more = |&bits: &usize| {
            beyond += self.0[bits];
            beyond > stray
        };
        (0..self.0.len()).rev().find(is_more).unwrap_or_default() as u8
    }
}

/// Bits up to the highest that is set.
fn bit_length(sample: u16) -> u8 {
    (u16::BITS - sample.leading_zeros()) as u8
}

/// The depth of a camera whose images have so many significant bits: 8, 10, 12, 14 or 16.
fn depth(bits: u8) -> u8 {
    bits.max(8).next_multiple_of(2)
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
        Levels::over(&used.iter().copied().map(Some).collect::<Vec<_>>())
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
    fn stray_samples_do_not_count() {
        let mut counts = vec![0; 1 << 16];
        (1000..2000).for_each(|value| counts[value] = 10);
        (counts[0], counts[60_000]) = (5, 5);
        assert_eq!(SamplesUsed::of(&counts, None), used(12, 1000, 1999));
        assert_eq!(SamplesUsed::of(&counts, Some(14)), used(14, 1000, 1999));
        assert_eq!(SamplesUsed::of(&counts, Some(8)), used(12, 1000, 1999));
        assert_eq!(SamplesUsed::of(&[0; 1 << 16], None), used(8, 0, 0));
        let mut lengths = BitLengths::default();
        lengths.add([4080; 2000].iter().chain(&[65_535; 2]));
        assert_eq!(lengths.significant(), 12);
        lengths.add([65_535; 2].iter());
        assert_eq!(lengths.significant(), 16);
        assert_eq!(BitLengths::default().significant(), 0);
    }

    #[test]
    fn with_files_of_eight_bits_the_range_stays_whole() {
        let narrow = Some(used(16, 30_000, 31_000));
        assert_ne!(Levels::over(&[narrow, narrow]), Levels::ALL);
        assert_eq!(Levels::over(&[narrow, None]), Levels::ALL);
        assert_eq!(Levels::over(&[None]), Levels::ALL);
    }

    #[test]
    fn changed_levels_are_refused() {
        Levels::ALL.check().unwrap();
        for (bits, black, white) in [(12, 0, 4096), (12, 5, 5), (17, 0, 255), (7, 0, 100)] {
            assert!(Levels { bits, black, white }.check().is_err(), "{bits} {black} {white}");
        }
    }
}
