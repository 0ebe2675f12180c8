//! What an objective makes of the net's last value: scores, maps and heatmaps, losses and their gradients.

use super::allocator::{Allocator, part};
use super::backward::Stages;
use super::options::PlanOptions;
use super::stages::{Block, Stage, StageKind};
use crate::device::View;
use crate::engine::Step;
use crate::engine::plan::TrainingPorts;
use crate::error::{Error, Result};
use crate::model::arch::{Arch, NetPart, Node, Objective};
use crate::model::layer::Layer;
use crate::steps::conv;
use crate::steps::fcdd_loss::{MapLoss, PseudoHuberBackward};
use crate::steps::head::{Head, HeadBackward, LabelLoss};
use crate::steps::hsc_loss::{self, Gradient, GradientHeatmap, HscLoss, HscScore};
use crate::steps::reconstruction_loss::{Reconstruction, ReconstructionLoss};
use crate::steps::upsample::{GaussianTaps, Upsample, UpsampleAdjoint};

/// The end of a net.
pub(super) struct End {
    kind: Kind,
    input: View,
    /// The last stage's output, but of FCDD that of the stage before the head.
    last: View,
    pub output: View,
    pub score: View,
    pub map: View,
    pub heatmap: View,
}

enum Kind {
    Fcdd(Box<Fcdd>),
    Hsc {
        gradient: Gradient,
    },
    Ae {
        sigmoid: bool,
    },
    /// Features have neither scores nor maps.
    Features,
}

/// What follows an FCDD net's features.
struct Fcdd {
    /// The 1×1 convolution to one channel.
    geometry: conv::ConvGeometry,
    weight: View,
    bias: Option<View>,
    taps: GaussianTaps,
    /// The Gaussian of `taps`.
    kernel: View,
    /// Side of the output map.
    u: usize,
    /// Gradient of the output map.
    dz: View,
    /// Pixels of a heatmap that score an image whose map is not known, in training.
    top: usize,
}

impl End {
    /// `head` is the last stage of an FCDD net, a 1×1 convolution; `last` the output of the stage before it, else of the last one.
    pub(super) fn new(
        arch: &Arch,
        options: &PlanOptions,
        head: Option<Stage>,
        input: View,
        last: View,
        allocator: &mut Allocator,
    ) -> Result<End> {
        let (n, side) = (options.batch, options.side);
        if arch.part == NetPart::Features {
            let (nothing, kind) = (part(last, 0, 0), Kind::Features);
            return Ok(End { kind, input, last, output: last, score: nothing, map: nothing, heatmap: nothing });
        }
        let score = allocator.real(n);
        Ok(match arch.objective {
            Objective::Fcdd => {
                let Some(StageKind::Block(block)) = head.map(|stage| stage.kind) else {
                    return Err(Error::internal(format!("{} does not end in a 1×1 convolution", arch.name)));
                };
                let field = arch.receptive_field(side)?;
                let taps = GaussianTaps::new(field, side, options.sigma);
                let taps = if arch.part == NetPart::Head { taps.folded(field.n) } else { taps };
                let (u, side) = (field.n, taps.side());
                let (map, heatmap) = (allocator.real(n * u * u), allocator.real(n * side * side));
                let kernel = allocator.real(taps.kernel().len());
                let [z, dz] = [0, 1].map(|_| allocator.real(n * u * u));
                let Block { conv: geometry, weight, bias, .. } = *block;
                let top = options.training.map_or(1, |training| training.label_score.count(side * side));
                let kind = Kind::Fcdd(Box::new(Fcdd { geometry, weight, bias, taps, kernel, u, dz, top }));
                End { kind, input, last, output: z, score, map, heatmap }
            }
            Objective::Hsc => {
                let map = allocator.real(n * side * side);
                let kind = Kind::Hsc { gradient: options.gradient };
                End { kind, input, last, output: last, score, map, heatmap: map }
            }
            Objective::Ae => {
                let sigmoid = matches!(arch.layers.last(), Some(Node { layer: Layer::Sigmoid, .. }));
                let [output, map] = [0, 1].map(|_| allocator.real(last.len));
                End { kind: Kind::Ae { sigmoid }, input, last, output, score, map, heatmap: map }
            }
        })
    }

    /// Views of constants.
    pub(super) fn constants(&self) -> Vec<(View, Vec<f64>)> {
        match &self.kind {
            Kind::Fcdd(fcdd) => vec![(fcdd.kernel, fcdd.taps.kernel().to_vec())],
            Kind::Hsc { .. } | Kind::Ae { .. } | Kind::Features => vec![],
        }
    }

    /// The step that scores a batch, where there are scores; in training with labels it also gives the losses and dz.
    pub(super) fn scoring(&self, training: Option<&TrainingPorts>) -> Option<Step> {
        let &End { input, last, output, score, map, .. } = self;
        Some(match &self.kind {
            Kind::Fcdd(fcdd) => {
                let &Fcdd { geometry, weight: w, bias: b, dz, .. } = &**fcdd;
                let by_labels = training.filter(|ports| ports.maps.is_none());
                let labels = by_labels.map(|ports| LabelLoss { labels: ports.labels, loss: ports.loss, dz });
                Step::Head(Head { geometry, x: last, w, b, z: output, a: map, score, labels })
            }
            Kind::Hsc { .. } => Step::HscScore(HscScore { o: last, score }),
            &Kind::Ae { sigmoid } => {
                Step::Reconstruction(Reconstruction { sigmoid, x: input, z: last, y: output, map, score })
            }
            Kind::Features => return None,
        })
    }

    /// Maps and heatmaps of the images that were scored; `stats` are the running statistics.
    pub(super) fn heatmaps(&self, net: Stages, stats: View, allocator: &mut Allocator, steps: &mut Vec<Step>) {
        let &End { input: x, last, score, map, heatmap, .. } = self;
        match &self.kind {
            Kind::Fcdd(fcdd) => {
                let (taps, kernel, u) = (fcdd.taps.clone(), fcdd.kernel, fcdd.u);
                steps.push(Step::Upsample(Upsample { taps, kernel, u, a: map, out: heatmap }));
            }
            Kind::Hsc { gradient } => {
                let d_o = allocator.passing(last.dtype, last.len);
                steps.push(Step::HscLoss(HscLoss { o: last, score, training: None, d_o }));
                if let Some(dx) = net.backward(d_o, stats, None, allocator, steps) {
                    steps.push(Step::GradientHeatmap(GradientHeatmap { gradient: *gradient, x, dx, heatmap }));
                    allocator.release(dx);
                }
            }
            // The scoring step wrote them already.
            Kind::Ae { .. } => {}
            Kind::Features => {}
        }
    }

    /// Losses and their gradient by the last stage's output, which is returned; of FCDD only if something `below` the head is trained.
    pub(super) fn loss(
        &self,
        ports: &TrainingPorts,
        below: bool,
        allocator: &mut Allocator,
        steps: &mut Vec<Step>,
    ) -> Option<View> {
        let &End { input: x, last, output, score, map, heatmap, .. } = self;
        let &TrainingPorts { labels, loss, .. } = ports;
        let gradient = allocator.passing(last.dtype, last.len);
        match &self.kind {
            Kind::Fcdd(fcdd) => {
                let &Fcdd { geometry, weight, bias, ref taps, kernel, u, dz, top } = &**fcdd;
                if let Some(maps) = ports.maps {
                    let (d_heatmap, d_map) = (allocator.real(heatmap.len), allocator.real(map.len));
                    let taps = taps.clone();
                    steps.push(Step::MapLoss(MapLoss { a: heatmap, maps, top, loss, da: d_heatmap }));
                    steps.push(Step::UpsampleAdjoint(UpsampleAdjoint { taps, kernel, u, dout: d_heatmap, da: d_map }));
                    steps.push(Step::PseudoHuberBackward(PseudoHuberBackward { z: output, da: d_map, dz }));
                }
                let of = |view: View| part(ports.grads, view.start, view.len);
                steps.push(Step::HeadBackward(HeadBackward {
                    geometry,
                    x: last,
                    w: weight,
                    dz,
                    dx: below.then_some(gradient),
                    dw: of(weight),
                    db: bias.map(of),
                }));
            }
            Kind::Hsc { .. } => {
                let training = Some(hsc_loss::HscTraining { labels, loss });
                steps.push(Step::HscLoss(HscLoss { o: last, score, training, d_o: gradient }));
            }
            &Kind::Ae { sigmoid } => {
                let (y, dz) = (output, gradient);
                steps.push(Step::ReconstructionLoss(ReconstructionLoss { sigmoid, x, y, score, loss, dz }));
            }
            Kind::Features => {}
        }
        if below {
            return Some(gradient);
        }
        allocator.release(gradient);
        None
    }
}
