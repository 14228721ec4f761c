//! Files that are made beside a disk: for whom, and what may be read in them.

use crate::{
    backup::Server,
    credentials::certificates,
    guest::{Guest, LONG, config, missing},
};
use qemu::{
    config::{Address, Disk, Encoding, Format, Image, Secret, Source, Tls, TlsRole},
    vm::{ClientTls, Copied, CopyTarget, Notes, OperationError, Overlay, Pulled, Served},
};
use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::Path,
    process::{Command, Stdio},
};

#[tokio::test]
async fn a_file_that_is_there_is_neither_emptied_nor_removed() {
    let test = "a_file_that_is_there_is_neither_emptied_nor_removed";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["a", "b", "precious"] {
        fs::write(at(name), name.repeat(1 << 20)).unwrap();
    }
    let machine = ["a", "b"].into_iter().fold(config(), |c, id| c.disk(Disk::new(id, Image::raw(at(id)))));
    let guest = Guest::paused(directory.path(), machine).await;
    let is_there = |error: &OperationError| matches!(error, OperationError::Host { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists);
    let files = || {
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    for format in [Format::Raw, Format::Qcow2] {
        let target = CopyTarget::file(at("precious"), format);
        assert!(is_there(&guest.vm.push_backup("a", &target, None).await.unwrap_err()));
        assert!(is_there(&guest.vm.mirror_disk("a", &target).await.unwrap_err()));
    }
    let served = Served::new("a", at("precious"), Address::Unix(at("pull.sock")), "x");
    assert!(is_there(&guest.vm.pull_backup(&served).await.unwrap_err()));
    // The first overlay could be made, the second could not: nothing is left of the first.
    let overlays = [Overlay::new("a", at("overlay")), Overlay::new("b", at("precious"))];
    assert!(is_there(&guest.vm.snapshot_disks(&overlays).await.unwrap_err()));
    assert_eq!(files(), before);
    assert_eq!(fs::read(at("precious")).unwrap(), "precious".repeat(1 << 20).as_bytes());
    // What is refused only when a file is made, likewise: the second has no such bitmap, or is the first.
    guest.vm.add_bitmap("a", "since", Notes::InMemory).await.unwrap();
    for second in ["b", "a"] {
        let both = [("a", "new"), (second, "newer")].map(|(disk, name)| Copied {
            disk: disk.into(),
            to: CopyTarget::file(at(name), Format::Raw),
            since: Some("since".into()),
        });
        let refused = guest.vm.push_backups(&both).await.unwrap_err();
        let expected = match second {
            "a" => {
                matches!(&refused, OperationError::InUse { disk, by } if disk == "a" && by.contains("same call"))
            }
            _ => matches!(&refused, OperationError::Unknown { what: "bitmap", .. }),
        };
        assert!(expected, "{refused:?}");
        assert_eq!(files(), before);
    }
    // One whose operation went well stays, for the owner alone.
    guest.vm.snapshot_disks(&[Overlay::new("a", at("overlay"))]).await.unwrap();
    assert_eq!(fs::metadata(at("overlay")).unwrap().permissions().mode() & 0o777, 0o600);
    let nodes = guest.nodes().await;
    assert_eq!(nodes.len(), 6, "{nodes:?}");
    guest.quit().await;
}

#[tokio::test]
async fn a_new_file_belongs_to_the_user_of_the_process() {
    let test = "a_new_file_belongs_to_the_user_of_the_process";
    if missing(test, false) {
        return;
    }
    if !rustix::process::getuid().is_root() {
        return println!("not run: {test}: needs root");
    }
    if crate::release::program() != Path::new("/usr/bin/qemu-system-x86_64") {
        return println!("not run: {test}: an unpacked QEMU lies where others may not look");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let user = 64_055;
    fs::write(at("disk"), vec![0; 1 << 20]).unwrap();
    std::os::unix::fs::chown(at("disk"), Some(user), Some(user)).unwrap();
    let machine = config().disk(Disk::new("root", Image::raw(at("disk"))));
    let spec = qemu::StartSpec {
        identity: Some(qemu::Identity { uid: user, gid: user, groups: Vec::new() }),
        ..qemu::StartSpec::new(crate::release::program(), machine, at("run"))
    };
    let (vm, supervisor) = qemu::start(spec).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(supervisor);
    vm.snapshot_disks(&[Overlay::new("root", at("overlay"))]).await.unwrap();
    let made = fs::metadata(at("overlay")).unwrap();
    assert_eq!((made.uid(), made.gid()), (user, user));
    vm.quit(LONG).await.unwrap();
}

const CLEAR: &str = "what nobody else may read ";

fn holds(file: &Path, text: &str) -> bool {
    fs::read(file).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
}

/// Has `qemu-img` copy an image by options, with the secret of this test.
fn decrypted(key: &Path, options: &str, to: &Path) -> Vec<u8> {
    let secret = format!("secret,id=key,file={}", key.display());
    let mut command = Command::new("qemu-img");
    command.args(["convert", "--object", &secret, "--image-opts", options, "-O", "raw"]).arg(to);
    assert!(command.status().unwrap().success(), "{options}");
    fs::read(to).unwrap()
}

/// Copies a raw image into an encrypted one, `qcow2` or `luks`.
pub(crate) fn encrypt(from: &Path, key: &Path, format: &str, to: &Path) {
    let secret = format!("secret,id=key,file={}", key.display());
    let options = match format {
        "qcow2" => "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=100",
        _ => "key-secret=key,iter-time=100",
    };
    // Where the host counts CPU time in ticks qemu-img may find that its measurement took none.
    let made = (0..50).any(|_| {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "--object", &secret, "-f", "raw", "-O", format, "-o", options]);
        command.arg(from).arg(to).status().unwrap().success()
    });
    assert!(made, "{format}");
}

#[tokio::test]
async fn what_lies_beside_an_encrypted_disk_is_encrypted_like_it() {
    let test = "what_lies_beside_an_encrypted_disk_is_encrypted_like_it";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let content = CLEAR.repeat((1 << 20) / CLEAR.len() + 1).into_bytes()[..1 << 20].to_vec();
    fs::write(at("clear"), &content).unwrap();
    fs::write(at("key"), "a passphrase").unwrap();
    for format in ["qcow2", "luks"] {
        encrypt(&at("clear"), &at("key"), format, &at(format));
    }
    let disk = |id: &str, format| {
        let image = Image { key: Some("key".into()), ..Image::new(Source::Path(at(id)), format) };
        Disk::new(id, image)
    };
    let mut machine = config().disk(disk("qcow2", Format::Qcow2)).disk(disk("luks", Format::Raw));
    machine.secrets =
        vec![Secret { id: "key".into(), source: Source::Path(at("key")), encoding: Encoding::Raw }];
    let guest = Guest::paused(directory.path(), machine).await;
    // Each key takes QEMU some seconds by design, so not everything of both.
    let header = |name: &str| fs::read(at(name)).unwrap()[32..36].to_vec();
    let luks_by_qcow2 = [0, 0, 0, 2];
    guest
        .vm
        .push_backup("qcow2", &CopyTarget::file(at("copy"), Format::Raw), None)
        .await
        .unwrap()
        .done()
        .await
        .unwrap();
    assert!(!holds(&at("copy"), CLEAR));
    let served = Served::new("qcow2", at("scratch"), Address::Unix(at("pull.sock")), "x");
    guest.vm.pull_backup(&served).await.unwrap().finish(Pulled::GivenUp).await.unwrap();
    assert_eq!(header("scratch"), luks_by_qcow2);
    guest.vm.snapshot_disks(&[Overlay::new("luks", at("overlay"))]).await.unwrap();
    guest.vm.stream_disk("luks").await.unwrap().done().await.unwrap();
    assert!(!holds(&at("overlay"), CLEAR));
    assert_eq!(header("overlay"), luks_by_qcow2);
    guest.quit().await;
    // With the same secret.
    for (options, name) in
        [("driver=luks,key-secret=key", "copy"), ("driver=qcow2,encrypt.key-secret=key", "overlay")]
    {
        let options = format!("{options},file.filename={}", at(name).display());
        assert!(decrypted(&at("key"), &options, &at("decrypted")) == content, "{name}");
    }
}

#[tokio::test]
async fn a_descriptors_number_is_not_written_into_an_overlay() {
    let test = "a_descriptors_number_is_not_written_into_an_overlay";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("disk"), vec![0; 1 << 20]).unwrap();
    let guest = Guest::paused(directory.path(), config()).await;
    let descriptor = OwnedFd::from(fs::File::options().read(true).write(true).open(at("disk")).unwrap());
    let disk = Disk::new("handed", Image::new(Source::Descriptor("disk".into()), Format::Raw));
    guest.vm.plug_disk_with(&disk, [("disk".to_owned(), descriptor)].into()).await.unwrap();
    guest.vm.snapshot_disks(&[Overlay::new("handed", at("overlay"))]).await.unwrap();
    assert!(!holds(&at("overlay"), "fdset"));
    guest.quit().await;
}

/// Serves a file for writing, to clients with certificates only.
fn secured_server(file: &Path, socket: &Path, certificates: &Path) -> Server {
    let listening = UnixListener::bind(socket).unwrap();
    let node = format!("driver=file,node-name=f,filename={}", file.display());
    let credentials =
        format!("tls-creds-x509,id=c,endpoint=server,verify-peer=on,dir={}", certificates.display());
    // The shell gives it the number that the server is told.
    let server = "exec qemu-storage-daemon --object \"$1\" --blockdev \"$0\" --nbd-server addr.type=fd,addr.str=3,tls-creds=c \
        --export type=nbd,id=e,node-name=f,name=copy,writable=on 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", server, &node, &credentials]).stdin(Stdio::from(OwnedFd::from(listening)));
    Server(command.spawn().unwrap())
}

#[tokio::test]
async fn a_backup_is_pushed_over_tls_and_not_in_the_clear() {
    let test = "a_backup_is_pushed_over_tls_and_not_in_the_clear";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let content = CLEAR.repeat((4 << 20) / CLEAR.len() + 1).into_bytes()[..4 << 20].to_vec();
    fs::write(at("disk.raw"), &content).unwrap();
    fs::write(at("copy.raw"), vec![0; 4 << 20]).unwrap();
    certificates(&at("tls"));
    let mut machine = config().disk(Disk::new("root", Image::raw(at("disk.raw"))));
    machine.tls =
        vec![Tls { id: "writer".into(), directory: at("tls"), role: TlsRole::Client, verify_peer: true }];
    let guest = Guest::paused(directory.path(), machine).await;
    let _server = secured_server(&at("copy.raw"), &at("nbd.sock"), &at("tls"));
    let target = |tls: Option<&str>| CopyTarget::Nbd {
        server: Address::Unix(at("nbd.sock")),
        export: "copy".into(),
        tls: tls.map(|hostname| ClientTls { credentials: "writer".into(), hostname: hostname.into() }),
    };
    // Whoever does not speak TLS is not let in; and who calls himself something else is not believed.
    for tls in [None, Some("somebody.else.test")] {
        let refused = guest.vm.push_backup("root", &target(tls), None).await.unwrap_err();
        assert!(matches!(refused, OperationError::Qmp { .. }), "{refused:?}");
    }
    let mut copied = guest.vm.push_backup("root", &target(Some("destination.test")), None).await.unwrap();
    copied.done().await.unwrap();
    assert!(fs::read(at("copy.raw")).unwrap() == content);
    guest.quit().await;
}

/// QEMU itself opens what a header names: that it would is seen where the name is listed.
#[tokio::test]
async fn an_image_that_names_another_file_is_opened_only_with_that_listed() {
    let test = "an_image_that_names_another_file_is_opened_only_with_that_listed";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let create = |format: &str, options: String, name: &str| {
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", format, "-o", &options]).arg(at(name)).arg("1M");
        assert!(command.status().unwrap().success(), "{options}");
    };
    create("qcow2", format!("data_file={}", at("data").display()), "image.qcow2");
    create("vmdk", "subformat=monolithicFlat".into(), "image.vmdk");
    let guest = Guest::paused(directory.path(), config()).await;
    for (id, name, format, other) in [
        ("qcow2", "image.qcow2", Format::Qcow2, "data"),
        ("vmdk", "image.vmdk", Format::Vmdk, "image-flat.vmdk"),
    ] {
        assert!(at(other).exists());
        let image = Image::new(Source::Path(at(name)), format);
        let disk = Disk::new("named", image.clone());
        let refused = guest.vm.plug_disk(&disk).await.unwrap_err();
        assert!(matches!(&refused, OperationError::Config(error) if error.to_string().contains(other)));
        let spec = qemu::StartSpec::new(
            crate::release::program(),
            config().disk(disk.clone()),
            directory.path().join("other"),
        );
        let refused = qemu::start(spec).await.map(drop).unwrap_err();
        assert!(matches!(refused, qemu::StartError::Config(_)), "{refused:?}");
        let listed = Image { others: vec![at(other)], ..image };
        let listed = Disk { image: Some(listed), id: id.into(), ..disk };
        guest.vm.plug_disk(&listed).await.unwrap();
        let holds = fs::read_dir(format!("/proc/{}/fd", guest.vm.record().pid)).unwrap();
        let holds = holds.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        assert!(holds.into_iter().any(|path| path == at(other)), "QEMU has it open");
    }
    guest.quit().await;
}
