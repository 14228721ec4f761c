//! What the programs take while nothing happens, and what a short command costs.

use crate::machine::{Usage, memory, ms_since, now};
use crate::report::{Row, quantile};
use crate::site::{Process, Programs, Site};
use anyhow::{Context, bail};
use std::path::Path;
use std::time::Duration;

/// Threads that did blocking work end after ten idle seconds.
const SETTLE: Duration = Duration::from_secs(12);
const WATCHED: Duration = Duration::from_secs(10);
const CALLS: usize = 40;

/// `hypervisor-ctl instance list`, start to end, in turns with a start that calls nobody.
pub(crate) fn ctl(programs: &Programs, site: &Site) -> anyhow::Result<Vec<Row>> {
    let (mut list, mut version) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        for (arguments, times) in [(&["instance", "list"][..], &mut list), (&["--version"], &mut version)] {
            let mut command = programs.command("hypervisor-ctl");
            command.env("HYPERVISOR_SERVER", format!("unix:{}", site.layout.socket().display()));
            command.env("HYPERVISOR_TOKEN_FILE", site.layout.token()).args(arguments);
            let start = now();
            let output = command.output()?;
            times.push(ms_since(start));
            if !output.status.success() {
                bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    let floor = quantile(&version, 0.5);
    let list = Row::new("ctl_instance_list_p50", "ms", quantile(&list, 0.5))
        .floor("hypervisor-ctl --version", floor);
    Ok(vec![list.goal(30.0)])
}

/// Server and agent with ten stopped instances.
pub(crate) async fn programs(site: &Site) -> anyhow::Result<Vec<Row>> {
    let agent = site.agent.as_ref().context("this site has no agent")?;
    watch(&[("server", site.server.pid(), Some(40.0)), ("agent", agent.pid(), Some(25.0))]).await
}

/// The same in one process, without any instance.
pub(crate) async fn all_in_one(programs: &Programs, dir: &Path) -> anyhow::Result<Vec<Row>> {
    std::fs::create_dir(dir)?;
    let mut command = programs.command("hypervisor");
    command.args(["dev", "--no-instance", "--grpc-addr", "127.0.0.1:0", "--state-dir"]).arg(dir);
    let process = Process::spawn(command, &dir.join("log"))?;
    let rows = watch(&[("all_in_one", process.pid(), None)]).await?;
    process.terminate()?;
    Ok(rows)
}

async fn watch(watched: &[(&str, u32, Option<f64>)]) -> anyhow::Result<Vec<Row>> {
    tokio::time::sleep(SETTLE).await;
    let before = watched.iter().map(|(_, pid, _)| Usage::of(*pid)).collect::<anyhow::Result<Vec<_>>>()?;
    let start = now();
    tokio::time::sleep(WATCHED).await;
    let seconds = start.elapsed().as_secs_f64();
    let mut rows = Vec::new();
    for ((name, pid, goal), before) in watched.iter().zip(before) {
        let (cpu, woken) = Usage::of(*pid)?.since(&before);
        let (resident, proportional) = memory(*pid)?;
        let resident = Row::new(format!("idle_{name}_resident"), "MB", resident);
        rows.push(Row { goal: *goal, ..resident });
        rows.push(Row::new(format!("idle_{name}_proportional"), "MB", proportional));
        rows.push(Row::new(format!("idle_{name}_cpu"), "ms/s", cpu / 1e6 / seconds));
        rows.push(Row::new(format!("idle_{name}_wakeups"), "1/s", woken / seconds));
    }
    Ok(rows)
}
