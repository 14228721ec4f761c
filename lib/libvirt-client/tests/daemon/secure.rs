//! TLS, TCP and SASL against libvirt's own daemon; a user's own daemon that is started when it is needed.

use crate::authority::{Authority, Expired, SERIAL};
use crate::support::{Daemon, Settings, present, run};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::transport::{Tls, Verify};
use libvirt_client::uri::Environment;
use libvirt_client::{Connect, Credentials, Error, ErrorKind, Options};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A list that takes a certificate back.
fn revoke(ca: &Authority, serial: u64) -> String {
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: rcgen::date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2096, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&ca.issuer).unwrap().pem().unwrap()
}

/// A port that nobody has.
pub(crate) fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A daemon that listens with TLS.
fn listen(daemon: &Daemon, ca: &Authority, names: &[&str], expired: Expired, more: &str) -> u16 {
    let at = |name: &str| daemon.path(name);
    std::fs::write(at("ca.pem"), &ca.pem).unwrap();
    ca.issue(names, "the daemon", &at("server.pem"), &at("server.key"), expired);
    for name in ["ca.pem", "server.pem", "server.key"] {
        daemon.own(&at(name));
    }
    let port = port();
    let config = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_tls = 1\nlisten_tcp = 0\ntls_port = \"{port}\"\nauth_tls = \"none\"\n\
         ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\ntls_no_sanity_certificate = 1\n{more}",
        at("ca.pem").display(),
        at("server.pem").display(),
        at("server.key").display(),
    );
    daemon.run(&Settings { config, arguments: vec!["--listen".into()], ..Settings::default() });
    port
}

async fn open(daemon: &Daemon, uri: &str) -> Result<Connect, Error> {
    daemon.builder(uri).open_with(run).await
}

fn refusal(result: Result<Connect, Error>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn tls_lets_in_who_is_trusted_and_trusts_who_is_named() {
    let Some(daemon) = Daemon::prepare("tls_lets_in_who_is_trusted_and_trusts_who_is_named") else { return };
    let (ca, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let port = listen(
        &daemon,
        &ca,
        &["127.0.0.1", "localhost"],
        Expired::No,
        "tls_allowed_dn_list = [\"CN=good\"]\n",
    );
    let good = ca.client(daemon.path("good"), Some("good"));
    let uri = |host: &str, pki: &Path, more: &str| {
        format!("test+tls://{host}:{port}/default?pkipath={}{more}", pki.display())
    };
    for host in ["127.0.0.1", "localhost"] {
        let connect = open(&daemon, &uri(host, &good, "")).await.unwrap();
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test");
        assert!(connect.is_encrypted().await.unwrap() && connect.is_secure().await.unwrap());
        // More than a record of TLS, on a lane of its own.
        assert!(connect.capabilities().await.unwrap().len() > 1000);
    }
    // Not on the daemon's list: only the byte after the handshake tells.
    let other = ca.client(daemon.path("other"), Some("other"));
    assert!(refusal(open(&daemon, &uri("127.0.0.1", &other, "")).await).contains("accept our certificate"));
    // No certificate, and one of another authority.
    let none = ca.client(daemon.path("none"), None);
    refusal(open(&daemon, &uri("127.0.0.1", &none, "")).await);
    let foreign = stranger.client(daemon.path("foreign"), Some("good"));
    std::fs::write(foreign.join("cacert.pem"), &ca.pem).unwrap();
    refusal(open(&daemon, &uri("127.0.0.1", &foreign, "")).await);
    // An authority that we do not trust; and the same when nobody wants to know.
    let doubting = ca.client(daemon.path("doubting"), Some("good"));
    std::fs::write(doubting.join("cacert.pem"), &stranger.pem).unwrap();
    let doubt = refusal(open(&daemon, &uri("127.0.0.1", &doubting, "")).await);
    assert!(doubt.contains("UnknownIssuer"), "{doubt}");
    open(&daemon, &uri("127.0.0.1", &doubting, "&no_verify=1")).await.unwrap();
    refusal(open(&daemon, &uri("127.0.0.1", &doubting, "&no_verify=0")).await);
    // A file that is not there, and one that holds nothing.
    let missing = daemon.path("missing");
    assert!(refusal(open(&daemon, &uri("127.0.0.1", &missing, "")).await).contains("cacert.pem"));
    std::fs::write(doubting.join("cacert.pem"), "nothing").unwrap();
    assert!(refusal(open(&daemon, &uri("127.0.0.1", &doubting, "")).await).contains("no certificate"));
    // A list of what was taken back: the daemon's certificate is not on it, then it is.
    std::fs::write(good.join("cacrl.pem"), revoke(&ca, SERIAL + 1)).unwrap();
    open(&daemon, &uri("127.0.0.1", &good, "")).await.unwrap();
    std::fs::write(good.join("cacrl.pem"), revoke(&ca, SERIAL)).unwrap();
    let revoked = refusal(open(&daemon, &uri("127.0.0.1", &good, "")).await);
    assert!(revoked.contains("Revoked"), "{revoked}");
    std::fs::remove_file(good.join("cacrl.pem")).unwrap();
    // Half an identity is no identity, and is not passed over.
    std::fs::remove_file(good.join("clientkey.pem")).unwrap();
    assert!(refusal(open(&daemon, &uri("127.0.0.1", &good, "")).await).contains("clientkey.pem"));
}

#[tokio::test]
async fn a_daemon_with_another_name_or_an_old_certificate_is_refused() {
    let test = "a_daemon_with_another_name_or_an_old_certificate_is_refused";
    for (names, expired, why) in [
        (&["elsewhere.example"][..], Expired::No, "not valid for name"),
        (&["127.0.0.1"], Expired::Yes, "expired"),
        // With a name in its subject, and none where it counts.
        (&[], Expired::No, "no names in the extension subjectAltName"),
    ] {
        let Some(daemon) = Daemon::prepare(test) else { return };
        let ca = Authority::new("ours");
        let port = listen(&daemon, &ca, names, expired, "");
        let pki = ca.client(daemon.path("client"), Some("me"));
        let uri = format!("test+tls://127.0.0.1:{port}/default");
        let tls = |verify| Tls::in_directory(&pki, verify);
        let opened = daemon.builder(&uri).tls(tls(Verify::Required)).open_with(run).await;
        let refused = refusal(opened);
        assert!(refused.contains(why), "{refused}");
        daemon.builder(&uri).tls(tls(Verify::Nothing)).open_with(run).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_host_permits_of_tls_is_spoken_and_nothing_else() {
    let Some(daemon) = Daemon::prepare("what_a_host_permits_of_tls_is_spoken_and_nothing_else") else {
        return;
    };
    let ca = Authority::new("ours");
    let older = "tls_priority = \"NORMAL:-VERS-TLS1.3\"\n";
    let port = listen(&daemon, &ca, &["127.0.0.1"], Expired::No, older);
    let pki = ca.client(daemon.path("client"), Some("me"));
    let uri = format!("test+tls://127.0.0.1:{port}/default?pkipath={}", pki.display());
    std::fs::create_dir_all(daemon.path("settings/libvirt")).unwrap();
    let environment = Environment { config_directory: Some(daemon.path("settings")), ..daemon.environment() };
    let open = async |uri: &str| Connect::builder(uri).environment(environment.clone()).open_with(run).await;
    let permit = |list: &str| {
        let text = format!("tls_priority = \"{list}\"\n");
        std::fs::write(daemon.path("settings/libvirt/libvirt.conf"), text).unwrap();
    };
    for (list, opens) in [
        ("NORMAL", true),
        ("@LIBVIRT,SYSTEM", true),
        ("SECURE128:-VERS-TLS1.3:-AES-128-GCM", true),
        ("NORMAL:-VERS-ALL:+VERS-TLS1.3", false),
        // The certificates of these tests have keys of 256 bits.
        ("SECURE256", false),
    ] {
        permit(list);
        let error = open(&uri).await.err();
        assert_eq!(error.is_none(), opens, "{list}: {error:?}");
    }
    permit("NORMAL:+NULL");
    let error = open(&uri).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Uri(_)) && error.to_string().contains("+NULL"), "{error}");
    // What the URI says comes first.
    open(&format!("{uri}&tls_priority=NORMAL")).await.unwrap();
}

/// What GnuTLS' settings take away, they take away from libvirt's own client and from this one.
#[tokio::test]
async fn what_a_host_takes_from_everybody_nobody_speaks() {
    let test = "what_a_host_takes_from_everybody_nobody_speaks";
    let Some(daemon) = Daemon::prepare(test) else { return };
    if !present(test, &[("/usr/bin/virsh", "libvirt-clients")]) {
        return;
    }
    let ca = Authority::new("ours");
    let port = listen(
        &daemon,
        &ca,
        &["127.0.0.1"],
        Expired::No,
        "tls_priority = \"NORMAL:-VERS-ALL:+VERS-TLS1.2\"\n",
    );
    let pki = ca.client(daemon.path("client"), Some("me"));
    let uri = format!("test+tls://127.0.0.1:{port}/default?pkipath={}", pki.display());
    let settings = daemon.path("gnutls");
    let environment = Environment { gnutls: Some(settings.clone()), ..daemon.environment() };
    let given = "[global]\noverride-mode = allowlist\n[overrides]\nsecure-hash = sha256\nsecure-sig = ecdsa-sha256\n\
                 secure-sig-for-cert = ecdsa-sha256\nenabled-curve = secp256r1\ntls-enabled-group = secp256r1\ntls-enabled-mac = aead\n\
                 tls-enabled-cipher = aes-128-gcm\ntls-enabled-kx = ecdhe-ecdsa\nenabled-version = tls1.2\n";
    let taken = |words: &str| format!("[overrides]\n{words}\n");
    for (text, opens) in [
        (taken("disabled-version = TLS1.3"), true),
        // Which is all that this daemon speaks.
        (taken("# Of the host.\n  disabled-version = tls1.2"), false),
        (taken("tls-disabled-kx = ecdhe-rsa"), true),
        (taken("tls-disabled-kx = ecdhe-ecdsa"), false),
        (taken("insecure-hash = sha384"), true),
        // The certificates of these tests are signed with it.
        (taken("insecure-hash = sha256"), false),
        (taken("tls-disabled-cipher = unknown\nunknown = aead"), true),
        (given.to_owned(), true),
        (given.replace("aes-128-gcm", "aes-128-cbc"), false),
        (given.replace("enabled-version = tls1.2", "enabled-version = tls1.3"), false),
    ] {
        std::fs::write(&settings, &text).unwrap();
        // Where things are given, GnuTLS makes a list of them, and holds those to it who ask for it.
        let uri =
            if text.contains("allowlist") { format!("{uri}&tls_priority=@SYSTEM") } else { uri.clone() };
        let ours = Connect::builder(&uri).environment(environment.clone()).open_with(run).await.err();
        assert_eq!(ours.is_none(), opens, "{text}: {ours:?}");
        let mut virsh = std::process::Command::new("virsh");
        virsh.args(["--connect", &uri, "uri"]).env("GNUTLS_SYSTEM_PRIORITY_FILE", &settings);
        let theirs = virsh.output().unwrap();
        assert_eq!(theirs.status.success(), opens, "{text}: {}", String::from_utf8_lossy(&theirs.stderr));
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_when_the_administration_says_so() {
    let test = "a_new_certificate_is_shown_when_the_administration_says_so";
    let Some(daemon) = Daemon::prepare(test) else { return };
    if !present(test, &[("/usr/bin/nc", "netcat-openbsd")]) {
        return;
    }
    let ca = Authority::new("ours");
    let port = listen(&daemon, &ca, &["elsewhere.example"], Expired::No, "");
    let pki = ca.client(daemon.path("client"), Some("me"));
    let uri = format!("test+tls://127.0.0.1:{port}/default?pkipath={}", pki.display());
    assert!(refusal(open(&daemon, &uri).await).contains("not valid for name"));
    // Again it reads where such files are by default, whatever its configuration says.
    let home = daemon.path(".pki/libvirt");
    std::fs::create_dir_all(&home).unwrap();
    let at = |name: &str| home.join(name);
    std::fs::write(at("cacert.pem"), &ca.pem).unwrap();
    ca.issue(&["127.0.0.1"], "the daemon", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
    for file in ["cacert.pem", "servercert.pem", "serverkey.pem"] {
        daemon.own(&at(file));
    }
    // It shows what it read when it began, until it is told to read again.
    assert!(refusal(open(&daemon, &uri).await).contains("not valid for name"));
    crate::admin::admin(&daemon).await.server("libvirtd").await.unwrap().update_tls_files().await.unwrap();
    open(&daemon, &uri).await.unwrap();
}

/// A daemon that demands a user and a password, with these mechanisms; `fred` has the password `geheim`.
fn demand(daemon: &Daemon, test: &str, mechanisms: &str, config: &str, arguments: &[&str]) -> bool {
    demand_of(daemon, test, mechanisms, config, arguments, &[("fred", "geheim")])
}

/// The same with these users and their passwords.
fn demand_of(
    daemon: &Daemon,
    test: &str,
    mechanisms: &str,
    config: &str,
    arguments: &[&str],
    known: &[(&str, &str)],
) -> bool {
    let saslpasswd =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/unpacked/sasl2-bin/usr/sbin/saslpasswd2");
    let scram = "/usr/lib/x86_64-linux-gnu/sasl2/libscram.so";
    if !present(test, &[(saslpasswd, "sasl2-bin"), (scram, "libsasl2-modules")]) {
        return false;
    }
    let (directory, users) = (daemon.path("sasl"), daemon.path("users"));
    std::fs::create_dir(&directory).unwrap();
    for (user, password) in known {
        let mut child = std::process::Command::new(saslpasswd)
            .args(["-p", "-c", "-a", "libvirt", "-f"])
            .arg(&users)
            .arg(user)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    daemon.own(&users);
    let settings = format!("mech_list: {mechanisms}\nsasldb_path: {}\n", users.display());
    std::fs::write(directory.join("libvirt.conf"), settings).unwrap();
    daemon.run(&Settings {
        config: config.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        environment: vec![("SASL_CONF_PATH".into(), directory.display().to_string())],
        ..Settings::default()
    });
    true
}

fn fred(password: &str) -> Credentials {
    Credentials { user: "fred".into(), password: password.into() }
}

#[tokio::test]
async fn a_password_opens_a_local_socket_with_every_mechanism() {
    let test = "a_password_opens_a_local_socket_with_every_mechanism";
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"] {
        let Some(daemon) = Daemon::prepare(test) else { return };
        if !demand(&daemon, test, mechanism, "auth_unix_rw = \"sasl\"\n", &[]) {
            return;
        }
        let builder = || daemon.builder("test+unix:///default");
        let connect = builder().credentials(fred("geheim")).open_with(run).await.unwrap();
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test", "{mechanism}");
        let wrong = builder().credentials(fred("falsch")).open_with(run).await.unwrap_err();
        assert!(wrong.refusal().is_some(), "{mechanism}: {wrong}");
        let nobody = builder().open_with(run).await.unwrap_err();
        assert!(matches!(nobody.kind(), ErrorKind::Auth(_)), "{nobody}");
        // The mechanism that the URI names, and one that the daemon does not offer.
        let named = daemon.builder(&format!("test+unix:///default?auth=sasl.{mechanism}"));
        named.credentials(fred("geheim")).open_with(run).await.unwrap();
        let missing = daemon.builder("test+unix:///default?auth=sasl.GSSAPI");
        let missing = missing.credentials(fred("geheim")).open_with(run).await.unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::Auth(_)), "{missing}");
        // The file that says who to be.
        std::fs::write(
            daemon.path("auth.conf"),
            "[credentials-x]\nauthname=fred\npassword=geheim\n[auth-libvirt-localhost]\ncredentials=x\n",
        )
        .unwrap();
        let uri = format!("test+unix:///default?authfile={}", daemon.path("auth.conf").display());
        daemon.builder(&uri).open_with(run).await.unwrap();
    }
}

/// Cyrus' store keeps passwords as they were typed, and compares them so.
#[tokio::test]
async fn a_password_that_has_another_form_opens_as_it_was_stored() {
    let test = "a_password_that_has_another_form_opens_as_it_was_stored";
    let known = [
        ("space", "ge\u{a0}heim"),
        ("apart", "cafe\u{301}"),
        ("joined", "caf\u{e9}"),
        ("wide", "\u{2168}"),
        ("bell", "ge\u{7}heim"),
    ];
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let Some(daemon) = Daemon::prepare(test) else { return };
        if !demand_of(&daemon, test, mechanism, "auth_unix_rw = \"sasl\"\n", &[], &known) {
            return;
        }
        let open = async |user: &str, password: &str| {
            let credentials = Credentials { user: user.into(), password: password.into() };
            let opened = daemon.builder("test+unix:///default").credentials(credentials).open_with(run).await;
            opened.map(drop).map_err(|error| error.refusal().map(|refusal| refusal.code))
        };
        for (user, password) in known {
            assert_eq!(open(user, password).await, Ok(()), "{user}, {mechanism}");
        }
        // Typed in two signs what is stored in one: that has a form of its own, which is stored.
        assert_eq!(open("joined", "cafe\u{301}").await, Ok(()), "{mechanism}");
        // Nobody can know how it was typed once.
        for (user, password) in [("apart", "caf\u{e9}"), ("wide", "IX"), ("space", "ge heim")] {
            assert_eq!(open(user, password).await, Err(Some(ErrorNumber::AuthFailed)), "{user}, {mechanism}");
        }
    }
}

#[tokio::test]
async fn a_password_is_said_to_nobody_over_bare_tcp() {
    let test = "a_password_is_said_to_nobody_over_bare_tcp";
    let Some(daemon) = Daemon::prepare(test) else { return };
    let port = port();
    let tcp = format!("listen_addr = \"127.0.0.1\"\nlisten_tls = 0\nlisten_tcp = 1\ntcp_port = \"{port}\"\n");
    if !demand(&daemon, test, "SCRAM-SHA-256 PLAIN", &format!("{tcp}auth_tcp = \"sasl\"\n"), &["--listen"]) {
        return;
    }
    let builder = daemon.builder(&format!("test+tcp://127.0.0.1:{port}/default"));
    let error = builder.credentials(fred("geheim")).open_with(run).await.unwrap_err();
    // With Kerberos there might be a way; the daemon knows that it has none, for it offers nothing that encrypts.
    let asked = cfg!(feature = "gssapi") && error.refusal().is_some();
    assert!(asked || error.to_string().contains("anybody can read"), "{error}");
}

/// What a program goes over nobody knows: this one goes to the daemon's socket, and is told no more than one that goes over bare TCP.
#[tokio::test]
async fn a_program_that_copies_to_a_daemon_is_told_no_password() {
    let test = "a_program_that_copies_to_a_daemon_is_told_no_password";
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let Some(daemon) = Daemon::prepare(test) else { return };
        if !present(test, &[("/usr/bin/nc", "netcat-openbsd")])
            || !demand(&daemon, test, mechanism, "auth_unix_rw = \"sasl\"\n", &[])
        {
            return;
        }
        let (said, socket) = (daemon.path("said"), daemon.path("libvirt/libvirt-sock"));
        let text = format!("tee {} | nc -U {}", said.display(), socket.display());
        let copies = crate::sshd::script(&daemon.path(""), "copies", &text);
        let uri = format!("test+ext:///default?command={copies}");
        let error = daemon.builder(&uri).credentials(fred("geheim")).open_with(run).await.unwrap_err();
        // With Kerberos there might be a way; the daemon knows that it has none, for it offers nothing that encrypts.
        let asked = cfg!(feature = "gssapi") && error.refusal().is_some();
        assert!(asked || error.to_string().contains("anybody can read"), "{mechanism}: {error}");
        // tee(1) writes to its output before it writes to the file.
        let writes = async {
            loop {
                match std::fs::read(&said) {
                    Ok(said) if said.len() >= 28 => return said,
                    _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                }
            }
        };
        let said = tokio::time::timeout(std::time::Duration::from_secs(60), writes)
            .await
            .expect("it writes down what it was told");
        // The question what it demands, and no more than that and the next one.
        assert!((28..=64).contains(&said.len()), "{} bytes", said.len());
        for secret in [b"fred".as_slice(), b"geheim"] {
            assert!(!said.windows(secret.len()).any(|part| part == secret), "{mechanism}");
        }
        // The same way is taken by who needs no password: it is the daemon's.
        let uri = format!("test+unix:///default?socket={}", socket.display());
        daemon.builder(&uri).credentials(fred("geheim")).open_with(run).await.unwrap();
    }
}

#[tokio::test]
async fn tcp_without_a_password_is_a_connection_like_others() {
    let Some(daemon) = Daemon::prepare("tcp_without_a_password_is_a_connection_like_others") else { return };
    let port = port();
    let config = format!(
        "listen_addr = \"127.0.0.1\"\nlisten_tls = 0\nlisten_tcp = 1\ntcp_port = \"{port}\"\nauth_tcp = \"none\"\n"
    );
    daemon.run(&Settings { config, arguments: vec!["--listen".into()], ..Settings::default() });
    let connect = open(&daemon, &format!("test+tcp://127.0.0.1:{port}/default")).await.unwrap();
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1);
    assert!(!connect.is_encrypted().await.unwrap() && !connect.is_secure().await.unwrap());
    // Descriptors do not travel here, and nothing is sent.
    let domain = connect.domain_by_name("test").await.unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = domain.open_graphics(0, file.into(), Default::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transport(_)), "{error}");
    assert!(!connect.hostname().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_users_own_daemon_is_started_when_it_is_needed() {
    let Some(daemon) = Daemon::prepare("a_users_own_daemon_is_started_when_it_is_needed") else { return };
    // What stands for /usr/sbin starts the daemon as its own user.
    let words: Vec<String> = {
        let command = daemon.unprivileged();
        let variables: Vec<String> = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)))
            .collect();
        let program = command.get_args().filter_map(|word| word.to_str()).map(str::to_owned);
        variables.into_iter().chain(program).collect()
    };
    let place = daemon.path("sbin");
    std::fs::create_dir(&place).unwrap();
    let script = format!(
        "#!/bin/sh\nexec env -i {} /usr/sbin/libvirtd --pid-file {} \"$@\"\n",
        words.join(" "),
        daemon.path("pid").display()
    );
    std::fs::write(place.join("libvirtd"), script).unwrap();
    std::fs::set_permissions(place.join("libvirtd"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let environment = Environment { daemons: vec![place], ..daemon.environment() };
    let builder =
        |environment: &Environment| Connect::builder("test+unix:///default").environment(environment.clone());
    let error = builder(&daemon.environment()).open_with(run).await.unwrap_err();
    assert!(format!("{error:#}").contains("libvirt-sock"), "nobody may start it: {error:#}");
    // Two at once: one of them starts it, or both do and one of these gives way.
    let (one, two) = tokio::join!(builder(&environment).open_with(run), builder(&environment).open_with(run));
    for connect in [one, two] {
        assert_eq!(connect.unwrap().domain_by_name("test").await.unwrap().name(), "test");
    }
    builder(&environment).open_with(run).await.unwrap();
}

/// A libvirtd forgets a packet that shares a record of TLS with the end of another until something else comes; here nothing else does.
#[tokio::test]
async fn calls_at_once_over_tls_are_all_answered() {
    let Some(daemon) = Daemon::prepare("calls_at_once_over_tls_are_all_answered") else { return };
    let ca = Authority::new("ours");
    let port = listen(&daemon, &ca, &["127.0.0.1"], Expired::No, "keepalive_interval = -1\n");
    let pki = ca.client(daemon.path("client"), Some("me"));
    let uri = format!("test+tls://127.0.0.1:{port}/default?pkipath={}", pki.display());
    let options = Options { keepalive: None, ..Options::default() };
    let connect = daemon.builder(&uri).options(options).lanes(0).open_with(run).await.unwrap();
    for _ in 0..20 {
        let calls = (0..8).map(|_| connect.domain_by_name("test"));
        let answers = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(calls)).await;
        for domain in answers.expect("every call is answered") {
            assert_eq!(domain.unwrap().name(), "test");
        }
    }
    connect.close().await.unwrap();
}
