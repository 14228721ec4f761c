//! Facts out of libvirt's `*-api.xml`: functions with their flag arguments, constants, since when each exists.

use anyhow::{Context, Result, bail};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::BTreeMap;

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Api {
    /// Functions by name.
    pub functions: BTreeMap<String, Function>,
    /// Types of constants, by name, in the order of first appearance.
    pub types: Vec<ConstantType>,
    /// Names of typed parameters and other strings: macro, text, since.
    pub strings: Vec<(String, String, String)>,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    /// Release that brought it.
    pub since: String,
    /// Type of constants that its argument `flags` takes; empty when it takes none yet; `None` without such an argument.
    pub flags: Option<String>,
}

/// An enumeration or a set of flags.
#[derive(Debug)]
pub(super) struct ConstantType {
    /// C name of the type.
    pub name: String,
    /// Constants in ascending order of value.
    pub constants: Vec<Constant>,
}

/// One constant.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    /// C name.
    pub name: String,
    /// Its value.
    pub value: i64,
    /// Release that brought it.
    pub since: String,
}

/// Reads the files; later ones add to earlier ones.
///
/// # Errors
/// When one is no XML of this kind or a value cannot be computed.
pub(super) fn parse(files: &[String]) -> Result<Api> {
    let mut api = Api::default();
    let mut raw: Vec<(String, String, String, String)> = Vec::new();
    for text in files {
        let mut reader = Reader::from_str(text);
        let mut function: Option<(String, Function)> = None;
        loop {
            match reader.read_event()? {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = attributes(&tag)?;
                    let get = |name: &str| attributes.get(name).cloned().unwrap_or_default();
                    match tag.name().as_ref() {
                        "function" => {
                            function = Some((get("name"), Function { since: get("version"), flags: None }));
                        }
                        "arg" if get("name") == "flags" => {
                            if let Some((_, function)) = &mut function {
                                function.flags = Some(type_in(&get("info")));
                            }
                        }
                        "enum" if attributes.contains_key("value") => {
                            raw.push((get("type"), get("name"), get("value"), get("version")));
                        }
                        "macro" if attributes.contains_key("string") => {
                            api.strings.push((get("name"), get("string"), get("version")));
                        }
                        _ => {}
                    }
                }
                Event::End(tag) if tag.name().as_ref() == "function" => {
                    if let Some((name, function)) = function.take() {
                        api.functions.insert(name, function);
                    }
                }
                _ => {}
            }
        }
    }
    api.types = types(&raw)?;
    api.strings.sort();
    api.strings.dedup();
    Ok(api)
}

fn attributes(tag: &BytesStart<'_>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for attribute in tag.attributes() {
        let attribute = attribute?;
        let name = attribute.key.as_ref().to_owned();
        let value = attribute.value.into_owned();
        found.insert(name, value);
    }
    Ok(found)
}

/// The first word of a description that names a type: libvirt says "bitwise-OR of virDomainXMLFlags".
fn type_in(info: &str) -> String {
    let word = info.split(|c: char| !c.is_alphanumeric()).find(|word| {
        word.strip_prefix("vir").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    word.unwrap_or_default().to_owned()
}

fn types(raw: &[(String, String, String, String)]) -> Result<Vec<ConstantType>> {
    let by_name: BTreeMap<&str, &str> =
        raw.iter().map(|(_, name, value, _)| (name.as_str(), value.as_str())).collect();
    let mut types: Vec<ConstantType> = Vec::new();
    for (of, name, value, since) in raw {
        // Sentinels move with every release; they are no facts of the protocol.
        if of.is_empty() || name.ends_with("_LAST") {
            continue;
        }
        let value = evaluate(value, &by_name, 0).with_context(|| format!("value of {name}"))?;
        let constant = Constant { name: name.clone(), value, since: since.clone() };
        match types.iter_mut().find(|known| known.name == *of) {
            Some(known) => known.constants.push(constant),
            None => types.push(ConstantType { name: of.clone(), constants: vec![constant] }),
        }
    }
    for known in &mut types {
        known.constants.sort_by(|a, b| (a.value, &a.name).cmp(&(b.value, &b.name)));
    }
    types.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(types)
}

/// Numbers, names of other constants, `|` and `<<`.
fn evaluate(text: &str, names: &BTreeMap<&str, &str>, depth: u32) -> Result<i64> {
    if depth > 8 {
        bail!("{text} never becomes a number");
    }
    let text = text.trim();
    if let Some((left, right)) = text.split_once('|') {
        return Ok(evaluate(left, names, depth + 1)? | evaluate(right, names, depth + 1)?);
    }
    let text = text.trim_start_matches('(').trim_end_matches(')');
    if let Some((left, right)) = text.split_once("&lt;&lt;").or_else(|| text.split_once("<<")) {
        return Ok(evaluate(left, names, depth + 1)? << evaluate(right, names, depth + 1)?);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return Ok(i64::from_str_radix(hex, 16)?);
    }
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let value = names.get(text).with_context(|| format!("`{text}` is no known constant"))?;
    evaluate(value, names, depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_flags_and_constants_are_found() {
        let text = "<api><symbols>\
            <enum name='VIR_A' value='1' type='virSomeFlags' version='0.1.0' info='x'/>\
            <enum name='VIR_B' value='VIR_A' type='virOther' version='0.2.0'/>\
            <enum name='VIR_C' value='VIR_A | (1 &lt;&lt; 3)' type='virOther' version='0.2.0'/>\
            <enum name='VIR_OTHER_LAST' value='3' type='virOther' version='0.2.0'/>\
            <macro name='VIR_P' string='a.b' version='1.0.0'/>\
            <function name='virDo' version='0.3.0'><info>words</info>\
              <arg name='flags' type='unsigned int' info='bitwise-OR of virSomeFlags'/></function>\
            <function name='virPlain' version='0.4.0'/>\
            <function name='virZero' version='0.4.0'><arg name='flags' info='virtually unused, pass 0'/></function>\
            </symbols></api>";
        let api = parse(&[text.to_owned()]).unwrap();
        assert_eq!(api.functions["virDo"].flags.as_deref(), Some("virSomeFlags"));
        assert_eq!(api.functions["virZero"].flags.as_deref(), Some(""));
        let other = api.types.iter().find(|known| known.name == "virOther").unwrap();
        assert_eq!(other.constants.iter().map(|c| c.value).collect::<Vec<_>>(), [1, 9]);
        assert_eq!(api.strings[0].1, "a.b");
    }
}
