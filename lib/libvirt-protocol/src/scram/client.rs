//! The client's side, as a value: messages in, messages out.
//!
//! ```text
//!   n,,n=user,r=nonce           ──>
//!                               <──  r=nonce…,s=salt,i=rounds
//!   c=biws,r=nonce…,p=proof     ──>
//!                               <──  v=signature      (proves that the server knows the password, too)
//! ```

use super::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use subtle::ConstantTimeEq;

/// Rounds that a server may demand: more would be an attack on our processor.
const MOST_ROUNDS: u32 = 1_000_000;
/// Fewer tell an eavesdropper the password (RFC 5802 section 4).
const LEAST_ROUNDS: u32 = 4096;

/// Why a client does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A part of the challenge is missing, or not where it belongs.
    #[error("the challenge has no {0}")]
    Missing(&'static str),
    /// The challenge is one to somebody else, or to an earlier beginning.
    #[error("the challenge does not continue our nonce")]
    Nonce,
    /// The salt cannot be read.
    #[error("the challenge has a salt that is no base64")]
    Salt,
    /// The number of rounds cannot be read.
    #[error("the challenge has no number of rounds")]
    NoRounds,
    /// So many rounds are not done.
    #[error("the challenge wants {0} rounds; {LEAST_ROUNDS} to {MOST_ROUNDS} are accepted")]
    Rounds(u32),
    /// The server takes the proof for none; its word for that.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server has not shown that it knows the password, too.
    #[error("the server does not prove that it knows the password")]
    Unproven,
}

/// The client has said who it is.
#[derive(Clone)]
pub struct Begun {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

/// What the server has answered to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    rounds: u32,
}

/// The client has proved that it knows the password.
#[derive(Clone)]
pub struct Proved {
    signature: Vec<u8>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is shown nowhere.
        f.debug_struct("Begun").field("hash", &self.hash).field("bare", &self.bare).finish_non_exhaustive()
    }
}

impl fmt::Debug for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proved").finish_non_exhaustive()
    }
}

impl Begun {
    /// Begins; `nonce` is never used twice. Name and password are said as they are: whoever wants SASLprep's form of them gives that.
    #[must_use]
    pub fn new(hash: Hash, user: &str, password: &str, nonce: &[u8]) -> Self {
        let nonce = BASE64.encode(nonce);
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, password: password.to_owned(), nonce, bare }
    }

    /// What the client says first. It binds no channel.
    #[must_use]
    pub fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Reads the server's challenge.
    ///
    /// # Errors
    /// When it is none, or a bad one.
    pub fn read<'a>(&self, text: &'a str) -> Result<Challenge<'a>, ScramError> {
        let mut parts = text.split(',');
        let mut part = |name: &'static str| {
            let part = parts.next().and_then(|part| part.strip_prefix(name));
            part.ok_or(ScramError::Missing(name))
        };
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Salt)?;
        let rounds: u32 = rounds.parse().map_err(|_| ScramError::NoRounds)?;
        if !(LEAST_ROUNDS..=MOST_ROUNDS).contains(&rounds) {
            return Err(ScramError::Rounds(rounds));
        }
        Ok(Challenge { text, nonce, salt, rounds })
    }

    /// Answers it: the client's second message, and what comes after. Takes time in proportion to [`Challenge::rounds`].
    #[must_use]
    pub fn answer(self, challenge: &Challenge<'_>) -> (String, Proved) {
        let salted = self.hash.salted(&self.password, &challenge.salt, challenge.rounds);
        let key = self.hash.hmac(&salted, b"Client Key");
        // "biws" is "n,," in base64: what was said of the channel, once more, inside what is signed.
        let without_proof = format!("c=biws,r={}", challenge.nonce);
        let signed = format!("{},{},{without_proof}", self.bare, challenge.text);
        let signature = self.hash.hmac(&self.hash.digest(&key), signed.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server = self.hash.hmac(&salted, b"Server Key");
        let expected = self.hash.hmac(&server, signed.as_bytes());
        (format!("{without_proof},p={}", BASE64.encode(proof)), Proved { signature: expected })
    }
}

impl Challenge<'_> {
    /// How often the password is to be hashed: from 4,096 to a million times, which takes from milliseconds to a second.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// With what.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl Proved {
    /// Checks that the server knows the password, too.
    ///
    /// # Errors
    /// When it does not, or says why it refuses.
    pub fn check(&self, last: &str) -> Result<(), ScramError> {
        if let Some(error) = last.strip_prefix("e=") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let signature = last.strip_prefix("v=").and_then(|text| BASE64.decode(text.split(',').next()?).ok());
        match signature {
            Some(signature) if bool::from(signature.ct_eq(&self.signature)) => Ok(()),
            _ => Err(ScramError::Unproven),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the nonce as the documents print it, which is no base64 of anything.
    fn begun(hash: Hash, nonce: &str) -> Begun {
        Begun { hash, password: "pencil".into(), nonce: nonce.into(), bare: format!("n=user,r={nonce}") }
    }

    fn answered(begun: Begun, challenge: &str) -> Result<(String, Proved), ScramError> {
        let challenge = begun.read(challenge)?;
        Ok(begun.answer(&challenge))
    }

    #[test]
    fn the_examples_of_the_documents_come_out() {
        // RFC 5802, section 5.
        let start = begun(Hash::Sha1, "fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(start.message(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let (answer, end) =
            answered(start, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
                .unwrap();
        assert_eq!(
            answer,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        end.check("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").unwrap();
        // RFC 7677, section 3.
        let start = begun(Hash::Sha256, "rOprNGfwEbeRWgbNEkqO");
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, end) = answered(start, challenge).unwrap();
        assert!(answer.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{answer}");
        end.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
    }

    #[test]
    fn a_bad_challenge_is_refused() {
        for (challenge, why) in [
            ("", ScramError::Missing("r=")),
            ("r=nx,i=4096,s=QQ==", ScramError::Missing("s=")),
            ("r=other,s=QQ==,i=4096", ScramError::Nonce),
            ("r=n,s=QQ==,i=4096", ScramError::Nonce),
            ("r=nx,s=?,i=4096", ScramError::Salt),
            ("r=nx,s=QQ==,i=many", ScramError::NoRounds),
            ("r=nx,s=QQ==,i=1", ScramError::Rounds(1)),
            ("r=nx,s=QQ==,i=4000000000", ScramError::Rounds(4_000_000_000)),
        ] {
            assert_eq!(begun(Hash::Sha256, "n").read(challenge), Err(why), "{challenge}");
        }
        let (_, end) = answered(begun(Hash::Sha256, "n"), "r=nx,s=QQ==,i=4096").unwrap();
        for last in ["", "v=", "v=QQ=="] {
            assert_eq!(end.check(last), Err(ScramError::Unproven), "{last}");
        }
        assert_eq!(end.check("e=invalid-proof"), Err(ScramError::Refused("invalid-proof".into())));
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let start = begun(Hash::Sha256, "n");
        let shown = format!("{start:?} {:?}", answered(start.clone(), "r=nx,s=QQ==,i=4096").unwrap().1);
        assert!(!shown.contains("pencil"), "{shown}");
    }
}
