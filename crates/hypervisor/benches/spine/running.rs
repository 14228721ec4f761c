//! From the call that creates an instance to its running guest, beside the same QEMU started by hand.

use crate::intent::request;
use crate::machine::{ms_since, now};
use crate::report::{Row, quantile};
use crate::site::{Compute, Site};
use anyhow::{Context, bail};
use futures::StreamExt;
use hv_api::v1;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 30;
const GOAL_MS: f64 = 60.0;
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn running(site: &Site) -> anyhow::Result<Vec<Row>> {
    let mut compute = site.compute().await?;
    let instance = create_and_wait(&mut compute, "first").await?.1;
    let by_hand = ByHand::of(&instance, &site.layout.agent(), &site.layout.0)?;
    delete_and_wait(&mut compute, "first").await?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("i-{round}");
        ours.push(create_and_wait(&mut compute, &name).await?.0);
        delete_and_wait(&mut compute, &name).await?;
        floor.push(by_hand.run()?);
    }
    let floor_is = "the same QEMU by hand, until it says `running`";
    let row = |share, label| {
        Row::new(format!("create_to_running_{label}"), "ms", quantile(&ours, share))
            .floor(floor_is, quantile(&floor, share))
    };
    let added = quantile(&ours, 0.5) - quantile(&floor, 0.5);
    Ok(vec![
        row(0.5, "p50"),
        row(0.9, "p90"),
        Row::new("create_to_running_added_p50", "ms", added).goal(GOAL_MS),
    ])
}

/// Milliseconds from the call to the change that shows it running, and the instance.
async fn create_and_wait(compute: &mut Compute, name: &str) -> anyhow::Result<(f64, v1::Instance)> {
    let all = v1::WatchInstancesRequest::default();
    let mut changes = compute.watch_instances(all).await?.into_inner();
    let start = now();
    compute.create_instance(request(name.to_owned(), v1::RunState::Running)).await?;
    let seen = async {
        while let Some(change) = changes.next().await {
            let Some(instance) = change?.instance else { continue };
            let status = instance.status.clone().unwrap_or_default();
            match status.phase() {
                _ if instance.metadata.as_ref().is_none_or(|metadata| metadata.name != name) => {}
                v1::InstancePhase::Running => return Ok((ms_since(start), instance)),
                v1::InstancePhase::Failed => bail!("{name} failed: {}", status.message),
                _ => {}
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(WITHIN, seen).await.with_context(|| format!("{name} did not run"))?
}

async fn delete_and_wait(compute: &mut Compute, name: &str) -> anyhow::Result<()> {
    let one = v1::WatchInstancesRequest { instance: name.into(), ..Default::default() };
    let mut changes = compute.watch_instances(one).await?.into_inner();
    let delete = v1::DeleteInstanceRequest { instance: name.into(), force: true, ..Default::default() };
    compute.delete_instance(delete).await?;
    let gone = async {
        while let Some(change) = changes.next().await {
            if change?.kind() == v1::ChangeKind::Deleted {
                return Ok(());
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(WITHIN, gone).await.with_context(|| format!("{name} was not deleted"))?
}

/// The command line of a guest of ours, with files where ours has inherited descriptors, and without `-S`.
struct ByHand {
    arguments: Vec<String>,
}

impl ByHand {
    fn of(instance: &v1::Instance, state: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let uid = instance.metadata.as_ref().context("an instance has metadata")?.uid.clone();
        let details = instance.status.as_ref().map(|status| status.details.clone()).unwrap_or_default();
        let proc = Path::new("/proc").join(details.get("pid").context("the driver tells no pid")?);
        let mut words: Vec<String> = fs::read(proc.join("cmdline"))?
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.pop();
        let directory = state.join("instances").join(uid);
        // The guest has one disk, copied here since the instance will be deleted; the other set is its console's log.
        let disk = scratch.join("by-hand.qcow2");
        fs::copy(directory.join("root.qcow2"), &disk)?;
        let files = [("/dev/fdset/1", scratch.join("by-hand.log")), ("/dev/fdset/2", disk)];
        let mut arguments = Vec::new();
        let mut words = words.into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-S" => {}
                "-add-fd" => drop(words.next()),
                "-chardev" => {
                    let value = words.next().context("a value of -chardev")?;
                    let log = value.split(',').filter(|part| part.starts_with("log"));
                    let log: String = log.map(|part| format!(",{part}")).collect();
                    arguments.push(word);
                    // Standard input is the listening socket of the monitor.
                    arguments.push(if value.contains("id=qmp") {
                        "socket,id=qmp,fd=0,server=on,wait=off".to_owned()
                    } else {
                        format!("null,id=console{log}")
                    });
                }
                _ => arguments.push(word),
            }
        }
        for (set, path) in &files {
            for argument in &mut arguments {
                *argument = argument.replace(set, &path.display().to_string());
            }
        }
        Ok(Self { arguments })
    }

    /// Milliseconds from the start of the process to its word that it runs.
    fn run(&self) -> anyhow::Result<f64> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("qmp");
        let listener = OwnedFd::from(UnixListener::bind(&path)?);
        let start = now();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(&self.arguments).stdin(Stdio::from(listener)).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let ran = talk(&path).map(|()| ms_since(start));
        child.kill()?;
        child.wait()?;
        ran
    }
}

fn talk(path: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WITHIN))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut answer = |key: &str| -> anyhow::Result<Value> {
        loop {
            let line = lines.next().context("QEMU closed its monitor")??;
            let mut value: Value = serde_json::from_str(&line)?;
            if let Some(found) = value.get_mut(key) {
                return Ok(found.take());
            }
            if value.get("error").is_some() {
                bail!("QEMU refused: {line}");
            }
        }
    };
    answer("QMP")?;
    writeln!(stream, "{}", json!({"execute": "qmp_capabilities"}))?;
    answer("return")?;
    writeln!(stream, "{}", json!({"execute": "query-status"}))?;
    let status = answer("return")?;
    anyhow::ensure!(status["status"] == "running", "QEMU is not running: {status}");
    Ok(())
}
