//! SASL: who wants in says who he is, and proves it. SCRAM (RFC 5802, RFC 7677) and PLAIN (RFC 4616), as libvirtd with Cyrus SASL
//! speaks them; neither encrypts what comes after it.

use super::{Hypervisor, Refusal, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::remote;
use libvirt_protocol::scram::Hash;
use libvirt_protocol::xdr::Words;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Proves that both sides know the password, and tells it to nobody; with SHA-256.
    ScramSha256,
    /// The same with SHA-1.
    ScramSha1,
    /// Says the password.
    Plain,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::ScramSha256, Self::ScramSha1, Self::Plain];

    fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }

    fn hash(self) -> Hash {
        match self {
            Self::ScramSha1 => Hash::Sha1,
            Self::ScramSha256 | Self::Plain => Hash::Sha256,
        }
    }
}

/// A double keeps no secret that salt would protect.
const SALT: &[u8] = b"libvirt-server";
/// The least that clients accept (RFC 5802 section 4).
const ROUNDS: u32 = 4096;

/// Who is let in, and how he proves it.
#[derive(Clone, Default)]
pub struct Sasl {
    mechanisms: Vec<Mechanism>,
    /// Passwords by user.
    users: BTreeMap<String, String>,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<_> = self.users.keys().collect();
        f.debug_struct("Sasl").field("mechanisms", &self.mechanisms).field("users", &users).finish()
    }
}

impl Sasl {
    /// With these mechanisms, and nobody yet.
    #[must_use]
    pub fn new(mechanisms: impl IntoIterator<Item = Mechanism>) -> Self {
        Self { mechanisms: mechanisms.into_iter().collect(), users: BTreeMap::new() }
    }

    /// The same, and this user.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.to_owned(), password.to_owned());
        self
    }
}

/// How far a client is.
#[derive(Clone, Debug, Default)]
pub(super) enum Exchange {
    #[default]
    Nothing,
    /// It was told a challenge.
    Challenged { mechanism: Mechanism, user: String, first: String, challenge: String },
    /// It has given its proof, and hears ours.
    Proved,
}

fn failed() -> Refusal {
    // What the daemon tells of every failure: nobody shall learn more.
    Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::AuthFailed, "authentication failed") }
        .of(ErrorDomain::Rpc)
}

/// What a client has said; some count the zero behind it.
fn said(data: &Words<65536>) -> &[u8] {
    data.0.strip_suffix(&[0]).unwrap_or(&data.0)
}

/// A name without the marks for what must not stand in a message.
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

impl Hypervisor {
    /// From now on clients must prove who they are; `None` lets in everybody. Administrators are let in as ever.
    pub fn set_sasl(&mut self, sasl: Option<Sasl>) {
        self.sasl = sasl;
    }

    /// From now on processes of these users are let in alone, as a policy of polkit's would; `None` lets in everybody. Who comes over a
    /// network has no process here, and is not let in.
    pub fn set_polkit(&mut self, users: Option<BTreeSet<u32>>) {
        self.polkit = users;
    }

    /// Whether the caller must prove who it is before anything else.
    pub(super) fn is_stranger(&self) -> bool {
        let client = self.clients.get(&self.caller.client);
        let known = |client: &super::Connected| {
            client.user.is_some() || client.permitted || client.peer.service == super::Service::Admin
        };
        (self.sasl.is_some() || self.polkit.is_some()) && !client.is_some_and(known)
    }

    pub(super) fn auth_polkit(&mut self, (): ()) -> Reply<remote::AuthPolkit> {
        let Some(users) = &self.polkit else {
            let text = "authentication failed: client tried invalid PolicyKit init request";
            return Err(Refusal::new(ErrorNumber::AuthFailed, text).of(ErrorDomain::Rpc));
        };
        let client = self.clients.get(&self.caller.client);
        let user = client.and_then(|client| client.peer.process.as_ref()).map(|process| process.user);
        if !user.is_some_and(|user| users.contains(&user)) {
            let text = "authentication failed: access denied by policy";
            return Err(Refusal::new(ErrorNumber::AuthFailed, text).of(ErrorDomain::Polkit));
        }
        self.client()?.permitted = true;
        Ok(remote::AuthPolkitRet { complete: 1 })
    }

    pub(super) fn sasl_init(&mut self, (): ()) -> Reply<remote::AuthSaslInit> {
        let Some(sasl) = &self.sasl else { return Err(failed()) };
        let offered = Mechanism::ALL.into_iter().filter(|known| sasl.mechanisms.contains(known));
        let names: Vec<&str> = offered.map(Mechanism::name).collect();
        Ok(remote::AuthSaslInitRet { mechlist: names.join(",").into() })
    }

    pub(super) fn sasl_start(&mut self, args: remote::AuthSaslStartArgs<'_>) -> Reply<remote::AuthSaslStart> {
        let Some(sasl) = self.sasl.clone() else { return Err(failed()) };
        let offered = sasl.mechanisms.iter().find(|known| args.mech == known.name());
        let Some(mechanism) = offered.copied() else { return Err(failed()) };
        let message = std::str::from_utf8(said(&args.data)).map_err(|_| failed())?;
        if mechanism == Mechanism::Plain {
            let mut parts = message.split('\0').skip(1);
            let (Some(user), Some(password)) = (parts.next(), parts.next()) else { return Err(failed()) };
            if sasl.users.get(user).is_none_or(|known| known != password) {
                return Err(failed());
            }
            self.client()?.user = Some(user.to_owned());
            return Ok(remote::AuthSaslStartRet { complete: 1, nil: 1, data: Words(Vec::new()) });
        }
        // Without a channel that both are bound to, and as itself.
        let first = message.strip_prefix("n,,").ok_or_else(failed)?.to_owned();
        let mut parts = first.split(',');
        let user = parts.next().and_then(|part| part.strip_prefix("n=")).map(unescaped).ok_or_else(failed)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or_else(failed)?;
        let ours = self.ids.uuid();
        let challenge = format!("r={nonce}{ours},s={},i={ROUNDS}", BASE64.encode(SALT));
        let data = Words(challenge.clone().into_bytes());
        self.client()?.exchange = Exchange::Challenged { mechanism, user, first, challenge };
        Ok(remote::AuthSaslStartRet { complete: 0, nil: 0, data })
    }

    pub(super) fn sasl_step(&mut self, args: remote::AuthSaslStepArgs) -> Reply<remote::AuthSaslStep> {
        let Some(sasl) = self.sasl.clone() else { return Err(failed()) };
        match std::mem::take(&mut self.client()?.exchange) {
            Exchange::Nothing => Err(failed()),
            Exchange::Proved => Ok(remote::AuthSaslStepRet { complete: 1, nil: 1, data: Words(Vec::new()) }),
            Exchange::Challenged { mechanism, user, first, challenge } => {
                let message = std::str::from_utf8(said(&args.data)).map_err(|_| failed())?;
                let (without_proof, proof) = message.rsplit_once(",p=").ok_or_else(failed)?;
                let proof = BASE64.decode(proof).map_err(|_| failed())?;
                let nonce = challenge.split(',').next().unwrap_or_default();
                if without_proof != format!("c=biws,{nonce}") {
                    return Err(failed());
                }
                let (hash, password) = (mechanism.hash(), sasl.users.get(&user).ok_or_else(failed)?);
                let salted = hash.salted(password, SALT, ROUNDS);
                let signed = format!("{first},{challenge},{without_proof}");
                let key = hash.hmac(&salted, b"Client Key");
                let signature = hash.hmac(&hash.digest(&key), signed.as_bytes());
                let shown: Vec<u8> = proof.iter().zip(&signature).map(|(proof, key)| proof ^ key).collect();
                if shown != key {
                    return Err(failed());
                }
                let server = hash.hmac(&salted, b"Server Key");
                let ours = hash.hmac(&server, signed.as_bytes());
                let client = self.client()?;
                client.user = Some(user);
                client.exchange = Exchange::Proved;
                let data = Words(format!("v={}", BASE64.encode(ours)).into_bytes());
                Ok(remote::AuthSaslStepRet { complete: 0, nil: 0, data })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mechanism, Sasl};

    #[test]
    fn a_password_is_shown_nowhere() {
        let shown = format!("{:?}", Sasl::new([Mechanism::Plain]).user("me", "hunter2"));
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
}
