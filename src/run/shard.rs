//! Equal parts of work that several processes share.

use std::str::FromStr;

use crate::error::{Error, Result};

/// One of equal parts, as `I/N` with I from 1 to N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Every n-th of all, so that each part has some of every kind that lies together.
    pub(crate) fn of<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.number - 1).step_by(self.of).collect()
    }

    /// The name of a folder for the results of this part.
    pub(crate) fn folder(self) -> String {
        format!("{}-of-{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shard> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err(Error::setting(
                format!("'{text}' is not I/N with I from 1 to N"),
                "give 1/4 for the first of four parts",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_of_it_once() {
        let part = |text: &str| text.parse::<Shard>().map(|shard| shard.of((0..10).collect::<Vec<_>>()));
        assert_eq!(part("1/3").unwrap(), [0, 3, 6, 9]);
        assert_eq!(part("3/3").unwrap(), [2, 5, 8]);
        assert!(part("12/12").unwrap().is_empty());
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
