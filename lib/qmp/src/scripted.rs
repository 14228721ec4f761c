//! Other sides of a monitor, for tests: a server that does as a test says, a tap that writes down what passes, and a server that plays
//! what was written down.
//!
//! ```text
//!   test --> Server --stream--> client under test
//!   client --Tap--> QEMU      `> {...}` requests, `< {...}` answers and events, one a line --> Transcript --> Server::play
//! ```
//!
//! Nothing here waits by the clock, so a test on an in-memory stream is the same each time it runs.

use serde_json::{Value, json};
use std::{
    fmt, io,
    pin::Pin,
    str::FromStr,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::{
    mutex::guarded,
    share::{Input, Parser},
};

/// A monitor that does as it is told.
#[derive(Debug)]
pub struct Server<S> {
    stream: S,
    parser: Parser,
}

/// Largest request that a [`Server`] takes.
const REQUEST_BYTES: usize = 64 * 1024 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// On one end of a stream; `tokio::io::duplex` has two.
    pub fn new(stream: S) -> Self {
        Self { stream, parser: Parser::new(REQUEST_BYTES) }
    }

    /// Greets as QEMU of this release, negotiates.
    ///
    /// # Errors
    /// Those of the stream; `UnexpectedEof` when the client left.
    pub async fn greet(&mut self, release: [u32; 3], capabilities: &[&str]) -> io::Result<()> {
        let [major, minor, micro] = release;
        let qemu = json!({"major": major, "minor": minor, "micro": micro});
        let version = json!({"qemu": qemu, "package": ""});
        self.say(&json!({"QMP": {"version": version, "capabilities": capabilities}})).await?;
        let negotiation = self.request().await?;
        self.answer(&negotiation, json!({})).await
    }

    /// The next request.
    ///
    /// # Errors
    /// Those of the stream; `UnexpectedEof` when the client left, `InvalidData` when it sent no JSON.
    pub async fn request(&mut self) -> io::Result<Value> {
        let mut chunk = [0; 4096];
        loop {
            match self.parser.next_input() {
                Some(Input::Value(request)) => return Ok(request),
                Some(Input::Malformed | Input::TooLong) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the client sent no JSON"));
                }
                None => {}
            }
            match self.stream.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.parser.push(&chunk[..count]),
            }
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn answer(&mut self, request: &Value, value: Value) -> io::Result<()> {
        self.say(&json!({"return": value, "id": request["id"]})).await
    }

    /// Refuses a request.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn refuse(&mut self, request: &Value, class: &str, description: &str) -> io::Result<()> {
        let error = json!({"class": class, "desc": description});
        self.say(&json!({"id": request["id"], "error": error})).await
    }

    /// Raises an event, at the beginning of time.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn event(&mut self, name: &str, data: Value) -> io::Result<()> {
        let timestamp = json!({"seconds": 0, "microseconds": 0});
        self.say(&json!({"event": name, "data": data, "timestamp": timestamp})).await
    }

    /// Sends a message as it is.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn say(&mut self, message: &Value) -> io::Result<()> {
        self.raw(format!("{message}\r\n").as_bytes()).await
    }

    /// Sends bytes: half a message, or none.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Plays a transcript: says what was said, waits for requests where requests came, and compares them, save their ids. With the last
    /// line the client is left alone.
    ///
    /// # Errors
    /// [`Astray`] with the place where the client does otherwise.
    pub async fn play(&mut self, transcript: &Transcript) -> Result<(), Astray> {
        // The client's ids for those in the transcript.
        let mut ids: Vec<(Value, Value)> = Vec::new();
        for (number, line) in transcript.lines.iter().enumerate() {
            let place = number + 1;
            match line {
                Line::Request(expected) => {
                    let request = self.request().await.map_err(|source| Astray::Stream { place, source })?;
                    if without_id(&request) != without_id(expected) {
                        return Err(Astray::Otherwise { place, expected: expected.clone(), request });
                    }
                    ids.push((expected["id"].clone(), request["id"].clone()));
                }
                Line::Said(message) => {
                    let mut message = message.clone();
                    if let Some(id) = message.get_mut("id")
                        && let Some(at) = ids.iter().position(|(recorded, _)| recorded == id)
                    {
                        *id = ids.swap_remove(at).1;
                    }
                    self.say(&message).await.map_err(|source| Astray::Stream { place, source })?;
                }
            }
        }
        Ok(())
    }
}

fn without_id(request: &Value) -> Value {
    let mut request = request.clone();
    if let Value::Object(members) = &mut request {
        members.remove("id");
    }
    request
}

/// Where a client left the path of a transcript.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Astray {
    /// It asked something else.
    #[error("line {place}: expected {expected}, got {request}")]
    Otherwise {
        /// Line of the transcript, from 1.
        place: usize,
        /// The request there.
        expected: Value,
        /// That of the client.
        request: Value,
    },
    /// It left, or sent no JSON.
    #[error("line {place}: the stream failed")]
    Stream {
        /// Line of the transcript, from 1.
        place: usize,
        /// How.
        #[source]
        source: io::Error,
    },
}

/// What passed over a monitor, as lines `> request` and `< message`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
enum Line {
    Request(Value),
    Said(Value),
}

/// A line that belongs to no transcript.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {0} of the transcript is neither `> JSON` nor `< JSON`")]
pub struct NoTranscript(usize);

impl FromStr for Transcript {
    type Err = NoTranscript;

    fn from_str(text: &str) -> Result<Self, NoTranscript> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let wrong = || NoTranscript(number + 1);
            let (direction, json) = line.split_once(' ').ok_or_else(wrong)?;
            let value = serde_json::from_str(json).map_err(|_| wrong())?;
            lines.push(match direction {
                ">" => Line::Request(value),
                "<" => Line::Said(value),
                _ => return Err(wrong()),
            });
        }
        Ok(Self { lines })
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Request(request) => writeln!(f, "> {request}"),
            Line::Said(message) => writeln!(f, "< {message}"),
        })
    }
}

/// The content of a [`Transcript`] that is being written; clones share it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Held for short sections without await.
    content: Arc<Mutex<Content>>,
}

#[derive(Debug)]
struct Content {
    requests: Parser,
    messages: Parser,
    transcript: Transcript,
}

impl Recording {
    /// What has passed so far; of messages under way nothing.
    #[must_use]
    pub fn transcript(&self) -> Transcript {
        guarded(&self.content).transcript.clone()
    }

    fn note(&self, bytes: &[u8], side: Side) {
        let mut content = guarded(&self.content);
        let Content { requests, messages, transcript } = &mut *content;
        let (parser, line): (_, fn(Value) -> Line) = match side {
            Side::Sent => (requests, Line::Request),
            Side::Received => (messages, Line::Said),
        };
        parser.push(bytes);
        while let Some(input) = parser.next_input() {
            // What is no JSON, such as the byte of a resynchronisation, has no place in a transcript.
            if let Input::Value(value) = input {
                transcript.lines.push(line(value));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Sent,
    Received,
}

/// A client's stream, with all that passes written down. Descriptors do not pass.
#[derive(Debug)]
pub struct Tap<S> {
    stream: S,
    recording: Recording,
}

/// Puts a tap on a stream.
pub fn tap<S>(stream: S) -> (Tap<S>, Recording) {
    let content = Content {
        requests: Parser::new(REQUEST_BYTES),
        messages: Parser::new(REQUEST_BYTES),
        transcript: Transcript::default(),
    };
    let recording = Recording { content: Arc::new(Mutex::new(content)) };
    (Tap { stream, recording: recording.clone() }, recording)
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.recording.note(&buffer.filled()[before..], Side::Received);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.recording.note(&bytes[..count], Side::Sent);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
