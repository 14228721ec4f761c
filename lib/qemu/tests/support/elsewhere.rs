//! Tests that mount something: by root here, by anybody else as the root of a user namespace of his own, in which he may.

use std::process::Command;

/// Runs the test of this name in namespaces of its own, where it has to pass, unless this is root already. `false` where it goes on here: by
/// root, and where nobody but root may mount, which the test then says.
pub(crate) fn passes_elsewhere(test: &str) -> bool {
    if rustix::process::getuid().is_root() {
        return false;
    }
    let alone = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--propagation", "private"]);
        command
    };
    if !alone().arg("true").status().is_ok_and(|status| status.success()) {
        return false;
    }
    // Its whole path, as the thread of a test is named.
    let thread = std::thread::current();
    let path = thread.name().filter(|path| path.rsplit("::").next() == Some(test)).unwrap();
    if let Err(why) = passes(alone(), path) {
        panic!("as the root of a user namespace: {why}");
    }
    true
}

/// Has another program run one test of this one, exactly: a part of its path may be that of others, or of none, and a run of none ends well.
fn passes(mut by: Command, path: &str) -> Result<(), String> {
    let program = std::env::current_exe().unwrap();
    let run = by.arg(program).args([path, "--exact", "--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    print!("{told}");
    print!("{}", String::from_utf8_lossy(&run.stderr));
    if !run.status.success() {
        return Err(format!("it fails: {}", run.status));
    }
    if told.contains("test result: ok. 1 passed;") { Ok(()) } else { Err("it has not run".to_owned()) }
}

#[test]
fn only_a_test_that_has_run_has_passed() {
    let passes = |path: &str| passes(Command::new("env"), path);
    let here = module_path!().split_once("::").unwrap().1;
    assert_eq!(passes(&format!("{here}::an_empty_test")), Ok(()));
    assert!(passes(&format!("{here}::an_empty")).is_err(), "a part of a path");
    assert!(passes(&format!("{here}::none_such")).is_err());
    assert!(passes("an_empty_test").is_err(), "without its modules");
}

#[test]
fn an_empty_test() {}
