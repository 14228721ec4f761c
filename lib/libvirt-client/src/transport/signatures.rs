//! Signatures that rustls takes, under the names that GnuTLS has for them.

use super::priority::Priority;
use rustls::SignatureScheme as Scheme;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{AlgorithmIdentifier, alg_id};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One of them.
pub(super) struct Signature {
    /// As a list has it; with ECDSA that of TLS 1.2, and after it that of 1.3, which are the same on the wire.
    pub(super) name: &'static str,
    pub(super) newer: Option<&'static str>,
    /// What is signed.
    pub(super) hash: &'static str,
    /// Whose key signs in TLS 1.3.
    pub(super) curve: Option<&'static str>,
    scheme: Scheme,
}

const fn ecdsa(
    names: [&'static str; 2],
    hash: &'static str,
    curve: &'static str,
    scheme: Scheme,
) -> Signature {
    Signature { name: names[0], newer: Some(names[1]), hash, curve: Some(curve), scheme }
}

const fn rsa(name: &'static str, hash: &'static str, scheme: Scheme) -> Signature {
    Signature { name, newer: None, hash, curve: None, scheme }
}

/// Those that are among them for a level of 192 bits and more.
pub(super) const STRONG: [&str; 2] = ["SIGN-ECDSA-SHA384", "SIGN-ECDSA-SHA512"];

/// All.
pub(super) const SIGNATURES: [Signature; 10] = [
    ecdsa(
        ["SIGN-ECDSA-SHA256", "SIGN-ECDSA-SECP256R1-SHA256"],
        "SHA256",
        "SECP256R1",
        Scheme::ECDSA_NISTP256_SHA256,
    ),
    ecdsa(
        ["SIGN-ECDSA-SHA384", "SIGN-ECDSA-SECP384R1-SHA384"],
        "SHA384",
        "SECP384R1",
        Scheme::ECDSA_NISTP384_SHA384,
    ),
    ecdsa(
        ["SIGN-ECDSA-SHA512", "SIGN-ECDSA-SECP521R1-SHA512"],
        "SHA512",
        "SECP521R1",
        Scheme::ECDSA_NISTP521_SHA512,
    ),
    // Its hash is part of it (RFC 8032), and GnuTLS counts it as any other.
    Signature {
        name: "SIGN-EDDSA-ED25519",
        newer: None,
        hash: "SHA512",
        curve: Some("ED25519"),
        scheme: Scheme::ED25519,
    },
    rsa("SIGN-RSA-PSS-RSAE-SHA256", "SHA256", Scheme::RSA_PSS_SHA256),
    rsa("SIGN-RSA-PSS-RSAE-SHA384", "SHA384", Scheme::RSA_PSS_SHA384),
    rsa("SIGN-RSA-PSS-RSAE-SHA512", "SHA512", Scheme::RSA_PSS_SHA512),
    rsa("SIGN-RSA-SHA256", "SHA256", Scheme::RSA_PKCS1_SHA256),
    rsa("SIGN-RSA-SHA384", "SHA384", Scheme::RSA_PKCS1_SHA384),
    rsa("SIGN-RSA-SHA512", "SHA512", Scheme::RSA_PKCS1_SHA512),
];

/// Curves of keys that sign.
pub(super) const CURVES: [(&str, AlgorithmIdentifier); 4] = [
    ("SECP256R1", alg_id::ECDSA_P256),
    ("SECP384R1", alg_id::ECDSA_P384),
    ("SECP521R1", alg_id::ECDSA_P521),
    ("ED25519", alg_id::ED25519),
];

impl Signature {
    /// Whether this is its name in a list.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name || self.newer == Some(name)
    }

    /// Its names where nothing but signatures is named.
    pub(super) fn short(&self) -> [&'static str; 2] {
        let short = |name: &'static str| name.strip_prefix("SIGN-").unwrap_or(name);
        [short(self.name), short(self.newer.unwrap_or(self.name))]
    }
}

/// What a list permits of them. What rustls has beyond these (ML-DSA) is taken where nothing is taken away.
pub(super) fn permitted(priority: &Priority) -> WebPkiSupportedAlgorithms {
    let all = aws_lc_rs::default_provider().signature_verification_algorithms;
    // Those that the other side may sign with, in that order, and those that certificates may be signed with.
    let spoken: Vec<_> = SIGNATURES.iter().map(|signature| priority.signs(signature)).collect();
    let certified: Vec<_> = SIGNATURES.iter().map(|signature| priority.certifies(signature)).collect();
    let curves: Vec<_> = CURVES.iter().map(|(curve, _)| priority.has_keys(curve)).collect();
    if [&spoken, &certified, &curves].iter().all(|which| which.iter().all(|is| *is)) {
        return all;
    }
    let make = || {
        let fits = |key: AlgorithmIdentifier| {
            let curve = CURVES.iter().position(|(_, known)| *known == key);
            curve.is_none_or(|curve| curves[curve])
        };
        let of = |which: &[bool]| {
            let wanted = |scheme: Scheme| {
                SIGNATURES.iter().zip(which).any(|(signature, is)| *is && signature.scheme == scheme)
            };
            let mapping = all.mapping.iter().filter(move |(scheme, _)| wanted(*scheme));
            let kept = mapping.map(|(scheme, algorithms)| {
                let kept = algorithms.iter().copied().filter(|algorithm| fits(algorithm.public_key_alg_id()));
                (*scheme, kept.collect::<Vec<_>>())
            });
            kept.filter(|(_, kept)| !kept.is_empty()).collect::<Vec<_>>()
        };
        let certificates = of(&certified).into_iter().flat_map(|(_, kept)| kept).collect::<Vec<_>>();
        let mapping: Vec<(Scheme, &'static [_])> =
            of(&spoken).into_iter().map(|(scheme, kept)| (scheme, &*kept.leak())).collect();
        WebPkiSupportedAlgorithms { all: certificates.leak(), mapping: mapping.leak() }
    };
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    *made.entry([spoken.clone(), certified.clone(), curves.clone()]).or_insert_with(make)
}

/// What was permitted so far: rustls wants it for as long as the program runs, so that each choice is made once.
static MADE: Mutex<BTreeMap<[Vec<bool>; 3], WebPkiSupportedAlgorithms>> = Mutex::new(BTreeMap::new());
