//! SCRAM (RFC 5802, RFC 7677), the client's side, as a value: messages in, messages out.
//!
//! ```text
//!   n,,n=user,r=nonce           ──>
//!                               <──  r=nonce…,s=salt,i=rounds
//!   c=biws,r=nonce…,p=proof     ──>
//!                               <──  v=signature      (proves that the server knows the password, too)
//! ```

use super::credentials::Credentials;
use super::refused;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use libvirt_protocol::scram::Hash;
use subtle::ConstantTimeEq;

/// Rounds that a server may demand: more would be an attack on our processor.
const MOST_ROUNDS: u32 = 1_000_000;
/// Fewer tell an eavesdropper the password (RFC 5802 section 4).
const LEAST_ROUNDS: u32 = 4096;

/// The client has said who it is.
#[derive(Debug)]
pub(super) struct First {
    hash: Hash,
    credentials: Credentials,
    nonce: String,
    bare: String,
}

/// The client has proved that it knows the password.
#[derive(Debug)]
pub(super) struct Final {
    signature: Vec<u8>,
}

impl First {
    /// Begins; `nonce` is never used twice.
    pub(super) fn new(hash: Hash, credentials: Credentials, nonce: &[u8]) -> Self {
        let nonce = BASE64.encode(nonce);
        let user = credentials.user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, credentials, nonce, bare }
    }

    /// What the client says first. It binds no channel.
    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the server's challenge.
    ///
    /// # Errors
    /// When it is none, or a bad one.
    pub(super) fn answer(self, challenge: &str) -> Result<(String, Final), Error> {
        let wrong = |why: &str| refused(format!("the daemon's challenge {why}"));
        let mut parts = challenge.split(',');
        let mut part = |name: &str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.ok_or_else(|| wrong(&format!("has no {name}")))
        };
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(wrong("does not continue our nonce"));
        }
        let salt = BASE64.decode(salt).map_err(|_| wrong("has a salt that is no base64"))?;
        let rounds: u32 = rounds.parse().map_err(|_| wrong("has no number of rounds"))?;
        if !(LEAST_ROUNDS..=MOST_ROUNDS).contains(&rounds) {
            return Err(wrong(&format!(
                "wants {rounds} rounds; {LEAST_ROUNDS} to {MOST_ROUNDS} are accepted"
            )));
        }
        let salted = self.hash.salted(&self.credentials.password, &salt, rounds);
        let key = self.hash.hmac(&salted, b"Client Key");
        // "biws" is "n,," in base64: what was said of the channel, once more, inside what is signed.
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.bare);
        let signature = self.hash.hmac(&self.hash.digest(&key), signed.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server = self.hash.hmac(&salted, b"Server Key");
        let expected = self.hash.hmac(&server, signed.as_bytes());
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), Final { signature: expected }))
    }
}

impl Final {
    /// Checks that the server knows the password, too.
    ///
    /// # Errors
    /// When it does not, or says why it refuses.
    pub(super) fn check(&self, last: &str) -> Result<(), Error> {
        if let Some(error) = last.strip_prefix("e=") {
            return Err(refused(format!("the daemon refuses: {error}")));
        }
        let signature = last.strip_prefix("v=").and_then(|text| BASE64.decode(text.split(',').next()?).ok());
        match signature {
            Some(signature) if bool::from(signature.ct_eq(&self.signature)) => Ok(()),
            _ => Err(refused("the daemon does not prove that it knows the password")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the nonce as the documents print it, which is no base64 of anything.
    fn first(hash: Hash, nonce: &str) -> First {
        let credentials = Credentials { user: "user".into(), password: "pencil".into() };
        First { hash, credentials, nonce: nonce.into(), bare: format!("n=user,r={nonce}") }
    }

    #[test]
    fn the_examples_of_the_documents_come_out() {
        // RFC 5802, section 5.
        let start = first(Hash::Sha1, "fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(start.message(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let (answer, end) =
            start.answer("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        assert_eq!(
            answer,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        end.check("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap();
        // RFC 7677, section 3.
        let (answer, end) = first(Hash::Sha256, "rOprNGfwEbeRWgbNEkqO")
            .answer("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
            .unwrap();
        assert!(answer.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{answer}");
        end.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    #[test]
    fn a_bad_challenge_is_refused() {
        for (challenge, why) in [
            ("", "has no r="),
            ("r=other,s=QQ==,i=4096", "nonce"),
            ("r=n,s=QQ==,i=4096", "nonce"),
            ("r=nx,s=?,i=4096", "base64"),
            ("r=nx,s=QQ==,i=many", "rounds"),
            ("r=nx,s=QQ==,i=1", "1 rounds"),
            ("r=nx,s=QQ==,i=4000000000", "rounds"),
        ] {
            let error = first(Hash::Sha256, "n").answer(challenge).unwrap_err().to_string();
            assert!(error.contains(why), "{challenge}: {error}");
        }
        let (_, end) = first(Hash::Sha256, "n").answer("r=nx,s=QQ==,i=4096").unwrap();
        for last in ["", "v=", "v=QQ==", "e=invalid-proof"] {
            assert!(end.check(last).is_err(), "{last}");
        }
    }
}
