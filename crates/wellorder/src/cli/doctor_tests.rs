//! Every check, well and not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs::File, fs::Permissions};

use tempfile::TempDir;

use super::*;
use crate::{
    cli::{fake::said, lock::LOCK_FILE},
    config::{Flag, Inputs, load},
};

const NOW: Duration = Duration::from_secs(1_900_000_000);

fn settings(data: &Path, listen: &str) -> Settings {
    let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
    let flags = vec![flag("data", &data.display().to_string()), flag("listen", listen)];
    load(&Inputs { flags, ..Inputs::default() })
        .map_or_else(|problems| panic!("{problems}"), |it| it.settings)
}

/// A data folder as a server leaves it.
fn made() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let database = folder.path().join(DATABASE_FILE);
    let file = File::create(&database).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    file.set_modified(UNIX_EPOCH + NOW).unwrap();
    folder
}

async fn same(_: &Settings) -> anyhow::Result<Option<Seen>> {
    Ok(Some(Seen { versions: (3, 3), newest_event: None }))
}

async fn checks(settings: &Settings) -> Vec<Check> {
    examine(settings, same, UNIX_EPOCH + NOW).await
}

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

#[tokio::test]
async fn a_healthy_folder() {
    let folder = made();
    let checks = checks(&settings(folder.path(), "127.0.0.1:0")).await;
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    let expected = [
        "settings",
        "data folder",
        "database file",
        "free space",
        "ndjson",
        "clock",
        "database",
        "server",
        "listen",
    ];
    assert_eq!(names, expected);
    assert!(checks.iter().all(|check| check.result == Verdict::Ok && check.fix.is_empty()), "{checks:#?}");
}

#[tokio::test]
async fn no_folder_yet_is_fine() {
    let folder = made();
    let checks = checks(&settings(&folder.path().join("a/b"), "127.0.0.1:0")).await;
    assert!(checks.iter().all(|check| check.result == Verdict::Ok), "{checks:#?}");
    assert!(find(&checks, "data folder").detail.ends_with("is made at first start"));
}

#[tokio::test]
async fn files_that_others_can_read() {
    let folder = made();
    let database = folder.path().join(DATABASE_FILE);
    fs::set_permissions(&database, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let checks = checks(&settings(folder.path(), "127.0.0.1:0")).await;
    let found = find(&checks, "database file");
    assert_eq!(
        (found.result, found.fix.as_str()),
        (Verdict::Fail, format!("chmod 600 {}", shown(&database)).as_str())
    );
    assert!(find(&checks, "data folder").fix.starts_with("chmod 700 "));
}

#[tokio::test]
async fn a_file_where_the_folder_should_be() {
    let folder = made();
    let checks = checks(&settings(&folder.path().join(DATABASE_FILE), "127.0.0.1:0")).await;
    assert_eq!(find(&checks, "data folder").result, Verdict::Fail);
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let folder = made();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = settings(folder.path(), &address.to_string());
    let found = checks(&settings).await;
    assert_eq!(find(&found, "listen").result, Verdict::Fail);

    // The same port is fine when it is the server on this folder; that it never answers is not.
    let lock = File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    fs::write(folder.path().join(LOCK_FILE), json!({ "pid": 7, "address": address }).to_string()).unwrap();
    drop(taken);
    let found = checks(&settings).await;
    assert_eq!(find(&found, "listen").result, Verdict::Ok);
    assert_eq!(find(&found, "server").detail, format!("process 7 runs on this data folder at {address}"));
    assert_eq!(find(&found, "readiness").result, Verdict::Fail);
}

/// The same wherever the database is.
#[tokio::test]
async fn what_stands_around_the_database_is_looked_at() {
    let folder = made();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
    let flags = vec![
        flag("data", &folder.path().display().to_string()),
        flag("listen", "127.0.0.1:0"),
        flag("contracts.parspec.listen", &taken.local_addr().unwrap().to_string()),
        flag("tls.ca_file", "none.pem"),
        flag("catalog.url", &format!("http://{nobody}")),
    ];
    let settings = load(&Inputs { flags: flags.clone(), ..Inputs::default() });
    let settings = settings.map_or_else(|problems| panic!("{problems}"), |it| it.settings);
    for found in [checks(&settings).await, examine_around(&settings, Vec::new()).await] {
        let failed = |name| {
            let check = find(&found, name);
            assert_eq!(check.result, Verdict::Fail, "{check:?}");
            format!("{} {}", check.detail, check.fix)
        };
        assert!(failed("contracts").contains("contracts.parspec.listen"));
        assert!(failed("tls").contains("none.pem"));
        assert!(failed("catalog").contains("none.pem"), "it is called over TLS, perhaps");
    }
    let flags = flags.into_iter().filter(|flag| flag.path != "tls.ca_file").collect();
    let settings = load(&Inputs { flags, ..Inputs::default() });
    let settings = settings.map_or_else(|problems| panic!("{problems}"), |it| it.settings);
    let found = examine_around(&settings, Vec::new()).await;
    assert!(find(&found, "catalog").detail.contains(&nobody.to_string()), "{found:#?}");
}

#[test]
fn clocks() {
    let folder = made();
    let database = fs::metadata(folder.path().join(DATABASE_FILE)).unwrap();
    let at = |seconds| clock(UNIX_EPOCH + Duration::from_secs(seconds), Some(&database), None).result;
    assert_eq!(at(0), Verdict::Fail);
    assert_eq!(at(NOW.as_secs() - 100), Verdict::Warn);
    assert_eq!(at(NOW.as_secs() - 10), Verdict::Ok);
    assert_eq!(at(NOW.as_secs() + 1000), Verdict::Ok);
    let newest = Timestamp::from_micros(1_900_000_000_000_000);
    let at = |millis| clock(UNIX_EPOCH + NOW - Duration::from_millis(millis), None, Some(newest));
    assert_eq!(at(900).result, Verdict::Ok);
    let behind = at(3_600_000);
    assert_eq!((behind.result, behind.fix.is_empty()), (Verdict::Warn, false), "{behind:?}");
    assert!(behind.detail.contains("3600 s behind the newest event"), "{behind:?}");
}

#[test]
fn sinks() {
    let folder = made();
    let of = |path: &str| sink(&folder.path().join(path), folder.path());
    assert_eq!(of("events.ndjson").result, Verdict::Ok);
    let missing = of("none/events.ndjson");
    assert_eq!(missing.result, Verdict::Fail);
    assert!(missing.fix.starts_with("mkdir -p "), "{missing:?}");
    fs::create_dir(folder.path().join("a")).unwrap();
    assert!(of("a").detail.ends_with("is a folder"), "{:?}", of("a"));
    let data = folder.path().join("later");
    assert_eq!(
        sink(&data.join("events.ndjson"), &data).result,
        Verdict::Ok,
        "the folder is made with the data"
    );
}

#[test]
fn versions() {
    let of = |on_disk| version(Ok(Some((on_disk, 3)))).result;
    assert_eq!([of(2), of(3), of(4)], [Verdict::Warn, Verdict::Ok, Verdict::Fail]);
    assert_eq!(version(Ok(None)).result, Verdict::Ok);
    let broken = version(Err(anyhow::anyhow!("not a database")));
    assert_eq!((broken.result, broken.detail.as_str()), (Verdict::Fail, "cannot be opened: not a database"));
}

#[test]
fn space() {
    let here = Path::new(".");
    assert_eq!(free_space(here, 0).result, Verdict::Ok);
    assert_eq!(free_space(here, u64::MAX).result, Verdict::Fail);
}

#[tokio::test]
async fn the_report() {
    let checks = [
        ok("clock", "agrees"),
        warn("database", "version 2", "migrate"),
        fail("listen", "in use\u{1b}", "use another"),
    ];
    let result = said(false, async |out| report(&checks, out)).await;
    insta::assert_snapshot!(result.out, @r"
        ok    clock          agrees
        warn  database       version 2
                             fix: migrate
        FAIL  listen         in use\u{1b}
                             fix: use another
        ");
    assert_eq!(result.exit, Exit::Findings);
    assert_eq!(said(false, async |out| report(&checks[..2], out)).await.exit, Exit::Ok);
    let result = said(true, async |out| report(&checks[1..2], out)).await;
    let expected =
        r#"{"ok":true,"checks":[{"name":"database","result":"warn","detail":"version 2","fix":"migrate"}]}"#;
    assert_eq!(result.out, format!("{expected}\n"));
}
