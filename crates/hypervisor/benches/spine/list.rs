//! Listing many instances.

use crate::intent::request;
use crate::machine::{Usage, now};
use crate::report::{Row, quantile};
use crate::site::{Compute, Site};
use hv_api::v1;
use prost::Message;
use std::hint::black_box;

const ROUNDS: usize = 20;
/// The most that a page may hold, and what it holds when nobody says.
const PAGES: [(u32, &str); 2] = [(5000, "largest_pages"), (500, "default_pages")];

pub(crate) async fn list(site: &Site) -> anyhow::Result<Vec<Row>> {
    let mut compute = site.compute().await?;
    let mut rows = Vec::new();
    let mut filled = 0;
    for items in [1_000, 10_000] {
        fill(&compute, filled..items).await?;
        filled = items;
        for (size, label) in PAGES {
            let (mut ours, mut floor) = (Vec::new(), Vec::new());
            let before = Usage::of(site.server.pid())?;
            for _ in 0..ROUNDS {
                let start = now();
                let pages = pages(&mut compute, size).await?;
                ours.push(start.elapsed().as_nanos() as f64 / f64::from(items));
                anyhow::ensure!(
                    pages.iter().map(|page| page.instances.len()).sum::<usize>() == items as usize
                );
                let start = now();
                for page in &pages {
                    black_box(page.encode_to_vec());
                }
                floor.push(start.elapsed().as_nanos() as f64 / f64::from(items));
            }
            let cpu = Usage::of(site.server.pid())?.since(&before).0 / ROUNDS as f64 / f64::from(items);
            rows.push(
                Row::new(format!("list_{items}_{label}"), "ns/item", quantile(&ours, 0.5))
                    .floor("encoding the same answers", quantile(&floor, 0.5))
                    .cpu(cpu),
            );
        }
    }
    Ok(rows)
}

async fn pages(compute: &mut Compute, size: u32) -> anyhow::Result<Vec<v1::ListInstancesResponse>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let page = Some(v1::PageRequest { size, token });
        let request = v1::ListInstancesRequest { page, ..Default::default() };
        let answer = compute.list_instances(request).await?.into_inner();
        token = answer.page.as_ref().map(|page| page.next_token.clone()).unwrap_or_default();
        pages.push(answer);
        if token.is_empty() {
            return Ok(pages);
        }
    }
}

/// Many calls in flight, so that they share commits.
async fn fill(compute: &Compute, numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
    let mut calls = tokio::task::JoinSet::new();
    for client in 0..64 {
        let (mut compute, numbers) = (compute.clone(), numbers.clone());
        calls.spawn(async move {
            for number in numbers.filter(|number| number % 64 == client) {
                compute.create_instance(request(format!("i-{number:05}"), v1::RunState::Stopped)).await?;
            }
            Ok::<_, tonic::Status>(())
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(())
}
