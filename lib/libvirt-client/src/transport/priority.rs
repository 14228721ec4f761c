//! `tls_priority`: what a host permits of TLS, in the language of GnuTLS (its manual, "Priority Strings"), as libvirt is told it.
//!
//! TLS is rustls' here: versions 1.2 and 1.3, and suites with authenticated encryption and forward secrecy, all of which GnuTLS has too. So a list can
//! take something away and never add to that: what it permits beyond is not offered, which is never less secure than what was asked for. What cannot
//! be obeyed, and what would weaken on purpose, is refused by name.

use crate::error::{Error, ErrorKind};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{NamedGroup, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

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
/// Every signature that rustls takes; without it those of ECDSA with SHA-384 and more.
const SIGNATURES: &str = "SIGN-ALL";

/// What GnuTLS has, and rustls does not: permitting it changes nothing, and neither does taking it away.
const ABSENT: [&str; 44] = [
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
    "GROUP-X448",
    "GROUP-FFDHE2048",
    "GROUP-FFDHE3072",
    "GROUP-FFDHE4096",
    "GROUP-FFDHE6144",
    "GROUP-FFDHE8192",
    "SIGN-RSA-SHA1",
    "SIGN-ECDSA-SHA1",
];

/// The same, of what nobody should permit.
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

/// Options that ask for what rustls does anyway, or permit what it does not do.
const IDLE: [&str; 13] = [
    "%COMPAT",
    "%DUMBFW",
    "%FALLBACK_SCSV",
    "%LATEST_RECORD_VERSION",
    "%SSL3_RECORD_VERSION",
    "%NO_TICKETS",
    "%PARTIAL_RENEGOTIATION",
    "%SAFE_RENEGOTIATION",
    "%SERVER_PRECEDENCE",
    "%VERIFY_ALLOW_BROKEN",
    "%PROFILE_VERY_WEAK",
    "%PROFILE_LOW",
    "%PROFILE_LEGACY",
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
    /// `%FORCE_SESSION_HASH` (RFC 7627).
    pub(super) session_hash: bool,
}

impl Default for Priority {
    fn default() -> Self {
        let groups = GROUPS.map(|(name, _)| name);
        let all = [&VERSIONS[..], &CIPHERS, &EXCHANGES, &MACS, &groups, &[SIGNATURES]];
        Self { allowed: all.into_iter().flatten().copied().collect(), session_hash: false }
    }
}

impl FromStr for Priority {
    type Err = Error;

    /// Reads a list as `tls_priority` of `libvirt.conf` and of URIs has it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |word: &str, why: &str| {
            Error::new(ErrorKind::Uri(format!("tls_priority `{text}`: {word} {why}")))
        };
        let mut words = text.split(':').map(|word| word.trim().to_ascii_uppercase());
        let first = words.next().unwrap_or_default();
        let mut priority = keyword(&first).ok_or_else(|| {
            wrong(&first, "is no beginning that is known here: there are NORMAL, SYSTEM, SECURE128, SECURE192, SECURE256, NONE")
        })?;
        for word in words {
            if word.starts_with('%') {
                match word.as_str() {
                    "%FORCE_SESSION_HASH" => priority.session_hash = true,
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
            match (named(name), keyword(name)) {
                (Some(names), _) if adds => priority.allowed.extend(names),
                (Some(names), _) => priority.allowed.retain(|known| !names.contains(known)),
                (None, Some(level)) if adds => priority.allowed.extend(level.allowed),
                _ if WEAK.contains(&name) && adds => {
                    return Err(wrong(&word, "is weaker than anything that is spoken here: leave it out"));
                }
                _ if WEAK.contains(&name) || ABSENT.contains(&name) => {}
                _ if adds && ["COMP-NULL", "COMP-ALL", "CTYPE-X509", "CTYPE-ALL"].contains(&name) => {}
                _ => {
                    return Err(wrong(
                        &word,
                        "cannot be obeyed here: leave it out, or reach the daemon by ssh",
                    ));
                }
            }
        }
        if priority.suites().next().is_none() || priority.groups().next().is_none() {
            let why = "leaves nothing that is spoken here: TLS 1.2 and 1.3 with AES-GCM or CHACHA20-POLY1305; permit one of these, or reach the \
                       daemon by ssh";
            return Err(wrong("it", why));
        }
        Ok(priority)
    }
}

/// What a level permits.
fn keyword(name: &str) -> Option<Priority> {
    let all = Priority::default();
    // A list of the host's own (`@NAME`, with others in its place after commas) is at least as wide as its system's, of which nothing is known here.
    if name.len() > 1 && name.starts_with('@') {
        return Some(all);
    }
    match name {
        "NORMAL" | "SYSTEM" | "PERFORMANCE" | "PFS" | "LEGACY" | "SECURE128" => Some(all),
        // GnuTLS also looks at the lengths of RSA keys in certificates then, and nobody does here: so there are none.
        "SECURE192" | "SECURE256" => {
            let names = ["AES-256-GCM", "CHACHA20-POLY1305", "ECDHE-ECDSA", "AEAD", "GROUP-SECP384R1"];
            Some(Priority { allowed: VERSIONS.into_iter().chain(names).collect(), ..all })
        }
        "NONE" => Some(Priority { allowed: BTreeSet::new(), ..all }),
        _ => None,
    }
}

/// What a word means of what is spoken here.
fn named(name: &str) -> Option<Vec<&'static str>> {
    let groups = GROUPS.map(|(name, _)| name);
    let curve = name.strip_prefix("CURVE-").map(|curve| format!("GROUP-{curve}"));
    let name = curve.as_deref().unwrap_or(name);
    match name {
        "VERS-ALL" | "VERS-TLS-ALL" => return Some(VERSIONS.to_vec()),
        "CIPHER-ALL" => return Some(CIPHERS.to_vec()),
        "KX-ALL" => return Some(EXCHANGES.to_vec()),
        "MAC-ALL" => return Some(MACS.to_vec()),
        "GROUP-ALL" | "GROUP-EC-ALL" => return Some(groups.to_vec()),
        _ => {}
    }
    let all = Priority::default().allowed;
    all.into_iter().find(|known| *known == name).map(|known| vec![known])
}

impl Priority {
    /// What both permit.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.allowed.retain(|name| other.allowed.contains(name));
        self.session_hash |= other.session_hash;
        self
    }

    fn has(&self, name: &str) -> bool {
        self.allowed.contains(name)
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
        if !self.has(SIGNATURES) {
            provider.signature_verification_algorithms = *STRONG;
        }
        provider
    }
}

/// Signatures of ECDSA with SHA-384 and more. Made once: rustls wants them for as long as the program runs.
static STRONG: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let wanted = [SignatureScheme::ECDSA_NISTP384_SHA384, SignatureScheme::ECDSA_NISTP521_SHA512];
    let all = aws_lc_rs::default_provider().signature_verification_algorithms.mapping;
    let mapping: Vec<_> = all.iter().filter(|(scheme, _)| wanted.contains(scheme)).copied().collect();
    let all: Vec<_> = mapping.iter().flat_map(|(_, algorithms)| *algorithms).copied().collect();
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
});

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(text: &str) -> Vec<String> {
        let priority: Priority = text.parse().unwrap_or_else(|error| panic!("{error}"));
        priority.provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
    }

    #[test]
    fn what_is_as_wide_as_ours_is_ours() {
        for text in [
            "NORMAL",
            "system",
            "@LIBVIRT,SYSTEM",
            "SECURE128",
            "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1:-ARCFOUR-128",
            "NORMAL:+VERS-TLS1.1:+AES-256-CBC",
            "NONE:+VERS-ALL:+CIPHER-ALL:+KX-ALL:+MAC-ALL:+GROUP-ALL:+SIGN-ALL:+COMP-NULL",
            "SECURE192:+SECURE128",
        ] {
            assert_eq!(text.parse::<Priority>().unwrap(), Priority::default(), "{text}");
        }
        assert_eq!(suites("NORMAL").len(), 9);
    }

    #[test]
    fn what_is_taken_away_is_not_offered() {
        for text in ["NORMAL:-VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-KX-ALL"] {
            let left = suites(text);
            assert!(
                left.len() == 3 && left.iter().all(|suite| suite.starts_with("TLS13_")),
                "{text}: {left:?}"
            );
        }
        let only: Priority = "NORMAL:-VERS-TLS1.3".parse().unwrap();
        assert_eq!(only.versions(), [&version::TLS12]);
        assert!(!suites("NORMAL:-AES-128-GCM").iter().any(|suite| suite.contains("AES_128")));
        assert!(!suites("NORMAL:!CHACHA20-POLY1305").iter().any(|suite| suite.contains("CHACHA")));
        assert!(!suites("NORMAL:-ECDHE-RSA").iter().any(|suite| suite.contains("ECDHE_RSA")));
        let groups = |text: &str| {
            let provider = text.parse::<Priority>().unwrap().provider();
            provider.kx_groups.iter().map(|group| group.name()).collect::<Vec<_>>()
        };
        assert_eq!(groups("NORMAL:-GROUP-ALL:+CURVE-SECP384R1"), [NamedGroup::secp384r1]);
        assert!(!groups("NORMAL:-GROUP-X25519").contains(&NamedGroup::X25519));
        assert!("NORMAL:%FORCE_SESSION_HASH".parse::<Priority>().unwrap().session_hash);
    }

    #[test]
    fn a_high_level_has_long_keys_and_strong_signatures_alone() {
        for text in ["SECURE192", "SECURE256:%SERVER_PRECEDENCE"] {
            let provider = text.parse::<Priority>().unwrap().provider();
            assert!(!suites(text).iter().any(|suite| suite.contains("AES_128")), "{text}");
            assert_eq!(provider.kx_groups.len(), 1, "{text}");
            let schemes = provider.signature_verification_algorithms.supported_schemes();
            assert!(!schemes.is_empty(), "{text}");
            assert!(schemes.iter().all(|scheme| !format!("{scheme:?}").contains("RSA_")), "{schemes:?}");
            assert!(!schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256), "{schemes:?}");
        }
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_by_name() {
        for (text, word) in [
            ("NORMAL:+NULL", "+NULL"),
            ("NORMAL:+ANON-ECDH", "+ANON-ECDH"),
            ("NORMAL:-VERS-ALL:+VERS-TLS1.0", "leaves nothing"),
            ("NONE", "leaves nothing"),
            ("NORMAL:-AEAD", "leaves nothing"),
            ("NORMAL:-GROUP-ALL", "leaves nothing"),
            // Not passed over: what is taken away may be what matters.
            ("NORMAL:-SIGN-RSA-SHA256", "-SIGN-RSA-SHA256"),
            ("NORMAL:-AES128-GCM", "-AES128-GCM"),
            ("NORMAL:%PROFILE_ULTRA", "%PROFILE_ULTRA"),
            ("NORMAL:AES-128-GCM", "none of"),
            ("NORMAL:", "none of"),
            ("", "no beginning"),
            ("SECUER256", "SECUER256"),
        ] {
            let error = text.parse::<Priority>().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn of_two_both_are_obeyed() {
        let both = "NORMAL:-VERS-TLS1.2".parse::<Priority>().unwrap().and(&"SECURE256".parse().unwrap());
        assert_eq!(both.versions(), [&version::TLS13]);
        assert!(both.suites().all(|suite| !format!("{:?}", suite.suite()).contains("AES_128")));
    }
}
