//! The embedded store and the model, given the same, must answer the same, with restarts in between.

use futures::StreamExt;
use hv_store::embedded::{Embedded, Options};
use hv_store::model::Model;
use hv_store::{Compare, LeaseId, List, Op, Revision, Store, StoreError, Txn, Watch};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Txn(Txn),
    Grant,
    Revoke(u64),
    KeepAlive(u64),
    Compact(u64),
    ListAt(u64, String, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/a", "/a/1", "/a/2", "/b", "/b/1", "/ö"]).prop_map(str::to_owned)
}

fn prefix() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "/", "/a", "/a/", "/b/", "/none"]).prop_map(str::to_owned)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (key(), prop::collection::vec(any::<u8>(), 0..40), prop::option::weighted(0.3, 1..4_u64)).prop_map(
            |(key, value, lease)| Op::Put { key, value: value.into(), lease: lease.map(LeaseId) }
        ),
        2 => key().prop_map(Op::Delete),
        1 => prefix().prop_map(Op::DeletePrefix),
        2 => key().prop_map(Op::Get),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    prop_oneof![
        key().prop_map(Compare::Absent),
        key().prop_map(Compare::Exists),
        (key(), 0..20_u64).prop_map(|(key, revision)| Compare::ModRevision(key, Revision(revision))),
        (key(), 0..20_u64).prop_map(|(key, revision)| Compare::CreateRevision(key, Revision(revision))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ops = || prop::collection::vec(op(), 0..4);
    prop_oneof![
        12 => (prop::collection::vec(compare(), 0..2), ops(), ops())
            .prop_map(|(compares, then, otherwise)| Step::Txn(Txn { compares, then, otherwise })),
        1 => Just(Step::Grant),
        1 => (1..4_u64).prop_map(Step::Revoke),
        1 => (1..4_u64).prop_map(Step::KeepAlive),
        1 => (0..40_u64).prop_map(Step::Compact),
        3 => (0..40_u64, prefix(), 0..4_usize).prop_map(|(at, prefix, limit)| Step::ListAt(at, prefix, limit)),
        1 => Just(Step::Reopen),
    ]
}

/// Errors have no equality; their text has.
fn plain<T>(result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_answers_as_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(compare_with_model(steps));
    }
}

#[expect(clippy::unwrap_used, reason = "a part of a test")]
async fn compare_with_model(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut store = Embedded::open(&path, Options::default()).await.unwrap();
    let mut model = Model::new(store.status().await.unwrap().incarnation);
    let hour = Duration::from_secs(3600);
    for step in steps {
        match step.clone() {
            Step::Txn(txn) => {
                assert_eq!(plain(store.txn(txn.clone()).await), plain(model.txn(&txn)), "{step:?}")
            }
            Step::Grant => assert_eq!(
                plain(store.lease_grant(hour).await),
                plain(model.lease_grant(Duration::ZERO, hour))
            ),
            Step::Revoke(id) => {
                assert_eq!(
                    plain(store.lease_revoke(LeaseId(id)).await),
                    plain(model.lease_revoke(LeaseId(id)))
                );
            }
            Step::KeepAlive(id) => {
                let expected = model.lease_keep_alive(Duration::ZERO, LeaseId(id));
                assert_eq!(plain(store.lease_keep_alive(LeaseId(id)).await), plain(expected));
            }
            Step::Compact(at) => {
                assert_eq!(plain(store.compact(Revision(at)).await), plain(model.compact(Revision(at))));
            }
            Step::ListAt(at, prefix, limit) => {
                let list = List {
                    prefix,
                    limit,
                    at: Some(Revision(at)),
                    after: (at % 3 == 0).then(|| "/a/1".into()),
                };
                assert_eq!(plain(store.list(list.clone()).await), plain(model.list(&list)), "{list:?}");
            }
            Step::Reopen => {
                store.close().await;
                store = Embedded::open(&path, Options::default()).await.unwrap();
            }
        }
        let mut status = store.status().await.unwrap();
        status.disk_bytes = 0;
        assert_eq!(status, model.status(), "after {step:?}");
        assert_eq!(store.snapshot().await.unwrap(), model.snapshot(), "after {step:?}");
    }
    for after in model.status().compacted.0..=model.revision().0 {
        for prefix in ["", "/a/"] {
            let watch = Watch { prefix: prefix.into(), after: Revision(after) };
            let expected = model.events_since(prefix, Revision(after), 0).unwrap().batches;
            let stream = store.watch(watch).await.unwrap();
            let seen: Vec<_> = stream.take(expected.len()).map(Result::unwrap).collect().await;
            assert_eq!(seen, expected, "watch of {prefix:?} after {after}");
        }
    }
}
