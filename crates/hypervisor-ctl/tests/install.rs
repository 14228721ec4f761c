//! `make install` puts everything in its place, and systemd accepts the units.
#![cfg(test)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 4] = ["hypervisor", "hypervisor-server", "hypervisor-agent", "hypervisor-ctl"];
const UNITS: [&str; 4] = [
    "hypervisor-server.service",
    "hypervisor-agent.service",
    "hypervisor-guests.service",
    "hypervisor-power-down.service",
];

/// Installs into a directory. Only hypervisor-ctl, which writes its own pages, is the real program: cargo has not built the
/// others at this point.
fn install(name: &str) -> Option<tempfile::TempDir> {
    if Command::new("make").arg("--version").output().is_err() {
        println!("not run: {name}: make is missing");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in PROGRAMS {
        let file = bin.join(program);
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ctl = bin.join("hypervisor-ctl");
    std::fs::remove_file(&ctl).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hypervisor-ctl"), ctl).unwrap();
    let make = Command::new("make")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .arg("install-files")
        .arg(format!("BIN={}", bin.display()))
        .arg(format!("DESTDIR={}", dir.path().join("root").display()))
        .arg("PREFIX=/usr")
        .output()
        .unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    Some(dir)
}

fn root(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("root")
}

#[test]
fn everything_is_in_place() {
    let Some(dir) = install("everything_is_in_place") else { return };
    let root = root(&dir);
    for program in PROGRAMS {
        let mode = std::fs::metadata(root.join("usr/bin").join(program)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{program}");
    }
    for (file, text) in [
        ("usr/share/man/man1/hypervisor-ctl.1", ".TH hypervisor-ctl 1"),
        ("usr/share/man/man1/hypervisor-ctl-instance-create.1", "cloud\\-init"),
        ("usr/share/bash-completion/completions/hypervisor-ctl", "-o default hypervisor-ctl"),
        ("usr/share/zsh/site-functions/_hypervisor-ctl", "#compdef hypervisor-ctl"),
        ("usr/share/fish/vendor_completions.d/hypervisor-ctl.fish", "complete -c hypervisor-ctl"),
        ("etc/hypervisor/server.toml.example", "grpc_addr = "),
        ("etc/hypervisor/agent.toml.example", "server_addr = "),
        ("usr/lib/systemd/system/hypervisor-server.service", "ExecStart=/usr/bin/hypervisor-server"),
        ("usr/lib/systemd/system/hypervisor-agent.service", "KillMode=process"),
    ] {
        let content = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(content.contains(text), "{file} lacks {text:?}");
    }
}

#[test]
fn systemd_accepts_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("not run: systemd_accepts_the_units: systemd-analyze is missing (package systemd)");
        return;
    }
    let Some(dir) = install("systemd_accepts_the_units") else { return };
    // The programs are where we put them, not where the unit says.
    let prefix = root(&dir).join("usr");
    let units = UNITS.map(|unit| {
        let file = prefix.join("lib/systemd/system").join(unit);
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("=/usr/bin", &format!("={}/bin", prefix.display()));
        std::fs::write(&file, text).unwrap();
        file
    });
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr);
    // It warns about what it ignores and succeeds all the same.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("hypervisor-")).collect();
    assert!(verify.status.success() && ours.is_empty(), "{said}");
}

/// The directories of the units are those of the programs' defaults.
#[test]
fn the_units_make_the_directories_that_the_examples_name() {
    let Some(dir) = install("the_units_make_the_directories_that_the_examples_name") else { return };
    let read = |file: &str| std::fs::read_to_string(root(&dir).join(file)).unwrap();
    for (unit, example) in [("server", "server"), ("agent", "agent")] {
        let unit = read(&format!("usr/lib/systemd/system/hypervisor-{unit}.service"));
        let made = |key: &str, base: &str| -> Vec<PathBuf> {
            let line = unit.lines().find_map(|line| line.strip_prefix(key));
            line.into_iter().flat_map(str::split_whitespace).map(|name| Path::new(base).join(name)).collect()
        };
        let mut directories = made("StateDirectory=", "/var/lib");
        directories.extend(made("RuntimeDirectory=", "/run"));
        let example = read(&format!("etc/hypervisor/{example}.toml.example"));
        for line in example.lines() {
            let Some((key @ ("state_dir" | "token_file" | "socket"), value)) = line.split_once(" = ") else {
                continue;
            };
            let path = Path::new(value.trim_matches('"'));
            let wanted = if key == "state_dir" { Some(path) } else { path.parent() };
            assert!(directories.iter().any(|made| Some(made.as_path()) == wanted), "{key} is {value}");
        }
    }
}
