//! Writes down which commands and events the tests saw, for `cargo xtask coverage qmp`, which sets the variable that asks for it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    sync::{Mutex, Once},
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// A directory: each program of tests writes a file of its own there.
const VARIABLE: &str = "HV_QMP_OBSERVED";

/// What the client tells of each answer and each event.
const TARGET: &str = "qmp::observed";

/// From now on, in this process, as lines `kind name by outcome test`; a test is told by the name of its program and its own.
pub(crate) fn observe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(clippy::disallowed_methods, reason = "xtask has no other way to a test")]
        let Some(directory) = std::env::var_os(VARIABLE) else { return };
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_str().unwrap();
        let program = program.split('-').next().unwrap().to_owned();
        let name = format!("{program}-{}", std::process::id());
        let file = std::fs::File::create(std::path::Path::new(&directory).join(name)).unwrap();
        let observer = Observer { program, written: Mutex::new((BTreeSet::new(), file)) };
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(observer)).unwrap();
    });
}

struct Observer {
    program: String,
    written: Mutex<(BTreeSet<String>, std::fs::File)>,
}

impl<S: tracing::Subscriber> Layer<S> for Observer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        // Tests run in threads of their names; what they start in others is told apart by nothing but its program.
        let thread = std::thread::current();
        let test = thread.name().filter(|name| !name.starts_with("tokio")).unwrap_or("-");
        let Line { kind, name, by, outcome } = line;
        let line = format!("{kind} {name} {by} {outcome} {}::{test}\n", self.program);
        let (seen, file) = &mut *self.written.lock().unwrap();
        if seen.insert(line.clone()) {
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET
    }
}

#[derive(Default)]
struct Line {
    kind: String,
    name: String,
    by: String,
    outcome: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let place = match field.name() {
            "kind" => &mut self.kind,
            "name" => &mut self.name,
            "by" => &mut self.by,
            "outcome" => &mut self.outcome,
            _ => return,
        };
        place.clear();
        let _ = write!(place, "{value:?}");
        place.retain(|character| character != '"');
    }
}
