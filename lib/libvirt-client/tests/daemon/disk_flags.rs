//! Flags of disks that a guest has open: copies, commits, pulls, snapshots, checkpoints, backups, and their limits in bytes.

use crate::guests::{definition, disk};
use crate::support::{Daemon, present};
use libvirt_client::protocol::flags::{
    DomainBackupBeginFlags, DomainBlockCommitFlags as Commit, DomainBlockCopyFlags as Copy,
    DomainBlockJobAbortFlags as Abort, DomainBlockJobInfoFlags, DomainBlockJobSetSpeedFlags,
    DomainBlockPullFlags, DomainBlockRebaseFlags as Rebase, DomainCheckpointCreateFlags,
    DomainCheckpointXmlFlags, DomainCreateFlags, DomainSnapshotCreateFlags as Snapshot,
    DomainSnapshotDeleteFlags, DomainSnapshotXmlFlags,
};
use libvirt_client::{BlockJobState, BlockTarget, Connect, Domain, Params};
use std::path::Path;

const MIB: u64 = 1 << 20;

/// A guest with an image, `base`, that `top` stands on; it does not run: nothing is written but what a test writes.
struct Layers {
    daemon: Daemon,
    connect: Connect,
    guest: Domain,
}

impl Layers {
    async fn start(test: &str) -> Option<Self> {
        let daemon = Daemon::start(test)?;
        let programs =
            [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/usr/bin/qemu-img", "qemu-utils")];
        if !present(test, &programs) {
            return None;
        }
        let layers =
            Self { connect: daemon.open("qemu:///session").await, guest: guest(&daemon).await, daemon };
        layers.guest.start(DomainCreateFlags::START_PAUSED).await.unwrap();
        Some(layers)
    }

    fn path(&self, name: &str) -> String {
        self.daemon.path(name).display().to_string()
    }

    fn stands_on(&self, name: &str) -> (Option<String>, String) {
        stands_on(&self.daemon, name)
    }

    /// A picture of the disk as it is: from now on `name` stands on what was the top.
    async fn snapshot(&self, name: &str, flags: Snapshot) {
        let xml = format!(
            "<domainsnapshot><name>{name}</name><disks><disk name='vda' snapshot='external'><source file='{}'/>\
             </disk></disks></domainsnapshot>",
            self.path(name)
        );
        self.guest.create_snapshot(&xml, Snapshot::DISK_ONLY | flags).await.unwrap();
        assert!(self.guest.xml(Default::default()).await.unwrap().contains(&*self.path(name)));
    }
}

/// The image that another one stands on, and its own format.
fn stands_on(daemon: &Daemon, name: &str) -> (Option<String>, String) {
    let mut info = daemon.unprivileged();
    info.args(["qemu-img", "info", "-U", "--output=json"]).arg(daemon.path(name));
    let told: serde_json::Value = serde_json::from_slice(&info.output().unwrap().stdout).unwrap();
    let below = told["backing-filename"].as_str().map(str::to_owned);
    (below, told["format"].as_str().unwrap().to_owned())
}

fn image(daemon: &Daemon, arguments: &[&str]) {
    let mut make = daemon.unprivileged();
    let status =
        make.current_dir(daemon.path("")).args(["qemu-img", "create", "-q"]).args(arguments).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

/// Defined: `top` stands on `base` by a name that counts from where it is itself.
async fn guest(daemon: &Daemon) -> Domain {
    disk(daemon, "base");
    image(daemon, &["-f", "qcow2", "-b", "base", "-F", "raw", "top"]);
    let source = format!("<source file='{}'/>", daemon.path("top").display());
    let xml = definition(daemon, &source).replace("type='raw'", "type='qcow2'");
    daemon.open("qemu:///session").await.define_domain(&xml, Default::default()).await.unwrap()
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

#[tokio::test]
async fn a_disk_is_copied_whole_shallow_or_into_what_is_there() {
    let test = "a_disk_is_copied_whole_shallow_or_into_what_is_there";
    let Some(layers) = Layers::start(test).await else { return };
    let guest = &layers.guest;
    // Only of a guest that is not kept: its definition would name the wrong file after a restart.
    guest.undefine(Default::default()).await.unwrap();
    let end = async |mut job: libvirt_client::BlockJob, flags| {
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
        job.abort(flags).await.unwrap();
        if flags == Abort::empty() {
            job.wait().await.unwrap_err();
        } else {
            job.wait().await.unwrap();
        }
    };
    let to = |name: &str| BlockTarget { base: Some(name.to_owned().leak() as &str), ..Default::default() };
    // Whole: it stands on nothing. It is given up without waiting for the end.
    let copy = Rebase::COPY;
    let mut job = guest.block_rebase("vda", to(&layers.path("whole")), copy).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
    job.abort(Abort::ASYNC).await.unwrap();
    job.wait().await.unwrap_err();
    assert_eq!(layers.stands_on("whole"), (None, "qcow2".into()));
    let job = guest.block_rebase("vda", to(&layers.path("raw")), copy | Rebase::COPY_RAW).await.unwrap();
    end(job, Abort::empty()).await;
    assert_eq!(layers.stands_on("raw").1, "raw");
    assert_eq!(std::fs::read(layers.path("raw")).unwrap(), std::fs::read(layers.path("base")).unwrap());
    // Shallow: the base stays where it is. 65,536 bytes in a second are told as such.
    let flags = copy | Rebase::SHALLOW | Rebase::BANDWIDTH_BYTES;
    let target = BlockTarget { bandwidth: 65_536, ..to(&layers.path("shallow")) };
    let job = guest.block_rebase("vda", target, flags).await.unwrap();
    let bytes = DomainBlockJobInfoFlags::BANDWIDTH_BYTES;
    assert_eq!(guest.block_job("vda", bytes).await.unwrap().unwrap().bandwidth, 65_536);
    job.set_speed(4 * MIB, DomainBlockJobSetSpeedFlags::SPEED_BANDWIDTH_BYTES).await.unwrap();
    assert_eq!(guest.block_job("vda", bytes).await.unwrap().unwrap().bandwidth, 4 * MIB);
    end(job, Abort::empty()).await;
    assert_eq!(layers.stands_on("shallow").0.as_deref(), Some(&*layers.path("base")));
    // Into a file that is there, which stays as it is.
    image(&layers.daemon, &["-f", "qcow2", "-o", "cluster_size=4096", "there", "4M"]);
    let job = guest.block_rebase("vda", to(&layers.path("there")), copy | Rebase::REUSE_EXT).await.unwrap();
    end(job, Abort::empty()).await;
    assert_eq!(layers.stands_on("there"), (None, "qcow2".into()));
    // As a device of the host's: there is none that it could be, and the daemon looks.
    let error =
        guest.block_rebase("vda", to(&layers.path("device")), copy | Rebase::COPY_DEV).await.unwrap_err();
    assert!(error.to_string().contains("device"), "{error}");
    // The same by the call with a document.
    let none = Params::new();
    let document = |name: &str| {
        format!("<disk type='file'><source file='{}'/><driver type='qcow2'/></disk>", layers.path(name))
    };
    let synchronous = Copy::TRANSIENT_JOB | Copy::SYNCHRONOUS_WRITES;
    let job = guest.block_copy("vda", &document("one"), &none, synchronous).await.unwrap();
    let told = guest.monitor_command("query-block-jobs", None).await.unwrap();
    assert_eq!(told[0]["type"], "mirror", "{told}");
    let all = guest.monitor_command("query-named-block-nodes", None).await.unwrap();
    assert!(all.to_string().contains(&layers.path("one")));
    end(job, Abort::empty()).await;
    let job = guest.block_copy("vda", &document("two"), &none, Copy::SHALLOW).await.unwrap();
    end(job, Abort::empty()).await;
    assert_eq!(layers.stands_on("two").0.as_deref(), Some(&*layers.path("base")));
    image(&layers.daemon, &["-f", "qcow2", "-o", "cluster_size=4096", "three", "4M"]);
    let job = guest.block_copy("vda", &document("three"), &none, Copy::REUSE_EXT).await.unwrap();
    end(job, Abort::PIVOT).await;
    assert!(guest.xml(Default::default()).await.unwrap().contains(&*layers.path("three")));
}

#[tokio::test]
async fn images_are_committed_and_pulled_as_flags_say() {
    let test = "images_are_committed_and_pulled_as_flags_say";
    let Some(layers) = Layers::start(test).await else { return };
    let guest = &layers.guest;
    // base ← top ← one ← two ← three
    for name in ["one", "two", "three"] {
        layers.snapshot(name, Snapshot::NO_METADATA).await;
    }
    assert!(
        guest.snapshots(Default::default()).await.unwrap().is_empty(),
        "nothing is kept of them but the images"
    );
    // Only into the next one, which the one above then stands on by a name that counts from itself.
    let target = |top: &str| BlockTarget {
        top: Some(top.to_owned().leak() as &str),
        bandwidth: 8 * MIB,
        ..Default::default()
    };
    let flags = Commit::SHALLOW | Commit::BANDWIDTH_BYTES;
    let mut job = guest.block_commit("vda", target(&layers.path("two")), flags).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert_eq!(layers.stands_on("three").0.as_deref(), Some(&*layers.path("one")));
    assert!(exists(&layers.path("two")));
    // And what is committed goes.
    let flags = Commit::SHALLOW | Commit::DELETE;
    let target = BlockTarget { top: Some(layers.path("one").leak()), ..Default::default() };
    let mut job = guest.block_commit("vda", target, flags).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert_eq!(layers.stands_on("three").0.as_deref(), Some(&*layers.path("top")));
    assert!(!exists(&layers.path("one")), "it is told to remove it");
    // Everything that lies below, at so many bytes in a second.
    let target = BlockTarget { bandwidth: 8 * MIB, ..Default::default() };
    let mut job =
        guest.block_pull(&layers.path("three"), target, DomainBlockPullFlags::BANDWIDTH_BYTES).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert_eq!(layers.stands_on("three").0, None);
}

#[tokio::test]
async fn names_that_count_from_an_image_stay_so() {
    let test = "names_that_count_from_an_image_stay_so";
    let Some(daemon) = Daemon::start(test) else { return };
    let programs = [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/usr/bin/qemu-img", "qemu-utils")];
    if !present(test, &programs) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    let path = |name: &str| daemon.path(name).display().to_string();
    let (low, middle) = (path("low"), path("middle"));
    for commit in [true, false] {
        // base ← low ← middle ← high, each by a bare name.
        disk(&daemon, "base");
        image(&daemon, &["-f", "qcow2", "-b", "base", "-F", "raw", "low"]);
        image(&daemon, &["-f", "qcow2", "-b", "low", "-F", "qcow2", "middle"]);
        image(&daemon, &["-f", "qcow2", "-b", "middle", "-F", "qcow2", "high"]);
        let source = format!("<source file='{}'/>", path("high"));
        let xml = definition(&daemon, &source).replace("type='raw'", "type='qcow2'");
        let guest = connect.create_domain(&xml, DomainCreateFlags::START_PAUSED).await.unwrap();
        let mut job = if commit {
            let target = BlockTarget { base: Some(&low), top: Some(&middle), ..Default::default() };
            guest.block_commit("vda", target, Commit::RELATIVE).await.unwrap()
        } else {
            let target = BlockTarget { base: Some(&low), ..Default::default() };
            guest.block_rebase("vda", target, Rebase::RELATIVE).await.unwrap()
        };
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
        assert_eq!(stands_on(&daemon, "high").0.as_deref(), Some("low"), "commit: {commit}");
        guest.destroy(Default::default()).await.unwrap();
    }
}

#[tokio::test]
async fn pictures_of_disks_are_kept_told_and_forgotten() {
    let test = "pictures_of_disks_are_kept_told_and_forgotten";
    let Some(layers) = Layers::start(test).await else { return };
    let guest = &layers.guest;
    // Onto a file that is there, and that the daemon leaves as it is.
    image(&layers.daemon, &["-f", "qcow2", "-o", "cluster_size=4096", "-b", "top", "-F", "qcow2", "ready"]);
    layers.snapshot("ready", Snapshot::REUSE_EXT).await;
    assert_eq!(layers.stands_on("ready").0.as_deref(), Some("top"), "by the name that it was made with");
    let snapshot = guest.snapshot_by_name("ready").await.unwrap();
    assert!(snapshot.xml(DomainSnapshotXmlFlags::SECURE).await.unwrap().contains("<domain "));
    snapshot.delete(DomainSnapshotDeleteFlags::METADATA_ONLY).await.unwrap();
    assert!(guest.snapshot_by_name("ready").await.unwrap_err().is_not_found());
    assert!(exists(&layers.path("ready")), "only what the daemon knew of it is gone");
    // Checkpoints, and how much was written since.
    let point = "<domaincheckpoint><name>point</name></domaincheckpoint>";
    let point = guest.create_checkpoint(point, DomainCheckpointCreateFlags::empty()).await.unwrap();
    let sized =
        point.xml(DomainCheckpointXmlFlags::SIZE | DomainCheckpointXmlFlags::NO_DOMAIN).await.unwrap();
    assert!(sized.contains("size='"), "{sized}");
    let told = point.xml(Default::default()).await.unwrap();
    // Told again, as on another host; with and without a look at what is in the image.
    use libvirt_client::protocol::flags::DomainCheckpointDeleteFlags as Delete;
    for flags in [
        DomainCheckpointCreateFlags::REDEFINE,
        DomainCheckpointCreateFlags::REDEFINE | DomainCheckpointCreateFlags::REDEFINE_VALIDATE,
    ] {
        guest.checkpoint_by_name("point").await.unwrap().delete(Delete::METADATA_ONLY).await.unwrap();
        guest.create_checkpoint(&told, flags).await.unwrap();
        assert_eq!(guest.checkpoints(Default::default()).await.unwrap().len(), 1, "{flags:?}");
    }
    let absent = told.replace(">point<", ">absent<").replace("'point'", "'absent'");
    let flags = DomainCheckpointCreateFlags::REDEFINE | DomainCheckpointCreateFlags::REDEFINE_VALIDATE;
    let error = guest.create_checkpoint(&absent, flags).await.unwrap_err();
    assert!(error.refusal().is_some(), "{error}");
    // A backup into a file that is there.
    image(&layers.daemon, &["-f", "qcow2", "-o", "cluster_size=4096", "backup", "4M"]);
    let xml = format!(
        "<domainbackup><disks><disk name='vda' type='file'><target file='{}'/><driver type='qcow2'/></disk></disks>\
         </domainbackup>",
        layers.path("backup")
    );
    let backup = guest.backup(&xml, None, DomainBackupBeginFlags::REUSE_EXTERNAL).await.unwrap();
    assert_eq!(backup.wait().await.unwrap().success, Some(true));
    assert!(std::fs::metadata(layers.path("backup")).unwrap().len() > 0);
    layers.connect.clone().close().await.unwrap();
}
