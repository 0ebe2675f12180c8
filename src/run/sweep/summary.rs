//! The figures of a sweep's runs together: means and standard deviations over the seeds of a class, then over the classes.

use std::path::Path;

use serde::Serialize;

use super::plan::SweepPlan;
use super::published::{Published, published};
use crate::error::Result;
use crate::run::figures::Measure;

/// What there is of a sweep.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub plan: SweepPlan,
    /// Those with a finished run, in the order of the plan.
    pub classes: Vec<Class>,
    /// Over the classes' means.
    pub overall: Vec<Figure>,
    /// Runs of the plan that are not finished.
    pub missing: Vec<String>,
    pub published: Vec<Published>,
}

/// The finished runs of a class.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Class {
    pub name: String,
    pub seeds: Vec<u64>,
    /// Over the seeds.
    pub figures: Vec<Figure>,
}

/// A measure over several runs or classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub measure: Measure,
    pub mean: f64,
    /// Standard deviation of the sample (with n − 1); None for a single value.
    pub sd: Option<f64>,
    /// What was averaged.
    pub values: Vec<f64>,
}

impl Figure {
    /// None without values.
    fn new(measure: Measure, values: Vec<f64>) -> Option<Figure> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some(Figure { measure, mean, sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()), values })
    }
}

impl Class {
    /// The figure of a measure, where the runs have it.
    pub(crate) fn figure(&self, measure: Measure) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.measure == measure)
    }
}

impl Summary {
    /// Reads the figures of the finished runs below a sweep's folder.
    pub(crate) fn of(folder: &Path) -> Result<Summary> {
        let plan = SweepPlan::of(folder)?;
        let (mut classes, mut missing) = (Vec::new(), Vec::new());
        let runs = plan.runs(folder);
        for class in &plan.classes {
            let (mut seeds, mut evaluations) = (Vec::new(), Vec::new());
            for run in runs.iter().filter(|run| run.settings.class == *class) {
                match run.evaluation() {
                    Ok(Some(evaluation)) => {
                        seeds.push(run.settings.seed);
                        evaluations.push(evaluation);
                    }
                    Ok(None) => missing.push(run.name()),
                    Err(error) => missing.push(format!("{} ({error})", run.name())),
                }
            }
            let over_seeds = |measure: Measure| {
                Figure::new(measure, evaluations.iter().filter_map(|evaluation| measure.of(evaluation)).collect())
            };
            if !seeds.is_empty() {
                let figures = Measure::MAIN.into_iter().filter_map(over_seeds).collect();
                classes.push(Class { name: class.clone(), seeds, figures });
            }
        }
        let over_classes = |measure| {
            Figure::new(measure, classes.iter().filter_map(|class| Some(class.figure(measure)?.mean)).collect())
        };
        let overall = Measure::MAIN.into_iter().filter_map(over_classes).collect();
        let published = published(plan.settings.dataset);
        Ok(Summary { plan, classes, overall, missing, published })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_of_the_sample() {
        // Python: statistics.mean and statistics.stdev.
        let figure = Figure::new(Measure::Pro, vec![0.5, 0.75, 1.0]).unwrap();
        assert_eq!((figure.mean, figure.sd), (0.75, Some(0.25)));
        assert_eq!(Figure::new(Measure::Pro, vec![0.5]).unwrap().sd, None);
        assert_eq!(Figure::new(Measure::Pro, vec![]), None);
    }
}
