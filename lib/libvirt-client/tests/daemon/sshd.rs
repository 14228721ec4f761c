//! An sshd of our own, which ssh talks to through a pipe.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program of shell.
pub(crate) fn script(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Users of the sshd besides root. Each is the daemon's user, its directory for sockets is the daemon's, and its path has these programs and
/// no others: what a host has for libvirt's clients.
pub(crate) const HOSTS: [(&str, &[&str]); 3] = [
    ("helper", &["sh", "virt-ssh-helper"]),
    ("netcat", &["sh", "grep", "nc"]),
    ("both", &["sh", "grep", "nc", "virt-ssh-helper"]),
];

/// An sshd that logs in root and [`HOSTS`], to `elsewhere`.
pub(crate) struct Sshd {
    home: tempfile::TempDir,
    /// What is to be run in ssh's place.
    pub(crate) command: String,
}

impl Sshd {
    /// Prepares it, with what it runs in a directory; `None`, and a line that says so, when something is missing.
    pub(crate) fn prepare(test: &str, directory: &Path) -> Option<Self> {
        let sshd = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/unpacked/openssh-server/usr/sbin/sshd");
        let needed =
            [(sshd, "openssh-server"), ("/usr/bin/ssh", "openssh-client"), ("/usr/bin/nc", "netcat-openbsd")];
        for (program, package) in needed {
            if !Path::new(program).exists() {
                println!("not run: {test}: {program} is missing (package {package})");
                return None;
            }
        }
        if !rustix::process::geteuid().is_root() {
            println!("not run: {test}: only root may run a private sshd that logs in");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        // Others than root are logged in by what is in it.
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        for name in ["host", "user"] {
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        std::fs::create_dir_all("/run/sshd").unwrap();
        let mut server = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
            at("host"),
            at("user.pub")
        );
        // sshd wants a user of its own; it and ours are there in a file system view of its own.
        let mut users = std::fs::read_to_string("/etc/passwd").unwrap();
        users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n";
        let runtime = directory.display();
        for (user, programs) in HOSTS {
            let path = home.path().join(user);
            std::fs::create_dir(&path).unwrap();
            for program in programs {
                std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), path.join(program)).unwrap();
            }
            let path = path.display();
            server += &format!("Match User {user}\n  SetEnv XDG_RUNTIME_DIR={runtime} PATH={path}\n");
            users += &format!("{user}:x:65534:65534::{runtime}:/bin/sh\n");
        }
        std::fs::write(at("sshd_config"), server).unwrap();
        std::fs::write(at("passwd"), users).unwrap();
        let private = script(
            directory,
            "sshd",
            &format!(
                "exec unshare --mount sh -c 'mount --bind {} /etc/passwd && exec {sshd} -i -f {} -E {}'",
                at("passwd"),
                at("sshd_config"),
                at("sshd.log")
            ),
        );
        // No port: ssh talks to an sshd of its own through a pipe. What the user's configuration says is what makes that work.
        let client = format!(
            "Host elsewhere\n  ProxyCommand {private}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  StrictHostKeyChecking accept-new\n",
            at("user"),
            at("known_hosts")
        );
        std::fs::write(at("ssh_config"), client).unwrap();
        let command = script(directory, "ssh", &format!("exec ssh -F {} \"$@\"", at("ssh_config")));
        Some(Self { home, command })
    }

    /// What it has to say.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("sshd.log")).unwrap_or_default()
    }
}
