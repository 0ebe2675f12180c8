//! Noise modes that combine: each artificial anomaly is of one of them, drawn by their shares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::anomaly::{MadeOf, NoiseMode};
use crate::device::cuda::kernels::Lots;
use crate::error::{Error, Result};
use crate::named::Named;
use crate::rng::scaled;

/// The largest share of a mode.
const MOST: u32 = 1000;

/// One noise mode or several, each with its share of the artificial anomalies: `fine-confetti`, or `fine-confetti,cutpaste:3`, of which
/// one anomaly in four is fine confetti.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoiseMix {
    /// At least one; each once.
    modes: Vec<(NoiseMode, u32)>,
}

impl NoiseMix {
    /// Modes with their shares, whole numbers from 1 to 1000.
    ///
    /// # Errors
    /// No mode, one that is named twice, another share, and outliers beside other modes.
    pub fn new(modes: &[(NoiseMode, u32)]) -> Result<NoiseMix> {
        for (i, (mode, share)) in modes.iter().enumerate() {
            if !(1..=MOST).contains(share) {
                return Err(no_share(&share.to_string()));
            }
            if modes[..i].iter().any(|(other, _)| other == mode) {
                let problem = format!("the noise mode {} is named twice", mode.word());
                return Err(Error::setting(problem, "name it once, with its share after a colon, such as cutpaste:3"));
            }
        }
        match modes {
            [] => Err(Error::setting("no noise mode is named", "name one, such as fine-confetti")),
            [(only, _)] => Ok(NoiseMix::from(*only)),
            _ if modes.iter().any(|(mode, _)| mode.made_of() == MadeOf::Outliers) => {
                let problem = "outliers do not combine with other noise modes";
                Err(Error::setting(problem, "name outliers alone, or leave them out"))
            }
            _ => Ok(NoiseMix { modes: modes.to_vec() }),
        }
    }

    /// These modes, which have to differ, each as often as the others.
    pub(crate) fn in_equal_shares<const N: usize>(modes: [NoiseMode; N]) -> NoiseMix {
        NoiseMix { modes: modes.map(|mode| (mode, 1)).to_vec() }
    }

    /// The modes and their shares, as they were named.
    pub fn modes(&self) -> &[(NoiseMode, u32)] {
        &self.modes
    }

    /// What chooses labelled anomalies, where these are so many per cent of all.
    pub(crate) fn labelled_lots(&self, labelled: u32) -> Lots {
        Lots { from: 0, until: labelled * self.of(), of: 100 * self.of() }
    }

    /// What chooses the mode of a number for the others.
    pub(crate) fn lots(&self, number: usize, labelled: u32) -> Lots {
        let Lots { until: first, of, .. } = self.labelled_lots(labelled);
        let before: u32 = self.modes[..number].iter().map(|(_, share)| share).sum();
        let at = |shares| first + (100 - labelled) * shares;
        Lots { from: at(before), until: at(before + self.modes[number].1), of }
    }

    /// The sum of the shares.
    fn of(&self) -> u32 {
        self.modes.iter().map(|(_, share)| share).sum()
    }
}

impl Lots {
    /// None of the anomalies.
    pub(crate) const NONE: Lots = Lots { from: 0, until: 0, of: 1 };

    /// All of them.
    pub(crate) const ALL: Lots = Lots { from: 0, until: 1, of: 1 };

    /// Whether 32 random bits draw one of these lots.
    pub(crate) fn has(self, bits: u32) -> bool {
        (self.from..self.until).contains(&(scaled(bits, self.of as usize) as u32))
    }
}

impl From<NoiseMode> for NoiseMix {
    fn from(mode: NoiseMode) -> NoiseMix {
        NoiseMix { modes: vec![(mode, 1)] }
    }
}

/// Whether that is the only mode.
impl PartialEq<NoiseMode> for NoiseMix {
    fn eq(&self, mode: &NoiseMode) -> bool {
        self.modes.iter().all(|(one, _)| one == mode)
    }
}

impl FromStr for NoiseMix {
    type Err = Error;

    fn from_str(text: &str) -> Result<NoiseMix> {
        let mode = |text: &str| {
            let (word, share) = text.split_once(':').unwrap_or((text, "1"));
            let Some(mode) = NoiseMode::parse(word) else {
                let all: Vec<_> = NoiseMode::all().into_iter().map(Named::word).collect();
                let remedy = format!("choose one or several of {}, such as fine-confetti,cutpaste:3", all.join(", "));
                return Err(Error::setting(format!("there is no noise mode '{word}'"), remedy));
            };
            Ok((mode, share.parse().map_err(|_| no_share(share))?))
        };
        NoiseMix::new(&text.split(',').map(mode).collect::<Result<Vec<_>>>()?)
    }
}

/// As it is read.
impl fmt::Display for NoiseMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alike = self.modes.iter().all(|(_, share)| *share == 1);
        for (i, (mode, share)) in self.modes.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}", mode.word())?;
            if !alike {
                write!(f, ":{share}")?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for NoiseMix {
    type Error = Error;

    fn try_from(text: String) -> Result<NoiseMix> {
        text.parse()
    }
}

impl From<NoiseMix> for String {
    fn from(mix: NoiseMix) -> String {
        mix.to_string()
    }
}

fn no_share(text: &str) -> Error {
    let remedy = format!("write a whole number from 1 to {MOST} after the colon, such as cutpaste:3");
    Error::setting(format!("'{text}' is no share of a noise mode"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use NoiseMode::*;

    #[test]
    fn mixes_are_written_as_they_are_read() {
        for (text, modes, written) in [
            ("fine-confetti", vec![(FineConfetti, 1)], "fine-confetti"),
            ("mixed_blob:7", vec![(MixedBlob, 1)], "mixed-blob"),
            ("outliers", vec![(Outliers, 1)], "outliers"),
            ("fine-confetti,cutpaste", vec![(FineConfetti, 1), (CutPaste, 1)], "fine-confetti,cutpaste"),
            ("cutpaste:3,blob", vec![(CutPaste, 3), (Blob, 1)], "cutpaste:3,blob:1"),
            ("blob:1000,solid:1", vec![(Blob, 1000), (Solid, 1)], "blob:1000,solid:1"),
        ] {
            let mix: NoiseMix = text.parse().unwrap();
            assert_eq!((mix.modes(), mix.to_string().as_str()), (modes.as_slice(), written));
            let json = serde_json::to_string(&mix).unwrap();
            assert_eq!(json, format!("{written:?}"));
            assert_eq!(serde_json::from_str::<NoiseMix>(&json).unwrap(), mix);
        }
        let blob = NoiseMix::from(Blob);
        assert!(blob == Blob && blob != Solid);
        assert!("blob,solid".parse::<NoiseMix>().unwrap() != Blob);
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for (text, words) in [
            ("", "no noise mode ''"),
            ("confetty", "no noise mode 'confetty'"),
            ("blob,", "no noise mode ''"),
            ("blob,,solid", "no noise mode ''"),
            ("blob solid", "no noise mode 'blob solid'"),
            ("blob:0", "'0' is no share"),
            ("blob:1001", "'1001' is no share"),
            ("blob:0.5,solid", "'0.5' is no share"),
            ("blob:-1", "'-1' is no share"),
            ("blob:x", "'x' is no share"),
            ("blob:", "'' is no share"),
            ("blob:99999999999", "'99999999999' is no share"),
            ("blob,solid,blob:2", "blob is named twice"),
            ("blob,outliers", "outliers do not combine"),
        ] {
            let message = text.parse::<NoiseMix>().unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        assert!(NoiseMix::new(&[]).is_err());
        // Every other mode may stand beside every other.
        let all: Vec<_> =
            NoiseMode::all().into_iter().filter(|mode| *mode != Outliers).map(|mode| (mode, MOST)).collect();
        assert_eq!(NoiseMix::new(&all).unwrap().modes().len(), all.len());
    }

    #[test]
    fn shares_are_those_of_the_numbers() {
        let mix: NoiseMix = "blob:1,solid:3,uniform:4".parse().unwrap();
        let eighth = 1u32 << 29;
        for (bits, number) in
            [(0, 0), (eighth - 1, 0), (eighth, 1), (4 * eighth - 1, 1), (4 * eighth, 2), (u32::MAX, 2)]
        {
            let chosen: Vec<usize> = (0..3).filter(|&mode| mix.lots(mode, 0).has(bits)).collect();
            assert_eq!(chosen, [number], "{bits}");
            assert!(!mix.labelled_lots(0).has(bits));
        }
        // A quarter of labelled ones before them; all of them.
        for (bits, labelled, number) in
            [(0, true, None), (2 * eighth - 1, true, None), (2 * eighth, false, Some(0)), (u32::MAX, false, Some(2))]
        {
            assert_eq!(mix.labelled_lots(25).has(bits), labelled, "{bits}");
            assert_eq!((0..3).find(|&mode| mix.lots(mode, 25).has(bits)), number, "{bits}");
            assert!(mix.labelled_lots(100).has(bits) && (0..3).all(|mode| !mix.lots(mode, 100).has(bits)));
        }
        let only = NoiseMix::from(Blob);
        assert!([0, 1 << 31, u32::MAX].iter().all(|&bits| only.lots(0, 0).has(bits)));
    }
}
