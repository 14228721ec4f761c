//! What users of a monitor send: JSON values one after the other, with nothing needed between them.
//!
//! As QEMU reads them: strings may stand in single quotes, a byte that no JSON text holds makes the reader drop what it has.

use serde_json::Value;
use std::collections::VecDeque;

/// Something that a user sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A JSON value.
    Value(Value),
    /// What is no JSON, or was cut off by a byte that is none.
    Malformed,
    /// A value outgrew the limit; nothing comes after this.
    TooLong,
}

/// Incremental reader: bytes in, values out. Each byte is looked at once.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    text: Vec<u8>,
    depth: usize,
    string: Option<Quote>,
    inputs: VecDeque<Input>,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Quote {
    byte: u8,
    /// The byte before was a backslash.
    escaped: bool,
}

/// Deeper values are refused; QEMU takes 1024.
const DEPTH: usize = 100;

impl Parser {
    /// A parser that takes values of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, text: Vec::new(), depth: 0, string: None, inputs: VecDeque::new(), over: false }
    }

    /// The next input, oldest first.
    pub fn next_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.over {
                return;
            }
            self.take(*byte);
            if self.text.len() > self.limit {
                self.over = true;
                self.inputs.push_back(Input::TooLong);
            }
        }
    }

    fn take(&mut self, byte: u8) {
        if byte == 0xff || (byte < 0x20 && !byte.is_ascii_whitespace()) {
            self.reset();
            self.inputs.push_back(Input::Malformed);
            return;
        }
        if let Some(quote) = self.string {
            return self.in_string(byte, quote);
        }
        match byte {
            b'"' | b'\'' => {
                self.text.push(b'"');
                self.string = Some(Quote { byte, escaped: false });
            }
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.finish();
                }
                self.text.push(byte);
                self.depth += 1;
                if self.depth > DEPTH {
                    self.reset();
                    self.inputs.push_back(Input::Malformed);
                }
            }
            b'}' | b']' => {
                self.text.push(byte);
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.finish();
                }
            }
            byte if byte.is_ascii_whitespace() && self.depth == 0 => self.finish(),
            byte => self.text.push(byte),
        }
    }

    fn in_string(&mut self, byte: u8, quote: Quote) {
        let escaped = quote.escaped;
        match byte {
            // Of the two quotes JSON escapes one.
            b'\'' if escaped => {
                self.text.pop();
                self.text.push(byte);
            }
            b'"' if !escaped && quote.byte != b'"' => self.text.extend_from_slice(b"\\\""),
            byte if byte == quote.byte && !escaped => {
                self.text.push(b'"');
                self.string = None;
                if self.depth == 0 {
                    self.finish();
                }
                return;
            }
            byte => self.text.push(byte),
        }
        self.string = Some(Quote { byte: quote.byte, escaped: byte == b'\\' && !escaped });
    }

    fn finish(&mut self) {
        if !self.text.is_empty() {
            let parsed = serde_json::from_slice(&self.text);
            self.inputs.push_back(parsed.map_or(Input::Malformed, Input::Value));
            self.text.clear();
        }
    }

    fn reset(&mut self) {
        self.text.clear();
        self.depth = 0;
        self.string = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parsed(pieces: &[&[u8]]) -> Vec<Input> {
        let mut parser = Parser::new(100);
        pieces.iter().for_each(|piece| parser.push(piece));
        std::iter::from_fn(|| parser.next_input()).collect()
    }

    #[test]
    fn values_need_nothing_between_them() {
        let expected = [json!({"a": [1, {}]}), json!([]), json!({"b": "}"}), json!(1), json!("x")];
        let text = b"{\"a\":[1,{}]}[]{\"b\":\"}\"}1 \"x\"";
        assert_eq!(parsed(&[text]), expected.map(Input::Value));
    }

    #[test]
    fn single_quotes_are_quotes() {
        let text = br#"{'execute': 'it\'s', "b": "it's", 'c': 'say "x" \" \\'}"#;
        let expected = json!({"execute": "it's", "b": "it's", "c": "say \"x\" \" \\"});
        assert_eq!(parsed(&[text]), [Input::Value(expected)]);
    }

    #[test]
    fn a_byte_that_is_no_json_starts_anew_also_inside_a_string() {
        assert_eq!(
            parsed(&[b"{\"exec", b"\xff{}", b"[\x1b1"]),
            [Input::Malformed, Input::Value(json!({})), Input::Malformed]
        );
        assert_eq!(parsed(&[b"{]} {}"])[0], Input::Malformed);
    }

    #[test]
    fn limits_hold() {
        assert_eq!(parsed(&[&[b' '; 200], &[b'1'; 101], b"{}"]), [Input::TooLong]);
        assert_eq!(parsed(&[&[b'['; DEPTH + 1]]), [Input::Malformed]);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same(text in "[{}\\[\\]\"',:0-9a-c\\\\ ]{0,60}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            prop_assert_eq!(parsed(&[bytes]), parsed(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
