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

/// An sshd that logs in root, to `elsewhere`.
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
        let at = |name: &str| home.path().join(name).display().to_string();
        for name in ["host", "user"] {
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)])
                .status()
                .unwrap();
            assert!(made.success());
        }
        std::fs::create_dir_all("/run/sshd").unwrap();
        let server = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n",
            at("host"),
            at("user.pub")
        );
        std::fs::write(at("sshd_config"), server).unwrap();
        // sshd wants a user of its own; it gets one in a file system view of its own.
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        std::fs::write(at("passwd"), format!("{users}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"))
            .unwrap();
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
