//! A sweep as an array job of Slurm: one task a run.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::run::output::resolved;
use crate::run::own_files::{SLURM, SLURM_BEGIN};
use crate::run::report::quoted;
use crate::run::sweep::plan::SweepPlan;

/// Writes a job script into the sweep's folder and returns its path. Each task gets a GPU, or only cores. It starts `program`, or this executable
/// where that is no whole path.
pub(super) fn write_slurm(program: &Path, plan: &SweepPlan, folder: &Path, gpu: bool) -> Result<PathBuf> {
    let folder = &resolved(folder);
    // In a comment of the script, what follows a line break would be a command.
    if folder.to_string_lossy().contains(char::is_control) {
        let problem = "has a line break or another control character in its name, which a job script cannot hold";
        return Err(Error::file(folder, problem, "choose another `out`"));
    }
    files::create_folder(folder)?;
    let folder = folder.canonicalize().map_err(Error::io("find", folder))?;
    let program = match program.is_absolute() {
        true => program.to_path_buf(),
        false => std::env::current_exe().map_err(Error::io("find", "the program"))?,
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = plan.command(&text(&folder));
    words[0] = text(&program);
    let gpus = if gpu { "#SBATCH --gpus=1\n" } else { "" };
    words.extend(["--devices", if gpu { "cuda" } else { "cpu" }].map(str::to_string));
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let path = folder.join(SLURM);
    let script = format!(
        "{SLURM_BEGIN}{script}
# Flags of sbatch go before the script's path and win over those here: --partition=NAME, --time=HH:MM:SS, or --array=1-{some} for
# fewer tasks with several runs each, --array=3 for the third run again. Submitted again, it does what is left; the last task to end sums
# everything up.
#SBATCH --job-name=fcdd
#SBATCH --array=1-{runs}
{gpus}#SBATCH --cpus-per-task=8
#SBATCH --output={log}
exec {command} --threads \"$SLURM_CPUS_PER_TASK\" --shard \"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX\"
",
        script = quoted(&text(&path)),
        log = quoted(&text(&folder.join("slurm-%a.log"))),
        some = plan.seeds,
        runs = plan.runs(&folder).len(),
    );
    files::write_atomically(&path, script.as_bytes())?;
    Ok(path)
}
