//! The flawless surfaces: colours in 0…1 per pixel, row by row, before sensor noise.

use super::{REFERENCE_SIDE, SurfaceStream, floor, smooth_step, wave};
use crate::rng::{Draws, Stream};

/// Threads per direction whose properties are drawn; beyond, they repeat.
const THREADS: usize = 64;

/// How one thread differs from its neighbours.
#[derive(Clone, Copy)]
struct Thread {
    /// Shift of its centre, in thread distances.
    shift: f32,
    /// Half its width, in thread distances.
    half_width: f32,
    /// Brightness, 1 on average.
    gain: f32,
    /// Phase of what varies along it, in turns.
    phase: f32,
}

/// Where a pixel lies inside one system of parallel threads.
struct Crossing {
    /// 1 on the thread's centre line, 0 at its edge, negative beside it.
    profile: f32,
    /// Height of the profile plus the undulation over and under the other system.
    height: f32,
    /// Brightness of the thread here.
    shade: f32,
}

fn threads(draws: &mut Draws) -> [Thread; THREADS] {
    let thickness = draws.range(0.43, 0.49);
    std::array::from_fn(|_| Thread {
        shift: draws.range(-0.06, 0.06),
        half_width: thickness + draws.range(-0.04, 0.04),
        gain: draws.range(0.92, 1.08),
        phase: draws.uniform(),
    })
}

/// The threads at coordinate `across`, followed along `along` (both in thread distances). `sign` tells warp from weft: where
/// one is on top, the other is below.
fn crossing(threads: &[Thread; THREADS], across: f32, along: f32, sign: f32) -> Crossing {
    let number = floor(across);
    let thread = threads[number.rem_euclid(THREADS as i32) as usize];
    let slub = 1.0 + 0.08 * wave(along * 0.09 + thread.phase);
    let offset = (across - number as f32 - 0.5 - thread.shift) / (thread.half_width * slub);
    let parity = if number & 1 == 0 { sign } else { -sign };
    let undulation = parity * wave(along * 0.5);
    let profile = 1.0 - offset * offset;
    let twist = wave(along * 1.5 + offset * 0.4 + thread.phase);
    let shade = thread.gain * (0.66 + 0.26 * profile.max(0.0) + 0.10 * undulation + 0.03 * twist);
    Crossing { profile, height: profile + 0.9 * undulation, shade }
}

/// Plain-weave linen.
pub(super) fn woven(side: usize, stream: impl Fn(SurfaceStream) -> Stream) -> Vec<[f32; 3]> {
    const WARP: [f32; 3] = [0.77, 0.72, 0.63];
    const WEFT: [f32; 3] = [0.70, 0.66, 0.59];
    /// Seen through the gaps between threads.
    const GROUND: [f32; 3] = [0.24, 0.21, 0.18];

    let mut draws = stream(SurfaceStream::Layout).draws();
    let frame = Frame::new(&mut draws, side, 0.008);
    let light = Light::new(&mut draws, 0.10);
    let distance = [draws.range(5.6, 6.4), draws.range(5.6, 6.4)];
    let phase = [draws.range(0.0, THREADS as f32), draws.range(0.0, THREADS as f32)];
    let shear = draws.range(-0.03, 0.03);
    let bend = [draws.uniform(), draws.uniform()];
    let mut thread_draws = stream(SurfaceStream::Threads).draws();
    let warp = threads(&mut thread_draws);
    let weft = threads(&mut thread_draws);
    let grain = Grain::new(stream(SurfaceStream::Grain));

    frame.render(|x, y| {
        let a = x / distance[0] + phase[0];
        let b = (y + shear * x) / distance[1] + phase[1];
        let (a, b) = (a + 0.25 * wave(b * 0.04 + bend[0]), b + 0.25 * wave(a * 0.04 + bend[1]));
        let over = crossing(&warp, a, b, 1.0);
        let under = crossing(&weft, b, a, -1.0);
        let mottle = 1.0 + 0.012 * grain.at(x / 24.0, y / 24.0, 0);
        // Which thread is on top here, and whether there is any: edges are soft over about one pixel.
        let is_warp = smooth_step(-0.25, 0.25, over.height - under.height);
        let is_thread = smooth_step(-0.25, 0.25, over.profile.max(under.profile));
        let light = light.at(x, y);
        std::array::from_fn(|c| {
            let thread = is_warp * over.shade * WARP[c] + (1.0 - is_warp) * under.shade * WEFT[c];
            (GROUND[c] + (thread - GROUND[c]) * is_thread) * light[c] * mottle
        })
    })
}

/// Brushed metal.
pub(super) fn brushed(side: usize, stream: impl Fn(SurfaceStream) -> Stream) -> Vec<[f32; 3]> {
    const STEEL: [f32; 3] = [0.615, 0.625, 0.64];
    /// Streak layers: length and thickness in reference pixels, amplitude of brightness.
    const STREAKS: [[f32; 3]; 5] =
        [[22.0, 0.9, 0.022], [60.0, 1.2, 0.034], [150.0, 2.2, 0.026], [90.0, 5.0, 0.014], [200.0, 14.0, 0.014]];

    let mut draws = stream(SurfaceStream::Layout).draws();
    let frame = Frame::new(&mut draws, side, 0.008);
    let light = Light::new(&mut draws, 0.10);
    let strength = draws.range(0.8, 1.2);
    let highlight = [draws.range(-90.0, 90.0), draws.range(50.0, 90.0), draws.range(0.02, 0.12)];
    let grain = Grain::new(stream(SurfaceStream::Grain));

    frame.render(|x, y| {
        let streaks: f32 = STREAKS
            .iter()
            .enumerate()
            .map(|(layer, &[length, thickness, amplitude])| {
                amplitude * grain.streak(x / length, y / thickness, layer as u32)
            })
            .sum();
        let [centre, reach, gain] = highlight;
        let band = 1.0 - smooth_step(0.0, reach, (x - centre).abs());
        let brightness = (1.0 + strength * streaks) * (1.0 + gain * band);
        let light = light.at(x, y);
        std::array::from_fn(|c| STEEL[c] * brightness * light[c])
    })
}

/// Maps pixels to centred reference coordinates under a small rotation.
struct Frame {
    side: usize,
    scale: f32,
    cosine: f32,
    sine: f32,
}

impl Frame {
    /// Rotated by up to `turns` either way.
    fn new(draws: &mut Draws, side: usize, turns: f32) -> Frame {
        let turn = draws.range(-turns, turns);
        Frame { side, scale: REFERENCE_SIDE as f32 / side as f32, cosine: wave(turn + 0.25), sine: wave(turn) }
    }

    fn render(&self, colour: impl Fn(f32, f32) -> [f32; 3]) -> Vec<[f32; 3]> {
        let centre = |i: usize| (i as f32 + 0.5 - self.side as f32 * 0.5) * self.scale;
        let mut colours = Vec::with_capacity(self.side * self.side);
        for row in 0..self.side {
            let y = centre(row);
            for column in 0..self.side {
                let x = centre(column);
                colours.push(colour(self.cosine * x + self.sine * y, self.cosine * y - self.sine * x));
            }
        }
        colours
    }
}

/// Illumination: brightness, its gradient over the image, and a trace of colour.
struct Light {
    gain: [f32; 3],
    slope: [f32; 2],
}

impl Light {
    /// The gradient changes the brightness by up to `slope` from the centre to the edge.
    fn new(draws: &mut Draws, slope: f32) -> Light {
        let gain = draws.range(0.93, 1.05);
        let warmth = draws.range(-0.012, 0.012);
        let turn = draws.uniform();
        let slope = slope * draws.range(0.2, 1.0) / (0.5 * REFERENCE_SIDE as f32);
        Light {
            gain: [gain * (1.0 + warmth), gain, gain * (1.0 - warmth)],
            slope: [slope * wave(turn + 0.25), slope * wave(turn)],
        }
    }

    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let gradient = 1.0 + self.slope[0] * x + self.slope[1] * y;
        self.gain.map(|g| g * gradient)
    }
}

/// Smooth value noise of about unit variance from one table of normals.
pub(super) struct Grain {
    table: Vec<f32>,
}

impl Grain {
    const SIZE: u32 = 4096;

    pub(super) fn new(stream: Stream) -> Grain {
        let mut table = vec![0.0; Grain::SIZE as usize];
        stream.fill_normal(&mut table);
        Grain { table }
    }

    /// The lattice value of cell (column, row) in a layer.
    fn lattice(&self, column: i32, row: i32, layer: u32) -> f32 {
        let hash = (column as u32).wrapping_mul(0x9E37_79B1)
            ^ (row as u32).wrapping_mul(0x85EB_CA77)
            ^ layer.wrapping_mul(0xC2B2_AE3D);
        self.table[((hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D) >> 20) as usize]
    }

    /// Noise that varies over a distance of one in both directions.
    pub(super) fn at(&self, x: f32, y: f32, layer: u32) -> f32 {
        let row = floor(y);
        mix(self.along(x, row, layer), self.along(x, row + 1, layer), y - row as f32)
    }

    /// Like [`Grain::at`], but the cells of each row start somewhere else, as streaks do.
    fn streak(&self, x: f32, y: f32, layer: u32) -> f32 {
        let row = floor(y);
        let line = |r: i32| self.along(x + 8.0 * self.lattice(r, r, layer + 16), r, layer);
        mix(line(row), line(row + 1), y - row as f32)
    }

    fn along(&self, x: f32, row: i32, layer: u32) -> f32 {
        let column = floor(x);
        mix(self.lattice(column, row, layer), self.lattice(column + 1, row, layer), x - column as f32)
    }
}

/// Interpolates with a smooth step.
fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * (t * t * (3.0 - 2.0 * t))
}
