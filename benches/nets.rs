//! On the GPU where there is one, else on the CPU: whole training steps and inference with heatmaps: `cargo bench --bench nets [-- FILTER]`. Criterion's `elem/s` is images/s.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fcdd::device::{Choice, choose};
use fcdd::engine::Hyper;
use fcdd::run::bench::{Task, network};

fn nets(criterion: &mut Criterion) {
    let (device, _) = choose(Choice::Auto).unwrap();
    for (name, batch) in [("FCDD_CNN28_W", 128), ("FCDD_CNN32_LW3K", 200), ("FCDD_CNN224_VGG_F", 16)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Elements(batch as u64));
        for (label, task) in [("train", Task::Train), ("infer", Task::Infer)] {
            let mut network = network(&device, name, task, batch, None).unwrap();
            let mut step = 0;
            group.bench_function(label, |bencher| {
                bencher.iter(|| {
                    step += 1;
                    let hyper = Hyper { lr: 1e-3, weight_decay: 1e-6, step, norm_momentum: 0.1 };
                    task.run(&mut network, batch, &hyper).unwrap();
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, nets);
criterion_main!(benches);
