//! What is done with bytes that could be anything: by the fuzzer, and by `tests/double/fuzz.rs` without one.
//!
//! ```text
//!   uris      a URI, and what TLS may be spoken by its parameter
//!   config    libvirt.conf, in a directory of its own
//!   auth      auth.conf
//!   replies   what QEMU's monitor, or a guest's agent, answers
//! ```

use libvirt_client::transport::Priority;
use libvirt_client::uri::{Access, Environment, Uri};
use libvirt_client::{AuthFile, Credentials, ErrorKind, qemu_value};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What takes any bytes, and panics when something is wrong.
pub(crate) type Target = fn(&[u8]);

/// By name.
pub(crate) const TARGETS: [(&str, Target); 4] =
    [("uris", uris), ("config", config), ("auth", auth), ("replies", replies)];

/// Reads a URI; what the daemon is told of it is a URI too, and means the same to the daemon.
pub(crate) fn uris(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(uri) = text.parse::<Uri>() else { return };
    if !uri.path.starts_with('/') {
        return;
    }
    let _ = uri.socket(&Environment::default(), Access::Full);
    if let Some(list) = uri.parameter("tls_priority")
        && let Ok(priority) = list.parse::<Priority>()
    {
        // What is permitted needs a version.
        assert!(format!("{list}:-VERS-ALL").parse::<Priority>().is_err(), "{list}: {priority:?}");
    }
    let told = uri.remote_name();
    if uri.parameter("name").is_none() && !told.is_empty() {
        let again: Uri = told.parse().unwrap_or_else(|error| panic!("`{told}` of `{text}`: {error}"));
        assert_eq!(again.remote_name(), told, "{text}");
    }
}

/// Reads settings of the host as a client does that opens what a name means.
pub(crate) fn config(bytes: &[u8]) {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("libvirt-config-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("libvirt")).expect("there is room");
        directory
    });
    std::fs::write(directory.join("libvirt/libvirt.conf"), bytes).expect("there is room");
    let environment = Environment { config_directory: Some(directory.clone()), ..Environment::default() };
    for name in ["", "a", "qemu:///system"] {
        if let Ok(uri) = Uri::resolve(name, &environment) {
            let _ = uri.remote_name();
        }
    }
}

/// Reads a file with passwords, which are in no message.
pub(crate) fn auth(bytes: &[u8]) {
    match String::from_utf8_lossy(bytes).parse::<AuthFile>() {
        Ok(file) => {
            if let Some(found) = file.credentials("libvirt", "host") {
                // Whatever the password is, and were it the user's name.
                let other = Credentials { user: found.user.clone(), password: "another".to_owned() };
                assert_eq!(format!("{found:?}"), format!("{other:?}"));
            }
        }
        Err(error) => assert!(error.to_string().len() < 200, "it says which line and not what is there"),
    }
}

/// Reads a reply: a value, a refusal with its class, or nonsense.
pub(crate) fn replies(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let json: Option<Value> = serde_json::from_str(&text).ok();
    match qemu_value(&text) {
        Ok(value) => {
            assert_eq!(json.and_then(|mut json| json.get_mut("return").map(Value::take)), Some(value))
        }
        Err(error) => match error.kind() {
            ErrorKind::Qemu(_) => assert!(json.is_some_and(|json| json.get("error").is_some())),
            ErrorKind::Protocol(_) => {}
            other => panic!("{other:?}"),
        },
    }
}
