//! What tests see of the protocol, written down where the environment says so: `cargo xtask coverage vhost-user` makes a table of it.
//!
//! Everything goes through a relay then, which tells each message, who is at the other side, and whether it was refused.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use vhost_user::ProtocolFeatures;
use vhost_user::proxy::{Chaos, From, Passed, relay};
use vhost_user::socket::Canceller;
use vhost_user::wire::Message as _;
use vhost_user::{back, front};

const VARIABLE: &str = "HV_VHOST_USER_OBSERVED";

/// Tests of the connection itself, which is another with a relay in it; and of a switch, which loses frames that come before it has heard of a port.
const DIRECT: [&str; 5] =
    ["ends::", "faults::", "relayed::", "session::a_channel_that_nobody_reads", "open_vswitch::"];

#[expect(clippy::disallowed_methods, reason = "where to is said by who runs the tests")]
fn directory() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// A line in the file of this process and thread.
fn line(directory: &Path, kind: &str, name: &str, by: &str, outcome: &str, test: &str) {
    let path = directory.join(format!("{}-{}", std::process::id(), test.replace("::", "-")));
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    writeln!(file, "{kind} {name} {by} {outcome} {test}").unwrap();
}

/// Who has no name.
const NOBODY: &str = "-";

fn test() -> String {
    std::thread::current().name().unwrap_or(NOBODY).to_owned()
}

/// A device of this type works with these.
pub(crate) fn device(name: &str, by: &str) {
    if let Some(directory) = directory() {
        line(&directory, "device", name, by, "ok", &test());
    }
}

/// The same connection to a back-end, through a relay where what it says is to be seen.
#[allow(dead_code, reason = "each program of tests is at one side or the other")]
pub(crate) fn through(back: UnixStream, by: &'static str) -> UnixStream {
    let test = test();
    // What a thread without a name says is no test's.
    if directory().is_none() || test == NOBODY || DIRECT.iter().any(|part| test.starts_with(part)) {
        return back;
    }
    let (ours, its) = UnixStream::pair().unwrap();
    relayed(its, back, by);
    ours
}

/// The same of a connection from a front-end.
#[allow(dead_code, reason = "each program of tests is at one side or the other")]
pub(crate) fn served_through(front: UnixStream, by: &'static str) -> UnixStream {
    if directory().is_none() {
        return front;
    }
    let (ours, its) = UnixStream::pair().unwrap();
    relayed(front, its, by);
    ours
}

/// A thread that works for this test.
#[allow(dead_code, reason = "each program of tests is at one side or the other")]
pub(crate) fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().name(test()).spawn(work).unwrap()
}

fn relayed(front: UnixStream, back: UnixStream, by: &'static str) {
    let (Some(directory), test) = (directory(), test()) else { return };
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        // Connections end as the tests want it.
        let _ = relay(front, back, Chaos::default(), &Canceller::new().unwrap(), |passed| {
            seen(&directory, passed, by, &test, &mut asked);
        });
    });
}

const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// A request that is not answered is done, and others are when they are answered.
fn seen(directory: &Path, passed: &Passed, by: &str, test: &str, asked: &mut Vec<Passed>) {
    let facts = if passed.channel {
        back::Request::facts_of(passed.number)
    } else {
        front::Request::facts_of(passed.number)
    };
    let Some(facts) = facts else { return };
    if passed.flags & REPLY == 0 {
        if facts.reply.is_some() || passed.flags & NEED_REPLY != 0 {
            asked.push(passed.clone());
        } else {
            done(directory, passed, by, "ok", test);
        }
        return;
    }
    let is_asked = |it: &Passed| (it.channel, it.number) == (passed.channel, passed.number);
    let Some(at) = asked.iter().position(is_asked) else { return };
    let request = asked.remove(at);
    let refused = facts.reply.is_none() && passed.payload.iter().any(|byte| *byte != 0);
    done(directory, &request, by, if refused { "refused" } else { "ok" }, test);
}

fn done(directory: &Path, request: &Passed, by: &str, outcome: &str, test: &str) {
    let direction = if request.from == From::FrontEnd { "front" } else { "back" };
    line(directory, direction, request.name(), by, outcome, test);
    if let Ok(front::Request::SetProtocolFeatures(bits)) =
        front::Request::get(request.number, &request.payload)
        && !request.channel
        && outcome == "ok"
    {
        for (name, _) in ProtocolFeatures::from_bits_truncate(bits).iter_names() {
            line(directory, "feature", name, by, outcome, test);
        }
    }
}
