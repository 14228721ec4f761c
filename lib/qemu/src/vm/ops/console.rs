//! What a person at the machine would do: look and type.

use super::OperationError;
use crate::Vm;
use serde_json::json;
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
        let milliseconds = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        let keys: Vec<_> = keys.iter().map(|key| json!({"type": "qcode", "data": key})).collect();
        self.run("send keys", "send-key", json!({"keys": keys, "hold-time": milliseconds})).await?;
        tokio::time::sleep(hold).await;
        Ok(())
    }

    /// Writes what the first screen shows to a file, which QEMU opens: it must be a place its process may write to.
    ///
    /// # Errors
    /// [`OperationError`], among others for a machine without a graphics card.
    pub async fn screenshot(&self, file: &Path, picture: Picture) -> Result<(), OperationError> {
        let Some(name) = file.to_str() else {
            return Err(
                crate::config::ConfigError::NotUtf8 { field: "screenshot", path: file.to_owned() }.into()
            );
        };
        let mut arguments = json!({"filename": name});
        if picture == Picture::Png {
            arguments["format"] = json!("png");
        }
        self.run("write what the screen shows", "screendump", arguments).await.map(drop)
    }
}
