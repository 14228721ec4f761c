//! Files in the guest, moved in pieces: memory is bounded by a piece, whatever the size of the file.

use super::{
    Agent, AgentError,
    commands::{Command, FileClose, FileFlush, FileOpen, FileRead, FileSeek, FileWrite, Whence},
    decoded,
    driver::{Input, Outcome},
};
use crate::{session::CallId, wire::Object as _};
use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
use serde_json::Map;
use std::io;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
};

/// Why a file did not arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The guest's side.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A piece is not what the agent says that it is.
    #[error("a piece of the file did not arrive whole")]
    Piece(#[source] DecodeError),
    /// This side.
    #[error("this side of the copy failed")]
    Local(#[source] io::Error),
    /// The guest took less than it was given and does not say why; its disk may be full.
    #[error("the guest took {taken} of {given} bytes")]
    Short {
        /// Bytes that it took.
        taken: usize,
        /// Bytes that it was given.
        given: usize,
    },
}

/// An open file in the guest, until that is started anew ([`AgentError::Gone`], or a refusal of an agent that does not know it). Dropped, it is closed when the agent gets round to it: when the file systems are thawed, if this connection
/// has frozen them, and, where no agent is there, as soon as one answers a call; [`GuestFile::close`] tells how that went.
#[derive(Debug)]
pub struct GuestFile {
    agent: Agent,
    /// The call that opened it.
    file: CallId,
    handle: i64,
    open: bool,
}

impl GuestFile {
    async fn call<C: Command>(&self, command: &C) -> Result<C::Reply, AgentError> {
        let mut arguments = Map::new();
        command.put(&mut arguments);
        decoded::<C>(self.agent.run_on(Some(self.file), C::FACTS, arguments).await?)
    }

    /// The next piece, of at most [`PIECE`] bytes; empty at the end.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn read(&self) -> Result<Vec<u8>, FileError> {
        let count = Some(i64::try_from(PIECE).unwrap_or(i64::MAX));
        let piece = self.call(&FileRead { handle: self.handle, count }).await?;
        STANDARD.decode(piece.buf_b64).map_err(FileError::Piece)
    }

    /// Writes all of the bytes, in pieces.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn write(&self, bytes: &[u8]) -> Result<(), FileError> {
        for piece in bytes.chunks(PIECE) {
            let write = FileWrite { handle: self.handle, buf_b64: STANDARD.encode(piece), count: None };
            let taken = usize::try_from(self.call(&write).await?.count).unwrap_or_default();
            if taken != piece.len() {
                return Err(FileError::Short { taken, given: piece.len() });
            }
        }
        Ok(())
    }

    /// Goes to a place, counted from the beginning.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn seek(&self, offset: i64) -> Result<(), AgentError> {
        let seek = FileSeek { handle: self.handle, offset, whence: Whence::Set };
        self.call(&seek).await.map(drop)
    }

    /// Closes it; what was written is then with the guest's kernel. In the end it is closed also when this is dropped, or answers
    /// [`AgentError::Frozen`] or [`AgentError::Absent`].
    ///
    /// # Errors
    /// [`AgentError`]; the last bytes may be lost then, as with [`AgentError::Gone`].
    pub async fn close(mut self) -> Result<(), AgentError> {
        let handle = self.handle;
        let flushed = self.call(&FileFlush { handle }).await;
        self.open = false;
        let close = |reply| Input::Close { file: self.file, reply: Some(reply) };
        let closed = self.agent.ask(FileClose::FACTS, None, close).await;
        flushed.map(drop).and(closed.map(drop))
    }
}

impl Drop for GuestFile {
    fn drop(&mut self) {
        if self.open {
            self.agent.close_file(self.file);
        }
    }
}

/// A file whose handle is awaited. Dropped before it was taken, the file is not opened or closed again.
struct Opening<'a> {
    agent: &'a Agent,
    id: CallId,
    answer: oneshot::Receiver<Outcome>,
    taken: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        // What the driver answers from now on comes back to it; what it has answered lies here.
        self.answer.close();
        match self.answer.try_recv() {
            Ok(Ok(_)) => self.agent.close_file(self.id),
            Ok(Err(_)) => {}
            // A driver that is gone has nothing to give up.
            Err(_) => drop(self.agent.calls.send(Input::Abandon(self.id))),
        }
    }
}

/// Bytes of a file in one message: 256 KiB. Base64 makes 342 KiB of it.
pub const PIECE: usize = 256 * 1024;

impl Agent {
    /// Opens a file in the guest; `mode` is that of `fopen`, such as `r`, `w` or `a+`. When the future is dropped, a file whose opening was
    /// sent is closed as soon as it is open; until then other calls wait. One that is opened later than the patience lasts stays open: its
    /// handle comes too late to be known.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn open(&self, path: impl Into<String>, mode: &str) -> Result<GuestFile, AgentError> {
        let id = self.shared.new_id();
        let mut arguments = Map::new();
        FileOpen { path: path.into(), mode: Some(mode.to_owned()) }.put(&mut arguments);
        let answer = self.post(FileOpen::FACTS, |reply| Input::Open { id, arguments, reply })?;
        let mut opening = Opening { agent: self, id, answer, taken: false };
        let answer = (&mut opening.answer).await;
        opening.taken = true;
        let handle = decoded::<FileOpen>(self.answered(FileOpen::FACTS, answer)?)?;
        Ok(GuestFile { agent: self.clone(), file: id, handle, open: true })
    }

    /// Has a file closed without anybody waiting for it, also from `drop`.
    fn close_file(&self, file: CallId) {
        // With its connection a driver loses what it could do.
        let _ = self.calls.send(Input::Close { file, reply: None });
    }

    /// Copies a file out of the guest; answers its size.
    ///
    /// # Errors
    /// [`FileError`]; what was written so far stays written.
    pub async fn download(
        &self,
        path: impl Into<String>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<u64, FileError> {
        let file = self.open(path, "r").await?;
        let mut total = 0;
        loop {
            let piece = file.read().await?;
            if piece.is_empty() {
                break;
            }
            to.write_all(&piece).await.map_err(FileError::Local)?;
            total += piece.len() as u64;
        }
        to.flush().await.map_err(FileError::Local)?;
        file.close().await?;
        Ok(total)
    }

    /// Copies into a file in the guest, which is made, or emptied before; answers its size.
    ///
    /// # Errors
    /// [`FileError`]; the file is then incomplete.
    pub async fn upload(
        &self,
        path: impl Into<String>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<u64, FileError> {
        let file = self.open(path, "w").await?;
        let mut piece = Vec::with_capacity(PIECE);
        let mut total = 0;
        loop {
            piece.clear();
            let count = from.take(PIECE as u64).read_to_end(&mut piece).await.map_err(FileError::Local)?;
            if count == 0 {
                break;
            }
            file.write(&piece).await?;
            total += count as u64;
        }
        file.close().await?;
        Ok(total)
    }
}
