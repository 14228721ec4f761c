//! New ids and secrets of a real program.

use uuid::Uuid;

/// A new UUIDv7: ids sort by creation.
#[expect(clippy::disallowed_methods, reason = "the one place that makes them")]
pub fn uuid() -> Uuid {
    Uuid::now_v7()
}

/// A secret of 256 random bits, in hexadecimal.
pub fn secret() -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the kernel's random generator answers once the system has booted");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random number, to seed jitter.
pub fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random generator answers once the system has booted");
    u64::from_le_bytes(bytes)
}
