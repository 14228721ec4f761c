//! The server: one task owns the hypervisor, one for each connection moves bytes.

use crate::connection::{Connection, Delivery, Message};
use crate::hypervisor::{Client, Hypervisor, Peer, Refusal, Reload, Sasl, Scope, Service};
use crate::outward;
use crate::peer;
use crate::tls::Tls;
use libvirt_protocol::enums::ClientTransport;
use libvirt_protocol::procedure::Release;
use libvirt_protocol::session::CallId;
use libvirt_transport::{Privacy, Stream, Transport, Unix};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio::time::Sleep;

/// How long a client may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long nobody is accepted when there are no descriptors left.
const BREATH: Duration = Duration::from_secs(1);
/// What may wait on the server's connections to itself, in bytes.
const OWN: usize = 65_536;
/// How long clients may take to read their last answers when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Builder {
    scope: Scope,
    hostname: String,
    version: Release,
    seed: u64,
    clock: fn() -> Duration,
    job_duration: Duration,
    sasl: Option<Sasl>,
    polkit: Option<BTreeSet<u32>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            hostname: "localhost".into(),
            version: Release(9, 0, 0),
            seed: 0,
            clock: since_epoch,
            job_duration: Duration::ZERO,
            sasl: None,
            polkit: None,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the server looks at a clock; callers can give another"
)]
fn since_epoch() -> Duration {
    // A clock before 1970 is no clock: it stands at the epoch.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Builder {
    /// How much the hypervisor can do; by default what libvirt's test driver can.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The name that the host gives itself; by default `localhost`.
    #[must_use]
    pub fn hostname(self, hostname: &str) -> Self {
        Self { hostname: hostname.to_owned(), ..self }
    }

    /// The release of libvirt that it claims to be, so that clients dare to ask for what came later; by default 9.0.0, whose answers
    /// it gives.
    #[must_use]
    pub fn version(self, version: Release) -> Self {
        Self { version, ..self }
    }

    /// What generated UUIDs and addresses follow from; by default 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The time since the epoch; by default the system's.
    #[must_use]
    pub fn clock(self, clock: fn() -> Duration) -> Self {
        Self { clock, ..self }
    }

    /// Who is let in; by default everybody.
    #[must_use]
    pub fn sasl(self, sasl: Sasl) -> Self {
        Self { sasl: Some(sasl), ..self }
    }

    /// Which users' processes a policy lets in over the unix socket ([`Hypervisor::set_polkit`]); by default everybody's.
    #[must_use]
    pub fn polkit(self, users: impl IntoIterator<Item = u32>) -> Self {
        Self { polkit: Some(users.into_iter().collect()), ..self }
    }

    /// How long jobs take: saves, dumps, migrations, backups, jobs on disks; by default no time at all.
    ///
    /// virsh 9.0.0 can wait for ever for a save that ends before it begins to watch it, so whoever drives the server with virsh
    /// wants some tenths of a second here.
    #[must_use]
    pub fn job_duration(self, job_duration: Duration) -> Self {
        Self { job_duration, ..self }
    }

    /// The server; nothing happens before one of its futures runs.
    #[must_use]
    pub fn build(self) -> Server {
        let mut hypervisor = Hypervisor::new(self.scope, &self.hostname, self.seed);
        hypervisor.set_job_duration(self.job_duration);
        hypervisor.set_version(self.version);
        hypervisor.set_sasl(self.sasl);
        hypervisor.set_polkit(self.polkit);
        let (orders, inbox) = mpsc::unbounded_channel();
        Server { hypervisor, clock: self.clock, handle: Handle { orders }, inbox }
    }
}

/// A server that does not run yet.
#[derive(Debug)]
pub struct Server {
    hypervisor: Hypervisor,
    clock: fn() -> Duration,
    handle: Handle,
    inbox: mpsc::UnboundedReceiver<Order>,
}

/// What can be asked of a running server from outside.
enum Order {
    /// A connection that is to be served at once.
    Attach(Arrival, Peer),
    /// One that is served when there is room for it; its listener waits for that.
    Admit(Arrival, Peer, oneshot::Sender<()>),
    With(Box<dyn FnOnce(&mut Hypervisor) + Send>),
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attach(..) => "Attach",
            Self::Admit(..) => "Admit",
            Self::With(_) => "With",
        })
    }
}

/// A hold on a running server.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::UnboundedSender<Order>,
}

impl Handle {
    /// Serves a client on a connection that somebody else has made.
    pub fn attach(&self, transport: impl Transport) {
        self.attach_as(transport, Peer::default());
    }

    /// The same, and says who it is: administrators ask for that, and are such a client themselves ([`Service::Admin`]).
    pub fn attach_as(&self, transport: impl Transport, peer: Peer) {
        // A server that has ended serves nobody: the client sees its connection close.
        let _ = self.orders.send(Order::Attach(arrived(transport), peer));
    }

    /// Serves who comes to a listener, one more as long as the limit of clients allows it. Who waits behind that waits in the system's queue.
    async fn admit(&self, arrival: Arrival, peer: Peer) {
        let (sender, admitted) = oneshot::channel();
        // A server that has ended lets nobody wait: the client sees its connection close.
        if self.orders.send(Order::Admit(arrival, peer, sender)).is_ok() {
            let _ = admitted.await;
        }
    }

    /// Serves administrators who come to a unix socket. Dropping the future ends the listening, and no connection.
    ///
    /// # Errors
    /// When the listener accepts no more.
    pub async fn serve_admin(&self, listener: UnixListener) -> io::Result<()> {
        let mut rest = Rest::default();
        loop {
            let stream = accept(Some(&listener), &mut rest).await?;
            let peer = peer::local(&stream, Service::Admin);
            self.admit(local(stream), peer).await;
        }
    }

    /// Serves who comes to a TCP port, without encryption. Dropping the future ends the listening, and no connection.
    ///
    /// # Errors
    /// When the listener accepts no more.
    pub async fn serve_tcp(&self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, address) = patiently(|| listener.accept()).await?;
            let arrival = Box::pin(async {
                stream.set_nodelay(true)?;
                Ok(Box::new(Stream::new(stream, Privacy::Open)) as Box<dyn Transport>)
            });
            self.admit(arrival, peer::distant(address, ClientTransport::Tcp)).await;
        }
    }

    /// Serves who comes to a TCP port with TLS. Dropping the future ends the listening, and no connection.
    ///
    /// # Errors
    /// When the listener accepts no more.
    pub async fn serve_tls(&self, listener: TcpListener, tls: Tls) -> io::Result<()> {
        let files = tls.clone();
        let reload = Reload(Box::new(move || files.reload().map_err(|error| error.to_string())));
        // A server that has ended listens to nobody; the first client will find out.
        let _ = self.with(|hypervisor| hypervisor.set_tls(reload)).await;
        loop {
            let (stream, address) = patiently(|| listener.accept()).await?;
            let tls = tls.clone();
            // Who takes its time here is one of the clients already, and keeps no other waiting.
            let arrival = Box::pin(async move {
                stream.set_nodelay(true)?;
                let transport = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
                Ok(Box::new(transport) as Box<dyn Transport>)
            });
            self.admit(arrival, peer::distant(address, ClientTransport::Tls)).await;
        }
    }

    /// Looks at the hypervisor, or changes it, between two calls of clients.
    ///
    /// Returns `None` when the server has ended.
    pub async fn with<R: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Hypervisor) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, result) = oneshot::channel();
        let order = move |hypervisor: &mut Hypervisor| drop(answer.send(action(hypervisor)));
        self.orders.send(Order::With(Box::new(order))).ok()?;
        result.await.ok()
    }
}

impl Server {
    /// Settings to start from.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What reaches the server while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Listens on a unix socket, which must not exist yet, and serves who comes. Dropping the future ends everything.
    ///
    /// # Errors
    /// When the socket cannot be made or accepts no more.
    pub async fn serve_unix(self, path: impl AsRef<Path>) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        self.serve(Some(listener)).await
    }

    /// Serves the connections of a listener, and those that [`Handle::attach`] brings. Dropping the future ends everything; it ends by
    /// itself when an administrator says so.
    ///
    /// # Errors
    /// When the listener accepts no more.
    pub async fn serve(self, listener: Option<UnixListener>) -> io::Result<()> {
        let Self { hypervisor, clock, handle, mut inbox } = self;
        // Kept, so that the inbox stays open when all others are gone.
        let _handle = handle;
        let (requests, mut arriving) = mpsc::unbounded_channel();
        let mut rest = Rest::default();
        let mut state = Running {
            hypervisor,
            clock,
            clients: HashMap::new(),
            tasks: JoinSet::new(),
            served: HashMap::new(),
            errands: JoinSet::new(),
            sent: HashMap::new(),
            requests,
            waiting: VecDeque::new(),
            last: 0,
        };
        loop {
            // Every arm is cancel-safe: what it waits for is taken in one step.
            tokio::select! {
                accepted = accept(listener.as_ref(), &mut rest), if state.hypervisor.has_room(Service::Main) => {
                    let stream = accepted?;
                    let peer = peer::local(&stream, Service::Main);
                    let _ = state.attach(local(stream), peer);
                }
                Some((client, message)) = arriving.recv() => state.handle(client, message),
                Some(order) = inbox.recv() => match order {
                    Order::Attach(arrival, peer) => drop(state.attach(arrival, peer)),
                    Order::Admit(arrival, peer, admitted) => state.waiting.push_back((arrival, peer, admitted)),
                    Order::With(action) => action(&mut state.hypervisor),
                },
                Some(ended) = state.tasks.join_next_with_id() => {
                    // One that panicked is as gone as any other.
                    state.detach(ended.map_or_else(|error| error.id(), |(task, ())| task));
                }
                Some(ended) = state.errands.join_next_with_id() => {
                    let (task, outcome) = ended.unwrap_or_else(|error| {
                        (error.id(), Err(Refusal::internal("the migration has ended by a fault of the server")))
                    });
                    if let Some((client, call)) = state.sent.remove(&task) {
                        state.hypervisor.fulfil(client, call, outcome);
                    }
                }
                () = until(state.hypervisor.deadline(), clock) => state.hypervisor.tick(clock()),
            }
            state.admit();
            state.go_out();
            state.deliver();
            if state.hypervisor.ended() {
                let farewell = async { while state.tasks.join_next().await.is_some() {} };
                // Who does not read its last answer is not waited for.
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
                return Ok(());
            }
        }
    }
}

async fn until(deadline: Option<Duration>, clock: fn() -> Duration) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.saturating_sub(clock())).await,
        None => std::future::pending().await,
    }
}

/// The next client of a unix socket, for which there is another descriptor when this returns: it takes two ([`Unix`]), and would be sent away
/// if it were accepted with the last one.
async fn accept(listener: Option<&UnixListener>, rest: &mut Rest) -> io::Result<UnixStream> {
    let Some(listener) = listener else { return std::future::pending().await };
    if rest.second.is_none() {
        let second = || std::future::ready(listener.as_fd().try_clone_to_owned());
        rest.second = Some(rest.patiently(second).await?);
    }
    let (stream, _) = rest.patiently(|| listener.accept()).await?;
    rest.second = None;
    Ok(stream)
}

/// The same, for who waits for nothing else meanwhile.
async fn patiently<T, F: Future<Output = io::Result<T>>>(accept: impl Fn() -> F) -> io::Result<T> {
    Rest::default().patiently(accept).await
}

/// A pause in which nobody is accepted, if there is one. Kept by whoever accepts: it goes on when accepting is broken off for something else.
#[derive(Default)]
struct Rest {
    pause: Option<Pin<Box<Sleep>>>,
    /// Kept free for who is accepted next.
    second: Option<OwnedFd>,
}

impl Rest {
    /// Accepts, and goes on after what passes: one client that has gone again, or a lack of descriptors or memory, which other clients end
    /// by going. A listener that cannot be used any more says so.
    async fn patiently<T, F: Future<Output = io::Result<T>>>(
        &mut self,
        accept: impl Fn() -> F,
    ) -> io::Result<T> {
        loop {
            if let Some(pause) = &mut self.pause {
                pause.await;
                self.pause = None;
            }
            match accept().await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => {
                    self.pause = pause_after(error)?.map(|pause| Box::pin(tokio::time::sleep(pause)))
                }
            }
        }
    }
}

/// How long nobody is accepted after an error; one of the listener's own comes back.
fn pause_after(error: io::Error) -> io::Result<Option<Duration>> {
    match Errno::from_io_error(&error) {
        // They are of the connection, and the listener has the next one (`accept(2)`).
        Some(
            Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH,
        ) => Ok(None),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            tracing::debug!(%error, "no client is accepted for a while");
            Ok(Some(BREATH))
        }
        _ => Err(error),
    }
}

/// A connection that is there, or comes about: clients with TLS are clients before they have shaken hands.
type Arrival = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send>>;

fn arrived(transport: impl Transport) -> Arrival {
    Box::pin(std::future::ready(Ok(Box::new(transport) as Box<dyn Transport>)))
}

/// One that came to a unix socket.
fn local(stream: UnixStream) -> Arrival {
    Box::pin(std::future::ready(Unix::try_from(stream).map(|unix| Box::new(unix) as Box<dyn Transport>)))
}

/// What the owner of the hypervisor holds.
struct Running {
    hypervisor: Hypervisor,
    clock: fn() -> Duration,
    clients: HashMap<Client, mpsc::UnboundedSender<Delivery>>,
    tasks: JoinSet<()>,
    /// Whom each of them serves.
    served: HashMap<task::Id, Client>,
    /// What the server carries out at other daemons.
    errands: JoinSet<Result<Vec<u8>, Refusal>>,
    /// For whom each of them is, and which call waits for it.
    sent: HashMap<task::Id, (Client, CallId)>,
    requests: mpsc::UnboundedSender<(Client, Message)>,
    /// Those that there was no room for: at most one of each listener.
    waiting: VecDeque<(Arrival, Peer, oneshot::Sender<()>)>,
    last: u64,
}

impl Running {
    /// Lets in who waits, as far as there is room.
    fn admit(&mut self) {
        let mut index = 0;
        while let Some((_, peer, _)) = self.waiting.get(index) {
            if !self.hypervisor.has_room(peer.service) {
                index += 1;
            } else if let Some((arrival, peer, admitted)) = self.waiting.remove(index) {
                self.attach(arrival, peer);
                // A listener that is gone wants no other client.
                let _ = admitted.send(());
            }
        }
    }

    /// Carries out what the hypervisor wants done at other daemons, as a client of its own.
    fn go_out(&mut self) {
        while let Some(errand) = self.hypervisor.errand() {
            let (near, far) = tokio::io::duplex(OWN);
            let client = self.attach(arrived(Stream::new(far, Privacy::Private)), Peer::default());
            self.hypervisor.trust(client);
            let waits = (errand.client, errand.call);
            let task = self.errands.spawn(async move {
                outward::migrate(Box::new(Stream::new(near, Privacy::Private)), &errand).await
            });
            self.sent.insert(task.id(), waits);
        }
    }

    fn attach(&mut self, arrival: Arrival, peer: Peer) -> Client {
        self.last += 1;
        let client = Client(self.last);
        let (sender, deliveries) = mpsc::unbounded_channel();
        self.hypervisor.connect(client, peer, (self.clock)());
        self.clients.insert(client, sender);
        let requests = self.requests.clone();
        let task = self.tasks.spawn(async move {
            match arrival.await {
                Ok(transport) => Connection::new(client, transport, requests, deliveries).run().await,
                Err(error) => tracing::debug!(%error, "a client is not let in"),
            }
        });
        self.served.insert(task.id(), client);
        client
    }

    fn detach(&mut self, task: task::Id) {
        if let Some(client) = self.served.remove(&task) {
            self.clients.remove(&client);
            self.hypervisor.disconnect(client, (self.clock)());
        }
    }

    fn handle(&mut self, client: Client, message: Message) {
        let hypervisor = &mut self.hypervisor;
        let weight = message.weight();
        match message {
            Message::Call(call, info, payload, descriptors) => {
                hypervisor.call(client, call, info, &payload, descriptors, (self.clock)());
            }
            Message::Data(call, data) => hypervisor.data(client, call, &data),
            Message::Hole(call, Ok(length)) => hypervisor.hole(client, call, length),
            Message::Hole(call, Err(error)) => hypervisor.broken_hole(client, call, &error),
            Message::Finish(call) => hypervisor.finish(client, call),
            Message::Abort(call) => hypervisor.abort(client, call),
            Message::Pull(call) => hypervisor.pull(client, call),
        }
        if let Some(to) = self.clients.get(&client).filter(|_| weight > 0) {
            // A connection that has ended is detached in its turn.
            let _ = to.send(Delivery::Taken(weight));
        }
    }

    fn deliver(&mut self) {
        while let Some((client, effect)) = self.hypervisor.pop() {
            if let Some(to) = self.clients.get(&client) {
                // A connection that has ended is detached in its turn.
                let _ = to.send(Delivery::Effect(effect));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_pause_goes_on_whatever_else_happens() {
        let (mut rest, tries) = (Rest::default(), AtomicUsize::new(0));
        let accept = || {
            tries.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err::<(), _>(io::Error::from(Errno::MFILE)))
        };
        // Something else happens ten times a second, for ten seconds.
        for _ in 0..100 {
            let accepted = tokio::time::timeout(BREATH / 10, rest.patiently(accept)).await;
            assert!(accepted.is_err(), "nobody came");
        }
        let tries = tries.load(Ordering::SeqCst);
        assert!((9..=11).contains(&tries), "{tries} tries in ten pauses");
        let broken = || std::future::ready(Err::<(), _>(io::Error::from(Errno::BADF)));
        assert!(rest.patiently(broken).await.is_err(), "a listener that is none");
    }
}
