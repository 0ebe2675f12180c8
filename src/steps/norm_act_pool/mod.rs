//! Norm, activation and max pool fused into one pass each way: the steps `norm_act_pool` and `norm_act_pool_backward`.
//!
//! Any of the three may be absent (no norm, slope 1, 1×1 window). Pooling comes after the norm, since γ may be negative.
//! The plain operations that these passes fuse are in [`super::norm`], [`super::activation`] and [`super::pool`].

mod cpu;
mod cuda;

use super::activation::Activation;
use super::norm::{Affine, Norm};
use super::operation::{Access, Hyper, Operation};
use super::pool::PoolGeometry;
use crate::device::cuda::{DeviceBuffers, Result};
use crate::device::{ByteView, HostBuffers, View};
use crate::real::Real;

/// `y = pool(act(norm(x)))`.
#[derive(Clone, Copy, Debug)]
pub struct NormActPool {
    pub pool: PoolGeometry,
    pub norm: Option<Norm>,
    pub activation: Activation,
    /// [n, h, w, c]
    pub x: View,
    /// [n, oh, ow, c]
    pub y: View,
    /// Winning tap per output, for the backward pass; None in inference.
    pub argmax: Option<ByteView>,
}

impl Operation for NormActPool {
    fn kind(&self) -> &'static str {
        "norm_act_pool"
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x)]).and_norm(self.norm)
    }

    fn writes(&self) -> Access {
        Access::new([("y", self.y)]).and_argmax(self.argmax)
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        cpu::forward(self, memory);
    }

    fn workspace(&self) -> usize {
        2 * self.pool.c
    }

    fn cuda(&self, memory: &DeviceBuffers) -> Result<()> {
        cuda::forward(self, memory)
    }

    fn layer(&self) -> Option<String> {
        Some(self.pool.layer())
    }
}

/// `dx` from `dy`; with a norm of batch statistics also dγ and dβ.
#[derive(Clone, Copy, Debug)]
pub struct NormActPoolBackward {
    pub pool: PoolGeometry,
    pub norm: Option<Norm>,
    /// The norm's statistics are those of the batch, so that they too depend on x; otherwise it is a fixed affine map.
    pub batch_statistics: bool,
    pub activation: Activation,
    pub x: View,
    /// None for windows of a single tap.
    pub argmax: Option<ByteView>,
    pub dy: View,
    pub dx: View,
    /// Gradients of γ and β, where they are trained.
    pub daffine: Option<Affine>,
}

impl Operation for NormActPoolBackward {
    fn kind(&self) -> &'static str {
        "norm_act_pool_backward"
    }

    fn reads(&self) -> Access {
        Access::new([("x", self.x), ("dy", self.dy)]).and_norm(self.norm).and_argmax(self.argmax)
    }

    fn writes(&self) -> Access {
        Access::new([("dx", self.dx)])
            .and("dgamma", self.daffine.map(|a| a.gamma))
            .and("dbeta", self.daffine.map(|a| a.beta))
    }

    fn cpu<T: Real>(&self, memory: &mut HostBuffers<T>, _: &Hyper) {
        cpu::backward(self, memory);
    }

    fn workspace(&self) -> usize {
        2 * self.pool.c * (self.pool.n + 2)
    }

    fn cuda(&self, memory: &DeviceBuffers) -> Result<()> {
        cuda::backward(self, memory)
    }

    fn cuda_workspace(&self) -> usize {
        cuda::backward_workspace(&self.pool)
    }

    fn launches(&self) -> usize {
        if self.with_sums() { 3 } else { 1 }
    }

    fn layer(&self) -> Option<String> {
        Some(self.pool.layer())
    }
}

impl NormActPoolBackward {
    /// Whether the gradient goes through statistics of the batch, which are sums over it.
    fn with_sums(&self) -> bool {
        self.norm.is_some() && self.batch_statistics
    }
}
