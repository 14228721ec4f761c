//! Memory that a driver of others' has as a slice, and our device as shared memory.
#![expect(unsafe_code, reason = "the same memory twice, as two processes have it")]

use std::ptr::NonNull;
use std::sync::Arc;
use virtio::memory::{Backing, Shared};

struct Pages(NonNull<u8>, usize);

// SAFETY: the memory is never given back, and our side makes no reference into it.
unsafe impl Backing for Pages {
    fn start(&self) -> NonNull<u8> {
        self.0
    }
    fn len(&self) -> usize {
        self.1
    }
}

// SAFETY: an address and a length.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

/// As many zeroes, which are never given back: for them, and for us.
pub(crate) fn twice(bytes: usize) -> (&'static mut [u8], Shared) {
    let pages: &'static mut [u64] =
        Box::leak(vec![0; bytes.next_multiple_of(4096) / 8 + 512].into_boxed_slice());
    let start = pages.as_mut_ptr().cast::<u8>();
    let start = start.wrapping_add(start.align_offset(4096));
    let start = NonNull::new(start).expect("memory is not at 0");
    let ours = Shared::whole(Arc::new(Pages(start, bytes)));
    // SAFETY: it lies within what was leaked, with a page of room for its alignment; who has it reaches it by raw pointers, as it
    // would reach what a device writes to.
    (unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) }, ours)
}
