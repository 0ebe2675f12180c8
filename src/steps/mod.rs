//! One home per step kind: its definition and geometry, its CPU form, the plain operations it composes, and its CUDA launcher (`cuda.rs`).
//!
//! | step | file | kernels |
//! | --- | --- | --- |
//! | `conv_fprop`, `conv_dgrad`, `conv_wgrad` | [`conv`] | `conv_fprop.cu`, `conv_dgrad.cu`, `conv_wgrad.cu`; on tensor cores `conv_fprop_bf16.cu`, `conv_wgrad_bf16.cu`, `conv_fprop_wgmma.cu`, `conv_wgrad_wgmma.cu` |
//! | `norm_act_pool`, `norm_act_pool_backward` | [`norm_act_pool`], fusing [`norm`], [`activation`] and [`pool`] | `norm_act_pool.cu`; `norm.cu` merges the statistics that `conv_fprop` takes |
//! | `head`, `head_backward` | [`head`] | `head.cu` |
//! | `map_loss`, `pseudo_huber_backward` | [`fcdd_loss`] | `fcdd_loss.cu` |
//! | `hsc_score`, `hsc_loss`, `gradient_heatmap` | [`hsc_loss`] | `hsc_loss.cu` |
//! | `reconstruction`, `reconstruction_loss` | [`reconstruction_loss`] | `reconstruction_loss.cu` |
//! | `add`, `add_backward` | [`add`] | `add.cu` |
//! | `concat`, `concat_backward` | [`concat`] | `concat.cu` |
//! | `average_pool`, `average_pool_backward` | [`average_pool`] | `average_pool.cu` |
//! | `reshape` | [`reshape`] | `reshape.cu` |
//! | `upsample_nearest`, `upsample_nearest_backward` | [`upsample_nearest`] | `upsample_nearest.cu` |
//! | `dropout` | [`dropout`] | `dropout.cu` |
//! | `upsample`, `upsample_adjoint` | [`upsample`] | `upsample.cu` |
//! | `sgd`, `adam` | [`optimizer`] | `optimizer.cu` |
//! | `cast`, `cast_weights` | [`cast`] | `cast.cu` |
//!
//! [`operation`] is what they have in common, [`access`] what they tell of their operands; [`blur`] is an operation of the data path.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod access;
pub mod activation;
pub mod add;
pub mod average_pool;
pub(crate) mod blur;
pub mod cast;
pub mod concat;
pub mod conv;
pub mod dropout;
pub mod fcdd_loss;
pub mod head;
pub mod hsc_loss;
pub mod norm;
pub mod norm_act_pool;
pub mod operation;
pub mod optimizer;
pub mod pool;
pub mod reconstruction_loss;
pub mod reshape;
pub mod standalone;
pub(crate) mod step;
pub mod upsample;
pub mod upsample_nearest;
mod vectors;

pub use step::Step;
