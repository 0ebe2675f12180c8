//! The widest vector instructions that this processor has, for loops that the compiler vectorises.

pub(crate) use pulp::NullaryFnOnce;

/// Runs `f` compiled for AVX-512 or AVX2 where the processor has them. What `f` calls must be inlined into it (`#[inline(always)]`)
/// to take part, and so must `f` itself: a closure only is where it is short, what is long is a type of its own that implements
/// [`NullaryFnOnce`]. The bits do not depend on the instructions: nothing is fused or reordered.
#[inline(always)]
pub(crate) fn vectorised<F: NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}
