//! From plan to durable intent: commits, makes the plan anew when the world moved, answers repeated calls from the record.

use super::{Context, Plan};
use crate::state::follow::{Follower, store_error};
use crate::state::write::Writer;
use crate::state::{Cluster, keys};
use hv_api::internal::v1 as internal;
use hv_core::operation::Target;
use hv_core::{Error, ErrorKind, OperationId};
use hv_runtime::{clock, ids};
use hv_store::{Compare, LeaseId, Store, Txn};
use prost::Message;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a plan is made anew before the caller is told to try again.
const ATTEMPTS: usize = 16;
/// Longest idempotency key.
const MAX_KEY_BYTES: usize = 128;
/// How long finished operations and idempotency keys are kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// One lease serves everything that ends in this time: leases are per bucket, not per call.
const BUCKET: Duration = Duration::from_secs(3600);

/// The lease that finished operations and idempotency keys go with: one for each hour.
#[derive(Clone)]
pub struct Expiry {
    store: Arc<dyn Store>,
    /// The lease of the present bucket, and when it began (time since boot).
    current: Arc<Mutex<(LeaseId, Duration)>>,
}

impl Expiry {
    /// Grants the first lease.
    pub async fn start(store: Arc<dyn Store>) -> Result<Self, Error> {
        let lease = store.lease_grant(KEEP + BUCKET).await.map_err(store_error)?;
        Ok(Self { store, current: Arc::new(Mutex::new((lease, clock::since_boot()))) })
    }

    /// The lease of this hour.
    pub fn lease(&self) -> LeaseId {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Begins the next bucket when this one is full.
    pub async fn renew(&self) -> Result<(), Error> {
        let began = self.current.lock().unwrap_or_else(PoisonError::into_inner).1;
        if clock::since_boot().saturating_sub(began) >= BUCKET {
            let lease = self.store.lease_grant(KEEP + BUCKET).await.map_err(store_error)?;
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (lease, clock::since_boot());
        }
        Ok(())
    }
}

/// Who asks, and the key that makes the call safe to repeat.
#[derive(Clone, Debug)]
pub struct Call {
    principal: String,
    key: Option<String>,
    digest: Vec<u8>,
}

impl Call {
    /// A call. `method` is its name: different calls may encode alike. `request` is the message without its key.
    pub fn new(principal: &str, key: &str, method: &str, request: &impl Message) -> Result<Self, Error> {
        if key.len() > MAX_KEY_BYTES {
            return Err(Error::invalid("idempotency_key", format!("at most {MAX_KEY_BYTES} bytes")));
        }
        let key = (!key.is_empty()).then(|| keys::idempotency(principal, key));
        let digest = Sha256::new()
            .chain_update(method)
            .chain_update([0])
            .chain_update(request.encode_to_vec())
            .finalize()
            .to_vec();
        Ok(Self { principal: principal.to_owned(), key, digest })
    }
}

/// What was recorded, now or when the same call came before.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The operation.
    pub operation: OperationId,
    /// uid of its target.
    pub target: String,
    /// Fields that wait for a restart.
    pub needs_restart: Vec<String>,
}

/// Commits plans.
#[derive(Clone)]
pub struct Committer {
    follower: Follower,
    expiry: Expiry,
}

impl Committer {
    /// On a followed store.
    pub fn new(follower: Follower, expiry: Expiry) -> Self {
        Self { follower, expiry }
    }

    /// Makes a plan and commits it, once. Returns when it is durable and visible.
    pub async fn commit<F>(&self, call: &Call, plan: F) -> Result<Committed, Error>
    where
        F: Fn(&Cluster, &Context) -> Result<Plan, Error>,
    {
        if let Some(before) = self.before(call).await? {
            return Ok(before);
        }
        let context = self.context(&call.principal);
        for _ in 0..ATTEMPTS {
            let planned = {
                let cluster = self.follower.cluster();
                plan(&cluster, &context)
            };
            let Plan { mut writer, operation, needs_restart } = planned?;
            let target = match operation.target {
                Target::Instance(id) => id.to_string(),
                Target::Node(id) => id.to_string(),
            };
            if let Some(key) = &call.key {
                let record = internal::Idempotency {
                    request_digest: call.digest.clone(),
                    operation_uid: operation.id.to_string(),
                    target_uid: target.clone(),
                    needs_restart: needs_restart.clone(),
                };
                writer.only_if(Compare::Absent(key.clone())).put_idempotency(
                    key.clone(),
                    &record,
                    context.expiry,
                );
            }
            if self.try_commit(writer.finish()).await? {
                return Ok(Committed { operation: operation.id, target, needs_restart });
            }
            // The same call may have been made twice at once.
            if let Some(before) = self.before(call).await? {
                return Ok(before);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the object keeps changing; nothing was recorded")
            .with_hint("try again"))
    }

    /// Commits what has no operation of its own.
    pub async fn commit_plain<T, F>(&self, principal: &str, plan: F) -> Result<T, Error>
    where
        F: Fn(&Cluster, &Context) -> Result<(Writer, T), Error>,
    {
        let context = self.context(principal);
        for _ in 0..ATTEMPTS {
            let planned = {
                let cluster = self.follower.cluster();
                plan(&cluster, &context)
            };
            let (writer, value) = planned?;
            if self.try_commit(writer.finish()).await? {
                return Ok(value);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the object keeps changing; nothing was recorded")
            .with_hint("try again"))
    }

    fn context(&self, principal: &str) -> Context {
        Context {
            principal: principal.to_owned(),
            now: clock::wall(),
            uid: ids::uuid(),
            operation: OperationId::new(ids::uuid()),
            expiry: self.expiry.lease(),
        }
    }

    /// Whether the transaction's conditions held; either way everything up to it is visible afterwards.
    async fn try_commit(&self, txn: Txn) -> Result<bool, Error> {
        let outcome = self.follower.store().txn(txn).await.map_err(store_error)?;
        self.follower.reached(outcome.revision).await;
        Ok(outcome.succeeded)
    }

    /// What the same call recorded before; an error when the key was used for something else.
    async fn before(&self, call: &Call) -> Result<Option<Committed>, Error> {
        let Some(key) = &call.key else { return Ok(None) };
        let Some(found) = self.follower.store().get(key).await.map_err(store_error)? else { return Ok(None) };
        self.follower.reached(found.mod_revision).await;
        let record = internal::Idempotency::decode(found.value).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the stored object {key} is damaged: {error}"))
        })?;
        if record.request_digest != call.digest {
            return Err(Error::new(ErrorKind::Conflict, "this idempotency key was used for another request")
                .with_uid(record.target_uid)
                .with_hint("use a fresh key for a new request"));
        }
        let operation = record
            .operation_uid
            .parse()
            .map_err(|_| Error::new(ErrorKind::Internal, format!("the stored object {key} is damaged")))?;
        Ok(Some(Committed { operation, target: record.target_uid, needs_restart: record.needs_restart }))
    }
}
