//! What a doctor finds of a database on a server.

use super::Server;
use crate::cli::doctor::{Check, fail, ok, warn};
use crate::lookout::DRIFT_MIN;
use crate::storage::{Database as _, Opened, Stands};
use crate::system::SystemClock;
use order_core::query;
use order_core::{Clock, journal};

/// Looks, and changes nothing.
pub(super) async fn examine(server: &Server) -> Vec<Check> {
    let stands = match server.stands(SystemClock::default().now()).await {
        Ok(stands) => stands,
        Err(error) => return vec![unreachable(error)],
    };
    let Some(Stands { schema: (version, newest), .. }) = stands else {
        return vec![ok("database", "can be had, and is empty: the first start sets it up")];
    };
    let schema = match version {
        _ if version < newest => {
            let detail = format!("has schema {version}, this program's is {newest}");
            return vec![warn("database", detail, "`wellorder migrate`, or start with --migrate")];
        }
        _ if version > newest => {
            format!("schema {version}, newer than this program's {newest}, which may run on it")
        }
        _ => format!("schema {version}"),
    };
    let opened = match storage_postgres::PostgresStorage::open_as_it_is(&server.options).await {
        Ok(storage) => server.opened(storage, Default::default()).await,
        Err(unopened) => return vec![fail("database", unopened.why, unopened.fix)],
    };
    let mut checks = match opened.storage.server().await {
        Ok(Some(found)) => of_server(&found, &schema),
        Ok(None) => Vec::new(),
        Err(fault) => vec![fail("database", fault.to_string(), "look at the server's log")],
    };
    checks.extend(parts(&opened).await);
    checks.push(clock(&opened).await);
    checks
}

async fn parts(opened: &Opened) -> Option<Check> {
    const NAME: &str = "journal parts";
    let fix =
        "start a node, whose log says why it cannot make them; or run `wellorder migrate` at a quiet hour";
    Some(match opened.storage.parts().await {
        Ok(found) => {
            let found = found?;
            if found.missing.is_empty() {
                ok(NAME, found.to_string())
            } else {
                warn(NAME, found.to_string(), fix)
            }
        }
        Err(fault) => warn(NAME, fault.to_string(), fix),
    })
}

fn unreachable(error: anyhow::Error) -> Check {
    match error.downcast::<crate::storage::Away>() {
        Ok(away) => fail("database", away.why, away.fix),
        Err(error) => fail("database", format!("{error:#}"), "look at the server's log"),
    }
}

fn of_server(found: &query::Server, schema: &str) -> Vec<Check> {
    let query::Server { name, version, latency, durability } = found;
    let millis = latency.as_secs_f64() * 1_000.0;
    let mut checks =
        vec![ok("database", format!("{version} at {name}, {schema}, answers in {millis:.1} ms"))];
    checks.push(match durability.unsafe_settings.as_slice() {
        [] => ok("durability", "every commit is flushed before it is acknowledged"),
        unsafe_settings => {
            let detail = format!("{}: a crash of the server may lose commits", unsafe_settings.join(", "));
            fail("durability", detail, "switch these on in postgresql.conf")
        }
    });
    checks.push(if durability.has_synchronous_standby {
        ok("standby", "a synchronous standby has every commit too")
    } else {
        let detail = "no synchronous standby: what was acknowledged last may be lost with the server";
        let fix = "if that is not to be, set up a standby and synchronous_standby_names there";
        warn("standby", detail, fix)
    });
    checks
}

async fn clock(opened: &Opened) -> Check {
    const NAME: &str = "clock";
    let off = opened.clock.off().unwrap_or(0);
    let seconds = off.unsigned_abs() / 1_000_000;
    if u128::from(off.unsigned_abs()) > DRIFT_MIN.as_micros() {
        let side = if off > 0 { "ahead of" } else { "behind" };
        let detail = format!("this machine's is {seconds} s {side} the database's, which counts");
        return warn(NAME, detail, "set the clocks, and keep them with NTP");
    }
    let newest = journal::newest(&*opened.storage).await.ok().flatten();
    match newest.map(|newest| (newest, newest.since(opened.clock.now()))) {
        Some((newest, ahead)) if ahead > DRIFT_MIN => {
            let detail =
                format!("the database's is {} s behind the newest event, of {newest}", ahead.as_secs());
            warn(NAME, detail, "set the clock of its server, and keep it with NTP")
        }
        _ => ok(NAME, "agrees with the database's"),
    }
}
