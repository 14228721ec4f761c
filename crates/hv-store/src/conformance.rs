//! The rules of [`Store`] as checks, for every implementation.
//!
//! [`run`] gives each check a store of its own. A check panics with what it saw. Waiting is always for something the store
//! owes, never for time: with leases, for the deletion that the expiry brings.

use crate::{
    Batch, Compare, Event, LeaseId, List, MAX_KEY_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, Op, PROGRESS_EVERY,
    Revision, Store, StoreError, Txn, TxnOutcome, Watch, WatchStream,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

type Shared = Arc<dyn Store>;

/// Runs every check, each against a store that `fresh` makes: empty, at revision 0 or above.
///
/// # Panics
/// When the store breaks a rule.
pub async fn run<F: Future<Output = Shared>>(fresh: impl Fn() -> F) {
    revisions(fresh().await).await;
    compares(fresh().await).await;
    branches_are_atomic(fresh().await).await;
    limits(fresh().await).await;
    deletes(fresh().await).await;
    prefixes(fresh().await).await;
    paging_at_a_revision(fresh().await).await;
    watch_order_and_batches(fresh().await).await;
    watch_resumes(fresh().await).await;
    watch_refuses(fresh().await).await;
    watch_progress(fresh().await).await;
    compaction(fresh().await).await;
    leases(fresh().await).await;
    lease_expiry(fresh().await).await;
    increments(fresh().await).await;
    watch_under_load(fresh().await).await;
    snapshot(fresh().await).await;
}

/// Revisions rise by one with each change, and only then; versions count puts since creation.
async fn revisions(store: Shared) {
    let start = newest(&store).await;
    let first = put(&store, "/a", "1").await;
    assert_eq!(first, start.next(), "the first change");
    let second = put(&store, "/a", "1").await;
    assert_eq!(second, first.next(), "a put of the same value is a change");
    let item = store.get("/a").await.expect("get").expect("the key exists");
    assert_eq!((item.create_revision, item.mod_revision, item.version), (first, second, 2));
    let read = txn(&store, Txn { then: vec![Op::Get("/a".into())], ..Txn::default() }).await;
    assert_eq!((read.revision, read.gets), (second, vec![Some(item)]), "reading is no change");
    let third = delete(&store, "/a").await;
    assert_eq!(third, second.next());
    assert_eq!(store.get("/a").await.expect("get"), None);
    let fourth = put(&store, "/a", "2").await;
    let item = store.get("/a").await.expect("get").expect("the key exists");
    assert_eq!((item.create_revision, item.mod_revision, item.version), (fourth, fourth, 1), "created anew");
}

/// Each compare, holding and not; one that fails is enough for `otherwise`.
async fn compares(store: Shared) {
    let revision = put(&store, "/a", "1").await;
    let key = || "/a".to_owned();
    let none = || "/none".to_owned();
    let table = [
        (Compare::Absent(key()), false),
        (Compare::Absent(none()), true),
        (Compare::Exists(key()), true),
        (Compare::Exists(none()), false),
        (Compare::ModRevision(key(), revision), true),
        (Compare::ModRevision(key(), revision.next()), false),
        (Compare::ModRevision(none(), Revision(0)), false),
        (Compare::CreateRevision(key(), revision), true),
        (Compare::CreateRevision(key(), revision.next()), false),
        (Compare::CreateRevision(none(), Revision(0)), false),
        (Compare::Value(key(), "1".into()), true),
        (Compare::Value(key(), "2".into()), false),
        (Compare::Value(none(), Bytes::new()), false),
    ];
    for (compare, holds) in table {
        let compares = vec![Compare::Exists(key()), compare.clone()];
        let outcome = txn(&store, Txn { compares, ..Txn::default() }).await;
        assert_eq!(outcome.succeeded, holds, "{compare:?}");
    }
}

/// Only the chosen branch runs, whole or not at all, and its reads see what it leaves.
async fn branches_are_atomic(store: Shared) {
    let before = put(&store, "/a", "1").await;
    let outcome = txn(
        &store,
        Txn {
            compares: vec![Compare::Absent("/a".into())],
            then: vec![op_put("/then", "1")],
            otherwise: vec![
                Op::Get("/b".into()),
                op_put("/b", "1"),
                Op::Delete("/a".into()),
                Op::Get("/a".into()),
            ],
        },
    )
    .await;
    assert!(!outcome.succeeded);
    assert_eq!(outcome.revision, before.next(), "one revision for all changes");
    let [Some(b), None] = &outcome.gets[..] else {
        panic!("reads see what the transaction leaves: {outcome:?}")
    };
    assert_eq!(b.mod_revision, outcome.revision);
    assert_eq!(store.get("/then").await.expect("get"), None);
    let missing = Op::Put { key: "/y".into(), value: Bytes::new(), lease: Some(LeaseId(u64::MAX / 2)) };
    let refused = store.txn(Txn { then: vec![op_put("/x", "1"), missing.clone()], ..Txn::default() }).await;
    assert!(matches!(refused, Err(StoreError::LeaseNotFound(_))), "{refused:?}");
    assert_eq!(store.get("/x").await.expect("get"), None, "a refused transaction leaves nothing");
    assert_eq!(newest(&store).await, outcome.revision);
    let unused =
        txn(&store, Txn { then: vec![op_put("/x", "1")], otherwise: vec![missing], ..Txn::default() }).await;
    assert!(unused.succeeded, "a lease in the branch that does not run does not matter");
}

async fn limits(store: Shared) {
    let ops = |count: usize| (0..count).map(|number| op_put(&format!("/{number}"), "")).collect::<Vec<_>>();
    let compares = |count: usize| vec![Compare::Absent("/none".into()); count];
    let key = |bytes: usize| "k".repeat(bytes);
    let big = |bytes: usize| Op::Put { key: "/big".into(), value: vec![1; bytes].into(), lease: None };
    let good = [
        Txn { then: ops(MAX_TXN_OPS), otherwise: ops(MAX_TXN_OPS), compares: compares(MAX_TXN_OPS) },
        Txn { then: vec![op_put(&key(MAX_KEY_BYTES), "")], ..Txn::default() },
        Txn { then: vec![big(MAX_VALUE_BYTES)], ..Txn::default() },
        Txn { then: vec![Op::Delete("/a".into()), Op::DeletePrefix("/".into())], ..Txn::default() },
    ];
    for (number, good) in good.into_iter().enumerate() {
        assert!(store.txn(good).await.is_ok(), "within the limits: {number}");
    }
    let before = newest(&store).await;
    let bad = [
        Txn { then: ops(MAX_TXN_OPS + 1), ..Txn::default() },
        Txn { otherwise: ops(MAX_TXN_OPS + 1), ..Txn::default() },
        Txn { compares: compares(MAX_TXN_OPS + 1), ..Txn::default() },
        Txn { then: vec![op_put(&key(MAX_KEY_BYTES + 1), "")], ..Txn::default() },
        Txn { then: vec![op_put("", "")], ..Txn::default() },
        Txn { compares: vec![Compare::Exists(String::new())], ..Txn::default() },
        Txn { otherwise: vec![big(MAX_VALUE_BYTES + 1)], ..Txn::default() },
        Txn { then: vec![op_put("/a", "1"), op_put("/a", "2")], ..Txn::default() },
        Txn { then: vec![op_put("/a", "1"), Op::Delete("/a".into())], ..Txn::default() },
        Txn { then: vec![Op::DeletePrefix("/".into()), op_put("/a", "1")], ..Txn::default() },
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let refused = store.txn(bad).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "beyond the limits: {number}: {refused:?}");
    }
    assert_eq!(newest(&store).await, before, "refused transactions change nothing");
}

async fn deletes(store: Shared) {
    let before = newest(&store).await;
    assert_eq!(delete(&store, "/none").await, before, "deleting nothing changes nothing");
    let prefix = |prefix: &str| Txn { then: vec![Op::DeletePrefix(prefix.into())], ..Txn::default() };
    assert_eq!(txn(&store, prefix("/none")).await.revision, before);
    let start = put(&store, "/d/2", "").await;
    put(&store, "/d/1", "").await;
    put(&store, "/e", "").await;
    let mut watch = watch(&store, "/", newest(&store).await).await;
    let revision = txn(&store, prefix("/d/")).await.revision;
    assert_eq!(revision.0, start.0 + 3);
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, keys(&batch)), (revision, vec!["/d/1", "/d/2"]), "in key order");
    assert!(batch.events.iter().all(|event| matches!(event, Event::Delete { .. })));
    assert_eq!(list(&store, "/").await, ["/e"]);
}

/// A prefix is bytes, and neither more nor less matches.
async fn prefixes(store: Shared) {
    for key in ["/a", "/a/", "/a/1", "/a/2", "/a0", "/b", "/ä/ß", "/a/\u{10ffff}"] {
        put(&store, key, "").await;
    }
    assert_eq!(list(&store, "/a/").await, ["/a/", "/a/1", "/a/2", "/a/\u{10ffff}"]);
    assert_eq!(list(&store, "/a").await, ["/a", "/a/", "/a/1", "/a/2", "/a/\u{10ffff}", "/a0"]);
    assert_eq!(list(&store, "/ä").await, ["/ä/ß"]);
    assert_eq!(list(&store, "").await.len(), 8);
    let after = newest(&store).await;
    let mut inside = watch(&store, "/a/", after).await;
    put(&store, "/a", "x").await;
    put(&store, "/a0", "x").await;
    let outcome =
        txn(&store, Txn { then: vec![op_put("/b", "x"), op_put("/a/1", "x")], ..Txn::default() }).await;
    let batch = next(&mut inside).await;
    assert_eq!(
        (batch.revision, keys(&batch)),
        (outcome.revision, vec!["/a/1"]),
        "a watch sees its prefix alone"
    );
}

/// Pages at one revision are of one piece, whatever is written between them.
async fn paging_at_a_revision(store: Shared) {
    for number in 0..20 {
        put(&store, &format!("/p/{number:02}"), "old").await;
    }
    let mut request = List { prefix: "/p/".into(), limit: 7, ..List::default() };
    let mut seen = Vec::new();
    let mut revision = None;
    loop {
        let page = store.list(request.clone()).await.expect("a page");
        assert_eq!(page.revision, *revision.get_or_insert(page.revision), "all pages at one revision");
        assert!(page.items.len() <= 7);
        seen.extend(page.items.iter().map(|item| (item.key.clone(), item.value.clone(), item.version)));
        // Behind, at and before the cursor: created, changed, deleted.
        let number = seen.len();
        put(&store, &format!("/p/{number:02}"), "new").await;
        put(&store, &format!("/p/{:02}x", number + 1), "new").await;
        delete(&store, &format!("/p/{:02}", number + 2)).await;
        delete(&store, "/p/00").await;
        if !page.more {
            break;
        }
        request.after = page.items.last().map(|item| item.key.clone());
        request.at = Some(page.revision);
    }
    let expected: Vec<_> = (0..20).map(|number| (format!("/p/{number:02}"), Bytes::from("old"), 1)).collect();
    assert_eq!(seen, expected);
    let exact = store.list(List { prefix: "/p/01".into(), limit: 1, at: revision, ..List::default() }).await;
    assert!(!exact.expect("a page").more, "`more` only if more follow");
    let future = newest(&store).await.next();
    let refused = store.list(List { at: Some(future), ..List::default() }).await;
    assert!(
        matches!(refused, Err(StoreError::FutureRevision { asked, .. }) if asked == future),
        "{refused:?}"
    );
}

/// One batch for a revision, changes in the order of the transaction, each with what was there before.
async fn watch_order_and_batches(store: Shared) {
    let created = put(&store, "/w/b", "1").await;
    let mut watch = watch(&store, "/w/", created).await;
    let ops = vec![op_put("/w/z", "1"), op_put("/w/b", "2"), op_put("/other", ""), op_put("/w/a", "1")];
    let outcome = txn(&store, Txn { then: ops, ..Txn::default() }).await;
    let deleted = delete(&store, "/w/b").await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, keys(&batch)), (outcome.revision, vec!["/w/z", "/w/b", "/w/a"]));
    let Event::Put { current, previous: Some(previous) } = &batch.events[1] else { panic!("{batch:?}") };
    assert_eq!((&*current.value, &*previous.value), (&b"2"[..], &b"1"[..]));
    assert_eq!((current.version, previous.version, previous.mod_revision), (2, 1, created));
    let batch = next(&mut watch).await;
    assert_eq!(batch.revision, deleted);
    assert!(
        matches!(&batch.events[..], [Event::Delete { previous }] if previous.mod_revision == outcome.revision)
    );
}

/// Every revision can be resumed from, and each resumption sees the same.
async fn watch_resumes(store: Shared) {
    let start = newest(&store).await;
    let mut all = Vec::new();
    for number in 0..30 {
        let key = format!("/r/{}", number % 4);
        all.push(if number % 7 == 6 { delete(&store, &key).await } else { put(&store, &key, "x").await });
    }
    all.dedup();
    let mut from_start = watch(&store, "/r/", start).await;
    let mut batches = Vec::new();
    for _ in &all {
        batches.push(next(&mut from_start).await);
    }
    assert_eq!(batches.iter().map(|batch| batch.revision).collect::<Vec<_>>(), all);
    for (index, revision) in all.iter().enumerate() {
        let mut resumed = watch(&store, "/r/", *revision).await;
        for expected in &batches[index + 1..] {
            assert_eq!(next(&mut resumed).await, *expected, "resumed after {revision}");
        }
    }
}

async fn watch_refuses(store: Shared) {
    let newest = put(&store, "/a", "").await;
    let refused = store.watch(Watch { prefix: String::new(), after: newest.next() }).await.err();
    assert!(matches!(refused, Some(StoreError::FutureRevision { .. })), "{refused:?}");
}

/// A watch that nothing matches still learns how far it has got.
async fn watch_progress(store: Shared) {
    let start = newest(&store).await;
    let mut idle = watch(&store, "/idle/", start).await;
    let writes = (0..PROGRESS_EVERY + 1).map(|number| {
        let store = store.clone();
        async move { put(&store, &format!("/busy/{}", number % 16), "").await }
    });
    join_all(writes).await;
    let notice = next(&mut idle).await;
    assert!(notice.events.is_empty(), "{notice:?}");
    assert!(notice.revision.0 >= start.0 + PROGRESS_EVERY, "{notice:?}");
}

async fn compaction(store: Shared) {
    let first = put(&store, "/c/a", "1").await;
    put(&store, "/c/b", "1").await;
    put(&store, "/c/a", "2").await;
    let kept = delete(&store, "/c/b").await;
    let last = put(&store, "/c/c", "1").await;
    store.compact(kept).await.expect("compact");
    store.compact(first).await.expect("what is forgotten may be forgotten again");
    assert_eq!(list(&store, "/c/").await, ["/c/a", "/c/c"], "the newest values stay");
    let at = store
        .list(List { prefix: "/c/".into(), at: Some(kept), ..List::default() })
        .await
        .expect("at the edge");
    assert_eq!(at.items.len(), 1);
    let refused = store.list(List { at: Some(first), ..List::default() }).await;
    assert!(matches!(refused, Err(StoreError::Compacted { oldest }) if oldest == kept), "{refused:?}");
    let refused = store.watch(Watch { prefix: String::new(), after: first }).await.err();
    assert!(matches!(refused, Some(StoreError::Compacted { oldest }) if oldest == kept), "{refused:?}");
    let mut edge = watch(&store, "/c/", kept).await;
    assert_eq!(next(&mut edge).await.revision, last);
    let refused = store.compact(last.next()).await;
    assert!(matches!(refused, Err(StoreError::FutureRevision { .. })), "{refused:?}");
    assert_eq!(store.status().await.expect("status").compacted, kept);
}

/// A lease's keys go together; a key goes only with the lease it was last put with.
async fn leases(store: Shared) {
    let hour = Duration::from_secs(3600);
    let lease = store.lease_grant(hour).await.expect("grant");
    let other = store.lease_grant(hour).await.expect("grant");
    assert_ne!(lease, other);
    assert!(matches!(store.lease_grant(Duration::ZERO).await, Err(StoreError::Invalid(_))));
    let bound = |key: &str, lease| Op::Put { key: key.into(), value: Bytes::new(), lease };
    let ops = vec![bound("/l/b", Some(lease)), bound("/l/a", Some(lease)), bound("/l/moved", Some(lease))];
    txn(&store, Txn { then: [ops, vec![bound("/l/freed", Some(lease))]].concat(), ..Txn::default() }).await;
    let ops = vec![bound("/l/moved", Some(other)), bound("/l/freed", None)];
    let before = txn(&store, Txn { then: ops, ..Txn::default() }).await.revision;
    assert_eq!(store.get("/l/a").await.expect("get").and_then(|item| item.lease), Some(lease));
    store.lease_keep_alive(lease).await.expect("keep-alive");
    let mut watch = watch(&store, "/l/", before).await;
    store.lease_revoke(lease).await.expect("revoke");
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, keys(&batch)), (before.next(), vec!["/l/a", "/l/b"]), "in one revision");
    assert_eq!(list(&store, "/l/").await, ["/l/freed", "/l/moved"]);
    assert!(matches!(store.lease_revoke(lease).await, Err(StoreError::LeaseNotFound(id)) if id == lease));
    assert!(matches!(store.lease_keep_alive(lease).await, Err(StoreError::LeaseNotFound(_))));
    let late = store.txn(Txn { then: vec![bound("/l/late", Some(lease))], ..Txn::default() }).await;
    assert!(matches!(late, Err(StoreError::LeaseNotFound(_))), "{late:?}");
}

/// Leases expire by themselves, and a watch hears of it.
async fn lease_expiry(store: Shared) {
    let short = store.lease_grant(Duration::from_secs(2)).await.expect("grant");
    let long = store.lease_grant(Duration::from_secs(3600)).await.expect("grant");
    for (key, lease) in [("/x/short", short), ("/x/long", long)] {
        let put = Op::Put { key: key.into(), value: Bytes::new(), lease: Some(lease) };
        txn(&store, Txn { then: vec![put], ..Txn::default() }).await;
    }
    let before = newest(&store).await;
    let mut watch = watch(&store, "/x/", before).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, keys(&batch)), (before.next(), vec!["/x/short"]));
    assert!(matches!(store.lease_keep_alive(short).await, Err(StoreError::LeaseNotFound(_))));
    store.lease_keep_alive(long).await.expect("the other lease lives");
    assert_eq!(list(&store, "/x/").await, ["/x/long"]);
}

/// Compare-and-set from many sides loses nothing.
async fn increments(store: Shared) {
    put(&store, "/counter", "0").await;
    let clients = (0..16).map(|_| {
        let store = store.clone();
        async move {
            let mut done = 0;
            while done < 10 {
                let item = store.get("/counter").await.expect("get").expect("the counter");
                let number: u64 = str::from_utf8(&item.value).expect("digits").parse().expect("a number");
                let outcome = txn(
                    &store,
                    Txn {
                        compares: vec![Compare::ModRevision("/counter".into(), item.mod_revision)],
                        then: vec![op_put("/counter", &(number + 1).to_string())],
                        otherwise: Vec::new(),
                    },
                )
                .await;
                done += u64::from(outcome.succeeded);
            }
        }
    });
    join_all(clients).await;
    let item = store.get("/counter").await.expect("get").expect("the counter");
    assert_eq!((&*item.value, item.version), (&b"160"[..], 161));
}

/// Watches opened while others write see every revision after theirs, once, in order, and rebuild the listing.
async fn watch_under_load(store: Shared) {
    const WRITES: u64 = 400;
    let start = newest(&store).await;
    let writers = join_all((0..8_u64).map(|writer| {
        let store = store.clone();
        async move {
            for number in 0..WRITES / 8 {
                // Two keys always written together must always be seen together.
                let value = format!("{writer}.{number}");
                let ops = vec![
                    op_put(&format!("/load/{writer}/l"), &value),
                    op_put(&format!("/load/{writer}/r"), &value),
                ];
                txn(&store, Txn { then: ops, ..Txn::default() }).await;
            }
        }
    }));
    let watchers = join_all((0..8_u64).map(|_| {
        let store = store.clone();
        async move {
            let page = store.list(List { prefix: "/load/".into(), ..List::default() }).await.expect("list");
            let mut state: std::collections::BTreeMap<_, _> =
                page.items.into_iter().map(|item| (item.key.clone(), item)).collect();
            let mut watch = watch(&store, "/load/", page.revision).await;
            let mut at = page.revision;
            while at.0 < start.0 + WRITES {
                let batch = next(&mut watch).await;
                assert_eq!(batch.revision, at.next(), "no gap, nothing twice");
                assert_eq!(batch.events.len(), 2, "whole transactions");
                at = batch.revision;
                for event in batch.events {
                    let Event::Put { current, previous } = event else { panic!("nothing is deleted here") };
                    let held = state.insert(current.key.clone(), current);
                    assert_eq!(held, previous, "what was there before");
                }
            }
            state.into_values().collect::<Vec<_>>()
        }
    }));
    let (_, states) = futures::join!(writers, watchers);
    let end = store.list(List { prefix: "/load/".into(), ..List::default() }).await.expect("list").items;
    for state in states {
        assert_eq!(state, end);
    }
}

async fn snapshot(store: Shared) {
    let ttl = Duration::from_secs(3600);
    let lease = store.lease_grant(ttl).await.expect("grant");
    let op = Op::Put { key: "/s/leased".into(), value: "v".into(), lease: Some(lease) };
    txn(&store, Txn { then: vec![op, op_put("/s/free", "v")], ..Txn::default() }).await;
    let snapshot = store.snapshot().await.expect("snapshot");
    assert_eq!(snapshot.revision, newest(&store).await);
    assert_eq!(snapshot.items, store.list(List::default()).await.expect("list").items);
    assert_eq!(snapshot.leases, [(lease, 3_600_000)]);
    let status = store.status().await.expect("status");
    assert_eq!((status.revision, status.keys), (snapshot.revision, snapshot.items.len() as u64));
    assert!(!status.incarnation.is_empty());
}

fn op_put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), lease: None }
}

async fn txn(store: &Shared, txn: Txn) -> TxnOutcome {
    store.txn(txn).await.expect("a transaction")
}

async fn put(store: &Shared, key: &str, value: &str) -> Revision {
    txn(store, Txn { then: vec![op_put(key, value)], ..Txn::default() }).await.revision
}

async fn delete(store: &Shared, key: &str) -> Revision {
    txn(store, Txn { then: vec![Op::Delete(key.into())], ..Txn::default() }).await.revision
}

async fn newest(store: &Shared) -> Revision {
    store.status().await.expect("status").revision
}

async fn list(store: &Shared, prefix: &str) -> Vec<String> {
    let page = store.list(List { prefix: prefix.into(), ..List::default() }).await.expect("list");
    page.items.into_iter().map(|item| item.key).collect()
}

async fn watch(store: &Shared, prefix: &str, after: Revision) -> WatchStream {
    store.watch(Watch { prefix: prefix.into(), after }).await.expect("a watch")
}

async fn next(watch: &mut WatchStream) -> Batch {
    watch.next().await.expect("the watch goes on").expect("a batch")
}

fn keys(batch: &Batch) -> Vec<&str> {
    batch.events.iter().map(Event::key).collect()
}
