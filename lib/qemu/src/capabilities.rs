//! What one QEMU program can do, as it says itself: a machine without anything is started, asked, and thrown away.
//!
//! ```text
//!  program -machine none -qmp stdio
//!     query-qmp-schema ------------> Schema: commands, their members, values of enumerations
//!     query-machines, query-cpu-definitions
//!     qom-list-types, device-list-properties --> devices and what can be set on them
//! ```
//!
//! Versions tell nothing: distributions take features back into old releases and leave others out. Ask [`Capabilities::has`].

use crate::binary::{BinaryError, build_id};
use qmp::{
    CallError, Triple, aside,
    commands::{DeviceListProperties, QomListTypes, QueryCpuDefinitions, QueryMachines, Quit},
    schema::Schema,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

/// What one program can do.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Its version.
    pub version: Triple,
    /// Its build id, if its file has one.
    pub build_id: Option<String>,
    /// Commands, events and their types.
    pub schema: Arc<Schema>,
    /// Machine types.
    pub machines: Vec<MachineType>,
    /// CPU models.
    pub cpus: Vec<CpuModel>,
    /// Devices, with the names of their properties.
    pub devices: BTreeMap<String, BTreeSet<String>>,
    /// Devices that it has by name and ends at, because a module of theirs is not installed.
    pub fatal: BTreeSet<String>,
}

/// A machine type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineType {
    /// Its name.
    pub name: String,
    /// Another name, which means another machine in another version.
    pub alias: Option<String>,
    /// The greatest number of CPUs.
    pub most_cpus: u32,
    /// Whether CPUs can be plugged.
    pub plugs_cpus: bool,
    /// Whether it will be gone in a later version.
    pub deprecated: bool,
}

/// A CPU model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Its name.
    pub name: String,
    /// Whether it means the same on every host and in every version.
    pub fixed: bool,
    /// Features it lacks on this host with the accelerator of the probe (TCG); empty when it runs as it is.
    pub unavailable: Vec<String>,
    /// Whether it will be gone in a later version.
    pub deprecated: bool,
}

impl Capabilities {
    /// Whether the program has this; see [`Schema::has`] for commands and events, and `device:<driver>` or
    /// `device:<driver>.<property>` for devices.
    #[must_use]
    pub fn has(&self, what: &str) -> bool {
        match what.strip_prefix("device:") {
            None => self.schema.has(what),
            Some(device) => match device.split_once('.') {
                None => self.devices.contains_key(device),
                Some((driver, property)) => self.devices.get(driver).is_some_and(|it| it.contains(property)),
            },
        }
    }

    /// Asks a program. Takes it about 300 ms of processor. One that leaves a question without an answer for 30 s is ended.
    ///
    /// # Errors
    /// [`BinaryError`].
    pub async fn probe(path: &Path) -> Result<Self, BinaryError> {
        Self::probe_within(path, ANSWER).await
    }

    async fn probe_within(path: &Path, answer: Duration) -> Result<Self, BinaryError> {
        let run = |source| BinaryError::Run { path: path.to_owned(), source };
        let program = path.to_owned();
        let build_id =
            aside::ask(path, answer, move |_| build_id::of(&program)).await.map_err(io::Error::from);
        let build_id = build_id.flatten().map_err(run)?;
        let mut devices = Devices::default();
        loop {
            match Self::probe_once(path, build_id.clone(), &mut devices, answer).await? {
                Ok(all) => return Ok(all),
                Err(CallError::Closed { .. }) if devices.ended_the_program() => {}
                Err(source) => return Err(BinaryError::Silent { path: path.to_owned(), source }),
            }
        }
    }

    async fn probe_once(
        path: &Path,
        build_id: Option<String>,
        devices: &mut Devices,
        answer: Duration,
    ) -> Result<Result<Self, CallError>, BinaryError> {
        let run = |source| BinaryError::Run { path: path.to_owned(), source };
        let mut child = tokio::process::Command::new(path)
            .args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"])
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(run)?;
        let (output, input) =
            (child.stdout.take().expect("piped above"), child.stdin.take().expect("piped above"));
        let options = qmp::Options {
            deadlines: qmp::deadline::Deadlines::all(Some(answer)),
            ..qmp::Options::default()
        };
        let (client, driver) = qmp::client(tokio::io::join(output, input), options);
        // Owns the client: the connection ends when all is asked, whatever the program does.
        let asking = async move {
            let asked = ask(&client, build_id, devices, answer).await;
            if asked.is_ok() {
                // Its end is awaited below; that it may have ended already is no error.
                let _ = client.call(&Quit {}).await;
            }
            asked
        };
        // Cancel safety: the end of the connection fails every call, and the end of the asking ends the connection.
        let (asked, _) = tokio::join!(asking, driver);
        if asked.is_ok() {
            let _ = tokio::time::timeout(answer, child.wait()).await;
        }
        // One that goes on without its monitor has nothing to lose; one that has ended cannot be killed, which is as good.
        let _ = child.kill().await;
        Ok(asked)
    }
}

/// What is known of devices, over several runs of the program: QEMU ends where it finds a device's module and not that of its other half
/// (`virtio-gpu-gl-pci` of Debian's qemu-system-common, without qemu-system-gui).
#[derive(Default)]
struct Devices {
    properties: BTreeMap<String, BTreeSet<String>>,
    fatal: BTreeSet<String>,
    asked: Option<String>,
}

/// A program that ends at more devices than this is broken otherwise.
const MOST_FATAL: usize = 64;

impl Devices {
    /// Whether it ended when it was asked for a device, which is not asked for again.
    fn ended_the_program(&mut self) -> bool {
        let Some(device) = self.asked.take() else { return false };
        self.fatal.insert(device) && self.fatal.len() <= MOST_FATAL
    }

    async fn ask(&mut self, client: &qmp::Client) -> Result<(), CallError> {
        let types = QomListTypes { implements: Some("device".into()), r#abstract: Some(false) };
        for found in client.call(&types).await? {
            if self.fatal.contains(&found.name) || self.properties.contains_key(&found.name) {
                continue;
            }
            self.asked = Some(found.name.clone());
            match client.call(&DeviceListProperties { typename: found.name.clone() }).await {
                Ok(properties) => {
                    let names = properties.into_iter().map(|property| property.name).collect();
                    self.properties.insert(found.name, names);
                }
                // A device that cannot be looked at by itself, e.g. part of another.
                Err(CallError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.asked = None;
        Ok(())
    }
}

async fn ask(
    client: &qmp::Client,
    build_id: Option<String>,
    devices: &mut Devices,
    answer: Duration,
) -> Result<Capabilities, CallError> {
    let negotiation = || "qmp_capabilities".to_owned();
    let greeting = tokio::time::timeout(answer, client.ready())
        .await
        .map_err(|_| CallError::Deadline { command: negotiation(), after: answer })?
        .map_err(|reason| CallError::Closed { command: negotiation(), reason })?;
    let schema = client.schema().await?;
    let machines = client.call(&QueryMachines::default()).await?;
    let cpus = client.call(&QueryCpuDefinitions {}).await?;
    devices.ask(client).await?;
    let Devices { properties, fatal, .. } = std::mem::take(devices);
    Ok(Capabilities {
        version: greeting.version.qemu,
        build_id,
        schema,
        machines: machines.into_iter().map(machine).collect(),
        cpus: cpus.into_iter().map(cpu).collect(),
        devices: properties,
        fatal,
    })
}

fn machine(info: qmp::commands::MachineInfo) -> MachineType {
    MachineType {
        name: info.name,
        alias: info.alias,
        most_cpus: u32::try_from(info.cpu_max).unwrap_or(u32::MAX),
        plugs_cpus: info.hotpluggable_cpus,
        deprecated: info.deprecated,
    }
}

fn cpu(definition: qmp::commands::CpuDefinition) -> CpuModel {
    CpuModel {
        name: definition.name,
        fixed: definition.r#static,
        unavailable: definition.unavailable_features.unwrap_or_default(),
        deprecated: definition.deprecated,
    }
}

/// A program that does not answer one question for so long is stuck.
const ANSWER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Asks a program that stops to answer after it has done this, and answers which question that was.
    async fn unanswered(greets: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        let script = format!("#!/bin/sh\n{greets}\nexec sleep 1000\n");
        std::fs::write(&path, script).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("permissions");
        let asked = Capabilities::probe_within(&path, Duration::from_millis(300));
        let asked = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("given up");
        match asked {
            Err(BinaryError::Silent { source: CallError::Deadline { command, .. }, .. }) => command,
            other => panic!("{other:?}"),
        }
    }

    const GREETING: &str = r#"echo '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}'"#;

    #[tokio::test]
    async fn a_program_that_never_greets_is_given_up() {
        assert_eq!(unanswered("").await, "qmp_capabilities");
    }

    #[tokio::test]
    async fn a_program_that_greets_and_says_no_more_is_given_up() {
        assert_eq!(unanswered(GREETING).await, "qmp_capabilities");
    }
}
