//! `hypervisor dev`: everything in one process, until Ctrl-C.

use crate::cli::{DevArgs, say};
use crate::client::{Client, LOOK_AGAIN};
use crate::ctl;
use crate::guest::{self, DemoGuest};
use crate::local::{Layout, Local};
use crate::lock::{Lock, Taken};
use anyhow::bail;
use hv_api::v1;
use hv_runtime::{files, termination};
use hypervisor_agent::drivers::Qemu;
use std::time::Duration;

/// So many looks at rest in a row mean that nothing starts it by itself.
const RESTS_AFTER: u32 = 40;

/// How long guests may take to power down at the end.
const POWER_DOWN_WITHIN: Duration = Duration::from_secs(30);
/// How long our own tasks may take to end.
pub(crate) const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long the demo guest may take to boot, under emulation on a busy machine.
pub(crate) const BOOT_WITHIN: Duration = Duration::from_secs(120);
/// Port of the demo guest's web page.
const DEMO_PORT: u16 = 8080;

/// Runs until told to stop.
pub(crate) async fn run(args: &DevArgs) -> anyhow::Result<()> {
    let layout = args.common.layout()?;
    files::private_dir(&layout.0)?;
    let _lock = match Lock::take(&layout.0)? {
        Taken::Lock(lock) => lock,
        Taken::HeldBy(pid) => bail!(
            "it runs already, as process {pid}, with state in {}; `make down` stops it",
            layout.0.display()
        ),
    };
    let (local, qemu) = start(args, &layout).await?;
    let stopped = (local.server.stopped(), local.agent.stopped());
    // One wait for both: a signal that came between two would be lost.
    let mut asked = std::pin::pin!(termination());
    let (shown, stays) = tokio::select! {
        shown = show(args, &layout, &local) => { let stays = shown.is_ok(); (shown, stays) }
        signal = &mut asked => (signal.map(drop).map_err(Into::into), false),
        () = stopped.0.cancelled() => {
            (Err(anyhow::anyhow!("the server stopped by itself; its log says why")), false)
        }
        () = stopped.1.cancelled() => {
            (Err(anyhow::anyhow!("the agent stopped by itself; its log says why")), false)
        }
    };
    if stays {
        tokio::select! {
            _ = &mut asked => {}
            () = stopped.0.cancelled() => say("The server stopped by itself; its log says why."),
            () = stopped.1.cancelled() => say("The agent stopped by itself; its log says why."),
        }
    }
    stop(local, qemu).await;
    shown
}

/// Starts server and agent; takes another port when the wanted one is in use. Nothing is begun where no guest could run.
pub(crate) async fn start(args: &DevArgs, layout: &Layout) -> anyhow::Result<(Local, Qemu)> {
    let mut agent = layout.agent_config();
    agent.qemu.accel.clone_from(&args.common.accel);
    let qemu = Qemu::new(&agent)?;
    let driver = qemu.driver.fingerprint().await;
    if !driver.healthy {
        bail!("the {} driver cannot run instances: {}", driver.name, driver.message);
    }
    let attribute = |name| driver.attributes.get(name).map_or("", String::as_str);
    let reason = attribute("accelerator_reason");
    say(format!("QEMU {} with {}: {reason}", driver.version, attribute("accelerator")));
    let free = std::net::TcpListener::bind(&args.grpc_addr).is_ok();
    let addr = if free { args.grpc_addr.clone() } else { "127.0.0.1:0".to_owned() };
    if !free {
        say(format!("{} is in use; taking another port", args.grpc_addr));
    }
    let local = Local::start(layout.server_config(&addr), agent, qemu.driver.clone()).await?;
    Ok((local, qemu))
}

async fn show(args: &DevArgs, layout: &Layout, local: &Local) -> anyhow::Result<()> {
    let mut client = Client::dial(layout).await?;
    client.ready().await?;
    let ctl = ctl::as_typed();
    if !args.no_instance {
        demo_instance(args, &mut client, &ctl).await?;
    }
    for words in [["node", "list"], ["instance", "list"]] {
        say("");
        // What cannot be shown is no reason to end what runs.
        if let Err(error) = ctl::run(layout, &words).await {
            say(format!("{}: {error:#}", words.join(" ")));
        }
    }
    say("");
    let addr = local.server.addr.map(|addr| format!("http://{addr}, and ")).unwrap_or_default();
    say(format!("API     {addr}unix:{}", layout.socket().display()));
    say(format!("State   {}", layout.0.display()));
    say("");
    say("Next, in another terminal:");
    if !args.common.is_default(layout) {
        // The command line looks in the usual place by itself, and only there.
        say(format!(
            "  export HYPERVISOR_SERVER=unix:{} HYPERVISOR_TOKEN_FILE={}",
            layout.socket().display(),
            layout.token().display()
        ));
    }
    if args.no_instance {
        say(format!("  {ctl} instance create --help"));
    } else {
        say(format!("  {ctl} instance console demo    (user demo, password demo; Ctrl-] leaves)"));
        say(format!("  {ctl} instance restart demo"));
    }
    say(format!("  {ctl} instance list"));
    say("");
    say("Ctrl-C powers the guests down and ends everything.");
    Ok(())
}

/// Creates the demo instance where there is none, and waits until its guest says that it is up. A guest that does not come up
/// is told about, and no more: what is wrong with it can be looked at and mended while everything else runs.
async fn demo_instance(args: &DevArgs, client: &mut Client, ctl: &str) -> anyhow::Result<()> {
    let found = client.instance("demo").await?.is_some();
    let begun = if found {
        say("Found the instance `demo` of an earlier run.");
        Ok(())
    } else {
        let port = std::net::TcpListener::bind(("127.0.0.1", DEMO_PORT)).is_ok().then_some(DEMO_PORT);
        if port.is_none() {
            say(format!("Port {DEMO_PORT} is in use: the guest's web page is not published."));
        }
        let request = DemoGuest::find(&args.demo_dir)?.request("demo", port);
        say("Creating the instance `demo` ...");
        client.create(request).await.map(drop)
    };
    let up = async {
        begun?;
        let mut last = None;
        let comes_up = tokio::time::timeout(BOOT_WITHIN, comes_up(client, &mut last)).await;
        comes_up.unwrap_or_else(|_| {
            let why = last.map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("the guest did not say within {} s that it is up{why}", BOOT_WITHIN.as_secs())
        })
    };
    match up.await {
        Ok(guest::IsUp { boots, line }) => {
            say(format!("The guest is up; its boot counter says {boots}. On its console:"));
            say(format!("  {line}"));
        }
        Err(error) => {
            say(format!("The instance `demo` is not up: {error:#}"));
            say(format!("  {ctl} instance get demo       says more"));
            say(format!("  {ctl} instance delete demo    lets the next start make it anew"));
        }
    }
    Ok(())
}

/// What the guest says once it is up; meanwhile why its console cannot be had.
async fn comes_up(client: &mut Client, last: &mut Option<anyhow::Error>) -> anyhow::Result<guest::IsUp> {
    // Straight after a restart of this program the guest may still be on its way, while its status is what it was before.
    // A start of what is on its way would restart it, so only what rests for a while is started.
    let mut rested = 0;
    loop {
        match client.console("demo").await {
            Ok(mut console) => return console.until(guest::is_up).await,
            Err(error) => *last = Some(error),
        }
        let Some(found) = client.instance("demo").await? else { bail!("somebody has deleted it") };
        let phase = found.status.map(|status| status.phase());
        let rests = matches!(phase, Some(v1::InstancePhase::Stopped | v1::InstancePhase::Failed));
        rested = if rests { rested + 1 } else { 0 };
        if rested == RESTS_AFTER {
            client.start("demo").await?;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Powers the guests down, then ends everything else. A second signal leaves the guests running.
pub(crate) async fn stop(local: Local, qemu: Qemu) {
    let limit = POWER_DOWN_WITHIN.as_secs();
    say(format!("\nStopping: guests have {limit} s to power down (Ctrl-C again leaves them running) ..."));
    let progress = |left: &[hv_core::InstanceId]| {
        if !left.is_empty() {
            say(format!("  {} running", guests(left.len())));
        }
    };
    tokio::select! {
        left = local.agent.quiesce(POWER_DOWN_WITHIN, progress) => say(ended(&left)),
        _ = termination() => say("The guests run on; `make up` finds them again, `make down` stops them."),
    }
    if let Err(error) = local.drain(DRAIN_WITHIN).await {
        say(format!("Not everything ended in time: {error}"));
    }
    qemu.drain(DRAIN_WITHIN).await;
}

/// A number of guests, in words.
pub(crate) fn guests(number: usize) -> String {
    format!("{number} {}", if number == 1 { "guest" } else { "guests" })
}

/// What taking the guests down came to.
pub(crate) fn ended(left: &[hv_core::InstanceId]) -> String {
    if left.is_empty() {
        return "All guests are down.".to_owned();
    }
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    format!("These could not be ended, the log says why: {}", left.join(", "))
}
