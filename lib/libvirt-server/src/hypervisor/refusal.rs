//! Why a call is refused, in the words of libvirt's test driver.

use libvirt_protocol::enums::{ErrorDomain, ErrorLevel, ErrorNumber};
use libvirt_protocol::procedure::Info;
use libvirt_protocol::types;

/// A refused call: what the client gets instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind of error (`virErrorNumber`).
    pub code: ErrorNumber,
    /// The part of libvirt that it comes from (`virErrorDomain`).
    pub domain: ErrorDomain,
    /// The whole text.
    pub message: String,
    /// The form of the text, with `%s` where the detail stands.
    pub form: String,
    /// The detail.
    pub detail: Option<String>,
    /// The numbers that travel with it; -1 where they say nothing.
    pub numbers: [i32; 2],
}

impl Refusal {
    /// An error of the test driver with a detail; libvirt puts a phrase for the kind before it (`virErrorMsg`).
    #[must_use]
    pub fn new(code: ErrorNumber, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let phrase = phrase(code);
        let form = if phrase.is_empty() { "%s".to_owned() } else { format!("{phrase}: %s") };
        Self {
            code,
            domain: ErrorDomain::Test,
            message: form.replace("%s", &detail),
            form,
            detail: Some(detail),
            numbers: [-1; 2],
        }
    }

    /// An error whose kind says everything.
    #[must_use]
    pub fn bare(code: ErrorNumber) -> Self {
        let text = phrase(code).to_owned();
        let domain = ErrorDomain::Test;
        Self { code, domain, message: text.clone(), form: text, detail: None, numbers: [-1; 2] }
    }

    /// The same, from another part of libvirt.
    #[must_use]
    pub fn of(self, domain: ErrorDomain) -> Self {
        Self { domain, ..self }
    }

    /// What a driver answers that does not have the call.
    #[must_use]
    pub fn unsupported(info: &Info) -> Self {
        let function = info.function.unwrap_or(info.name);
        Self::new(ErrorNumber::NoSupport, function).of(owner(function))
    }

    /// What a client gets that may only look.
    pub(crate) fn read_only(info: &Info) -> Self {
        let function = info.function.unwrap_or(info.name);
        Self::new(ErrorNumber::OperationDenied, format!("read only access prevents {function}"))
            .of(owner(function))
    }

    /// What a driver answers to flags that it does not know.
    #[must_use]
    pub fn flags(unknown: u32, function: &str) -> Self {
        Self {
            code: ErrorNumber::InvalidArg,
            domain: ErrorDomain::Test,
            message: format!("unsupported flags (0x{unknown:x}) in function {function}"),
            form: function.to_owned(),
            detail: Some("flags".to_owned()),
            numbers: [0; 2],
        }
    }

    /// What libvirt's library answers to an argument that must be something.
    pub(crate) fn zero(argument: &str, function: &str) -> Self {
        Self {
            code: ErrorNumber::InvalidArg,
            domain: ErrorDomain::Domain,
            message: format!("{argument} in {function} must not be zero"),
            form: function.to_owned(),
            detail: Some(argument.to_owned()),
            numbers: [0; 2],
        }
    }

    /// What the RPC layer answers.
    pub(crate) fn rpc(message: String) -> Self {
        let (code, domain) = (ErrorNumber::Rpc, ErrorDomain::Rpc);
        Self { code, domain, form: "%s".to_owned(), detail: Some(message.clone()), message, numbers: [-1; 2] }
    }

    /// Arguments that are no encoding of what the procedure takes.
    pub(crate) fn arguments() -> Self {
        Self::rpc("Unable to decode message payload".to_owned())
    }

    /// What the daemon answers for a driver that fails without a word.
    pub(crate) fn silent() -> Self {
        Self {
            code: ErrorNumber::InternalError,
            domain: ErrorDomain::Rpc,
            message: "Library function returned error but did not set virError".to_owned(),
            form: String::new(),
            detail: None,
            numbers: [0; 2],
        }
    }

    /// What the system answers, with its number.
    pub(crate) fn system(number: i32, text: String) -> Self {
        Self { form: "%s".into(), numbers: [number, -1], ..Self::new(ErrorNumber::SystemError, text) }
    }

    /// A domain that must run does not.
    pub(crate) fn not_running() -> Self {
        Self::invalid("domain is not running").of(ErrorDomain::Domain)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorNumber::OperationInvalid, detail)
    }

    pub(crate) fn argument(detail: impl Into<String>) -> Self {
        Self::new(ErrorNumber::InvalidArg, detail)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorNumber::InternalError, detail)
    }

    pub(crate) fn xml(detail: impl Into<String>) -> Self {
        Self::new(ErrorNumber::XmlError, detail)
    }

    /// The error as it travels.
    #[must_use]
    pub fn wire(&self) -> types::Error<'_> {
        types::Error {
            code: self.code,
            domain: self.domain,
            message: Some(self.message.as_str().into()),
            level: ErrorLevel::Error,
            dom: None,
            str1: Some(self.form.as_str()).filter(|form| !form.is_empty()).map(Into::into),
            str2: self.detail.as_deref().map(Into::into),
            str3: None,
            int1: self.numbers[0],
            int2: self.numbers[1],
            net: None,
        }
    }
}

/// What stands before the detail. Learned from the answers of libvirtd 9.0.0.
fn phrase(code: ErrorNumber) -> &'static str {
    match code {
        ErrorNumber::InternalError => "internal error",
        ErrorNumber::NoSupport => "this function is not supported by the connection driver",
        ErrorNumber::InvalidArg => "invalid argument",
        ErrorNumber::OperationFailed => "operation failed",
        ErrorNumber::OperationInvalid => "Requested operation is not valid",
        ErrorNumber::OperationUnsupported => "Operation not supported",
        ErrorNumber::XmlError => "XML error",
        ErrorNumber::ConfigUnsupported => "unsupported configuration",
        ErrorNumber::NoDomain => "Domain not found",
        ErrorNumber::NoNetwork => "Network not found",
        ErrorNumber::NoStoragePool => "Storage pool not found",
        ErrorNumber::NoStorageVol => "Storage volume not found",
        ErrorNumber::NoInterface => "Interface not found",
        ErrorNumber::NoNodeDevice => "Node device not found",
        ErrorNumber::NoSecret => "Secret not found",
        ErrorNumber::NoNwfilter => "Network filter not found",
        ErrorNumber::NoDomainSnapshot => "Domain snapshot not found",
        ErrorNumber::NoDomainCheckpoint => "Domain checkpoint not found",
        ErrorNumber::OperationDenied => "operation forbidden",
        ErrorNumber::NoName => "missing name information",
        ErrorNumber::NoTarget => "missing target information for device",
        ErrorNumber::NoDomainMetadata => "metadata not found",
        ErrorNumber::BlockCopyActive => "block copy still active",
        ErrorNumber::NoNwfilterBinding => "Network filter binding not found",
        ErrorNumber::NoNetworkPort => "network port not found",
        ErrorNumber::NetworkPortExist => "network port exists already",
        ErrorNumber::NoNetworkMetadata => "metadata not found",
        ErrorNumber::NoServer => "Server not found",
        ErrorNumber::NoClient => "Client not found",
        ErrorNumber::ArgumentUnsupported => "argument unsupported",
        ErrorNumber::XmlInvalidSchema => "XML document failed to validate against schema",
        ErrorNumber::MigrateUnsafe => "Unsafe migration",
        ErrorNumber::SnapshotRevertRisky => "revert requires force",
        ErrorNumber::CpuIncompatible => "the CPU is incompatible with host CPU",
        _ => "",
    }
}

/// The part of libvirt whose public function it is.
fn owner(function: &str) -> ErrorDomain {
    let has = |word| function.contains(word);
    match function {
        _ if has("DomainSnapshot") => ErrorDomain::DomainSnapshot,
        _ if has("DomainCheckpoint") => ErrorDomain::DomainCheckpoint,
        _ if has("NWFilter") => ErrorDomain::Nwfilter,
        _ if has("Secret") => ErrorDomain::Secret,
        _ if has("Storage") => ErrorDomain::Storage,
        _ if has("Interface") && !has("virDomain") => ErrorDomain::Interface,
        _ if has("NodeDevice") => ErrorDomain::Nodedev,
        _ if has("Qemu") => ErrorDomain::None,
        _ if has("Network") => ErrorDomain::Network,
        _ => ErrorDomain::Domain,
    }
}
