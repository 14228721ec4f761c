//! What only QEMU's driver and that of containers have: the monitor and the agent, descriptors of guests. A [`Guest`] answers for the
//! domain.

use super::events::Object;
use super::guest::{Answer, Form, Guest};
use super::{Client, Effect, Hypervisor, Refusal, Reply};
use libvirt_protocol::enums::{DomainEventStoppedDetailType, DomainShutoffReason, ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::ConnectDomainQemuMonitorEventRegisterFlags;
use libvirt_protocol::procedure::{Info, Program};
use libvirt_protocol::qemu::{self, *};
use libvirt_protocol::xdr::{self, Text, Uuid};
use libvirt_protocol::{lxc, remote, types};
use regex::{Regex, RegexBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Who wants to hear of a monitor's events.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    callback: i32,
    object: Option<Object>,
    /// Of names like this alone.
    event: Option<Regex>,
}

/// The event that carries a monitor's event (`qemu_protocol.x`).
fn monitor_event() -> Option<&'static Info> {
    Program::Qemu.procedures().iter().copied().find(|info| info.event)
}

impl Hypervisor {
    /// Puts somebody in the place of the guests' monitors, agents and screens.
    pub fn set_guest(&mut self, guest: impl Guest + 'static) {
        self.guest = Box::new(guest);
    }

    /// QEMU's monitor of a domain tells something; `details` is JSON. Nobody hears of a domain that does not run.
    pub fn send_monitor_event(&mut self, domain: &str, event: &str, details: Option<&str>) {
        let found = self.domains.values().find(|known| known.config.name == domain && known.is_active());
        if let Some(dom) = found.map(super::domain::Domain::wire) {
            self.tell_monitor(&dom, event, details);
        }
    }

    fn tell_monitor(&mut self, dom: &types::Domain<'static>, event: &str, details: Option<&str>) {
        let Some(info) = monitor_event() else { return };
        let object = Object::Uuid(dom.uuid);
        let (seconds, micros) = (self.now.as_secs().cast_signed(), self.now.subsec_micros());
        for (client, connected) in &self.clients {
            let watches = connected.watches.iter().filter(|watch| {
                watch.object.as_ref().is_none_or(|only| *only == object)
                    && watch.event.as_ref().is_none_or(|pattern| pattern.is_match(event))
            });
            for watch in watches {
                let message = DomainMonitorEventMsg {
                    callback_id: watch.callback,
                    dom: dom.clone(),
                    event: event.into(),
                    seconds,
                    micros,
                    details: details.map(Into::into),
                };
                if let Ok(payload) = xdr::encode(&message) {
                    tracing::trace!(target: "libvirt_server::answered", program = ?info.program, procedure = info.name);
                    self.effects.push_back((*client, Effect::Event { info, payload }));
                }
            }
        }
    }

    fn ask_monitor(
        &mut self,
        dom: &types::Domain<'_>,
        command: &Text<'_>,
        words: bool,
    ) -> Result<(String, Vec<OwnedFd>), Refusal> {
        let domain = self.active_mut(dom)?;
        // Nobody but the daemon should speak to it.
        domain.taints.insert("use of custom monitor control commands");
        let dom = domain.wire();
        let name = dom.name.to_string();
        let files = std::mem::take(&mut self.received);
        let form = if words { Form::Words } else { Form::Json };
        let Answer { text, files, events } = self.guest.monitor(&name, &command.to_str_lossy(), form, files);
        for (event, details) in events {
            let details = details.map(|details| details.to_string());
            self.tell_monitor(&dom, &event, details.as_deref());
        }
        Ok((text, files))
    }

    pub(super) fn monitor_command(
        &mut self,
        args: DomainMonitorCommandArgs<'_>,
    ) -> Reply<qemu::DomainMonitorCommand> {
        let (text, _) = self.ask_monitor(&args.dom, &args.cmd, args.flags.bits() & 1 != 0)?;
        Ok(DomainMonitorCommandRet { result: text.into() })
    }

    pub(super) fn monitor_command_with_files(
        &mut self,
        args: DomainMonitorCommandWithFilesArgs<'_>,
    ) -> Reply<qemu::DomainMonitorCommandWithFiles> {
        let (text, files) = self.ask_monitor(&args.dom, &args.cmd, args.flags.bits() & 1 != 0)?;
        self.given = files;
        Ok(DomainMonitorCommandWithFilesRet { result: text.into() })
    }

    pub(super) fn agent_command(
        &mut self,
        args: DomainAgentCommandArgs<'_>,
    ) -> Reply<qemu::DomainAgentCommand> {
        let name = self.active(&args.dom)?.config.name.clone();
        let answer = self.guest.agent(&name, &args.cmd.to_str_lossy()).ok_or_else(|| {
            let text = "Guest agent is not responding: QEMU guest agent is not connected";
            Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::AgentUnresponsive, text) }
        })?;
        // An error of the agent's is one of the daemon's, with its words in it (`qemuAgentCheckError`).
        let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        if let Some(error) = parsed.get("error") {
            let asked: serde_json::Value = serde_json::from_str(&args.cmd.to_str_lossy()).unwrap_or_default();
            let (command, why) = (asked["execute"].as_str(), error["desc"].as_str());
            let text = format!(
                "unable to execute QEMU agent command '{}': {}",
                command.unwrap_or("<null>"),
                why.unwrap_or("unknown QEMU command error")
            );
            return Err(Refusal::internal(text).of(ErrorDomain::Qemu));
        }
        Ok(DomainAgentCommandRet { result: Some(answer.into()) })
    }

    pub(super) fn monitor_event_register(
        &mut self,
        args: ConnectDomainMonitorEventRegisterArgs<'_>,
    ) -> Reply<qemu::ConnectDomainMonitorEventRegister> {
        use ConnectDomainQemuMonitorEventRegisterFlags as F;
        let event = match args.event {
            None => None,
            Some(event) => {
                let event = event.to_string();
                // A name is a pattern without a sign that means more.
                let pattern = match args.flags.contains(F::REGEX) {
                    true => event.clone(),
                    false => format!("^{}$", regex::escape(&event)),
                };
                let pattern =
                    RegexBuilder::new(&pattern).case_insensitive(args.flags.contains(F::NOCASE)).build();
                let text = || format!("failed to compile regex {event}");
                Some(pattern.map_err(|_| Refusal::argument(text()).of(ErrorDomain::Domain))?)
            }
        };
        let object = args.dom.map(|dom| Object::Uuid(dom.uuid));
        let client = self.client()?;
        let callback = client.next_callback;
        client.next_callback += 1;
        client.watches.push(Watch { callback, object, event });
        Ok(ConnectDomainMonitorEventRegisterRet { callback_id: callback })
    }

    pub(super) fn monitor_event_deregister(
        &mut self,
        args: ConnectDomainMonitorEventDeregisterArgs,
    ) -> Reply<qemu::ConnectDomainMonitorEventDeregister> {
        let watches = &mut self.client()?.watches;
        let before = watches.len();
        watches.retain(|watch| watch.callback != args.callback_id);
        if watches.len() == before {
            let text = format!("could not find event callback {} for deletion", args.callback_id);
            return Err(Refusal::internal(text));
        }
        Ok(())
    }

    pub(super) fn open_namespace(
        &mut self,
        args: lxc::DomainOpenNamespaceArgs<'_>,
    ) -> Reply<lxc::DomainOpenNamespace> {
        let name = self.active(&args.dom)?.config.name.clone();
        self.given = self.guest.name_spaces(&name);
        Ok(())
    }

    /// The name of a domain that runs and has a screen of this number.
    fn screened(&self, dom: &types::Domain<'_>, screen: u32) -> Result<String, Refusal> {
        let config = &self.active(dom)?.config;
        let screens = config.devices.iter().filter(|device| device.name == "graphics").count();
        if usize::try_from(screen).is_ok_and(|screen| screen < screens) {
            return Ok(config.name.clone());
        }
        Err(Refusal::internal(format!("No graphics backend with index {screen}")))
    }

    pub(super) fn domain_open_graphics(
        &mut self,
        args: remote::DomainOpenGraphicsArgs<'_>,
    ) -> Reply<remote::DomainOpenGraphics> {
        let name = self.screened(&args.dom, args.idx)?;
        let Some(socket) = self.received.pop() else {
            return Err(Refusal::internal("no file descriptor came with the call").of(ErrorDomain::Rpc));
        };
        self.guest.screen(&name, args.idx, socket);
        Ok(())
    }

    pub(super) fn domain_open_graphics_fd(
        &mut self,
        args: remote::DomainOpenGraphicsFdArgs<'_>,
    ) -> Reply<remote::DomainOpenGraphicsFd> {
        let name = self.screened(&args.dom, args.idx)?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| {
            let number = error.raw_os_error().unwrap_or_default();
            Refusal::system(number, format!("Unable to create a pair of sockets: {error}"))
        })?;
        self.guest.screen(&name, args.idx, ours.into());
        self.given = vec![theirs.into()];
        Ok(())
    }

    pub(super) fn domain_create_xml_with_files(
        &mut self,
        args: remote::DomainCreateXmlWithFilesArgs<'_>,
    ) -> Reply<remote::DomainCreateXmlWithFiles> {
        let files = std::mem::take(&mut self.received);
        let dom = self.create(&args.xml_desc, args.flags)?;
        self.guest.files(&dom.name.to_string(), files);
        Ok(remote::DomainCreateXmlWithFilesRet { dom })
    }

    pub(super) fn domain_create_with_files(
        &mut self,
        args: remote::DomainCreateWithFilesArgs<'_>,
    ) -> Reply<remote::DomainCreateWithFiles> {
        let files = std::mem::take(&mut self.received);
        let dom = self.boot_with(&args.dom, args.flags)?;
        self.guest.files(&dom.name.to_string(), files);
        Ok(remote::DomainCreateWithFilesRet { dom })
    }

    pub(super) fn domain_fd_associate(
        &mut self,
        args: remote::DomainFdAssociateArgs<'_>,
    ) -> Reply<remote::DomainFdAssociate> {
        let name = self.domain(&args.dom)?.config.name.clone();
        let files = std::mem::take(&mut self.received);
        if files.is_empty() {
            return Err(Refusal::argument("there is no file to be known by that name"));
        }
        self.guest.files(&name, files);
        Ok(())
    }

    /// What a client has started for as long as it stays ends with it.
    pub(super) fn end_owned(&mut self, client: Client) {
        self.end_protection(client);
        let owned = self.domains.iter().filter(|(_, domain)| domain.owner == Some(client));
        let owned: Vec<Uuid> = owned.map(|(uuid, _)| *uuid).collect();
        for uuid in owned {
            self.stop(uuid, DomainShutoffReason::Destroyed, DomainEventStoppedDetailType::Destroyed);
        }
    }
}
