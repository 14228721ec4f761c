//! Connection URIs: `driver[+transport]://[user@][host][:port]/path[?parameters]`.

use crate::error::{Error, ErrorKind};
use std::path::PathBuf;
use std::str::FromStr;

/// A connection URI, taken apart.
///
/// ```
/// use libvirt_client::uri::{Transport, Uri};
/// let uri: Uri = "qemu+ssh://admin@host:2222/system?no_tty=1&keyfile=/k".parse()?;
/// assert_eq!((uri.driver.as_str(), uri.transport()), ("qemu", Transport::Ssh));
/// assert_eq!((uri.user.as_deref(), uri.port, uri.parameter("keyfile")), (Some("admin"), Some(2222), Some("/k")));
/// # Ok::<(), libvirt_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// What runs the guests: `qemu`, `test`, `lxc` …
    pub driver: String,
    /// The transport, when the URI names one.
    pub named_transport: Option<Transport>,
    /// User on the remote host.
    pub user: Option<String>,
    /// The remote host; brackets of an IPv6 address are not part of it.
    pub host: Option<String>,
    /// Port on the remote host.
    pub port: Option<u16>,
    /// The path, with its leading slash: `/system`, `/session`, `/default` …
    pub path: String,
    /// Parameters in their order, decoded.
    pub parameters: Vec<(String, String)>,
}

/// How the daemon is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A socket of this host.
    Unix,
    /// TCP without encryption.
    Tcp,
    /// TCP with TLS.
    Tls,
    /// The ssh program.
    Ssh,
    /// In libvirt a library; here the ssh program.
    Libssh,
    /// In libvirt another library; here the ssh program.
    Libssh2,
    /// A program that the URI names.
    Ext,
}

/// Parameters that the client takes for itself; all others go to the daemon (`doRemoteOpen` in `remote_driver.c`).
const OURS: [&str; 21] = [
    "name",
    "mode",
    "proxy",
    "socket",
    "auth",
    "authfile",
    "command",
    "argv",
    "netcat",
    "keyfile",
    "no_verify",
    "no_tty",
    "no_sanity",
    "pkipath",
    "tls_priority",
    "sshauth",
    "known_hosts",
    "known_hosts_verify",
    "debug",
    "pid",
    "port",
];

impl Uri {
    /// The transport: the named one; otherwise TLS to another host and a socket on this one.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.named_transport.unwrap_or(if self.host.is_some() { Transport::Tls } else { Transport::Unix })
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The URI that the daemon is asked to open: without transport, host and our own parameters, unless `name` says it.
    #[must_use]
    pub fn remote_name(&self) -> String {
        if let Some(name) = self.parameter("name") {
            return name.to_owned();
        }
        let theirs: Vec<String> = self
            .parameters
            .iter()
            .filter(|(name, _)| !OURS.contains(&name.as_str()))
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
        format!("{}://{}{query}", self.driver, self.path)
    }

    /// Whether a user's own daemon is meant, rather than the host's.
    #[must_use]
    pub fn is_session(&self, root: bool) -> bool {
        !root && (self.path == "/session" || (self.driver == "test" && self.named_transport.is_some()))
    }

    /// The socket that the URI names or that its driver has.
    ///
    /// # Errors
    /// When a user's own daemon is meant and there is no place for its socket.
    pub fn socket(&self, environment: &Environment, read_only: bool) -> Result<PathBuf, Error> {
        if let Some(socket) = self.parameter("socket") {
            return Ok(PathBuf::from(socket));
        }
        let suffix = if read_only { "-ro" } else { "" };
        let session = self.is_session(environment.root);
        let directory = if session {
            let runtime = environment.runtime_directory.clone().ok_or_else(|| {
                Error::new(ErrorKind::Uri(format!(
                    "{}://{} needs XDG_RUNTIME_DIR, where a user's daemon has its socket",
                    self.driver, self.path
                )))
            })?;
            runtime.join("libvirt")
        } else {
            environment.run.join("libvirt")
        };
        // A user's own daemon has no socket for reading only.
        let suffix = if session { "" } else { suffix };
        let modular = directory.join(format!("virt{}d-sock{suffix}", self.driver));
        let legacy = directory.join(format!("libvirt-sock{suffix}"));
        Ok(match self.parameter("mode") {
            Some("direct") => modular,
            Some("legacy") => legacy,
            None | Some("auto") => {
                if environment.exists(&modular) {
                    modular
                } else {
                    legacy
                }
            }
            Some(other) => {
                let problem = format!("mode={other}: there are auto, legacy and direct");
                return Err(Error::new(ErrorKind::Uri(problem)));
            }
        })
    }
}

/// What of the surroundings decides where sockets are.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Whether we are root.
    pub root: bool,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<PathBuf>,
    /// Where the host's daemons have their sockets: `/run`.
    pub run: PathBuf,
}

impl Environment {
    /// The surroundings of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where this library reads the environment")]
    pub fn from_env() -> Self {
        Self {
            root: rustix::process::geteuid().is_root(),
            runtime_directory: std::env::var_os("XDG_RUNTIME_DIR")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            run: PathBuf::from("/run"),
        }
    }

    fn exists(&self, path: &std::path::Path) -> bool {
        path.exists()
    }
}

fn wrong(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Uri(format!("`{text}` is no connection URI: {why}")))
}

impl FromStr for Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| wrong(text, "there is no driver before a colon"))?;
        let (driver, transport) = match scheme.split_once('+') {
            Some((driver, transport)) => (driver, Some(Transport::named(transport).ok_or_else(|| {
                wrong(text, &format!("there is no transport {transport}; there are unix, tcp, tls, ssh, libssh, libssh2, ext"))
            })?)),
            None => (scheme, None),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if driver.is_empty() || !driver.chars().all(valid) {
            return Err(wrong(text, "there is no driver"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash)),
            None => ("", rest),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(decode(user).ok_or_else(|| wrong(text, "the user's name"))?), place),
            None => (None, authority),
        };
        let (host, port) = if let Some(rest) = place.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong(text, "a bracket is not closed"))?;
            (host, rest.strip_prefix(':'))
        } else {
            place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
        };
        let port = match port {
            None | Some("") => None,
            Some(port) => Some(port.parse().map_err(|_| wrong(text, "the port is no number up to 65535"))?),
        };
        let mut parameters = Vec::new();
        for part in query.split(['&', ';']).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => parameters.push((name, value)),
                _ => return Err(wrong(text, &format!("the parameter {part}"))),
            }
        }
        Ok(Self {
            driver: driver.to_owned(),
            named_transport: transport,
            user,
            host: (!host.is_empty()).then(|| host.to_owned()),
            port,
            path: decode(path).ok_or_else(|| wrong(text, "the path"))?,
            parameters,
        })
    }
}

impl Transport {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "unix" => Self::Unix,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "ssh" => Self::Ssh,
            "libssh" => Self::Libssh,
            "libssh2" => Self::Libssh2,
            "ext" => Self::Ext,
            _ => return None,
        })
    }
}

/// `%41` as `A`; `None` when the percent sign is followed by something else or no UTF-8 comes out.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn the_daemon_is_asked_for_what_is_not_ours() {
        for (text, name) in [
            ("qemu:///system", "qemu:///system"),
            ("qemu+unix:///session?socket=/x", "qemu:///session"),
            ("qemu+ssh://root@[fe80::1%25eth0]:22/system?keyfile=a&foo=b%20c", "qemu:///system?foo=b%20c"),
            ("test+tcp://host/default?name=test:///x", "test:///x"),
            ("esx://host/?no_verify=1", "esx:///"),
        ] {
            assert_eq!(uri(text).remote_name(), name, "{text}");
        }
        assert_eq!(uri("qemu://[::1]:16514/system").host.as_deref(), Some("::1"));
        assert_eq!(uri("qemu://h/system").transport(), Transport::Tls);
        assert_eq!(uri("qemu:///system").transport(), Transport::Unix);
    }

    #[test]
    fn what_is_no_uri_says_why() {
        for (text, why) in [
            ("qemu", "no driver before a colon"),
            ("://x", "there is no driver"),
            ("qemu+carrier:///x", "no transport carrier"),
            ("qemu://h:99999/x", "port"),
            ("qemu://[::1/x", "bracket"),
            ("qemu:///x?a=%zz", "parameter"),
        ] {
            let problem = text.parse::<Uri>().unwrap_err().to_string();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn sockets_are_where_libvirt_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment {
            root: false,
            runtime_directory: Some(directory.path().join("user")),
            run: directory.path().to_owned(),
        };
        let socket = |text: &str, read_only| {
            let path = uri(text).socket(&environment, read_only).unwrap();
            path.strip_prefix(directory.path()).unwrap_or(&path).display().to_string()
        };
        assert_eq!(socket("qemu:///system", false), "libvirt/libvirt-sock");
        assert_eq!(socket("qemu:///system", true), "libvirt/libvirt-sock-ro");
        assert_eq!(socket("qemu:///session", true), "user/libvirt/libvirt-sock");
        assert_eq!(socket("qemu:///system?mode=direct", true), "libvirt/virtqemud-sock-ro");
        assert_eq!(socket("qemu:///system?socket=/a/b", false), "/a/b");
        std::fs::create_dir(directory.path().join("libvirt")).unwrap();
        std::fs::write(directory.path().join("libvirt/virtqemud-sock"), "").unwrap();
        assert_eq!(socket("qemu:///system", false), "libvirt/virtqemud-sock");
        assert_eq!(socket("qemu:///system?mode=legacy", false), "libvirt/libvirt-sock");
        assert!(uri("qemu:///system?mode=x").socket(&environment, false).is_err());
    }
}
