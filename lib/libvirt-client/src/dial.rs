//! From a URI to a connection: what to connect to is decided without I/O, then done.

use crate::auth::LOCALHOST;
use crate::error::{Error, ErrorKind};
use crate::transport::{Privacy, Program, Stream, Tls, Transport, Unix};
use crate::uri::{self, Access, Environment, Uri, User};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// Port of plain TCP (`LIBVIRTD_TCP_PORT`).
const TCP_PORT: u16 = 16_509;
/// Port of TLS (`LIBVIRTD_TLS_PORT`).
const TLS_PORT: u16 = 16_514;

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp(String, u16),
    /// TLS on TCP.
    Tls(String, u16, Tls),
    /// A user's own daemon, which is started if it does not run: its socket, its program, and where it has its sockets.
    Session(PathBuf, PathBuf, Option<PathBuf>),
    /// A program with its arguments, and who else may hear what it carries.
    Program(String, Vec<String>, Privacy),
    /// Whatever the program's own function connects to.
    Own(Dialer),
}

/// A function of the program's that connects.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<Dial>);

type Dial = dyn Fn() -> BoxFuture<'static, std::io::Result<Box<dyn Transport>>> + Send + Sync;

impl Dialer {
    pub(crate) fn new<T, F>(dial: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        T: Transport,
        F: Future<Output = std::io::Result<T>> + Send + 'static,
    {
        Self(Arc::new(move || {
            let dialled = dial();
            Box::pin(async { dialled.await.map(|transport| Box::new(transport) as Box<dyn Transport>) })
        }))
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialer")
    }
}

impl PartialEq for Dialer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Dialer {}

impl Target {
    /// What the URI means.
    pub(crate) fn of(uri: &Uri, environment: &Environment, access: Access) -> Result<Self, Error> {
        let host = || uri.host.clone().unwrap_or_else(|| LOCALHOST.to_owned());
        match uri.transport() {
            uri::Transport::Unix if uri.host.is_some() => {
                Err(wrong("a unix socket is on this host; the URI names another"))
            }
            uri::Transport::Unix => {
                let socket = uri.socket(environment, access)?;
                // Who names a socket means what is there.
                let own = uri.is_session(environment.user) && uri.parameter("socket").is_none();
                let modular = socket.file_name().is_some_and(|name| name != "libvirt-sock");
                let daemon = if own { environment.daemon(&uri.driver, modular) } else { None };
                Ok(match daemon {
                    Some(daemon) => Self::Session(socket, daemon, environment.runtime_directory.clone()),
                    None => Self::Unix(socket),
                })
            }
            uri::Transport::Tcp => Ok(Self::Tcp(host(), uri.port.unwrap_or(TCP_PORT))),
            uri::Transport::Ssh | uri::Transport::Libssh | uri::Transport::Libssh2 => Ok(Self::Program(
                uri.parameter("command").unwrap_or("ssh").to_owned(),
                ssh(uri, host(), access)?,
                if unchecked(uri)? { Privacy::Unproven } else { Privacy::Private },
            )),
            uri::Transport::Ext => {
                let command =
                    uri.parameter("command").ok_or_else(|| wrong("ext needs the parameter command"))?;
                let arguments = uri.parameters.iter().filter(|(name, _)| name == "argv");
                let arguments = arguments.map(|(_, value)| value.clone()).collect();
                // What it goes over nobody knows: a script with netcat would be bare TCP. libvirt takes none for secure either.
                Ok(Self::Program(command.to_owned(), arguments, Privacy::Open))
            }
            uri::Transport::Tls => Ok(Self::Tls(host(), uri.port.unwrap_or(TLS_PORT), environment.tls(uri)?)),
        }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Transport>, Error> {
        let named = |what: String| {
            move |error: std::io::Error| {
                Error::from(std::io::Error::new(error.kind(), format!("connecting to {what}: {error}")))
            }
        };
        Ok(match self {
            Self::Unix(path) => {
                Box::new(Unix::connect(path).await.map_err(named(path.display().to_string()))?)
            }
            Self::Session(path, daemon, runtime) => {
                let stream = match Unix::connect(path).await {
                    Ok(stream) => Ok(stream),
                    Err(error) if absent(&error) => start(path, daemon, runtime.as_deref()).await,
                    Err(error) => Err(error),
                };
                Box::new(stream.map_err(named(path.display().to_string()))?)
            }
            Self::Tcp(host, port) => Box::new(Stream::new(tcp(host, *port).await?, Privacy::Open)),
            Self::Tls(host, port, tls) => tls.connect(host, tcp(host, *port).await?).await?,
            Self::Program(program, arguments, privacy) => {
                Box::new(Program::start(program, arguments, *privacy)?)
            }
            Self::Own(dialer) => (dialer.0)().await?,
        })
    }
}

async fn tcp(host: &str, port: u16) -> Result<tokio::net::TcpStream, Error> {
    let stream = tokio::net::TcpStream::connect((host, port)).await.map_err(|error| {
        Error::from(std::io::Error::new(error.kind(), format!("connecting to {host}:{port}: {error}")))
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether nobody listens at a socket.
fn absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// Starts a user's own daemon, as libvirt's client does: it ends by itself when nobody has used it for two minutes.
async fn start(
    socket: &std::path::Path,
    daemon: &std::path::Path,
    runtime: Option<&std::path::Path>,
) -> std::io::Result<Unix> {
    let mut command = tokio::process::Command::new(daemon);
    command.args(["--timeout=120", "--daemon"]).stdin(std::process::Stdio::null());
    if let Some(runtime) = runtime {
        command.env("XDG_RUNTIME_DIR", runtime);
    }
    // It returns when its sockets are there. When two start at once one of them fails, and finds the other's, which may not be there yet.
    let output = command.output().await?;
    for _ in 1..ATTEMPTS {
        match Unix::connect(socket).await {
            Err(error) if absent(&error) => tokio::time::sleep(PAUSE).await,
            connected => return connected,
        }
    }
    match Unix::connect(socket).await {
        Err(error) if absent(&error) && !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let text = format!("{} did not start: {}", daemon.display(), said.trim());
            Err(std::io::Error::new(error.kind(), text))
        }
        connected => connected,
    }
}

/// How often the socket of a daemon is looked for that somebody has started, and the pause in between, as libvirt does it
/// (`virNetSocketNewConnectUNIX`).
const ATTEMPTS: u32 = 500;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::Uri(why.to_owned()))
}

/// Arguments of ssh. The user's own configuration, keys, agent and known hosts apply, because it is the user's own ssh.
fn ssh(uri: &Uri, host: String, access: Access) -> Result<Vec<String>, Error> {
    let mut arguments: Vec<String> = ["-T", "-e", "none"].map(str::to_owned).into();
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.extend([option.to_owned(), value]);
        }
    };
    add("-p", uri.port.map(|port| port.to_string()));
    add("-l", uri.user.clone());
    add("-i", uri.parameter("keyfile").map(str::to_owned));
    add("-o", uri.parameter("known_hosts").map(|file| format!("UserKnownHostsFile={file}")));
    add("-o", unchecked(uri)?.then(|| "StrictHostKeyChecking=no".to_owned()));
    let verify = match uri.parameter("known_hosts_verify") {
        None | Some("normal" | "ignore") => None,
        Some("auto") => Some("StrictHostKeyChecking=accept-new".to_owned()),
        Some(other) => {
            return Err(wrong(&format!("known_hosts_verify={other}: there are normal, auto and ignore")));
        }
    };
    add("-o", verify);
    for option in methods(uri)? {
        add("-o", Some(option));
    }
    add("-o", uri.is_on("no_tty")?.then(|| "BatchMode=yes".to_owned()));
    arguments.extend([
        "--".to_owned(),
        host,
        "sh".to_owned(),
        "-c".to_owned(),
        quoted(&remote(uri, access)?),
    ]);
    Ok(arguments)
}

/// How to prove to sshd who we are, as `sshauth` says it (libvirt's `virnetsocket.c`): methods in the order in which they are
/// tried. As in libvirt it is a parameter of the transports that are libraries there, and of no meaning to ssh itself.
fn methods(uri: &Uri) -> Result<Vec<String>, Error> {
    let Some(wished) = uri.parameter("sshauth").filter(|_| uri.transport() != uri::Transport::Ssh) else {
        return Ok(Vec::new());
    };
    let mut preferred: Vec<&str> = Vec::new();
    let (mut agent, mut key) = (false, false);
    for method in wished.split(',') {
        let name = match method.to_ascii_lowercase().as_str() {
            "agent" => {
                agent = true;
                "publickey"
            }
            "privkey" => {
                key = true;
                "publickey"
            }
            "password" => "password",
            "keyboard-interactive" => "keyboard-interactive",
            other => {
                let known = "agent, privkey, password, keyboard-interactive";
                return Err(wrong(&format!("sshauth={other}: there are {known}")));
            }
        };
        if !preferred.contains(&name) {
            preferred.push(name);
        }
    }
    let mut options = vec![format!("PreferredAuthentications={}", preferred.join(","))];
    match (agent, key) {
        // Of keys those in files alone, or those of the agent alone.
        (false, true) => options.push("IdentityAgent=none".to_owned()),
        (true, false) => options.push("IdentityFile=none".to_owned()),
        _ => {}
    }
    Ok(options)
}

/// Whether ssh is told not to check who the host is.
fn unchecked(uri: &Uri) -> Result<bool, Error> {
    Ok(uri.is_on("no_verify")? || uri.parameter("known_hosts_verify") == Some("ignore"))
}

/// What the remote shell runs: libvirt's helper, which finds the right socket there, or netcat on a socket that we name
/// (`virNetClientSSHHelperCommand` in `virnetclient.c`).
fn remote(uri: &Uri, access: Access) -> Result<String, Error> {
    let helper = format!(
        "exec virt-ssh-helper {}{}",
        if access == Access::ReadOnly { "-r " } else { "" },
        quoted(&uri.helper_name())
    );
    let netcat = quoted(uri.parameter("netcat").unwrap_or("nc"));
    let suffix = access.suffix();
    // Which of them is there cannot be seen from here: it is the daemon of all drivers unless something else is said.
    let daemon = match uri.parameter("mode") {
        None | Some("auto" | "legacy") => "libvirt".to_owned(),
        Some("direct") => quoted(&format!("virt{}d", uri.driver)),
        Some(other) => return Err(wrong(&format!("mode={other}: there are auto, legacy and direct"))),
    };
    let socket = match uri.parameter("socket") {
        Some(socket) => quoted(socket),
        None if uri.is_session(User::named(uri.user.as_deref())) => {
            format!("\"${{XDG_RUNTIME_DIR:-$HOME/.cache}}\"/libvirt/{daemon}-sock")
        }
        None => format!("/var/run/libvirt/{daemon}-sock{suffix}"),
    };
    // Some netcats wait after the end of their input, unless told not to; others do not know the option.
    let netcat = format!(
        "if {netcat} -h 2>&1 | grep -q -e ' -q'; then exec {netcat} -q0 -U {socket}; else exec {netcat} -U {socket}; fi"
    );
    // Older helpers, such as that of 9.0.0, take no socket; and who says where netcat is wants netcat.
    let is_netcat = uri.parameter("socket").or(uri.parameter("netcat")).is_some();
    match uri.parameter("proxy").unwrap_or("auto") {
        "native" if uri.parameter("netcat").is_some() => {
            Err(wrong("netcat is the other proxy, and not the native one"))
        }
        "native" => Ok(helper),
        "netcat" => Ok(netcat),
        "auto" if is_netcat => Ok(netcat),
        "auto" => {
            Ok(format!("if command -v virt-ssh-helper >/dev/null 2>&1; then {helper}; else {netcat}; fi"))
        }
        other => Err(wrong(&format!("proxy={other}: there are auto, native and netcat"))),
    }
}

/// One word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_' | ':' | '=' | ',');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, access: Access) -> Result<Target, Error> {
        let environment =
            Environment { user: User::Root, run: PathBuf::from("/nothing"), ..Environment::default() };
        Target::of(&uri.parse().unwrap(), &environment, access)
    }

    fn script(uri: &str) -> String {
        match target(uri, Access::Full).unwrap() {
            Target::Program(program, arguments, _) => format!("{program} {}", arguments.join(" ")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_users_own_ssh_is_run_with_the_uris_wishes() {
        let Target::Program(program, arguments, privacy) =
            target("qemu+ssh://admin@h:2222/system?keyfile=/k y&no_tty=1&no_verify=1", Access::ReadOnly)
                .unwrap()
        else {
            panic!("no program");
        };
        assert_eq!((program.as_str(), privacy), ("ssh", Privacy::Unproven));
        let expected = ["-T", "-e", "none", "-p", "2222", "-l", "admin", "-i", "/k y"];
        assert_eq!(arguments[..9], expected);
        assert_eq!(arguments[9..13], ["-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]);
        assert_eq!(arguments[13..17], ["--", "h", "sh", "-c"]);
        assert!(arguments[17].contains("virt-ssh-helper -r qemu:///system"), "{}", arguments[17]);
        assert!(arguments[17].contains("/var/run/libvirt/libvirt-sock-ro"), "{}", arguments[17]);
        assert!(script("qemu+libssh2://h/system?command=/my/ssh").starts_with("/my/ssh -T"));
    }

    #[test]
    fn the_proxy_at_the_other_end_is_libvirts_helper_unless_netcat_is_meant() {
        let (helper, netcat) = ("virt-ssh-helper", "nc -U /");
        for (uri, runs, does_not) in [
            ("qemu+ssh://h/system", helper, "nothing"),
            ("qemu+ssh://h/system", netcat, "nothing"),
            ("qemu+ssh://h/system?proxy=native", helper, netcat),
            ("qemu+ssh://h/system?proxy=netcat", netcat, helper),
            ("qemu+ssh://h/system?netcat=/my/nc", "/my/nc -U /", helper),
            ("qemu+ssh://h/system?proxy=auto&netcat=/my/nc", "/my/nc -U /", helper),
            ("qemu+ssh://h/system?socket=/my/sock", "nc -U /my/sock", helper),
            // It opens what the daemon is asked to open, by the socket that is meant.
            ("test+ssh://h/default?name=qemu:///session", "virt-ssh-helper qemu:///session;", "test:"),
            ("qemu+ssh://h/system?mode=direct", "qemu:///system?mode=direct", "nothing"),
            ("qemu+ssh://h/system?color=red&mode=direct", "qemu:///system?color=red&mode=direct", "nothing"),
        ] {
            let script = script(uri);
            assert!(script.contains(runs) && !script.contains(does_not), "{uri}: {script}");
        }
    }

    #[test]
    fn ways_to_log_in_are_told_to_ssh_where_libvirt_has_a_library() {
        let options = |sshauth: &str| script(&format!("qemu+libssh2://h/system?sshauth={sshauth}"));
        for (sshauth, told) in [
            ("password,keyboard-interactive", "-o PreferredAuthentications=password,keyboard-interactive --"),
            ("privkey,password", "-o PreferredAuthentications=publickey,password -o IdentityAgent=none --"),
            ("AGENT", "-o PreferredAuthentications=publickey -o IdentityFile=none --"),
            ("agent,password,privkey", "-o PreferredAuthentications=publickey,password --"),
        ] {
            let options = options(sshauth);
            assert!(options.contains(told), "{sshauth}: {options}");
        }
        assert!(!script("qemu+ssh://h/system?sshauth=password").contains("Preferred"), "ssh knows by itself");
    }

    #[test]
    fn the_socket_at_the_other_end_is_that_of_the_mode() {
        for (uri, socket) in [
            ("qemu+ssh://h/system", "-U /var/run/libvirt/libvirt-sock;"),
            ("qemu+ssh://h/system?mode=legacy", "-U /var/run/libvirt/libvirt-sock;"),
            ("qemu+ssh://h/system?mode=direct", "-U /var/run/libvirt/virtqemud-sock;"),
            ("qemu+ssh://h/session?mode=direct", "\"/libvirt/virtqemud-sock;"),
        ] {
            assert!(script(uri).contains(socket), "{uri}: {}", script(uri));
        }
    }

    #[test]
    fn a_users_daemon_is_the_one_that_the_host_has() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let mut environment = Environment {
            runtime_directory: Some(at("run")),
            daemons: vec![place.path().to_owned()],
            ..Environment::default()
        };
        let target = |environment: &Environment| {
            let uri = "qemu:///session".parse().unwrap();
            match Target::of(&uri, environment, Access::Full).unwrap() {
                Target::Session(socket, program, _) => Some((socket, program)),
                Target::Unix(_) => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(target(&environment), None, "there is none to be started");
        std::fs::write(at("virtqemud"), "").unwrap();
        let modular = (at("run/libvirt/virtqemud-sock"), at("virtqemud"));
        assert_eq!(target(&environment), Some(modular));
        std::fs::write(at("libvirtd"), "").unwrap();
        let legacy = at("run/libvirt/libvirt-sock");
        assert_eq!(target(&environment), Some((legacy.clone(), at("libvirtd"))));
        environment.daemon = Some(at("mine"));
        assert_eq!(target(&environment), Some((legacy, at("mine"))));
    }

    #[test]
    fn what_a_program_goes_over_nobody_knows() {
        let privacy = |uri: &str| match target(uri, Access::Full).unwrap() {
            Target::Program(_, _, privacy) => privacy,
            other => panic!("{other:?}"),
        };
        assert_eq!(privacy("qemu+ext:///system?command=x"), Privacy::Open);
        assert_eq!(privacy("qemu+ssh://h/system"), Privacy::Private);
        assert_eq!(privacy("qemu+ssh://h/system?no_verify=0"), Privacy::Private);
        assert_eq!(privacy("qemu+ssh://h/system?no_verify=1"), Privacy::Unproven);
        assert_eq!(privacy("qemu+ssh://h/system?known_hosts_verify=ignore"), Privacy::Unproven);
    }

    #[test]
    fn a_hostile_word_stays_a_word() {
        for word in ["", "plain", "it's", "a b;c", "$(touch /x)`id`", "\\'\"\n*", "-n"] {
            let shell = std::process::Command::new("sh")
                .args(["-c", &format!("printf '%s|' {} end", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), format!("{word}|end|"));
        }
        let script = script("qemu+ssh://h/system?socket=/a%3Bb");
        assert!(script.contains(r"-U '\''/a;b'\''"), "{script}");
    }

    #[test]
    fn what_cannot_be_dialled_says_so() {
        assert_eq!(target("test+tcp://h/default", Access::Full).unwrap(), Target::Tcp("h".into(), 16_509));
        let here = target("test+tcp:///default", Access::Full).unwrap();
        assert_eq!(here, Target::Tcp("localhost".into(), 16_509), "no host is this one");
        for (uri, why) in [
            ("qemu+unix://h/system", "this host"),
            ("qemu+ext:///system", "command"),
            ("qemu+ssh://h/system?proxy=x", "proxy=x"),
            ("qemu+ssh://h/system?proxy=native&netcat=nc", "netcat"),
            ("qemu+libssh://h/system?sshauth=eyes", "sshauth=eyes"),
            ("qemu+ssh://h/system?known_hosts_verify=never", "known_hosts_verify=never"),
            ("qemu+ssh://h/system?mode=x", "mode=x"),
            ("qemu://h/system?tls_priority=NORMAL:%2BNULL", "+NULL"),
            ("qemu://h/system?no_verify=false", "no_verify=false"),
            ("qemu+ssh://h/system?no_verify=", "no_verify="),
            ("qemu+ssh://h/system?no_tty=yes", "no_tty=yes"),
        ] {
            let problem = target(uri, Access::Full).unwrap_err().to_string();
            assert!(problem.contains(why), "{uri}: {problem}");
        }
    }
}
