//! The parts that the CPU forms of fprop are cut into, each with scratch space of its own.

/// Tasks per thread: what one thread is late with, another takes over.
const TASKS: usize = 4;

/// Parts that fprop is cut into.
pub(super) fn lanes() -> usize {
    TASKS * rayon::current_num_threads()
}

/// The parts that `scratch` has room for, which may have been laid out for fewer threads than run now.
pub(super) fn lanes_within<T>(scratch: &[T], lane_len: usize) -> usize {
    let room = scratch.len() / lane_len;
    assert!(room > 0, "a workspace of {} elements, where one lane takes {lane_len}", scratch.len());
    lanes().min(room)
}
