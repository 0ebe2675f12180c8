//! Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A number depends only on (seed, purpose, epoch, sample, index), never on what was drawn before. So a sample's augmentation
//! is the same for any batch size, thread count, restart or device. Everything derived from the bits uses integers or plain
//! f32 additions, multiplications, divisions and square roots (each exactly rounded by IEEE 754, none fused), so that a GPU
//! compiled without contraction gives the same bits as this code.

// What a number is drawn for: `Purpose` of `kernels/philox.cuh`.
include!(concat!(env!("OUT_DIR"), "/purpose.rs"));

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox on one 128-bit counter.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// One stream of random numbers with random access by index.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    purpose: u32,
    epoch: u32,
    sample: u32,
}

impl Stream {
    /// The stream of one sample in one epoch for one purpose.
    pub fn new(seed: u64, purpose: Purpose, epoch: u32, sample: u32) -> Stream {
        Stream { key: [seed as u32, (seed >> 32) as u32], purpose: purpose as u32, epoch, sample }
    }

    /// Four numbers at once: indices `4 * block ..= 4 * block + 3`.
    pub fn block(&self, block: u32) -> [u32; 4] {
        philox(self.key, [block, self.sample, self.epoch, self.purpose])
    }

    /// 32 random bits.
    pub fn bits(&self, index: u32) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// Uniform on [0, 1), 24 bits.
    pub fn uniform(&self, index: u32) -> f32 {
        unit(self.bits(index))
    }

    /// Uniform integer in `0..n` by multiply-shift (bias below n / 2³²).
    pub fn below(&self, index: u32, n: u32) -> u32 {
        scaled(self.bits(index), n as usize) as u32
    }

    /// Standard normal by Box–Muller; indices 2i and 2i + 1 share a pair of uniforms.
    pub fn normal(&self, index: u32) -> f32 {
        let block = self.block(index / 4);
        let pair = if index % 4 < 2 { [block[0], block[1]] } else { [block[2], block[3]] };
        let [cosine, sine] = box_muller(pair);
        if index.is_multiple_of(2) { cosine } else { sine }
    }

    /// Fills a slice with standard normals of indices `0..`, the same values as [`Stream::normal`].
    pub fn fill_normal(&self, values: &mut [f32]) {
        for (b, chunk) in values.chunks_mut(4).enumerate() {
            let [a, b, c, d] = self.block(b as u32);
            let ([n0, n1], [n2, n3]) = (box_muller([a, b]), box_muller([c, d]));
            chunk.copy_from_slice(&[n0, n1, n2, n3][..chunk.len()]);
        }
    }

    /// A cursor that draws indices 0, 1, 2 … in turn.
    pub fn draws(self) -> Draws {
        Draws { stream: self, next: 0 }
    }

    /// A permutation of `0..n`: Fisher–Yates with this stream's numbers.
    pub fn permutation(&self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, self.below(i, i + 1) as usize);
        }
        order
    }
}

/// Sequential reading of a [`Stream`], for code that draws a few numbers one after the other.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    next: u32,
}

impl Draws {
    fn advance(&mut self) -> u32 {
        let index = self.next;
        self.next += 1;
        index
    }

    /// Leaves `count` numbers out.
    pub fn skip(&mut self, count: u32) {
        self.next += count;
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        let index = self.advance();
        self.stream.bits(index)
    }

    /// Uniform on [0, 1).
    pub fn uniform(&mut self) -> f32 {
        unit(self.bits())
    }

    /// Uniform on [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer in `0..n`.
    pub fn below(&mut self, n: u32) -> u32 {
        let index = self.advance();
        self.stream.below(index, n)
    }

    /// True with probability ½.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 31 == 1
    }
}

/// 32 random bits as an integer in `0..n`, which is below 2³².
pub(crate) fn scaled(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}

/// The upper 24 bits as a number in [0, 1).
fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two independent standard normals from two words.
fn box_muller([a, b]: [u32; 2]) -> [f32; 2] {
    // (0, 1]: never the logarithm of zero.
    let radius = (-2.0 * ln((((a >> 8) + 1) as f32) * (1.0 / 16_777_216.0))).sqrt();
    let [sine, cosine] = sin_cos_turns(b);
    [radius * cosine, radius * sine]
}

/// Natural logarithm of a positive normal number (Cephes `logf` polynomial; relative error below 2e-7).
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 23) as i32 - 126;
    let mut m = f32::from_bits((bits & 0x007F_FFFF) | 0x3F00_0000); // [0.5, 1)
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        exponent -= 1;
        m = m + m - 1.0;
    } else {
        m -= 1.0;
    }
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let z = m * m;
    let mut p = P[0];
    for &c in &P[1..] {
        p = p * m + c;
    }
    let e = exponent as f32;
    let y = p * m * z - 2.121_944_4e-4 * e - 0.5 * z;
    m + y + 0.693_359_4 * e
}

/// Sine and cosine of a full turn times `turn / 2³²`: the angle is reduced with integers, then Cephes polynomials.
pub fn sin_cos_turns(turn: u32) -> [f32; 2] {
    // The nearest quarter turn, and the rest in [-1/8, 1/8) turns.
    let quadrant = turn.wrapping_add(1 << 29) >> 30;
    let rest = turn.wrapping_sub(quadrant << 30) as i32;
    let x = (rest >> 5) as f32 * (std::f32::consts::TAU / 134_217_728.0);
    let z = x * x;
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * x + x;
    let cosine = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    match quadrant {
        0 => [sine, cosine],
        1 => [cosine, -sine],
        2 => [-sine, -cosine],
        _ => [-cosine, sine],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors of Random123 1.14 (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_matches_random123() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 2], [!0; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn polynomials_follow_the_functions() {
        for i in 1..=20_000u32 {
            let x = i as f32 / 10_000.0;
            assert!((f64::from(ln(x)) - f64::from(x).ln()).abs() < 3e-7 * (1.0 + f64::from(x).ln().abs()), "ln({x})");
            let turn = i.wrapping_mul(214_748);
            let angle = f64::from(turn) / 4_294_967_296.0 * std::f64::consts::TAU;
            let [s, c] = sin_cos_turns(turn);
            assert!((f64::from(s) - angle.sin()).abs() < 2e-7 && (f64::from(c) - angle.cos()).abs() < 2e-7, "{turn}");
        }
    }

    #[test]
    fn normals_have_unit_variance_and_random_access() {
        let stream = Stream::new(7, Purpose::AugmentNoise, 1, 2);
        let mut values = vec![0.0; 100_003];
        stream.fill_normal(&mut values);
        for i in [0, 1, 2, 3, 4, 5, 6, 7, 99_999, 100_002] {
            assert_eq!(values[i], stream.normal(i as u32));
        }
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        // Standard errors are 0.003 and 0.0045.
        assert!(mean.abs() < 0.015 && (var - 1.0).abs() < 0.02, "mean {mean} var {var}");
    }

    #[test]
    fn permutations_hold_every_index_once_and_differ_by_epoch() {
        let of = |epoch| Stream::new(0, Purpose::Shuffle, epoch, 0).permutation(1000);
        let mut sorted = of(0);
        assert_ne!(sorted, of(1));
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
    }
}
