//! Texts of flags as values. An error says what would be right; clap puts the flag's name before it.

use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A size in bytes: a number with K, M, G or T (or KiB, MiB, ...), powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" | "ki" | "kib" => 10,
        "m" | "mi" | "mib" => 20,
        "g" | "gi" | "gib" => 30,
        "t" | "ti" | "tib" => 40,
        "" => return Err(format!("`{text}` has no unit: write {text}M or {text}G")),
        "kb" | "mb" | "gb" | "tb" => {
            return Err(format!(
                "`{unit}` means different things to different people: write 512M or 512MiB, powers of 1024"
            ));
        }
        _ => return Err(format!("`{unit}` is no unit: one of K, M, G, T, powers of 1024")),
    };
    let whole = match number.parse::<u64>() {
        Ok(number) => number.checked_mul(1 << shift),
        // Of fractions, those that are a whole number of bytes: 1.5G.
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|number| number * (1_u64 << shift) as f64)
            .filter(|bytes| bytes.fract() == 0.0 && *bytes < 2_f64.powi(53))
            .map(|bytes| bytes as u64),
    };
    whole.ok_or_else(|| format!("`{text}` is no size such as 512M, 1.5G or 10G"))
}

/// A duration such as 90s, 5m, 1h30m.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("`{text}` is no duration such as 90s, 5m or 1h30m"))
}

/// `key=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

/// A change of labels: `key=value` sets, `key-` removes.
pub(crate) fn label_change(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(format!("`{text}` is neither KEY=VALUE, which sets, nor KEY-, which removes")),
    }
}

/// Such changes for an update: the pairs to set. The mask gets a path for each, so that others' changes stay.
pub(crate) fn changed_pairs(
    field: &str,
    changes: Vec<(String, Option<String>)>,
    mask: &mut Vec<String>,
) -> BTreeMap<String, String> {
    mask.extend(changes.iter().map(|(key, _)| format!("{field}.{key}")));
    changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A further disk: `name=5G`.
pub(crate) fn data_disk(text: &str) -> Result<v1::DiskSpec, String> {
    let (name, bytes) = pair(text).map_err(|_| format!("`{text}` is not NAME=SIZE, such as data=5G"))?;
    Ok(v1::DiskSpec { name, size_bytes: size(&bytes)? })
}

/// `user`, `tap:IF` or `bridge:IF`.
pub(crate) fn network(text: &str) -> Result<Attachment, String> {
    match text.split_once(':') {
        None if text == "user" => Ok(Attachment::User(v1::UserNetwork::default())),
        Some(("tap", interface)) if !interface.is_empty() => Ok(Attachment::Tap(interface.to_owned())),
        Some(("bridge", bridge)) if !bridge.is_empty() => Ok(Attachment::Bridge(bridge.to_owned())),
        _ => Err(format!("`{text}` is none of user, tap:INTERFACE and bridge:INTERFACE")),
    }
}

/// `[ADDR:]HOST:GUEST[/udp]`; an IPv6 address stands in brackets.
pub(crate) fn publish(text: &str) -> Result<v1::PublishedPort, String> {
    let wrong = || format!("`{text}` is not [ADDRESS:]HOSTPORT:GUESTPORT[/udp], such as 2222:22");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp") {
        return Err(format!("`{protocol}` is neither tcp nor udp"));
    }
    let (front, guest) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let (address, host) =
        front.rsplit_once(':').map_or((None, front), |(address, host)| (Some(address), host));
    let host_address = match address {
        None => String::new(),
        Some(address) => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            bare.parse::<IpAddr>().map_err(|_| format!("`{address}` is no IP address"))?.to_string()
        }
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port != 0 => Ok(u32::from(port)),
        _ => Err(format!("`{text}` is no port: 1 to 65535")),
    };
    Ok(v1::PublishedPort {
        protocol: protocol.to_owned(),
        host_address,
        host_port: port(host)?,
        guest_port: port(guest)?,
    })
}

/// The key that leaves a console, as the byte it sends: `^]`, `Ctrl-]`, or `none`.
pub(crate) fn escape(text: &str) -> Result<Escape, String> {
    let key =
        text.strip_prefix('^').or_else(|| text.strip_prefix("Ctrl-")).or_else(|| text.strip_prefix("ctrl-"));
    match (text, key.and_then(|key| key.chars().next().filter(|_| key.len() == 1))) {
        ("none", _) => Ok(Escape(None)),
        (_, Some(key)) if ('@'..='_').contains(&key.to_ascii_uppercase()) => {
            Ok(Escape(Some(key.to_ascii_uppercase() as u8 - b'@')))
        }
        _ => Err(format!("`{text}` is no control key such as ^] or Ctrl-A, nor `none`")),
    }
}

/// The byte that leaves a console; `None` when none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Escape(pub(crate) Option<u8>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("1.5G", 3 << 29),
            ("10g", 10 << 30),
            ("4T", 4 << 40),
            ("64k", 64 << 10),
            ("4096B", 4096),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, why) in [
            ("512", "has no unit"),
            ("512MB", "powers of 1024"),
            ("5X", "no unit"),
            ("1.3333M", "no size"),
            ("-1M", "no unit"),
            ("M", "no size"),
            ("99999999T", "no size"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "90", "-5s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn published_ports() {
        let port = |protocol: &str, address: &str, host_port, guest_port| v1::PublishedPort {
            protocol: protocol.into(),
            host_address: address.into(),
            host_port,
            guest_port,
        };
        for (text, expected) in [
            ("2222:22", port("tcp", "", 2222, 22)),
            ("0.0.0.0:80:8080", port("tcp", "0.0.0.0", 80, 8080)),
            ("[::1]:53:53/udp", port("udp", "::1", 53, 53)),
        ] {
            assert_eq!(publish(text), Ok(expected), "{text}");
        }
        for bad in ["22", "0:22", "1:65536", "host:1:2", "1:2/sctp", ""] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_and_disks() {
        assert_eq!(network("user"), Ok(Attachment::User(v1::UserNetwork::default())));
        assert_eq!(network("tap:tap0"), Ok(Attachment::Tap("tap0".into())));
        assert_eq!(network("bridge:br0"), Ok(Attachment::Bridge("br0".into())));
        for bad in ["tap", "tap:", "nat", "user:x"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        assert_eq!(data_disk("data=5G"), Ok(v1::DiskSpec { name: "data".into(), size_bytes: 5 << 30 }));
        assert!(data_disk("5G").is_err());
    }

    #[test]
    fn labels() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
        assert_eq!(label_change("a="), Ok(("a".into(), Some(String::new()))));
        assert_eq!(label_change("a-"), Ok(("a".into(), None)));
        assert!(label_change("a").is_err() && label_change("-").is_err());
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("^]"), Ok(Escape(Some(0x1d))));
        assert_eq!(escape("Ctrl-a"), Ok(Escape(Some(1))));
        assert_eq!(escape("none"), Ok(Escape(None)));
        for bad in ["", "^", "x", "^aa", "^é"] {
            assert!(escape(bad).is_err(), "{bad}");
        }
    }
}
