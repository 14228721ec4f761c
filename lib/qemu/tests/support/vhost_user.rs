//! The other end of vhost-user, as far as QEMU needs it to accept a device: it answers questions and does nothing.
//!
//! A message is a header of three numbers of 32 bits (request, flags, size) and `size` bytes; numbers are in the host's order (QEMU's
//! description of the protocol, docs/interop/vhost-user.rst).

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc,
    thread,
};

/// Serves every connection until it ends. Answers what is asked for on all of them.
pub(crate) fn serve(path: &Path) -> io::Result<mpsc::Receiver<u32>> {
    let listener = UnixListener::bind(path)?;
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            thread::spawn(move || serve_one(stream, &asked));
        }
    });
    Ok(requests)
}

fn serve_one(mut stream: UnixStream, asked: &mpsc::Sender<u32>) -> io::Result<()> {
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header)?;
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let (request, flags, size) = (number(0), number(4), number(8));
        let mut body = vec![0; size as usize];
        stream.read_exact(&mut body)?;
        // Not everybody wants to know.
        let _ = asked.send(request);
        let answer: Option<Vec<u8>> = match request {
            GET_FEATURES => Some((VERSION_1 | PROTOCOL_FEATURES).to_ne_bytes().into()),
            GET_PROTOCOL_FEATURES => Some((MULTIQUEUE | REPLY_ACK | CONFIG).to_ne_bytes().into()),
            GET_QUEUE_NUM => Some(8u64.to_ne_bytes().into()),
            GET_CONFIG => Some(body),
            GET_VRING_BASE => Some(body),
            _ if flags & NEED_REPLY != 0 => Some(0u64.to_ne_bytes().into()),
            _ => None,
        };
        if let Some(answer) = answer {
            let size = u32::try_from(answer.len()).unwrap();
            let header: Vec<u8> =
                [request, VERSION | REPLY, size].iter().flat_map(|number| number.to_ne_bytes()).collect();
            stream.write_all(&[header, answer].concat())?;
        }
    }
}

const GET_FEATURES: u32 = 1;
const GET_VRING_BASE: u32 = 11;
const GET_PROTOCOL_FEATURES: u32 = 15;
const GET_QUEUE_NUM: u32 = 17;
const GET_CONFIG: u32 = 24;

const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

const VERSION_1: u64 = 1 << 32;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const MULTIQUEUE: u64 = 1;
const REPLY_ACK: u64 = 1 << 3;
const CONFIG: u64 = 1 << 9;
