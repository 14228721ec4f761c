//! QEMU's monitor and the guest's agent: JSON through the daemon.

use super::Domain;
use crate::error::{Error, ErrorKind};
use libvirt_protocol::flags::DomainQemuMonitorCommandFlags;
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::qemu::{
    DomainAgentCommand, DomainAgentCommandArgs, DomainMonitorCommand, DomainMonitorCommandArgs,
    DomainMonitorCommandWithFiles, DomainMonitorCommandWithFilesArgs,
};
use libvirt_protocol::{NoFlags, lxc};
use serde_json::{Value, json};
use std::os::fd::OwnedFd;

/// What QEMU or the agent answers when it refuses: the daemon passes it on as a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {description}")]
pub struct QemuError {
    /// Which error: `GenericError`, `CommandNotFound`, `DeviceNotFound` …
    pub class: String,
    /// What it says.
    pub description: String,
}

impl Domain {
    /// Runs a command of QEMU's monitor; returns what is under `return` (`virDomainQemuMonitorCommand`).
    ///
    /// # Errors
    /// As every call; [`ErrorKind::Qemu`] when QEMU refuses.
    pub async fn monitor_command(&self, command: &str, arguments: Option<Value>) -> Result<Value, Error> {
        let reply =
            self.monitor(&request(command, arguments), DomainQemuMonitorCommandFlags::DEFAULT).await?;
        answer(&reply, DomainMonitorCommand::INFO.function.unwrap_or_default())
    }

    /// Runs a command of QEMU's monitor for people; returns what it prints (`virDomainQemuMonitorCommand`).
    ///
    /// # Errors
    /// As every call. What such a command prints may be a complaint.
    pub async fn human_monitor_command(&self, command: &str) -> Result<String, Error> {
        self.monitor(command, DomainQemuMonitorCommandFlags::HMP).await
    }

    async fn monitor(&self, cmd: &str, flags: DomainQemuMonitorCommandFlags) -> Result<String, Error> {
        let args = DomainMonitorCommandArgs { dom: self.wire(), cmd: cmd.into(), flags };
        Ok(self.connect().call::<DomainMonitorCommand>(&args).await?.result()?.result.into())
    }

    /// Runs a command of QEMU's monitor that uses descriptors, which go with it; returns what is under `return`, and descriptors that
    /// came back (`virDomainQemuMonitorCommandWithFiles`).
    ///
    /// # Errors
    /// As [`Domain::monitor_command`]; also when the transport carries no descriptors.
    pub async fn monitor_command_with_files(
        &self,
        command: &str,
        arguments: Option<Value>,
        files: Vec<OwnedFd>,
    ) -> Result<(Value, Vec<OwnedFd>), Error> {
        let args = DomainMonitorCommandWithFilesArgs {
            dom: self.wire(),
            cmd: request(command, arguments).into(),
            flags: DomainQemuMonitorCommandFlags::DEFAULT,
        };
        let mut reply = self.connect().call_with::<DomainMonitorCommandWithFiles>(&args, files).await?;
        let files = reply.take_descriptors();
        let text = String::from(reply.result()?.result);
        let value = answer(&text, DomainMonitorCommandWithFiles::INFO.function.unwrap_or_default())?;
        Ok((value, files))
    }

    /// Runs a command of the guest's agent, for at most so many seconds (negative numbers are `virDomainQemuAgentCommandTimeoutValues`);
    /// returns what is under `return` (`virDomainQemuAgentCommand`).
    ///
    /// # Errors
    /// As every call. When the agent refuses, the daemon does: with `AgentCommandFailed` and the agent's words, older ones (9.0.0) with
    /// `InternalError`. One that passes the agent's answer on gives [`ErrorKind::Qemu`].
    pub async fn agent_command(
        &self,
        command: &str,
        arguments: Option<Value>,
        timeout_seconds: i32,
    ) -> Result<Value, Error> {
        let args = DomainAgentCommandArgs {
            dom: self.wire(),
            cmd: request(command, arguments).into(),
            timeout: timeout_seconds,
            flags: NoFlags::empty(),
        };
        let reply = self.connect().call::<DomainAgentCommand>(&args).await?;
        match reply.result()?.result {
            Some(text) => answer(&text.to_str_lossy(), DomainAgentCommand::INFO.function.unwrap_or_default()),
            None => Ok(Value::Null),
        }
    }

    /// Descriptors of a container's name spaces (`virDomainLxcOpenNamespace`).
    ///
    /// # Errors
    /// As every call; refused by drivers other than LXC's.
    pub async fn open_namespace(&self) -> Result<Vec<OwnedFd>, Error> {
        let args = lxc::DomainOpenNamespaceArgs { dom: self.wire(), flags: NoFlags::empty() };
        let mut reply = self.connect().call::<lxc::DomainOpenNamespace>(&args).await?;
        Ok(reply.take_descriptors())
    }
}

fn request(command: &str, arguments: Option<Value>) -> String {
    match arguments {
        Some(arguments) => json!({ "execute": command, "arguments": arguments }),
        None => json!({ "execute": command }),
    }
    .to_string()
}

/// What a reply of QEMU's monitor or of a guest's agent says, as [`raw`](crate::raw::qemu) gives it: what is under `return`.
///
/// ```
/// use libvirt_client::qemu_value;
/// assert_eq!(qemu_value(r#"{"return": {"running": true}, "id": "libvirt-7"}"#)?["running"], true);
/// # Ok::<(), libvirt_client::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Qemu`] when it is a refusal, [`ErrorKind::Protocol`] when it is no reply.
pub fn qemu_value(reply: &str) -> Result<Value, Error> {
    answer(reply, "QEMU")
}

/// What is under `return`, or the error.
fn answer(text: &str, function: &str) -> Result<Value, Error> {
    let mut reply: Value = serde_json::from_str(text)
        .map_err(|error| Error::protocol(format!("{function} returned no JSON: {error}")))?;
    if let Some(error) = reply.get("error") {
        let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let error = QemuError { class: part("class"), description: part("desc") };
        return Err(Error::new(ErrorKind::Qemu(error)));
    }
    match reply.get_mut("return") {
        Some(value) => Ok(value.take()),
        None => Err(Error::protocol(format!("{function} returned neither a value nor an error"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_the_answer_is_an_error() {
        assert_eq!(answer(r#"{"return":{"a":1},"id":"libvirt-7"}"#, "f").unwrap(), json!({ "a": 1 }));
        let error =
            answer(r#"{"id":"x","error":{"class":"CommandNotFound","desc":"no such"}}"#, "f").unwrap_err();
        match error.kind() {
            ErrorKind::Qemu(error) => assert_eq!(error.to_string(), "CommandNotFound: no such"),
            other => panic!("{other:?}"),
        }
        for odd in ["", "nonsense", "{}", "[1]", "null"] {
            assert!(matches!(answer(odd, "f").unwrap_err().kind(), ErrorKind::Protocol(_)), "{odd}");
        }
    }
}
