//! The client: it repeats a call, under the same key, until it has an answer. The server plans each on what it sees at that
//! moment, as its own committer does: from the record if the key is known, and with the key as a condition otherwise.

use crate::Mutation;
use crate::event::{Caller, Event};
use crate::world::{World, say};
use hv_api::internal::v1::Idempotency;
use hv_api::v1;
use hv_core::instance::state::Request;
use hv_core::{Error, OperationId};
use hv_store::{Compare, StoreError, TxnOutcome};
use hypervisor_server::app::instance::{self, Act};
use hypervisor_server::app::{Context, Plan, node, operation};
use hypervisor_server::state::write::Writer;
use hypervisor_server::state::{Cluster, keys};
use std::time::Duration;

/// Who asks.
const PRINCIPAL: &str = "simulation";

/// How long the client goes on asking: well below the time that keys are kept.
const PATIENCE: Duration = Duration::from_secs(12);

/// A call, before it is planned.
pub(crate) enum Call {
    Create(Box<v1::CreateInstanceRequest>),
    Act { instance: String, request: Request },
    Update(Box<v1::UpdateInstanceRequest>),
    Delete(v1::DeleteInstanceRequest),
    Cordon(Box<v1::UpdateNodeRequest>),
    Cancel(String),
    Abandon(String),
}

impl Call {
    fn plan(&self, cluster: &Cluster, context: &Context) -> Result<(Writer, Option<OperationId>), Error> {
        let plan = match self {
            Self::Create(request) => instance::create(cluster, request, context),
            Self::Act { instance, request } => {
                let act = Act { instance, project: "", request: *request, timeout: None, precondition: None };
                instance::act(cluster, &act, context)
            }
            Self::Update(request) => instance::update(cluster, request, context).map(|update| update.plan),
            Self::Delete(request) => instance::delete(cluster, request, context),
            Self::Abandon(node) => {
                let request = v1::DeregisterNodeRequest {
                    node: node.clone(),
                    abandon_instances: true,
                    ..Default::default()
                };
                node::deregister(cluster, &request, context)
            }
            Self::Cordon(request) => node::update(cluster, request, context),
            // It has no operation of its own, and takes no key.
            Self::Cancel(operation) => {
                return operation::cancel(cluster, operation, context).map(|(writer, _)| (writer, None));
            }
        };
        plan.map(|Plan { writer, operation, .. }| (writer, Some(operation.id)))
    }
}

impl World {
    /// Makes a call.
    pub(crate) fn ask(&mut self, call: Call) {
        let number = self.number();
        self.calls.insert(number, (self.now, call));
        self.summary.requests += 1;
        self.try_call(number);
    }

    /// Makes a call again if there was no answer.
    pub(crate) fn repeat(&mut self, number: u64) {
        let Some((since, _)) = self.calls.get(&number) else { return };
        if self.now - *since > PATIENCE {
            // Longer than keys are kept, a repetition would be a call of its own.
            say!(self, "client: call {number} is given up");
            self.calls.remove(&number);
        } else {
            say!(self, "client: call {number} once more");
            self.summary.repetitions += 1;
            self.try_call(number);
        }
    }

    /// Plans a call on what the server sees, and submits it.
    fn try_call(&mut self, number: u64) {
        // Whatever becomes of it, the client does not wait for ever.
        self.after(4_000, 8_000, Event::Repeat(number));
        let Some(running) = &self.server.running else { return };
        let key = keys::idempotency(PRINCIPAL, &number.to_string());
        let unnoticed = self.mutation == Mutation::RepetitionUnnoticed;
        if !unnoticed && self.model.get(&key).is_some() {
            return self.answered(number, "as before");
        }
        let expiry = running.expiry;
        let context = Context {
            principal: PRINCIPAL.to_owned(),
            now: self.wall(),
            uid: self.uid(),
            operation: OperationId::new(self.uid()),
            expiry,
        };
        let (Some(running), Some((_, call))) = (&self.server.running, self.calls.get(&number)) else {
            return;
        };
        match call.plan(&running.cluster, &context) {
            Ok((mut writer, operation)) => {
                if let Some(operation) = operation {
                    let record =
                        Idempotency { operation_uid: operation.to_string(), ..Idempotency::default() };
                    if !unnoticed {
                        writer.only_if(Compare::Absent(key.clone()));
                    }
                    writer.put_idempotency(key, &record, expiry);
                    self.ledger.asked(operation, number);
                }
                self.submit(Caller::Client(number), writer.finish());
            }
            Err(error) => self.answered(number, &format!("refused: {error}")),
        }
    }

    /// The store's answer to a call of the client.
    pub(crate) fn client_hears(&mut self, number: u64, result: Result<TxnOutcome, StoreError>) {
        match result {
            Ok(outcome) if outcome.succeeded => self.answered(number, "recorded"),
            // The world has moved: it is planned anew.
            Ok(_) => self.after(1, 100, Event::Repeat(number)),
            Err(_) => self.after(500, 2_000, Event::Repeat(number)),
        }
    }

    /// The answer reaches the client, or does not.
    fn answered(&mut self, number: u64, answer: &str) {
        if self.mishap(100) {
            self.summary.answers_lost += 1;
            say!(self, "the answer to call {number} is lost: {answer}");
        } else {
            say!(self, "call {number}: {answer}");
            self.calls.remove(&number);
        }
    }
}
