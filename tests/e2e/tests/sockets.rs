//! Who listens, who may connect, and who can read the token.
#![cfg(test)]

use e2e::{Api, Site, free_port};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Listening sockets of this host: inode, and address or path.
fn listening() -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        // Fields of proc(5): sl, local_address, rem_address, st, .., inode as tenth. State 0A listens; an unconnected UDP
        // socket is in state 07.
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if matches!((table, fields[3]), ("tcp" | "tcp6", "0A") | ("udp" | "udp6", "07")) {
                found.insert(fields[9].parse().unwrap(), format!("{table}:{}", fields[1]));
            }
        }
    }
    // Num, RefCount, Protocol, Flags, Type, St, Inode, Path. Flag 10000 is that it listens.
    for line in fs::read_to_string("/proc/net/unix").unwrap().lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        if u32::from_str_radix(fields[3], 16).unwrap() & 0x1_0000 != 0 {
            let path = fields.get(7).map_or("(no name)", |path| path);
            found.insert(fields[6].parse().unwrap(), format!("unix:{path}"));
        }
    }
    found
}

/// What a process listens on.
fn of(pid: u32) -> Vec<String> {
    let all = listening();
    let mut found = Vec::new();
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(descriptor.path()) else { continue };
        let inode =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        found.extend(inode.and_then(|inode: u64| all.get(&inode).cloned()));
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn nothing_listens_but_what_is_documented_and_the_token_is_nobody_elses() {
    let test = "nothing_listens_but_what_is_documented_and_the_token_is_nobody_elses";
    let Some((site, mut api)) = Site::running(test).await else { return };
    let port = free_port();
    let uid = api.created(Api::request("demo", Some(port))).await.metadata.unwrap().uid;
    // Its console is in use.
    let _console = api.console("demo").await;
    let (server, agent) = (site.server.as_ref().unwrap().pid(), site.agent.as_ref().unwrap().pid());
    let socket = site.path("server.sock");

    let (unix, tcp): (Vec<_>, Vec<_>) =
        of(server).into_iter().partition(|socket| socket.starts_with("unix:"));
    assert_eq!(unix, [format!("unix:{}", socket.display())]);
    // 127.0.0.1 in the kernel's notation.
    assert!(tcp.len() == 1 && tcp[0].starts_with("tcp:0100007F:"), "{tcp:?}");
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(of(agent), [""; 0], "the agent listens nowhere");

    let pid = site.guests.of(&uid)[0];
    let run = site.path("agent/instances").join(&uid).join("run");
    let published = format!("tcp:0100007F:{port:04X}");
    let mut guest = of(pid);
    guest.retain(|socket| *socket != published);
    assert!(!guest.is_empty() && of(pid).contains(&published), "{:?}", of(pid));
    for socket in guest {
        // Bound by way of an open directory, whose number is no secret; its place is the instance's own directory.
        let name = socket.strip_prefix("unix:/proc/self/fd/").and_then(|rest| rest.split_once('/'));
        let (_, name) = name.unwrap_or_else(|| panic!("{socket}"));
        assert!(fs::metadata(run.join(name)).unwrap().file_type().is_socket(), "{name}");
    }
    for dir in [run.as_path(), run.parent().unwrap(), &site.path("agent/instances")] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    // Not even through a descriptor of the agent's or the server's own directories: it is in none of them.
    assert_eq!(mode(&site.path("token")), 0o600);
    let token = fs::read_to_string(site.path("token")).unwrap();
    let token = token.trim();
    assert!(token.len() >= 64, "{} characters", token.len());
    for (what, pid) in [("server", server), ("agent", agent), ("guest", pid)] {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(token), "{what}: {file}");
        }
    }
    for program in [&site.server, &site.agent] {
        assert!(!program.as_ref().unwrap().said().contains(token), "the token is in a log");
    }
    for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        assert!(target != site.path("token"), "the guest has the token open");
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), site.user());
        let id = site.user().to_string();
        let read = std::process::Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "cat"])
            .arg(site.path("token"))
            .output()
            .unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "the guest's user can read the token");
    } else {
        println!("not run: {test}: the guest's user and the token: needs root");
    }
    api.delete("demo").await;
    site.guests.assert_nothing_left();
    assert_eq!(of(agent), [""; 0]);
}
