//! Guests whose monitors and agents are scripted, descriptors both ways, jobs, migration, what ends with its connection.

use super::{complete, connect, start};
use libvirt_client::protocol::enums::{
    ConnectDomainEventBlockJobStatus, DomainBlockJobType, DomainState, ErrorNumber,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainBackupBeginFlags, DomainBlockCopyFlags, DomainBlockJobAbortFlags, DomainCreateFlags,
    DomainMigrateFlags as F, DomainOpenGraphicsFlags, DomainSaveRestoreFlags, DomainXmlFlags,
};
use libvirt_client::protocol::parameters::{DOMAIN_SAVE_PARAM_DXML, DOMAIN_SAVE_PARAM_FILE};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::remote;
use libvirt_client::transport::Unix;
use libvirt_client::{
    BlockJobState, Connect, Domain, ErrorKind, Filter, Item, MigrateParameters, Params, Subscription,
};
use libvirt_server::{Answer, Form, Guest, Handle};
use serde_json::json;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers with what it is asked, and keeps what it is given.
#[derive(Debug, Default)]
pub(crate) struct Scripted(pub(crate) Arc<Mutex<Vec<OwnedFd>>>);

impl Guest for Scripted {
    fn monitor(&mut self, domain: &str, command: &str, form: Form, files: Vec<OwnedFd>) -> Answer {
        let text = match form {
            Form::Words => format!("{domain}: {command}"),
            Form::Json => {
                let asked: serde_json::Value = serde_json::from_str(command).unwrap();
                json!({ "return": { "asked": asked["execute"], "files": files.len() } }).to_string()
            }
        };
        let events = vec![("POWERDOWN".to_owned(), Some(json!({ "by": "test" })))];
        Answer { text, files, events }
    }

    fn agent(&mut self, _domain: &str, command: &str) -> Option<String> {
        Some(match command.contains("guest-ping") {
            true => r#"{"return":{}}"#.to_owned(),
            false => r#"{"error":{"class":"CommandNotFound","desc":"no such command"}}"#.to_owned(),
        })
    }

    fn files(&mut self, _domain: &str, files: Vec<OwnedFd>) {
        self.0.lock().unwrap().extend(files);
    }
}

/// A connection that carries descriptors.
pub(crate) async fn connect_unix(handle: &Handle) -> Connect {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    handle.attach(Unix::try_from(theirs).unwrap());
    let builder = Connect::builder("test:///default");
    builder.open_on(Unix::try_from(ours).unwrap(), super::run).await.unwrap()
}

async fn next(events: &mut Subscription) -> Event<'static> {
    match events.next().await.unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn guest(connect: &Connect) -> Domain {
    connect.domain_by_name("test").await.unwrap()
}

#[tokio::test]
async fn a_monitor_and_an_agent_say_what_the_test_wants() {
    let handle = start(complete());
    handle.with(|hypervisor| hypervisor.set_guest(Scripted::default())).await.unwrap();
    let connect = connect(&handle).await;
    let guest = guest(&connect).await;
    let mut all = connect.monitor_events(None, None, Default::default()).await.unwrap();
    let mut other = connect.monitor_events(Some(&guest), Some("STOP"), Default::default()).await.unwrap();
    let answer = guest.monitor_command("query-it", None).await.unwrap();
    assert_eq!(answer, json!({ "asked": "query-it", "files": 0 }));
    assert_eq!(guest.human_monitor_command("info it").await.unwrap(), "test: info it");
    for _ in 0..2 {
        let Event::QemuMonitor(event) = next(&mut all).await else { panic!("another event") };
        assert_eq!(event.event.to_string(), "POWERDOWN");
        assert_eq!(event.details.as_ref().unwrap().to_string(), r#"{"by":"test"}"#);
    }
    handle.with(|hypervisor| hypervisor.send_monitor_event("test", "STOP", None)).await.unwrap();
    let Event::QemuMonitor(event) = next(&mut other).await else { panic!("another event") };
    assert_eq!((event.event.to_string().as_str(), event.details.is_none()), ("STOP", true));
    assert_eq!(guest.agent_command("guest-ping", None, -1).await.unwrap(), json!({}));
    let error = guest.agent_command("guest-nonsense", None, -1).await.unwrap_err();
    assert!(error.to_string().contains("no such command"), "{error}");
    guest.destroy(Default::default()).await.unwrap();
    assert!(guest.monitor_command("query-it", None).await.is_err(), "it does not run");
}

#[tokio::test]
async fn descriptors_travel_both_ways() {
    let handle = start(complete());
    let kept: Arc<Mutex<Vec<OwnedFd>>> = Arc::default();
    let scripted = Scripted(Arc::clone(&kept));
    let connect = connect_unix(&handle).await;
    let xml = "<domain type='test'><name>s</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><graphics type='vnc'/></devices></domain>";
    let guest = connect.create_domain(xml, DomainCreateFlags::empty()).await.unwrap();
    // The stand-in's screen says who it is.
    let greeting = |socket: OwnedFd| {
        let mut words = [0; 12];
        std::os::unix::net::UnixStream::from(socket).read_exact(&mut words).unwrap();
        words
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    guest.open_graphics(0, theirs.into(), DomainOpenGraphicsFlags::SKIPAUTH).await.unwrap();
    assert_eq!(&greeting(ours.into()), b"RFB 003.008\n");
    let socket = guest.open_graphics_fd(0, DomainOpenGraphicsFlags::SKIPAUTH).await.unwrap();
    assert_eq!(&greeting(socket), b"RFB 003.008\n");
    assert!(guest.open_graphics_fd(1, DomainOpenGraphicsFlags::SKIPAUTH).await.is_err(), "it has one screen");
    assert_eq!(guest.open_namespace().await.unwrap().len(), 3);

    handle.with(|hypervisor| hypervisor.set_guest(scripted)).await.unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (answer, files) = guest.monitor_command_with_files("getfd", None, vec![writer.into()]).await.unwrap();
    assert_eq!(answer, json!({ "asked": "getfd", "files": 1 }));
    // What came back is what was sent.
    let [file] = <[OwnedFd; 1]>::try_from(files).unwrap();
    std::fs::File::from(file).write_all(b"through").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    let file = || vec![OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
    let other = xml.replace("<name>s<", "<name>t<");
    connect.create_domain_with_files(&other, file(), Default::default()).await.unwrap();
    let defined =
        connect.define_domain(&xml.replace("<name>s<", "<name>u<"), Default::default()).await.unwrap();
    defined.start_with_files(file(), Default::default()).await.unwrap();
    guest.associate_files("disk", file(), Default::default()).await.unwrap();
    assert_eq!(kept.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn jobs_on_disks_tell_how_far_they_are_and_what_became_of_them() {
    // A clock that stands: nothing ends by itself.
    let handle =
        start(complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000)));
    let connect = connect(&handle).await;
    let guest = guest(&connect).await;
    let filters = [Kind::DomainBlockJob, Kind::DomainBlockJob2].map(|kind| Filter::domain(kind, &guest));
    let mut events = connect.subscribe_to(filters).await.unwrap();
    let xml = "<disk type='file'><source file='/copy'/></disk>";
    let slow = Params::new().with("bandwidth", 65_536_u64);
    let flags = DomainBlockCopyFlags::TRANSIENT_JOB;
    let job = guest.block_copy("vda", xml, &slow, flags).await.unwrap();
    let progress = job.progress().await.unwrap().unwrap();
    assert_eq!((progress.kind, progress.bandwidth), (DomainBlockJobType::Copy, 1));
    assert!(progress.current < progress.end, "{progress:?}");
    let busy = guest.block_copy("vda", xml, &slow, flags).await.unwrap_err();
    assert_eq!(busy.refusal().unwrap().code, ErrorNumber::BlockCopyActive);
    let early = job.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap_err();
    assert_eq!(early.refusal().unwrap().code, ErrorNumber::BlockCopyActive, "it is not ready");
    job.abort(DomainBlockJobAbortFlags::empty()).await.unwrap();
    let Event::DomainBlockJob(event) = next(&mut events).await else { panic!("another event") };
    assert_eq!(event.status, ConnectDomainEventBlockJobStatus::Canceled);
    assert_eq!(event.path.to_string(), "/guest/diskimage1");
    let Event::DomainBlockJob2(event) = next(&mut events).await else { panic!("another event") };
    assert_eq!(event.dst.to_string(), "vda");
    assert!(guest.xml(DomainXmlFlags::empty()).await.unwrap().contains("/guest/diskimage1"));

    // Those that take no time.
    let handle = start(complete());
    let connect = super::connect(&handle).await;
    let guest = self::guest(&connect).await;
    let mut job = guest.block_copy("vda", xml, &Params::new(), flags).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
    job.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert!(guest.xml(DomainXmlFlags::empty()).await.unwrap().contains("<source file='/copy'/>"));
    let mut pull = guest.block_pull("vda", Default::default(), Default::default()).await.unwrap();
    assert_eq!(pull.wait().await.unwrap(), BlockJobState::Completed);
    guest.block_resize("vda", 4096, Default::default()).await.unwrap();
    assert_eq!(guest.block_info("vda").await.unwrap().capacity, 4 << 20);
    assert!(guest.block_resize("vdz", 4096, Default::default()).await.is_err());
}

#[tokio::test]
async fn backups_and_saves_end_by_themselves_or_when_told() {
    let handle = start(complete().version(Release(9, 0, 0)));
    let connect = connect(&handle).await;
    let guest = guest(&connect).await;
    let push =
        "<domainbackup><disks><disk name='vda' type='file'><target file='/b'/></disk></disks></domainbackup>";
    let point = "<domaincheckpoint><name>then</name></domaincheckpoint>";
    let backup = guest.backup(push, Some(point), DomainBackupBeginFlags::empty()).await.unwrap();
    assert_eq!(backup.wait().await.unwrap().success, Some(true));
    assert_eq!(guest.last_job().await.unwrap().1.success, Some(true));
    assert_eq!(guest.checkpoints(Default::default()).await.unwrap().len(), 1);
    let pull = "<domainbackup mode='pull'><server transport='unix' socket='/s'/></domainbackup>";
    let backup = guest.backup(pull, None, DomainBackupBeginFlags::empty()).await.unwrap();
    assert!(guest.backup_xml().await.unwrap().contains("backup='yes'"));
    let second = guest.backup(push, None, DomainBackupBeginFlags::empty()).await.unwrap_err();
    assert_eq!(second.refusal().unwrap().code, ErrorNumber::OperationInvalid);
    let save = guest.save("/image", None, DomainSaveRestoreFlags::empty()).await.unwrap().await.unwrap_err();
    assert_eq!(save.refusal().unwrap().code, ErrorNumber::OperationTimeout, "one after the other");
    backup.abort().await.unwrap();
    // As of libvirtd: one that others pull has no other end, and no better one.
    assert_eq!(backup.wait().await.unwrap().success, Some(true));
    assert_eq!(guest.backup_xml().await.unwrap_err().refusal().unwrap().code, ErrorNumber::NoDomainBackup);
    for bad in ["<domainbackup mode='pull'/>", "<domainbackup><disks><disk name='x'/></disks></domainbackup>"]
    {
        guest.backup(bad, None, DomainBackupBeginFlags::empty()).await.unwrap_err();
    }

    let params = Params::new().with(DOMAIN_SAVE_PARAM_FILE, "/image");
    let args = remote::DomainSaveParamsArgs {
        dom: guest.wire(),
        params: params.as_slice().into(),
        ..Default::default()
    };
    connect.call::<remote::DomainSaveParams>(&args).await.unwrap();
    assert_eq!(guest.state().await.unwrap().state, DomainState::Shutoff);
    let xml = connect.save_image_xml("/image", Default::default()).await.unwrap();
    let params = params.with(DOMAIN_SAVE_PARAM_DXML, xml.replace("<on_crash>destroy", "<on_crash>preserve"));
    let args = remote::DomainRestoreParamsArgs { params: params.as_slice().into(), ..Default::default() };
    connect.call::<remote::DomainRestoreParams>(&args).await.unwrap();
    assert!(guest.xml(DomainXmlFlags::empty()).await.unwrap().contains("<on_crash>preserve"));
}

#[tokio::test]
async fn a_domain_migrates_between_two_servers() {
    let (from, to) = (start(complete().hostname("here")), start(complete().hostname("there")));
    let (source, target) = (connect(&from).await, connect(&to).await);
    let xml = "<domain type='test'><name>m</name><memory>1</memory><os><type>hvm</type></os></domain>";
    let guest = source.create_domain(xml, DomainCreateFlags::empty()).await.unwrap();
    let mut events = target.subscribe(Kind::DomainLifecycle).await.unwrap();
    let moved = guest.migrate(&target, &MigrateParameters::default(), F::LIVE).await.unwrap().await.unwrap();
    assert_eq!((moved.uuid(), moved.state().await.unwrap().state), (guest.uuid(), DomainState::Running));
    assert!(source.domain_by_name("m").await.unwrap_err().is_not_found());
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, Event::DomainLifecycle(_)), "started, and resumed");
    }
    // To where one of its name is already: the guest stays.
    source.create_domain(xml, DomainCreateFlags::empty()).await.unwrap();
    let error =
        moved.migrate(&source, &MigrateParameters::default(), F::LIVE).await.unwrap().await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    assert_eq!(moved.state().await.unwrap().state, DomainState::Running);
    let tunnelled = moved.migrate_to_uri("test:///default", &Default::default(), F::PEER2PEER).await.unwrap();
    assert_eq!(tunnelled.await.unwrap_err().refusal().unwrap().code, ErrorNumber::InvalidArg);

    // One that takes its time is looked at, and aborted: nothing is left at the destination.
    let slow = complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let slow = start(slow);
    let (source, beside) = (connect(&slow).await, connect(&slow).await);
    let guest = source.domain_by_name("test").await.unwrap();
    let name = MigrateParameters { destination_name: Some("moved".into()), ..Default::default() };
    target.domain_by_name("test").await.unwrap().destroy(Default::default()).await.unwrap();
    target.domain_by_name("test").await.unwrap().undefine(Default::default()).await.unwrap();
    let migration = async {
        let error = guest.migrate(&target, &name, F::LIVE).await.unwrap().await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationAborted, "{error}");
    };
    let abort = async {
        let guest = beside.domain_by_name("test").await.unwrap();
        while guest.job().await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            target.domain_by_name("moved").await.unwrap().state().await.unwrap().state,
            DomainState::Paused
        );
        guest.abort_job().await.unwrap();
    };
    tokio::join!(migration, abort);
    assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
    assert!(target.domain_by_name("moved").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn what_belongs_to_a_connection_ends_with_it() {
    let handle = start(complete());
    let (owner, other) = (connect(&handle).await, connect(&handle).await);
    let xml = |name: &str| {
        format!("<domain type='test'><name>{name}</name><memory>1</memory><os><type>hvm</type></os></domain>")
    };
    let flags = DomainCreateFlags::START_AUTODESTROY | DomainCreateFlags::START_PAUSED;
    let owned = owner.create_domain(&xml("owned"), flags).await.unwrap();
    assert_eq!(owned.state().await.unwrap().state, DomainState::Paused);
    let kept = owner.define_domain(&xml("kept"), Default::default()).await.unwrap();
    kept.start(DomainCreateFlags::START_AUTODESTROY).await.unwrap();
    owner.create_domain(&xml("free"), DomainCreateFlags::empty()).await.unwrap();
    let mut events = other.subscribe(Kind::DomainLifecycle).await.unwrap();
    drop((owned, kept, owner));
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, Event::DomainLifecycle(_)));
    }
    assert!(other.domain_by_name("owned").await.unwrap_err().is_not_found());
    assert_eq!(
        other.domain_by_name("kept").await.unwrap().state().await.unwrap().state,
        DomainState::Shutoff
    );
    assert_eq!(
        other.domain_by_name("free").await.unwrap().state().await.unwrap().state,
        DomainState::Running
    );
    let strict = connect(&start(libvirt_server::Server::builder())).await;
    let error = strict.create_domain(&xml("owned"), flags).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Libvirt(_)), "the test driver takes no such flag: {error}");
}
