//! What each step reads and writes: for comparing steps, and for describing them.

use arrayvec::ArrayVec;

use super::plan::Step;
use crate::device::{ByteView, View};
use crate::steps::norm::{Norm, Stats};

/// What a step reads or writes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Named as in the step.
    pub reals: ArrayVec<(&'static str, View), 8>,
    /// The winners of a pool.
    pub argmax: Option<ByteView>,
}

impl Access {
    fn new<const N: usize>(reals: [(&'static str, View); N]) -> Access {
        Access { reals: reals.into_iter().collect(), argmax: None }
    }

    fn and(mut self, name: &'static str, view: Option<View>) -> Access {
        self.reals.extend(view.map(|view| (name, view)));
        self
    }

    /// What statistics read beside the values.
    fn and_reads_of(self, stats: Option<Stats>) -> Access {
        self.and("running_mean", stats.map(|s| s.running_mean))
            .and("running_var", stats.map(|s| s.running_var))
            .and("bias", stats.and_then(|s| s.bias))
    }

    fn and_writes_of(self, stats: Option<Stats>) -> Access {
        self.and("mean", stats.map(|s| s.mean))
            .and("var", stats.map(|s| s.var))
            .and("running_mean", stats.map(|s| s.running_mean))
            .and("running_var", stats.map(|s| s.running_var))
    }

    fn norm(self, norm: Option<Norm>) -> Access {
        let affine = norm.and_then(|n| n.affine);
        self.and("mean", norm.map(|n| n.mean))
            .and("var", norm.map(|n| n.var))
            .and("gamma", affine.map(|a| a.gamma))
            .and("beta", affine.map(|a| a.beta))
    }
}

impl Step {
    /// What the step reads, scratch space aside.
    pub fn reads(&self) -> Access {
        match self {
            Step::ConvFprop(s) => Access::new([("x", s.x), ("w", s.w)]).and("b", s.b).and_reads_of(s.stats),
            Step::ConvDgrad(s) => Access::new([("dy", s.dy), ("w", s.w)]),
            Step::ConvWgrad(s) => Access::new([("x", s.x), ("dy", s.dy)]),
            Step::NormActPool(s) => Access::new([("x", s.x)]).norm(s.norm),
            Step::NormActPoolBackward(s) => {
                Access { argmax: Some(s.argmax), ..Access::new([("x", s.x), ("dy", s.dy)]).norm(s.norm) }
            }
            Step::Head(s) => {
                Access::new([("x", s.x), ("w", s.w)]).and("b", s.b).and("labels", s.labels.map(|of| of.labels))
            }
            Step::HeadBackward(s) => Access::new([("x", s.x), ("w", s.w), ("dz", s.dz)]),
            Step::MapLoss(s) => Access::new([("a", s.a), ("maps", s.maps)]),
            Step::PseudoHuberBackward(s) => Access::new([("z", s.z), ("da", s.da)]),
            Step::Upsample(s) => Access::new([("a", s.a), ("kernel", s.kernel)]),
            Step::UpsampleAdjoint(s) => Access::new([("dout", s.dout), ("kernel", s.kernel)]),
            Step::HscScore(s) => Access::new([("o", s.o)]),
            Step::HscLoss(s) => {
                Access::new([("o", s.o), ("score", s.score)]).and("labels", s.training.map(|training| training.labels))
            }
            Step::GradientHeatmap(s) => Access::new([("x", s.x), ("dx", s.dx)]),
            Step::Reconstruction(s) => Access::new([("x", s.x), ("z", s.z)]),
            Step::ReconstructionLoss(s) => Access::new([("x", s.x), ("y", s.y), ("score", s.score)]),
            Step::Reshape(s) => Access::new([("x", s.x)]),
            Step::Enlarge(s) => Access::new([("x", s.x)]),
            Step::EnlargeAdjoint(s) => Access::new([("dy", s.dy)]),
            Step::Dropout(s) => Access::new([("values", s.values)]),
            Step::Sgd(s) => Access::new([("params", s.params), ("grads", s.grads), ("momentum", s.momentum)]),
            Step::Adam(s) => Access::new([("params", s.params), ("grads", s.grads), ("m", s.m), ("v", s.v)]),
            Step::Cast(s) => Access::new([("x", s.x)]),
            Step::CastWeights(s) => Access::new([("params", s.params)]),
        }
    }

    /// What the step writes, scratch space aside.
    pub fn writes(&self) -> Access {
        match self {
            Step::ConvFprop(s) => Access::new([("y", s.y)]).and_writes_of(s.stats),
            Step::ConvDgrad(s) => Access::new([("dx", s.dx)]),
            Step::ConvWgrad(s) => Access::new([("dw", s.dw)]).and("db", s.db),
            Step::NormActPool(s) => Access { argmax: s.argmax, ..Access::new([("y", s.y)]) },
            Step::NormActPoolBackward(s) => Access::new([("dx", s.dx)])
                .and("dgamma", s.daffine.map(|a| a.gamma))
                .and("dbeta", s.daffine.map(|a| a.beta)),
            Step::Head(s) => Access::new([("z", s.z), ("a", s.a), ("score", s.score)])
                .and("loss", s.labels.map(|of| of.loss))
                .and("dz", s.labels.map(|of| of.dz)),
            Step::HeadBackward(s) => Access::new([("dw", s.dw)]).and("db", s.db).and("dx", s.dx),
            Step::MapLoss(s) => Access::new([("loss", s.loss), ("da", s.da)]),
            Step::PseudoHuberBackward(s) => Access::new([("dz", s.dz)]),
            Step::Upsample(s) => Access::new([("out", s.out)]),
            Step::UpsampleAdjoint(s) => Access::new([("da", s.da)]),
            Step::HscScore(s) => Access::new([("score", s.score)]),
            Step::HscLoss(s) => Access::new([("do", s.d_o)]).and("loss", s.training.map(|training| training.loss)),
            Step::GradientHeatmap(s) => Access::new([("heatmap", s.heatmap)]),
            Step::Reconstruction(s) => Access::new([("y", s.y), ("map", s.map), ("score", s.score)]),
            Step::ReconstructionLoss(s) => Access::new([("loss", s.loss), ("dz", s.dz)]),
            Step::Reshape(s) => Access::new([("y", s.y)]),
            Step::Enlarge(s) => Access::new([("y", s.y)]),
            Step::EnlargeAdjoint(s) => Access::new([("dx", s.dx)]),
            Step::Dropout(s) => Access::new([("values", s.values)]),
            Step::Sgd(s) => Access::new([("params", s.params), ("momentum", s.momentum)]),
            Step::Adam(s) => Access::new([("params", s.params), ("m", s.m), ("v", s.v)]),
            Step::Cast(s) => Access::new([("y", s.y)]),
            Step::CastWeights(s) => Access::new([("casts", s.casts)]),
        }
    }
}
