//! Migration: its parameters, and the two ways to ask for one. The steps are in [`super::migration`].

use super::migration::Migration;
use super::{CallJob, Domain, MigrationJob};
use crate::connect::Connect;
use crate::error::Error;
use crate::handle::methods;
use crate::params::{Params, parameters};
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{DomainMigrateFlags, DomainMigrateMaxSpeedFlags};
use libvirt_protocol::parameters::*;
use libvirt_protocol::remote::{self, *};
use libvirt_protocol::xdr::Bytes;

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

    /// Migrates it to a daemon that we are connected to (`virDomainMigrate3`). The job that comes back goes on by itself; awaiting it brings
    /// the handle at the destination. Of two steps, the transfer and its end, the deadline of calls does not hold.
    ///
    /// # Errors
    /// When nothing can be begun. The job's are those of the first problem, and the guest is at the source as before, except with
    /// [`ErrorKind::Migration`](crate::ErrorKind::Migration), which tells what is left where.
    pub async fn migrate(
        &self,
        to: &Connect,
        parameters: &MigrateParameters,
        flags: DomainMigrateFlags,
    ) -> Result<MigrationJob, Error> {
        use DomainMigrateFlags as F;
        if flags.intersects(F::PEER2PEER | F::TUNNELLED) {
            return Err(Error::misuse(
                "with PEER2PEER or TUNNELLED the source's daemon connects by itself: migrate_to_uri",
            ));
        }
        Migration::start(self, to, parameters, flags | F::CHANGE_PROTECTION).await
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
