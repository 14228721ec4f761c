//! Reaching the server: its unix socket, or loopback; with a bearer token from a private file.
//!
//! Shared by everything that dials: the agent and the command line. Which calls are made is their business.

use hv_runtime::files;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddr {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain HTTP/2 on loopback.
    Loopback(String),
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(uri) => f.write_str(uri),
        }
    }
}

impl FromStr for ServerAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let rest = text.strip_prefix("http://").unwrap_or_default();
        let host = rest.rsplit_once(':').map_or("", |(host, _)| host);
        if matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
            return Ok(Self::Loopback(text.to_owned()));
        }
        Err(format!(
            "`{text}`: the server is reached at unix:PATH, or at http://127.0.0.1:PORT on the same host"
        ))
    }
}

/// Why the server could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The token cannot be read.
    #[error("cannot read the token {path}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token is not one.
    #[error("the token in {0} is not one line of printable text")]
    BadToken(PathBuf),
    /// Nobody answers.
    #[error("{addr}")]
    Connect {
        /// Where.
        addr: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// Dials the server.
#[derive(Clone, Debug)]
pub struct Dialer {
    addr: ServerAddr,
    token: MetadataValue<Ascii>,
}

/// Adds the token to every call. Its text never reaches a log: the value is marked sensitive.
#[derive(Clone, Debug)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Dialer {
    /// Reads the token.
    pub fn new(addr: ServerAddr, token_file: PathBuf) -> Result<Self, DialError> {
        let text = files::read_private(&token_file)
            .map_err(|source| DialError::Token { path: token_file.clone(), source })?;
        let mut token: MetadataValue<Ascii> =
            format!("Bearer {}", text.trim()).parse().map_err(|_| DialError::BadToken(token_file))?;
        token.set_sensitive(true);
        Ok(Self { addr, token })
    }

    /// Where it dials.
    pub fn addr(&self) -> &ServerAddr {
        &self.addr
    }

    /// The interceptor for clients on a dialled channel.
    pub fn bearer(&self) -> Bearer {
        Bearer(self.token.clone())
    }

    /// A new connection.
    pub async fn dial(&self) -> Result<Channel, DialError> {
        // Both forms are what tonic reads: it takes the path of a socket after the scheme.
        let addr = self.addr.to_string();
        let connect = |source| DialError::Connect { addr: addr.clone(), source };
        let endpoint = Endpoint::from_shared(addr.clone()).map_err(connect)?;
        let endpoint =
            endpoint.connect_timeout(CONNECT_WITHIN).http2_keep_alive_interval(Duration::from_secs(20));
        endpoint.connect().await.map_err(connect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_dialled_in_the_clear() {
        assert_eq!("unix:/run/a b.sock".parse(), Ok(ServerAddr::Unix("/run/a b.sock".into())));
        assert_eq!(ServerAddr::Unix("/run/a b.sock".into()).to_string(), "unix:/run/a b.sock");
        for good in ["http://127.0.0.1:50051", "http://localhost:1", "http://[::1]:2"] {
            assert!(good.parse::<ServerAddr>().is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:50051", "127.0.0.1:50051", "http://127.0.0.1.example.org:1", ""] {
            assert!(bad.parse::<ServerAddr>().is_err(), "{bad}");
        }
    }
}
