//! Contact sheets: groups of rows of captioned images on white.

use super::text::{TextBlock, Type};
use crate::error::Result;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// An image with a caption below it (empty for none).
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// Any size and shape; fitted into the tile with its proportions kept.
    pub image: RgbImage,
    /// Wrapped to the tile's width; its own line breaks are kept.
    pub caption: String,
}

/// Tiles side by side, with a title on their left (empty for none).
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What the row shows, such as "heatmap".
    pub title: String,
    /// From left to right; rows of one sheet need not be equally long. Where none has an image, the captions are all there is:
    /// titles of the columns below.
    pub tiles: Vec<Tile>,
}

/// Rows that belong together, such as input, heatmap and mask of the same samples, under a heading (empty for none).
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// What the group shows, such as "most anomalous".
    pub heading: String,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

impl Tile {
    /// An image with a caption.
    pub(crate) fn new(image: RgbImage, caption: impl Into<String>) -> Tile {
        Tile { image, caption: caption.into() }
    }
}

impl Row {
    /// Tiles with a title.
    pub(crate) fn new(title: &str, tiles: impl IntoIterator<Item = Tile>) -> Row {
        Row { title: title.to_string(), tiles: tiles.into_iter().collect() }
    }
}

const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([16; 3]);
/// Of the line around each image, without which a white one would be lost on the paper.
const FRAME: Rgb<u8> = Rgb([176; 3]);

/// Around the sheet, in pixels; the lines around images at its edge are drawn into it.
const MARGIN: u32 = 20;
/// Between tiles, and between a tile and its caption.
const GAP: u32 = 6;
/// Above a group, and between the row titles and the tiles.
const SPACE: u32 = 20;
/// Row titles wrap at this width.
const TITLE_WIDTH: u32 = 160;
/// A sheet is at least as wide as its title and headings, up to this width; beyond, they wrap.
const TEXT_WIDTH: u32 = 720;

/// Composes a sheet whose tiles are squares of `tile_side` pixels (at least 8). The sheet grows with its content, so that nothing
/// is cropped. Images smaller than a tile are enlarged with their pixels visible, larger ones reduced smoothly.
pub(crate) fn sheet(title: &str, groups: &[Group], tile_side: u32) -> Result<RgbImage> {
    let layout = SheetLayout::new(title, groups, tile_side.max(8))?;
    let height = layout.walk(title, groups, None);
    let mut canvas = RgbImage::from_pixel(layout.width, height, PAPER);
    layout.walk(title, groups, Some(&mut canvas));
    Ok(canvas)
}

/// The largest side of a tile up to `limit` that shows all pixels of an image of `side` pixels equally large; `limit` for
/// images that have to be reduced.
pub(crate) fn whole_enlargement(side: usize, limit: usize) -> u32 {
    (if side == 0 || side > limit { limit } else { limit / side * side }) as u32
}

/// What all rows of a sheet have in common.
struct SheetLayout {
    title: Type,
    heading: Type,
    row_title: Type,
    caption: Type,
    tile_side: u32,
    /// Of the whole sheet.
    width: u32,
    /// Where tiles begin.
    left: u32,
}

impl SheetLayout {
    fn new(title: &str, groups: &[Group], tile_side: u32) -> Result<SheetLayout> {
        let mut layout = SheetLayout {
            title: Type::new(28.0)?,
            heading: Type::new(21.0)?,
            row_title: Type::new(18.0)?,
            caption: Type::new(16.0)?,
            tile_side,
            width: 0,
            left: MARGIN,
        };
        let rows = || groups.iter().flat_map(|group| &group.rows);
        let titles =
            rows().map(|row| TextBlock::new(&layout.row_title, &row.title, TITLE_WIDTH).width()).max().unwrap_or(0);
        if titles > 0 {
            layout.left += titles + SPACE;
        }
        let columns = rows().map(|row| row.tiles.len() as u32).max().unwrap_or(0);
        let right = layout.left + (columns * (tile_side + GAP)).saturating_sub(GAP);
        let headings = groups.iter().map(|group| layout.heading.width(&group.heading));
        let text = headings.chain([layout.title.width(title)]).max().unwrap_or(0);
        layout.width = right.max(MARGIN + text.min(TEXT_WIDTH)) + MARGIN;
        Ok(layout)
    }

    /// Goes down the sheet, draws on the canvas if there is one, and returns the height: measuring and drawing cannot differ.
    fn walk(&self, title: &str, groups: &[Group], mut canvas: Option<&mut RgbImage>) -> u32 {
        let text_width = self.width - 2 * MARGIN;
        let mut y = MARGIN;
        let title = TextBlock::new(&self.title, title, text_width);
        if let Some(canvas) = canvas.as_deref_mut() {
            title.draw(canvas, MARGIN, y, INK);
        }
        y += title.height();
        for group in groups {
            if y > MARGIN {
                y += SPACE;
            }
            let heading = TextBlock::new(&self.heading, &group.heading, text_width);
            if let Some(canvas) = canvas.as_deref_mut() {
                heading.draw(canvas, MARGIN, y, INK);
            }
            y += heading.height() + if heading.height() > 0 { GAP } else { 0 };
            for row in &group.rows {
                y = self.row(row, y, canvas.as_deref_mut()) + GAP;
            }
        }
        y + MARGIN
    }

    /// One row from `y` on; returns where it ends.
    fn row(&self, row: &Row, y: u32, mut canvas: Option<&mut RgbImage>) -> u32 {
        let title = TextBlock::new(&self.row_title, &row.title, TITLE_WIDTH);
        let images = row.tiles.iter().any(|tile| tile.image.width() > 0);
        let tile_height = if images { self.tile_side } else { 0 };
        if let Some(canvas) = canvas.as_deref_mut() {
            title.draw(canvas, MARGIN, y + tile_height.saturating_sub(title.height()) / 2, INK);
        }
        let mut end = y + title.height().max(tile_height);
        for (column, tile) in row.tiles.iter().enumerate() {
            let x = self.left + column as u32 * (self.tile_side + GAP);
            let caption = TextBlock::new(&self.caption, &tile.caption, self.tile_side);
            let below = y + tile_height + GAP / 2;
            if let Some(canvas) = canvas.as_deref_mut() {
                self.fit(&tile.image, x, y, canvas);
                caption.draw_centred(canvas, x, below, self.tile_side, INK);
            }
            if caption.height() > 0 {
                end = end.max(below + caption.height() + GAP / 2);
            }
        }
        end
    }

    /// Draws an image centred in its tile.
    fn fit(&self, image: &RgbImage, x: u32, y: u32, canvas: &mut RgbImage) {
        let longest = image.width().max(image.height());
        if image.width() == 0 || image.height() == 0 {
            return;
        }
        let fitted = |side: u32| {
            let (side, tile, longest) = (u64::from(side), u64::from(self.tile_side), u64::from(longest));
            ((side * tile + longest / 2) / longest).max(1) as u32
        };
        let (width, height) = (fitted(image.width()), fitted(image.height()));
        let filter = if longest < self.tile_side { FilterType::Nearest } else { FilterType::Triangle };
        let (left, top) = (x + (self.tile_side - width) / 2, y + (self.tile_side - height) / 2);
        // The frame lies outside, so that it hides nothing: margin and gaps have room for it.
        let framed = RgbImage::from_pixel(width + 2, height + 2, FRAME);
        imageops::replace(canvas, &framed, i64::from(left) - 1, i64::from(top) - 1);
        imageops::replace(canvas, &imageops::resize(image, width, height, filter), left.into(), top.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(width: u32, height: u32, caption: &str) -> Tile {
        Tile { image: RgbImage::from_pixel(width, height, Rgb([200, 0, 0])), caption: caption.into() }
    }

    fn group(heading: &str, title: &str, tiles: Vec<Tile>) -> Group {
        Group { heading: heading.into(), rows: vec![Row { title: title.into(), tiles }] }
    }

    /// Nothing but paper and frames within the margin, whatever the content.
    fn assert_clear_margin(image: &RgbImage) {
        for (x, y, pixel) in image.enumerate_pixels() {
            let inner = x >= MARGIN && y >= MARGIN && x + MARGIN < image.width() && y + MARGIN < image.height();
            let frame = *pixel == FRAME && x + 1 >= MARGIN && y + 1 >= MARGIN;
            assert!(inner || *pixel == PAPER || frame, "({x}, {y}) of {:?}", image.dimensions());
        }
    }

    #[test]
    fn nothing_touches_the_margin() {
        let long =
            "a long title that does not fit into one line of a narrow sheet and has a_very_long_word_in_it_as_well";
        for (title, side, tiles) in [
            ("", 8, vec![]),
            (long, 8, vec![tile(3, 900, "caption much wider than its tile")]),
            (long, 64, vec![tile(28, 28, "0.1234"), tile(640, 480, long), tile(0, 5, "")]),
            ("short", 96, vec![tile(96, 96, "0.99"); 7]),
        ] {
            let groups = [group(title, title, tiles.clone()), group("", "", tiles)];
            assert_clear_margin(&sheet(title, &groups, side).unwrap());
        }
    }

    #[test]
    fn tiles_keep_their_proportions_and_do_not_overlap() {
        let image = sheet("", &[group("", "", vec![tile(20, 10, ""), tile(300, 600, "")])], 60).unwrap();
        let red = image.pixels().filter(|p| p.0 == [200, 0, 0]).count();
        assert_eq!(red, 60 * 30 + 30 * 60);
        assert_eq!(image.width(), 2 * MARGIN + 2 * 60 + GAP);
    }

    #[test]
    fn white_images_stand_out_from_the_paper() {
        let white = Tile::new(RgbImage::from_pixel(20, 10, PAPER), "");
        let image = sheet("", &[group("", "", vec![white])], 60).unwrap();
        let frame = image.pixels().filter(|&&pixel| pixel == FRAME).count();
        assert_eq!(frame, 2 * (60 + 2) + 2 * 30);
    }

    #[test]
    fn captions_take_the_lines_they_need() {
        let height = |caption: &str| sheet("", &[group("", "", vec![tile(9, 9, caption)])], 96).unwrap().height();
        assert_eq!(height("0.9876") - height(""), 16 + GAP);
        assert_eq!(height("0.9876\nbag") - height(""), 32 + GAP);
    }

    #[test]
    fn captions_without_images_are_titles_of_columns() {
        let image = sheet("", &[group("", "", vec![tile(0, 0, "run"), tile(0, 0, "other")])], 96).unwrap();
        assert!(image.height() < 2 * MARGIN + 96, "{}", image.height());
    }

    #[test]
    fn small_images_are_enlarged_by_whole_factors() {
        assert_eq!([0, 1, 28, 32, 96, 97].map(|side| whole_enlargement(side, 96)), [96, 96, 84, 96, 96, 96]);
    }
}
