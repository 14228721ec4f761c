//! What outlives a back-end: its dirty log, what is in flight, and its own state.

use super::{CallError, FrontEnd};
use crate::front::Request;
use crate::payload::{DeviceState, Inflight, Log};
use crate::socket::Waits;
use crate::wire::{Message as _, Reply};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Which way the state of a device goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of the back-end.
    Save,
    /// Into it.
    Load,
}

impl<W: Waits> FrontEnd<W> {
    /// Gives the back-end a log of the pages that it writes, `bytes` of zeroes in `descriptor`: a bit for each 4 KiB by the driver's
    /// addresses. Written are those whose memory is announced with `LOG_ALL` set by [`FrontEnd::set_features`].
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_log<'a>(
        &'a mut self,
        descriptor: BorrowedFd<'a>,
        bytes: u64,
    ) -> W::Output<'a, Result<(), CallError>> {
        W::run(async move {
            self.ask(&Request::SetLogBase(Log { size: bytes, offset: 0 }), &[descriptor]).await.map(drop)
        })
    }

    /// Memory of the back-end's that remembers what is in flight of so many queues of so many entries, with `INFLIGHT_SHMFD`. Whoever
    /// keeps it gives it to the next back-end with [`FrontEnd::set_inflight`].
    ///
    /// # Errors
    /// [`CallError`].
    pub fn inflight(
        &mut self,
        queues: u16,
        queue_size: u16,
    ) -> W::Output<'_, Result<(Inflight, OwnedFd), CallError>> {
        W::run(self.inflight_region(queues, queue_size))
    }

    pub(super) async fn inflight_region(
        &mut self,
        queues: u16,
        queue_size: u16,
    ) -> Result<(Inflight, OwnedFd), CallError> {
        let asked = Inflight { queues, queue_size, ..Inflight::default() };
        let answer = self.ask(&Request::GetInflightFd(asked), &[]).await?;
        match answer.map(|mut answer| (answer.reply, answer.descriptors.pop())) {
            Some((Reply::Inflight(said), Some(descriptor))) => Ok((said, descriptor)),
            _ => Err(CallError::Broken),
        }
    }

    /// Gives it to the back-end, before queues start.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn set_inflight<'a>(
        &'a mut self,
        said: Inflight,
        descriptor: BorrowedFd<'a>,
    ) -> W::Output<'a, Result<(), CallError>> {
        W::run(async move { self.ask(&Request::SetInflightFd(said), &[descriptor]).await.map(drop) })
    }

    /// Begins to transfer the device's state through a pipe of which `end` is the back-end's, or through the one that is given back
    /// instead. The device must be stopped; [`FrontEnd::transferred`] tells how it went.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn transfer(
        &mut self,
        direction: Direction,
        end: OwnedFd,
    ) -> W::Output<'_, Result<Option<OwnedFd>, CallError>> {
        const ERROR: u64 = 0xff;
        let direction = match direction {
            Direction::Save => 0,
            Direction::Load => 1,
        };
        W::run(async move {
            let state = DeviceState { direction, phase: 0 };
            let answer = self.ask(&Request::SetDeviceStateFd(state), &[end.as_fd()]).await?;
            match answer.map(|mut answer| (answer.reply, answer.descriptors.pop())) {
                Some((Reply::U64(code), descriptor)) if code & ERROR == 0 => Ok(descriptor),
                Some((Reply::U64(code), _)) => {
                    Err(CallError::Refused { request: "SET_DEVICE_STATE_FD", code })
                }
                _ => Err(CallError::Broken),
            }
        })
    }

    /// Whether the transfer succeeded; asked when all was read, or written and closed.
    ///
    /// # Errors
    /// [`CallError::Refused`] where it did not.
    pub fn transferred(&mut self) -> W::Output<'_, Result<(), CallError>> {
        W::run(self.succeeded(Request::CheckDeviceState))
    }

    /// A request that is answered by 0 where it succeeded.
    pub(super) async fn succeeded(&mut self, request: Request) -> Result<(), CallError> {
        match self.number(&request).await? {
            0 => Ok(()),
            code => Err(CallError::Refused { request: request.facts().name, code }),
        }
    }
}
