//! A line of the shell: what it asks for.
//!
//! `command argument=value outer.inner=value`, with quotes around what holds spaces; `oob` in front runs it beside a blocked main loop.
//! A line that begins with a brace is a request as QEMU takes it. What a value is, the schema decides: `id=1` is a text where a text is
//! wanted, and a number where a number is.

use qmp::schema::{Member, Schema};
use serde_json::{Map, Value};
use thiserror::Error;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The command.
    pub command: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Whether it runs out of band.
    pub oob: bool,
}

/// A line that asks for nothing that can be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineError {
    /// A quote has no end.
    #[error("a quote is not closed")]
    OpenQuote,
    /// A word is no argument.
    #[error("`{0}` is no argument: write name=value")]
    NoArgument(String),
    /// A value is not what the schema wants.
    #[error("{name} wants {form}, and `{value}` is none")]
    Form {
        /// The argument.
        name: String,
        /// What it wants.
        form: String,
        /// What it got.
        value: String,
    },
    /// An argument is inside one that is no object.
    #[error("{0} is inside an argument that was given a value")]
    Inside(String),
    /// A request in JSON that is none.
    #[error("that is no request: {0}")]
    Json(String),
}

/// The words of a line; quotes of both kinds hold them together and are left out, a backslash keeps the next character.
///
/// # Errors
/// [`LineError::OpenQuote`].
pub fn words(line: &str) -> Result<Vec<String>, LineError> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (end, Some(begin)) if end == begin => quote = None,
            // JSON between single quotes keeps its own backslashes.
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(LineError::OpenQuote) } else { Ok(words) }
}

/// The request of a line; `None` for a blank one and a comment.
///
/// # Errors
/// [`LineError`].
pub fn request(line: &str, schema: &Schema) -> Result<Option<Request>, LineError> {
    let line = line.trim();
    if line.starts_with('{') {
        return json(line).map(Some);
    }
    if line.starts_with('#') {
        return Ok(None);
    }
    of_words(words(line)?, schema)
}

/// The request of words that were cut already, such as those of a command line.
///
/// # Errors
/// [`LineError`].
pub fn of_words(words: Vec<String>, schema: &Schema) -> Result<Option<Request>, LineError> {
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Ok(None) };
    let (command, oob) = match (first.as_str(), words.as_slice()) {
        ("oob", [_, ..]) => (words.next().unwrap_or_default(), true),
        _ => (first, false),
    };
    let known = schema.command(&command).map(|command| command.arguments()).unwrap_or_default();
    let mut arguments = Map::new();
    for word in words {
        let Some((name, text)) = word.split_once('=') else { return Err(LineError::NoArgument(word)) };
        let value = typed(name, text, member(&known, name).as_ref())?;
        insert(&mut arguments, name, value)?;
    }
    Ok(Some(Request { command, arguments, oob }))
}

/// The member at a place inside; of members of several variants the first of that name.
pub(crate) fn member<'a>(members: &[Member<'a>], name: &str) -> Option<Member<'a>> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let found = members.iter().find(|member| member.name == first)?;
    match rest {
        None => Some(found.clone()),
        Some(rest) => member(&found.members(), rest),
    }
}

fn typed(name: &str, text: &str, member: Option<&Member<'_>>) -> Result<Value, LineError> {
    let json = serde_json::from_str::<Value>(text).ok();
    let form = member.map_or_else(String::new, Member::form);
    let plain = |json: Option<Value>| json.filter(|value| !value.is_string() && !value.is_null());
    match form.as_str() {
        "str" => Ok(Value::from(text)),
        form if form.starts_with("one of") => Ok(Value::from(text)),
        "int" | "number" | "bool" | "object" | "null" => wanted(name, form.as_str(), text, json),
        form if form.starts_with("list of") => wanted(name, form, text, json),
        // An alternative, anything, or an argument that the schema does not list, such as a property of a device.
        _ => Ok(plain(json).unwrap_or_else(|| Value::from(text))),
    }
}

fn wanted(name: &str, form: &str, text: &str, json: Option<Value>) -> Result<Value, LineError> {
    let fits = |value: &Value| match form {
        "int" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => value.is_array(),
    };
    let wrong = || LineError::Form { name: name.to_owned(), form: form.to_owned(), value: text.to_owned() };
    json.filter(fits).ok_or_else(wrong)
}

fn insert(into: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), LineError> {
    match name.split_once('.') {
        None => {
            into.insert(name.to_owned(), value);
            Ok(())
        }
        Some((outer, inner)) => {
            let entry = into.entry(outer).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(members) = entry else { return Err(LineError::Inside(name.to_owned())) };
            insert(members, inner, value)
        }
    }
}

fn json(line: &str) -> Result<Request, LineError> {
    let wrong = |what: &str| LineError::Json(what.to_owned());
    let mut request: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| LineError::Json(error.to_string()))?;
    let (name, oob) = match (request.remove("execute"), request.remove("exec-oob")) {
        (Some(name), None) => (name, false),
        (None, Some(name)) => (name, true),
        _ => return Err(wrong("it has to have `execute` or `exec-oob`")),
    };
    let Value::String(command) = name else { return Err(wrong("the command is no text")) };
    let arguments = match request.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(wrong("the arguments are no object")),
    };
    Ok(Request { command, arguments, oob })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use qmp::wire::Decode as _;
    use serde_json::json;

    /// A small one, of QEMU's form.
    pub(crate) fn schema() -> Schema {
        let member = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let entries = json!([
            {"name": "disk-add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
            {"name": "disk-del", "meta-type": "command", "arg-type": "4", "ret-type": "0"},
            {"name": "query-disks", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
            {"name": "0", "meta-type": "object", "members": []},
            {"name": "1", "meta-type": "object", "members": [
                member("driver", "2"), member("id", "str"), member("size", "int"), member("fast", "bool"),
                member("file", "3"), member("names", "[str]"), member("either", "5")]},
            {"name": "2", "meta-type": "enum", "members": [{"name": "qcow2"}, {"name": "raw"}], "values": ["qcow2", "raw"]},
            {"name": "3", "meta-type": "object", "members": [member("path", "str"), member("locking", "2")]},
            {"name": "4", "meta-type": "object", "members": [member("id", "str")]},
            {"name": "5", "meta-type": "alternate", "members": [{"type": "int"}, {"type": "str"}]},
            {"name": "[str]", "meta-type": "array", "element-type": "str"},
            {"name": "str", "meta-type": "builtin", "json-type": "string"},
            {"name": "int", "meta-type": "builtin", "json-type": "int"},
            {"name": "bool", "meta-type": "builtin", "json-type": "boolean"}
        ]);
        Schema::new(Vec::decode(entries).unwrap())
    }

    fn arguments(line: &str) -> Value {
        Value::Object(request(line, &schema()).unwrap().unwrap().arguments)
    }

    #[test]
    fn the_schema_decides_what_a_value_is() {
        let line = r#"disk-add id=1 size=1 fast=true driver=raw file.path="a b=c" file.locking=raw names='["x"]' either=7 x=[1] y=on"#;
        let expected = json!({"id": "1", "size": 1, "fast": true, "driver": "raw", "file": {"path": "a b=c", "locking": "raw"},
            "names": ["x"], "either": 7, "x": [1], "y": "on"});
        assert_eq!(arguments(line), expected);
        assert_eq!(arguments("disk-add either=seven file='{\"path\":\"p\"}'")["either"], "seven");
        assert_eq!(arguments("device_add driver=x port=1"), json!({"driver": "x", "port": 1}));
    }

    #[test]
    fn what_cannot_be_is_said_so_by_name() {
        let error = |line: &str| request(line, &schema()).unwrap_err().to_string();
        assert_eq!(error("disk-add size=big"), "size wants int, and `big` is none");
        assert_eq!(error("disk-add size=1.0"), "size wants int, and `1.0` is none");
        assert_eq!(error("disk-add names=x"), "names wants list of str, and `x` is none");
        assert_eq!(error("disk-add id"), "`id` is no argument: write name=value");
        assert_eq!(error("disk-add id=x id.y=1"), "id.y is inside an argument that was given a value");
        assert_eq!(error("disk-add id='x"), "a quote is not closed");
        assert!(error("{\"execute\": 1}").contains("no text"));
        assert!(error("{nonsense").contains("no request"));
    }

    #[test]
    fn lines_of_other_forms() {
        let schema = schema();
        let oob = request("oob query-disks", &schema).unwrap().unwrap();
        assert_eq!((oob.command.as_str(), oob.oob), ("query-disks", true));
        let raw = request(r#" {"exec-oob": "a", "arguments": {"b": null}} "#, &schema).unwrap().unwrap();
        assert_eq!(
            raw,
            Request {
                command: "a".into(),
                arguments: Map::from_iter([("b".into(), Value::Null)]),
                oob: true
            }
        );
        assert_eq!(request("", &schema), Ok(None));
        assert_eq!(request("  # nothing", &schema), Ok(None));
        assert_eq!(words(r#"a "b c"'d' e\ f '' "\"""#).unwrap(), ["a", "b cd", "e f", "", "\""]);
    }
}
