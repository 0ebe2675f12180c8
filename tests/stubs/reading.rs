//! Sources as people write them, good and bad.

use crate::signatures::{Error, Kernel, Passed, kernels};

fn read(source: &str) -> Vec<Kernel> {
    kernels("kernels/a.cu", source, &[]).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(source: &str) -> Error {
    match kernels("kernels/a.cu", source, &[]) {
        Ok(kernels) => panic!("read as {kernels:?}"),
        Err(error) => error,
    }
}

/// Signatures with their launch bounds.
fn signatures(source: &str) -> Vec<(String, Option<u32>)> {
    read(source).into_iter().map(|k| (k.signature(), k.max_threads)).collect()
}

fn max_threads(source: &str) -> Option<u32> {
    read(source)[0].max_threads
}

/// Asserts that a parameter is refused in line 2 with these words.
fn refuses(parameter: &str, words: &str) {
    let error = refused(&format!("extern \"C\" __global__ void k(float* x,\n  {parameter}) {{}}"));
    assert_eq!(error.line, 2, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn spacing_and_comments_do_not_matter() {
    let plain =
        signatures(r#"extern "C" __global__ void __launch_bounds__(128) k(const float* x, float* y, int n) {}"#);
    assert_eq!(plain, [("k(const float* x, float* y, int n)".into(), Some(128))]);
    let odd = r#"
        // extern "C" __global__ void gone(float* x) {}
        /* extern "C" __global__ void gone(float* x) {} */
        extern/**/"C"
        __global__    void
        __launch_bounds__ ( /* threads */ 128 )
        k ( const   float*__restrict__  x , // what is read, (or not)
            float  * __restrict__ y,int/* elements */n
        )
        { const char* text = "extern \"C\" __global__ void gone(float* x) {}"; char c = '"'; }
    "#;
    assert_eq!(signatures(odd), plain);
    assert_eq!(signatures(&odd.replace('\n', "\r\n")), plain);
    assert_eq!(read(odd)[0].line, 7);
}

#[test]
fn text_in_strings_and_macros_is_no_kernel() {
    let source = r##"
        #define KERNEL(T) \
          extern "C" __global__ void made_##T(float* x) { body<T>(x); }
        const char* raw = R"x(extern "C" __global__ void gone(bool x) {} )" )x";
        extern "C" __global__ void only(int n) { asm volatile("mov.u32 %0, %1; // \"" : "=r"(n) : "r"(1'000)); }
    "##;
    assert_eq!(signatures(source), [("only(int n)".into(), None)]);
}

#[test]
fn prototypes_list_what_a_macro_makes() {
    let source = r#"
        extern "C" __global__ void __launch_bounds__(16 * 16) matmul_16(const float* a, float* c, int n);
        extern "C" __global__ void __launch_bounds__(32 * 32) matmul_32(const float* a, float* c, int n);
        #define MATMUL(T) extern "C" __global__ void __launch_bounds__(T * T) matmul_##T(const float* a, float* c, int n) {}
        MATMUL(16)
        MATMUL(32)
    "#;
    let parameters = "(const float* a, float* c, int n)";
    let expected = [(format!("matmul_16{parameters}"), Some(256)), (format!("matmul_32{parameters}"), Some(1024))];
    assert_eq!(signatures(source), expected);
}

#[test]
fn prototype_and_definition_count_once() {
    let prototype = r#"extern "C" __global__ void k(const float* x, unsigned n);"#;
    let definition =
        r#"extern "C" __global__ void __launch_bounds__(64) k(const float* __restrict__ x, unsigned n) {}"#;
    for source in [format!("{prototype}\n{definition}"), format!("{definition}\n{prototype}")] {
        assert_eq!(signatures(&source), [("k(const float* x, unsigned n)".into(), Some(64))]);
    }
    let other = definition.replace("unsigned n", "int n");
    let error = refused(&format!("{prototype}\n{other}"));
    assert_eq!((error.line, error.message.contains("differs from what line 1 declares")), (2, true), "{error}");
    let error = refused(&format!("{definition}\n\n{definition}"));
    assert_eq!((error.line, error.message.contains("defined in line 1 already")), (3, true), "{error}");
}

#[test]
fn types_and_qualifiers() {
    let source = r#"extern "C" __global__ void k(float const* a, const double *const __restrict__ b, unsigned int* c, uint32_t d,
        const int e, std::uint8_t* f, signed char g, unsigned short h, int64_t* i, unsigned long long j, const __nv_bfloat16* l,
        const unsigned char* __restrict m, bf16* o, const __grid_constant__ CUtensorMap p);"#;
    let read: Vec<_> = read(source)[0].parameters.iter().map(|p| (p.name.clone(), p.rust_type, p.passed)).collect();
    let expected = [
        ("a", "f32", Passed::Pointer),
        ("b", "f64", Passed::Pointer),
        ("c", "u32", Passed::PointerMut),
        ("d", "u32", Passed::Value),
        ("e", "i32", Passed::Value),
        ("f", "u8", Passed::PointerMut),
        ("g", "i8", Passed::Value),
        ("h", "u16", Passed::Value),
        ("i", "i64", Passed::PointerMut),
        ("j", "u64", Passed::Value),
        ("l", "half::bf16", Passed::Pointer),
        ("m", "u8", Passed::Pointer),
        ("o", "half::bf16", Passed::PointerMut),
        ("p", "TensorMap<'_>", Passed::Value),
    ];
    assert_eq!(read, expected.map(|(name, rust_type, passed)| (name.to_string(), rust_type, passed)));
    for empty in ["", "void"] {
        assert_eq!(signatures(&format!("extern \"C\" __global__ void k({empty}) {{}}")), [("k()".into(), None)]);
    }
}

#[test]
fn launch_bounds_are_evaluated_where_they_can_be() {
    let bounds = |before: &str, bounds: &str| {
        max_threads(&format!("{before}\nextern \"C\" __global__ void __launch_bounds__({bounds}) k(int n) {{}}"))
    };
    assert_eq!(bounds("", "256"), Some(256));
    assert_eq!(bounds("", "0x80u"), Some(128));
    assert_eq!(bounds("", "1'024"), Some(1024));
    assert_eq!(bounds("", "128, 4"), Some(128));
    assert_eq!(bounds("", "(32 << 1) * (1 + 3) / 2 - 64 % 48"), Some(112));
    assert_eq!(bounds("#define THREADS (4*32) // four warps\n# define BLOCKS 2", "THREADS, BLOCKS"), Some(128));
    assert_eq!(bounds("constexpr int WARPS = 4, THREADS = 32 * WARPS;", "THREADS"), Some(128));
    assert_eq!(bounds("static constexpr unsigned int THREADS = 32;", "THREADS"), Some(32));
    assert_eq!(bounds("static const int THREADS = 32;", "THREADS"), Some(32));
    // Unknown, or with several values.
    assert_eq!(bounds("", "THREADS"), None);
    assert_eq!(bounds("", "sizeof(int)"), None);
    assert_eq!(bounds("constexpr int THREADS = pick(1, 2);", "THREADS"), None);
    assert_eq!(bounds("#define THREADS 64\n#if A\n#define THREADS 32\n#endif", "THREADS"), None);
    assert_eq!(bounds("", "1 / 0"), None);
    // Either order of void and the bounds.
    assert_eq!(max_threads("extern \"C\" __global__ __launch_bounds__(64) void k() {}"), Some(64));
    assert_eq!(max_threads("extern \"C\" __global__ void k() {}"), None);
    let headers = ["#pragma once\nconstexpr int THREADS = 96;".to_string()];
    let source = "extern \"C\" __global__ void __launch_bounds__(THREADS) k() {}";
    assert_eq!(kernels("a.cu", source, &headers).unwrap()[0].max_threads, Some(96));
}

#[test]
fn parameters_that_cannot_be_passed_are_refused() {
    refuses("bool flag", "pass an int or unsigned char");
    refuses("const bool* flags", "type `bool` of `flags`");
    refuses("float* y[4]", "is an array: write a pointer");
    refuses("float y[]", "is an array: write a pointer");
    refuses("float** y", "points to pointers: pass one buffer and offsets");
    refuses("float* const* y", "points to pointers");
    refuses("float& y", "is a reference");
    refuses("int n = 3", "has a default");
    refuses("float4* y", "take float* and cast inside");
    refuses("Shape shape", "write one of float, double, ");
    refuses("const Shape* shape", "type `Shape` of `shape`");
    refuses("long n", "write long long");
    refuses("size_t n", "write unsigned long long");
    refuses("void* y", "write the element's type");
    refuses("char c", "write signed char or unsigned char");
    refuses("float", "has no name");
    refuses("const float*", "has no name");
    refuses("unsigned int", "has no name");
    refuses("void (*f)(int)", "cannot read the parameter");
    refuses("volatile float* y", "type `volatile float`");
    refuses("CUtensorMap map", "write const __grid_constant__ CUtensorMap map");
    refuses("const CUtensorMap* map", "write const __grid_constant__ CUtensorMap map");
    refuses("int x", "two parameters are called x");
}

#[test]
fn kernels_that_cannot_be_read_are_refused() {
    let refuses = |source: &str, line: usize, words: &str| {
        let error = refused(source);
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().starts_with(&format!("kernels/a.cu:{line}: ")), "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    refuses("\n\n__global__ void k(int n) {}", 3, "extern \"C\"");
    refuses("template <int T>\n__global__ void k(int n) {}", 2, "__device__ function");
    refuses("extern \"C\" {\n__global__ void k(int n) {}\n}", 2, "extern \"C\"");
    refuses("extern \"C\" __global__ int k(int n) {}", 1, "cannot read this kernel at `int`");
    refuses("extern \"C\" __global__ void NAME(k)(int n) {}", 1, "");
    refuses("extern \"C\" __global__ void k(int n)\n__launch_bounds__(32) {}", 2, "write a body or a semicolon");
    refuses("extern \"C\" __global__ void k(int n", 1, "a bracket was expected here, and closed");
    refuses("extern \"C\" __global__ void", 1, "the end of the file");
    refuses("int a;\n/* never closed", 2, "comment has no end");
}
