//! How long a training will take, by the first steps of a copy: the training itself is not touched.

use std::time::{Duration, Instant};

use super::context::{Context, Silent};
use super::reduction;
use super::settings::{MAX_EPOCHS, Settings};
use super::stop::NEVER;
use super::training_loop::TrainingLoop;
use crate::data::batches::TrainingSet;
use crate::error::Result;

/// Steps of the copy's epochs: while one runs, the batch of the next is made, as in training.
const STEPS: usize = 2;

/// Steps are timed for so long: a few of a large net, many of a small one.
const ENOUGH: Duration = Duration::from_millis(100);

/// A training's time on a device.
pub(super) struct Pace {
    /// Seconds before the first epoch: features, where they are computed once.
    before: f64,
    /// Seconds of an epoch.
    epoch: f64,
    /// Steps of an epoch.
    steps: usize,
}

impl Pace {
    /// Times steps on a few of a set's images.
    ///
    /// # Errors
    /// As of the training's first steps.
    pub(super) fn measure(context: &Context, set: &TrainingSet, settings: &Settings) -> Result<Pace> {
        let (steps, views) = match settings.views {
            None => (STEPS, 0),
            // Features take far longer than the steps of a head.
            Some(views) => (1, views as usize * set.samples() as usize + reduction::VIEWS),
        };
        let few = set.of_few(steps * settings.batch)?;
        // No image is left alone: norms may be unable to take statistics of it.
        let candidates = (2..=settings.batch).rev().chain(settings.batch + 1..=few.len());
        let batch = candidates.into_iter().find(|batch| few.len() % batch != 1).unwrap_or(settings.batch);
        // No weight changes, since what steps make of so few images may be no numbers after a while.
        let own = Settings {
            batch,
            lr: 0.0,
            weight_decay: 0.0,
            passes: 1,
            views: settings.views.map(|_| 1),
            patience: None,
            ..settings.clone()
        };
        // Two steps end soon: a stop is looked for after them.
        let quiet = Context { observer: &Silent, stop: &NEVER, ..*context };
        let mut copy = TrainingLoop::new(&quiet, &few, &own, None)?;
        let mut timed = || {
            let started = Instant::now();
            copy.epoch(&mut quiet.task("timing", 0), &quiet)?;
            Ok::<Duration, crate::Error>(started.elapsed())
        };
        let warming = timed()?;
        let (mut took, mut epochs) = (Duration::ZERO, 0);
        while took < ENOUGH && !context.stop.is_requested() {
            took += timed()?;
            epochs += 1;
        }
        let of_few = if epochs == 0 { warming } else { took / epochs };
        let step = of_few.as_secs_f64() / few.len().div_ceil(batch) as f64;
        let steps = set.len().div_ceil(settings.batch);
        // Scores of what is held out take a forward pass, a third of a step.
        let scored = set.held_out().map_or(0.0, |held_out| 2.0 * held_out.len() as f64 / 3.0 / settings.batch as f64);
        let before = copy.seconds_per_view() * views as f64;
        Ok(Pace { before, epoch: step * (steps as f64 + scored), steps })
    }

    /// How many epochs fit into so many minutes: one at least.
    pub(super) fn epochs_in(&self, minutes: f64) -> u32 {
        (((minutes * 60.0 - self.before) / self.epoch) as u32).clamp(1, MAX_EPOCHS)
    }

    /// Tells what is about to be trained, and how long it will take.
    pub(super) fn tell(&self, context: &Context, set: &TrainingSet, settings: &Settings) {
        let Settings { net, side, epochs, patience, .. } = settings;
        let (images, steps) = (set.data().normal.images().count(), self.steps);
        let most = if patience.is_some() && set.held_out().is_some() { "at most " } else { "" };
        let time = in_words(self.before + f64::from(*epochs) * self.epoch);
        let total = u64::from(*epochs) * steps as u64;
        context.note(format!(
            "training {net} at {side} px on {images} good images: {most}{epochs} epochs of {steps} steps ({total} in all), about {time}"
        ));
    }
}

/// Seconds as a person says them.
fn in_words(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.max(1.0)),
        s if s < 90.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_fill_the_minutes() {
        let pace = Pace { before: 30.0, epoch: 12.0, steps: 5 };
        assert_eq!([2.0, 2.3, 0.6, 1e12].map(|minutes| pace.epochs_in(minutes)), [7, 9, 1, MAX_EPOCHS]);
        assert_eq!(pace.epochs_in(0.1), 1, "too few minutes for what comes before");
    }

    #[test]
    fn times_are_said_in_words() {
        assert_eq!([0.2, 80.0, 100.0, 3600.0, 9000.0].map(in_words), ["1 s", "80 s", "2 min", "60 min", "2.5 h"]);
    }
}
