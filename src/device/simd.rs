//! The widest vector instructions that this processor has, for loops that the compiler vectorises.

/// Runs `f` compiled for AVX-512 or AVX2 where the processor has them. What `f` calls must be inlined into it (`#[inline(always)]`)
/// to take part. The bits do not depend on the instructions: nothing is fused or reordered.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
