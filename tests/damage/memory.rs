//! Counts the heap memory that each thread has taken, and the most that it ever was.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    if live > MOST.get() {
        MOST.set(live);
    }
}

#[expect(unsafe_code, reason = "an allocator that counts can be written in no other way")]
// SAFETY: every call is passed on to the system's allocator as it came. Counting allocates nothing:
// the cells are constants that need no initialising and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begins to look for the most that this thread takes; gives what it has now.
pub(crate) fn begin() -> i64 {
    MOST.set(LIVE.get());
    LIVE.get()
}

/// The most that this thread has had since [`begin`].
pub(crate) fn most() -> i64 {
    MOST.get()
}
