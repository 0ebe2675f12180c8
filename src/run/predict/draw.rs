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
use crate::run::overlay::{outlined, tinted};
use crate::run::regions::Regions;
use crate::{files, memory};

/// Writes what is wanted of an image. The row names the files by where they will lie in the end; what cannot be written leaves an empty
/// name and an error.
pub(super) fn draw(job: &ImageJob, kept: Kept, places: &Places) -> (ImageReport, Vec<Error>) {
    let Places { options, out, place, check } = *places;
    let Kept { detection, image, can_be_drawn, .. } = kept;
    let (mut names, mut errors) = (DRAWN.map(|_| String::new()), Vec::new());
    let mut regions = None;
    if options.wanted().heatmaps {
        match Drawing::new(job, &detection, image, can_be_drawn, options) {
            Ok(drawing) => {
                for (name, what) in names.iter_mut().zip(DRAWN).filter(|(_, what)| options.wants(*what)) {
                    let result = job.result(what);
                    match check().and_then(|()| drawing.write(what, &place.join(&result))) {
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
                (Some(image), None) => self.png(path, ColorType::Rgb, tinted(image, &self.detection.heatmap()?)),
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
