//! Who may call: until enrolment and TLS arrive, whoever holds the token, from this host.
//!
//! Three checks before any service is reached: the Host header names this host (no rebinding from a browser), an Origin
//! header, if there is one, does too, and the bearer token is right. The token's file is readable by its owner only.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use hv_api::status::to_status;
use hv_core::{Error, ErrorKind};
use hv_runtime::{files, ids};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tonic::body::Body;

/// Who asks, as stored in operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub String);

/// The token of this server. Its text appears in no log.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// How a caller reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The unix socket: no browser gets there, and its clients put all sorts of things into Host.
    Socket,
    /// Loopback.
    Loopback,
}

impl Token {
    /// Reads the token, or makes one.
    pub fn load_or_make(path: &Path) -> std::io::Result<Self> {
        match files::read_private(path) {
            Ok(text) if text.trim().len() >= 32 => Ok(Self(text.trim().into())),
            Ok(_) => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the token is shorter than 32 characters: remove the file, and a new one is made",
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                let token = ids::secret();
                files::replace(path, token.as_bytes())?;
                Ok(Self(token.into()))
            }
            Err(error) => Err(error),
        }
    }

    /// Who holds what the headers carry.
    fn check(&self, via: Via, headers: &HeaderMap) -> Result<Principal, Error> {
        let local = |name: &str| {
            let (host, rest) = match name.strip_prefix('[') {
                Some(v6) => v6.split_once(']').unwrap_or_default(),
                None => name.split_at(name.find(':').unwrap_or(name.len())),
            };
            let port = rest.is_empty() || rest.starts_with(':');
            port && (host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
        };
        let text =
            |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or_default());
        if via == Via::Loopback && text(HOST).is_none_or(|host| !local(host)) {
            return Err(Error::new(ErrorKind::PermissionDenied, "the Host header does not name this host"));
        }
        let foreign = |origin: &str| origin.split_once("://").is_none_or(|(_, host)| !local(host));
        if text(ORIGIN).is_some_and(foreign) {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "calls from pages of other hosts are refused",
            ));
        }
        let given = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(self.0.as_bytes())) {
            Ok(Principal("token:local".to_owned()))
        } else {
            Err(Error::new(ErrorKind::Unauthenticated, "the call carries no valid token")
                .with_hint("hypervisor-ctl reads it from the server's token file by itself; see `hypervisor-ctl config show`"))
        }
    }
}

/// The layer in front of everything.
pub async fn layer(State((token, via)): State<(Token, Via)>, mut request: Request, next: Next) -> Response {
    // Over HTTP/2 the host is in the request's authority.
    if let Some(authority) = request.uri().authority().map(|authority| authority.as_str().to_owned())
        && let Ok(value) = authority.parse()
    {
        request.headers_mut().entry(HOST).or_insert(value);
    }
    match token.check(via, request.headers()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => to_status(&error).into_http::<Body>().map(axum::body::Body::new).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(http::HeaderName, &str)]) -> Result<Principal, ErrorKind> {
        let map =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        Token("secret".into()).check(Via::Loopback, &map).map_err(|error| error.kind)
    }

    #[test]
    fn the_socket_has_no_host() {
        let map = HeaderMap::from_iter([(AUTHORIZATION, "Bearer secret".parse().unwrap())]);
        assert!(Token("secret".into()).check(Via::Socket, &map).is_ok());
        assert!(Token("secret".into()).check(Via::Loopback, &map).is_err());
    }

    #[test]
    fn only_the_token_from_this_host_passes() {
        let good = (AUTHORIZATION, "Bearer secret");
        let here = (HOST, "localhost");
        assert_eq!(check(&[good.clone(), here.clone()]), Ok(Principal("token:local".into())));
        for host in ["localhost", "127.0.0.1:50051", "127.0.0.2:50051", "127.9.8.7", "[::1]:50051", "[::1]"] {
            assert!(check(&[good.clone(), (HOST, host)]).is_ok(), "{host}");
        }
        assert_eq!(check(std::slice::from_ref(&here)), Err(ErrorKind::Unauthenticated));
        assert_eq!(check(&[(AUTHORIZATION, "Bearer Secret"), here.clone()]), Err(ErrorKind::Unauthenticated));
        assert_eq!(check(&[(AUTHORIZATION, "secret"), here.clone()]), Err(ErrorKind::Unauthenticated));
        assert_eq!(check(&[good.clone(), (HOST, "evil.example")]), Err(ErrorKind::PermissionDenied));
        for host in ["127.0.0.1.evil.example", "[::1].evil.example", "128.0.0.1", "[::2]:50051", "[::1", ""] {
            assert_eq!(check(&[good.clone(), (HOST, host)]), Err(ErrorKind::PermissionDenied), "{host}");
        }
        assert!(check(&[good.clone(), here.clone(), (ORIGIN, "http://localhost:8080")]).is_ok());
        for origin in ["https://evil.example", "null"] {
            assert_eq!(
                check(&[good.clone(), here.clone(), (ORIGIN, origin)]),
                Err(ErrorKind::PermissionDenied)
            );
        }
    }

    #[test]
    fn a_token_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/token");
        let made = Token::load_or_make(&path).unwrap();
        assert_eq!(made.0, Token::load_or_make(&path).unwrap().0);
        assert_eq!(files::read_private(&path).unwrap(), &*made.0);
        std::fs::write(&path, "short").unwrap();
        assert!(Token::load_or_make(&path).is_err());
    }
}
