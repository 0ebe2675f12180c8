//! Build script: records what was built, for `fcdd info`; compiles the kernels in `kernels/` where there is an nvcc, and always
//! writes their Rust side.

#[path = "build/architectures.rs"]
mod architectures;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/signatures.rs"]
mod signatures;
#[path = "build/stubs.rs"]
mod stubs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use nvcc::Text;
use stubs::{Compiled, Source};

/// The kernels of the library, and those of its tests alone, which a package may lack.
const KERNELS: &str = "kernels";
const TEST_KERNELS: &str = "tests/cuda/kernels";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    for folder in [KERNELS, TEST_KERNELS].into_iter().filter(|folder| Path::new(folder).exists()) {
        println!("cargo::rerun-if-changed={folder}");
    }
    for name in nvcc::VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let (target, profile) = (variable("TARGET"), variable("PROFILE"));
    println!("cargo::rustc-env=FCDD_BUILD=fcdd {} for {target} ({profile})", env!("CARGO_PKG_VERSION"));
    if let Err(message) = kernels() {
        eprintln!("\n{message}\n");
        std::process::exit(1);
    }
}

/// A variable that cargo sets.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Compiles the kernels and writes `kernels.rs`, which says with what and for what; of those of the tests, `test_kernels.rs`.
fn kernels() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let library = sources(&root, KERNELS)?;
    let tests_begin = library.len();
    let (sources, texts): (Vec<_>, Vec<_>) = library.into_iter().chain(sources(&root, TEST_KERNELS)?).unzip();
    // Names are checked before the compiler is kept busy.
    stubs::stubs(&sources, None).map_err(|e| e.to_string())?;
    let compiled = compile(&root, &sources, &texts, &out)?;
    let constants = stubs::constants(&constants(&root)?);
    for (file, sources, more) in
        [("kernels.rs", &sources[..tests_begin], constants.as_str()), ("test_kernels.rs", &sources[tests_begin..], "")]
    {
        let text = stubs::stubs(sources, compiled.as_ref()).map_err(|e| e.to_string())? + more;
        fs::write(out.join(file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}

/// Runs nvcc, where there is one; `FCDD_CUDA_ARCHS=none` and builds without the feature `cuda` go without.
fn compile(root: &Path, sources: &[Source], texts: &[Text], out: &Path) -> Result<Option<Compiled>, String> {
    if sources.is_empty() || variable("FCDD_CUDA_ARCHS") == "none" || env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(None);
    }
    let nvcc = match nvcc::find(root)? {
        Ok(nvcc) => nvcc,
        Err(why) => {
            let hint = "for CUDA run scripts/get-nvcc, or set NVCC; README.md says more";
            println!("cargo::warning=this build computes on the CPU only: {why}; {hint}");
            return Ok(None);
        }
    };
    println!("cargo::rerun-if-changed={}", nvcc.path.display());
    let architectures = nvcc.architectures()?;
    let jobs = variable("NUM_JOBS").parse().unwrap_or(1);
    nvcc.compile(sources, texts, &architectures, out, jobs)?;
    Ok(Some(Compiled { version: nvcc.version, architectures: architectures.names() }))
}

/// Reads the kernels of a folder. They include headers of the library's.
fn sources(root: &Path, folder: &str) -> Result<Vec<(Source, Text)>, String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let mut headers = BTreeMap::new();
    for path in files(&root.join(KERNELS), "cuh")? {
        headers.insert(name(path.file_name()), read(&path)?);
    }
    let source = |path: PathBuf| {
        let (source, shown) = (read(&path)?, format!("{folder}/{}", name(path.file_name())));
        let mut included = BTreeMap::new();
        include(&source, &headers, &mut included);
        let headers: Vec<String> = included.into_values().collect();
        let kernels = signatures::kernels(&shown, &source, &headers).map_err(|e| e.to_string())?;
        Ok((Source { path: shown, stem: name(path.file_stem()), kernels }, Text { source, headers }))
    };
    files(&root.join(folder), "cu")?.into_iter().map(source).collect()
}

/// The integer constants of the kernels and their headers, by file: those of `sample.cuh` are `sample`'s.
fn constants(root: &Path) -> Result<BTreeMap<String, BTreeMap<String, i32>>, String> {
    let mut constants: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for path in [files(&root.join(KERNELS), "cuh")?, files(&root.join(KERNELS), "cu")?].concat() {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let found = signatures::constants(&path.to_string_lossy(), &text).map_err(|e| e.to_string())?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        constants.entry(stem).or_default().extend(found);
    }
    Ok(constants)
}

/// Files of a folder with this extension, by name; none if there is no such folder.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut files = list().map_err(|e| format!("{}: {e}", folder.display()))?;
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    Ok(files)
}

/// Adds the headers of the folder that a text includes, and those that they include.
fn include(text: &str, headers: &BTreeMap<String, String>, included: &mut BTreeMap<String, String>) {
    for line in text.lines().filter_map(|l| l.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")) {
        let Some(name) = line.split('"').nth(1) else { continue };
        if let Some(header) = headers.get(name)
            && !included.contains_key(name)
        {
            included.insert(name.into(), header.clone());
            include(header, headers, included);
        }
    }
}
