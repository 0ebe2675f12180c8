//! What a step costs at least, counted from its geometry: bytes and launches; its operations are [`Step::flops`].

use super::plan::Step;

impl Step {
    /// Bytes that the step has to move: each operand read or written once, scratch space aside.
    pub fn bytes(&self) -> u64 {
        let moved = [self.reads(), self.writes()];
        let accesses = moved.iter();
        accesses
            .map(|access| {
                let reals: usize = access.reals.iter().map(|(_, view)| view.len * view.format.size()).sum();
                (reals + access.argmax.map_or(0, |view| view.len)) as u64
            })
            .sum()
    }

    /// Kernels that the GPU form launches.
    pub fn launches(&self) -> usize {
        match self {
            Step::ConvFprop(s) => s.launches(),
            Step::ConvWgrad(s) => s.launches(),
            Step::HeadBackward(s) => s.launches(),
            Step::NormActPoolBackward(s) => s.launches(),
            Step::Upsample(s) => s.launches(),
            Step::UpsampleAdjoint(s) => s.launches(),
            _ => 1,
        }
    }

    /// Shape of the layer that the step belongs to, such as `128×14² 128→128 5×5`; the length of its longest result where it belongs to
    /// none.
    pub fn shape(&self) -> String {
        let conv = match self {
            Step::ConvFprop(s) => Some(&s.geometry),
            Step::ConvDgrad(s) => Some(&s.geometry),
            Step::ConvWgrad(s) => Some(&s.geometry),
            Step::Head(s) => Some(&s.geometry),
            Step::HeadBackward(s) => Some(&s.geometry),
            _ => None,
        };
        if let Some(g) = conv {
            return format!("{}×{}² {}→{} {side}×{side}", g.n, g.h, g.c, g.k, side = g.side);
        }
        let pool = match self {
            Step::NormActPool(s) => Some(&s.pool),
            Step::NormActPoolBackward(s) => Some(&s.pool),
            _ => None,
        };
        if let Some(g) = pool {
            return format!("{}×{}² {} pool {}/{}", g.n, g.h, g.c, g.side, g.stride);
        }
        let longest = self.writes().reals.iter().map(|(_, view)| view.len).max().unwrap_or(0);
        format!("{longest} values")
    }
}
