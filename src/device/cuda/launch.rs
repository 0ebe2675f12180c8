//! Launching kernels.

use std::marker::PhantomData;

use cudarc::driver::{CudaFunction, sys};

use super::{Cuda, Result, reason};
use crate::error::CudaError;

/// Dynamic shared memory beyond this many bytes has to be asked for.
const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

/// Where a kernel reads: an address in live device memory, or null.
#[derive(Debug)]
#[repr(transparent)]
pub struct Pointer<'a, T> {
    address: u64,
    memory: PhantomData<&'a T>,
}

/// Where a kernel writes. Work is ordered by one stream, so two pointers to the same memory do no harm.
#[derive(Debug)]
#[repr(transparent)]
pub struct PointerMut<'a, T> {
    address: u64,
    memory: PhantomData<&'a T>,
}

impl<T> Clone for Pointer<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Pointer<'_, T> {}
impl<T> Clone for PointerMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for PointerMut<'_, T> {}

impl<'a, T> Pointer<'a, T> {
    /// For a parameter that is absent.
    pub const fn null() -> Pointer<'a, T> {
        Pointer { address: 0, memory: PhantomData }
    }

    pub(super) fn new(address: u64) -> Pointer<'a, T> {
        Pointer { address, memory: PhantomData }
    }

    pub(super) fn address(self) -> u64 {
        self.address
    }

    /// The same bytes, read as other numbers.
    pub(super) fn cast<U>(self) -> Pointer<'a, U> {
        Pointer::new(self.address)
    }
}

impl<'a, T> PointerMut<'a, T> {
    /// For a parameter that is absent.
    pub const fn null() -> PointerMut<'a, T> {
        PointerMut { address: 0, memory: PhantomData }
    }

    pub(super) fn new(address: u64) -> PointerMut<'a, T> {
        PointerMut { address, memory: PhantomData }
    }

    /// The same place, to be read.
    pub fn read(self) -> Pointer<'a, T> {
        Pointer::new(self.address)
    }

    /// `elements` further on.
    ///
    /// # Safety
    /// The place lies in the memory that the pointer came from, or at its end.
    pub unsafe fn offset(self, elements: usize) -> PointerMut<'a, T> {
        PointerMut::new(self.address + (elements * size_of::<T>()) as u64)
    }
}

/// A kernel that was loaded onto the device.
pub(super) struct Function {
    pub function: CudaFunction,
    pub name: &'static str,
    /// The file with its source, `kernels/FILE.cu`.
    pub file: &'static str,
    /// Threads per block, at most.
    pub max_threads: u32,
}

/// A launch to be filled with a kernel and its parameters, by the functions of `kernels.rs`.
///
/// # Safety
/// What these functions ask of a caller: the kernel, in blocks of such a number and shape, reads and writes inside the memory that its
/// parameters point to, null pointers are those that it allows for, and nothing else runs there meanwhile but work of the same stream.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    cuda: &'a Cuda,
    grid: [u32; 3],
    threads: u32,
    shared: u32,
}

impl Cuda {
    /// A launch of `grid` blocks of `threads` threads with `shared` bytes of dynamic shared memory each.
    pub fn launch(&self, grid: [u32; 3], threads: u32, shared: u32) -> Launch<'_> {
        Launch { cuda: self, grid, threads, shared }
    }

    /// A launch of one thread per item, `threads` per block.
    pub fn launch_per_item(&self, items: usize, threads: u32) -> Launch<'_> {
        self.launch([items.div_ceil(threads as usize) as u32, 1, 1], threads, 0)
    }
}

impl Launch<'_> {
    /// Launches kernel number `kernel` of the device.
    ///
    /// # Safety
    /// `P` is the struct that the kernel takes, and its pointers are as [`Launch`] says.
    pub(super) unsafe fn run<P>(self, kernel: usize, parameters: &P) -> Result<()> {
        let &Function { ref function, max_threads, .. } = &self.cuda.functions[kernel];
        if self.threads > max_threads {
            return Err(self.failed(kernel, format!("its launch bounds allow {max_threads} threads")));
        }
        self.cuda.bind()?;
        if self.shared > SHARED_WITHOUT_ASKING {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, self.shared as i32).map_err(|e| self.failed(kernel, reason(e)))?;
        }
        let [grid_x, grid_y, grid_z] = self.grid;
        let mut ahead = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: self.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared,
            hStream: self.cuda.stream_of_launches(),
            attrs: &raw mut ahead,
            numAttrs: u32::from(self.cuda.launches_ahead()),
        };
        let mut parameters = [(&raw const *parameters).cast_mut().cast()];
        // SAFETY: the kernel has one parameter, which is such a struct, and lives until the call returns, which copies it. Memory that a
        // pointer names is freed in the order of the stream, after this launch; that the kernel stays inside it is the caller's part.
        // A kernel that is launched ahead waits for those before it before it touches memory (rule of `kernels/portable.cuh`).
        unsafe {
            let (function, extra) = (function.cu_function(), std::ptr::null_mut());
            sys::cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), extra)
        }
        .result()
        .map_err(|error| self.failed(kernel, reason(error)))
    }

    fn failed(&self, kernel: usize, reason: String) -> CudaError {
        let Launch { grid, threads, shared, .. } = *self;
        let &Function { name, file, .. } = &self.cuda.functions[kernel];
        CudaError::Launch {
            kernel: name,
            file,
            shape: format!("{grid:?} blocks of {threads} threads, {shared} B shared"),
            reason,
        }
    }
}
