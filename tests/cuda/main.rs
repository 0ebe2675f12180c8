//! The CUDA back end against the CPU: kernels, networks and batches. On a GPU where one is found, else in the CPU stand-in of the
//! driver; `FCDD_TEST_DEVICE` (`gpu`, `standin`, `checked`) chooses.

#[path = "../numerics/support.rs"]
#[allow(dead_code)] // the numerics use all of it
mod numbers;
mod support;

mod baselines;
mod conv;
mod data;
mod epoch;
mod kernels;
mod network;
mod planted;
mod steps;
mod switches;
mod tensor;
