//! `kill -9` of the server and of the agent at every step of a create and of a stop, and while a guest runs.
//!
//! Whatever the moment: after a restart of what was killed the operation ends well, an instance never has two QEMUs at a
//! time, its guest has booted exactly once, and nothing is left after its deletion.
#![cfg(test)]

use e2e::{Api, Sampler, Site, boots, free_port, page, patiently, uptime};
use futures::StreamExt;
use hv_api::v1;
use hv_runtime::clock;
use std::time::Duration;
use v1::InstancePhase::{Preparing, Running, Scheduled, Starting, Stopped, Stopping, Unknown};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Server,
    Agent,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// When the phase, or a later one, is first seen.
    Phase(v1::InstancePhase),
    /// This long after the call was answered.
    After(Duration),
}

/// Returns at the moment. What is seen is said, so that a run shows which steps were hit.
async fn come(api: &mut Api, name: &str, moment: Moment, order: &[v1::InstancePhase]) -> String {
    match moment {
        Moment::After(time) => {
            tokio::time::sleep(time).await;
            format!("{} ms", time.as_millis())
        }
        Moment::Phase(wanted) => {
            let place = |phase| order.iter().position(|other| *other == phase);
            let seen = api
                .until(name, &format!("{wanted:?}"), |status| place(status.phase()) >= place(wanted))
                .await;
            format!("{:?}", seen.phase())
        }
    }
}

impl Victim {
    /// Kills it and starts it again.
    async fn strike(self, site: &mut Site) {
        match self {
            Self::Server => {
                site.kill_server();
                site.start_server().await;
            }
            Self::Agent => {
                site.kill_agent();
                site.start_agent();
            }
        }
    }
}

/// How long a create and a stop take when nobody is killed.
async fn undisturbed(site: &mut Site, api: &mut Api) -> (Duration, Duration) {
    let began = clock::since_boot();
    api.created(Api::request("pilot", None)).await;
    let create = clock::since_boot() - began;
    api.booted("pilot").await;
    let began = clock::since_boot();
    let stop = api.stop("pilot").await;
    api.succeeded(Some(stop)).await;
    let stop = clock::since_boot() - began;
    api.delete("pilot").await;
    site.guests.assert_nothing_left();
    (create, stop)
}

const POINTS: u32 = 8;

async fn every_step(victim: Victim) {
    let Some(mut site) = Site::beside("every_step") else { return };
    let mut api = site.start().await;
    let (create, stop) = undisturbed(&mut site, &mut api).await;
    println!("{victim:?}: a create takes {} ms, a stop {} ms", create.as_millis(), stop.as_millis());
    let spread = |all: Duration, n| Moment::After(all * n / (POINTS - 1));
    let phases = [Scheduled, Preparing, Starting, Running].map(Moment::Phase);
    let creates = phases.into_iter().chain((0..POINTS).map(|n| spread(create, n)));
    // The phase of a stop is one; its middle stands for the rest.
    let stops =
        [Stopping, Stopped].map(Moment::Phase).into_iter().chain((0..POINTS).map(|n| spread(stop, n)));
    let stops = stops.chain([Moment::Phase(Stopping), Moment::Phase(Stopping)]);
    let sampler = Sampler::start(site.guests.clone());
    for (n, (in_create, in_stop)) in creates.zip(stops).enumerate() {
        let name = format!("guest-{n}");
        let answer = api.compute.create_instance(Api::request(&name, None)).await.unwrap().into_inner();
        let uid = answer.instance.unwrap().metadata.unwrap().uid;
        let hit = come(&mut api, &name, in_create, &[Scheduled, Preparing, Starting, Running]).await;
        victim.strike(&mut site).await;
        api = site.api().await;
        let operation = api.succeeded(answer.operation).await;
        let status = api.until(&name, "a running guest", |status| status.phase() == Running).await;
        assert_eq!(api.booted(&name).await, 1, "{victim:?} killed at {hit}: {operation:?}");
        assert_eq!(site.guests.of(&uid), [status.details["pid"].parse::<u32>().unwrap()]);

        let operation = api.stop(&name).await;
        let also = come(&mut api, &name, in_stop, &[Stopping, Stopped]).await;
        victim.strike(&mut site).await;
        api = site.api().await;
        api.succeeded(Some(operation)).await;
        let status = api.until(&name, "a stopped guest", |status| status.phase() == Stopped).await;
        assert_eq!(status.message, "powered off as asked", "{victim:?} killed at {also} of a stop");
        assert_eq!(site.guests.of(&uid), [0_u32; 0]);
        let (processes, at_once) = sampler.of(&uid);
        println!(
            "{victim:?} killed at {hit} of a create, {also} of a stop: {processes} QEMU, {at_once} at a time, {} starts",
            status.starts
        );
        assert_eq!((at_once, status.starts), (1, 1), "{victim:?} killed at {hit}");
        // The disk counts the boots: the next one is the second.
        if n == 0 {
            api.start(&name).await;
            assert_eq!(api.booted(&name).await, 2);
        }
        api.delete(&name).await;
        site.guests.assert_nothing_left();
    }
}

/// Both at a time, each with a site of its own: one for each processor.
#[tokio::test(flavor = "multi_thread")]
async fn at_every_step_of_a_create_and_of_a_stop() {
    let Some(_alone) = Site::new("at_every_step_of_a_create_and_of_a_stop").await else { return };
    tokio::join!(every_step(Victim::Server), every_step(Victim::Agent));
}

#[tokio::test]
async fn a_running_guest_does_not_notice() {
    let Some((mut site, mut api)) = Site::running("a_running_guest_does_not_notice").await else { return };
    let port = free_port();
    let uid = api.created(Api::request("demo", Some(port))).await.metadata.unwrap().uid;
    let before = page(port).await;
    let pid = site.guests.of(&uid);
    let revision = {
        let list = api.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap();
        list.into_inner().page.unwrap().revision
    };
    site.kill_server();
    site.kill_agent();
    let alone = page(port).await;
    assert!(uptime(&alone) >= uptime(&before), "{alone}");

    let mut api = site.start().await;
    let adopted = api.until("demo", "adoption", |status| status.phase() == Running).await;
    assert_eq!(adopted.details["pid"], pid[0].to_string());
    assert_eq!((adopted.starts, site.guests.of(&uid)), (1, pid));
    let after = page(port).await;
    assert_eq!(boots(&after), Some(1));
    assert!(uptime(&after) > uptime(&before), "{before} {after}");
    // The console goes on where it was, with its past.
    let mut console = api.console("demo").await;
    assert_eq!(console.until(boots).await, 1);
    console.type_in("\n").await;
    console.says("login:").await;
    // A watch from before goes on after.
    let request = v1::WatchInstancesRequest { after_revision: revision, ..Default::default() };
    let mut changes = api.compute.watch_instances(request).await.unwrap().into_inner();
    let stop = api.stop("demo").await;
    api.succeeded(Some(stop)).await;
    patiently("the stop on the old watch", async {
        loop {
            let change = changes.next().await.unwrap().unwrap();
            let Some(instance) = change.instance else { continue };
            let phase = instance.status.unwrap().phase();
            assert_ne!(phase, Unknown, "an agent that comes back and has yet to look makes nothing unknown");
            if phase == Stopped {
                return;
            }
        }
    })
    .await;
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

/// What was asked for while the other side was dead is done when it is back.
#[tokio::test]
async fn a_create_and_a_delete_without_an_agent_wait_for_it() {
    let test = "a_create_and_a_delete_without_an_agent_wait_for_it";
    let Some((mut site, mut api)) = Site::running(test).await else { return };
    let uid = api.created(Api::request("first", None)).await.metadata.unwrap().uid;
    site.kill_agent();
    let second = api.compute.create_instance(Api::request("second", None)).await.unwrap().into_inner();
    let request = v1::DeleteInstanceRequest { instance: "first".into(), force: true, ..Default::default() };
    let delete = api.compute.delete_instance(request).await.unwrap().into_inner();
    assert_eq!(site.guests.of(&uid).len(), 1, "a guest runs on without its agent");
    site.start_agent();
    api.succeeded(second.operation).await;
    api.succeeded(delete.operation).await;
    assert_eq!(site.guests.of(&uid), [0_u32; 0]);
    api.delete("second").await;
    site.guests.assert_nothing_left();
}
