//! What the server says: greeting, reply, event.

use crate::open_enum::open_enum;
use serde::{Deserialize, Serialize, de::IgnoredAny};
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
        let members: Members = read(text).map_err(|e| malformed(&e))?;
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

/// A reply of which only the id is looked at.
#[derive(Deserialize)]
struct Unread {
    #[serde(rename = "return")]
    value: Option<IgnoredAny>,
    id: Option<u64>,
}

/// The id of a line that is a reply to a call of ours, and no refusal.
pub(crate) fn replied(line: &[u8]) -> Option<u64> {
    let unread: Unread = serde_json::from_slice(line).ok()?;
    unread.value.and(unread.id)
}

/// What a line that [`replied`] has for an answer.
///
/// # Errors
/// When it has another form.
pub(crate) fn answer<T: serde::de::DeserializeOwned>(line: &[u8]) -> serde_json::Result<T> {
    #[derive(Deserialize)]
    struct Answer<T> {
        #[serde(rename = "return")]
        value: T,
    }
    read::<Answer<T>>(line).map(|answer| answer.value)
}

/// Whom a line concerns that is JSON and cannot be read: it is too deep, or has another form than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// A call by this id.
    Call(u64),
    /// No call of ours.
    Nobody,
}

/// Looks at the shape of a line only; `None` for one that no QMP server sends.
pub(crate) fn addressee(line: &[u8]) -> Option<Addressee> {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "return")]
        value: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
        event: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Numbered {
        id: u64,
    }
    let text = line.strip_prefix(&[0xff]).unwrap_or(line);
    let shape: Shape = serde_json::from_slice(text).ok()?;
    let (is_reply, is_event) = (shape.value.or(shape.error).is_some(), shape.event.is_some());
    let number = || serde_json::from_slice::<Numbered>(text).ok();
    match (is_reply, is_event) {
        (true, _) => Some(number().map_or(Addressee::Nobody, |numbered| Addressee::Call(numbered.id))),
        (false, true) => Some(Addressee::Nobody),
        (false, false) => None,
    }
}

/// Reads JSON text that is as deep as a chain of images makes it.
fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let outcome = serde_json::from_slice(text);
    // The depth is looked at only where it may be what is wrong.
    if outcome.is_ok() || !(USUAL_DEPTH..=DEPTH).contains(&depth(text)) {
        return outcome;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// How deep arrays and objects lie in each other.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut most, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match (in_string, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                now += 1;
                most = most.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            (true | false, _) => {}
        }
    }
    most
}

/// Chains of some 250 images. Unoptimised, a typed answer of 340 levels fills the two mebibytes of stack that a thread of tokio's has.
const DEPTH: usize = 256;

/// What serde_json refuses by itself.
const USUAL_DEPTH: usize = 128;

pub(crate) fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
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
    use crate::{commands::ImageInfo, wire::Decode as _};

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

    /// As of a chain of so many images.
    fn chain(images: usize) -> String {
        let image = "\"filename\": \"a\", \"format\": \"raw\", \"virtual-size\": 1";
        let above = format!("{{{image}, \"backing-image\": ").repeat(images);
        format!("{{\"return\": {above}{{{image}}}{}, \"id\": 7}}", "}".repeat(images))
    }

    #[test]
    fn a_deep_reply_is_read_and_a_bottomless_one_is_not() {
        for images in [1, 126, 127, 128, DEPTH - 2] {
            let Message::Reply { result: Ok(value), .. } = Message::parse(chain(images).as_bytes()).unwrap()
            else {
                panic!("no reply")
            };
            let mut inner = &value;
            (0..images).for_each(|_| inner = &inner["backing-image"]);
            assert_eq!(inner["filename"], "a");
            // On the stack of a thread of tests, which is that of tokio's.
            let info = ImageInfo::decode(value.clone()).unwrap();
            let depth = std::iter::successors(Some(&info), |info| info.backing_image.as_deref()).count();
            assert_eq!(depth, images + 1);
        }
        for images in [DEPTH - 1, 1 << 16] {
            assert!(Message::parse(chain(images).as_bytes()).is_err());
            assert_eq!(addressee(chain(images).as_bytes()), Some(Addressee::Call(7)));
        }
    }

    #[test]
    fn brackets_in_strings_make_nothing_deeper() {
        assert_eq!(depth(br#"{"a\\": "[[\"[[", "b": [{}]}"#), 3);
        assert_eq!(depth(b"]]][\xff"), 1);
    }

    #[test]
    fn a_line_that_cannot_be_read_tells_whom_it_concerns() {
        let of = |line: &str| addressee(line.as_bytes());
        assert_eq!(of(r#"{"error": "no object", "id": 3}"#), Some(Addressee::Call(3)));
        assert_eq!(of(r#"{"return": 1, "id": "three"}"#), Some(Addressee::Nobody));
        assert_eq!(of(r#"{"event": 5}"#), Some(Addressee::Nobody));
        assert_eq!((of(r#"{"QMP": 5}"#), of("220 ready"), of("[1]")), (None, None, None));
    }

    #[test]
    fn another_protocol_is_named_by_its_first_bytes() {
        let error = Message::parse(b"SSH-2.0-OpenSSH_9.2").unwrap_err();
        assert!(error.to_string().contains("SSH-2.0"), "{error}");
    }
}
