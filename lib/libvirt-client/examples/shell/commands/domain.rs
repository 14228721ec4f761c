//! Domains, and the host they are on.

use super::Failure;
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    ConnectListAllDomainsFlags, DomainConsoleFlags, DomainCreateFlags, DomainDefineFlags, DomainDestroyFlags,
    DomainShutdownFlags, DomainStatsTypes, DomainXmlFlags,
};
use libvirt_client::{Connect, Item, Piece};
use std::io::Write;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Ctrl-], as in `virsh` and `telnet`.
const LEAVE: u8 = 0x1d;

pub(super) async fn list(connect: &Connect, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "{:>5}  {:<24} STATE", "ID", "NAME")?;
    for domain in connect.domains(ConnectListAllDomainsFlags::empty()).await? {
        let id = domain.id().map_or("-".to_owned(), |id| id.to_string());
        writeln!(out, "{id:>5}  {:<24} {:?}", domain.name(), domain.state().await?.state)?;
    }
    Ok(())
}

/// Three calls, however many domains there are.
pub(super) async fn stats(connect: &Connect, out: &mut impl Write) -> Result<(), Failure> {
    let host = connect.snapshot_host(DomainStatsTypes::empty()).await?;
    let free = host.free_memory.map_or("?".to_owned(), |bytes| (bytes >> 20).to_string());
    writeln!(out, "{} CPUs, {} MiB, {free} MiB free", host.node.cpus, host.node.memory_kib >> 10)?;
    writeln!(out, "{:<24} {:<10} {:>10} {:>10}", "NAME", "STATE", "CPU s", "MiB")?;
    let shown = |figure: Option<u64>| figure.map_or("-".to_owned(), |figure| figure.to_string());
    for domain in host.domains {
        let state = domain.state().map_or("-".to_owned(), |state| format!("{state:?}"));
        let cpu = shown(domain.cpu_time_ns().map(|time| time / 1_000_000_000));
        let memory = shown(domain.memory_kib().map(|kib| kib >> 10));
        writeln!(out, "{:<24} {state:<10} {cpu:>10} {memory:>10}", domain.domain.name())?;
    }
    Ok(())
}

pub(super) async fn info(connect: &Connect, name: &str, out: &mut impl Write) -> Result<(), Failure> {
    let domain = connect.domain_by_name(name).await?;
    let (info, persistent) = (domain.info().await?, domain.is_persistent().await?);
    writeln!(out, "name        {}\nuuid        {}", domain.name(), domain.uuid())?;
    writeln!(out, "state       {:?}\ncpus        {}", info.state, info.vcpus)?;
    writeln!(out, "memory      {} of {} KiB", info.memory_kib, info.max_memory_kib)?;
    writeln!(out, "cpu time    {} ms", info.cpu_time_ns / 1_000_000)?;
    writeln!(out, "persistent  {}", if persistent { "yes" } else { "no" })?;
    Ok(())
}

pub(super) async fn xml(connect: &Connect, name: &str, out: &mut impl Write) -> Result<(), Failure> {
    let xml = connect.domain_by_name(name).await?.xml(DomainXmlFlags::empty()).await?;
    Ok(out.write_all(xml.as_bytes())?)
}

pub(super) async fn define(connect: &Connect, file: &str, out: &mut impl Write) -> Result<(), Failure> {
    let xml = tokio::fs::read_to_string(file).await.map_err(|error| Failure::file(file, error))?;
    let domain = connect.define_domain(&xml, DomainDefineFlags::empty()).await?;
    Ok(writeln!(out, "{} is defined", domain.name())?)
}

pub(super) async fn power(
    connect: &Connect,
    action: &str,
    name: &str,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let domain = connect.domain_by_name(name).await?;
    let done = match action {
        "start" => domain.start(DomainCreateFlags::empty()).await.map(|_| "is started")?,
        "shutdown" => {
            domain.shutdown(DomainShutdownFlags::empty()).await.map(|()| "is asked to power off")?
        }
        _ => domain.destroy(DomainDestroyFlags::empty()).await.map(|()| "has no power")?,
    };
    Ok(writeln!(out, "{name} {done}")?)
}

/// Both ways, until the input ends or says so, or the guest is gone.
pub(super) async fn console(
    connect: &Connect,
    name: &str,
    input: &mut (impl AsyncRead + Unpin),
    out: &mut impl Write,
) -> Result<(), Failure> {
    let domain = connect.domain_by_name(name).await?;
    let (mut screen, mut keyboard) = domain.open_console(None, DomainConsoleFlags::empty()).await?.split();
    // Each goes on while the other waits: a guest may take no key before its screen is read.
    let shown = async {
        while let Some(piece) = screen.receive().await? {
            if let Piece::Data(data) = piece {
                out.write_all(&data)?;
                out.flush()?;
            }
        }
        Ok::<_, Failure>(())
    };
    let typed = async {
        let mut keys = [0; 1024];
        loop {
            let count = input.read(&mut keys).await?;
            let typed = keys.get(..count).unwrap_or_default();
            let left = typed.iter().position(|key| *key == LEAVE);
            keyboard.send(typed.get(..left.unwrap_or(typed.len())).unwrap_or_default()).await?;
            if left.is_some() || typed.is_empty() {
                return Ok::<_, Failure>(());
            }
        }
    };
    tokio::select! {
        ended = shown => ended?,
        ended = typed => ended?,
    }
    // What still comes is for nobody.
    drop(screen);
    Ok(keyboard.finish().await?)
}

/// The kind of event with a name.
pub(super) fn event_kind(name: &str) -> Result<Kind, Failure> {
    let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name));
    kind.ok_or_else(|| Failure::Usage(format!("`{name}` is none of the events: {:?}", Kind::ALL)))
}

pub(super) async fn events(
    connect: &Connect,
    kind: &str,
    count: u64,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut events = connect.subscribe(event_kind(kind)?).await?;
    let mut seen = 0;
    while seen < count {
        match events.next().await? {
            Item::Event(Event::DomainLifecycle(event)) => {
                seen += 1;
                writeln!(out, "{} {:?}", event.dom.name, event.event)?;
            }
            Item::Event(event) => {
                seen += 1;
                writeln!(out, "{event:?}")?;
            }
            Item::Lagged(lost) => writeln!(out, "{lost} events were lost")?,
            Item::Resynchronised => writeln!(out, "connected again; events may have been missed")?,
        }
    }
    Ok(())
}
