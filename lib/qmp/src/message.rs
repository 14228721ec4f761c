//! What the server says: greeting, reply, event.

use crate::open_enum::open_enum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// The server's first message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Greeting {
    /// Which QEMU it is.
    pub version: Version,
    /// Capabilities offered; `oob` is the only one known.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// Version of the program behind the monitor (`VersionInfo`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Version {
    /// The three numbers.
    pub qemu: Triple,
    /// The distribution's package, e.g. `Debian 1:7.2+dfsg-7`.
    #[serde(default)]
    pub package: String,
}

impl Version {
    /// From a reply to `query-version`.
    pub(crate) fn of(reply: Value) -> Result<Self, Malformed> {
        let excerpt = || reply.to_string().chars().take(EXCERPT_BYTES).collect();
        Self::deserialize(&reply).map_err(|error| Malformed { reason: error.to_string(), excerpt: excerpt() })
    }
}

/// A release number (`VersionTriple`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Triple {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
}

impl std::fmt::Display for Triple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

open_enum! {
    /// Why the server refused a command (`QapiErrorClass`). Most refusals are `GenericError`; the description is for
    /// people and never to be parsed.
    pub enum ErrorClass {
        /// Anything without a class of its own.
        GenericError = "GenericError",
        /// No such command, or not in this state of the session.
        CommandNotFound = "CommandNotFound",
        /// The device has not been activated by the guest.
        DeviceNotActive = "DeviceNotActive",
        /// No such device.
        DeviceNotFound = "DeviceNotFound",
        /// KVM lacks what the command needs.
        KvmMissingCap = "KVMMissingCap",
    }
}

/// The server's refusal of one command.
#[derive(Clone, Debug, PartialEq, Eq, Error, Deserialize)]
#[error("{desc}")]
pub struct Refusal {
    /// Kind of refusal.
    pub class: ErrorClass,
    /// The server's own words.
    pub desc: String,
}

/// An event as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, e.g. `SHUTDOWN`.
    pub name: String,
    /// Its members; empty when it has none.
    pub data: Map<String, Value>,
    /// The server's wall clock, absent when the server could not read it.
    pub timestamp: Option<Timestamp>,
}

/// When an event was raised: time since the epoch on the server's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: u64,
    /// Microseconds within the second.
    pub microseconds: u32,
}

/// One message of the server, its kind told by its members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Greeting(Greeting),
    Reply {
        id: Option<Value>,
        result: Result<Value, Refusal>,
    },
    Event(Event),
    /// A JSON object of a kind that does not exist yet.
    Other,
}

/// A line that no QMP server sends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a QMP message: {reason}; it begins {excerpt:?}")]
pub struct Malformed {
    reason: String,
    excerpt: String,
}

impl Message {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let malformed = |reason: &dyn std::fmt::Display| Malformed {
            reason: reason.to_string(),
            excerpt: String::from_utf8_lossy(&line[..line.len().min(EXCERPT_BYTES)]).into_owned(),
        };
        // 0xFF precedes a reply after a resynchronisation; it is no part of the JSON text.
        let text = line.strip_prefix(&[0xff]).unwrap_or(line);
        let members: Members = serde_json::from_slice(text).map_err(|e| malformed(&e))?;
        if let Some(value) = members.value {
            return Ok(Self::Reply { id: members.id, result: Ok(value) });
        }
        if let Some(refusal) = members.error {
            return Ok(Self::Reply { id: members.id, result: Err(refusal) });
        }
        if let Some(name) = members.event {
            let timestamp = members.timestamp.and_then(|value| timestamp(&value));
            return Ok(Self::Event(Event { name, data: members.data.unwrap_or_default(), timestamp }));
        }
        Ok(members.greeting.map_or(Self::Other, Self::Greeting))
    }
}

/// The members that tell the kind of a message, and what they bring: read in one pass, so that nothing is built but what is handed out.
#[derive(Deserialize)]
struct Members {
    /// `null` is a value.
    #[serde(rename = "return", default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    data: Option<Map<String, Value>>,
    timestamp: Option<Value>,
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// -1 in both members says that the server's clock failed.
fn timestamp(value: &Value) -> Option<Timestamp> {
    let seconds = value.get("seconds")?.as_u64()?;
    let microseconds = u32::try_from(value.get("microseconds")?.as_u64()?).ok()?;
    Some(Timestamp { seconds, microseconds })
}

/// Enough of a foreign line to recognise who answered.
const EXCERPT_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_all_64_bits() {
        let line = br#"{"return":{"a":18446744073709551615,"b":-9223372036854775808},"id":1}"#;
        let Message::Reply { result: Ok(value), .. } = Message::parse(line).unwrap() else {
            panic!("no reply")
        };
        assert_eq!(value["a"].as_u64(), Some(u64::MAX));
        assert_eq!(value["b"].as_i64(), Some(i64::MIN));
    }

    #[test]
    fn a_failed_clock_is_no_timestamp() {
        let line = br#"{"event":"STOP","timestamp":{"seconds":-1,"microseconds":-1}}"#;
        let Message::Event(event) = Message::parse(line).unwrap() else { panic!("no event") };
        assert_eq!((event.name.as_str(), event.timestamp), ("STOP", None));
    }

    #[test]
    fn a_reply_may_be_null_and_have_an_id_that_is() {
        let message = Message::parse(br#"{"id": null, "new": [1], "return": null}"#).unwrap();
        assert_eq!(message, Message::Reply { id: Some(Value::Null), result: Ok(Value::Null) });
        assert_eq!(Message::parse(b"{}").unwrap(), Message::Other);
        assert!(Message::parse(b"[]").is_err());
    }

    #[test]
    fn an_unknown_error_class_is_kept() {
        let line = br#"{"error":{"class":"Novel","desc":"no"}}"#;
        let Message::Reply { result: Err(refusal), .. } = Message::parse(line).unwrap() else { panic!() };
        assert_eq!(refusal.class, ErrorClass::Unknown("Novel".into()));
    }

    #[test]
    fn another_protocol_is_named_by_its_first_bytes() {
        let error = Message::parse(b"SSH-2.0-OpenSSH_9.2").unwrap_err();
        assert!(error.to_string().contains("SSH-2.0"), "{error}");
    }
}
