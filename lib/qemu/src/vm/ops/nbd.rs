//! Ending QEMU's NBD server, and not QEMU with it.
//!
//! `nbd-server-stop` waits until all clients have left, and hears nothing meanwhile of one that has come in and not finished its
//! negotiation: QEMU 7.2 (7.2.22 of Debian 12) then hangs for ever, with its guest, and it is enough that somebody connects and says nothing.
//! While the server goes on QEMU lets go of such a client after ten seconds. Therefore, in this order:
//!
//! ```text
//!   exports end, with all who read them --> the socket goes from its place --> nobody is connected any more --> the server ends
//!                                           (nobody new comes in)              (asked of the kernel)
//! ```
//! Of a TCP port nobody can be kept away: who comes in between the last look and the end can still make QEMU hang.

use super::{
    OperationError,
    follow::{Follow, Told},
    host,
};
use crate::config::Address;
use qmp::{
    CallError,
    commands::{
        BlockExportDel, BlockExportInfo, BlockExportRemoveMode, BlockExportType, NbdServerStop,
        QueryBlockExports,
    },
};
use std::{collections::BTreeSet, fs, io, path::Path, time::Duration};

/// What tells that an export has ended.
pub(super) const EVENTS: &[&str] = &["BLOCK_EXPORT_DELETED"];

/// Ends the exports that are `ours`, and the server that listens there when it has no others. What is done already is passed over. `follow`
/// hears [`EVENTS`].
pub(super) async fn end(
    follow: &mut Follow,
    what: &str,
    at: Option<&Address>,
    is_ours: impl Fn(&BlockExportInfo) -> bool,
) -> Result<(), OperationError> {
    let is_nbd = |export: &BlockExportInfo| export.kind == BlockExportType::Nbd;
    let mut exports = follow.read(what, &QueryBlockExports {}).await?;
    while let Some(export) = exports.iter().find(|export| is_nbd(export) && is_ours(export)) {
        let id = export.id.clone();
        let delete = BlockExportDel { mode: Some(BlockExportRemoveMode::Hard), ..BlockExportDel::new(id) };
        // Refused is one that is ending. Its end is heard of.
        if unless_refused(follow.told(what, &delete).await)? == Told::Answered {
            follow.heard(what).await?;
        }
        exports = follow.read(what, &QueryBlockExports {}).await?;
    }
    while !exports.iter().any(is_nbd) {
        if let Some(at) = at {
            deserted(follow, what, at).await?;
        }
        // Refused where it was stopped before.
        if unless_refused(follow.told(what, &NbdServerStop {}).await)? == Told::Answered {
            return Ok(());
        }
        exports = follow.read(what, &QueryBlockExports {}).await?;
    }
    // It serves others, or is another's by now.
    Ok(())
}

fn unless_refused(told: Result<Told, OperationError>) -> Result<Told, OperationError> {
    match told {
        Err(OperationError::Qmp { source: CallError::Refused { .. }, .. }) => Ok(Told::Answered),
        told => told,
    }
}

/// Lets nobody new in and waits until nobody is connected.
async fn deserted(follow: &Follow, what: &str, at: &Address) -> Result<(), OperationError> {
    let process = follow.vm().process.pid();
    let look = async || {
        let at = at.clone();
        let proc = format!("/proc/{process}/net");
        host(what, proc.clone().as_ref(), move |_| connected(proc.as_ref(), &at)).await
    };
    if let Address::Unix(path) = at {
        let place = path.clone();
        // One that cannot be removed is watched as it is.
        let remove = move |_: &_| if listens(process, &place)? { fs::remove_file(place) } else { Ok(()) };
        let _ = host(what, path, remove).await;
    }
    let empties = async {
        let mut pause = Duration::from_millis(1);
        while look().await? > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(())
    };
    tokio::time::timeout(LEAVES, empties).await.unwrap_or_else(|_| {
        let reason = "somebody stays connected to the NBD server, which QEMU would wait for without end; end that connection and say it again";
        let source = io::Error::new(io::ErrorKind::TimedOut, reason);
        Err(OperationError::Host { action: what.to_owned(), source })
    })
}

/// Whether it is this process that listens at a path, and not another one by now.
fn listens(process: u32, path: &Path) -> io::Result<bool> {
    let list = fs::read_to_string(format!("/proc/{process}/net/unix"))?;
    let inodes: BTreeSet<String> = listeners(&list, &path.to_string_lossy());
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that is closed meanwhile is none that listens.
        if let Ok(open) = fs::read_link(entry?.path())
            && inodes.contains(&*open.to_string_lossy())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sockets that listen at a path, as they are called among the descriptors of a process.
fn listeners(list: &str, path: &str) -> BTreeSet<String> {
    let is_its = |line: &&str| {
        line.split_ascii_whitespace().nth(3) == Some(LISTENS) && line.ends_with(&format!(" {path}"))
    };
    let inode = |line: &str| Some(format!("socket:[{}]", line.split_ascii_whitespace().nth(6)?));
    list.lines().skip(1).filter(is_its).filter_map(inode).collect()
}

/// How many are connected to a place, as the kernel's lists say (proc_pid_net(5)).
fn connected(lists: &Path, at: &Address) -> io::Result<usize> {
    let list = |name: &str| match fs::read_to_string(lists.join(name)) {
        // A kernel without it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        list => list,
    };
    Ok(match at {
        Address::Unix(path) => in_unix(&list("unix")?, &path.to_string_lossy()),
        Address::Tcp(_, port) => in_tcp(&list("tcp")?, *port) + in_tcp(&list("tcp6")?, *port),
    })
}

/// Sockets that have the path and do not listen: accepted ones have the path of the one that did.
fn in_unix(list: &str, path: &str) -> usize {
    let is_accepted = |line: &&str| {
        // Number, references, protocol, flags, type, state, inode, path.
        let flags = line.split_ascii_whitespace().nth(3);
        flags.is_some_and(|flags| flags != LISTENS) && line.ends_with(&format!(" {path}"))
    };
    list.lines().skip(1).filter(is_accepted).count()
}

/// Connections of a local port whose other end has not been told that all is over.
fn in_tcp(list: &str, port: u16) -> usize {
    let is_open = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let is_its = local
            .and_then(|it| it.rsplit_once(':'))
            .is_some_and(|(_, it)| u16::from_str_radix(it, 16) == Ok(port));
        is_its && state.is_some_and(|state| [ESTABLISHED, CLOSE_WAIT].contains(&state))
    };
    list.lines().skip(1).filter(is_open).count()
}

/// `__SO_ACCEPTCON`.
const LISTENS: &str = "00010000";

/// States of TCP (include/net/tcp_states.h).
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";

/// QEMU lets go of one that says nothing after ten seconds (`NBD_DEFAULT_HANDSHAKE_MAX_SECS`); the time of a busy host.
const LEAVES: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_is_read_from_the_kernels_lists() {
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 35788142 /run/a b/pull.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 35793369 /run/a b/pull.sock\n\
            0000000000000000: 00000002 00000000 00000000 0001 02     0 /run/a b/pull.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 35793370 /run/a b/pull.sock2\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 35793371\n";
        assert_eq!(in_unix(unix, "/run/a b/pull.sock"), 2);
        assert_eq!(in_unix(unix, "/run/other"), 0);
        assert_eq!(listeners(unix, "/run/a b/pull.sock"), ["socket:[35788142]".to_owned()].into());
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n\
            1: 0100007F:2A39 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2\n\
            2: 0100007F:C350 0100007F:2A39 01 00000000:00000000 00:00000000 00000000     0        0 3\n\
            3: 0100007F:2A39 0100007F:C351 06 00000000:00000000 00:00000000 00000000     0        0 0\n\
            4: 0100007F:2A39 0100007F:C352 08 00000000:00000000 00:00000000 00000000     0        0 4\n";
        assert_eq!(in_tcp(tcp, 10809), 2);
        assert_eq!(in_tcp(tcp, 10810), 0);
    }
}
