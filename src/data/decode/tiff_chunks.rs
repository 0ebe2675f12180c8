//! Whether the strips or tiles of a TIFF lie where its head says, with all their bytes: its reader takes what it finds there for pixels.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::{CompressionMethod, Tag};
use zune_jpeg::zune_core::options::DecoderOptions;

use super::jpeg_scans;
use super::source::Stream;

/// Says that strips are missing.
const MISSING: &str = "the TIFF data is cut short: its head names strips or tiles that are not there";

/// The strips or tiles of a file.
pub(super) struct Chunks {
    /// Where their bytes lie.
    places: Vec<Range<u64>>,
    /// Tables that strips of JPEG share; None where they are no JPEG.
    jpeg: Option<Vec<u8>>,
}

impl Chunks {
    /// Those of a file of `len` bytes. `bits` are those of a pixel, of one plane where these are apart.
    ///
    /// # Errors
    /// Strips that lie nowhere or beyond the end, or, where they are not compressed, have fewer bytes than pixels.
    pub(super) fn new(decoder: &mut Decoder<BufReader<Stream>>, len: u64, bits: usize) -> Result<Chunks, String> {
        let is_tiled = decoder.get_chunk_type() == ChunkType::Tile;
        let tags = match is_tiled {
            true => [Tag::TileOffsets, Tag::TileByteCounts],
            false => [Tag::StripOffsets, Tag::StripByteCounts],
        };
        let mut numbers = |tag| match decoder.find_tag_unsigned_vec::<u64>(tag) {
            Ok(numbers) => numbers.ok_or_else(|| MISSING.to_string()),
            Err(e) => Err(e.to_string()),
        };
        let (offsets, counts) = (numbers(tags[0])?, numbers(tags[1])?);
        let places: Vec<_> = offsets.iter().zip(&counts).map(|(&at, &count)| at..at.saturating_add(count)).collect();
        let is_there = |place: &Range<u64>| place.start > 0 && !place.is_empty() && place.end <= len;
        if offsets.len() != counts.len() || !places.iter().all(is_there) {
            return Err(MISSING.into());
        }
        let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(|e| e.to_string())?;
        let is = |method: CompressionMethod| compression == Some(method.to_u16());
        if compression.is_none() || is(CompressionMethod::None) {
            let (across, down) = decoder.chunk_dimensions();
            let (width, height) = decoder.dimensions().map_err(|e| e.to_string())?;
            let of_a_plane = (width.div_ceil(across.max(1)) as usize) * (height.div_ceil(down.max(1)) as usize);
            for (i, place) in places.iter().enumerate() {
                // Tiles are whole; the last strip of a plane ends with the image.
                let rows = if is_tiled {
                    down
                } else {
                    down.min(height.saturating_sub(((i % of_a_plane.max(1)) as u32).saturating_mul(down)))
                };
                let row = (across as usize).saturating_mul(bits).div_ceil(8);
                if place.end - place.start < row.saturating_mul(rows as usize) as u64 {
                    return Err(MISSING.into());
                }
            }
        }
        let jpeg = match is(CompressionMethod::ModernJPEG) {
            true => {
                let tables = decoder.find_tag(Tag::JPEGTables).map_err(|e| e.to_string())?;
                let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(|e| e.to_string())?;
                Some(tables.unwrap_or_default())
            }
            false => None,
        };
        Ok(Chunks { places, jpeg })
    }

    /// Bytes of memory that [`Chunks::check`] takes.
    pub(super) fn bytes(&self) -> usize {
        let largest = || self.places.iter().map(|place| place.end - place.start).max().unwrap_or_default();
        self.jpeg
            .as_ref()
            .map_or(0, |tables| tables.len().saturating_add(usize::try_from(largest()).unwrap_or(usize::MAX)))
    }

    /// Makes sure that one of them is whole where it is a JPEG, whose decoder would make up what is missing.
    pub(super) fn check(&self, file: &mut BufReader<Stream>, index: u32) -> Result<(), String> {
        let Some(tables) = &self.jpeg else { return Ok(()) };
        let place = self.places.get(index as usize).ok_or(MISSING)?;
        // The tables are a JPEG without an image: what follows takes the place of its end, and leaves out its own beginning.
        let mut jpeg = tables.strip_suffix(&[0xFF, 0xD9]).unwrap_or(tables).to_vec();
        let skipped = if jpeg.is_empty() { 0 } else { 2 };
        let len = (place.end - place.start).saturating_sub(skipped);
        let read =
            file.seek(SeekFrom::Start(place.start + skipped)).and_then(|_| file.take(len).read_to_end(&mut jpeg));
        read.map_err(|e| e.to_string())?;
        Ok(jpeg_scans::check(&jpeg, DecoderOptions::default().jpeg_get_max_scans()).map(|_| ())?)
    }
}
