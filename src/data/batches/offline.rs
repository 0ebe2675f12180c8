//! Anomalies that are made once, before training.

use rayon::prelude::*;

use super::{LabelledAnomalies, SampleScratch, TrainingData, TrainingSet};
use crate::data::images::{Images, Mask};
use crate::data::supervise::Supervise;
use crate::error::{Error, Result};

/// The epoch whose streams they are made from: one that no training reaches.
const EPOCH: u32 = u32::MAX;

impl TrainingSet {
    /// An anomaly for each normal image, in their order: what that image becomes if noise is added where it is dark and taken away
    /// where it is bright, or what takes its place.
    pub(super) fn make_anomalies(&self) -> Result<LabelledAnomalies> {
        let TrainingData { normal, supervise, .. } = &self.data;
        if *supervise == Supervise::Unsupervised {
            return Err(Error::setting("there are no anomalies to make before training", "choose another `supervise`"));
        }
        let (count, [height, width, channels]) = (normal.count(), normal.shape());
        Images::room_for(count, height, channels)?;
        let mut images = Images { count, ..Images::empty(height, width, channels) };
        images.pixels.resize(count * normal.image_len(), 0);
        let make = |scratch: &mut SampleScratch, (sample, image): (usize, &mut [u8])| {
            self.make_anomaly(scratch, sample, EPOCH, sample as u32)?;
            image.copy_from_slice(&scratch.image);
            Ok(Some(Mask { height, width, pixels: scratch.mask.clone() }))
        };
        let made = images.pixels.par_chunks_mut(normal.image_len()).enumerate().map_init(SampleScratch::default, make);
        // Where all masks are one all over, none says the same.
        let masks = if *supervise == Supervise::MalformedNormalGt || self.data.learns_labelled() {
            made.collect::<Result<_>>()?
        } else {
            made.try_for_each(|mask| mask.map(drop))?;
            Vec::new()
        };
        Ok(LabelledAnomalies { images: images.into(), masks, without_mask: 1, untested: Vec::new() })
    }
}
