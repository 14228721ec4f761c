//! For programs without an executor: the same connection, and calls that wait.

use crate::connect::{Builder, Connect};
use crate::error::Error;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A connection whose calls can be waited for on any thread.
///
/// One thread of its own moves it, so that it stays alive while nobody calls; who waits writes for itself and is woken by its reply.
/// The connection ends with the last clone of this. Everything behind it is the same as elsewhere:
///
/// ```no_run
/// # fn example() -> Result<(), libvirt_client::Error> {
/// let libvirt = libvirt_client::Blocking::open("qemu:///system")?;
/// for domain in libvirt.wait(libvirt.connect().domains(Default::default()))? {
///     println!("{} {:?}", domain.name(), libvirt.wait(domain.state())?.state);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Blocking {
    connect: Connect,
    thread: Arc<Thread>,
}

/// The thread ends when this does.
#[derive(Debug)]
struct Thread {
    handle: Handle,
    _ends: oneshot::Sender<()>,
}

impl Blocking {
    /// Opens a connection.
    ///
    /// # Errors
    /// As [`Builder::open_with`].
    pub fn open(uri: &str) -> Result<Self, Error> {
        Self::open_with(Connect::builder(uri))
    }

    /// Opens a connection with everything said.
    ///
    /// # Errors
    /// As [`Builder::open_with`]; also when no thread can be started.
    ///
    /// # Panics
    /// On a thread of an executor of tokio's.
    pub fn open_with(builder: Builder) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, end) = oneshot::channel::<()>();
        // Until the other half is gone; then the drivers of all connections are dropped with the executor.
        std::thread::Builder::new().name("libvirt".to_owned()).spawn(move || drop(runtime.block_on(end)))?;
        let thread = Arc::new(Thread { handle: handle.clone(), _ends: ends });
        let spawner = handle.clone();
        let connect = handle.block_on(builder.open_with(move |driver| drop(spawner.spawn(driver))))?;
        Ok(Self { connect, thread })
    }

    /// The connection.
    #[must_use]
    pub fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Waits for a call, a piece of a stream, an event, or anything else of this connection.
    ///
    /// # Panics
    /// On a thread of an executor of tokio's: there, await it.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.thread.handle.block_on(future)
    }
}
