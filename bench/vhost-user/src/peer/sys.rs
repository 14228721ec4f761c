//! What the peer's interface leaves to its caller.

use blkio::Completion;
use std::mem::MaybeUninit;

/// Asks the queue for at least so many completions, and gives how many came, each as the caller's number and its result.
pub fn completed(
    queue: &mut blkio::Blkioq,
    least: usize,
    into: &mut [MaybeUninit<Completion>],
    ended: &mut Vec<(usize, i32)>,
) -> blkio::Result<()> {
    let count = queue.do_io(into, least, None, None)?;
    // SAFETY: `do_io` filled as many as it says.
    let all = into.iter().take(count).map(|one| unsafe { one.assume_init_ref() });
    ended.extend(all.map(|one| (one.user_data, one.ret)));
    Ok(())
}
