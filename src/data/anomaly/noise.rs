//! Noise without shape: per value or per image.

use crate::rng::Stream;

/// Normal noise of standard deviation 64, truncated to integers: value `i` from normal `i` of the stream.
pub fn gaussian(stream: Stream, normals: &mut Vec<f32>, noise: &mut [i16]) {
    normals.resize(noise.len(), 0.0);
    stream.fill_normal(normals);
    for (value, normal) in noise.iter_mut().zip(normals) {
        *value = (*normal * 64.0) as i16;
    }
}

/// Uniform over 0…255: value `i` from the upper byte of number `i`.
pub fn uniform(stream: Stream, noise: &mut [i16]) {
    for (block, values) in noise.chunks_mut(4).enumerate() {
        for (value, bits) in values.iter_mut().zip(stream.block(block as u32)) {
            *value = (bits >> 24) as i16;
        }
    }
}

/// One colour, uniform over 0…255 per channel: channel `c` from the upper byte of number `c`.
pub fn solid(stream: Stream, channels: usize, noise: &mut [i16]) {
    let colour = stream.block(0).map(|bits| (bits >> 24) as i16);
    for pixel in noise.chunks_exact_mut(channels) {
        pixel.copy_from_slice(&colour[..channels]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn moments() {
        let stream = Stream::new(1, Purpose::Anomaly, 2, 3);
        let mut noise = vec![0; 60_000];
        let moments = |noise: &[i16]| {
            let n = noise.len() as f64;
            let mean = noise.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            (mean, (noise.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        gaussian(stream, &mut Vec::new(), &mut noise);
        let (mean, deviation) = moments(&noise);
        assert!(mean.abs() < 1.5 && (deviation - 63.7).abs() < 1.0, "{mean} {deviation}");
        uniform(stream, &mut noise);
        let (mean, deviation) = moments(&noise);
        assert!((mean - 127.5).abs() < 1.5 && (deviation - 73.9).abs() < 1.0, "{mean} {deviation}");
        assert_eq!(noise[4_321], (stream.bits(4_321) >> 24) as i16);
        solid(stream, 3, &mut noise);
        assert!(noise.chunks(3).all(|pixel| pixel == &noise[..3]));
    }
}
