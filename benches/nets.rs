//! Whole training steps and inference with heatmaps: `cargo bench --bench nets [-- FILTER]`. Criterion's `elem/s` is images/s.
//!
//! On a GPU timed with CUDA events, as one replayed graph on a batch that stays in device memory, with the caches as the previous run left
//! them. `fcdd bench` also times training with drawn batches, and inference with cold caches.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcdd::device::Device;
use fcdd::named::Named;
use fcdd::run::bench::{BenchOptions, BenchTask, HYPER, Work, prepared, whole};

use support::{Clock, device, dtypes};

fn nets(criterion: &mut Criterion<Clock>) {
    let on_gpu = matches!(device(), Device::Cuda(_));
    for name in ["FCDD_CNN28", "FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"] {
        let mut group = criterion.benchmark_group(name);
        for (&dtype, task) in dtypes().iter().flat_map(|dtype| [(dtype, BenchTask::Train), (dtype, BenchTask::Infer)]) {
            let net = name.to_string();
            let options = BenchOptions { net, task, batch: None, side: None, dtype, repeats: 0, exact: false, on_gpu };
            let batch = Work::count(&options).unwrap().batch;
            group.throughput(Throughput::Elements(batch as u64));
            let mut network = None;
            group.bench_function(format!("{} {} {}", device().name(), dtype.word(), task.word()), |bencher| {
                let network = network.get_or_insert_with(|| prepared(device(), &options).unwrap());
                if on_gpu {
                    let steps = whole(network, task).unwrap();
                    let timed = network.captured(&steps, &HYPER, |_, graph| {
                        bencher.iter(|| graph.launch().unwrap());
                        Ok(())
                    });
                    timed.unwrap();
                } else {
                    bencher.iter(|| task.run(network, batch, &HYPER).unwrap());
                }
            });
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = support::criterion(); targets = nets }
criterion_main!(benches);
