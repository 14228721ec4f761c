//! Structures, unions, enumerations and alternates.

use super::super::model::{Alternate, EMPTY, Enumeration, Member, Structure};
use super::super::words::field;
use super::{ALL, Kind, Printer, is_tagged, marks, may_miss, member_marks, variant_name};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;

impl<'a> Printer<'a> {
    pub(super) fn structure(&self, structure: &'a Structure, text: &mut String) -> Result<()> {
        let name = &structure.name;
        let marks = marks(structure.at, &structure.features);
        let about = format!("{}{marks}", self.users(name));
        if is_tagged(structure) {
            self.variants(structure, name, &about, text)?;
            writeln!(text, "tagged!({name}, {:?});\n", structure.tag.as_deref().unwrap_or_default())?;
            return Ok(());
        }
        let members = self.members(structure);
        let default =
            if structure.variants.is_empty() && members.iter().all(|member| may_miss(structure, member)) {
                ", Default"
            } else {
                ""
            };
        writeln!(
            text,
            "object! {{ /// {about}\n#[derive(Clone, Debug, PartialEq{default})]\npub struct {name} {{"
        )?;
        let mut fields = BTreeSet::new();
        for member in &members {
            let field = field(&member.name);
            ensure!(fields.insert(field.clone()), "{name} has two fields called {field}");
            let marks = member_marks(structure, member);
            let kind = self.field_type(structure, member);
            writeln!(text, "/// `{}`.{marks}\n{field}: {kind} = {:?},", member.name, member.name)?;
        }
        if let Some(tag) = &structure.tag {
            let field = field(tag);
            ensure!(fields.insert(field.clone()), "{name} has two fields called {field}");
            writeln!(
                text,
                "; /// `{tag}`, and what depends on it.\n{field}: {} = {tag:?}",
                variant_name(structure)
            )?;
            if let Some(only) = self.only(structure) {
                writeln!(text, "or {only:?}")?;
            }
        }
        writeln!(text, "}} }}\n")?;
        if default.is_empty() && self.inputs.contains(name.as_str()) {
            self.constructor(structure, &members, text)?;
        }
        if structure.tag.is_some() {
            let about =
                format!("What `{}` decides in [`{name}`].", structure.tag.as_deref().unwrap_or_default());
            self.variants(structure, &variant_name(structure), &about, text)?;
        }
        Ok(())
    }

    fn field_type(&self, structure: &Structure, member: &Member) -> String {
        let unsigned = self.unsigned(&structure.name, &member.name);
        let kind = self.kind(&structure.name, &member.kind, unsigned);
        if may_miss(structure, member) { format!("Option<{kind}>") } else { kind }
    }

    /// From what may not be left out.
    fn constructor(&self, structure: &Structure, members: &[&Member], text: &mut String) -> Result<()> {
        let mut parameters = Vec::new();
        let mut fields = Vec::new();
        let mut optional = false;
        for member in members {
            let field = field(&member.name);
            if may_miss(structure, member) {
                optional = true;
                fields.push(format!("{field}: None"));
                continue;
            }
            let kind = self.field_type(structure, member);
            if kind == "String" {
                parameters.push(format!("{field}: impl Into<String>"));
                fields.push(format!("{field}: {field}.into()"));
            } else {
                parameters.push(format!("{field}: {kind}"));
                fields.push(field);
            }
        }
        if let Some(tag) = &structure.tag {
            let field = field(tag);
            parameters.push(format!("{field}: {}", variant_name(structure)));
            fields.push(field);
        }
        if !optional {
            return Ok(());
        }
        writeln!(
            text,
            "impl {} {{\n/// With all that may be left out left out.\n#[must_use]\n#[inline]\npub fn new({}) -> Self {{ Self {{ {} }} }}\n}}\n",
            structure.name,
            parameters.join(", "),
            fields.join(", ")
        )?;
        Ok(())
    }

    fn variants(&self, structure: &Structure, name: &str, about: &str, text: &mut String) -> Result<()> {
        let tag = structure.tag.as_deref().context("variants without a tag")?;
        let member = structure.members.iter().find(|member| member.name == tag);
        let member = member.with_context(|| format!("{name} has no member {tag}"))?;
        ensure!(
            !may_miss(structure, member) || self.only(structure).is_some(),
            "{name} may leave out its tag"
        );
        let Some(Kind::Enumeration(enumeration)) = self.types.get(member.kind.as_str()) else {
            bail!("the tag of {name} is no enumeration");
        };
        let (mut arms, mut tags, mut puts, mut takes) =
            (String::new(), String::new(), String::new(), String::new());
        let mut seen = BTreeSet::new();
        for value in &enumeration.values {
            let (case, arm) = (&value.name, self.value(&value.name));
            ensure!(seen.insert(arm.clone()), "{name} has two variants called {arm}");
            let variant = structure.variants.iter().find(|variant| variant.case == *case);
            let at = value.at.unwrap_or(enumeration.at);
            writeln!(arms, "/// `{case}`.{}", marks(at, &value.features))?;
            match variant.filter(|variant| variant.kind != EMPTY) {
                None => {
                    writeln!(arms, "{arm},")?;
                    writeln!(tags, "Self::{arm} => {case:?},")?;
                    // QEMU insists on the member even when there is nothing inside.
                    match variant.is_some_and(|variant| variant.wrapped) {
                        true => writeln!(puts, "Self::{arm} => put(into, \"data\", &Done {{}}),")?,
                        false => writeln!(puts, "Self::{arm} => {{}}")?,
                    }
                    writeln!(takes, "{case:?} => Self::{arm},")?;
                }
                Some(variant) => {
                    let kind = self.kind(&structure.name, &variant.kind, false);
                    writeln!(arms, "{arm}({kind}),")?;
                    writeln!(tags, "Self::{arm}(_) => {case:?},")?;
                    if variant.wrapped {
                        writeln!(puts, "Self::{arm}(inner) => put(into, \"data\", inner),")?;
                        writeln!(takes, "{case:?} => Self::{arm}(members.take(\"data\")?),")?;
                    } else {
                        writeln!(puts, "Self::{arm}(inner) => Object::put(inner, into),")?;
                        writeln!(takes, "{case:?} => Self::{arm}(Object::take(members)?),")?;
                    }
                }
            }
        }
        writeln!(
            text,
            "/// {about}\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum {name} {{\n{arms}
            /// A variant that these bindings do not know.\nUnknown(UnknownVariant),\n}}\n
            impl Variants for {name} {{
                #[inline]\nfn tag(&self) -> &str {{ match self {{ {tags} Self::Unknown(unknown) => &unknown.tag, }} }}
                #[inline]\nfn put(&self, into: &mut Map<String, Value>) {{ match self {{ {puts} Self::Unknown(unknown) => unknown.put(into), }} }}
                #[inline]\nfn take(tag: String, members: &mut Members) -> Result<Self, DecodeError> {{
                    Ok(match tag.as_str() {{ {takes} _ => Self::Unknown(UnknownVariant::take(tag, members)), }})
                }}
            }}\n"
        )?;
        Ok(())
    }

    pub(super) fn enumeration(&self, enumeration: &Enumeration, text: &mut String) -> Result<()> {
        let name = &enumeration.name;
        let about = format!("{}{}", self.users(name), marks(enumeration.at, &[]));
        writeln!(text, "open_enum! {{ /// {about}\npub enum {name} {{")?;
        let mut seen = BTreeSet::new();
        for value in &enumeration.values {
            let arm = self.value(&value.name);
            ensure!(seen.insert(arm.clone()), "{name} has two values called {arm}");
            let at = value.at.unwrap_or(enumeration.at);
            let marks =
                if at == enumeration.at { marks(ALL, &value.features) } else { marks(at, &value.features) };
            writeln!(text, "/// `{}`.{marks}\n{arm} = {:?},", value.name, value.name)?;
        }
        writeln!(text, "}} }}\n")?;
        Ok(())
    }

    pub(super) fn alternate(&self, alternate: &Alternate, text: &mut String) -> Result<()> {
        let name = &alternate.name;
        let about = format!("{}{}", self.users(name), marks(alternate.at, &[]));
        let (mut arms, mut encodes, mut decodes) = (String::new(), String::new(), String::new());
        for arm in &alternate.arms {
            let kind = match self.types.get(arm.kind.as_str()) {
                Some(Kind::Structure(_)) => format!("Box<{}>", arm.kind),
                _ => self.kind(name, &arm.kind, false),
            };
            let (word, pattern, encode, decode) = match (arm.kind.as_str(), self.types.get(arm.kind.as_str()))
            {
                ("null", _) => ("Null", "Value::Null", "Value::Null", ""),
                ("str", _) => ("String", "Value::String(_)", "inner.encode()", "Decode::decode(value)?"),
                ("bool", _) => ("Bool", "Value::Bool(_)", "inner.encode()", "Decode::decode(value)?"),
                ("int", _) => ("Int", "Value::Number(_)", "inner.encode()", "Decode::decode(value)?"),
                (_, Some(Kind::Enumeration(_))) => {
                    ("Name", "Value::String(_)", "inner.encode()", "Decode::decode(value)?")
                }
                (_, Some(Kind::Structure(_))) => {
                    ("Object", "Value::Object(_)", "inner.encode()", "Decode::decode(value)?")
                }
                (other, _) if other.starts_with('[') => {
                    ("List", "Value::Array(_)", "inner.encode()", "Decode::decode(value)?")
                }
                (other, _) => bail!("{name} has an arm of a new kind: {other}"),
            };
            if decode.is_empty() {
                writeln!(arms, "/// `{}`.\n{word},", arm.kind)?;
                writeln!(encodes, "Self::{word} => {encode},")?;
                writeln!(decodes, "{pattern} => Self::{word},")?;
            } else {
                writeln!(arms, "/// `{}`.\n{word}({kind}),", arm.kind)?;
                writeln!(encodes, "Self::{word}(inner) => {encode},")?;
                writeln!(decodes, "{pattern} => Self::{word}({decode}),")?;
            }
        }
        writeln!(
            text,
            "/// {about}\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum {name} {{\n{arms}
            /// A form that these bindings do not know.\nUnknown(Value),\n}}\n
            impl Encode for {name} {{ #[inline] fn encode(&self) -> Value {{ match self {{ {encodes} Self::Unknown(value) => value.clone(), }} }} }}
            impl Decode for {name} {{ #[inline] fn decode(value: Value) -> Result<Self, DecodeError> {{
                Ok(match &value {{ {decodes} _ => Self::Unknown(value), }}) }} }}
            serde_forms!({name});\n"
        )?;
        Ok(())
    }
}
