//! What the path of one instance costs, measured on the release programs in processes of their own.
//!
//! Every figure has a floor from the same run: the least that the same hardware could do. Where two things are compared they
//! take turns, so that both meet the same neighbours. Writes `target/bench/spine.json`.

mod idle;
mod intent;
mod list;
mod machine;
mod report;
mod running;
mod site;

use anyhow::Context;
use report::Row;
use site::{Programs, Site};
use std::path::Path;

fn main() -> anyhow::Result<()> {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    let mut arguments = std::env::args().skip(1);
    if !arguments.by_ref().any(|argument| argument == "--bench") {
        return Ok(());
    }
    // `cargo bench --bench spine -- running` measures that part alone, and leaves the results file as it was.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench").canonicalize();
    let target = target.context("target/bench is missing; `cargo xtask bench` makes it")?;
    let scratch = tempfile::tempdir_in(&target)?;
    let programs = Programs::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let load = machine::load()?;
    let mut rows = runtime.block_on(async {
        let mut rows = Vec::new();
        if wanted("idle") || wanted("ctl") {
            let site = Site::start(&programs, scratch.path().join("idle"), true).await?;
            intent::stopped(&site, 10).await?;
            if wanted("ctl") {
                rows.extend(idle::ctl(&programs, &site)?);
            }
            if wanted("idle") {
                rows.extend(idle::programs(&site).await?);
            }
            site.stop().await?;
        }
        if wanted("idle") {
            rows.extend(idle::all_in_one(&programs, &scratch.path().join("dev")).await?);
        }
        if wanted("intent") {
            for (name, with_node) in [("without_node", false), ("with_node", true)] {
                let site = Site::start(&programs, scratch.path().join(name), with_node).await?;
                rows.extend(intent::create(&site, name).await?);
                site.stop().await?;
            }
        }
        if wanted("list") {
            let site = Site::start(&programs, scratch.path().join("list"), false).await?;
            rows.extend(list::list(&site).await?);
            site.stop().await?;
        }
        if wanted("running") {
            let site = Site::start(&programs, scratch.path().join("running"), true).await?;
            rows.extend(running::running(&site).await?);
            site.stop().await?;
        }
        Ok::<_, anyhow::Error>(rows)
    })?;
    rows.iter_mut().for_each(|row: &mut Row| row.load = Some(load));
    report::print(&rows)?;
    if only.is_none() {
        std::fs::write(target.join("spine.json"), serde_json::to_vec_pretty(&rows)?)?;
    }
    Ok(())
}
