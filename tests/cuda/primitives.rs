//! The instructions that the kernels write as PTX (`kernels/ptx.cuh`, `tma.cuh`, `wgmma.cuh`, `portable.cuh`), each by itself. Expected
//! results are computed here from NVIDIA's manual ("Parallel Thread Execution ISA"; its sections are quoted). The stand-in does not execute
//! the PTX, so only on a GPU do these tests find a wrong instruction.
//!
//! All numbers are small integers, so that sums are exact in any order.
//!
//! All launches are `unsafe`: each test gives its kernel buffers of the lengths that the kernel's comment names.

use fcdd::device::cuda::{Buffer, Element, TensorMap, Windows};
use half::bf16;

use crate::kernels::{
    ConsumeNcParameters, ConsumeParameters, CpAsyncGroupsParameters, CpAsyncParameters, Kernels, LdmatrixParameters,
    MbarrierExpectTxParameters, MbarrierPhasesParameters, MmaParameters, Needs, PackBf16Parameters, ProduceParameters,
    TmaParameters, ToBf16Parameters, WgmmaGroupsParameters, WgmmaParameters, primitives as plain,
    primitives_sm90 as sm90, with_kernels,
};
use crate::support::Gpu;

/// Pseudorandom integers of magnitude 128 at most, which are exact in bf16; the same in every run.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let number = |i: usize| ((i as u32 ^ seed << 20).wrapping_mul(0x9E37_79B9) >> 16) % 257;
    (0..len).map(|i| number(i) as f32 - 128.0).collect()
}

fn bits(number: f32) -> u16 {
    assert_eq!(number.to_bits() & 0xffff, 0, "{number} is no bf16");
    (number.to_bits() >> 16) as u16
}

/// Two numbers in one register, the first in its lower half.
fn pair(lo: f32, hi: f32) -> u32 {
    u32::from(bits(lo)) | u32::from(bits(hi)) << 16
}

fn upload<T: Element>(gpu: &Gpu, values: &[T]) -> Buffer<T> {
    gpu.cuda().upload(values).unwrap()
}

fn read<T: Element + Default + Clone>(buffer: &Buffer<T>) -> Vec<T> {
    let mut values = vec![T::default(); buffer.len()];
    buffer.read(0, &mut values).unwrap();
    values
}

/// Asserts that all numbers are as wanted; the message names the first that is not.
#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &[T], wanted: &[T]) {
    assert_eq!(found.len(), wanted.len(), "{what}: how many");
    let differ = found.iter().zip(wanted).filter(|(f, w)| f != w).count();
    if let Some(i) = (0..found.len()).find(|&i| found[i] != wanted[i]) {
        let (found, wanted) = (&found[i], &wanted[i]);
        panic!("{what}: {differ} are wrong; number {i} is {found:?}, should be {wanted:?}");
    }
}

// ---- "Data Movement and Conversion Instructions: cvt": rounds to nearest, ties to even; NaN becomes 0x7fff.

/// Bits of floats and of the bf16 that they become.
const ROUNDED: [(u32, u16); 26] = [
    (0x0000_0000, 0x0000), // zeros
    (0x8000_0000, 0x8000),
    (0x3f80_0000, 0x3f80), // 1, exact
    (0x3f80_7fff, 0x3f80), // just below a tie, the tie, just above it: after an even number
    (0x3f80_8000, 0x3f80),
    (0x3f80_8001, 0x3f81),
    (0x3f81_7fff, 0x3f81), // after an odd one
    (0x3f81_8000, 0x3f82),
    (0x3f81_8001, 0x3f82),
    (0xbf80_8000, 0xbf80), // the same below zero
    (0xbf81_8000, 0xbf82),
    (0x3fff_8000, 0x4000), // into the next power of two
    (0x0000_0001, 0x0000), // the smallest denormal
    (0x0000_8000, 0x0000), // denormal ties
    (0x0001_8000, 0x0002),
    (0x8001_8001, 0x8002),
    (0x007f_8000, 0x0080), // the largest denormals become normal
    (0x0080_0000, 0x0080), // the smallest normal
    (0x7f7f_7fff, 0x7f7f), // the largest that stays finite, and the smallest that does not
    (0x7f7f_8000, 0x7f80),
    (0xff7f_ffff, 0xff80),
    (0x7f80_0000, 0x7f80), // infinities
    (0xff80_0000, 0xff80),
    (0x7fc0_0000, 0x7fff), // NaN: quiet, signalling, negative
    (0x7f80_0001, 0x7fff),
    (0xffff_ffff, 0x7fff),
];

/// The table, and many other bits by the `half` crate's rounding.
fn rounded() -> Vec<(u32, u16)> {
    let any = (0..20_000u32).map(|i| i.wrapping_mul(0x9E37_79B9) ^ i << 7).filter(|&b| !f32::from_bits(b).is_nan());
    ROUNDED.into_iter().chain(any.map(|b| (b, bf16::from_f32(f32::from_bits(b)).to_bits()))).collect()
}

#[test]
fn to_bf16() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let (floats, wanted): (Vec<f32>, Vec<u16>) = rounded().into_iter().map(|(f, b)| (f32::from_bits(f), b)).unzip();
        let (x, y) = (upload(gpu, &floats), upload(gpu, &vec![0u16; floats.len()]));
        let n = floats.len() as i32;
        unsafe {
            plain::primitive_to_bf16(
                kernels.launch(1, 256, 0),
                &ToBf16Parameters { x: x.pointer(), y: y.pointer_mut(), n },
            )
        }
        .unwrap();
        kernels.wait().unwrap();
        same("cvt.rn.bf16.f32", &read(&y), &wanted);
    });
}

/// "For .bf16x2 destination the first operand becomes the upper half": `cvt.rn.bf16x2.f32 d, a, b`.
#[test]
fn pack_bf16() {
    with_kernels(Needs::Since(75), |gpu, kernels| {
        let lo = rounded();
        let hi: Vec<_> = lo.iter().cycle().skip(5).take(lo.len()).copied().collect();
        let floats = |of: &[(u32, u16)]| of.iter().map(|&(f, _)| f32::from_bits(f)).collect::<Vec<_>>();
        let wanted: Vec<u32> = lo.iter().zip(&hi).map(|(l, h)| u32::from(l.1) | u32::from(h.1) << 16).collect();
        let (x, z, y) = (upload(gpu, &floats(&lo)), upload(gpu, &floats(&hi)), upload(gpu, &vec![0u32; lo.len()]));
        let n = lo.len() as i32;
        let launch = kernels.launch(1, 256, 0);
        unsafe {
            plain::primitive_pack_bf16(
                launch,
                &PackBf16Parameters { lo: x.pointer(), hi: z.pointer(), y: y.pointer_mut(), n },
            )
        }
        .unwrap();
        kernels.wait().unwrap();
        same("cvt.rn.bf16x2.f32", &read(&y), &wanted);
    });
}

// ---- "Warp-level matrix load instruction: ldmatrix": lane 8 j + r gives the address of row r of matrix j. Of each matrix lane l gets
// elements 2 (l % 4) and the next of row l / 4; with .trans, of column l / 4.

fn ldmatrix(what: &str, form: i32, matrices: usize, transposed: bool) {
    with_kernels(Needs::Since(80), |gpu, kernels| {
        gpu.in_every_order(|order| {
            // All elements are different.
            let elements: Vec<u16> = (0..256).map(|i| 0x100 + i).collect();
            let rows: Vec<i32> = (0..32).map(|lane| (lane * 5 + 3) % 32).collect();
            let (x, rows, y) = (upload(gpu, &elements), upload(gpu, &rows), upload(gpu, &[0u32; 128]));
            let launch = kernels.launch(1, 32, 0);
            unsafe {
                plain::primitive_ldmatrix(
                    launch,
                    &LdmatrixParameters { x: x.pointer(), rows: rows.pointer(), y: y.pointer_mut(), form },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let element = |matrix: usize, row: usize, column: usize| {
                let (row, column) = if transposed { (column, row) } else { (row, column) };
                u32::from(elements[(8 * matrix + row) * 8 + column])
            };
            let register = |i: usize| {
                let (lane, matrix) = (i / 4, i % 4);
                let (row, column) = (lane / 4, 2 * (lane % 4));
                let both = || element(matrix, row, column) | element(matrix, row, column + 1) << 16;
                if matrix < matrices { both() } else { 0 }
            };
            same(&format!("{what}, {order}"), &read(&y), &(0..128).map(register).collect::<Vec<_>>());
        });
    });
}

#[test]
fn ldmatrix_x2() {
    ldmatrix("ldmatrix.x2", 0, 2, false);
}

#[test]
fn ldmatrix_x2_trans() {
    ldmatrix("ldmatrix.x2.trans", 1, 2, true);
}

#[test]
fn ldmatrix_x4() {
    ldmatrix("ldmatrix.x4", 2, 4, false);
}

#[test]
fn ldmatrix_x4_trans() {
    ldmatrix("ldmatrix.x4.trans", 3, 4, true);
}

// ---- "Matrix Fragments for mma.m16n8k16 with floating point type": with group = lane / 4 and thread = lane % 4,
//   a0…a7: row group for a0, a1, a4, a5, else group + 8; column 2 thread + (i & 1), from a4 on 8 more
//   b0…b3: row 2 thread + (i & 1), from b2 on 8 more; column group
//   c0…c3: row group, from c2 on 8 more; column 2 thread + (i & 1)
// Two of a or b share a register, the first in its lower half.

#[test]
fn mma_m16n8k16() {
    const STEPS: usize = 2;
    with_kernels(Needs::Since(80), |gpu, kernels| {
        gpu.in_every_order(|order| {
            let (a, b, c) = (numbers(STEPS * 16 * 16, 1), numbers(STEPS * 16 * 8, 2), numbers(16 * 8, 3));
            let element_a = |step: usize, lane: usize, i: usize| {
                let row = lane / 4 + if matches!(i, 0 | 1 | 4 | 5) { 0 } else { 8 };
                let column = 2 * (lane % 4) + (i & 1) + if i < 4 { 0 } else { 8 };
                a[(step * 16 + row) * 16 + column]
            };
            let element_b = |step: usize, lane: usize, i: usize| {
                let row = 2 * (lane % 4) + (i & 1) + if i < 2 { 0 } else { 8 };
                b[(step * 16 + row) * 8 + lane / 4]
            };
            let place_c = |lane: usize, i: usize| (lane / 4 + if i < 2 { 0 } else { 8 }) * 8 + 2 * (lane % 4) + (i & 1);
            let each = |registers: usize| {
                (0..STEPS * 32 * registers).map(move |i| (i / registers / 32, i / registers % 32, i % registers))
            };
            let fragment_a = each(4).map(|(s, l, r)| pair(element_a(s, l, 2 * r), element_a(s, l, 2 * r + 1)));
            let fragment_b = each(2).map(|(s, l, r)| pair(element_b(s, l, 2 * r), element_b(s, l, 2 * r + 1)));
            let fragment_c = (0..128).map(|i| c[place_c(i / 4, i % 4)]);
            let (x, z, y) = (
                upload(gpu, &fragment_a.collect::<Vec<_>>()),
                upload(gpu, &fragment_b.collect::<Vec<_>>()),
                upload(gpu, &fragment_c.collect::<Vec<_>>()),
            );
            let launch = kernels.launch(1, 32, 0);
            unsafe {
                plain::primitive_mma(
                    launch,
                    &MmaParameters { a: x.pointer(), b: z.pointer(), d: y.pointer_mut(), steps: STEPS as i32 },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let sum = |place: usize| {
                let (row, column) = (place / 8, place % 8);
                let product = |k: usize| a[(k / 16 * 16 + row) * 16 + k % 16] * b[k * 8 + column];
                c[place] + (0..STEPS * 16).map(product).sum::<f32>()
            };
            let wanted: Vec<f32> = (0..128).map(|i| sum(place_c(i / 4, i % 4))).collect();
            same(&format!("mma.m16n8k16, {order}"), &read(&y), &wanted);
        });
    });
}

// ---- "Data Movement and Conversion Instructions: Non-bulk copy, cp.async": of cp-size bytes the first src-size are read, the others
// become zero.

#[test]
fn cp_async_16_bytes() {
    const WIDTH: usize = 16;
    with_kernels(Needs::Since(80), |gpu, kernels| {
        let source: Vec<u8> = (0..32 * WIDTH).map(|i| (i % 229 + 1) as u8).collect();
        let x = upload(gpu, &source);
        gpu.in_every_order(|order| {
            for whole in [false, true] {
                let bytes = |lane: usize| if whole { lane % 3 / 2 * WIDTH } else { lane % (WIDTH + 1) };
                let y = upload(gpu, &[0u8; 33 * WIDTH]);
                let given = upload(gpu, &(0..32).map(|lane| bytes(lane) as i32).collect::<Vec<_>>());
                let launch = kernels.launch(1, 32, 0);
                let (from, to) = (x.pointer(), y.pointer_mut());
                unsafe {
                    plain::primitive_cp_async(
                        launch,
                        &CpAsyncParameters { x: from, bytes: given.pointer(), y: to, whole: whole.into() },
                    )
                }
                .unwrap();
                kernels.wait().unwrap();
                let wanted = |i: usize| match (i / WIDTH, i % WIDTH) {
                    (32.., _) => 0xee, // after the copies: unchanged
                    (lane, at) if at < bytes(lane) => source[lane * 7 % 32 * WIDTH + at],
                    _ => 0,
                };
                let wanted: Vec<u8> = (0..33 * WIDTH).map(wanted).collect();
                let what = if whole { "all or none" } else { "part" };
                same(&format!("cp.async of {WIDTH} bytes, {what}, {order}"), &read(&y), &wanted);
            }
        });
    });
}

/// "cp.async.wait_group": waits until at most so many of the latest groups are in flight.
#[test]
fn cp_async_wait_group() {
    const STEPS: usize = 64;
    with_kernels(Needs::Since(80), |gpu, kernels| {
        let source: Vec<u32> = (0..STEPS as u32 * 512).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
        let x = upload(gpu, &source);
        gpu.in_every_order(|order| {
            let y = upload(gpu, &vec![0u32; source.len()]);
            let launch = kernels.launch(1, 128, 0);
            unsafe {
                plain::primitive_cp_async_groups(
                    launch,
                    &CpAsyncGroupsParameters { x: x.pointer(), y: y.pointer_mut(), steps: STEPS as i32 },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let wanted: Vec<u32> = (0..source.len()).map(|i| source[i ^ (37 * 4)]).collect();
            same(&format!("cp.async.wait_group, {order}"), &read(&y), &wanted);
        });
    });
}

// ---- "Parallel Synchronization and Communication Instructions: mbarrier"

/// The computation by which a kernel delays itself.
fn late(mut number: u32, steps: usize) -> u32 {
    for _ in 0..steps {
        number = number.wrapping_mul(1664525).wrapping_add(1013904223);
    }
    number
}

/// "Phase of the mbarrier object": a phase ends when all have arrived; try_wait.parity waits for the end of the phase of that parity, where
/// the phase before the first is odd; stores before an arrival are visible after the wait.
#[test]
fn mbarrier_phases() {
    const PHASES: usize = 9;
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        gpu.in_every_order(|order| {
            let y = upload(gpu, &[0u32; PHASES * 96]);
            unsafe {
                sm90::primitive_mbarrier_phases(
                    kernels.launch(1, 96, 96 * 4),
                    &MbarrierPhasesParameters { y: y.pointer_mut(), phases: PHASES as i32 },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let wanted = |i: usize| {
                let (phase, thread) = (i / 96, (i % 96 + 32 + i / 96) % 96);
                late((thread + 1000 * phase) as u32, (thread / 32 + phase) % 3 * 500)
            };
            same(&format!("mbarrier, {order}"), &read(&y), &(0..PHASES * 96).map(wanted).collect::<Vec<_>>());
        });
    });
}

/// "Tracking asynchronous operations by the mbarrier object": a phase ends when all threads and all announced bytes have arrived, in whichever
/// order.
#[test]
fn mbarrier_expect_tx() {
    const PHASES: usize = 5;
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        let matrix = numbers(80 * 64, 4);
        let x = upload(gpu, &matrix.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>());
        let map = TensorMap::rows(x.pointer(), 80, 64, 64).unwrap();
        gpu.in_every_order(|order| {
            let y = upload(gpu, &[0u32; PHASES * 64]);
            let launch = kernels.launch(1, 64, 0);
            unsafe {
                sm90::primitive_mbarrier_expect_tx(
                    launch,
                    &MbarrierExpectTxParameters { map, y: y.pointer_mut(), phases: PHASES as i32 },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let wanted = |i: usize| match (i / 64, i % 64) {
                (phase, at @ 0..8) => u32::from(bits(matrix[phase * 64 + at])),
                (phase, at @ 8..16) => u32::from(bits(matrix[(phase + 56) * 64 + at - 8])),
                (phase, _) => late(phase as u32, 2000),
            };
            same(
                &format!("mbarrier with bytes, {order}"),
                &read(&y),
                &(0..PHASES * 64).map(wanted).collect::<Vec<_>>(),
            );
        });
    });
}

// ---- "Tensors: Swizzling Modes", CU_TENSOR_MAP_SWIZZLE_128B, CUTLASS's Swizzle<3, 4, 3>: in rows of 128 bytes, aligned to 1024, the index
// of each 16-byte chunk is XORed with the row modulo 8.

/// Where byte `at` of a row of 128 lies.
fn swizzled(row: usize, at: usize) -> usize {
    128 * row + ((at / 16) ^ (row % 8)) * 16 + at % 16
}

/// The element at (row, column) of rows of 64 bf16 that lie in these words.
fn element(words: &[u32], row: usize, column: usize) -> u16 {
    let at = swizzled(row, 2 * column);
    (words[at / 4] >> (at % 4 * 8)) as u16
}

/// Compares boxes of `rows` rows in a kernel's output with the elements that they should hold.
#[track_caller]
fn boxes_hold(what: &str, words: &[u32], rows: usize, wanted: impl Fn(usize, usize, usize) -> f32) {
    for (index, words) in words.chunks(rows * 32).enumerate() {
        let places = || (0..rows * 64).map(|i| (i / 64, i % 64));
        let found: Vec<u16> = places().map(|(row, column)| element(words, row, column)).collect();
        let wanted: Vec<u16> = places().map(|(row, column)| bits(wanted(index, row, column))).collect();
        same(&format!("{what}, box {index}, number = 64 row + column"), &found, &wanted);
    }
}

/// "Tensors: Tiled mode": the box from (x, y) on, zeros outside the tensor.
#[test]
fn tma_rows() {
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        // The matrix ends inside the last column of boxes, but not inside a chunk of 16 bytes.
        let (height, width) = (150, 136);
        let matrix = numbers(height * width, 5);
        let x = upload(gpu, &matrix.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>());
        // The boxes that are used for weights and for gradients.
        for rows in [128, 64] {
            let map = TensorMap::rows(x.pointer(), height, width, rows).unwrap();
            let inside = [[0, 0], [64, 9], [8, 3]];
            let outside = [[128, 0], [0, 130], [-8, 0], [0, -5], [-24, -70], [136, 0], [0, 150]];
            for at in [&inside[..], &outside[..4], &outside[4..]] {
                gpu.in_every_order(|order| {
                    let box_bytes = rows * 128;
                    let given = upload(gpu, at.as_flattened());
                    let y = upload(gpu, &vec![0u32; at.len() * box_bytes / 4]);
                    let launch = kernels.launch(1, 64, (at.len() * box_bytes + 1024) as u32);
                    let (count, to) = (at.len() as i32, y.pointer_mut());
                    unsafe {
                        sm90::primitive_tma_rows(
                            launch,
                            &TmaParameters {
                                map,
                                at: given.pointer(),
                                y: to,
                                boxes: count,
                                box_bytes: box_bytes as i32,
                            },
                        )
                    }
                    .unwrap();
                    kernels.wait().unwrap();
                    boxes_hold(
                        &format!("{rows} rows from {at:?} on, {order}"),
                        &read(&y),
                        rows,
                        |index, row, column| {
                            let (x, y) = (at[index][0] + column as i32, at[index][1] + row as i32);
                            let there = (0..width as i32).contains(&x) && (0..height as i32).contains(&y);
                            if there { matrix[y as usize * width + x as usize] } else { 0.0 }
                        },
                    );
                });
            }
        }
    });
}

/// "Tensors: Im2col mode": pixels of the bounding box one after another, row by row and image by image, each shifted by the offsets; zeros
/// outside the tensor. The bounding box holds the windows' first pixels, so there is one for each pixel of the convolution's output.
#[test]
fn tma_windows() {
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        // 72 channels: a box from 64 on ends outside.
        let (n, h, w, c) = (3, 7, 6, 72);
        let images = numbers(n * h * w * c, 6);
        let x = upload(gpu, &images.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>());
        for (pixels, side, pad) in
            [(128, 3, 1), (64, 3, 1), (64, 1, 0), (64, 5, 2), (64, 2, 0), (64, 3, 3), (128, 1, -1)]
        {
            let map = TensorMap::windows(x.pointer(), Windows { n, h, w, c, side, pad }, pixels).unwrap();
            let (oh, ow) = [h, w].map(|v| v as i32 + 2 * pad - side as i32 + 1).into();
            // Every tap; from the first output, from inside of a row, and beyond the last image.
            let taps = (0..side * side).map(|tap| ((tap % side) as i32, (tap / side) as i32));
            let firsts = [0, ow + 2, 3 * oh * ow - 20];
            let copies: Vec<_> = taps.flat_map(|tap| firsts.map(|first| (tap, first))).enumerate().collect();
            for copies in copies.chunks(6) {
                let at = copies.iter().map(|&(i, ((s, r), first))| {
                    let channel = [0, 8, 64][i % 3];
                    [channel, first % ow - pad, first / ow % oh - pad, first / ow / oh, s, r]
                });
                let at: Vec<[i32; 6]> = at.collect();
                gpu.in_every_order(|order| {
                    let box_bytes = pixels * 128;
                    let given = upload(gpu, at.as_flattened());
                    let y = upload(gpu, &vec![0u32; at.len() * box_bytes / 4]);
                    let launch = kernels.launch(1, 64, (at.len() * box_bytes + 1024) as u32);
                    let (count, to) = (at.len() as i32, y.pointer_mut());
                    unsafe {
                        sm90::primitive_tma_windows(
                            launch,
                            &TmaParameters {
                                map,
                                at: given.pointer(),
                                y: to,
                                boxes: count,
                                box_bytes: box_bytes as i32,
                            },
                        )
                    }
                    .unwrap();
                    kernels.wait().unwrap();
                    let what = format!("side {side}, pad {pad}, {pixels} windows from {at:?} on, {order}");
                    boxes_hold(&what, &read(&y), pixels, |index, row, column| {
                        let (_, ((s, r), first)) = copies[index];
                        let output = first + row as i32;
                        let (x, y) = (output % ow - pad + s, output / ow % oh - pad + r);
                        let (image, channel) = (output / ow / oh, at[index][0] as usize + column);
                        let there = (0..w as i32).contains(&x) && (0..h as i32).contains(&y);
                        if !there || image >= n as i32 || channel >= c {
                            return 0.0;
                        }
                        images[((image as usize * h + y as usize) * w + x as usize) * c + channel]
                    });
                });
            }
        }
    });
}

// ---- "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions" (WGMMA): operands in shared memory with 128-byte swizzling,
// K-major (rows of 64 depths) or MN-major (rows of 64 rows or columns of the product, the next 64 in the next block).
// "Register Fragments for wgmma.mma_async.m64nNk16": warp w holds rows 16 w + lane / 4 and eight further on, d[i] is in row
// lane / 4 + 8 (i / 2 % 2), column 8 (i / 4) + 2 (lane % 4) + i % 2.

/// Bytes of an operand of 128 rows or columns and 64 depths.
const OPERAND: usize = 128 * 128;

/// Shared memory for stages of both operands, which start at a multiple of 1024.
fn stages_bytes(stages: usize) -> u32 {
    (stages * 2 * OPERAND + 1024) as u32
}

/// Stages of operands a and b of 128 rows and columns and 64 depths: their numbers, and their bytes in the layout of shared memory.
struct Stages {
    numbers: Vec<f32>,
    words: Vec<u32>,
}

impl Stages {
    fn new(count: usize, mn_major: bool) -> Stages {
        let numbers: Vec<f32> = numbers(count * 2 * 128 * 64, 7);
        let mut words = vec![0; count * 2 * OPERAND / 4];
        for (i, &number) in numbers.iter().enumerate() {
            let (operand, row, depth) = (i / 64 / 128, i / 64 % 128, i % 64);
            let within = if mn_major {
                row / 64 * (OPERAND / 2) + swizzled(depth, row % 64 * 2)
            } else {
                swizzled(row, depth * 2)
            };
            let at = operand * OPERAND + within;
            words[at / 4] |= u32::from(bits(number)) << (at % 4 * 8);
        }
        Stages { numbers, words }
    }

    /// The product of a row and a column over some depths of a stage.
    fn product(&self, stage: usize, row: usize, column: usize, depths: std::ops::Range<usize>) -> f32 {
        let a = &self.numbers[(2 * stage * 128 + row) * 64..][depths.clone()];
        let b = &self.numbers[((2 * stage + 1) * 128 + column) * 64..][depths];
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }
}

/// Row and column of accumulator `i`, where each of 256 threads has 64.
fn place_of_sum(i: usize) -> (usize, usize) {
    let (thread, i) = (i / 64, i % 64);
    let (warpgroup, warp, lane) = (thread / 128, thread / 32 % 4, thread % 32);
    (64 * warpgroup + 16 * warp + lane / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + 2 * (lane % 4) + i % 2)
}

/// One product over 16 depths, from every start that the convolutions use: four in each of three stages.
fn wgmma(mn_major: bool) {
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        let (stages, before) = (Stages::new(3, mn_major), numbers(256 * 64, 8));
        let x = upload(gpu, &stages.words);
        for (stage, at) in (0..12).map(|i| (i / 4, i % 4 * 16)) {
            gpu.in_every_order(|order| {
                let sums = upload(gpu, &before);
                let (launch, given) = (kernels.launch(1, 256, stages_bytes(3)), (stage as i32, at as i32));
                let run = if mn_major { sm90::primitive_wgmma_mn_major } else { sm90::primitive_wgmma_k_major };
                unsafe {
                    run(
                        launch,
                        &WgmmaParameters { x: x.pointer(), sums: sums.pointer_mut(), stage: given.0, at: given.1 },
                    )
                }
                .unwrap();
                kernels.wait().unwrap();
                let wanted = before.iter().enumerate().map(|(i, before)| {
                    let (row, column) = place_of_sum(i);
                    before + stages.product(stage, row, column, at..at + 16)
                });
                same(&format!("stage {stage}, depth {at}, {order}"), &read(&sums), &wanted.collect::<Vec<_>>());
            });
        }
    });
}

#[test]
fn wgmma_k_major() {
    wgmma(false);
}

#[test]
fn wgmma_mn_major() {
    wgmma(true);
}

/// Groups of four products each; a group starts before the previous one has ended. After the wait for all groups but one, the operands of the
/// others may be overwritten.
fn wgmma_groups(mn_major: bool) {
    const STEPS: usize = 7;
    with_kernels(Needs::Sm90a, |gpu, kernels| {
        let (stages, before) = (Stages::new(STEPS, mn_major), numbers(256 * 64, 9));
        let x = upload(gpu, &stages.words);
        gpu.in_every_order(|order| {
            let sums = upload(gpu, &before);
            let run =
                if mn_major { sm90::primitive_wgmma_groups_mn_major } else { sm90::primitive_wgmma_groups_k_major };
            unsafe {
                run(
                    kernels.launch(1, 256, stages_bytes(2)),
                    &WgmmaGroupsParameters { x: x.pointer(), sums: sums.pointer_mut(), steps: STEPS as i32 },
                )
            }
            .unwrap();
            kernels.wait().unwrap();
            let wanted = before.iter().enumerate().map(|(i, before)| {
                let (row, column) = place_of_sum(i);
                before + (0..STEPS).map(|stage| stages.product(stage, row, column, 0..64)).sum::<f32>()
            });
            same(&format!("groups of products, {order}"), &read(&sums), &wanted.collect::<Vec<_>>());
        });
    });
}

#[test]
fn wgmma_groups_k_major() {
    wgmma_groups(false);
}

#[test]
fn wgmma_groups_mn_major() {
    wgmma_groups(true);
}

// ---- "Miscellaneous Instructions: griddepcontrol" (PDL): .wait waits until the previous kernels have ended and their stores are visible;
// .launch_dependents lets the next kernel begin before that. ld.global.nc is for memory that nobody writes while the kernel runs: the manual
// does not say whether it sees what the previous kernels stored before the wait ended.

/// One kernel changes numbers in place, and `consume` reads them into its own numbers, many times over: launched in order, with PDL, and with
/// PDL in a replayed graph.
fn dependent_launch(what: &str, consume: impl Fn(&Kernels, Pair<'_>, bool)) {
    with_kernels(Needs::Since(90), |gpu, kernels| {
        // On a GPU, blocks of three kernels fit on each multiprocessor at once and share its cache.
        let (blocks, plan, steps, replays) =
            if gpu.mode.is_some() { (3, 4, 10, 3) } else { (2 * gpu.cuda().multiprocessors(), 20, 400, 50) };
        let n = blocks as usize * 256;
        let start: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
        // Moving `steps` numbers further in the sequence is one multiplication and one addition.
        let (factor, summand) = (late(1, steps).wrapping_sub(late(0, steps)), late(0, steps));
        let (mut numbers, mut wanted) = (start.clone(), vec![0u32; n]);
        for _ in 0..plan * replays {
            numbers.iter_mut().for_each(|v| *v = v.wrapping_mul(factor).wrapping_add(summand));
            let folded = |(i, v): (usize, &mut u32)| *v = v.wrapping_mul(31).wrapping_add(numbers[(i + n / 2) % n]);
            wanted.iter_mut().enumerate().for_each(folded);
        }
        for (how, ahead, graph) in
            [("in order", false, false), ("ahead", true, false), ("ahead in a graph", true, true)]
        {
            gpu.in_every_order(|order| {
                let (x, y) = (upload(gpu, &start), upload(gpu, &vec![0u32; n]));
                let a_few = || {
                    for _ in 0..plan {
                        let launch = kernels.launch(blocks, 256, 0).ahead(ahead);
                        unsafe {
                            plain::primitive_produce(
                                launch,
                                &ProduceParameters { x: x.pointer_mut(), steps: steps as i32 },
                            )
                        }
                        .unwrap();
                        consume(kernels, Pair { x: &x, y: &y, blocks }, ahead);
                    }
                };
                if graph {
                    let graph = kernels.capture(a_few);
                    (0..replays).for_each(|_| graph.launch().unwrap());
                    kernels.wait().unwrap();
                } else {
                    (0..replays).for_each(|_| a_few());
                    kernels.wait().unwrap();
                }
                same(&format!("{what}, {how}, {order}"), &read(&y), &wanted);
            });
        }
    });
}

/// The buffers of the producing and the consuming kernel, and the number of blocks.
struct Pair<'a> {
    x: &'a Buffer<u32>,
    y: &'a Buffer<u32>,
    blocks: u32,
}

#[test]
fn griddepcontrol() {
    dependent_launch("ld.global", |kernels, Pair { x, y, blocks }, ahead| {
        let launch = kernels.launch(blocks, 256, 0).ahead(ahead);
        unsafe {
            plain::primitive_consume(
                launch,
                &ConsumeParameters { x: x.pointer_mut(), y: y.pointer_mut(), n: x.len() as i32 },
            )
        }
        .unwrap();
    });
}

#[test]
fn griddepcontrol_then_ld_global_nc() {
    dependent_launch("ld.global.nc", |kernels, Pair { x, y, blocks }, ahead| {
        let launch = kernels.launch(blocks, 256, 0).ahead(ahead);
        unsafe {
            plain::primitive_consume_nc(
                launch,
                &ConsumeNcParameters { x: x.pointer(), y: y.pointer_mut(), n: x.len() as i32 },
            )
        }
        .unwrap();
    });
}
