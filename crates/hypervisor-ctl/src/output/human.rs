//! Numbers as people read them.

use hv_core::Timestamp;
use std::time::Duration;

/// Bytes: `512 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

/// How long ago a time was: `3m`; `-` when it is not set.
pub(crate) fn age(at_ms: i64, now: Timestamp) -> String {
    if at_ms == 0 { "-".to_owned() } else { span(now.since(Timestamp(at_ms))) }
}

/// A span in its largest unit, with the next one where that is still telling.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        0..7200 => format!("{minutes}m"),
        7200..36000 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        0..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// A time as RFC 3339 in UTC; empty when it is not set.
pub(crate) fn time(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(time) if at_ms != 0 => time.to_string(),
        _ => String::new(),
    }
}

/// `key=value,key=value`.
pub(crate) fn pairs(pairs: &std::collections::BTreeMap<String, String>) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A text, or `-` where there is none.
pub(crate) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (512 << 20, "512 MiB"),
            (3 << 29, "1.5 GiB"),
            ((1 << 30) - 1, "1 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (3599, "59m"),
            (7260, "2h1m"),
            (90_000, "25h"),
            (200_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(age(0, Timestamp(5)), "-");
        assert_eq!(age(9000, Timestamp(5000)), "0s", "a clock that is behind");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(0), "");
    }
}
