//! `libvirt-test-server`: the in-memory daemon as a program.

use libvirt_protocol::procedure::Release;
use libvirt_server::{Clients, Handle, Mechanism, Sasl, Scope, Server, Tls};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::SignalKind;

const USAGE: &str = "usage: libvirt-test-server [OPTIONS] SOCKET

Serves test:///default out of memory on a unix socket until it is told to end:
  virsh -c 'test+unix:///default?socket=SOCKET' list --all

  --complete       also what libvirt's test driver refuses: contents of volumes, secrets, migration, ...
  --hostname NAME  the name that the host gives itself
  --release X.Y.Z  the release of libvirt that it says it is; 9.0.0 unless told
  --users FILE     demands SASL (SCRAM-SHA-256, SCRAM-SHA-1, PLAIN) of clients, and lets in those whom the file names, each on a line
                   NAME:PASSWORD
  --admin SOCKET   listens for virt-admin too:
                   virt-admin -c 'libvirtd:///system?socket=SOCKET' server-list
  --tcp ADDRESS    listens without encryption too, on an address with its port
  --tls ADDRESS    listens with TLS too; needs --pki
  --pki DIRECTORY  has cacert.pem, servercert.pem and serverkey.pem; who connects with TLS needs a certificate of that authority
  --help           this text

Each address that it listens on is a line, `listening on ADDRESS`; of port 0 with the port that was found. It ends with 0 when it is told
to, with 1 when it cannot listen, and with 2 when a word of its command line is wrong.";

/// What the command line asks for.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
struct Asked {
    help: bool,
    complete: bool,
    hostname: Option<String>,
    release: Option<Release>,
    users: Option<String>,
    admin: Option<String>,
    tcp: Option<String>,
    tls: Option<String>,
    pki: Option<String>,
    socket: String,
}

impl Asked {
    /// Reads the command line; what is wrong with it otherwise.
    fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut sockets = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" => asked.help = true,
                "--complete" => asked.complete = true,
                "--hostname" => asked.hostname = Some(value()?),
                "--release" => asked.release = Some(release(&value()?)?),
                "--users" => asked.users = Some(value()?),
                "--admin" => asked.admin = Some(value()?),
                "--tcp" => asked.tcp = Some(value()?),
                "--tls" => asked.tls = Some(value()?),
                "--pki" => asked.pki = Some(value()?),
                option if option.starts_with('-') => return Err(format!("{option} is no option")),
                _ => sockets.push(argument),
            }
        }
        if asked.help {
            return Ok(asked);
        }
        if asked.tls.is_some() != asked.pki.is_some() {
            return Err("--tls and --pki need each other".to_owned());
        }
        match <[String; 1]>::try_from(sockets) {
            Ok([socket]) => Ok(Self { socket, ..asked }),
            Err(sockets) => Err(format!("one SOCKET is needed, not {}", sockets.len())),
        }
    }
}

fn release(text: &str) -> Result<Release, String> {
    let numbers: Vec<Option<u16>> = text.split('.').map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [Some(major), Some(minor), Some(micro)] => Ok(Release(major, minor, micro)),
        _ => Err(format!("`{text}` is no release like 9.0.0")),
    }
}

/// Who may come in, and with which password. They stand in a file: everybody on this host can read the arguments of a program.
fn users(text: &str) -> Result<Sasl, String> {
    let every = [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain];
    let mut sasl = Sasl::new(every);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        // Not the text: a password stands in it.
        let flaw = || format!("line {} is not NAME:PASSWORD", number + 1);
        let (name, password) = line.split_once(':').ok_or_else(flaw)?;
        sasl = sasl.user(name, password);
    }
    Ok(sasl)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Asked::read(std::env::args().skip(1)) {
        Ok(Asked { help: true, .. }) => say(&mut std::io::stdout(), USAGE, ExitCode::SUCCESS),
        Ok(asked) => serve(asked).await,
        Err(flaw) => {
            say(&mut std::io::stderr(), &format!("libvirt-test-server: {flaw}\n\n{USAGE}"), ExitCode::from(2))
        }
    }
}

async fn serve(asked: Asked) -> ExitCode {
    let Asked { socket, admin, tcp, .. } = asked;
    // virsh misses the end of a save that takes no time.
    let mut builder = Server::builder().job_duration(Duration::from_millis(300));
    if asked.complete {
        builder = builder.scope(Scope::Complete);
    }
    if let Some(hostname) = &asked.hostname {
        builder = builder.hostname(hostname);
    }
    if let Some(release) = asked.release {
        builder = builder.version(release);
    }
    if let Some(file) = &asked.users {
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        match read.and_then(|text| users(&text)) {
            Ok(sasl) => builder = builder.sasl(sasl),
            Err(flaw) => return complain(&format!("libvirt-test-server: {file}: {flaw}")),
        }
    }
    let tls = match (asked.tls, asked.pki) {
        (Some(address), Some(directory)) => match Tls::in_directory(directory.as_ref(), Clients::Known) {
            Ok(tls) => Some((address, tls)),
            Err(error) => return complain(&format!("libvirt-test-server: {error}")),
        },
        _ => None,
    };
    let mut terminated = match tokio::signal::unix::signal(SignalKind::terminate()) {
        Ok(terminated) => terminated,
        Err(error) => return complain(&format!("libvirt-test-server: {error}")),
    };
    let ours = || std::iter::once(&socket).chain(&admin);
    ours().for_each(|path| make_room(path));
    let server = builder.build();
    let handle = server.handle();
    let asked_to_end = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    let listener = match UnixListener::bind(&socket) {
        Ok(listener) => listener,
        Err(error) => return complain(&format!("libvirt-test-server: {socket}: {error}")),
    };
    announce(&socket);
    tokio::select! {
        ended = server.serve(Some(listener)) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("libvirt-test-server: {socket}: {error}")),
        },
        error = listen(&handle, admin.as_deref(), tcp, tls) => complain(&format!("libvirt-test-server: {error}")),
        () = asked_to_end => {
            // They are ours: nobody else could have made them.
            ours().for_each(|path| drop(std::fs::remove_file(path)));
            ExitCode::SUCCESS
        }
    }
}

/// Takes away a socket that nobody listens at any more: that of a server that was killed. What else is in the way is told by who listens.
fn make_room(path: &str) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let is_dead = || {
        let connected = std::os::unix::net::UnixStream::connect(path);
        connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    if is_socket && is_dead() {
        let _ = std::fs::remove_file(path);
    }
}

/// Listens on the other socket and on ports until one of them fails.
async fn listen(
    handle: &Handle,
    admin: Option<&str>,
    tcp: Option<String>,
    tls: Option<(String, Tls)>,
) -> String {
    let administrators = async {
        match admin {
            Some(path) => match UnixListener::bind(path) {
                Ok(listener) => {
                    announce(path);
                    named(path, handle.serve_admin(listener).await)
                }
                Err(error) => named(path, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    let plain = async {
        match &tcp {
            Some(address) => match TcpListener::bind(address).await {
                Ok(listener) => {
                    announce(&port(&listener, address));
                    named(address, handle.serve_tcp(listener).await)
                }
                Err(error) => named(address, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    let encrypted = async {
        match tls {
            Some((address, tls)) => match TcpListener::bind(&address).await {
                Ok(listener) => {
                    announce(&port(&listener, &address));
                    named(&address, handle.serve_tls(listener, tls).await)
                }
                Err(error) => named(&address, Err(error)),
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        error = administrators => error,
        error = plain => error,
        error = encrypted => error,
    }
}

fn named(address: &str, ended: std::io::Result<()>) -> String {
    ended.err().map_or_else(|| format!("{address}: closed"), |error| format!("{address}: {error}"))
}

/// From now on who connects there is let in.
fn announce(address: &str) {
    say(&mut std::io::stdout(), &format!("listening on {address}"), ExitCode::SUCCESS);
}

/// Where it listens, when that was left to the host.
fn port(listener: &TcpListener, wished: &str) -> String {
    listener.local_addr().map_or_else(|_| wished.to_owned(), |address| address.to_string())
}

fn complain(text: &str) -> ExitCode {
    say(&mut std::io::stderr(), text, ExitCode::FAILURE)
}

fn say(to: &mut impl Write, text: &str, then: ExitCode) -> ExitCode {
    // Who does not listen misses it.
    let _ = writeln!(to, "{text}");
    then
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Asked, String> {
        Asked::read(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_line_is_read_whole_or_its_flaw_is_named() {
        let asked =
            read("--complete --users /users --release 11.3.0 --tls [::1]:1 --pki /pki /sock").unwrap();
        assert!(asked.complete && asked.users.as_deref() == Some("/users"));
        assert_eq!((asked.release, asked.socket.as_str()), (Some(Release(11, 3, 0)), "/sock"));
        assert_eq!((asked.tls.as_deref(), asked.pki.as_deref()), (Some("[::1]:1"), Some("/pki")));
        assert!(read("--help").unwrap().help);
        for (words, flaw) in [
            ("", "one SOCKET is needed, not 0"),
            ("/a /b", "one SOCKET is needed, not 2"),
            ("--wrong /a", "--wrong is no option"),
            ("/a --admin", "--admin needs a value"),
            ("--tls 1:1 /a", "--tls and --pki need each other"),
            ("--release 9 /a", "`9` is no release like 9.0.0"),
            ("--user a:hunter2 /a", "--user is no option"),
        ] {
            assert_eq!(read(words), Err(flaw.to_owned()), "{words}");
        }
    }

    #[test]
    fn users_are_read_and_what_is_none_is_named_by_its_line() {
        assert!(users("a:b:c\n\nfred:geheim\n").is_ok());
        assert_eq!(users("a:b\nhunter2\n").err().as_deref(), Some("line 2 is not NAME:PASSWORD"));
    }

    #[test]
    fn every_option_is_in_the_text_of_help() {
        for option in [
            "--complete",
            "--hostname",
            "--release",
            "--users",
            "--admin",
            "--tcp",
            "--tls",
            "--pki",
            "--help",
        ] {
            assert!(USAGE.contains(&format!("\n  {option} ")), "{option}");
        }
    }
}
