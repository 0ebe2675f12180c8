//! One home per step kind: its definition and geometry, its CPU form, and the plain operations it composes.
//!
//! | step | file |
//! | --- | --- |
//! | `conv_fprop`, `conv_dgrad`, `conv_wgrad` | [`conv`] |
//! | `norm_stats` | [`norm`] |
//! | `norm_act_pool`, `norm_act_pool_backward` | [`norm_act_pool`], fusing [`norm`], [`activation`] and [`pool`] |
//! | `pseudo_huber`, `label_loss`, `map_loss`, `pseudo_huber_backward` | [`fcdd_loss`] |
//! | `upsample`, `upsample_adjoint` | [`upsample`] |
//! | `sgd`, `adam` | [`optimizer`] |
//!
//! [`lcn`] and [`blur`] are operations of the data path.

pub mod activation;
pub mod blur;
pub mod conv;
pub mod fcdd_loss;
pub mod lcn;
pub mod norm;
pub mod norm_act_pool;
pub mod optimizer;
pub mod pool;
pub mod upsample;
