//! What a subscription is to bring.

use crate::domain::Domain;
use crate::network::Network;
use crate::node_device::NodeDevice;
use crate::secret::Secret;
use crate::storage::StoragePool;
use libvirt_protocol::event::Kind;
use libvirt_protocol::types;
use libvirt_protocol::xdr::IntoOwned;

/// A kind of event, of all objects or of one.
///
/// ```
/// use libvirt_client::Filter;
/// use libvirt_client::protocol::event::Kind;
/// assert_eq!(Filter::from(Kind::DomainReboot).kind(), Kind::DomainReboot);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    kind: Kind,
    object: Option<Object>,
}

/// The one object that a filter lets through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Domain(types::Domain<'static>),
    Network(types::Network<'static>),
    StoragePool(types::StoragePool<'static>),
    NodeDevice(types::NodeDevice<'static>),
    Secret(types::Secret<'static>),
}

impl From<Kind> for Filter {
    fn from(kind: Kind) -> Self {
        Self { kind, object: None }
    }
}

impl Filter {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    /// A kind of event of one domain.
    #[must_use]
    pub fn domain(kind: Kind, domain: &Domain) -> Self {
        Self { kind, object: Some(Object::Domain(domain.wire().into_owned())) }
    }

    /// A kind of event of one network.
    #[must_use]
    pub fn network(kind: Kind, network: &Network) -> Self {
        Self { kind, object: Some(Object::Network(network.wire().into_owned())) }
    }

    /// A kind of event of one storage pool.
    #[must_use]
    pub fn storage_pool(kind: Kind, pool: &StoragePool) -> Self {
        Self { kind, object: Some(Object::StoragePool(pool.wire().into_owned())) }
    }

    /// A kind of event of one device of the host.
    #[must_use]
    pub fn node_device(kind: Kind, device: &NodeDevice) -> Self {
        Self { kind, object: Some(Object::NodeDevice(device.wire().into_owned())) }
    }

    /// A kind of event of one secret.
    #[must_use]
    pub fn secret(kind: Kind, secret: &Secret) -> Self {
        Self { kind, object: Some(Object::Secret(secret.wire().into_owned())) }
    }
}
