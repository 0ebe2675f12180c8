//! Normalisation of anomaly maps for display: subtract the minimum, divide by a quantile, clamp to 0…1.

use crate::real::Real;

/// What a map is shown with: `(value − minimum) / range`, clamped to 0…1. A model may carry one, so that images of any time
/// compare.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Scale<T> {
    /// The value shown as 0.
    pub minimum: T,
    /// The distance from the minimum to the value shown as 1.
    pub range: T,
}

impl<T: Real> Scale<T> {
    /// The scale of these values: their minimum, and the `q`-quantile of what exceeds it, which is the k-th smallest with
    /// k = ⌊q·N⌋ (at least 1). `q` = 1 gives the maximum. Without values the scale is (0, 0).
    pub(crate) fn of(values: &[T], q: f64) -> Scale<T> {
        let mut excess = values.to_vec();
        let minimum = excess.iter().copied().reduce(T::min).unwrap_or_default();
        excess.iter_mut().for_each(|v| *v -= minimum);
        let k = ((q * values.len() as f64) as usize).min(values.len()).saturating_sub(1);
        let range = if excess.is_empty() {
            T::zero()
        } else {
            *excess.select_nth_unstable_by(k, |a, b| a.f64().total_cmp(&b.f64())).1
        };
        Scale { minimum, range }
    }

    /// Scales values in place. Where the range is 0, as that of a constant map, what exceeds the minimum becomes 1, the rest 0.
    pub(crate) fn apply(&self, values: &mut [T]) {
        for value in values {
            let excess = *value - self.minimum;
            *value = if self.range > T::zero() {
                (excess / self.range).max(T::zero()).min(T::one())
            } else if excess > T::zero() {
                T::one()
            } else {
                T::zero()
            };
        }
    }
}

/// Scales each of the maps, `size` values each (all channels of a sample together), by its own minimum and `q`-quantile: shows
/// where within an image the anomaly lies.
pub(crate) fn local_norm<T: Real>(maps: &mut [T], size: usize, q: f64) {
    for map in maps.chunks_mut(size.max(1)) {
        Scale::of(map, q).apply(map);
    }
}

/// Scales all maps by the minimum and `q`-quantile of a reference, or of the maps together without one: shows which images are
/// anomalous. The reference need not have the size of the maps.
pub(crate) fn global_norm<T: Real>(maps: &mut [T], reference: Option<&[T]>, q: f64) {
    Scale::of(reference.unwrap_or(maps), q).apply(maps);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: `y = x - x.min(); (y / y.kthvalue(int(q * y.numel()))[0]).clamp(max=1)` with torch.
    #[test]
    fn the_quantile_is_the_kth_smallest() {
        let maps = [3.0, 1.0, 2.0, 5.0, 9.0f64];
        let shown = |q| {
            let mut maps = maps;
            local_norm(&mut maps, 5, q);
            maps
        };
        assert_eq!(shown(1.0), [0.25, 0.0, 0.125, 0.5, 1.0]);
        assert_eq!(shown(0.85), [0.5, 0.0, 0.25, 1.0, 1.0]); // k = 4: the value 5
        assert_eq!(shown(0.79), [1.0, 0.0, 0.5, 1.0, 1.0]); // k = 3: the value 3
    }

    #[test]
    fn local_maps_are_apart_and_global_maps_share_a_scale() {
        let maps = [0.0, 1.0, 2.0, 8.0f32];
        let mut local = maps;
        local_norm(&mut local, 2, 1.0);
        assert_eq!(local, [0.0, 1.0, 0.0, 1.0]);
        let mut global = maps;
        global_norm(&mut global, None, 1.0);
        assert_eq!(global, [0.0, 0.125, 0.25, 1.0]);
        let mut referred = maps;
        global_norm(&mut referred, Some(&[1.0, 5.0, 3.0]), 1.0);
        assert_eq!(referred, [0.0, 0.0, 0.25, 1.0]);
    }

    #[test]
    fn constant_and_empty_maps_are_harmless() {
        let mut constant = [0.7f32; 4];
        local_norm(&mut constant, 4, 0.85);
        assert_eq!(constant, [0.0; 4]);
        global_norm(&mut constant[..0], None, 0.85);
        local_norm(&mut constant[..0], 0, 0.85);
        // All but one pixel at the minimum: that one still shows.
        let mut sparse = [0.0, 0.0, 0.0, 0.3f64];
        local_norm(&mut sparse, 4, 0.5);
        assert_eq!(sparse, [0.0, 0.0, 0.0, 1.0]);
    }
}
