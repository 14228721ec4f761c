//! `tls_priority`: what a host permits of TLS, in the language of GnuTLS (its manual, "Priority Strings"), as libvirt is told it.
//!
//! TLS is rustls' here: versions 1.2 and 1.3, and suites with authenticated encryption and forward secrecy, all of which GnuTLS has too. So a list can
//! take something away and never add to that: what it permits beyond is not offered, which is never less secure than what was asked for. What cannot
//! be obeyed, and what would weaken on purpose, is refused by name.

use super::host::{self, Of, Overrides};
use super::signatures::{self, CURVES, SIGNATURES, STRONG, Signature};
use crate::error::{Error, ErrorKind};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{NamedGroup, SupportedCipherSuite, SupportedProtocolVersion, version};
use std::collections::BTreeSet;
use std::str::FromStr;

const VERSIONS: [&str; 2] = ["VERS-TLS1.2", "VERS-TLS1.3"];
const CIPHERS: [&str; 3] = ["AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"];
/// Of version 1.2 alone: in 1.3 a suite says nothing of it.
const EXCHANGES: [&str; 2] = ["ECDHE-RSA", "ECDHE-ECDSA"];
const MACS: [&str; 1] = ["AEAD"];
const GROUPS: [(&str, NamedGroup); 4] = [
    ("GROUP-X25519", NamedGroup::X25519),
    ("GROUP-SECP256R1", NamedGroup::secp256r1),
    ("GROUP-SECP384R1", NamedGroup::secp384r1),
    ("GROUP-X25519-MLKEM768", NamedGroup::X25519MLKEM768),
];
/// What a host permits that says nothing, by names that its own list may define.
const HOST: [&str; 2] = ["LIBVIRT", "SYSTEM"];

/// What GnuTLS has, and rustls does not: permitting it changes nothing, and neither does taking it away.
const ABSENT: [&str; 67] = [
    "VERS-TLS1.0",
    "VERS-TLS1.1",
    "VERS-DTLS0.9",
    "VERS-DTLS1.0",
    "VERS-DTLS1.2",
    "VERS-DTLS-ALL",
    "AES-128-CBC",
    "AES-192-CBC",
    "AES-256-CBC",
    "AES-128-CCM",
    "AES-256-CCM",
    "AES-128-CCM-8",
    "AES-256-CCM-8",
    "CAMELLIA-128-CBC",
    "CAMELLIA-192-CBC",
    "CAMELLIA-256-CBC",
    "CAMELLIA-128-GCM",
    "CAMELLIA-256-GCM",
    "RSA",
    "DHE-RSA",
    "DHE-DSS",
    "PSK",
    "DHE-PSK",
    "ECDHE-PSK",
    "RSA-PSK",
    "SRP",
    "SRP-RSA",
    "SRP-DSS",
    "SHA1",
    "SHA256",
    "SHA384",
    "COMP-DEFLATE",
    "CTYPE-OPENPGP",
    "GROUP-SECP192R1",
    "GROUP-SECP224R1",
    "GROUP-SECP521R1",
    "GROUP-X648",
    "GROUP-FFDHE2048",
    "GROUP-FFDHE3072",
    "GROUP-FFDHE4096",
    "GROUP-FFDHE6164",
    "GROUP-FFDHE8192",
    "SIGN-RSA-SHA1",
    "SIGN-ECDSA-SHA1",
    "CIPHER-GOST-ALL",
    "KX-GOST-ALL",
    "MAC-GOST-ALL",
    "GROUP-GOST-ALL",
    "SIGN-GOST-ALL",
    "GOST",
    "GROUP-DH-ALL",
    "GROUP-SECP256R1-MLKEM768",
    "GROUP-SECP384R1-MLKEM1024",
    "SIGN-RSA-SHA224",
    "SIGN-RSA-PSS-SHA256",
    "SIGN-RSA-PSS-SHA384",
    "SIGN-RSA-PSS-SHA512",
    "SIGN-ECDSA-SHA224",
    "SIGN-DSA-SHA1",
    "SIGN-DSA-SHA224",
    "SIGN-DSA-SHA256",
    "SIGN-DSA-SHA384",
    "SIGN-DSA-SHA512",
    "SIGN-EDDSA-ED448",
    "CTYPE-RAWPK",
    "CTYPE-CLI-RAWPK",
    "CTYPE-SRV-RAWPK",
];

/// What is so whether a list says it or not: GnuTLS compresses nothing any more, and where no kind of certificate is left takes X.509 (`libvirt` never
/// lets it take another).
const ALWAYS: [&str; 8] = [
    "COMP-NULL",
    "COMP-ALL",
    "CTYPE-ALL",
    "CTYPE-X509",
    "CTYPE-CLI-ALL",
    "CTYPE-CLI-X509",
    "CTYPE-SRV-ALL",
    "CTYPE-SRV-X509",
];

/// The same as absent, of what nobody should permit.
const WEAK: [&str; 10] = [
    "NULL",
    "ARCFOUR-128",
    "ARCFOUR-40",
    "3DES-CBC",
    "DES-CBC",
    "RC2-40",
    "MD5",
    "ANON-DH",
    "ANON-ECDH",
    "VERS-SSL3.0",
];

/// Options that ask for what is done anyway (nothing is resumed, with tickets or without), or permit what is not done.
const IDLE: [&str; 13] = [
    "%COMPAT",
    "%DUMBFW",
    "%FALLBACK_SCSV",
    "%LATEST_RECORD_VERSION",
    "%SSL3_RECORD_VERSION",
    "%NO_TICKETS",
    "%PARTIAL_RENEGOTIATION",
    "%SERVER_PRECEDENCE",
    "%VERIFY_ALLOW_BROKEN",
    "%PROFILE_VERY_WEAK",
    "%PROFILE_LOW",
    "%PROFILE_LEGACY",
    "%PROFILE_MEDIUM",
];

/// What of TLS may be spoken. The default is everything that rustls has by default.
///
/// ```
/// use libvirt_client::transport::Priority;
/// let newest: Priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3".parse()?;
/// assert_ne!(newest, Priority::default());
/// assert_eq!("@LIBVIRT,SYSTEM".parse::<Priority>()?, Priority::default());
/// assert!("NORMAL:+NULL".parse::<Priority>().is_err());
/// # Ok::<(), libvirt_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    allowed: BTreeSet<&'static str>,
    /// What no list speaks of, and the host's overrides take away: signatures in certificates, and curves of the keys that sign.
    withheld: BTreeSet<&'static str>,
    /// `%FORCE_SESSION_HASH` (RFC 7627).
    pub(super) session_hash: bool,
}

impl Default for Priority {
    fn default() -> Self {
        let groups = GROUPS.map(|(name, _)| name);
        let signatures = SIGNATURES.map(|signature| signature.name);
        let all = [&VERSIONS[..], &CIPHERS, &EXCHANGES, &MACS, &groups, &signatures];
        let allowed = all.into_iter().flatten().copied().collect();
        Self { allowed, withheld: BTreeSet::new(), session_hash: false }
    }
}

impl FromStr for Priority {
    type Err = Error;

    /// Reads a list as `tls_priority` of `libvirt.conf` and of URIs has it, on a host that defines none of its own.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::on_host(text, "")
    }
}

impl Priority {
    /// Reads a list on a host with these settings of GnuTLS: `@NAME,OTHER:…` is the first of them that is defined there, under `[priorities]`;
    /// and nothing is permitted that the host's overrides take away, whatever the list says.
    ///
    /// # Errors
    /// When a list or the host cannot be obeyed, or the list names one that the host does not define.
    pub(crate) fn on_host(text: &str, settings: &str) -> Result<Self, Error> {
        let list = Self::named(text, settings)?;
        let (host, overrides) = (Self::of_host(settings)?, "`[overrides]` of the host's settings of GnuTLS");
        let both = list.and(&host);
        match both.lacks() {
            None => Ok(both),
            Some(why) => {
                Err(Error::new(ErrorKind::Uri(format!("tls_priority `{text}`: with {overrides} it {why}"))))
            }
        }
    }

    /// What the host permits to everybody.
    fn of_host(settings: &str) -> Result<Self, Error> {
        let overrides = Overrides::of(settings);
        if let Some(beyond) = &overrides.beyond {
            return Err(Error::new(ErrorKind::Uri(format!(
                "`{beyond}` under `[overrides]` of the host's settings of GnuTLS cannot be obeyed here: nobody looks at the lengths of keys beyond 2,048 \
                 bits; reach the daemon by ssh"
            ))));
        }
        let mut host = Self { session_hash: overrides.session_hash, ..Self::default() };
        host.allowed.retain(|name| match name.split_once('-') {
            Some(("VERS", version)) => overrides.permit(Of::Version, &[version]),
            // Half of MLKEM's is a curve.
            Some(("GROUP", group)) => {
                let curve = group.split('-').next().unwrap_or(group);
                overrides.permit(Of::Group, &[group]) && overrides.permit(Of::Curve, &[curve])
            }
            _ if CIPHERS.contains(name) => overrides.permit(Of::Cipher, &[*name]),
            _ if EXCHANGES.contains(name) => overrides.permit(Of::Exchange, &[*name]),
            _ if MACS.contains(name) => overrides.permit(Of::Mac, &[*name]),
            _ => SIGNATURES.iter().any(|signature| signature.name == *name && overrides.sign(signature)),
        });
        let curves = CURVES.iter().map(|(curve, _)| *curve);
        let curves = curves.filter(|curve| !overrides.permit(Of::Curve, &[*curve]));
        host.withheld.extend(curves.chain(overrides.uncertified()));
        Ok(host)
    }

    /// Reads a list that may have its name from these settings.
    fn named(text: &str, settings: &str) -> Result<Self, Error> {
        let (first, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        let first = first.trim();
        let names = match first.strip_prefix('@') {
            Some(names) => names,
            None if first.eq_ignore_ascii_case("SYSTEM") => first,
            None => return Self::read(text, text),
        };
        // Where things are given, what stands under this name is no list but made of them.
        let given = host::Overrides::of(settings).gives();
        let list = |name: &str| match given && name.trim().eq_ignore_ascii_case("SYSTEM") {
            true => Some("NORMAL"),
            false => host::list(settings, name),
        };
        if let Some(list) = names.split(',').find_map(list) {
            return Self::read(&format!("{list}{rest}"), &format!("{text}` (by the host's settings `{list}"));
        }
        match names.split(',').find(|name| !HOST.iter().any(|known| name.eq_ignore_ascii_case(known))) {
            None => Self::read(&format!("NORMAL{rest}"), text),
            Some(_) => Err(Error::new(ErrorKind::Uri(format!(
                "tls_priority `{text}`: {first} is a list that the host does not define (`[priorities]` of gnutls/config)"
            )))),
        }
    }

    /// Reads a list that names no other; `text` is what was said.
    fn read(list: &str, text: &str) -> Result<Self, Error> {
        let wrong = |word: &str, why: &str| {
            Error::new(ErrorKind::Uri(format!("tls_priority `{text}`: {word} {why}")))
        };
        let mut words = list.split(':').map(|word| word.trim().to_ascii_uppercase());
        let first = words.next().unwrap_or_default();
        let mut priority = keyword(&first).ok_or_else(|| {
            wrong(&first, "is no beginning that is known here: there are NORMAL, SYSTEM, SECURE128, SECURE192, SECURE256, NONE")
        })?;
        let mut renegotiates_safely = false;
        for word in words {
            if word.starts_with('%') {
                match word.as_str() {
                    "%FORCE_SESSION_HASH" => priority.session_hash = true,
                    "%SAFE_RENEGOTIATION" => renegotiates_safely = true,
                    idle if IDLE.contains(&idle) => {}
                    _ => {
                        return Err(wrong(
                            &word,
                            "cannot be obeyed here: leave it out, or reach the daemon by ssh",
                        ));
                    }
                }
                continue;
            }
            let Some((sign @ ('+' | '-' | '!'), name)) =
                word.chars().next().map(|sign| (sign, &word[sign.len_utf8()..]))
            else {
                return Err(wrong(&word, "begins with none of + - ! %"));
            };
            let adds = sign == '+';
            let group = name.strip_prefix("CURVE-").map(|curve| match curve {
                "ALL" => "GROUP-EC-ALL".to_owned(),
                curve => format!("GROUP-{curve}"),
            });
            let name = group.as_deref().unwrap_or(name);
            match (meant(name, adds), keyword(name)) {
                (Some(names), _) if adds => priority.allowed.extend(names),
                (Some(names), _) => priority.allowed.retain(|known| !names.contains(known)),
                (None, Some(level)) if adds => priority.allowed.extend(level.allowed),
                _ if WEAK.contains(&name) && adds => {
                    return Err(wrong(&word, "is weaker than anything that is spoken here: leave it out"));
                }
                _ if WEAK.contains(&name) || ABSENT.contains(&name) || ALWAYS.contains(&name) => {}
                _ => {
                    return Err(wrong(
                        &word,
                        "cannot be obeyed here: leave it out, or reach the daemon by ssh",
                    ));
                }
            }
        }
        if let Some(why) = priority.lacks() {
            return Err(wrong("it", why));
        }
        // That the daemon can do it (RFC 5746) is not demanded by rustls, which never negotiates again; version 1.3 has nothing of the kind.
        if renegotiates_safely && priority.has("VERS-TLS1.2") {
            let why = "cannot be obeyed with TLS 1.2 here: leave it out, or add -VERS-TLS1.2";
            return Err(wrong("%SAFE_RENEGOTIATION", why));
        }
        Ok(priority)
    }
}

/// What a level permits.
fn keyword(name: &str) -> Option<Priority> {
    let all = Priority::default();
    match name {
        "NORMAL" | "PERFORMANCE" | "PFS" | "LEGACY" | "SECURE128" => Some(all),
        // GnuTLS also looks at the lengths of RSA keys in certificates then, and nobody does here: so there are none.
        "SECURE192" | "SECURE256" => {
            let names = ["AES-256-GCM", "CHACHA20-POLY1305", "ECDHE-ECDSA", "AEAD", "GROUP-SECP384R1"];
            Some(Priority { allowed: VERSIONS.into_iter().chain(names).chain(STRONG).collect(), ..all })
        }
        "NONE" => Some(Priority { allowed: BTreeSet::new(), ..all }),
        _ => None,
    }
}

/// What a word means of what is spoken here, when it is added or taken away.
fn meant(name: &str, adds: bool) -> Option<Vec<&'static str>> {
    let groups = GROUPS.map(|(name, _)| name);
    match name {
        "VERS-ALL" | "VERS-TLS-ALL" => return Some(VERSIONS.to_vec()),
        "CIPHER-ALL" => return Some(CIPHERS.to_vec()),
        "KX-ALL" => return Some(EXCHANGES.to_vec()),
        "MAC-ALL" => return Some(MACS.to_vec()),
        "SIGN-ALL" => return Some(SIGNATURES.map(|signature| signature.name).to_vec()),
        "GROUP-ALL" => return Some(groups.to_vec()),
        // Half of MLKEM's is a curve: it goes with the others, and does not come with them.
        "GROUP-EC-ALL" => {
            let curves = groups.into_iter().filter(|group| !adds || !group.contains("MLKEM"));
            return Some(curves.collect());
        }
        _ => {}
    }
    if let Some(signature) = SIGNATURES.iter().find(|signature| signature.is(name)) {
        return Some(vec![signature.name]);
    }
    let all = Priority::default().allowed;
    all.into_iter().find(|known| *known == name).map(|known| vec![known])
}

impl Priority {
    /// What both permit.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.allowed.retain(|name| other.allowed.contains(name));
        self.withheld.extend(&other.withheld);
        self.session_hash |= other.session_hash;
        self
    }

    fn has(&self, name: &str) -> bool {
        self.allowed.contains(name)
    }

    /// Whether the other side may sign with it.
    pub(super) fn signs(&self, signature: &Signature) -> bool {
        self.has(signature.name)
    }

    /// Whether a certificate may be signed with it.
    pub(super) fn certifies(&self, signature: &Signature) -> bool {
        self.has(signature.name) && !self.withheld.contains(signature.name)
    }

    /// Whether keys that sign may be of a curve.
    pub(super) fn has_keys(&self, curve: &str) -> bool {
        !self.withheld.contains(curve)
    }

    /// What is missing when nothing can be spoken.
    fn lacks(&self) -> Option<&'static str> {
        let any = self.suites().next().is_some()
            && self.groups().next().is_some()
            && SIGNATURES.iter().any(|signature| self.certifies(signature));
        (!any).then_some(
            "leaves nothing that is spoken here: TLS 1.2 and 1.3 with AES-GCM or CHACHA20-POLY1305, a group and signatures; permit one of each, or \
             reach the daemon by ssh",
        )
    }

    fn suites(&self) -> impl Iterator<Item = SupportedCipherSuite> {
        aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().copied().filter(|suite| {
            let newest = suite.tls13().is_some();
            // `TLS13_AES_256_GCM_SHA384`, `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
            let suite = format!("{:?}", suite.suite());
            let is_of = |names: &[&str]| {
                names.iter().any(|name| self.has(name) && suite.contains(&name.replace('-', "_")))
            };
            self.has(if newest { "VERS-TLS1.3" } else { "VERS-TLS1.2" })
                && self.has("AEAD")
                && is_of(&CIPHERS)
                && (newest || is_of(&EXCHANGES))
        })
    }

    fn groups(&self) -> impl Iterator<Item = NamedGroup> {
        GROUPS.into_iter().filter(|(name, _)| self.has(name)).map(|(_, group)| group)
    }

    /// Versions that may be spoken.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let versions = VERSIONS.into_iter().zip([&version::TLS12, &version::TLS13]);
        versions.filter(|(name, _)| self.has(name)).map(|(_, version)| version).collect()
    }

    /// The rest.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = self.suites().collect();
        let groups: Vec<NamedGroup> = self.groups().collect();
        provider.kx_groups.retain(|group| groups.contains(&group.name()));
        provider.signature_verification_algorithms = signatures::permitted(self);
        provider
    }
}

#[cfg(test)]
mod tests;
