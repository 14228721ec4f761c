//! A server that answers what a test says, on a socket of its own; and the command line run against it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test program uses its part")]

use hv_api::status::to_status;
use hv_api::v1;
use hv_api::v1::compute_service_server::{ComputeService, ComputeServiceServer};
use hv_api::v1::operation_service_server::{OperationService, OperationServiceServer};
use hypervisor_ctl::{Exit, Io, run};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// What the server does and has seen.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) instance: v1::Instance,
    /// Answers of WaitOperation, in order; the last one stays.
    pub(crate) operations: Vec<v1::Operation>,
    /// Creations that are recorded and whose answer is then lost.
    pub(crate) lost_answers: usize,
    pub(crate) created: Vec<v1::CreateInstanceRequest>,
    pub(crate) stopped: Vec<v1::StopInstanceRequest>,
    pub(crate) listed: Vec<v1::ListInstancesRequest>,
    pub(crate) updated: Vec<v1::UpdateInstanceRequest>,
    /// What the console prints before anything is typed.
    pub(crate) console: Vec<&'static str>,
    pub(crate) typed: Vec<u8>,
    pub(crate) authorization: Vec<String>,
    /// Changes that a watch sends on its first and on its second opening; each then ends as a lost server does.
    pub(crate) watches: Vec<Vec<v1::InstanceChange>>,
    pub(crate) watched_after: Vec<u64>,
}

/// The server; ends with the test.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) script: Arc<Mutex<Script>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        hv_runtime::files::replace(&dir.path().join("token"), b"secret\n").unwrap();
        let script = Arc::new(Mutex::new(script));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let fake = Fake(script.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(dir.path().join("server.sock")).unwrap()
        };
        let thread = std::thread::spawn(move || {
            let served = tonic::transport::Server::builder()
                .add_service(ComputeServiceServer::new(fake.clone()))
                .add_service(OperationServiceServer::new(fake))
                .serve_with_incoming(UnixListenerStream::new(listener));
            runtime.block_on(async {
                tokio::select! {
                    served = served => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { dir, script, stop: Some(stop), thread: Some(thread) }
    }

    /// Runs a command line against it.
    pub(crate) fn ctl(&self, args: &[&str]) -> Ended {
        self.ctl_with(args, "")
    }

    pub(crate) fn ctl_with(&self, args: &[&str], input: &str) -> Ended {
        let socket = format!("unix:{}", self.dir.path().join("server.sock").display());
        let token = self.dir.path().join("token").display().to_string();
        ctl(
            self.dir.path(),
            &[("HYPERVISOR_SERVER", &socket), ("HYPERVISOR_TOKEN_FILE", &token)],
            args,
            input,
        )
    }

    pub(crate) fn seen(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command line with `home` as its home and nothing else in its environment.
pub(crate) fn ctl(home: &Path, environment: &[(&str, &str)], args: &[&str], input: &str) -> Ended {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut variables = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
    variables.extend(environment.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    let io = Io {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Some(Box::new(Cursor::new(input.to_owned().into_bytes())) as Box<dyn Read + Send>),
        environment: variables,
        out_is_terminal: false,
        err_is_terminal: false,
        input_is_terminal: false,
    };
    let exit = run(std::iter::once("hypervisor-ctl").chain(args.iter().copied()).map(Into::into), io);
    Ended { exit, out: out.text(), err: err.text() }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// `web` and `second` are there.
    fn action(&self, instance: &str) -> Result<Response<v1::InstanceActionResponse>, Status> {
        if instance == "nope" {
            return Err(absent(instance));
        }
        let script = self.script();
        let (instance, operation) = (script.instance.clone(), begun());
        Ok(Response::new(v1::InstanceActionResponse { instance: Some(instance), operation: Some(operation) }))
    }
}

fn absent(instance: &str) -> Status {
    let error =
        hv_core::Error::new(hv_core::ErrorKind::NotFound, format!("there is no instance `{instance}`"));
    to_status(&error.with_hint("hypervisor-ctl instance list"))
}

fn begun() -> v1::Operation {
    v1::Operation {
        uid: "op-1".into(),
        kind: "instance.create".into(),
        target_name: "web".into(),
        phase: v1::OperationPhase::Pending.into(),
        ..Default::default()
    }
}

fn not_scripted<T>() -> Result<T, Status> {
    Err(to_status(&hv_core::Error::new(hv_core::ErrorKind::Unsupported, "not in this script")))
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ComputeService for Fake {
    async fn create_instance(
        &self,
        request: Request<v1::CreateInstanceRequest>,
    ) -> Result<Response<v1::CreateInstanceResponse>, Status> {
        let mut script = self.script();
        if let Some(value) = request.metadata().get("authorization") {
            script.authorization.push(value.to_str().unwrap().to_owned());
        }
        script.created.push(request.into_inner());
        if script.lost_answers > 0 {
            script.lost_answers -= 1;
            return Err(Status::unavailable("the connection was cut"));
        }
        let instance = Some(script.instance.clone());
        Ok(Response::new(v1::CreateInstanceResponse { instance, operation: Some(begun()) }))
    }

    async fn get_instance(
        &self,
        request: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        let instance = self.script().instance.clone();
        let metadata = instance.metadata.clone().unwrap_or_default();
        let asked = request.into_inner().instance;
        if asked == metadata.name || asked == metadata.uid || asked == "second" {
            return Ok(Response::new(instance));
        }
        Err(absent(&asked))
    }

    /// Two pages, so that a client that reads one page only is seen.
    async fn list_instances(
        &self,
        request: Request<v1::ListInstancesRequest>,
    ) -> Result<Response<v1::ListInstancesResponse>, Status> {
        let request = request.into_inner();
        let first = request.page.as_ref().is_none_or(|page| page.token.is_empty());
        self.script().listed.push(request);
        let mut instance = self.script().instance.clone();
        if !first {
            instance.metadata.as_mut().unwrap().name = "second".into();
        }
        let next_token = if first { "more".to_owned() } else { String::new() };
        let page = Some(v1::PageInfo { next_token, revision: 7 });
        Ok(Response::new(v1::ListInstancesResponse { instances: vec![instance], page }))
    }

    async fn update_instance(
        &self,
        request: Request<v1::UpdateInstanceRequest>,
    ) -> Result<Response<v1::UpdateInstanceResponse>, Status> {
        let mut script = self.script();
        script.updated.push(request.into_inner());
        Ok(Response::new(v1::UpdateInstanceResponse {
            instance: Some(script.instance.clone()),
            operation: Some(begun()),
            effect: v1::UpdateEffect::NeedsRestart.into(),
            needs_restart: vec!["spec.cpus".into()],
        }))
    }

    async fn delete_instance(
        &self,
        request: Request<v1::DeleteInstanceRequest>,
    ) -> Result<Response<v1::DeleteInstanceResponse>, Status> {
        self.action(&request.into_inner().instance)?;
        Ok(Response::new(v1::DeleteInstanceResponse { operation: Some(begun()) }))
    }

    async fn start_instance(
        &self,
        request: Request<v1::StartInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        self.action(&request.into_inner().instance)
    }

    async fn stop_instance(
        &self,
        request: Request<v1::StopInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        let request = request.into_inner();
        let answer = self.action(&request.instance)?;
        self.script().stopped.push(request);
        Ok(answer)
    }

    async fn restart_instance(
        &self,
        request: Request<v1::RestartInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        self.action(&request.into_inner().instance)
    }

    async fn pause_instance(
        &self,
        request: Request<v1::PauseInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        self.action(&request.into_inner().instance)
    }

    async fn resume_instance(
        &self,
        request: Request<v1::ResumeInstanceRequest>,
    ) -> Result<Response<v1::InstanceActionResponse>, Status> {
        self.action(&request.into_inner().instance)
    }

    async fn get_instance_stats(
        &self,
        _: Request<v1::GetInstanceStatsRequest>,
    ) -> Result<Response<v1::InstanceStats>, Status> {
        not_scripted()
    }

    type WatchInstancesStream = Items<v1::InstanceChange>;

    async fn watch_instances(
        &self,
        request: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let mut script = self.script();
        script.watched_after.push(request.into_inner().after_revision);
        if script.watches.is_empty() {
            let error = hv_core::Error::new(hv_core::ErrorKind::Expired, "compacted");
            return Err(to_status(&error));
        }
        let changes = script.watches.remove(0).into_iter().map(Ok);
        let lost = std::iter::once(Err(Status::unavailable("the server is away")));
        Ok(Response::new(Box::pin(tokio_stream::iter(changes.chain(lost)))))
    }

    type AttachConsoleStream = Items<v1::ConsoleOutput>;

    /// Prints its script, then echoes what is typed until the line `exit`.
    async fn attach_console(
        &self,
        request: Request<Streaming<v1::ConsoleInput>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        use v1::console_output::Output;
        let output = |output| Ok(v1::ConsoleOutput { output: Some(output) });
        let opened =
            Output::Opened(v1::ConsoleOpened { instance_uid: "u".into(), instance_name: "web".into() });
        let printed = self.script().console.clone();
        let printed = printed.into_iter().map(|text| Output::Data(text.as_bytes().to_vec()));
        let before =
            tokio_stream::iter(std::iter::once(opened).chain(printed).map(output).collect::<Vec<_>>());
        let script = self.0.clone();
        let echo = request.into_inner().filter_map(move |input| match input.ok()?.input? {
            v1::console_input::Input::Data(bytes) => {
                let mut script = script.lock().unwrap();
                script.typed.extend_from_slice(&bytes);
                let ended = script.typed.ends_with(b"exit\n");
                Some(output(if ended {
                    Output::Closed("the guest has ended".into())
                } else {
                    Output::Data(bytes)
                }))
            }
            _ => None,
        });
        Ok(Response::new(Box::pin(before.chain(echo))))
    }

    async fn explain_instance(
        &self,
        _: Request<v1::ExplainInstanceRequest>,
    ) -> Result<Response<v1::ExplainInstanceResponse>, Status> {
        not_scripted()
    }
}

#[tonic::async_trait]
impl OperationService for Fake {
    async fn get_operation(
        &self,
        _: Request<v1::GetOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        not_scripted()
    }

    async fn list_operations(
        &self,
        _: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsResponse>, Status> {
        not_scripted()
    }

    async fn wait_operation(
        &self,
        _: Request<v1::WaitOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let mut script = self.script();
        let last = script.operations.len() == 1;
        let operation = if last { script.operations[0].clone() } else { script.operations.remove(0) };
        Ok(Response::new(operation))
    }

    async fn cancel_operation(
        &self,
        _: Request<v1::CancelOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        not_scripted()
    }
}
