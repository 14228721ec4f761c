//! Memory balloons: what the driver gives up goes back to the host.

use crate::backend::{Device, Failure, Guest, Kept, Writer};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use virtio::balloon::{Config, DONE, Features as Balloons, Role, STOP, Tag, pages, roles, statistics};
use virtio::features::Features;

/// What both the device and who controls it know.
#[derive(Debug, Default)]
struct State {
    wanted: u32,
    actual: u32,
    statistics: BTreeMap<Tag, u64>,
    /// How often the driver told its statistics, and how often it was asked for.
    told: u64,
    asked: u64,
    /// Bytes that were given up, taken back and reported, since the device began.
    inflated: u64,
    deflated: u64,
    reported: u64,
    hinted: u64,
    hint_round: u32,
    /// The number of the last round that began.
    last_round: u32,
}

/// How a balloon is asked for memory, from any thread.
#[derive(Clone, Debug)]
pub struct BalloonControl {
    state: Arc<Mutex<State>>,
    bell: Arc<OwnedFd>,
}

/// What is known of a balloon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalloonNumbers {
    /// Pages of 4 KiB that it has, as the driver says.
    pub actual: u32,
    /// Bytes that the driver gave up, took back, and reported or hinted as free, since the device began.
    pub inflated: u64,
    /// Taken back.
    pub deflated: u64,
    /// Reported as free.
    pub reported: u64,
    /// Hinted as free.
    pub hinted: u64,
    /// What the driver told last, and how often it told.
    pub statistics: BTreeMap<Tag, u64>,
    /// How often.
    pub told: u64,
}

impl BalloonControl {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // A counter at its limit is readable all the same.
        let _ = write(&*self.bell, &1_u64.to_ne_bytes());
    }

    /// Asks the driver to give up so many pages of 4 KiB in all.
    pub fn want(&self, pages: u32) {
        self.state().wanted = pages;
        self.ring();
    }

    /// Asks it for its statistics.
    pub fn ask_statistics(&self) {
        self.state().asked += 1;
        self.ring();
    }

    /// Begins a round of hints of free pages.
    pub fn begin_hints(&self) {
        let mut state = self.state();
        // Rounds have numbers from 2 on, and none that the driver may still be at.
        state.last_round = state.last_round.wrapping_add(1).max(DONE + 1);
        state.hint_round = state.last_round;
        drop(state);
        self.ring();
    }

    /// Ends the one that there is.
    pub fn end_hints(&self) {
        self.state().hint_round = DONE;
        self.ring();
    }

    /// What is known now.
    pub fn numbers(&self) -> BalloonNumbers {
        let state = self.state();
        BalloonNumbers {
            actual: state.actual,
            inflated: state.inflated,
            deflated: state.deflated,
            reported: state.reported,
            hinted: state.hinted,
            statistics: state.statistics.clone(),
            told: state.told,
        }
    }
}

/// A balloon with all five queues.
#[derive(Debug)]
pub struct Balloon {
    control: BalloonControl,
    config: Config,
    bytes: [u8; Config::BYTES],
    roles: Vec<Role>,
    /// The driver's buffer of statistics, until they are asked for again.
    statistics: Option<Kept>,
    answered: u64,
    /// The driver tells hints of this round.
    round: u32,
    poison: bool,
}

const FEATURES: Balloons = Balloons::all();

impl Balloon {
    /// An empty one.
    ///
    /// # Errors
    /// That of the system call.
    pub fn new() -> io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let control = BalloonControl { state: Arc::default(), bell };
        Ok(Self {
            control,
            config: Config::default(),
            bytes: [0; Config::BYTES],
            roles: roles(FEATURES).collect(),
            statistics: None,
            answered: 0,
            round: STOP,
            poison: false,
        })
    }

    /// What asks it for memory.
    pub fn control(&self) -> BalloonControl {
        self.control.clone()
    }

    fn role(&self, queue: u16) -> Option<Role> {
        self.roles.get(usize::from(queue)).copied()
    }

    /// The queue of statistics goes back when they are wanted anew: the driver answers by telling them.
    fn ask(&mut self, guest: &mut Guest<'_>) {
        let asked = self.control.state().asked;
        let Some(queue) = self.roles.iter().position(|role| *role == Role::Statistics) else { return };
        if asked != self.answered
            && let Some(kept) = self.statistics.take()
        {
            self.answered = asked;
            guest.put_kept(queue as u16, kept);
        }
    }
}

impl Device for Balloon {
    fn features(&self) -> Features {
        Features::from_bits_retain(FEATURES.bits())
    }

    fn queues(&self) -> u16 {
        5
    }

    fn config(&self) -> &[u8] {
        &self.bytes
    }

    fn set_config(&mut self, offset: usize, bytes: &[u8], _: Writer) -> Result<(), Failure> {
        let mut all = self.bytes;
        let end = offset + bytes.len();
        all.get_mut(offset..end)
            .ok_or(Failure::Value { what: "configuration space", value: offset as u64 })?
            .copy_from_slice(bytes);
        let Config { actual, poison, .. } = Config::parse(&all);
        // The rest is the device's; QEMU writes all of it back.
        (self.config.actual, self.config.poison) = (actual, poison);
        self.bytes = self.config.bytes();
        self.control.state().actual = actual;
        Ok(())
    }

    fn negotiated(&mut self, features: Features) {
        let features = Balloons::from_bits_truncate(features.bits());
        self.roles = roles(features).collect();
        self.poison = features.contains(Balloons::PAGE_POISON);
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let Some(role) = self.role(queue) else { return };
        // Pages that must keep a value cannot be given to somebody else.
        let gives_up = !self.poison || self.config.poison == 0;
        while let Some(held) = guest.take(queue) {
            match role {
                Role::Inflate => pages(held.chain(), |address, length| {
                    if guest.give_up(address, length) {
                        self.control.state().inflated += length;
                    }
                }),
                Role::Deflate => pages(held.chain(), |_, length| self.control.state().deflated += length),
                Role::Statistics => {
                    let mut state = self.control.state();
                    statistics(held.chain(), |tag, value| {
                        state.statistics.insert(tag, value);
                    });
                    state.told += 1;
                    drop(state);
                    // A driver has one there. Of one that sends more none is lost.
                    if let Some(older) = self.statistics.replace(held.keep()) {
                        guest.put_kept(queue, older);
                    }
                    self.ask(guest);
                    continue;
                }
                Role::Hints => {
                    let mut id = [0; 4];
                    if held.chain().reader().read(&mut id) == 4 {
                        self.round = u32::from_le_bytes(id);
                    }
                    // Those of a round that is over are the driver's again. Hints are only counted: who migrates leaves the pages out.
                    if self.round > DONE && self.round == self.config.hint_command {
                        self.control.state().hinted += u64::from(held.chain().writable_bytes());
                    }
                }
                Role::Reports => {
                    for piece in held.chain().writable() {
                        if let Some(address) = guest.memory().address_of(piece).filter(|_| gives_up)
                            && guest.give_up(address, piece.len() as u64)
                        {
                            self.control.state().reported += piece.len() as u64;
                        }
                    }
                }
            }
            guest.put(queue, held, 0);
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.control.bell.as_fd()]
    }

    fn ready(&mut self, _source: usize, guest: &mut Guest<'_>) {
        let _ = read(&*self.control.bell, &mut [0; 8]);
        let (wanted, round) = {
            let state = self.control.state();
            (state.wanted, state.hint_round)
        };
        self.ask(guest);
        if (wanted, round) != (self.config.wanted, self.config.hint_command) {
            (self.config.wanted, self.config.hint_command) = (wanted, round);
            self.bytes = self.config.bytes();
            guest.config_changed();
        }
    }

    fn stopping(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if self.role(queue) == Some(Role::Statistics)
            && let Some(kept) = self.statistics.take()
        {
            guest.put_kept(queue, kept);
        }
    }

    fn reset(&mut self) {
        self.statistics = None;
        self.round = STOP;
        (self.config.actual, self.config.poison) = (0, 0);
        self.control.state().actual = 0;
        self.bytes = self.config.bytes();
    }
}
