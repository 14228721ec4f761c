//! The table of the agent's commands against real agents of Debian 12 and 13, which run on this host with all that changes anything
//! forbidden to them.

use super::{Agent, AgentError, Options, Program, agent, commands::*};
use crate::CloseReason;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// What an agent on a developer's machine must not do.
const FORBIDDEN: &str = "guest-shutdown,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,guest-fsfreeze-freeze,\
    guest-fsfreeze-freeze-list,guest-fsfreeze-thaw,guest-fstrim,guest-set-time,guest-set-vcpus,guest-set-memory-blocks,\
    guest-set-user-password,guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys";

struct Running {
    child: Child,
    agent: Agent,
    _driver: JoinSet<Arc<CloseReason>>,
    release: &'static str,
    directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(release: &str) -> Option<Command> {
    if release == "7.2" {
        let at = Path::new(env!("CARGO_MANIFEST_DIR"));
        let at = at.join("../../target/unpacked/qemu-guest-agent/usr/sbin/qemu-ga");
        return at.exists().then(|| Command::new(at));
    }
    let root = crate::conformance::unpacked();
    let at = root.join("usr/sbin/qemu-ga");
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu")).arg(&at);
    at.exists().then_some(command)
}

/// The agents that are there. An agent serves a unix socket as it serves a channel.
async fn agents(test: &str) -> Vec<Running> {
    let mut running = Vec::new();
    for release in ["7.2", "10.0"] {
        let Some(mut command) = program(release) else {
            println!("not run: {test} on {release}: no qemu-ga (cargo xtask test, cargo xtask qemu-root)");
            continue;
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        // It takes a listening socket over, so nobody waits for one to appear.
        let listener = UnixListener::bind(&socket).unwrap();
        command.args(["-m", "unix-listen", "-b", FORBIDDEN, "-t"]).arg(directory.path());
        command.arg("-f").arg(directory.path().join("pid"));
        let child = listening(&command, &listener);
        let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let (agent, driver) = agent(stream, Options::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        running.push(Running { child, agent, _driver: tasks, release, directory });
    }
    running
}

/// As systemd starts a service: the socket is descriptor 3, and the process knows that it is meant (sd_listen_fds(3)). A shell puts it
/// there and says its number.
fn listening(command: &Command, listener: &UnixListener) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@""#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .stdin(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    shell.spawn().unwrap()
}

/// Whether all that `part` says is said by `whole`.
fn within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|other| within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| within(part, whole))
        }
        (Value::Number(part), Value::Number(whole)) => part.as_f64() == whole.as_f64(),
        (part, whole) => part == whole,
    }
}

#[tokio::test]
async fn the_table_has_all_commands_of_real_agents_and_no_other() {
    for running in agents("the_table_has_all_commands_of_real_agents_and_no_other").await {
        let info = running.agent.call(&Info {}).await.unwrap();
        assert!(info.version.starts_with(running.release), "{}", info.version);
        let release =
            |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
        // In 10.0 agents list only what their system can do; this one is for Windows.
        let linux = |name: &str| running.release == "7.2" || name != "guest-get-devices";
        let ours: BTreeSet<&str> = COMMANDS
            .iter()
            .filter(|facts| release(facts.since) <= release(running.release) && linux(facts.name))
            .map(|facts| facts.name)
            .collect();
        let real: BTreeSet<&str> =
            info.supported_commands.iter().map(|command| command.name.as_str()).collect();
        assert_eq!(ours, real, "{}", running.release);
        for command in &info.supported_commands {
            let facts = COMMANDS.iter().find(|facts| facts.name == command.name).unwrap();
            assert_eq!(facts.answer == Answer::Always, command.success_response, "{}", command.name);
        }
    }
}

#[tokio::test]
async fn real_answers_lose_nothing_in_their_typed_form() {
    for running in agents("real_answers_lose_nothing_in_their_typed_form").await {
        let info = running.agent.call(&Info {}).await.unwrap();
        let mut answered = 0;
        for command in info.supported_commands.iter().filter(|command| command.enabled) {
            let facts = COMMANDS.iter().find(|facts| facts.name == command.name).unwrap();
            let query = ["guest-get-", "guest-network-", "guest-info", "guest-ping", "guest-fsfreeze-status"];
            if !query.iter().any(|start| facts.name.starts_with(start)) {
                continue;
            }
            match running.agent.execute(facts, Map::new()).await {
                Ok(reply) => {
                    let typed = reply_through(facts.name, reply.clone()).unwrap();
                    let typed = typed.unwrap_or_else(|error| panic!("{}: {error}: {reply}", facts.name));
                    assert!(within(&reply, &typed), "{}: {reply} became {typed}", facts.name);
                    answered += 1;
                }
                // Of a part that this host does not have.
                Err(error) => assert!(error.refusal().is_some(), "{}: {error}", facts.name),
            }
        }
        println!("agent {}: {answered} queries answered", running.release);
        assert!(answered >= 10, "{answered}");
        let refused = running.agent.freeze(None, Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(refused, AgentError::Refused { .. }), "{refused}");
    }
}

#[test]
fn unions_of_tomorrow_are_kept() {
    let reply = json!([{"driver-name": "d", "id": {"type": "acpi", "name": "x"}}]);
    assert_eq!(reply_through("guest-get-devices", reply.clone()).unwrap().unwrap(), reply);
    let reply = json!([{"driver-name": "d", "id": {"type": "pci", "vendor-id": 6900, "device-id": 4161}}]);
    assert_eq!(reply_through("guest-get-devices", reply.clone()).unwrap().unwrap(), reply);
}

#[tokio::test]
async fn files_come_and_go_whole_and_programs_tell_how_they_ended() {
    for running in agents("files_come_and_go_whole_and_programs_tell_how_they_ended").await {
        let agent = &running.agent;
        #[expect(clippy::disallowed_methods, reason = "a real agent takes real time")]
        let begun = Instant::now();
        // More than two pieces, and no multiple of one.
        let content: Vec<u8> = (0..super::PIECE * 2 + 12_345).map(|at| (at * 31 % 251) as u8).collect();
        let path = running.directory.path().join("file").to_str().unwrap().to_owned();
        let size = agent.upload(&path, &mut &content[..]).await.unwrap();
        assert_eq!(size, content.len() as u64);
        assert!(std::fs::read(&path).unwrap() == content, "it was changed on its way in");
        let mut back = Vec::new();
        assert_eq!(agent.download(&path, &mut back).await.unwrap(), size);
        assert!(back == content, "it was changed on its way out");
        let file = agent.open(&path, "r").await.unwrap();
        file.seek(size as i64 - 3).await.unwrap();
        assert_eq!(file.read().await.unwrap(), content[content.len() - 3..]);
        assert_eq!(file.read().await.unwrap(), b"");
        file.close().await.unwrap();
        let missing = agent.open("/there/is/nothing", "r").await.unwrap_err();
        assert!(missing.refusal().unwrap().desc.contains("/there/is/nothing"), "{missing}");

        let script = "cat; printf error >&2; [ \"$WORD\" = wide ] && exit 7";
        let program = Program::new("/bin/sh").args(["-c", script]).env("PATH", "/bin").env("WORD", "wide");
        let finished = agent.exec(&program.input(&b"in\xff"[..])).await.unwrap();
        let expected = super::Finished {
            end: super::End::Status(7),
            stdout: b"in\xff".to_vec(),
            stderr: b"error".to_vec(),
            truncated: false,
        };
        assert_eq!(finished, expected);
        let killed = agent.exec(&Program::new("/bin/sh").args(["-c", "kill -9 $$"])).await.unwrap();
        assert_eq!(killed.end, super::End::Signal(9));
        // One that takes longer than the first question.
        let slow = agent.exec(&Program::new("/bin/sleep").arg("0.05")).await.unwrap();
        assert_eq!(slow.end, super::End::Status(0));
        let late = agent.start(&Program::new("/bin/sh").args(["-c", "sleep 0.05; echo out"])).await.unwrap();
        let seen = async {
            loop {
                // Most of these leave while the agent is asked.
                tokio::select! {
                    seen = late.finished() => break seen.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it ends");
        assert_eq!((seen.end, &seen.stdout[..]), (super::End::Status(0), &b"out\n"[..]));

        // Whoever leaves, at whatever time, leaves nothing open.
        for turns in 0..20 {
            let leaves = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                file = agent.open(&path, "r") => drop(file.unwrap()),
                () = leaves => {}
            }
        }
        // The first may be sent before the last close, the second not.
        agent.call(&Ping {}).await.unwrap();
        agent.call(&Ping {}).await.unwrap();
        let open = std::fs::read_dir(format!("/proc/{}/fd", running.child.id())).unwrap();
        let open = open.filter(|file| {
            std::fs::read_link(file.as_ref().unwrap().path()).is_ok_and(|to| to == Path::new(&path))
        });
        assert_eq!(open.count(), 0);
        // One number to begin with, and one after each rest, of which a busy machine may have some.
        let rests = begun.elapsed().as_secs();
        assert!(agent.counters().syncs <= 1 + rests, "the place in the stream was never lost");
    }
}
