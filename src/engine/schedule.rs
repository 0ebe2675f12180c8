//! Learning-rate schedules, per epoch.

use std::fmt;
use std::str::FromStr;

/// How the learning rate falls. As text: `lambda:0.98`, `milestones:0.1:400,500`.
#[derive(Clone, Debug, PartialEq, serde_with::SerializeDisplay, serde_with::DeserializeFromStr)]
#[non_exhaustive]
pub enum Schedule {
    /// lr·γ^epoch.
    Lambda { gamma: f64 },
    /// lr·γ^(milestones passed).
    Milestones { gamma: f64, epochs: Vec<u32> },
}

impl Schedule {
    /// What the rate is multiplied with.
    pub(crate) fn gamma(&self) -> f64 {
        match *self {
            Schedule::Lambda { gamma } | Schedule::Milestones { gamma, .. } => gamma,
        }
    }

    /// The learning rate of an epoch, counted from 0.
    pub(crate) fn rate(&self, lr: f64, epoch: u32) -> f64 {
        match self {
            Schedule::Lambda { gamma } => lr * gamma.powf(f64::from(epoch)),
            Schedule::Milestones { gamma, epochs } => {
                lr * gamma.powf(epochs.iter().filter(|&&at| at <= epoch).count() as f64)
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Schedule::Lambda { gamma } => write!(f, "lambda:{gamma}"),
            Schedule::Milestones { gamma, epochs } => {
                let epochs: Vec<String> = epochs.iter().map(u32::to_string).collect();
                write!(f, "milestones:{gamma}:{}", epochs.join(","))
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let parse = || match *text.split(':').collect::<Vec<_>>() {
            ["lambda", gamma] => Some(Schedule::Lambda { gamma: factor(gamma)? }),
            ["milestones", gamma, epochs] => {
                let epochs: Result<Vec<u32>, _> = epochs.split(',').map(str::parse).collect();
                Some(Schedule::Milestones { gamma: factor(gamma)?, epochs: epochs.ok()? })
            }
            _ => None,
        };
        parse().ok_or_else(|| format!("'{text}' is no schedule; write lambda:0.98 or milestones:0.1:400,500"))
    }
}

/// A factor that the rate is multiplied with: positive and finite.
fn factor(text: &str) -> Option<f64> {
    text.parse().ok().filter(|&g: &f64| g.is_finite() && g > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_as_defined() {
        let lambda = Schedule::Lambda { gamma: 0.98 };
        approx::assert_relative_eq!(lambda.rate(0.01, 2), 0.01 * 0.98 * 0.98, max_relative = 1e-15);
        let steps = Schedule::Milestones { gamma: 0.1, epochs: vec![2, 4] };
        let rates: Vec<f64> = (0..5).map(|e| steps.rate(1.0, e)).collect();
        for (rate, expected) in rates.iter().zip([1.0, 1.0, 0.1, 0.1, 0.01]) {
            approx::assert_relative_eq!(*rate, expected, max_relative = 1e-12);
        }
    }

    #[test]
    fn text_and_back() {
        for text in ["lambda:0.98", "milestones:0.1:400,500"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in
            ["", "lambda", "lambda:x", "lambda:-1", "lambda:inf", "milestones:0.1", "milestones:0.1:a", "cosine:1"]
        {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
