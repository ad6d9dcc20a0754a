//! `doctor`: looks for what keeps wellorder from running, and says how to mend it. It changes nothing.

use std::{
    fs::{self, Metadata},
    io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Method;
use order_core::Timestamp;
use order_core::remote;
use rustix::fs::{Access, access, statvfs};
use serde_json::json;

use super::{
    api_call::{ApiCall as _, HttpCall},
    failure::{Exit, Failure},
    lock::{self, Holder, Lock},
    shown,
};
use crate::{
    catalog,
    config::{Config, Hidden, Mode, NdjsonSink, Problems, Role, Settings},
    folder::DATABASE_FILE,
    kafka,
    lookout::DRIFT_MIN,
    moving,
    output::{Output, Style, escape},
    rabbitmq, redis, transport, trust,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It runs, and someone should look.
    Warn,
    /// It does not run, or not safely.
    Fail,
}

/// What one check found.
#[derive(Debug)]
pub(crate) struct Check {
    name: &'static str,
    result: Verdict,
    detail: String,
    /// What to do; empty when all is well.
    fix: String,
}

pub(crate) fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, result: Verdict::Ok, detail: detail.into(), fix: String::new() }
}

pub(crate) fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, result: Verdict::Warn, detail: detail.into(), fix: fix.into() }
}

pub(crate) fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, result: Verdict::Fail, detail: detail.into(), fix: fix.into() }
}

/// What a database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number of the newest migration that it has had, and of the newest that this program has.
    pub(crate) versions: (u32, u32),
    /// When its newest event happened.
    pub(crate) newest_event: Option<Timestamp>,
}

/// Makes all checks and prints them; 6 when one failed. `look` looks into the database of the data folder;
/// `elsewhere` is what was found of one that is not there, `sealing` of the keys for secrets.
///
/// # Errors
/// The output cannot be written.
pub(crate) async fn doctor(
    config: &Config,
    out: &mut Output<'_>,
    look: impl AsyncFn(&Settings) -> anyhow::Result<Option<Seen>>,
    elsewhere: Option<Vec<Check>>,
    sealing: Check,
) -> Result<Exit, Failure> {
    let mut checks = match elsewhere {
        None => examine(&config.settings, look, now()).await,
        Some(found) => examine_around(&config.settings, found).await,
    };
    checks.push(sealing);
    if let Some(file) = config.exposed_file() {
        let fix = format!("chmod o-r {file}, and change the secrets if others use this machine");
        checks.insert(1, warn("secrets", format!("{file} has some, and every user can read it"), fix));
    }
    report(&checks, out)
}

#[expect(clippy::disallowed_methods, reason = "the clock itself is examined")]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn examine(
    settings: &Settings,
    look: impl AsyncFn(&Settings) -> anyhow::Result<Option<Seen>>,
    now: SystemTime,
) -> Vec<Check> {
    let mut checks = vec![ok("settings", "understood; `wellorder config show` lists them")];
    let database = settings.data.join(DATABASE_FILE);
    let lock = lock::look(&settings.data);
    checks.push(folder(&settings.data));
    checks.extend(moved(&settings.data));
    let found = fs::metadata(&database);
    checks.extend(
        found.as_ref().ok().map(|found| permissions("database file", &database, found, 0o600, Verdict::Fail)),
    );
    checks.push(free_space(&settings.data, settings.storage.free_space_min_bytes));
    if let NdjsonSink::File(path) = &settings.ndjson.sink {
        checks.push(sink(path, &settings.data));
    }
    checks.extend(servers(settings).await);
    let seen = if found.is_ok() { Some(look(settings).await) } else { None };
    let newest = seen.as_ref().and_then(|seen| seen.as_ref().ok()?.as_ref()?.newest_event);
    checks.push(clock(now, found.as_ref().ok(), newest));
    checks.extend(seen.map(|seen| version(seen.map(|seen| seen.map(|seen| seen.versions)))));
    let holder = match &lock {
        Ok(Lock::Held(Some(holder))) => Some(holder.clone()),
        _ => None,
    };
    checks.push(server(lock));
    checks.extend(tls(settings));
    checks.extend(ports(settings, holder.as_ref()));
    if let Some(holder) = &holder {
        checks.push(readiness(holder, &settings.data).await);
    }
    checks
}

/// What there is to look at besides a database on a server.
async fn examine_around(settings: &Settings, found: Vec<Check>) -> Vec<Check> {
    let mut checks = vec![ok("settings", "understood; `wellorder config show` lists them")];
    if let NdjsonSink::File(path) = &settings.ndjson.sink {
        checks.push(sink(path, &settings.data));
    }
    checks.extend(servers(settings).await);
    checks.extend(found);
    checks.extend(tls(settings));
    checks.extend(ports(settings, None));
    checks
}

fn folder(data: &Path) -> Check {
    const NAME: &str = "data folder";
    let path = shown(data);
    match fs::metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match writable(nearest(data)) {
            Ok(()) => ok(NAME, format!("{path} is made at first start")),
            Err(error) => fail(NAME, format!("{path} cannot be made: {error}"), "name another with --data"),
        },
        Err(error) => fail(NAME, format!("{path}: {error}"), "make it readable, or name another with --data"),
        Ok(found) if !found.is_dir() => {
            fail(NAME, format!("{path} is no folder"), "name another with --data")
        }
        Ok(found) => match writable(data) {
            Ok(()) => permissions(NAME, data, &found, 0o700, Verdict::Warn),
            Err(error) => {
                let fix = "make it writable for the user that runs wellorder";
                fail(NAME, format!("{path} cannot be written: {error}"), fix)
            }
        },
    }
}

/// What was moved elsewhere is served there.
fn moved(data: &Path) -> Option<Check> {
    const NAME: &str = "moved";
    match moving::check(data) {
        Ok(()) => None,
        Err(Failure::Here { what, fix, .. }) => Some(fail(NAME, what, fix)),
        Err(other) => Some(fail(NAME, format!("cannot be told: {other:?}"), "make the data folder readable")),
    }
}

fn writable(folder: &Path) -> rustix::io::Result<()> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
}

/// The folder, or the nearest above it that is there: what holds for that holds for one made in it.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."))
}

/// Orders are nobody else's business on this machine.
fn permissions(name: &'static str, path: &Path, found: &Metadata, wanted: u32, otherwise: Verdict) -> Check {
    let mode = found.permissions().mode() & 0o777;
    let path = shown(path);
    if mode & 0o077 == 0 {
        ok(name, format!("{path}, mode {mode:o}"))
    } else {
        let detail = format!("{path} is open to other users, mode {mode:o}");
        Check { name, result: otherwise, detail, fix: format!("chmod {wanted:o} {path}") }
    }
}

fn free_space(data: &Path, least: u64) -> Check {
    const NAME: &str = "free space";
    const MIB: u64 = 1024 * 1024;
    let free = match statvfs(nearest(data)) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return warn(NAME, format!("cannot be told: {error}"), "look with df"),
    };
    let detail = format!("{} MiB; nothing is written below {} MiB", free / MIB, least / MIB);
    let fix = "make room, or lower storage.free_space_min_mib";
    match free {
        free if free < least => fail(NAME, detail, fix),
        free if free < least.saturating_mul(4) => warn(NAME, detail, fix),
        _ => ok(NAME, detail),
    }
}

/// The file that events are written to.
fn sink(path: &Path, data: &Path) -> Check {
    const NAME: &str = "ndjson";
    let (file, above) = (shown(path), path.parent().filter(|above| !above.as_os_str().is_empty()));
    let above = above.unwrap_or(Path::new("."));
    let folder = shown(above);
    let other = "or name another with ndjson.path";
    if path.is_dir() {
        return fail(NAME, format!("{file} is a folder"), "name a file in it with ndjson.path");
    }
    if !above.is_dir() {
        return if above == data && !data.exists() {
            ok(NAME, format!("{file} is made at first start"))
        } else {
            fail(NAME, format!("{file}: its folder is missing"), format!("mkdir -p {folder}, {other}"))
        };
    }
    let (needed, wanted) =
        if path.exists() { (path, Access::READ_OK | Access::WRITE_OK) } else { (above, Access::WRITE_OK) };
    if let Err(error) = access(needed, wanted).and_then(|()| access(above, Access::EXEC_OK)) {
        let fix = format!("let the user that runs wellorder write {}, {other}", shown(needed));
        return fail(NAME, format!("{file} cannot be written: {error}"), fix);
    }
    match statvfs(above) {
        Ok(disk) if disk.f_bavail == 0 => {
            fail(NAME, format!("{file}: no room in {folder}"), format!("make room there, {other}"))
        }
        _ => ok(NAME, file),
    }
}

/// The servers that are talked to, of those that the settings name.
async fn servers(settings: &Settings) -> Vec<Check> {
    let kafka = || {
        kafka::check(settings)?;
        kafka::remote(settings)
    };
    let rabbitmq = || {
        rabbitmq::check(settings)?;
        rabbitmq::remote(settings)
    };
    let redis = || {
        redis::check(settings)?;
        redis::remote(settings)
    };
    let catalog = || {
        catalog::check(settings)?;
        catalog::remote(settings)
    };
    [
        remote_server("kafka", "set it right, or remove kafka.brokers", kafka()).await,
        remote_server("rabbitmq", "set it right, or remove rabbitmq.url", rabbitmq()).await,
        remote_server("redis", "set it right, or remove redis.url", redis()).await,
        remote_server("catalog", "set it right, or remove it", catalog()).await,
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn remote_server(
    name: &'static str,
    fix: &'static str,
    remote: anyhow::Result<Option<Arc<dyn remote::Remote>>>,
) -> Option<Check> {
    let remote = match remote {
        Ok(remote) => remote?,
        Err(error) => return Some(unfit(name, error, fix)),
    };
    let remote::Look { address, latency, found, .. } = remote::look(remote.as_ref()).await;
    let latency = latency.as_millis();
    Some(match found {
        Ok(found) => ok(name, format!("{address} answers in {latency} ms; {found}")),
        Err(trouble) => fail(name, format!("{address}: {} ({latency} ms)", trouble.why), trouble.fix),
    })
}

/// Settings that cannot be used; with what to do about them, else `fix`.
fn unfit(name: &'static str, error: anyhow::Error, fix: &str) -> Check {
    match error.downcast::<Problems>() {
        Ok(Problems(problems)) => {
            let what: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.key, problem.what)).collect();
            let fixes: Vec<_> = problems.iter().map(|problem| problem.fix.as_str()).collect();
            fail(name, what.join("; "), fixes.join("; "))
        }
        Err(error) => fail(name, format!("{error:#}"), fix),
    }
}

/// Certificates and their key, where the settings name any.
fn tls(settings: &Settings) -> Option<Check> {
    const NAME: &str = "tls";
    if settings.transport.tls_cert.is_none() && settings.ca_file.is_none() {
        return None;
    }
    let read =
        transport::of(Mode::Serve, settings).map(drop).and_then(|()| Ok(trust::of(settings).map(drop)?));
    let fix = "name PEM files that this user can read and that belong together";
    Some(match read {
        Ok(()) => ok(NAME, "the files can be used"),
        Err(error) => unfit(NAME, error, fix),
    })
}

fn clock(now: SystemTime, database: Option<&Metadata>, newest: Option<Timestamp>) -> Check {
    const NAME: &str = "clock";
    // 2026-01-01T00:00:00Z: before this program was written.
    const WRITTEN: Duration = Duration::from_secs(1_767_225_600);
    const SLACK: Duration = Duration::from_secs(60);
    let fix = "set the clock, and keep it with NTP";
    if now.duration_since(UNIX_EPOCH).unwrap_or_default() < WRITTEN {
        return fail(NAME, "is years behind", fix);
    }
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    if let Some((newest, ahead)) =
        newest.map(|newest| (newest, newest.since(wall))).filter(|(_, ahead)| *ahead > DRIFT_MIN)
    {
        let detail = format!("is {} s behind the newest event, of {newest}", ahead.as_secs());
        let fix = format!(
            "{fix}; if it is right now, it was ahead before: a server that runs keeps to that until it is restarted"
        );
        return warn(NAME, detail, fix);
    }
    let ahead = database.and_then(|found| found.modified().ok()?.duration_since(now).ok());
    match ahead {
        Some(ahead) if ahead > SLACK => {
            warn(NAME, format!("is {} s behind the last write to the database", ahead.as_secs()), fix)
        }
        _ => ok(NAME, "agrees with the data"),
    }
}

fn version(versions: anyhow::Result<Option<(u32, u32)>>) -> Check {
    const NAME: &str = "database";
    match versions {
        Err(error) => {
            // The file is sound, far more often than not: nobody is to lose orders by putting a copy in its place.
            let fix = "give the disk room and let the folder be written (SQLite needs both to open); only a file that is \
                malformed or no database is to be replaced: `wellorder restore` a copy from the folder backups";
            fail(NAME, format!("cannot be opened: {error:#}"), fix)
        }
        Ok(None) => ok(NAME, "is empty"),
        Ok(Some((on_disk, ours))) if on_disk == ours => ok(NAME, format!("schema {on_disk}")),
        Ok(Some((on_disk, ours))) if on_disk < ours => {
            let fix = "`wellorder dev` migrates it at start, `wellorder migrate` by itself; both keep a copy";
            warn(NAME, format!("schema {on_disk}, this program's is {ours}"), fix)
        }
        Ok(Some((on_disk, ours))) => {
            let detail = format!("schema {on_disk} is newer than this program's {ours}");
            fail(NAME, detail, "use the program that made it, or a newer one")
        }
    }
}

fn server(lock: io::Result<Lock>) -> Check {
    const NAME: &str = "server";
    match lock {
        Ok(Lock::NoFolder | Lock::Free) => ok(NAME, "none runs on this data folder"),
        Ok(Lock::Held(Some(Holder { pid, address }))) => {
            ok(NAME, format!("process {pid} runs on this data folder at {}", escape(&address)))
        }
        Ok(Lock::Held(None)) => warn(NAME, "one starts on this data folder", "look again in a moment"),
        Err(error) => fail(NAME, format!("the lock cannot be read: {error}"), "make wellorder.lock readable"),
    }
}

/// The addresses that a server with these settings listens on.
fn ports(settings: &Settings, holder: Option<&Holder>) -> Vec<Check> {
    let main = [("listen", Some(settings.listen)), ("ops", settings.ops)];
    let main = main.into_iter().filter_map(|(name, address)| Some((name, format!("--{name}"), address?)));
    let further = settings.further_addresses().filter(|_| settings.has_role(Role::Api));
    let further = further.map(|(setting, address)| ("contracts", setting, address));
    main.chain(further).map(|(name, setting, address)| port(name, &setting, address, holder)).collect()
}

fn port(name: &'static str, setting: &str, address: SocketAddr, holder: Option<&Holder>) -> Check {
    if holder.is_some_and(|holder| holder.address == address.to_string()) {
        return ok(name, format!("{address} is this folder's server"));
    }
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => ok(name, format!("any free port of {}", address.ip())),
        Ok(_) => ok(name, format!("{address} is free")),
        // The server on this folder was started with the same further addresses, most likely.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && name != "listen" && holder.is_some() => {
            ok(name, format!("{address} is in use while a server runs"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let fix = format!("stop who has it (`ss -ltnp`), or use another with {setting}");
            fail(name, format!("{address} is in use by another program"), fix)
        }
        Err(error) => {
            fail(name, format!("{address} cannot be used: {error}"), format!("use another with {setting}"))
        }
    }
}

async fn readiness(holder: &Holder, folder: &Path) -> Check {
    const NAME: &str = "readiness";
    let trust = trust::of_server_on(folder).unwrap_or_default();
    let api = match HttpCall::new(&holder.url(), &Hidden::default(), &trust) {
        Ok(api) => api,
        Err(_) => {
            return fail(NAME, "the lock names no address", "stop the server and start it again");
        }
    };
    match api.call(Method::GET, "/readyz?verbose", None, &[]).await {
        Ok(reply) if reply.status == 200 => ok(NAME, "the server is ready"),
        Ok(reply) => {
            let said: Vec<_> =
                String::from_utf8_lossy(&reply.body).split_whitespace().map(str::to_owned).collect();
            let detail = format!("the server is not: {}", escape(&said.join(" ")));
            fail(NAME, detail, "its log says why")
        }
        Err(unreachable) => {
            let detail = format!("the server does not answer: {}", unreachable.why);
            fail(NAME, detail, format!("look at its log; stop process {} if it hangs", holder.pid))
        }
    }
}

fn report(checks: &[Check], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let failed = checks.iter().any(|check| check.result == Verdict::Fail);
    let exit = if failed { Exit::Findings } else { Exit::Ok };
    if out.json {
        let word = |result| match result {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let hint = |text: &str| out.again.hint(text).into_owned();
        let one = |c: &Check| json!({ "name": c.name, "result": word(c.result), "detail": hint(&c.detail), "fix": hint(&c.fix) });
        let report = json!({ "ok": !failed, "checks": checks.iter().map(one).collect::<Vec<_>>() });
        out.json(report.to_string().as_bytes())?;
        return Ok(exit);
    }
    for check in checks {
        let mark = match check.result {
            Verdict::Ok => out.paint(Style::Good, "ok  "),
            Verdict::Warn => out.paint(Style::Busy, "warn"),
            Verdict::Fail => out.paint(Style::Bad, "FAIL"),
        };
        out.line(&format!("{mark}  {:<13}  {}", check.name, escape(&out.again.hint(&check.detail))))?;
        if !check.fix.is_empty() {
            out.line(&format!("      {:<13}  fix: {}", "", escape(&out.again.hint(&check.fix))))?;
        }
    }
    Ok(exit)
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
