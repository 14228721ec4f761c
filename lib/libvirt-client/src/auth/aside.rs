//! Work that takes its time, beside the executor: its threads move every connection.

use super::refused;
use crate::error::Error;
use tokio::sync::oneshot;

/// Does work in a thread of its own. Who waits may give up; the work goes on to its end.
///
/// # Errors
/// When no thread can be started.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (answer, result) = oneshot::channel();
    let work = move || drop(answer.send(work()));
    std::thread::Builder::new().name("libvirt-auth".to_owned()).spawn(work)?;
    result.await.map_err(|_| refused("the thread of a step has ended"))
}
