//! The example files hold every setting, with its default.
#![cfg(test)]

use hv_runtime::config::{Key, Sources, load};
use hypervisor_agent::config::AgentConfig;
use hypervisor_server::config::ServerConfig;
use std::fmt::Debug;
use std::path::Path;

fn example<T: serde::de::DeserializeOwned + Default + Debug>(keys: &[Key], name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let (value, _) = load::<T>(keys, &sources).unwrap();
    assert_eq!(format!("{value:?}"), format!("{:?}", T::default()), "the example shows the defaults");
    let text = std::fs::read_to_string(file).unwrap();
    for key in keys {
        let last = key.path.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{last} = ")) || text.contains(&format!("[{last}]")),
            "{} is missing",
            key.path
        );
    }
}

#[test]
fn server() {
    example::<ServerConfig>(hypervisor_server::config::KEYS, "server.toml");
}

#[test]
fn agent() {
    example::<AgentConfig>(hypervisor_agent::config::KEYS, "agent.toml");
}
