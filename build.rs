//! Build script: records what was built, for `fcdd info`; compiles the kernels in `kernels/` where there is an nvcc, and always
//! writes their Rust side.

#[path = "build/architectures.rs"]
mod architectures;
#[path = "build/layout.rs"]
mod layout;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/signatures.rs"]
mod signatures;
#[path = "build/stubs.rs"]
mod stubs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use layout::Types;
use nvcc::Unit;
use signatures::Shared;
use stubs::{Compiled, Source};

/// The kernels of the library, and those of its tests alone, which a package may lack.
const KERNELS: &str = "kernels";
const TEST_KERNELS: &str = "tests/cuda/kernels";

/// The enum that `src/rng.rs` has, which is below the device.
const PURPOSE: &str = "Purpose";

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

/// A file of CUDA C++.
struct File {
    /// As it is named in messages: `kernels/add.cu`.
    path: String,
    stem: String,
    text: String,
    shared: Shared,
}

/// Compiles the kernels and writes `kernels.rs`, which says with what and for what; of those of the tests, `test_kernels.rs`.
fn kernels() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let headers = read(&root, KERNELS, "cuh")?;
    let (library, tests) = (read(&root, KERNELS, "cu")?, read(&root, TEST_KERNELS, "cu")?);
    let (types, test_types) = (types(&headers, &library), types(&headers, &tests));
    let sources = |files: &[File]| -> Vec<Source> { files.iter().map(source).collect() };
    let (library_sources, test_sources) = (sources(&library), sources(&tests));
    let mut units = Vec::new();
    for (file, types) in library.iter().map(|file| (file, &types)).chain(tests.iter().map(|file| (file, &test_types))) {
        let mut included = BTreeMap::new();
        include(&file.text, &headers, &mut included);
        let values = layout::value_checks(included.values().chain([&file]).map(|file| &file.shared));
        let checks = layout::checks(types, &file.shared.kernels).map_err(|e| e.to_string())? + &values;
        let headers = included.into_values().map(|header| header.text.clone()).collect();
        units.push(Unit { source: source(file), text: file.text.clone(), headers, checks });
    }
    // Names are checked before the compiler is kept busy.
    stubs::stubs(&library_sources, &types, None).map_err(|e| e.to_string())?;
    let compiled = compile(&root, &units, &out)?;
    let mut constants: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for file in headers.iter().chain(&library) {
        let of_stem = constants.entry(file.stem.clone()).or_default();
        for (name, value) in &file.shared.constants {
            if of_stem.insert(name.clone(), *value).is_some() {
                return Err(format!("{}: {name} is in its header too: write another name", file.path));
            }
        }
    }
    let (purpose, others): (Vec<_>, Vec<_>) = types.enums.iter().partition(|shared| shared.name == PURPOSE);
    fs::write(out.join("purpose.rs"), stubs::enums(purpose.into_iter())).map_err(|e| format!("purpose.rs: {e}"))?;
    let more = stubs::enums(others.into_iter()) + &stubs::constants(&constants);
    for (file, sources, types, more) in
        [("kernels.rs", &library_sources, &types, more.as_str()), ("test_kernels.rs", &test_sources, &test_types, "")]
    {
        let text = stubs::stubs(sources, types, compiled.as_ref()).map_err(|e| e.to_string())? + more;
        fs::write(out.join(file), text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}

fn source(file: &File) -> Source {
    Source { path: file.path.clone(), stem: file.stem.clone(), kernels: file.shared.kernels.clone() }
}

/// The structs and enums of kernels and of the headers that they include.
fn types(headers: &[File], kernels: &[File]) -> Types {
    let mut types = Types::default();
    headers.iter().chain(kernels).for_each(|file| types.add(&file.shared));
    types
}

/// Runs nvcc, where there is one; `FCDD_CUDA_ARCHS=none` and builds without the feature `cuda` go without.
fn compile(root: &Path, units: &[Unit], out: &Path) -> Result<Option<Compiled>, String> {
    if units.is_empty() || variable("FCDD_CUDA_ARCHS") == "none" || env::var_os("CARGO_FEATURE_CUDA").is_none() {
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
    nvcc.compile(units, &architectures, out, jobs)?;
    Ok(Some(Compiled { version: nvcc.version, architectures: architectures.names() }))
}

/// Reads the files of a folder with this extension.
fn read(root: &Path, folder: &str, extension: &str) -> Result<Vec<File>, String> {
    let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let file = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let (shown, stem) = (format!("{folder}/{}", name(path.file_name())), name(path.file_stem()));
        let shared = signatures::read(&shown, &text).map_err(|e| e.to_string())?;
        Ok(File { path: shown, stem, text, shared })
    };
    files(&root.join(folder), extension)?.into_iter().map(file).collect()
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

/// Adds the headers that a text includes, and those that they include, by their names.
fn include<'a>(text: &str, headers: &'a [File], included: &mut BTreeMap<String, &'a File>) {
    for line in text.lines().filter_map(|l| l.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")) {
        let Some(name) = line.split('"').nth(1) else { continue };
        if let Some(header) = headers.iter().find(|header| header.path.ends_with(&format!("/{name}")))
            && !included.contains_key(name)
        {
            included.insert(name.into(), header);
            include(&header.text, headers, included);
        }
    }
}
