//! Virtual CPUs.

use super::{
    error::{ConfigError, range},
    machine::Switch,
};

/// Virtual CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Model; `None` takes `host` with KVM and `max` with TCG.
    pub model: Option<String>,
    /// Features added to the model or taken from it, in QEMU's names.
    pub features: Vec<(String, Switch)>,
    /// CPUs present at the start.
    pub count: u16,
    /// CPUs that can be plugged in addition: this is the greatest number of all. `None` for none.
    pub max: Option<u16>,
    /// How they are arranged; `None` for one socket with one thread per core.
    pub topology: Option<Topology>,
}

/// Arrangement of the greatest number of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Sockets on the board.
    pub sockets: u16,
    /// Dies in a socket.
    pub dies: u16,
    /// Cores in a die.
    pub cores: u16,
    /// Threads in a core.
    pub threads: u16,
}

impl Cpu {
    /// This many CPUs of the default model.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self { model: None, features: Vec::new(), count, max: None, topology: None }
    }

    /// The greatest number of CPUs the machine can have.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.max.unwrap_or(self.count)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        range("cpus", self.count, (1..=255).contains(&self.count), "1 to 255")?;
        let most = self.most();
        range("cpu.max", most, (self.count..=255).contains(&most), format!("{} to 255", self.count))?;
        if let Some(Topology { sockets, dies, cores, threads }) = self.topology {
            let product = [sockets, dies, cores, threads].into_iter().map(u64::from).product::<u64>();
            range(
                "cpu.topology",
                product,
                product == u64::from(most),
                format!("arrangements of {most} CPUs"),
            )?;
        }
        for (feature, _) in &self.features {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if feature.is_empty() || !feature.bytes().all(plain) {
                return Err(ConfigError::Text {
                    field: "cpu.features",
                    reason: "a feature's name is letters, digits, '-', '_' and '.'",
                });
            }
        }
        Ok(())
    }
}
