//! Numerics of every step and of whole nets: the fast forms against the formulas, finite differences, adjoint identities, and the
//! same bits for any number of threads. One file per step, named as its home in `src/steps`.

mod arrangement;
mod company;
mod conv;
mod fcdd_loss;
mod hsc_loss;
mod joins;
mod network;
mod norm_act_pool;
mod optimizer;
mod random_nets;
mod reconstruction_loss;
mod resnet;
mod support;
mod upsample;

// As the tests of the CUDA back end call it, which share `company` and `resnet`.
use support as numbers;
