//! GSSAPI: a realm of our own, its tickets, and a daemon that demands them over TCP that anybody can read.
//!
//! Kerberos takes its settings from the environment, which tests share: so the client is another process, which runs the same test.

use crate::support::{Daemon, Settings, present, run};
use libvirt_client::{Connect, ErrorKind};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where the client's process finds the daemon, and whether it has a ticket.
const WITH_TICKET: &str = "HV_KERBEROS_WITH_TICKET";
const WITHOUT_TICKET: &str = "HV_KERBEROS_WITHOUT_TICKET";

fn told(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the test has no other way to its other process")]
    std::env::var(variable).ok()
}

/// A realm: its key distribution centre ends with it.
struct Realm {
    directory: tempfile::TempDir,
    centre: Child,
}

impl Realm {
    /// With `fred`, whose password is `geheim`, and libvirt at `localhost`.
    fn start(test: &str) -> Option<Self> {
        let programs = [
            ("/usr/sbin/krb5kdc", "krb5-kdc"),
            ("/usr/sbin/kadmin.local", "krb5-admin-server"),
            ("/usr/bin/kinit", "krb5-user"),
            ("/usr/lib/x86_64-linux-gnu/sasl2/libgssapiv2.so", "libsasl2-modules-gssapi-mit"),
        ];
        if !present(test, &programs) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("realm-").tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let client = format!(
            "[libdefaults]\ndefault_realm = TEST.EXAMPLE\ndns_lookup_realm = false\ndns_lookup_kdc = false\n\
             dns_canonicalize_hostname = false\nrdns = false\nignore_acceptor_hostname = true\n\
             [realms]\nTEST.EXAMPLE = {{\n kdc = 127.0.0.1:{port}\n}}\n"
        );
        std::fs::write(at("krb5.conf"), client).unwrap();
        let server = format!(
            "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n\
             TEST.EXAMPLE = {{\n database_name = {}\n key_stash_file = {}\n acl_file = {}\n}}\n",
            at("principal"),
            at("stash"),
            at("acl")
        );
        std::fs::write(at("kdc.conf"), server).unwrap();
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.env("KRB5_CONFIG", at("krb5.conf")).env("KRB5_KDC_PROFILE", at("kdc.conf"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let done = |mut command: Command| assert!(command.status().unwrap().success(), "{command:?}");
        let mut create = command("/usr/sbin/kdb5_util");
        create.args(["create", "-s", "-P", "master"]);
        done(create);
        for order in [
            "addprinc -pw geheim fred".to_owned(),
            "addprinc -randkey libvirt/localhost".to_owned(),
            format!("ktadd -k {} libvirt/localhost", at("keytab")),
        ] {
            let mut kadmin = command("/usr/sbin/kadmin.local");
            kadmin.args(["-q", &order]);
            done(kadmin);
        }
        let centre = command("/usr/sbin/krb5kdc").arg("-n").spawn().unwrap();
        let mut realm = Self { directory, centre };
        // It says nothing when it has begun; it listens then.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(realm.centre.try_wait().unwrap().is_none(), "the key distribution centre has ended");
            std::thread::yield_now();
        }
        Some(realm)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gets a ticket with the password.
    fn log_in(&self, user: &str, password: &str) {
        let mut kinit = Command::new("/usr/bin/kinit");
        kinit.arg(user).env("KRB5_CONFIG", self.path("krb5.conf")).env("KRB5CCNAME", self.path("tickets"));
        let mut kinit = kinit.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(kinit.stdin.take().unwrap(), "{password}").unwrap();
        assert!(kinit.wait().unwrap().success());
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        let _ = self.centre.kill();
        let _ = self.centre.wait();
    }
}

#[test]
fn a_ticket_opens_a_connection_that_nobody_else_can_read() {
    let test = "a_ticket_opens_a_connection_that_nobody_else_can_read";
    if let Some(uri) = told(WITH_TICKET) {
        return with_a_ticket_everything_works(&uri);
    }
    if let Some(uri) = told(WITHOUT_TICKET) {
        return without_a_ticket_there_is_no_way_in(&uri);
    }
    if !cfg!(feature = "gssapi") {
        println!("not run: {test}: the feature gssapi is off (--features libvirt-client/gssapi)");
        return;
    }
    let Some(daemon) = Daemon::prepare(test) else { return };
    let Some(realm) = Realm::start(test) else { return };
    let (sasl, keytab) = (daemon.path("sasl"), daemon.path("keytab"));
    std::fs::create_dir(&sasl).unwrap();
    std::fs::copy(realm.path("keytab"), &keytab).unwrap();
    daemon.own(&keytab);
    let mechanisms = format!("mech_list: gssapi\nkeytab: {}\n", keytab.display());
    std::fs::write(sasl.join("libvirt.conf"), mechanisms).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(realm.directory.path(), readable).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_tls = 0\nlisten_tcp = 1\ntcp_port = \"{port}\"\nauth_tcp = \"sasl\"\n\
         auth_unix_rw = \"sasl\"\n"
    );
    daemon.run(&Settings {
        config,
        arguments: vec!["--listen".into()],
        environment: vec![
            ("SASL_CONF_PATH".into(), sasl.display().to_string()),
            ("KRB5_CONFIG".into(), realm.path("krb5.conf").display().to_string()),
            ("KRB5_KTNAME".into(), keytab.display().to_string()),
        ],
        ..Settings::default()
    });
    // What goes over the wire, to be looked for words in.
    let (relay, heard) = overheard(port);
    let socket = daemon.path("libvirt/libvirt-sock");
    let client = |which: &str, uri: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("kerberos::{test}"), "--nocapture"]).env(which, uri);
        command.env("KRB5_CONFIG", realm.path("krb5.conf")).env("KRB5CCNAME", realm.path("tickets"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complains = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{complains}");
    };
    let over_tcp = format!("test+tcp://localhost:{relay}/default");
    client(WITHOUT_TICKET, &over_tcp);
    realm.log_in("fred", "geheim");
    client(WITH_TICKET, &over_tcp);
    let words = heard.lock().unwrap().clone();
    let holds = |text: &str| words.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(
        holds("GSSAPI") && !holds("</capabilities>") && !holds("test:///default"),
        "{} bytes",
        words.len()
    );
    let local = format!("test+unix:///default?socket={}", socket.display());
    client(WITH_TICKET, &local);
}

/// A port that passes everything on to another one, and what has passed.
fn overheard(to: u16) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let ears = std::sync::Arc::clone(&heard);
    // It ends with the process, as do those that it starts.
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, std::net::TcpStream::connect(("127.0.0.1", to))) else { return };
            let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
            for (mut from, mut into) in [(near, far), back] {
                let ears = std::sync::Arc::clone(&ears);
                std::thread::spawn(move || {
                    let mut buffer = [0; 65_536];
                    while let Ok(bytes @ 1..) = std::io::Read::read(&mut from, &mut buffer) {
                        ears.lock().unwrap().extend_from_slice(&buffer[..bytes]);
                        if into.write_all(&buffer[..bytes]).is_err() {
                            break;
                        }
                    }
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    (port, heard)
}

fn done(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

async fn open(uri: &str) -> Result<Connect, libvirt_client::Error> {
    let environment = libvirt_client::uri::Environment::default();
    Connect::builder(uri).environment(environment).open_with(run).await
}

fn without_a_ticket_there_is_no_way_in(uri: &str) {
    done(async {
        let error = open(uri).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Auth(_)), "{error}");
        assert!(error.to_string().contains("GSSAPI"), "{error}");
    });
}

fn with_a_ticket_everything_works(uri: &str) {
    done(async {
        let connect = open(uri).await.unwrap();
        assert_eq!(connect.uri().await.unwrap(), "test:///default");
        // Nobody else hears a local socket: nothing is encrypted there.
        assert_eq!(connect.is_encrypted().await.unwrap(), uri.starts_with("test+tcp:"));
        assert!(connect.is_secure().await.unwrap());
        // Several pieces in one direction, then many small ones in both.
        assert!(connect.capabilities().await.unwrap().contains("</capabilities>"));
        let description = "x".repeat(200_000);
        let xml = format!(
            "<domain type='test'><name>large</name><description>{description}</description><memory>1</memory>\
             <os><type>hvm</type></os></domain>"
        );
        let large = connect.define_domain(&xml, Default::default()).await.unwrap();
        assert!(large.xml(Default::default()).await.unwrap().contains(&description));
        let calls = (0..200).map(|_| connect.hostname());
        assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
        connect.close().await.unwrap();
    });
}
