//! No connection at all.

use super::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

/// What stands in a transport's place while it is put into another, and when it is closed.
pub(crate) struct Nowhere;

impl Transport for Nowhere {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        _: &mut [u8],
        _: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Open)
    }
}
