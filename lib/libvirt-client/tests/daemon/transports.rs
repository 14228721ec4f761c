//! Ways to the daemon other than its socket.

use crate::sshd::{Sshd, script};
use crate::support::{Daemon, present, run};
use libvirt_client::Connect;
use libvirt_client::protocol::enums::ErrorNumber;
use std::os::unix::fs::PermissionsExt;

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
        &daemon.path(""),
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
    assert!(format!("{error:#}").contains("Permission denied (publickey)."), "{error:#}");
    let error = Connect::builder("qemu+ext:///system?command=/not/there").open_with(run).await.unwrap_err();
    assert!(format!("{error:#}").contains("/not/there"), "{error:#}");
}

#[tokio::test]
async fn a_program_is_gone_though_its_helper_keeps_its_errors_open() {
    let directory = tempfile::tempdir().unwrap();
    let number = directory.path().join("pid");
    // As ssh with ControlPersist: what stays has given back input and output, and not the errors.
    let text = format!("sleep 600 <&- >&- & echo $! > {}; echo 'gone' >&2", number.display());
    let uri = format!("qemu+ext:///system?command={}", script(directory.path(), "leaves", &text));
    let error = Connect::builder(&uri).open_with(run).await.unwrap_err();
    assert!(format!("{error:#}").contains("ended: gone"), "{error:#}");
    let number: i32 = std::fs::read_to_string(&number).unwrap().trim().parse().unwrap();
    let helper = rustix::process::Pid::from_raw(number).unwrap();
    // It was not waited for.
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn ssh_reaches_the_daemon_through_the_users_own_configuration() {
    let test = "ssh_reaches_the_daemon_through_the_users_own_configuration";
    let Some(daemon) = Daemon::start(test) else { return };
    let Some(sshd) = Sshd::prepare(test, &daemon.path("")) else { return };
    let (ssh, socket) = (&sshd.command, daemon.path("libvirt/libvirt-sock"));
    // The same program stands for the libraries that libvirt has of it.
    for kind in ["ssh", "libssh", "libssh2"] {
        let uri = format!(
            "test+{kind}://root@elsewhere/default?command={ssh}&socket={}&no_tty=1",
            socket.display()
        );
        let opened = daemon.builder(&uri).open_with(run).await;
        let connect = opened.unwrap_or_else(|error| panic!("{kind}: {error}\n{}", sshd.log()));
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test", "{kind}");
        connect.close().await.unwrap();
    }
}

#[tokio::test]
async fn ssh_runs_libvirts_helper_which_finds_the_daemon() {
    let test = "ssh_runs_libvirts_helper_which_finds_the_daemon";
    let Some(daemon) = Daemon::start(test) else { return };
    let Some(sshd) = Sshd::prepare(test, &daemon.path("")) else { return };
    if !present(test, &[("/usr/bin/virt-ssh-helper", "libvirt-daemon")]) {
        return;
    }
    let open = async |user: &str, more: &str| {
        // No socket is named: which it is follows from the URI, at the other end.
        let uri = format!("qemu+ssh://{user}@elsewhere/session?command={}&no_tty=1{more}", sshd.command);
        daemon.builder(&uri).open_with(run).await
    };
    // Without netcat it is the helper or nothing, without the helper netcat.
    for (user, more) in [
        ("helper", ""),
        ("helper", "&proxy=native"),
        ("both", "&proxy=native"),
        ("netcat", ""),
        ("netcat", "&proxy=netcat"),
        ("both", "&proxy=netcat"),
    ] {
        let connect = match open(user, more).await {
            Ok(connect) => connect,
            Err(error) => panic!("{user}{more}: {error:#}\n{}", sshd.log()),
        };
        assert_eq!(connect.uri().await.unwrap(), "qemu:///session", "{user}{more}");
        connect.close().await.unwrap();
    }
    for (user, more, missing) in
        [("netcat", "&proxy=native", "virt-ssh-helper"), ("helper", "&proxy=netcat", "nc")]
    {
        let error = format!("{:#}", open(user, more).await.unwrap_err());
        assert!(error.contains(missing) && error.contains("not found"), "{user}{more}: {error}");
    }
}

#[tokio::test]
async fn libvirts_helper_is_told_what_the_daemon_is_to_open() {
    let test = "libvirts_helper_is_told_what_the_daemon_is_to_open";
    let Some(daemon) = Daemon::start(test) else { return };
    let Some(sshd) = Sshd::prepare(test, &daemon.path("")) else { return };
    if !present(test, &[("/usr/bin/virt-ssh-helper", "libvirt-daemon")]) {
        return;
    }
    let uri =
        format!("test+ssh://helper@elsewhere/default?command={}&no_tty=1&name=qemu:///session", sshd.command);
    let connect = match daemon.builder(&uri).read_only().open_with(run).await {
        Ok(connect) => connect,
        Err(error) => panic!("{error:#}\n{}", sshd.log()),
    };
    assert_eq!(connect.uri().await.unwrap(), "qemu:///session");
    let refused = connect.define_domain("<domain/>", Default::default()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().code, ErrorNumber::OperationDenied);
}
