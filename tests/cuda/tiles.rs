//! Every candidate tile of a bf16 convolution gives the results of the chosen one.

use fcdd::device::{DType, View};
use fcdd::engine::lower::{Optimizer, PlanOptions, TrainingOptions, lower};
use fcdd::model::nets;
use fcdd::rng::{Purpose, Stream};
use fcdd::settings::ImageScore;
use fcdd::steps::hsc_loss::Gradient;

use crate::support::on_device;

#[test]
fn every_candidate_gives_what_the_chosen_one_gives() {
    on_device(|gpu| {
        let cuda = gpu.cuda();
        if !cuda.has_bf16().unwrap() {
            return;
        }
        // A net with narrow and packed layers, and one with layers for which WGMMA is a candidate.
        let nets = [("FCDD_CNN28", 12), ("FCDD_CNN32_LW3K", 8)];
        let mut compared = std::collections::BTreeSet::new();
        for (net, side) in nets.into_iter().take(if gpu.is_checked() { 1 } else { 2 }) {
            let arch = nets::by_name(net, true).unwrap();
            let training = Some(TrainingOptions {
                optimizer: Optimizer::Sgd,
                maps: false,
                input_grad: false,
                seed: 0,
                label_score: ImageScore::Mean,
            });
            let (dtype, gradient) = (DType::Bf16, Gradient::Grad);
            let plan =
                lower(&arch, &PlanOptions { batch: 9, side, dtype, sigma: 1.2, gradient, exact: true, training })
                    .unwrap();
            let mut memory = plan.cuda_memory(cuda).unwrap();
            for step in [&plan.forward, &plan.backward].into_iter().flatten() {
                let candidates = step.candidates(cuda);
                if candidates.is_empty() {
                    continue;
                }
                assert_eq!(candidates.iter().filter(|c| c.chosen).count(), 1, "{}", step.describe());
                let most = candidates.iter().map(|c| c.workspace).max().unwrap();
                memory.reserve_workspace(most).unwrap();
                let mut run = |launch: &dyn Fn(&_) -> fcdd::device::cuda::Result<()>| {
                    for (i, (_, view)) in step.reads().reals.into_iter().enumerate() {
                        let mut values = vec![0.0; view.len];
                        Stream::new(0, Purpose::Check, 0, i as u32).fill_normal(&mut values);
                        memory.write(view, &values).unwrap();
                    }
                    launch(&memory).unwrap();
                    let read = |(_, view): (_, View)| {
                        let mut values = vec![0.0; view.len];
                        memory.read(view, &mut values).unwrap();
                        (view.dtype, values)
                    };
                    step.writes().reals.into_iter().map(read).collect::<Vec<_>>()
                };
                let usual = run(&|memory| step.cuda(memory));
                for candidate in &candidates {
                    let what = format!("{net} {} {} {:?}", step.kind(), step.shape(), candidate.tile);
                    for ((dtype, found), (_, usual)) in run(&|memory| candidate.cuda(memory)).into_iter().zip(&usual) {
                        let largest = usual.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                        let apart = found.iter().zip(usual).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                        // Sums of some thousand products in another order; those in bf16 may be rounded the other way.
                        let bound = if dtype == DType::Bf16 { 1.0 / 128.0 } else { 1e-4 };
                        assert!(largest > 0.0 && apart <= bound * largest, "{what}: {apart} of {largest}");
                        assert!(
                            !candidate.chosen || apart == 0.0,
                            "{what} is marked as chosen, but the step uses another tile"
                        );
                    }
                    compared.insert((step.kind(), candidate.tile.product));
                }
            }
        }
        let with_wgmma = cuda.can_wgmma() && !gpu.is_checked();
        for kind in ["conv_fprop", "conv_dgrad", "conv_wgrad"] {
            assert!(compared.contains(&(kind, "mma")), "{compared:?}");
            assert!(!with_wgmma || compared.contains(&(kind, "wgmma")), "{compared:?}");
        }
        assert!(compared.contains(&("conv_fprop", "mma, packed")), "{compared:?}");
    });
}
