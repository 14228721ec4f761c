//! Contents of volumes, up and down.

use super::Failure;
use libvirt_client::protocol::flags::{StorageVolDownloadFlags, StorageVolUploadFlags};
use libvirt_client::{Connect, Piece, StorageVol};
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

const CHUNK: usize = 256 * 1024;

/// What becomes of zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// They travel like everything else.
    Fill,
    /// They do not travel, and need no place on the other side.
    Keep,
}

impl Holes {
    pub(super) fn of(words: &[&str]) -> Self {
        if words.contains(&"sparse") { Self::Keep } else { Self::Fill }
    }
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
    let wrong = |error| Failure::file(path, error);
    let flags = match holes {
        Holes::Fill => StorageVolDownloadFlags::empty(),
        Holes::Keep => StorageVolDownloadFlags::SPARSE_STREAM,
    };
    let mut stream = find(connect, names).await?.download(.., flags).await?;
    let mut file = File::create(path).await.map_err(wrong)?;
    let mut place = 0;
    while let Some(piece) = stream.receive().await? {
        match piece {
            Piece::Data(data) => {
                file.write_all(&data).await.map_err(wrong)?;
                place += data.len() as u64;
            }
            Piece::Hole(length) => {
                place += length;
                file.seek(SeekFrom::Start(place)).await.map_err(wrong)?;
            }
        }
    }
    // A hole at the end is nowhere else.
    file.set_len(place).await.map_err(wrong)?;
    file.sync_all().await.map_err(wrong)?;
    Ok(stream.finish().await?)
}

pub(super) async fn upload(
    connect: &Connect,
    names: (&str, &str),
    path: &str,
    holes: Holes,
) -> Result<(), Failure> {
    let wrong = |error| Failure::file(path, error);
    let mut file = File::open(path).await.map_err(wrong)?;
    let flags = match holes {
        Holes::Fill => StorageVolUploadFlags::empty(),
        Holes::Keep => StorageVolUploadFlags::SPARSE_STREAM,
    };
    let mut stream = find(connect, names).await?.upload(.., flags).await?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk).await.map_err(wrong)?;
        let data = chunk.get(..count).unwrap_or_default();
        if data.is_empty() {
            // Only now the daemon says whether all of it has arrived.
            return Ok(stream.finish().await?);
        }
        if holes == Holes::Keep && data.iter().all(|byte| *byte == 0) {
            stream.send_hole(count as u64).await?;
        } else {
            stream.send(data).await?;
        }
    }
}
