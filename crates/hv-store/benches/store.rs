//! Durable puts per second of the embedded store, beside SQLite and the bare disk on the same machine in the same run.
//!
//! Each round runs every contender once, in turn, so that all of them meet the same neighbours; the figures are medians over
//! the rounds. Writes `target/bench/store.json`.

use hv_store::embedded::{Embedded, Options};
use hv_store::{Compare, List, Op, Revision, Store, Txn};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An instance record as the server writes it is of this order.
const VALUE_BYTES: usize = 512;
const KEYS: u64 = 4096;
const CLIENTS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    cpu_ns: f64,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() -> anyhow::Result<()> {
    // `cargo test --all-targets` starts benchmarks too, without this flag; they are not tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&target)?;
    let scratch = tempfile::tempdir_in(&target)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let load = load()?;

    let mut rates: [Vec<Rate>; 6] = Default::default();
    for round in 0..ROUNDS {
        let directory = scratch.path().join(round.to_string());
        fs::create_dir(&directory)?;
        rates[0].push(runtime.block_on(embedded(directory.join("one.redb"), 1))?);
        rates[1].push(sqlite(&directory.join("one.db"), 1)?);
        rates[2].push(fdatasync(&directory.join("one.log"), 1)?);
        rates[3].push(runtime.block_on(embedded(directory.join("many.redb"), CLIENTS))?);
        rates[4].push(sqlite(&directory.join("many.db"), CLIENTS)?);
        rates[5].push(fdatasync(&directory.join("many.log"), CLIENTS)?);
        fs::remove_dir_all(&directory)?;
    }
    let [one, one_sqlite, one_floor, many, many_sqlite, many_floor] = rates.map(median);
    // With more connections than one, SQLite's writers mostly wait for one another.
    let best_sqlite = many_sqlite.per_second.max(one_sqlite.per_second);
    let mut rows = vec![
        json!({"name": "store_durable_puts_1_client", "value": one.per_second, "unit": "puts/s", "better": "higher",
            "peer": "SQLite WAL, synchronous=FULL", "peer_value": one_sqlite.per_second, "floor": "write + fdatasync loop",
            "floor_value": one_floor.per_second,
            "goal": null, "cpu_ns_per_op": one.cpu_ns, "load": load}),
        json!({"name": "store_durable_puts_64_clients", "value": many.per_second, "unit": "puts/s", "better": "higher",
            "peer": "SQLite WAL, synchronous=FULL, 64 connections", "peer_value": many_sqlite.per_second,
            "floor": "write + fdatasync loop, 64 records each", "floor_value": many_floor.per_second, "goal": 8.0 * best_sqlite, "cpu_ns_per_op": many.cpu_ns, "load": load}),
    ];
    rows.extend(runtime.block_on(reads(&scratch.path().join("reads.redb"), load))?);

    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<32} {:>12} {:>12} {:>12} {:>10}", "", "value", "peer", "floor", "CPU ns/op")?;
    for row in &rows {
        let number = |name: &str| row[name].as_f64().map_or("-".into(), |number| format!("{number:.2}"));
        let [value, peer, floor, cpu] = ["value", "peer_value", "floor_value", "cpu_ns_per_op"].map(number);
        let name = format!("{} [{}]", row["name"].as_str().unwrap_or(""), row["unit"].as_str().unwrap_or(""));
        writeln!(out, "{name:<46} {value:>12} {peer:>12} {floor:>12} {cpu:>10}")?;
    }
    let (of_64, of_best) = (many.per_second / many_sqlite.per_second, many.per_second / best_sqlite);
    writeln!(out, "64 clients: {of_64:.1}x 64 connections of SQLite, {of_best:.1}x the best of SQLite")?;
    fs::write(target.join("store.json"), serde_json::to_vec_pretty(&rows)?)?;
    Ok(())
}

fn put(key: u64, value: Vec<u8>) -> Txn {
    let key = format!("/hv1/instance/default/{key:08}");
    Txn { then: vec![Op::Put { key, value: value.into(), lease: None }], ..Txn::default() }
}

/// No two are equal: SQLite skips the write, and the sync with it, when a row would not change.
fn value_of(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(VALUE_BYTES / 8)
}

/// A cheap sequence of keys without order, the same in every run.
fn key_of(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 & (KEYS - 1)
}

async fn embedded(path: std::path::PathBuf, clients: usize) -> anyhow::Result<Rate> {
    let store = Embedded::open(path, Options { retain_revisions: Some(20_000) }).await?;
    let count = Arc::new(AtomicU64::new(0));
    let (start, cpu) = (now(), cpu());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (store, count) = (store.clone(), count.clone());
        tasks.spawn(async move {
            while start.elapsed() < ROUND {
                let number = count.fetch_add(1, Ordering::Relaxed);
                store.txn(put(key_of(number), value_of(number))).await?;
            }
            Ok::<_, hv_store::StoreError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let rate = rate(count.load(Ordering::Relaxed), start, cpu);
    store.close().await;
    Ok(rate)
}

fn sqlite(path: &Path, clients: usize) -> anyhow::Result<Rate> {
    let open = || -> rusqlite::Result<rusqlite::Connection> {
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open()?.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID", [])?;
    let count = AtomicU64::new(0);
    // All connections stand before the clock runs.
    let connections = (0..clients).map(|_| open()).collect::<rusqlite::Result<Vec<_>>>()?;
    let (start, cpu) = (now(), cpu());
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let count = &count;
        let threads = connections.into_iter().map(|connection| {
            scope.spawn(move || -> rusqlite::Result<()> {
                let mut put = connection.prepare("INSERT OR REPLACE INTO kv VALUES (?1, ?2)")?;
                while start.elapsed() < ROUND {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    put.execute((format!("/hv1/instance/default/{:08}", key_of(number)), value_of(number)))?;
                }
                Ok(())
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    Ok(rate(count.load(Ordering::Relaxed), start, cpu))
}

/// What the disk allows when nothing else is done: write the records of a group where the file has room, sync, again.
fn fdatasync(path: &Path, group: usize) -> anyhow::Result<Rate> {
    let file = File::create(path)?;
    let room = vec![0_u8; 64 << 20];
    file.write_all_at(&room, 0)?;
    file.sync_all()?;
    let records = vec![7_u8; VALUE_BYTES * group];
    let mut count = 0;
    let (start, cpu) = (now(), cpu());
    while start.elapsed() < ROUND {
        let at = count * VALUE_BYTES as u64 % (room.len() - records.len()) as u64;
        file.write_all_at(&records, at)?;
        file.sync_data()?;
        count += group as u64;
    }
    Ok(rate(count, start, cpu))
}

async fn reads(path: &Path, load: f64) -> anyhow::Result<Vec<serde_json::Value>> {
    let store = Embedded::open(path, Options::default()).await?;
    for chunk in 0..10_000 / 100 {
        let ops = (0..100).flat_map(|number| put(chunk * 100 + number, value_of(number)).then).collect();
        store.txn(Txn { then: ops, ..Txn::default() }).await?;
    }
    let mut rows = Vec::new();
    for items in [1_000, 10_000] {
        let mut times = Vec::new();
        let cpu_before = cpu();
        for _ in 0..50 {
            let start = now();
            let page =
                store.list(List { prefix: "/hv1/instance/".into(), limit: items, ..List::default() }).await?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
            anyhow::ensure!(page.items.len() == items);
        }
        let cpu = (cpu() - cpu_before) / 50.0 * 1e9;
        times.sort_by(f64::total_cmp);
        // The floor: a copy of as many items, since a list hands out owned ones.
        let page = store.list(List { limit: items, ..List::default() }).await?;
        let start = now();
        for _ in 0..50 {
            std::hint::black_box(page.items.clone());
        }
        let floor = start.elapsed().as_secs_f64() * 1e6 / 50.0;
        rows.push(json!({"name": format!("store_list_{items}"), "value": times[25], "unit": "us", "better": "lower",
            "floor": "copy of the items", "floor_value": floor, "goal": null, "cpu_ns_per_op": cpu, "load": load}));
    }
    // Many in flight, so that the groups are large: this only has to fill the file.
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..500_u64 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0..200 {
                store.txn(put(key_of(client * 200 + number), value_of(number))).await?;
            }
            Ok::<_, hv_store::StoreError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let before = store.status().await?;
    anyhow::ensure!(before.revision > Revision(100_000));
    store.close().await;
    drop(store);
    let cpu_before = cpu();
    let start = now();
    let store = Embedded::open(path, Options::default()).await?;
    let restart = start.elapsed().as_secs_f64() * 1e3;
    let cpu = (cpu() - cpu_before) * 1e9;
    let after = store.status().await?;
    anyhow::ensure!((after.revision, after.keys) == (before.revision, before.keys));
    let compares = vec![Compare::Exists("/hv1/instance/default/00000001".into())];
    anyhow::ensure!(store.txn(Txn { compares, ..Txn::default() }).await?.succeeded);
    let start = now();
    std::hint::black_box(fs::read(path)?);
    for segment in fs::read_dir(path.with_extension("redb.log"))? {
        std::hint::black_box(fs::read(segment?.path())?);
    }
    let floor = start.elapsed().as_secs_f64() * 1e3;
    rows.push(
        json!({"name": "store_restart_100k_revisions", "value": restart, "unit": "ms", "better": "lower",
        "floor": "reading the files", "floor_value": floor, "goal": null, "cpu_ns_per_op": cpu, "load": load}),
    );
    Ok(rows)
}

fn rate(count: u64, start: Instant, cpu_before: f64) -> Rate {
    let seconds = start.elapsed().as_secs_f64();
    Rate { per_second: count as f64 / seconds, cpu_ns: (cpu() - cpu_before) / count as f64 * 1e9 }
}

fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rates[rates.len() / 2]
}

/// Seconds of CPU this process has used.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The machine's load over the last minute.
fn load() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or("").parse()?)
}
