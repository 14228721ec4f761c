//! What a guest answers when it is asked to let go of a device.

use qmp::Event;

/// What a guest says to the wish that it let go of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    LetGo,
    Refused,
}

/// The answer that an event is for this device, if it is one.
///
/// QEMU says itself that a guest refuses where its own device does (`DEVICE_UNPLUG_GUEST_ERROR`, and for memory `MEM_UNPLUG_ERROR` until
/// that is gone); a PC's CPUs and memory tell what the guest's ACPI reports to them (`ACPI_DEVICE_OST`).
pub(super) fn answer(event: &Event, id: &str) -> Option<Answer> {
    let (name, data) = (event.name.as_str(), &event.data);
    if name == "ACPI_DEVICE_OST" {
        let info = data.get("info").filter(|info| info["device"] == id)?;
        let number = |member: &str| info[member].as_i64();
        return (EJECTIONS.contains(&number("source")?) && REFUSALS.contains(&number("status")?))
            .then_some(Answer::Refused);
    }
    let of_it = data.get("device").is_some_and(|device| device == id);
    of_it.then_some(if name == "DEVICE_DELETED" { Answer::LetGo } else { Answer::Refused })
}

/// Events that are answers of a guest.
pub(super) const ANSWERS: &[&str] =
    &["DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR", "ACPI_DEVICE_OST"];

/// What a guest's `_OST` is about when it was asked for an ejection (ACPI 6.5, 6.3.5): the request, and its being carried out.
const EJECTIONS: [i64; 2] = [0x03, 0x103];

/// Those of its status codes that are a no: failed without a reason, not understood, not supported, in use, busy, something that depends
/// on it busy. Others are success (0) and that it is being done (0x84).
const REFUSALS: [i64; 6] = [0x01, 0x02, 0x80, 0x81, 0x82, 0x83];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guest_lets_go_or_refuses_in_one_of_several_ways() {
        let of = |name: &str, data: serde_json::Value| {
            let data = data.as_object().unwrap().clone();
            answer(&Event { name: name.to_owned(), data, timestamp: None }, "dimm")
        };
        let ost = |device: &str, source: i64, status: i64| {
            let info = json!({"device": device, "slot": "0", "slot-type": "DIMM", "source": source, "status": status});
            of("ACPI_DEVICE_OST", json!({"info": info}))
        };
        let path = "/machine/peripheral/dimm";
        assert_eq!(of("DEVICE_DELETED", json!({"device": "dimm", "path": path})), Some(Answer::LetGo));
        assert_eq!(of("DEVICE_DELETED", json!({"device": "other", "path": path})), None);
        // Of a part of the device, which has no name of its own.
        assert_eq!(of("DEVICE_DELETED", json!({"path": format!("{path}/part")})), None);
        for refused in ["DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR"] {
            assert_eq!(
                of(refused, json!({"device": "dimm", "path": path, "msg": "no"})),
                Some(Answer::Refused)
            );
            assert_eq!(of(refused, json!({"device": "other", "path": path, "msg": "no"})), None);
        }
        for status in [1, 2, 0x80, 0x81, 0x82, 0x83] {
            assert_eq!(ost("dimm", 3, status), Some(Answer::Refused), "{status:#x}");
            assert_eq!(ost("dimm", 0x103, status), Some(Answer::Refused), "{status:#x}");
            // That is what it says of a device that came, or of another one.
            assert_eq!(ost("dimm", 1, status), None, "{status:#x}");
            assert_eq!(ost("other", 3, status), None, "{status:#x}");
        }
        for status in [0, 0x84] {
            assert_eq!(ost("dimm", 3, status), None, "{status:#x}");
        }
    }
}
