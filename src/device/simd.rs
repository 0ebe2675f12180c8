//! The widest vector instructions that this processor has, for loops that the compiler vectorises.

pub(crate) use pulp::NullaryFnOnce;

/// Runs `f` compiled for AVX-512 or AVX2 where the processor has them. What `f` calls must be inlined into it (`#[inline(always)]`)
/// to take part, and so must `f` itself: a closure only is where it is short, what is long is a type of its own that implements
/// [`NullaryFnOnce`]. The bits do not depend on the instructions: nothing is fused or reordered.
#[inline(always)]
pub(crate) fn vectorised<F: NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}

/// Asks the processor to bring numbers into its cache that will be read soon: their order of reading is not one that it foresees.
#[inline(always)]
pub(crate) fn prefetch<T>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of an element; what it holds is not read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}
