//! Looks at single rows: idempotency keys, messages that were consumed, redrives and their results, API keys, secrets,
//! followers and their cursors.

use super::strays::{Look, finding, in_shard};
use super::{chain, lenient, shown};
use crate::apply::load_number;
use crate::rows::{collect, is_of_row, uuid};
use crate::{api_keys, read, streams};
use order_core::audit::Finding;
use order_core::audit::kept::{self, REDRIVE_RESULTS, Results};
use order_core::ids::{OrderId, RedriveId};
use order_core::journal::Event;
use order_core::order::Order;
use order_core::sealing::Sealed;
use rusqlite::types::ValueRef;
use rusqlite::{Row, params};

/// What a look for an order gave.
pub(super) enum Found {
    Order(Box<Order>),
    /// There is none of that id and tenant.
    Missing,
    /// It does not read, which is told elsewhere.
    Unreadable,
}

impl Look<'_> {
    pub(super) fn order(&self, order_id: OrderId, tenant: &str) -> rusqlite::Result<Found> {
        let Some(number) = self.ids.number(self.conn, order_id)? else { return Ok(Found::Missing) };
        match load_number(self.conn, number) {
            Ok(Some((order, _))) if order.id == order_id && order.tenant.as_str() == tenant => {
                Ok(Found::Order(Box::new(order)))
            }
            Ok(_) => Ok(Found::Missing),
            Err(error) if is_of_row(&error) => Ok(Found::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// The order's events; none when one of them does not read, which is told elsewhere.
    fn events(&self, order: &Order) -> rusqlite::Result<Vec<Event>> {
        let shard = order.id.shard(self.install.shards);
        let (events, unread) = chain(self.conn, shard, order.last_position)?;
        Ok(if unread.is_empty() { events } else { Vec::new() })
    }
}

pub(super) fn idempotency(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || format!("{} {} {}", shown(row, 0), shown(row, 1), shown(row, 2));
    let read = || -> rusqlite::Result<_> {
        let (tenant, _, _): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (digest, _): ([u8; 32], i64) = (row.get(4)?, row.get(5)?);
        Ok((tenant, OrderId(uuid(row, 3)?), digest))
    };
    let (tenant, order_id, digest) = match lenient(row, read(), |_| ("idempotency", name()))? {
        Err(unreadable) => return Ok(vec![unreadable.into()]),
        Ok(read) => read,
    };
    let wrong = match look.order(order_id, &tenant)? {
        Found::Missing => format!("leads to {order_id}, which is no order"),
        Found::Order(order) if order.digest != digest => {
            if kept::may_have_been_used(&order, &look.events(&order)?, &digest) {
                return Ok(Vec::new());
            }
            format!("leads to {order_id}, which never was what the key was used with")
        }
        Found::Order(_) | Found::Unreadable => return Ok(Vec::new()),
    };
    Ok(vec![finding("idempotency", name(), wrong)])
}

pub(super) fn message(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || format!("{} {} {}", shown(row, 0), shown(row, 1), shown(row, 2));
    let read = || -> rusqlite::Result<_> {
        let (tenant, _, _): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let _: i64 = row.get(4)?;
        Ok((tenant, OrderId(uuid(row, 3)?)))
    };
    let (tenant, order_id) = match lenient(row, read(), |_| ("inbox", name()))? {
        Err(unreadable) => return Ok(vec![unreadable.into()]),
        Ok(read) => read,
    };
    Ok(match look.order(order_id, &tenant)? {
        Found::Missing => vec![finding("inbox", name(), format!("is of {order_id}, which is no order"))],
        Found::Order(_) | Found::Unreadable => Vec::new(),
    })
}

pub(super) fn redrive(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || ("redrive", shown(row, 0));
    let redrive_id = match lenient(row, uuid(row, 0), |_| name())? {
        Ok(redrive_id) => RedriveId(redrive_id),
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let redrive = match read::redrive(look.conn, redrive_id) {
        Ok(Some(redrive)) => redrive,
        read => return unreadable_inside(read, name),
    };
    let wanted = redrive.filter.order_ids.is_some();
    let results = match results(look, redrive_id, wanted) {
        Ok(results) => results,
        // Its results are looked at one by one.
        Err(error) if is_of_row(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let wrong = kept::redrive(&redrive, &results).into_iter();
    Ok(wrong.map(|wrong| finding("redrives", redrive_id.to_string(), wrong)).collect())
}

/// The results of a redrive; their orders only where they are wanted.
fn results(look: &Look<'_>, redrive_id: RedriveId, wanted: bool) -> rusqlite::Result<Results> {
    let id = redrive_id.0.as_bytes();
    let mut results = look
        .conn
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE result = 'redriven'), coalesce(min(item), 0), \
             coalesce(max(item), 0) FROM redrive_items WHERE redrive_id = ?1",
        )?
        .query_row([id], |row| {
            let (first, last): (i64, i64) = (row.get(2)?, row.get(3)?);
            // A number that is none is no lower than the highest there may be.
            let [first, last] = [first, last].map(|item| u64::try_from(item).unwrap_or(u64::MAX));
            Ok(Results { count: row.get(0)?, redriven: row.get(1)?, first, last, order_ids: Vec::new() })
        })?;
    if wanted {
        let mut orders = look
            .conn
            .prepare_cached("SELECT order_id FROM redrive_items WHERE redrive_id = ?1 ORDER BY item")?;
        results.order_ids = collect(&mut orders, params![id], |row| Ok(OrderId(uuid(row, 0)?)))?;
    }
    Ok(results)
}

pub(super) fn redrive_item(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || format!("{} item {}", shown(row, 0), shown(row, 1));
    let read = || -> rusqlite::Result<_> {
        let job: (Option<String>, Option<String>, Option<String>) = (row.get(4)?, row.get(5)?, row.get(6)?);
        Ok((OrderId(uuid(row, 2)?), row.get::<_, String>(3)?, job))
    };
    let (order_id, result, job) = match lenient(row, read(), |_| ("redrive", name()))? {
        Ok(read) => read,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let wrong = |detail: String| Ok(vec![finding("redrives", name(), detail)]);
    let (Some(tenant), Some(reason), Some(by)) = job else {
        return wrong("belongs to no redrive".to_owned());
    };
    if !REDRIVE_RESULTS.contains(&result.as_str()) {
        return wrong(format!("is `{result}`, which no order of a redrive becomes"));
    }
    // Of an order that is unknown, or another tenant's, a redrive says just that.
    if result == "unknown" {
        return Ok(Vec::new());
    }
    match look.order(order_id, &tenant)? {
        Found::Missing => wrong(format!("is {result}, and {order_id} is no order")),
        Found::Order(order)
            if result == "redriven" && !kept::was_redriven(&look.events(&order)?, &reason, &by) =>
        {
            wrong(format!("is redriven, of which {order_id} knows nothing"))
        }
        Found::Order(_) | Found::Unreadable => Ok(Vec::new()),
    }
}

pub(super) fn api_key(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let number: i64 = row.get(0)?;
    unreadable_inside(api_keys::by_number(look.conn, number), || ("api_key", format!("number {number}")))
}

/// Whether it opens only who has the key can tell; what can be told without is whether it ever was sealed.
pub(super) fn named_secret(_: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = || format!("{} {}", shown(row, 0), shown(row, 1));
    let read = || -> rusqlite::Result<_> {
        let _: (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        Ok(Sealed::from_bytes(row.get(2)?))
    };
    let sealed = match lenient(row, read(), |_| ("named_secret", name()))? {
        Ok(sealed) => sealed,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    Ok(kept::sealed(&sealed).into_iter().map(|wrong| finding("named_secrets", name(), wrong)).collect())
}

/// The finding that an error of reading a row stands for.
fn unreadable_inside<T>(
    read: rusqlite::Result<T>,
    name: impl FnOnce() -> (&'static str, String),
) -> rusqlite::Result<Vec<Finding>> {
    match read {
        Ok(_) => Ok(Vec::new()),
        Err(error) if is_of_row(&error) => {
            let (table, row) = name();
            Ok(vec![finding("unreadable", format!("{table} {row}"), error.to_string())])
        }
        Err(error) => Err(error),
    }
}

/// A follower reads, and has a cursor in every shard.
pub(super) fn follower(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let follower = match lenient(row, read::follower_row(row), |_| ("follower", shown(row, 0)))? {
        Ok(follower) => follower,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let mut shards = look.conn.prepare_cached("SELECT shard FROM cursors WHERE follower = ?1")?;
    let shards: Vec<i64> = collect(&mut shards, params![follower.name], |row| row.get(0))?;
    let missing = (0..i64::from(look.install.shards)).filter(|shard| !shards.contains(shard));
    let found = |shard| in_shard("cursors", shard, follower.name.clone(), "has no cursor in this shard");
    let mut findings: Vec<Finding> = missing.map(found).collect();
    let mut parked = look.conn.prepare_cached("SELECT count(*) FROM parked_streams WHERE follower = ?1")?;
    let parked: u64 = parked.query_row([&follower.name], |row| row.get(0))?;
    if parked != follower.parked {
        let detail = format!("says that {} orders are parked for it, and {parked} are", follower.parked);
        findings.push(finding("parked_streams", follower.name, detail));
    }
    Ok(findings)
}

pub(super) fn cursor(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let read = || -> rusqlite::Result<_> {
        let _: u64 = row.get(2)?;
        let replay: (Option<u64>, Option<u64>) = (row.get(3)?, row.get(4)?);
        if row.get_ref(6)? != ValueRef::Null {
            uuid(row, 6)?;
        }
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, replay))
    };
    let name = |_| ("cursor", format!("of {} in shard {}", shown(row, 0), shown(row, 1)));
    let (follower, shard, (next, up_to)) = match lenient(row, read(), name)? {
        Ok(read) => read,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let mut findings = Vec::new();
    if !(0..i64::from(look.install.shards)).contains(&shard) {
        let detail = format!("has a cursor in shard {shard}, which does not exist");
        findings.push(in_shard("cursors", shard, follower.clone(), detail));
    }
    if next.is_some() != up_to.is_some() {
        let detail = "has one end of a replay, and not the other";
        findings.push(in_shard("cursors", shard, follower.clone(), detail));
    }
    if !row.get::<_, bool>(5)? {
        findings.push(in_shard("cursors", shard, follower, "has a cursor, and is no follower"));
    }
    Ok(findings)
}

pub(super) fn relay(_: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = |_| ("relay", format!("of {}", shown(row, 0)));
    if let Err(unreadable) = lenient(row, streams::relay(row), name)? {
        return Ok(vec![unreadable.into()]);
    }
    let owned: bool = row.get(4)?;
    Ok(if owned { Vec::new() } else { vec![finding("relays", shown(row, 0), "carries no follower")] })
}

/// A parked order is one, and its follower too.
pub(super) fn parked_stream(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let name = |_| ("parked_stream", format!("of {} {}", shown(row, 0), shown(row, 2)));
    let stream = match lenient(row, streams::stream(row), name)? {
        Ok(stream) => stream,
        Err(unreadable) => return Ok(vec![unreadable.into()]),
    };
    let order = match look.order(stream.order_id, stream.tenant.as_str())? {
        Found::Order(order) => Some(order),
        Found::Missing => None,
        Found::Unreadable => return Ok(Vec::new()),
    };
    let follower = shown(row, 0);
    let mut wrong = kept::parked_stream(&stream, order.map(|order| order.version), look.install.shards);
    if !row.get::<_, bool>(9)? {
        wrong.push("is parked for what is no follower".to_owned());
    }
    let subject = || format!("{follower} {}", stream.order_id);
    Ok(wrong.into_iter().map(|wrong| finding("parked_streams", subject(), wrong)).collect())
}
