//! Text in pictures: a bitmap font of 8 × 8 pixels (public domain, from the `font8x8` crate), enlarged by whole factors.

use font8x8::legacy::{BASIC_LEGACY, GREEK_LEGACY, LATIN_LEGACY};
use image::{Rgb, RgbImage};

/// Width and height of a character at scale 1, in pixels.
const GLYPH: u32 = 8;
/// Distance of two lines at scale 1, in pixels.
const LINE: u32 = 10;

/// Text broken into lines, at a scale: what a layout needs to know before anything is drawn.
#[derive(Clone, Debug)]
pub(super) struct Block {
    lines: Vec<String>,
    scale: u32,
}

impl Block {
    /// Breaks between words and after hyphens so that no line is wider than `width` pixels; only what is too long by itself is cut.
    pub(super) fn new(text: &str, scale: u32, width: u32) -> Block {
        let columns = (width / (GLYPH * scale)).max(1) as usize;
        let mut lines: Vec<Vec<char>> = Vec::new();
        for word in text.split_whitespace() {
            let mut space = 1;
            for part in word.split_inclusive('-') {
                let part: Vec<char> = part.chars().collect();
                match lines.last_mut() {
                    Some(line) if line.len() + space + part.len() <= columns => {
                        line.extend(std::iter::repeat_n(' ', space).chain(part));
                    }
                    _ => lines.extend(part.chunks(columns).map(<[char]>::to_vec)),
                }
                space = 0;
            }
        }
        Block { lines: lines.into_iter().map(String::from_iter).collect(), scale }
    }

    /// Whether the text takes at most this many lines and none of its words would be cut.
    pub(super) fn fits(text: &str, scale: u32, width: u32, lines: usize) -> bool {
        let columns = (width / (GLYPH * scale)) as usize;
        text.split_whitespace().flat_map(|word| word.split_inclusive('-')).all(|part| part.chars().count() <= columns)
            && Block::new(text, scale, width).lines.len() <= lines
    }

    /// Width of the longest line in pixels.
    pub(super) fn width(&self) -> u32 {
        self.lines.iter().map(|line| width(line, self.scale)).max().unwrap_or(0)
    }

    /// Height of all lines in pixels, without space below the last.
    pub(super) fn height(&self) -> u32 {
        (self.lines.len() as u32 * LINE).saturating_sub(LINE - GLYPH) * self.scale
    }

    /// Draws the lines with the upper left corner at (x, y). What lies outside the picture is left out.
    pub(super) fn draw(&self, canvas: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>) {
        for (line, text) in self.lines.iter().enumerate() {
            self.draw_line(text, canvas, x, y + line as u32 * LINE * self.scale, colour);
        }
    }

    /// Draws each line in the middle of a column that begins at (x, y) and is `column` pixels wide.
    pub(super) fn draw_centred(&self, canvas: &mut RgbImage, x: u32, y: u32, column: u32, colour: Rgb<u8>) {
        for (line, text) in self.lines.iter().enumerate() {
            let indent = column.saturating_sub(width(text, self.scale)) / 2;
            self.draw_line(text, canvas, x + indent, y + line as u32 * LINE * self.scale, colour);
        }
    }

    fn draw_line(&self, text: &str, canvas: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>) {
        for (column, character) in text.chars().enumerate() {
            let left = x + column as u32 * GLYPH * self.scale;
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for bit in (0..GLYPH).filter(|bit| bits >> bit & 1 == 1) {
                    fill(canvas, (left + bit * self.scale, y + row as u32 * self.scale), self.scale, colour);
                }
            }
        }
    }
}

/// Width of one line in pixels.
pub(super) fn width(text: &str, scale: u32) -> u32 {
    text.chars().count() as u32 * GLYPH * scale
}

fn fill(canvas: &mut RgbImage, (left, top): (u32, u32), side: u32, colour: Rgb<u8>) {
    for y in top..(top + side).min(canvas.height()) {
        for x in left..(left + side).min(canvas.width()) {
            canvas.put_pixel(x, y, colour);
        }
    }
}

/// One byte per row, the lowest bit on the left; ASCII, Latin-1 and Greek, and a question mark for anything else.
fn glyph(character: char) -> [u8; 8] {
    let code = character as usize;
    match code {
        0x20..0x80 => BASIC_LEGACY[code],
        0xA0..0x100 => LATIN_LEGACY[code - 0xA0],
        0x390..0x3CA => GREEK_LEGACY[code - 0x390],
        0x2212 | 0x2013 => BASIC_LEGACY[b'-' as usize],
        _ => BASIC_LEGACY[b'?' as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_fit() {
        let block = Block::new("a scratch, 0.993 unbreakableword", 1, 80);
        assert_eq!(block.lines, ["a scratch,", "0.993", "unbreakabl", "eword"]);
        assert_eq!((block.width(), block.height()), (80, 38));
        assert_eq!(Block::new("a loose-thread", 1, 64).lines, ["a loose-", "thread"]);
        assert!(Block::fits("a loose-thread", 1, 64, 2) && !Block::fits("a loose-thread", 1, 64, 1));
        assert!(!Block::fits("unbreakable", 1, 64, 2));
        assert_eq!(Block::new("", 2, 80).height(), 0);
    }

    #[test]
    fn every_character_has_a_glyph() {
        for character in ['A', 'é', 'σ', '×', '−', '…', '\u{7f}', '\u{1F600}'] {
            let mut canvas = RgbImage::new(16, 16);
            Block::new(&character.to_string(), 2, 16).draw(&mut canvas, 0, 0, Rgb([255; 3]));
            assert!(canvas.iter().any(|&v| v > 0) || character == '\u{7f}', "{character}");
        }
    }
}
