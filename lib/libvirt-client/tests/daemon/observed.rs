//! Writes down which procedures the tests saw answered, for `cargo xtask coverage libvirt`, which sets the variable that asks for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, Once};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A directory: each program of tests writes a file of its own there.
const VARIABLE: &str = "HV_LIBVIRT_OBSERVED";

/// From now on, in this process: what is traced under this target, as lines `program procedure refusal test`.
pub(crate) fn observe(target: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[expect(clippy::disallowed_methods, reason = "xtask has no other way to a test")]
        let Some(directory) = std::env::var_os(VARIABLE) else { return };
        let name = format!("{target}-{}", std::process::id()).replace("::", "-");
        let file = std::fs::File::create(std::path::Path::new(&directory).join(name)).unwrap();
        let observer = Observer { target, written: Mutex::new((BTreeSet::new(), file)) };
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(observer)).unwrap();
    });
}

struct Observer {
    target: &'static str,
    written: Mutex<(BTreeSet<String>, std::fs::File)>,
}

impl<S: tracing::Subscriber> Layer<S> for Observer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != self.target {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        // Tests run in threads of their names; what they start in others is told apart by nothing but its program.
        let thread = std::thread::current();
        let test = thread.name().filter(|name| !name.starts_with("tokio")).unwrap_or("-");
        let line = format!("{} {} {} {test}\n", line.program, line.procedure, line.refused);
        let (seen, file) = &mut *self.written.lock().unwrap();
        if seen.insert(line.clone()) {
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == self.target
    }
}

struct Line {
    program: String,
    procedure: String,
    refused: String,
}

impl Default for Line {
    fn default() -> Self {
        let ok = "ok".to_owned();
        Self { program: String::new(), procedure: String::new(), refused: ok }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let place = match field.name() {
            "program" => &mut self.program,
            "procedure" => &mut self.procedure,
            "refused" => &mut self.refused,
            _ => return,
        };
        place.clear();
        let _ = write!(place, "{value:?}");
        place.retain(|c| c != '"');
    }
}
