//! Names in Rust for names on the wire: one rule.

/// `query-block-jobs`, `x_debug`, `twoGbMaxExtent`, `BLOCK_JOB_READY` as words in lower case.
fn words(name: &str) -> Vec<String> {
    let shouting = !name.contains(|c: char| c.is_ascii_lowercase());
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        } else {
            if !shouting && letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
                words.push(String::new());
            }
            words.last_mut().expect("there is always a word").push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A name as `BlockJobReady`.
pub(super) fn pascal(name: &str) -> String {
    let mut text = String::new();
    for word in words(name) {
        let mut letters = word.chars();
        let Some(first) = letters.next() else { continue };
        // `x86_64` must not become `X8664`.
        if first.is_ascii_digit() && text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push('_');
        }
        text.push(first.to_ascii_uppercase());
        text.push_str(letters.as_str());
    }
    text
}

/// A name as `block_job_ready`, as a field; keywords are escaped or get the word that means the same.
pub(super) fn field(name: &str) -> String {
    let snake = words(name).join("_");
    match snake.as_str() {
        "type" => "kind".to_owned(),
        "abstract" | "static" | "in" | "if" | "match" | "ref" | "final" | "use" | "override" | "virtual" => {
            format!("r#{snake}")
        }
        _ => snake,
    }
}

/// The name of a type that is used by one command or event alone: `query-status=`, `blockdev-del:`, `STOP:`.
pub(super) fn of_root(place: &str) -> String {
    let (name, mark) = place.split_at(place.len() - 1);
    if !name.contains(|c: char| c.is_ascii_lowercase()) {
        return format!("{}Event", pascal(name));
    }
    match (mark, name.strip_prefix("query-")) {
        (":", _) => pascal(name),
        (_, Some(subject)) => format!("{}Info", pascal(subject)),
        (_, None) => format!("{}Reply", pascal(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_rust() {
        assert_eq!(pascal("query-block-jobs"), "QueryBlockJobs");
        assert_eq!(pascal("BLOCK_JOB_READY"), "BlockJobReady");
        assert_eq!(pascal("twoGbMaxExtentFlat"), "TwoGbMaxExtentFlat");
        assert_eq!(pascal("x86_64"), "X86_64");
        assert_eq!(pascal("legacyESX"), "LegacyEsx");
        assert_eq!(field("UUID"), "uuid");
        assert_eq!(field("type"), "kind");
        assert_eq!(field("backing_file"), "backing_file");
        assert_eq!(field("abstract"), "r#abstract");
    }

    #[test]
    fn lonely_types_are_named_after_their_command() {
        assert_eq!(of_root("query-status="), "StatusInfo");
        assert_eq!(of_root("add-fd="), "AddFdReply");
        assert_eq!(of_root("add-fd:"), "AddFd");
        assert_eq!(of_root("STOP:"), "StopEvent");
    }
}
