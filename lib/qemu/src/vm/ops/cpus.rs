//! Virtual CPUs as threads of the host.

use super::OperationError;
use crate::Vm;
use qmp::commands::{CpuInfo, QueryCpusFast};
use rustix::{process::Pid, thread::CpuSet};
use std::io;

/// A virtual CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its number.
    pub index: i64,
    /// The thread that runs it.
    pub thread: i32,
}

impl Vm {
    /// The virtual CPUs and their threads. With TCG without threads of their own, all have the same.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn vcpus(&self) -> Result<Vec<Vcpu>, OperationError> {
        let cpus = self.ask("list the CPUs", &QueryCpusFast {}).await?;
        let vcpu =
            |info: CpuInfo| Some(Vcpu { index: info.cpu_index, thread: i32::try_from(info.thread_id).ok()? });
        Ok(cpus.into_iter().filter_map(vcpu).collect())
    }

    /// Lets a virtual CPU run on these CPUs of the host only. The thread is looked up again by its CPU, as it changes when a CPU is plugged.
    ///
    /// # Errors
    /// [`OperationError`]; the host refuses CPUs that it has not.
    pub async fn pin_vcpu(&self, index: i64, host_cpus: &[usize]) -> Result<(), OperationError> {
        let action = || format!("pin CPU {index}");
        let host = |source: io::Error| OperationError::Host { action: action(), source };
        let vcpu = self.vcpus().await?.into_iter().find(|vcpu| vcpu.index == index);
        let unknown = || OperationError::Unknown { what: "CPU", id: index.to_string() };
        let thread = vcpu.and_then(|vcpu| Pid::from_raw(vcpu.thread)).ok_or_else(unknown)?;
        let mut set = CpuSet::new();
        for cpu in host_cpus {
            if *cpu >= CpuSet::MAX_CPU {
                return Err(host(io::ErrorKind::InvalidInput.into()));
            }
            set.set(*cpu);
        }
        rustix::thread::sched_setaffinity(Some(thread), &set).map_err(|error| host(error.into()))
    }
}
