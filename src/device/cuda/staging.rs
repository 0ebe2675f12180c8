//! Copies each batch from the host to the device while the step before it runs.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream, DevicePtr, PinnedHostSlice, result};

use super::{Buffer, Cuda, Result, failed};

/// Copies of host memory into one buffer of the device, each in time for the work that is launched after it.
///
/// Two places take turns. A copy from page-locked memory to its place on the device runs in a stream of its own, beside the kernels;
/// from there to the buffer it is a matter of microseconds, in the order of the work. So the buffer has one address, which a captured
/// graph can name.
pub struct Staging {
    cuda: Arc<Cuda>,
    copies: Arc<CudaStream>,
    places: [StagingPlace; 2],
    next: usize,
    target: Arc<Buffer<u8>>,
}

struct StagingPlace {
    host: PinnedHostSlice<u8>,
    device: Buffer<u8>,
    /// The end of the last copy from the host: its memory may be written again.
    copied: Option<CudaEvent>,
    /// The end of the last copy to the target: the place on the device may be written again.
    taken: Option<CudaEvent>,
}

impl Staging {
    /// Places of `len` bytes each, and the buffer that they are for.
    pub fn new(cuda: &Arc<Cuda>, len: usize) -> Result<Staging> {
        let copies = cuda.context.new_stream().map_err(failed("create a stream"))?;
        let place = || {
            // SAFETY: any bits are a byte, and what is copied is written first.
            let host = unsafe { cuda.context.alloc_pinned(len) }.map_err(failed("allocate page-locked memory"))?;
            Ok(StagingPlace { host, device: cuda.zeros(len)?, copied: None, taken: None })
        };
        let places = [place()?, place()?];
        let target = Arc::new(cuda.zeros(len)?);
        cuda.synchronize()?; // the other stream shall find the places cleared
        Ok(Staging { cuda: cuda.clone(), copies, places, next: 0, target })
    }

    /// The buffer, for kernels to read.
    pub fn target(&self) -> &Arc<Buffer<u8>> {
        &self.target
    }

    /// Brings `bytes` to the front of the buffer for all work that is launched from now on; what was launched before still finds what
    /// was there. Waits where two steps ago's copy is not done.
    pub fn stage(&mut self, bytes: &[u8]) -> Result<()> {
        self.cuda.outside_of_capture("copy a batch to the device")?;
        let StagingPlace { host, device, copied, taken } = &mut self.places[self.next];
        self.next = 1 - self.next;
        let called = failed("copy a batch to the device");
        if let Some(copied) = copied {
            copied.synchronize().map_err(&called)?;
        }
        host.as_mut_slice().map_err(&called)?[..bytes.len()].copy_from_slice(bytes);
        if let Some(taken) = taken {
            self.copies.wait(taken).map_err(&called)?;
        }
        self.copies.memcpy_htod(&*host, &mut device.slice).map_err(&called)?;
        let stream = &self.cuda.stream;
        let arrived = self.copies.record_event(None).map_err(&called)?;
        stream.wait(&arrived).map_err(&called)?;
        *copied = Some(arrived);
        let (from, to) = (device.slice.device_ptr(stream).0, self.target.slice.device_ptr(stream).0);
        // SAFETY: both are live allocations of the places' length; kernels that read the target are in the same stream, before or after.
        unsafe { result::memcpy_dtod_async(to, from, self.target.len(), stream.cu_stream()) }.map_err(&called)?;
        *taken = Some(stream.record_event(None).map_err(&called)?);
        Ok(())
    }
}

impl Drop for Staging {
    /// Page-locked memory is given back at once, so no copy may be reading it.
    fn drop(&mut self) {
        let _ = self.copies.synchronize();
    }
}
