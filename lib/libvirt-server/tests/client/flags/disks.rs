//! Work on disks: pull, rebase, copy, commit, other sizes; backups.

use super::*;
use libvirt_client::protocol::flags::{
    DomainBackupBeginFlags, DomainBlockCommitFlags as Commit, DomainBlockCopyFlags as Copy,
    DomainBlockJobAbortFlags as Abort, DomainBlockJobSetSpeedFlags, DomainBlockPullFlags,
    DomainBlockRebaseFlags as Rebase, DomainBlockResizeFlags,
};
use libvirt_client::{BlockJobState, BlockTarget, Params};
use std::time::Duration;

/// A domain whose disk stands on two other files.
async fn chained(connect: &Connect) -> Domain {
    let disk = "<devices><disk type='file'><source file='/top'/><target dev='vda'/><backingStore type='file'>\
                <source file='/middle'/><backingStore type='file'><source file='/base'/></backingStore></backingStore>\
                </disk></devices>";
    run(connect, &xml("chained", disk)).await
}

async fn files(guest: &Domain) -> Vec<&'static str> {
    let xml = guest.xml(Default::default()).await.unwrap();
    let known = ["/top", "/middle", "/base", "/copy"];
    known.into_iter().filter(|file| xml.contains(&format!("'{file}'"))).collect()
}

fn down_to(base: &str) -> BlockTarget<'_> {
    BlockTarget { base: Some(base), ..Default::default() }
}

#[tokio::test]
async fn files_below_a_disk_are_pulled_in_down_to_the_base() {
    for (target, flags, left) in [
        (BlockTarget::default(), Rebase::empty(), vec!["/top"]),
        (down_to("/base"), Rebase::empty(), vec!["/top", "/base"]),
        (down_to("/base"), Rebase::RELATIVE, vec!["/top", "/base"]),
    ] {
        let connect = fresh().await;
        let guest = chained(&connect).await;
        guest.block_rebase("vda", target, flags).await.unwrap();
        tokio::task::yield_now().await;
        while guest.block_job("vda", Default::default()).await.unwrap().is_some() {}
        assert_eq!(files(&guest).await, left, "{flags:?}");
    }
    let connect = fresh().await;
    let guest = chained(&connect).await;
    guest.block_rebase("vda", BlockTarget::default(), Rebase::RELATIVE).await.map(drop).unwrap_err();
    guest.block_rebase("vda", BlockTarget::default(), Rebase::SHALLOW).await.map(drop).unwrap_err();
    guest.block_rebase("vda", down_to("/nowhere"), Rebase::empty()).await.map(drop).unwrap_err();
}

#[tokio::test]
async fn a_disk_is_copied_in_every_way_that_a_rebase_knows() {
    for (flags, left, word) in [
        (Rebase::COPY, vec!["/copy"], "file='/copy'"),
        (Rebase::COPY | Rebase::SHALLOW, vec!["/middle", "/base", "/copy"], "file='/copy'"),
        (Rebase::COPY | Rebase::REUSE_EXT, vec!["/copy"], "file='/copy'"),
        (Rebase::COPY | Rebase::COPY_RAW, vec!["/copy"], "type='raw'"),
        (Rebase::COPY | Rebase::COPY_DEV, vec!["/copy"], "dev='/copy'"),
    ] {
        let connect = fresh().await;
        let guest = chained(&connect).await;
        let mut job = guest.block_rebase("vda", down_to("/copy"), flags).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
        job.abort(Abort::PIVOT).await.unwrap();
        assert_eq!(files(&guest).await, left, "{flags:?}");
        assert!(guest.xml(Default::default()).await.unwrap().contains(word), "{flags:?}");
    }
    for (flags, left) in [
        (Copy::SHALLOW, vec!["/middle", "/base", "/copy"]),
        (Copy::REUSE_EXT, vec!["/copy"]),
        (Copy::SYNCHRONOUS_WRITES, vec!["/copy"]),
        (Copy::TRANSIENT_JOB, vec!["/copy"]),
    ] {
        let connect = fresh().await;
        let guest = chained(&connect).await;
        let to = "<disk type='file'><source file='/copy'/></disk>";
        let mut job = guest.block_copy("vda", to, &Params::new(), flags).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
        job.abort(Abort::PIVOT).await.unwrap();
        assert_eq!(files(&guest).await, left, "{flags:?}");
    }
}

#[tokio::test]
async fn what_lies_above_is_committed_to_the_next_file_or_to_the_last() {
    let top = |top| BlockTarget { top: Some(top), ..Default::default() };
    for (target, flags, left) in [
        (BlockTarget::default(), Commit::ACTIVE, vec!["/base"]),
        (BlockTarget::default(), Commit::ACTIVE | Commit::SHALLOW, vec!["/middle", "/base"]),
        (top("/middle"), Commit::empty(), vec!["/top", "/base"]),
        (top("/middle"), Commit::DELETE, vec!["/top", "/base"]),
        (top("/middle"), Commit::RELATIVE, vec!["/top", "/base"]),
        (top("/middle"), Commit::SHALLOW, vec!["/top", "/base"]),
    ] {
        let connect = fresh().await;
        let guest = chained(&connect).await;
        let mut job = guest.block_commit("vda", target, flags).await.unwrap();
        if flags.contains(Commit::ACTIVE) {
            assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
            job.abort(Abort::PIVOT).await.unwrap();
        }
        assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
        assert_eq!(files(&guest).await, left, "{flags:?}");
    }
    let connect = fresh().await;
    let guest = chained(&connect).await;
    guest.block_commit("vda", BlockTarget::default(), Commit::empty()).await.map(drop).unwrap_err();
    guest.block_commit("vda", top("/nowhere"), Commit::empty()).await.map(drop).unwrap_err();
}

/// Each call that has a speed, in MiB and in bytes.
#[tokio::test]
async fn speeds_are_in_bytes_for_who_says_so() {
    let slow = complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
    let handle = start(slow);
    let connect = super::super::connect(&handle).await;
    let guest = chained(&connect).await;
    let speed = BlockTarget { bandwidth: 3 << 20, ..Default::default() };
    let in_mib = async || guest.block_job("vda", Default::default()).await.unwrap().unwrap().bandwidth;
    for call in 0..3 {
        let job = match call {
            0 => guest.block_pull("vda", speed, DomainBlockPullFlags::BANDWIDTH_BYTES).await.unwrap(),
            1 => guest.block_rebase("vda", speed, Rebase::BANDWIDTH_BYTES).await.unwrap(),
            _ => guest.block_commit("vda", speed, Commit::ACTIVE | Commit::BANDWIDTH_BYTES).await.unwrap(),
        };
        assert_eq!(in_mib().await, 3, "call {call}");
        job.set_speed(5 << 20, DomainBlockJobSetSpeedFlags::SPEED_BANDWIDTH_BYTES).await.unwrap();
        assert_eq!(in_mib().await, 5);
        // Whether or not somebody waits for it, it is gone.
        job.abort(Abort::ASYNC).await.unwrap();
        assert!(guest.block_job("vda", Default::default()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_disk_gets_a_size_in_bytes_in_kib_or_that_of_what_it_lies_on() {
    let connect = fresh().await;
    let guest = domain(&connect).await;
    let capacity = async || guest.block_info("vda").await.unwrap().capacity;
    let whole = capacity().await;
    guest.block_resize("vda", 5 << 20, DomainBlockResizeFlags::BYTES).await.unwrap();
    assert_eq!(capacity().await, 5 << 20);
    guest.block_resize("vda", 0, DomainBlockResizeFlags::CAPACITY).await.unwrap();
    assert_eq!(capacity().await, whole);
    guest.block_resize("vda", 7, DomainBlockResizeFlags::CAPACITY).await.unwrap_err();
    let reuse = DomainBackupBeginFlags::REUSE_EXTERNAL;
    let backup = guest.backup("<domainbackup/>", None, reuse).await.unwrap();
    assert_eq!(backup.wait().await.unwrap().success, Some(true));
}
