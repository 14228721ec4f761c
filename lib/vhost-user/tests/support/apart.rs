//! A test in a network of its own, where it may make interfaces, whoever runs it.

use std::process::Command;

/// Runs the test of this name again, in a network of its own; `true`: this is that run. `tap` is the first thing that is taken there, with
/// an error that names `/dev/net/tun` where taps are not to be had.
#[expect(clippy::disallowed_methods, reason = "the test starts itself again in another network")]
pub(crate) fn apart(test: &str) -> bool {
    const APART: &str = "HV_TEST_APART";
    if std::env::var_os(APART).is_some() {
        return true;
    }
    let mut again = Command::new("unshare");
    again.args(["--net", "--map-root-user"]).arg(std::env::current_exe().unwrap());
    let ended = match again.args(["--exact", test, "--nocapture"]).env(APART, "1").output() {
        Ok(ended) => ended,
        Err(error) => {
            println!("not run: {test}: unshare: {error}");
            return false;
        }
    };
    let said = [ended.stdout, ended.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    if said.contains("unshare failed") || said.contains("/dev/net/tun") {
        println!("not run: {test}: no network of its own: {said}");
        return false;
    }
    // What is not run there is told there.
    said.lines().filter(|line| line.contains("not run:")).for_each(|line| println!("{line}"));
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// `ip` with these words.
pub(crate) fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}
