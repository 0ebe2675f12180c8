//! From files to batches: file → images → (anomaly, augmentation, normalisation) → batch.
//!
//! | file | holds |
//! | --- | --- |
//! | [`images`], [`resize`] | pictures as bytes: reading, grey and RGB, masks; resizing as Pillow does |
//! | [`fit`] | how a picture of any shape becomes a square |
//! | [`store`], [`prefetch`] | sets of images, in memory or decoded when they are needed; work done ahead of its use |
//! | [`idx`], [`cifar`], [`folder`] | one file format each |
//! | [`sets`] | how each data set lies on disk |
//! | [`dataset`], [`outliers`] | labelled sets with a training and a test split; sets that serve as anomalies |
//! | [`labelled`] | which labelled anomalies of a test split are learned from, and leave it |
//! | [`pipeline`], [`interpret`], [`recipes`] | preprocessing as a list of transforms, its interpreter; the lists of the data sets |
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
pub mod batches;
pub mod cifar;
pub mod constants;
pub(crate) mod contrast;
pub mod cuda;
pub mod dataset;
pub mod fit;
pub mod folder;
pub mod idx;
pub mod image_view;
pub mod images;
pub mod interpret;
pub mod jitter;
pub mod labelled;
pub mod lcn;
pub mod outliers;
pub mod pipeline;
pub mod prefetch;
pub mod recipes;
pub mod resize;
pub mod sets;
pub mod store;
pub mod supervise;
pub mod surfaces;
