//! Changing a specification: which fields may change, and which a running guest has at once.

use super::InstanceSpec;
use crate::Error;

/// A field that an update may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are those of the specification")]
pub enum Field {
    Labels,
    Annotations,
    Cpus,
    Memory,
    RootDisk,
    Interfaces,
    Boot,
    CloudInit,
    RestartPolicy,
    StopTimeout,
    RunState,
    Relocation,
}

impl Field {
    const TABLE: [(&'static str, Self); 12] = [
        ("labels", Self::Labels),
        ("annotations", Self::Annotations),
        ("spec.cpus", Self::Cpus),
        ("spec.memory_bytes", Self::Memory),
        ("spec.root_disk_bytes", Self::RootDisk),
        ("spec.network_interfaces", Self::Interfaces),
        ("spec.boot", Self::Boot),
        ("spec.cloud_init", Self::CloudInit),
        ("spec.restart_policy", Self::RestartPolicy),
        ("spec.stop_timeout_ms", Self::StopTimeout),
        ("spec.run_state", Self::RunState),
        ("spec.relocation", Self::Relocation),
    ];

    /// All fields.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.into_iter().map(|(_, field)| field)
    }

    /// Reads a path of an update mask; an unknown one is answered with the list.
    pub fn parse(path: &str) -> Result<Self, Error> {
        Self::TABLE.iter().find(|(name, _)| *name == path).map(|(_, field)| *field).ok_or_else(|| {
            let names: Vec<_> = Self::TABLE.iter().map(|(name, _)| *name).collect();
            Error::invalid("update_mask", format!("`{path}` cannot be updated; one of {}", names.join(", ")))
        })
    }

    /// The path.
    pub fn path(self) -> &'static str {
        Self::TABLE.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }
}

/// Fields in which a guest started from `running` differs from what is `wanted`, and which only a restart brings.
pub fn needs_restart(running: &InstanceSpec, wanted: &InstanceSpec) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut differs = |field, yes: bool| {
        if yes {
            fields.push(field);
        }
    };
    differs(Field::Cpus, running.cpus != wanted.cpus);
    differs(Field::Memory, running.memory_bytes != wanted.memory_bytes);
    differs(Field::RootDisk, running.root_disk_bytes != wanted.root_disk_bytes);
    differs(Field::Interfaces, running.interfaces != wanted.interfaces);
    differs(Field::Boot, running.boot != wanted.boot);
    differs(Field::CloudInit, running.cloud_init != wanted.cloud_init);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_restart_brings() {
        let old = InstanceSpec::default();
        let new = InstanceSpec { cpus: 4, restart_serial: 7, ..InstanceSpec::default() };
        assert_eq!(needs_restart(&old, &new), [Field::Cpus]);
    }

    #[test]
    fn a_path_that_cannot_change_is_refused_with_the_list() {
        let error = Field::parse("spec.image").unwrap_err();
        assert!(error.message.contains("spec.cpus"), "{error}");
        for (path, field) in Field::TABLE {
            assert_eq!(Field::parse(path).unwrap(), field);
            assert_eq!(field.path(), path);
        }
    }
}
