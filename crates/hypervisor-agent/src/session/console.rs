//! Carries one console: between the driver and the server, on a connection of its own.

use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::agent_console_message::Message as Up;
use hv_api::v1::agent_service_client::AgentServiceClient;
use hv_api::v1::server_console_message::Message as Down;
use hv_client::Dialer;
use hv_core::instance::Epoch;
use hv_driver::{Driver, Handle};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How much of the past a console begins with.
const REPLAY_BYTES: u64 = 64 * 1024;
/// Output chunks under way; a reader that is slower than this slows only itself.
const WINDOW: usize = 16;

/// Opens the console and carries it until either side ends it. An error is for the caller of the console.
pub(super) async fn carry(driver: &dyn Driver, dialer: &Dialer, open: v1::OpenConsole) -> Result<(), String> {
    let id = open.uid.parse().map_err(|_| "not a uid".to_owned())?;
    let handle = Handle { id, epoch: Epoch(0) };
    let replay = if open.skip_replay { 0 } else { REPLAY_BYTES };
    let mut console = driver.console(handle, replay).await.map_err(|error| error.to_string())?;
    resize(driver, handle, open.columns, open.rows).await;

    let channel = dialer.dial().await.map_err(|error| super::chain(&error))?;
    let mut client = AgentServiceClient::with_interceptor(channel, dialer.bearer());
    let (up, frames) = mpsc::channel(WINDOW);
    let send = |message| v1::AgentConsoleMessage { message: Some(message) };
    up.send(send(Up::Token(open.token))).await.map_err(|_| "the stream closed".to_owned())?;
    let mut down = client
        .console(ReceiverStream::new(frames))
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    loop {
        tokio::select! {
            // Cancel-safe: each arm takes one whole item; the sends below are awaited in the arm that won.
            output = console.output.next() => match output {
                Some(Ok(bytes)) => {
                    if up.send(send(Up::Data(bytes.to_vec()))).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Err(error)) => {
                    let _ = up.send(send(Up::Closed(format!("the console broke: {error}")))).await;
                    return Ok(());
                }
                None => {
                    let _ = up.send(send(Up::Closed("the guest has ended".into()))).await;
                    return Ok(());
                }
            },
            input = down.next() => match input {
                Some(Ok(frame)) => match frame.message {
                    Some(Down::Data(bytes)) => {
                        if let Err(error) = console.input.write_all(&bytes).await {
                            let _ = up.send(send(Up::Closed(format!("the console takes no input: {error}")))).await;
                            return Ok(());
                        }
                    }
                    Some(Down::Resize(size)) => resize(driver, handle, size.columns, size.rows).await,
                    None => {}
                },
                Some(Err(_)) | None => return Ok(()),
            },
        }
    }
}

async fn resize(driver: &dyn Driver, handle: Handle, columns: u32, rows: u32) {
    if let (Ok(columns @ 1..), Ok(rows @ 1..)) = (u16::try_from(columns), u16::try_from(rows))
        && let Err(error) = driver.resize_console(handle, columns, rows).await
    {
        tracing::debug!(%error, "the console cannot be resized");
    }
}
