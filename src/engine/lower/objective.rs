//! What an objective makes of the net's last value: scores, maps and heatmaps, losses and their gradients.

use super::backward::Backward;
use super::{Allocator, Options, head};
use crate::device::View;
use crate::engine::plan::{Step, TrainingPorts};
use crate::model::arch::{Arch, Layer, Objective};
use crate::steps::fcdd_loss::{LabelLoss, MapLoss, PseudoHuber, PseudoHuberBackward};
use crate::steps::hsc_loss::{self, Gradient, GradientHeatmap, HscLoss, HscScore};
use crate::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};
use crate::steps::upsample::{Taps, Upsample, UpsampleAdjoint};

/// The end of a net.
pub(super) struct Head {
    kind: Kind,
    input: View,
    /// The last stage's output.
    z: View,
    pub output: View,
    pub score: View,
    pub map: View,
    pub heatmap: View,
}

enum Kind {
    Fcdd {
        taps: Taps,
        /// The Gaussian of `taps`.
        kernel: View,
        /// Side of the output map.
        u: usize,
    },
    Hsc {
        gradient: Gradient,
    },
    Ae {
        sigmoid: bool,
    },
}

impl Head {
    pub fn new(arch: &Arch, options: &Options, input: View, z: View, allocator: &mut Allocator) -> Head {
        let (n, side) = (options.batch, options.side);
        let score = allocator.real(n);
        match arch.objective {
            Objective::Fcdd => {
                let field = arch.receptive_field(side);
                let (u, taps) = (field.n, Taps::new(field, side, options.sigma));
                let (map, heatmap) = (allocator.real(n * u * u), allocator.real(n * side * side));
                let kernel = allocator.real(taps.kernel().len());
                Head { kind: Kind::Fcdd { taps, kernel, u }, input, z, output: z, score, map, heatmap }
            }
            Objective::Hsc => {
                let map = allocator.real(n * side * side);
                Head { kind: Kind::Hsc { gradient: options.gradient }, input, z, output: z, score, map, heatmap: map }
            }
            Objective::Ae => {
                let sigmoid = arch.layers.last() == Some(&Layer::Sigmoid);
                let (output, map) = (allocator.real(z.len), allocator.real(z.len));
                Head { kind: Kind::Ae { sigmoid }, input, z, output, score, map, heatmap: map }
            }
        }
    }

    /// Views that hold the same numbers for ever.
    pub fn constants(&self) -> Vec<(View, Vec<f64>)> {
        match &self.kind {
            Kind::Fcdd { taps, kernel, .. } => vec![(*kernel, taps.kernel().to_vec())],
            Kind::Hsc { .. } | Kind::Ae { .. } => vec![],
        }
    }

    /// Scores, and what comes with them.
    pub fn judge(&self) -> Option<Step> {
        let &Head { input: x, z, output: y, score, map, .. } = self;
        Some(match self.kind {
            Kind::Fcdd { .. } => Step::PseudoHuber(PseudoHuber { z, a: map, score }),
            Kind::Hsc { .. } => Step::HscScore(HscScore { o: z, score }),
            Kind::Ae { sigmoid } => Step::Reconstruction(Reconstruction { sigmoid, x, z, y, map, score }),
        })
    }

    /// Map and heatmap of what was judged; `stats` are the running statistics.
    pub fn explain(&self, back: &Backward, stats: View, steps: &mut Vec<Step>) {
        let &Head { input: x, z, score, map, heatmap, .. } = self;
        match &self.kind {
            Kind::Fcdd { taps, kernel, u } => {
                let (taps, kernel, u) = (taps.clone(), *kernel, *u);
                steps.push(Step::Upsample(Upsample { taps, kernel, u, a: map, out: heatmap }));
            }
            Kind::Hsc { gradient } => {
                let d_o = head(back.gradients[0], z.len);
                steps.push(Step::HscLoss(HscLoss { o: z, score, training: None, d_o }));
                if let Some(dx) = back.push(stats, None, steps) {
                    steps.push(Step::GradientHeatmap(GradientHeatmap { gradient: *gradient, x, dx, heatmap }));
                }
            }
            // The errors were there with the scores.
            Kind::Ae { .. } => {}
        }
    }

    /// Losses, and their gradient by the last stage's output into the first of `gradients`.
    pub fn loss(&self, ports: &TrainingPorts, gradients: [View; 2], allocator: &mut Allocator, steps: &mut Vec<Step>) {
        let &Head { input: x, z, output: y, score, map, heatmap, .. } = self;
        let &TrainingPorts { labels, loss, .. } = ports;
        let dz = head(gradients[0], z.len);
        match (&self.kind, ports.maps) {
            (Kind::Fcdd { taps, kernel, u }, Some(maps)) => {
                let d_heatmap = allocator.real(heatmap.len);
                let d_map = head(gradients[1], map.len);
                let (taps, kernel, u) = (taps.clone(), *kernel, *u);
                steps.push(Step::MapLoss(MapLoss { a: heatmap, maps, loss, da: d_heatmap }));
                steps.push(Step::UpsampleAdjoint(UpsampleAdjoint { taps, kernel, u, dout: d_heatmap, da: d_map }));
                steps.push(Step::PseudoHuberBackward(PseudoHuberBackward { z, da: d_map, dz }));
            }
            (Kind::Fcdd { .. }, None) => steps.push(Step::LabelLoss(LabelLoss { z, score, labels, loss, dz })),
            (Kind::Hsc { .. }, _) => {
                let training = Some(hsc_loss::Training { labels, loss });
                steps.push(Step::HscLoss(HscLoss { o: z, score, training, d_o: dz }));
            }
            (&Kind::Ae { sigmoid }, _) => {
                steps.push(Step::ReconstructionLoss(ReconstructionLoss { sigmoid, x, y, score, loss, dz }));
            }
        }
    }
}
