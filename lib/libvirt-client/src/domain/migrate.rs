//! Migration.
//!
//! ```text
//!             source                     destination
//!   begin     cookie, definition ──────>
//!   prepare                              listens; cookie, address
//!   perform   sends the guest  ════════> (the call ends with the transfer)
//!   finish                     <──────── runs, or is thrown away
//!   confirm   lets go, or goes on
//! ```
//!
//! With `PEER2PEER` the source's daemon does the last four itself.

use super::{CallJob, Domain};
use crate::connect::Connect;
use crate::error::Error;
use crate::handle::methods;
use crate::params::{Params, parameters};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{DomainMigrateFlags, DomainMigrateMaxSpeedFlags};
use libvirt_protocol::parameters::*;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::{Bytes, List};

parameters! {
    /// How a domain is migrated (`MIGRATE_PARAM_*`). What may be given several times, such as disks, goes to `extra`.
    MigrateParameters {
        /// Where the destination's emulator is to be reached; it says so itself when this is not given.
        uri: String = MIGRATE_PARAM_URI,
        /// Its name there.
        destination_name: String = MIGRATE_PARAM_DEST_NAME,
        /// Its definition there.
        destination_xml: String = MIGRATE_PARAM_DEST_XML,
        /// Its lasting definition there.
        persistent_xml: String = MIGRATE_PARAM_PERSIST_XML,
        /// MiB a second, at most.
        bandwidth: u64 = MIGRATE_PARAM_BANDWIDTH,
        /// The same, after the switch-over to post-copy.
        bandwidth_postcopy: u64 = MIGRATE_PARAM_BANDWIDTH_POSTCOPY,
        /// Where the destination listens.
        listen_address: String = MIGRATE_PARAM_LISTEN_ADDRESS,
        /// Where clients of its graphics are sent.
        graphics_uri: String = MIGRATE_PARAM_GRAPHICS_URI,
        /// Connections in parallel.
        parallel_connections: i32 = MIGRATE_PARAM_PARALLEL_CONNECTIONS,
        /// Port for disks that are copied.
        disks_port: i32 = MIGRATE_PARAM_DISKS_PORT,
        /// Where disks are copied to.
        disks_uri: String = MIGRATE_PARAM_DISKS_URI,
        /// Name that the destination's certificate must bear.
        tls_destination: String = MIGRATE_PARAM_TLS_DESTINATION,
    }
}

impl Domain {
    /// Migrates it to a daemon that the source's daemon connects to by itself; the flags must have `PEER2PEER`
    /// (`virDomainMigrateToURI3`).
    ///
    /// # Errors
    /// When the call cannot be sent.
    pub async fn migrate_to_uri(
        &self,
        daemon: &str,
        parameters: &MigrateParameters,
        flags: DomainMigrateFlags,
    ) -> Result<CallJob<remote::DomainMigratePerform3Params>, Error> {
        if !flags.contains(DomainMigrateFlags::PEER2PEER) {
            return Err(Error::misuse("a migration without PEER2PEER needs a connection to the destination"));
        }
        let args = DomainMigratePerform3ParamsArgs {
            dom: self.wire(),
            dconnuri: Some(daemon.into()),
            params: Params::from(parameters).into_list(),
            cookie_in: Bytes::default(),
            flags,
        };
        self.begin(&args).await
    }

    /// Migrates it to a daemon that we are connected to; returns the handle there. Progress and abort are [`Domain::job`] and
    /// [`Domain::abort_job`] while this runs (`virDomainMigrate3`).
    ///
    /// Do not drop this future: nobody would tell the destination to go on, or the source.
    ///
    /// # Errors
    /// With the first problem; the guest then still runs at the source, unless the error says that it may have been executed.
    pub async fn migrate(
        &self,
        to: &Connect,
        parameters: &MigrateParameters,
        flags: DomainMigrateFlags,
    ) -> Result<Self, Error> {
        use DomainMigrateFlags as F;
        if flags.intersects(F::PEER2PEER | F::TUNNELLED) {
            return Err(Error::misuse(
                "with PEER2PEER or TUNNELLED the source's daemon connects by itself: migrate_to_uri",
            ));
        }
        let flags = flags | F::CHANGE_PROTECTION;
        // These two concern the sender alone.
        let there = flags - (F::ABORT_ON_ERROR | F::AUTO_CONVERGE | F::CHANGE_PROTECTION);
        let mut parameters = parameters.clone();
        fn list<'a>(parameters: &MigrateParameters) -> List<'a, TypedParam<'a>, 64> {
            Params::from(parameters).into_list()
        }

        let args = DomainMigrateBegin3ParamsArgs { dom: self.wire(), params: list(&parameters), flags };
        let begun = self.connect().call::<remote::DomainMigrateBegin3Params>(&args).await?;
        let begun = begun.result()?;
        parameters.destination_xml = Some(begun.xml.into());
        parameters.destination_name.get_or_insert_with(|| self.name());

        let mut cookie = Vec::new();
        let args = DomainMigratePrepare3ParamsArgs {
            params: list(&parameters),
            cookie_in: begun.cookie_out,
            flags: there,
        };
        let prepared = to.call::<remote::DomainMigratePrepare3Params>(&args).await;
        let mut outcome = prepared.and_then(|reply| {
            let prepared = reply.result()?;
            cookie = prepared.cookie_out.0.into_owned();
            if let Some(uri) = prepared.uri_out {
                parameters.uri = Some(uri.into());
            }
            Ok(())
        });
        let prepared = outcome.is_ok();
        if flags.contains(F::OFFLINE) {
            // Nothing is sent, and the destination takes its own cookie for one of a guest that comes from itself.
            cookie.clear();
        }
        if prepared && !flags.contains(F::OFFLINE) {
            let args = DomainMigratePerform3ParamsArgs {
                dom: self.wire(),
                dconnuri: None,
                params: list(&parameters),
                cookie_in: Bytes(cookie.as_slice().into()),
                flags,
            };
            let performed = self.connect().call::<remote::DomainMigratePerform3Params>(&args).await;
            match performed.and_then(|reply| Ok(reply.result()?.cookie_out.0.into_owned())) {
                Ok(next) => cookie = next,
                Err(error) => {
                    cookie.clear();
                    outcome = Err(error);
                }
            }
        }
        let cancelled = i32::from(outcome.is_err());
        if prepared {
            let args = DomainMigrateFinish3ParamsArgs {
                params: list(&parameters),
                cookie_in: Bytes(cookie.as_slice().into()),
                flags: there,
                cancelled,
            };
            let finished = to.call::<remote::DomainMigrateFinish3Params>(&args).await;
            match (finished, &outcome) {
                (Ok(reply), Ok(())) => {
                    let finished = reply.result()?;
                    let moved = Self::new(to, finished.dom);
                    let args = DomainMigrateConfirm3ParamsArgs {
                        dom: self.wire(),
                        params: list(&parameters),
                        cookie_in: finished.cookie_out,
                        flags,
                        cancelled: 0,
                    };
                    // The guest runs there, whatever the source says now.
                    if let Err(error) =
                        self.connect().call::<remote::DomainMigrateConfirm3Params>(&args).await
                    {
                        tracing::debug!(%error, "the source did not take the end of a migration");
                    }
                    return Ok(moved);
                }
                (Err(error), Ok(())) => outcome = Err(error),
                // The first reason is the one that counts.
                (_, Err(_)) => {}
            }
        }
        // The source has begun, so it must hear that it goes on.
        let args = DomainMigrateConfirm3ParamsArgs {
            dom: self.wire(),
            params: list(&parameters),
            cookie_in: Bytes::default(),
            flags,
            cancelled: 1,
        };
        let confirmed = self.connect().call::<remote::DomainMigrateConfirm3Params>(&args).await;
        outcome?;
        confirmed?;
        Err(Error::protocol("a migration ended without a result"))
    }
}

methods! { Domain(this) {
    /// Most milliseconds that it may stand still in a migration (`virDomainMigrateGetMaxDowntime`).
    max_downtime() -> u64
        = remote::DomainMigrateGetMaxDowntime(DomainMigrateGetMaxDowntimeArgs { dom: this.wire(), flags: NoFlags::empty() })
        => |found| found.downtime;
    /// Says how many milliseconds it may stand still in a migration (`virDomainMigrateSetMaxDowntime`).
    set_max_downtime(milliseconds: u64)
        = remote::DomainMigrateSetMaxDowntime(DomainMigrateSetMaxDowntimeArgs {
            dom: this.wire(), downtime: milliseconds, flags: NoFlags::empty(),
        });
    /// Most MiB a second of a migration (`virDomainMigrateGetMaxSpeed`).
    max_migration_speed(flags: DomainMigrateMaxSpeedFlags) -> u64
        = remote::DomainMigrateGetMaxSpeed(DomainMigrateGetMaxSpeedArgs { dom: this.wire(), flags })
        => |found| found.bandwidth;
    /// Sets the most MiB a second of a migration (`virDomainMigrateSetMaxSpeed`).
    set_max_migration_speed(bandwidth: u64, flags: DomainMigrateMaxSpeedFlags)
        = remote::DomainMigrateSetMaxSpeed(DomainMigrateSetMaxSpeedArgs { dom: this.wire(), bandwidth, flags });
    /// Size of the cache for compressed migration, in bytes (`virDomainMigrateGetCompressionCache`).
    compression_cache() -> u64
        = remote::DomainMigrateGetCompressionCache(DomainMigrateGetCompressionCacheArgs {
            dom: this.wire(), flags: NoFlags::empty(),
        }) => |found| found.cache_size;
    /// Sets the size of the cache for compressed migration, in bytes (`virDomainMigrateSetCompressionCache`).
    set_compression_cache(bytes: u64)
        = remote::DomainMigrateSetCompressionCache(DomainMigrateSetCompressionCacheArgs {
            dom: this.wire(), cache_size: bytes, flags: NoFlags::empty(),
        });
    /// Lets the guest run at the destination now, and brings the rest of its memory after it (`virDomainMigrateStartPostCopy`).
    start_post_copy()
        = remote::DomainMigrateStartPostCopy(DomainMigrateStartPostCopyArgs { dom: this.wire(), flags: NoFlags::empty() });
} }
