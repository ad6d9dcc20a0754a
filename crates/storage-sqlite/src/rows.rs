//! Rows as the core's types.

use order_core::budget::Budget;
use order_core::clock::Timestamp;
use order_core::ids::{EventId, LeaseToken, OrderId, Reference, Shard, SourceId, TenantId};
use order_core::journal::Event;
use order_core::lease::Work;
use order_core::marketplace::{ImportState, MarketplaceName, StoreEventType, SyncEnd};
use order_core::order::event::{EventType, parse_lines};
use order_core::order::money::Money;
use order_core::order::state::{Fulfilment, Processing};
use order_core::order::{Content, LeaseView, Order};
use order_core::parking::RefusedFor;
use order_core::trace::{self, TraceContext};
use order_core::webhook::Listens;
use order_core::webhook::attempt::AttemptOutcome;
use order_core::webhook::endpoint::{Dialect, DisabledFor, EndpointState};
use order_core::webhook::stream::{SubjectKind, numbers_from_text};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, Statement, ToSql};
use uuid::Uuid;

/// The columns that [`order`] reads, of `orders o LEFT JOIN work w USING (number)`.
pub(crate) const ORDER_COLUMNS: &str = "o.number, o.order_id, o.tenant, o.source, o.reference, o.digest, o.customer, \
     o.currency, o.lines, o.total, o.attributes, o.version, o.processing, o.fulfilment, o.withdrawn, o.attempt, \
     o.last_error, o.accepted_at, o.updated_at, o.started_at, o.processed_at, o.shipped_at, o.tracking_number, \
     o.delivered_at, o.cause, o.last_position, w.due_at, w.attempt, w.lapses, w.token, w.claimed_at, w.trace";

/// The columns that [`event`] reads.
pub(crate) const EVENT_COLUMNS: &str = "event_id, tenant, source, order_id, version, shard, position, prev_position, \
     epoch, type, data_version, data, occurred_at, trace";

/// Bits of a place in the journal that hold the position; the shard lies above them.
const POSITION_BITS: u32 = 48;

/// The key of the journal's row at a position of a shard. Positions end at 2^48, some centuries from here.
pub(crate) fn place(shard: Shard, position: u64) -> i64 {
    let position = i64::try_from(position).unwrap_or(i64::MAX).min((1 << POSITION_BITS) - 1);
    (i64::from(shard.0) << POSITION_BITS) | position
}

/// The last place of a shard.
pub(crate) fn last_place(shard: Shard) -> i64 {
    place(shard, u64::MAX)
}

/// The position of a place.
pub(crate) fn position(place: i64) -> u64 {
    place.unsigned_abs() & ((1 << POSITION_BITS) - 1)
}

/// Reads any type that is kept as text.
pub(crate) struct Text<T>(T);

macro_rules! from_text {
    ($($type:ty: $parse:expr;)+) => {
        $(impl FromSql for Text<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                let parse: fn(&str) -> Option<$type> = $parse;
                parse(text).map(Self).ok_or_else(|| FromSqlError::Other(format!("{text:?} is no {}", stringify!($type)).into()))
            }
        })+
    };
}

from_text! {
    TenantId: |text| TenantId::new(text).ok();
    SourceId: |text| SourceId::new(text).ok();
    Reference: |text| Reference::new(text).ok();
    Money: |text| Money::parse(text).ok();
    Processing: Processing::from_word;
    Fulfilment: Fulfilment::from_word;
    EventType: |text| Some(EventType::from_word(text));
    RefusedFor: RefusedFor::from_name;
    MarketplaceName: MarketplaceName::from_word;
    ImportState: ImportState::from_word;
    SyncEnd: SyncEnd::from_word;
    StoreEventType: StoreEventType::from_word;
    Budget: Budget::from_text;
    Listens: Listens::from_text;
    Dialect: Dialect::from_word;
    EndpointState: EndpointState::from_word;
    DisabledFor: DisabledFor::from_word;
    SubjectKind: SubjectKind::from_word;
    AttemptOutcome: AttemptOutcome::from_word;
    Numbers: |text| numbers_from_text(text).map(Numbers);
    serde_json::Value: |text| serde_json::from_str(text).ok();
}

/// Numbers apart by spaces.
pub(crate) struct Numbers(pub(crate) Vec<u64>);

struct Bytes16(Uuid);

impl FromSql for Bytes16 {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes: [u8; 16] = value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)?;
        Ok(Self(Uuid::from_bytes(bytes)))
    }
}

struct Time(Timestamp);

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Timestamp::from_micros(value.as_i64()?)))
    }
}

/// The moment in column `index`, if there is one.
pub(crate) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Time>>(index)?.map(|time| time.0))
}

/// The value that is kept as text in column `index`.
pub(crate) fn text<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    Text<T>: FromSql,
{
    Ok(row.get::<_, Text<T>>(index)?.0)
}

/// The place in a trace in column `index`. One that does not read is none: it is of no use, and nothing depends on it.
pub(crate) fn trace(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<TraceContext>> {
    Ok(row.get_ref(index)?.as_blob_or_null().ok().flatten().and_then(TraceContext::from_bytes))
}

/// The value that is kept as text in column `index`, if there is one.
pub(crate) fn maybe_text<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>>
where
    Text<T>: FromSql,
{
    Ok(row.get::<_, Option<Text<T>>>(index)?.map(|text| text.0))
}

/// The id in column `index`, if there is one.
pub(crate) fn maybe_uuid(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row.get::<_, Option<Bytes16>>(index)?.map(|id| id.0))
}

/// The id in column `index`.
pub(crate) fn uuid(row: &Row<'_>, index: usize) -> rusqlite::Result<Uuid> {
    Ok(row.get::<_, Bytes16>(index)?.0)
}

fn as_str<'r>(row: &'r Row<'_>, index: usize) -> rusqlite::Result<&'r str> {
    row.get_ref(index)?.as_str().map_err(|error| conversion(index, error))
}

/// Whether an error is the fault of the row that was read.
pub(crate) fn is_of_row(error: &rusqlite::Error) -> bool {
    column_of(error).is_some()
}

fn column_of(error: &rusqlite::Error) -> Option<usize> {
    match error {
        rusqlite::Error::FromSqlConversionFailure(index, ..)
        | rusqlite::Error::InvalidColumnType(index, ..)
        | rusqlite::Error::IntegralValueOutOfRange(index, ..)
        | rusqlite::Error::Utf8Error(index, _) => Some(*index),
        _ => None,
    }
}

/// Which column of a row is to blame for an error, and what is wrong with it; `None` when it is not the row's fault.
pub(crate) fn unreadable(row: &Row<'_>, error: &rusqlite::Error) -> Option<(usize, String)> {
    let index = column_of(error)?;
    let why = match row.as_ref().column_name(index) {
        Ok(column) => format!("`{column}`: {error}"),
        Err(_) => error.to_string(),
    };
    Some((index, why))
}

fn conversion(index: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, why.into())
}

/// An order and its work row, from [`ORDER_COLUMNS`].
pub(crate) fn order(row: &Row<'_>) -> rusqlite::Result<(Order, Option<Work>)> {
    let order_id = OrderId(uuid(row, 1)?);
    let work = work(row, order_id)?;
    let lease = work.as_ref().and_then(|work| {
        let (token, began_at) = (work.token?, work.claimed_at?);
        Some(LeaseView { attempt: work.attempt + 1, began_at, until: work.due_at, token })
    });
    let order = Order {
        id: order_id,
        number: row.get(0)?,
        tenant: text(row, 2)?,
        source: text(row, 3)?,
        reference: maybe_text(row, 4)?,
        content: content(row)?,
        digest: row.get(5)?,
        version: row.get(11)?,
        processing: text(row, 12)?,
        fulfilment: text(row, 13)?,
        withdrawn: row.get(14)?,
        attempt: row.get(15)?,
        last_error: row.get(16)?,
        accepted_at: row.get::<_, Time>(17)?.0,
        updated_at: row.get::<_, Time>(18)?.0,
        started_at: time(row, 19)?,
        processed_at: time(row, 20)?,
        shipped_at: time(row, 21)?,
        tracking_number: row.get(22)?,
        delivered_at: time(row, 23)?,
        cause: EventId(uuid(row, 24)?),
        last_position: row.get(25)?,
        lease,
    };
    Ok((order, work))
}

fn content(row: &Row<'_>) -> rusqlite::Result<Content> {
    let lines = match as_str(row, 8)? {
        "[]" => Vec::new(),
        _ => parse_lines(&text::<serde_json::Value>(row, 8)?).map_err(|error| conversion(8, error))?,
    };
    let attributes = match as_str(row, 10)? {
        "{}" => serde_json::Map::new(),
        other => serde_json::from_str(other).map_err(|error| conversion(10, error))?,
    };
    Ok(Content { customer: row.get(6)?, currency: row.get(7)?, lines, total: text(row, 9)?, attributes })
}

fn work(row: &Row<'_>, order_id: OrderId) -> rusqlite::Result<Option<Work>> {
    let Some(due_at) = time(row, 26)? else { return Ok(None) };
    let token: Option<Bytes16> = row.get(29)?;
    Ok(Some(Work {
        order_id,
        due_at,
        attempt: row.get(27)?,
        lapses: row.get(28)?,
        token: token.map(|token| LeaseToken(token.0)),
        claimed_at: time(row, 30)?,
        trace: trace(row, 31)?,
    }))
}

/// An event, from [`EVENT_COLUMNS`].
pub(crate) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        event_id: EventId(uuid(row, 0)?),
        tenant: text(row, 1)?,
        source: text(row, 2)?,
        order_id: OrderId(uuid(row, 3)?),
        version: row.get(4)?,
        shard: Shard(row.get(5)?),
        position: row.get(6)?,
        prev_position: row.get(7)?,
        epoch: row.get(8)?,
        kind: text(row, 9)?,
        data_version: row.get(10)?,
        data: row.get(11)?,
        occurred_at: row.get::<_, Time>(12)?.0,
        trace: trace(row, 13)?,
    })
}

/// Collects the rows of a query.
pub(crate) fn collect<T>(
    statement: &mut Statement<'_>,
    parameters: &[&dyn ToSql],
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    statement.query_map(parameters, read)?.collect()
}

/// An id as it is kept.
pub(crate) fn blob(id: &Uuid) -> &[u8] {
    id.as_bytes()
}

/// A place in a trace as it is kept.
pub(crate) fn trace_bytes(context: Option<TraceContext>) -> Option<[u8; trace::BYTES]> {
    context.map(TraceContext::to_bytes)
}

/// A time as it is kept.
pub(crate) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::micros)
}
