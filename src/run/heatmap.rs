//! From a model's anomaly maps to heatmaps: upsampling without the net, for images that were scored before; colours and overlays.

use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;

use super::model::Model;
use super::pixel_map::PixelMap;
use super::stitch::cells;
use crate::data::counted::Counted;
use crate::data::resize_mode::Region;
use crate::data::tiles::TileGrid;
use crate::error::{Error, Result};
use crate::model::{Objective, baselines, nets};
use crate::report::heatmap::Scale;
use crate::report::jet::jet;
use crate::steps::blur::gaussian_blur;
use crate::steps::upsample::{GaussianTaps, ReceptiveField, upsample, upsample_between};

/// Where in an image the anomaly lies: values from 0 (normal) to 1 (anomalous) on a scale, the same for all images of a model.
///
/// It keeps the values at the size of the net's input; those of an image's own pixels are interpolated when they are asked for. What
/// the net has not seen of an image, since the image was cropped, is 0, and so is what does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap(PixelMap);

/// How a model's maps become heatmaps.
pub(crate) struct Renderer {
    form: MapForm,
    /// Side of inputs and heatmaps.
    side: usize,
    /// Which part of each image counts; None where all of it does.
    counted: Option<Arc<Counted>>,
}

enum MapForm {
    /// Upsampled by receptive fields from maps of side `u`.
    Upsampled { taps: GaussianTaps, field: ReceptiveField, sigma: f64 },
    /// Gradients are blurred by a kernel of so many taps.
    Blurred { taps: usize, sigma: f64 },
    /// Errors of each channel are shown by their mean, once each is scaled.
    Averaged { channels: usize },
}

impl Renderer {
    /// For the maps of a model.
    pub(crate) fn new(model: &Model) -> Result<Renderer> {
        let (settings, arch) = (&model.meta.settings, model.arch()?);
        let (side, sigma) = (settings.side, settings.sigma);
        let form = match arch.objective {
            Objective::Fcdd => {
                let field = arch.receptive_field(side)?;
                MapForm::Upsampled { taps: GaussianTaps::new(field, side, sigma), field, sigma }
            }
            Objective::Hsc => MapForm::Blurred { taps: blur_taps(&arch.name)?, sigma },
            Objective::Ae => MapForm::Averaged { channels: arch.channels },
        };
        Ok(Renderer { form, side, counted: model.meta.counted.clone().map(Arc::new) })
    }

    /// The same where all of an image counts: of training samples, which need not lie as their images do.
    pub(crate) fn of_all(self) -> Renderer {
        Renderer { counted: None, ..self }
    }

    /// Shape of one map.
    pub(crate) fn map_shape(&self) -> Vec<usize> {
        let side = self.side;
        match self.form {
            MapForm::Upsampled { field: ReceptiveField { n: u, .. }, .. } => vec![u, u],
            MapForm::Averaged { channels } if channels > 1 => vec![side, side, channels],
            MapForm::Blurred { .. } | MapForm::Averaged { .. } => vec![side, side],
        }
    }

    /// The heatmap to show of a map.
    pub(crate) fn of_map(&self, map: &[f32]) -> Vec<f32> {
        match &self.form {
            MapForm::Upsampled { taps, field: ReceptiveField { n: u, .. }, .. } => {
                let mut heatmap = vec![0.0; self.side * self.side];
                upsample(taps, *u, map, &mut heatmap, &mut vec![0.0; u * self.side]);
                heatmap
            }
            MapForm::Blurred { .. } | MapForm::Averaged { .. } => self.of_heatmap(map),
        }
    }

    /// The same of the [stitched](super::stitch::Stitching) map of a canvas, at the canvas's size. Other maps stay as they are.
    pub(crate) fn of_canvas(&self, map: &[f32], TileGrid { rows, columns }: &TileGrid) -> Vec<f32> {
        let MapForm::Upsampled { field, sigma, .. } = self.form else { return map.to_vec() };
        let taps = |axis| GaussianTaps::new(ReceptiveField { n: cells(axis, field), ..field }, axis.len, sigma);
        upsample_between(&taps(rows), &taps(columns), map, cells(columns, field))
    }

    /// The heatmap to show of a heatmap as the net gives it.
    pub(crate) fn of_heatmap(&self, heatmap: &[f32]) -> Vec<f32> {
        match self.form {
            MapForm::Blurred { taps, sigma } => gaussian_blur(heatmap, self.side, self.side, 1, taps, sigma),
            MapForm::Upsampled { .. } | MapForm::Averaged { .. } => heatmap.to_vec(),
        }
    }

    /// A heatmap of the net's input, or of a canvas of another `size`, of values as [`Renderer::of_map`], [`Renderer::of_canvas`] and
    /// [`Renderer::of_heatmap`] give them.
    pub(crate) fn heatmap(&self, scale: Scale<f32>, mut values: Vec<f32>, size: Option<(usize, usize)>) -> Heatmap {
        scale.apply(&mut values);
        Heatmap(self.unscaled(values, size))
    }

    /// The same of values as they are.
    pub(crate) fn unscaled(&self, values: Vec<f32>, size: Option<(usize, usize)>) -> PixelMap {
        let (height, width) = size.unwrap_or((self.side, self.side));
        PixelMap::new(over_channels(values, height * width), (height, width)).counting(self.counted.clone())
    }

    /// The values of an input or a canvas of (height, width), 0 where it does not count.
    pub(crate) fn counted(&self, values: Vec<f32>, size: (usize, usize)) -> Vec<f32> {
        let mut values = over_channels(values, size.0 * size.1);
        if let Some(counted) = &self.counted {
            values.iter_mut().zip(counted.pixels(size)).for_each(|(value, counts)| *value *= f32::from(counts));
        }
        values
    }
}

impl Heatmap {
    /// The same of an image of (height, width) of which the net's input shows a part.
    pub(crate) fn within(self, size: (usize, usize), seen: Region) -> Heatmap {
        Heatmap(self.0.within(size, seen))
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.0.size().0
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.0.size().1
    }

    /// The values [height, width] on the model's scale, clamped to 0…1. Those before scaling are
    /// [`Detection::map`](crate::Detection::map).
    pub fn values(&self) -> Vec<f32> {
        self.0.values()
    }

    /// In the colours of the jet map, from dark blue to dark red.
    pub fn to_image(&self) -> RgbImage {
        let mut image = RgbImage::from_pixel(self.width() as u32, self.height() as u32, image::Rgb(jet(0.0)));
        self.0.paint(&mut image, 3, |pixel, value| pixel.copy_from_slice(&jet(value)));
        image
    }

    /// Lays its colours over the image that it is of: `alpha` = 0 shows the image alone, 1 the heatmap alone.
    ///
    /// # Errors
    /// When the image has another size.
    pub fn overlay(&self, image: &mut RgbImage, alpha: f32) -> Result<()> {
        let over = self.to_image();
        if image.dimensions() != over.dimensions() {
            let size = |image: &RgbImage| format!("{}×{}", image.height(), image.width());
            let problem = format!("a heatmap of {} pixels over an image of {}", size(&over), size(image));
            return Err(Error::setting(problem, "give the image that it is of"));
        }
        let row = self.width() * 3;
        image.par_chunks_mut(row).zip(over.par_chunks(row)).for_each(|(under, over)| blend(under, over, alpha));
        Ok(())
    }

    /// Its rows one after the other, in the colours of [`Heatmap::to_image`].
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.rows().map(|row| row.into_iter().flat_map(jet).collect())
    }

    /// The same in grey: 255 where the value is 1.
    pub(crate) fn grey_rows(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.rows().map(|row| row.into_iter().map(|value| (value * 255.0 + 0.5) as u8).collect())
    }
}

/// Lays the bytes of one image over those of another.
pub(super) fn blend(under: &mut [u8], over: &[u8], alpha: f32) {
    for (under, &over) in under.iter_mut().zip(over) {
        let (u, o) = (f32::from(*under), f32::from(over));
        *under = (u + (o - u) * alpha + 0.5) as u8;
    }
}

/// Taps of the blur of an HSC net's heatmaps: the receptive field of the matching FCDD net, made odd.
pub(crate) fn blur_taps(net: &str) -> Result<usize> {
    let fcdd = nets::by_name(&baselines::counterpart(net, Objective::Fcdd), true)?;
    Ok((fcdd.receptive_field(fcdd.side)?.size - 1) | 1)
}

/// The mean over the channels of each of so many pixels.
fn over_channels(values: Vec<f32>, pixels: usize) -> Vec<f32> {
    match values.len() / pixels {
        1 => values,
        channels => values.chunks_exact(channels).map(|pixel| pixel.iter().sum::<f32>() / channels as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heatmap of two pixels, and an image of them between one column on either side that the net has not seen.
    fn heatmap() -> Heatmap {
        let seen = Region { top: 0, left: 1, height: 2, width: 2 };
        Heatmap(PixelMap::new(vec![0.0, 1.0, 0.0, 1.0], (2, 2)).within((2, 4), seen))
    }

    #[test]
    fn what_was_not_seen_is_zero() {
        assert_eq!(heatmap().values(), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let image = heatmap().to_image();
        let colours: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(colours[..4], [jet(0.0), jet(0.0), jet(1.0), jet(0.0)]);
        assert_eq!(heatmap().rows().flatten().collect::<Vec<u8>>(), image.into_raw());
    }

    #[test]
    fn alpha_leads_from_the_image_to_the_heatmap() {
        let image = RgbImage::from_raw(4, 2, (10..34).collect()).unwrap();
        let over = |alpha| {
            let mut image = image.clone();
            heatmap().overlay(&mut image, alpha).unwrap();
            image
        };
        assert_eq!(over(0.0), image);
        assert!(
            heatmap()
                .overlay(&mut RgbImage::new(2, 4), 0.5)
                .unwrap_err()
                .to_string()
                .contains("2×4 pixels over an image of 4×2")
        );
        assert_eq!(over(1.0), heatmap().to_image());
        // Of jet(0) = (0, 0, 128) and jet(1) = (128, 0, 0), half each, rounded.
        assert_eq!(over(0.5).get_pixel(0, 0).0, [5, 6, 70]);
        assert_eq!(over(0.5).get_pixel(2, 0).0, [72, 9, 9]);
    }
}
