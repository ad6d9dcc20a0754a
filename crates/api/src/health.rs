//! Whether the process lives, and whether it can do its work.

use crate::Api;
use crate::params::Params;
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use order_core::query::{FollowerRow, Server, Space};
use order_core::remote::{Look, Trouble};
use order_core::{Error, Fault};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a write may take before the storage counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How far the clock may run ahead of the machine's without a word.
const DRIFT_MIN: Duration = Duration::from_secs(1);
/// When to ask again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What was looked at, and what was found.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    pub(crate) detail: String,
    /// Whether orders can be taken in all the same.
    pub(crate) aside: bool,
}

impl Check {
    /// One without which no order can be taken in.
    pub(crate) fn vital(name: &'static str, ok: bool, detail: impl Into<String>) -> Self {
        Self { name, ok, detail: detail.into(), aside: false }
    }

    /// One that is shown, and keeps no orders out.
    fn aside(name: &'static str, ok: bool, detail: impl Into<String>) -> Self {
        Self { name, ok, detail: detail.into(), aside: true }
    }
}

/// Does the process live?
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    operation_id = "livez",
    responses((status = 200, description = "The process answers", body = crate::schema::Alive))
)]
pub(crate) async fn live() -> Response {
    edge::respond::json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
}

/// Can orders be taken in?
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    operation_id = "readyz",
    params(("verbose" = Option<String>, Query, description = "Name each check; in `serve` on the listener for operators alone", allow_reserved)),
    responses(
        (status = 200, description = "Orders can be taken in", body = crate::schema::Ready),
        (status = 503, description = "They cannot", body = crate::schema::Ready, headers(
            ("Retry-After" = String, description = "Seconds"),
        )),
    )
)]
pub(crate) async fn ready(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Failure> {
    let verbose = asks_for_checks(params)? && api.tells_checks;
    let mut checks = vec![storage(&api).await, space(&api).await];
    if let [storage, space] = checks.as_mut_slice()
        && !storage.ok
        && !space.ok
    {
        storage.detail.push_str(": see the check `space`");
    }
    if verbose {
        checks.extend(server(&api).await);
        checks.extend(parts(&api).await);
        checks.extend([queue(&api), followers(&api).await, clock(&api)]);
        checks.extend(remotes(&api).await);
    }
    Ok(respond(&checks, verbose))
}

/// Whether each check is to be named.
pub(crate) fn asks_for_checks(params: Params) -> Result<bool, Failure> {
    let params = params.read(&["verbose"]);
    let asked = params.get("verbose").is_some_and(|value| value != "false" && value != "0");
    params.settle()?;
    Ok(asked)
}

/// Ready when all is well.
pub(crate) fn respond(checks: &[Check], verbose: bool) -> Response {
    let red = || checks.iter().filter(|check| !check.ok && !check.aside);
    for check in red() {
        tracing::warn!(check = check.name, detail = check.detail, "not ready");
    }
    let ready = red().next().is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({ "status": if ready { "ready" } else { "not-ready" } });
    if verbose {
        let show = |check: &Check| json!({ "name": check.name, "ok": check.ok, "detail": check.detail });
        body["checks"] = checks.iter().map(show).collect::<Value>();
    }
    let mut response = edge::respond::json(status, body.to_string());
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

/// Whether an order could be committed now.
async fn storage(api: &Api) -> Check {
    let detail = match tokio::time::timeout(PROBE_TIMEOUT, api.app.probe()).await {
        Ok(Ok(())) => return Check::vital("storage", true, "takes writes"),
        Err(_) => "does not answer in time",
        // The cause is for the log: it may name what a stranger need not know.
        Ok(Err(Error::Fault(Fault::Overloaded { .. }))) => "has more to write than can wait",
        Ok(Err(Error::Fault(Fault::ShuttingDown))) => "is shutting down",
        Ok(Err(_)) => "cannot be written",
    };
    Check::vital("storage", false, detail)
}

/// Red with less room than must be left: then the storage takes no writes.
async fn space(api: &Api) -> Check {
    const MIB: u64 = 1 << 20;
    let (ok, detail) = match api.app.storage.space().await {
        None => (true, "not known".to_owned()),
        Some(space) if space.is_enough() => (true, format!("{} MiB free", space.free / MIB)),
        Some(Space { free, least }) => (
            false,
            format!(
                "{} MiB free, {} must stay free: make room, or lower storage.free_space_min_mib",
                free / MIB,
                least / MIB
            ),
        ),
    };
    Check::vital("space", ok, detail)
}

/// The database's server, where there is one. Shown, but never red: whether it takes writes is the check `storage`.
async fn server(api: &Api) -> Option<Check> {
    let asked = tokio::time::timeout(PROBE_TIMEOUT, api.app.storage.server()).await;
    let why = match asked {
        Ok(Ok(server)) => {
            let server = server?;
            let well = server.durability.unsafe_settings.is_empty();
            return Some(Check::aside("database", well, described(&server)));
        }
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("no answer within {} s", PROBE_TIMEOUT.as_secs()),
    };
    let fix = "see that the server that `database` names runs and can be reached from here";
    Some(Check::aside("database", false, format!("{why}: {fix}")))
}

/// The parts of the journal, where it has any. Shown, but never red: events that have no part of their own are kept all the same.
async fn parts(api: &Api) -> Option<Check> {
    let asked = tokio::time::timeout(PROBE_TIMEOUT, api.app.storage.parts()).await;
    Some(match asked {
        Ok(Ok(parts)) => {
            let parts = parts?;
            let (ok, mut detail) = (parts.missing.is_empty(), parts.to_string());
            if !ok {
                detail.push_str(": the log of any node says why, `wellorder migrate` makes it");
            }
            Check::aside("parts", ok, detail)
        }
        Ok(Err(_)) | Err(_) => Check::aside("parts", false, "not known"),
    })
}

fn described(server: &Server) -> String {
    let Server { name, version, latency, durability } = server;
    let standby = if durability.has_synchronous_standby {
        "a synchronous standby has every commit too"
    } else {
        "no synchronous standby: what it acknowledged last may be lost with it"
    };
    let mut said =
        format!("{version} at {name} answers in {:.1} ms; {standby}", latency.as_secs_f64() * 1_000.0);
    for setting in &durability.unsafe_settings {
        said.push_str(&format!("; {setting}: a crash may lose commits, switch it on"));
    }
    said
}

fn queue(api: &Api) -> Check {
    Check::aside("queue", true, format!("{} commands wait for a commit", api.app.lanes.queued()))
}

/// Shown, but never red: a sink that is away must not keep orders out, nor must a relay. Not well when all followers that may
/// go on are held by nobody.
async fn followers(api: &Api) -> Check {
    let (carried, detail) = match api.app.storage.followers().await {
        Ok(rows) => {
            let now = api.app.clock.now();
            let carried = rows.iter().any(|row| row.relays.iter().any(|relay| relay.until > now));
            let carried = carried || rows.iter().all(|row| row.paused);
            let paused = rows.iter().filter(|row| row.paused).count();
            let fault = |row: &FollowerRow| {
                let fault = api.app.follower_fault(row)?;
                Some(format!("{}: {fault}", row.name))
            };
            let faults: Vec<_> = rows.iter().filter(|row| !row.paused).filter_map(fault).collect();
            let mut detail = format!("{} in all, {} failing, {paused} paused", rows.len(), faults.len());
            for row in rows.iter().filter(|row| row.parked > 0) {
                detail.push_str(&format!("; {}: {} orders parked", row.name, row.parked));
            }
            for fault in faults {
                detail.push_str("; ");
                detail.push_str(&fault);
            }
            if !carried {
                detail.push_str("; nobody carries events: start a node with --role relay");
            }
            (carried, detail)
        }
        Err(_) => (true, "not known".to_owned()),
    };
    Check::aside("followers", carried, detail)
}

/// Each server that this process talks to. A broker that is away keeps no orders out.
async fn remotes(api: &Api) -> Vec<Check> {
    let check = |look: Look| {
        let Look { name, address, latency, found } = look;
        let latency = latency.as_millis();
        match found {
            Ok(found) => Check::aside(name, true, format!("{address}: {found} ({latency} ms)")),
            Err(Trouble { why, fix }) => {
                Check::aside(name, false, format!("{address}: {why} ({latency} ms); {fix}"))
            }
        }
    };
    api.app.remotes.look().await.into_iter().map(check).collect()
}

/// Shown, but never red: orders are taken in all the same.
fn clock(api: &Api) -> Check {
    let ahead = api.app.clock.ahead();
    let detail = if let Some(off) = api.app.clock.off() {
        let (seconds, side) = (off.unsigned_abs() / 1_000_000, if off > 0 { "ahead" } else { "behind" });
        match seconds {
            0 => "is the database's; this machine's agrees".to_owned(),
            _ => format!("is the database's; this machine's is {seconds} s {side}: set it (NTP)"),
        }
    } else if ahead < DRIFT_MIN {
        "runs with the machine's".to_owned()
    } else {
        format!(
            "{} s ahead: the machine's clock was set back, and time never goes back while the process runs; set the clock \
             (NTP), then restart",
            ahead.as_secs()
        )
    };
    Check::aside("clock", true, detail)
}
