//! Writes down which procedures the tests saw answered, for `cargo xtask coverage libvirt`, which sets the variable that asks for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, Once};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A directory: each program of tests writes a file of its own there.
const VARIABLE: &str = "HV_LIBVIRT_OBSERVED";

/// From now on, in this process: what is traced under this target, as lines `program procedure refusal flags test`; a test is told by the
/// name of its program and its own.
pub(crate) fn observe(target: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(clippy::disallowed_methods, reason = "xtask has no other way to a test")]
        let Some(directory) = std::env::var_os(VARIABLE) else { return };
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_str().unwrap();
        let program = program.split('-').next().unwrap().to_owned();
        let name = format!("{target}-{program}-{}", std::process::id()).replace("::", "-");
        let file = std::fs::File::create(std::path::Path::new(&directory).join(name)).unwrap();
        let observer = Observer { target, program, written: Mutex::new((BTreeSet::new(), file)) };
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(observer)).unwrap();
    });
}

struct Observer {
    target: &'static str,
    program: String,
    written: Mutex<(BTreeSet<String>, std::fs::File)>,
}

impl<S: tracing::Subscriber> Layer<S> for Observer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if !self.wants(event.metadata()) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        // Tests run in threads of their names; what they start in others is told apart by nothing but its program.
        let thread = std::thread::current();
        let test = thread.name().filter(|name| !name.starts_with("tokio")).unwrap_or("-");
        let Line { program, procedure, refused, flags } = line;
        let line = format!("{program} {procedure} {refused} {flags:#x} {}::{test}\n", self.program);
        let (seen, file) = &mut *self.written.lock().unwrap();
        if seen.insert(line.clone()) {
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }
}

/// What is traced when a connection is open.
const OPENED: &str = "libvirt_client::opened";

impl Observer {
    fn wants(&self, metadata: &tracing::Metadata<'_>) -> bool {
        [self.target, OPENED].contains(&metadata.target())
    }
}

struct Line {
    program: String,
    procedure: String,
    refused: String,
    flags: u64,
}

impl Default for Line {
    fn default() -> Self {
        let ok = "ok".to_owned();
        Self { program: String::new(), procedure: String::new(), refused: ok, flags: 0 }
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "flags" {
            self.flags = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let place = match field.name() {
            "program" => &mut self.program,
            "procedure" => &mut self.procedure,
            "refused" => &mut self.refused,
            "transport" => {
                "transport".clone_into(&mut self.program);
                &mut self.procedure
            }
            _ => return,
        };
        place.clear();
        let _ = write!(place, "{value:?}");
        place.retain(|c| c != '"');
    }
}
