//! The commands of the client's example `shell`, driven in memory.
#![cfg(test)]

#[path = "../../libvirt-client/examples/shell/commands/mod.rs"]
mod commands;

#[path = "../../libvirt-client/tests/daemon/observed.rs"]
mod observed;

#[path = "../../libvirt-client/tests/shared/running.rs"]
mod running;

use commands::Failure;
use libvirt_client::Connect;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_server::{Scope, Server};
use running::run;
use std::io::Write;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// A connection in memory to a server that has everything.
async fn connect() -> Connect {
    observed::observe("libvirt_server::answered");
    let server = Server::builder().scope(Scope::Complete).build();
    let handle = server.handle();
    run(async move { server.serve(None).await.is_ok() });
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let transport = Stream::new(ours, Privacy::Private);
    Connect::builder("test:///default").open_on(transport, run).await.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

async fn shell(connect: &Connect, line: &str) -> Result<String, Failure> {
    let mut out = Vec::new();
    commands::run(connect, &words(line), &mut tokio::io::empty(), &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn domains_are_listed_defined_started_and_stopped() {
    let connect = connect().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new.xml");
    let xml = "<domain type='test'><name>new</name><memory>8192</memory><os><type>hvm</type></os></domain>";
    std::fs::write(&file, xml).unwrap();
    let define = format!("define {}", file.display());
    assert_eq!(shell(&connect, &define).await.unwrap(), "new is defined\n");
    assert!(shell(&connect, "dominfo new").await.unwrap().contains("state       Shutoff"));
    assert_eq!(shell(&connect, "start new").await.unwrap(), "new is started\n");
    assert!(shell(&connect, "dominfo new").await.unwrap().contains("state       Running"));
    let listed = shell(&connect, "list").await.unwrap();
    let states: Vec<_> = listed.lines().skip(1).map(|line| words(line)[1..].join(" ")).collect();
    assert!(
        states.contains(&"new Running".to_owned()) && states.contains(&"test Running".to_owned()),
        "{listed}"
    );
    assert!(shell(&connect, "dumpxml new").await.unwrap().contains("<memory unit='KiB'>8192</memory>"));
    let stats = shell(&connect, "stats").await.unwrap();
    assert!(stats.lines().any(|line| line.starts_with("new ") && line.contains("Running")), "{stats}");
    assert_eq!(shell(&connect, "destroy new").await.unwrap(), "new has no power\n");
    assert_eq!(shell(&connect, "shutdown test").await.unwrap(), "test is asked to power off\n");
    assert!(shell(&connect, "dominfo test").await.unwrap().contains("state       Shutoff"));
}

#[tokio::test]
async fn contents_go_up_and_come_down() {
    let connect = connect().await;
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let size = 1024 * 1024 + 5;
    let xml = format!("<volume><name>v</name><capacity>{size}</capacity><allocation>0</allocation></volume>");
    pool.create_volume(&xml, Default::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let mut content = vec![0; size];
    content[700_000..].fill(7);
    content[..10].fill(9);
    for sparse in ["", "sparse"] {
        content[20] += 1;
        std::fs::write(&from, &content).unwrap();
        shell(&connect, &format!("vol-upload default-pool v {} {sparse}", from.display())).await.unwrap();
        shell(&connect, &format!("vol-download default-pool v {} {sparse}", to.display())).await.unwrap();
        assert!(std::fs::read(&to).unwrap() == content, "the same bytes, {sparse}");
    }
}

/// A screen that tells what appears on it.
struct Screen(mpsc::UnboundedSender<Vec<u8>>);

impl Write for Screen {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.send(data.to_vec()).map_err(std::io::Error::other)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_console_goes_both_ways_until_it_is_left() {
    let connect = connect().await;
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    connect.create_domain(xml, Default::default()).await.unwrap();
    let (mut keyboard, mut input) = tokio::io::duplex(64);
    let (sender, mut screen) = mpsc::unbounded_channel();
    let mut out = Screen(sender);
    let line = words("console c");
    let typing = async {
        keyboard.write_all(b"hello").await.unwrap();
        let mut seen = Vec::new();
        while seen != b"hello" {
            seen.extend(screen.recv().await.unwrap());
        }
        // What follows the key that leaves is not sent.
        keyboard.write_all(b"\x1dnever").await.unwrap();
    };
    let (ended, ()) = tokio::join!(commands::run(&connect, &line, &mut input, &mut out), typing);
    ended.unwrap();
    assert!(screen.try_recv().is_err(), "nothing came after that");
}

#[tokio::test]
async fn events_are_printed_as_they_come() {
    let connect = connect().await;
    let (sender, mut screen) = mpsc::unbounded_channel();
    let mut out = Screen(sender);
    let line = words("events domainlifecycle 2");
    let mut nothing = tokio::io::empty();
    let watching = commands::run(&connect, &line, &mut nothing, &mut out);
    let acting = async {
        let domain = connect.domain_by_name("test").await.unwrap();
        // Nothing tells when the other side listens: again and again, until it has heard its two.
        loop {
            domain.suspend().await.unwrap();
            domain.resume().await.unwrap();
        }
    };
    tokio::select! {
        ended = watching => ended.unwrap(),
        () = acting => {}
    }
    let mut seen = Vec::new();
    while let Ok(text) = screen.try_recv() {
        seen.extend(text);
    }
    let seen = String::from_utf8(seen).unwrap();
    let expected = ["test Suspended\ntest Resumed\n", "test Resumed\ntest Suspended\n"];
    assert!(expected.contains(&seen.as_str()), "{seen}");
}

#[tokio::test]
async fn what_fails_tells_the_next_step() {
    let connect = connect().await;
    let failure = shell(&connect, "dominfo nobody").await.unwrap_err();
    assert!(failure.to_string().contains("Domain not found"), "{failure}");
    assert_eq!(failure.advice(), Some("`list` shows the domains that there are."));
    assert_eq!(failure.exit_code(), 1);
    let failure = shell(&connect, "define /nowhere.xml").await.unwrap_err();
    assert!(failure.to_string().starts_with("/nowhere.xml: "), "{failure}");
    for line in
        ["", "fly", "start", "events weather", "events DomainLifecycle many", "vol-upload a b c dense"]
    {
        let failure = shell(&connect, line).await.unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{line}: {failure}");
        assert!(failure.to_string().contains("usage: "));
    }
}
