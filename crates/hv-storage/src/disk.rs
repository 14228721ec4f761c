//! Making, growing and deleting disks.

use crate::image::{Image, inspect};
use crate::{DiskPath, StorageError, qcow2, qemu_img};
use std::fs::File;
use std::io;
use std::path::Path;

/// Makes a qcow2 overlay over `image`: reads come from the image until the guest writes; the image is never written.
///
/// `size` is the overlay's virtual size in bytes; absent, it is that of the image. The caller has asked
/// [`Policy`](crate::Policy) about the image before.
///
/// # Errors
/// [`StorageError::WouldShrink`], [`BadSize`](StorageError::BadSize), [`Exists`](StorageError::Exists),
/// [`NoSpace`](StorageError::NoSpace), [`Io`](StorageError::Io); nothing is left behind.
pub fn create_overlay(image: &Image, target: &DiskPath, size: Option<u64>) -> Result<(), StorageError> {
    let size = size.unwrap_or(image.virtual_size);
    check_size(size)?;
    if size < image.virtual_size {
        let path = image.path.as_path().to_owned();
        return Err(StorageError::WouldShrink { path, current: image.virtual_size, requested: size });
    }
    let backing = image.path.as_path().to_str().expect("a DiskPath is UTF-8");
    create(target, size, Some((backing, image.format.as_str())))
}

/// Makes an empty qcow2 disk of `size` bytes.
///
/// # Errors
/// As [`create_overlay`].
pub fn create_disk(target: &DiskPath, size: u64) -> Result<(), StorageError> {
    check_size(size)?;
    create(target, size, None)
}

/// Without the program qemu-img: starting it takes longer than all the rest of making a disk.
fn create(target: &DiskPath, size: u64, backing: Option<(&str, &str)>) -> Result<(), StorageError> {
    if size > qcow2::MAX_CREATED_BYTES {
        return Err(StorageError::BadSize { requested: size, max: qcow2::MAX_CREATED_BYTES });
    }
    complete_or_nothing(target, |temporary| {
        let path = temporary.as_path();
        let file = File::options().write(true).open(path).map_err(StorageError::io("open", path))?;
        qcow2::create_empty(&file, size, backing).map_err(StorageError::io("write", target.as_path()))
    })
}

/// Grows a disk that no QEMU has open to `size` bytes. The same size again is no error; a smaller one is.
///
/// # Errors
/// [`StorageError::WouldShrink`], [`BadSize`](StorageError::BadSize), [`NoSpace`](StorageError::NoSpace),
/// [`QemuImg`](StorageError::QemuImg), among others when the disk is in use.
pub fn grow(disk: &DiskPath, size: u64) -> Result<(), StorageError> {
    check_size(size)?;
    let image = inspect(disk)?;
    match size.cmp(&image.virtual_size) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => {
            let path = disk.as_path().to_owned();
            return Err(StorageError::WouldShrink { path, current: image.virtual_size, requested: size });
        }
        std::cmp::Ordering::Greater => {}
    }
    let size = size.to_string();
    let arguments: [&std::ffi::OsStr; 6] = [
        "resize".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        image.format.as_str().as_ref(),
        disk.as_path().as_os_str(),
        size.as_ref(),
    ];
    qemu_img::run("grow", disk, arguments)
}

/// Deletes a disk or seed. One that is gone already is no error.
///
/// # Errors
/// [`StorageError::Io`].
pub fn delete(disk: &DiskPath) -> Result<(), StorageError> {
    match std::fs::remove_file(disk) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io("delete", disk.as_path())(error))
        }
        _ => Ok(()),
    }
}

/// Lets `make` fill a temporary file beside `target`, flushes it and gives it its name. On any error the temporary file
/// is removed; an existing target is never replaced.
pub(crate) fn complete_or_nothing(
    target: &DiskPath,
    make: impl FnOnce(&DiskPath) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let path = target.as_path();
    if path.try_exists().map_err(StorageError::io("look for", path))? {
        return Err(StorageError::Exists { path: path.to_owned() });
    }
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(target.parent())
        .map_err(StorageError::io("create", path))?
        .into_temp_path();
    make(&DiskPath::new(&temporary)?)?;
    let sync = |file: &Path| File::open(file).and_then(|file| file.sync_all());
    sync(&temporary).map_err(StorageError::io("flush", path))?;
    temporary.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => StorageError::Exists { path: path.to_owned() },
        _ => StorageError::io("name", path)(error.error),
    })?;
    sync(target.parent()).map_err(StorageError::io("flush the directory of", path))
}

fn check_size(size: u64) -> Result<(), StorageError> {
    let max = qcow2::MAX_VIRTUAL_BYTES;
    if size == 0 || size > max || !size.is_multiple_of(512) {
        return Err(StorageError::BadSize { requested: size, max });
    }
    Ok(())
}
