//! Text in images, anti-aliased: Ubuntu Light, from the `epaint_default_fonts` crate (Ubuntu Font Licence).

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use epaint_default_fonts::UBUNTU_LIGHT;
use image::{Rgb, RgbImage};

use crate::error::{Error, Result};

/// Stands for characters that the font lacks.
const UNKNOWN: char = '?';

/// The font at one size.
#[derive(Clone, Debug)]
pub(super) struct Type {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Type {
    /// Lines of `size` pixels, from the highest to the lowest part of a letter.
    pub(super) fn new(size: f32) -> Result<Type> {
        let font = FontRef::try_from_slice(UBUNTU_LIGHT)
            .map_err(|e| Error::internal(format!("the built-in font cannot be read ({e})")))?;
        Ok(Type { font, scale: PxScale::from(size) })
    }

    /// The glyphs of one line that begins at x = 0 on the baseline, and its width.
    fn glyphs(&self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font.as_scaled(self.scale);
        let mut x = 0.0;
        let mut glyphs: Vec<Glyph> = Vec::new();
        for character in text.chars() {
            let mut id = font.glyph_id(character);
            if id.0 == 0 {
                id = font.glyph_id(UNKNOWN);
            }
            x += glyphs.last().map_or(0.0, |last| font.kern(last.id, id));
            glyphs.push(id.with_scale_and_position(self.scale, point(x, 0.0)));
            x += font.h_advance(id);
        }
        (glyphs, x)
    }

    /// Width of one line in pixels.
    pub(super) fn width(&self, text: &str) -> u32 {
        self.glyphs(text).1.ceil() as u32
    }

    /// Height of one line in pixels.
    fn line(&self) -> u32 {
        self.scale.y.ceil() as u32
    }

    fn draw(&self, text: &str, canvas: &mut RgbImage, (x, y): (u32, u32), colour: Rgb<u8>) {
        let baseline = (y as f32 + self.font.as_scaled(self.scale).ascent()).round();
        for mut glyph in self.glyphs(text).0 {
            glyph.position += point(x as f32, baseline);
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let (left, top) = (outline.px_bounds().min.x as i64, outline.px_bounds().min.y as i64);
            outline.draw(|dx, dy, coverage| {
                let (x, y) = (left + i64::from(dx), top + i64::from(dy));
                if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                    && let Some(Rgb(under)) = canvas.get_pixel_mut_checked(x, y)
                {
                    for (u, c) in under.iter_mut().zip(colour.0) {
                        let (from, to) = (f32::from(*u), f32::from(c));
                        *u = (from + (to - from) * coverage.min(1.0)).round() as u8;
                    }
                }
            });
        }
    }
}

/// Text broken into lines: what a layout needs to know before anything is drawn.
#[derive(Clone, Debug)]
pub(super) struct TextBlock<'a> {
    face: &'a Type,
    lines: Vec<String>,
}

impl TextBlock<'_> {
    /// Keeps the text's own lines, and breaks them between words and after hyphens so that none is wider than `width` pixels; only
    /// a word that is too long by itself is cut.
    pub(super) fn new<'a>(face: &'a Type, text: &str, width: u32) -> TextBlock<'a> {
        let fits = |line: &str| face.width(line) <= width;
        let mut lines = Vec::new();
        for paragraph in text.lines() {
            let mut line = String::new();
            for word in paragraph.split_whitespace() {
                for (i, part) in word.split_inclusive('-').enumerate() {
                    let longer = format!("{line}{}{part}", if i == 0 && !line.is_empty() { " " } else { "" });
                    if fits(&longer) {
                        line = longer;
                        continue;
                    }
                    lines.extend((!line.is_empty()).then(|| std::mem::take(&mut line)));
                    for character in part.chars() {
                        line.push(character);
                        if line.chars().nth(1).is_some() && !fits(&line) {
                            line.pop();
                            lines.push(std::mem::replace(&mut line, character.to_string()));
                        }
                    }
                }
            }
            lines.extend((!line.is_empty()).then_some(line));
        }
        TextBlock { face, lines }
    }

    /// Width of the longest line in pixels.
    pub(super) fn width(&self) -> u32 {
        self.lines.iter().map(|line| self.face.width(line)).max().unwrap_or(0)
    }

    /// Height of all lines in pixels.
    pub(super) fn height(&self) -> u32 {
        self.lines.len() as u32 * self.face.line()
    }

    /// Draws the lines with the upper left corner at (x, y). What lies outside the image is left out.
    pub(super) fn draw(&self, canvas: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>) {
        self.draw_indented(canvas, (x, y), colour, |_| 0);
    }

    /// Draws each line in the middle of a column that begins at (x, y) and is `column` pixels wide.
    pub(super) fn draw_centred(&self, canvas: &mut RgbImage, x: u32, y: u32, column: u32, colour: Rgb<u8>) {
        self.draw_indented(canvas, (x, y), colour, |line| column.saturating_sub(self.face.width(line)) / 2);
    }

    fn draw_indented(&self, canvas: &mut RgbImage, at: (u32, u32), colour: Rgb<u8>, indent: impl Fn(&str) -> u32) {
        for (row, line) in (0..).zip(&self.lines) {
            self.face.draw(line, canvas, (at.0 + indent(line), at.1 + row * self.face.line()), colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_fit() {
        let face = Type::new(16.0).unwrap();
        let width = face.width("a scratch,");
        let block = TextBlock::new(&face, "a scratch, 0.993 unbreakableword", width);
        assert_eq!(block.lines[..2], ["a scratch,", "0.993"]);
        assert_eq!(block.lines[2..].concat(), "unbreakableword");
        assert!(block.width() <= width && block.lines.len() > 3, "{:?}", block.lines);
        assert_eq!(block.height(), 16 * block.lines.len() as u32);
        assert_eq!(TextBlock::new(&face, "a loose-thread", face.width("a loose-")).lines, ["a loose-", "thread"]);
        assert_eq!(TextBlock::new(&face, "one\ntwo", 999).lines, ["one", "two"]);
        assert_eq!(TextBlock::new(&face, "abc", 0).lines, ["a", "b", "c"], "some progress at any width");
        assert_eq!(TextBlock::new(&face, "", 80).height(), 0);
    }

    #[test]
    fn every_character_has_a_glyph_within_its_line() {
        let face = Type::new(40.0).unwrap();
        let drawn = |text: &str| {
            let mut canvas = RgbImage::from_pixel(80, 80, Rgb([255; 3]));
            TextBlock::new(&face, text, 60).draw(&mut canvas, 20, 20, Rgb([0; 3]));
            canvas
        };
        let unknown = drawn("\u{1F600}");
        assert_eq!(unknown, drawn("?"));
        for character in ['A', 'g', 'é', 'σ', '×', '−', '…', '²', '–', '≥', '·', '%', '#'] {
            let canvas = drawn(&character.to_string());
            assert!(canvas != unknown, "{character} is missing");
            let ink = |p: (u32, u32, &Rgb<u8>)| p.2.0[0] < 255;
            assert!(canvas.enumerate_pixels().any(ink), "{character}");
            assert!(
                canvas.enumerate_pixels().filter(|&p| ink(p)).all(|(_, y, _)| (20..60).contains(&y)),
                "{character}"
            );
            assert!(canvas.pixels().any(|p| (1..255).contains(&p.0[0])), "{character} has no soft edge");
        }
    }
}
