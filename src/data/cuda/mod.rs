//! Batches made on the GPU, from images that live there as bytes: the bits of [`TrainingSet::fill`] and
//! [`Preprocessing::test_batch`], by kernels that are only launched (no allocation, no copy, no waiting), so that a captured
//! graph can hold them.
//!
//! A test batch is one launch, as is a training batch without artificial anomalies; noise is one launch more, blurred noise
//! three. Noise is kept per batch as 16-bit integers; images between the raw one and the input are not stored at all: their
//! geometry is a map of rows and one of columns, their bytes a table.

#![allow(unsafe_code)] // launches

mod noise;
mod program;

use std::sync::Arc;

use crate::data::anomaly::gpu::Draw;
use crate::data::batches::{LabelledAnomalies, TrainingData, TrainingSet};
use crate::data::image_source::ImageSource;
use crate::data::images::Images;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::supervise::Supervise;
use crate::device::cuda::kernels::{AugmentParameters, Lots, Supervision, augment, constants};
use crate::device::cuda::{
    BatchSource, BatchTarget, Buffer, Cuda, DeviceSlice, Pointer, PointerMut, Result, Staging, TargetParts,
};
use noise::{BatchNoise, DeviceIngredients};
use program::Program;

/// Threads of a block, at most.
const THREADS: usize = constants::augment::THREADS as usize;

impl From<Supervise> for Supervision {
    fn from(supervise: Supervise) -> Supervision {
        match supervise {
            Supervise::Unsupervised => Supervision::Unsupervised,
            Supervise::Other => Supervision::Other,
            Supervise::Noise => Supervision::Noise,
            Supervise::MalformedNormal => Supervision::MalformedNormal,
            Supervise::MalformedNormalGt => Supervision::MalformedNormalGt,
        }
    }
}

/// A training set in device memory.
///
/// It holds the normal images as bytes, labelled anomalies or those made beforehand and their masks (one byte per pixel, if there are any),
/// in `outliers` those too; for artificial anomalies two bytes per raw value of a batch, and four more where they are
/// blurred. A set that does not fit is an out-of-memory error.
pub struct DeviceSet {
    frame: TransformFrame,
    seed: u64,
    supervise: Supervision,
    labelled: Lots,
    /// Whether masks, which are staged then, say what is outside of each image, or does not count.
    bounded: bool,
    normal: Bytes,
    /// Normal images; 0 where they are staged.
    count: usize,
    others: Option<DeviceOthers>,
    noise: Option<BatchNoise>,
    batch: usize,
}

/// Raw images or masks: a set, or a part of what is staged for a batch.
#[derive(Clone)]
struct Bytes {
    buffer: Arc<Buffer<u8>>,
    start: usize,
}

/// Labelled anomalies, or those made beforehand.
struct DeviceOthers {
    images: Bytes,
    /// One mask per image; none where they are anomalous all over.
    masks: Option<Bytes>,
    count: usize,
}

/// Raw images in device memory that become inputs as test images do.
pub struct DeviceTestSet {
    frame: TransformFrame,
    images: Buffer<u8>,
    count: usize,
}

/// A list of transforms and the shapes that it turns into each other.
struct TransformFrame {
    cuda: Arc<Cuda>,
    program: Program,
    raw_side: usize,
    channels: usize,
    side: usize,
    input_len: usize,
}

/// What becomes of the raw images of one launch.
struct Content<'a> {
    labelled: Lots,
    bounded: bool,
    normal: Pointer<'a, u8>,
    count: u32,
    others: Pointer<'a, u8>,
    masks: Pointer<'a, u8>,
    other_count: u32,
    noise: Pointer<'a, i16>,
    labels: PointerMut<'a, f32>,
    maps: PointerMut<'a, f32>,
}

impl DeviceSet {
    /// Uploads a set that is held and of whose images all counts, with scratch for batches of up to `batch` images.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn new(cuda: &Arc<Cuda>, set: &TrainingSet, batch: usize) -> Result<DeviceSet> {
        assert!(!set.is_staged(), "a set that is to be staged");
        let TrainingData { normal, labelled, outliers, preprocessing, supervise, seed, .. } = set.data();
        let frame = TransformFrame::new(cuda, preprocessing, &preprocessing.train)?;
        let others = match (set.made(), labelled) {
            (Some(made), _) => Some(DeviceOthers::new(cuda, made)?),
            (None, Some(labelled)) if set.data().learns_labelled() => Some(DeviceOthers::new(cuda, labelled)?),
            (None, _) => None,
        };
        let (normal, count) = (Bytes::held(cuda, normal)?, normal.count());
        let noise = if supervise.makes_noise() && set.made().is_none() {
            let others = match outliers {
                Some(outliers) => (Bytes::held(cuda, outliers)?, outliers.count()),
                None => (Bytes::new(cuda.zeros(0)?), 0),
            };
            let images = DeviceIngredients { normals: (normal.clone(), count), others };
            Some(BatchNoise::new(cuda, set, images, batch)?)
        } else {
            None
        };
        let supervise = if set.made().is_some() { Supervision::Offline } else { (*supervise).into() };
        let labelled = if set.made().is_some() { Lots::NONE } else { set.data().labelled_lots() };
        Ok(DeviceSet { frame, seed: *seed, supervise, labelled, bounded: false, normal, count, others, noise, batch })
    }

    /// A set of which each batch, as [`TrainingSet::stage`] lays it out, is staged before it is made.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn staged(cuda: &Arc<Cuda>, set: &TrainingSet, batch: usize) -> Result<(DeviceSet, Staging)> {
        let TrainingData { preprocessing, supervise, seed, .. } = set.data();
        let frame = TransformFrame::new(cuda, preprocessing, &preprocessing.train)?;
        let staging = Staging::new(cuda, set.staged_len(batch))?;
        let part = |start| Bytes { buffer: staging.target().clone(), start };
        let (normal, other, masks) = (part(0), part(batch * frame.raw_len()), part(2 * batch * frame.raw_len()));
        let noise = if supervise.makes_noise() {
            let images = DeviceIngredients { normals: (normal.clone(), 0), others: (other.clone(), 0) };
            Some(BatchNoise::new(cuda, set, images, batch)?)
        } else {
            None
        };
        let others = DeviceOthers { images: other, masks: Some(masks), count: 0 };
        let bounded = set.data().is_bounded();
        let others = (bounded || set.data().learns_labelled()).then_some(others);
        let (supervise, labelled) = ((*supervise).into(), set.data().labelled_lots());
        let there =
            DeviceSet { frame, seed: *seed, supervise, labelled, bounded, normal, count: 0, others, noise, batch };
        Ok((there, staging))
    }
}

impl DeviceSet {
    /// Makes batch `number` of an epoch's order, of which each batch but the last has `stride` images, into inputs, labels and maps; returns
    /// the seconds that it takes by the device's clock.
    ///
    /// # Errors
    /// Those of launches and copies, and memory that is too short.
    pub fn draw(
        &self,
        epoch: u32,
        order: &[u32],
        (number, stride): (usize, usize),
        [inputs, labels, maps]: [DeviceSlice<'_, f32>; 3],
    ) -> Result<f64> {
        let n = order.len().saturating_sub(number.saturating_mul(stride)).min(stride);
        let cuda = &self.frame.cuda;
        let (clock, order) = (cuda.upload(&[number as u32, epoch])?, cuda.upload(order)?);
        let start = cuda.mark()?;
        // SAFETY: the order has n samples from there on.
        self.enqueue(unsafe { BatchTarget::new((n, stride), (&clock, &order), (inputs, labels, Some(maps))) })?;
        cuda.mark()?.seconds_since(&start)
    }
}

// SAFETY: its buffers stay where they are until it is dropped.
unsafe impl BatchSource for DeviceSet {
    /// Makes n inputs of side × side × channels floats (NHWC), n labels and, where they are wanted, n maps of side × side floats.
    fn enqueue(&self, target: BatchTarget<'_>) -> Result<()> {
        let &TargetParts { n, stride, clock, order, input, labels, maps } = target.parts();
        assert!(n <= self.batch && n <= stride, "{n} images where the batch has {} and a row {stride}", self.batch);
        if n == 0 {
            return Ok(());
        }
        let (frame, cuda) = (&self.frame, &self.frame.cuda);
        let input = input.of(cuda, n * frame.input_len, "values of inputs")?;
        let labels = labels.of(cuda, n, "labels")?;
        let maps = maps.map(|maps| maps.of(cuda, n * frame.side * frame.side, "pixels of maps")).transpose()?;
        let clock = clock.as_slice().of(cuda, 2, "numbers of the clock")?.read();
        let order = order.as_slice().of(cuda, n, "samples of the order")?.read();
        let draw =
            Draw { clock, order, stride: stride as u32, seed: self.seed, supervise: self.supervise, lots: Lots::ALL };
        if let Some(noise) = &self.noise {
            noise.enqueue(n, draw)?;
        }
        let others = self.others.as_ref();
        let content = Content {
            labelled: self.labelled,
            bounded: self.bounded,
            normal: self.normal.pointer(),
            count: self.count as u32,
            others: others.map_or(Pointer::null(), |others| others.images.pointer()),
            masks: others.and_then(|others| others.masks.as_ref()).map_or(Pointer::null(), Bytes::pointer),
            other_count: others.map_or(0, |others| others.count as u32),
            noise: self.noise.as_ref().map_or(Pointer::null(), |noise| noise.values().pointer()),
            labels,
            maps: maps.unwrap_or(PointerMut::null()),
        };
        frame.enqueue(n, draw, content, input)
    }
}

impl Bytes {
    fn new(buffer: Buffer<u8>) -> Bytes {
        Bytes { buffer: Arc::new(buffer), start: 0 }
    }

    /// Uploads a set that is held.
    fn held(cuda: &Arc<Cuda>, store: &ImageSource) -> Result<Bytes> {
        Ok(Bytes::new(cuda.upload(store.held().map_or(&[], |images| &images.pixels))?))
    }

    fn pointer(&self) -> Pointer<'_, u8> {
        assert!(self.start <= self.buffer.len(), "a part beyond what is staged");
        // SAFETY: it lies in the buffer.
        unsafe { self.buffer.pointer_mut().offset(self.start) }.read()
    }
}

impl DeviceOthers {
    fn new(cuda: &Arc<Cuda>, others: &LabelledAnomalies) -> Result<DeviceOthers> {
        let LabelledAnomalies { images, masks, without_mask, .. } = others;
        let masks = if masks.is_empty() && *without_mask == 1 {
            None
        } else {
            let [height, width, _] = images.shape();
            let mut pixels = vec![0; images.count() * height * width];
            pixels.chunks_exact_mut(height * width).enumerate().for_each(|(i, truth)| others.write_truth(i, truth));
            Some(Bytes::new(cuda.upload(&pixels)?))
        };
        Ok(DeviceOthers { images: Bytes::held(cuda, images)?, masks, count: images.count() })
    }
}

impl DeviceTestSet {
    /// Room for `count` raw images: one byte per value.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn with_room(cuda: &Arc<Cuda>, preprocessing: &Preprocessing, count: usize) -> Result<DeviceTestSet> {
        let frame = TransformFrame::new(cuda, preprocessing, &preprocessing.test)?;
        let images = cuda.alloc(count * frame.raw_len())?;
        Ok(DeviceTestSet { frame, images, count })
    }

    /// The images of a set.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn new(cuda: &Arc<Cuda>, preprocessing: &Preprocessing, images: &Images) -> Result<DeviceTestSet> {
        let mut set = DeviceTestSet::with_room(cuda, preprocessing, images.count)?;
        set.write(0, &images.pixels)?;
        Ok(set)
    }

    /// Copies raw images to the places from `first` on.
    pub fn write(&mut self, first: usize, pixels: &[u8]) -> Result<()> {
        assert_eq!(pixels.len() % self.frame.raw_len(), 0, "whole images");
        self.images.write(first * self.frame.raw_len(), pixels)
    }

    /// Launches the kernel that turns `n` images from `first` on into n × side × side × channels floats (NHWC).
    ///
    /// # Errors
    /// Those of a launch, and too short an input or one on another opening of a device.
    pub fn enqueue(&self, first: usize, n: usize, input: DeviceSlice<'_, f32>) -> Result<()> {
        assert!(first.saturating_add(n) <= self.count, "{n} images from {first} on, of {}", self.count);
        if n == 0 {
            return Ok(());
        }
        let null = Pointer::null();
        let supervise = Supervision::Unsupervised;
        let draw = Draw { clock: null, order: null, stride: 0, seed: 0, supervise, lots: Lots::ALL };
        let content = Content {
            labelled: Lots::NONE,
            bounded: false,
            // SAFETY: the set holds that many images.
            normal: unsafe { self.images.pointer_mut().offset(first * self.frame.raw_len()) }.read(),
            count: n as u32,
            others: Pointer::null(),
            masks: Pointer::null(),
            other_count: 0,
            noise: Pointer::null(),
            labels: PointerMut::null(),
            maps: PointerMut::null(),
        };
        let input = input.of(&self.frame.cuda, n * self.frame.input_len, "values of inputs")?;
        self.frame.enqueue(n, draw, content, input)
    }
}

impl TransformFrame {
    fn new(cuda: &Arc<Cuda>, preprocessing: &Preprocessing, list: &[Transform]) -> Result<TransformFrame> {
        let program = Program::new(cuda, list, preprocessing.raw_side)?;
        Ok(TransformFrame {
            cuda: cuda.clone(),
            program,
            raw_side: preprocessing.raw_side,
            channels: preprocessing.channels,
            side: preprocessing.side,
            input_len: preprocessing.input_len(),
        })
    }

    fn raw_len(&self) -> usize {
        self.raw_side * self.raw_side * self.channels
    }

    fn enqueue(&self, n: usize, draw: Draw<'_>, content: Content<'_>, input: PointerMut<'_, f32>) -> Result<()> {
        // A thread makes four values at a time.
        let threads = self.input_len.div_ceil(4).next_multiple_of(32).clamp(64, THREADS);
        let shared = 2 * self.program.widest * size_of::<i16>();
        let Content { labelled, bounded, normal, count, others, masks, other_count, noise, labels, maps } = content;
        let parameters = AugmentParameters {
            normal,
            others,
            masks,
            noise,
            draw,
            labelled,
            bounded: bounded.into(),
            program: self.program.ints.pointer(),
            numbers: self.program.floats.pointer(),
            inputs: input,
            labels,
            maps,
            count,
            other_count,
            steps: self.program.steps,
            raw_side: self.raw_side as i32,
            widest: self.program.widest as i32,
            channels: self.channels as i32,
        };
        let launch = self.cuda.launch([n as u32, 1, 1], threads as u32, shared as u32);
        // SAFETY: the images are `count` and `other_count` of raw_side² · channels bytes, or those staged for the batch; the caller has room
        // for n inputs, labels and maps (`Content`).
        unsafe { augment::augment_batch(launch, &parameters) }
    }
}
