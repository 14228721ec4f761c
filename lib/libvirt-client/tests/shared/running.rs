//! How tests run what must run beside them.

/// Runs a future until it ends, or the test's runtime does.
#[expect(clippy::disallowed_methods, reason = "a test has one runtime, which ends with it")]
pub(crate) fn run(future: impl Future + Send + 'static) {
    drop(tokio::spawn(async move { drop(future.await) }));
}
