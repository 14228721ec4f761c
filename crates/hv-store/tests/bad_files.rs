//! Files that are not what they should be: a clear error that names the file, and the file as it was.

use futures::StreamExt;
use hv_store::embedded::{Embedded, Options};
use hv_store::{List, Op, Store, StoreError, Txn, Watch};
use redb::{ReadableTable, TableDefinition};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[expect(clippy::unwrap_used, reason = "a part of a test")]
async fn filled(directory: &Path) -> PathBuf {
    let path = directory.join("state").join("store.redb");
    let store = Embedded::open(&path, Options::default()).await.unwrap();
    for number in 0..200 {
        let put =
            Op::Put { key: format!("/k/{}", number % 50), value: vec![number; 700].into(), lease: None };
        let revision = store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap().revision;
        if number == 120 {
            store.compact(revision).await.unwrap();
        }
    }
    store.close().await;
    path
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("redb.log")
}

/// The log's files, oldest first.
#[expect(clippy::unwrap_used, reason = "a part of a test")]
fn segments(path: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> =
        fs::read_dir(log_of(path)).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|segment| segment.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments
}

/// Everything a store has on disk.
#[expect(clippy::unwrap_used, reason = "a part of a test")]
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(log_of(path)).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.chain([path.to_owned()]).map(|file| (file.clone(), fs::read(&file).unwrap_or_default())).collect()
}

#[expect(clippy::unwrap_used, reason = "a part of a test")]
fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let _ = fs::remove_dir_all(log_of(to));
    fs::create_dir(log_of(to)).unwrap();
    for segment in fs::read_dir(log_of(from)).unwrap() {
        let segment = segment.unwrap();
        fs::copy(segment.path(), log_of(to).join(segment.file_name())).unwrap();
    }
}

async fn refused(path: &Path) -> StoreError {
    let before = contents(path);
    let error = Embedded::open(path, Options::default()).await.err().expect("it must not open");
    assert!(contents(path) == before, "the files were changed");
    error
}

/// The error's text, which must be that of damage.
async fn corrupt(path: &Path) -> String {
    match refused(path).await {
        StoreError::Corrupt(text) => text,
        error => panic!("{error}"),
    }
}

#[expect(clippy::unwrap_used, reason = "a part of a test")]
async fn everything(path: &Path) -> (hv_store::Page, Vec<hv_store::Batch>) {
    let store = Embedded::open(path, Options::default()).await.unwrap();
    let page = store.list(List::default()).await.unwrap();
    let after = store.status().await.unwrap().compacted;
    let watch = store.watch(Watch { prefix: String::new(), after }).await.unwrap();
    let count = (page.revision.0 - after.0) as usize;
    let batches = watch.take(count).map(Result::unwrap).collect().await;
    store.close().await;
    (page, batches)
}

#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!((mode(&segments(&path)[0]), mode(&log_of(&path))), (0o600, 0o700));
}

#[tokio::test]
async fn a_second_opener_is_told_which_file_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let first = Embedded::open(&path, Options::default()).await.unwrap();
    let error = Embedded::open(&path, Options::default()).await.err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("in use"), "{error}");
    first.close().await;
    Embedded::open(&path, Options::default()).await.unwrap();
}

#[tokio::test]
async fn another_format_is_refused_with_both_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(redb::TableDefinition::<&str, u64>::new("meta"))
        .unwrap()
        .insert("format", 9)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(&path).await;
    assert!(matches!(error, StoreError::WrongFormat { found: 9, supported: 2 }), "{error}");
}

#[tokio::test]
async fn damage_is_reported_or_harmless_and_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let whole = fs::read(&path).unwrap();
    let contents = everything(&path).await.0;
    let damaged = directory.path().join("damaged.redb");
    let whole_pages = whole.len() / 4096;
    let mut reported = 0;
    for page in 0..whole_pages {
        let mut bytes = whole.clone();
        for byte in &mut bytes[page * 4096 + 64..page * 4096 + 320] {
            *byte ^= 0x5a;
        }
        copy(&path, &damaged);
        fs::write(&damaged, &bytes).unwrap();
        match Embedded::open(&damaged, Options::default()).await {
            // A page that is not in use.
            Ok(store) => {
                assert_eq!(store.list(List::default()).await.unwrap(), contents, "page {page}");
                store.close().await;
            }
            Err(StoreError::Corrupt(text)) => {
                assert!(text.contains("damaged.redb"), "page {page}: {text}");
                assert!(fs::read(&damaged).unwrap() == bytes, "page {page}: the file was changed");
                reported += 1;
            }
            Err(error) => panic!("page {page}: {error}"),
        }
    }
    assert!(reported > 10, "only {reported} pages mattered");
}

#[tokio::test]
async fn damage_to_the_log_is_refused_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let damaged = directory.path().join("damaged.redb");
    let end = {
        let bytes = fs::read(&segments(&path)[0]).unwrap();
        bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count()
    };
    // The very last record too: the store was closed, so it is known to have been there.
    for at in (0..end).step_by(997).chain([end - 1]) {
        copy(&path, &damaged);
        let segment = fs::OpenOptions::new().read(true).write(true).open(&segments(&damaged)[0]).unwrap();
        let mut byte = [0];
        segment.read_exact_at(&mut byte, at as u64).unwrap();
        segment.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
        let text = corrupt(&damaged).await;
        assert!(text.contains("damaged.redb") && text.contains("log") && text.contains("snapshot"), "{text}");
    }
    for (what, length) in [("cut", end as u64 / 2), ("emptied", 0)] {
        copy(&path, &damaged);
        fs::OpenOptions::new().write(true).open(&segments(&damaged)[0]).unwrap().set_len(length).unwrap();
        assert!(corrupt(&damaged).await.contains("log"), "{what}");
    }
}

#[tokio::test]
async fn a_torn_end_of_the_log_is_no_damage_and_damage_before_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Embedded::open(&path, Options::default()).await.unwrap();
    for number in 0..20 {
        let put = Op::Put { key: format!("/{number}"), value: vec![number; 700].into(), lease: None };
        store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap();
    }
    // As a crash leaves it: nothing is noted at the end.
    let crashed = directory.path().join("crashed.redb");
    copy(&path, &crashed);
    store.close().await;
    let bytes = fs::read(&segments(&crashed)[0]).unwrap();
    let record = |number: u8| bytes.windows(8).position(|window| window == [number; 8]).unwrap() as u64;
    let scratch = |at: u64| {
        let segment = fs::OpenOptions::new().write(true).open(&segments(&crashed)[0]).unwrap();
        segment.write_all_at(&[0xee; 64], at).unwrap();
    };
    scratch(record(19));
    let page = everything(&crashed).await.0;
    assert_eq!((page.items.len(), page.revision.0), (19, 19), "all but the torn one");
    // Written over by the next one.
    let store = Embedded::open(&crashed, Options::default()).await.unwrap();
    let put = Op::Put { key: "/next".into(), value: "n".into(), lease: None };
    assert_eq!(store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap().revision.0, 20);
    store.close().await;
    assert_eq!(everything(&crashed).await.0.items.len(), 20);
    scratch(record(5));
    let text = corrupt(&crashed).await;
    assert!(text.contains("in front of sound records"), "{text}");
}

#[tokio::test]
async fn file_and_log_are_refused_one_without_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let other = filled(&directory.path().join("other")).await;
    let mixed = directory.path().join("mixed.redb");
    copy(&path, &mixed);
    fs::remove_dir_all(log_of(&mixed)).unwrap();
    assert!(corrupt(&mixed).await.contains("log"));
    copy(&path, &mixed);
    copy(&other, &directory.path().join("spare.redb"));
    fs::copy(&segments(&other)[0], &segments(&mixed)[0]).unwrap();
    assert!(corrupt(&mixed).await.contains("belongs to another store"));
    copy(&path, &mixed);
    fs::remove_file(&mixed).unwrap();
    let text = corrupt(&mixed).await;
    assert!(text.contains("is missing, but its log"), "{text}");
    assert!(!mixed.exists(), "a new one was begun");
}

/// What a store of format 1 looks like: its log is a table beside the others.
#[tokio::test]
async fn a_store_of_format_1_is_taken_over_with_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let (page, batches) = everything(&path).await;
    let old = directory.path().join("old.redb");
    fs::copy(&path, &old).unwrap();
    let database = redb::Database::open(&old).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
        let base = meta.get("base").unwrap().unwrap().value();
        for name in ["frame", "durable"] {
            meta.remove(name).unwrap();
        }
        meta.insert("format", 1).unwrap();
        meta.insert("compacted", page.revision.0 - batches.len() as u64).unwrap();
        let mut log = transaction.open_table(TableDefinition::<u64, &[u8]>::new("log")).unwrap();
        for (revision, record) in
            records_of_format_1(&path).into_iter().filter(|(revision, _)| *revision > base)
        {
            log.insert(revision, record.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    // Left over from an upgrade that was interrupted.
    fs::create_dir(log_of(&old)).unwrap();
    fs::copy(&segments(&path)[0], log_of(&old).join("0000000000000001.log")).unwrap();
    // Without the sign of that, it is a log in use beside an older file.
    let text = corrupt(&old).await;
    assert!(text.contains("older than its log") && text.contains("old.redb.log: put"), "{text}");
    fs::write(log_of(&old).join("upgrading"), "").unwrap();
    for time in ["at first", "once more"] {
        assert_eq!(everything(&old).await, (page.clone(), batches.clone()), "{time}");
    }
    let store = Embedded::open(&old, Options::default()).await.unwrap();
    let put = Op::Put { key: "/after".into(), value: "x".into(), lease: None };
    assert_eq!(
        store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap().revision,
        page.revision.next()
    );
    store.close().await;
    assert_eq!(everything(&old).await.1.len(), batches.len() + 1);
    assert!(!log_of(&old).join("upgrading").exists());
}

/// The changes of each revision in a log, as format 1 kept them: the payload of record kind 1.
#[expect(clippy::unwrap_used, reason = "a part of a test")]
fn records_of_format_1(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(&segments(path)[0]).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut records = Vec::new();
    let mut frame = 64;
    while length(frame + 4) > 0 {
        let payload = frame + 24;
        // These groups are single transactions or a compaction.
        if bytes[payload] == 1 {
            let events = payload + 13;
            records.push((number(payload + 1), bytes[events..events + length(payload + 9)].to_vec()));
        }
        frame += (24 + length(frame + 4)).next_multiple_of(8);
    }
    records
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let whole = fs::read(&path).unwrap();
    for (what, bytes) in [
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("text", b"# a configuration file\n".repeat(1000)),
        ("zeros", vec![0; 1 << 20]),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&path).await;
        assert!(
            matches!(&error, StoreError::Corrupt(text) if text.contains("store.redb")),
            "{what}: {error}"
        );
    }
}

#[tokio::test]
async fn a_snapshot_restores_as_another_incarnation_and_only_to_a_free_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let store = Embedded::open(&path, Options::default()).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let taken = Embedded::restore(&path, snapshot.clone(), Options::default()).await.err().unwrap();
    assert!(matches!(taken, StoreError::Invalid(_)), "{taken}");
    let restored = Embedded::restore(directory.path().join("new.redb"), snapshot.clone(), Options::default())
        .await
        .unwrap();
    assert_eq!(restored.snapshot().await.unwrap(), snapshot);
    let (old, new) = (store.status().await.unwrap(), restored.status().await.unwrap());
    assert_ne!(old.incarnation, new.incarnation);
    assert_eq!((new.revision, new.compacted), (old.revision, old.revision));
}
