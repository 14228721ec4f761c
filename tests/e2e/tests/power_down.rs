//! A host that goes down in order: its agent ends, and then its guests are powered down, as the unit hypervisor-power-down does it.
#![cfg(test)]

use e2e::{Api, Program, Site, Small};
use hv_api::v1;
use std::fs;

#[tokio::test]
async fn guests_of_an_agent_that_has_ended_see_their_power_button_and_start_again_with_the_next() {
    let test = "guests_of_an_agent_that_has_ended_see_their_power_button_and_start_again_with_the_next";
    let Some((mut site, mut api)) = Site::running(test).await else { return };
    let instance = api.created(Api::request("demo", None)).await.metadata.unwrap().uid;
    assert_eq!(api.booted("demo").await, 1);
    let before = site.guests.of(&instance);
    let mut agent = site.agent.take().unwrap();
    let console = || {
        let log = site.path("agent/instances").join(&instance).join("run/console.log");
        String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
    };
    let power_down =
        || Program::start_with("hypervisor-agent", &site.path("agent.toml"), &["--power-down-within", "60"]);

    // Not beside an agent: it would be somebody's mistake.
    let mut beside = power_down();
    assert!(!beside.ended().await.success());
    assert!(beside.said().contains("in use by another agent"), "{}", beside.said());
    assert_eq!(site.guests.of(&instance), before);

    assert!(agent.end().await.success());
    assert_eq!(site.guests.of(&instance), before, "the agent's end is not its guest's");
    assert!(!console().contains("power button"));
    let mut after = power_down();
    assert!(after.ended().await.success(), "{}", after.said());
    assert!(console().contains("power button, shutting down"), "{}", console());
    assert_eq!(site.guests.now(), []);

    site.start_agent();
    let again =
        |status: &v1::InstanceStatus| status.phase() == v1::InstancePhase::Running && status.starts == 2;
    api.until("demo", "a second start", again).await;
    assert_eq!(api.booted("demo").await, 2);
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

#[tokio::test]
async fn a_full_state_directory_keeps_no_guest_from_its_power_button() {
    let test = "a_full_state_directory_keeps_no_guest_from_its_power_button";
    let Some(mut site) = Site::new(test).await else { return };
    // A little more than what an agent wants free before it takes an instance.
    let small = match Small::mount(site.path("agent"), 96) {
        Ok(small) => small,
        Err(why) => return println!("not run: {test}: cannot mount a tmpfs: {why}"),
    };
    let mut api = site.start().await;
    let instance = api.created(Api::request("demo", None)).await.metadata.unwrap().uid;
    assert_eq!(api.booted("demo").await, 1);
    let log = small.path().join("instances").join(&instance).join("run/console.log");
    let mut agent = site.agent.take().unwrap();
    assert!(agent.end().await.success());

    let filler = small.fill();
    let mut after =
        Program::start_with("hypervisor-agent", &site.path("agent.toml"), &["--power-down-within", "60"]);
    assert!(after.ended().await.success(), "{}", after.said());
    assert!(after.said().contains("cannot write the journal"), "{}", after.said());
    // The page that the console's log ends in had room for more.
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    assert!(log.contains("power button, shutting down"), "{log}");
    assert_eq!(site.guests.now(), []);

    // The next agent knows nothing of that, and starts it all the same once its server has named it.
    fs::remove_file(filler).unwrap();
    site.start_agent();
    let again =
        |status: &v1::InstanceStatus| status.phase() == v1::InstancePhase::Running && status.starts == 2;
    api.until("demo", "a second start", again).await;
    assert_eq!(api.booted("demo").await, 2);
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}
