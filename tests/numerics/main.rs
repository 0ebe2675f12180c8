//! Numerics of every step and of whole nets: the fast forms against the formulas, finite differences, adjoint identities, and the
//! same bits for any number of threads. A file is named as the home in `src/steps` of what it is about;
//! those of several steps as what they have in common.

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
