//! What is drawn of an image, at its own size and row by row: of a large one no more is held than its pixels.

use std::path::Path;

use super::jobs::ImageJob;
use super::what::{DRAWN, PredictOptions, What};
use super::{ImageReport, Places, Prediction};
use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::printable::Printable;
use crate::report::npy::NpyFile;
use crate::report::png::{ColorType, PngFile};
use crate::run::detector::{Detection, Kept};
use crate::run::heatmap::blend;
use crate::run::regions::Regions;
use crate::{files, memory};

/// Opacity of the heatmap over the image.
const ALPHA: f32 = 0.45;

/// The colour of contours: one that materials rarely have.
const CONTOUR: [u8; 3] = [255, 0, 160];

/// Of an image with more pixels along its longer side, contours are wider than one: for each so many of them by one on either side.
const PIXELS_PER_WIDTH: usize = 1000;

/// Writes what is wanted of an image. The row names the files by where they will lie in the end; what cannot be written leaves an empty
/// name and an error.
pub(super) fn draw(i: usize, kept: Kept, places: &Places) -> (ImageReport, Vec<Error>) {
    let Places { jobs, options, out, place } = *places;
    let job = &jobs[i];
    let Kept { detection, image, can_be_drawn, .. } = kept;
    let (mut names, mut errors) = (DRAWN.map(|_| String::new()), Vec::new());
    let mut regions = None;
    if options.wanted().heatmaps {
        match Drawing::new(job, &detection, image, can_be_drawn, options) {
            Ok(drawing) => {
                for (name, what) in names.iter_mut().zip(DRAWN).filter(|(_, what)| options.wants(*what)) {
                    let result = job.result(what);
                    match drawing.write(what, &place.join(&result)) {
                        Ok(()) => *name = out.join(result).printable(),
                        Err(error) => errors.push(error),
                    }
                }
                regions = drawing.regions.map(|found| found.regions);
            }
            Err(error) => errors.push(error),
        }
    }
    let [heatmap, overlay, mask, map] = names;
    let Detection { score, normalized_score, threshold, verdict, reasons, .. } = detection;
    let (image, reason) = (job.image.printable(), reasons.join("; "));
    let regions = regions.filter(|_| options.wants(What::Regions));
    let region_count = regions.as_ref().map(Vec::len);
    let prediction = Prediction {
        image,
        score,
        normalized_score,
        threshold,
        verdict,
        reason,
        heatmap,
        overlay,
        mask,
        map,
        region_count,
    };
    (ImageReport { prediction, regions }, errors)
}

/// What an image is drawn from.
struct Drawing<'a> {
    detection: &'a Detection,
    image: Option<Images>,
    /// Where they are asked for, or shown, and there is a threshold of pixels.
    regions: Option<Regions>,
    /// (height, width)
    size: (usize, usize),
}

impl Drawing<'_> {
    fn new<'a>(
        job: &ImageJob,
        detection: &'a Detection,
        image: Option<Images>,
        can_be_drawn: bool,
        options: &PredictOptions,
    ) -> Result<Drawing<'a>> {
        if !can_be_drawn {
            let problem = format!(
                "too large to draw: images may take {} of memory (`memory`)",
                memory::in_words(memory::for_images())
            );
            return Err(Error::file(&job.image, problem, "take its score from the table, or allow more"));
        }
        let of_regions = [What::Overlay, What::Mask, What::Regions];
        let threshold = detection.pixel_threshold.filter(|_| of_regions.iter().any(|&what| options.wants(what)));
        let min_area = options.min_area.unwrap_or(1);
        let find = |threshold| detection.pixel_map().map(|map| Regions::of(&map, threshold, min_area));
        let regions = threshold.map(find).transpose()?;
        Ok(Drawing { detection, image, regions, size: detection.size() })
    }

    /// Writes one file.
    fn write(&self, what: What, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), files::create_folder)?;
        match what {
            What::Heatmap => self.png(path, ColorType::Rgb, self.detection.heatmap()?.rows()),
            What::Overlay => match (&self.image, &self.regions) {
                (Some(image), Some(regions)) => self.png(path, ColorType::Rgb, outlined(image, regions)),
                (Some(image), None) => {
                    let colours = self.detection.heatmap()?;
                    let over = colours.rows().enumerate().map(|(y, colours)| {
                        let mut row = rgb(image, y);
                        blend(&mut row, &colours, ALPHA);
                        row
                    });
                    self.png(path, ColorType::Rgb, over)
                }
                (None, _) => Err(Error::internal("the pixels of an image were not kept")),
            },
            What::Mask => {
                let found = self.regions.as_ref().ok_or_else(|| Error::internal("a mask without regions"))?;
                self.png(path, ColorType::Grayscale, found.mask(self.size))
            }
            What::Map => {
                let mut file = NpyFile::begin(path, &[self.size.0, self.size.1])?;
                self.detection.pixel_map()?.rows().try_for_each(|row| file.push(&row))?;
                file.finish()
            }
            What::Scores | What::Regions => Ok(()),
        }
    }

    fn png(&self, path: &Path, color: ColorType, mut rows: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        let mut file = PngFile::begin(path, self.size.0, self.size.1, color)?;
        rows.try_for_each(|row| file.push(&row))?;
        file.finish()
    }
}

/// A row of an image in RGB.
fn rgb(image: &Images, y: usize) -> Vec<u8> {
    let len = image.width * image.channels;
    let row = &image.pixels[y * len..][..len];
    match image.channels {
        3 => row.to_vec(),
        _ => row.iter().flat_map(|&grey| [grey; 3]).collect(),
    }
}

/// An image's rows with the borders of its regions drawn on them.
fn outlined(image: &Images, regions: &Regions) -> impl Iterator<Item = Vec<u8>> {
    let reach = image.height.max(image.width) / PIXELS_PER_WIDTH;
    let mut border: Vec<(usize, usize)> = regions.borders.iter().flatten().map(|&(x, y)| (y, x)).collect();
    border.sort_unstable();
    (0..image.height).map(move |y| {
        let mut row = rgb(image, y);
        let pixels = row.as_chunks_mut::<3>().0;
        let from = border.partition_point(|&(row, _)| row + reach < y);
        for &(_, x) in border[from..].iter().take_while(|&&(row, _)| row <= y + reach) {
            pixels[x.saturating_sub(reach)..(x + reach + 1).min(image.width)].fill(CONTOUR);
        }
        row
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::pixel_map::PixelMap;

    #[test]
    fn contours_are_drawn_on_the_image_as_it_is() {
        let mut values = vec![0.0; 5 * 6];
        for (y, x) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)] {
            values[y * 6 + x] = 1.0;
        }
        let regions = Regions::of(&PixelMap::new(values, (5, 6)), 0.5, 1);
        let image = Images { count: 1, pixels: (0..30).collect(), ..Images::empty(5, 6, 1) };
        let drawn: Vec<u8> = outlined(&image, &regions).flatten().collect();
        for (i, pixel) in drawn.chunks(3).enumerate() {
            let (y, x) = (i / 6, i % 6);
            let is_border = (1..=3).contains(&y) && (1..=3).contains(&x) && (y, x) != (2, 2);
            assert_eq!(pixel, if is_border { CONTOUR } else { [i as u8; 3] }, "{y} {x}");
        }
        let mask: Vec<u8> = regions.mask((5, 6)).flatten().collect();
        assert_eq!(mask.iter().map(|&m| usize::from(m)).sum::<usize>(), 9 * 255);
        assert_eq!((mask[6], mask[7], mask[2 * 6 + 2], mask[29]), (0, 255, 255, 0));
        // Of a large image they are wider.
        let tall = Images { count: 1, pixels: vec![7; 3 * 2000], ..Images::empty(2000, 3, 1) };
        let mut values = vec![0.0; 3 * 2000];
        values[3 * 1000 + 1] = 1.0;
        let regions = Regions::of(&PixelMap::new(values, (2000, 3)), 0.5, 1);
        let marked = outlined(&tall, &regions).flatten().collect::<Vec<u8>>();
        assert_eq!(marked.chunks(3).filter(|pixel| *pixel == CONTOUR).count(), 5 * 3, "two on either side");
    }
}
