//! Stock virsh and our client reach our server over TCP and TLS; who has no certificate of its authority is not let in.

use crate::authority::{Authority, Expired};
use crate::daemon::{self, OurServer, virsh_with};
use crate::running::run;
use crate::sshd::Sshd;
use libvirt_client::{Connect, ErrorKind};
use libvirt_server::{Clients, Mechanism, Sasl, Tls};

const SCRIPT: &str = "list --all\ndumpxml test\nsuspend test\ndomstate test\nresume test\n\
    net-dumpxml default\npool-list --details\nvol-create-as default-pool v 1M\nvol-info v --pool default-pool\nvol-delete v --pool default-pool\n";

/// The server's files, beside its socket.
pub(crate) fn certify(server: &OurServer, authority: &Authority) {
    let at = |name: &str| server.directory().join(name);
    std::fs::write(at("cacert.pem"), &authority.pem).unwrap();
    let names = ["127.0.0.1", "localhost"];
    authority.issue(&names, "the server", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
}

#[test]
fn virsh_prints_the_same_over_tls_and_needs_a_certificate() {
    if daemon::is_missing("virsh_prints_the_same_over_tls_and_needs_a_certificate") {
        return;
    }
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = OurServer::start();
    certify(&server, &ours);
    let at = |name: &str| server.directory().join(name);
    let port = server.listen(Some(Tls::in_directory(server.directory(), Clients::Known).unwrap()));
    let virsh = |client: &std::path::Path| {
        let uri = format!("test+tls://127.0.0.1:{port}/default?pkipath={}", client.display());
        virsh_with(&uri, server.directory(), SCRIPT).unwrap()
    };
    let known = ours.client(at("known"), Some("a client"));
    let over_tls = virsh(&known);
    assert_eq!(over_tls, server.virsh(SCRIPT).unwrap());
    assert!(over_tls.contains("paused") && over_tls.contains("Vol v deleted"), "{over_tls}");
    // The authority's word for the server is all that these have, or their own comes from somebody else.
    let nameless = virsh(&ours.client(at("nameless"), None));
    let stranger = theirs.client(at("stranger"), Some("a client"));
    std::fs::copy(at("cacert.pem"), stranger.join("cacert.pem")).unwrap();
    for refused in [nameless, virsh(&stranger)] {
        assert!(refused.contains("failed to connect") && !refused.contains("test"), "{refused}");
    }
    let open = server.listen(Some(Tls::in_directory(server.directory(), Clients::Anybody).unwrap()));
    let uri = format!("test+tls://127.0.0.1:{open}/default?pkipath={}", at("nameless").display());
    assert_eq!(virsh_with(&uri, server.directory(), SCRIPT).unwrap(), over_tls);
    // Files that are missing, or are something else, are named.
    std::fs::write(at("serverkey.pem"), "no key").unwrap();
    let error = Tls::in_directory(server.directory(), Clients::Known).unwrap_err();
    assert_eq!(error.path, at("serverkey.pem"));
}

#[test]
fn virsh_comes_in_with_a_password_and_not_without() {
    let test = "virsh_comes_in_with_a_password_and_not_without";
    if daemon::is_missing(test) {
        return;
    }
    let scram = "/usr/lib/x86_64-linux-gnu/sasl2/libscram.so";
    if !std::path::Path::new(scram).exists() {
        println!("not run: {test}: {scram} is missing (package libsasl2-modules)");
        return;
    }
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain] {
        let server = OurServer::start();
        let open = server.virsh(SCRIPT).unwrap();
        let sasl = Sasl::new([mechanism]).user("fred", "geheim");
        server.demand(sasl);
        let come = |password: &str| {
            let file = server.directory().join("auth.conf");
            let text = format!(
                "[credentials-x]\nauthname=fred\npassword={password}\n[auth-libvirt-localhost]\ncredentials=x\n"
            );
            std::fs::write(&file, text).unwrap();
            let uri = format!(
                "test+unix:///default?socket={}&authfile={}",
                server.socket().display(),
                file.display()
            );
            virsh_with(&uri, server.directory(), SCRIPT).unwrap()
        };
        assert_eq!(come("geheim"), open, "{mechanism:?}");
        let refused = come("falsch");
        assert!(refused.contains("authentication failed"), "{mechanism:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn our_client_comes_over_every_transport() {
    let ca = Authority::new("ours");
    let server = tokio::task::spawn_blocking(OurServer::start).await.unwrap();
    certify(&server, &ca);
    let known = ca.client(server.directory().join("known"), Some("a client"));
    let tls = Tls::in_directory(server.directory(), Clients::Known).unwrap();
    let (server, tcp, tls) = tokio::task::spawn_blocking(move || {
        let ports = (server.listen(None), server.listen(Some(tls)));
        (server, ports.0, ports.1)
    })
    .await
    .unwrap();
    let socket = server.socket().display();
    let netcat = std::path::Path::new("/usr/bin/nc").exists();
    if !netcat {
        println!(
            "not run: our_client_comes_over_every_transport, with a program: /usr/bin/nc is missing (package netcat-openbsd)"
        );
    }
    for uri in [
        format!("test+unix:///default?socket={socket}"),
        format!("test+tcp://127.0.0.1:{tcp}/default"),
        format!("test+tls://localhost:{tls}/default?pkipath={}", known.display()),
        format!("test+ext://anywhere/default?command=nc&argv=-U&argv={socket}"),
    ]
    .into_iter()
    .filter(|uri| netcat || !uri.contains("ext"))
    {
        let connect = Connect::builder(&uri).open_with(run).await.unwrap();
        assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test", "{uri}");
        connect.close().await.unwrap();
    }
    // The same ssh stands for the libraries that libvirt has of it.
    let directory = server.directory().to_owned();
    let test = "our_client_comes_over_every_transport, with ssh";
    let prepared = tokio::task::spawn_blocking(move || Sshd::prepare(test, &directory)).await.unwrap();
    if let Some(sshd) = prepared {
        for kind in ["ssh", "libssh", "libssh2"] {
            let uri = format!(
                "test+{kind}://root@elsewhere/default?command={}&proxy=netcat&socket={}&no_tty=1",
                sshd.command,
                server.socket().display()
            );
            let opened = Connect::builder(&uri).open_with(run).await;
            let connect = opened.unwrap_or_else(|error| panic!("{kind}: {error}: {}", sshd.log()));
            assert_eq!(connect.domain_by_name("test").await.unwrap().name(), "test", "{kind}");
            connect.close().await.unwrap();
        }
    }
    let plain = Connect::builder(&format!("test+tcp://127.0.0.1:{tls}/default")).open_with(run).await;
    assert!(!matches!(plain.unwrap_err().kind(), ErrorKind::Libvirt(_)), "no TLS, no answer");
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}
