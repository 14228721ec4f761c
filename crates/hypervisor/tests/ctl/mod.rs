//! The command line in this process, against a server of a test.

use hypervisor::local::Layout;
use hypervisor_ctl::{Exit, Io};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Runs the command line as `main` would; answers its exit and all that it said.
pub(crate) async fn ctl(layout: &Layout, args: &[&str]) -> (Exit, String) {
    let said = Said::default();
    let io = Io {
        out: Box::new(said.clone()),
        err: Box::new(said.clone()),
        input: None,
        environment: [
            ("HYPERVISOR_SERVER".to_owned(), format!("unix:{}", layout.socket().display())),
            ("HYPERVISOR_TOKEN_FILE".to_owned(), layout.token().display().to_string()),
        ]
        .into(),
        out_is_terminal: false,
        err_is_terminal: false,
        input_is_terminal: false,
    };
    let words: Vec<_> =
        std::iter::once("hypervisor-ctl").chain(args.iter().copied()).map(Into::into).collect();
    // It has a runtime of its own.
    let exit = tokio::task::spawn_blocking(move || hypervisor_ctl::run(words, io)).await.unwrap();
    let text = String::from_utf8_lossy(&said.0.lock().unwrap()).into_owned();
    (exit, text)
}

/// Output and errors in one, as on a terminal.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
