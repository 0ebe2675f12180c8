//! The checksum of a model file, over all of its bytes: one that was damaged on its way scores otherwise and would say nothing of it.
//!
//! It ends the metadata, which are text in the header. Files of other programs and of earlier versions have none.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// Digits of XXH3-128 in hexadecimal.
const DIGITS: usize = 32;

/// How the metadata end, as they stand in the header, before and after the digits.
const BEFORE: &[u8] = br#",\"checksum\":\""#;
const AFTER: &[u8] = br#"\"}"#;

/// Metadata, an object in JSON, with room for the checksum.
pub(super) fn with_room(meta: &str) -> String {
    let fields = meta.strip_suffix('}').unwrap_or(meta);
    format!("{fields},\"checksum\":\"{}\"}}", "0".repeat(DIGITS))
}

/// Puts the checksum into the bytes of a file whose metadata have room for it.
pub(super) fn seal(bytes: &mut [u8]) -> Result<()> {
    let Some(place) = place(bytes) else { return Err(Error::internal("a model file has no room for its checksum")) };
    let sum = checksum(bytes, &place);
    bytes[place].copy_from_slice(sum.as_bytes());
    Ok(())
}

/// Whether the bytes of a file are those that its checksum tells of, where it has one.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    place(bytes).is_none_or(|place| bytes[place.clone()] == *checksum(bytes, &place).as_bytes())
}

/// Where the digits are.
fn place(bytes: &[u8]) -> Option<Range<usize>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let starts = header.windows(BEFORE.len()).enumerate().filter(|(_, window)| *window == BEFORE);
    let mut starts = starts.map(|(at, _)| at + BEFORE.len());
    let start = starts.find(|start| header.get(start + DIGITS..).is_some_and(|rest| rest.starts_with(AFTER)))?;
    Some(start + length.len()..start + length.len() + DIGITS)
}

/// The checksum of a file without its own.
fn checksum(bytes: &[u8], place: &Range<usize>) -> String {
    let mut sum = Xxh3::new();
    sum.update(&bytes[..place.start]);
    sum.update(&bytes[place.end..]);
    format!("{:032x}", sum.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_told() {
        let card = with_room(r#"{"path":"a\",\"checksum\":\"","threshold":0.5}"#);
        let header = serde_json::json!({"__metadata__": {"fcdd": card}, "w": {"data_offsets": [0, 8]}}).to_string();
        let mut bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[7; 8]].concat();
        assert!(!is_whole(&bytes));
        seal(&mut bytes).unwrap();
        assert!(is_whole(&bytes));
        let place = place(&bytes).unwrap();
        let no_checksum = place.start - BEFORE.len()..place.end + AFTER.len();
        let length = 0..8;
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is no checksum any more is none that is wrong; a header of another length is told by who reads it.
            let is_told =
                !no_checksum.contains(&(bit / 8)) && !length.contains(&(bit / 8)) || place.contains(&(bit / 8));
            assert!(!is_told || !is_whole(&bytes), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(is_whole(b"") && is_whole(b"12345678 no header"));
    }
}
