//! Device memory: buffers, and those of a plan.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, DriverError, ValidAsZeroBits, sys};
use half::bf16;

use super::kernels::constants;
use super::{Cuda, Pointer, PointerMut, Result, failed};
use crate::device::{ByteView, DType, View};
use crate::error::CudaError;

/// What device memory may hold: plain numbers, for which any bits are a value.
pub trait Element: DeviceRepr + ValidAsZeroBits + Pod {}
impl<T: DeviceRepr + ValidAsZeroBits + Pod> Element for T {}

/// Typed memory on the device.
pub struct Buffer<T> {
    pub(super) slice: CudaSlice<T>,
    cuda: Arc<Cuda>,
    len: usize,
}

impl Cuda {
    /// Memory with no defined content.
    pub fn alloc<T: Element>(self: &Arc<Cuda>, len: usize) -> Result<Buffer<T>> {
        self.outside_of_capture("allocate memory")?;
        // The driver refuses to allocate nothing.
        let elements = len.max(1);
        let bytes = elements.saturating_mul(size_of::<T>());
        if bytes > isize::MAX as usize {
            return Err(self.allocation_failed(bytes, DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
        }
        // SAFETY: any bits are a value of such numbers.
        let slice = unsafe { self.stream.alloc::<T>(elements) };
        let slice = slice.map_err(|error| self.allocation_failed(bytes, error))?;
        Ok(Buffer { slice, cuda: self.clone(), len })
    }

    /// Memory filled with zeros.
    pub fn zeros<T: Element>(self: &Arc<Cuda>, len: usize) -> Result<Buffer<T>> {
        let mut buffer = self.alloc(len)?;
        self.stream.memset_zeros(&mut buffer.slice).map_err(failed("clear memory"))?;
        Ok(buffer)
    }

    /// A copy of host memory.
    pub fn upload<T: Element>(self: &Arc<Cuda>, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.alloc(values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    fn allocation_failed(&self, asked: usize, error: DriverError) -> CudaError {
        if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return failed("allocate memory")(error);
        }
        CudaError::OutOfMemory { asked, free: self.free_and_total().map_or(0, |(free, _)| free), batch: None }
    }
}

impl<T: Element> Buffer<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of the buffer, for a launcher that asks how much that is.
    pub fn as_slice(&self) -> DeviceSlice<'_, T> {
        DeviceSlice { cuda: &self.cuda, pointer: self.pointer_mut(), len: self.len }
    }

    /// Where a kernel reads the buffer.
    pub fn pointer(&self) -> Pointer<'_, T> {
        self.pointer_mut().read()
    }

    /// Where a kernel writes the buffer.
    pub fn pointer_mut(&self) -> PointerMut<'_, T> {
        PointerMut::new(self.slice.device_ptr(&self.cuda.stream).0)
    }

    fn part(&self, start: usize, len: usize) -> Range<usize> {
        let part = start..start.saturating_add(len);
        assert!(part.end <= self.len, "elements {part:?} of {}", self.len);
        part
    }

    /// Copies host memory to the elements from `start` on. The host memory may be reused at once.
    pub fn write(&mut self, start: usize, values: &[T]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.cuda.outside_of_capture("copy to the device")?;
        let mut target = self.slice.slice_mut(self.part(start, values.len()));
        self.cuda.stream.memcpy_htod(values, &mut target).map_err(failed("copy to the device"))?;
        // Ordinary memory need not have been read when the call returns.
        self.cuda.synchronize()
    }

    /// Copies the elements from `start` on to host memory, after all work before.
    pub fn read(&self, start: usize, values: &mut [T]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.cuda.outside_of_capture("copy from the device")?;
        let source = self.slice.slice(self.part(start, values.len()));
        self.cuda.stream.memcpy_dtoh(&source, values).map_err(failed("copy from the device"))?;
        self.cuda.synchronize()
    }
}

/// A part of device memory that knows its length and its device.
#[derive(Clone, Copy)]
pub struct DeviceSlice<'a, T> {
    cuda: &'a Arc<Cuda>,
    pointer: PointerMut<'a, T>,
    len: usize,
}

impl<'a, T> DeviceSlice<'a, T> {
    /// Where kernels of `cuda` find at least `len` elements; `what` they are stands in the error.
    ///
    /// # Errors
    /// Where there are fewer, where they do not start at a multiple of 16 bytes, in which kernels read and write, and where the memory
    /// belongs to another opening of a device: its stream would not wait for that of `cuda`.
    pub fn of(self, cuda: &Arc<Cuda>, len: usize, what: &'static str) -> Result<PointerMut<'a, T>> {
        let refused = |reason| Err(CudaError::Refused { reason });
        if !Arc::ptr_eq(self.cuda, cuda) {
            return refused(format!("the {what} belong to another opening of a device"));
        }
        if self.len < len {
            return refused(format!("there are {} {what}, {len} are needed", self.len));
        }
        if !self.pointer.read().address().is_multiple_of(16) {
            return refused(format!("the {what} do not start at a multiple of 16 bytes"));
        }
        Ok(self.pointer)
    }
}

/// A buffer of reals.
pub enum Reals {
    F32(Buffer<f32>),
    Bf16(Buffer<bf16>),
}

/// The numbers that buffers of reals may hold.
pub trait Number: Element {
    const DTYPE: DType;
    /// The buffer, if it holds such numbers.
    fn of(reals: &Reals) -> Option<&Buffer<Self>>;
}

impl Number for f32 {
    const DTYPE: DType = DType::F32;
    fn of(reals: &Reals) -> Option<&Buffer<f32>> {
        if let Reals::F32(buffer) = reals { Some(buffer) } else { None }
    }
}

impl Number for bf16 {
    const DTYPE: DType = DType::Bf16;
    fn of(reals: &Reals) -> Option<&Buffer<bf16>> {
        if let Reals::Bf16(buffer) = reals { Some(buffer) } else { None }
    }
}

/// All buffers of one plan, in device memory; the counterpart of [`crate::device::HostBuffers`].
///
/// Hyperparameters lie in device memory too, so that a captured step can be replayed: `clock` holds the number of the batch within
/// the epoch and the epoch, `hyper` a row of [`DeviceBuffers::HYPER`] numbers per batch.
pub struct DeviceBuffers {
    cuda: Arc<Cuda>,
    reals: Vec<Reals>,
    bytes: Vec<Buffer<u8>>,
    /// By the numbers that they hold.
    tables: BTreeMap<Vec<i32>, Buffer<u8>>,
    workspace: Buffer<f32>,
    clock: Buffer<u32>,
    hyper: Buffer<f32>,
}

impl DeviceBuffers {
    /// Numbers per row of `hyper`; `kernels/hyper.cuh` names them.
    pub const HYPER: usize = constants::hyper::HYPER_COLUMNS as usize;

    /// Zeroed buffers of the given lengths, and workspace without defined content.
    pub fn new(cuda: &Arc<Cuda>, reals: &[(usize, DType)], bytes: &[usize], workspace: usize) -> Result<DeviceBuffers> {
        let zeros = |&(len, dtype): &(usize, DType)| {
            Ok(match dtype {
                DType::F32 => Reals::F32(cuda.zeros(len)?),
                DType::Bf16 => Reals::Bf16(cuda.zeros(len)?),
            })
        };
        Ok(DeviceBuffers {
            cuda: cuda.clone(),
            reals: reals.iter().map(zeros).collect::<Result<_>>()?,
            bytes: bytes.iter().map(|&len| cuda.zeros(len)).collect::<Result<_>>()?,
            tables: BTreeMap::new(),
            workspace: cuda.alloc(workspace)?,
            clock: cuda.zeros(2)?,
            hyper: cuda.zeros(DeviceBuffers::HYPER)?,
        })
    }

    /// The device that the memory is on.
    pub fn cuda(&self) -> &Arc<Cuda> {
        &self.cuda
    }

    /// Scratch elements that there is room for.
    pub fn workspace_len(&self) -> usize {
        self.workspace.len()
    }

    /// The number of the batch within the epoch, and the epoch.
    pub fn clock(&self) -> &Buffer<u32> {
        &self.clock
    }

    /// A row of hyperparameters per batch.
    pub fn hyper(&self) -> &Buffer<f32> {
        &self.hyper
    }

    /// Hands out hyperparameters, a row per batch, and sets the clock to the first batch of an epoch.
    ///
    /// # Errors
    /// Those of a copy.
    ///
    /// # Panics
    /// With more rows than there was [made room](DeviceBuffers::reserve_hyper) for.
    pub fn begin(&mut self, rows: &[[f32; DeviceBuffers::HYPER]], epoch: u32) -> Result<()> {
        self.hyper.write(0, rows.as_flattened())?;
        self.clock.write(0, &[0, epoch])
    }

    /// A view of such numbers, for a launcher that asks how long it is.
    pub fn slice<T: Number>(&self, view: View) -> DeviceSlice<'_, T> {
        DeviceSlice { cuda: &self.cuda, pointer: self.pointer_mut(view), len: view.len }
    }

    /// Where a kernel reads a view of such numbers.
    pub fn pointer<T: Number>(&self, view: View) -> Pointer<'_, T> {
        self.pointer_mut(view).read()
    }

    /// Where a kernel reads a view; null where there is none.
    pub fn pointer_opt<T: Number>(&self, view: Option<View>) -> Pointer<'_, T> {
        view.map_or(Pointer::null(), |view| self.pointer(view))
    }

    /// Why there is no such view: no buffer of its numbers, or one that ends before it.
    pub fn lacks(&self, view: View) -> Option<String> {
        let len = match (self.reals.get(view.buffer.0), view.dtype) {
            (Some(Reals::F32(buffer)), DType::F32) => buffer.len(),
            (Some(Reals::Bf16(buffer)), DType::Bf16) => buffer.len(),
            (None | Some(Reals::F32(_) | Reals::Bf16(_)), _) => {
                return Some(format!("lies in no buffer of {:?}", view.dtype));
            }
        };
        let end = view.start.checked_add(view.len).filter(|&end| end <= len);
        end.is_none().then(|| format!("starts at element {} and has {}, its buffer has {len}", view.start, view.len))
    }

    /// Why there is no such view of bytes.
    pub fn lacks_bytes(&self, view: ByteView) -> Option<String> {
        let len = self.bytes.get(view.buffer.0).map_or(0, Buffer::len);
        (view.len > len).then(|| format!("has {} bytes, its buffer has {len}", view.len))
    }

    /// Where a kernel writes a view of such numbers.
    pub fn pointer_mut<T: Number>(&self, view: View) -> PointerMut<'_, T> {
        let buffer = T::of(&self.reals[view.buffer.0]).filter(|_| view.dtype == T::DTYPE);
        let buffer = buffer.expect("a view of the numbers that the kernel takes");
        assert!(view.range().end <= buffer.len(), "a view beyond its buffer");
        // SAFETY: the view begins and ends in its buffer.
        unsafe { buffer.pointer_mut().offset(view.start) }
    }

    /// Where a kernel writes a view; null where there is none.
    pub fn pointer_mut_opt<T: Number>(&self, view: Option<View>) -> PointerMut<'_, T> {
        view.map_or(PointerMut::null(), |view| self.pointer_mut(view))
    }

    /// Where a kernel reads or writes bytes.
    pub fn bytes(&self, view: ByteView) -> PointerMut<'_, u8> {
        let buffer = &self.bytes[view.buffer.0];
        assert!(view.len <= buffer.len(), "a view beyond its buffer");
        buffer.pointer_mut()
    }

    /// Uploads a table of places that kernels go to: it is found by what it holds, and never written again.
    pub fn hold_table(&mut self, numbers: Vec<i32>) -> Result<()> {
        let table = self.cuda.upload(bytemuck::cast_slice(&numbers))?;
        self.tables.entry(numbers).or_insert(table);
        Ok(())
    }

    /// Where a kernel reads a table of these numbers.
    ///
    /// # Errors
    /// Where none is [held](DeviceBuffers::hold_table).
    pub fn table(&self, numbers: &[i32]) -> Result<Pointer<'_, i32>> {
        let missing = || CudaError::Refused { reason: "device memory does not hold its table".into() };
        self.tables.get(numbers).map(|table| table.pointer().cast()).ok_or_else(missing)
    }

    /// Scratch space that any step may use while it runs.
    pub fn workspace(&self) -> PointerMut<'_, f32> {
        self.workspace.pointer_mut()
    }

    /// Copies host memory to a view, rounded to its format.
    pub fn write(&mut self, view: View, values: &[f32]) -> Result<()> {
        assert_eq!(view.len, values.len(), "a view and its values");
        match &mut self.reals[view.buffer.0] {
            Reals::F32(buffer) => buffer.write(view.start, values),
            Reals::Bf16(buffer) => {
                let rounded: Vec<bf16> = values.iter().copied().map(bf16::from_f32).collect();
                buffer.write(view.start, &rounded)
            }
        }
    }

    /// Copies a view to host memory.
    pub fn read(&self, view: View, values: &mut [f32]) -> Result<()> {
        assert_eq!(view.len, values.len(), "a view and its values");
        match &self.reals[view.buffer.0] {
            Reals::F32(buffer) => buffer.read(view.start, values),
            Reals::Bf16(buffer) => {
                let mut rounded = vec![bf16::ZERO; view.len];
                buffer.read(view.start, &mut rounded)?;
                values.iter_mut().zip(rounded).for_each(|(value, rounded)| *value = rounded.to_f32());
                Ok(())
            }
        }
    }

    /// Copies host memory to a view of bytes.
    pub fn write_bytes(&mut self, view: ByteView, values: &[u8]) -> Result<()> {
        self.bytes[view.buffer.0].write(0, &values[..view.len])
    }

    /// Copies a view of bytes to host memory.
    pub fn read_bytes(&self, view: ByteView, values: &mut [u8]) -> Result<()> {
        self.bytes[view.buffer.0].read(0, &mut values[..view.len])
    }

    /// Makes room for scratch space of `len` elements; true if it moved. Graphs that were captured before it moved must not run again.
    pub fn reserve_workspace(&mut self, len: usize) -> Result<bool> {
        let moves = self.workspace.len() < len;
        if moves {
            self.workspace = self.cuda.alloc(len)?;
        }
        Ok(moves)
    }

    /// Makes room for the hyperparameters of an epoch of `batches`. Graphs that were captured before must not run again.
    pub fn reserve_hyper(&mut self, batches: usize) -> Result<()> {
        if self.hyper.len() < batches * DeviceBuffers::HYPER {
            self.hyper = self.cuda.zeros(batches * DeviceBuffers::HYPER)?;
        }
        Ok(())
    }
}
