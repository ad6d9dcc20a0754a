//! Rows as the core's types, and values as PostgreSQL's.

use crate::error::{Tried, Trouble};
use bytes::{BufMut, BytesMut};
use order_core::Fault;
use order_core::budget::Budget;
use order_core::clock::Timestamp;
use order_core::desk::Desk;
use order_core::ids::{EventId, LeaseToken, OrderId, Reference, Shard, SourceId, TenantId};
use order_core::journal::Event;
use order_core::lease::Work;
use order_core::marketplace::{ImportState, MarketplaceName, StoreEventType, SyncEnd};
use order_core::order::event::{EventType, parse_lines};
use order_core::order::money::Money;
use order_core::order::state::{Fulfilment, Processing};
use order_core::order::{Content, LeaseView, Order};
use order_core::trace::{self, TraceContext};
use order_core::webhook::Listens;
use order_core::webhook::attempt::AttemptOutcome;
use order_core::webhook::endpoint::{Dialect, DisabledFor, EndpointState};
use order_core::webhook::stream::{SubjectKind, numbers_from_text};
use std::error::Error;
use std::fmt::Display;
use tokio_postgres::Row;
use tokio_postgres::row::RowIndex;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use uuid::Uuid;

/// The columns that [`order`] reads, of `orders o LEFT JOIN work w USING (shard, number)`, with what comes after.
macro_rules! select_orders {
    ($tail:literal) => {
        concat!(
            "SELECT o.number, o.order_id, o.tenant, o.source, o.reference, o.digest, o.customer, o.currency, o.lines, \
             o.total::text, o.attributes, o.version, o.processing, o.fulfilment, o.withdrawn, o.attempt, \
             o.last_error, o.accepted_at, o.updated_at, o.started_at, o.processed_at, o.shipped_at, \
             o.tracking_number, o.delivered_at, o.cause, o.last_position, w.due_at, w.attempt, w.lapses, w.token, \
             w.claimed_at, w.trace ",
            $tail
        )
    };
}
pub(crate) use select_orders;

/// How many columns `select_orders!` has; what is selected besides comes behind them.
pub(crate) const ORDER_WIDTH: usize = 32;

/// The columns that [`event`] reads, of the table `journal` as `j`, with what comes after.
macro_rules! select_events {
    ($tail:literal) => {
        concat!(
            "SELECT j.event_id, j.tenant, j.source, j.order_id, j.version, j.shard, j.position, j.prev_position, \
             j.epoch, j.type, j.data_version, j.data, j.occurred_at, j.trace ",
            $tail
        )
    };
}
pub(crate) use select_events;

/// Which of those is the shard.
pub(crate) const EVENT_SHARD: usize = 5;

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const TO_2000: i64 = 946_684_800_000_000;

/// A moment as `timestamptz`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0.micros() - TO_2000);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(Timestamp::from_micros(micros.saturating_add(TO_2000))))
    }

    accepts!(TIMESTAMPTZ);
}

/// A moment that may be missing, as it is kept.
pub(crate) fn moment(time: Option<Timestamp>) -> Option<Moment> {
    time.map(Moment)
}

/// A row holds what it cannot hold.
pub(crate) fn unreadable(what: &str, why: impl Display) -> Trouble {
    Trouble::Fault(Fault::internal(format!("a row does not read back: {what}: {why}")))
}

/// The number in a column, as a type that it fits.
pub(crate) fn number<T, C>(row: &Row, index: usize) -> Tried<T>
where
    T: TryFrom<C>,
    C: for<'a> FromSql<'a> + Copy + Display,
{
    let value: C = row.try_get(index)?;
    T::try_from(value).map_err(|_| unreadable(column(row, index), value))
}

fn column(row: &Row, index: usize) -> &str {
    row.columns().get(index).map_or("?", |column| column.name())
}

/// The 32 bytes in a column.
pub(crate) fn bytes32(row: &Row, index: usize) -> Tried<[u8; 32]> {
    row.try_get::<_, &[u8]>(index)?.try_into().map_err(|_| unreadable(column(row, index), "not 32 bytes"))
}

/// The 32 bytes in a column, if there are any.
pub(crate) fn maybe_bytes32(row: &Row, index: usize) -> Tried<Option<[u8; 32]>> {
    let bytes: Option<&[u8]> = row.try_get(index)?;
    bytes
        .map(|bytes| bytes.try_into().map_err(|_| unreadable(column(row, index), "not 32 bytes")))
        .transpose()
}

/// The moment in a column.
pub(crate) fn time<I: RowIndex + Display>(row: &Row, index: I) -> Tried<Timestamp> {
    Ok(row.try_get::<_, Moment>(index)?.0)
}

/// The moment in a column, if there is one.
pub(crate) fn maybe_time<I: RowIndex + Display>(row: &Row, index: I) -> Tried<Option<Timestamp>> {
    Ok(row.try_get::<_, Option<Moment>>(index)?.map(|moment| moment.0))
}

/// Numbers apart by spaces.
pub(crate) struct Numbers(pub(crate) Vec<u64>);

/// What is kept as text.
pub(crate) trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! from_text {
    ($($type:ty: $parse:expr;)+) => {
        $(impl FromText for $type {
            fn from_text(text: &str) -> Option<Self> {
                let parse: fn(&str) -> Option<$type> = $parse;
                parse(text)
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
}

/// The value that is kept as text in a column.
pub(crate) fn text<T: FromText>(row: &Row, index: usize) -> Tried<T> {
    let text: &str = row.try_get(index)?;
    T::from_text(text).ok_or_else(|| unreadable(column(row, index), format!("{text:?}")))
}

/// The value that is kept as text in a column, if there is one.
pub(crate) fn maybe_text<T: FromText>(row: &Row, index: usize) -> Tried<Option<T>> {
    let text: Option<&str> = row.try_get(index)?;
    text.map(|text| T::from_text(text).ok_or_else(|| unreadable(column(row, index), format!("{text:?}"))))
        .transpose()
}

/// A shard as it is kept.
pub(crate) fn small(shard: Shard) -> i16 {
    // There are 1,024 at most.
    i16::try_from(shard.0).unwrap_or(i16::MAX)
}

/// A position or version as it is kept.
pub(crate) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A place in a trace as it is kept.
pub(crate) fn trace_bytes(context: Option<TraceContext>) -> Option<[u8; trace::BYTES]> {
    context.map(TraceContext::to_bytes)
}

/// The place in a trace in a column. One that does not read is none: it is of no use, and nothing depends on it.
fn trace_of(row: &Row, index: usize) -> Tried<Option<TraceContext>> {
    Ok(row.try_get::<_, Option<&[u8]>>(index)?.and_then(TraceContext::from_bytes))
}

/// An order and its work row, from [`select_orders!`].
pub(crate) fn order(row: &Row) -> Tried<(Order, Option<Work>)> {
    let order_id = OrderId(row.try_get(1)?);
    let work = joined_work(row, order_id)?;
    let order = Order {
        id: order_id,
        number: row.try_get(0)?,
        tenant: text(row, 2)?,
        source: text(row, 3)?,
        reference: maybe_text(row, 4)?,
        content: content(row)?,
        digest: bytes32(row, 5)?,
        version: number::<_, i64>(row, 11)?,
        processing: text(row, 12)?,
        fulfilment: text(row, 13)?,
        withdrawn: row.try_get(14)?,
        attempt: number::<_, i32>(row, 15)?,
        last_error: row.try_get(16)?,
        accepted_at: time(row, 17)?,
        updated_at: time(row, 18)?,
        started_at: maybe_time(row, 19)?,
        processed_at: maybe_time(row, 20)?,
        shipped_at: maybe_time(row, 21)?,
        tracking_number: row.try_get(22)?,
        delivered_at: maybe_time(row, 23)?,
        cause: EventId(row.try_get(24)?),
        last_position: number::<_, i64>(row, 25)?,
        lease: work.as_ref().and_then(lease_view),
    };
    Ok((order, work))
}

/// What an order shows of its work.
pub(crate) fn lease_view(work: &Work) -> Option<LeaseView> {
    let (token, began_at) = (work.token?, work.claimed_at?);
    Some(LeaseView { attempt: work.attempt + 1, began_at, until: work.due_at, token })
}

fn content(row: &Row) -> Tried<Content> {
    let lines = match row.try_get::<_, &str>(8)? {
        "[]" => Vec::new(),
        other => {
            let json = serde_json::from_str(other).map_err(|error| unreadable("lines", error))?;
            parse_lines(&json).map_err(|error| unreadable("lines", error))?
        }
    };
    let attributes = match row.try_get::<_, &str>(10)? {
        "{}" => serde_json::Map::new(),
        other => serde_json::from_str(other).map_err(|error| unreadable("attributes", error))?,
    };
    let (customer, currency) = (row.try_get(6)?, row.try_get(7)?);
    Ok(Content { customer, currency, lines, total: text(row, 9)?, attributes })
}

fn joined_work(row: &Row, order_id: OrderId) -> Tried<Option<Work>> {
    if row.try_get::<_, Option<Moment>>(26)?.is_none() {
        return Ok(None);
    }
    work(row, order_id, 26).map(Some)
}

/// A work row, from `due_at, attempt, lapses, token, claimed_at, trace` beginning with column `at`.
/// The number of a desk as it is kept.
pub(crate) fn desk(desk: Desk) -> i16 {
    desk.number().into()
}

pub(crate) fn work(row: &Row, order_id: OrderId, at: usize) -> Tried<Work> {
    Ok(Work {
        order_id,
        due_at: time(row, at)?,
        attempt: number::<_, i32>(row, at + 1)?,
        lapses: number::<_, i32>(row, at + 2)?,
        token: row.try_get::<_, Option<Uuid>>(at + 3)?.map(LeaseToken),
        claimed_at: maybe_time(row, at + 4)?,
        trace: trace_of(row, at + 5)?,
    })
}

/// An event, from [`select_events!`].
pub(crate) fn event(row: &Row) -> Tried<Event> {
    Ok(Event {
        event_id: EventId(row.try_get(0)?),
        tenant: text(row, 1)?,
        source: text(row, 2)?,
        order_id: OrderId(row.try_get(3)?),
        version: number::<_, i64>(row, 4)?,
        shard: Shard(number::<_, i16>(row, 5)?),
        position: number::<_, i64>(row, 6)?,
        prev_position: number::<_, i64>(row, 7)?,
        epoch: number::<_, i32>(row, 8)?,
        kind: text(row, 9)?,
        data_version: number::<_, i16>(row, 10)?,
        data: row.try_get(11)?,
        occurred_at: time(row, 12)?,
        trace: trace_of(row, 13)?,
    })
}
