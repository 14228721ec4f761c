//! Connection URIs: `driver[+transport]://[user@][host][:port]/path[?parameters]`.

mod environment;

pub use environment::Environment;

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

/// Drivers that a host may have, in the order in which they are looked for when nobody says which one is meant.
const DRIVERS: [&str; 6] = ["qemu", "xen", "ch", "bhyve", "lxc", "vbox"];

/// The driver that leaves it to the daemon which one there is: it is asked to open nothing in particular.
const PROBING: &str = "remote";

/// Parameters that the client takes for itself; all others go to the daemon (`doRemoteOpen` in `remote_driver.c`). `no_sanity` asks to leave
/// out what libvirt looks at in certificates before it connects; nothing of that is looked at here before TLS itself does, so it asks for
/// nothing.
const OURS: [(&str, About); 21] = [
    ("name", About::Other),
    ("mode", About::Way),
    ("proxy", About::Way),
    ("socket", About::Way),
    ("auth", About::Other),
    ("authfile", About::Other),
    ("command", About::Way),
    ("argv", About::Way),
    ("netcat", About::Way),
    ("keyfile", About::Way),
    ("no_verify", About::Way),
    ("no_tty", About::Way),
    ("no_sanity", About::Way),
    ("pkipath", About::Way),
    ("tls_priority", About::Way),
    ("sshauth", About::Way),
    ("known_hosts", About::Way),
    ("known_hosts_verify", About::Way),
    ("debug", About::Other),
    ("pid", About::Other),
    ("port", About::Other),
];

/// What a parameter is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// How to connect.
    Way,
    /// What is opened, or who opens it; or nothing any more.
    Other,
}

fn is_ours(parameter: &str) -> bool {
    OURS.iter().any(|(name, _)| *name == parameter)
}

impl Uri {
    /// What a user means: an alias, a URI, or nothing, which is the default of the surroundings. Where there is none it is whatever the host's
    /// daemon finds, or that of the user; its own modular daemon is asked where no other is there. Settings that the URI does not make itself are added to it (virConnectOpenInternal of libvirt's `libvirt.c`).
    ///
    /// # Errors
    /// When it is no URI, or the settings cannot be read.
    pub fn resolve(name: &str, environment: &Environment) -> Result<Self, Error> {
        let config = environment.config()?;
        let mut meant = config.resolve(name);
        if meant.is_empty() {
            let default = environment.default_uri.as_deref().or(config.default.as_deref());
            meant = default.map_or("", |default| config.resolve(default));
        }
        let mut uri: Self = if meant.is_empty() { Self::present(environment) } else { meant.parse()? };
        let wishes = [("mode", config.mode), ("proxy", config.proxy), ("tls_priority", config.tls_priority)];
        for (parameter, value) in wishes {
            if let Some(value) = value
                && uri.parameter(parameter).is_none()
            {
                uri.parameters.push((parameter.to_owned(), value));
            }
        }
        Ok(uri)
    }

    /// The host's own daemon, or the user's, which finds its driver by itself; of a driver alone where there is no other.
    fn present(environment: &Environment) -> Self {
        let (path, directory) = if environment.user == User::Root {
            ("/system", Some(&environment.run))
        } else {
            ("/session", environment.sockets())
        };
        let exists =
            |name: &str| directory.is_some_and(|at| environment.exists(&at.join("libvirt").join(name)));
        let starts = |driver: &str, is_modular| {
            environment.user != User::Root && environment.daemon(driver, is_modular).is_some()
        };
        let running = || DRIVERS.into_iter().find(|driver| exists(&format!("virt{driver}d-sock")));
        let to_be = || {
            let drivers = || DRIVERS.into_iter().find(|driver| starts(driver, true));
            if starts(PROBING, false) { None } else { drivers() }
        };
        let driver = if exists("libvirt-sock") { None } else { running().or_else(to_be) };
        let driver = driver.unwrap_or(PROBING);
        Self { driver: driver.to_owned(), path: path.to_owned(), ..Self::of_nobody() }
    }

    /// What says nothing: the daemon is to find out by itself.
    pub(crate) fn of_nobody() -> Self {
        Self {
            driver: PROBING.to_owned(),
            named_transport: None,
            user: None,
            host: None,
            port: None,
            path: String::new(),
            parameters: Vec::new(),
        }
    }

    /// The transport: the named one; otherwise TLS to another host and a socket on this one.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.named_transport.unwrap_or(if self.host.is_some() { Transport::Tls } else { Transport::Unix })
    }

    /// The value of a parameter, however its name is spelt.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let named = |known: &&(String, String)| known.0.eq_ignore_ascii_case(name);
        // Of several the last one counts, as in libvirt.
        self.parameters.iter().rev().find(named).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is on: a number other than 0, as libvirt reads it (`virStrToLong_i`). What is no number is an error, for a word
    /// such as `false` would otherwise mean the opposite of what it says.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool, Error> {
        let Some(value) = self.parameter(name) else { return Ok(false) };
        let number: Result<i32, _> = value.trim_start().parse();
        number
            .map(|number| number != 0)
            .map_err(|_| Error::new(ErrorKind::Uri(format!("{name}={value}: there are 0 and 1"))))
    }

    /// A parameter of it that says how to connect.
    pub(crate) fn way(&self) -> Option<&'static str> {
        let ways = OURS.iter().filter(|(_, about)| *about == About::Way);
        ways.map(|(name, _)| *name).find(|name| self.parameter(name).is_some())
    }

    /// The URI that the daemon is asked to open: without transport, host and our own parameters, unless `name` says it.
    #[must_use]
    pub fn remote_name(&self) -> String {
        self.passed_on(|parameter| !is_ours(parameter))
    }

    /// The URI that libvirt's helper at the other end of ssh is told, which finds the daemon's socket by it. Newer ones look at the mode,
    /// older ones, such as that of 9.0.0, pass over it.
    pub(crate) fn helper_name(&self) -> String {
        self.passed_on(|parameter| parameter == "mode" || !is_ours(parameter))
    }

    fn passed_on(&self, is_theirs: impl Fn(&str) -> bool) -> String {
        if let Some(name) = self.parameter("name") {
            return name.to_owned();
        }
        // The daemon is to find out by itself which driver is meant.
        if self.driver == PROBING {
            return String::new();
        }
        let theirs: Vec<String> = self
            .parameters
            .iter()
            .filter(|(name, _)| is_theirs(&name.to_ascii_lowercase()))
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
        format!("{}://{}{query}", self.driver, encode(&self.path))
    }

    /// Whether a user's own daemon is meant, rather than the host's.
    #[must_use]
    pub fn is_session(&self, user: User) -> bool {
        user != User::Root
            && (self.path == "/session" || (self.driver == "test" && self.named_transport.is_some()))
    }

    /// The socket that the URI names or that its driver has.
    ///
    /// # Errors
    /// When a user's own daemon is meant and there is no place for its socket.
    pub fn socket(&self, environment: &Environment, access: Access) -> Result<PathBuf, Error> {
        if let Some(socket) = self.parameter("socket") {
            return Ok(PathBuf::from(socket));
        }
        let suffix = access.suffix();
        let session = self.is_session(environment.user);
        let directory = if session {
            let runtime = environment.sockets().ok_or_else(|| {
                Error::new(ErrorKind::Uri(format!(
                    "{}://{} needs XDG_RUNTIME_DIR or HOME, where a user's daemon has its socket",
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
                // Where nothing runs yet, and a host has the modular daemons alone, it is one of these that is started.
                let program = |is_modular| environment.daemon(&self.driver, is_modular);
                let to_be = || session && program(true).is_some() && program(false).is_none();
                if environment.exists(&modular) || (!environment.exists(&legacy) && to_be()) {
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

/// Who wants to reach a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// The host's administrator, who has no daemon but the host's.
    Root,
    /// Anybody else, who may have a daemon for himself.
    #[default]
    Other,
}

impl User {
    /// The one with a name; without one, not root.
    pub(crate) fn named(name: Option<&str>) -> Self {
        if name == Some("root") { Self::Root } else { Self::Other }
    }
}

/// What is to be done on a connection: daemons have a socket for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everything that the daemon permits.
    #[default]
    Full,
    /// Looking only.
    ReadOnly,
}

impl Access {
    /// What the socket's name ends with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Full => "",
            Self::ReadOnly => "-ro",
        }
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
        Some(match name.to_ascii_lowercase().as_str() {
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
            ("test:///a%3Fb%25/c%20d", "test:///a%3Fb%25/c%20d"),
            // However they are spelt, ours stay here, and the last of two counts.
            ("qemu+SSH://host/system?No_Verify=1&keyFile=x&Foo=b", "qemu:///system?Foo=b"),
            ("test+tcp://host/default?name=test:///x&NAME=test:///y", "test:///y"),
            // The daemon finds out by itself.
            ("remote:///", ""),
            ("remote+ssh://host/", ""),
            ("remote+tls://host/system?no_verify=1", ""),
            ("remote://host/?name=lxc:///system", "lxc:///system"),
        ] {
            assert_eq!(uri(text).remote_name(), name, "{text}");
        }
        let twice = uri("qemu+ssh://host/system?no_verify=1&keyfile=a&NO_VERIFY=0&keyFile=b");
        assert_eq!((twice.is_on("no_verify").unwrap(), twice.parameter("keyfile")), (false, Some("b")));
        assert_eq!(uri("qemu+SSH://host/system").transport(), Transport::Ssh);
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
    fn what_is_meant_by_a_name_depends_on_the_surroundings() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("libvirt");
        std::fs::create_dir(&config).unwrap();
        std::fs::write(
            config.join("libvirt.conf"),
            "uri_aliases = [ 'far=qemu+ssh://h/system' ]\nuri_default = 'far'\nremote_proxy = 'netcat'\ntls_priority = 'SECURE'\n",
        )
        .unwrap();
        let bare = Environment { run: directory.path().join("run"), ..Environment::default() };
        let settled = Environment { config_directory: Some(directory.path().to_owned()), ..bare.clone() };
        let named = |name: &str, environment: &Environment| Uri::resolve(name, environment).unwrap();
        assert_eq!(named("far", &settled).host.as_deref(), Some("h"));
        assert_eq!(named("", &settled).parameter("proxy"), Some("netcat"));
        assert_eq!(named("far", &settled).parameter("tls_priority"), Some("SECURE"), "not passed over");
        assert_eq!(named("qemu+ssh://x/system?proxy=native", &settled).parameter("proxy"), Some("native"));
        let wishing = Environment { default_uri: Some("test:///default".into()), ..settled.clone() };
        assert_eq!(named("", &wishing).driver, "test");
        assert_eq!(named("", &bare).path, "/session");
        assert!(Uri::resolve("far", &bare).is_err(), "nobody says what it means");
        let root = Environment { user: User::Root, ..bare };
        let socket = |uri: &Uri| uri.socket(&root, Access::Full).unwrap();
        assert_eq!(
            (named("", &root).path.as_str(), named("", &root).remote_name().as_str()),
            ("/system", "")
        );
        let run = directory.path().join("run/libvirt");
        assert_eq!(socket(&named("", &root)), run.join("libvirt-sock"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("virtlxcd-sock"), "").unwrap();
        assert_eq!(named("", &root).remote_name(), "lxc:///system", "nobody else is there");
        std::fs::write(run.join("libvirt-sock"), "").unwrap();
        assert_eq!(
            (named("", &root).remote_name(), socket(&named("", &root))),
            (String::new(), run.join("libvirt-sock"))
        );
    }

    #[test]
    fn a_user_of_a_host_with_modular_daemons_alone_gets_one_of_these() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment {
            runtime_directory: Some(directory.path().join("user")),
            daemons: vec![directory.path().to_owned()],
            ..Environment::default()
        };
        let name = || Uri::resolve("", &environment).unwrap().remote_name();
        assert_eq!(name(), "");
        std::fs::write(directory.path().join("virtqemud"), "").unwrap();
        assert_eq!(name(), "qemu:///session");
        std::fs::write(directory.path().join("libvirtd"), "").unwrap();
        assert_eq!(name(), "");
    }

    #[test]
    fn a_file_with_passwords_that_is_named_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let text = |user: &str| {
            format!("[credentials-a]\nauthname={user}\npassword=x\n[auth-libvirt-default]\ncredentials=a\n")
        };
        std::fs::create_dir_all(at("etc/libvirt")).unwrap();
        std::fs::write(at("etc/libvirt/auth.conf"), text("host")).unwrap();
        std::fs::write(at("named"), text("named")).unwrap();
        let environment =
            Environment { etc: at("etc"), config_directory: Some(at("user")), ..Default::default() };
        let user = |uri_text: String, auth_file| {
            let environment = Environment { auth_file, ..environment.clone() };
            let found = environment.credentials(&uri(&uri_text)).map(Option::unwrap);
            found.map(|found| found.user).map_err(|error| format!("{error:#}"))
        };
        let with = |name: &str| format!("qemu:///system?authfile={}", at(name).display());
        assert_eq!(user("qemu:///system".into(), None).unwrap(), "host", "the user has none");
        assert_eq!(user(with("named"), None).unwrap(), "named");
        assert_eq!(user(with("missing"), Some(at("named"))).unwrap(), "named", "the variable goes first");
        for problem in [user(with("missing"), None), user(with("named"), Some(at("missing")))] {
            let problem = problem.unwrap_err();
            assert!(problem.contains(&at("missing").display().to_string()), "{problem}");
        }
    }

    #[test]
    fn a_user_without_a_runtime_directory_has_sockets_in_the_cache() {
        let socket = |environment: &Environment| uri("qemu:///session").socket(environment, Access::Full);
        let none = Environment::default();
        assert!(socket(&none).unwrap_err().to_string().contains("HOME"));
        let cache = Environment { cache_directory: Some("/user/cache".into()), ..none };
        assert_eq!(socket(&cache).unwrap(), PathBuf::from("/user/cache/libvirt/libvirt-sock"));
        let both = Environment { runtime_directory: Some("/run/user/1".into()), ..cache };
        assert_eq!(socket(&both).unwrap(), PathBuf::from("/run/user/1/libvirt/libvirt-sock"));
    }

    #[test]
    fn sockets_are_where_libvirt_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment {
            runtime_directory: Some(directory.path().join("user")),
            run: directory.path().to_owned(),
            ..Environment::default()
        };
        let socket = |text: &str, access| {
            let path = uri(text).socket(&environment, access).unwrap();
            path.strip_prefix(directory.path()).unwrap_or(&path).display().to_string()
        };
        assert_eq!(socket("qemu:///system", Access::Full), "libvirt/libvirt-sock");
        assert_eq!(socket("qemu:///system", Access::ReadOnly), "libvirt/libvirt-sock-ro");
        assert_eq!(socket("qemu:///session", Access::ReadOnly), "user/libvirt/libvirt-sock");
        assert_eq!(socket("qemu:///system?mode=direct", Access::ReadOnly), "libvirt/virtqemud-sock-ro");
        assert_eq!(socket("qemu:///system?socket=/a/b", Access::Full), "/a/b");
        std::fs::create_dir(directory.path().join("libvirt")).unwrap();
        std::fs::write(directory.path().join("libvirt/virtqemud-sock"), "").unwrap();
        assert_eq!(socket("qemu:///system", Access::Full), "libvirt/virtqemud-sock");
        assert_eq!(socket("qemu:///system?mode=legacy", Access::Full), "libvirt/libvirt-sock");
        assert!(uri("qemu:///system?mode=x").socket(&environment, Access::Full).is_err());
    }
}
