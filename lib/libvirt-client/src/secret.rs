//! Secrets.

use crate::connect::Connect;
use crate::handle::{handle, methods};
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::SecretUsageType;
use libvirt_protocol::flags::{ConnectListAllSecretsFlags, SecretDefineFlags};
use libvirt_protocol::remote::*;
use libvirt_protocol::xdr::{Bytes, Uuid};

handle! {
    /// A secret: a passphrase or a key that volumes and devices use.
    Secret = Secret
}

methods! { Connect(this) {
    /// All secrets that fit the flags; none set means all (`virConnectListAllSecrets`).
    secrets(flags: ConnectListAllSecretsFlags) -> Vec<Secret>
        = remote::ConnectListAllSecrets(ConnectListAllSecretsArgs { need_results: 1, flags })
        => |found| Secret::list(this, &found.secrets);
    /// The secret with a UUID (`virSecretLookupByUUID`).
    secret_by_uuid(uuid: Uuid) -> Secret
        = remote::SecretLookupByUuid(SecretLookupByUuidArgs { uuid }) => |found| Secret::new(this, found.secret);
    /// The secret of a user: a volume's path, a Ceph name … (`virSecretLookupByUsage`).
    secret_by_usage(usage: SecretUsageType, id: &str) -> Secret
        = remote::SecretLookupByUsage(SecretLookupByUsageArgs { usage_type: usage, usage_id: id.into() })
        => |found| Secret::new(this, found.secret);
    /// Defines a secret; its value is set apart (`virSecretDefineXML`).
    define_secret(xml: &str, flags: SecretDefineFlags) -> Secret
        = remote::SecretDefineXml(SecretDefineXmlArgs { xml: xml.into(), flags })
        => |found| Secret::new(this, found.secret);
} }

impl Secret {
    /// Its UUID (`virSecretGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire().uuid
    }

    /// What uses it (`virSecretGetUsageType`).
    #[must_use]
    pub fn usage(&self) -> SecretUsageType {
        self.wire().usage_type
    }

    /// Which of these uses it (`virSecretGetUsageID`).
    #[must_use]
    pub fn usage_id(&self) -> String {
        self.wire().usage_id.to_string()
    }
}

methods! { Secret(this) {
    /// Its definition as XML, without its value (`virSecretGetXMLDesc`).
    xml() -> String
        = remote::SecretGetXmlDesc(SecretGetXmlDescArgs { secret: this.wire(), flags: NoFlags::empty() })
        => |found| found.xml.into();
    /// Its value; refused for a private one (`virSecretGetValue`).
    value() -> Vec<u8>
        = remote::SecretGetValue(SecretGetValueArgs { secret: this.wire(), flags: NoFlags::empty() })
        => |found| found.value.0.into_owned();
    /// Sets its value, of at most 64 KiB (`virSecretSetValue`).
    set_value(value: &[u8])
        = remote::SecretSetValue(SecretSetValueArgs {
            secret: this.wire(), value: Bytes(value.into()), flags: NoFlags::empty(),
        });
    /// Removes it (`virSecretUndefine`).
    undefine() = remote::SecretUndefine(SecretUndefineArgs { secret: this.wire() });
} }
