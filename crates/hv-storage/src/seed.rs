//! cloud-init's NoCloud seed: a volume labelled CIDATA that holds what a guest should become.

use crate::disk::complete_or_nothing;
use crate::iso9660::{File, volume};
use crate::{DiskPath, StorageError};
use std::io::Write;

/// User data that cloud-init will understand: `#cloud-config` with valid YAML, a script, or a MIME message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserData(String);

impl UserData {
    /// Checks user data.
    ///
    /// # Errors
    /// [`StorageError::UserDataSyntax`] with line and column for bad YAML, [`StorageError::UserData`] otherwise.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        if text.len() > MAX_BYTES {
            let reason = format!("{} bytes are too many, at most {MAX_BYTES} are accepted", text.len());
            return Err(StorageError::UserData(reason));
        }
        let first = text.lines().next().unwrap_or_default();
        // cloud-init looks for this exact first line, trailing white space aside.
        if first.trim_end() == "#cloud-config" {
            check_yaml(text)?;
        } else if !first.starts_with("#!") && !is_mime(text) {
            let reason = "the first line must be `#cloud-config`, or start with `#!`, or the whole must be a MIME message";
            return Err(StorageError::UserData(reason.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What goes into a seed.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Tells cloud-init whether it has run before: a new value makes it run again. The instance's uid.
    pub instance_id: String,
    /// The guest's host name.
    pub hostname: String,
    /// The file `meta-data` as it shall be; absent, it is made from instance id and host name.
    pub meta_data: Option<String>,
    /// What to do; absent, cloud-init only learns its name.
    pub user_data: Option<UserData>,
    /// Network configuration, version 1 or 2, as YAML; absent, cloud-init uses DHCP on the first interface.
    pub network_config: Option<String>,
}

impl Seed {
    /// The seed as an ISO 9660 volume. Equal seeds give equal bytes.
    ///
    /// # Errors
    /// [`StorageError::UserData`] when instance id or host name hold other characters than letters, digits, `.`, `-`;
    /// [`StorageError::UserDataSyntax`] when metadata or network configuration are not YAML.
    pub fn to_iso(&self) -> Result<Vec<u8>, StorageError> {
        for (what, value) in [("instance id", &self.instance_id), ("host name", &self.hostname)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            if value.is_empty() || value.len() > 253 || !value.chars().all(plain) {
                let reason = format!("{what} {value:?} must be 1 to 253 letters, digits, dots and hyphens");
                return Err(StorageError::UserData(reason));
            }
        }
        let meta_data = match &self.meta_data {
            Some(given) => {
                check_yaml(given)?;
                given.clone()
            }
            None => format!("instance-id: {}\nlocal-hostname: {}\n", self.instance_id, self.hostname),
        };
        // The file must exist, or cloud-init does not take the volume for a seed.
        let user_data = self.user_data.as_ref().map_or("#cloud-config\n{}\n", |data| &data.0);
        let mut files = vec![
            File { name: "meta-data", short: "META_DAT", data: meta_data.as_bytes() },
            File { name: "user-data", short: "USER_DAT", data: user_data.as_bytes() },
        ];
        if let Some(network) = &self.network_config {
            check_yaml(network)?;
            files.push(File { name: "network-config", short: "NETWORK_", data: network.as_bytes() });
        }
        Ok(volume("CIDATA", &files))
    }

    /// Writes the seed to a new file that only its owner may read: user data often holds secrets.
    ///
    /// # Errors
    /// As [`to_iso`](Self::to_iso); [`StorageError::Exists`], [`StorageError::NoSpace`]; nothing is left behind.
    pub fn write(&self, target: &DiskPath) -> Result<(), StorageError> {
        let iso = self.to_iso()?;
        complete_or_nothing(target, |temporary| {
            // The temporary file was made with mode 0600.
            std::fs::OpenOptions::new()
                .write(true)
                .open(temporary)
                .and_then(|mut file| file.write_all(&iso))
                .map_err(StorageError::io("write", target.as_path()))
        })
    }
}

fn check_yaml(text: &str) -> Result<(), StorageError> {
    match serde_saphyr::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Null) => Ok(()),
        Ok(_) => Err(StorageError::UserDataSyntax {
            line: 1,
            column: 1,
            message: "a mapping (`key: value` lines) is expected at the top".to_owned(),
        }),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let message = error.to_string().lines().next().unwrap_or_default().to_owned();
            Err(StorageError::UserDataSyntax { line, column, message })
        }
    }
}

/// A MIME message starts with headers, the content type among them.
fn is_mime(text: &str) -> bool {
    let mut headers = text.lines().take_while(|line| !line.is_empty());
    let is_header = |line: &str| line.starts_with([' ', '\t']) || line.split_once(':').is_some();
    let first = headers.clone().next().unwrap_or_default().to_ascii_lowercase();
    (first.starts_with("content-type:") || first.starts_with("mime-version:")) && headers.all(is_header)
}

/// Largest user data in bytes. Clouds allow 16 KiB; a local volume can hold more.
const MAX_BYTES: usize = 1024 * 1024;
