//! The host's settings of GnuTLS: a file of sections, in which lists have names (`[priorities]`) and things are taken away from everybody
//! (`[overrides]`, or with `override-mode = allowlist` in `[global]` given to everybody), whatever a program asks for (GnuTLS' manual,
//! "System-wide configuration of the library").
//!
//! What GnuTLS does not know it passes over, and so do we.

use super::signatures::{SIGNATURES, Signature};
use std::collections::BTreeSet;

/// Sections that lists are in: their own, and what stands before all sections.
const LISTS: [&str; 2] = ["priorities", ""];

/// Profiles that demand longer keys than rustls does, which takes RSA of 2,048 bits and curves of 256; nobody looks at that here.
const LONGER: [&str; 5] = ["HIGH", "ULTRA", "FUTURE", "SUITEB128", "SUITEB192"];

/// Lines `name = value` of these sections, without comments.
fn lines<'a>(
    settings: &'a str,
    sections: &'static [&'static str],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut section = "";
    settings.lines().filter_map(move |line| {
        // A comment is a line, or stands after a space; a GnuTLS whose parser is not its own (Debian's) takes the latter for part of the value.
        let comment =
            line.match_indices(['#', ';']).find(|(at, _)| line[..*at].trim_end().len() < *at || *at == 0);
        let line = comment.map_or(line, |(at, _)| &line[..at]).trim();
        if let Some(head) = line.strip_prefix('[') {
            section = head.trim_end_matches(']').trim();
            return None;
        }
        let (name, value) = line.split_once(['=', ':'])?;
        sections.iter().any(|of| of.eq_ignore_ascii_case(section)).then(|| (name.trim(), value.trim()))
    })
}

/// The list that has a name there.
pub(super) fn list<'a>(settings: &'a str, name: &str) -> Option<&'a str> {
    let mut found = lines(settings, &LISTS);
    found.find(|(known, _)| known.eq_ignore_ascii_case(name.trim())).map(|(_, list)| list)
}

/// What is taken away from everybody, or given to everybody.
#[derive(Debug)]
pub(super) struct Overrides {
    /// Whether what is said is given, and nothing else.
    gives: bool,
    /// What is said of what, in capitals.
    said: BTreeSet<(Of, String)>,
    /// Of TLS 1.2 (RFC 7627).
    pub(super) session_hash: bool,
    /// A setting that cannot be obeyed.
    pub(super) beyond: Option<String>,
}

/// What an override is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    Version,
    Cipher,
    Mac,
    Exchange,
    Group,
    Curve,
    Hash,
    Signature,
    /// A signature in a certificate alone.
    Certificate,
}

impl Of {
    /// What it is called, when it takes away and when it gives.
    const NAMES: [(Self, &str, &str); 9] = [
        (Self::Version, "disabled-version", "enabled-version"),
        (Self::Cipher, "tls-disabled-cipher", "tls-enabled-cipher"),
        (Self::Mac, "tls-disabled-mac", "tls-enabled-mac"),
        (Self::Exchange, "tls-disabled-kx", "tls-enabled-kx"),
        (Self::Group, "tls-disabled-group", "tls-enabled-group"),
        (Self::Curve, "disabled-curve", "enabled-curve"),
        (Self::Hash, "insecure-hash", "secure-hash"),
        (Self::Signature, "insecure-sig", "secure-sig"),
        (Self::Certificate, "insecure-sig-for-cert", "secure-sig-for-cert"),
    ];
}

impl Overrides {
    /// What a file says of them; one mode passes over the words of the other.
    pub(super) fn of(settings: &str) -> Self {
        let modes =
            lines(settings, &["global"]).filter(|(name, _)| name.eq_ignore_ascii_case("override-mode"));
        let gives = modes.last().is_some_and(|(_, mode)| mode.eq_ignore_ascii_case("allowlist"));
        let mut all = Self { gives, said: BTreeSet::new(), session_hash: false, beyond: None };
        for (name, value) in lines(settings, &["overrides"]) {
            // Of several words the first is meant (tried with GnuTLS 3.7.9).
            let upper = value.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let is = |known: &str| known.eq_ignore_ascii_case(name);
            if let Some((of, ..)) =
                Of::NAMES.iter().find(|(_, takes, gives)| is(if all.gives { gives } else { takes }))
            {
                let short = if *of == Of::Group { upper.strip_prefix("GROUP-") } else { None };
                all.said.insert((*of, short.unwrap_or(&upper).to_owned()));
            } else if is("tls-session-hash") {
                all.session_hash = upper == "REQUIRE";
            } else if is("min-verification-profile") {
                all.beyond = LONGER.contains(&upper.as_str()).then(|| format!("{name} = {value}"));
            }
        }
        all
    }

    /// Whether what is said is given, and nothing else.
    pub(super) fn gives(&self) -> bool {
        self.gives
    }

    /// Whether something with any of these names may be used.
    pub(super) fn permit(&self, of: Of, names: &[&str]) -> bool {
        let said = names.iter().any(|name| self.said.contains(&(of, (*name).to_owned())));
        said == self.gives
    }

    /// Whether anything may be signed with it.
    pub(super) fn sign(&self, signature: &Signature) -> bool {
        self.permit(Of::Signature, &signature.short())
            && self.permit(Of::Hash, &[signature.hash])
            && signature.curve.is_none_or(|curve| self.permit(Of::Curve, &[curve]))
    }

    /// Signatures that certificates alone may not have. Where things are given, what is given for certificates alone is not enough here.
    pub(super) fn uncertified(&self) -> impl Iterator<Item = &'static str> {
        let takes = !self.gives;
        let taken = SIGNATURES
            .iter()
            .filter(move |signature| takes && !self.permit(Of::Certificate, &signature.short()));
        taken.map(|signature| signature.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_their_sections_without_comments() {
        let text = "first = 1 # one\n# second = 2\n[ Global ]\n override-mode:allowlist ; so\nno line\n[overrides]\n\tx = a#b\n  ; y = 3\n";
        for (section, expected) in [
            (&[""], &[("first", "1")][..]),
            (&["global"], &[("override-mode", "allowlist")]),
            (&["OVERRIDES"], &[("x", "a#b")]),
            (&["priorities"], &[]),
        ] {
            assert!(lines(text, section).eq(expected.iter().copied()), "{section:?}");
        }
        assert_eq!((list(text, "FIRST"), list(text, "x")), (Some("1"), None));
    }

    #[test]
    fn one_mode_passes_over_the_words_of_the_other() {
        let words = "[overrides]\ndisabled-version = tls1.2\nenabled-version = TLS1.3\nunknown = 1\n";
        let permits = |settings: &str, version: &str| Overrides::of(settings).permit(Of::Version, &[version]);
        for (mode, version, expected) in [
            ("", "TLS1.2", false),
            ("", "TLS1.3", true),
            ("[global]\noverride-mode = blocklist\n", "TLS1.2", false),
            ("[GLOBAL]\nOVERRIDE-MODE = Allowlist\n", "TLS1.2", false),
            ("[GLOBAL]\nOVERRIDE-MODE = Allowlist\n", "TLS1.3", true),
            ("[global]\noverride-mode = allowlist\n", "TLS1.1", false),
        ] {
            assert_eq!(permits(&format!("{mode}{words}"), version), expected, "{mode} {version}");
        }
    }
}
