//! The agent's protocol as a value: bytes and "time is up" in, outputs and bytes out. No socket, no clock, no task.
//!
//! ```text
//!          0xFF, guest-sync-delimited        0xFF, its number          command
//!   Lost ----------------------------> Syncing ---------------> Ready ---------> Busy
//!    ^  \___________ nothing that comes here counts ___________/  ^                | answer
//!    |                                                            '----------------|
//!    |--- nobody has asked anything for a while ------------------'                |
//!    '--- a call was given up, its time is up, the answer is no JSON --------------'
//! ```
//!
//! The agent has no ids: an answer belongs to the command before it, so one command is under way at a time, and after one that was not
//! waited for the place in the stream is found again. A command is sent only when a guest has just answered: none lies about in a
//! channel that nobody reads, to be carried out by an agent that is started tomorrow. Calls in a row need one number for all, but what
//! freezes, thaws or ends the guest follows a number directly: tomorrow it would do the most harm.
//!
//! Commands that answer only when they refuse are followed by a number to be sent back: when that comes alone, they were accepted.
//!
//! The guest is not trusted: whatever it sends, the calls fail and the session goes on, up to the limit of a message.

use super::commands::{Answer, Facts, Pace, SyncDelimited};
use crate::{
    codec::{Splitter, TooLong},
    message::{Malformed, Message, Refusal},
    session::{CallId, Limits},
    wire::Object as _,
};
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// What the session has to say; taken with [`Session::poll_output`].
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The answer to a call.
    Reply(CallId, Result<Value, Refusal>),
    /// No agent answered in time; the command was not sent.
    Absent(CallId),
    /// The command was sent and not answered in time.
    Late(CallId),
    /// The command was sent, and what came is no answer.
    Garbled(CallId, Malformed),
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A sign of the agent.
    Agent,
    /// The answer to a command.
    Answer(Pace),
    /// The next call. Without one for a while, that the agent has answered says no more that it is there.
    Call,
}

/// Things that happened and needed no action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Lines that belonged to nothing.
    pub strays: u64,
    /// How often the agent was asked for a number, by which the place in the stream is found.
    pub syncs: u64,
}

/// One connection to an agent, client side.
#[derive(Debug)]
pub struct Session {
    splitter: Splitter,
    state: State,
    /// How often the state has changed.
    stage: u64,
    waiting: VecDeque<Call>,
    outputs: VecDeque<Output>,
    transmit: Vec<u8>,
    /// The number of a sync that is not sent to its end yet: it comes last in `transmit`.
    unsent: Option<i64>,
    numbers: u64,
    counters: Counters,
}

#[derive(Debug)]
enum State {
    Lost,
    Syncing(i64),
    /// `fresh` until something else than the number was answered.
    Ready {
        fresh: bool,
    },
    Busy {
        call: CallId,
        pace: Pace,
        fence: Option<Fence>,
    },
}

/// Follows a command that answers refusals only.
#[derive(Debug)]
struct Fence {
    number: i64,
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Call {
    id: CallId,
    request: Vec<u8>,
    answer: Answer,
    pace: Pace,
}

impl Call {
    /// Whether it freezes, thaws or ends the guest, or waits for its disks as long as those.
    fn is_grave(&self) -> bool {
        self.pace == Pace::Freeze || self.answer == Answer::RefusalsOnly
    }
}

impl Session {
    /// A session on a connection of which nothing is known. `seed` makes the numbers by which the place in the stream is found: it should
    /// be another one for each session, so that answers to an earlier one are told apart.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            splitter: Splitter::new(limits.message_bytes),
            state: State::Lost,
            stage: 0,
            waiting: VecDeque::new(),
            outputs: VecDeque::new(),
            transmit: Vec::new(),
            unsent: None,
            numbers: seed,
            counters: Counters::default(),
        }
    }

    /// Takes a call. It is sent when those before it are done and the agent has shown that it is there.
    pub fn submit(&mut self, id: CallId, facts: &Facts, arguments: &Map<String, Value>) {
        let request = request(facts.name, arguments);
        self.waiting.push_back(Call { id, request, answer: facts.answer, pace: facts.pace });
        self.advance();
    }

    /// Gives a call up; answers whether it was still unsent. One that was sent still runs in the guest; what it answers will not be taken
    /// for another's answer.
    pub fn abandon(&mut self, id: CallId) -> bool {
        let unsent = self.withdraw(id);
        if matches!(self.state, State::Busy { call, .. } if call == id) {
            self.lose();
        }
        unsent
    }

    /// Takes a call back if it is still unsent; answers whether it was. One that was sent goes on.
    pub fn withdraw(&mut self, id: CallId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|call| call.id != id);
        self.waiting.len() < before
    }

    /// Whether no call waits or is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !matches!(self.state, State::Busy { .. })
    }

    /// What is being waited for; the number changes with every change of it. Whoever has a clock calls [`Session::expired`] when that
    /// took too long.
    #[must_use]
    pub fn stage(&self) -> (u64, Option<Stage>) {
        let stage = match self.state {
            State::Syncing(_) if !self.waiting.is_empty() => Some(Stage::Agent),
            State::Busy { pace, .. } => Some(Stage::Answer(pace)),
            State::Ready { .. } => Some(Stage::Call),
            State::Lost | State::Syncing(_) => None,
        };
        (self.stage, stage)
    }

    /// The present stage took too long.
    pub fn expired(&mut self) {
        match &self.state {
            // Who waits behind it would wait for the same.
            State::Syncing(_) => {
                self.outputs.extend(self.waiting.drain(..).map(|call| Output::Absent(call.id)));
                self.enter(State::Lost);
            }
            State::Busy { call, .. } => {
                self.outputs.push_back(Output::Late(*call));
                self.lose();
            }
            // Nobody waits, so there is nothing to say and nothing to send.
            State::Ready { .. } => self.enter(State::Lost),
            State::Lost => {}
        }
    }

    /// Takes bytes from the guest.
    ///
    /// # Errors
    /// [`TooLong`] when a message outgrows the limit; drop the connection then.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.splitter.push(bytes);
        while let Some(line) = self.splitter.next_message()? {
            let line = line.to_vec();
            self.handle(&line);
        }
        Ok(())
    }

    /// The next output, oldest first. Call after every input until it answers `None`: the next call is sent then, and can be withdrawn before.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && matches!(self.state, State::Ready { .. }) {
            self.advance();
        }
        output
    }

    /// Bytes to send to the guest; say with [`Session::transmitted`] how many were sent.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        &self.transmit
    }

    /// The first `count` bytes of [`Session::transmit`] are with the kernel.
    pub fn transmitted(&mut self, count: usize) {
        self.transmit.drain(..count);
        if self.transmit.is_empty() {
            self.unsent = None;
        }
    }

    /// What was noticed so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn handle(&mut self, line: &[u8]) {
        // Everything up to the byte is from before the question.
        let marked = line.iter().rposition(|byte| *byte == MARK).map(|at| &line[at + 1..]);
        match (&mut self.state, marked) {
            (State::Syncing(number), Some(answer)) if number_of(answer) == Some(*number) => {
                self.unsent = None;
                self.enter(State::Ready { fresh: true });
                self.advance();
            }
            (State::Busy { call, fence: Some(fence), .. }, Some(answer))
                if number_of(answer) == Some(fence.number) =>
            {
                let outcome = fence.refusal.take().map_or(Ok(Value::Object(Map::new())), Err);
                let reply = Output::Reply(*call, outcome);
                self.answered(reply);
            }
            (State::Busy { call, fence, .. }, None) => {
                let call = *call;
                match (Message::parse(line), fence) {
                    (Ok(Message::Reply { result: Err(refusal), .. }), Some(fence)) => {
                        fence.refusal = Some(refusal);
                    }
                    (Ok(Message::Reply { result, .. }), None) => self.answered(Output::Reply(call, result)),
                    (Ok(_), _) => self.counters.strays += 1,
                    (Err(malformed), _) => {
                        self.outputs.push_back(Output::Garbled(call, malformed));
                        self.lose();
                    }
                }
            }
            _ => self.counters.strays += 1,
        }
    }

    fn answered(&mut self, reply: Output) {
        self.outputs.push_back(reply);
        // Also after a fence: what was accepted there ends the agent.
        self.enter(State::Ready { fresh: false });
    }

    fn lose(&mut self) {
        self.enter(State::Lost);
        self.advance();
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.stage += 1;
    }

    /// Takes the next step that somebody waits for.
    fn advance(&mut self) {
        match self.state {
            State::Lost if !self.waiting.is_empty() => self.ask_number(),
            State::Ready { fresh: false } if self.waiting.front().is_some_and(Call::is_grave) => {
                self.ask_number()
            }
            State::Ready { .. } => self.send_next(),
            // Somebody waits now, so it counts how long it takes.
            State::Syncing(_) if self.waiting.len() == 1 => self.stage += 1,
            State::Lost | State::Syncing(_) | State::Busy { .. } => {}
        }
    }

    fn ask_number(&mut self) {
        // Where nobody reads, one question is enough for whoever comes.
        let number = self.unsent.unwrap_or_else(|| {
            let number = self.number();
            self.transmit.push(MARK);
            self.transmit.extend(sync(number));
            self.unsent = Some(number);
            self.counters.syncs += 1;
            number
        });
        self.enter(State::Syncing(number));
    }

    fn send_next(&mut self) {
        let Some(call) = self.waiting.pop_front() else { return };
        self.transmit.extend(call.request);
        let fence = (call.answer == Answer::RefusalsOnly).then(|| {
            let number = self.number();
            self.transmit.extend(sync(number));
            Fence { number, refusal: None }
        });
        self.enter(State::Busy { call: call.id, pace: call.pace, fence });
    }

    /// splitmix64: nobody must guess these, they must only differ.
    fn number(&mut self) -> i64 {
        self.numbers = self.numbers.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.numbers;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) >> 1).unwrap_or(i64::MAX)
    }
}

/// No JSON text holds this byte. From us it makes the agent drop what it has; from the agent it is the mark before the answer.
const MARK: u8 = 0xff;

fn request(command: &str, arguments: &Map<String, Value>) -> Vec<u8> {
    let mut request = Map::from_iter([("execute".to_owned(), Value::from(command))]);
    if !arguments.is_empty() {
        request.insert("arguments".to_owned(), Value::Object(arguments.clone()));
    }
    format!("{}\n", Value::Object(request)).into_bytes()
}

fn sync(number: i64) -> Vec<u8> {
    let mut arguments = Map::new();
    SyncDelimited { id: number }.put(&mut arguments);
    request("guest-sync-delimited", &arguments)
}

fn number_of(answer: &[u8]) -> Option<i64> {
    match Message::parse(answer) {
        Ok(Message::Reply { result: Ok(number), .. }) => number.as_i64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::commands::{Command, FsfreezeFreeze, FsfreezeThaw, Ping, Shutdown};

    fn session() -> Session {
        Session::new(Limits::default(), 1)
    }

    /// The requests that are to be sent; a mark before one is a request of its own.
    fn sent(session: &mut Session) -> Vec<Value> {
        let bytes = session.transmit().to_vec();
        session.transmitted(bytes.len());
        let mut requests = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if line[0] == MARK {
                requests.push(Value::from("mark"));
            }
            requests.push(serde_json::from_slice(line.strip_prefix(&[MARK]).unwrap_or(line)).unwrap());
        }
        requests
    }

    fn outputs(session: &mut Session) -> Vec<Output> {
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    fn number(request: &Value) -> i64 {
        assert_eq!(request["execute"], "guest-sync-delimited");
        request["arguments"]["id"].as_i64().unwrap()
    }

    fn answer(session: &mut Session, number: i64) {
        session.handle_bytes(format!("{{\"return\": {number}}}\n").as_bytes()).unwrap();
    }

    fn marked(session: &mut Session, number: i64) {
        session.handle_bytes(&[MARK]).unwrap();
        answer(session, number);
    }

    fn submit(session: &mut Session, id: u64) {
        session.submit(CallId(id), Ping::FACTS, &Map::new());
    }

    /// A session that waits for the answer to call 0.
    fn busy() -> Session {
        let mut session = session();
        submit(&mut session, 0);
        let number = number(&sent(&mut session)[1]);
        marked(&mut session, number);
        assert_eq!(sent(&mut session)[0]["execute"], "guest-ping");
        session
    }

    #[test]
    fn a_command_is_sent_when_the_agent_has_answered_a_number() {
        let mut session = session();
        assert_eq!(session.transmit(), b"", "nobody asks, nothing is sent");
        submit(&mut session, 0);
        let requests = sent(&mut session);
        assert_eq!(requests[0], "mark");
        // Rests of another's conversation, an older number, the same number without its mark.
        let number = number(&requests[1]);
        session.handle_bytes(b"{\"return\": {\"pid\": 1}}\n{\"error\": {\"class\"").unwrap();
        marked(&mut session, number ^ 1);
        answer(&mut session, number);
        assert_eq!(sent(&mut session), Vec::<Value>::new());
        session.handle_bytes(b"{\"return\": \"half").unwrap();
        marked(&mut session, number);
        assert_eq!(sent(&mut session)[0]["execute"], "guest-ping");
        session.handle_bytes(b"{\"return\": {}}\n").unwrap();
        assert_eq!(outputs(&mut session), [Output::Reply(CallId(0), Ok(serde_json::json!({})))]);
        submit(&mut session, 1);
        assert_eq!(sent(&mut session)[0]["execute"], "guest-ping", "the place is known");
    }

    #[test]
    fn one_command_is_under_way_at_a_time() {
        let mut session = busy();
        submit(&mut session, 1);
        assert_eq!(sent(&mut session), Vec::<Value>::new());
        session.handle_bytes(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n").unwrap();
        let outputs = outputs(&mut session);
        assert!(matches!(&outputs[..], [Output::Reply(CallId(0), Err(refusal))] if refusal.desc == "no"));
        assert_eq!(sent(&mut session).len(), 1);
    }

    #[test]
    fn the_answer_to_a_command_that_was_given_up_is_not_taken_for_anothers() {
        let abandon = |session: &mut Session| assert!(!session.abandon(CallId(0)), "it was sent");
        for give_up in [Session::expired, abandon] {
            let mut session = busy();
            submit(&mut session, 1);
            give_up(&mut session);
            let requests = sent(&mut session);
            assert_eq!(requests[0], "mark");
            session.handle_bytes(b"{\"return\": \"late\"}\n").unwrap();
            marked(&mut session, number(&requests[1]));
            assert_eq!(sent(&mut session)[0]["execute"], "guest-ping");
            session.handle_bytes(b"{\"return\": \"in time\"}\n").unwrap();
            let replies = outputs(&mut session);
            assert_eq!(replies.last(), Some(&Output::Reply(CallId(1), Ok("in time".into()))));
        }
    }

    #[test]
    fn what_nobody_reads_does_not_grow() {
        let mut session = session();
        submit(&mut session, 0);
        // A part of the question is with the kernel.
        session.transmitted(3);
        let left = session.transmit().to_vec();
        for id in 1..1000 {
            session.expired();
            submit(&mut session, id);
            assert_eq!(session.transmit(), left);
        }
        session.transmitted(left.len());
        // Whoever comes then answers the one question that there was.
        let text = String::from_utf8(left).unwrap();
        let number: String = text.chars().filter(char::is_ascii_digit).collect();
        marked(&mut session, number.parse().unwrap());
        assert_eq!(sent(&mut session)[0]["execute"], "guest-ping");
        // One that was sent is asked anew: it may have been lost with the guest that it was for.
        session.abandon(CallId(999));
        submit(&mut session, 1000);
        assert_eq!(sent(&mut session)[0], "mark");
    }

    #[test]
    fn nobody_waits_for_an_agent_that_is_not_there_and_nothing_was_sent() {
        let mut session = session();
        submit(&mut session, 0);
        submit(&mut session, 1);
        assert_eq!(session.stage().1, Some(Stage::Agent));
        let first = number(&sent(&mut session)[1]);
        session.expired();
        assert_eq!(outputs(&mut session), [Output::Absent(CallId(0)), Output::Absent(CallId(1))]);
        assert_eq!(session.stage().1, None);
        submit(&mut session, 2);
        let second = number(&sent(&mut session)[1]);
        assert_ne!(first, second);
        marked(&mut session, first);
        assert_eq!(sent(&mut session), Vec::<Value>::new(), "that was before");
        marked(&mut session, second);
        assert_eq!(sent(&mut session).len(), 1);
        assert_eq!(session.stage().1, Some(Stage::Answer(Pace::Prompt)));
    }

    #[test]
    fn a_command_without_an_answer_is_known_to_be_accepted_or_refused() {
        for refused in [false, true] {
            let mut session = busy();
            session.handle_bytes(b"{\"return\": {}}\n").unwrap();
            outputs(&mut session);
            session.submit(CallId(1), Shutdown::FACTS, &Map::new());
            let first = number(&sent(&mut session)[1]);
            marked(&mut session, first);
            let requests = sent(&mut session);
            assert_eq!(requests[0]["execute"], "guest-shutdown");
            if refused {
                session
                    .handle_bytes(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n")
                    .unwrap();
            }
            assert_eq!(outputs(&mut session), []);
            marked(&mut session, number(&requests[1]));
            let [Output::Reply(CallId(1), outcome)] = &outputs(&mut session)[..] else { panic!("no reply") };
            assert_eq!(outcome.is_err(), refused);
        }
    }

    #[test]
    fn an_answer_of_a_while_ago_is_no_sign_of_the_agent() {
        let mut session = busy();
        answer(&mut session, 7);
        outputs(&mut session);
        submit(&mut session, 1);
        assert_eq!(sent(&mut session)[0]["execute"], "guest-ping", "one behind another needs no number");
        answer(&mut session, 8);
        outputs(&mut session);
        assert_eq!(session.stage().1, Some(Stage::Call));
        session.expired();
        assert_eq!((session.stage().1, outputs(&mut session)), (None, vec![]));
        assert_eq!(session.transmit(), b"", "nobody asks, nothing is sent");
        submit(&mut session, 2);
        assert_eq!(sent(&mut session)[0], "mark");
    }

    #[test]
    fn what_freezes_or_ends_the_guest_follows_a_number() {
        for facts in [FsfreezeFreeze::FACTS, FsfreezeThaw::FACTS, Shutdown::FACTS] {
            let mut session = busy();
            session.submit(CallId(1), facts, &Map::new());
            answer(&mut session, 7);
            assert_eq!(outputs(&mut session), [Output::Reply(CallId(0), Ok(7.into()))]);
            let requests = sent(&mut session);
            assert_eq!((requests.len(), &requests[0]), (2, &"mark".into()), "{}", facts.name);
            marked(&mut session, number(&requests[1]));
            assert_eq!(sent(&mut session)[0]["execute"], facts.name);
        }
    }

    #[test]
    fn a_call_that_is_given_up_was_unsent_or_is_under_way() {
        let mut session = busy();
        submit(&mut session, 1);
        submit(&mut session, 2);
        assert!(!session.withdraw(CallId(0)) && session.withdraw(CallId(1)) && session.abandon(CallId(2)));
        assert_eq!(session.stage().1, Some(Stage::Answer(Pace::Prompt)), "it goes on");
        assert!(!session.abandon(CallId(0)));
        assert_eq!(session.stage().1, None);
    }

    #[test]
    fn garbage_fails_the_call_and_not_the_session() {
        let mut session = busy();
        session.handle_bytes(b"login: \n").unwrap();
        assert!(matches!(outputs(&mut session)[..], [Output::Garbled(CallId(0), _)]));
        session.submit(CallId(1), FsfreezeFreeze::FACTS, &Map::new());
        let number = number(&sent(&mut session)[1]);
        marked(&mut session, number);
        assert_eq!(session.stage().1, Some(Stage::Answer(Pace::Freeze)));
        assert_eq!(session.counters(), Counters { strays: 0, syncs: 2 });
    }
}
