//! Bad input and faults of an instance, through the whole path: each has an error that says what to do, and can be put right.
#![cfg(test)]

use e2e::{Api, Site, demo, free_port};
use hv_api::v1;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tonic::Code;

/// A create that fails; answers why.
async fn refused(api: &mut Api, request: v1::CreateInstanceRequest) -> String {
    let answer = api.compute.create_instance(request).await.unwrap().into_inner();
    let ended = api.ended(&answer.operation.unwrap().uid).await;
    assert_eq!(ended.phase(), v1::OperationPhase::Failed, "{ended:?}");
    let error = ended.error.unwrap();
    assert!(!error.hint.is_empty(), "{error:?}");
    ended.message
}

fn with_image(name: &str, image: &Path) -> v1::CreateInstanceRequest {
    let mut request = Api::request(name, None);
    request.spec.as_mut().unwrap().image = image.to_str().unwrap().into();
    request
}

fn qemu_img(arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn images_that_cannot_be_used() {
    let Some((site, mut api)) = Site::running("images_that_cannot_be_used").await else { return };
    let image = site.path("image.qcow2");
    let why = refused(&mut api, with_image("unknown", &image)).await;
    assert!(why.contains(image.to_str().unwrap()), "{why}");
    let status = api.status("unknown").await;
    assert_eq!(status.phase(), v1::InstancePhase::Failed);
    assert!(status.message.contains(image.to_str().unwrap()), "{status:?}");
    // The same instance, once the image is there.
    fs::copy(demo().unwrap().join("demo.qcow2"), &image).unwrap();
    let before = fs::read(&image).unwrap();
    api.start("unknown").await;
    assert_eq!(api.booted("unknown").await, 1);
    api.delete("unknown").await;
    assert!(fs::read(&image).unwrap() == before, "the user's image is never written");

    let outside = site.path("secret.raw");
    fs::write(&outside, vec![7; 1 << 20]).unwrap();
    let overlay = site.path("images");
    fs::create_dir(&overlay).unwrap();
    let overlay = overlay.join("overlay.qcow2");
    let backing = outside.to_str().unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", backing, "-F", "raw", overlay.to_str().unwrap()]);
    let why = refused(&mut api, with_image("outside", &overlay)).await;
    assert!(why.contains("backing file") && why.contains(overlay.to_str().unwrap()), "{why}");

    let text = site.path("notes.txt");
    fs::write(&text, "QFI\u{fb} is how a disk begins, not this").unwrap();
    let why = refused(&mut api, with_image("text", &text)).await;
    assert!(why.contains(text.to_str().unwrap()), "{why}");

    // Commas, spaces and quotes are letters like others.
    let odd = site.path("a, b 'c' \"d\"");
    fs::create_dir(&odd).unwrap();
    let odd = odd.join("my, image.qcow2");
    fs::copy(&image, &odd).unwrap();
    api.created(with_image("odd", &odd)).await;
    assert_eq!(api.booted("odd").await, 1);
    for name in ["outside", "text", "odd"] {
        api.delete(name).await;
    }
    site.guests.assert_nothing_left();
}

#[tokio::test]
async fn a_port_in_use_is_named_and_the_instance_starts_when_it_is_free() {
    let test = "a_port_in_use_is_named_and_the_instance_starts_when_it_is_free";
    let Some((site, mut api)) = Site::running(test).await else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let why = refused(&mut api, Api::request("demo", Some(port))).await;
    assert!(why.contains(&format!("port {port} on 127.0.0.1 is in use")), "{why}");
    drop(taken);
    api.until("demo", "its next attempt", |status| status.phase() == v1::InstancePhase::Running).await;
    // Two instances that want the same one: the second is told whose it is, and nothing is begun.
    let refused = api.compute.create_instance(Api::request("second", Some(port))).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let why = format!("{port}/tcp leads to `demo`");
    assert!(refused.message().contains(&why), "{refused}");
    let second = v1::GetInstanceRequest { instance: "second".to_owned(), ..Default::default() };
    assert_eq!(api.compute.get_instance(second).await.unwrap_err().code(), Code::NotFound);
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

#[tokio::test]
async fn a_qemu_that_dies_at_start_is_quoted() {
    let Some((site, mut api)) = Site::running("a_qemu_that_dies_at_start_is_quoted").await else { return };
    let kernel = site.path("vmlinuz");
    fs::write(&kernel, "not a kernel").unwrap();
    let mut request = Api::request("demo", Some(free_port()));
    request.spec.as_mut().unwrap().boot.as_mut().unwrap().kernel = kernel.to_str().unwrap().into();
    let why = refused(&mut api, request).await;
    assert!(why.contains("QEMU ended at start") && why.contains("kernel"), "{why}");
    assert_eq!(api.status("demo").await.phase(), v1::InstancePhase::Failed);
    assert_eq!(site.guests.now(), []);
    fs::copy(demo().unwrap().join("vmlinuz"), &kernel).unwrap();
    api.start("demo").await;
    assert_eq!(api.booted("demo").await, 1);
    // One that is killed while it runs is started again, as its policy says.
    let uid = api.get("demo").await.metadata.unwrap().uid;
    let pid = rustix::process::Pid::from_raw(site.guests.of(&uid)[0].cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let failed = api.until("demo", "the failure", |status| status.phase() == v1::InstancePhase::Failed).await;
    assert!(failed.message.contains("killed by signal 9"), "{failed:?}");
    api.until("demo", "its next start", |status| status.phase() == v1::InstancePhase::Running).await;
    assert_eq!(api.booted("demo").await, 2);
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

#[tokio::test]
async fn a_node_without_qemu_says_what_to_install_and_its_instances_wait() {
    let test = "a_node_without_qemu_says_what_to_install_and_its_instances_wait";
    let Some(mut site) = Site::new(test).await else { return };
    site.configure_agent("", "binary = \"/nonexistent\"");
    site.start_server().await;
    site.start_agent();
    let mut api = site.api().await;
    let node = api.node_is(v1::NodePhase::NotReady).await;
    let driver = &node.status.unwrap().drivers[0];
    assert!(!driver.healthy && driver.message.contains("qemu-system-x86"), "{driver:?}");
    assert!(driver.message.contains("/nonexistent"), "{driver:?}");
    let answer = api.compute.create_instance(Api::request("demo", None)).await.unwrap().into_inner();
    let waiting = api.until("demo", "a reason to wait", |status| !status.message.is_empty()).await;
    assert_eq!(waiting.phase(), v1::InstancePhase::Pending);
    assert!(waiting.message.contains("qemu-system-x86"), "{waiting:?}");
    let explain = v1::ExplainInstanceRequest { instance: "demo".into(), ..Default::default() };
    let explained = api.compute.explain_instance(explain).await.unwrap().into_inner();
    assert!(explained.verdicts.len() == 1 && !explained.verdicts[0].feasible, "{explained:?}");
    assert!(
        explained.verdicts[0].reasons.iter().any(|reason| reason.contains("qemu-system-x86")),
        "{explained:?}"
    );
    site.kill_agent();
    site.configure_agent("", "");
    site.start_agent();
    api.succeeded(answer.operation).await;
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}
