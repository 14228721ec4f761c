//! What the interface of the crate `blkio` leaves to its caller.
#![expect(unsafe_code, reason = "completions come in memory that was not initialised")]

use blkio::{Blkioq, Completion};
use std::mem::MaybeUninit;

/// Waits for one request, and gives the caller's number of it and its result.
pub(crate) fn completed(queue: &mut Blkioq) -> blkio::Result<(usize, i32)> {
    let mut one = [MaybeUninit::<Completion>::uninit()];
    let count = queue.do_io(&mut one, 1, None, None)?;
    assert_eq!(count, 1);
    // SAFETY: `do_io` filled as many as it says.
    let one = unsafe { one[0].assume_init_ref() };
    Ok((one.user_data, one.ret))
}
