//! A second opinion: libvirt keeps the memory layout of its protocol's structures, made from debug information, beside each protocol
//! file (`src/*_protocol-structs`). What our parser read must agree with it in names, order and types.

use super::xdr;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// A member, as both sides can say it: name, C type, whether a count goes with it.
type Member = (String, String, bool);

/// Compares a protocol file with its layout file.
///
/// # Errors
/// With the first structure that differs.
pub(super) fn check(file: &xdr::File, layout: &str) -> Result<()> {
    let laid_out = parse(layout)?;
    for structure in &file.structs {
        let Some(found) = laid_out.get(&structure.name) else {
            bail!("{} has no layout", structure.name);
        };
        let ours: Vec<Member> = structure.members.iter().map(ours).collect();
        if ours != *found {
            bail!("{}: {ours:?} in the protocol file, {found:?} in the layout", structure.name);
        }
    }
    Ok(())
}

/// What the protocol file says, in the layout's words.
fn ours(member: &xdr::Member) -> Member {
    let of = match member.of.as_str() {
        "unsigned int" => "u_int",
        "hyper" => "int64_t",
        "unsigned hyper" => "uint64_t",
        "unsigned char" => "u_char",
        "unsigned short" => "u_short",
        "opaque" => "char",
        other => other,
    };
    (member.name.clone(), of.to_owned(), matches!(member.many, xdr::Many::UpTo(_)))
}

/// `struct name { type member; struct { u_int m_len; type * m_val; } m; };`
fn parse(text: &str) -> Result<BTreeMap<String, Vec<Member>>> {
    let mut found = BTreeMap::new();
    let mut current: Option<(String, Vec<Member>)> = None;
    let mut inner: Option<Option<String>> = None;
    for line in text.lines().map(str::trim) {
        let line = line.split("/*").next().unwrap_or_default().trim_end();
        if let (Some(name), None) =
            (line.strip_prefix("struct ").and_then(|l| l.strip_suffix(" {")), &current)
        {
            current = Some((name.to_owned(), Vec::new()));
        } else if current.is_some() && matches!(line, "struct {" | "union {") {
            inner = Some(None);
        } else if let (Some(of), Some(name)) =
            (&inner, line.strip_prefix("} ").and_then(|l| l.strip_suffix(';')))
        {
            let of = of.clone().with_context(|| format!("no values in {name}"))?;
            current.as_mut().context("a part outside")?.1.push((name.to_owned(), of, true));
            inner = None;
        } else if line == "};" {
            if let Some((name, members)) = current.take() {
                found.insert(name, members);
            }
        } else if let (Some((_, members)), Some(line)) = (&mut current, line.strip_suffix(';')) {
            let (of, name) =
                line.rsplit_once([' ', '*']).with_context(|| format!("`{line}` is no member"))?;
            let of = of.trim_end_matches([' ', '*']).to_owned();
            match &mut inner {
                Some(values) if !name.ends_with("_len") => *values = Some(of),
                Some(_) => {}
                None => {
                    let name = name.split('[').next().unwrap_or(name).to_owned();
                    members.push((name, of, false));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: &str = "/* -*- c -*- */\nstruct remote_a {\n        u_int                      flags;\n        char                       model[32];\n        \
        struct {\n                u_int              ids_len;\n                int *              ids_val;\n        } ids;\n};\n";

    #[test]
    fn what_agrees_passes_and_what_differs_is_named() {
        let right =
            xdr::parse("struct remote_a { unsigned int flags; char model[32]; int ids<MAX>; };").unwrap();
        check(&right, LAYOUT).unwrap();
        let wrong =
            xdr::parse("struct remote_a { unsigned int flags; int ids<MAX>; char model[32]; };").unwrap();
        assert!(check(&wrong, LAYOUT).unwrap_err().to_string().contains("remote_a"));
        let signed = xdr::parse("struct remote_a { int flags; char model[32]; int ids<MAX>; };").unwrap();
        assert!(check(&signed, LAYOUT).is_err());
    }
}
