//! Build script. The kernels in `kernels/` are compiled here once a CUDA back end reads them; until then it only records what
//! was built, for `fcdd info`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    let profile = std::env::var("PROFILE").unwrap_or_default();
    println!("cargo:rustc-env=FCDD_BUILD=fcdd {} for {target} ({profile})", env!("CARGO_PKG_VERSION"));
}
