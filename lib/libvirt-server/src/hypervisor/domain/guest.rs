//! What is asked of the guest itself, whose agent in the test driver always answers.

use super::Hypervisor;
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::stream::{Holes, Source};
use crate::hypervisor::{Refusal, Reply, Scope};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use libvirt_protocol::enums::{DomainInterfaceAddressesSource, ErrorDomain, ErrorNumber, IpAddrType};
use libvirt_protocol::flags::{
    DomainChannelFlags, DomainConsoleFlags, DomainGetHostnameFlags, DomainSetTimeFlags,
    DomainSetUserPasswordFlags,
};
use libvirt_protocol::xdr::List;
use libvirt_protocol::{remote, types};
use serde_json::json;

/// The guest's file systems: mount point, name, disk number.
pub(crate) const FILE_SYSTEMS: [(&str, &str); 2] = [("/", "vda1"), ("/boot", "vda2")];
/// The guest's clock, which stands still.
pub(super) const TIME_S: i64 = 627_319_920;
/// What a screenshot shows: one black pixel.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0,
    1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x60, 0,
    0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

impl Hypervisor {
    pub(crate) fn domain_get_time(
        &mut self,
        args: remote::DomainGetTimeArgs<'_>,
    ) -> Reply<remote::DomainGetTime> {
        let domain = self.active(&args.dom).map_err(|refusal| refusal.of(ErrorDomain::Test))?;
        let (seconds, nseconds) = domain.time.unwrap_or((TIME_S, 0));
        Ok(remote::DomainGetTimeRet { seconds, nseconds })
    }

    pub(crate) fn domain_set_time(
        &mut self,
        args: remote::DomainSetTimeArgs<'_>,
    ) -> Reply<remote::DomainSetTime> {
        self.only(args.flags.bits(), 1, "testDomainSetTime")?;
        let now = (self.now.as_secs().cast_signed(), self.now.subsec_nanos());
        // Under this flag the guest takes the time of its own hardware clock, which is the host's.
        let sync = args.flags.contains(DomainSetTimeFlags::TIME_SYNC) && self.scope == Scope::Complete;
        self.active_mut(&args.dom)?.time = Some(if sync { now } else { (args.seconds, args.nseconds) });
        Ok(())
    }

    pub(crate) fn domain_get_hostname(
        &mut self,
        args: remote::DomainGetHostnameArgs<'_>,
    ) -> Reply<remote::DomainGetHostname> {
        use DomainGetHostnameFlags as F;
        exclusive(
            args.flags.bits(),
            (F::LEASE.bits(), "VIR_DOMAIN_GET_HOSTNAME_LEASE"),
            (F::AGENT.bits(), "VIR_DOMAIN_GET_HOSTNAME_AGENT"),
        )?;
        let name = &self.active(&args.dom)?.config.name;
        // Leases know the domain, its agent the guest.
        let hostname = if args.flags.contains(F::LEASE) { name.clone() } else { format!("{name}host") };
        Ok(remote::DomainGetHostnameRet { hostname: hostname.into() })
    }

    pub(crate) fn domain_get_fsinfo(
        &mut self,
        args: remote::DomainGetFsinfoArgs<'_>,
    ) -> Reply<remote::DomainGetFsinfo> {
        let domain = self.active(&args.dom)?;
        let info: Vec<_> = match domain.config.disks().next() {
            None => Vec::new(),
            Some(disk) => FILE_SYSTEMS.iter().map(|(mount, name)| file_system(mount, name, disk)).collect(),
        };
        let ret = crate::hypervisor::count(info.len());
        Ok(remote::DomainGetFsinfoRet { info: info.into(), ret })
    }

    pub(crate) fn domain_fsfreeze(
        &mut self,
        args: remote::DomainFsfreezeArgs<'_>,
    ) -> Reply<remote::DomainFsfreeze> {
        let filesystems = self.freeze(&args.dom, &args.mountpoints, true)?;
        Ok(remote::DomainFsfreezeRet { filesystems })
    }

    pub(crate) fn domain_fsthaw(
        &mut self,
        args: remote::DomainFsthawArgs<'_>,
    ) -> Reply<remote::DomainFsthaw> {
        let filesystems = self.freeze(&args.dom, &args.mountpoints, false)?;
        Ok(remote::DomainFsthawRet { filesystems })
    }

    /// Freezes or thaws file systems; tells how many that changed.
    fn freeze<'a>(
        &mut self,
        dom: &types::Domain<'_>,
        mounts: &List<'a, libvirt_protocol::xdr::Text<'a>, 256>,
        frozen: bool,
    ) -> Result<i32, Refusal> {
        let domain = self.active_mut(dom)?;
        let mut chosen = [mounts.is_empty(); FILE_SYSTEMS.len()];
        for mount in mounts.iter() {
            match FILE_SYSTEMS.iter().position(|(known, _)| mount == *known) {
                Some(index) => chosen[index] = true,
                None => return Err(Refusal::invalid(format!("mount point not found: {mount}"))),
            }
        }
        let mut changed = 0;
        for (state, _) in domain.frozen.iter_mut().zip(chosen).filter(|(_, chosen)| *chosen) {
            changed += i32::from(*state != frozen);
            *state = frozen;
        }
        Ok(changed)
    }

    pub(crate) fn domain_fstrim(
        &mut self,
        args: remote::DomainFstrimArgs<'_>,
    ) -> Reply<remote::DomainFstrim> {
        self.active(&args.dom)?;
        match args.mount_point {
            Some(mount) if !FILE_SYSTEMS.iter().any(|(known, _)| mount == *known) => {
                Err(Refusal::invalid(format!("mount point not found: {mount}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn domain_set_user_password(
        &mut self,
        args: remote::DomainSetUserPasswordArgs<'_>,
    ) -> Reply<remote::DomainSetUserPassword> {
        self.only(args.flags.bits(), 1, "testDomainSetUserPassword")?;
        let name = self.active(&args.dom)?.config.name.clone();
        let password = args.password.map(|password| password.to_string()).unwrap_or_default();
        let arguments = json!({
            "crypted": args.flags.contains(DomainSetUserPasswordFlags::PASSWORD_ENCRYPTED),
            "username": args.user.map(|user| user.to_string()),
            "password": BASE64_STANDARD.encode(password),
        });
        // An agent that nobody plays lets it pass, as that of the test driver does.
        self.guest.agent(
            &name,
            &json!({ "execute": "guest-set-user-password", "arguments": arguments }).to_string(),
        );
        Ok(())
    }

    pub(crate) fn domain_send_key(
        &mut self,
        args: remote::DomainSendKeyArgs<'_>,
    ) -> Reply<remote::DomainSendKey> {
        self.active(&args.dom)?;
        // Linux' own codes; every other set has no code above 255.
        match args.keycodes.iter().find(|code| *code > 767) {
            Some(code) => Err(Refusal::argument(format!("invalid keycode: 0x{code:X}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn domain_send_process_signal(
        &mut self,
        args: remote::DomainSendProcessSignalArgs<'_>,
    ) -> Reply<remote::DomainSendProcessSignal> {
        self.active(&args.dom)?;
        // No process of the guest minds.
        match args.pid_value {
            1 => Ok(()),
            _ => Err(Refusal::argument("only sending a signal to pid 1 is supported")),
        }
    }

    pub(crate) fn domain_inject_nmi(
        &mut self,
        args: remote::DomainInjectNmiArgs<'_>,
    ) -> Reply<remote::DomainInjectNmi> {
        self.active(&args.dom).map(drop)
    }

    pub(crate) fn domain_get_launch_security_info(
        &mut self,
        args: remote::DomainGetLaunchSecurityInfoArgs<'_>,
    ) -> Reply<remote::DomainGetLaunchSecurityInfo> {
        self.only(args.flags.bits(), 0, "testDomainGetLaunchSecurityInfo")?;
        self.active(&args.dom)?;
        Ok(remote::DomainGetLaunchSecurityInfoRet { params: Default::default() })
    }

    pub(crate) fn domain_interface_addresses(
        &mut self,
        args: remote::DomainInterfaceAddressesArgs<'_>,
    ) -> Reply<remote::DomainInterfaceAddresses> {
        let domain = self.active(&args.dom)?;
        let known = [DomainInterfaceAddressesSource::Lease, DomainInterfaceAddressesSource::Agent];
        if !known.contains(&args.source) {
            let number: i32 = args.source.into();
            let text = format!("Unknown IP address data source {number}");
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, text));
        }
        let interfaces = domain.config.devices.iter().filter(|device| device.name == "interface");
        let mut found = Vec::new();
        for (number, interface) in interfaces.enumerate() {
            let network = interface.path("source/@network").unwrap_or_default();
            let addr = self.guest_address(network, number);
            found.push(types::DomainInterface {
                name: interface.path("target/@dev").unwrap_or_default().to_owned().into(),
                hwaddr: interface.path("mac/@address").map(|mac| mac.to_owned().into()),
                addrs: vec![addr].into(),
            });
        }
        Ok(remote::DomainInterfaceAddressesRet { ifaces: found.into() })
    }

    /// The address of a guest's interface: behind the first of its network's range.
    pub(crate) fn guest_address(&self, network: &str, number: usize) -> types::DomainIpAddr<'static> {
        let network = self.networks.values().find(|known| known.name == network);
        let range = network.and_then(|network| network.first_address());
        let addr = match range {
            Some(first) => {
                std::net::Ipv4Addr::from_bits(u32::from(first).wrapping_add(1 + number as u32)).to_string()
            }
            None => format!("192.168.0.{}", 1 + number),
        };
        types::DomainIpAddr { kind: IpAddrType::Ipv4, addr: addr.into(), prefix: 24 }
    }

    pub(crate) fn domain_open_console(
        &mut self,
        args: remote::DomainOpenConsoleArgs<'_>,
    ) -> Reply<remote::DomainOpenConsole> {
        self.only(args.flags.bits(), 1 | 2, "testDomainOpenConsole")?;
        let domain = self.active(&args.dom)?;
        let kinds = ["console", "serial"];
        if !domain.config.devices.iter().any(|device| kinds.contains(&device.name.as_str())) {
            return Err(Refusal::internal("cannot find character device <null>"));
        }
        let device = args.dev_name.map(|name| name.to_string()).unwrap_or_default();
        self.open_echo((args.dom.uuid, device), args.flags.contains(DomainConsoleFlags::FORCE))
    }

    pub(crate) fn domain_open_channel(
        &mut self,
        args: remote::DomainOpenChannelArgs<'_>,
    ) -> Reply<remote::DomainOpenChannel> {
        self.only(args.flags.bits(), 1, "testDomainOpenChannel")?;
        let domain = self.active(&args.dom)?;
        if !domain.config.devices.iter().any(|device| device.name == "channel") {
            return Err(Refusal::internal("cannot find channel <null>"));
        }
        let device = args.name.map(|name| name.to_string()).unwrap_or_default();
        self.open_echo(
            (args.dom.uuid, format!("channel {device}")),
            args.flags.contains(DomainChannelFlags::FORCE),
        )
    }

    pub(crate) fn domain_screenshot(
        &mut self,
        args: remote::DomainScreenshotArgs<'_>,
    ) -> Reply<remote::DomainScreenshot> {
        self.active(&args.dom)?;
        if args.screen > 0 {
            return Err(Refusal::argument("only a single screen is supported"));
        }
        self.open_download(Source::Bytes(PICTURE), Holes::Never)?;
        Ok(remote::DomainScreenshotRet { mime: Some("image/png".into()) })
    }
}

fn file_system(mount: &'static str, name: &'static str, disk: &str) -> types::DomainFsinfo<'static> {
    types::DomainFsinfo {
        mountpoint: mount.into(),
        name: name.into(),
        fstype: "ext4".into(),
        dev_aliases: vec![disk.to_owned().into()].into(),
    }
}
