//! `hypervisor down`: stops whatever an earlier run left.

use crate::cli::{Common, say};
use crate::dev::{DRAIN_WITHIN, ended, guests};
use crate::local::start_server;
use crate::lock::{Lock, Taken};
use anyhow::Context;
use hypervisor_agent::drivers::Qemu;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// How long the running program may take to power its guests down and end.
const END_WITHIN: Duration = Duration::from_secs(60);
/// How long guests that outlived their program may take.
const POWER_DOWN_WITHIN: Duration = Duration::from_secs(30);

/// Stops the program, or the guests it left.
pub(crate) async fn run(common: &Common) -> anyhow::Result<()> {
    let layout = common.layout()?;
    if !layout.0.exists() {
        say(format!("Nothing to stop: there is no {}.", layout.0.display()));
        return Ok(());
    }
    let _lock = match Lock::take(&layout.0)? {
        Taken::Lock(lock) => lock,
        Taken::HeldBy(pid) => {
            say(format!("Stopping process {pid} and its guests ..."));
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the lock names no process")?;
            kill_process(id, Signal::TERM).with_context(|| format!("cannot signal process {pid}"))?;
            let dir = layout.0.clone();
            let ended = tokio::task::spawn_blocking(move || Lock::wait(&dir));
            tokio::time::timeout(END_WITHIN, ended).await.with_context(|| {
                format!("process {pid} did not end within {} s", END_WITHIN.as_secs())
            })???;
            say("Down.");
            return Ok(());
        }
    };
    // The program died without its guests, or they ended since. The same programs that run them find out and take them
    // down; the next start knows that they did not end by themselves.
    let mut config = layout.agent_config();
    config.qemu.accel.clone_from(&common.accel);
    let qemu = Qemu::new(&config)?;
    let server = start_server(&layout.server_config("")).await?;
    let agent = hypervisor_agent::build_to_quiesce(config, qemu.driver.clone())?
        .spawn_to_quiesce(POWER_DOWN_WITHIN)
        .await;
    let left = agent
        .quiesce(POWER_DOWN_WITHIN, |left| {
            if !left.is_empty() {
                say(format!("Powering {} down ...", guests(left.len())));
            }
        })
        .await;
    // Both, whatever becomes of the first: the store is to be closed.
    let drained = (agent.drain(DRAIN_WITHIN).await, server.drain(DRAIN_WITHIN).await);
    qemu.drain(DRAIN_WITHIN).await;
    drained.0?;
    drained.1?;
    if !left.is_empty() {
        anyhow::bail!("{}", ended(&left));
    }
    say("Down.");
    Ok(())
}
