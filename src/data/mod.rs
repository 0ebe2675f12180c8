//! From files to batches, whatever the dataset: file → images → (anomaly, augmentation, normalisation) → batch.
//!
//! | file | holds |
//! | --- | --- |
//! | [`decode`] | image files, row by row |
//! | [`images`], [`resize`] | images as bytes: reading, grey and RGB, masks; resizing as Pillow does |
//! | [`levels`] | which samples of 16 bits are black and which white |
//! | [`resize_mode`] | how an image of any shape becomes a square, or a canvas |
//! | [`tiles`], [`canvases`] | the squares that a net sees of a canvas; sets of canvases |
//! | [`image_source`], [`prefetch`] | sets of images, in memory or decoded when they are needed; work done ahead of its use |
//! | [`fingerprint`] | what tells the images of a run from others |
//! | [`image_view`] | images in a caller's memory |
//! | [`idx`], [`cifar`], [`folder`] | one file format each |
//! | [`split`] | a split of a dataset with its labels, and what is asked for to read one |
//! | [`labelled`] | which labelled anomalies of a test split are learned from, and leave it |
//! | [`pipeline`], [`interpret`] | preprocessing as a list of transforms, its interpreter |
//! | [`counted`] | which part of each image counts |
//! | [`appearance`] | what good images look like to whoever took them, and which others cannot be judged |
//! | [`augmentation`] | what a user changes of such a list |
//! | [`jitter`], `contrast`, [`constants`] | colour jitter, what depends on a whole image, what is computed from the data |
//! | [`lcn`] | the formula that `contrast`'s integers are checked against |
//! | [`anomaly`] | artificial anomalies |
//! | [`supervise`], [`batches`] | who becomes an anomaly, and how; the training batches |
//! | [`cuda`] | training and test batches made on the GPU, the same bits |
//! | [`surfaces`] | synthetic surfaces with defects, for the demo |
//!
//! Everything after the files is bytes, integers, or single f32 operations (+ − × ÷ √) in a fixed order, and every random
//! number is addressed by (seed, purpose, epoch, sample, index). So a batch is the same for any batch size, thread count or
//! device.

pub mod anomaly;
pub(crate) mod appearance;
pub mod augmentation;
pub mod batches;
pub mod canvases;
pub(crate) mod cifar;
pub(crate) mod constants;
pub(crate) mod contrast;
pub mod counted;
pub mod cuda;
pub(crate) mod decode;
pub mod fingerprint;
pub mod folder;
pub(crate) mod idx;
pub mod image_source;
pub(crate) mod image_view;
pub mod images;
pub(crate) mod interpret;
pub mod jitter;
pub(crate) mod labelled;
pub(crate) mod lcn;
pub mod levels;
pub mod pipeline;
pub mod prefetch;
pub(crate) mod resize;
pub mod resize_mode;
pub(crate) mod split;
pub mod supervise;
pub(crate) mod surfaces;
pub(crate) mod tiles;
