//! What each step reads and writes: for comparing steps, and for describing them.

use super::plan::Step;
use crate::device::{ByteView, View};
use crate::steps::norm::Norm;

/// What a step reads or writes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Named as in the step.
    pub reals: Vec<(&'static str, View)>,
    /// The winners of a pool.
    pub argmax: Option<ByteView>,
}

impl Access {
    fn new<const N: usize>(reals: [(&'static str, View); N]) -> Access {
        Access { reals: reals.to_vec(), argmax: None }
    }

    fn and(mut self, name: &'static str, view: Option<View>) -> Access {
        self.reals.extend(view.map(|view| (name, view)));
        self
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
            Step::ConvFprop(s) => Access::new([("x", s.x), ("w", s.w)]).and("b", s.b),
            Step::ConvDgrad(s) => Access::new([("dy", s.dy), ("w", s.w)]),
            Step::ConvWgrad(s) => Access::new([("x", s.x), ("dy", s.dy)]),
            Step::NormStats(s) => {
                let running = [("running_mean", s.running_mean), ("running_var", s.running_var)];
                Access::new(running).and("x", Some(s.x)).and("bias", s.bias)
            }
            Step::NormActPool(s) => Access::new([("x", s.x)]).norm(s.norm),
            Step::NormActPoolBackward(s) => {
                Access { argmax: Some(s.argmax), ..Access::new([("x", s.x), ("dy", s.dy)]).norm(s.norm) }
            }
            Step::PseudoHuber(s) => Access::new([("z", s.z)]),
            Step::LabelLoss(s) => Access::new([("z", s.z), ("score", s.score), ("labels", s.labels)]),
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
        }
    }

    /// What the step writes, scratch space aside.
    pub fn writes(&self) -> Access {
        match self {
            Step::ConvFprop(s) => Access::new([("y", s.y)]),
            Step::ConvDgrad(s) => Access::new([("dx", s.dx)]),
            Step::ConvWgrad(s) => Access::new([("dw", s.dw)]).and("db", s.db),
            Step::NormStats(s) => Access::new([
                ("mean", s.mean),
                ("var", s.var),
                ("running_mean", s.running_mean),
                ("running_var", s.running_var),
            ]),
            Step::NormActPool(s) => Access { argmax: s.argmax, ..Access::new([("y", s.y)]) },
            Step::NormActPoolBackward(s) => Access::new([("dx", s.dx)])
                .and("dgamma", s.daffine.map(|a| a.gamma))
                .and("dbeta", s.daffine.map(|a| a.beta)),
            Step::PseudoHuber(s) => Access::new([("a", s.a), ("score", s.score)]),
            Step::LabelLoss(s) => Access::new([("loss", s.loss), ("dz", s.dz)]),
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
        }
    }
}
