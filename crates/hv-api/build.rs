//! Compiles `proto/` with a compiler written in Rust, so that no system `protoc` is needed.

use prost::Message;
use std::path::PathBuf;

const FILES: [&str; 10] = [
    "hypervisor/internal/v1/records.proto",
    "hypervisor/v1/common.proto",
    "hypervisor/v1/operation.proto",
    "hypervisor/v1/cluster.proto",
    "hypervisor/v1/compute.proto",
    "hypervisor/v1/event.proto",
    "hypervisor/v1/agent.proto",
    "hypervisor/v1alpha/image.proto",
    "hypervisor/v1alpha/network.proto",
    "hypervisor/v1alpha/storage.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts where to write by the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["../../proto"])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(true).btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
