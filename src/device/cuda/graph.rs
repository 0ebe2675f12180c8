//! Captured work: a sequence of launches that the driver replays as one.

use std::cell::Cell;
use std::sync::{Arc, PoisonError};

use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, result, sys};

use super::{Cuda, Result, failed};
use crate::error::CudaError;

thread_local! {
    /// The device whose launches this thread captures, and the stream that records them.
    static CAPTURING: Cell<Option<(*const Cuda, sys::CUstream)>> = const { Cell::new(None) };
}

/// A place in the order of the work, and when the device passed it.
pub struct Mark(CudaEvent);

impl Cuda {
    /// Marks the end of all work launched so far.
    pub fn mark(&self) -> Result<Mark> {
        self.outside_of_capture("record an event")?;
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(timed).map(Mark).map_err(failed("record an event"))
    }
}

impl Mark {
    /// Waits until the work before the mark is done; what was launched after it goes on.
    pub fn wait(&self) -> Result<()> {
        self.0.synchronize().map_err(failed("wait for a step"))
    }

    /// Seconds by the device's clock since it passed an earlier mark; waits until it has passed both.
    pub fn seconds_since(&self, earlier: &Mark) -> Result<f64> {
        let milliseconds = earlier.0.elapsed_ms(&self.0).map_err(failed("read the device's clock"))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

/// A captured sequence of launches.
pub struct Graph {
    graph: CudaGraph,
    // The graph reads memory and kernels of this device.
    cuda: Arc<Cuda>,
}

// SAFETY: a CUgraph may be used from any thread, though not from two at once: `Graph` is not `Sync`.
unsafe impl Send for Graph {}

impl Cuda {
    /// Where this thread's launches go.
    pub(super) fn stream_of_launches(&self) -> sys::CUstream {
        let capturing = CAPTURING.get().filter(|(cuda, _)| std::ptr::eq(*cuda, self));
        capturing.map_or_else(|| self.stream.cu_stream(), |(_, stream)| stream)
    }

    /// Fails where this thread captures: a graph holds launches alone.
    pub(super) fn outside_of_capture(&self, action: &'static str) -> Result<()> {
        match CAPTURING.get() {
            Some((cuda, _)) if std::ptr::eq(cuda, self) => Err(CudaError::Refused {
                reason: format!("a capture holds launches of kernels alone, and was to {action}"),
            }),
            _ => Ok(()),
        }
    }

    /// Captures the launches that `work` makes in this thread; it must neither allocate nor copy nor wait. Other threads meanwhile launch
    /// as ever, and capture one after the other.
    ///
    /// # Errors
    /// Those of `work`, a capture within a capture, and those of the driver.
    ///
    /// # Safety
    /// Each launch of the graph repeats those of `work`, so what they answered for has to hold then too.
    pub unsafe fn capture<E: From<CudaError>>(
        self: &Arc<Cuda>,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Graph, E> {
        if CAPTURING.get().is_some() {
            return Err(CudaError::Refused { reason: "this thread captures already".into() }.into());
        }
        // A stream that is captured records what any thread launches there: so it is one where nothing else goes.
        let recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        recording.begin_capture(mode).map_err(failed("begin a capture"))?;
        CAPTURING.set(Some((Arc::as_ptr(self), recording.cu_stream())));
        let guard = EndOfCapture(&recording);
        let done = work();
        std::mem::forget(guard);
        CAPTURING.set(None);
        let graph = recording.end_capture(sys::CUgraphInstantiate_flags(0));
        // What went wrong inside tells more than the capture that it spoilt.
        done?;
        let graph = graph.map_err(failed("end a capture"))?;
        let graph = graph.ok_or(CudaError::Call { action: "end a capture", reason: "nothing was captured".into() })?;
        Ok(Graph { graph, cuda: self.clone() })
    }
}

/// Ends a capture that a panic leaves: the stream would take no other work.
struct EndOfCapture<'a>(&'a Arc<CudaStream>);

impl Drop for EndOfCapture<'_> {
    fn drop(&mut self) {
        CAPTURING.set(None);
        let _ = self.0.end_capture(sys::CUgraphInstantiate_flags(0));
    }
}

impl Graph {
    /// Runs the captured work, after all work before.
    ///
    /// # Safety
    /// The memory that the captured launches name is still there.
    pub unsafe fn launch(&self) -> Result<()> {
        self.cuda.outside_of_capture("launch a graph")?;
        self.cuda.bind()?;
        // SAFETY: graph and stream live, and no other thread has the graph; what it reaches is the caller's part.
        unsafe { result::graph::launch(self.graph.cu_graph_exec(), self.cuda.stream.cu_stream()) }
            .map_err(failed("launch a graph"))
    }

    /// Launches that were captured.
    pub fn launches(&self) -> Result<usize> {
        let mut count = 0;
        // SAFETY: the graph lives; without room for nodes the call only counts them.
        unsafe { sys::cuGraphGetNodes(self.graph.cu_graph(), std::ptr::null_mut(), &mut count) }
            .result()
            .map_err(failed("count the launches of a graph"))?;
        Ok(count)
    }

    /// The graph for those who need not know what memory it names.
    ///
    /// # Safety
    /// That memory stays while this is borrowed.
    pub unsafe fn replays(&self) -> Replays<'_> {
        Replays(self)
    }
}

/// A captured sequence of launches whose memory is there.
#[derive(Clone, Copy)]
pub struct Replays<'a>(&'a Graph);

impl Replays<'_> {
    /// See [`Graph::launch`].
    pub fn launch(&self) -> Result<()> {
        // SAFETY: promised by `Graph::replays`.
        unsafe { self.0.launch() }
    }

    /// See [`Graph::launches`].
    pub fn launches(&self) -> Result<usize> {
        self.0.launches()
    }
}
