//! Certificates of both ends.

use qemu::{
    Config,
    config::{Tls, TlsRole},
};
use std::{fs, path::Path};

/// An authority, and a server and a client that it vouches for.
pub(crate) fn certificates(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    fs::write(directory.join("ca-cert.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for (name, usage) in [
        ("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
        ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut own = rcgen::CertificateParams::new(vec!["destination.test".to_owned()]).unwrap();
        own.key_usages =
            vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
        own.extended_key_usages = vec![usage];
        own.distinguished_name.push(rcgen::DnType::CommonName, name);
        fs::write(directory.join(format!("{name}-cert.pem")), own.signed_by(&key, &issuer).unwrap().pem())
            .unwrap();
        fs::write(directory.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

/// A client with its credentials and a server with its own, of one authority, for either role of one machine.
pub(crate) fn with_credentials(mut machine: Config, certificates: &Path) -> Config {
    machine.tls = [("tls-client", TlsRole::Client), ("tls-server", TlsRole::Server)]
        .map(|(id, role)| Tls { id: id.into(), directory: certificates.into(), role, verify_peer: true })
        .into();
    machine
}
