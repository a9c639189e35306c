//! Counts the memory that a thread allocates, so that the memory of a parser
//! can be bounded.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(bytes: usize) {
    let held = HELD.get().wrapping_add_unsigned(bytes);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

fn shrink(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub_unsigned(bytes));
}

// SAFETY: every call is forwarded to the system's allocator; counting does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller upholds the contract of the method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller upholds the contract of the method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller upholds the contract of the method.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new block may exist at the same time.
        grow(size);
        shrink(layout.size());
        // SAFETY: the caller upholds the contract of the method.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The result of `parse`, which must at no time hold more memory than `factor`
/// times the bytes of its input plus 64 KiB.
pub fn bounded<T>(input: &[u8], factor: usize, parse: impl FnOnce() -> T) -> T {
    let limit = input.len() * factor + (64 << 10);
    HELD.set(0);
    MOST.set(0);
    let parsed = parse();
    let most = MOST.get();
    assert!(
        most <= isize::try_from(limit).unwrap(),
        "{most} bytes of memory for an input of {}",
        input.len()
    );
    parsed
}
