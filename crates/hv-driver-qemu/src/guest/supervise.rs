//! The tasks that watch a guest's process, from when it is known until it has ended.

use super::{Live, Silent, Slot, Supervisor, observe::has_stalled};
use crate::{
    cgroup, console, convert,
    layout::{EndFacts, Facts},
};
use hv_driver::End;
use hv_runtime::clock;
use qemu::{Adoption, Unresponsive};
use std::{
    convert::Infallible,
    path::Path,
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Polls the supervision of a process, tells of its changes, keeps its logs short, and writes down how it ended.
pub(super) async fn supervise(
    slot: Arc<Slot>,
    live: Arc<Live>,
    mut supervisor: Supervisor,
    settled: watch::Sender<bool>,
) {
    let mut status = live.vm.watch();
    {
        let (mut chores, mut button) = (pin!(chores(&slot, &live)), pin!(button(&live)));
        loop {
            // Cancel safety: the supervisor, the chores and the button are kept, the others lose nothing when dropped.
            tokio::select! {
                never = &mut button => match never {},
                _ = &mut supervisor => break,
                Ok(()) = status.changed() => slot.changed(),
                never = &mut chores => match never {},
                () = slot.around.stop.cancelled() => return,
            }
        }
    }
    let mut end = None;
    if live.ending.load(Ordering::Acquire) {
        slot.on_files(move |_| cgroup::remove(&live.facts.cgroup)).await;
    } else {
        let write_down = move |slot: &Slot| {
            let starved = cgroup::memory_kills(&live.facts.cgroup) > live.facts.memory_kills;
            cgroup::remove(&live.facts.cgroup);
            let words = slot.layout.last_words(live.facts.log_start);
            let mut failure = convert::failure_of(&live.vm.status(), &words);
            if let Some(failure) = failure.as_mut().filter(|_| starved) {
                failure.push_str("; it used more memory than its control group may");
            }
            let facts = EndFacts { boot_id: clock::boot_id(), failure: failure.clone() };
            if let Err(error) = facts.save(&slot.layout.run()) {
                tracing::warn!(instance = %slot.id, %error, "cannot write down how the guest ended");
            }
            failure.map_or(End::PoweredOff, End::Failed)
        };
        end = Some(slot.on_files(write_down).await);
    }
    slot.settle(settled, end);
}

/// What is looked after now and then while a process lives: its logs, and room on its disks' file system while it waits for
/// that. Nothing tells when space becomes free, so this asks.
async fn chores(slot: &Arc<Slot>, live: &Live) -> Infallible {
    let mut status = live.vm.watch();
    let mut trim = tokio::time::interval(console::TRIM_EVERY);
    loop {
        let stalled = has_stalled(&status.borrow_and_update());
        if !stalled {
            live.room.store(false, Ordering::Release);
        }
        // Cancel safety: all three only wait.
        tokio::select! {
            _ = trim.tick() => {
                slot.on_files(|slot| console::trim(&[slot.layout.console_log(), slot.layout.qemu_log()])).await;
            }
            Ok(()) = status.changed() => {}
            () = tokio::time::sleep(LOOK_FOR_ROOM_EVERY), if stalled => {
                let room = slot.on_files(|slot| has_room(&slot.layout.dir)).await;
                if live.room.swap(room, Ordering::AcqRel) != room {
                    slot.changed();
                }
            }
        }
    }
}

/// Presses the power button again after it was pressed: a guest that still boots has not heard it. Not for ever, since nobody may want it to
/// go off any more.
async fn button(live: &Live) -> Infallible {
    const PATIENCE: Duration = Duration::from_secs(60);
    loop {
        live.button.notified().await;
        let Err(_) = tokio::time::timeout(PATIENCE, live.vm.keeps_pressing()).await;
    }
}

/// Whether a guest could write for a while. What cannot be asked has none.
fn has_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= ROOM_BYTES)
}

/// Waits until a silent process answers or ends.
pub(super) async fn wait(
    slot: Arc<Slot>,
    silent: Arc<Silent>,
    mut held: Box<Unresponsive>,
    settled: watch::Sender<bool>,
) {
    let mut early = false;
    loop {
        let retry = async move {
            if early {
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            held.retry(FOR_EVER).await
        };
        // Cancel safety: a driver that stops wants nothing of it any more.
        let adoption = tokio::select! {
            adoption = retry => adoption,
            () = slot.around.stop.cancelled() => return,
        };
        match adoption {
            Adoption::Adopted(vm, supervisor) => {
                tracing::info!(instance = %slot.id, "a silent guest answers again");
                slot.begin(vm, supervisor, silent.facts.clone());
                // Whoever was about to end it finds it live now and asks again.
                settled.send_replace(true);
                return;
            }
            Adoption::Gone(why) => {
                let by_us = silent.ending.load(Ordering::Acquire);
                let clear = move |slot: &Slot| {
                    cgroup::remove(&silent.facts.cgroup);
                    slot.layout.last_words(silent.facts.log_start)
                };
                let words = slot.on_files(clear).await;
                let colon = if words.is_empty() { "" } else { ": " };
                let end = (!by_us).then(|| End::Failed(format!("{why}{colon}{words}")));
                slot.settle(settled, end);
                return;
            }
            Adoption::Unresponsive(again) => {
                again.reason().clone_into(&mut silent.reason.lock().unwrap_or_else(PoisonError::into_inner));
                slot.changed();
                (held, early) = (again, true);
            }
        }
    }
}

/// A retry ends earlier by the process's end, an answer, or a monitor that refuses.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// Between attempts at a monitor that refuses.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Between two looks at the free space while a guest waits for it; a look is one system call.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);

/// Free space at which a guest that waits for it is let go.
const ROOM_BYTES: u64 = 16 << 20;
