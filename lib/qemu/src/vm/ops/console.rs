//! What a person at the machine would do: look and type.

use super::OperationError;
use crate::{Vm, config::utf8};
use qmp::commands::{KeyValue, KeyValueQcode, Screendump, ScreendumpFormat, SendKey};
use std::{path::Path, time::Duration};

/// A format of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// PNG; QEMU 7.1 and later.
    Png,
    /// Portable pixmap.
    Ppm,
}

impl Vm {
    /// Presses keys together and releases them after `hold`. Names are QEMU's: `a`, `shift`, `ret`, `ctrl`, `alt`, `delete`.
    /// Waits until they are released: keys sent earlier come first.
    ///
    /// # Errors
    /// [`OperationError`] for an unknown name.
    pub async fn send_keys(&self, keys: &[&str], hold: Duration) -> Result<(), OperationError> {
        let keys = keys.iter().map(|key| KeyValue::Qcode(KeyValueQcode::from(*key))).collect();
        let hold_time = Some(i64::try_from(hold.as_millis()).unwrap_or(i64::MAX));
        self.tell("send keys", &SendKey { hold_time, ..SendKey::new(keys) }).await?;
        tokio::time::sleep(hold).await;
        Ok(())
    }

    /// Writes what the first screen shows to a file, which QEMU opens: it must be a place its process may write to.
    ///
    /// # Errors
    /// [`OperationError`], among others for a machine without a graphics card.
    pub async fn screenshot(&self, file: &Path, picture: Picture) -> Result<(), OperationError> {
        let name = utf8("screenshot", file)?;
        // Older versions know the one format and no member for it.
        let format = (picture == Picture::Png).then_some(ScreendumpFormat::Png);
        let command = Screendump { format, ..Screendump::new(name) };
        self.tell("write what the screen shows", &command).await.map(drop)
    }
}
