//! The one suite, against each implementation.

use hv_store::embedded::{Embedded, Options};
use hv_store::model::MemoryStore;
use hv_store::{Op, Store, Txn, conformance};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test(start_paused = true)]
async fn memory_store_conforms() {
    conformance::run(|| async { Arc::new(MemoryStore::new("test")) as Arc<dyn Store> }).await;
}

#[tokio::test(start_paused = true)]
async fn embedded_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    conformance::run(|| async {
        let path = directory.path().join(format!("{}.redb", count.fetch_add(1, Ordering::Relaxed)));
        Arc::new(Embedded::open(path, Options::default()).await.unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn embedded_conforms_with_a_past_and_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    conformance::run(|| async {
        let path = directory.path().join(format!("{}.redb", count.fetch_add(1, Ordering::Relaxed)));
        let store = Embedded::open(&path, Options::default()).await.unwrap();
        for key in ["/a", "/b"] {
            let put = Op::Put { key: key.into(), value: "past".into(), lease: None };
            store.txn(Txn { then: vec![put], ..Txn::default() }).await.unwrap();
        }
        let revision = store
            .txn(Txn { then: vec![Op::DeletePrefix("/".into())], ..Txn::default() })
            .await
            .unwrap()
            .revision;
        store.compact(revision).await.unwrap();
        store.close().await;
        Arc::new(Embedded::open(&path, Options::default()).await.unwrap()) as Arc<dyn Store>
    })
    .await;
}
