//! Logs: fields, not sentences; to standard error; no secrets.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is a level, or directives such as `info,hypervisor_agent=debug`.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log level `{filter}`: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell them on standard error too, and panic where nobody reads that any more.
        .log_internal_errors(false);
    match format {
        Format::Text => builder.with_ansi(rustix::termios::isatty(std::io::stderr())).try_init(),
        Format::Json => builder.json().try_init(),
    }
    .map_err(|error| error.to_string())
}
