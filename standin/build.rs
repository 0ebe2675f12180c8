//! Compiles the stand-in with g++: for each mode (plain, checked) a folder with the driver `libcuda.so` and, under `kernels/`, one
//! library per file of the main crate's `kernels/` and `tests/cuda/kernels/` and of `tests/kernels/`.
//!
//! A compilation is repeated only when its command line, its source, a header or the compiler has changed; a file of hashes beside
//! each product says so. Without a C++ compiler the build succeeds and the crate says why it has no libraries.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "../build/layout.rs"]
mod layout;
#[path = "../build/signatures.rs"]
mod signatures;

use layout::{Field, Kind, Types};

/// For every compilation. `gnu2`: thread-locals by descriptors, since `__shared__` arrays are thread-locals of many libraries.
const COMMON: &[&str] = &["-std=c++17", "-g1", "-fPIC", "-Wall", "-fno-strict-aliasing", "-mtls-dialect=gnu2"];
const DRIVER: &[&str] = &["-O2"];
/// For kernels in both modes. No contraction, as under `nvcc --fmad=false`: fused multiply-adds are written `fmaf`, so the bits agree.
const KERNELS: &[&str] = &[
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-threadsafe-statics",
    // A large frame meets the guard page of its fiber's stack, instead of stepping over it.
    "-fstack-clash-protection",
    // Functions with the same name in two files must not share their `__shared__` arrays.
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    "-Wno-unknown-pragmas",
    // Kernels compare ints with threadIdx.
    "-Wno-sign-compare",
    // Tensor maps are passed at multiples of 128 bytes, which old compilers did not do.
    "-Wno-psabi",
];
const PLAIN: Mode = Mode { folder: "plain", driver: &[], kernels: &["-O3"], red_zones: false };
const CHECKED: Mode = Mode {
    folder: "checked",
    driver: &["-DSTANDIN_CHECKED"],
    kernels: &[
        "-O1",
        "-fsanitize=thread",
        "-fsanitize=alignment,bounds-strict,shift,signed-integer-overflow,integer-divide-by-zero",
    ],
    red_zones: true,
};

struct Mode {
    folder: &'static str,
    driver: &'static [&'static str],
    kernels: &'static [&'static str],
    /// A gap after every shared array, so that an index beyond its end does not access the next array.
    red_zones: bool,
}

/// One file to make: the files and arguments that it depends on, and the command, to which inputs and output are added.
struct Job {
    product: PathBuf,
    arguments: Vec<OsString>,
    /// The source to compile; none for a job that links.
    source: Option<PathBuf>,
    kernel_file: bool,
    red_zones: bool,
    key: u64,
}

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let main_kernels = root.join("../kernels").canonicalize().unwrap_or_else(|_| root.join("../kernels"));
    for path in [
        "build.rs",
        "../build/layout.rs",
        "../build/signatures.rs",
        "shim",
        "runtime",
        "driver",
        "tests/kernels",
        "../kernels",
        "../tests/cuda/kernels",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=CXX");
    println!("cargo::rustc-env=STANDIN_LIBRARIES={}", out.display());

    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    let version = match unavailable(&compiler) {
        Ok(version) => version,
        Err(why) => {
            println!("cargo::rustc-env=STANDIN_UNAVAILABLE={why}");
            println!("cargo::warning=the stand-in of the CUDA driver is not built: {why}");
            return;
        }
    };

    let headers: Vec<PathBuf> = ["shim", "runtime", "driver", "tests/kernels"]
        .iter()
        .map(|folder| root.join(folder))
        .chain([main_kernels.clone()])
        .flat_map(|folder| files(&folder, &["h", "cuh"]))
        .collect();
    let mut base = DefaultHasher::new();
    (&compiler, &version, include_str!("../build/layout.rs"), include_str!("../build/signatures.rs")).hash(&mut base);
    for header in &headers {
        (header, fs::read(header).unwrap()).hash(&mut base);
    }

    let mut include: Vec<OsString> = ["shim", "runtime", "driver"].iter().map(|f| flag("-I", &root.join(f))).collect();
    include.push(flag("-I", &main_kernels));
    // Reports name files relative to the project.
    if let Some(project) = main_kernels.parent() {
        include.push(format!("-ffile-prefix-map={}/=", project.display()).into());
    }
    let driver_sources: Vec<PathBuf> =
        ["runtime", "driver"].iter().flat_map(|f| files(&root.join(f), &["cpp"])).collect();
    let test_kernels = main_kernels.join("../tests/cuda/kernels");
    let kernel_sources: Vec<PathBuf> =
        [main_kernels, test_kernels, root.join("tests/kernels")].iter().flat_map(|f| files(f, &["cu"])).collect();

    let (mut objects, mut drivers, mut libraries) = (Vec::new(), Vec::new(), Vec::new());
    for mode in [&PLAIN, &CHECKED] {
        let folder = out.join(mode.folder);
        fs::create_dir_all(folder.join("objects")).unwrap();
        fs::create_dir_all(folder.join("kernels")).unwrap();
        let object = |source: &Path, flags: &[&[&str]], kernel_file: bool, red_zones: bool| {
            let arguments: Vec<OsString> = COMMON
                .iter()
                .chain(flags.iter().copied().flatten())
                .map(OsString::from)
                .chain(include.iter().cloned())
                .collect();
            let mut hasher = base.clone();
            (&arguments, fs::read(source).unwrap(), red_zones).hash(&mut hasher);
            let name = source.file_name().unwrap().to_str().unwrap();
            Job {
                product: folder.join("objects").join(name).with_extension(if kernel_file { "cu.o" } else { "cpp.o" }),
                arguments,
                source: Some(source.to_path_buf()),
                kernel_file,
                red_zones,
                key: hasher.finish(),
            }
        };
        let link = |product: PathBuf, parts: &[&Job], more: &[OsString]| {
            let mut hasher = base.clone();
            parts.iter().for_each(|p| p.key.hash(&mut hasher));
            let arguments = ["-shared".into()]
                .into_iter()
                .chain(parts.iter().map(|p| p.product.clone().into_os_string()))
                .chain(more.iter().cloned())
                .collect();
            Job { product, arguments, source: None, kernel_file: false, red_zones: false, key: hasher.finish() }
        };
        let parts: Vec<Job> = driver_sources.iter().map(|s| object(s, &[DRIVER, mode.driver], false, false)).collect();
        // Undefined names are found when the library is made, not when it is loaded.
        let driver_flags = ["-Wl,-soname,libcuda.so", "-Wl,-z,defs", "-pthread", "-ldl"].map(OsString::from);
        drivers.push(link(folder.join("libcuda.so"), &parts.iter().collect::<Vec<_>>(), &driver_flags));
        objects.extend(parts);

        let mut wanted = Vec::new();
        for source in &kernel_sources {
            let part = object(source, &[KERNELS, mode.kernels], true, mode.red_zones);
            let product = folder.join("kernels").join(source.file_stem().unwrap()).with_extension("so");
            wanted.push(product.clone());
            let driver = ["-Wl,--no-as-needed".into(), flag("-L", &folder), "-l:libcuda.so".into()];
            libraries.push(link(product, &[&part], &driver));
            objects.push(part);
        }
        for old in files(&folder.join("kernels"), &["so"]).into_iter().filter(|p| !wanted.contains(p)) {
            fs::remove_file(old).unwrap();
        }
    }
    for stage in [objects, drivers, libraries] {
        make(&compiler, &stage);
    }
}

/// The version of the compiler, or why there are no libraries.
fn unavailable(compiler: &str) -> Result<Vec<u8>, String> {
    let target = std::env::var("TARGET").unwrap_or_default();
    if !target.starts_with("x86_64") || !target.contains("linux") {
        return Err(format!("it runs on x86-64 Linux, this is {target}"));
    }
    match Command::new(compiler).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(output.stdout),
        _ => Err(format!("no C++ compiler {compiler:?} (set CXX, or install g++)")),
    }
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// The files of a folder with one of these extensions, sorted; none if there is no such folder.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)))
        .collect();
    found.sort();
    found
}

/// Makes the products that are not up to date, as many at once as cargo allows.
fn make(compiler: &str, jobs: &[Job]) {
    let stale: Vec<&Job> = jobs
        .iter()
        .filter(|job| {
            let key = fs::read_to_string(key_file(job)).unwrap_or_default();
            !job.product.exists() || key != job.key.to_string()
        })
        .collect();
    let workers = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).min(stale.len());
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = stale.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(text) = make_one(compiler, job) {
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn key_file(job: &Job) -> PathBuf {
    let mut name = job.product.clone().into_os_string();
    name.push(".key");
    name.into()
}

fn make_one(compiler: &str, job: &Job) -> Result<(), String> {
    // Programs may be running with the old library: the new one takes its name, not its place.
    let fresh = job.product.with_extension("new");
    let mut command = Command::new(compiler);
    command.args(&job.arguments);
    if let Some(source) = &job.source {
        let source = if job.kernel_file { register_kernels(compiler, job, source)? } else { source.clone() };
        if job.red_zones {
            let assembly = job.product.with_extension("s");
            let mut to_assembly = Command::new(compiler);
            run(to_assembly.args(&job.arguments).arg("-S").arg(&source).arg("-o").arg(&assembly))?;
            let text = fs::read_to_string(&assembly).map_err(|e| e.to_string())?;
            fs::write(&assembly, with_red_zones(&text)).map_err(|e| e.to_string())?;
            command = Command::new(compiler);
            command.arg("-c").arg(&assembly);
        } else {
            command.arg("-c").arg(&source);
        }
    }
    run(command.arg("-o").arg(&fresh))?;
    fs::rename(&fresh, &job.product).map_err(|e| e.to_string())?;
    fs::write(key_file(job), job.key.to_string()).map_err(|e| e.to_string())
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{command:?}\n{messages}"));
    }
    for line in messages.lines() {
        println!("cargo::warning={line}");
    }
    Ok(output.stdout)
}

/// A source that includes the kernels' file and registers each of its kernels.
fn register_kernels(compiler: &str, job: &Job, source: &Path) -> Result<PathBuf, String> {
    let mut scan = Command::new(compiler);
    let text = run(scan.args(&job.arguments).args(["-x", "c++", "-E", "-P", "-w", "-DSTANDIN_SCAN"]).arg(source))?;
    let (fields, checks) = fields(source)?;
    let mut program = format!("#include {source:?}\n{checks}");
    for (name, bounds) in kernels(&String::from_utf8_lossy(&text)) {
        let mut given = format!("\"{name}\"");
        if let Some(fields) = fields.get(&name) {
            program += &format!("static const standin::Argument fields_{name}[] = {{{fields}}};\n");
            given += &format!(", fields_{name}");
        }
        given += &bounds.map(|b| format!(", {b}")).unwrap_or_default();
        program += &format!("static standin::Register<&{name}> register_{name}({given});\n");
    }
    let generated = job.product.with_extension("cpp");
    fs::write(&generated, program).map_err(|e| e.to_string())?;
    Ok(generated)
}

/// The fields of the structs that the kernels of a file take, by kernel, and the checks that the compiler lays them out so.
fn fields(source: &Path) -> Result<(BTreeMap<String, String>, String), String> {
    let read = |path: &Path| {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        // The stand-in's own kernels are of any form.
        Ok::<_, String>(signatures::read(&path.display().to_string(), &text).unwrap_or_default())
    };
    let (shared, mut types) = (read(source)?, Types::default());
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels");
    for header in files(&headers, &["cuh"]) {
        types.add(&read(&header)?);
    }
    types.add(&shared);
    let mut kernels = BTreeMap::new();
    for kernel in &shared.kernels {
        let layout = types.parameters(&source.display().to_string(), kernel).map_err(|e| e.to_string())?;
        let leaf = |leaf: Field| {
            let pointer = matches!(leaf.kind, Kind::Pointer { .. });
            format!("{{\"{}\", 0, {}, {pointer}}}", leaf.name, leaf.offset)
        };
        let leaves = types.leaves(&layout).map_err(|e| e.to_string())?;
        kernels.insert(kernel.name.clone(), leaves.into_iter().map(leaf).collect::<Vec<_>>().join(", "));
    }
    Ok((
        kernels,
        layout::checks(&types, &shared.kernels).map_err(|e| e.to_string())?
            + &layout::value_checks([&shared].into_iter()),
    ))
}

/// Names and launch bounds of the kernels in preprocessed text, where the shim has left `__global__` and `__launch_bounds__`.
fn kernels(text: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for part in text.split("__global__").skip(1) {
        let mut rest = part.trim_start();
        let mut bounds = None;
        loop {
            if let Some(after) = rest.strip_prefix("void") {
                rest = after.trim_start();
            } else if let Some(after) = rest.strip_prefix("__launch_bounds__") {
                let after = after.trim_start();
                let mut depth = 0;
                let end = after.find(|c| {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    depth == 0
                });
                let end = end.expect("__launch_bounds__ without its end");
                bounds = Some(after[1..end].to_string());
                rest = after[end + 1..].trim_start();
            } else {
                break;
            }
        }
        let name = rest.split('(').next().unwrap_or_default().trim();
        // A kernel that a macro makes is announced by a prototype, which may have no bounds.
        match found.iter_mut().find(|(known, _): &&mut (String, Option<String>)| known == name) {
            Some((_, known)) => *known = known.take().or(bounds),
            None => found.push((name.to_string(), bounds)),
        }
    }
    found
}

/// Puts a red zone of 64 bytes after each thread-local array: these are the kernels' shared arrays.
fn with_red_zones(assembly: &str) -> String {
    let mut thread_locals = false;
    let mut text = String::with_capacity(assembly.len());
    for line in assembly.lines() {
        let word = line.trim_start();
        if word.starts_with(".section") {
            thread_locals = word.contains(".tbss");
        } else if [".text", ".data", ".bss"].iter().any(|s| word.starts_with(s)) {
            thread_locals = false;
        }
        match word.strip_prefix(".zero").and_then(|n| n.trim().parse::<u64>().ok()) {
            Some(bytes) if thread_locals => text += &format!("\t.zero\t{}\n", bytes + 64),
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}
