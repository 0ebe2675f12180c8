//! Tensor maps for TMA, the bulk copies of sm_90 (`kernels/tma.cuh`): the layout of a tensor of bf16, and the box that a copy brings. A
//! box has rows of [`TensorMap::COLUMNS`] elements in the 128-byte swizzle that WGMMA reads.

use std::marker::PhantomData;

use cudarc::driver::sys;
use half::bf16;

use super::{Pointer, Result, driver_version, failed};

/// A tensor in live device memory, as a kernel's parameter.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct TensorMap<'a> {
    map: sys::CUtensorMap,
    memory: PhantomData<&'a bf16>,
}

/// The windows of a convolution of stride 1 over images [n, h, w, c].
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    /// Side of a window.
    pub side: usize,
    /// Zeros around an image; negative: pixels of its border that no window reaches.
    pub pad: i32,
}

impl<'a> TensorMap<'a> {
    /// Elements of a row of the box: the 128 bytes of a swizzle.
    pub const COLUMNS: usize = 64;

    /// A matrix [rows, columns], of which a copy brings `box_rows` rows of [`Self::COLUMNS`] columns.
    ///
    /// # Errors
    /// What the driver refuses: columns that are no multiple of 8, an address that is no multiple of 16.
    pub fn rows(matrix: Pointer<'a, bf16>, rows: usize, columns: usize, box_rows: usize) -> Result<TensorMap<'a>> {
        let (sizes, strides) = ([columns, rows].map(|v| v as u64), [2 * columns as u64]);
        let (steps, copied) = ([1; 2], [Self::COLUMNS as u32, box_rows as u32]);
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // SAFETY: the arrays have as many elements as the driver reads: two sizes, boxes and steps, one stride.
        let status = unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut map,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                2,
                matrix.address() as *mut _,
                sizes.as_ptr(),
                strides.as_ptr(),
                copied.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        status.result().map_err(failed("describe a matrix for TMA"))?;
        TensorMap::made(map, 2 * rows * columns)
    }

    /// The windows of images, of which a copy brings one tap of `pixels` successive windows, [`Self::COLUMNS`] channels of it.
    ///
    /// # Errors
    /// What the driver refuses: channels that are no multiple of 8, windows or padding above 127, an address that is no multiple of 16.
    pub fn windows(images: Pointer<'a, bf16>, windows: Windows, pixels: usize) -> Result<TensorMap<'a>> {
        let Windows { n, h, w, c, side, pad } = windows;
        let sizes = [c, w, h, n].map(|v| v as u64);
        let strides = [2 * c, 2 * c * w, 2 * c * w * h].map(|v| v as u64);
        // The first pixels of windows begin `pad` before an image; the last one's are as far from its end.
        let (lower, upper) = ([-pad; 2], [pad - (side as i32 - 1); 2]);
        let steps = [1; 4];
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        // SAFETY: the arrays have as many elements as the driver reads: four sizes and steps, three strides, two of each corner.
        let status = unsafe {
            sys::cuTensorMapEncodeIm2col(
                &raw mut map,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                4,
                images.address() as *mut _,
                sizes.as_ptr(),
                strides.as_ptr(),
                lower.as_ptr(),
                upper.as_ptr(),
                Self::COLUMNS as u32,
                pixels as u32,
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        status.result().map_err(failed("describe windows for TMA"))?;
        TensorMap::made(map, 2 * n * h * w * c)
    }

    /// What the driver made of a tensor of so many bytes. Up to 13.1 it sets a bit that only a tensor of 128 KiB or more may have, and
    /// addresses outside of a smaller one come out wrong; it is taken out as CUTLASS does (`copy_traits_sm90_tma.hpp`). On sm_90 it means
    /// nothing.
    fn made(mut map: sys::CUtensorMap, bytes: usize) -> Result<TensorMap<'a>> {
        if driver_version()? <= 13010 && bytes < 128 << 10 {
            map.opaque[1] &= !(1 << 21);
        }
        Ok(TensorMap { map, memory: PhantomData })
    }
}
