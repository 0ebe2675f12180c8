//! What tells the images that a run learns from apart from others.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use flate2::Crc;
use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// How many images are normal, and a checksum of all that are learned from, and of what counts of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    #[serde(rename = "nominal")]
    pub normal: usize,
    pub checksum: Checksum,
    /// Of the mask of what counts of each image; None where all of it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<ImageId>,
}

/// Of raw images in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Checksum {
    /// CRC-32 of all their bytes, as version 0.1 kept it.
    Crc32(u32),
    /// XXH3-128 of the [XXH3-128](image_hash) of each, upper half first.
    Xxh3([u64; 2]),
}

/// A checksum in the making.
pub enum Sum {
    Crc32(Crc),
    Xxh3(Box<Xxh3>),
}

/// What tells an image, as a net gets it, from others: the upper half of its [hash](image_hash). As text: hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr)]
pub struct ImageId(u64);

impl From<u128> for ImageId {
    fn from(hash: u128) -> ImageId {
        ImageId((hash >> 64) as u64)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ImageId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<ImageId, ParseIntError> {
        u64::from_str_radix(text, 16).map(ImageId)
    }
}

/// XXH3-128 of a raw image.
pub(crate) fn image_hash(image: &[u8]) -> u128 {
    xxh3_128(image)
}

impl Sum {
    /// Of no images yet, of the kind of a checksum.
    pub fn like(checksum: Checksum) -> Sum {
        match checksum {
            Checksum::Crc32(_) => Sum::Crc32(Crc::new()),
            Checksum::Xxh3(_) => Sum::default(),
        }
    }

    /// Adds a raw image.
    pub fn add(&mut self, image: &[u8]) {
        match self {
            Sum::Crc32(sum) => sum.update(image),
            Sum::Xxh3(sum) => sum.update(&image_hash(image).to_le_bytes()),
        }
    }

    /// The checksum of what was added.
    pub fn checksum(&self) -> Checksum {
        match self {
            Sum::Crc32(sum) => Checksum::Crc32(sum.sum()),
            Sum::Xxh3(sum) => {
                let sum = sum.digest128();
                Checksum::Xxh3([(sum >> 64) as u64, sum as u64])
            }
        }
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum::Xxh3(Box::new(Xxh3::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Checksum, images: [&[u8]; 2]) -> Checksum {
        let mut sum = Sum::like(kind);
        images.iter().for_each(|image| sum.add(image));
        sum.checksum()
    }

    /// The sum of XXH3-128 of nothing is from the algorithm's specification; the CRC-32 is the known answer for "123456789".
    #[test]
    fn kinds_are_what_they_are_called() {
        assert_eq!(image_hash(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(of(Checksum::Crc32(0), [b"12345", b"6789"]), Checksum::Crc32(0xcbf4_3926));
        let new = Checksum::Xxh3([0; 2]);
        assert_ne!(of(new, [b"12345", b"6789"]), of(new, [b"1234", b"56789"]));
        assert_eq!(of(new, [b"a", b"b"]), of(new, [b"a", b"b"]));
    }

    #[test]
    fn states_of_both_kinds_are_read() {
        for (text, checksum) in
            [("17", Checksum::Crc32(17)), ("[1,18446744073709551615]", Checksum::Xxh3([1, u64::MAX]))]
        {
            let fingerprint = Fingerprint { normal: 3, checksum, counted: None };
            let json = format!("{{\"nominal\":3,\"checksum\":{text}}}");
            assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
            assert_eq!(serde_json::to_string(&fingerprint).unwrap(), json);
        }
    }
}
