//! Which server, which token, and the clients on that connection.

use crate::contexts::{Contexts, Entry};
use crate::exit::Failure;
use crate::{Context, Io};
use hv_api::v1::cluster_service_client::ClusterServiceClient;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_api::v1::event_service_client::EventServiceClient;
use hv_api::v1::operation_service_client::OperationServiceClient;
use hv_client::{Bearer, DialError, Dialer, ServerAddr};
use hv_core::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// How long one call may take that does not wait for anything.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read: a full page of instances with their cloud-init data.
const LARGEST_ANSWER: usize = 512 << 20;
/// How often a mutating call is sent when its answer is lost. Its idempotency key makes the repetition harmless.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Where to connect, and who said so.
#[derive(Debug, PartialEq)]
pub(crate) struct Target {
    /// The server.
    pub(crate) server: ServerAddr,
    /// Flag, variable, file or default.
    pub(crate) server_from: String,
    /// The token's file.
    pub(crate) token_file: PathBuf,
    /// Likewise.
    pub(crate) token_from: String,
}

impl Target {
    /// Flag > environment > context > default. A context that a flag or the environment names wins over what is merely
    /// set in the environment beside it only where that is unset.
    pub(crate) fn resolve(context: &Context) -> Result<Self, Failure> {
        let (globals, io) = (&context.globals, &context.io);
        let flag =
            |value: &Option<String>, name: &str| value.clone().map(|value| (value, format!("{name} flag")));
        let variable =
            |name: &str| io.variable(name).map(|value| (value.to_owned(), format!("{name} variable")));
        let given_server = flag(&globals.server, "--server").or_else(|| variable("HYPERVISOR_SERVER"));
        let given_token =
            flag(&globals.token_file, "--token-file").or_else(|| variable("HYPERVISOR_TOKEN_FILE"));

        let (entry, from) = if given_server.is_some() && given_token.is_some() {
            (Entry::default(), String::new())
        } else {
            selected(context)?
        };
        let (default_server, default_token) = defaults(io);
        let default = || "default".to_owned();
        // The token of a context belongs to its server: it is not shown to another one.
        let entry_token = if given_server.is_none() { entry.token_file.clone() } else { None };
        let (server, server_from) = given_server
            .or_else(|| Some((entry.server.clone()?, from.clone())))
            .unwrap_or_else(|| (format!("unix:{}", default_server.display()), default()));
        let (token_file, token_from) = given_token
            .map(|(path, from)| (PathBuf::from(path), from))
            .or_else(|| Some((entry_token?, from)))
            .unwrap_or_else(|| (default_token, default()));
        let server = server.parse().map_err(|message| {
            Error::new(ErrorKind::Invalid, format!("server ({server_from}): {message}"))
        })?;
        Ok(Self { server, server_from, token_file, token_from })
    }
}

/// The context in force, and its origin in words.
fn selected(context: &Context) -> Result<(Entry, String), Failure> {
    let contexts = Contexts::load(&context.io)?;
    let name = context
        .globals
        .context
        .clone()
        .or_else(|| context.io.variable("HYPERVISOR_CONTEXT").map(str::to_owned))
        .or_else(|| contexts.current.clone());
    match name {
        Some(name) => Ok((contexts.find(&name)?.clone(), format!("context {name}"))),
        None => Ok((Entry::default(), String::new())),
    }
}

/// Socket and token: those of `hypervisor dev` where it has run, else those of the system's server.
fn defaults(io: &Io) -> (PathBuf, PathBuf) {
    let state = io
        .variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(io.variable("HOME")?).join(".local/state")));
    if let Some(dev) = state.map(|state| state.join("hypervisor/dev"))
        && dev.join("server.sock").exists()
    {
        return (dev.join("server.sock"), dev.join("token"));
    }
    ("/run/hypervisor/server.sock".into(), "/var/lib/hypervisor/token".into())
}

/// A client of one service.
pub(crate) type Service = InterceptedService<Channel, Bearer>;

/// A connection to the server.
#[derive(Clone)]
pub(crate) struct Connection {
    channel: Channel,
    bearer: Bearer,
}

impl Connection {
    /// Dials the server that flags, environment and contexts name.
    pub(crate) async fn open(context: &Context) -> Result<Self, Failure> {
        let target = Target::resolve(context)?;
        let dialer = Dialer::new(target.server.clone(), target.token_file.clone())
            .map_err(|error| unreachable(&error, &target))?;
        let channel = dialer.dial().await.map_err(|error| unreachable(&error, &target))?;
        Ok(Self { channel, bearer: dialer.bearer() })
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Service> {
        ClusterServiceClient::new(self.service()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn compute(&self) -> ComputeServiceClient<Service> {
        ComputeServiceClient::new(self.service()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn operations(&self) -> OperationServiceClient<Service> {
        OperationServiceClient::new(self.service()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(crate) fn events(&self) -> EventServiceClient<Service> {
        EventServiceClient::new(self.service()).max_decoding_message_size(LARGEST_ANSWER)
    }
}

/// A request with the deadline of a call that waits for nothing.
pub(crate) fn unary<T>(message: T) -> Request<T> {
    within(message, CALL_TIMEOUT)
}

/// A request with a deadline.
pub(crate) fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Sends a call that carries an idempotency key; again while its answer is lost.
pub(crate) async fn mutate<M, T, F>(message: M, call: impl Fn(Request<M>) -> F) -> Result<T, Failure>
where
    M: Clone,
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match call(unary(message.clone())).await {
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(pause).await,
            ended => return Ok(ended?.into_inner()),
        }
        pause *= 2;
    }
    Ok(call(unary(message)).await?.into_inner())
}

fn unreachable(error: &DialError, target: &Target) -> Error {
    let cause = deepest(error);
    match error {
        DialError::Token { path, .. } => {
            let kind = ErrorKind::Unauthenticated;
            let message =
                format!("cannot read the token {} ({}): {cause}", path.display(), target.token_from);
            Error::new(kind, message).with_hint(
                "the server writes its token when it starts: run this as the user who started it, start one with `make up`, or name the file with --token-file",
            )
        }
        DialError::BadToken(_) => Error::new(ErrorKind::Unauthenticated, error.to_string()),
        DialError::Connect { .. } => {
            let message = format!("no server at {} ({}): {cause}", target.server, target.server_from);
            Error::new(ErrorKind::Unavailable, message).with_hint(
                "start one with `make up` in a checkout, or `systemctl start hypervisor-server`; --server says where another one is",
            )
        }
    }
}

/// The last cause: what the system said.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
