//! Migration that the server carries out by itself: the client names the destination's daemon, and waits for the end (`PEER2PEER`), through
//! whose connection the memory goes, too, if that is wished for (`TUNNELLED`). The hypervisor is a value and opens no connection; whoever runs
//! it does the errand and tells how it went.

use super::F;
use crate::hypervisor::{Client, Effect, Hypervisor, Refusal};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::session::CallId;
use libvirt_protocol::types;

/// A migration to be carried out, and the call that waits for it.
#[derive(Debug)]
pub(crate) struct Errand {
    /// Who waits.
    pub(crate) client: Client,
    pub(crate) call: CallId,
    /// Where to: the daemon's URI.
    pub(crate) uri: String,
    pub(crate) dom: types::Domain<'static>,
    /// What the client has given of `MIGRATE_PARAM_*`.
    pub(crate) params: Vec<TypedParam<'static>>,
    pub(crate) flags: F,
    /// What the call returns, encoded.
    pub(crate) result: Vec<u8>,
}

/// Whether the source is to carry it out. libvirt's QEMU driver looks at both (`qemuMigrationSrcPerform`).
pub(super) fn is_outward(flags: F) -> bool {
    flags.intersects(F::PEER2PEER | F::TUNNELLED)
}

/// What a client says of a migration that the source carries out.
pub(super) struct Wish {
    pub(super) dom: types::Domain<'static>,
    pub(super) uri: Option<String>,
    pub(super) params: Vec<TypedParam<'static>>,
    pub(super) flags: F,
}

impl Hypervisor {
    /// The call under way is answered when the migration is over.
    pub(super) fn go_out(&mut self, wish: Wish, result: Vec<u8>) -> Result<(), Refusal> {
        let Wish { dom, uri, params, flags } = wish;
        let Some(uri) = uri else { return Err(Refusal::argument("no URI of the destination's daemon")) };
        self.domain(&dom)?;
        super::combine(flags)?;
        let client = self.caller.client;
        let Some(call) = self.caller.call else { return Err(Refusal::internal("no call wants it")) };
        self.errands.push_back(Errand { client, call, uri, dom, params, flags, result });
        self.deferred = true;
        Ok(())
    }

    /// What is to be carried out next.
    pub(crate) fn errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// An errand is done, or has failed. A client that has gone hears nothing.
    pub(crate) fn fulfil(&mut self, client: Client, call: CallId, outcome: Result<Vec<u8>, Refusal>) {
        if self.clients.contains_key(&client) {
            let effect = match outcome {
                Ok(result) => Effect::Reply { call, result, descriptors: Vec::new() },
                Err(refusal) => Effect::Refuse { call, refusal },
            };
            self.effects.push_back((client, effect));
        }
    }

    /// A client is the server itself, and need not say who it is.
    pub(crate) fn trust(&mut self, client: Client) {
        if let Some(connected) = self.clients.get_mut(&client) {
            connected.permitted = true;
        }
    }
}
