//! Who gets in at a display, as a client of VNC finds it (RFC 6143).

use crate::guest::{Guest, config, missing};
use qemu::{
    config::{Address, Gpu, Password, Vnc, VncShare},
    vm::{Connected, Expiry, OperationError, Screen},
};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// The answer to a challenge: DES with the password for a key, whose bytes VNC turns round.
fn answer(challenge: [u8; 16], password: &str) -> Vec<u8> {
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(password.bytes()) {
        *to = from.reverse_bits();
    }
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    // Three times the same is DES, and needs no provider of old ciphers.
    let mut openssl = Command::new("openssl");
    openssl.args(["enc", "-des-ede3", "-nopad", "-K", &key.repeat(3)]);
    let mut child = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&challenge).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.len() == 16, "{output:?}");
    output.stdout
}

/// Whether this password lets somebody in.
async fn lets_in(socket: &Path, password: &str) -> bool {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let mut version = [0; 12];
    stream.read_exact(&mut version).await.unwrap();
    assert_eq!(&version, b"RFB 003.008\n");
    stream.write_all(&version).await.unwrap();
    let mut kinds = vec![0; usize::from(stream.read_u8().await.unwrap())];
    stream.read_exact(&mut kinds).await.unwrap();
    assert_eq!(kinds, [2], "by password only");
    stream.write_u8(2).await.unwrap();
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).await.unwrap();
    stream.write_all(&answer(challenge, password)).await.unwrap();
    stream.read_u32().await.unwrap() == 0
}

#[tokio::test]
async fn passwords_of_a_display_are_set_and_expire() {
    let test = "passwords_of_a_display_are_set_and_expire";
    if missing(test, false) {
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        return println!("not run: {test}: openssl");
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("vnc.sock");
    let mut machine = config();
    machine.display.gpus = vec![Gpu::Std];
    machine.display.vnc = Some(Vnc {
        listen: Address::Unix(socket.clone()),
        password: Password::Later,
        websocket: None,
        share: VncShare::default(),
        tls: None,
        lossy: false,
    });
    let guest = Guest::paused(directory.path(), machine).await;
    let vm = &guest.vm;
    assert!(!lets_in(&socket, "first").await, "before there is one");
    vm.set_display_password(Screen::Vnc, "first", Connected::Stay).await.unwrap();
    assert!(lets_in(&socket, "first").await);
    assert!(!lets_in(&socket, "second").await);
    vm.change_vnc_password("second").await.unwrap();
    assert!(lets_in(&socket, "second").await && !lets_in(&socket, "first").await);
    vm.expire_display_password(Screen::Vnc, Expiry::Now).await.unwrap();
    assert!(!lets_in(&socket, "second").await, "not any more");
    vm.expire_display_password(Screen::Vnc, Expiry::In(std::time::Duration::from_secs(3600))).await.unwrap();
    assert!(lets_in(&socket, "second").await);
    vm.expire_display_password(Screen::Vnc, Expiry::Never).await.unwrap();
    assert!(lets_in(&socket, "second").await);
    // What VNC cannot do, and a display that is not there.
    for refused in [
        vm.set_display_password(Screen::Vnc, "third", Connected::Leave).await,
        vm.set_display_password(Screen::Spice, "third", Connected::Stay).await,
        vm.expire_display_password(Screen::Spice, Expiry::Now).await,
    ] {
        assert!(matches!(refused, Err(OperationError::Qmp { .. })), "{refused:?}");
    }
    guest.quit().await;
}
