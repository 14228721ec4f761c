//! What goes wrong with a context.

use std::sync::Arc;

/// Why a context does not come about, or does not do what it is for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library is not there, or lacks a function.
    #[error("MIT's Kerberos library cannot be used: install {library} (in Debian libgssapi-krb5-2)")]
    Library {
        /// What was looked for.
        library: &'static str,
        /// What the system says.
        #[source]
        cause: Arc<libloading::Error>,
    },
    /// The library refuses. Without a ticket: get one with `kinit`.
    #[error("{function}: {words}")]
    Refused {
        /// What was asked of it.
        function: &'static str,
        /// GSSAPI's status (RFC 2744 section 3.9.1), and the mechanism's.
        status: (u32, u32),
        /// What these mean, in the library's words.
        words: String,
    },
    /// What was to be read by nobody else was only protected from changes.
    #[error("nothing was encrypted")]
    Unencrypted,
}
