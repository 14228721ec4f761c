//! The schema that a program would answer with, from the description: for one that is not installed.

use super::model::{At, BUILTIN, Description, EMPTY, Feature, RECORDINGS, Type};
use super::recording::{Entry, Member, Meta, Schema, Variant};

/// What the description says of one of [`RECORDINGS`].
pub(super) fn schema(description: &Description, recording: usize) -> Schema {
    assert!(recording < RECORDINGS.len(), "there is no such recording");
    let mut replay = Replay { recording, schema: Schema::new() };
    for name in BUILTIN {
        replay.add(Entry { name: name.to_owned(), meta_type: Meta::Builtin, ..Entry::default() });
    }
    replay.add(Entry { name: EMPTY.to_owned(), meta_type: Meta::Object, ..Entry::default() });
    for command in description.commands.iter().filter(|command| command.at.has(recording)) {
        let arguments = command.arguments.as_deref().unwrap_or(EMPTY);
        let reply = command.reply.as_deref().unwrap_or(EMPTY);
        let entry = Entry {
            name: command.name.clone(),
            meta_type: Meta::Command,
            arg_type: Some(arguments.to_owned()),
            ret_type: Some(replay.kind(reply)),
            allow_oob: command.allow_oob,
            features: features(recording, &command.features),
            ..Entry::default()
        };
        replay.add(entry);
    }
    for event in description.events.iter().filter(|event| event.at.has(recording)) {
        let data = event.data.as_deref().unwrap_or(EMPTY);
        let features = features(recording, &event.features);
        let arg_type = Some(data.to_owned());
        let name = event.name.clone();
        replay.add(Entry { name, meta_type: Meta::Event, arg_type, features, ..Entry::default() });
    }
    replay.types(description);
    replay.schema
}

struct Replay {
    recording: usize,
    schema: Schema,
}

impl Replay {
    fn add(&mut self, entry: Entry) {
        self.schema.insert(entry.name.clone(), entry);
    }

    /// A type's name; a list gets an entry of its own.
    fn kind(&mut self, text: &str) -> String {
        if let Type::List(element) = Type::of(text) {
            let element_type = Some(element.to_owned());
            self.add(Entry {
                name: text.to_owned(),
                meta_type: Meta::Array,
                element_type,
                ..Entry::default()
            });
        }
        text.to_owned()
    }

    fn types(&mut self, description: &Description) {
        let recording = self.recording;
        for structure in description.structs.iter().filter(|structure| structure.at.has(recording)) {
            let mut entry = Entry {
                name: structure.name.clone(),
                meta_type: Meta::Object,
                features: features(recording, &structure.features),
                ..Entry::default()
            };
            for member in structure.members.iter().filter(|member| has(recording, member.at)) {
                let string = member.string_at.is_some_and(|at| at.has(recording));
                entry.members.push(Member {
                    name: member.name.clone(),
                    kind: if string { "str".to_owned() } else { self.kind(&member.kind) },
                    default: member.optional.has(recording),
                    features: features(recording, &member.features),
                });
            }
            for variant in structure.variants.iter().filter(|variant| has(recording, variant.at)) {
                let mut kind = self.kind(&variant.kind);
                if variant.wrapped {
                    let inner = Member { name: "data".to_owned(), kind, ..Member::default() };
                    kind = format!("{}<{}>", structure.name, variant.case);
                    let members = vec![inner];
                    self.add(Entry {
                        name: kind.clone(),
                        meta_type: Meta::Object,
                        members,
                        ..Entry::default()
                    });
                }
                entry.variants.push(Variant { case: variant.case.clone(), kind });
            }
            if !entry.variants.is_empty() {
                entry.tag.clone_from(&structure.tag);
            }
            self.add(entry);
        }
        for enumeration in description.enums.iter().filter(|enumeration| enumeration.at.has(recording)) {
            let here = enumeration.values.iter().filter(|value| has(recording, value.at));
            let members = here.map(|value| Member {
                name: value.name.clone(),
                features: features(recording, &value.features),
                ..Member::default()
            });
            let members = members.collect();
            let name = enumeration.name.clone();
            self.add(Entry { name, meta_type: Meta::Enum, members, ..Entry::default() });
        }
        for alternate in description.alternates.iter().filter(|alternate| alternate.at.has(recording)) {
            let mut members = Vec::new();
            for arm in alternate.arms.iter().filter(|arm| has(recording, arm.at)) {
                members.push(Member { kind: self.kind(&arm.kind), ..Member::default() });
            }
            let name = alternate.name.clone();
            self.add(Entry { name, meta_type: Meta::Alternate, members, ..Entry::default() });
        }
    }
}

fn has(recording: usize, at: Option<At>) -> bool {
    at.is_none_or(|at| at.has(recording))
}

fn features(recording: usize, features: &[Feature]) -> Vec<String> {
    let here = features.iter().filter(|feature| has(recording, feature.at));
    here.map(|feature| feature.name.clone()).collect()
}
