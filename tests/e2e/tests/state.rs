//! State directories that are in use, damaged, full, or of another version: refused by name, and left as they are.
#![cfg(test)]

use e2e::{Api, Program, Site, Small, error_info};
use hv_api::v1;
use redb::TableDefinition;
use std::fs;
use std::path::Path;
use tonic::Code;

/// An instance that no node is needed for.
fn idle(name: &str) -> v1::CreateInstanceRequest {
    let mut request = Api::request(name, None);
    request.spec.as_mut().unwrap().run_state = v1::RunState::Stopped.into();
    request.annotations.insert("note".into(), "x".repeat(2000));
    request
}

async fn names(api: &mut Api) -> Vec<String> {
    let list = api.compute.list_instances(v1::ListInstancesRequest::default()).await.unwrap().into_inner();
    list.instances.into_iter().map(|instance| instance.metadata.unwrap().name).collect()
}

/// A program that ends by itself with an error; answers what it said. Its file is as it was.
async fn refuses(mut program: Program, file: &Path) -> String {
    let before = fs::read(file).unwrap();
    let status = program.ended().await;
    let said = program.said();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("error: "), "{said}");
    assert!(fs::read(file).unwrap() == before, "{} was changed", file.display());
    said
}

/// Changes a file as a program of another version would have left it.
fn redate(file: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn redate_store(file: &Path, format: u64) {
    redate(file, |transaction| {
        let mut meta = transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
        meta.insert("format", format).unwrap();
    });
}

fn redate_journal(file: &Path, format: &str) {
    redate(file, |transaction| {
        let mut meta = transaction.open_table(TableDefinition::<&str, &str>::new("meta")).unwrap();
        meta.insert("format", format).unwrap();
    });
}

#[tokio::test]
async fn state_of_another_version_or_in_use_is_refused() {
    let Some((mut site, mut api)) = Site::running("state_of_another_version_or_in_use_is_refused").await
    else {
        return;
    };
    let (store, journal) = (site.path("server/store.redb"), site.path("agent/journal.redb"));
    let uid = api.created(Api::request("demo", None)).await.metadata.unwrap().uid;
    // In use: the first ones do not notice.
    let mut second = site.try_server();
    assert!(!second.ended().await.success());
    let said = second.said();
    assert!(said.contains("store.redb") && said.contains("in use"), "{said}");
    let mut second = site.try_agent();
    assert!(!second.ended().await.success());
    let said = second.said();
    assert!(said.contains("journal.redb") && said.contains("in use"), "{said}");
    assert_eq!(names(&mut site.api().await).await, ["demo"]);

    assert!(site.agent.as_mut().unwrap().end().await.success());
    assert!(site.server.as_mut().unwrap().end().await.success());
    let guests = site.guests.of(&uid);
    assert_eq!(guests.len(), 1, "a guest runs on");
    redate_store(&store, 9);
    redate_journal(&journal, "9");
    let said = refuses(site.try_server(), &store).await;
    assert!(said.contains("format 9") && said.contains("store"), "{said}");
    let said = refuses(site.try_agent(), &journal).await;
    assert!(said.contains("format 9") && said.contains("journal.redb"), "{said}");
    assert_eq!(site.guests.of(&uid), guests);

    redate_store(&store, 2);
    redate_journal(&journal, "1");
    let mut api = site.start().await;
    assert_eq!(names(&mut api).await, ["demo"]);
    assert_eq!(site.guests.of(&uid), guests);
    api.delete("demo").await;
    site.guests.assert_nothing_left();
}

#[tokio::test]
async fn a_damaged_store_is_refused_by_name_and_left_as_it_is() {
    const PAGE: usize = 4096;
    let Some(mut site) = Site::new("a_damaged_store_is_refused_by_name_and_left_as_it_is").await else {
        return;
    };
    site.start_server().await;
    let mut api = site.api().await;
    let wanted: Vec<_> = (0..8).map(|n| format!("treasure-{n}")).collect();
    for name in &wanted {
        api.compute.create_instance(idle(name)).await.unwrap();
    }
    assert!(site.server.take().unwrap().end().await.success());
    let segment = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path();
    let log = fs::read_dir(site.path("server/store.redb.log")).unwrap().map(segment);
    let (mut reported, mut harmless) = (0, 0);
    for file in log.chain([site.path("server/store.redb")]) {
        let whole = fs::read(&file).unwrap();
        let pages = whole
            .chunks(PAGE)
            .enumerate()
            .filter_map(|(number, page)| page.windows(8).any(|bytes| bytes == b"treasure").then_some(number));
        for page in pages.take(3) {
            let mut bytes = whole.clone();
            for byte in &mut bytes[page * PAGE + 256..page * PAGE + 384] {
                *byte ^= 0x5a;
            }
            fs::write(&file, &bytes).unwrap();
            let server = site.try_server();
            if server.comes_up().await {
                // A page that is not in use any more: all is there.
                assert_eq!(names(&mut site.api().await).await, wanted, "page {page}");
                server.kill();
                harmless += 1;
            } else {
                let said = refuses(server, &file).await;
                assert!(said.contains("store.redb") && said.contains("snapshot"), "page {page}: {said}");
                assert!(fs::read(&file).unwrap() == bytes, "page {page}: the file was changed");
                reported += 1;
            }
        }
        fs::write(&file, &whole).unwrap();
    }
    println!("{reported} damaged pages refused, {harmless} not in use");
    assert!(reported > 0);
    site.start_server().await;
    assert_eq!(names(&mut site.api().await).await, wanted);
}

#[tokio::test]
async fn a_full_disk_refuses_changes_answers_reads_and_recovers() {
    let test = "a_full_disk_refuses_changes_answers_reads_and_recovers";
    let Some(mut site) = Site::new(test).await else { return };
    let small = match Small::mount(site.path("server"), 4) {
        Ok(small) => small,
        Err(why) => return println!("not run: {test}: cannot mount a tmpfs: {why}"),
    };
    site.start_server().await;
    let mut api = site.api().await;
    let first = api.compute.create_instance(idle("first")).await.unwrap().into_inner().instance.unwrap();
    let filler = small.fill();
    // The store's file may have some room left inside.
    let mut recorded = vec!["first".to_owned()];
    let status = loop {
        let name = format!("more-{}", recorded.len());
        match api.compute.create_instance(idle(&name)).await {
            Ok(_) => recorded.push(name),
            Err(status) => break status,
        }
        assert!(recorded.len() < 2000, "4 MiB hold no 2000 instances");
    };
    println!("{} instances recorded before the disk was full", recorded.len());
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(error_info(&status).hint.contains("free space"), "{status:?}");
    // Nothing was changed, reads go on, and so do refusals.
    assert_eq!(names(&mut api).await, recorded);
    let uid = first.metadata.unwrap().uid;
    assert_eq!(api.get("first").await.metadata.unwrap().uid, uid);
    let again = api.compute.create_instance(idle("again")).await.unwrap_err();
    assert_eq!(again.code(), Code::ResourceExhausted, "{again:?}");
    assert_eq!(names(&mut api).await, recorded);

    fs::remove_file(&filler).unwrap();
    api.compute.create_instance(idle("after")).await.unwrap();
    recorded.push("after".into());
    assert_eq!(names(&mut api).await, recorded);
    // What was acknowledged is there after a crash, and nothing else.
    site.kill_server();
    site.start_server().await;
    assert_eq!(names(&mut site.api().await).await, recorded);
    site.kill_server();
}
