//! The generated types against the schemas that real programs answer with, and against their real replies.
//!
//! The schema is asked for anew and walked by the code here, which shares nothing with the generator.

use crate::{
    Client, CloseReason, Event, Options,
    commands::{COMMANDS, EVENTS, Facts, QueryQmpSchema, QueryStatus, QueryVersion, Quit},
    deadline::Deadlines,
    events::EventData,
    generated::checks,
    wire::DecodeError,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// The programs: name, release, whether it is the storage daemon.
const PROGRAMS: [(&str, &str, bool); 4] = [
    ("qemu-system-x86_64", "7.2", false),
    ("qemu-storage-daemon", "7.2", true),
    ("qemu-system-x86_64", "10.0", false),
    ("qemu-storage-daemon", "10.0", true),
];

/// A program that ends with the test.
struct Running {
    child: Child,
    client: Client,
    _driver: JoinSet<Arc<CloseReason>>,
    release: &'static str,
    storage: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the QEMU of Debian 13 was unpacked, if it was.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn unpacked() -> PathBuf {
    std::env::var_os("HV_QEMU_ROOT")
        .map_or_else(|| PathBuf::from("/var/cache/hypervisor/qemu-trixie"), PathBuf::from)
}

fn command(program: &str, release: &str, storage: bool) -> Option<Command> {
    if release == "7.2" {
        let installed = PathBuf::from("/usr/bin").join(program);
        return installed.exists().then(|| Command::new(installed));
    }
    let root = unpacked();
    let binary = root.join("usr/bin").join(program);
    if !binary.exists() {
        return None;
    }
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    // It takes its modules from here; those of another build end it.
    command.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu")).arg(binary);
    if !storage {
        command.arg("-L").arg(root.join("usr/share/qemu")).arg("-L").arg(root.join("usr/share/seabios"));
    }
    Some(command)
}

/// Starts every program that is there, paused and with something to tell of.
async fn programs(test: &str) -> Vec<Running> {
    crate::observed::observe();
    let mut running = Vec::new();
    for (program, release, storage) in PROGRAMS {
        let Some(mut command) = command(program, release, storage) else {
            println!("not run: {test} on {program} {release}: it is not there (cargo xtask qemu-root)");
            continue;
        };
        let disk = r#"{"driver":"null-co","node-name":"disk","size":1048576,"read-zeroes":true}"#;
        command.args(["--blockdev", disk]);
        if storage {
            command.args(["--chardev", "stdio,id=monitor", "--monitor", "monitor"]);
        } else {
            command.args(["-machine", "q35", "-accel", "tcg", "-m", "64", "-S", "-nodefaults"]);
            command.args(["-no-user-config", "-display", "none", "-qmp", "stdio"]);
            command.args(["-device", "virtio-blk-pci,drive=disk,id=disk0"]);
            command.args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,id=net0"]);
            command.args(["-object", "memory-backend-ram,id=ram,size=16M", "-object", "iothread,id=io"]);
            command.args(["-device", "virtio-balloon-pci,id=balloon", "-chardev", "null,id=serial"]);
        }
        let (near, far) = UnixStream::pair().unwrap();
        let output = OwnedFd::from(far.try_clone().unwrap());
        let child =
            command.stdin(OwnedFd::from(far)).stdout(output).stderr(Stdio::inherit()).spawn().unwrap();
        drop(command);
        near.set_nonblocking(true).unwrap();
        let options =
            Options { deadlines: Deadlines::all(Some(Duration::from_secs(60))), ..Options::default() };
        let (client, driver) = crate::client(tokio::net::UnixStream::from_std(near).unwrap(), options);
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        running.push(Running { child, client, _driver: tasks, release, storage });
    }
    running
}

impl Running {
    async fn schema(&self) -> Schema {
        let entries = self.client.execute("query-qmp-schema", Map::new()).await.unwrap();
        let entries = entries.as_array().unwrap().iter().cloned();
        let entries =
            entries.map(|entry| (entry["name"].as_str().unwrap().to_owned(), Arc::new(entry))).collect();
        Schema { entries, turns: HashMap::new() }
    }

    fn name(&self) -> String {
        format!("{} {}", if self.storage { "storage daemon" } else { "system" }, self.release)
    }

    fn has(&self, facts: &Facts) -> bool {
        let releases = if self.storage { facts.storage_daemon } else { facts.system };
        releases.contains(&self.release)
    }
}

/// A schema, and samples of its types.
struct Schema {
    entries: BTreeMap<String, Arc<Value>>,
    /// How often a type was asked for a sample: each time it gives another one of its values or variants.
    turns: HashMap<String, usize>,
}

/// Deeper inside, members that may be left out are.
const DEPTH: usize = 6;

impl Schema {
    fn of_kind(&self, kind: &str) -> BTreeMap<String, Arc<Value>> {
        let these = self.entries.iter().filter(|(_, entry)| entry["meta-type"] == kind);
        these.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    fn turn(&mut self, name: &str, of: usize) -> usize {
        let turns = self.turns.entry(name.to_owned()).or_default();
        *turns += 1;
        (*turns - 1) % of
    }

    fn sample(&mut self, name: &str, depth: usize) -> Value {
        let entry = self.entries[name].clone();
        match entry["meta-type"].as_str().unwrap() {
            "builtin" => match name {
                "int" => json!(7),
                "str" => json!("text"),
                "bool" => json!(true),
                "number" => json!(1.5),
                "null" => Value::Null,
                "any" => json!({"any": [1, null]}),
                other => panic!("a builtin type that is new: {other}"),
            },
            "enum" => {
                let values = entry["members"].as_array().unwrap();
                let turn = self.turn(name, values.len() + 1);
                // Once in a round a value that nobody knows.
                values.get(turn).map_or(json!("of-tomorrow"), |value| value["name"].clone())
            }
            "array" => {
                let element = entry["element-type"].as_str().unwrap();
                let count = DEPTH.saturating_sub(depth).min(1 + usize::from(depth < 2));
                (0..count).map(|_| self.sample(element, depth + 1)).collect()
            }
            "alternate" => {
                let arms = entry["members"].as_array().unwrap();
                // Objects come back to the same type; from some depth on the simplest arm must do.
                let plain =
                    |arm: &&Value| self.entries[arm["type"].as_str().unwrap()]["meta-type"] != "object";
                let arms: Vec<Value> =
                    if depth < DEPTH { arms.clone() } else { arms.iter().filter(plain).cloned().collect() };
                let turn = self.turn(name, arms.len());
                self.sample(arms[turn]["type"].as_str().unwrap(), depth + 1)
            }
            "object" => self.object(name, &entry, depth),
            other => panic!("a type of a new kind: {other}"),
        }
    }

    fn object(&mut self, name: &str, entry: &Value, depth: usize) -> Value {
        let turn = self.turn(name, 2);
        let mut object = Map::new();
        for member in entry["members"].as_array().unwrap() {
            let optional = member.get("default").is_some();
            if optional && (depth >= DEPTH || turn == 1) {
                continue;
            }
            let sample = self.sample(member["type"].as_str().unwrap(), depth + 1);
            object.insert(member["name"].as_str().unwrap().to_owned(), sample);
        }
        if let Some(variants) = entry.get("variants").and_then(Value::as_array) {
            let tag = entry["tag"].as_str().unwrap();
            // Now and then a variant that nobody knows.
            if self.turn(&format!("{name} of tomorrow"), 7) == 6 {
                object.insert(tag.to_owned(), json!("of-tomorrow"));
                object.insert("brought-by-it".to_owned(), json!([1]));
                return Value::Object(object);
            }
            let turn = self.turn(&format!("{name} variants"), variants.len());
            let variant = &variants[turn];
            object.insert(tag.to_owned(), variant["case"].clone());
            let inner = self.sample(variant["type"].as_str().unwrap(), depth + 1);
            object.extend(inner.as_object().unwrap().clone());
        }
        Value::Object(object)
    }

    /// Unions of which some variant has not been in a sample.
    fn unseen(&self) -> BTreeSet<String> {
        let unions = self.entries.iter().filter_map(|(name, entry)| Some((name, entry.get("variants")?)));
        let unseen = unions.filter(|(name, variants)| {
            let turns = self.turns.get(&format!("{name} variants")).copied().unwrap_or_default();
            turns < variants.as_array().unwrap().len()
        });
        unseen.map(|(name, _)| name.clone()).collect()
    }
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
        (part, whole) => part == whole,
    }
}

/// Puts a member that nobody knows into every object.
fn with_unknown_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(with_unknown_members);
            members.insert("x-of-tomorrow".to_owned(), json!([{}, 1]));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_members),
        _ => {}
    }
}

fn check(what: &str, through: fn(Value) -> Result<Value, DecodeError>, sample: Value) {
    let typed = through(sample.clone()).unwrap_or_else(|error| panic!("{what}: {error} in {sample}"));
    assert!(within(&sample, &typed), "{what}: {sample} became {typed}");
    let mut newer = sample;
    with_unknown_members(&mut newer);
    let typed = through(newer.clone());
    typed.unwrap_or_else(|error| panic!("{what}: an unknown member was too much: {error} in {newer}"));
}

#[tokio::test]
async fn commands_and_events_are_those_of_the_real_programs() {
    for program in programs("commands_and_events_are_those_of_the_real_programs").await {
        let schema = program.schema().await;
        for (kind, table) in [("command", COMMANDS), ("event", EVENTS)] {
            let ours: BTreeSet<_> =
                table.iter().filter(|facts| program.has(facts)).map(|facts| facts.name.to_owned()).collect();
            let real = schema.of_kind(kind);
            assert_eq!(ours, real.keys().cloned().collect(), "{kind}s of {}", program.name());
            for facts in table.iter().filter(|facts| program.has(facts)) {
                let entry = &real[facts.name];
                let oob = entry.get("allow-oob").is_some_and(|oob| *oob == json!(true));
                assert!(oob == facts.allow_oob || program.storage, "{} out of band", facts.name);
                let features = entry.get("features").and_then(Value::as_array).cloned().unwrap_or_default();
                assert!(!features.contains(&json!("unstable")) || facts.unstable, "{}", facts.name);
                assert!(!features.contains(&json!("deprecated")) || facts.deprecated, "{}", facts.name);
            }
        }
    }
}

#[tokio::test]
async fn every_command_takes_and_every_reply_gives_all_that_the_schema_says() {
    for program in programs("every_command_takes_and_every_reply_gives_all_that_the_schema_says").await {
        let mut schema = program.schema().await;
        let commands = schema.of_kind("command");
        let in_events: BTreeSet<String> = schema
            .of_kind("event")
            .values()
            .flat_map(|event| {
                let members =
                    schema.entries[event["arg-type"].as_str().unwrap()]["members"].as_array().unwrap();
                members.iter().map(|member| member["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        let missing =
            |schema: &Schema| -> Vec<String> { schema.unseen().difference(&in_events).cloned().collect() };
        // Each round shows other variants, so the rare ones take many.
        let mut rounds = 0;
        while rounds < 10 || (rounds < 600 && !missing(&schema).is_empty()) {
            rounds += 1;
            for (name, arguments, reply) in checks::ALL {
                let Some(entry) = commands.get(*name) else { continue };
                let sample = schema.sample(entry["arg-type"].as_str().unwrap(), 0);
                check(&format!("{}: {name}", program.name()), *arguments, sample);
                let sample = schema.sample(entry["ret-type"].as_str().unwrap(), 0);
                check(&format!("{}: reply to {name}", program.name()), *reply, sample);
            }
        }
        let unseen = missing(&schema);
        assert!(unseen.is_empty(), "{}: variants that no sample had: {unseen:?}", program.name());
    }
}

#[tokio::test]
async fn every_command_and_event_passes_between_client_and_server() {
    for program in programs("every_command_and_event_passes_between_client_and_server").await {
        let mut schema = program.schema().await;
        let (near, far) = tokio::io::duplex(1 << 16);
        let (client, driver) = crate::client(near, Options::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        let mut server = crate::scripted::Server::new(far);
        server.greet([7, 2, 0], &["oob"]).await.unwrap();
        let mut events = client.subscribe(crate::Filter::All, 256);
        for (name, entry) in schema.of_kind("command") {
            let (_, arguments, reply) = checks::ALL.iter().find(|(known, ..)| *known == name).unwrap();
            let asked = arguments(schema.sample(entry["arg-type"].as_str().unwrap(), 0)).unwrap();
            let answer = schema.sample(entry["ret-type"].as_str().unwrap(), 0);
            let Value::Object(members) = asked.clone() else { panic!("{name} takes no object") };
            let (got, ()) = tokio::join!(client.execute(&name, members), async {
                let request = server.request().await.unwrap();
                assert_eq!(request["execute"], name);
                assert!(within(&asked, request.get("arguments").unwrap_or(&json!({}))), "{request}");
                server.answer(&request, answer.clone()).await.unwrap();
            });
            assert!(within(&answer, &reply(got.unwrap()).unwrap()), "{name}");
        }
        for (name, entry) in schema.of_kind("event") {
            let data = schema.sample(entry["arg-type"].as_str().unwrap(), 0);
            server.event(&name, data).await.unwrap();
            let typed = EventData::of(&events.next().await.unwrap()).unwrap();
            assert_eq!(typed.name(), name);
        }
    }
}

#[tokio::test]
async fn every_event_is_decoded_from_what_the_schema_says() {
    for program in programs("every_event_is_decoded_from_what_the_schema_says").await {
        let mut schema = program.schema().await;
        for (name, entry) in schema.of_kind("event") {
            for _ in 0..20 {
                let mut sample = schema.sample(entry["arg-type"].as_str().unwrap(), 0);
                with_unknown_members(&mut sample);
                let Value::Object(data) = sample else { panic!("{name} is no object") };
                let event = Event { name: name.clone(), data, timestamp: None };
                let typed =
                    EventData::of(&event).unwrap_or_else(|error| panic!("{name}: {error} in {event:?}"));
                assert_eq!(typed.name(), name);
                assert!(!matches!(typed, EventData::Unknown { .. }), "{name} is not known");
            }
        }
    }
}

#[test]
fn an_event_of_tomorrow_is_kept_whole() {
    let data = Map::from_iter([("a".to_owned(), json!(1))]);
    let typed = EventData::parse("OF_TOMORROW", data.clone()).unwrap();
    assert_eq!(typed, EventData::Unknown { name: "OF_TOMORROW".to_owned(), data });
    assert_eq!(typed.name(), "OF_TOMORROW");
}

#[tokio::test]
async fn real_replies_lose_nothing_in_their_typed_form() {
    for program in programs("real_replies_lose_nothing_in_their_typed_form").await {
        let client = &program.client;
        let version = client.call(&QueryVersion {}).await.unwrap();
        assert_eq!(format!("{}.{}", version.qemu.major, version.qemu.minor), program.release);
        if !program.storage {
            assert!(!client.call(&QueryStatus {}).await.unwrap().running);
        }
        let schema = program.schema().await;
        let entries = client.call(&QueryQmpSchema {}).await.unwrap();
        assert_eq!(entries.len(), schema.entries.len());
        // The same by another way.
        assert_eq!(*client.schema().await.unwrap(), crate::schema::Schema::new(entries));
        let mut answered = 0;
        for (name, entry) in schema.of_kind("command") {
            let arguments =
                schema.entries[entry["arg-type"].as_str().unwrap()]["members"].as_array().unwrap();
            let optional = arguments.iter().all(|member| member.get("default").is_some());
            let query = name.starts_with("query-") || name.starts_with("x-query-");
            if !query || !optional {
                continue;
            }
            let (.., through) = checks::ALL.iter().find(|(known, ..)| *known == name).unwrap();
            match client.execute(&name, Map::new()).await {
                Ok(reply) => {
                    let typed =
                        through(reply.clone()).unwrap_or_else(|error| panic!("{name}: {error}: {reply}"));
                    assert!(within(&reply, &typed), "{name}: {reply} became {typed}");
                    answered += 1;
                }
                // Of a part that this machine does not have.
                Err(error) => assert!(error.refusal().is_some(), "{name}: {error}"),
            }
        }
        println!("{}: {answered} queries answered", program.name());
        assert!(answered >= if program.storage { 8 } else { 50 }, "{answered} queries answered");
        client.call(&Quit {}).await.unwrap();
    }
}
