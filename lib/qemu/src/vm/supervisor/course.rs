//! What a guest is doing, from what QEMU announces and what it answers: both come in their own order, and an answer may be looked at after
//! events that are newer than it.
//!
//! ```text
//!  on the wire:   answer "running" -- SHUTDOWN (guest-shutdown) -- answer "shutdown" -- SHUTDOWN (host-qmp-quit)
//!  looked at:     SHUTDOWN -- "running" -- ...    never: "shutdown" -- SHUTDOWN
//! ```
//! Why a guest is off is what was announced first since it last ran: what comes after it is only the end of its process.

use crate::vm::Status;
use qmp::{
    commands::RunState,
    events::{EventData, ShutdownCause},
};

/// How far what is known reaches.
#[derive(Debug)]
pub(super) struct Course {
    /// The latest shutdown that was announced, also where the event itself was lost; as long as it may be the present one.
    announced: Option<ShutdownCause>,
    /// Events were lost since the state was last read.
    missed: bool,
    /// The state must be read again: an event said that it changed, or somebody wants to know.
    refresh: bool,
}

/// Why a guest is off that went off while nobody watched: its own doing is the usual cause.
pub(super) fn unseen(state: &RunState) -> Option<ShutdownCause> {
    (*state == RunState::Shutdown).then_some(ShutdownCause::GuestShutdown)
}

impl Course {
    pub(super) fn new() -> Self {
        Self { announced: None, missed: false, refresh: true }
    }

    /// Whether the state is to be asked for now, which is done then.
    pub(super) fn asks(&mut self) -> bool {
        std::mem::take(&mut self.refresh)
    }

    pub(super) fn wants_reading(&mut self) {
        self.refresh = true;
    }

    /// Events were lost; the state tells what they said.
    pub(super) fn lagged(&mut self) {
        (self.missed, self.refresh) = (true, true);
    }

    /// A shutdown was announced, which may have been heard as an event or not.
    pub(super) fn announced(&mut self, latest: Option<ShutdownCause>) {
        self.announced = latest.or(self.announced.take());
    }

    /// On another connection, where the next reading tells what came of everything before it.
    pub(super) fn begins_anew(&mut self, latest: Option<ShutdownCause>) {
        self.announced(latest);
        (self.missed, self.refresh) = (true, false);
    }

    /// An event; `None` for one of another form than ours, of which the state tells enough.
    pub(super) fn event(&mut self, status: &mut Status, event: Option<&EventData>) {
        match event {
            Some(EventData::Shutdown(shutdown)) => {
                status.shutdown.get_or_insert_with(|| shutdown.reason.clone());
                status.run_state = RunState::Shutdown;
            }
            // The event says it all; on a busy host an answer from a guest that has just begun takes tens of milliseconds.
            Some(EventData::Resume) => {
                (status.shutdown, self.announced) = (None, None);
                status.run_state = RunState::Running;
            }
            Some(EventData::Reset(reset)) if reset.reason == ShutdownCause::GuestReset => {
                status.guest_resets += 1;
            }
            Some(EventData::Reset(_)) => return,
            Some(EventData::GuestPanicked(_)) => status.panics += 1,
            _ => {}
        }
        self.refresh = true;
    }

    /// An answer to the latest question. Where it may be older than an event that was looked at, another question follows: `false` for one that
    /// tells nothing.
    pub(super) fn reading(&mut self, status: &mut Status, state: &RunState) -> bool {
        let is_off = *state == RunState::Shutdown;
        if self.refresh && status.shutdown.is_some() && !is_off {
            // From before it went off, unless it has been lost that it runs again.
            return false;
        }
        if is_off && (self.missed || !self.refresh) {
            status.shutdown = status.shutdown.take().or(self.announced.clone()).or(unseen(state));
        }
        if !is_off && !self.refresh {
            (status.shutdown, self.announced) = (None, None);
        }
        status.run_state = state.clone();
        self.missed = false;
        true
    }

    /// The process has ended, and what it said has been heard, or lost.
    pub(super) fn ends(&mut self, status: &mut Status) {
        let lost = if self.missed { self.announced.take() } else { None };
        status.shutdown = status.shutdown.take().or(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Responsive;
    use serde_json::json;

    fn shutdown(guest: bool, reason: &str) -> EventData {
        let serde_json::Value::Object(data) = json!({"guest": guest, "reason": reason}) else {
            unreachable!()
        };
        let event = qmp::Event { name: "SHUTDOWN".to_owned(), data, timestamp: None };
        EventData::of(&event).expect("of the usual form")
    }

    /// What QEMU announces of a guest that powers itself off and is then told to quit.
    fn wire() -> Vec<EventData> {
        vec![
            EventData::Resume,
            shutdown(true, "guest-shutdown"),
            EventData::Stop,
            shutdown(false, "host-qmp-quit"),
        ]
    }

    /// What it answers after so many of them.
    fn state_after(events: usize) -> RunState {
        match events {
            0 => RunState::Prelaunch,
            1 => RunState::Running,
            _ => RunState::Shutdown,
        }
    }

    fn standing() -> Status {
        Status {
            run_state: RunState::Prelaunch,
            responsive: Responsive::Yes,
            shutdown: None,
            guest_resets: 0,
            panics: 0,
            tpm_exit: None,
            exit: None,
        }
    }

    /// A question: how many events were looked at when it was put, how many QEMU had announced when it answered, and how many were looked at
    /// before the answer was.
    #[derive(Clone, Copy, Debug)]
    struct Question {
        put: usize,
        answered: usize,
        seen: usize,
    }

    /// All that can be, one question after another.
    fn questions(from: usize, left: usize, earlier: &[Question], each: &mut impl FnMut(&[Question])) {
        each(earlier);
        if left == 0 {
            return;
        }
        let answered_since = earlier.last().map_or(0, |it| it.answered);
        for put in from..=wire().len() {
            for answered in put.max(answered_since)..=wire().len() {
                for seen in answered..=wire().len() {
                    let all = [earlier, &[Question { put, answered, seen }]].concat();
                    questions(seen, left - 1, &all, each);
                }
            }
        }
    }

    #[test]
    fn the_first_cause_is_told_in_whatever_order_events_and_answers_are_looked_at() {
        let mut count = 0;
        questions(0, 3, &[], &mut |asked| {
            count += 1;
            let (mut course, mut status) = (Course::new(), standing());
            let mut asked = asked.iter().peekable();
            for looked_at in 0..=wire().len() {
                loop {
                    if asked.peek().is_some_and(|it| it.put == looked_at && it.seen == looked_at) {
                        course.asks();
                    }
                    match asked.next_if(|it| it.seen == looked_at) {
                        Some(it) => {
                            course.reading(&mut status, &state_after(it.answered));
                        }
                        None => break,
                    }
                }
                if asked.peek().is_some_and(|it| it.put == looked_at) {
                    course.asks();
                }
                if looked_at >= 2 {
                    let known = (&status.run_state, &status.shutdown);
                    assert_eq!(
                        known,
                        (&RunState::Shutdown, &Some(ShutdownCause::GuestShutdown)),
                        "{asked:?}"
                    );
                }
                if let Some(event) = wire().get(looked_at) {
                    course.event(&mut status, Some(event));
                }
            }
            course.ends(&mut status);
            assert_eq!(status.shutdown, Some(ShutdownCause::GuestShutdown));
        });
        assert!(count > 900, "{count}");
    }

    #[test]
    fn a_guest_that_runs_again_is_off_for_no_reason() {
        let (mut course, mut status) = (Course::new(), standing());
        for event in wire() {
            course.event(&mut status, Some(&event));
        }
        course.announced(Some(ShutdownCause::GuestShutdown));
        // It was reset and let go, and that was lost.
        course.lagged();
        assert!(course.asks());
        assert!(course.reading(&mut status, &RunState::Running));
        assert_eq!((&status.run_state, &status.shutdown), (&RunState::Running, &None));
        course.event(&mut status, Some(&shutdown(true, "guest-panic")));
        course.ends(&mut status);
        assert_eq!(status.shutdown, Some(ShutdownCause::GuestPanic));
    }
}
