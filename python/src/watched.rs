//! Work in a thread of its own, while the caller's hears of its progress, calls what Python wants to be told by, and may be interrupted.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use fcdd::Stop;
use pyo3::prelude::*;

use crate::errors::raised;

/// How often Ctrl-C is looked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// What is told while work goes on.
///
/// Of kind "progress", `done` of `total` images of a task such as "training" are done, and `text` says how it stands; of kind "finished", the
/// task has ended, and `text` says in what; of kind "note", `text` is what a person should know, such as which files were left out.
#[pyclass(module = "fcdd", frozen, get_all)]
pub(crate) struct Event {
    kind: &'static str,
    task: Option<String>,
    done: Option<u64>,
    total: Option<u64>,
    text: String,
}

impl Event {
    fn of(event: fcdd::Event) -> Option<Event> {
        let none = Event { kind: "", task: None, done: None, total: None, text: String::new() };
        Some(match event {
            fcdd::Event::Progress { task, done, total, detail } => Event {
                kind: "progress",
                task: Some(task.to_string()),
                done: Some(done),
                total: Some(total),
                text: detail(),
            },
            fcdd::Event::Finished { task, summary } => {
                Event { kind: "finished", task: Some(task.to_string()), text: summary.to_string(), ..none }
            }
            fcdd::Event::Note(note) => Event { kind: "note", text: note.to_string(), ..none },
            _ => return None,
        })
    }
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        let Event { kind, text, .. } = self;
        let of = self.task.as_ref().map_or(String::new(), |task| format!(", task={task:?}"));
        format!("Event(kind={kind:?}{of}, text={text:?})")
    }
}

/// Does work that tells what it does and can be stopped: by Ctrl-C, or by an exception of the callback, which is raised once it has stopped.
pub(crate) fn watched<T: Send>(
    py: Python<'_>,
    callback: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&(dyn Fn(fcdd::Event) + Sync), &Stop) -> fcdd::Result<T> + Send,
) -> PyResult<T> {
    let stop = &Stop::new();
    let (sender, mut events) = channel();
    let is_heard = callback.is_some();
    // What nobody hears ends all the same: the channel does with the work.
    let tell = move |event: fcdd::Event| {
        if let Some(event) = is_heard.then(|| Event::of(event)).flatten() {
            let _ = sender.send(event);
        }
    };
    let mut interrupted = None;
    let done = thread::scope(|scope| -> PyResult<_> {
        let working = thread::Builder::new().spawn_scoped(scope, move || work(&tell, stop))?;
        loop {
            let waiting = &mut events;
            let event = py.detach(move || waiting.recv_timeout(INTERVAL));
            let heard = match (event, callback) {
                (Err(RecvTimeoutError::Disconnected), _) => break,
                (Ok(event), Some(callback)) if interrupted.is_none() => callback.call1((event,)).map(drop),
                _ => Ok(()),
            };
            if let Err(error) = heard.and_then(|()| py.check_signals()) {
                stop.request();
                interrupted.get_or_insert(error);
            }
        }
        Ok(py.detach(|| working.join()))
    })?;
    let done = done.unwrap_or_else(|panic| resume_unwind(panic));
    interrupted.map_or_else(|| done.map_err(raised), Err)
}
