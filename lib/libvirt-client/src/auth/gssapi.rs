//! SASL's mechanism GSSAPI (RFC 4752): Kerberos, and the one mechanism here that encrypts what comes after it.
//!
//! ```text
//!   token            ──>
//!                    <── token ...           until both know each other
//!   (nothing)        ──>
//!                    <── what layers it has, and how much it takes at once      wrapped
//!   the layer        ──>                                                         wrapped
//!   from here on each piece is wrapped, with its length in front
//! ```
//!
//! The user's own tickets are what he proves himself with; they come from `kinit`.

use super::aside::aside;
use super::refused;
use super::sasl::{start, step};
use crate::connection::Connection;
use crate::error::Error;
use crate::transport::Privacy;
use libvirt_gssapi::{Context, Protection, Stage, Step};
use libvirt_transport::{SEALED_MAX, Seal, Sealed};
use std::io;

/// Its name among mechanisms.
pub(super) const NAME: &str = "GSSAPI";

/// Layers, by their bits: none, and one that nobody else can read.
const BARE: u8 = 1;
const CONFIDENTIAL: u8 = 4;

/// Proves who the user is to the daemon at a host, and encrypts the connection unless it is private already.
pub(super) async fn authenticate(connection: &Connection, host: &str) -> Result<(), Error> {
    // Who is in between on a connection that proves nobody hears nothing inside of this layer.
    let private = connection.traits().privacy == Privacy::Private;
    let mut context = Context::new(&format!("libvirt@{host}")).map_err(no_kerberos)?;
    let mut taken;
    (context, taken) = stepped(context, Vec::new()).await?;
    let (mut complete, mut said) = start(connection, NAME, &taken.token).await?;
    while taken.stage == Stage::Begun {
        if complete {
            return Err(refused("the daemon ends before it has proved who it is"));
        }
        (context, taken) = stepped(context, said.unwrap_or_default()).await?;
        // Also when there is nothing to say: then it is the daemon's turn.
        (complete, said) = step(connection, Some(&taken.token)).await?;
    }
    let offer = context.unwrap(&said.unwrap_or_default()).map_err(no_kerberos)?.0;
    let [layers, size @ ..] =
        <[u8; 4]>::try_from(offer).map_err(|_| refused("the daemon offers no layers"))?;
    let chosen = if private && layers & BARE != 0 { BARE } else { CONFIDENTIAL };
    if layers & chosen == 0 {
        return Err(refused("the daemon would not encrypt a connection that anybody can read"));
    }
    let most = if chosen == BARE { 0 } else { SEALED_MAX };
    let [_, ours @ ..] = most.to_be_bytes();
    let answer = [&[chosen][..], &ours].concat();
    let answer = context.wrap(&answer, Protection::Integrity).map_err(no_kerberos)?;
    (complete, _) = step(connection, Some(&answer)).await?;
    if !complete {
        return Err(refused("the daemon does not come to an end with GSSAPI"));
    }
    if chosen == CONFIDENTIAL {
        let [a, b, c] = size;
        let limit = context.limit(u32::from_be_bytes([0, a, b, c])).map_err(no_kerberos)?;
        connection.seal(|inner| Box::new(Sealed::new(inner, Encrypted(context), limit)));
    }
    Ok(())
}

/// What comes after the proof: nothing that only shows that nobody has changed it.
struct Encrypted(Context);

impl Seal for Encrypted {
    fn wrap(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.0.wrap(bytes, Protection::Privacy).map_err(broken)
    }

    fn unwrap(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let (plain, protection) = self.0.unwrap(piece).map_err(broken)?;
        if protection == Protection::Privacy {
            Ok(plain)
        } else {
            Err(broken("a piece that is not encrypted"))
        }
    }
}

fn broken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn no_kerberos(why: libvirt_gssapi::Error) -> Error {
    let cause = std::error::Error::source(&why).map_or_else(String::new, |cause| format!(": {cause}"));
    refused(format!("GSSAPI: {why}{cause}"))
}

/// A step in a thread of its own: it may ask a key distribution centre, and waits for that.
async fn stepped(mut context: Context, said: Vec<u8>) -> Result<(Context, Step), Error> {
    let stepped = aside(move || context.step(&said).map(|step| (context, step)));
    stepped.await?.map_err(no_kerberos)
}
