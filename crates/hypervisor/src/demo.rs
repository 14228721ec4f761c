//! `hypervisor dev --demo`: the whole path, unattended, in a directory of its own.

use crate::cli::{DevArgs, say};
use crate::client::Client;
use crate::dev::{BOOT_WITHIN, DRAIN_WITHIN, start};
use crate::guest::{self, DemoGuest, UP};
use crate::local::Layout;
use anyhow::{Context, bail, ensure};
use hv_runtime::{clock, files, ids, termination};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Proves the path and cleans up, whatever happens.
pub(crate) async fn run(args: &DevArgs) -> anyhow::Result<()> {
    // Short, for the sockets in it.
    let dir = std::env::temp_dir().join(format!("hypervisor-demo-{:x}", ids::seed() & 0xffff_ffff));
    files::private_dir(&dir)?;
    let layout = Layout(dir.clone());
    let began = clock::since_boot();
    let result = async {
        let (local, qemu) = start(args, &layout).await?;
        let proved = tokio::select! {
            proved = prove(args, &layout) => proved,
            _ = termination() => Err(anyhow::anyhow!("interrupted")),
        };
        if proved.is_err() {
            crate::dev::stop(local, qemu).await;
        } else {
            local.drain(DRAIN_WITHIN).await?;
            qemu.drain(DRAIN_WITHIN).await;
        }
        proved
    }
    .await;
    let left = result.and_then(|uid| leftovers(&layout, &uid));
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    left?;
    say(format!("Demo passed in {:.1} s.", (clock::since_boot() - began).as_secs_f64()));
    Ok(())
}

async fn prove(args: &DevArgs, layout: &Layout) -> anyhow::Result<String> {
    let demo = DemoGuest::find(&args.demo_dir)?;
    let mut client = Client::dial(layout).await?;
    client.ready().await?;
    let port = free_port()?;
    let instance = client.create(demo.request("demo", Some(port))).await?;
    let uid = instance.metadata.context("the instance has no metadata")?.uid;
    say("created: the guest is starting");
    let first = booted(&mut client).await?;
    ensure!(first == 1, "a new disk counts {first} boots");
    say("booted: the guest says so on its console");
    answers(&mut client).await.context("the guest does not answer on its console")?;
    say("console: logged in, and the guest answered");
    let page = page(port).await.context("the guest does not answer on its published port")?;
    ensure!(page.contains(UP), "the published port answers `{page}`");
    say("network: the published port leads into the guest");
    client.restart("demo").await?;
    let second = booted(&mut client).await?;
    ensure!(second == 2, "after a restart the disk counts {second} boots, not 2");
    say("restarted: the boot counter on its disk says 2");
    client.stop("demo").await?;
    let status = client.instance("demo").await?.and_then(|instance| instance.status).unwrap_or_default();
    ensure!(
        status.message == "powered off as asked",
        "the guest did not power down when asked: {}",
        status.message
    );
    say("stopped: the guest heeded the power button");
    client.delete("demo").await?;
    ensure!(client.instance("demo").await?.is_none(), "the instance is still there after its deletion");
    say("deleted");
    Ok(uid)
}

async fn booted(client: &mut Client) -> anyhow::Result<u64> {
    let mut console = client.console("demo").await?;
    let up = console.until(guest::is_up);
    let up = tokio::time::timeout(BOOT_WITHIN, up)
        .await
        .with_context(|| format!("the guest did not say within {} s that it is up", BOOT_WITHIN.as_secs()))?;
    Ok(up?.boots)
}

/// Logs in and asks for the guest's status.
async fn answers(client: &mut Client) -> anyhow::Result<()> {
    let mut console = client.console("demo").await?;
    let dialogue = async {
        console.until(guest::is_up).await?;
        console.type_in("\n").await?;
        for (prompt, answer) in
            [("login:", "demo\n"), ("assword:", "demo\n"), ("$", "status\n"), (UP, "exit\n")]
        {
            console.until(|text| text.contains(prompt).then_some(())).await?;
            console.type_in(answer).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(BOOT_WITHIN, dialogue).await.context("no answer in time")?
}

async fn page(port: u16) -> anyhow::Result<String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    tokio::time::timeout(BOOT_WITHIN, ask).await.context("no answer in time")?
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Nothing of the instance may be left: no process, no file, no tap.
fn leftovers(layout: &Layout, uid: &str) -> anyhow::Result<()> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&cmdline).contains(uid) {
            bail!("process {} of the instance was left behind", entry.file_name().to_string_lossy());
        }
    }
    let instances = layout.agent().join("instances");
    if let Some(file) = first_entry(&instances) {
        bail!("{file} was left behind");
    }
    ensure!(!layout.socket().exists(), "the server's socket was left behind");
    for entry in std::fs::read_dir("/sys/class/net")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("hv") && name.contains(&uid[uid.len() - 8..]) {
            bail!("the interface {name} was left behind");
        }
    }
    say("left behind: nothing");
    Ok(())
}

fn first_entry(dir: &Path) -> Option<String> {
    let entry = std::fs::read_dir(dir).ok()?.flatten().next()?;
    Some(entry.path().display().to_string())
}
