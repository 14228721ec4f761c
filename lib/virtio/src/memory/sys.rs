//! The one place that touches shared memory: its bytes here, the cells of rings in the modules below.
#![expect(unsafe_code, reason = "memory that another process changes cannot be a Rust reference")]

mod packed;
mod split;

pub use packed::PackedMemory;
pub use split::SplitMemory;

use super::LayoutError;
use crate::cells::{DESCRIPTOR_BYTES, Descriptor};
use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Largest ring (sections 2.7 and 2.8).
const MOST: u16 = 1 << 15;

/// Memory that stays where it is, readable and writable, as long as the value lives.
///
/// # Safety
/// `start` and `len` never change, and the bytes between them can be read and written until the value is dropped. Nobody holds a Rust
/// reference to any of them.
pub unsafe trait Backing: Send + Sync {
    /// The first byte.
    fn start(&self) -> NonNull<u8>;
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there is no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Zeroed memory of this process, page aligned: for a driver and a device in one program, and for tests.
pub struct Heap {
    start: NonNull<u8>,
    layout: Layout,
}

impl Heap {
    const ALIGNMENT: usize = 4096;

    /// `bytes` of it.
    ///
    /// # Panics
    /// Beyond what can be addressed.
    pub fn zeroed(bytes: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(bytes.max(1), Self::ALIGNMENT) else {
            panic!("{bytes} bytes cannot be addressed")
        };
        // SAFETY: the layout has at least one byte.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // What was asked for, not what was allocated: an empty heap has no byte.
        Self { start, layout: Layout::from_size_align(bytes, Self::ALIGNMENT).unwrap_or(layout) }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        let Ok(layout) = Layout::from_size_align(self.layout.size().max(1), Self::ALIGNMENT) else { return };
        // SAFETY: allocated in `zeroed` with this very layout, and nobody else frees it.
        unsafe { dealloc(self.start.as_ptr(), layout) }
    }
}

// SAFETY: the block is owned and never moves; references to its bytes are never given out.
unsafe impl Backing for Heap {
    fn start(&self) -> NonNull<u8> {
        self.start
    }
    fn len(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: a `Heap` is an address and a length; what is there is accessed through this module only.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

/// A piece of shared memory that keeps what it is a piece of.
#[derive(Clone)]
pub struct Shared {
    backing: Arc<dyn Backing>,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: as `Backing`, which is both, and whose piece it is.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:p}", self.len, self.start)
    }
}

impl Shared {
    /// All of it.
    pub fn whole(backing: Arc<dyn Backing>) -> Self {
        Self { start: backing.start(), len: backing.len(), backing }
    }

    /// Bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset`; `None` where they are not all there.
    pub fn piece(&self, offset: usize, len: usize) -> Option<Self> {
        let part = self.slice().part(offset, len)?;
        Some(Self { backing: Arc::clone(&self.backing), start: part.start, len })
    }

    /// Its bytes, for a while.
    #[inline]
    pub fn slice(&self) -> Slice<'_> {
        Slice { start: self.start, len: self.len, memory: PhantomData }
    }

    /// Where it is in this process: with front-ends whose addresses are their own, the address that goes over the wire.
    pub fn host_address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn part<T>(
        &self,
        part: &'static str,
        needed: usize,
        alignment: usize,
    ) -> Result<NonNull<T>, LayoutError> {
        if !(self.start.as_ptr() as usize).is_multiple_of(alignment) {
            return Err(LayoutError::Alignment { part, alignment });
        }
        if self.len < needed {
            return Err(LayoutError::Short { part, needed, given: self.len });
        }
        Ok(self.start.cast())
    }
}

/// Bytes that others may change at any time. What is read is a copy.
#[derive(Clone, Copy)]
pub struct Slice<'m> {
    start: NonNull<u8>,
    len: usize,
    memory: PhantomData<&'m Shared>,
}

// SAFETY: as `Shared`, which it borrows.
unsafe impl Send for Slice<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slice<'_> {}

impl fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:p}", self.len, self.start)
    }
}

impl<'m> Slice<'m> {
    /// Bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset`; `None` where they are not all there.
    #[inline]
    pub fn part(&self, offset: usize, len: usize) -> Option<Self> {
        if offset > self.len || len > self.len - offset {
            return None;
        }
        // SAFETY: `offset` is within the memory, or one past its end.
        Some(Self { start: unsafe { self.start.add(offset) }, len, memory: PhantomData })
    }

    /// Copies as many bytes as both have, each read once if they are few; gives their number.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> usize {
        let count = self.len.min(into.len());
        // SAFETY: `count` bytes are there on both sides; `into` is a reference, so it is no shared memory.
        unsafe {
            if count <= ONCE {
                copy_once(self.start.as_ptr(), into.as_mut_ptr(), count);
            } else {
                core::ptr::copy_nonoverlapping(self.start.as_ptr(), into.as_mut_ptr(), count);
            }
        }
        count
    }

    /// Copies as many bytes as both have; gives their number.
    #[inline]
    pub fn write(&self, from: &[u8]) -> usize {
        let count = self.len.min(from.len());
        // SAFETY: as in `read`.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr(), count) };
        count
    }

    /// Asks for the first of these bytes ahead of writing them: lines of the cache that the other side has read come here meanwhile, several at
    /// once. What is longer than that is copied in a stream of its own. It changes nothing.
    #[inline]
    pub(crate) fn prepare(&self) {
        const LINE: usize = 64;
        const MOST: usize = 4;
        for at in (0..self.len).step_by(LINE).take(MOST) {
            ask_for_line(self.start.as_ptr().wrapping_add(at));
        }
    }

    /// Sets every byte.
    pub fn fill(&self, byte: u8) {
        // SAFETY: `len` bytes are there.
        unsafe { core::ptr::write_bytes(self.start.as_ptr(), byte, self.len) }
    }

    /// A number of the host's byte order at `offset`, and all that was written before it (acquire); `None` where it is not whole, or not
    /// aligned.
    #[inline]
    pub fn load<N: Number>(&self, offset: usize) -> Option<N> {
        N::load(&self.part(offset, size_of::<N>())?)
    }

    /// Sets it, after everything written so far (release).
    #[inline]
    pub fn store<N: Number>(&self, offset: usize, value: N) -> Option<()> {
        N::store(&self.part(offset, size_of::<N>())?, value)
    }

    /// Sets bits of a byte that others set and clear too, after everything written so far (release): who sees them sees that.
    #[inline]
    pub fn set_bits(&self, offset: usize, bits: u8) -> Option<()> {
        let byte = self.part(offset, 1)?;
        // SAFETY: one byte is there; atomics allow that others change it.
        unsafe { byte.start.cast::<AtomicU8>().as_ref() }.fetch_or(bits, Ordering::Release);
        Some(())
    }

    /// Where the first byte is, for system calls that read or write it.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// A descriptor of an indirect table, which has no alignment that a driver must keep (section 2.7.5.3 asks for none), read once; `None`
    /// beyond its end.
    #[inline]
    pub(crate) fn descriptor(&self, index: usize) -> Option<Descriptor> {
        const BYTES: usize = DESCRIPTOR_BYTES as usize;
        let mut bytes = [0; BYTES];
        self.part(index.checked_mul(BYTES)?, BYTES)?.read(&mut bytes);
        Some(Descriptor::from_bytes(bytes))
    }

    /// Writes one.
    #[inline]
    pub(crate) fn set_descriptor(&self, index: usize, value: Descriptor) -> Option<()> {
        const BYTES: usize = DESCRIPTOR_BYTES as usize;
        self.part(index.checked_mul(BYTES)?, BYTES)?.write(&value.bytes());
        Some(())
    }
}

/// Numbers that are read and written whole.
pub trait Number: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn load(at: &Slice<'_>) -> Option<Self>;
    #[doc(hidden)]
    fn store(at: &Slice<'_>, value: Self) -> Option<()>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($number:ty = $atomic:ty),*) => {$(
        impl sealed::Sealed for $number {}
        impl Number for $number {
            #[inline]
            fn load(at: &Slice<'_>) -> Option<Self> {
                let cell = at.start.cast::<$atomic>();
                // SAFETY: the slice is as long as the number, and aligned as it asks; atomics allow that others change it.
                cell.is_aligned().then(|| unsafe { cell.as_ref() }.load(Ordering::Acquire))
            }
            #[inline]
            fn store(at: &Slice<'_>, value: Self) -> Option<()> {
                let cell = at.start.cast::<$atomic>();
                // SAFETY: as above.
                cell.is_aligned().then(|| unsafe { cell.as_ref() }.store(value, Ordering::Release))
            }
        }
    )*};
}

numbers!(u8 = AtomicU8, u16 = AtomicU16, u32 = AtomicU32, u64 = AtomicU64);

/// Copies of at most so many bytes are made of accesses that the compiler may neither repeat nor leave out: what is checked is what is
/// used, though the other side changes it in between. Longer ones are data, which nobody decides by.
const ONCE: usize = 64;

/// The cache line here is to be written soon (PREFETCHW, which a processor that lacks it takes for nothing).
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn ask_for_line(line: *const u8) {
    // SAFETY: a hint without an effect that a program can see, wherever it points.
    unsafe {
        core::arch::asm!("prefetchw [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
}

/// Nobody is asked elsewhere.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn ask_for_line(_: *const u8) {}

/// Copies `count` bytes, each read once.
///
/// # Safety
/// Both are valid for `count` bytes, and do not overlap.
#[inline]
unsafe fn copy_once(from: *const u8, to: *mut u8, count: usize) {
    let mut at = 0;
    while at < count {
        // SAFETY: `at` is below `count`; a word is read where it is aligned and whole.
        unsafe {
            if count - at >= 8 && (from as usize + at).is_multiple_of(8) {
                let word = from.add(at).cast::<u64>().read_volatile();
                to.add(at).cast::<u64>().write_unaligned(word);
                at += 8;
            } else {
                to.add(at).write(from.add(at).read_volatile());
                at += 1;
            }
        }
    }
}
