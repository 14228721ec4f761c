//! A schema's entries straight from JSON: at 200 kB and twenty thousand values the tree between costs more than all the rest.

use crate::commands::{
    SchemaEntry, SchemaEntryAlternate, SchemaEntryAlternateMembers, SchemaEntryArray, SchemaEntryBuiltin,
    SchemaEntryBuiltinJsonType, SchemaEntryCommand, SchemaEntryEnum, SchemaEntryEnumMembers,
    SchemaEntryEvent, SchemaEntryObject, SchemaEntryObjectMembers, SchemaEntryObjectVariants,
    SchemaEntryVariant,
};
use serde::Deserialize;
use serde_json::Value;

/// What any entry may have; its kind says what it has.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    name: String,
    meta_type: String,
    features: Option<Vec<String>>,
    json_type: Option<String>,
    members: Option<Vec<Member>>,
    values: Option<Vec<String>>,
    element_type: Option<String>,
    tag: Option<String>,
    variants: Option<Vec<Variant>>,
    arg_type: Option<String>,
    ret_type: Option<String>,
    allow_oob: Option<bool>,
}

#[derive(Deserialize)]
struct Member {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "crate::message::present")]
    default: Option<Value>,
    features: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Variant {
    case: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Entry {
    /// The typed entry; none of a kind that does not exist yet, or that lacks what its kind has.
    pub(super) fn typed(self) -> Option<SchemaEntry> {
        let members = self.members.unwrap_or_default().into_iter();
        let meta_type = match self.meta_type.as_str() {
            "builtin" => {
                let json_type = SchemaEntryBuiltinJsonType::from(self.json_type?.as_str());
                SchemaEntryVariant::Builtin(SchemaEntryBuiltin { json_type })
            }
            "enum" => SchemaEntryVariant::Enum(SchemaEntryEnum {
                members: members
                    .filter_map(|Member { name, features, .. }| {
                        Some(SchemaEntryEnumMembers { name: name?, features })
                    })
                    .collect(),
                values: self.values.unwrap_or_default(),
            }),
            "array" => SchemaEntryVariant::Array(SchemaEntryArray { element_type: self.element_type? }),
            "object" => SchemaEntryVariant::Object(SchemaEntryObject {
                members: members
                    .filter_map(|Member { name, kind, default, features }| {
                        Some(SchemaEntryObjectMembers { name: name?, kind: kind?, default, features })
                    })
                    .collect(),
                tag: self.tag,
                variants: self.variants.map(|variants| {
                    let variants = variants.into_iter();
                    variants.map(|Variant { case, kind }| SchemaEntryObjectVariants { case, kind }).collect()
                }),
            }),
            "alternate" => SchemaEntryVariant::Alternate(SchemaEntryAlternate {
                members: members
                    .filter_map(|member| Some(SchemaEntryAlternateMembers { kind: member.kind? }))
                    .collect(),
            }),
            "command" => SchemaEntryVariant::Command(SchemaEntryCommand {
                arg_type: self.arg_type?,
                ret_type: self.ret_type?,
                allow_oob: self.allow_oob,
            }),
            "event" => SchemaEntryVariant::Event(SchemaEntryEvent { arg_type: self.arg_type? }),
            _ => return None,
        };
        Some(SchemaEntry { name: self.name, features: self.features, meta_type })
    }
}
