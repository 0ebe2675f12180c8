//! Latency of scoring one image from its file, in f32: decoding, resizing, normalising, inference and heatmap.
//!
//! `cargo bench --bench predict`; `fcdd bench --task predict` gives p50 and p99. On a GPU timed with CUDA events; it idles while the CPU
//! decodes, and they count that time too.

#[expect(dead_code, reason = "f32 alone is timed, without a choice of types")]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use fcdd::run::bench::Latency;

use support::{Clock, device};

fn predict(criterion: &mut Criterion<Clock>) {
    let mut group = criterion.benchmark_group("predict");
    for name in ["FCDD_CNN32_LW3K", "FCDD_CNN224", "FCDD_CNN224_VGG_F"] {
        let mut latency = Latency::new(device(), name).unwrap();
        group.bench_function(format!("{name}/{} f32", device().name()), |bencher| {
            bencher.iter(|| latency.score(|_, _| Ok(())).unwrap());
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = predict }
criterion_main!(benches);
