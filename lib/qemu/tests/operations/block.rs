//! Disks that change.

use crate::guest::{Guest, config, missing};
use qemu::{
    config::{Disk, Image, Limits, Throttle},
    vm::{Eject, OperationError},
};
use serde_json::{Map, Value};
use std::fs;

#[tokio::test]
async fn the_guest_sees_the_new_size_and_limits_change() {
    let test = "the_guest_sees_the_new_size_and_limits_change";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let limits =
        Limits { requests: Some(1000), burst_requests: Some(2000), burst_s: Some(5), ..Limits::default() };
    let disk = Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("data", Image::raw(&image)) };
    let mut guest = Guest::linux(directory.path(), config().disk(disk)).await;
    assert_eq!(guest.run("cat /sys/block/vda/size").await, "2048");
    guest.vm.resize_disk("data", 5 << 20).await.unwrap();
    guest.run_until("[ $(cat /sys/block/vda/size) = 10240 ]").await;
    assert_eq!(fs::metadata(&image).unwrap().len(), 5 << 20);

    let read = |vm: &qemu::Vm| {
        let client = vm.qmp();
        async move {
            let arguments = [("path", "/objects/data-limits"), ("property", "limits")];
            let arguments: Map<String, Value> =
                arguments.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
            client.execute("qom-get", arguments).await.unwrap()
        }
    };
    assert_eq!(read(&guest.vm).await["iops-total"], 1000);
    guest.vm.set_limits("data", &Limits { read_bytes: Some(1 << 20), ..Limits::default() }).await.unwrap();
    let now = read(&guest.vm).await;
    assert_eq!(
        (&now["iops-total"], &now["iops-total-max"], &now["bps-read"]),
        (&0.into(), &0.into(), &(1 << 20).into())
    );
    guest.run("dd if=/dev/vda of=/dev/null bs=64k count=4 2>/dev/null").await;
    let none = guest.vm.set_limits("other", &Limits::default()).await.unwrap_err();
    assert!(matches!(none, OperationError::Unknown { .. }), "{none:?}");
    guest.quit().await;
}

#[tokio::test]
async fn discs_are_changed() {
    let test = "discs_are_changed";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["one.iso", "two, 2.iso"] {
        fs::write(path(name), vec![0; 1 << 20]).unwrap();
    }
    let guest =
        Guest::paused(directory.path(), config().disk(Disk::cdrom("cd", Some(Image::raw(path("one.iso"))))))
            .await;
    let file = || async {
        let blocks = guest.vm.qmp().execute("query-block", Map::new()).await.unwrap();
        let cd = blocks.as_array().unwrap().iter().find(|block| block["qdev"] == "cd").unwrap().clone();
        (cd["inserted"]["file"].as_str().map(str::to_owned), cd["tray_open"].as_bool())
    };
    let shows = |name: &str| (Some(path(name).to_str().unwrap().to_owned()), Some(false));
    assert_eq!(file().await, shows("one.iso"));
    guest.vm.change_disc("cd", Some(Image::raw(path("two, 2.iso"))), Eject::Force).await.unwrap();
    assert_eq!(file().await, shows("two, 2.iso"));
    guest.vm.change_disc("cd", None, Eject::Force).await.unwrap();
    assert_eq!(file().await, (None, Some(true)));
    let absent =
        guest.vm.change_disc("cd", Some(Image::raw(path("absent.iso"))), Eject::Force).await.unwrap_err();
    assert!(matches!(absent, OperationError::Qmp { .. }), "{absent:?}");
    guest
        .vm
        .change_disc("cd", Some(Image::raw(path("one.iso"))), Eject::Ask(crate::guest::LONG))
        .await
        .unwrap();
    assert_eq!(file().await, shows("one.iso"));
    guest.quit().await;
}
