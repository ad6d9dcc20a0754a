//! One batch of commands as one transaction. The core decides (`order_core::decide`); here rows are loaded and written.

mod accept;
mod action;
mod api_key;
mod change;
mod follow;
mod inbox;
mod market;
mod redrive;
mod secret;
mod share;
mod webhooks;
mod work;

pub(crate) use work::{expire_leases, live_leases};

use crate::error::fault;
use crate::external;
use crate::ids::OrderIds;
use crate::rows::{self, ORDER_COLUMNS, blob, micros};
use crate::span;
use crate::terms::{self, Entry};
use order_core::action_log::ActionKind;
use order_core::action_log::chain::Link;
use order_core::clock::Timestamp;
use order_core::command::{Command, Reply};
use order_core::decide::WorkEffect;
use order_core::desk::Desk;
use order_core::external::key_of;
use order_core::fault_point;
use order_core::ids::{EventId, OrderId, Shard};
use order_core::lease::Work;
use order_core::order::event::{DATA_VERSION, EventBody, Place};
use order_core::order::{Order, render};
use order_core::ports::Committed;
use order_core::query::{Install, TallyChange};
use order_core::trace::TraceContext;
use order_core::{Error, Fault, Rejection};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

/// Bytes that a probe writes.
const PROBE_BYTES: u32 = 64 << 10;

/// What a command comes to: `Err(Error::Fault)` undoes the whole batch.
type Applied<T = Reply> = Result<T, Error>;

/// A batch on its way into one transaction.
pub(crate) struct Batch<'c> {
    conn: &'c Connection,
    install: &'c Install,
    ids: &'c OrderIds,
    /// Orders that this batch took in.
    accepted: Vec<(OrderId, i64)>,
    accepted_numbers: HashMap<OrderId, i64>,
    /// What they can be found by.
    entries: Vec<Entry>,
    /// What orders that were erased can be found by no more.
    erased: BTreeSet<Entry>,
    /// Newest position of each shard before this batch.
    heads: BTreeMap<Shard, u64>,
    /// Newest position of each shard that was touched.
    positions: BTreeMap<Shard, u64>,
    /// The number that was given out last, once known.
    number: Option<i64>,
    tallies: BTreeMap<(String, String), TallyChange>,
    /// Where in a trace the present command was given.
    trace: Option<TraceContext>,
    /// Rows that were added to the action log.
    recorded: Vec<(ActionKind, Link)>,
    journal_grew: bool,
    work_due: bool,
}

/// What a batch did, for its commit.
pub(crate) struct Done {
    pub(crate) committed: Committed,
    /// The orders that it took in, by number.
    pub(crate) accepted: Vec<(OrderId, i64)>,
    /// What they can be found by.
    pub(crate) entries: Vec<Entry>,
    /// What orders that were erased can be found by no more.
    pub(crate) erased: BTreeSet<Entry>,
    /// Rows that it added to the action log.
    pub(crate) recorded: Vec<(ActionKind, Link)>,
}

/// Applies `commands` and writes everything but the COMMIT.
pub(crate) fn apply(
    conn: &Connection,
    install: &Install,
    ids: &OrderIds,
    commands: &[Command],
) -> Result<Done, Fault> {
    let mut batch = Batch {
        conn,
        install,
        ids,
        accepted: Vec::new(),
        accepted_numbers: HashMap::new(),
        entries: Vec::new(),
        erased: BTreeSet::new(),
        heads: BTreeMap::new(),
        positions: BTreeMap::new(),
        number: None,
        tallies: BTreeMap::new(),
        trace: None,
        recorded: Vec::new(),
        journal_grew: false,
        work_due: false,
    };
    let mut replies = Vec::with_capacity(commands.len());
    for command in commands {
        replies.push(match batch.command(command) {
            Ok(reply) => Ok(reply),
            Err(Error::Rejection(rejection)) => Err(rejection),
            Err(Error::Fault(fault)) => return Err(fault),
        });
    }
    batch.write_tallies().and_then(|()| batch.keep_spans()).map_err(fault)?;
    let committed = Committed { replies, journal_grew: batch.journal_grew, work_due: batch.work_due };
    let Batch { accepted, entries, erased, recorded, .. } = batch;
    Ok(Done { committed, accepted, entries, erased, recorded })
}

/// SQL that selects orders with their work; `tail` comes after the join.
fn select_orders(tail: &str) -> String {
    ["SELECT ", ORDER_COLUMNS, " FROM orders o LEFT JOIN work w USING (number) ", tail].concat()
}

static ORDER_BY_NUMBER: LazyLock<String> = LazyLock::new(|| select_orders("WHERE o.number = ?1"));

/// One order by its id, whoever owns it.
pub(crate) fn load(
    conn: &Connection,
    ids: &OrderIds,
    id: OrderId,
) -> rusqlite::Result<Option<(Order, Option<Work>)>> {
    match ids.number(conn, id)? {
        Some(number) => load_number(conn, number),
        None => Ok(None),
    }
}

/// One order by its number, whoever owns it.
pub(crate) fn load_number(conn: &Connection, number: i64) -> rusqlite::Result<Option<(Order, Option<Work>)>> {
    conn.prepare_cached(&ORDER_BY_NUMBER)?.query_row([number], rows::order).optional()
}

impl Batch<'_> {
    fn command(&mut self, command: &Command) -> Applied {
        self.trace = command.trace();
        match command {
            Command::Accept(accept) => self.accept(accept),
            Command::Change(change) => self.change(change),
            Command::Consume(consume) => self.consume(consume),
            Command::Claim(claim) => self.claim(claim),
            Command::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            Command::Settle(settle) => self.settle(settle),
            Command::Advance(advance) => self.advance(advance),
            Command::Follower(follower) => self.follower(follower),
            Command::Share(share) => self.share(share),
            Command::StartRedrive(start) => self.start_redrive(start),
            Command::StepRedrive(step) => self.step_redrive(step),
            Command::ApiKey(command) => self.api_key(command),
            Command::Secrets(command) => self.secrets(command),
            Command::Market(command) => self.market(command),
            Command::Webhook(command) => self.webhook(command),
            Command::Recorded(recorded) => self.record(recorded),
            Command::Sweep { before, limit } => self.sweep(*before, *limit),
            Command::SweepInbox { before, limit } => self.sweep_inbox(*before, *limit),
            Command::Probe => self.probe(),
        }
    }

    /// Writes what nobody reads, and more of it than an order: a commit that wrote nothing, or little, would succeed on a
    /// disk that takes no order any more.
    fn probe(&self) -> Applied {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('probe', randomblob(?1))")
            .and_then(|mut statement| statement.execute([PROBE_BYTES]))
            .map_err(fault)?;
        Ok(Reply::Done)
    }

    fn shard(&self, order_id: OrderId) -> Shard {
        order_id.shard(self.install.shards)
    }

    /// The number of an order, those of this batch included.
    fn number(&self, order_id: OrderId) -> rusqlite::Result<Option<i64>> {
        match self.accepted_numbers.get(&order_id) {
            Some(number) => Ok(Some(*number)),
            None => self.ids.number(self.conn, order_id),
        }
    }

    fn find(&self, order_id: OrderId) -> rusqlite::Result<Option<(Order, Option<Work>)>> {
        match self.number(order_id)? {
            Some(number) => load_number(self.conn, number),
            None => Ok(None),
        }
    }

    fn load(&self, order_id: OrderId) -> Applied<(Order, Option<Work>)> {
        let found = self.find(order_id).map_err(fault)?;
        Ok(found.ok_or(Rejection::OrderUnknown)?)
    }

    /// The next free position of a shard; taken once its event is written.
    fn next_position(&mut self, shard: Shard) -> Applied<u64> {
        if let Some(position) = self.positions.get(&shard) {
            return Ok(position + 1);
        }
        let newest: u64 = self
            .conn
            .prepare_cached(
                "SELECT coalesce((SELECT max(place) FROM journal WHERE place BETWEEN ?2 AND ?3), \
                 ?2 + (SELECT floor FROM journal_heads WHERE shard = ?1), ?2)",
            )
            .and_then(|mut statement| {
                let ends = params![shard.0, rows::place(shard, 0), rows::last_place(shard)];
                statement.query_row(ends, |row| Ok(rows::position(row.get(0)?)))
            })
            .map_err(fault)?;
        self.positions.insert(shard, newest);
        self.heads.insert(shard, newest);
        Ok(newest + 1)
    }

    fn keep_spans(&self) -> rusqlite::Result<()> {
        if let (Some((_, first)), Some((_, newest))) = (self.accepted.first(), self.accepted.last()) {
            span::keep_orders(self.conn, *first, *newest)?;
        }
        for (shard, newest) in &self.positions {
            let head = self.heads.get(shard).copied().unwrap_or(*newest);
            span::keep_events(self.conn, *shard, head + 1, *newest)?;
        }
        Ok(())
    }

    /// The next free number; taken by [`Batch::take_number`].
    fn next_number(&mut self) -> Applied<i64> {
        if let Some(number) = self.number {
            return Ok(number + 1);
        }
        let newest: i64 = self
            .conn
            .prepare_cached("SELECT coalesce(max(number), 0) FROM orders")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(fault)?;
        self.number = Some(newest);
        Ok(newest + 1)
    }

    /// Appends an event of `order`, which it has changed already, at `place`.
    fn append(&mut self, order: &Order, body: &EventBody, place: Place, prev_position: u64) -> Applied<()> {
        let shard = self.shard(order.id);
        self.positions.insert(shard, place.position);
        self.journal_grew = true;
        if fault_point::planted("lost-journal-row") && place.position.is_multiple_of(50) {
            return Ok(());
        }
        let kind = body.kind().ok_or_else(|| Fault::internal("an unknown event cannot be appended"))?;
        self.conn
            .prepare_cached(
                "INSERT INTO journal (place, event_id, tenant, source, order_id, number, version, prev_position, epoch, \
                 type, data_version, data, occurred_at, trace) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    rows::place(shard, place.position),
                    blob(&place.event_id.0),
                    order.tenant.as_str(),
                    order.source.as_str(),
                    blob(&order.id.0),
                    order.number,
                    order.version,
                    prev_position,
                    self.install.epoch,
                    kind.as_str(),
                    DATA_VERSION,
                    body.to_json(order),
                    place.occurred_at.micros(),
                    rows::trace_bytes(self.trace),
                ])
            })
            .map_err(fault)?;
        Ok(())
    }

    /// Lets `body` happen to `order`: row, event, tally.
    fn happen(
        &mut self,
        order: &mut Order,
        body: &EventBody,
        event_id: EventId,
        now: Timestamp,
    ) -> Applied<()> {
        let position = self.next_position(self.shard(order.id))?;
        let place = Place { event_id, position, occurred_at: now };
        let prev_position = order.last_position;
        let led = key_of(order);
        self.tally(order, -1);
        order.apply(body, place);
        self.tally(order, 1);
        self.append(order, body, place, prev_position)?;
        self.update(order, body).map_err(fault)?;
        external::enter(self.conn, led, order).map_err(fault)?;
        Ok(())
    }

    fn update(&self, order: &Order, body: &EventBody) -> rusqlite::Result<()> {
        if matches!(body, EventBody::Revised { .. } | EventBody::Erased { .. }) {
            let content = &order.content;
            self.conn
                .prepare_cached(
                    "UPDATE orders SET customer = ?2, currency = ?3, lines = ?4, total = ?5, attributes = ?6 \
                     WHERE number = ?1",
                )?
                .execute(params![
                    order.number,
                    content.customer,
                    content.currency,
                    render::lines(&content.lines),
                    content.total.to_string(),
                    render::attributes(&content.attributes),
                ])?;
            terms::revise(self.conn, order)?;
        }
        self.conn
            .prepare_cached(
                "UPDATE orders SET version = ?2, processing = ?3, fulfilment = ?4, withdrawn = ?5, attempt = ?6, \
                 last_error = ?7, updated_at = ?8, started_at = ?9, processed_at = ?10, shipped_at = ?11, \
                 tracking_number = ?12, delivered_at = ?13, cause = ?14, last_position = ?15 WHERE number = ?1",
            )?
            .execute(params![
                order.number,
                order.version,
                order.processing.word(),
                order.fulfilment.word(),
                order.withdrawn,
                order.attempt,
                order.last_error,
                order.updated_at.micros(),
                micros(order.started_at),
                micros(order.processed_at),
                micros(order.shipped_at),
                order.tracking_number,
                micros(order.delivered_at),
                blob(&order.cause.0),
                order.last_position,
            ])?;
        Ok(())
    }

    /// Does to the work row of `order` what was decided, and shows it in `order.lease`.
    fn work_effect(&mut self, order: &mut Order, effect: WorkEffect, now: Timestamp) -> Applied<()> {
        let done = match effect {
            WorkEffect::Keep => return Ok(()),
            WorkEffect::Drop => self
                .conn
                .prepare_cached("DELETE FROM work WHERE number = ?1")
                .and_then(|mut statement| statement.execute([order.number])),
            WorkEffect::Fresh => {
                self.work_due = true;
                self.conn
                    .prepare_cached(
                        "INSERT OR REPLACE INTO work (number, order_id, tenant, desk, due_at, attempt, lapses, \
                         trace) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6)",
                    )
                    .and_then(|mut statement| {
                        let (id, tenant) = (blob(&order.id.0), order.tenant.as_str());
                        let (desk, trace) = (Desk::of(&order.source).number(), rows::trace_bytes(self.trace));
                        statement.execute(params![order.number, id, tenant, desk, now.micros(), trace])
                    })
            }
            WorkEffect::Due { at, attempt, settled } => {
                self.work_due |= at <= now;
                self.conn
                    .prepare_cached(
                        "UPDATE work SET due_at = ?2, attempt = ?3, token = NULL, claimed_at = NULL, \
                         lapses = CASE WHEN ?4 THEN 0 ELSE lapses END WHERE number = ?1",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![order.number, at.micros(), attempt, settled])
                    })
            }
        };
        done.map_err(fault)?;
        order.lease = None;
        Ok(())
    }

    fn tally(&mut self, order: &Order, sign: i64) {
        let key = (order.tenant.as_str().to_owned(), order.source.as_str().to_owned());
        self.tallies.entry(key).or_default().add(order, sign);
    }

    fn write_tallies(&self) -> rusqlite::Result<()> {
        for ((tenant, source), change) in &self.tallies {
            if *change == TallyChange::default() {
                continue;
            }
            let TallyChange { orders, queued, processed, parked, processing_micros } = change;
            self.conn
                .prepare_cached(
                    "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
                     orders = orders + ?3, queued = queued + ?4, processed = processed + ?5, parked = parked + ?6, \
                     processing_micros = processing_micros + ?7",
                )?
                .execute(params![tenant, source, orders, queued, processed, parked, processing_micros])?;
        }
        Ok(())
    }
}
