//! Sources as people write them, good and bad.

use std::collections::BTreeMap;

use crate::layout::{Kind, Layout, Types, checks, value_checks};
use crate::signatures::{Error, Named, Shared, read};

fn shared(source: &str) -> Shared {
    read("kernels/a.cu", source).unwrap_or_else(|e| panic!("{e}"))
}

/// The layout of the parameters of the first kernel of a source.
fn layout(source: &str) -> Result<Layout, Error> {
    let shared = read("kernels/a.cu", source)?;
    let mut types = Types::default();
    types.add(&shared);
    types.parameters("kernels/a.cu", &shared.kernels[0])
}

/// The layout of a struct of these fields.
fn fields(body: &str) -> Result<Layout, Error> {
    layout(&format!("struct P {{\n  float* x;\n  {body}\n}};\nKERNEL(k, P, (32), f)"))
}

#[test]
fn spacing_comments_and_strings_do_not_matter() {
    let plain = shared("KERNEL(k, P<float>, (128, 3), f<float, 4>)\nconstexpr int A = 5;\nenum class E { X };");
    let odd = r##"
        // KERNEL(gone, P, (1), f)
        /* KERNEL(gone, P, (1), f) */ #define KERNEL(NAME) \
          extern "C" __global__ void NAME()
        const char* text = "KERNEL(gone, P, (1), \" f)"; char c = '"';
        #if A
        KERNEL ( k , /* its parameters */ P < float > , ( 128,
          3 ) , f< float , 4 > )  constexpr  int A=5 ;
        enum   class E { X , };
    "##;
    for odd in
        [odd.replace("*/ #define", "*/\n#define"), odd.replace("*/ #define", "*/\n#define").replace('\n', "\r\n")]
    {
        let odd = shared(&odd);
        assert_eq!((odd.kernels[0].line, odd.kernels.len()), (8, 1));
        assert_eq!(
            (&odd.kernels[0].name, &odd.kernels[0].parameters),
            (&plain.kernels[0].name, &plain.kernels[0].parameters)
        );
        assert_eq!((odd.constants, odd.enums), (plain.constants.clone(), plain.enums.clone()));
    }
    let parameters = Named { name: "P".into(), of: Some("float".into()) };
    assert_eq!((&*plain.kernels[0].name, &plain.kernels[0].parameters), ("k", &parameters));
}

#[test]
fn structs_are_laid_out_as_in_c() {
    let text = "enum class Way { A, B };
        struct Inner { short s; long long l; unsigned char b; };
        template <class T> struct P {
          const T *x; T *y, *z;            // what is read, and written
          unsigned short a; float f; Inner inner; Way way; unsigned int_ ; signed char c; CUtensorMap map; bf16 last;
        };
        KERNEL(k, const __grid_constant__ P<bf16>, (32), f)";
    let Layout { size, align, fields } = layout(text).unwrap();
    let at: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.offset)).collect();
    let wanted = [
        ("x", 0),
        ("y", 8),
        ("z", 16),
        ("a", 24),
        ("f", 28),
        ("inner", 32),
        ("way", 56),
        ("int_", 60),
        ("c", 64),
        ("map", 128),
        ("last", 256),
    ]; // fmt: skip
    assert_eq!((at, size, align), (wanted.to_vec(), 384, 128));
    assert_eq!(fields[0].kind, Kind::Pointer { to: "T".into(), read: true });
    assert_eq!(fields[1].kind, Kind::Pointer { to: "T".into(), read: false });
    assert_eq!(fields[6].kind, Kind::Enum("Way".into()));
    let mut types = Types::default();
    types.add(&shared(text));
    let leaves = types.leaves(&Layout { size, align, fields }).unwrap();
    let inner: Vec<_> = leaves.iter().skip(5).take(3).map(|leaf| (leaf.name.as_str(), leaf.offset)).collect();
    assert_eq!(inner, [("s", 32), ("l", 40), ("b", 48)]);
    let checks = checks(&types, &shared(text).kernels).unwrap();
    let lines: Vec<_> = checks.lines().collect();
    assert!(
        lines[0].starts_with("static_assert(sizeof(Inner) == 24 && alignof(Inner) == 8 && offsetof(Inner, s) == 0")
    );
    assert!(lines[1].contains("sizeof(P<bf16>) == 384 && alignof(P<bf16>) == 128") && lines.len() == 2, "{checks}");
    assert!(lines[1].contains(" && offsetof(P<bf16>, map) == 128"), "{checks}");
}

#[test]
fn constants_are_numbers_in_capitals() {
    let text = "enum Way { NONE, SOME = 4, MORE, };\nenum class Apart { INSIDE };\nconstexpr int ROW = 8, OTHER = 2 * SOME;\n\
                constexpr unsigned WIDE = 0xFFu;\nconst int TWICE = 1; constexpr int small = 3; constexpr int LONG = 1'024;\n\
                constexpr int NEGATIVE = -2; static constexpr int T = BM / TM; constexpr float TINY = 1e-31f;\n\
                constexpr int EIGHTS = 0400, BITS = 0b101, ZERO = 0; namespace { constexpr int HERE = 7; }\n\
                struct S { static constexpr int INNER = 1; enum { WITHIN }; }; void f() { constexpr int ROW = 9; }";
    let wanted = [
        ("BITS", 5),
        ("EIGHTS", 256),
        ("HERE", 7),
        ("LONG", 1024),
        ("MORE", 5),
        ("NEGATIVE", -2),
        ("NONE", 0),
        ("ROW", 8),
        ("SOME", 4),
        ("WIDE", 255),
        ("ZERO", 0),
    ]; // fmt: skip
    assert_eq!(shared(text).constants, BTreeMap::from(wanted.map(|(name, value)| (name.to_string(), value))));
    assert_eq!(shared(text).enums[0].values, [("INSIDE".to_string(), 0)]);
    let checks = value_checks([&shared("constexpr int EIGHTS = 0400; enum class Way { NONE, SOME = 4 };")].into_iter());
    assert_eq!(checks.lines().next(), Some("static_assert(EIGHTS == 256, \"EIGHTS is read as 256 in Rust\");"));
    assert!(
        checks.contains("static_assert(static_cast<int>(Way::SOME) == 4,") && checks.lines().count() == 3,
        "{checks}"
    );
}

#[test]
fn a_constant_that_is_there_twice_is_an_error() {
    let text = "#if WIDE\nconstexpr int ROW = 8;\n#else\nconstexpr int ROW = 4;\n#endif";
    let error = read("kernels/a.cu", text).unwrap_err();
    assert_eq!((error.line, error.message.contains("ROW is there twice")), (4, true), "{error}");
    assert!(read("kernels/a.cu", "constexpr int A = 1; enum { A };").is_err());
}

#[test]
fn fields_that_cannot_be_passed_are_refused() {
    let refuses = |body: &str, words: &str| {
        let error = fields(body).unwrap_err();
        assert_eq!(error.line, 3, "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    for body in [
        "bool flag;",
        "char c;",
        "long n;",
        "size_t n;",
        "void* y;",
        "float4* y;",
        "float y[4];",
        "float** y;",
        "float& y;",
        "int n = 3;",
        "float* __restrict__ y;",
        "const int n;",
        "Shape shape;",
        "const Shape* shape;",
        "T* y;",
        "float;",
        "volatile float* y;",
        "int f() const { return 0; }",
        "std::uint8_t y;",
    ]
    /* fmt: skip */
    {
        refuses(body, "of struct P, which a kernel takes: write `type name;` with one of float, double,");
    }
    refuses("int x;", "two fields are called x");
}

#[test]
fn kernels_that_cannot_be_read_are_refused() {
    let refuses = |source: &str, line: usize, words: &str| {
        let error = layout(source).unwrap_err();
        assert!(error.to_string().starts_with(&format!("kernels/a.cu:{line}: ")), "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    refuses("\n\n__global__ void k(int n) {}", 3, "write KERNEL(");
    refuses("KERNEL(k, P)", 1, "write KERNEL(name, Parameters, (threads, blocks), function)");
    refuses("KERNEL(k, P, 32, f)", 1, "write KERNEL(");
    refuses("KERNEL(k, float*, (32), f)", 1, "write KERNEL(");
    refuses("KERNEL(k, P, (32), f", 1, "write KERNEL(");
    refuses("KERNEL(k, P, (32), f)", 1, "there is no struct P");
    refuses("struct P { int n; };\nstruct P { int m; };\nKERNEL(k, P, (32), f)", 3, "needs a name of its own");
    refuses(
        "struct P { CUtensorMap m; };\nKERNEL(k, P, (32), f)",
        2,
        "write const __grid_constant__ P, since it has a tensor map",
    );
    refuses(
        "struct P { int n; };\nKERNEL(k, const __grid_constant__ P, (32), f)",
        2,
        "write P, since it has no tensor map",
    );
    refuses("int a;\n/* never closed", 2, "comment has no end");
    refuses("enum class E { A = B };", 1, "write enum class Name");
}
