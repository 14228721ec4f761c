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
    let program = std::env::current_exe().unwrap();
    // Its whole path, as the thread of a test is named: a part of it may be that of others, or of none, and a run of none ends well.
    let thread = std::thread::current();
    let path = thread.name().filter(|path| path.rsplit("::").next() == Some(test)).unwrap();
    let run = alone().arg(program).args([path, "--exact", "--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    print!("{told}");
    print!("{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "as the root of a user namespace: {}", run.status);
    assert!(told.contains("test result: ok. 1 passed;"), "as the root of a user namespace it has not run");
    true
}
