//! The API as Rust types: generated from `proto/`, and converted to and from [`hv_core`].
//!
//! Text and numbers from a caller become `hv_core` values here, once; an error names the field by its path in the request.

/// The stable API.
#[expect(missing_docs, clippy::all, reason = "generated; the documentation is in proto/")]
pub mod v1 {
    tonic::include_proto!("hypervisor.v1");
}

/// Services that are defined and not served yet.
#[expect(missing_docs, clippy::all, reason = "generated; the documentation is in proto/")]
pub mod v1alpha {
    tonic::include_proto!("hypervisor.v1alpha");
}

pub mod convert;
pub mod status;

/// The compiled descriptors of all files, for reflection and for tests.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// What programs keep for themselves: not part of the API.
pub mod internal {
    /// The one version.
    #[expect(missing_docs, reason = "generated; the documentation is in proto/")]
    pub mod v1 {
        tonic::include_proto!("hypervisor.internal.v1");
    }
}
