//! Hints to the processor.
#![allow(unsafe_code, reason = "an instruction that has no safe form; it reads nothing")]

/// Has the processor fetch the 64 bytes in which `at` begins, without waiting for
/// them as a load in a row of loads has to. Nothing is read.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(at: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of this architecture has SSE, and a prefetch
        // reads nothing and fails for no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
