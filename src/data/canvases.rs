//! Sets of canvases: images of any size, of which the net sees squares. Held in memory, or decoded each time one is asked for.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::data::decode::{ImageFile, each_file};
use crate::data::fingerprint::image_hash;
use crate::data::images::Images;
use crate::data::resize::nearest;
use crate::data::resize_mode::RawForm;
use crate::data::tiles::TileGrid;
use crate::error::{Error, Result};
use crate::memory;

/// A set of canvases.
#[derive(Clone, Debug)]
pub struct Canvases {
    form: RawForm,
    canvases: Vec<Arc<Canvas>>,
}

/// The tiles of a set of canvases, one after the other: what is learned from.
#[derive(Clone, Debug)]
pub struct Tiles {
    canvases: Canvases,
    /// The canvas of each, and its number there.
    tiles: Vec<(usize, usize)>,
}

/// (height, width) of each of some image files, or why it cannot be read.
type Sizes = Vec<Result<(usize, usize)>>;

#[derive(Debug)]
struct Canvas {
    path: PathBuf,
    grid: TileGrid,
    held: Option<Images>,
    /// Of its pixels when they were first read.
    hash: OnceLock<u128>,
}

impl Canvases {
    /// The canvases of image files, beside the (height, width) of each image; an error for each that cannot be read. `holds` says whether so
    /// many bytes are to be held; of those that are not, the heads are read, and all of them where `decodes` is set.
    ///
    /// # Errors
    /// More to be held than there is memory for.
    pub(crate) fn read(
        paths: &[PathBuf],
        form: RawForm,
        decodes: &[bool],
        holds: impl Fn(usize) -> bool,
    ) -> Result<(Canvases, Sizes)> {
        let heads = each_file(paths.iter().map(|path| (path, ())), |file, ()| Ok(file?.size()));
        let grids = heads.iter().map(|size| size.as_ref().ok().and_then(|&size| form.tiles(size)));
        let canvas = |grid: &TileGrid| grid.canvas().0.saturating_mul(grid.canvas().1).saturating_mul(form.channels);
        let grids: Vec<Option<TileGrid>> = grids.collect();
        let bytes = grids.iter().flatten().map(canvas).fold(0, usize::saturating_add);
        let held = holds(bytes);
        if held {
            let remedy = "choose tiles of more pixels (`fit`), or `hold` never";
            memory::fits(&format!("the {} images at the size that tiles need", paths.len()), bytes, remedy)?;
        }
        let read = |file: Result<ImageFile>, ()| {
            let (image, size) = form.read_open(file?)?;
            Ok((held.then_some(image), size))
        };
        let decoded = paths.iter().zip(decodes).filter(|&(_, &decodes)| held || decodes);
        let mut decoded = each_file(decoded.map(|(path, _)| (path, ())), read).into_iter();
        let (mut canvases, mut sizes) = (Vec::new(), Vec::new());
        for (((path, size), grid), &decodes) in paths.iter().zip(heads).zip(grids).zip(decodes) {
            let image = if held || decodes { decoded.next() } else { None };
            let (held, size) = match image {
                Some(Ok((image, size))) => (image, Ok(size)),
                Some(Err(error)) => (None, Err(error)),
                None => (None, size),
            };
            let grid = grid.unwrap_or_else(|| TileGrid::new((1, 1), form.side, 0));
            canvases.push(Arc::new(Canvas { path: path.clone(), grid, held, hash: OnceLock::new() }));
            sizes.push(size);
        }
        Ok((Canvases { form, canvases }, sizes))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.canvases.len()
    }

    /// Whether all are held; else each is decoded again whenever a square of it is asked for.
    pub(crate) fn are_held(&self) -> bool {
        self.canvases.iter().all(|canvas| canvas.held.is_some())
    }

    /// Rows or columns of the squares that show an image, at least.
    pub(crate) fn least_shown(&self) -> usize {
        let shown = |canvas: &Arc<Canvas>| canvas.grid.canvas().0.min(canvas.grid.canvas().1);
        self.canvases.iter().map(shown).min().unwrap_or_default().min(self.form.side)
    }

    /// Side and channels of the squares that the net sees.
    pub(crate) fn form(&self) -> RawForm {
        self.form
    }

    /// Those at `indices`, in that order.
    pub(crate) fn select(&self, indices: &[usize]) -> Canvases {
        Canvases { canvases: indices.iter().map(|&i| self.canvases[i].clone()).collect(), ..*self }
    }

    /// The tiles of one.
    pub(crate) fn grid(&self, i: usize) -> &TileGrid {
        &self.canvases[i].grid
    }

    /// All tiles of all.
    pub(crate) fn tiles(&self) -> Tiles {
        let of = |i: usize| (0..self.grid(i).count()).map(move |tile| (i, tile));
        Tiles { canvases: self.clone(), tiles: (0..self.count()).flat_map(of).collect() }
    }

    /// One of them.
    ///
    /// # Errors
    /// A file that cannot be read any more, or that shows another image than when it was first read.
    pub(crate) fn load(&self, i: usize) -> Result<Images> {
        let canvas = &self.canvases[i];
        if let Some(held) = &canvas.held {
            return Ok(held.clone());
        }
        let (image, _) = self.form.read(&canvas.path)?;
        let hash = image_hash(&image.pixels);
        if *canvas.hash.get_or_init(|| hash) != hash || (image.height, image.width) != canvas.grid.canvas() {
            let remedy = "restore it and continue with `resume`, or train again with another `out`";
            return Err(Error::file(&canvas.path, "shows another image than when it was first read", remedy));
        }
        Ok(image)
    }

    /// Writes the square of one that begins at (row, column).
    ///
    /// # Errors
    /// As of [`Canvases::load`].
    pub(crate) fn window(&self, i: usize, place: (usize, usize), out: &mut [u8]) -> Result<()> {
        match &self.canvases[i].held {
            Some(held) => held.window(place, self.form.side, out),
            None => self.load(i)?.window(place, self.form.side, out),
        }
        Ok(())
    }

    /// All of one, squashed to a square by nearest neighbour: to look at.
    ///
    /// # Errors
    /// As of [`Canvases::load`].
    pub(crate) fn thumbnail(&self, i: usize, out: &mut [u8]) -> Result<()> {
        let (image, RawForm { side, channels, .. }) = (self.load(i)?, self.form);
        for (y, row) in out.chunks_exact_mut(side * channels).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let from = nearest(y, image.height, side) * image.width + nearest(x, image.width, side);
                pixel.copy_from_slice(&image.pixels[from * channels..][..channels]);
            }
        }
        Ok(())
    }

    /// What tells the pixels of some from others, in their order.
    ///
    /// # Errors
    /// As of [`Canvases::load`].
    pub(crate) fn hashes(&self, indices: &[usize]) -> Result<Vec<u128>> {
        let hash = |&i: &usize| match self.canvases[i].hash.get() {
            Some(hash) => Ok(*hash),
            None => {
                let hash = image_hash(&self.load(i)?.pixels);
                Ok(*self.canvases[i].hash.get_or_init(|| hash))
            }
        };
        indices.par_iter().map(hash).collect()
    }
}

impl Tiles {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.tiles.len()
    }

    /// The canvases that they are of.
    pub(crate) fn canvases(&self) -> &Canvases {
        &self.canvases
    }

    /// The canvas of one.
    pub(crate) fn canvas_of(&self, tile: usize) -> usize {
        self.tiles[tile].0
    }

    /// Those at `indices`, in that order, all of the same canvases.
    pub(crate) fn select(&self, indices: &[usize]) -> Tiles {
        Tiles { canvases: self.canvases.clone(), tiles: indices.iter().map(|&i| self.tiles[i]).collect() }
    }

    /// Writes one as it lies in the grid of its canvas.
    ///
    /// # Errors
    /// As of [`Canvases::load`].
    pub(crate) fn read(&self, tile: usize, out: &mut [u8]) -> Result<()> {
        let (i, number) = self.tiles[tile];
        self.canvases.window(i, self.canvases.grid(i).place(number), out)
    }

    /// The same for many in their order: `last` keeps the canvas of the tile before, which then is not decoded again.
    ///
    /// # Errors
    /// As of [`Canvases::load`].
    pub(crate) fn read_next(&self, tile: usize, last: &mut Option<(usize, Images)>, out: &mut [u8]) -> Result<()> {
        let (i, number) = self.tiles[tile];
        if self.canvases.canvases[i].held.is_some() {
            return self.read(tile, out);
        }
        let image = match last.take() {
            Some((before, image)) if before == i => image,
            _ => self.canvases.load(i)?,
        };
        image.window(self.canvases.grid(i).place(number), self.canvases.form.side, out);
        *last = Some((i, image));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::resize_mode::ResizeMode;
    use std::path::Path;

    fn save(path: &Path, (width, height): (u32, u32)) -> PathBuf {
        let pixel = |x: u32, y: u32| image::Luma([(x * 3 + y * 7) as u8]);
        image::GrayImage::from_fn(width, height, pixel).save(path).unwrap();
        path.to_path_buf()
    }

    #[test]
    fn held_canvases_are_those_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [save(&dir.path().join("a.png"), (100, 40)), save(&dir.path().join("b.png"), (20, 30))];
        let form = RawForm { side: 32, channels: 1, resize: ResizeMode::Tile { side: 32, overlap: 8 } };
        let [(held, sizes), (files, others)] =
            [true, false].map(|held| Canvases::read(&paths, form, &[false; 2], |_| held).unwrap());
        assert_eq!(sizes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [(40, 100), (30, 20)]);
        assert_eq!(others.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [(40, 100), (30, 20)]);
        for i in 0..2 {
            assert_eq!(held.load(i).unwrap(), files.load(i).unwrap());
        }
        assert_eq!(held.hashes(&[1, 0]).unwrap(), files.hashes(&[1, 0]).unwrap());
        let read = |tiles: &Tiles, i: usize| {
            let mut out = vec![0; 1024];
            tiles.read(i, &mut out).unwrap();
            out
        };
        let (tiles, of_files) = (held.tiles(), files.tiles());
        // 2 rows of tiles from 0 and 16, 6 columns of them; the small image has one.
        assert_eq!((tiles.count(), tiles.canvas_of(11), tiles.canvas_of(12)), (13, 0, 1));
        let mut last = None;
        for i in 0..tiles.count() {
            let mut next = vec![0; 1024];
            of_files.read_next(i, &mut last, &mut next).unwrap();
            assert_eq!((read(&tiles, i), &next), (read(&of_files, i), &read(&tiles, i)));
            assert_eq!(last.as_ref().map(|(canvas, _)| *canvas), Some(tiles.canvas_of(i)), "it is kept");
        }
        assert_eq!(read(&tiles, 7)[..3], [160, 163, 166], "from row 16 and column 16 on");
        let some = tiles.select(&[12, 3]);
        assert_eq!((read(&some, 0), read(&some, 1)), (read(&tiles, 12), read(&tiles, 3)));
        // A file that changes is told of.
        save(&paths[1], (20, 31));
        assert!(files.load(1).unwrap_err().to_string().contains("another image"));
    }

    #[test]
    fn what_cannot_be_decoded_is_found_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [save(&dir.path().join("a.png"), (100, 40)), save(&dir.path().join("b.png"), (100, 40))];
        let whole = std::fs::read(&paths[0]).unwrap();
        std::fs::write(&paths[0], &whole[..whole.len() / 2]).unwrap();
        let form = RawForm { side: 32, channels: 1, resize: ResizeMode::Tile { side: 32, overlap: 8 } };
        let broken = |decodes: &[bool], held: bool| {
            let (_, sizes) = Canvases::read(&paths, form, decodes, |_| held).unwrap();
            sizes.iter().map(Result::is_err).collect::<Vec<_>>()
        };
        assert_eq!(broken(&[true; 2], false), [true, false]);
        assert_eq!(broken(&[false; 2], true), [true, false]);
        assert_eq!(broken(&[false, true], false), [false, false], "its head is whole");
    }

    #[test]
    fn a_letterboxed_image_is_one_tile() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [save(&dir.path().join("a.png"), (100, 40))];
        let form = RawForm { side: 50, channels: 1, resize: ResizeMode::Letterbox };
        let (canvases, _) = Canvases::read(&paths, form, &[false], |_| true).unwrap();
        assert_eq!(canvases.least_shown(), 20);
        let image = canvases.load(0).unwrap();
        assert_eq!((image.height, image.width, canvases.tiles().count()), (20, 50, 1));
        let mut seen = vec![0; 2500];
        canvases.tiles().read(0, &mut seen).unwrap();
        assert_eq!(seen[..1000], image.pixels);
        assert_eq!(seen[1000..1050], image.pixels[900..950], "mirrored below");
        canvases.thumbnail(0, &mut seen).unwrap();
        assert_eq!(seen[2450..], image.pixels[950..], "squashed to look at");
    }
}
