//! Parses the command line and runs one subcommand. Figures go to standard output, progress and errors to standard error.

mod bench;
mod calibrate;
mod common;
mod compare;
mod demo;
mod evaluate;
mod export;
mod flags;
mod import;
mod info;
mod limits;
mod predict;
#[cfg(feature = "serve")]
mod serve;
mod settings;
mod signals;
mod slurm;
mod sweep;
mod terminal;
mod train;
mod verify;
mod watch;
mod weights;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use limits::Allocator;

use self::terminal::log;
use crate::error::Result;
use crate::memory::limit_image_memory;
use flags::in_flags;
use settings::{named_dataset, with_defaults};

// What exit codes mean, for all subcommands: docs/reference.md has the table.

/// Exit code of a check that ran and failed.
const CHECK_FAILED: u8 = 1;

/// Exit code of an error.
const ERROR: u8 = 2;

/// Exit code of `predict --fail-on-anomaly` where an image is anomalous.
const ANOMALY: u8 = 3;

/// Exit code of `predict` where an image cannot be judged.
const UNUSABLE: u8 = 4;

/// Exit code of a run that was interrupted, as shells give it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Finds defects in images after seeing good ones only: gives each image a score, and a heatmap that shows where.
#[derive(Debug, Parser)]
#[command(name = "fcdd", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads to compute with [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=limits::MAX_THREADS as i64))]
    threads: Option<u16>,
    /// Memory that images may take at a time, such as 500M or 2G [default: half of what is free]; a larger image is refused
    #[arg(long, global = true, value_name = "SIZE", value_parser = common::memory_size)]
    memory: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Evaluate(evaluate::Args),
    Predict(predict::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    Calibrate(calibrate::Args),
    Import(import::Args),
    Export(export::Args),
    Sweep(Box<sweep::Args>),
    Compare(compare::Args),
    Demo(demo::Args),
    Verify(verify::Args),
    Bench(bench::Args),
    Info(info::Args),
    Weights(weights::Args),
}

/// How a subcommand ended, apart from an error that stopped it.
enum Outcome {
    Fine,
    /// Ended with another exit code than 0, after saying why.
    Ended(u8),
}

/// Runs the program with the words of its command line; returns its exit code. The first word is its own: the path that starts it where it is
/// no executable of its own, as that of the Python package.
pub fn main(words: Vec<OsString>) -> u8 {
    let program = words.first().map(PathBuf::from).unwrap_or_default();
    match run(parse(words), &program) {
        Ok(Outcome::Fine) => 0,
        Ok(Outcome::Ended(code)) => code,
        Err(error) => {
            log(format!("error: {}", in_flags(&error.to_string())));
            ERROR
        }
    }
}

/// What the command line takes: man pages and completions for shells are made of it (`examples/manual.rs`).
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line; help and errors end the program. Help tells the defaults of the dataset that is named.
fn parse(words: Vec<OsString>) -> Cli {
    let dataset = named_dataset(Cli::command(), &words);
    let mut program = ["train", "sweep"]
        .into_iter()
        .fold(Cli::command(), |program, name| program.mut_subcommand(name, |command| with_defaults(command, dataset)));
    let cli = program.try_get_matches_from_mut(words).and_then(|matches| Cli::from_arg_matches(&matches));
    cli.unwrap_or_else(|error| error.format(&mut program).exit())
}

fn run(cli: Cli, program: &Path) -> Result<Outcome> {
    limits::start(cli.threads)?;
    cli.memory.into_iter().for_each(limit_image_memory);
    match cli.command {
        Command::Train(args) => train::run(*args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Predict(args) => predict::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Sweep(args) => sweep::run(*args, program),
        Command::Compare(args) => compare::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Info(args) => info::run(args),
        Command::Weights(args) => weights::run(args),
    }
}
