//! `instance stats`: what instances take of their node. CPU use comes from two reads.

use super::list::running;
use super::several::Target;
use crate::Context;
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use crate::output::{Format, Rows, human, view};
use crate::parse;
use clap::Args;
use futures::StreamExt;
use hv_api::v1;
use std::time::Duration;
use tonic::Code;

/// Calls under way at a time.
const AT_ONCE: usize = 16;

/// What instances take of their node now
///
/// CPU use is a share of one CPU, between two reads. Figures that are not known are shown as - (null in JSON).
#[derive(Args)]
pub(crate) struct Stats {
    /// Names or uids; those that run in the project when none is given
    #[arg(value_name = "INSTANCE")]
    instances: Vec<String>,
    /// Time between two reads
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,
    /// Go on until interrupted
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(context: &mut Context, asked: Stats) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let mut before = read(context, &connection, &asked.instances).await?;
    loop {
        tokio::time::sleep(asked.interval).await;
        let mut now = read(context, &connection, &asked.instances).await?;
        for (name, now) in &mut now {
            let before = before.iter().find(|(of, _)| of == name);
            now.cpu_usage_percent =
                before.and_then(|(_, before)| cpu_percent(before, now)).or(now.cpu_usage_percent);
        }
        show(context, &now, asked.instances.len() != 1)?;
        if !asked.watch {
            return Ok(());
        }
        before = now;
    }
}

type Named = (String, v1::InstanceStats);

/// All at once: a node that does not answer delays no other's figures.
async fn read(
    context: &mut Context,
    connection: &Connection,
    named: &[String],
) -> Result<Vec<Named>, Failure> {
    let targets = match named {
        [] => running(context, connection).await?,
        _ => named.iter().map(|name| Target { reference: name.clone(), name: name.clone() }).collect(),
    };
    let project = context.globals.project.clone();
    let asked = targets.into_iter().map(|target| {
        let request = v1::GetInstanceStatsRequest { instance: target.reference, project: project.clone() };
        let mut client = connection.compute();
        async move { (target.name, client.get_instance_stats(unary(request)).await) }
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut all = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(stats) => all.push((name, stats.into_inner())),
            // It ended between the list and this.
            Err(status)
                if named.is_empty() && matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
            }
            Err(status) if named.is_empty() && status.code() == Code::Unavailable => {
                context.note(format!("{name}: {}", status.message()));
                all.push((name, v1::InstanceStats::default()));
            }
            Err(status) => return Err(status.into()),
        }
    }
    Ok(all)
}

/// The share of one CPU between two reads; unknown when the guest was started anew, or no time has passed.
pub(crate) fn cpu_percent(before: &v1::InstanceStats, now: &v1::InstanceStats) -> Option<f64> {
    let used = now.cpu_time_ns?.checked_sub(before.cpu_time_ns?)?;
    let passed_ms = u64::try_from(now.collected_at_ms - before.collected_at_ms).ok().filter(|ms| *ms > 0)?;
    Some(used as f64 / (passed_ms as f64 * 1e6) * 100.0)
}

fn show(context: &mut Context, stats: &[Named], is_list: bool) -> Result<(), Failure> {
    match (context.globals.output, stats) {
        (Format::Json | Format::Yaml, [(name, one)]) if !is_list => {
            context.show_line(&view::instance_stats(one), name, String::new())
        }
        _ => context.show_rows(rows(stats)),
    }
}

pub(crate) fn rows(stats: &[Named]) -> Rows {
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), human::size);
    let cells = |(name, stats): &Named| {
        vec![
            name.as_str().into(),
            stats.cpu_usage_percent.map_or("-".to_owned(), |percent| format!("{percent:.1} %")).into(),
            size(stats.memory_used_bytes).into(),
            size(stats.disk_read_bytes).into(),
            size(stats.disk_write_bytes).into(),
            size(stats.network_rx_bytes).into(),
            size(stats.network_tx_bytes).into(),
        ]
    };
    Rows {
        headers: &["NAME", "CPU", "MEMORY", "DISK READ", "DISK WRITTEN", "NET IN", "NET OUT"],
        wide: 0,
        rows: stats.iter().map(cells).collect(),
        names: stats.iter().map(|(name, _)| name.clone()).collect(),
        values: stats.iter().map(|(_, stats)| view::instance_stats(stats)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_use_is_a_share_of_one_cpu() {
        let at = |collected_at_ms, cpu_time_ns| v1::InstanceStats {
            collected_at_ms,
            cpu_time_ns,
            ..Default::default()
        };
        let before = at(1000, Some(5_000_000_000));
        assert_eq!(cpu_percent(&before, &at(2000, Some(5_500_000_000))), Some(50.0));
        assert_eq!(cpu_percent(&before, &at(2000, Some(7_000_000_000))), Some(200.0), "two CPUs");
        assert_eq!(cpu_percent(&before, &at(1000, Some(6_000_000_000))), None, "no time passed");
        assert_eq!(cpu_percent(&before, &at(2000, Some(1_000_000_000))), None, "started anew");
        assert_eq!(cpu_percent(&before, &at(2000, None)), None);
    }
}
