//! Doing the runs of a sweep: on each device one after the other, on all devices at once, and together with other processes that do the
//! same sweep.

use std::collections::{HashSet, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::plan::{Run, Status};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files;
use crate::run::context::{Context, Observer, Prefixed};
use crate::run::directory::{self, RunDirectory};
use crate::run::lock::{Claim, FolderLock, Holder, described};
use crate::run::prepare::TestSet;
use crate::run::results::finish;
use crate::run::settings::Moved;
use crate::run::state::State;
use crate::run::stop::Stop;
use crate::run::train;

/// Time between two looks at runs that other processes do.
const LOOK: Duration = Duration::from_millis(200);

/// A run that could not be done, and why.
pub(crate) struct Failure {
    pub run: String,
    pub error: Error,
}

/// What came of a run.
enum RunOutcome {
    Done,
    /// Another process is at it.
    Theirs(Option<Holder>),
}

/// Does these runs, each of which may have begun; each of the devices takes the next one when it has done its last, and `done` is called
/// after each. A run that fails does not hold up the others. One that another process is at is waited for, and gone on with if that
/// ends before the run is complete. Once a stop is requested, what is being trained stops and no run is begun.
///
/// Runs share no state, and none of their results depends on the number of threads: they end in the same bits one by one or at once.
pub(crate) fn work(
    devices: &[Device],
    runs: &[Run],
    observer: &dyn Observer,
    stop: &Stop,
    done: &(dyn Fn() + Sync),
) -> Vec<Failure> {
    let left = Mutex::new((0..runs.len()).collect::<VecDeque<usize>>());
    let theirs = Mutex::new(HashSet::new());
    let worker = &|device: &Device| {
        let mut failures = Vec::new();
        while !stop.is_requested() {
            let Some(i) = locked(&left).pop_front() else { break };
            let run = &runs[i];
            let prefixed = Prefixed { name: &run.name(), observer };
            let context = Context { device, observer: &prefixed, stop };
            match one(&context, run) {
                Ok(RunOutcome::Done) => done(),
                Ok(RunOutcome::Theirs(holder)) => {
                    if locked(&theirs).insert(i) {
                        context.note(format!("{} is at it", described(holder.as_ref())));
                    } else {
                        thread::sleep(LOOK);
                    }
                    locked(&left).push_back(i);
                }
                Err(error) => failures.push(Failure { run: run.name(), error }),
            }
        }
        failures
    };
    let Some((first, others)) = devices.split_first() else { return Vec::new() };
    thread::scope(|scope| {
        // The first works in this thread; what a device without one would do, since the system refuses it, the others do.
        let begin = |device| thread::Builder::new().spawn_scoped(scope, move || worker(device)).ok();
        let workers: Vec<_> = others.iter().filter_map(begin).collect();
        let mut failures = worker(first);
        let of_others = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        failures.extend(of_others.flatten());
        failures
    })
}

/// A panic of another worker is told by its end.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does one run, or what is left of it.
fn one(context: &Context, run: &Run) -> Result<RunOutcome> {
    let Run { settings, folder } = run;
    let lock = match FolderLock::claim(folder)? {
        Claim::Ours(lock) => lock,
        Claim::Theirs(holder) => return Ok(RunOutcome::Theirs(holder)),
    };
    // As it is now: another process may just have ended with it.
    let (trained, task, directory) = match run.status()? {
        Status::Complete => return Ok(RunOutcome::Done),
        Status::Begun if state_is_lost(context, run)? => {
            train::start_in(context, settings, folder, Some(lock), None, &TestSet::measures)?
        }
        Status::Begun => train::resume_in(context, lock, Moved::to_those_of(settings), &TestSet::measures)?,
        Status::New => train::start_in(context, settings, folder, Some(lock), None, &TestSet::measures)?,
    };
    finish(context, &trained, &task, &directory, &[])?;
    Ok(RunOutcome::Done)
}

/// Whether a run's state cannot be read, or is missing where something was trained, which would fail it for ever: it is then removed with the
/// model, so that the run begins again.
fn state_is_lost(context: &Context, Run { folder, .. }: &Run) -> Result<bool> {
    let state = folder.join(directory::STATE);
    match state.exists().then(|| State::load(&state)) {
        Some(Err(error @ Error::File { .. })) => {
            context.note(format!("begins again, since its state is damaged: {error}"));
        }
        None if RunDirectory::open(folder)?.is_trained() => {
            context.note("begins again, since its state is missing");
        }
        _ => return Ok(false),
    }
    [directory::MODEL, directory::HISTORY, directory::STATE]
        .iter()
        .try_for_each(|name| files::remove(&folder.join(name)))?;
    Ok(true)
}
