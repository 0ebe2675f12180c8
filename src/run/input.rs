//! Images on their way to a detector: in memory or in files, brought to the form that the net takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use image::DynamicImage;

use crate::data::decode::{ImageBytes, ImageFile};
use crate::data::image_view::ImageView;
use crate::data::images::{Images, Original};
use crate::data::resize_mode::RawForm;
use crate::error::Result;
use crate::memory;

/// An image to detect anomalies in: in memory, or a file that is read by the detector.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Input {
    /// An image of the crate `image`, any kind of it.
    Image(DynamicImage),
    /// Samples that were handed over, as those of a camera.
    Samples(ImageView<'static>),
    /// A PNG, JPEG, BMP, TIFF, WebP or PNM file.
    File(PathBuf),
    /// The bytes of such a file.
    Encoded(Vec<u8>),
}

impl From<DynamicImage> for Input {
    fn from(image: DynamicImage) -> Input {
        Input::Image(image)
    }
}

impl From<ImageView<'static>> for Input {
    fn from(image: ImageView<'static>) -> Input {
        Input::Samples(image)
    }
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Input {
        Input::File(path)
    }
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Input {
        Input::File(path.to_path_buf())
    }
}

impl From<&PathBuf> for Input {
    fn from(path: &PathBuf) -> Input {
        Input::File(path.clone())
    }
}

impl From<&str> for Input {
    fn from(path: &str) -> Input {
        Input::File(path.into())
    }
}

impl From<&String> for Input {
    fn from(path: &String) -> Input {
        Input::File(path.into())
    }
}

impl From<String> for Input {
    fn from(path: String) -> Input {
        Input::File(path.into())
    }
}

/// What is wanted of images besides scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Heatmaps, as the net makes them.
    pub heatmaps: bool,
    /// The pixels of files, to draw on.
    pub pixels: bool,
}

impl Wanted {
    /// Scores alone, and what comes with them at no cost.
    pub(crate) const NOTHING: Wanted = Wanted { heatmaps: false, pixels: false };
}

/// An image in memory, or a file whose head has been read.
pub(crate) enum Opened {
    Image(DynamicImage),
    Samples(ImageView<'static>),
    File(ImageFile),
}

impl Input {
    pub(crate) fn open(self) -> Result<Opened> {
        match self {
            Input::Image(image) => Ok(Opened::Image(image)),
            Input::Samples(image) => Ok(Opened::Samples(image)),
            Input::File(path) => ImageFile::open(&path).map(Opened::File),
            Input::Encoded(bytes) => ImageFile::of(ImageBytes::Memory(Arc::new(bytes))).map(Opened::File),
        }
    }
}

impl Opened {
    /// (height, width).
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Opened::Image(image) => (image.height() as usize, image.width() as usize),
            Opened::Samples(image) => (image.height(), image.width()),
            Opened::File(file) => file.size(),
        }
    }

    /// Bytes of memory that it, [`Opened::prepare`] and the heatmap of a canvas take.
    pub(crate) fn bytes(&self, form: &RawForm, wanted: Wanted) -> usize {
        let bytes = match self {
            Opened::Image(image) => image.as_bytes().len().saturating_add(ImageView::copied_bytes(image)),
            Opened::Samples(image) => image.bytes(),
            Opened::File(file) if wanted.pixels && can_be_drawn(file) => file.bytes_whole(),
            Opened::File(file) => file.bytes(),
        };
        let canvas = form.canvas_bytes(self.size());
        let heatmap = if wanted.heatmaps { canvas / form.channels * size_of::<f32>() } else { 0 };
        bytes.saturating_add(canvas).saturating_add(heatmap)
    }

    /// Brings it to the form that the net takes, and keeps a file's own pixels if they are wanted and not too many.
    pub(crate) fn prepare(self, form: &RawForm, wanted: Wanted) -> Result<Prepared> {
        let begun = Instant::now();
        match self {
            Opened::Image(image) => Prepared::of(&ImageView::from(&image).checked()?, form),
            Opened::Samples(view) => Prepared::of(&view, form),
            Opened::File(file) if wanted.pixels && can_be_drawn(&file) => {
                form.room(file.size())?;
                let (image, original) = file.with_levels(form.levels).read()?;
                Ok(Prepared { raw: form.of(&image), original, image: Some(image), can_be_drawn: true, begun })
            }
            Opened::File(file) => {
                let can_be_drawn = can_be_drawn(&file);
                let (raw, original) = form.read_open(file)?;
                Ok(Prepared { raw, original, image: None, can_be_drawn, begun })
            }
        }
    }
}

impl Prepared {
    /// An image in memory, of which nothing is kept.
    pub(crate) fn of(view: &ImageView, form: &RawForm) -> Result<Prepared> {
        let begun = Instant::now();
        form.room((view.height(), view.width()))?;
        let (raw, original) = form.of_view(view);
        Ok(Prepared { raw, original, image: None, can_be_drawn: true, begun })
    }
}

/// Whether the pixels of an image fit into memory.
fn can_be_drawn(file: &ImageFile) -> bool {
    file.bytes_whole() <= memory::for_images()
}

/// An image as the net takes it.
pub(crate) struct Prepared {
    /// A square of the raw side, or a canvas.
    pub raw: Images,
    pub original: Original,
    /// A file's own pixels, where they are kept.
    pub image: Option<Images>,
    /// Whether its own pixels are not too many.
    pub can_be_drawn: bool,
    /// When it began to be decoded.
    pub begun: Instant,
}
