//! TLS: who the daemon is, who we are, and the one byte with which it accepts us.

use super::{Priority, Privacy, Stream, Transport};
use crate::error::{Error, ErrorKind};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsConnector;

/// What TLS is spoken with. Files are read for each connection, so that renewed ones are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of authorities that we trust (`cacert.pem`).
    pub ca: PathBuf,
    /// Certificates that were taken back (`cacrl.pem`); used if the file is there.
    pub revoked: PathBuf,
    /// Our certificate and its key (`clientcert.pem`, `clientkey.pem`); most daemons demand one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the daemon must prove who it is.
    pub verify: Verify,
    /// What of TLS may be spoken (`tls_priority`); what the URI or `libvirt.conf` says holds beside it.
    pub priority: Priority,
}

/// Whether the daemon must prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It must have a certificate of a trusted authority that bears the name we call it by.
    #[default]
    Required,
    /// Anybody will do: whoever is in between can read and change everything. `no_verify=1`.
    Nothing,
}

impl Tls {
    /// The files in a directory under the names of libvirt (`pkipath`).
    #[must_use]
    pub fn in_directory(directory: &Path, verify: Verify) -> Self {
        let at = |name: &str| directory.join(name);
        let identity = (at("clientcert.pem"), at("clientkey.pem"));
        let present = identity.0.exists() || identity.1.exists();
        Self {
            ca: at("cacert.pem"),
            revoked: at("cacrl.pem"),
            identity: present.then_some(identity),
            verify,
            priority: Priority::default(),
        }
    }

    /// The host's own files, below `etc` (`/etc/pki`).
    #[must_use]
    pub fn of_host(etc: &Path, verify: Verify) -> Self {
        let at = |name: &str| etc.join("pki").join(name);
        let identity = (at("libvirt/clientcert.pem"), at("libvirt/private/clientkey.pem"));
        let present = identity.0.exists() || identity.1.exists();
        Self {
            ca: at("CA/cacert.pem"),
            revoked: at("CA/cacrl.pem"),
            identity: present.then_some(identity),
            verify,
            priority: Priority::default(),
        }
    }

    /// Speaks TLS on a connection to a host, and waits until the daemon accepts us.
    ///
    /// # Errors
    /// When a file is missing or unusable, the daemon is not who it should be, or does not accept us.
    pub async fn connect(
        &self,
        host: &str,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Box<dyn Transport>, Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong(format!("{host} is no name that a certificate can bear")))?;
        let connector = TlsConnector::from(Arc::new(self.configuration()?));
        let mut stream = connector.connect(name, stream).await.map_err(|error| said(host, &error))?;
        let privacy = match self.verify {
            Verify::Required => Privacy::Private,
            Verify::Nothing => Privacy::Unproven,
        };
        // After the handshake alone we do not know whether our certificate is accepted: the daemon says so with this byte, before
        // anything else (`virNetTLSContextCheckCertificate`, `virNetServerClientCreateIdentity`).
        match stream.read_u8().await {
            Ok(1) => Ok(Box::new(Stream::new(stream, privacy).encrypting())),
            Ok(_) => Err(wrong(format!("{host} does not accept our certificate"))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(wrong(format!("{host} does not accept our certificate, and closes the connection")))
            }
            Err(error) => Err(said(host, &error)),
        }
    }

    fn configuration(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(self.priority.provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.priority.versions())
            .map_err(|error| wrong(format!("by what is permitted of TLS (tls_priority): {error}")))?;
        let builder = match self.verify {
            Verify::Required => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&self.ca)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| wrong(format!("{}: {error}", self.ca.display())))?;
                }
                let mut verifier =
                    rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
                if self.revoked.exists() {
                    let lists = CertificateRevocationListDer::pem_file_iter(&self.revoked)
                        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                        .map_err(|error| wrong(format!("{}: {error}", self.revoked.display())))?;
                    verifier = verifier.with_crls(lists).allow_unknown_revocation_status();
                }
                let verifier =
                    verifier.build().map_err(|error| wrong(format!("{}: {error}", self.ca.display())))?;
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Verify::Nothing => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| wrong(format!("reading {}: {error}", key.display())))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| {
                    wrong(format!("{} and {}: {error}", certificate.display(), key.display()))
                })?
            }
        };
        // `%NO_TICKETS` holds for everybody: no connection is another's continuation.
        config.resumption = Resumption::disabled();
        config.require_ems |= self.priority.session_hash;
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(wrong(format!("{} holds no certificate", path.display()))),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(format!("reading {}: {error}", path.display()))),
    }
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::Tls(why))
}

fn said(host: &str, error: &io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    // GnuTLS still takes the name in a certificate's subject where there is no other (RFC 6125, 6.4.4); webpki does not, and says no more than
    // that the name is not there.
    if let Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        presented, ..
    })) = cause
        && presented.is_empty()
    {
        return wrong(format!(
            "with {host}: its certificate has no names in the extension subjectAltName, and a name in its subject alone does not count: make one \
             with it (certtool: `dns_name = \"{host}\"` or `ip_address` in the template; openssl: `-addext subjectAltName=DNS:{host}`)"
        ));
    }
    wrong(format!("with {host}: {error}"))
}

/// Takes any certificate; the handshake is still checked to be made by its owner.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_to_resume_a_connection_with() {
        let tls = Tls::in_directory(Path::new("/nowhere"), Verify::Nothing);
        let shown = format!("{:?}", tls.configuration().unwrap().resumption);
        assert_eq!(shown, format!("{:?}", Resumption::disabled()));
        assert_ne!(shown, format!("{:?}", Resumption::default()));
    }
}
