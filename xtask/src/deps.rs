//! `deps`: which workspace crate may know which, with the reason for each edge that is forbidden.

use crate::sh::{self, say};
use anyhow::{Result, bail};
use serde::Deserialize;

/// Compares the edges that cargo knows with the rules.
///
/// # Errors
/// With the number of forbidden edges, each of which has been printed with its reason.
pub fn check() -> Result<()> {
    let json = sh::output(sh::cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let mut forbidden = 0;
    for package in &metadata.packages {
        let from = Crate { name: &package.name, in_lib: package.manifest_path.contains("/lib/") };
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let to = Crate { name: &dependency.name, in_lib: path.contains("/lib/") };
            let tests_only = dependency.kind.as_deref() == Some("dev");
            if let Some(reason) = objection(from, to, tests_only) {
                say(&format!("{} -> {}: {reason}", from.name, to.name));
                forbidden += 1;
            }
        }
    }
    if forbidden > 0 {
        bail!("{forbidden} forbidden edges between crates");
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Crate<'a> {
    name: &'a str,
    in_lib: bool,
}

/// Why `from` must not depend on `to`; `None` when it may.
fn objection(from: Crate<'_>, to: Crate<'_>, tests_only: bool) -> Option<&'static str> {
    if from.in_lib {
        return (!to.in_lib).then_some("lib is useful without the platform and must build without it");
    }
    if from.name == "xtask" {
        return Some("developer commands must build in seconds and when the platform does not build");
    }
    if tests_only {
        return None;
    }
    let driver = |name: &str| name.starts_with("hv-driver-");
    match from.name {
        "hv-core" => Some("hv-core is known to all: whatever it knew, everybody would"),
        "hv-runtime" => (to.name != "hv-core")
            .then_some("hv-runtime wraps clock, ids and tasks; it knows nothing of what runs on them"),
        "hv-api" | "hv-store" | "hv-driver" | "hv-storage" | "hv-net" => match to.name {
            "hv-core" => None,
            "hv-store" => Some("only the server touches the store"),
            "hv-runtime" => Some("contracts take time and ids as arguments, so that they can be simulated"),
            _ if to.in_lib && matches!(from.name, "hv-net" | "hv-storage") => None,
            _ => Some("contracts stand side by side on hv-core; programs join them"),
        },
        name if driver(name) => match to.name {
            "hv-core" | "hv-driver" | "hv-runtime" | "hv-storage" => None,
            _ if to.in_lib => None,
            "hv-api" => Some("a driver must not know the wire: the API would freeze it"),
            _ => Some("a driver knows its contract, its protocol library and what makes disks"),
        },
        "hv-client" => match to.name {
            "hv-core" | "hv-api" | "hv-runtime" => None,
            _ => Some("hv-client reaches the server; what is asked there is its users' business"),
        },
        "hv-sim" => None,
        "hypervisor-server" => match to.name {
            "hv-core" | "hv-api" | "hv-store" | "hv-runtime" => None,
            name if name == "hv-driver" || driver(name) => {
                Some("the server decides and never touches a machine: agents drive")
            }
            _ => Some("the server reaches nodes through the agent's stream only"),
        },
        "hypervisor-agent" => match to.name {
            "hv-core" | "hv-api" | "hv-client" | "hv-driver" | "hv-storage" | "hv-net" | "hv-runtime" => None,
            name if driver(name) || to.in_lib => None,
            "hv-store" => Some("only the server touches the store"),
            _ => Some("the agent meets server and ctl through the API only"),
        },
        "hypervisor-ctl" => match to.name {
            "hv-core" | "hv-api" | "hv-client" | "hv-runtime" => None,
            _ => Some("ctl sees what every API client sees"),
        },
        "hypervisor" => match to.name {
            "hv-store" => Some("only the server touches the store"),
            // It hands the agent's driver on, as a trait object.
            name if driver(name) => Some("drivers are the agent's business"),
            _ => None,
        },
        "e2e" => match to.name {
            "hv-api" | "hv-client" | "hv-runtime" | "xtask" => None,
            _ => Some("end-to-end tests start the programs and use what their users use"),
        },
        "hv-qmp" => (to.name != "qmp").then_some("the shell is a tool of its library"),
        "vhost-user-check" => (!to.in_lib).then_some("the checker is a tool of the library"),
        _ => Some("this crate has no rule yet: add it to xtask/src/deps.rs"),
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, tests_only: bool) -> bool {
        let known = |name| Crate { name, in_lib: matches!(name, "qmp" | "qemu") };
        objection(known(from), known(to), tests_only).is_none()
    }

    #[test]
    fn the_rules_of_the_design() {
        for (from, to) in [
            ("qemu", "qmp"),
            ("hv-store", "hv-core"),
            ("hv-driver-qemu", "qemu"),
            ("hv-driver-qemu", "hv-storage"),
            ("hypervisor-agent", "hv-driver-qemu"),
            ("hypervisor-server", "hv-store"),
            ("hypervisor", "hypervisor-agent"),
            ("hypervisor-ctl", "hv-client"),
            ("e2e", "hv-client"),
        ] {
            assert!(edge(from, to, false), "{from} -> {to}");
        }
        for (from, to) in [
            ("qmp", "hv-core"),
            ("hv-core", "hv-api"),
            ("hv-api", "hv-store"),
            ("hypervisor-agent", "hv-store"),
            ("hypervisor-server", "hv-driver-qemu"),
            ("hypervisor-ctl", "hypervisor-server"),
            ("e2e", "hypervisor-agent"),
            ("brand-new", "hv-core"),
        ] {
            assert!(!edge(from, to, false), "{from} -> {to}");
        }
        assert!(edge("hv-store", "hv-runtime", true), "tests may use more");
        assert!(!edge("qmp", "hv-core", true), "but never lib");
    }
}
