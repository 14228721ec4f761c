//! Making what a guest needs on disk. Blocking; each file appears whole or not at all.

use crate::{
    config::Uefi,
    error,
    layout::{Facts, InstanceFacts, Layout, instances},
};
use hv_core::instance::{Firmware, InstanceSpec};
use hv_driver::{Assignment, DriverError, DriverErrorKind};
use hv_storage::{DiskPath, Format, Image, Policy, Seed, StorageError, UserData};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

const OPERATION: &str = "prepare";

/// Makes what is missing and grows what shall be larger. An instance that was not there before is not there after an error
/// either.
pub(crate) fn prepare(
    state_dir: &Path,
    layout: &Layout,
    assignment: &Assignment,
    uefi: &Uefi,
) -> Result<(), DriverError> {
    let fresh = !layout.dir.exists();
    let made = make(state_dir, layout, assignment, uefi);
    if fresh && made.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_dir_all(&layout.dir);
    }
    made
}

fn make(state_dir: &Path, layout: &Layout, assignment: &Assignment, uefi: &Uefi) -> Result<(), DriverError> {
    let spec = &assignment.spec;
    let place = |error| error::io(OPERATION, &format!("cannot make {}", layout.dir.display()), &error);
    hv_runtime::files::private_dir(&instances(state_dir)).map_err(place)?;
    hv_runtime::files::private_dir(&layout.dir).map_err(place)?;
    let known = InstanceFacts::load(&layout.dir).map_err(place)?;
    let image = spec.image.as_deref().map(|path| image(OPERATION, path)).transpose()?;
    let facts = InstanceFacts {
        name: assignment.name.clone(),
        epoch: assignment.handle.epoch.0,
        image: image.as_ref().map(|image| image.path.as_path().to_owned()),
        image_format: image.as_ref().map(|image| image.format.as_str().to_owned()),
        machine: known.as_ref().and_then(|known| known.machine.clone()),
        uid: known.as_ref().and_then(|known| known.uid),
        root_disk_bytes: image
            .as_ref()
            .map_or(0, |image| image.virtual_size)
            .max(whole_sectors(spec.root_disk_bytes)),
        boot_warning: image.as_ref().and_then(|image| boot_warning(spec, image)),
    };
    if let Some(known) = &known
        && (&known.image, &known.image_format) != (&facts.image, &facts.image_format)
        && layout.root().exists()
    {
        let was = known.image.as_deref().map_or("none".into(), |path| path.display().to_string());
        let message = format!(
            "the root disk is an overlay of another image ({was}); an instance keeps its image: create a new one"
        );
        return Err(DriverError::new(DriverErrorKind::Invalid, OPERATION, message));
    }
    if known.as_ref() != Some(&facts) {
        if let Some(warning) = &facts.boot_warning {
            tracing::warn!(instance = %assignment.handle.id, warning, "an instance will hardly boot");
        }
        facts.save(&layout.dir).map_err(place)?;
    }
    disks(layout, spec, image.as_ref()).map_err(|error| error::storage(OPERATION, &error))?;
    seed(layout, assignment)?;
    firmware(layout, spec, uefi)
}

/// What speaks against that a guest boots. It is made all the same: whoever reads a disk knows what is on it better than we do.
fn boot_warning(spec: &InstanceSpec, image: &Image) -> Option<String> {
    /// Ends the sector that a BIOS starts.
    const SIGNATURE: [u8; 2] = [0x55, 0xaa];
    let from_disk = spec.boot.kernel.is_none() && spec.boot.firmware == Firmware::Bios;
    if !from_disk || image.format != Format::Raw {
        return None;
    }
    let mut sector = [0; 512];
    let path = image.path.as_path();
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut sector)).ok()?;
    (sector[510..] != SIGNATURE).then(|| {
        format!(
            "the image {} has no boot sector (its first sector does not end with 55 aa): a BIOS boots nothing from it; name a kernel, \
             or the firmware uefi",
            path.display()
        )
    })
}

/// Looks at an image and says whether it may be used.
pub(crate) fn image(operation: &'static str, path: &Path) -> Result<Image, DriverError> {
    let check = || {
        let image = hv_storage::inspect(path)?;
        Policy::default().check(&image)?;
        Ok(image)
    };
    check().map_err(|error: StorageError| error::storage(operation, &error))
}

fn disks(layout: &Layout, spec: &InstanceSpec, image: Option<&Image>) -> Result<(), StorageError> {
    let size = whole_sectors(spec.root_disk_bytes);
    let root = DiskPath::new(layout.root())?;
    match (root.as_path().exists(), image) {
        (true, _) if size > 0 => hv_storage::grow(&root, size)?,
        (true, _) => {}
        (false, Some(image)) => hv_storage::create_overlay(image, &root, (size > 0).then_some(size))?,
        (false, None) if size > 0 => hv_storage::create_disk(&root, size)?,
        (false, None) => {}
    }
    for disk in &spec.disks {
        let path = DiskPath::new(layout.disk(disk.name.as_str()))?;
        let size = whole_sectors(disk.size_bytes);
        if path.as_path().exists() {
            hv_storage::grow(&path, size)?;
        } else {
            hv_storage::create_disk(&path, size)?;
        }
    }
    Ok(())
}

fn whole_sectors(bytes: u64) -> u64 {
    bytes.next_multiple_of(512)
}

fn seed(layout: &Layout, assignment: &Assignment) -> Result<(), DriverError> {
    let place = |error| error::io(OPERATION, &format!("cannot write {}", layout.seed().display()), &error);
    let Some(wanted) = &assignment.spec.cloud_init else {
        return match fs::remove_file(layout.seed()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(place(error)),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let iso = given(&wanted.user_data).map(|text| UserData::parse(&text)).transpose().and_then(|user_data| {
        Seed {
            instance_id: assignment.handle.id.to_string(),
            hostname: assignment.name.clone(),
            meta_data: given(&wanted.meta_data),
            user_data,
            network_config: given(&wanted.network_config),
        }
        .to_iso()
    });
    let iso = iso.map_err(|error| error::storage(OPERATION, &error))?;
    if fs::read(layout.seed()).is_ok_and(|present| present == iso) {
        return Ok(());
    }
    hv_runtime::files::replace(&layout.seed(), &iso).map_err(place)
}

/// The variables are the guest's own: what it stored there once is kept.
fn firmware(layout: &Layout, spec: &InstanceSpec, uefi: &Uefi) -> Result<(), DriverError> {
    if spec.boot.firmware != Firmware::Uefi || layout.uefi_vars().exists() {
        return Ok(());
    }
    crate::admit::uefi(OPERATION, uefi)?;
    fs::read(&uefi.vars)
        .and_then(|vars| hv_runtime::files::replace(&layout.uefi_vars(), &vars))
        .map_err(|error| error::io(OPERATION, &format!("cannot copy {}", uefi.vars.display()), &error))
}
