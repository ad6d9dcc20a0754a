//! Looks at single rows: idempotency keys, messages that were consumed, redrives and their results, API keys, followers and
//! their cursors, orders that stand apart.

use super::lenient;
use super::strays::{finding, shown};
use crate::chain;
use crate::connect::Conn;
use crate::error::{Tried, Trouble};
use crate::read;
use crate::records;
use crate::rows::{bytes32, maybe_bytes32, maybe_text, number, text, time, unreadable};
use crate::streams;
use order_core::audit::Finding;
use order_core::audit::kept::{self, REDRIVE_RESULTS, Results};
use order_core::external;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::Event;
use order_core::order::{Content, Order};
use order_core::redrive::Redrive;
use order_core::sealing::Sealed;
use order_core::{Fault, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

/// What a row alone tells.
pub(super) enum Seen {
    Wrong(Vec<Finding>),
    /// More must be looked at.
    Suspect(Suspect),
}

impl From<Option<Finding>> for Seen {
    fn from(found: Option<Finding>) -> Self {
        Self::Wrong(found.into_iter().collect())
    }
}

/// A row whose order, or results, must be looked at.
pub(super) enum Suspect {
    /// A key that was used with something else than its order says now.
    Key {
        name: String,
        tenant: TenantId,
        order_id: OrderId,
        digest: [u8; 32],
    },
    Redrive(Box<Redrive>),
    /// An order that is said to be redriven.
    Redriven {
        name: String,
        tenant: TenantId,
        order_id: OrderId,
        reason: String,
        by: String,
    },
}

impl Suspect {
    pub(super) async fn look(self, conn: &Conn, shards: u16) -> Tried<Option<Finding>> {
        match self {
            Self::Key { name, tenant, order_id, digest } => {
                let Some((order, events)) = history(conn, shards, &tenant, order_id).await? else {
                    return Ok(None);
                };
                let fits = kept::may_have_been_used(&order, &events, &digest);
                let detail = || format!("leads to {order_id}, which never was what the key was used with");
                Ok((!fits).then(|| finding("idempotency", name, detail())))
            }
            Self::Redrive(redrive) => {
                let results = results(conn, &redrive).await?;
                let wrong = kept::redrive(&redrive, &results);
                let subject = redrive.redrive_id.to_string();
                Ok((!wrong.is_empty()).then(|| finding("redrives", subject, wrong.join("; "))))
            }
            Self::Redriven { name, tenant, order_id, reason, by } => {
                let Some((_, events)) = history(conn, shards, &tenant, order_id).await? else {
                    return Ok(None);
                };
                let fits = kept::was_redriven(&events, &reason, &by);
                let detail = || format!("is redriven, of which {order_id} knows nothing");
                Ok((!fits).then(|| finding("redrives", name, detail())))
            }
        }
    }
}

/// An order and its events; none when one of them does not read, which is told elsewhere.
async fn history(
    conn: &Conn,
    shards: u16,
    tenant: &TenantId,
    order_id: OrderId,
) -> Tried<Option<(Order, Vec<Event>)>> {
    let read = async {
        let Some((order, _)) = read::load(conn, shards, tenant, order_id).await? else { return Ok(None) };
        let events = chain::read(conn, order_id.shard(shards), order.last_position).await?;
        Ok(Some((order, events)))
    };
    match read.await {
        Err(Trouble::Fault(Fault::Internal { .. })) => Ok(None),
        read => read,
    }
}

/// The results of a redrive; their orders only where it names its orders.
async fn results(conn: &Conn, redrive: &Redrive) -> Tried<Results> {
    let RedriveId(id) = redrive.redrive_id;
    let row = conn
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE result = 'redriven'), coalesce(min(item), 0), \
             coalesce(max(item), 0) FROM redrive_items WHERE redrive_id = $1",
            &[&id],
        )
        .await?;
    let mut order_ids = Vec::new();
    if redrive.filter.order_ids.is_some() {
        let sql = "SELECT order_id FROM redrive_items WHERE redrive_id = $1 ORDER BY item";
        for row in &conn.query(sql, &[&id]).await? {
            order_ids.push(OrderId(row.try_get(0)?));
        }
    }
    // A number that is none is no lower than the highest there may be.
    let item = |index| Ok::<_, Trouble>(u64::try_from(row.try_get::<_, i64>(index)?).unwrap_or(u64::MAX));
    Ok(Results { count: item(0)?, redriven: item(1)?, first: item(2)?, last: item(3)?, order_ids })
}

/// The finding that a row stands for that does not read.
fn unread<T>(read: Tried<T>, name: impl FnOnce() -> (&'static str, String)) -> Tried<Option<Finding>> {
    Ok(lenient(read, name)?.err().map(Finding::from))
}

pub(super) fn idempotency(row: &Row, _: u16) -> Tried<Seen> {
    let name = shown(row, 3);
    let digest = match lenient(bytes32(row, 4), || ("idempotency", name.clone()))? {
        Ok(digest) => digest,
        Err(unreadable) => return Ok(Some(unreadable.into()).into()),
    };
    let order_id = OrderId(row.try_get(3)?);
    Ok(match maybe_bytes32(row, 5) {
        Ok(None) => {
            Some(finding("idempotency", name, format!("leads to {order_id}, which is no order"))).into()
        }
        Ok(Some(of_order)) if of_order != digest => {
            let tenant = TenantId::new(row.try_get::<_, &str>(0)?);
            let tenant = tenant.map_err(|error| unreadable("tenant", error))?;
            Seen::Suspect(Suspect::Key { name, tenant, order_id, digest })
        }
        // What of the order does not read is told elsewhere.
        Ok(Some(_)) | Err(_) => None.into(),
    })
}

pub(super) fn message(row: &Row, _: u16) -> Tried<Seen> {
    let order_id = OrderId(row.try_get(3)?);
    let missing = !row.try_get::<_, bool>(4)?;
    let detail = || format!("is of {order_id}, which is no order");
    Ok(missing.then(|| finding("inbox", shown(row, 3), detail())).into())
}

pub(super) fn redrive(row: &Row, _: u16) -> Tried<Seen> {
    Ok(match lenient(records::redrive(row), || ("redrive", shown(row, 1)))? {
        Ok(redrive) => Seen::Suspect(Suspect::Redrive(Box::new(redrive))),
        Err(unreadable) => Some(unreadable.into()).into(),
    })
}

pub(super) fn redrive_item(row: &Row, _: u16) -> Tried<Seen> {
    let name =
        [shown(row, 1), "item".to_owned(), row.try_get::<_, i64>(1).unwrap_or(-1).to_string()].join(" ");
    let (order_id, result): (Uuid, String) = (row.try_get(2)?, row.try_get(3)?);
    let (order_id, found): (OrderId, bool) = (OrderId(order_id), row.try_get(4)?);
    // That a redrive's tenant does not read is told where redrives are looked at.
    let tenant = maybe_text::<TenantId>(row, 5).ok().flatten();
    let job: (Option<String>, Option<String>) = (row.try_get(6)?, row.try_get(7)?);
    let wrong = |detail: String| Ok(Some(finding("redrives", name.clone(), detail)).into());
    let (Some(reason), Some(by)) = job else { return wrong("belongs to no redrive".to_owned()) };
    if !REDRIVE_RESULTS.contains(&result.as_str()) {
        return wrong(format!("is `{result}`, which no order of a redrive becomes"));
    }
    let Some(tenant) = tenant else { return Ok(None.into()) };
    // Of an order that is unknown, or another tenant's, a redrive says just that.
    match result.as_str() {
        "unknown" => Ok(None.into()),
        result if !found => wrong(format!("is {result}, and {order_id} is no order")),
        "redriven" => {
            Ok(Seen::Suspect(Suspect::Redriven { name: name.clone(), tenant, order_id, reason, by }))
        }
        _ => Ok(None.into()),
    }
}

pub(super) fn api_key(row: &Row, _: u16) -> Tried<Seen> {
    Ok(unread(records::api_key(row), || ("api_key", format!("number {}", shown(row, 1))))?.into())
}

/// Whether it opens only who has the key can tell; what can be told without is whether it ever was sealed.
pub(super) fn named_secret(row: &Row, _: u16) -> Tried<Seen> {
    let name = || shown(row, 2);
    let read = || -> Tried<_> {
        let _: (TenantId, Timestamp) = (text(row, 0)?, time(row, 3)?);
        Ok(Sealed::from_bytes(row.try_get(2)?))
    };
    match read() {
        Ok(sealed) => Ok(kept::sealed(&sealed).map(|wrong| finding("named_secrets", name(), wrong)).into()),
        Err(trouble) => Ok(unread(Err::<(), _>(trouble), || ("named_secret", name()))?.into()),
    }
}

/// A follower reads, and has a cursor in every shard.
pub(super) fn follower(row: &Row, shards: u16) -> Tried<Seen> {
    let read = || -> Tried<_> { Ok((number::<u32, i32>(row, 1)?, time(row, 2)?, time(row, 3)?)) };
    if let Some(finding) = unread(read(), || ("follower", shown(row, 1)))? {
        return Ok(Some(finding).into());
    }
    let has: Vec<i16> = row.try_get(4)?;
    let missing = (0..shards).filter(|shard| !has.iter().any(|has| i32::from(*has) == i32::from(*shard)));
    let found = |shard| Finding {
        shard: Some(Shard(shard)),
        ..finding("cursors", shown(row, 1), "has no cursor in this shard")
    };
    let mut wrong: Vec<Finding> = missing.map(found).collect();
    let (says, parked): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
    if says != parked {
        let detail = format!("says that {says} orders are parked for it, and {parked} are");
        wrong.push(finding("parked_streams", shown(row, 1), detail));
    }
    Ok(Seen::Wrong(wrong))
}

pub(super) fn relay(row: &Row, _: u16) -> Tried<Seen> {
    let name = || ("relay", format!("of {}", shown(row, 1)));
    if let Some(finding) = unread(time(row, 2), name)? {
        return Ok(Some(finding).into());
    }
    let owned: bool = row.try_get(3)?;
    Ok((!owned).then(|| finding("relays", shown(row, 1), "carries no follower")).into())
}

/// A parked order is one, and its follower too.
pub(super) fn parked_stream(row: &Row, shards: u16) -> Tried<Seen> {
    let name = || ("parked_stream", format!("of {}", shown(row, 3)));
    let stream = match streams::stream(row) {
        Ok(stream) => stream,
        unreadable => return Ok(unread(unreadable, name)?.into()),
    };
    let version = match row.try_get::<_, Option<i64>>(10)? {
        Some(_) => Some(number::<u64, i64>(row, 10)?),
        None => None,
    };
    let mut wrong = kept::parked_stream(&stream, version, shards);
    if !row.try_get::<_, bool>(9)? {
        wrong.push("is parked for what is no follower".to_owned());
    }
    let subject = || shown(row, 3);
    Ok(Seen::Wrong(wrong.into_iter().map(|wrong| finding("parked_streams", subject(), wrong)).collect()))
}

pub(super) fn cursor(row: &Row, shards: u16) -> Tried<Seen> {
    let read = || -> Tried<()> {
        let (shard, _) = (number::<u16, i16>(row, 1)?, number::<u64, i64>(row, 2)?);
        if shard >= shards {
            return Err(unreadable("shard", shard));
        }
        Ok(())
    };
    let name = || {
        let shard = row.try_get::<_, i16>(1).unwrap_or(-1);
        ("cursor", format!("of {} in shard {shard}", shown(row, 1)))
    };
    if let Some(finding) = unread(read(), name)? {
        return Ok(Some(finding).into());
    }
    let owned: bool = row.try_get(3)?;
    Ok((!owned).then(|| finding("cursors", name().1, "belongs to no follower")).into())
}

pub(super) fn standing(row: &Row, _: u16) -> Tried<Seen> {
    let leads: bool = row.try_get(4)?;
    let order_id: Uuid = row.try_get(3)?;
    let detail = || format!("{order_id} is no such order");
    Ok((!leads).then(|| finding("standings", shown(row, 3), detail())).into())
}

/// An order of that number bears that external id.
pub(super) fn external_id(row: &Row, _: u16) -> Tried<Seen> {
    let (key, number): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
    let wrong = |bears: bool| {
        let detail = || format!("leads to number {number}, which does not bear it");
        Ok((!bears).then(|| finding("external_ids", key.to_string(), detail())).into())
    };
    let (Ok(Some(tenant)), Ok(Some(source))) =
        (maybe_text::<TenantId>(row, 2), maybe_text::<SourceId>(row, 3))
    else {
        return wrong(false);
    };
    let (customer, attributes): (Option<String>, String) = (row.try_get(4)?, row.try_get(5)?);
    // That attributes do not read is told elsewhere.
    let Ok(attributes) = serde_json::from_str(&attributes) else { return wrong(true) };
    let content = Content { customer, attributes, ..Content::default() };
    let of_order = external::key_of_content(&tenant, &source, &content);
    wrong(of_order.is_some_and(|of_order| of_order.0 == *key.as_bytes()))
}
