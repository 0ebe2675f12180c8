//! Compares the CUDA back end with the CPU: kernels, networks and batches. The tests run on a GPU if one is found, else in the CPU stand-in
//! of the driver; `FCDD_TEST_DEVICE` (`gpu`, `standin`, `checked`) chooses. `primitives` tests each instruction that the kernels write as PTX
//! by itself, against NVIDIA's manual: if something fails on a GPU, run these first.

#[path = "../numerics/company.rs"]
mod company;
#[path = "../numerics/support.rs"]
#[allow(dead_code)] // tests/numerics uses all of it
mod numbers;
#[path = "../numerics/resnet.rs"]
mod resnet;
mod support;

mod baselines;
mod conv;
mod data;
mod epoch;
mod joins;
mod kernels;
mod misuse;
mod network;
mod own_noise;
mod planted;
mod primitives;
mod steps;
mod switches;
mod tensor;
mod tiles;
