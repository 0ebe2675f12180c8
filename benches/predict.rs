//! Latency of scoring one image from its file: decoding, resizing, normalising, inference and heatmap. On the GPU where there is one, else
//! on the CPU.
//!
//! `cargo bench --bench predict`; `fcdd bench --task predict` gives p50 and p99.

use criterion::{Criterion, criterion_group, criterion_main};
use fcdd::device::{DeviceChoice, choose};
use fcdd::run::bench::Latency;

fn predict(criterion: &mut Criterion) {
    let (device, _) = choose(DeviceChoice::Auto).unwrap();
    let mut group = criterion.benchmark_group("predict");
    group.sample_size(10);
    for name in ["FCDD_CNN32_LW3K", "FCDD_CNN224", "FCDD_CNN224_VGG_F"] {
        let mut latency = Latency::new(&device, name).unwrap();
        group.bench_function(name, |bencher| bencher.iter(|| latency.score(|_, _| Ok(())).unwrap()));
    }
    group.finish();
}

// Without plots, which would need a font.
criterion_group! { name = benches; config = Criterion::default().without_plots(); targets = predict }
criterion_main!(benches);
