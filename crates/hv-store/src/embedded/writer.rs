//! The writer's loop: takes what waits, makes it one group, answers, and folds beside that.

use super::engine::{Asked, Command, Engine};
use super::state::Shared;
use super::{Reply, Request};
use crate::{Op, StoreError, clock};
use std::fs::File;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Most commands in one commit, which bounds how long the first of them waits.
const GROUP: usize = 1024;

/// Most bytes of values in one commit, but for a single transaction that is larger.
const GROUP_BYTES: usize = 8 << 20;

/// How often the writer looks for more before it lets go of its thread: about as long as a commit takes. A client that
/// writes again as soon as it is answered then meets a thread that is awake.
const LOOKS: usize = 100;

/// The writer: alone changes the store.
pub(super) struct Writer {
    engine: Engine,
    queue: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    /// A part of the log on its way into the base.
    folding: Option<oneshot::Receiver<Result<u64, StoreError>>>,
    closing: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(engine: Engine, queue: mpsc::Receiver<Request>, shared: Arc<Shared>) -> Self {
        Self { engine, queue, shared, folding: None, closing: None }
    }

    /// Runs until the store is closed or nobody can ask any more. It holds the file's lock until nothing can touch the files.
    pub(super) async fn run(mut self, lock: File) {
        let shared = self.shared.clone();
        while self.closing.is_none() {
            let wake = self.engine.next_wake(clock::now());
            let own_work = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            let folded = async {
                match &mut self.folding {
                    Some(folding) => folding.await,
                    None => std::future::pending().await,
                }
            };
            // All arms are cancel-safe: requests stay in the queue until they are taken, an answer stays in its channel, and
            // a sleep loses nothing.
            let first = tokio::select! {
                biased;
                request = self.queue.recv() => match request {
                    Some(request) => Some(request),
                    None => break,
                },
                result = folded => {
                    self.folded(result);
                    continue;
                }
                () = own_work => None,
            };
            // Blocking work also keeps paused test clocks from running ahead of the disk.
            match tokio::task::spawn_blocking(move || self.burst(first)).await {
                Ok(writer) => self = writer,
                // A bug; what was asked for is answered by its channels being dropped.
                Err(_) => return end(shared, lock, None).await,
            }
        }
        self.queue.close();
        if let Some(folding) = self.folding.take() {
            let _ = folding.await;
        }
        end(shared, lock, self.closing).await;
    }

    /// Group after group, for as long as somebody asks.
    fn burst(mut self, first: Option<Request>) -> Self {
        let mut first = first;
        loop {
            let (commands, replies) = self.take(first.take());
            let asked = if replies.is_empty() { Asked::Nothing } else { Asked::Something };
            let answers = self.engine.apply(clock::now(), commands);
            for (reply, answer) in replies.into_iter().zip(answers) {
                // The caller may have gone; what it asked for is done all the same.
                let _ = reply.send(answer);
            }
            self.fold(asked);
            if self.closing.is_some() {
                return self;
            }
            first = (0..LOOKS).find_map(|_| {
                let request = self.queue.try_recv().ok();
                if request.is_none() {
                    std::thread::yield_now();
                }
                request
            });
            if first.is_none() {
                return self;
            }
        }
    }

    /// What waits, as far as one group may hold it.
    fn take(&mut self, first: Option<Request>) -> (Vec<Command>, Vec<Reply>) {
        let (mut commands, mut replies) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = first;
        while let Some(request) = next {
            match request {
                Request::Apply(command, reply) => {
                    bytes += size(&command);
                    commands.push(command);
                    replies.push(reply);
                }
                Request::Close(done) => self.closing = Some(done),
            }
            let room = self.closing.is_none() && commands.len() < GROUP && bytes < GROUP_BYTES;
            next = if room { self.queue.try_recv().ok() } else { None };
        }
        (commands, replies)
    }

    /// Starts folding if it is time to, and hears what came of it.
    fn fold(&mut self, asked: Asked) {
        if let Some(result) = self.folding.as_mut().and_then(|folding| match folding.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(())),
            Ok(result) => Some(Ok(result)),
        }) {
            self.folded(result);
        }
        if self.folding.is_some() {
            return;
        }
        if let Some(to) = self.engine.fold_due(clock::now(), asked) {
            let (done, folding) = oneshot::channel();
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || done.send(shared.disk.fold(to)));
            self.folding = Some(folding);
        }
    }

    fn folded<E>(&mut self, result: Result<Result<u64, StoreError>, E>) {
        self.folding = None;
        let ended = || Err(StoreError::Unavailable("folding has ended".into()));
        self.engine.folded(clock::now(), result.unwrap_or_else(|_| ended()));
    }
}

async fn end(shared: Arc<Shared>, lock: File, closing: Option<oneshot::Sender<()>>) {
    shared.newest.send_modify(|progress| progress.closed = true);
    let _ = tokio::task::spawn_blocking(move || {
        shared.disk.close();
        // An error can only mean that it is not locked.
        let _ = lock.unlock();
    })
    .await;
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

/// Bytes of the values in a command.
fn size(command: &Command) -> usize {
    let Command::Txn(txn) = command else { return 0 };
    let size = |op: &Op| match op {
        Op::Put { value, .. } => value.len(),
        Op::Delete(_) | Op::DeletePrefix(_) | Op::Get(_) => 0,
    };
    txn.then.iter().chain(&txn.otherwise).map(size).sum()
}
