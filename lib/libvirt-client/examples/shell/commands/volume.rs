//! Contents of volumes, up and down.

use super::Failure;
use libvirt_client::{Connect, Holes, StorageVol};
use std::fs::File;

pub(super) fn holes(words: &[&str]) -> Holes {
    if words.contains(&"sparse") { Holes::Keep } else { Holes::Fill }
}

async fn find(connect: &Connect, (pool, volume): (&str, &str)) -> Result<StorageVol, Failure> {
    Ok(connect.storage_pool_by_name(pool).await?.volume_by_name(volume).await?)
}

pub(super) async fn download(
    connect: &Connect,
    names: (&str, &str),
    path: &str,
    holes: Holes,
) -> Result<(), Failure> {
    let volume = find(connect, names).await?;
    let wrong = |error| Failure::file(path, error);
    let file = File::create(path).map_err(wrong)?;
    volume.download_file(&file, .., holes).await?;
    file.sync_all().map_err(wrong)
}

pub(super) async fn upload(
    connect: &Connect,
    names: (&str, &str),
    path: &str,
    holes: Holes,
) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, error))?;
    find(connect, names).await?.upload_file(&file, .., holes).await?;
    Ok(())
}
