//! Streams of changes that survive the server's restarts: resumed behind the last revision that was shown.

use crate::Context;
use crate::connect::Connection;
use crate::exit::Failure;
use futures::StreamExt;
use hv_core::{Error, ErrorKind};
use std::time::Duration;
use tonic::{Code, Response, Status, Streaming};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Opens a stream behind `after` and shows its items, for ever. `show` answers the item's revision.
pub(crate) async fn follow<T, F>(
    context: &mut Context,
    mut after: u64,
    open: impl Fn(Connection, u64) -> F,
    mut show: impl FnMut(&mut Context, T) -> Result<u64, Failure>,
) -> Result<(), Failure>
where
    F: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    let mut connection = Connection::open(context).await?;
    let mut pause = FIRST_PAUSE;
    loop {
        let lost = match open(connection.clone(), after).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.next().await {
                        Some(Ok(item)) => {
                            pause = FIRST_PAUSE;
                            after = show(context, item)?.max(after);
                        }
                        Some(Err(status)) => break Some(status),
                        None => break None,
                    }
                }
            }
            Err(status) => Some(status),
        };
        if let Some(status) = lost {
            match status.code() {
                // What a connection says that was cut.
                Code::Unavailable | Code::Unknown | Code::Cancelled => {}
                Code::OutOfRange => return Err(expired(after, &status).into()),
                _ => return Err(status.into()),
            }
        }
        context.note(format!("the server is away; going on after revision {after} when it is back"));
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match Connection::open(context).await {
                Ok(opened) => {
                    connection = opened;
                    break;
                }
                Err(Failure::Error(error)) if error.kind == ErrorKind::Unavailable => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn expired(after: u64, status: &Status) -> Error {
    let message = format!("changes after revision {after} are no longer kept: {}", status.message());
    Error::new(ErrorKind::Expired, message)
        .with_hint("list anew, then watch without --after: what changed in between is in the list")
}
