//! TLS as libvirtd speaks it: both sides have certificates, and one byte tells the client that it is accepted.

use libvirt_transport::{Privacy, Stream, Transport};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Says that the client's certificate is accepted (`virNetServerClientCreateIdentity` comes before it in libvirtd): clients wait for it.
const ACCEPTED: u8 = 1;

/// Who may come in with TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// Those with a certificate of our authority, as with libvirtd.
    #[default]
    Known,
    /// Everybody (`tls_no_verify_certificate` of libvirtd.conf).
    Anybody,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
#[error("{}: {why}", path.display())]
pub struct TlsError {
    /// The file that cannot be used.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// What the server speaks TLS with; cheap to clone, and all clones change together.
#[derive(Clone)]
pub struct Tls {
    directory: PathBuf,
    clients: Clients,
    /// Replaced as a whole.
    acceptor: Arc<Mutex<TlsAcceptor>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From the files `cacert.pem`, `servercert.pem` and `serverkey.pem` of a directory.
    ///
    /// # Errors
    /// When one of them is missing, or is not what its name says.
    pub fn in_directory(directory: &Path, clients: Clients) -> Result<Self, TlsError> {
        let acceptor = Arc::new(Mutex::new(Self::read(directory, clients)?));
        Ok(Self { directory: directory.to_owned(), clients, acceptor })
    }

    /// Reads the files again: who comes from now on sees what is in them now (`virAdmServerUpdateTlsFiles`).
    ///
    /// # Errors
    /// When they cannot be used; then nothing changes.
    pub fn reload(&self) -> Result<(), TlsError> {
        let acceptor = Self::read(&self.directory, self.clients)?;
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    fn read(directory: &Path, clients: Clients) -> Result<TlsAcceptor, TlsError> {
        let at = |name: &str| directory.join(name);
        let (certificate, key) = (at("servercert.pem"), at("serverkey.pem"));
        let chain = certificates(&certificate)?;
        let private = PrivateKeyDer::from_pem_file(&key).map_err(wrong(&key))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong(&certificate))?;
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Known => {
                let ca = at("cacert.pem");
                let mut roots = RootCertStore::empty();
                for authority in certificates(&ca)? {
                    roots.add(authority).map_err(wrong(&ca))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(wrong(&ca))?)
            }
        };
        let mut config = builder.with_single_cert(chain, private).map_err(wrong(&certificate))?;
        // libvirt's client reads the byte once, when the socket has something: a ticket that came alone would be all it finds
        // (`virNetClientSetTLSSession`).
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Speaks TLS with a client that has connected; the result goes to [`crate::Handle::attach`].
    ///
    /// # Errors
    /// When the client does not finish the handshake, or is not let in.
    pub async fn accept(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<impl Transport> {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = acceptor.accept(stream).await?;
        stream.write_all(&[ACCEPTED]).await?;
        stream.flush().await?;
        Ok(Stream::new(stream, Privacy::Private).encrypting())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(wrong(path))? {
        found if found.is_empty() => Err(wrong(path)("no certificate is in it")),
        found => Ok(found),
    }
}

fn wrong<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> TlsError {
    let path = path.to_owned();
    move |error| TlsError { path: path.clone(), why: error.to_string() }
}
