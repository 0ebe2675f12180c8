//! Doing the runs of a sweep: on each device one after the other, on all devices at once.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::plan::{Run, Status};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::run::context::{Context, Observer, Prefixed};
use crate::run::results::finish;
use crate::run::settings::{Moved, Settings};
use crate::run::stop::Stop;
use crate::run::train;

/// A run that could not be done, and why.
pub(crate) struct Failure {
    pub run: String,
    pub error: Error,
}

/// Does these runs, each of which may have begun; each of the devices takes the next one when it has done its last. A run that fails
/// does not hold up the others. Once a stop is requested, what is being trained stops and no run is begun.
///
/// Runs share no state, and none of their results depends on the number of threads: they end in the same bits one by one or at once.
pub(crate) fn work(devices: &[Device], runs: &[(Run, Status)], observer: &dyn Observer, stop: &Stop) -> Vec<Failure> {
    let _listening = stop.listen();
    let next = AtomicUsize::new(0);
    let worker = |device: &Device| {
        let mut failures = Vec::new();
        while let Some((run, status)) = runs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !stop.is_requested())
        {
            let prefixed = Prefixed { name: &run.name(), observer };
            let context = Context { device, observer: &prefixed, stop };
            if let Err(error) = one(&context, run, *status) {
                failures.push(Failure { run: run.name(), error });
            }
        }
        failures
    };
    thread::scope(|scope| {
        let workers: Vec<_> = devices.iter().map(|device| scope.spawn(|| worker(device))).collect();
        let failures = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        failures.flatten().collect()
    })
}

/// Does one run, or what is left of it.
fn one(context: &Context, run: &Run, status: Status) -> Result<()> {
    let Run { settings, folder } = run;
    let (trained, task, directory) = match status {
        Status::Begun => {
            let Settings { data, outliers, hold, .. } = settings.clone();
            let moved = Moved { data, outliers, hold: Some(hold) };
            train::resume(context, folder, moved, &[])?
        }
        Status::New | Status::Complete => train::start(context, settings, folder, &[])?,
    };
    finish(context, &trained, &task, &directory, &[])?;
    Ok(())
}
