//! Reads of one order, of the journal, of followers and of redrives.

use crate::connect::Conn;
use crate::error::{Tried, Trouble};
use crate::readers::{Reader, Readers};
use crate::records::{self, select_redrives};
use crate::rows::{self, Moment, big, number, select_events, select_orders, small, unreadable};
use futures_util::TryStreamExt;
use order_core::clock::Timestamp;
use order_core::desk::Desks;
use order_core::external::ExternalId;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::{Event, Mark, Passage, Slice};
use order_core::lease::Work;
use order_core::order::Order;
use order_core::order::event::EventType;
use order_core::query::{self, EventPage, FollowerRow, OrderDossier, Tally};
use order_core::redrive::{Redrive, RedriveItem};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Bytes of events after which a read of the journal ends.
pub(crate) const PAGE_BYTES_MAX: i64 = 4 << 20;

const BY_ID: &str = select_orders!(
    "FROM orders o LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number \
     WHERE o.shard = $1 AND o.order_id = $2 AND o.tenant = $3"
);

const OWNER: &str = "SELECT tenant FROM orders WHERE shard = $1 AND order_id = $2";

/// Behind the order comes its shard. A tenant has as many sources as it has tallies: `sources!` of list.rs.
const BY_NUMBER: &str = select_orders!(
    "FROM tallies t CROSS JOIN LATERAL (SELECT * FROM orders o \
       WHERE o.tenant = t.tenant AND o.source = t.source AND o.number = $2) o \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number WHERE t.tenant = $1 LIMIT 1"
);

const BY_EXTERNAL: &str = select_orders!(
    "FROM (SELECT * FROM external_ids WHERE key = $1 ORDER BY number DESC LIMIT 1) e \
     CROSS JOIN LATERAL (SELECT * FROM orders o \
       WHERE o.shard = e.shard AND o.order_id = e.order_id AND o.tenant = $2) o \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number"
);

/// Ends a snapshot with what was read in it.
pub(crate) async fn ended<T>(reader: Reader, read: Tried<T>) -> Tried<T> {
    match read {
        // The connection is gone, or what it is worth is in doubt: it is not kept.
        Err(Trouble::Lost(why)) => Err(Trouble::Lost(why)),
        read => reader.end().await.and(read),
    }
}

/// One order of a tenant, with its work.
pub(crate) async fn load(
    conn: &Conn,
    shards: u16,
    tenant: &TenantId,
    order_id: OrderId,
) -> Tried<Option<(Order, Option<Work>)>> {
    let shard = small(order_id.shard(shards));
    let row = conn.query_opt(BY_ID, &[&shard, &order_id.0, &tenant.as_str()]).await?;
    row.as_ref().map(rows::order).transpose()
}

/// One order.
pub(crate) async fn order(
    readers: &Readers,
    shards: u16,
    tenant: &TenantId,
    order_id: OrderId,
) -> Tried<Option<Order>> {
    let conn = readers.get().await?;
    Ok(load(&conn, shards, tenant, order_id).await?.map(|(order, _)| order))
}

/// Whose an order is: `readers` see the rows of all tenants.
pub(crate) async fn owner(readers: &Readers, shards: u16, order_id: OrderId) -> Tried<Option<TenantId>> {
    let (conn, shard) = (readers.get().await?, small(order_id.shard(shards)));
    let row = conn.query_opt(OWNER, &[&shard, &order_id.0]).await?;
    row.map(|row| rows::text(&row, 0)).transpose()
}

/// One order by its number.
pub(crate) async fn order_by_number(
    readers: &Readers,
    tenant: &TenantId,
    number: i64,
) -> Tried<Option<Order>> {
    let conn = readers.get().await?;
    let row = conn.query_opt(BY_NUMBER, &[&tenant.as_str(), &number]).await?;
    Ok(row.as_ref().map(rows::order).transpose()?.map(|(order, _)| order))
}

/// The newest order that bears an external id. Rows of these change with their orders, so the newest is the one.
pub(crate) async fn order_by_external(readers: &Readers, external: &ExternalId) -> Tried<Option<Order>> {
    let conn = readers.get().await?;
    let key = Uuid::from_bytes(external.key().0);
    let row = conn.query_opt(BY_EXTERNAL, &[&key, &external.tenant.as_str()]).await?;
    let order = row.as_ref().map(rows::order).transpose()?.map(|(order, _)| order);
    Ok(order.filter(|order| external.names(order)))
}

/// When the next work of a tenant at some desks is due.
pub(crate) async fn next_due(readers: &Readers, tenant: &TenantId, desks: Desks) -> Tried<Option<Timestamp>> {
    let conn = readers.get().await?;
    let desks: Vec<i16> = desks.iter().map(rows::desk).collect();
    let row = conn
        .query_one(
            "SELECT min(w.due_at) FROM unnest($2::smallint[]) d (desk) CROSS JOIN LATERAL ( \
             SELECT due_at FROM work WHERE tenant = $1 AND desk = d.desk ORDER BY due_at LIMIT 1) w",
            &[&tenant.as_str(), &desks],
        )
        .await?;
    rows::maybe_time(&row, 0)
}

/// The places of the events of an order behind version `$3`, the oldest `$4` of them. The chain leads backwards only.
const PLACES: &str = "SELECT h.position FROM history($1::smallint, $2::bigint, $3::bigint, NULL, NULL) h \
     ORDER BY h.position LIMIT $4";

const AT_PLACES: &str = concat!(
    select_events!(
        "FROM (SELECT j.*, sum(octet_length(j.data)) OVER (ORDER BY j.position) - octet_length(j.data) AS bytes_before \
           FROM events_at($1::smallint, $2::bigint[]) j) j "
    ),
    "WHERE j.bytes_before < $3 ORDER BY j.position"
);

/// A page of the events of an order behind version `after`, oldest first.
pub(crate) async fn order_events(
    readers: &Readers,
    shards: u16,
    (tenant, order_id): (&TenantId, OrderId),
    after: u64,
    limit: u32,
) -> Tried<Option<EventPage>> {
    let conn = readers.snapshot().await?;
    let read = async {
        let Some((order, _)) = load(&conn, shards, tenant, order_id).await? else { return Ok(None) };
        let shard = small(order_id.shard(shards));
        // One more tells whether there are more.
        let most = i64::from(limit).saturating_add(1);
        let places = conn.query(PLACES, &[&shard, &big(order.last_position), &big(after), &most]).await?;
        let places: Vec<i64> = places.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let shown = &places[..places.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
        let rows = conn.query(AT_PLACES, &[&shard, &shown, &PAGE_BYTES_MAX]).await?;
        let events: Vec<Event> = rows.iter().map(rows::event).collect::<Tried<_>>()?;
        let more = events.len() < places.len();
        let next = events.last().filter(|_| more).map(|event| event.version);
        Ok(Some(EventPage { events, next }))
    }
    .await;
    ended(conn, read).await
}

/// An order with its work and its newest events, in one snapshot.
pub(crate) async fn dossier(
    readers: &Readers,
    shards: u16,
    tenant: &TenantId,
    order_id: OrderId,
    events_max: u32,
) -> Tried<Option<OrderDossier>> {
    let conn = readers.snapshot().await?;
    let read = async {
        let Some((order, work)) = load(&conn, shards, tenant, order_id).await? else { return Ok(None) };
        let events = newest(&conn, order_id.shard(shards), order.last_position, events_max).await?;
        Ok(Some(OrderDossier { order, events, work, found: true }))
    }
    .await;
    ended(conn, read).await
}

/// The newest events of an order, at most `events_max`, and none beyond the one that makes them too large: oldest first.
async fn newest(conn: &Conn, shard: Shard, last_position: u64, events_max: u32) -> Tried<Vec<Event>> {
    if events_max == 0 {
        return Ok(Vec::new());
    }
    let rows = conn
        .query(
            select_events!(
                "FROM history($1::smallint, $2::bigint, 0, $3::bigint, $4::bigint) j ORDER BY j.position"
            ),
            &[&small(shard), &big(last_position), &i64::from(events_max), &PAGE_BYTES_MAX],
        )
        .await?;
    rows.iter().map(rows::event).collect()
}

/// Events of shard `$1` behind position `$2`, up to `$3`, until they are larger than `$4` bytes.
const SLICE: &str = concat!(
    select_events!(
        "FROM (SELECT j.*, sum(octet_length(j.data)) OVER (ORDER BY j.position ROWS UNBOUNDED PRECEDING) \
           - octet_length(j.data) AS bytes_before FROM events($1::smallint, $2::bigint, $3::bigint) j) j "
    ),
    "WHERE j.bytes_before < $4 ORDER BY j.position"
);

/// Events of the shards `$1`, each behind its position of `$2` and up to that of `$3`: shard by shard, in order.
const SLICES: &str = select_events!(
    "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w (shard, after, up_to) \
     CROSS JOIN LATERAL events(w.shard, w.after, w.up_to) j"
);

/// The event at each position of `$2` in the shard of `$1` beside it: shard by shard, in order. One look at the parts of a shard
/// answers for all of its positions.
const AT_EACH: &str = select_events!(
    "FROM (SELECT w.shard, array_agg(w.position) AS positions \
       FROM unnest($1::smallint[], $2::bigint[]) AS w (shard, position) GROUP BY w.shard) w \
     CROSS JOIN LATERAL events_at(w.shard, w.positions) j ORDER BY j.shard, j.position"
);

/// As [`SLICES`]: the last position of each shard, how many there are, and whether some are of the sources `$4`.
const PASSAGES: &str = "SELECT w.shard, coalesce(p.last, 0), p.count, p.wanted \
     FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w (shard, after, up_to) \
     CROSS JOIN LATERAL passage(w.shard, w.after, w.up_to, $4::text[]) p";

/// Events of one shard behind `after`, at most `limit` of them and about [`PAGE_BYTES_MAX`].
pub(crate) async fn journal(readers: &Readers, shard: Shard, after: u64, limit: u32) -> Tried<Vec<Event>> {
    let conn = readers.get().await?;
    let rows = conn.query(SLICE, &[&small(shard), &big(after), &upto(after, limit), &PAGE_BYTES_MAX]).await?;
    rows.iter().map(rows::event).collect()
}

/// How large events are, as far as is known: those that were read last.
#[derive(Debug, Default)]
pub(crate) struct EventSizes(AtomicUsize);

impl EventSizes {
    /// How many events to ask for where so many bytes are wanted; rather twice as many than too few.
    fn count(&self, bytes: usize) -> usize {
        let average = self.0.load(Ordering::Relaxed);
        (2 * bytes).checked_div(average).unwrap_or(usize::MAX).max(1)
    }

    fn note(&self, events: usize, bytes: usize) {
        if let Some(average) = bytes.checked_div(events) {
            self.0.store(average, Ordering::Relaxed);
        }
    }
}

/// Events of several shards, as [`journal`], in one trip: each slice has its part of the page. What is too much is left where it
/// is while rows come; the server is asked for little of that, by how large events were the last time.
pub(crate) async fn slices(
    readers: &Readers,
    slices: &[Slice],
    sizes: &EventSizes,
) -> Tried<Vec<Vec<Event>>> {
    let conn = readers.get().await?;
    let bytes_max = query::PAGE_BYTES_MAX.checked_div(slices.len()).unwrap_or(0);
    let most = u32::try_from(sizes.count(bytes_max)).unwrap_or(u32::MAX);
    let shards: Vec<i16> = slices.iter().map(|slice| small(slice.shard)).collect();
    let after: Vec<i64> = slices.iter().map(|slice| big(slice.after)).collect();
    let ends: Vec<i64> = slices.iter().map(|slice| upto(slice.after, slice.limit.min(most))).collect();
    let statement = conn.prepared(SLICES).await?;
    let values: [&(dyn ToSql + Sync); 3] = [&shards, &after, &ends];
    let mut read = vec![(Vec::new(), 0); slices.len()];
    conn.answered::<(), Trouble>(async {
        let mut rows = std::pin::pin!(conn.client().query_raw(&statement, values).await?);
        let mut at = 0;
        while let Some(row) = rows.try_next().await? {
            let shard = Shard(number::<_, i16>(&row, rows::EVENT_SHARD)?);
            while slices.get(at).is_some_and(|slice| slice.shard != shard) {
                at += 1;
            }
            let Some((events, bytes)) = read.get_mut(at) else {
                return Err(unreadable("journal", "shards come in another order than was asked"));
            };
            if *bytes < bytes_max {
                let event = rows::event(&row)?;
                *bytes += event.data.len();
                events.push(event);
            }
        }
        Ok(())
    })
    .await?;
    let (events, bytes) =
        read.iter().fold((0, 0), |(all, sum), (events, bytes)| (all + events.len(), sum + bytes));
    sizes.note(events, bytes);
    let mut weight = 0;
    let page = read.into_iter().take_while(|(_, bytes)| {
        let fits = weight < query::PAGE_BYTES_MAX;
        weight += bytes;
        fits
    });
    Ok(page.map(|(events, _)| events).collect())
}

/// The events at `places`, which are in order, until a page is full.
pub(crate) async fn events_at(
    readers: &Readers,
    places: &[(Shard, u64)],
    sizes: &EventSizes,
) -> Tried<Vec<Option<Event>>> {
    let places = &places[..places.len().min(sizes.count(query::PAGE_BYTES_MAX).max(1))];
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let conn = readers.get().await?;
    let shards: Vec<i16> = places.iter().map(|(shard, _)| small(*shard)).collect();
    let positions: Vec<i64> = places.iter().map(|(_, position)| big(*position)).collect();
    let statement = conn.prepared(AT_EACH).await?;
    let values: [&(dyn ToSql + Sync); 2] = [&shards, &positions];
    let (mut read, mut bytes) = (Vec::with_capacity(places.len()), 0);
    let all = conn
        .answered::<bool, Trouble>(async {
            let mut rows = std::pin::pin!(conn.client().query_raw(&statement, values).await?);
            while let Some(row) = rows.try_next().await? {
                if bytes >= query::PAGE_BYTES_MAX {
                    return Ok(false);
                }
                let event = rows::event(&row)?;
                let place = (event.shard, event.position);
                while places.get(read.len()).is_some_and(|asked| *asked != place) {
                    read.push(None);
                }
                if read.len() == places.len() {
                    return Err(unreadable("journal", "events come in another order than was asked"));
                }
                bytes += event.data.len();
                read.push(Some(event));
            }
            Ok(true)
        })
        .await?;
    sizes.note(read.iter().flatten().count(), bytes);
    if all {
        read.resize(places.len(), None);
    }
    Ok(read)
}

/// What lies in `slices`: those with events of `sources` are read, of the others it is counted what they have.
pub(crate) async fn passages(
    readers: &Readers,
    slices: &[Slice],
    sources: &[SourceId],
    sizes: &EventSizes,
) -> Tried<Vec<Passage>> {
    let mut passages = Vec::with_capacity(slices.len());
    let sources: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
    let shards: Vec<i16> = slices.iter().map(|slice| small(slice.shard)).collect();
    let after: Vec<i64> = slices.iter().map(|slice| big(slice.after)).collect();
    let ends: Vec<i64> = slices.iter().map(|slice| upto(slice.after, slice.limit)).collect();
    let rows = readers.get().await?.query(PASSAGES, &[&shards, &after, &ends, &sources]).await?;
    let mut wanted = Vec::new();
    for row in &rows {
        let shard = Shard(number::<_, i16>(row, 0)?);
        if row.try_get::<_, bool>(3)? {
            wanted.extend(slices.iter().find(|slice| slice.shard == shard).copied());
        } else {
            let (to, count) = (number::<_, i64>(row, 1)?, number::<_, i64>(row, 2)?);
            passages.push(Passage { shard, to, count, events: Vec::new() });
        }
    }
    if wanted.is_empty() {
        return Ok(passages);
    }
    for (slice, events) in wanted.iter().zip(self::slices(readers, &wanted, sizes).await?) {
        let to = events.last().map_or(slice.after, |event| event.position);
        passages.push(Passage { shard: slice.shard, to, count: events.len() as u64, events });
    }
    Ok(passages)
}

/// The same, without what the events hold.
pub(crate) async fn marks(readers: &Readers, shard: Shard, after: u64, limit: u32) -> Tried<Vec<Mark>> {
    let conn = readers.get().await?;
    let rows = conn
        .query(
            "SELECT position, order_id, type FROM events($1::smallint, $2::bigint, $3::bigint) ORDER BY position",
            &[&small(shard), &big(after), &upto(after, limit)],
        )
        .await?;
    let mark = |row: &Row| {
        let kind: &str = row.try_get(2)?;
        Ok(Mark {
            position: number::<_, i64>(row, 0)?,
            order_id: OrderId(row.try_get(1)?),
            kind: EventType::from_word(kind),
        })
    };
    rows.iter().map(mark).collect()
}

/// Where `limit` events behind `after` end: positions have no gaps.
pub(crate) fn upto(after: u64, limit: u32) -> i64 {
    big(after.saturating_add(u64::from(limit)))
}

/// All followers, by name.
pub(crate) async fn followers(readers: &Readers, shards: u16) -> Tried<Vec<FollowerRow>> {
    records::followers(&*readers.get().await?, None, shards).await
}

/// One follower.
pub(crate) async fn follower(readers: &Readers, shards: u16, name: &str) -> Tried<Option<FollowerRow>> {
    Ok(records::followers(&*readers.get().await?, Some(name), shards).await?.pop())
}

/// Leased work comes first, of which there is little: it is fetched before the orders are looked at, each by its key.
const TALLY: &str = "SELECT coalesce(sum(orders), 0)::bigint, coalesce(sum(queued), 0)::bigint, \
     coalesce(sum(processed), 0)::bigint, coalesce(sum(parked), 0)::bigint, \
     coalesce(sum(processing_micros), 0)::bigint, \
     (WITH leased AS MATERIALIZED (SELECT shard, order_id FROM work \
        WHERE token IS NOT NULL AND tenant = $1 AND due_at > $3) \
      SELECT count(*) FROM leased l CROSS JOIN LATERAL (SELECT FROM orders o \
        WHERE o.shard = l.shard AND o.order_id = l.order_id AND o.source = $2 LIMIT 1) o) \
     FROM tallies WHERE tenant = $1 AND source = $2";

/// As [`TALLY`], of all tenants, one for each source.
const TALLIES: &str = "WITH leased AS MATERIALIZED (SELECT shard, order_id FROM work \
       WHERE token IS NOT NULL AND due_at > $2), \
     running AS MATERIALIZED (SELECT o.source, count(*) FROM leased l CROSS JOIN LATERAL ( \
       SELECT o.source FROM orders o WHERE o.shard = l.shard AND o.order_id = l.order_id LIMIT 1) o \
       GROUP BY o.source) \
     SELECT coalesce(sum(t.orders), 0)::bigint, coalesce(sum(t.queued), 0)::bigint, \
     coalesce(sum(t.processed), 0)::bigint, coalesce(sum(t.parked), 0)::bigint, \
     coalesce(sum(t.processing_micros), 0)::bigint, \
     coalesce((SELECT r.count FROM running r WHERE r.source = s.source), 0) \
     FROM unnest($1::text[]) WITH ORDINALITY AS s (source, nth) LEFT JOIN tallies t ON t.source = s.source \
     GROUP BY s.source, s.nth ORDER BY s.nth";

/// Counts of one tenant's orders of one source; one statement, so one snapshot.
pub(crate) async fn tally(
    readers: &Readers,
    tenant: &TenantId,
    source: &SourceId,
    now: Timestamp,
) -> Tried<Tally> {
    let conn = readers.get().await?;
    let row = conn.query_one(TALLY, &[&tenant.as_str(), &source.as_str(), &Moment(now)]).await?;
    tally_row(&row, 0).and_then(|tally| Ok(Tally { running: number::<_, i64>(&row, 5)?, ..tally }))
}

/// What is kept, from `orders, queued, processed, parked, processing_micros` beginning with column `at`.
pub(crate) fn tally_row(row: &Row, at: usize) -> Tried<Tally> {
    Ok(Tally {
        orders: number::<_, i64>(row, at)?,
        queued: number::<_, i64>(row, at + 1)?,
        running: 0,
        processed: number::<_, i64>(row, at + 2)?,
        parked: number::<_, i64>(row, at + 3)?,
        processing_micros: number::<_, i64>(row, at + 4)?,
    })
}

/// Counts of all tenants' orders, source by source.
pub(crate) async fn tallies(readers: &Readers, sources: &[SourceId], now: Timestamp) -> Tried<Vec<Tally>> {
    let conn = readers.get().await?;
    let sources: Vec<&str> = sources.iter().map(SourceId::as_str).collect();
    let rows = conn.query(TALLIES, &[&sources, &Moment(now)]).await?;
    let tally = |row: &Row| Ok(Tally { running: number::<_, i64>(row, 5)?, ..tally_row(row, 0)? });
    rows.iter().map(tally).collect()
}

/// One redrive job of a tenant.
pub(crate) async fn redrive(
    readers: &Readers,
    tenant: &TenantId,
    redrive_id: RedriveId,
) -> Tried<Option<Redrive>> {
    let conn = readers.get().await?;
    let sql = select_redrives!("WHERE redrive_id = $1 AND tenant = $2");
    let row = conn.query_opt(sql, &[&redrive_id.0, &tenant.as_str()]).await?;
    row.as_ref().map(records::redrive).transpose()
}

/// Results of a redrive job behind result number `after`.
pub(crate) async fn redrive_items(
    readers: &Readers,
    redrive_id: RedriveId,
    after: u64,
    limit: u32,
) -> Tried<Vec<RedriveItem>> {
    let conn = readers.get().await?;
    let rows = conn
        .query(
            "SELECT order_id, result FROM redrive_items WHERE redrive_id = $1 AND item > $2 ORDER BY item LIMIT $3",
            &[&redrive_id.0, &big(after), &i64::from(limit)],
        )
        .await?;
    let item = |row: &Row| Ok(RedriveItem { order_id: OrderId(row.try_get(0)?), result: row.try_get(1)? });
    rows.iter().map(item).collect()
}

/// Redrive jobs that are not finished.
pub(crate) async fn open_redrives(readers: &Readers) -> Tried<Vec<RedriveId>> {
    let conn = readers.get().await?;
    let rows =
        conn.query("SELECT redrive_id FROM redrives WHERE NOT finished ORDER BY redrive_id", &[]).await?;
    rows.iter().map(|row| Ok(RedriveId(row.try_get(0)?))).collect()
}
