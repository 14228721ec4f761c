//! Names in Rust for names in C: one rule and its exceptions.

/// Words that read better with inner capitals.
const WORDS: [(&str, &str); 2] = [("nwfilter", "NwFilter"), ("iothread", "IoThread")];

/// `domain_get_info` as `DomainGetInfo`.
pub(super) fn pascal(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| {
            WORDS.iter().find(|(known, _)| *known == word).map_or_else(
                || {
                    let mut letters = word.chars();
                    letters.next().map_or_else(String::new, |first| {
                        first.to_ascii_uppercase().to_string() + letters.as_str()
                    })
                },
                |(_, special)| (*special).to_owned(),
            )
        })
        .collect()
}

/// `callbackID` as `callback_id`; what is a keyword gets the word that means the same.
pub(super) fn field(name: &str) -> String {
    let words = words(&name.replace("CPUs", "Cpus")).join("_").to_ascii_lowercase();
    match words.as_str() {
        "type" => "kind".to_owned(),
        _ => words,
    }
}

/// `virDomainXMLFlags` as `DomainXmlFlags`.
pub(super) fn constant_type(name: &str) -> String {
    let name = name.strip_prefix("vir").unwrap_or(name).replace("CPUs", "Cpus");
    let name = name.strip_suffix("Values").unwrap_or(&name);
    let name = name.strip_suffix("Flag").map_or_else(|| name.to_owned(), |stem| format!("{stem}Flags"));
    words(&name).iter().map(|word| capital(word)).collect()
}

/// What is left of the constants' names without what they share; `of` is the name of their type.
pub(super) fn constants(of: &str, names: &[&str]) -> Vec<String> {
    let split: Vec<Vec<&str>> = names.iter().map(|name| name.split('_').collect()).collect();
    let shared = match split.as_slice() {
        [] => 0,
        [single] => {
            let of: Vec<String> = words(of).iter().map(|word| word.to_ascii_uppercase()).collect();
            let same = single.iter().zip(&of).take_while(|(name, of)| *name == of).count();
            same.max(1)
        }
        [first, rest @ ..] => (0..first.len())
            .take_while(|index| rest.iter().all(|other| other.get(*index) == first.get(*index)))
            .count(),
    };
    split
        .iter()
        .map(|words| {
            // A name must be left, and it must begin with a letter.
            let mut from = shared.min(words.len() - 1);
            while from > 0 && words[from].starts_with(|c: char| c.is_ascii_digit()) {
                from -= 1;
            }
            words[from..].join("_")
        })
        .collect()
}

/// `NO_STATE` as `NoState`. What libvirt itself calls unknown is another thing than a value that we do not know.
pub(super) fn variant(constant: &str) -> String {
    if constant == "UNKNOWN" {
        return "Unspecified".to_owned();
    }
    constant.split('_').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + &letters.as_str().to_ascii_lowercase()
    })
}

/// The words of a name in camel case; runs of capitals are one word.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| letters[index]);
        let after = letters.get(index + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if *letter == '_' || begins {
            words.push(String::new());
        }
        if *letter != '_' {
            words.last_mut().expect("there is always a word").push(*letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_rust() {
        assert_eq!(pascal("connect_num_of_nwfilters"), "ConnectNumOfNwfilters");
        assert_eq!(pascal("nwfilter_get_xml_desc"), "NwFilterGetXmlDesc");
        assert_eq!(field("callbackID"), "callback_id");
        assert_eq!(field("usageID"), "usage_id");
        assert_eq!(field("type"), "kind");
        assert_eq!(field("xmlCPUs"), "xml_cpus");
        assert_eq!(constant_type("virDomainXMLFlags"), "DomainXmlFlags");
        assert_eq!(constant_type("virDomainUndefineFlagsValues"), "DomainUndefineFlags");
        assert_eq!(constant_type("virDomainShutdownFlagValues"), "DomainShutdownFlags");
        assert_eq!(constant_type("virDomainPMSuspendedDiskReason"), "DomainPmSuspendedDiskReason");
        assert_eq!(
            constants("virX", &["VIR_DOMAIN_AFFECT_LIVE", "VIR_DOMAIN_AFFECT_CONFIG"]),
            ["LIVE", "CONFIG"]
        );
        assert_eq!(
            constants("virDomainOpenGraphicsFlags", &["VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH"]),
            ["SKIPAUTH"]
        );
        assert_eq!(constants("virS", &["VIR_S_X_3", "VIR_S_X_Y"]), ["X_3", "Y"]);
        assert_eq!(variant("NO_STATE"), "NoState");
    }
}
