//! A file system of the host that does not answer, as one whose server is gone: it is mounted, and whoever asks it waits in the kernel, where
//! no signal reaches him (state D), until it is forced off.
//!
//! It is of the kernel's kind whose server is a program (linux/fuse.h): this one answers the greeting and nothing else.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Mounted until this is dropped, or a test that hangs with it has had its time.
pub(crate) struct Hanging {
    place: PathBuf,
    /// Somebody has asked for something.
    asked: mpsc::Receiver<()>,
    _over: mpsc::Sender<()>,
    watch: Option<JoinHandle<()>>,
}

impl Hanging {
    /// `None` where this may not be mounted.
    pub(crate) fn at(place: PathBuf, longest: Duration) -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        std::fs::create_dir(&place).ok()?;
        let theirs = device.try_clone().ok()?;
        let mut mount = Command::new("mount");
        mount.args([
            "-i",
            "-t",
            "fuse",
            "-o",
            "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other",
            "hangs",
        ]);
        let mounted = mount.arg(&place).stdin(Stdio::from(theirs)).stderr(Stdio::null()).status();
        if !mounted.is_ok_and(|mounted| mounted.success()) {
            return None;
        }
        let (tell, asked) = mpsc::channel();
        thread::spawn(move || serve(device, &tell));
        let (_over, over) = mpsc::channel::<()>();
        let mounted = place.clone();
        let watch = thread::spawn(move || {
            // Told, or the test has had its time.
            let _ = over.recv_timeout(longest);
            for force in ["-f", "-l"] {
                let mut unmount = Command::new("umount");
                let _ = unmount.arg(force).arg(&mounted).stderr(Stdio::null()).status();
            }
        });
        Some(Self { place, asked, _over, watch: Some(watch) })
    }

    /// A file there.
    pub(crate) fn file(&self) -> PathBuf {
        self.place.join("image")
    }

    /// Whether somebody hangs; said of the first only, as the kernel lets the others wait for it.
    pub(crate) fn holds_somebody(&self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        (self._over, _) = mpsc::channel();
        self.watch.take().map(JoinHandle::join);
    }
}

/// Requests begin with their length, their kind and their number; an answer with its length, an error and that number.
fn serve(mut device: File, tell: &mpsc::Sender<()>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(length @ 16..) = device.read(&mut request) {
        let kind = u32::from_ne_bytes(request[4..8].try_into().unwrap());
        if kind == INIT && length > 40 {
            let mut answer = [0_u32; 20];
            (answer[0], answer[4], answer[5]) = (80, 7, 31);
            // The most that is written at once.
            answer[9] = 4096;
            let mut bytes: Vec<u8> = answer.iter().flat_map(|number| number.to_ne_bytes()).collect();
            bytes[8..16].copy_from_slice(&request[8..16]);
            let _ = device.write_all(&bytes);
        } else if tell.send(()).is_err() {
            return;
        }
    }
}

const INIT: u32 = 26;

/// Says that a test cannot be run without it.
pub(crate) fn hanging(test: &str, directory: &Path, longest: Duration) -> Option<Hanging> {
    let hanging = Hanging::at(directory.join("hangs"), longest);
    if hanging.is_none() {
        println!("not run: {test}: a file system that hangs (root, /dev/fuse)");
    }
    hanging
}
