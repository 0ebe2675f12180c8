//! FCDD: Fully Convolutional Data Description (Liznerski et al., ICLR 2021) as a hand-written kernel engine.

pub mod data;
pub mod rng;
