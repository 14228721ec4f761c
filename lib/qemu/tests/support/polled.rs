//! Futures that are dropped in the middle.

use std::task::Poll;

/// Polls a future so often and then drops it; its outcome if it was done by then.
pub(crate) async fn polled<F: Future>(times: u64, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
