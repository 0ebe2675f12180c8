//! Norm, activation and max pool fused into one pass each way: the steps `norm_act_pool` and `norm_act_pool_backward`.
//!
//! Any of the three may be absent (no norm, slope 1, 1×1 window). Pooling comes after the norm, since γ may be negative.
//! The plain operations that these passes fuse are in [`super::norm`], [`super::activation`] and [`super::pool`].

mod cpu;
mod cuda;

use super::activation::Activation;
use super::norm::{Affine, Norm};
use super::pool::Geometry;
use crate::device::{ByteView, View};

/// `y = pool(act(norm(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct NormActPool {
    pub pool: Geometry,
    pub norm: Option<Norm>,
    pub activation: Activation,
    /// [n, h, w, c]
    pub x: View,
    /// [n, oh, ow, c]
    pub y: View,
    /// Winning tap per output, for the backward pass; None in inference.
    pub argmax: Option<ByteView>,
}

/// `dx` from `dy`; with a norm of batch statistics also dγ and dβ.
#[derive(Clone, Copy, Debug)]
pub struct NormActPoolBackward {
    pub pool: Geometry,
    pub norm: Option<Norm>,
    /// The norm's statistics are those of the batch, so that they too depend on x; otherwise it is a fixed affine map.
    pub batch_statistics: bool,
    pub activation: Activation,
    pub x: View,
    pub argmax: ByteView,
    pub dy: View,
    pub dx: View,
    /// Gradients of γ and β, where they are trained.
    pub daffine: Option<Affine>,
}
