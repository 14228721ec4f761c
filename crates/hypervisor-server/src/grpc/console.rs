//! Carries a console between a caller and the agent of the instance's node.

use super::{Answers, Api, failed};
use crate::Task;
use crate::brain::AgentConsole;
use futures::StreamExt;
use hv_api::convert::project_from;
use hv_api::v1;
use hv_api::v1::agent_console_message::Message as FromAgent;
use hv_api::v1::console_input::Input;
use hv_api::v1::console_output::Output;
use hv_api::v1::server_console_message::Message as ToAgent;
use hv_core::instance::state::{Request as Verb, decide};
use hv_core::{Error, ErrorKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

/// Output under way to a caller; one that reads slowly slows only its own console.
const WINDOW: usize = 16;

impl Api {
    /// Opens the console that the caller's first message names.
    pub(super) async fn open_console(
        &self,
        mut inputs: Streaming<v1::ConsoleInput>,
    ) -> Result<Response<Answers<v1::ConsoleOutput>>, Status> {
        let Some(Input::Open(open)) = inputs.message().await?.and_then(|message| message.input) else {
            return Err(failed(Error::invalid("open", "the first message must name the instance")));
        };
        let (opened, node) = {
            let cluster = self.follower.cluster();
            let project = project_from("open.project", &open.project).map_err(failed)?;
            let entry = cluster.find_instance(&project, &open.instance).map_err(failed)?;
            decide(&entry.instance, Verb::Console).map_err(failed)?;
            let opened = v1::ConsoleOpened {
                instance_uid: entry.instance.id.to_string(),
                instance_name: entry.instance.metadata.name.to_string(),
            };
            let placement = entry.instance.placement.ok_or_else(|| {
                failed(Error::new(ErrorKind::FailedPrecondition, "the instance is on no node"))
            })?;
            (opened, placement.node)
        };
        let request = v1::OpenConsole {
            token: String::new(),
            uid: opened.instance_uid.clone(),
            columns: open.columns,
            rows: open.rows,
            skip_replay: open.skip_replay,
        };
        let console = self.brain.console(node, request).await.map_err(failed)?;
        let (send, answers) = mpsc::channel(WINDOW);
        let stop = self.tasks.stop_token();
        self.tasks.spawn(Task::Stream, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = carry(console, inputs, send, opened) => {}
            }
        });
        Ok(Response::new(self.until_stop(ReceiverStream::new(answers))))
    }
}

async fn carry(
    mut console: AgentConsole,
    mut inputs: Streaming<v1::ConsoleInput>,
    send: mpsc::Sender<Result<v1::ConsoleOutput, Status>>,
    opened: v1::ConsoleOpened,
) {
    let answer = |output| Ok(v1::ConsoleOutput { output: Some(output) });
    if send.send(answer(Output::Opened(opened))).await.is_err() {
        return;
    }
    // A caller that has closed its side still reads: `echo text | hypervisor-ctl ...`.
    let mut listening = true;
    loop {
        tokio::select! {
            // Cancel-safe: each arm takes one whole item; the sends below are awaited in the arm that won.
            output = console.output.next() => {
                let output = match output {
                    Some(Ok(frame)) => match frame.message {
                        Some(FromAgent::Data(bytes)) => Output::Data(bytes),
                        Some(FromAgent::Closed(why)) => Output::Closed(why),
                        Some(FromAgent::Token(_)) | None => continue,
                    },
                    Some(Err(_)) | None => Output::Closed("the node's agent ended the console".into()),
                };
                let last = matches!(output, Output::Closed(_));
                if send.send(answer(output)).await.is_err() || last {
                    return;
                }
            }
            input = inputs.next(), if listening => {
                let message = match input {
                    Some(Ok(message)) => match message.input {
                        Some(Input::Data(bytes)) => ToAgent::Data(bytes),
                        Some(Input::Resize(size)) => ToAgent::Resize(size),
                        Some(Input::Open(_)) | None => continue,
                    },
                    // The caller is gone.
                    Some(Err(_)) => return,
                    None => {
                        listening = false;
                        continue;
                    }
                };
                if console.input.send(Ok(v1::ServerConsoleMessage { message: Some(message) })).await.is_err() {
                    return;
                }
            }
            () = send.closed() => return,
        }
    }
}
