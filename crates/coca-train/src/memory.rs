//! The allocator.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings leave out: milliseconds, -1 for never.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed memory for the next allocation instead of handing it back to the system. A training step allocates and
/// frees the same large tensors again and again, and the kernel clears every page that it hands out: a third of the
/// time, measured.
#[allow(
    unsafe_code,
    reason = "the option has no safe wrapper; it is set once, before any other thread runs"
)]
pub fn keep_freed() {
    // SAFETY: sets an integer in the allocator's table of options.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}
