//! What QEMU's reader of JSON takes.
//!
//! It refuses some texts that others read, and answers without the id that it has not come to: nobody could tell whose call that was. So
//! such a call is refused before it is written.

use serde_json::{Map, Value};
use thiserror::Error;

/// Tokens of one message (`MAX_TOKEN_COUNT` in `qobject/json-streamer.c`).
const TOKENS: usize = 2 << 20;

/// Bytes of one message's tokens (`MAX_TOKEN_SIZE` there).
const BYTES: usize = 64 << 20;

/// Objects and lists within one another (`MAX_NESTING` there).
const NESTING: usize = 1 << 10;

/// Why QEMU's reader would not take a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Illegible {
    /// One of the 66 code points that Unicode keeps from being characters (`is_valid_codepoint` in QEMU's `util/unicode.c`).
    #[error(
        "{member} holds U+{code:04X}, which is no character to QEMU; leave it out, or hand a file of such a name over by descriptor"
    )]
    Character {
        /// Where, such as `filename` or `options[2].path`.
        member: String,
        /// The code point.
        code: u32,
    },
    /// Too deep.
    #[error("it is nested more than {NESTING} levels deep, which QEMU does not read")]
    Deep,
    /// Too large.
    #[error("it is larger than QEMU reads (64 MiB, or two million words and signs)")]
    Large,
}

/// Whether QEMU reads a request with these arguments.
///
/// # Errors
/// [`Illegible`].
pub(crate) fn check(command: &str, arguments: &Map<String, Value>) -> Result<(), Illegible> {
    let mut read = Read::default();
    // `{"execute": command, "arguments": {...}, "id": 0}`.
    read.text(command)
        .map_err(|code| Illegible::Character { member: "the command's name".to_owned(), code })?;
    read.add(13, 64)?;
    read.object(arguments, 2).map_err(|found| found.told())
}

#[derive(Default)]
struct Read {
    tokens: usize,
    bytes: usize,
}

/// What is wrong, and where: from the inside out.
enum Found {
    Character(u32, Vec<Step>),
    Other(Illegible),
}

enum Step {
    Member(String),
    Item(usize),
}

impl Found {
    fn within(mut self, step: impl FnOnce() -> Step) -> Self {
        if let Self::Character(_, steps) = &mut self {
            steps.push(step());
        }
        self
    }

    fn told(self) -> Illegible {
        let (code, steps) = match self {
            Self::Character(code, steps) => (code, steps),
            Self::Other(other) => return other,
        };
        let mut member = String::new();
        for step in steps.iter().rev() {
            match step {
                Step::Member(name) if member.is_empty() => member += name,
                Step::Member(name) => member += &format!(".{name}"),
                Step::Item(at) => member += &format!("[{at}]"),
            }
        }
        Illegible::Character { member, code }
    }
}

impl From<Illegible> for Found {
    fn from(other: Illegible) -> Self {
        Self::Other(other)
    }
}

impl Read {
    fn add(&mut self, tokens: usize, bytes: usize) -> Result<(), Illegible> {
        self.tokens += tokens;
        self.bytes += bytes;
        if self.tokens > TOKENS || self.bytes > BYTES { Err(Illegible::Large) } else { Ok(()) }
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<(), Found> {
        // Braces; then a key, a colon, and a comma more than there is.
        self.add(2, 2)?;
        for (key, value) in object {
            let name = || Step::Member(key.clone());
            self.text(key).map_err(|code| Found::Character(code, vec![name()]))?;
            self.add(3, 2)?;
            self.value(value, depth).map_err(|found| found.within(name))?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Found> {
        let (is_nested, depth) = (value.is_object() || value.is_array(), depth + 1);
        if is_nested && depth > NESTING {
            return Err(Illegible::Deep.into());
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.add(1, NUMBER)?,
            Value::String(text) => {
                self.text(text).map_err(|code| Found::Character(code, Vec::new()))?;
                self.add(1, 0)?;
            }
            Value::Array(items) => {
                self.add(2, 2)?;
                for (at, item) in items.iter().enumerate() {
                    self.value(item, depth).map_err(|found| found.within(|| Step::Item(at)))?;
                    self.add(1, 1)?;
                }
            }
            Value::Object(object) => self.object(object, depth)?,
        }
        Ok(())
    }

    /// Counts the bytes of a string; it is a token that the caller counts.
    fn text(&mut self, text: &str) -> Result<(), u32> {
        let written = |byte: u8| match byte {
            b'"' | b'\\' => 2,
            0..0x20 => 6,
            _ => 1,
        };
        self.bytes += 2 + text.bytes().map(written).sum::<usize>();
        if text.is_ascii() {
            return Ok(());
        }
        text.chars().map(u32::from).find(|code| is_no_character(*code)).map_or(Ok(()), Err)
    }
}

/// The last two of each plane, and 32 that were set aside.
fn is_no_character(code: u32) -> bool {
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

/// No number is written longer, nor `false`.
const NUMBER: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(arguments: Value) -> Result<(), Illegible> {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        check("some-command", &arguments)
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(0), |inner, _| Value::Array(vec![inner]))
    }

    #[test]
    fn code_points_that_are_no_characters_are_found_and_named() {
        for code in [0xfdd0, 0xfdef, 0xfffe, 0xffff, 0x1_fffe, 0x10_ffff] {
            let text = format!("a{}", char::from_u32(code).unwrap());
            let found = |member: &str| Err(Illegible::Character { member: member.to_owned(), code });
            assert_eq!(checked(json!({"filename": text})), found("filename"));
            let inner = json!({"node": {"list": [0, {"path": text}]}});
            assert_eq!(checked(inner), found("node.list[1].path"));
            assert_eq!(check(&text, &Map::new()), found("the command's name"));
            assert_eq!(checked(json!({"a": {text.clone(): 1}})), found(&format!("a.{text}")));
        }
        for code in [0, 0x1f, 0x7f, 0xd7ff, 0xe000, 0xfdcf, 0xfdf0, 0xfffd, 0x1_0000] {
            let text = char::from_u32(code).unwrap().to_string();
            assert_eq!(checked(json!({"filename": text})), Ok(()), "{code:x}");
        }
    }

    #[test]
    fn what_is_too_deep_or_too_large_is_found() {
        // Around it are the request and its arguments.
        assert_eq!(checked(json!({"x": nested(NESTING - 2)})), Ok(()));
        assert_eq!(checked(json!({"x": nested(NESTING - 1)})), Err(Illegible::Deep));
        assert_eq!(checked(json!({"x": vec![0; TOKENS / 2 - 16]})), Ok(()));
        assert_eq!(checked(json!({"x": vec![0; TOKENS / 2]})), Err(Illegible::Large));
        let members = |count: usize| (0..count).map(|at| (at.to_string(), json!(0))).collect::<Map<_, _>>();
        assert_eq!(check("some-command", &members(TOKENS / 4 - 16)), Ok(()));
        assert_eq!(check("some-command", &members(TOKENS / 4)), Err(Illegible::Large));
        assert_eq!(checked(json!({"x": "y".repeat(BYTES - 128)})), Ok(()));
        assert_eq!(checked(json!({"x": "y".repeat(BYTES)})), Err(Illegible::Large));
        assert_eq!(checked(json!({"x": "\"".repeat(BYTES / 2)})), Err(Illegible::Large));
    }
}
