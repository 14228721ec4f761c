//! Virtual networks and their ports.

use crate::connect::Connect;
use crate::error::Error;
use crate::handle::{Autostart, handle, methods, text};
use crate::params::Params;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{IpAddrType, NetworkMetadataType, NetworkUpdateCommand, NetworkUpdateSection};
use libvirt_protocol::flags::{
    ConnectListAllNetworksFlags, NetworkCreateFlags, NetworkDefineFlags, NetworkPortCreateFlags,
    NetworkUpdateFlags, NetworkXmlFlags,
};
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::Uuid;

handle! {
    /// A virtual network.
    Network = Network
}

handle! {
    /// A port of a virtual network: what one guest interface takes of it.
    NetworkPort = NetworkPort
}

/// A lease that a network's DHCP server has given (`virNetworkDHCPLease`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpLease {
    /// The network's interface on the host.
    pub interface: String,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// Which kind of address.
    pub kind: IpAddrType,
    /// The guest's MAC address.
    pub mac: Option<String>,
    /// Identity of the guest's interface, with IPv6.
    pub iaid: Option<String>,
    /// The address.
    pub address: String,
    /// Length of its prefix, in bits.
    pub prefix: u32,
    /// The guest's name.
    pub hostname: Option<String>,
    /// The client's id, or DUID.
    pub client_id: Option<String>,
}

/// A part of a network that is to be changed ([`Network::update`]).
#[derive(Clone, Debug)]
pub struct NetworkUpdate<'a> {
    /// What to do.
    pub command: NetworkUpdateCommand,
    /// Where.
    pub section: NetworkUpdateSection,
    /// Which of several elements holds it; -1 when that does not matter.
    pub parent: i32,
    /// The element.
    pub xml: &'a str,
    /// Whether the running network is changed, the definition, or both.
    pub flags: NetworkUpdateFlags,
}

methods! { Connect(this) {
    /// All virtual networks that fit the flags; none set means all (`virConnectListAllNetworks`).
    networks(flags: ConnectListAllNetworksFlags) -> Vec<Network>
        = remote::ConnectListAllNetworks(ConnectListAllNetworksArgs { need_results: 1, flags })
        => |found| Network::list(this, &found.nets);
    /// The network with a name (`virNetworkLookupByName`).
    network_by_name(name: &str) -> Network
        = remote::NetworkLookupByName(NetworkLookupByNameArgs { name: name.into() })
        => |found| Network::new(this, found.net);
    /// The network with a UUID (`virNetworkLookupByUUID`).
    network_by_uuid(uuid: Uuid) -> Network
        = remote::NetworkLookupByUuid(NetworkLookupByUuidArgs { uuid })
        => |found| Network::new(this, found.net);
    /// Starts a network that goes when it stops (`virNetworkCreateXMLFlags`).
    create_network(xml: &str, flags: NetworkCreateFlags) -> Network
        = remote::NetworkCreateXmlFlags(NetworkCreateXmlFlagsArgs { xml: xml.into(), flags })
        => |found| Network::new(this, found.net);
    /// Defines a network that stays, or changes its definition (`virNetworkDefineXMLFlags`).
    define_network(xml: &str, flags: NetworkDefineFlags) -> Network
        = remote::NetworkDefineXmlFlags(NetworkDefineXmlFlagsArgs { xml: xml.into(), flags })
        => |found| Network::new(this, found.net);
} }

impl Network {
    /// Its name (`virNetworkGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire().name.to_string()
    }

    /// Its UUID (`virNetworkGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }

    /// Changes a part of it (`virNetworkUpdate`). Old daemons take two of the arguments the other way round; which way was asked when
    /// the connection was opened.
    ///
    /// # Errors
    /// As every call.
    pub async fn update(&self, update: NetworkUpdate<'_>) -> Result<(), Error> {
        let (mut command, mut section) = (update.command, update.section);
        if !self.connect().has_ordered_network_update() {
            (command, section) = (i32::from(update.section).into(), i32::from(update.command).into());
        }
        let args = NetworkUpdateArgs {
            net: self.wire(),
            command,
            section,
            parent_index: update.parent,
            xml: update.xml.into(),
            flags: update.flags,
        };
        self.connect().call::<remote::NetworkUpdate>(&args).await.map(drop)
    }
}

methods! { Network(this) {
    /// Starts it (`virNetworkCreate`).
    start() = remote::NetworkCreate(NetworkCreateArgs { net: this.wire() });
    /// Stops it (`virNetworkDestroy`).
    destroy() = remote::NetworkDestroy(NetworkDestroyArgs { net: this.wire() });
    /// Removes its definition (`virNetworkUndefine`).
    undefine() = remote::NetworkUndefine(NetworkUndefineArgs { net: this.wire() });
    /// Its definition as XML (`virNetworkGetXMLDesc`).
    xml(flags: NetworkXmlFlags) -> String
        = remote::NetworkGetXmlDesc(NetworkGetXmlDescArgs { net: this.wire(), flags }) => |found| found.xml.into();
    /// Name of its bridge on the host (`virNetworkGetBridgeName`).
    bridge_name() -> String
        = remote::NetworkGetBridgeName(NetworkGetBridgeNameArgs { net: this.wire() }) => |found| found.name.into();
    /// Whether it runs (`virNetworkIsActive`).
    is_active() -> bool
        = remote::NetworkIsActive(NetworkIsActiveArgs { net: this.wire() }) => |found| found.active != 0;
    /// Whether it stays when it stops (`virNetworkIsPersistent`).
    is_persistent() -> bool
        = remote::NetworkIsPersistent(NetworkIsPersistentArgs { net: this.wire() }) => |found| found.persistent != 0;
    /// Whether it starts with the host (`virNetworkGetAutostart`).
    autostart() -> bool
        = remote::NetworkGetAutostart(NetworkGetAutostartArgs { net: this.wire() }) => |found| found.autostart != 0;
    /// Says whether it is to start with the host (`virNetworkSetAutostart`).
    set_autostart(autostart: Autostart)
        = remote::NetworkSetAutostart(NetworkSetAutostartArgs { net: this.wire(), autostart: autostart.into() });
    /// Leases that its DHCP server has given, of one MAC address or of all (`virNetworkGetDHCPLeases`).
    dhcp_leases(mac: Option<&str>) -> Vec<DhcpLease>
        = remote::NetworkGetDhcpLeases(NetworkGetDhcpLeasesArgs {
            net: this.wire(), mac: mac.map(Into::into), need_results: 1, flags: NoFlags::empty(),
        })
        => |found| found.leases.iter().map(|lease| DhcpLease {
            interface: lease.iface.into(),
            expires: lease.expirytime,
            kind: lease.kind,
            mac: text(lease.mac),
            iaid: text(lease.iaid),
            address: lease.ipaddr.into(),
            prefix: lease.prefix,
            hostname: text(lease.hostname),
            client_id: text(lease.clientid),
        }).collect();
    /// Its metadata of a kind; `uri` names the element (`virNetworkGetMetadata`).
    metadata(kind: NetworkMetadataType, uri: Option<&str>, flags: NetworkUpdateFlags) -> String
        = remote::NetworkGetMetadata(NetworkGetMetadataArgs {
            network: this.wire(), kind, uri: uri.map(Into::into), flags,
        }) => |found| found.metadata.into();
    /// Sets metadata of a kind, or removes it with `None`; an element needs `key` and `uri` (`virNetworkSetMetadata`).
    set_metadata(kind: NetworkMetadataType, metadata: Option<&str>, key: Option<&str>, uri: Option<&str>, flags: NetworkUpdateFlags)
        = remote::NetworkSetMetadata(NetworkSetMetadataArgs {
            network: this.wire(), kind, metadata: metadata.map(Into::into), key: key.map(Into::into),
            uri: uri.map(Into::into), flags,
        });
    /// All its ports (`virNetworkListAllPorts`).
    ports() -> Vec<NetworkPort>
        = remote::NetworkListAllPorts(NetworkListAllPortsArgs { network: this.wire(), need_results: 1, flags: NoFlags::empty() })
        => |found| NetworkPort::list(this.connect(), &found.ports);
    /// The port with a UUID (`virNetworkPortLookupByUUID`).
    port_by_uuid(uuid: Uuid) -> NetworkPort
        = remote::NetworkPortLookupByUuid(NetworkPortLookupByUuidArgs { network: this.wire(), uuid })
        => |found| NetworkPort::new(this.connect(), found.port);
    /// Makes a port (`virNetworkPortCreateXML`).
    create_port(xml: &str, flags: NetworkPortCreateFlags) -> NetworkPort
        = remote::NetworkPortCreateXml(NetworkPortCreateXmlArgs { network: this.wire(), xml: xml.into(), flags })
        => |found| NetworkPort::new(this.connect(), found.port);
} }

impl NetworkPort {
    /// Its UUID (`virNetworkPortGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }

    /// Its network (`virNetworkPortGetNetwork`).
    #[must_use]
    pub fn network(&self) -> Network {
        Network::new(self.connect(), self.wire().net)
    }

    /// Its parameters, names `NETWORK_PORT_*` (`virNetworkPortGetParameters`).
    ///
    /// # Errors
    /// As every call.
    pub async fn parameters(&self) -> Result<Params, Error> {
        let args = NetworkPortGetParametersArgs { port: self.wire(), ..Default::default() };
        let count = self.connect().call::<remote::NetworkPortGetParameters>(&args).await?.result()?.nparams;
        let args = NetworkPortGetParametersArgs { nparams: count, ..args };
        let reply = self.connect().call::<remote::NetworkPortGetParameters>(&args).await?;
        Ok(reply.result()?.params.iter().collect())
    }
}

methods! { NetworkPort(this) {
    /// Its definition as XML (`virNetworkPortGetXMLDesc`).
    xml() -> String
        = remote::NetworkPortGetXmlDesc(NetworkPortGetXmlDescArgs { port: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
    /// Sets parameters (`virNetworkPortSetParameters`).
    set_parameters(parameters: &Params)
        = remote::NetworkPortSetParameters(NetworkPortSetParametersArgs {
            port: this.wire(), params: parameters.as_slice().into(), flags: NoFlags::empty(),
        });
    /// Removes it (`virNetworkPortDelete`).
    delete() = remote::NetworkPortDelete(NetworkPortDeleteArgs { port: this.wire(), flags: NoFlags::empty() });
} }
