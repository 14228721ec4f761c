//! A daemon that asks polkit: the real one, on a bus of its own, with a rule of the test's.

use crate::support::{Daemon, Settings, present, run};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::parameters::{
    CONNECT_IDENTITY_PROCESS_ID, CONNECT_IDENTITY_PROCESS_TIME, CONNECT_IDENTITY_UNIX_USER_ID,
};
use libvirt_client::{Connect, Error, Params};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// libvirt's actions that are asked about here.
const ACTIONS: [&str; 3] =
    ["org.libvirt.unix.manage", "org.libvirt.api.connect.getattr", "org.libvirt.api.connect.write"];

/// What polkit knows of them: without a rule nobody is allowed anything. The daemon, which is not root, may ask about others as their owner.
fn policy() -> String {
    let action = |id: &str| {
        format!(
            "<action id='{id}'><description>{id}</description><message>{id}</message>\
             <defaults><allow_any>no</allow_any><allow_inactive>no</allow_inactive><allow_active>no</allow_active></defaults>\
             <annotate key='org.freedesktop.policykit.owner'>unix-user:65534</annotate></action>"
        )
    };
    let actions: String = ACTIONS.into_iter().map(action).collect();
    format!(
        "<?xml version='1.0'?>\n\
         <!DOCTYPE policyconfig PUBLIC '-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN' \
         'http://www.freedesktop.org/standards/PolicyKit/1.0/policyconfig.dtd'>\n<policyconfig>{actions}</policyconfig>"
    )
}

/// polkit and its bus. They end with this value.
struct Polkit {
    directory: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Polkit {
    /// Starts it; `rule` is the body of a function of `action` and `subject`.
    fn start(rule: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("polkit-").tempdir_in("/tmp").unwrap();
        let mut polkit = Self { directory, processes: Vec::new() };
        let at = |name: &str| polkit.directory.path().join(name);
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        // polkitd has a user of its own.
        open(polkit.directory.path());
        for name in ["actions", "rules"] {
            std::fs::create_dir(at(name)).unwrap();
            open(&at(name));
        }
        std::fs::write(at("actions/test.policy"), policy()).unwrap();
        let rule = format!("polkit.addRule(function(action, subject) {{ {rule} }});");
        std::fs::write(at("rules/10-test.rules"), rule).unwrap();
        let config = format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><policy context='default'>\
             <allow user='*'/><allow own='*'/><allow send_destination='*' eavesdrop='true'/>\
             <allow receive_sender='*'/></policy></busconfig>",
            at("bus").display()
        );
        std::fs::write(at("bus.conf"), config).unwrap();
        let config = format!("--config-file={}", at("bus.conf").display());
        let bus = Command::new("/usr/bin/dbus-daemon").args([&config, "--nofork", "--nopidfile"]).spawn();
        let enter = "mount --bind \"$1\" /usr/share/polkit-1/actions && mount --bind \"$2\" /etc/polkit-1/rules.d && \
                     exec /usr/lib/polkit-1/polkitd --no-debug";
        let address = polkit.address();
        let mut daemon = Command::new("unshare");
        daemon.args(["--mount", "sh", "-c", enter, "sh"]).args([at("actions"), at("rules")]);
        daemon.env("DBUS_SYSTEM_BUS_ADDRESS", &address).stdout(Stdio::null()).stderr(Stdio::null());
        let bus = bus.unwrap();
        polkit.processes.push(bus);
        // It gives up when there is no bus yet.
        until("there is no bus", || polkit.directory.path().join("bus").exists());
        polkit.processes.push(daemon.spawn().unwrap());
        let owned = || {
            let output = Command::new("/usr/bin/dbus-send")
                .args([&format!("--bus={address}"), "--print-reply", "--dest=org.freedesktop.DBus", "/"])
                .args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.PolicyKit1"])
                .output();
            String::from_utf8_lossy(&output.unwrap().stdout).contains("true")
        };
        until("polkitd does not come", owned);
        polkit
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.directory.path().join("bus").display())
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test that hangs names nothing")]
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Connects as who is not root: root is not asked about.
async fn open(daemon: &Daemon) -> Result<Connect, Error> {
    let socket = daemon.path("libvirt/libvirt-sock");
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", "nc", "-U", socket.to_str().unwrap()];
    let arguments: String = words.iter().map(|word| format!("&argv={word}")).collect();
    let uri = format!("test+ext://here/default?command=setpriv{arguments}");
    daemon.builder(&uri).open_with(run).await
}

/// Whether the tests here can be run; a line says so when not.
fn possible(test: &str) -> bool {
    let programs = [
        ("/usr/bin/dbus-daemon", "dbus-daemon"),
        ("/usr/bin/dbus-send", "dbus-bin"),
        ("/usr/lib/polkit-1/polkitd", "polkitd"),
        ("/usr/bin/nc", "netcat-openbsd"),
    ];
    if !present(test, &programs) {
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        println!("not run: {test}: only root may start polkitd");
        return false;
    }
    true
}

#[tokio::test]
async fn polkit_says_who_may_come_in() {
    let test = "polkit_says_who_may_come_in";
    if !possible(test) {
        return;
    }
    for (answer, refusal) in [
        ("polkit.Result.YES", None),
        ("polkit.Result.NO", Some(ErrorNumber::AuthFailed)),
        // Somebody would have to type a password, and nobody is there who asks for it.
        ("polkit.Result.AUTH_ADMIN", Some(ErrorNumber::AuthUnavailable)),
    ] {
        let polkit = Polkit::start(&format!("if (action.id == 'org.libvirt.unix.manage') return {answer};"));
        let Some(daemon) = Daemon::prepare(test) else { return };
        let environment = vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), polkit.address())];
        let config = "auth_unix_rw = \"polkit\"\n".to_owned();
        daemon.run(&Settings { config, environment, ..Settings::default() });
        match (open(&daemon).await, refusal) {
            (Ok(connect), None) => assert!(!connect.hostname().await.unwrap().is_empty()),
            (Err(error), Some(code)) => {
                assert_eq!(error.refusal().map(|refusal| refusal.code), Some(code), "{answer}: {error}");
            }
            (other, _) => panic!("{answer}: {other:?}"),
        }
    }
}

fn code<T>(answer: Result<T, Error>) -> Option<ErrorNumber> {
    answer.err()?.refusal().map(|refusal| refusal.code)
}

/// A process of somebody's, for whom others speak. It ends with this value, and with the test.
struct Somebody {
    user: u64,
    process: Child,
}

impl Somebody {
    fn start(user: u64) -> Self {
        let user_id = format!("--reuid={user}");
        let mut command = Command::new("setpriv");
        command.args([&user_id, "--clear-groups", "sh", "-c", "echo; exec cat"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It has changed its user when it says something.
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self { user, process }
    }

    /// What the daemon would find out about it by itself, if it connected.
    fn identity(&self) -> Params {
        let id = self.process.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // The 22nd field; the second ends with the last bracket (proc(5)).
        let started = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap();
        Params::new()
            .with(CONNECT_IDENTITY_UNIX_USER_ID, self.user)
            .with(CONNECT_IDENTITY_PROCESS_ID, i64::from(id))
            .with(CONNECT_IDENTITY_PROCESS_TIME, started.parse::<u64>().unwrap())
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Root may do anything until it speaks for somebody else: then it may what that one may.
#[tokio::test]
async fn who_speaks_for_another_may_what_that_one_may() {
    let test = "who_speaks_for_another_may_what_that_one_may";
    if !possible(test) {
        return;
    }
    let polkit = Polkit::start(
        "if (action.id == 'org.libvirt.api.connect.getattr' && subject.user == 'bin') return polkit.Result.YES;",
    );
    let Some(daemon) = Daemon::prepare(test) else { return };
    let environment = vec![("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), polkit.address())];
    let config = "access_drivers = [ \"polkit\" ]\n".to_owned();
    daemon.run(&Settings { config, environment, ..Settings::default() });
    let (permitted, other) = (Somebody::start(2), Somebody::start(1));
    for (somebody, may_look) in [(&permitted, true), (&other, false)] {
        let connect = daemon.open("qemu+unix:///session").await;
        connect.hostname().await.unwrap();
        connect.set_identity(&somebody.identity()).await.unwrap();
        let looked = connect.hostname().await;
        if may_look {
            assert!(!looked.unwrap().is_empty());
        } else {
            assert_eq!(code(looked), Some(ErrorNumber::AccessDenied));
        }
        // Neither may become the other one.
        assert_eq!(code(connect.set_identity(&permitted.identity()).await), Some(ErrorNumber::AccessDenied));
    }
}
