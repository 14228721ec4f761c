//! The network: one wire per session. Frames arrive in order after a random time; hostile runs lose, double and reorder
//! them. An end that learns late that a wire is cut goes on sending into it.

use crate::Mutation;
use crate::event::{Event, Life};
use crate::world::{World, say};
use hv_api::v1;
use hypervisor_server::reconcile::{Conn, Input};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) agent: Life,
    /// The server's life.
    server: u64,
    at_server: End,
    at_agent: End,
    /// Nothing arrives any more, and nobody is told.
    pub(crate) dead: bool,
}

/// One direction's arrivals, and whether its sender still holds it.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    closed: bool,
    last_arrival: Duration,
    arrived: u64,
}

impl World {
    /// Opens a wire, if there is a server.
    pub(crate) fn connect(&mut self, agent: Life) -> Option<Conn> {
        if self.server.running.is_none() || self.isolated == Some(agent.node) || self.mishap(50) {
            return None;
        }
        let conn = Conn(self.number());
        let arrival = self.now + self.rng.millis(1, 30);
        let end = End { last_arrival: arrival, ..End::default() };
        let server = self.server.life;
        self.wires.insert(conn, Wire { agent, server, at_server: end, at_agent: end, dead: false });
        self.queue.at(arrival, Event::Opened(conn));
        Some(conn)
    }

    pub(crate) fn opened(&mut self, conn: Conn) {
        if self.at_server(conn) {
            self.open_at_server(conn);
        }
    }

    pub(crate) fn send_up(&mut self, conn: Conn, frame: v1::AgentMessage) {
        for arrival in self.arrivals(conn, |wire| &mut wire.at_agent) {
            self.queue.at(arrival, Event::Up(conn, Box::new(frame.clone())));
        }
    }

    pub(crate) fn send_down(&mut self, conn: Conn, frame: v1::ServerMessage) {
        for arrival in self.arrivals(conn, |wire| &mut wire.at_server) {
            self.queue.at(arrival, Event::Down(conn, Box::new(frame.clone())));
        }
    }

    /// When a frame that is sent now arrives: once, or never, or twice.
    fn arrivals(&mut self, conn: Conn, sender: impl Fn(&mut Wire) -> &mut End) -> Vec<Duration> {
        let hostile = self.climate.hostile && self.rough;
        let usual = self.now + self.rng.millis(1, 30);
        let Some(wire) = self.wires.get_mut(&conn) else { return Vec::new() };
        let dead = wire.dead;
        let end = sender(wire);
        if dead || end.closed {
            return Vec::new();
        }
        let arrival = usual.max(end.last_arrival);
        end.last_arrival = arrival;
        if !hostile {
            return vec![arrival];
        }
        match self.rng.below(100) {
            0..2 => {
                self.summary.frames_lost += 1;
                Vec::new()
            }
            2..7 => {
                self.summary.frames_doubled += 1;
                vec![arrival, arrival + self.rng.millis(0, 3_000)]
            }
            7..9 => vec![arrival + self.rng.millis(0, 500)],
            _ => vec![arrival],
        }
    }

    pub(crate) fn up(&mut self, conn: Conn, mut frame: v1::AgentMessage) {
        // A server that has closed the stream may still find frames of it: it must not care.
        let alive = self.server.running.is_some();
        let life = self.server.life;
        let renumber = self.mutation == Mutation::LossUnnoticed;
        let Some(wire) = self.wires.get_mut(&conn).filter(|wire| alive && wire.server == life) else {
            return;
        };
        wire.at_agent.arrived += 1;
        if renumber {
            frame.sequence = wire.at_agent.arrived;
        }
        self.server_step(Input::Frame(conn, Box::new(frame)));
    }

    pub(crate) fn down(&mut self, conn: Conn, mut frame: v1::ServerMessage) {
        let renumber = self.mutation == Mutation::LossUnnoticed;
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.at_server.arrived += 1;
        if renumber {
            frame.sequence = wire.at_server.arrived;
        }
        let agent = wire.agent;
        self.receive(agent, conn, frame);
    }

    /// The server ends a wire; the agent learns it later.
    pub(crate) fn close_at_server(&mut self, conn: Conn) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.at_server.closed = true;
            if !wire.dead {
                self.after(1, 100, Event::ClosedAtAgent(conn));
            }
        }
    }

    /// The agent ends a wire; the server learns it later.
    pub(crate) fn close_at_agent(&mut self, conn: Conn) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.at_agent.closed = true;
            if !wire.dead {
                let most = if self.mishap(200) { 5_000 } else { 100 };
                self.after(1, most, Event::ClosedAtServer(conn));
            }
        }
    }

    pub(crate) fn closed_at_server(&mut self, conn: Conn) {
        if self.at_server(conn) {
            if let Some(wire) = self.wires.get_mut(&conn) {
                wire.at_server.closed = true;
            }
            self.server_step(Input::Closed(conn));
        }
    }

    pub(crate) fn closed_at_agent(&mut self, conn: Conn) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.at_agent.closed = true;
            let agent = wire.agent;
            self.session_over(agent, conn, "the server closed the stream");
        }
    }

    /// Cuts a random wire: with notice to both ends, each in its own time, or without.
    pub(crate) fn cut(&mut self) {
        let open: Vec<Conn> = self
            .wires
            .iter()
            .filter(|(_, wire)| !wire.dead && !wire.at_server.closed && !wire.at_agent.closed)
            .map(|(conn, _)| *conn)
            .collect();
        let Some(conn) = self.rng.pick(&open).copied() else { return };
        self.summary.cuts += 1;
        let silent = self.rng.permille(300);
        say!(self, "{conn:?} is cut{}", if silent { " without notice" } else { "" });
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.dead = true;
        }
        if !silent {
            self.after(1, 3_000, Event::ClosedAtServer(conn));
            self.after(1, 3_000, Event::ClosedAtAgent(conn));
        }
    }

    fn at_server(&self, conn: Conn) -> bool {
        self.server.running.is_some()
            && self.wires.get(&conn).is_some_and(|wire| wire.server == self.server.life)
    }
}
