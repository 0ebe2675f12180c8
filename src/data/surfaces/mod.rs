//! Synthetic inspection images for the demo: woven cloth and brushed metal, flawless or with one defect, with exact masks.
//!
//! Every image is a pure function of (surface, defect, side, seed, index): only integers and plain f32 arithmetic are used,
//! so it is the same on any machine. Lengths are written in pixels of an image of [`REFERENCE_SIDE`] and scale with the side.

mod defects;
mod textures;

use crate::rng::{Purpose, Stream};

/// The side that lengths inside the generator refer to, in pixels.
pub(crate) const REFERENCE_SIDE: usize = 128;

/// From this blending weight of the defect on, a pixel counts as anomalous.
const MASK_THRESHOLD: f32 = 0.25;

/// What is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Plain-weave linen: single threads over and under each other.
    Woven,
    /// Metal sheet with fine streaks along one direction.
    Brushed,
}

/// What can be wrong with a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A thin, slightly curved line.
    Scratch,
    /// A dark opening with a ragged edge.
    Hole,
    /// A blotch with soft edges.
    Stain,
    /// A curly thread that lies on the surface.
    LooseThread,
}

/// How much a defect stands out. The shape of the defect does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contrast {
    /// Hard to see at a glance.
    Faint,
    /// Visible when one looks for it.
    Middle,
    /// Obvious.
    Strong,
}

impl Surface {
    /// Both surfaces.
    pub(crate) const ALL: [Surface; 2] = [Surface::Woven, Surface::Brushed];

    /// Lower-case name for tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Surface::Woven => "woven",
            Surface::Brushed => "brushed",
        }
    }
}

impl Defect {
    /// All four defects.
    pub(crate) const ALL: [Defect; 4] = [Defect::Scratch, Defect::Hole, Defect::Stain, Defect::LooseThread];

    /// Lower-case name for tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Hole => "hole",
            Defect::Stain => "stain",
            Defect::LooseThread => "loose-thread",
        }
    }
}

impl Contrast {
    /// From the hardest to the easiest.
    pub(crate) const ALL: [Contrast; 3] = [Contrast::Faint, Contrast::Middle, Contrast::Strong];

    /// Lower-case name for tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contrast::Faint => "faint",
            Contrast::Middle => "middle",
            Contrast::Strong => "strong",
        }
    }
}

/// A square image and its ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SurfaceImage {
    /// RGB bytes, height × width × 3.
    pub pixels: Vec<u8>,
    /// 1 where the defect covers at least a quarter of the pixel and changes its colour, else 0; height × width.
    pub mask: Vec<u8>,
}

/// One image of `side` × `side` pixels (meant for 96 to 256).
///
/// The surface depends on (`surface`, `side`, `seed`, `index`) alone: with another or no defect it is the same piece of cloth
/// or metal under the same light, and with another contrast the defect has the same shape and place.
pub(crate) fn synthesise(
    surface: Surface,
    defect: Option<(Defect, Contrast)>,
    side: usize,
    seed: u64,
    index: u32,
) -> SurfaceImage {
    let stream = |part: SurfaceStream| Stream::new(seed, Purpose::Surface, surface as u32 * 8 + part as u32, index);
    let clean = match surface {
        Surface::Woven => textures::woven(side, stream),
        Surface::Brushed => textures::brushed(side, stream),
    };
    let mut noise = vec![0.0; side * side];
    stream(SurfaceStream::Noise).fill_normal(&mut noise);
    let noise_level = 0.006 + 0.006 * stream(SurfaceStream::NoiseLevel).uniform(0);
    let bytes = |colour: [f32; 3], noise: f32| colour.map(|c| (c * 255.0 + noise * noise_level * 255.0 + 0.5) as u8);

    let mut image = SurfaceImage { pixels: Vec::with_capacity(side * side * 3), mask: vec![0; side * side] };
    let Some((defect, contrast)) = defect else {
        image.pixels.extend(clean.iter().zip(&noise).flat_map(|(&c, &n)| bytes(c, n)));
        return image;
    };
    let layer = defects::layer(surface, defect, side, stream(SurfaceStream::Defect));
    let strength = defects::strength(surface, defect, contrast);
    for (i, (&colour, &noise)) in clean.iter().zip(&noise).enumerate() {
        let flawed = bytes(layer.apply(i, colour, strength), noise);
        image.mask[i] = u8::from(layer.cover[i] >= MASK_THRESHOLD && flawed != bytes(colour, noise));
        image.pixels.extend(flawed);
    }
    image
}

/// The independent random streams of one image.
#[derive(Clone, Copy)]
enum SurfaceStream {
    Layout = 0,
    Threads = 1,
    Grain = 2,
    Noise = 3,
    NoiseLevel = 4,
    Defect = 5,
}

/// Sine of `turns` full turns, by two parabolas: within 0.0011, without branches, the same on every machine.
fn wave(turns: f32) -> f32 {
    let t = turns - floor(turns + 0.5) as f32;
    let parabola = 8.0 * t * (1.0 - 2.0 * t.abs());
    parabola + 0.225 * (parabola * parabola.abs() - parabola)
}

/// The greatest integer not above `x`; unlike `f32::floor` never a call of the mathematics library.
fn floor(x: f32) -> i32 {
    let toward_zero = x as i32;
    toward_zero - i32::from(toward_zero as f32 > x)
}

/// Smooth step from 0 at `from` to 1 at `to` (Hermite cubic).
fn smooth_step(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = REFERENCE_SIDE;

    fn every_case() -> impl Iterator<Item = (Surface, Defect, u32)> {
        Surface::ALL
            .into_iter()
            .flat_map(|s| Defect::ALL.into_iter().flat_map(move |d| (0..25).map(move |i| (s, d, i))))
    }

    #[test]
    fn an_image_depends_on_its_arguments_alone() {
        let of = |seed, index| synthesise(Surface::Woven, Some((Defect::Hole, Contrast::Middle)), 96, seed, index);
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2).pixels, of(1, 3).pixels);
        assert_ne!(of(1, 2).pixels, of(2, 2).pixels);
    }

    #[test]
    fn flawless_images_have_empty_masks() {
        for surface in Surface::ALL {
            for side in [1, 28, 96, 257] {
                let image = synthesise(surface, None, side, 3, 4);
                assert_eq!((image.pixels.len(), image.mask.len()), (side * side * 3, side * side));
                assert!(image.mask.iter().all(|&m| m == 0));
            }
        }
    }

    #[test]
    fn masks_lie_on_changed_pixels_and_have_the_promised_size() {
        for (surface, defect, index) in every_case() {
            let clean = synthesise(surface, None, SIDE, 11, index);
            for contrast in Contrast::ALL {
                let image = synthesise(surface, Some((defect, contrast)), SIDE, 11, index);
                let mut area = 0;
                for (i, &m) in image.mask.iter().enumerate() {
                    let pixel = i * 3..i * 3 + 3;
                    assert!(m == 0 || image.pixels[pixel.clone()] != clean.pixels[pixel]);
                    area += usize::from(m);
                }
                let share = area as f64 / (SIDE * SIDE) as f64;
                assert!((0.003..0.06).contains(&share), "{surface:?} {defect:?} {contrast:?} {index}: {share}");
            }
        }
    }

    #[test]
    fn contrasts_are_ordered() {
        for (surface, defect, index) in every_case() {
            let clean = synthesise(surface, None, SIDE, 5, index);
            let change = Contrast::ALL.map(|contrast| {
                let image = synthesise(surface, Some((defect, contrast)), SIDE, 5, index);
                image.pixels.iter().zip(&clean.pixels).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum::<u64>()
            });
            assert!(0 < change[0] && change[0] * 3 < change[1] * 2 && change[1] * 3 < change[2] * 2, "{change:?}");
        }
    }
}
