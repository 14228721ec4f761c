//! Certificates of the tests.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use std::path::{Path, PathBuf};

/// An authority of our own.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a certificate and its key.
    pub(crate) fn issue(
        &self,
        names: &[&str],
        common: &str,
        certificate: &Path,
        key: &Path,
        expired: Expired,
    ) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.serial_number = Some(SerialNumber::from(SERIAL));
        if expired == Expired::Yes {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let private = KeyPair::generate().unwrap();
        std::fs::write(certificate, params.signed_by(&private, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(key, private.serialize_pem()).unwrap();
    }

    /// A directory as `pkipath` wants it, for a client.
    pub(crate) fn client(&self, directory: PathBuf, common: Option<&str>) -> PathBuf {
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("cacert.pem"), &self.pem).unwrap();
        if let Some(common) = common {
            let (certificate, key) = (directory.join("clientcert.pem"), directory.join("clientkey.pem"));
            self.issue(&[], common, &certificate, &key, Expired::No);
        }
        directory
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Yes,
    No,
}

/// Number of every certificate here.
pub(crate) const SERIAL: u64 = 77;
