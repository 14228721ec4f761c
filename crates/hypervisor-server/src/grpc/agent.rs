//! AgentService.

use super::{Answers, Api};
use crate::Task;
use crate::brain::AgentConsole;
use futures::StreamExt;
use hv_api::v1;
use hv_api::v1::agent_service_server::AgentService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Console input under way to an agent.
const WINDOW: usize = 16;

#[tonic::async_trait]
impl AgentService for Api {
    type SessionStream = Answers<v1::ServerMessage>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut up = request.into_inner();
        let (conn, down) = self.brain.open();
        let (brain, stop) = (self.brain.clone(), self.tasks.stop_token());
        self.tasks.spawn(Task::Stream, async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    frame = up.next() => match frame {
                        Some(Ok(frame)) => brain.frame(conn, frame),
                        Some(Err(_)) | None => break,
                    }
                }
            }
            brain.closed(conn);
        });
        Ok(Response::new(self.until_stop(UnboundedReceiverStream::new(down))))
    }

    type ConsoleStream = Answers<v1::ServerConsoleMessage>;

    async fn console(
        &self,
        request: Request<Streaming<v1::AgentConsoleMessage>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let mut output = request.into_inner();
        let first = output.message().await?.and_then(|frame| frame.message);
        let Some(v1::agent_console_message::Message::Token(token)) = first else {
            return Err(Status::invalid_argument("the first message must be the token"));
        };
        let (input, frames) = mpsc::channel(WINDOW);
        if !self.brain.console_opened(&token, AgentConsole { output, input }) {
            return Err(Status::not_found("nobody waits for this console"));
        }
        Ok(Response::new(self.until_stop(ReceiverStream::new(frames))))
    }
}
