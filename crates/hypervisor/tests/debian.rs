//! A user's own image: Debian 12 with cloud-init under the real QEMU, asked for on the command line, reached by ssh on the
//! published port.
#![cfg(test)]

mod ctl;

use ctl::ctl;
use futures::FutureExt;
use hv_api::v1;
use hv_api::v1::compute_service_client::ComputeServiceClient;
use hv_client::{Dialer, ServerAddr};
use hypervisor::local::{Layout, Local};
use hypervisor_agent::drivers::Qemu;
use hypervisor_ctl::Exit;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Only ends a test that hangs: no boot is silent for so long.
const LIMIT: Duration = Duration::from_secs(180);

/// What systemd says on the console when sshd listens, and what a getty says once logins are permitted. The user is there
/// before either: cloud-init's units are ordered so.
const READY: [&str; 2] = ["Started ssh.service", " login:"];

#[tokio::test]
async fn a_debian_image_takes_its_cloud_init_user_and_answers_on_the_published_port() {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debian/debian-12.qcow2");
    let image = if image.exists() { image.canonicalize().unwrap() } else { PathBuf::new() };
    if let Some(missing) = missing(&image) {
        println!(
            "not run: a_debian_image_takes_its_cloud_init_user_and_answers_on_the_published_port: {missing}"
        );
        return;
    }
    let sum = sha256(&image);
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout(dir.path().to_owned());
    let agent = layout.agent_config();
    let qemu = Qemu::new(&agent).unwrap();
    let server = layout.server_config("127.0.0.1:0");
    let local = Local::start(server, agent, qemu.driver.clone()).await.unwrap();

    // Whatever comes, no guest may be left behind.
    let ended = AssertUnwindSafe(login(&layout, &image)).catch_unwind().await;
    let delete = ctl(&layout, &["instance", "delete", "debian", "--force"]).await;
    local.drain(Duration::from_secs(10)).await.unwrap();
    qemu.drain(Duration::from_secs(10)).await;
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(delete.0, Exit::Ok, "{}", delete.1);
    assert_eq!(sha256(&image), sum, "the image was written to");
}

async fn login(layout: &Layout, image: &Path) {
    let key = layout.0.join("key");
    let keygen = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).output();
    assert!(keygen.unwrap().status.success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let user_data = layout.0.join("user-data.yaml");
    let text = format!("#cloud-config\nusers:\n  - name: alice\n    ssh_authorized_keys:\n      - {public}");
    std::fs::write(&user_data, text).unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let publish = format!("{port}:22");
    let create = [
        "instance",
        "create",
        "debian",
        "--image",
        image.to_str().unwrap(),
        "--cpus",
        "2",
        "--memory",
        "1G",
        "--cloud-init",
        user_data.to_str().unwrap(),
        "--publish",
        &publish,
    ];
    let (exit, said) = ctl(layout, &create).await;
    assert_eq!(exit, Exit::Ok, "{said}");
    let console = console_until_ready(layout).await;

    let answer = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes"])
        .arg("-i")
        .arg(&key)
        .args(["-p", &port.to_string(), "alice@127.0.0.1", "id -un; hostname; cut -d' ' -f1 /proc/uptime"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(answer.status.success(), "{said}{complaint}\n{console}");
    let lines: Vec<_> = said.lines().collect();
    // The seed's default host name is the instance's.
    assert_eq!(lines[..2], ["alice", "debian"], "{said}");
    println!("logged in {} s after the kernel's start", lines[2]);
}

/// Reads the console from its beginning; answers all it said.
async fn console_until_ready(layout: &Layout) -> String {
    let dialer = Dialer::new(ServerAddr::Unix(layout.socket()), layout.token()).unwrap();
    let channel = dialer.dial().await.unwrap();
    let mut compute = ComputeServiceClient::with_interceptor(channel, dialer.bearer());
    let (send, inputs) = tokio::sync::mpsc::channel(1);
    let open = v1::ConsoleOpen { instance: "debian".into(), ..Default::default() };
    send.send(v1::ConsoleInput { input: Some(v1::console_input::Input::Open(open)) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(inputs);
    let mut outputs = compute.attach_console(stream).await.unwrap().into_inner();
    let mut seen = Vec::new();
    loop {
        let text = plain(&String::from_utf8_lossy(&seen));
        if READY.iter().all(|sign| text.contains(sign)) {
            return text;
        }
        let next = tokio::time::timeout(LIMIT, outputs.message()).await;
        let Ok(message) = next else { panic!("the guest is silent:\n{text}") };
        match message.unwrap().and_then(|message| message.output) {
            Some(v1::console_output::Output::Data(bytes)) => seen.extend(bytes),
            Some(v1::console_output::Output::Opened(_)) => {}
            other => panic!("the console closed: {other:?}\n{text}"),
        }
    }
}

/// Without the escape sequences that set colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or(part, |(_, rest)| rest))
}

fn missing(image: &Path) -> Option<String> {
    if !image.exists() {
        return Some("there is no Debian image (as root: cargo xtask debian-image)".to_owned());
    }
    let absent = |program: &&str| Command::new(program).arg("--version").output().is_err();
    let programs = ["qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen", "sha256sum"];
    programs.into_iter().find(absent).map(|program| format!("{program} is missing"))
}

fn sha256(file: &Path) -> String {
    let sum = Command::new("sha256sum").arg(file).output().unwrap();
    assert!(sum.status.success());
    String::from_utf8(sum.stdout).unwrap()
}
