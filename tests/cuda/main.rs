//! The CUDA back end against the CPU: kernels, networks and batches. On a GPU where one is found, else in the CPU stand-in of the
//! driver; `FCDD_TEST_DEVICE` (`gpu`, `standin`, `checked`) chooses. `primitives` are the instructions that the kernels write as PTX, each
//! by itself against what NVIDIA's manual says of it: where something is wrong on a GPU, they are to be run first.

#[path = "../numerics/support.rs"]
#[allow(dead_code)] // the numerics use all of it
mod numbers;
mod support;

mod baselines;
mod conv;
mod data;
mod epoch;
mod joins;
mod kernels;
mod network;
mod own_noise;
mod planted;
mod primitives;
mod steps;
mod switches;
mod tensor;
mod tiles;
