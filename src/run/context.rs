//! What a subcommand needs besides its settings: where to compute, whom to tell how it goes, and whether to stop.

use std::fmt::Display;

use super::stop::{NEVER, Stop};
use crate::device::Device;

/// What is told while work goes on.
#[non_exhaustive]
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// Of a task such as `training`, `done` of `total` images are done; `detail` makes a text on how it stands, such as the loss.
    Progress { task: &'a str, done: u64, total: u64, detail: &'a dyn Fn() -> String },
    /// A task has ended, and in what.
    Finished { task: &'a str, summary: &'a str },
    /// What a person should know: files that were left out, a GPU that is too small.
    Note(&'a str),
}

/// Receives events; any `Fn(Event) + Sync` is one.
pub(crate) trait Observer: Sync {
    fn observe(&self, event: Event);
}

impl<F: Fn(Event) + Sync> Observer for F {
    fn observe(&self, event: Event) {
        self(event);
    }
}

/// Keeps silent.
pub(crate) struct Silent;

impl Observer for Silent {
    fn observe(&self, _: Event) {}
}

/// An observer of one of several pieces of work, whose name it puts before all that it passes on.
pub(crate) struct Prefixed<'a> {
    pub name: &'a str,
    pub observer: &'a dyn Observer,
}

impl Observer for Prefixed<'_> {
    fn observe(&self, event: Event) {
        let named = |text: &str| format!("{}: {text}", self.name);
        match event {
            Event::Progress { task, done, total, detail } => {
                self.observer.observe(Event::Progress { task: &named(task), done, total, detail });
            }
            Event::Finished { task, summary } => {
                self.observer.observe(Event::Finished { task: &named(task), summary: &named(summary) });
            }
            Event::Note(note) => self.observer.observe(Event::Note(&named(note))),
        }
    }
}

/// Where to compute, whom to tell, when to stop.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub device: &'a Device,
    pub observer: &'a dyn Observer,
    pub stop: &'a Stop,
}

impl<'a> Context<'a> {
    /// Work on a device that tells nobody and is not stopped.
    pub(crate) fn silent(device: &'a Device) -> Context<'a> {
        Context { device, observer: &Silent, stop: &NEVER }
    }

    /// Tells something.
    pub(crate) fn note(&self, note: impl Display) {
        self.observer.observe(Event::Note(&note.to_string()));
    }

    /// Begins a task of so many images.
    pub(crate) fn task(&self, task: &'a str, total: u64) -> Progress<'a> {
        let progress = Progress { observer: self.observer, task, done: 0, total };
        progress.tell(&String::new);
        progress
    }
}

/// Progress of one task.
pub(crate) struct Progress<'a> {
    observer: &'a dyn Observer,
    task: &'a str,
    done: u64,
    total: u64,
}

impl Progress<'_> {
    /// `images` more are done.
    pub(crate) fn advance(&mut self, images: u64, detail: impl Fn() -> String) {
        self.done += images;
        self.tell(&detail);
    }

    fn tell(&self, detail: &dyn Fn() -> String) {
        self.observer.observe(Event::Progress { task: self.task, done: self.done, total: self.total, detail });
    }

    /// The task has ended in this.
    pub(crate) fn finish(self, summary: &str) {
        self.observer.observe(Event::Finished { task: self.task, summary });
    }
}
