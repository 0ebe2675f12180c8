//! The generated code compiles against types like the device's, and hands each kernel its struct.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use crate::layout::Types;
use crate::signatures;
use crate::stubs::{self, Compiled, Source, stubs};

/// Stands for the device's types of the same names.
pub struct Image {
    pub file: &'static str,
    pub code: &'static [u8],
}

pub struct Kernel {
    pub image: usize,
    pub name: &'static str,
}

#[derive(Debug)]
#[repr(transparent)]
pub struct Pointer<'a, T>(u64, PhantomData<&'a T>);
#[derive(Debug)]
#[repr(transparent)]
pub struct PointerMut<'a, T>(u64, PhantomData<&'a T>);
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct TensorMap<'a>([u64; 16], PhantomData<&'a u8>);
impl<T> Clone for Pointer<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Pointer<'_, T> {}
impl<T> Clone for PointerMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for PointerMut<'_, T> {}

type Result<T> = std::result::Result<T, String>;

/// Notes which kernel is run, and the words of its parameters.
#[derive(Clone, Copy)]
pub struct Launch<'a>(&'a RefCell<Vec<(usize, Vec<u32>)>>);

impl Launch<'_> {
    /// # Safety
    /// A struct without padding.
    pub unsafe fn run<P>(self, kernel: usize, parameters: &P) -> Result<()> {
        // SAFETY: the caller's.
        let words = unsafe { std::slice::from_raw_parts((&raw const *parameters).cast(), size_of::<P>() / 4) };
        self.0.borrow_mut().push((kernel, words.to_vec()));
        Ok(())
    }
}

#[allow(dead_code)] // what is not called here only has to compile
mod expected {
    use super::{Image, Kernel, Launch, Pointer, PointerMut, Result, TensorMap};
    include!("expected.rs");
}

/// The kernels of this build, whatever they are.
#[allow(dead_code, unused_imports, clippy::missing_safety_doc)] // it only has to compile
mod built {
    use super::{Image, Kernel, Launch, Pointer, PointerMut, Result, TensorMap};
    include!(concat!(env!("OUT_DIR"), "/purpose.rs"));
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

fn source(path: &str, stem: &str, text: &str) -> (Source, Types) {
    let shared = signatures::read(path, text).unwrap();
    let mut types = Types::default();
    types.add(&shared);
    (Source { path: path.into(), stem: stem.into(), kernels: shared.kernels }, types)
}

/// The generated code of the sample.
fn sample(compiled: Option<&Compiled>) -> String {
    let (source, types) = source("kernels/sample.cu", "sample", include_str!("sample.cu"));
    stubs(&[source], &types, compiled).unwrap() + &stubs::enums(types.enums.iter())
}

#[test]
fn code_is_as_expected() {
    assert_eq!(sample(None), include_str!("expected.rs"));
}

#[test]
fn kernels_are_given_their_structs() {
    let calls = RefCell::default();
    let launch = Launch(&calls);
    let shape = expected::Shape { n: 7, r#type: 8, way: expected::Way::PadCrop };
    let [a, b] = [1, 2].map(|address| Pointer(address, PhantomData));
    let sum = expected::SumParameters::<f32> { a, b, y: PointerMut(3, PhantomData), slope: 1.0, shape, seed: 5 << 32 };
    // SAFETY: neither has padding.
    unsafe {
        expected::sample::sum_f32x4(launch, &sum).unwrap();
        expected::sample::shapes(launch, &shape).unwrap();
    }
    let sum = vec![1, 0, 2, 0, 3, 0, 1f32.to_bits(), 7, 8, 3, 0, 5];
    assert_eq!(calls.into_inner(), [(0, sum), (2, vec![7, 8, 3])]);
    let table: Vec<_> = expected::KERNELS.iter().map(|k| (expected::IMAGES[k.image].file, k.name)).collect();
    assert_eq!(table, ["sum_f32x4", "sum_bf16x8", "shapes", "maps"].map(|name| ("sample", name)));
    assert!(expected::NVCC.is_none() && expected::ARCHITECTURES.is_empty() && expected::IMAGES[0].code.is_empty());
}

#[test]
fn compiled_images_are_embedded() {
    let architectures = ["sm_75", "compute_75"].map(String::from).into();
    let text = sample(Some(&Compiled { version: "13.0.88".into(), architectures }));
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
    let kernel = "struct P { int n; };\nKERNEL(k, P, (32), f)";
    let refused = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files.iter().map(|(path, stem)| source(path, stem, kernel).0).collect();
        stubs(&sources, &source("kernels/a.cu", "a", kernel).1, None).unwrap_err().to_string()
    };
    let error = refused(&[("kernels/a.cu", "a"), ("kernels/b.cu", "b")]);
    assert_eq!(error, "kernels/b.cu:2: kernel k is in kernels/a.cu:2 too: write another name");
    for stem in ["two-words", "2d", "Upper", ""] {
        let error = refused(&[("kernels/a.cu", stem)]);
        assert!(error.contains("becomes a module's"), "{error}");
    }
}

#[test]
fn constants_reach_rust_by_their_file() {
    let found = signatures::read("kernels/x.cuh", "constexpr int SIZE = 8;").unwrap().constants;
    let files = BTreeMap::from([("x".to_string(), found), ("none".to_string(), BTreeMap::new())]);
    let module = stubs::constants(&files);
    assert!(module.contains("pub mod constants {\n    pub mod x {\n        pub const SIZE: i32 = 8;\n"), "{module}");
    assert!(!module.contains("none"), "{module}");
}
