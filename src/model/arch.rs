//! A net as a list of layers, and what follows from the list: shapes, receptive field, parameter count, work.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::layer::{Init, Layer, MOST_CHANNELS, MOST_NUMBERS, Shape};
use crate::error::{Error, Result};
use crate::named::Named;
use crate::steps::standalone::{Misfit, ValueShape};
use crate::steps::upsample::ReceptiveField;

/// Weight of a batch in the norms' running statistics while training: PyTorch's default, as the authors train.
pub(crate) const NORM_MOMENTUM: f64 = 0.1;

/// What a net is trained for, and how its output becomes scores and heatmaps.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::VariantArray,
    strum::IntoStaticStr,
    strum::EnumMessage,
    serde::Serialize,
    serde::Deserialize,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Objective {
    /// Fully convolutional data description: the output is the anomaly map
    #[default]
    Fcdd,
    /// Hypersphere classification: the output is a vector whose length is the score; heatmaps are gradients of the score
    Hsc,
    /// Autoencoder: the output is the input again; what it fails to reconstruct is the heatmap
    Ae,
}

impl Objective {
    /// Whether the output is the anomaly map: such a net ends in a head, and may learn from maps.
    pub(crate) fn has_head(self) -> bool {
        match self {
            Objective::Fcdd => true,
            Objective::Hsc | Objective::Ae => false,
        }
    }

    /// Whether heatmaps are gradients of the score, computed when they are asked for.
    pub(crate) fn shows_gradients(self) -> bool {
        match self {
            Objective::Hsc => true,
            Objective::Fcdd | Objective::Ae => false,
        }
    }

    /// Whether the output is the input again.
    pub(crate) fn reconstructs(self) -> bool {
        match self {
            Objective::Ae => true,
            Objective::Fcdd | Objective::Hsc => false,
        }
    }
}

/// What a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The images.
    Input,
    /// The output of the layer of this number.
    Layer(usize),
}

/// A layer and what it reads: the images, or layers before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub layer: Layer,
    pub inputs: Vec<Source>,
}

/// Which layers plans are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetPart {
    #[default]
    Whole,
    /// The frozen ones of a net in which they are [fixed](Arch::fixed): from images to their features.
    Features,
    /// Those after them: from features to scores and maps. It learns from maps of the side of its own; on the CPU alone.
    Head,
}

/// A net.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    pub name: String,
    pub objective: Objective,
    /// Input channels.
    pub channels: usize,
    /// Input side that the paper uses; any side that the layers admit works.
    pub side: usize,
    /// With biases in the convolutions and scale and shift in the norms.
    pub bias: bool,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// How the convolutions start.
    pub conv_init: Init,
    /// In topological order; the last is the output.
    pub layers: Vec<Node>,
    /// Layers before this index are frozen: no update of their parameters, while their norms still run in training mode, unless they are
    /// `fixed`.
    pub frozen: usize,
    /// Whether the norms of frozen layers normalise by their stored statistics in training too: what these layers make of an image, its
    /// features, is then a function of that image alone, and may be kept.
    pub fixed: bool,
    /// Which of the layers plans are made of. Parameters, statistics and shapes are those of the whole net.
    pub part: NetPart,
    /// Whether the feature layers start from weights that were trained on ImageNet, without which the net makes little sense.
    pub pretrained: bool,
    /// Norms that the authors' module owns but never uses: (name, channels). Written for them, ignored when read.
    pub unused_norms: Vec<(String, usize)>,
}

impl Arch {
    /// Adds a layer that reads the last one, or the images where it is the first. Returns where its output is read from.
    pub fn push(&mut self, layer: impl Into<Layer>) -> Source {
        self.push_on(layer, [self.output()])
    }

    /// Adds a layer that reads these.
    pub fn push_on(&mut self, layer: impl Into<Layer>, inputs: impl Into<Vec<Source>>) -> Source {
        self.layers.push(Node { layer: layer.into(), inputs: inputs.into() });
        self.output()
    }

    /// The last layer's output.
    pub fn output(&self) -> Source {
        self.layers.len().checked_sub(1).map_or(Source::Input, Source::Layer)
    }

    /// A layer as messages name it, such as `layer 3 (norm bn2d1)`.
    pub(crate) fn describe(&self, layer: usize) -> String {
        let node = &self.layers[layer].layer;
        let name = node.name().map(|name| format!(" {name}")).unwrap_or_default();
        format!("layer {layer} ({}{name})", node.kind())
    }

    /// How many layers that draw come before a layer: the number of its stream, whatever kinds they are of.
    pub(crate) fn draws_before(&self, layer: usize) -> u32 {
        self.layers[..layer].iter().filter(|node| node.layer.draws()).count() as u32
    }

    /// The layers that read a value.
    pub(crate) fn readers(&self, value: Source) -> impl Iterator<Item = usize> {
        (0..self.layers.len()).filter(move |&i| self.layers[i].inputs.contains(&value))
    }

    /// An error that names the net and a layer, says what is wrong with it, and what would be legal.
    pub(crate) fn illegal(&self, layer: usize, problem: impl Display, legal: impl Into<String>) -> Error {
        Error::setting(format!("{}: {} {problem}", self.name, self.describe(layer)), legal)
    }

    /// Fails where the layers are no graph that ends in what the objective needs, or one of them has impossible numbers. What follows
    /// what is checked in lowering.
    pub fn check(&self) -> Result<()> {
        if !(1..=MOST_CHANNELS).contains(&self.channels) {
            let problem = format!("{} takes images of {} channels", self.name, self.channels);
            return Err(Error::setting(problem, "images have 1 to 65,536 channels"));
        }
        // As steps in f32 add it.
        let norm_eps = self.norm_eps as f32;
        if !(norm_eps > 0.0 && norm_eps.is_finite()) {
            let problem = format!("{} adds {:?} to the variances of its norms", self.name, self.norm_eps);
            return Err(Error::setting(problem, "a number is added that is above 0 and finite in f32, such as 1e-5"));
        }
        let mut names = BTreeSet::new();
        for (i, Node { layer, inputs }) in self.layers.iter().enumerate() {
            if let Some(fault) = layer.fault() {
                return Err(self.misfit(i, fault, self.side));
            }
            let counts = layer.inputs();
            if !counts.contains(&inputs.len()) {
                let (least, most) = (counts.start(), counts.end());
                let legal =
                    if least == most { format!("it reads {least}") } else { format!("it reads {least} to {most}") };
                return Err(self.illegal(i, format!("reads {} values", inputs.len()), legal));
            }
            if let Some(Source::Layer(later)) =
                inputs.iter().find(|&&input| matches!(input, Source::Layer(of) if of >= i))
            {
                return Err(self.illegal(
                    i,
                    format!("reads layer {later}"),
                    "layers read the images or layers before them",
                ));
            }
            if layer.draws() && self.fixed && i < self.frozen {
                return Err(self.illegal(
                    i,
                    "would change what is fixed at random",
                    "what draws comes after the layers that are fixed",
                ));
            }
            if let Some(name) = layer.name()
                && !names.insert(name)
            {
                return Err(self.illegal(
                    i,
                    "has the name of another",
                    "layers with parameters have names of their own",
                ));
            }
            let is_last = i + 1 == self.layers.len();
            if is_last != self.readers(Source::Layer(i)).next().is_none() {
                let legal = "every layer but the last is read by one after it";
                return Err(self.illegal(i, "is read by no layer", legal));
            }
        }
        if let Some((norm, _)) = self.unused_norms.iter().find(|(norm, _)| !names.insert(norm)) {
            let problem = format!("{}: the unused norm {norm} has the name of another layer", self.name);
            return Err(Error::setting(problem, "layers with parameters have names of their own"));
        }
        let Some(end) = self.layers.len().checked_sub(1) else {
            return Err(Error::setting(format!("{} has no layers", self.name), "a net has one layer or more"));
        };
        let (fits, legal) = match (self.objective, &self.layers[end].layer) {
            (Objective::Fcdd, last) => (
                matches!(last, Layer::Conv { out: 1, side: 1, stride: 1, .. }),
                "FCDD nets end in a 1×1 convolution to one channel",
            ),
            (Objective::Hsc, last) => (matches!(last, Layer::Linear { .. }), "HSC nets end in a fully connected layer"),
            // Its size is that of the images, which `shapes` checks.
            (Objective::Ae, _) => (true, ""),
        };
        if !fits {
            return Err(self.illegal(end, format!("ends a net of `objective` {}", self.objective.word()), legal));
        }
        let learns = |node: &Node| node.layer.name().is_some();
        if !self.layers.iter().skip(self.frozen).any(learns) {
            return Err(self.illegal(
                end,
                "leaves nothing to train: all layers with parameters are frozen",
                "something has to be trained",
            ));
        }
        Ok(())
    }

    /// Geometry of each layer for `n` images of `side` × `side` pixels.
    ///
    /// # Errors
    /// If [`Arch::check`] fails, layers do not take what they read at this side, or something becomes too large.
    pub fn shapes(&self, n: usize, side: usize) -> Result<Vec<Shape>> {
        self.check()?;
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.layers.len());
        let images = ValueShape { n, side, c: self.channels };
        if images.len() > MOST_NUMBERS {
            let problem = format!("{n} images of {side}×{side} pixels are too many for {}", self.name);
            return Err(Error::setting(problem, "choose a smaller `side` or `batch`"));
        }
        for (i, node) in self.layers.iter().enumerate() {
            let read = |input: &Source| match input {
                Source::Input => images,
                Source::Layer(of) => shapes[*of].output(),
            };
            let inputs: Vec<ValueShape> = node.inputs.iter().map(read).collect();
            let shape = node.layer.shape(&inputs).and_then(|shape| shape.fault().map_or(Ok(shape), Err));
            shapes.push(shape.map_err(|misfit| self.misfit(i, misfit, side))?);
        }
        let output = shapes.last().map(Shape::output);
        if let Some(ValueShape { side: out, c, .. }) = output.filter(|&output| output != images)
            && self.objective.reconstructs()
        {
            if side != self.side && self.shapes(n, self.side).is_ok() {
                return Err(self.only_its_own_side(side));
            }
            let end = self.layers.len() - 1;
            return Err(self.illegal(
                end,
                format!("ends in {out}²×{c} values where the images have {side}²×{}", self.channels),
                "autoencoders end in the shape of their images",
            ));
        }
        Ok(shapes)
    }

    /// Fails where a norm would normalise `n` images of a side in training by the statistics of one value per channel: whatever that is,
    /// nothing would be left of it. PyTorch refuses the same.
    pub(crate) fn check_statistics(&self, n: usize, side: usize) -> Result<()> {
        let fixed = if self.fixed { self.frozen } else { 0 };
        for (i, shape) in self.shapes(n, side)?.iter().enumerate().skip(fixed) {
            if self.layers[i].layer.is_norm() && shape.output().pixels() == 1 {
                let problem = "has one value per channel to take statistics of: it reads 1 pixel of a batch of 1 image";
                let legal =
                    "choose a `batch` of 2 or more that leaves no single image for an epoch's last one, or add images";
                return Err(self.illegal(i, problem, legal));
            }
        }
        Ok(())
    }

    /// The error of a layer that does not take what it reads, for images of a side.
    fn misfit(&self, layer: usize, misfit: Misfit, side: usize) -> Error {
        match misfit {
            Misfit::Illegal(problem, legal) => self.illegal(layer, problem, legal),
            Misfit::TooSmall if self.follows_linear(layer) => self.illegal(
                layer,
                "has a window larger than what it reads, which comes from a fully connected layer",
                "a fully connected layer gives a vector, which has no places to pool: pool before it, or reshape the vector",
            ),
            Misfit::TooSmall if side >= self.side => self.illegal(
                layer,
                "has a window larger than what it reads",
                "choose a smaller window, or larger images",
            ),
            Misfit::TooSmall => Error::setting(
                format!("an input of {side}×{side} pixels is too small for {}", self.name),
                format!("use a larger side, such as {}", self.side),
            ),
            Misfit::OwnSide if side == self.side => self.illegal(
                layer,
                "takes another number of pixels than it reads",
                "a fully connected layer takes in all pixels of what it reads",
            ),
            Misfit::OwnSide => self.only_its_own_side(side),
            Misfit::NoReceptiveField => {
                self.illegal(layer, "has no receptive field", "FCDD nets are fully convolutional")
            }
        }
    }

    /// Whether a layer reads what comes from a fully connected one: that has its size whatever the images have.
    fn follows_linear(&self, layer: usize) -> bool {
        let mut comes: Vec<bool> = Vec::with_capacity(layer);
        let reads = |node: &Node, comes: &[bool]| {
            node.inputs.iter().any(|input| matches!(*input, Source::Layer(of) if comes[of]))
        };
        for node in &self.layers[..layer] {
            comes.push(node.layer.gives_vector() || reads(node, &comes));
        }
        reads(&self.layers[layer], &comes)
    }

    fn only_its_own_side(&self, side: usize) -> Error {
        let own = self.side;
        Error::setting(
            format!("{} takes inputs of {own}×{own} pixels alone, not of {side}×{side}", self.name),
            format!("choose `side` {own}, or a fully convolutional net (FCDD)"),
        )
    }

    /// Receptive field of the output map of a fully convolutional net for inputs of the given side. Where paths of several fields meet it
    /// is the smallest that holds them all.
    ///
    /// # Errors
    /// If [`Arch::check`] fails, a layer has no receptive field, or paths meet whose outputs lie unequally far apart.
    pub fn receptive_field(&self, side: usize) -> Result<ReceptiveField> {
        self.check()?;
        let image = ReceptiveField { n: side, jump: 1, size: 1, shift: 0.0 };
        let mut fields: Vec<ReceptiveField> = Vec::with_capacity(self.layers.len());
        for (i, node) in self.layers.iter().enumerate() {
            let read = |input: &Source| match input {
                Source::Input => image,
                Source::Layer(of) => fields[*of],
            };
            let inputs: Vec<ReceptiveField> = node.inputs.iter().map(read).collect();
            let field = node.layer.receptive_field(&inputs).map_err(|misfit| self.misfit(i, misfit, side))?;
            if field.jump.max(field.size) > ReceptiveField::MOST {
                let problem = format!("has receptive fields of {} pixels, {} apart", field.size, field.jump);
                return Err(self.illegal(i, problem, "both are at most 65,536: choose smaller kernels or strides"));
            }
            fields.push(field);
        }
        Ok(fields.last().copied().unwrap_or(image))
    }

    /// Whether inputs have to be scaled as those that the pretrained layers have learned from: without norms by the batch's own statistics,
    /// nothing makes up for another scale.
    pub fn takes_imagenet_scale(&self) -> bool {
        self.pretrained && (self.fixed || !self.layers.iter().any(|node| node.layer.is_norm()))
    }

    /// FLOPs of convolutions and fully connected layers per image: (forward, forward and backward). Frozen layers take part in the
    /// forward pass alone, and nothing needs the gradient of the input. Where there are more than numbers have room for, the largest number.
    pub fn flops(&self, side: usize) -> Result<(u64, u64)> {
        let (mut forward, mut train) = (0, 0);
        // Whether something that is trained lies at a layer or before it.
        let mut trained: Vec<bool> = Vec::with_capacity(self.layers.len());
        for (i, (node, shape)) in self.layers.iter().zip(self.shapes(1, side)?).enumerate() {
            let before = node.inputs.iter().any(|input| matches!(input, Source::Layer(of) if trained[*of]));
            trained.push(before || (i >= self.frozen && node.layer.name().is_some()));
            let flops = shape.flops();
            forward = flops.saturating_add(forward);
            let passes = if i < self.frozen { 1 } else { 2 + u64::from(before) };
            train = flops.saturating_mul(passes).saturating_add(train);
        }
        Ok((forward, train))
    }
}
