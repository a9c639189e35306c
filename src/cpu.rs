//! Hints to the processor.
#![allow(unsafe_code, reason = "prefetch has no safe form; it reads nothing")]

/// Asks the processor to fetch the cache line that contains the first byte of
/// `at`. Unlike a load, this does not stall the instructions after it. Nothing
/// is read.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(at: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of this architecture has SSE, and a prefetch
        // reads nothing and does not fault for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
