//! Finds nvcc and compiles the kernels with it.

use std::collections::BTreeSet;
use std::env::{self, consts::EXE_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{fs, thread};

use super::architectures::Architectures;
use super::stubs::Source;

/// Older ones are passed over: they lack C++ features or flags that the kernels are compiled with.
const OLDEST: (u32, u32) = (12, 8);

/// Variables that decide which nvcc compiles, and how.
pub const VARIABLES: [&str; 7] =
    ["NVCC", "CUDA_HOME", "CUDA_PATH", "FCDD_CUDA_ARCHS", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"];

/// Plain arithmetic is not contracted to fused multiply-adds: kernels write fmaf where they want it, so that the same code has the
/// same bits on the CPU. Compression for size makes the code about four times smaller.
const FLAGS: [&str; 10] = [
    "-fatbin",
    "-std=c++17",
    "-O3",
    "--fmad=false",
    "-Werror",
    "all-warnings",
    "-Xptxas=-v",
    "--compress-mode=size",
    "-I.",
    "-Ikernels",
];

/// A kernel file with its text, the texts of the project's headers that it includes, and what is compiled after it: that structs are laid
/// out as in Rust.
#[derive(Debug)]
pub struct Unit {
    pub source: Source,
    pub text: String,
    pub headers: Vec<String>,
    pub checks: String,
}

/// A compiler that answers.
#[derive(Debug)]
pub struct Nvcc {
    pub path: PathBuf,
    /// E.g. `13.0.88`.
    pub version: String,
}

/// The first nvcc of `NVCC`, `CUDA_HOME`, `CUDA_PATH`, `PATH`, `/usr/local/cuda` and the project's `.cuda`; `Err` says why none. A
/// wrong `NVCC` ends the build.
pub fn find(root: &Path) -> Result<Result<Nvcc, String>, String> {
    if let Some(path) = env::var_os("NVCC").filter(|v| !v.is_empty()) {
        return answer(Path::new(&path)).map(Ok).map_err(|why| format!("NVCC={}: {why}", path.display()));
    }
    let name = format!("nvcc{EXE_SUFFIX}");
    let homes =
        ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let places = homes
        .chain(env::split_paths(&path))
        .chain([PathBuf::from("/usr/local/cuda/bin"), root.join(".cuda/bin")])
        .map(|folder| folder.join(&name))
        .filter(|path| path.is_file());
    let mut reasons = Vec::new();
    for path in places {
        match answer(&path) {
            Ok(nvcc) => return Ok(Ok(nvcc)),
            Err(why) => reasons.push(format!("{}: {why}", path.display())),
        }
    }
    Ok(Err(if reasons.is_empty() { "no nvcc found".into() } else { reasons.join("; ") }))
}

/// Asks for its version.
fn answer(path: &Path) -> Result<Nvcc, String> {
    let text = output(Command::new(path).arg("--version"))?;
    let version = text.split_whitespace().find_map(|word| word.strip_prefix('V')).unwrap_or_default().to_string();
    let mut numbers = version.split('.').map(|n| n.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < OLDEST {
        return Err(format!("version `{version}`, {}.{} or newer is needed", OLDEST.0, OLDEST.1));
    }
    Ok(Nvcc { path: path.into(), version })
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{}: {}", output.status, text(&output.stderr))),
    }
}

impl Nvcc {
    /// The architectures to compile for.
    pub fn architectures(&self) -> Result<Architectures, String> {
        let known = output(Command::new(&self.path).arg("--list-gpu-code"))?;
        Architectures::choose(env::var("FCDD_CUDA_ARCHS").ok().as_deref(), &known)
    }

    /// Compiles each source whose text, headers, flags or compiler changed to `out/STEM.fatbin`, with ptxas's words in
    /// `out/STEM.log`. `jobs` run at a time.
    pub fn compile(
        &self,
        units: &[Unit],
        architectures: &Architectures,
        out: &Path,
        jobs: usize,
    ) -> Result<(), String> {
        let mut left: Vec<_> =
            units.iter().map(|unit| Task::new(self, unit, architectures, out)).filter(|task| !task.is_done()).collect();
        // The longest is taken first, since it decides when all are done.
        left.sort_by_key(|task| task.stamp.len());
        let threads = jobs.clamp(1, left.len().max(1));
        let each = (jobs / threads).max(1);
        let left = Mutex::new(left);
        let next = || left.lock().ok()?.pop();
        let failures = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(task) = next() {
                        if let (Err(message), Ok(mut failures)) = (task.run(each), failures.lock()) {
                            failures.push(message);
                        }
                    }
                });
            }
        });
        let mut failures = failures.into_inner().map_err(|e| e.to_string())?;
        failures.sort();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
    }
}

/// A file to compile.
struct Task<'a> {
    nvcc: &'a Nvcc,
    unit: &'a Unit,
    arguments: Vec<String>,
    /// Includes the kernel file; its checks follow.
    input: PathBuf,
    image: PathBuf,
    log: PathBuf,
    /// All that the result depends on, and where it is kept beside the result.
    stamp: String,
    stamp_file: PathBuf,
}

impl<'a> Task<'a> {
    fn new(nvcc: &'a Nvcc, unit: &'a Unit, architectures: &Architectures, out: &Path) -> Task<'a> {
        let mut arguments: Vec<String> = FLAGS.iter().map(|f| f.to_string()).collect();
        arguments.extend(architectures.arguments(&unit.text));
        let outside: Vec<_> = VARIABLES.iter().filter(|v| v.starts_with("NVCC_")).map(env::var_os).collect();
        let stamp = [format!("{} {arguments:?} {outside:?}", nvcc.version), unit.text.clone(), unit.checks.clone()];
        let stamp = stamp.iter().chain(&unit.headers).map(String::as_str).collect::<Vec<_>>().join("\n");
        let file = |extension: &str| out.join(format!("{}.{extension}", unit.source.stem));
        let [input, image, log, stamp_file] = ["cu", "fatbin", "log", "stamp"].map(file);
        Task { nvcc, unit, arguments, input, image, log, stamp, stamp_file }
    }

    fn is_done(&self) -> bool {
        self.image.exists() && self.log.exists() && fs::read_to_string(&self.stamp_file).is_ok_and(|s| s == self.stamp)
    }

    fn run(&self, threads: usize) -> Result<(), String> {
        let path = &self.unit.source.path;
        let io = |e: std::io::Error| format!("{path}: {e}");
        // Without a stamp, what is half written is not taken for done.
        let _ = fs::remove_file(&self.stamp_file);
        fs::write(&self.input, format!("#include \"{path}\"\n{}", self.unit.checks)).map_err(io)?;
        let mut command = Command::new(&self.nvcc.path);
        command.args(&self.arguments).arg(format!("--threads={threads}")).arg(&self.input).arg("-o").arg(&self.image);
        let output = command.output().map_err(io)?;
        let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if !output.status.success() {
            let words: Vec<&str> = log.lines().filter(|l| !is_statistic(l)).collect();
            let host = if log.contains("host compiler") { "\nnvcc needs g++; NVCC_CCBIN names another" } else { "" };
            return Err(format!(
                "{path} does not compile with nvcc {}:\n{}{host}",
                self.nvcc.version,
                words.join("\n")
            ));
        }
        fs::write(&self.log, &log).map_err(io)?;
        self.check(&log)?;
        fs::write(&self.stamp_file, &self.stamp).map_err(io)
    }

    /// Every kernel that was read is in the code, and the other way round.
    fn check(&self, log: &str) -> Result<(), String> {
        let compiled = log.lines().filter_map(|l| l.split_once("Compiling entry function '")?.1.split('\'').next());
        let compiled: BTreeSet<&str> = compiled.collect();
        let read: BTreeSet<&str> = self.unit.source.kernels.iter().map(|k| k.name.as_str()).collect();
        let path = &self.unit.source.path;
        if let Some(kernel) = compiled.difference(&read).next() {
            return Err(format!(
                "{path}: kernel {kernel} was not read: write KERNEL({kernel}, …) by itself, not in a macro"
            ));
        }
        match read.difference(&compiled).next() {
            Some(kernel) => {
                Err(format!("{path}: kernel {kernel} is not in the compiled code: take it out, or out of the #if"))
            }
            None => Ok(()),
        }
    }
}

/// What ptxas says with -v where all is well. As information it also gives a loss of speed, such as products that run one by one.
fn is_statistic(line: &str) -> bool {
    (line.starts_with("ptxas info") && !line.contains("Performance Loss")) || line.contains("bytes stack frame")
}
