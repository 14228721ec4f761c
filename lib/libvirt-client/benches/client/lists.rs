//! Lists of many domains, their statistics, and what decoding costs.

use crate::Rig;
use crate::measure::{Bare, Cost, Rounds, load, measure, median, now, row, with};
use libvirt_client::protocol::flags::{ConnectListAllDomainsFlags, DomainStatsTypes};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, types, xdr};
use serde_json::Value;
use std::fmt::Write;

const ROUNDS: usize = 5;

/// A host of the test driver with so many domains; each connection reads it for itself.
fn host(rig: &Rig, domains: usize) -> String {
    let mut text = String::from("<node>\n");
    for n in 0..domains {
        let _ = writeln!(
            text,
            "<domain type='test'><name>guest-{n:05}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
        );
    }
    text.push_str("</node>\n");
    let file = rig.daemon.path(&format!("host-{domains}.xml"));
    std::fs::write(&file, text).expect("the daemon's directory is ours");
    file.display().to_string()
}

/// `virConnectListAllDomains` and `virConnectGetAllDomainStats`.
pub(crate) fn lists(rig: &mut Rig, domains: usize, count: usize) -> Vec<Value> {
    let load = load();
    let path = host(rig, domains);
    let uri = format!("test+unix://{path}?socket={}", rig.socket().display());
    let connect = rig.runtime.block_on(rig.daemon.builder(&uri).lanes(0).open_with(crate::support::run));
    let connect = connect.expect("the daemon listens");
    let mut bare = Bare::open(&rig.socket(), &format!("test://{path}"));
    let all =
        remote::ConnectListAllDomainsArgs { need_results: 1, flags: ConnectListAllDomainsFlags::empty() };
    let all = xdr::encode(&all).expect("two words");
    for peer in &mut rig.peers {
        peer.ask(&format!("open {uri}"));
    }
    let mut rounds = [const { (Vec::new(), Vec::new(), Vec::new()) }; 2]
        .map(|(ours, floor, peers): (Vec<Cost>, Vec<Cost>, Vec<Vec<Option<Cost>>>)| (ours, floor, peers));
    for _ in 0..ROUNDS {
        rounds[0].1.push(measure(count, 1, || {
            assert!(bare.call(remote::ConnectListAllDomains::INFO.number, &all).len() > domains * 24);
        }));
        rounds[0].0.push(measure(count, 1, || {
            let list = rig.runtime.block_on(connect.domains(Default::default())).expect("the daemon answers");
            assert_eq!(list.len(), domains);
        }));
        rounds[1].0.push(measure(count, 1, || {
            let stats = connect.all_stats(DomainStatsTypes::STATE, Default::default());
            assert_eq!(rig.runtime.block_on(stats).expect("the daemon answers").len(), domains);
        }));
        for (what, rounds) in ["list", "stats"].into_iter().zip(&mut rounds) {
            let answers = rig.peers.iter_mut().map(|peer| {
                let answer = peer.ask(&format!("{what} {count}"))?;
                Some(Cost { time: answer.time, user: answer.user })
            });
            rounds.2.push(answers.collect());
        }
    }
    rig.runtime.block_on(async { drop(connect.close().await) });
    let gathered = |costs: Vec<Cost>| {
        let mut rounds = Rounds::default();
        costs.into_iter().for_each(|cost| rounds.add(cost));
        rounds
    };
    let mut rows = Vec::new();
    for (what, (ours, floor, peers)) in ["list", "stats"].into_iter().zip(rounds) {
        let (ours, floor) = (gathered(ours), gathered(floor));
        let peers: Vec<Rounds> = (0..rig.peers.len())
            .map(|index| gathered(peers.iter().filter_map(|answers| answers[index]).collect()))
            .collect();
        let beside: Vec<(&str, &Rounds)> = rig.peers.iter().map(|peer| peer.name).zip(&peers).collect();
        let name = format!("libvirt_{what}_{domains}_domains");
        let bare = floor.time();
        rows.extend(rig.beside(&name, "ns", ours.time(), &beside, Rounds::time, load).map(|row| {
            let row = with(row, "floor", bare.map(|_| Value::from("bare socket, nothing decoded")));
            let row = with(row, "floor_value", bare.map(Value::from));
            with(row, "goal", bare.map(|bare| Value::from(bare * 1.03)))
        }));
        rows.extend(rig.beside(&format!("{name}_user_cpu"), "ns", ours.user(), &beside, Rounds::user, load));
    }
    rows
}

/// What decoding alone costs.
pub(crate) fn decoding() -> Value {
    with(row("libvirt_decode_domain", decoded(), "ns", "lower", load()), "goal", Value::from(60.0))
}

/// Nanoseconds per domain of a list of 16,000: checked and iterated, nothing copied.
fn decoded() -> f64 {
    let domains: Vec<_> = (0..16_000)
        .map(|n: i32| types::Domain { name: format!("guest-{n:05}").into(), uuid: xdr::Uuid([7; 16]), id: n })
        .collect();
    let reply = remote::ConnectListAllDomainsRet { domains: domains.into(), ret: 16_000 };
    let bytes = xdr::encode(&reply).expect("within limits");
    let mut took = Vec::new();
    for _ in 0..200 {
        let start = now();
        let list: remote::ConnectListAllDomainsRet<'_> = xdr::decode(&bytes).expect("what was encoded");
        let ids: i64 = list.domains.iter().map(|domain| i64::from(domain.id)).sum();
        took.push(start.elapsed().as_nanos() as f64 / 16_000.0);
        std::hint::black_box(ids);
    }
    median(took)
}
