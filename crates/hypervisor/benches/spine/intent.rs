//! From the call that creates an instance to its durable intent.

use crate::machine::{Usage, ms_since, now};
use crate::report::{Row, quantile};
use crate::site::Site;
use hv_api::v1;
use std::fs::File;
use std::os::unix::fs::FileExt;

const CREATES: usize = 500;

pub(crate) fn request(name: String, run_state: v1::RunState) -> v1::CreateInstanceRequest {
    let spec = v1::InstanceSpec {
        r#type: v1::InstanceType::Vm.into(),
        cpus: 1,
        memory_bytes: 16 << 20,
        root_disk_bytes: 64 << 20,
        run_state: run_state.into(),
        ..Default::default()
    };
    v1::CreateInstanceRequest { name, spec: Some(spec), ..Default::default() }
}

/// Creates instances that shall not run.
pub(crate) async fn stopped(site: &Site, count: usize) -> anyhow::Result<()> {
    let mut compute = site.compute().await?;
    for number in 0..count {
        compute.create_instance(request(format!("stopped-{number:05}"), v1::RunState::Stopped)).await?;
    }
    Ok(())
}

/// One call after another, each followed by one write and sync of a page on the same file system.
pub(crate) async fn create(site: &Site, name: &str) -> anyhow::Result<Vec<Row>> {
    let mut compute = site.compute().await?;
    stopped(site, 20).await?;
    let page = File::create(site.layout.0.join("floor"))?;
    page.write_all_at(&vec![0; CREATES * 4096], 0)?;
    page.sync_all()?;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    let before = Usage::of(site.server.pid())?;
    for number in 0..CREATES {
        let start = now();
        compute.create_instance(request(format!("i-{number:05}"), v1::RunState::Stopped)).await?;
        ours.push(ms_since(start));
        let start = now();
        page.write_all_at(&[7; 4096], number as u64 * 4096)?;
        page.sync_data()?;
        floor.push(ms_since(start));
    }
    let cpu = Usage::of(site.server.pid())?.since(&before).0 / CREATES as f64;
    let row = |share, label| {
        Row::new(format!("create_to_intent_{name}_{label}"), "ms", quantile(&ours, share))
            .floor("4 KiB overwritten + fdatasync", quantile(&floor, share))
    };
    Ok(vec![row(0.5, "p50").cpu(cpu), row(0.99, "p99")])
}
