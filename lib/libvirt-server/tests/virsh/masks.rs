//! What may differ between two runs, each with its reason. Everything else must be equal.

/// Values that nobody chose, in the order in which they appeared: the same one must appear again in the same places.
#[derive(Default)]
pub(crate) struct Generated {
    uuids: Vec<String>,
    macs: Vec<String>,
}

/// Lines of a command that tell the time, or numbers that the test driver makes out of the time. Their digits are masked.
const TIMED: &[(&str, &str, &str)] = &[
    ("dominfo", "CPU time:", "the test driver's CPU time is the time of day"),
    ("vcpuinfo", "CPU time:", "a tenth of the time of day"),
    ("domblkstat", "", "figures out of the time of day"),
    ("domifstat", "", "figures out of the time of day"),
    ("snapshot-list", " 20", "creation time"),
    ("snapshot-list", " s", "creation time"),
    ("snapshot-dumpxml", "  <creationTime>", "creation time"),
    ("checkpoint-list", " cp", "creation time"),
    ("checkpoint-dumpxml", "  <creationTime>", "creation time"),
    ("uri", "test+unix://", "the socket that virsh was told"),
    ("server-threadpool-info", "freeWorkers", "a worker that has just begun is not free yet"),
    ("client-list", " ", "numbers of clients, and when they came"),
    ("client-info", "id ", "which of its clients this virt-admin is"),
    ("client-info", "connection_time", "when it came"),
    ("client-info", "unix_process_id", "its process"),
    ("hostname", "", "libvirtd asks the host, and our server is told"),
];

/// A command's output with what may differ replaced.
pub(crate) fn mask(line: &str, output: &str, generated: &mut Generated) -> String {
    let command = line.split_whitespace().next().unwrap_or_default();
    let mut masked = String::new();
    for text in output.lines() {
        let timed = TIMED.iter().any(|(of, start, _)| command == *of && text.starts_with(start));
        let text = generated.replace(text);
        match command {
            "uri" | "hostname" if timed => masked.push_str("<told>"),
            _ if timed => masked.push_str(&without_digits(&text)),
            _ => masked.push_str(&text),
        }
        masked.push('\n');
    }
    if command == "server-list" {
        // They come in the order of a hash table, and are numbered as they come.
        let mut lines: Vec<String> = masked.lines().map(without_digits).collect();
        lines.sort();
        return lines.join("\n");
    }
    masked
}

/// Every run of digits as one `#`.
fn without_digits(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

impl Generated {
    /// Numbers UUIDs that were drawn (version 4; the scripts' own are of version 3) and addresses that were drawn.
    fn replace(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(uuid) = rest.get(..36).filter(|found| is_drawn_uuid(found)) {
                out.push_str(&format!("<uuid {}>", number(&mut self.uuids, uuid)));
                rest = &rest[36..];
            } else if let Some(mac) = rest.get(..17).filter(|found| is_drawn_mac(found)) {
                out.push_str(&format!("<mac {}>   ", number(&mut self.macs, mac)));
                rest = &rest[17..];
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }
}

fn number(known: &mut Vec<String>, value: &str) -> usize {
    known.iter().position(|known| known == value).unwrap_or_else(|| {
        known.push(value.to_owned());
        known.len() - 1
    })
}

fn is_drawn_uuid(text: &str) -> bool {
    let shape = text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'4',
        _ => byte.is_ascii_hexdigit(),
    });
    shape && matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b')
}

fn is_drawn_mac(text: &str) -> bool {
    let shape = text.bytes().enumerate().all(|(at, byte)| match at % 3 {
        2 => byte == b':',
        _ => byte.is_ascii_hexdigit(),
    });
    // The scripts' own addresses begin with this.
    shape && text.starts_with("52:54:00:") && !text.starts_with("52:54:00:11:22:")
}

#[test]
fn only_what_was_drawn_is_masked() {
    let mut generated = Generated::default();
    let drawn = "50acddb9-56d2-48ab-93db-5d1f37523c6c 52:54:00:0a:aa:af 50acddb9-56d2-48ab-93db-5d1f37523c6c";
    assert_eq!(generated.replace(drawn), "<uuid 0> <mac 0>    <uuid 0>");
    let chosen = "11111111-2222-3333-4444-555555555555 52:54:00:11:22:33";
    assert_eq!(generated.replace(chosen), chosen);
}
