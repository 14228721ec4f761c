//! SASL inside libvirt's protocol: which mechanism, and the exchange.

use super::aside::aside;
use super::credentials::Credentials;
use super::{Auth, Wish, refused};
use crate::connection::{Connection, now};
use crate::error::Error;
use crate::transport::Privacy;
use libvirt_protocol::enums::ErrorNumber;
use libvirt_protocol::remote::{self, AuthSaslStartArgs, AuthSaslStepArgs};
use libvirt_protocol::scram::{Begun, Hash, ScramError};
use libvirt_protocol::xdr::Words;

/// Mechanisms with a password, the best first.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-256", "SCRAM-SHA-1", PLAIN];
/// The one that tells the password.
const PLAIN: &str = "PLAIN";
/// The one that needs none, and encrypts.
const KERBEROS: &[&str] = if cfg!(feature = "gssapi") { &["GSSAPI"] } else { &[] };

/// Runs one mechanism until the daemon says that it is complete.
pub(super) async fn authenticate(connection: &Connection, auth: &Auth) -> Result<(), Error> {
    // No mechanism with a password encrypts what comes after it.
    let privacy = connection.traits().privacy;
    if privacy == Privacy::Open && KERBEROS.is_empty() {
        return Err(refused(
            "the daemon demands SASL on a connection that anybody can read; use TLS, ssh or a local socket",
        ));
    }
    let reply = connection.call::<remote::AuthSaslInit>(&()).await?;
    let offered = String::from(reply.result()?.mechlist);
    let credentials = (auth.credentials)()?;
    let known = permitted(privacy, &auth.wish, credentials.is_some());
    let mechanism = choose(&offered, &auth.wish, &known).map_err(|error| match privacy {
        Privacy::Private => error,
        Privacy::Unproven => refused(format!(
            "nothing proves who the daemon is, so that it is told no password; auth=sasl.PLAIN says that it may be: {error}"
        )),
        Privacy::Open => refused(format!(
            "the daemon demands SASL on a connection that anybody can read; use TLS, ssh or a local socket, or Kerberos: {error}"
        )),
    })?;
    #[cfg(feature = "gssapi")]
    if mechanism == super::gssapi::NAME {
        return super::gssapi::authenticate(connection, &auth.host).await;
    }
    let credentials = credentials.ok_or_else(|| {
        refused("the daemon demands a user and a password; give them to the builder or in auth.conf")
    })?;
    auth.spent.check(&credentials, now())?;
    let (typed, prepared) = forms(credentials.clone())?;
    let said = match (exchange(connection, mechanism, typed).await, prepared) {
        (Err(error), Some(prepared)) if is_wrong(&error) => {
            // The daemon lets a client try again, once it has asked anew what there is.
            connection.call::<remote::AuthSaslInit>(&()).await?;
            exchange(connection, mechanism, prepared).await
        }
        (done, _) => done,
    };
    if said.as_ref().is_err_and(is_wrong) {
        auth.spent.add(credentials, now());
    }
    said
}

/// Whether a daemon does not take a user's name and password.
fn is_wrong(error: &Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == ErrorNumber::AuthFailed)
}

async fn exchange(
    connection: &Connection,
    mechanism: &'static str,
    credentials: Credentials,
) -> Result<(), Error> {
    match mechanism {
        PLAIN => plain(connection, &credentials).await,
        "SCRAM-SHA-1" => scram(connection, mechanism, Hash::Sha1, credentials).await,
        _ => scram(connection, mechanism, Hash::Sha256, credentials).await,
    }
}

/// What may be said on a connection, the best first.
fn permitted(privacy: Privacy, wish: &Wish, has_password: bool) -> Vec<&'static str> {
    // Whoever gives a password wants to be that user.
    let mut all =
        if has_password { [&MECHANISMS, KERBEROS].concat() } else { [KERBEROS, &MECHANISMS].concat() };
    match privacy {
        Privacy::Private => {}
        // Who is in between would be told the password itself.
        Privacy::Unproven => {
            all.retain(|name| *name != PLAIN || *wish == Wish::Sasl(Some(PLAIN.to_owned())));
        }
        Privacy::Open => all.retain(|name| KERBEROS.contains(name)),
    }
    all
}

/// The best mechanism that is offered and wished for.
fn choose(offered: &str, wish: &Wish, known: &[&'static str]) -> Result<&'static str, Error> {
    let wished = match wish {
        Wish::Sasl(Some(mechanism)) => Some(mechanism.as_str()),
        _ => None,
    };
    let offers: Vec<&str> = offered.split([',', ' ']).collect();
    known
        .iter()
        .copied()
        .find(|known| offers.contains(known) && wished.is_none_or(|wished| wished == *known))
        .ok_or_else(|| {
            let wished = wished.map_or_else(String::new, |wished| format!(" and {wished} is wished for"));
            refused(format!("the daemon offers {offered}{wished}; we have {}", known.join(", ")))
        })
}

/// A user and a password as they were typed, and as every server should know them however they were typed (SASLprep, RFC 4013; RFC 5802
/// section 5.1, RFC 4616 section 2), where that is something else.
///
/// What was typed goes first: Cyrus SASL, which libvirtd has, prepares nothing, neither what it stores nor what it is told, and libvirt's own
/// client sends what was typed (seen with 9.0.0: a password with a space that does not break is refused with one that does).
fn forms(typed: Credentials) -> Result<(Credentials, Option<Credentials>), Error> {
    // PLAIN ends a text with one.
    if typed.user.contains('\0') || typed.password.contains('\0') {
        return Err(refused("a user's name or password holds a zero, which cannot be said"));
    }
    let prepared = |text: &str| stringprep::saslprep(text).map_or_else(|_| text.to_owned(), Into::into);
    let prepared = Credentials { user: prepared(&typed.user), password: prepared(&typed.password) };
    let is_another = (&prepared.user, &prepared.password) != (&typed.user, &typed.password);
    Ok((typed, is_another.then_some(prepared)))
}

async fn plain(connection: &Connection, credentials: &Credentials) -> Result<(), Error> {
    let said = format!("\0{}\0{}", credentials.user, credentials.password);
    let (complete, _) = start(connection, PLAIN, said.as_bytes()).await?;
    if complete { Ok(()) } else { Err(refused("the daemon does not come to an end with PLAIN")) }
}

async fn scram(
    connection: &Connection,
    mechanism: &str,
    hash: Hash,
    credentials: Credentials,
) -> Result<(), Error> {
    let mut nonce = [0; 24];
    getrandom::fill(&mut nonce).map_err(|error| refused(format!("no random numbers: {error}")))?;
    let begun = Begun::new(hash, &credentials.user, &credentials.password, &nonce);
    let (_, challenge) = start(connection, mechanism, begun.message().as_bytes()).await?;
    let challenge = text(challenge)?;
    // Up to a million rounds of a hash: the daemon says how many.
    let answered = aside(move || {
        let challenge = begun.read(&challenge)?;
        Ok(begun.answer(&challenge))
    });
    let (answer, proved) = answered.await?.map_err(unconvinced)?;
    let (complete, proof) = step(connection, Some(answer.as_bytes())).await?;
    // A daemon that takes our proof must give its own.
    proved.check(&text(proof)?).map_err(unconvinced)?;
    if complete {
        return Ok(());
    }
    // The daemon's library may want to hear that we have heard.
    match step(connection, Some(b"")).await? {
        (true, _) => Ok(()),
        (false, _) => Err(refused("the daemon does not come to an end")),
    }
}

fn unconvinced(why: ScramError) -> Error {
    refused(format!("SCRAM with the daemon: {why}"))
}

fn text(data: Option<Vec<u8>>) -> Result<String, Error> {
    let data = data.ok_or_else(|| refused("the daemon says nothing where it must"))?;
    // Its library counts the zero at the end.
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8(data[..end].to_vec()).map_err(|_| refused("the daemon says what is no text"))
}

pub(super) async fn start(
    connection: &Connection,
    mechanism: &str,
    data: &[u8],
) -> Result<(bool, Option<Vec<u8>>), Error> {
    let args = AuthSaslStartArgs { mech: mechanism.into(), nil: 0, data: Words(data.to_vec()) };
    let reply = connection.call::<remote::AuthSaslStart>(&args).await?;
    let reply = reply.result()?;
    Ok((reply.complete != 0, (reply.nil == 0).then_some(reply.data.0)))
}

pub(super) async fn step(
    connection: &Connection,
    data: Option<&[u8]>,
) -> Result<(bool, Option<Vec<u8>>), Error> {
    let nil = i32::from(data.is_none());
    let args = AuthSaslStepArgs { nil, data: Words(data.unwrap_or_default().to_vec()) };
    let reply = connection.call::<remote::AuthSaslStep>(&args).await?;
    let reply = reply.result()?;
    Ok((reply.complete != 0, (reply.nil == 0).then_some(reply.data.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mechanism_that_both_have_is_taken() {
        let any = Wish::Any;
        assert_eq!(choose("SCRAM-SHA-1,PLAIN,SCRAM-SHA-256", &any, &MECHANISMS).unwrap(), "SCRAM-SHA-256");
        assert_eq!(choose("GSSAPI,SCRAM-SHA-1", &any, &MECHANISMS).unwrap(), "SCRAM-SHA-1");
        assert!(choose("ANONYMOUS,GSSAPI,DIGEST-MD5", &any, &MECHANISMS).is_err());
        let plain = Wish::Sasl(Some("PLAIN".into()));
        assert_eq!(choose("SCRAM-SHA-256,PLAIN", &plain, &MECHANISMS).unwrap(), "PLAIN");
        assert!(choose("SCRAM-SHA-256", &plain, &MECHANISMS).is_err());
    }

    #[test]
    fn a_password_is_said_as_it_was_typed_and_then_as_it_should_be_known() {
        let said = |user: &str, password: &str| {
            let typed = Credentials { user: user.into(), password: password.into() };
            let (first, second) = forms(typed).unwrap();
            assert_eq!((first.user.as_str(), first.password.as_str()), (user, password));
            second.map(|second| (second.user, second.password))
        };
        // The examples of RFC 4013, section 3.
        for (typed, known) in [("I\u{ad}X", "IX"), ("\u{aa}", "a"), ("\u{2168}", "IX")] {
            assert_eq!(said("user", typed), Some(("user".into(), known.into())));
        }
        assert_eq!(said("u\u{ad}ser", "x"), Some(("user".into(), "x".into())));
        // An e with an accent, in one sign and in two.
        assert_eq!(said("user", "cafe\u{301}").unwrap().1, "caf\u{e9}");
        for only in ["user", "USER", "caf\u{e9}", "it has no form\u{7}"] {
            assert_eq!(said("user", only), None, "{only}");
        }
        assert!(forms(Credentials { user: "user".into(), password: "a\0b".into() }).is_err());
    }

    #[test]
    fn a_password_is_told_to_nobody_who_has_not_proved_who_he_is() {
        let (any, plain) = (Wish::Any, Wish::Sasl(Some(PLAIN.into())));
        for (privacy, wish, told) in [
            (Privacy::Private, &any, true),
            (Privacy::Private, &plain, true),
            (Privacy::Unproven, &any, false),
            (Privacy::Unproven, &Wish::Sasl(None), false),
            (Privacy::Unproven, &plain, true),
            (Privacy::Open, &any, false),
            (Privacy::Open, &plain, false),
        ] {
            let known = permitted(privacy, wish, true);
            assert_eq!(choose(PLAIN, wish, &known).is_ok(), told, "{privacy:?} {wish:?}");
            // What tells no password asks only that nobody hears what follows.
            assert_eq!(known.contains(&"SCRAM-SHA-256"), privacy != Privacy::Open);
        }
    }
}
