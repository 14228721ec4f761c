//! Jobs on disks, and what is told of their ends.

use crate::mortal::{Back, Mortal};
use libvirt_client::protocol::enums::DomainCoreDumpFormat;
use libvirt_client::protocol::flags::{DomainBlockCopyFlags, DomainBlockJobAbortFlags};
use libvirt_client::transport::Privacy;
use libvirt_client::{BlockJobState, Connect, Domain, ErrorKind, Options, Params, Reconnect};
use libvirt_server::{Handle, Scope, Server};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const GUEST: &str = "<domain type='test'><name>d</name><memory>1</memory><os><type>hvm</type></os><devices>\
    <disk type='file' device='disk'><source file='/images/a'/><target dev='vda' bus='virtio'/></disk>\
    <disk type='file' device='disk'><source file='/images/b'/><target dev='vdb' bus='virtio'/></disk>\
    </devices></domain>";

async fn direct(handle: &Handle) -> Connect {
    let transport = super::end(handle, Privacy::Private);
    let options = Options { keepalive: None, ..Options::default() };
    Connect::builder("test:///default").options(options).open_on(transport, super::run).await.unwrap()
}

async fn guest(connect: &Connect) -> Domain {
    connect.create_domain(GUEST, Default::default()).await.unwrap()
}

/// A daemon whose jobs never end by themselves, behind a connection that can be lost.
struct Slow {
    mortal: Mortal,
    connect: Connect,
    /// One that is not.
    beside: Connect,
    guest: Domain,
}

async fn slow() -> Slow {
    let slow = Server::builder().scope(Scope::Complete).job_duration(Duration::from_secs(3600));
    let handle = super::start(slow.clock(|| Duration::from_secs(1_000_000)));
    let mortal = Mortal::new(handle.clone(), Back::AtOnce);
    let policy = Reconnect { pause: Duration::from_millis(1), ..Reconnect::default() };
    let connect = Connect::builder(&mortal.uri()).reconnect(policy).open_with(super::run).await.unwrap();
    let (beside, guest) = (direct(&handle).await, guest(&connect).await);
    Slow { mortal, connect, beside, guest }
}

#[tokio::test]
async fn a_disk_that_is_named_by_its_file_is_waited_for_too() {
    let connect = direct(&super::start(Server::builder().scope(Scope::Complete))).await;
    let guest = guest(&connect).await;
    for disk in ["/images/b", "vdb"] {
        let mut job = guest.block_pull(disk, Default::default(), Default::default()).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed, "{disk}");
    }
    // The file is another one at its end; the disk is the same.
    let copy = "<disk type='file'><source file='/images/c'/></disk>";
    let none = Params::new();
    let mut job = guest.block_copy("/images/b", copy, &none, DomainBlockCopyFlags::empty()).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
    job.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert!(job.progress().await.unwrap().is_none());
    let error = guest.block_pull("/images/none", Default::default(), Default::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
}

#[tokio::test]
async fn a_job_whose_end_nobody_has_seen_is_not_called_complete() {
    let Slow { mortal, connect, beside, guest } = slow().await;
    let mut job = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    mortal.bar(true);
    mortal.kill();
    while connect.is_connected() {
        tokio::task::yield_now().await;
    }
    // Somebody else gives it up, before we are back.
    let args = libvirt_client::protocol::remote::DomainBlockJobAbortArgs {
        dom: guest.wire(),
        path: "vda".into(),
        ..Default::default()
    };
    beside.call::<libvirt_client::protocol::remote::DomainBlockJobAbort>(&args).await.unwrap();
    mortal.bar(false);
    let error = job.wait().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
    assert!(error.to_string().contains("not known"), "{error}");
}

/// What the server takes for the time in the next test, in seconds.
static HALVES: AtomicU64 = AtomicU64::new(1_000_000);

#[tokio::test]
async fn a_job_tells_how_much_is_done_and_how_much_is_left() {
    let hour = 3600;
    let builder = Server::builder().scope(Scope::Complete).job_duration(Duration::from_secs(hour));
    let handle = super::start(builder.clock(|| Duration::from_secs(HALVES.load(Ordering::SeqCst))));
    let connect = direct(&handle).await;
    let guest = guest(&connect).await;
    let job = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    let save = guest.save("/image", None, Default::default()).await.unwrap();
    let (begin, saved) = (job.progress().await.unwrap().unwrap(), save.progress().await.unwrap().unwrap());
    assert_eq!(begin.current, 0);
    assert!(begin.end > 0);
    HALVES.fetch_add(hour / 2, Ordering::SeqCst);
    let (half, halfway) = (job.progress().await.unwrap().unwrap(), save.progress().await.unwrap().unwrap());
    assert_eq!((half.current, half.end), (begin.end / 2, begin.end));
    // Of a guest without memory there is time alone.
    assert_eq!((saved.time_elapsed, saved.time_remaining), (Some(0), Some(hour * 1000)));
    assert_eq!((halfway.time_elapsed, halfway.time_remaining), (Some(hour * 500), Some(hour * 500)));
}

/// What the server takes for the time, in seconds.
static TIME: AtomicU64 = AtomicU64::new(1_000_000);

#[tokio::test]
async fn an_end_that_waits_behind_lost_events_is_heard() {
    let hour = Duration::from_secs(3600);
    let builder = Server::builder().scope(Scope::Complete).job_duration(hour);
    let handle = super::start(builder.clock(|| Duration::from_secs(TIME.load(Ordering::SeqCst))));
    let connect = direct(&handle).await;
    let guest = guest(&connect).await;
    let mut job = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    // More than may wait, all of another disk.
    for _ in 0..1100 {
        let other = guest.block_pull("vdb", Default::default(), Default::default()).await.unwrap();
        other.abort(DomainBlockJobAbortFlags::empty()).await.unwrap();
    }
    TIME.fetch_add(hour.as_secs(), Ordering::SeqCst);
    while job.progress().await.unwrap().is_some() {}
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
}

#[tokio::test]
async fn the_end_of_another_job_is_not_taken_for_ones_own() {
    let Slow { mortal, connect, beside, guest } = slow().await;
    let backup = guest.backup("<domainbackup/>", None, Default::default()).await.unwrap();
    mortal.bar(true);
    mortal.kill();
    while connect.is_connected() {
        tokio::task::yield_now().await;
    }
    let seen = beside.domain_by_uuid(guest.uuid()).await.unwrap();
    // It is aborted, somebody has asked how it was, and another job is at work now.
    seen.abort_job().await.unwrap();
    assert_eq!(seen.last_job().await.unwrap().1.success, Some(false));
    let format = DomainCoreDumpFormat::Raw;
    let _dump = seen.core_dump("/core", format, Default::default()).await.unwrap();
    while seen.job().await.unwrap().is_none() {}
    mortal.bar(false);
    let error = backup.wait().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
}

/// How many of the guests are saved in the end.
async fn saved(guests: &[Domain]) -> usize {
    let mut saved = 0;
    for guest in guests {
        saved += usize::from(guest.has_managed_save().await.unwrap());
    }
    saved
}

#[tokio::test]
async fn work_that_is_left_to_itself_is_begun() {
    let handle = super::start(Server::builder().scope(Scope::Complete));
    let beside = direct(&handle).await;
    let mut guests = Vec::new();
    for number in 0..20 {
        let xml = GUEST.replace("<name>d<", &format!("<name>d{number}<"));
        let guest = beside.define_domain(&xml, Default::default()).await.unwrap();
        guests.push(guest.start(Default::default()).await.unwrap());
    }
    // A host is drained, by a program that ends then.
    let mortal = Mortal::new(handle.clone(), Back::AtOnce);
    let connect = Connect::builder(&mortal.uri()).open_with(super::run).await.unwrap();
    let save = async |guest: &Domain| {
        let guest = connect.domain_by_uuid(guest.uuid()).await.unwrap();
        drop(guest.managed_save(Default::default()).await.unwrap());
    };
    save(&guests[0]).await;
    connect.close().await.unwrap();
    let saved_so_many = async |most: usize| while saved(&guests).await < most {};
    let in_time = Duration::from_secs(30);
    tokio::time::timeout(in_time, saved_so_many(1)).await.expect("the one is forgotten");
    // More than there are places on all lanes.
    let connect = direct(&handle).await;
    let mut rest = Vec::new();
    for guest in &guests[1..] {
        rest.push(connect.domain_by_uuid(guest.uuid()).await.unwrap());
    }
    // Nothing else runs meanwhile.
    for guest in rest {
        drop(guest.managed_save(Default::default()).await.unwrap());
    }
    tokio::time::timeout(in_time, saved_so_many(guests.len())).await.expect("some are forgotten");
}

/// Where nothing can be run: a thread without an executor, whose executor stands still.
#[test]
fn work_is_left_to_itself_anywhere() {
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mortal = elsewhere.block_on(async {
        Mortal::new(super::start(Server::builder().scope(Scope::Complete)), Back::AtOnce)
    });
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = || Connect::builder(&mortal.uri()).open_with(super::run);
    let (connect, guest) = here.block_on(async {
        let connect = open().await.unwrap();
        let guest = guest(&connect).await;
        (connect, guest)
    });
    let job = here.block_on(guest.save("/image", None, Default::default())).unwrap();
    drop(job);
    drop((guest, connect));
    let gone = async {
        let beside = open().await.unwrap();
        while beside.domain_by_name("d").await.is_ok() {}
    };
    here.block_on(async { tokio::time::timeout(Duration::from_secs(30), gone).await })
        .expect("it is not saved");
}

#[tokio::test]
async fn a_job_ends_with_its_guest() {
    let Slow { guest, connect, .. } = slow().await;
    let mut job = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    guest.destroy(Default::default()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), job.wait()).await.expect("it waits for ever");
    let error = ended.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)) && error.to_string().contains("stopped"), "{error}");
    // A backup tells its end by itself.
    let guest = self::guest(&connect).await;
    let backup = guest.backup("<domainbackup/>", None, Default::default()).await.unwrap();
    guest.destroy(Default::default()).await.unwrap();
    let ended =
        tokio::time::timeout(Duration::from_secs(30), backup.wait()).await.expect("it waits for ever");
    assert!(matches!(ended.unwrap_err().kind(), ErrorKind::Job(_)));
}
