//! Files that are not what they should be: a clear error that names the file, and the file as it was.

use hv_store::embedded::{Embedded, Options};
use hv_store::{List, Op, Store, StoreError, Txn};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

#[expect(clippy::unwrap_used, reason = "a part of a test")]
async fn refused(path: &Path) -> StoreError {
    let before = fs::read(path).unwrap();
    let error = Embedded::open(path, Options::default()).await.err().expect("it must not open");
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    error
}

#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
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
    assert!(matches!(error, StoreError::WrongFormat { found: 9, supported: 1 }), "{error}");
}

#[tokio::test]
async fn damage_is_reported_or_harmless_and_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(directory.path()).await;
    let whole = fs::read(&path).unwrap();
    let store = Embedded::open(&path, Options::default()).await.unwrap();
    let contents = store.list(List::default()).await.unwrap();
    store.close().await;
    let damaged = directory.path().join("damaged.redb");
    let mut reported = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        for byte in &mut bytes[page * 4096 + 64..page * 4096 + 320] {
            *byte ^= 0x5a;
        }
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
