//! TMA, mbarriers and WGMMA: their results in every order, and the faults that are found.

mod common;
use common::{Gpu, config};
use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, sys};
use fcdd_standin::{CpAsync, Order};

/// A tensor map as a parameter.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Map(sys::CUtensorMap);
// SAFETY: plain bytes, which a kernel takes by value.
unsafe impl DeviceRepr for Map {}

const SWIZZLE: sys::CUtensorMapSwizzle = sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B;
const BF16: sys::CUtensorMapDataType = sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
const PLAIN: sys::CUtensorMapInterleave = sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE;
const NO_PROMOTION: sys::CUtensorMapL2promotion = sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE;
const ZEROS: sys::CUtensorMapFloatOOBfill = sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;

/// A matrix [rows, columns], 8 rows of 64 columns at a time.
fn rows(gpu: &Gpu, data: &CudaSlice<u16>, rows: u64, columns: u64) -> Result<Map, sys::CUresult> {
    let (address, _keep) = data.device_ptr(&gpu.stream);
    let (sizes, strides, copied, steps) = ([columns, rows], [2 * columns], [64, 8], [1, 1]);
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: arrays of as many elements as the rank of 2 asks for.
    let status = unsafe {
        let (sizes, strides, copied, steps) = (sizes.as_ptr(), strides.as_ptr(), copied.as_ptr(), steps.as_ptr());
        let address = address as *mut _;
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            BF16,
            2,
            address,
            sizes,
            strides,
            copied,
            steps,
            PLAIN,
            SWIZZLE,
            NO_PROMOTION,
            ZEROS,
        )
    };
    status.result().map(|()| Map(map)).map_err(|_| status)
}

/// Images [n, h, w, c], 64 channels of 16 windows of `side` with `pad` around.
fn windows(
    gpu: &Gpu,
    data: &CudaSlice<u16>,
    [n, h, w, c]: [u64; 4],
    side: i32,
    pad: i32,
) -> Result<Map, sys::CUresult> {
    let (address, _keep) = data.device_ptr(&gpu.stream);
    let (sizes, strides) = ([c, w, h, n], [2 * c, 2 * c * w, 2 * c * w * h]);
    let (lower, upper, steps) = ([-pad; 2], [pad - side + 1; 2], [1; 4]);
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: arrays of as many elements as the rank of 4 asks for.
    let status = unsafe {
        let (sizes, strides, steps) = (sizes.as_ptr(), strides.as_ptr(), steps.as_ptr());
        let (lower, upper, address) = (lower.as_ptr(), upper.as_ptr(), address as *mut _);
        sys::cuTensorMapEncodeIm2col(
            &raw mut map,
            BF16,
            4,
            address,
            sizes,
            strides,
            lower,
            upper,
            64,
            16,
            steps,
            PLAIN,
            SWIZZLE,
            NO_PROMOTION,
            ZEROS,
        )
    };
    status.result().map(|()| Map(map)).map_err(|_| status)
}

/// Small whole numbers that bf16 holds, and products of which f32 adds exactly.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + i / 64 * 11) % 251) as f32 - 125.0).collect()
}

fn upload(gpu: &Gpu, values: &[f32]) -> CudaSlice<u16> {
    gpu.stream.clone_htod(&values.iter().map(|v| (v.to_bits() >> 16) as u16).collect::<Vec<_>>()).unwrap()
}

fn in_every_order(test: impl Fn(&Gpu)) {
    let Some(gpu) = Gpu::checked() else { return };
    for order in [Order::Ascending, Order::Descending, Order::Shuffled(1), Order::Shuffled(2)] {
        for when in [CpAsync::Late, CpAsync::Early] {
            fcdd_standin::set_order(order);
            fcdd_standin::set_cp_async(when);
            test(&gpu);
        }
    }
}

#[test]
fn rows_of_a_matrix_and_zeros_outside() {
    in_every_order(|gpu| {
        let (height, width) = (19, 72);
        let matrix = values(height * width);
        let data = upload(gpu, &matrix);
        let map = rows(gpu, &data, height as u64, width as u64).unwrap();
        let mut out = gpu.stream.alloc_zeros::<f32>(8 * 64).unwrap();
        for (x, y) in [(0, 0), (8, 3), (64, 16), (-8, -5), (72, 0), (0, 40)] {
            launch!(gpu, "bulk_rows", config(1, 32, 0), &map, &mut out, &x, &y).unwrap();
            let found = gpu.stream.clone_dtoh(&out).unwrap();
            for (i, found) in found.into_iter().enumerate() {
                let (row, column) = (y + i as i32 / 64, x + i as i32 % 64);
                let inside = (0..height as i32).contains(&row) && (0..width as i32).contains(&column);
                let wanted = if inside { matrix[(row * width as i32 + column) as usize] } else { 0.0 };
                assert_eq!(found, wanted, "({x}, {y}): {row}, {column}");
            }
        }
    });
}

#[test]
fn windows_of_images_and_zeros_around() {
    in_every_order(|gpu| {
        let (n, h, w, c) = (2, 4, 5, 72);
        let images = values(n * h * w * c);
        let data = upload(gpu, &images);
        let mut out = gpu.stream.alloc_zeros::<f32>(16 * 64).unwrap();
        for (side, pad) in [(3, 1), (1, 0), (2, 0), (3, 3), (1, -1)] {
            let map = windows(gpu, &data, [n, h, w, c].map(|v| v as u64), side, pad).unwrap();
            let (oh, ow) = (h as i32 + 2 * pad - side + 1, w as i32 + 2 * pad - side + 1);
            for (first, channel, s, r) in [(0, 0, 0, 0), (3, 8, side - 1, 0), (oh * ow - 2, 64, 0, side - 1)] {
                let at = [first % ow - pad, first / ow % oh - pad, first / ow / oh];
                let [x, y, image] = at;
                launch!(gpu, "bulk_windows", config(1, 32, 0), &map, &mut out, &channel, &x, &y, &image, &s, &r)
                    .unwrap();
                let found = gpu.stream.clone_dtoh(&out).unwrap();
                for (i, found) in found.into_iter().enumerate() {
                    let output = first + i as i32 / 64;
                    let (x, y) = (output % ow - pad + s, output / ow % oh - pad + r);
                    let (image, channel) = (output / ow / oh, channel + i as i32 % 64);
                    let inside = (0..w as i32).contains(&x) && (0..h as i32).contains(&y);
                    let inside = inside && image < n as i32 && channel < c as i32;
                    let place = ((image * h as i32 + y) * w as i32 + x) * c as i32 + channel;
                    let wanted = if inside { images[place as usize] } else { 0.0 };
                    assert_eq!(found, wanted, "side {side}, pad {pad}, output {output}, channel {channel}");
                }
            }
        }
    });
}

#[test]
fn product_of_a_warpgroup() {
    in_every_order(|gpu| {
        let matrix: Vec<f32> = values(192 * 64).iter().map(|v| v % 8.0).collect();
        let data = upload(gpu, &matrix);
        let map = rows(gpu, &data, 192, 64).unwrap();
        let mut out = gpu.stream.alloc_zeros::<f32>(64 * 128).unwrap();
        launch!(gpu, "bulk_product", config(1, 128, 0), &map, &mut out).unwrap();
        for (i, found) in gpu.stream.clone_dtoh(&out).unwrap().into_iter().enumerate() {
            let (a, b) = (i / 128, 64 + i % 128);
            let wanted: f32 = (0..64).map(|d| matrix[a * 64 + d] * matrix[b * 64 + d]).sum();
            assert_eq!(found, wanted, "{a}, {b}");
        }
        // The same numbers as a matrix of 64 rows and 192 columns.
        let map = rows(gpu, &data, 64, 192).unwrap();
        launch!(gpu, "bulk_product_mn_major", config(1, 128, 0), &map, &mut out).unwrap();
        for (i, found) in gpu.stream.clone_dtoh(&out).unwrap().into_iter().enumerate() {
            let (a, b) = (i / 128, 64 + i % 128);
            let wanted: f32 = (0..64).map(|d| matrix[d * 192 + a] * matrix[d * 192 + b]).sum();
            assert_eq!(found, wanted, "MN-major: {a}, {b}");
        }
    });
}

/// The faults that `bulk_ring` can have, and what their reports contain; number 0 is the kernel without a fault.
const MISTAKES: [Option<&str>; 11] = [
    None,
    Some("no fence made the mbarrier's initialisation visible to TMA"),
    Some("race with a write: read of 8 bytes at offset 0 of the shared array full"),
    Some("an asynchronous copy to it has not been waited for"),
    Some("an asynchronous copy to it has not been waited for"),
    Some("an mbarrier lacks 0 arrivals and 16 bytes"),
    Some("more arrivals at an mbarrier than the 1 of its phase"),
    Some("an mbarrier lacks 1 arrivals and 0 bytes"),
    Some("more arrivals at an mbarrier than the 1 of its phase"),
    Some("needs an address aligned to 1024 bytes"),
    Some("the block ends with a TMA copy that was not waited for"),
];

#[test]
fn mistakes_are_found() {
    let Some(gpu) = Gpu::checked() else { return };
    let matrix = values(32 * 64);
    let mut wrong = Vec::new();
    for (mistake, says) in MISTAKES.iter().enumerate() {
        for order in [Order::Ascending, Order::Descending, Order::Shuffled(3)] {
            fcdd_standin::set_order(order);
            fcdd_standin::reset();
            let data = upload(&gpu, &matrix);
            let map = rows(&gpu, &data, 32, 64).unwrap();
            let mut out = gpu.stream.alloc_zeros::<f32>(64).unwrap();
            let number = mistake as i32;
            launch!(gpu, "bulk_ring", config(1, 64, 4 * 1024), &map, &mut out, &number).unwrap();
            let failed = gpu.sync().is_err();
            let report = fcdd_standin::last_report().unwrap_or_default();
            match says {
                Some(says) if failed && (order != Order::Ascending || report.contains(says)) => {
                    std::mem::forget((data, out));
                }
                None if !failed => {
                    let sums = gpu.stream.clone_dtoh(&out).unwrap();
                    let wanted = |column: usize| (0..32).map(|row| matrix[64 * row + column]).sum::<f32>();
                    assert!((0..64).all(|column| sums[column] == wanted(column)), "{sums:?}");
                }
                _ => {
                    wrong.push(format!("mistake {mistake}, {order:?}: {failed} {report}"));
                    std::mem::forget((data, out));
                }
            }
        }
    }
    fcdd_standin::reset();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn impossible_maps_are_refused() {
    let Some(gpu) = Gpu::checked() else { return };
    let data = upload(&gpu, &values(2 * 4 * 4 * 64));
    let invalid = Err(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(rows(&gpu, &data, 16, 60).map(|_| ()), invalid, "rows of no multiple of 16 bytes");
    assert_eq!(rows(&gpu, &data, 0, 64).map(|_| ()), invalid, "no rows");
    assert_eq!(windows(&gpu, &data, [2, 4, 4, 64], 5, 0).map(|_| ()), invalid, "windows larger than the images");
    assert_eq!(windows(&gpu, &data, [2, 4, 4, 64], 1, 200).map(|_| ()), invalid, "a corner beyond 127");
}
