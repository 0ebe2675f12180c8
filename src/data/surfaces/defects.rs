//! The defects: a blending weight per pixel and the tone that it blends towards.

use super::textures::Grain;
use super::{Contrast, Defect, REFERENCE_SIDE, Surface, smooth_step, wave};
use crate::rng::{Draws, Stream};

/// How far a defect of full weight moves the surface's colour towards its own.
///
/// Fixed by looking at the images: faint is hard for a person to see at a glance, middle is visible when one looks for it,
/// strong is obvious. The weave hides more than the metal does, hence the two rows. No detector had a say in them.
pub(super) fn strength(surface: Surface, defect: Defect, contrast: Contrast) -> f32 {
    use Defect::*;
    use Surface::*;
    let [faint, middle, strong] = match (surface, defect) {
        (Woven, Scratch) => [0.26, 0.52, 0.95],
        (Woven, Hole) => [0.20, 0.42, 0.95],
        (Woven, Stain) => [0.18, 0.38, 0.85],
        (Woven, LooseThread) => [0.26, 0.50, 0.95],
        (Brushed, Scratch) => [0.14, 0.38, 0.90],
        (Brushed, Hole) => [0.10, 0.32, 0.95],
        (Brushed, Stain) => [0.10, 0.30, 0.85],
        (Brushed, LooseThread) => [0.12, 0.36, 0.95],
    };
    match contrast {
        Contrast::Faint => faint,
        Contrast::Middle => middle,
        Contrast::Strong => strong,
    }
}

/// A defect's geometry and colour, apart from its contrast.
pub(super) struct DefectLayer {
    side: usize,
    /// Blending weight per pixel, 0…1.
    pub(super) cover: Vec<f32>,
    /// What the pixel blends towards: −1 black, 0 unchanged, 1 white.
    tone: Vec<f32>,
    /// Factor of the colour that the pixel blends towards.
    tint: [f32; 3],
}

impl DefectLayer {
    fn new(side: usize, tint: [f32; 3]) -> DefectLayer {
        DefectLayer { side, cover: vec![0.0; side * side], tone: vec![0.0; side * side], tint }
    }

    /// The colour of pixel `i` with the defect on it.
    pub(super) fn apply(&self, i: usize, colour: [f32; 3], strength: f32) -> [f32; 3] {
        let (weight, tone) = (self.cover[i] * strength, self.tone[i]);
        std::array::from_fn(|c| {
            let toned = colour[c] + if tone < 0.0 { tone * colour[c] } else { tone * (1.0 - colour[c]) };
            colour[c] + weight * (toned * self.tint[c] - colour[c])
        })
    }

    /// Pixels per reference pixel.
    fn scale(&self) -> f32 {
        self.side as f32 / REFERENCE_SIDE as f32
    }

    /// Visits the pixels within `reach` of a point, with their offsets from it; all in reference pixels.
    fn around(&mut self, [x, y]: [f32; 2], reach: f32, mut visit: impl FnMut(&mut f32, &mut f32, f32, f32)) {
        let scale = self.scale();
        let span = |centre: f32| {
            let from = ((centre - reach) * scale - 0.5).ceil().max(0.0) as usize;
            let to = ((centre + reach) * scale + 0.5).floor().max(0.0) as usize;
            from..to.min(self.side)
        };
        for row in span(y) {
            for column in span(x) {
                let i = row * self.side + column;
                let at = |k: usize| (k as f32 + 0.5) / scale;
                visit(&mut self.cover[i], &mut self.tone[i], at(column) - x, at(row) - y);
            }
        }
    }

    /// Stamps a disc with a soft edge; the highest weight wins. `tone` is a function of the distance from the centre, 0…1.
    fn stamp(&mut self, centre: [f32; 2], radius: f32, tone: impl Fn(f32) -> f32) {
        // Half a pixel of soft edge on either side, and never thinner than a pixel.
        let edge = 0.5 / self.scale();
        let radius = radius.max(edge);
        self.around(centre, radius + edge, |cover, old, dx, dy| {
            let distance = (dx * dx + dy * dy).sqrt();
            let weight = ((radius + edge - distance) / (2.0 * edge)).clamp(0.0, 1.0);
            if weight > *cover {
                *cover = weight;
                *old = tone((distance / radius).min(1.0));
            }
        });
    }
}

/// The layer of one defect.
pub(super) fn layer(surface: Surface, defect: Defect, side: usize, stream: Stream) -> DefectLayer {
    let draws = &mut stream.draws();
    match defect {
        Defect::Scratch => scratch(surface, side, draws),
        Defect::Hole => hole(side, draws),
        Defect::Stain => stain(side, draws, &Grain::new(stream)),
        Defect::LooseThread => loose_thread(side, draws),
    }
}

/// A quadratic Bézier curve with tapered ends: bare fibres on cloth, a glint or a dark groove on metal.
fn scratch(surface: Surface, side: usize, draws: &mut Draws) -> DefectLayer {
    let bright = surface == Surface::Woven || draws.coin();
    let tone = if bright { draws.range(0.6, 0.8) } else { draws.range(-0.7, -0.5) };
    let mut layer = DefectLayer::new(side, [1.0; 3]);
    let (length, turn) = (draws.range(52.0, 92.0), draws.uniform());
    let direction = [wave(turn + 0.25), wave(turn)];
    let centre = [draws.range(48.0, 80.0), draws.range(48.0, 80.0)];
    let sag = draws.range(-0.13, 0.13) * length;
    let (radius, phase) = (draws.range(0.75, 1.15), draws.uniform());
    // From −1 to 1 along the curve, four points per pixel.
    let points = (length * layer.scale() * 4.0).ceil().max(1.0) as usize;
    for point in 0..=points {
        let t = 2.0 * point as f32 / points as f32 - 1.0;
        let (along, across) = (0.5 * t * length, sag * (1.0 - t * t) - 0.5 * sag);
        let at = [
            centre[0] + along * direction[0] - across * direction[1],
            centre[1] + along * direction[1] + across * direction[0],
        ];
        let taper = 0.55 + 0.45 * (1.0 - t * t);
        let pressure = 0.85 + 0.15 * wave(2.0 * t + phase);
        layer.stamp(at, radius * taper, |_| tone * pressure);
    }
    layer
}

/// An ellipse with a ragged edge; the wall on the lit side is less dark.
fn hole(side: usize, draws: &mut Draws) -> DefectLayer {
    let mut layer = DefectLayer::new(side, [1.0; 3]);
    let centre = [draws.range(24.0, 104.0), draws.range(24.0, 104.0)];
    let (radius, turn, lit) = (draws.range(5.0, 9.5), draws.uniform(), draws.uniform());
    let aspect = draws.range(0.75, 1.0);
    let edge = 0.6 / layer.scale();
    let outline = Outline::new(draws, [0.08, 0.05, 0.04, 0.03]);
    let (cosine, sine) = (wave(turn + 0.25), wave(turn));
    let light = [wave(lit + 0.25), wave(lit)];
    layer.around(centre, radius * 1.3 + edge, |cover, tone, dx, dy| {
        let (u, v) = (cosine * dx + sine * dy, (cosine * dy - sine * dx) / aspect);
        let border = radius * outline.at(u, v);
        let distance = (u * u + v * v).sqrt();
        *cover = smooth_step(border + edge, border - edge, distance);
        let wall = smooth_step(0.55, 1.0, distance / border) * (light[0] * dx + light[1] * dy) / radius;
        *tone = -0.88 + 0.35 * wall.max(0.0);
    });
    layer
}

/// A blotch with soft edges, darker towards its rim like dried liquid, of one of four liquids.
fn stain(side: usize, draws: &mut Draws, grain: &Grain) -> DefectLayer {
    const TINTS: [[f32; 3]; 4] = [[1.0, 0.84, 0.62], [0.98, 1.0, 1.03], [0.80, 0.92, 1.12], [1.06, 0.80, 0.70]];
    let mut layer = DefectLayer::new(side, TINTS[draws.below(4) as usize]);
    let centre = [draws.range(28.0, 100.0), draws.range(28.0, 100.0)];
    let radius = draws.range(8.5, 15.0);
    let depth = draws.range(-0.60, -0.45);
    let outline = Outline::new(draws, [0.14, 0.09, 0.05, 0.03]);
    layer.around(centre, radius * 1.9, |cover, tone, dx, dy| {
        let distance = (dx * dx + dy * dy).sqrt() / (radius * outline.at(dx, dy));
        let cloud = 1.0 + 0.10 * grain.at(dx / 5.0, dy / 5.0, 1);
        *cover = (smooth_step(1.3, 0.75, distance) * cloud).clamp(0.0, 1.0);
        let rim = 1.0 - ((distance - 0.9) / 0.25).abs().min(1.0);
        *tone = depth * (0.85 + 0.25 * rim);
    });
    layer
}

/// A thread that wanders and curls, light or dark, with a soft shadow beside it that stays out of the mask.
fn loose_thread(side: usize, draws: &mut Draws) -> DefectLayer {
    let tint =
        if draws.coin() { [1.0; 3] } else { [draws.range(0.85, 1.0), draws.range(0.85, 1.0), draws.range(0.85, 1.0)] };
    let mut layer = DefectLayer::new(side, tint);
    let tone = if draws.coin() { draws.range(0.7, 0.85) } else { draws.range(-0.75, -0.6) };
    let (length, radius) = (draws.range(70.0, 130.0), draws.range(0.9, 1.3));
    let mut at = [draws.range(36.0, 92.0), draws.range(36.0, 92.0)];
    let mut turn = draws.uniform();
    let curl = [draws.range(0.6, 1.3), draws.range(1.0, 2.2)].map(|amplitude| amplitude / 100.0);
    let period = [draws.range(50.0, 90.0), draws.range(20.0, 38.0)];
    let phase = [draws.uniform(), draws.uniform()];
    let step = 0.25 / layer.scale();
    let mut path = Vec::new();
    let mut walked = 0.0;
    while walked < length {
        path.push(at);
        // Heading changes like two superposed waves; near the border it turns towards the centre.
        let heading = [wave(turn + 0.25), wave(turn)];
        let off = [at[0] - 64.0, at[1] - 64.0];
        let outwards = smooth_step(34.0, 56.0, off[0].abs().max(off[1].abs()));
        let side_of_centre = if heading[0] * off[1] - heading[1] * off[0] > 0.0 { -1.0 } else { 1.0 };
        turn += step * (0..2).map(|k| curl[k] * wave(walked / period[k] + phase[k])).sum::<f32>();
        turn += step * 0.02 * outwards * side_of_centre;
        at = [at[0] + step * heading[0], at[1] + step * heading[1]];
        walked += step;
    }
    for &[x, y] in &path {
        layer.around([x + 1.2, y + 1.2], 2.5, |cover, tone, dx, dy| {
            let weight = 0.24 * smooth_step(2.5, 0.5, (dx * dx + dy * dy).sqrt());
            if weight > *cover {
                (*cover, *tone) = (weight, -0.7);
            }
        });
    }
    // Round shading across the thread: darker towards its edges.
    for &point in &path {
        layer.stamp(point, radius, |distance| tone * (1.0 - 0.3 * distance * distance * tone.signum()));
    }
    layer
}

/// A closed outline around a unit circle: harmonics of rising frequency with random phase.
struct Outline {
    harmonics: [[f32; 2]; 4],
}

impl Outline {
    /// Amplitudes of the 2nd, 3rd, 5th and 8th harmonic.
    fn new(draws: &mut Draws, amplitudes: [f32; 4]) -> Outline {
        Outline { harmonics: amplitudes.map(|a| [a * draws.range(0.5, 1.0), draws.uniform()]) }
    }

    /// Radius in the direction of (x, y).
    fn at(&self, x: f32, y: f32) -> f32 {
        const ORDERS: [f32; 4] = [2.0, 3.0, 5.0, 8.0];
        let turns = angle(x, y);
        1.0 + ORDERS.iter().zip(&self.harmonics).map(|(order, [a, phase])| a * wave(order * turns + phase)).sum::<f32>()
    }
}

/// The direction of (x, y) in turns, by a rational approximation whose error (below 0.001) no outline shows.
fn angle(x: f32, y: f32) -> f32 {
    let (ax, ay) = (x.abs(), y.abs());
    if ax + ay == 0.0 {
        return 0.0;
    }
    let ratio = ax.min(ay) / ax.max(ay);
    let eighth = ratio * (0.125 + 0.0435 * (1.0 - ratio));
    let quarter = if ax > ay { eighth } else { 0.25 - eighth };
    let half = if x >= 0.0 { quarter } else { 0.5 - quarter };
    if y >= 0.0 { half } else { 1.0 - half }
}
