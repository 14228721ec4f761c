//! Whole commands, in process: against a scripted server where one is needed.

mod common;

use common::{Script, Server, ctl};
use hv_api::v1;
use hypervisor_ctl::Exit;
use v1::network_interface_spec::Attachment;

fn web() -> v1::Instance {
    v1::Instance {
        metadata: Some(v1::Metadata {
            uid: "0193-web".into(),
            name: "web".into(),
            labels: [("tier".to_owned(), "front".to_owned()), ("old".to_owned(), "yes".to_owned())].into(),
            generation: 3,
            created_at_ms: 1_700_000_000_000,
            ..Default::default()
        }),
        spec: Some(v1::InstanceSpec {
            cpus: 2,
            memory_bytes: 512 << 20,
            image: "/images/debian-12.qcow2".into(),
            ..Default::default()
        }),
        status: Some(v1::InstanceStatus {
            phase: v1::InstancePhase::Running.into(),
            node_name: "n1".into(),
            observed_generation: 3,
            published_ports: vec![v1::PublishedPort {
                host_port: 2222,
                guest_port: 22,
                ..Default::default()
            }],
            ..Default::default()
        }),
    }
}

fn operation(phase: v1::OperationPhase, steps: &[&str]) -> v1::Operation {
    let steps = steps.iter().enumerate();
    v1::Operation {
        uid: "op-1".into(),
        kind: "instance.create".into(),
        target_name: "web".into(),
        phase: phase.into(),
        steps: steps
            .map(|(at, message)| v1::OperationStep { at_ms: at as i64 + 1, message: (*message).to_owned() })
            .collect(),
        ..Default::default()
    }
}

fn done() -> Vec<v1::Operation> {
    vec![operation(v1::OperationPhase::Succeeded, &[])]
}

#[test]
fn create_sends_what_the_flags_say_and_waits_with_one_line_a_step() {
    let server = Server::start(Script {
        instance: web(),
        operations: vec![
            operation(v1::OperationPhase::Running, &["placed on n1"]),
            operation(v1::OperationPhase::Running, &["placed on n1", "starting"]),
            operation(v1::OperationPhase::Succeeded, &["placed on n1", "starting", "running"]),
        ],
        ..Default::default()
    });
    let user_data = server.dir.path().join("user-data.yaml");
    std::fs::write(&user_data, "#cloud-config\n").unwrap();
    let ended = server.ctl(&[
        "vm",
        "create",
        "web",
        "--image",
        "/images/none.qcow2",
        "--cpus",
        "2",
        "--memory",
        "1G",
        "--disk",
        "10G",
        "--data-disk",
        "data=5G",
        "--network",
        "bridge:br0",
        "--network",
        "user",
        "--publish",
        "2222:22",
        "--cloud-init",
        user_data.to_str().unwrap(),
        "--label",
        "tier=front",
        "--annotation",
        "owner=ops",
        "--restart",
        "always",
        "--stop-timeout",
        "90s",
        "--stopped",
        "--zone",
        "a",
        "--firmware",
        "uefi",
    ]);
    assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
    let steps = "note: --image /images/none.qcow2 is not on this host; its node must have it\n\
                 web: placed on n1\nweb: starting\nweb: running\n";
    assert_eq!(ended.err, steps);
    assert!(
        ended.out.starts_with("NAME  PHASE    NODE  CPUS  MEMORY   PORTS    AGE\nweb   running  n1    2"),
        "{}",
        ended.out
    );

    let seen = server.seen();
    assert_eq!(seen.authorization, ["Bearer secret"]);
    let request = &seen.created[0];
    assert_eq!((request.name.as_str(), request.labels["tier"].as_str()), ("web", "front"));
    assert_eq!(request.annotations["owner"], "ops");
    assert!(!request.idempotency_key.is_empty());
    let spec = request.spec.as_ref().unwrap();
    assert_eq!((spec.cpus, spec.memory_bytes, spec.root_disk_bytes), (2, 1 << 30, 10 << 30));
    assert_eq!(spec.image, "/images/none.qcow2");
    assert_eq!(spec.disks, [v1::DiskSpec { name: "data".into(), size_bytes: 5 << 30 }]);
    assert_eq!(spec.run_state(), v1::RunState::Stopped);
    assert_eq!(spec.restart_policy(), v1::RestartPolicy::Always);
    assert_eq!(spec.stop_timeout_ms, 90_000);
    assert_eq!(spec.boot.as_ref().unwrap().firmware(), v1::Firmware::Uefi);
    assert_eq!(spec.placement.as_ref().unwrap().zone, "a");
    assert_eq!(spec.cloud_init.as_ref().unwrap().user_data, "#cloud-config\n");
    let [bridge, user] = spec.network_interfaces.as_slice() else { panic!("{spec:?}") };
    assert_eq!(bridge.attachment, Some(Attachment::Bridge("br0".into())));
    let Some(Attachment::User(network)) = &user.attachment else { panic!("{user:?}") };
    assert_eq!((network.publish[0].host_port, network.publish[0].guest_port), (2222, 22));
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let server =
        Server::start(Script { instance: web(), operations: done(), lost_answers: 2, ..Default::default() });
    assert_eq!(server.ctl(&["instance", "create", "web"]).exit, Exit::Ok);
    let seen = server.seen();
    let keys: Vec<_> = seen.created.iter().map(|request| &request.idempotency_key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[test]
fn a_failed_operation_says_why_and_ends_with_its_kind() {
    let mut failed = operation(v1::OperationPhase::Failed, &[]);
    failed.message = "no node has room: needs 64 vCPUs, 2 free".into();
    failed.error = Some(v1::ErrorInfo {
        reason: "Exhausted".into(),
        hint: "hypervisor-ctl instance explain web".into(),
        ..Default::default()
    });
    let server = Server::start(Script { instance: web(), operations: vec![failed], ..Default::default() });
    let ended = server.ctl(&["instance", "create", "web", "--cpus", "64"]);
    assert_eq!(ended.exit, Exit::Unavailable);
    assert_eq!(
        ended.err,
        "error: no node has room: needs 64 vCPUs, 2 free\n  hint: hypervisor-ctl instance explain web\n"
    );
    assert_eq!(ended.out, "");
}

#[test]
fn no_wait_prints_the_operation_and_timeout_leaves_it_running() {
    let running = operation(v1::OperationPhase::Running, &[]);
    let server = Server::start(Script { instance: web(), operations: vec![running], ..Default::default() });
    let ended = server.ctl(&["instance", "start", "web", "--no-wait", "-o", "name"]);
    assert_eq!((ended.exit, ended.out.as_str()), (Exit::Ok, "op-1\n"));
    let ended = server.ctl(&["instance", "start", "web", "--timeout", "20ms"]);
    assert_eq!(ended.exit, Exit::Timeout);
    assert!(ended.err.contains("hint: it goes on: hypervisor-ctl operation wait op-1"), "{}", ended.err);
}

#[test]
fn every_page_of_a_list_is_read_and_shown_in_every_format() {
    let server = Server::start(Script { instance: web(), ..Default::default() });
    let list = |format: &str| server.ctl(&["instance", "list", "-o", format]).out;
    assert_eq!(list("name"), "web\nsecond\n");
    let json: serde_json::Value = serde_json::from_str(&list("json")).unwrap();
    assert_eq!(json[1]["metadata"]["name"], "second");
    assert_eq!(json[0]["metadata"]["created_at"], "2023-11-14T22:13:20Z");
    assert_eq!(json[0]["status"]["phase"], "running");
    assert_eq!(json[0]["spec"]["memory_bytes"], 512 << 20);
    assert_eq!(json[0]["spec"]["firmware"], serde_json::Value::Null);
    assert!(list("yaml").contains("name: second"), "{}", list("yaml"));
    assert!(list("wide").lines().next().unwrap().ends_with("MESSAGE"));
    assert!(!list("table").contains('\x1b'), "no colour into a pipe");
}

#[test]
fn an_update_names_only_what_changes_and_demands_the_generation_it_saw() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    let ended =
        server.ctl(&["instance", "update", "web", "--cpus", "4", "--label", "old-", "--label", "a=b"]);
    assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
    assert!(ended.err.contains("spec.cpus: hypervisor-ctl instance restart web"), "{}", ended.err);
    let seen = server.seen();
    let request = &seen.updated[0];
    assert_eq!(request.update_mask.as_ref().unwrap().paths, ["spec.cpus", "labels.old", "labels.a"]);
    assert_eq!(request.precondition.unwrap().generation, 3);
    let labels: Vec<_> = request.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["a=b"], "`old` is removed, others are left alone");
    drop(seen);
    let ended = server.ctl(&["instance", "update", "web"]);
    assert_eq!(ended.exit, Exit::Usage);
}

#[test]
fn an_update_reaches_all_that_the_call_can_change() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    let all = "instance update web --cpus 2 --memory 1G --disk 8G --network user --publish 2222:22 --firmware uefi \
        --kernel /nowhere/vmlinuz --initrd /nowhere/initrd --cmdline quiet --restart always --relocation recreate --stop-timeout 5s \
        --run-state paused --annotation note=x --label a=b";
    let ended = server.ctl(&all.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
    assert!(ended.err.contains("/nowhere/vmlinuz is not on this host"), "{}", ended.err);
    let again = server.ctl(&["instance", "update", "web", "--kernel", "", "--firmware", "bios"]);
    assert_eq!(again.exit, Exit::Ok, "{again:?}");
    let seen = server.seen();
    let request = &seen.updated[0];
    let mut paths = request.update_mask.as_ref().unwrap().paths.clone();
    for path in &mut paths {
        *path = path.replace("labels.a", "labels").replace("annotations.note", "annotations");
    }
    paths.push("spec.cloud_init".into());
    paths.sort();
    // Whatever an update may name has a flag.
    let mut possible: Vec<_> = hv_core::instance::update::Field::all().map(|field| field.path()).collect();
    possible.sort_unstable();
    assert_eq!(paths, possible);
    let spec = request.spec.clone().unwrap();
    let boot = spec.boot.unwrap();
    assert_eq!(
        (boot.firmware(), boot.kernel.as_str(), boot.initrd.as_str(), boot.cmdline.as_str()),
        (v1::Firmware::Uefi, "/nowhere/vmlinuz", "/nowhere/initrd", "quiet")
    );
    assert_eq!(spec.run_state, i32::from(v1::RunState::Paused));
    assert_eq!(request.annotations["note"], "x");
    let boot = seen.updated[1].spec.clone().unwrap().boot.unwrap();
    assert_eq!(boot, v1::BootSpec { firmware: v1::Firmware::Bios.into(), ..Default::default() });
    assert_eq!(seen.updated[1].update_mask.as_ref().unwrap().paths, ["spec.boot"]);
}

#[test]
fn stop_carries_its_own_time() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    assert_eq!(server.ctl(&["instance", "stop", "web", "--grace", "10s"]).exit, Exit::Ok);
    assert_eq!(server.ctl(&["instance", "stop", "web", "--grace", "0s"]).exit, Exit::Ok);
    let seen = server.seen();
    assert_eq!((seen.stopped[0].timeout_ms, seen.stopped[0].force), (10_000, false));
    assert!(seen.stopped[1].force, "no time at all is a force");
}

#[test]
fn what_is_not_there_ends_with_3() {
    let server = Server::start(Script { instance: web(), ..Default::default() });
    let ended = server.ctl(&["instance", "get", "nope"]);
    assert_eq!(ended.exit, Exit::NotFound);
    assert_eq!(ended.err, "error: there is no instance `nope`\n  hint: hypervisor-ctl instance list\n");
}

#[test]
fn a_console_in_a_script_sends_its_input_and_ends_with_the_guest() {
    let server = Server::start(Script { console: vec!["login: "], ..Default::default() });
    let ended = server.ctl_with(&["instance", "console", "web"], "root\nexit\n");
    assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
    assert_eq!(server.seen().typed, b"root\nexit\n");
    assert!(ended.out.starts_with("login: "), "{}", ended.out);
    assert_eq!(ended.err, "the console has ended: the guest has ended\n");
}

#[test]
fn a_console_without_input_is_left_when_nothing_is_printed_any_more() {
    let server = Server::start(Script { console: vec!["login: "], ..Default::default() });
    let ended = server.ctl_with(&["instance", "console", "web", "--idle", "300ms"], "root\n");
    assert_eq!((ended.exit, ended.out.as_str()), (Exit::Ok, "login: root\n"), "{ended:?}");
    let ended = server.ctl(&["instance", "console", "web", "--idle", "50ms", "--wait-for", "panic"]);
    assert_eq!(ended.exit, Exit::Timeout, "{ended:?}");
}

#[test]
fn a_console_waits_for_a_text_that_arrives_in_pieces() {
    let server = Server::start(Script { console: vec!["boot\r\nlo", "gin", ": more"], ..Default::default() });
    let ended = server.ctl(&["instance", "console", "web", "--wait-for", "login:"]);
    assert_eq!((ended.exit, ended.out.as_str()), (Exit::Ok, "boot\r\nlogin: more"));
    let ended = server.ctl(&["instance", "console", "web", "--wait-for", "panic", "--timeout", "100ms"]);
    assert_eq!(ended.exit, Exit::Timeout);
    let ended = server.ctl_with(&["instance", "console", "web", "--wait-for", "panic"], "exit\n");
    assert_eq!(ended.exit, Exit::Precondition);
}

#[test]
fn a_watch_goes_on_behind_the_last_revision_and_explains_its_end() {
    let change = |revision| v1::InstanceChange {
        kind: v1::ChangeKind::Modified.into(),
        instance: Some(web()),
        revision,
    };
    let progress = v1::InstanceChange { kind: v1::ChangeKind::Progress.into(), instance: None, revision: 12 };
    let watches = vec![vec![change(10), progress], vec![change(13)]];
    let server = Server::start(Script { watches, ..Default::default() });
    let ended = server.ctl(&["instance", "watch", "--after", "9", "-o", "json"]);
    assert_eq!(ended.exit, Exit::Precondition, "{ended:?}");
    assert!(ended.err.contains("error: changes after revision 13 are no longer kept"), "{}", ended.err);
    assert_eq!(server.seen().watched_after, [9, 12, 13]);
    let revisions: Vec<u64> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["revision"].as_u64().unwrap())
        .collect();
    assert_eq!(revisions, [10, 13]);
}

#[test]
fn without_a_server_the_error_says_where_it_looked_and_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let server = format!("unix:{}", home.path().join("none.sock").display());
    let ended = ctl(home.path(), &[], &["instance", "list", "--server", &server], "");
    assert_eq!(ended.exit, Exit::Unavailable);
    assert!(
        ended.err.starts_with(&format!("error: no server at {server} (--server flag): ")),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("make up"), "{}", ended.err);
    assert_eq!(ctl(home.path(), &[], &["version"], "").exit, Exit::Ok, "the version needs no server");
}

#[test]
fn flag_wins_over_environment_over_context_over_default() {
    let home = tempfile::tempdir().unwrap();
    let show = |environment: &[(&str, &str)], flags: &[&str]| {
        let ended = ctl(home.path(), environment, &[&["config", "show", "-o", "json"], flags].concat(), "");
        assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
        let value: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        (value["server"].as_str().unwrap().to_owned(), value["token_file"].as_str().unwrap().to_owned())
    };
    let pair = |server: &str, token: &str| (server.to_owned(), token.to_owned());
    let system = pair("unix:/run/hypervisor/server.sock", "/var/lib/hypervisor/token");
    assert_eq!(show(&[], &[]), system);

    let dev = home.path().join(".local/state/hypervisor/dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("server.sock"), "").unwrap();
    let dev = pair(&format!("unix:{}/server.sock", dev.display()), &format!("{}/token", dev.display()));
    assert_eq!(show(&[], &[]), dev);

    let set = ["config", "set", "lab", "--server", "unix:/lab.sock", "--token-file", "/lab-token"];
    assert_eq!(ctl(home.path(), &[], &set, "").exit, Exit::Ok);
    assert_eq!(show(&[], &[]), pair("unix:/lab.sock", "/lab-token"));
    assert_eq!(
        show(&[("HYPERVISOR_SERVER", "http://127.0.0.1:1")], &[]),
        pair("http://127.0.0.1:1", &dev.1),
        "the token of a context is for its server only"
    );
    assert_eq!(
        show(
            &[("HYPERVISOR_SERVER", "http://127.0.0.1:1")],
            &["--server", "unix:/flag.sock", "--token-file", "/t"]
        ),
        pair("unix:/flag.sock", "/t")
    );
    let ended = ctl(home.path(), &[], &["config", "use", "other"], "");
    assert_eq!(ended.exit, Exit::NotFound);
    assert!(ended.err.contains("there are: lab"), "{}", ended.err);
    assert_eq!(ctl(home.path(), &[], &["config", "contexts", "-o", "name"], "").out, "lab\n");
}

#[test]
fn wrong_flags_name_themselves_and_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    for (args, named) in [
        (&["instance", "create", "x", "--memory", "512"][..], "--memory"),
        (&["instance", "create", "x", "--publish", "22"], "--publish"),
        (&["instance", "create", "x", "--network", "nat"], "--network"),
        (&["instance", "create", "x", "--data-disk", "5G"], "--data-disk"),
        (&["instance", "create", "x", "--initrd", "i"], "--kernel"),
        (&["instance", "create", "x", "--network", "tap:t", "--publish", "1:2"], "--publish"),
        (&["instance", "create", "x", "--cloud-init", "/none"], "--cloud-init"),
        (&["instance", "create"], "NAME"),
        (&["instance", "console", "x", "--escape", "q"], "--escape"),
        (&["events", "--kind", "thing"], "--kind"),
    ] {
        let ended = ctl(home.path(), &[], args, "");
        assert_eq!(ended.exit, Exit::Usage, "{args:?}: {}", ended.err);
        assert!(ended.err.contains(named), "{args:?}: {}", ended.err);
    }
}

#[test]
fn every_command_has_a_man_page_a_completion_and_help() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("man1");
    assert_eq!(ctl(home.path(), &[], &["man", dir.to_str().unwrap()], "").exit, Exit::Ok);
    let root = std::fs::read_to_string(dir.join("hypervisor-ctl.1")).unwrap();
    assert!(root.contains("130") && root.contains("HYPERVISOR_TOKEN_FILE"), "exit codes and environment");
    let completions = ["bash", "zsh", "fish"].map(|shell| {
        let ended = ctl(home.path(), &[], &["completion", shell], "");
        assert_eq!(ended.exit, Exit::Ok);
        ended.out
    });
    for (resource, verbs) in [
        ("cluster", "info"),
        ("node", "list get cordon uncordon drain deregister"),
        (
            "instance",
            "list get create update start stop restart pause resume delete console stats watch explain",
        ),
        ("operation", "list get wait cancel"),
        ("config", "contexts use set show"),
    ] {
        for verb in verbs.split(' ') {
            let page = dir.join(format!("hypervisor-ctl-{resource}-{verb}.1"));
            assert!(page.exists(), "{}", page.display());
            let ended = ctl(home.path(), &[], &[resource, verb, "--help"], "");
            assert_eq!(ended.exit, Exit::Ok);
            assert!(ended.out.contains("Usage: hypervisor-ctl"), "{resource} {verb}");
            assert!(completions.iter().all(|text| text.contains(verb)), "{resource} {verb}");
        }
    }
    for page in ["events", "version", "completion", "man"] {
        assert!(dir.join(format!("hypervisor-ctl-{page}.1")).exists(), "{page}");
    }
}

#[test]
fn one_of_several_that_fails_keeps_no_other_from_its_turn() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    for action in ["stop", "delete", "start"] {
        let ended = server.ctl(&["instance", action, "nope", "web"]);
        assert_eq!(ended.exit, Exit::NotFound, "{ended:?}");
        assert!(ended.err.contains("error: nope: there is no instance `nope`"), "{}", ended.err);
        assert!(ended.out.contains("web"), "{ended:?}");
    }
    assert_eq!(server.seen().stopped.len(), 1);
}

#[test]
fn labels_choose_what_is_acted_on() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    let ended = server.ctl(&["instance", "stop", "-l", "tier=front", "-o", "json"]);
    assert_eq!(ended.exit, Exit::Ok, "{ended:?}");
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");
    let seen = server.seen();
    assert_eq!(seen.listed[0].label_selector, "tier=front");
    assert_eq!(seen.listed[0].project, "default");
    let stopped: Vec<_> = seen.stopped.iter().map(|request| request.instance.as_str()).collect();
    assert_eq!(stopped, ["0193-web"; 2], "by uid: a name may be another's by now");
    drop(seen);
    assert_eq!(server.ctl(&["instance", "stop"]).exit, Exit::Usage);
    assert_eq!(server.ctl(&["instance", "stop", "web", "-l", "a=b"]).exit, Exit::Usage);
}

#[test]
fn results_of_several_are_a_list_however_many_there_are() {
    let server = Server::start(Script { instance: web(), operations: done(), ..Default::default() });
    let json = |words: &[&str]| {
        let ended = server.ctl(&[words, &["-o", "json"]].concat());
        serde_json::from_str::<serde_json::Value>(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
    };
    assert!(json(&["instance", "stop", "web"]).is_object());
    assert!(json(&["instance", "delete", "web"]).is_object());
    assert_eq!(json(&["instance", "stop", "web", "nope"]).as_array().map(Vec::len), Some(1));
    assert_eq!(json(&["instance", "delete", "nope", "absent"]).as_array().map(Vec::len), Some(1));
    assert_eq!(json(&["instance", "start", "web", "nope", "--no-wait"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_list_is_that_of_the_project_unless_all_are_asked_for() {
    let server = Server::start(Script { instance: web(), ..Default::default() });
    for words in
        [&["instance", "list"][..], &["instance", "list", "--project", "p"], &["instance", "list", "-A"]]
    {
        assert_eq!(server.ctl(words).exit, Exit::Ok);
    }
    let asked: Vec<_> = server.seen().listed.iter().map(|request| request.project.clone()).collect();
    // Each list has two pages.
    assert_eq!(asked, ["default", "default", "p", "p", "", ""]);
}

#[test]
fn bash_completes_every_word() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("completion");
    std::fs::write(&script, ctl(home.path(), &[], &["completion", "bash"], "").out).unwrap();
    let complete = |words: &[&str]| {
        let (last, before) = words.split_last().unwrap();
        let ask = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _hypervisor__ctl hypervisor-ctl '{last}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words.len() - 1,
            before.last().unwrap()
        );
        let answer = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["hypervisor-ctl", "inst"]), "instance");
    assert_eq!(complete(&["hypervisor-ctl", "instance", "cr"]), "create");
    assert_eq!(complete(&["hypervisor-ctl", "vm", "create", "--cp"]), "--cpus");
    assert_eq!(complete(&["hypervisor-ctl", "node", "drain", "--reas"]), "--reason");
    assert_eq!(complete(&["hypervisor-ctl", "instance", "list", "-o", "ya"]), "yaml");
}

#[test]
fn an_image_is_a_file_and_no_address() {
    let server = Server::start(Script { instance: web(), ..Default::default() });
    let ended = server.ctl(&["instance", "create", "web", "--image", "https://example.org/debian-12.qcow2"]);
    assert_eq!(ended.exit, Exit::Usage);
    assert!(ended.err.contains("download it first"), "{}", ended.err);
    assert!(server.seen().created.is_empty());
}
