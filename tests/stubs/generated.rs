//! The generated functions compile against types like the device's and hand their arguments over in order.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use crate::signatures::{self, kernels};
use crate::stubs::{self, Compiled, Source, stubs};

/// Stands for the device's types of the same names.
pub struct Image {
    pub file: &'static str,
    pub code: &'static [u8],
}

pub struct Kernel {
    pub image: usize,
    pub name: &'static str,
    pub max_threads: Option<u32>,
}

#[derive(Clone, Copy)]
pub struct Pointer<T>(u64, PhantomData<T>);
#[derive(Clone, Copy)]
pub struct PointerMut<T>(u64, PhantomData<T>);
#[derive(Clone, Copy)]
pub struct TensorMap<'a>(&'a str);
type Result<T> = std::result::Result<T, String>;

/// Notes which kernel is run and the arguments' types.
#[derive(Clone, Copy)]
pub struct Launch<'a>(&'a RefCell<Vec<(usize, Vec<String>)>>);

pub trait Argument {
    fn show(&self) -> String;
}

impl<T: Any> Argument for Pointer<T> {
    fn show(&self) -> String {
        format!("const {}* {}", std::any::type_name::<T>(), self.0)
    }
}

impl<T: Any> Argument for PointerMut<T> {
    fn show(&self) -> String {
        format!("{}* {}", std::any::type_name::<T>(), self.0)
    }
}

impl Argument for TensorMap<'_> {
    fn show(&self) -> String {
        format!("map of {}", self.0)
    }
}

macro_rules! values {
    ($($t:ty)*) => {$(
        impl Argument for $t {
            fn show(&self) -> String {
                format!("{} {self}", stringify!($t))
            }
        }
    )*};
}
values!(f32 f64 i8 i32 u32 i64 u64);

impl Launch<'_> {
    pub fn run(self, kernel: usize, arguments: &[&dyn Argument]) -> Result<()> {
        self.0.borrow_mut().push((kernel, arguments.iter().map(|a| a.show()).collect()));
        Ok(())
    }
}

mod expected {
    use super::{Image, Kernel, Launch, Pointer, PointerMut, Result};
    include!("expected.rs");
}

/// The kernels of this build, whatever they are.
#[allow(dead_code, unused_imports)] // it only has to compile: without kernels nothing is imported, and nothing is called here
mod built {
    use super::{Image, Kernel, Launch, Pointer, PointerMut, Result, TensorMap};
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

fn sources() -> Vec<Source> {
    vec![source("kernels/sample.cu", "sample", include_str!("sample.cu"))]
}

fn source(path: &str, stem: &str, text: &str) -> Source {
    Source { path: path.into(), stem: stem.into(), kernels: kernels(path, text, &[]).unwrap() }
}

#[test]
fn functions_are_as_expected() {
    let text = stubs(&sources(), None).unwrap();
    assert_eq!(text, include_str!("expected.rs"));
}

#[test]
fn functions_pass_their_arguments_in_order() {
    let calls = RefCell::default();
    let launch = Launch(&calls);
    let types = (PointerMut(1, PhantomData), Pointer(2, PhantomData));
    expected::sample::sgd(launch, types.0, types.1, 0.5, 7).unwrap();
    expected::sample::pack(launch, Pointer(3, PhantomData), PointerMut(4, PhantomData), 5, 6, 7.5, -8, -9).unwrap();
    expected::sample::fence(launch).unwrap();
    let wanted = [
        (0, "f32* 1, const f32* 2, f32 0.5, i32 7"),
        (1, "const half::bfloat::bf16* 3, u8* 4, u32 5, u64 6, f64 7.5, i64 -8, i8 -9"),
        (2, ""),
    ];
    let calls: Vec<_> =
        calls.into_inner().into_iter().map(|(kernel, arguments)| (kernel, arguments.join(", "))).collect();
    assert_eq!(calls, wanted.map(|(kernel, arguments)| (kernel, arguments.to_string())));
    let table: Vec<_> =
        expected::KERNELS.iter().map(|k| (expected::IMAGES[k.image].file, k.name, k.max_threads)).collect();
    assert_eq!(table, [("sample", "sgd", Some(256)), ("sample", "pack", Some(64)), ("sample", "fence", None)]);
    assert!(expected::NVCC.is_none() && expected::ARCHITECTURES.is_empty() && expected::IMAGES[0].code.is_empty());
}

#[test]
fn constants_are_exported_with_the_values_that_the_text_gives_them() {
    let text = "enum Way { NONE, SOME = 4, MORE, };\nenum class Apart { INSIDE };\nconstexpr int ROW = 2 * SOME;\n\
                constexpr unsigned WIDE = 0xFFFFFFFFu;\nconst int TWICE = 1; const int TWICE = 2; const int small = 3;\n";
    let found = signatures::constants("kernels/a.cuh", text).unwrap();
    let module = stubs::constants(&BTreeMap::from([("a".into(), found), ("b".into(), BTreeMap::new())]));
    let lines: Vec<_> = module.lines().map(str::trim).filter(|line| line.starts_with("pub")).collect();
    // No scoped enumerators, nothing ambiguous, nothing that an i32 cannot hold.
    let constants =
        ["MORE: i32 = 5;", "NONE: i32 = 0;", "ROW: i32 = 8;", "SOME: i32 = 4;"].map(|c| format!("pub const {c}"));
    assert_eq!(lines[..2], ["pub mod constants {", "pub mod a {"]);
    assert_eq!(lines[2..], constants);
}

#[test]
fn compiled_images_are_embedded() {
    let architectures = ["sm_75", "compute_75"].map(String::from).into();
    let text = stubs(&sources(), Some(&Compiled { version: "13.0.88".into(), architectures })).unwrap();
    for line in [
        "pub static NVCC: Option<&str> = Some(\"13.0.88\");",
        "pub static ARCHITECTURES: &[&str] = &[\"sm_75\", \"compute_75\"];",
        "    Image { file: \"sample\", code: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/sample.fatbin\")) },",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn this_build_is_consistent() {
    assert!(built::KERNELS.iter().all(|k| k.image < built::IMAGES.len()));
    assert_eq!(built::NVCC.is_some(), !built::ARCHITECTURES.is_empty());
    for image in built::IMAGES {
        assert_eq!(image.code.is_empty(), built::NVCC.is_none(), "{}", image.file);
    }
}

#[test]
fn names_that_clash_are_refused() {
    let kernel = "extern \"C\" __global__ void k(int n) {}";
    let two = [source("kernels/a.cu", "a", kernel), source("kernels/b.cu", "b", &format!("\n{kernel}"))];
    let error = stubs(&two, None).unwrap_err().to_string();
    assert_eq!(error, "kernels/b.cu:2: kernel k is in kernels/a.cu:1 too: write another name");
    let launch = source("kernels/a.cu", "a", "extern \"C\" __global__ void k(int launch) {}");
    assert!(stubs(&[launch], None).unwrap_err().message.contains("write another name"));
    for stem in ["two-words", "2d", "Upper", ""] {
        let error = stubs(&[source("kernels/a.cu", stem, kernel)], None).unwrap_err();
        assert!(error.message.contains("becomes a module's"), "{error}");
    }
}

/// Integers in capitals that the text tells by itself; what depends on a macro of the compiler, and other names, are left out.
#[test]
fn constants_reach_rust_by_their_file() {
    let text = "constexpr int SIZE = 8; constexpr int LARGE = 2 * SIZE; constexpr int small = 3; constexpr int OTHER = UNKNOWN;";
    let found = crate::signatures::constants("kernels/x.cuh", text).unwrap();
    assert_eq!(found, BTreeMap::from([("LARGE".to_string(), 16), ("SIZE".to_string(), 8)]));
    let files = BTreeMap::from([("x".to_string(), found), ("none".to_string(), BTreeMap::new())]);
    let module = crate::stubs::constants(&files);
    assert!(module.contains("pub mod constants {\n    pub mod x {\n        pub const LARGE: i32 = 16;\n"), "{module}");
    assert!(!module.contains("none"), "{module}");
}
