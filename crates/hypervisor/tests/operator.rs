//! What an operator types, against a real server and a real agent; only the guests are not real.
#![cfg(test)]

mod ctl;

use ctl::ctl;
use hv_driver::fake::{FakeDriver, Fault};
use hv_driver::{DriverError, DriverErrorKind};
use hypervisor::local::{Layout, Local};
use hypervisor_ctl::Exit;
use std::sync::Arc;
use std::time::Duration;

struct Site {
    dir: tempfile::TempDir,
    local: Local,
    driver: FakeDriver,
}

impl Site {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout(dir.path().to_owned());
        let mut agent = layout.agent_config();
        agent.node_name = "n1".into();
        let driver = FakeDriver::new(hv_runtime::clock::wall);
        let pretends = Arc::new(driver.clone());
        let local = Local::start(layout.server_config("127.0.0.1:0"), agent, pretends).await.unwrap();
        let site = Self { dir, local, driver };
        // A server that has just started has no node yet.
        site.until(&["node", "list", "--phase", "ready", "-o", "name"], |said| said == "n1\n").await;
        site
    }

    async fn ctl(&self, words: &[&str]) -> (Exit, String) {
        ctl(&Layout(self.dir.path().to_owned()), words).await
    }

    async fn until(&self, words: &[&str], found: impl Fn(&str) -> bool) {
        let found = async {
            while !found(&self.ctl(words).await.1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("it comes to that");
    }

    async fn done(&self, words: &[&str]) -> String {
        let (exit, said) = self.ctl(words).await;
        assert_eq!(exit, Exit::Ok, "{words:?}: {said}");
        said
    }

    async fn create(&self, name: &str, flags: &[&str]) {
        let words = ["instance", "create", name, "--image", "/images/demo.qcow2"];
        self.done(&[&words, flags].concat()).await;
    }

    async fn end(self) {
        self.local.drain(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_s_labels_and_place_are_changed_and_what_stays_on_a_drained_one_is_an_error() {
    let site = Site::start().await;
    let words =
        ["node", "update", "n1", "--label", "disk=ssd", "--label", "old=1", "--zone", "a", "--region", "eu"];
    site.done(&words).await;
    let said =
        site.done(&["node", "update", "n1", "--label", "old-", "--role", "worker", "-o", "json"]).await;
    let nodes: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(nodes[0]["metadata"]["labels"], serde_json::json!({ "disk": "ssd" }), "{said}");
    assert_eq!(nodes[0]["spec"]["zone"], "a", "{said}");
    assert_eq!(nodes[0]["spec"]["role"], "worker", "{said}");
    assert_eq!(site.ctl(&["node", "update", "n1"]).await.0, Exit::Usage);

    site.create("web", &["--zone", "a", "--node-selector", "disk=ssd"]).await;
    let (exit, said) = site.ctl(&["node", "drain", "n1"]).await;
    assert_eq!(exit, Exit::Precondition, "{said}");
    assert!(said.contains("1 instance stays on node `n1`"), "{said}");
    assert!(said.contains("web"), "{said}");
    // Labels that a change does not name stay.
    site.done(&["node", "uncordon", "n1"]).await;
    let said = site.done(&["node", "update", "n1", "--label", "rack=7", "-o", "json"]).await;
    assert!(said.contains("ssd") && said.contains("rack"), "{said}");
    site.done(&["instance", "delete", "web"]).await;
    site.done(&["node", "drain", "n1"]).await;
    // The same words once more are the same call, though the node has changed since.
    let twice = ["node", "update", "n1", "--zone", "b", "--idempotency-key", "once"];
    site.done(&twice).await;
    site.done(&["node", "update", "n1", "--region", "us"]).await;
    site.done(&twice).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_names_a_node_that_is_there_or_is_registered() {
    let site = Site::start().await;
    let words = ["instance", "create", "web", "--image", "/images/demo.qcow2", "--node", "n2"];
    let (exit, said) = site.ctl(&words).await;
    assert_eq!(exit, Exit::Usage, "{said}");
    assert!(said.contains("there are: n1") && said.contains("(--node)"), "{said}");
    let said = site.done(&["node", "register", "n2", "--label", "disk=ssd", "--zone", "b"]).await;
    assert!(said.contains("registered"), "{said}");
    let said = site.done(&[&words[..], &["--no-wait", "-o", "name"]].concat()).await;
    // Behind the note that the image is not on this host.
    let operation = said.lines().last().unwrap();
    let waits = |said: &str| said.contains("waiting for a node: no node fits");
    site.until(&["operation", "get", operation], waits).await;
    assert_eq!(site.ctl(&["operation", "wait", operation, "--timeout", "1ms"]).await.0, Exit::Timeout);
    site.done(&["instance", "stop", "web"]).await;
    site.done(&["instance", "delete", "web"]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_takes_leaves_nothing_and_what_fails_on_its_node_stays() {
    let site = Site::start().await;
    let create = ["instance", "create", "web", "--image", "/images/demo.qcow2"];
    let fails = async |flags: &[&str]| {
        let (exit, said) = site.ctl(&[&create[..], flags].concat()).await;
        assert_eq!(exit, Exit::Precondition, "{said}");
        said
    };
    let is_there = async || site.ctl(&["instance", "get", "web"]).await.0 == Exit::Ok;
    // What no node has is not begun.
    let said = fails(&["--memory", "4T"]).await;
    assert!(said.contains("n1: needs 4194304 MiB of memory, ") && said.contains(" in all"), "{said}");
    assert!(!is_there().await);
    // What every node refuses.
    let absent = DriverError::new(DriverErrorKind::Missing, "admit", "there is no such image");
    site.driver.inject("admit", None, Fault::Fail(absent));
    let said = fails(&[]).await;
    assert!(said.contains("there is no such image") && said.contains("nothing is left of it"), "{said}");
    assert!(!is_there().await);
    // What has disks on its node.
    let in_use = DriverError::new(DriverErrorKind::Conflict, "start", "it does not start").permanent();
    site.driver.inject("start", None, Fault::Fail(in_use));
    let said = fails(&[]).await;
    assert!(said.contains("it does not start") && !said.contains("nothing is left"), "{said}");
    assert!(is_there().await);
    site.done(&["instance", "start", "web"]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_a_node_leads_to_one_instance() {
    let site = Site::start().await;
    site.create("web", &["--publish", "2222:22"]).await;
    let of_db =
        |port: &'static str| ["instance", "create", "db", "--image", "/images/demo.qcow2", "--publish", port];
    for port in ["2222:22", "0.0.0.0:2222:5432"] {
        let (exit, said) = site.ctl(&of_db(port)).await;
        assert_eq!(exit, Exit::Precondition, "{said}");
        assert!(said.contains("n1: its port 127.0.0.1:2222/tcp leads to `web`"), "{said}");
    }
    assert_eq!(site.ctl(&["instance", "get", "db"]).await.0, Exit::NotFound);
    for port in ["2222:22/udp", "2223:22", "127.0.0.2:2222:22"] {
        site.done(&of_db(port)).await;
        site.done(&["instance", "delete", "db"]).await;
    }
    // What is stopped has none, and gets it back when it is free.
    site.done(&["instance", "stop", "web"]).await;
    site.done(&of_db("2222:22")).await;
    let (exit, said) = site.ctl(&["instance", "start", "web"]).await;
    assert_eq!(exit, Exit::Precondition, "{said}");
    assert!(said.contains("port 127.0.0.1:2222/tcp of its node leads to `db`"), "{said}");
    site.done(&["instance", "stop", "db"]).await;
    site.done(&["instance", "start", "web"]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_leads_to_the_guest_that_was_started_with_it_until_that_is_restarted() {
    let site = Site::start().await;
    let create = ["instance", "create", "db", "--image", "/images/demo.qcow2", "--publish"];
    let of_db = |port: &'static str| [&create[..], &[port]].concat();
    site.create("web", &["--publish", "2222:22"]).await;
    site.done(&["instance", "update", "web", "--publish", "3333:22"]).await;
    let ports = [
        ("2222:22", "127.0.0.1:2222/tcp still leads to `web`, until that is restarted"),
        ("3333:22", "127.0.0.1:3333/tcp leads to `web`"),
    ];
    for (port, why) in ports {
        let (exit, said) = site.ctl(&of_db(port)).await;
        assert_eq!(exit, Exit::Precondition, "{said}");
        assert!(said.contains(why), "{said}");
    }
    // Nor does one that is there get it.
    site.done(&of_db("4444:22")).await;
    let (exit, said) = site.ctl(&["instance", "update", "db", "--publish", "2222:22"]).await;
    assert_eq!(exit, Exit::Precondition, "{said}");
    assert!(said.contains("port 127.0.0.1:2222/tcp of its node still leads to `web`"), "{said}");
    assert!(said.contains("restart that instance first"), "{said}");
    site.done(&["instance", "restart", "web"]).await;
    site.done(&["instance", "update", "db", "--publish", "2222:22"]).await;
    // What it had it has until it is restarted itself, and its guest's end is enough.
    let (exit, said) = site.ctl(&["instance", "update", "web", "--publish", "4444:22"]).await;
    assert_eq!(exit, Exit::Precondition, "{said}");
    site.done(&["instance", "stop", "db"]).await;
    site.done(&["instance", "update", "web", "--publish", "4444:22"]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_found_by_the_name_of_what_they_are_about() {
    let site = Site::start().await;
    site.create("web", &[]).await;
    site.create("db", &[]).await;
    site.done(&["node", "cordon", "n1"]).await;
    let of = async |target: &str| {
        let said = site.done(&["operation", "list", "--target", target, "-o", "json"]).await;
        let operations: serde_json::Value = serde_json::from_str(&said).unwrap();
        let names = operations.as_array().unwrap().iter();
        names.map(|operation| operation["target_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("web").await, ["web"]);
    assert!(of("n1").await.iter().any(|name| name == "n1"));
    let (exit, said) = site.ctl(&["operation", "list", "--target", "nope"]).await;
    assert_eq!(exit, Exit::NotFound, "{said}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_stopped_started_and_deleted_at_once() {
    let site = Site::start().await;
    for name in ["a", "b", "c"] {
        site.create(name, &["--label", "tier=test"]).await;
    }
    let (exit, said) = site.ctl(&["instance", "stop", "a", "nope", "b"]).await;
    assert_eq!(exit, Exit::NotFound, "{said}");
    let stopped = site.done(&["instance", "list", "--phase", "stopped", "-o", "name"]).await;
    assert_eq!(stopped, "a\nb\n", "{said}");
    site.done(&["instance", "start", "-l", "tier=test"]).await;
    site.done(&["instance", "delete", "-l", "tier=test"]).await;
    assert_eq!(site.done(&["instance", "list", "-o", "name"]).await, "");
    site.end().await;
}
