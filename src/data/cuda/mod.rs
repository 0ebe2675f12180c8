//! Batches made on the GPU, from images that live there as bytes: the bits of [`TrainingSet::fill`] and
//! [`Preprocessing::test_batch`], by kernels that are only launched (no allocation, no copy, no waiting), so that a captured
//! graph can hold them.
//!
//! A test batch is one launch, as is a training batch without artificial anomalies; noise is one launch more, blurred noise
//! three. Noise is kept per batch as 16-bit integers; images between the raw one and the input are not stored at all: their
//! geometry is a map of rows and one of columns, their bytes a table.

mod noise;
mod program;

use std::sync::Arc;

use crate::data::batches::{Ingredients, Others, TrainingSet};
use crate::data::images::Images;
use crate::data::pipeline::{Preprocessing, Transform};
use crate::data::supervise::Supervise;
use crate::device::cuda::{Buffer, Cuda, Pointer, PointerMut, Result, kernels};
use noise::Noise;
use program::Program;

/// Threads of a block, at most, as in `kernels/augment.cu`.
const THREADS: usize = 768;

/// The way of supervision where anomalies were made beforehand, as in `kernels/sample.cuh`.
const OFFLINE: i32 = 5;

/// A training set in device memory.
///
/// It holds the nominal images as bytes, true anomalies or those made beforehand and their masks (one byte per pixel, if there are any),
/// in `outliers` those too; for artificial anomalies two bytes per raw value of a batch, and four more where they are
/// blurred. [`DeviceSet::size_in_bytes`] tells the sum. A set that does not fit is an out-of-memory error.
pub struct DeviceSet {
    frame: Frame,
    seed: u64,
    /// As `kernels/sample.cuh` numbers them.
    supervise: i32,
    nominal: Buffer<u8>,
    count: usize,
    others: Option<DeviceOthers>,
    noise: Option<Noise>,
    batch: usize,
}

/// True anomalies, or those made beforehand.
struct DeviceOthers {
    images: Buffer<u8>,
    /// One mask per image, or none at all.
    masks: Option<Buffer<u8>>,
    count: usize,
}

/// Raw images in device memory that become inputs as test images do.
pub struct DeviceTestSet {
    frame: Frame,
    images: Buffer<u8>,
    count: usize,
}

/// Where the numbers lie that say which sample an image of a batch is.
#[derive(Clone, Copy)]
struct Draw<'a> {
    clock: Pointer<'a, u32>,
    order: Pointer<'a, u32>,
    stride: u32,
    seed: u64,
    /// As `kernels/sample.cuh` numbers them: in the order of [`Supervise`], then [`OFFLINE`].
    supervise: i32,
}

/// A list of transforms and the shapes that it turns into each other.
struct Frame {
    cuda: Arc<Cuda>,
    program: Program,
    raw_side: usize,
    channels: usize,
    input_len: usize,
}

/// What becomes of the raw images of one launch.
struct Content<'a> {
    nominal: Pointer<'a, u8>,
    count: u32,
    others: Pointer<'a, u8>,
    masks: Pointer<'a, u8>,
    other_count: u32,
    noise: Pointer<'a, i16>,
    labels: PointerMut<'a, f32>,
    maps: PointerMut<'a, f32>,
}

impl DeviceSet {
    /// Uploads a set, with scratch for batches of up to `batch` images.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn new(cuda: &Arc<Cuda>, set: &TrainingSet, batch: usize) -> Result<DeviceSet> {
        let Ingredients { nominal, others, outliers, preprocessing, supervise, seed, .. } = set.ingredients();
        let frame = Frame::new(cuda, preprocessing, &preprocessing.train)?;
        let others = match (set.made(), others) {
            (Some(made), _) => Some(DeviceOthers::new(cuda, made)?),
            (None, Some(others)) if *supervise == Supervise::Other => Some(DeviceOthers::new(cuda, others)?),
            _ => None,
        };
        let noise = if supervise.makes_noise() && set.made().is_none() {
            let shape = (frame.raw_side, frame.channels);
            Some(Noise::new(cuda, set.synthesiser().recipe(), outliers.as_ref(), shape, batch)?)
        } else {
            None
        };
        let supervise = if set.made().is_some() { OFFLINE } else { *supervise as i32 };
        let (nominal, count) = (cuda.upload(&nominal.pixels)?, nominal.count);
        Ok(DeviceSet { frame, seed: *seed, supervise, nominal, count, others, noise, batch })
    }

    /// Launches the kernels that make a batch of `n` images: `input` takes n × side × side × channels floats (NHWC), `labels` n
    /// floats, `maps`, where wanted, n × side × side floats. `clock` is the number of the batch within the epoch, then the
    /// epoch; image `i` is sample `order[clock[0] · stride + i]`.
    #[expect(clippy::too_many_arguments, reason = "what is read, then what is written")]
    pub fn enqueue(
        &self,
        n: usize,
        stride: usize,
        clock: Pointer<'_, u32>,
        order: Pointer<'_, u32>,
        input: PointerMut<'_, f32>,
        labels: PointerMut<'_, f32>,
        maps: Option<PointerMut<'_, f32>>,
    ) -> Result<()> {
        assert!(n <= self.batch && n <= stride, "{n} images where the batch has {} and a row {stride}", self.batch);
        if n == 0 {
            return Ok(());
        }
        let draw = Draw { clock, order, stride: stride as u32, seed: self.seed, supervise: self.supervise };
        if let Some(noise) = &self.noise {
            noise.enqueue(n, draw)?;
        }
        let others = self.others.as_ref();
        let content = Content {
            nominal: self.nominal.pointer(),
            count: self.count as u32,
            others: others.map_or(Pointer::null(), |others| others.images.pointer()),
            masks: others.and_then(|others| others.masks.as_ref()).map_or(Pointer::null(), Buffer::pointer),
            other_count: others.map_or(0, |others| others.count as u32),
            noise: self.noise.as_ref().map_or(Pointer::null(), |noise| noise.values().pointer()),
            labels,
            maps: maps.unwrap_or(PointerMut::null()),
        };
        self.frame.enqueue(n, draw, content, input)
    }

    /// Bytes of device memory that the set holds.
    pub fn size_in_bytes(&self) -> usize {
        let others =
            self.others.as_ref().map_or(0, |others| others.images.len() + others.masks.as_ref().map_or(0, Buffer::len));
        let noise = self.noise.as_ref().map_or(0, Noise::size_in_bytes);
        self.nominal.len() + others + noise + self.frame.program.size_in_bytes()
    }
}

impl DeviceOthers {
    fn new(cuda: &Arc<Cuda>, Others { images, masks, .. }: &Others) -> Result<DeviceOthers> {
        let masks = if masks.is_empty() {
            None
        } else {
            let mut pixels = vec![1; images.count * images.height * images.width];
            for (pixels, mask) in pixels.chunks_exact_mut(images.height * images.width).zip(masks) {
                if let Some(mask) = mask {
                    pixels.copy_from_slice(&mask.pixels);
                }
            }
            Some(cuda.upload(&pixels)?)
        };
        Ok(DeviceOthers { images: cuda.upload(&images.pixels)?, masks, count: images.count })
    }
}

impl DeviceTestSet {
    /// Room for `count` raw images: one byte per value.
    ///
    /// # Errors
    /// Where the memory of the GPU does not suffice.
    pub fn with_room(cuda: &Arc<Cuda>, preprocessing: &Preprocessing, count: usize) -> Result<DeviceTestSet> {
        let frame = Frame::new(cuda, preprocessing, &preprocessing.test)?;
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
    pub fn enqueue(&self, first: usize, n: usize, input: PointerMut<'_, f32>) -> Result<()> {
        assert!(first + n <= self.count, "images {first} to {} of {}", first + n, self.count);
        if n == 0 {
            return Ok(());
        }
        let null = Pointer::null();
        let draw = Draw { clock: null, order: null, stride: 0, seed: 0, supervise: Supervise::Unsupervised as i32 };
        let content = Content {
            nominal: self.images.pointer_mut().offset(first * self.frame.raw_len()).read(),
            count: n as u32,
            others: Pointer::null(),
            masks: Pointer::null(),
            other_count: 0,
            noise: Pointer::null(),
            labels: PointerMut::null(),
            maps: PointerMut::null(),
        };
        self.frame.enqueue(n, draw, content, input)
    }

    /// Bytes of device memory that the set holds.
    pub fn size_in_bytes(&self) -> usize {
        self.images.len() + self.frame.program.size_in_bytes()
    }
}

impl Frame {
    fn new(cuda: &Arc<Cuda>, preprocessing: &Preprocessing, list: &[Transform]) -> Result<Frame> {
        let program = Program::new(cuda, list, preprocessing.raw_side)?;
        Ok(Frame {
            cuda: cuda.clone(),
            program,
            raw_side: preprocessing.raw_side,
            channels: preprocessing.channels,
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
        kernels::augment::augment_batch(
            self.cuda.launch([n as u32, 1, 1], threads as u32, shared as u32),
            content.nominal,
            content.count,
            content.others,
            content.masks,
            content.other_count,
            content.noise,
            draw.clock,
            draw.order,
            draw.stride,
            draw.seed,
            draw.supervise,
            self.program.ints.pointer(),
            self.program.floats.pointer(),
            self.program.steps,
            self.raw_side as i32,
            self.program.widest as i32,
            self.channels as i32,
            input,
            content.labels,
            content.maps,
        )
    }
}
