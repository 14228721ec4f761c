//! Ways to the daemon other than its socket.

use crate::support::{Daemon, present, run};
use libvirt_client::Connect;
use std::os::unix::fs::PermissionsExt;

fn script(daemon: &Daemon, name: &str, text: &str) -> String {
    let path = daemon.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_program_of_the_users_is_the_connection() {
    let test = "a_program_of_the_users_is_the_connection";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/virt-ssh-helper", "libvirt-daemon")]) {
        return;
    }
    // The helper that ssh runs on the other side, run here as the daemon's user.
    let words: Vec<String> = {
        let command = daemon.unprivileged();
        let variables = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
        let program = command.get_args().filter_map(|word| word.to_str()).map(str::to_owned);
        variables.chain(program).collect()
    };
    let helper = script(
        &daemon,
        "helper",
        &format!("exec env -i {} virt-ssh-helper qemu:///session", words.join(" ")),
    );
    let uri = format!("test+ext:///default?command={helper}");
    let connect = daemon.open(&uri).await;
    assert_eq!(connect.uri().await.unwrap(), "test:///default");
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_last_words_of_a_program_are_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refuses");
    std::fs::write(&path, "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let uri = format!("qemu+ssh://host/system?command={}", path.display());
    let error = Connect::builder(&uri).open_with(run).await.unwrap_err();
    assert!(error.to_string().contains("Permission denied (publickey)."), "{error}");
    let error = Connect::builder("qemu+ext:///system?command=/not/there").open_with(run).await.unwrap_err();
    assert!(error.to_string().contains("/not/there"), "{error}");
}

#[tokio::test]
async fn ssh_reaches_the_daemon_through_the_users_own_configuration() {
    let test = "ssh_reaches_the_daemon_through_the_users_own_configuration";
    let Some(daemon) = Daemon::start(test) else { return };
    let sshd = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/unpacked/openssh-server/usr/sbin/sshd");
    let needed =
        [(sshd, "openssh-server"), ("/usr/bin/ssh", "openssh-client"), ("/usr/bin/nc", "netcat-openbsd")];
    if !present(test, &needed) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("not run: {test}: only root may run a private sshd that logs in");
        return;
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
        &daemon,
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
    let ssh = script(&daemon, "ssh", &format!("exec ssh -F {} \"$@\"", at("ssh_config")));
    let socket = daemon.path("libvirt/libvirt-sock");
    let uri = format!("test+ssh://root@elsewhere/default?command={ssh}&socket={}&no_tty=1", socket.display());
    let connect = match daemon.builder(&uri).open_with(run).await {
        Ok(connect) => connect,
        Err(error) => panic!("{error}\n{}", std::fs::read_to_string(at("sshd.log")).unwrap_or_default()),
    };
    assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test");
}
