//! Tensors: views of storages, by an offset and a stride for each dimension.

use half::{bf16, f16};

use super::reader::damaged;
use crate::error::Result;

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Kind {
    /// That of a class of PyTorch's.
    pub(super) fn of_storage(class: &str) -> Option<Kind> {
        Some(match class.strip_suffix("Storage")? {
            "Float" => Kind::F32,
            "Double" => Kind::F64,
            "Half" => Kind::F16,
            "BFloat16" => Kind::Bf16,
            "Long" => Kind::I64,
            "Int" => Kind::I32,
            "Short" => Kind::I16,
            "Char" => Kind::I8,
            "Byte" => Kind::U8,
            "Bool" => Kind::Bool,
            _ => return None,
        })
    }

    /// As PyTorch calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::F32 => "float32",
            Kind::F64 => "float64",
            Kind::F16 => "float16",
            Kind::Bf16 => "bfloat16",
            Kind::I64 => "int64",
            Kind::I32 => "int32",
            Kind::I16 => "int16",
            Kind::I8 => "int8",
            Kind::U8 => "uint8",
            Kind::Bool => "bool",
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Kind::F64 | Kind::I64 => 8,
            Kind::F32 | Kind::I32 => 4,
            Kind::F16 | Kind::Bf16 | Kind::I16 => 2,
            Kind::I8 | Kind::U8 | Kind::Bool => 1,
        }
    }
}

/// A part of a storage of the file, as a rule all of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// By which the file names it.
    pub key: String,
    pub kind: Kind,
    /// In elements.
    pub start: usize,
    pub len: usize,
}

/// A view of a storage. All that it shows lies in the storage, and it shows no more than that has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Tensor {
    /// Dimensions, at most.
    pub(super) const MOST_DIMENSIONS: usize = 16;

    /// # Errors
    /// A view that leaves its storage, or shows more elements than it has.
    pub(super) fn new(storage: Storage, offset: usize, shape: Vec<usize>, strides: Vec<usize>) -> Result<Tensor> {
        if shape.len() != strides.len() {
            return Err(damaged(format!("has a tensor of {} dimensions and {} strides", shape.len(), strides.len())));
        }
        let Storage { start, len, .. } = storage;
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        if count.is_none_or(|count| count > len) {
            return Err(damaged(format!("has a tensor of shape {shape:?} on a storage of {len} elements")));
        }
        let reach = shape.iter().zip(&strides).try_fold(0usize, |reach, (&side, &stride)| {
            side.saturating_sub(1).checked_mul(stride).and_then(|more| reach.checked_add(more))
        });
        let last = reach.and_then(|reach| reach.checked_add(offset));
        let fits = match count {
            Some(0) => offset <= len,
            _ => last.is_some_and(|last| last < len),
        };
        // What is never stepped along may be of any stride.
        let strides = shape.iter().zip(strides).map(|(&side, stride)| if side > 1 { stride } else { 0 }).collect();
        match start.checked_add(offset) {
            Some(offset) if fits => Ok(Tensor { storage, offset, shape, strides }),
            _ => Err(damaged(format!("has a tensor that leaves its storage of {len} elements"))),
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in the order of the last dimension first, from the bytes of the whole storage; None of integers.
    pub(super) fn floats(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        match self.storage.kind {
            Kind::F32 => Some(self.each(bytes, f32::from_le_bytes)),
            Kind::F64 => Some(self.each(bytes, |value| f64::from_le_bytes(value) as f32)),
            Kind::F16 => Some(self.each(bytes, |value| f16::from_le_bytes(value).to_f32())),
            Kind::Bf16 => Some(self.each(bytes, |value| bf16::from_le_bytes(value).to_f32())),
            Kind::I64 | Kind::I32 | Kind::I16 | Kind::I8 | Kind::U8 | Kind::Bool => None,
        }
    }

    /// The one value of a tensor of int64.
    pub(super) fn integer(&self, bytes: &[u8]) -> Option<i64> {
        let values = (self.storage.kind == Kind::I64).then(|| self.each(bytes, i64::from_le_bytes))?;
        if let [value] = *values { Some(value) } else { None }
    }

    fn each<T, const N: usize>(&self, bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        let elements = bytes.as_chunks().0;
        let count: usize = self.shape.iter().product();
        let mut place = vec![0; self.shape.len()];
        let mut at = self.offset;
        let mut values = Vec::with_capacity(count.min(elements.len()));
        for _ in 0..count {
            values.extend(elements.get(at).map(|&element| value(element)));
            // To the next place: as a clock's hands.
            for ((place, &side), &stride) in place.iter_mut().zip(&self.shape).zip(&self.strides).rev() {
                *place += 1;
                at += stride;
                if *place < side {
                    break;
                }
                at -= stride * side;
                *place = 0;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<Tensor> {
        let storage = Storage { key: "0".to_string(), kind: Kind::F32, start: 0, len: 6 };
        Tensor::new(storage, offset, shape.to_vec(), strides.to_vec())
    }

    #[test]
    fn views_show_what_pytorch_shows() {
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let shown = |offset, shape: &[usize], strides: &[usize]| {
            let floats = view(offset, shape, strides).unwrap().floats(&bytes).unwrap();
            floats.into_iter().map(|value| value as u8).collect::<Vec<_>>()
        };
        assert_eq!(shown(0, &[2, 3], &[3, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(shown(0, &[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5], "transposed");
        assert_eq!(shown(1, &[2], &[3]), [1, 4], "a column");
        assert_eq!(shown(2, &[2, 2], &[0, 1]), [2, 3, 2, 3], "expanded");
        assert_eq!(shown(4, &[], &[]), [4]);
        assert_eq!(shown(1, &[1, 2], &[usize::MAX, 2]), [1, 3]);
        assert_eq!(shown(6, &[0, 3], &[3, 1]), [] as [u8; 0]);
    }

    #[test]
    fn halves_and_doubles_become_floats() {
        let of = |kind, bytes: &[u8]| {
            let storage = Storage { key: String::new(), kind, start: 0, len: 1 };
            Tensor::new(storage, 0, vec![1], vec![1]).unwrap().floats(bytes)
        };
        assert_eq!(of(Kind::F64, &0.1f64.to_le_bytes()), Some(vec![0.1]));
        assert_eq!(of(Kind::F16, &f16::from_f32(1.5).to_le_bytes()), Some(vec![1.5]));
        assert_eq!(of(Kind::Bf16, &bf16::from_f32(-3.0).to_le_bytes()), Some(vec![-3.0]));
        assert_eq!(of(Kind::I64, &[0; 8]), None);
    }

    #[test]
    fn views_that_leave_their_storage_are_refused() {
        for (offset, shape, strides) in [
            (0, vec![7], vec![1]),
            (1, vec![2, 3], vec![3, 1]),
            (0, vec![2], vec![6]),
            (0, vec![1 << 40], vec![0]),
            (0, vec![usize::MAX, 2], vec![1, 1]),
            (0, vec![2], vec![usize::MAX]),
            (0, vec![3], vec![usize::MAX / 2]),
            (usize::MAX, vec![1], vec![1]),
            (7, vec![0], vec![1]),
            (0, vec![1], vec![1, 1]),
        ] {
            assert!(view(offset, &shape, &strides).is_err(), "{offset} {shape:?} {strides:?}");
        }
    }
}
