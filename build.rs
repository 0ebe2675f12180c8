//! Build script: records what was built, for `fcdd info`, and writes the Rust side of the kernels in `kernels/`.

#[path = "build/signatures.rs"]
mod signatures;
#[path = "build/stubs.rs"]
mod stubs;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use stubs::Source;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let target = variable("TARGET");
    let profile = variable("PROFILE");
    println!("cargo::rustc-env=FCDD_BUILD=fcdd {} for {target} ({profile})", env!("CARGO_PKG_VERSION"));
    if let Err(message) = kernels() {
        eprintln!("{message}");
        std::process::exit(1);
    }
}

/// A variable that cargo sets.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Writes `kernels.rs`.
fn kernels() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo::rerun-if-changed=kernels");
    let mut sources = Vec::new();
    for path in files(&root.join("kernels"), "cu").map_err(|e| format!("kernels: {e}"))? {
        let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let shown = format!("kernels/{}", name(path.file_name()));
        let text = fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
        let kernels = signatures::kernels(&shown, &text, &[]).map_err(|e| e.to_string())?;
        sources.push(Source { path: shown, stem: name(path.file_stem()), kernels });
    }
    let text = stubs::stubs(&sources, None).map_err(|e| e.to_string())?;
    fs::write(out.join("kernels.rs"), text).map_err(|e| format!("kernels.rs: {e}"))
}

/// Files of a folder with this extension, by name; none if there is no such folder.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = entries.into_iter().filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    Ok(files)
}
