//! A host whose disk is full, on the real QEMU.

use crate::place::{Place, console_says, observed, removed};
use hv_driver::{Driver, Guest, StartMode};
use std::{path::Path, process::Command};
use tokio::io::AsyncWriteExt;

/// A file system of its own below a place.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, mib: u32) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"], at)?;
        Ok(Self(at))
    }

    fn resize(&self, mib: u32) {
        mount(&["-o", &format!("remount,size={mib}m")], self.0).unwrap();
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // Lazily: a guest that a failed test leaves still has files open there.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> Result<(), String> {
    let run = Command::new("mount").args(arguments).arg(at).output().map_err(|error| error.to_string())?;
    if run.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&run.stderr).trim().to_owned()) }
}

#[tokio::test]
async fn a_guest_that_finds_no_space_is_halted_and_goes_on_when_there_is_some() {
    let test = "a_guest_that_finds_no_space_is_halted_and_goes_on_when_there_is_some";
    let Some(place) = Place::with_demo(test) else { return };
    let state = place.state();
    let tmpfs = match Tmpfs::mount(&state, 40) {
        Ok(tmpfs) => tmpfs,
        Err(why) => return println!("not run: {test}: cannot mount a tmpfs: {why}"),
    };
    let (driver, mut guest) = (place.driver(), place.demo());
    // A shell instead of init: it may write to the disk itself.
    guest.spec.boot.cmdline = "console=ttyS0 quiet panic=-1 rdinit=/bin/sh".into();
    driver.prepare(&guest).await.unwrap();
    driver.start(&guest, StartMode::Running).await.unwrap();
    console_says(&driver, &guest, "# ").await;
    let mut console = driver.console(guest.handle, 0).await.unwrap();
    let script = "mount -t devtmpfs dev /dev; while read -r m; do insmod /lib/modules/$m; done </lib/modules/order\n\
                  dd if=/dev/zero of=/dev/vda bs=1M count=60 && sync && echo all-of-it-is\\ written\n";
    console.input.write_all(script.as_bytes()).await.unwrap();
    console.input.flush().await.unwrap();

    let full = observed(&driver, &guest, "the full disk", |seen| seen.stalled.is_some()).await;
    let stalled = full.stalled.unwrap();
    assert_eq!((&full.guest, stalled.mended), (&Guest::Paused, false));
    assert!(
        stalled.why.contains("no space on") && stalled.why.contains(state.to_str().unwrap()),
        "{stalled:?}"
    );
    // Let go too early, it is halted again at the same write.
    let resumed = driver.observe(guest.handle).await.unwrap();
    driver.resume(guest.handle).await.unwrap();
    observed(&driver, &guest, "the full disk again", |seen| seen.stalled.is_some()).await;
    // A driver that comes up meanwhile sees it too.
    drop((console, driver));
    let driver = place.driver();
    let seen = driver.observe(guest.handle).await.unwrap();
    assert_eq!(seen.stalled, resumed.stalled);

    tmpfs.resize(200);
    let room = |seen: &hv_driver::Observation| seen.stalled.as_ref().is_some_and(|stalled| stalled.mended);
    observed(&driver, &guest, "room", room).await;
    driver.resume(guest.handle).await.unwrap();
    console_says(&driver, &guest, "all-of-it-is written").await;
    let seen = driver.observe(guest.handle).await.unwrap();
    assert_eq!((seen.guest, seen.stalled), (Guest::Running, None));
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}
