//! Secrets. libvirt's test driver has none, so this follows what its secret driver does.

use super::{Hypervisor, Refusal, Reply, count, fits};
use crate::xml::Element;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber, SecretEventLifecycleType, SecretUsageType};
use libvirt_protocol::flags::ConnectListAllSecretsFlags as Filter;
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{remote, types};

/// A secret.
#[derive(Clone)]
pub(super) struct Secret {
    uuid: Uuid,
    usage: SecretUsageType,
    usage_id: String,
    ephemeral: bool,
    private: bool,
    /// Everything else that was said of it.
    document: Element,
    value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never its value.
        write!(f, "secret {}", self.uuid)
    }
}

/// What a secret is for: the name of the kind, and of the element that says for which.
const USAGES: [(SecretUsageType, &str, &str); 5] = [
    (SecretUsageType::Volume, "volume", "volume"),
    (SecretUsageType::Ceph, "ceph", "name"),
    (SecretUsageType::Iscsi, "iscsi", "target"),
    (SecretUsageType::Tls, "tls", "name"),
    (SecretUsageType::Vtpm, "vtpm", "name"),
];

impl Secret {
    fn read(document: Element, uuid: Uuid) -> Result<Self, Refusal> {
        let refuse = |text: &str| Refusal::xml(text).of(ErrorDomain::Secret);
        let yes = |name: &str| match document.attribute(name) {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => {
                Err(refuse(&format!("Invalid value for attribute '{name}' in element 'secret': '{other}'.")))
            }
        };
        let (ephemeral, private) = (yes("ephemeral")?, yes("private")?);
        let (mut usage, mut usage_id) = (SecretUsageType::None, String::new());
        if let Some(kind) = document.path("usage/@type") {
            let known = USAGES.iter().find(|(_, name, _)| *name == kind);
            let (number, _, element) =
                known.ok_or_else(|| refuse(&format!("unknown secret usage type {kind}")))?;
            let id = document.find("usage").and_then(|usage| usage.text_of(element));
            let id =
                id.ok_or_else(|| refuse(&format!("{kind} usage specified, but {element} is missing")))?;
            (usage, usage_id) = (*number, id.to_owned());
        }
        Ok(Self { uuid, usage, usage_id, ephemeral, private, document, value: None })
    }

    fn wire(&self) -> types::Secret<'static> {
        types::Secret { uuid: self.uuid, usage_type: self.usage, usage_id: self.usage_id.clone().into() }
    }

    fn describe(&self) -> Element {
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let mut out = Element::new("secret")
            .with("ephemeral", word(self.ephemeral))
            .with("private", word(self.private))
            .child(Element::text("uuid", self.uuid));
        out.children.extend(self.document.find("description").cloned());
        out.children.extend(self.document.find("usage").cloned());
        out
    }
}

fn missing(what: &str) -> Refusal {
    Refusal::new(ErrorNumber::NoSecret, format!("no secret with matching {what}")).of(ErrorDomain::Secret)
}

impl Hypervisor {
    fn secret(&mut self, secret: &types::Secret<'_>) -> Result<&mut Secret, Refusal> {
        let uuid = secret.uuid;
        self.secrets.get_mut(&uuid).ok_or_else(|| missing(&format!("uuid '{uuid}'")))
    }

    pub(super) fn secret_define_xml(
        &mut self,
        args: remote::SecretDefineXmlArgs<'_>,
    ) -> Reply<remote::SecretDefineXml> {
        self.only(args.flags.bits(), 1, "secretDefineXML")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let document = self.document(&args.xml.to_str_lossy(), "secret", "definition_of_secret")?;
        let uuid = self.uuid_of(&document, ErrorDomain::Secret)?;
        let mut secret = Secret::read(document, uuid)?;
        let used = |known: &&Secret| {
            known.usage == secret.usage && known.usage_id == secret.usage_id && known.uuid != uuid
        };
        let named = secret.usage != SecretUsageType::None;
        if let Some(known) = self.secrets.values().find(used).filter(|_| named) {
            let text =
                format!("a secret with UUID {} already defined for use with {}", known.uuid, secret.usage_id);
            return Err(Refusal::internal(text).of(ErrorDomain::Secret));
        }
        if let Some(known) = self.secrets.get(&uuid) {
            if (known.usage, &known.usage_id) != (secret.usage, &secret.usage_id) {
                let text =
                    format!("a secret with UUID {uuid} is already defined for use with {}", known.usage_id);
                return Err(Refusal::internal(text).of(ErrorDomain::Secret));
            }
            secret.value.clone_from(&known.value);
        }
        let wire = secret.wire();
        self.secrets.insert(uuid, secret);
        self.tell_secret(&wire, SecretEventLifecycleType::Defined);
        Ok(remote::SecretDefineXmlRet { secret: wire })
    }

    pub(super) fn secret_undefine(
        &mut self,
        args: remote::SecretUndefineArgs<'_>,
    ) -> Reply<remote::SecretUndefine> {
        let wire = self.secret(&args.secret)?.wire();
        self.secrets.remove(&wire.uuid);
        self.tell_secret(&wire, SecretEventLifecycleType::Undefined);
        Ok(())
    }

    pub(super) fn secret_get_xml_desc(
        &mut self,
        args: remote::SecretGetXmlDescArgs<'_>,
    ) -> Reply<remote::SecretGetXmlDesc> {
        let xml = self.secret(&args.secret)?.describe().print();
        Ok(remote::SecretGetXmlDescRet { xml: xml.into() })
    }

    pub(super) fn secret_set_value(
        &mut self,
        args: remote::SecretSetValueArgs<'_>,
    ) -> Reply<remote::SecretSetValue> {
        let secret = self.secret(&args.secret)?;
        secret.value = Some(args.value.0.into_owned());
        let wire = secret.wire();
        self.tell_secret_value(&wire);
        Ok(())
    }

    pub(super) fn secret_get_value(
        &mut self,
        args: remote::SecretGetValueArgs<'_>,
    ) -> Reply<remote::SecretGetValue> {
        let secret = self.secret(&args.secret)?;
        if secret.private {
            return Err(Refusal::new(ErrorNumber::InvalidSecret, "secret is private").of(ErrorDomain::Secret));
        }
        let Some(value) = secret.value.clone() else {
            let text = format!("secret '{}' does not have a value", secret.uuid);
            return Err(Refusal::new(ErrorNumber::NoSecret, text).of(ErrorDomain::Secret));
        };
        Ok(remote::SecretGetValueRet { value: value.into() })
    }

    pub(super) fn secret_lookup_by_uuid(
        &mut self,
        args: remote::SecretLookupByUuidArgs,
    ) -> Reply<remote::SecretLookupByUuid> {
        let found = self.secrets.get(&args.uuid).map(Secret::wire);
        let secret = found.ok_or_else(|| missing(&format!("uuid '{}'", args.uuid)))?;
        Ok(remote::SecretLookupByUuidRet { secret })
    }

    pub(super) fn secret_lookup_by_usage(
        &mut self,
        args: remote::SecretLookupByUsageArgs<'_>,
    ) -> Reply<remote::SecretLookupByUsage> {
        let fit =
            |known: &&Secret| known.usage == args.usage_type && args.usage_id == known.usage_id.as_str();
        let found = self.secrets.values().find(fit).map(Secret::wire);
        let secret = found.ok_or_else(|| missing(&format!("usage '{}'", args.usage_id)))?;
        Ok(remote::SecretLookupByUsageRet { secret })
    }

    pub(super) fn list_all_secrets(
        &mut self,
        args: remote::ConnectListAllSecretsArgs,
    ) -> Reply<remote::ConnectListAllSecrets> {
        let passes = |known: &&Secret| {
            fits(
                args.flags.bits(),
                [
                    [
                        (Filter::EPHEMERAL.bits(), known.ephemeral),
                        (Filter::NO_EPHEMERAL.bits(), !known.ephemeral),
                    ],
                    [(Filter::PRIVATE.bits(), known.private), (Filter::NO_PRIVATE.bits(), !known.private)],
                ],
            )
        };
        let found: Vec<_> = self.secrets.values().filter(passes).map(Secret::wire).collect();
        let ret = count(found.len());
        let secrets = if args.need_results != 0 { found } else { Vec::new() };
        Ok(remote::ConnectListAllSecretsRet { secrets: secrets.into(), ret })
    }

    pub(super) fn list_secrets(
        &mut self,
        args: remote::ConnectListSecretsArgs,
    ) -> Reply<remote::ConnectListSecrets> {
        let most = usize::try_from(args.maxuuids).unwrap_or(0);
        let uuids = self.secrets.keys().take(most).map(|uuid| uuid.to_string().into()).collect();
        Ok(remote::ConnectListSecretsRet { uuids })
    }

    pub(super) fn num_of_secrets(&mut self, (): ()) -> Reply<remote::ConnectNumOfSecrets> {
        Ok(remote::ConnectNumOfSecretsRet { num: self.secrets.len() as i32 })
    }
}
