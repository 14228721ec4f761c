//! Domains.

use crate::error::Error;
use crate::handle::handle;
use libvirt_protocol::enums;
use libvirt_protocol::flags::{
    DomainCreateFlags, DomainDestroyFlags, DomainShutdownFlags, DomainUndefineFlags, DomainXmlFlags,
};
use libvirt_protocol::remote;
use libvirt_protocol::xdr::Uuid;

handle! {
    /// A domain. The handle is a name and a UUID; it stays when the domain goes, and its calls then fail as not found.
    Domain = Domain { name: text, uuid: copy, id: copy }
}

/// What a domain uses (`virDomainInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its state.
    pub state: enums::DomainState,
    /// Most memory it may have, in KiB.
    pub max_memory_kib: u64,
    /// Memory it has, in KiB.
    pub memory_kib: u64,
    /// Virtual CPUs.
    pub vcpus: u16,
    /// CPU time used, in nanoseconds.
    pub cpu_time_ns: u64,
}

/// The state of a domain, and the reason, whose meaning depends on the state (`virDomainRunningReason` and its siblings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// The state.
    pub state: enums::DomainState,
    /// The reason.
    pub reason: i32,
}

impl Domain {
    /// Its name (`virDomainGetName`); what is not UTF-8 is replaced.
    #[must_use]
    pub fn name(&self) -> String {
        self.wire.name.to_string()
    }

    /// Its UUID (`virDomainGetUUID`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.wire.uuid
    }

    /// Its number while it runs, as of the call that gave this handle (`virDomainGetID`).
    #[must_use]
    pub fn id(&self) -> Option<i32> {
        (self.wire.id >= 0).then_some(self.wire.id)
    }

    /// Its state (`virDomainGetState`).
    ///
    /// # Errors
    /// As every call.
    pub async fn state(&self) -> Result<DomainState, Error> {
        let args = remote::DomainGetStateArgs { dom: self.wire(), ..Default::default() };
        let reply = self.connect.call::<remote::DomainGetState>(&args).await?;
        let remote::DomainGetStateRet { state, reason } = reply.result()?;
        Ok(DomainState { state, reason })
    }

    /// What it uses (`virDomainGetInfo`).
    ///
    /// # Errors
    /// As every call.
    pub async fn info(&self) -> Result<DomainInfo, Error> {
        let reply = self
            .connect
            .call::<remote::DomainGetInfo>(&remote::DomainGetInfoArgs { dom: self.wire() })
            .await?;
        let found = reply.result()?;
        Ok(DomainInfo {
            state: enums::DomainState::from(i32::from(found.state)),
            max_memory_kib: found.max_mem,
            memory_kib: found.memory,
            vcpus: found.nr_virt_cpu,
            cpu_time_ns: found.cpu_time,
        })
    }

    /// Its definition as XML (`virDomainGetXMLDesc`).
    ///
    /// # Errors
    /// As every call.
    pub async fn xml(&self, flags: DomainXmlFlags) -> Result<String, Error> {
        let args = remote::DomainGetXmlDescArgs { dom: self.wire(), flags };
        Ok(self.connect.call::<remote::DomainGetXmlDesc>(&args).await?.result()?.xml.into())
    }

    /// Starts it (`virDomainCreateWithFlags`); the handle that comes back has its number.
    ///
    /// # Errors
    /// As every call.
    pub async fn start(&self, flags: DomainCreateFlags) -> Result<Self, Error> {
        let args = remote::DomainCreateWithFlagsArgs { dom: self.wire(), flags };
        let reply = self.connect.call::<remote::DomainCreateWithFlags>(&args).await?;
        Ok(Self::new(&self.connect, reply.result()?.dom))
    }

    /// Asks the guest to power itself off (`virDomainShutdownFlags`).
    ///
    /// # Errors
    /// As every call.
    pub async fn shutdown(&self, flags: DomainShutdownFlags) -> Result<(), Error> {
        let args = remote::DomainShutdownFlagsArgs { dom: self.wire(), flags };
        self.connect.call::<remote::DomainShutdownFlags>(&args).await.map(drop)
    }

    /// Takes its power away (`virDomainDestroyFlags`).
    ///
    /// # Errors
    /// As every call.
    pub async fn destroy(&self, flags: DomainDestroyFlags) -> Result<(), Error> {
        let args = remote::DomainDestroyFlagsArgs { dom: self.wire(), flags };
        self.connect.call::<remote::DomainDestroyFlags>(&args).await.map(drop)
    }

    /// Pauses it (`virDomainSuspend`).
    ///
    /// # Errors
    /// As every call.
    pub async fn suspend(&self) -> Result<(), Error> {
        self.connect
            .call::<remote::DomainSuspend>(&remote::DomainSuspendArgs { dom: self.wire() })
            .await
            .map(drop)
    }

    /// Lets it go on (`virDomainResume`).
    ///
    /// # Errors
    /// As every call.
    pub async fn resume(&self) -> Result<(), Error> {
        self.connect
            .call::<remote::DomainResume>(&remote::DomainResumeArgs { dom: self.wire() })
            .await
            .map(drop)
    }

    /// Removes its definition (`virDomainUndefineFlags`).
    ///
    /// # Errors
    /// As every call.
    pub async fn undefine(&self, flags: DomainUndefineFlags) -> Result<(), Error> {
        let args = remote::DomainUndefineFlagsArgs { dom: self.wire(), flags };
        self.connect.call::<remote::DomainUndefineFlags>(&args).await.map(drop)
    }
}
