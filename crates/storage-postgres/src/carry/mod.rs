//! Taking all of another storage over into an empty database, in one transaction: until it commits nobody sees anything of it,
//! and whatever breaks it off leaves the database as empty as it was.
//!
//! Rows are copied under the names of their tables and columns. What only leads to them, or counts them by shard, is made anew:
//! `standings`, `spans`, the runs of terms.

mod places;
mod table;

use crate::apply::action::add;
use crate::connect::{Conn, Purpose, Target};
use crate::error::{Tried, Trouble};
use crate::meta::Seed;
use crate::open::Options;
use crate::refusal::Unopened;
use crate::rows::{number, time, unreadable};
use crate::terms::{RUN_ORDERS, Texts};
use crate::{facts, meta, migrate, records, span, terms};
use order_core::action_log::{self, ActionKind, NewAction};
use order_core::carry::{CarryProgress, Origin, Piece, Rows, Value};
use order_core::webhook::stream::{numbers_from_text, numbers_text};
use order_core::{Fault, Timestamp, fault_point};
use places::Places;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use table::{Table, natural, order_id, place};
use tokio::sync::mpsc::Receiver;

/// Tables that are filled with what the other storage hands over, under the same name.
pub const TAKEN: &[&str] = &[
    "journal_heads",
    "journal",
    "orders",
    "external_ids",
    "work",
    "idempotency",
    "inbox",
    "tallies",
    "followers",
    "cursors",
    "parked_streams",
    "redrives",
    "redrive_items",
    "api_keys",
    "named_secrets",
    "stores",
    "imports",
    "sync_runs",
    "store_events",
    "budgets",
    "endpoints",
    "webhook_streams",
    "webhook_attempts",
    "actions",
];

/// The others, each with where what is in it comes from.
pub const MADE: &[(&str, &str)] = &[
    ("install", "what the other storage says of itself"),
    ("latches", "the schema; the end of the action log's chain is handed over"),
    ("migrations", "the migrations"),
    ("journal_parts", "the parts that events are kept in"),
    ("standings", "the states of orders"),
    ("spans", "the times of events"),
    ("term_runs", "the texts of orders"),
    ("term_blocks", "the texts of orders"),
    ("term_tail", "nothing: all texts are packed"),
    ("relays", "nothing: nobody carries followers yet"),
];

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedIn {
    /// What the server and the database are called.
    pub place: String,
    /// The epoch that it goes on with; another than before when events lie elsewhere now.
    pub epoch: u32,
    /// How many rows each table has.
    pub counts: Vec<(&'static str, u64)>,
}

/// Why nothing was taken over.
#[derive(Debug)]
pub enum NotCarried {
    /// Something is kept there; this.
    Occupied(String),
    /// The database cannot be had, or does not take it.
    Unopened(Unopened),
    /// What was to be taken over cannot be read, or not be carried.
    Source(Fault),
    /// It may have been: the answer was lost.
    Unknown(Unopened),
}

/// What is taken over.
pub struct Cargo<'c> {
    /// What the other storage says of itself.
    pub origin: &'c Origin,
    /// How many shards there are to be.
    pub shards: u16,
    /// Its rows.
    pub pieces: Receiver<Result<Piece, Fault>>,
}

const STANDINGS: &str = "INSERT INTO standings (tenant, standing, number, shard, order_id) \
     SELECT o.tenant, s.standing, o.number, o.shard, o.order_id FROM orders o CROSS JOIN LATERAL (VALUES \
     ('parked', o.processing = 'parked'), ('withdrawn', o.withdrawn), ('shipped', o.fulfilment = 'shipped'), \
     ('delivered', o.fulfilment = 'delivered')) AS s (standing, so) WHERE s.so";

const NUMBERS: &str = "SELECT setval('order_numbers', max(number)) FROM orders HAVING max(number) > 0";

const HEADS: &str = "SELECT h.shard, coalesce((SELECT max(j.position) FROM journal j WHERE j.shard = h.shard), 0) \
     FROM journal_heads h";

/// What lies behind the first parts is in the rest until the next start makes a part of that.
const PARTS: &str = "SELECT make_parts(shard, $1) FROM journal_heads";

const IDENTITY: &str = "UPDATE install SET epoch = $1, pepper_print = $2";

/// Takes everything over. `before_commit` is called once all of it is there, with the name of the place and the epoch: from then
/// on the other storage must not be used.
///
/// # Errors
/// Nothing was taken over, unless it says that this is not known.
pub async fn carry_in(
    options: &Options,
    cargo: Cargo<'_>,
    progress: &CarryProgress,
    before_commit: impl FnOnce(&str, u32) -> Result<(), Fault>,
) -> Result<CarriedIn, NotCarried> {
    let unopened = |server: &str, trouble| NotCarried::Unopened(Unopened::of(server, trouble));
    let target = Target::parse(options).map_err(|refusal| unopened("", refusal.into()))?;
    let place = target.name().to_owned();
    let of = |trouble| unopened(&place, trouble);
    let conn = target.connect(Purpose::Migrate).await.map_err(of)?;
    if let Some(what) = begin(&conn).await.map_err(of)? {
        return Err(NotCarried::Occupied(what));
    }
    let mut taker = Taker::new(&conn, &cargo, options.parts.events, progress);
    let epoch = match taker.take(cargo.pieces).await {
        Ok(epoch) => epoch,
        // What it is about the rows of is not the server's affair.
        Err(Trouble::Fault(fault @ (Fault::Internal { .. } | Fault::Data { .. }))) => {
            return Err(NotCarried::Source(fault));
        }
        Err(trouble) => return Err(of(trouble)),
    };
    let counts = taker.counts;
    before_commit(&place, epoch).map_err(NotCarried::Source)?;
    fault_point::pass("move.before_commit");
    match conn.run("COMMIT").await {
        Ok(()) => {}
        Err(trouble @ Trouble::Lost(_)) => return Err(NotCarried::Unknown(Unopened::of(&place, trouble))),
        Err(trouble) => return Err(of(trouble)),
    }
    fault_point::pass("move.after_commit");
    Ok(CarriedIn { place, epoch, counts })
}

/// Begins the transaction, unless something is kept there; then what.
async fn begin(conn: &Conn) -> Tried<Option<String>> {
    facts::of(conn).await?.check(true)?;
    // Nodes that start meanwhile wait for this, until the connection ends.
    migrate::lock(conn).await?;
    let occupied = occupied(conn).await?;
    if occupied.is_some() {
        return Ok(occupied);
    }
    conn.run("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        .await?;
    Ok(None)
}

/// What is kept in a database in which there must be nothing; `None` when that is so.
///
/// # Errors
/// When it cannot be had.
pub async fn occupants(options: &Options) -> Result<Option<String>, Unopened> {
    let target = Target::parse(options).map_err(|refusal| Unopened::of("", refusal.into()))?;
    let looking = async {
        let conn = target.connect(Purpose::Read).await?;
        facts::of(&conn).await?.check(true)?;
        occupied(&conn).await
    };
    looking.await.map_err(|trouble| Unopened::of(target.name(), trouble))
}

async fn occupied(conn: &Conn) -> Tried<Option<String>> {
    if migrate::version(conn).await? > 0 {
        return kept(conn).await.map(Some);
    }
    let ours: Vec<&str> = TAKEN.iter().copied().chain(MADE.iter().map(|(table, _)| *table)).collect();
    let sql = "SELECT string_agg(tablename::text, ', ' ORDER BY tablename) FROM pg_tables \
               WHERE schemaname = current_schema AND tablename::text = ANY ($1)";
    let taken: Option<String> = conn.query_one(sql, &[&ours]).await?.try_get(0)?;
    Ok(taken.map(|tables| ["tables of others have the names of ours: ", &tables].concat()))
}

async fn kept(conn: &Conn) -> Tried<String> {
    let counted = conn
        .query_one(
            "SELECT (SELECT count(*) FROM (SELECT FROM orders LIMIT 1000001) o), (SELECT count(*) FROM api_keys), \
             (SELECT count(*) FROM actions)",
            &[],
        )
        .await?;
    let (orders, keys, actions): (i64, i64, i64) =
        (counted.try_get(0)?, counted.try_get(1)?, counted.try_get(2)?);
    Ok(if orders + keys + actions == 0 {
        "a wellorder was set up in it, with nothing in it yet".to_owned()
    } else {
        let orders = if orders > 1_000_000 { "over 1000000".to_owned() } else { orders.to_string() };
        format!("a wellorder keeps its data in it: orders {orders}, API keys {keys}, actions {actions}")
    })
}

struct Taker<'c> {
    conn: &'c Conn,
    origin: &'c Origin,
    shards: u16,
    part_events: u64,
    progress: &'c CarryProgress,
    places: Places,
    tables: HashMap<&'static str, Table>,
    texts: Vec<Texts>,
    counts: Vec<(&'static str, u64)>,
}

impl<'c> Taker<'c> {
    fn new(conn: &'c Conn, cargo: &Cargo<'c>, part_events: u64, progress: &'c CarryProgress) -> Self {
        let (origin, shards) = (cargo.origin, cargo.shards);
        Self {
            conn,
            origin,
            shards,
            part_events,
            progress,
            places: Places::new(origin.install.shards, shards),
            tables: HashMap::new(),
            texts: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Everything but the commit; answers the epoch.
    async fn take(&mut self, mut pieces: Receiver<Result<Piece, Fault>>) -> Tried<u32> {
        let conn = self.conn;
        let now = time(&conn.query_one("SELECT clock_timestamp()", &[]).await?, 0)?;
        let before = &self.origin.install;
        if self.places.are_new() && before.shards != 1 {
            return Err(Fault::internal("the events of several shards have no one order").into());
        }
        let epoch = if self.places.are_new() { later(before.epoch, now) } else { before.epoch };
        migrate::lay(conn, now).await?;
        let seed = Seed {
            installation_id: before.installation_id,
            cursor_key: before.cursor_key,
            key_pepper: *before.key_pepper.bytes(),
            shards: self.shards,
        };
        meta::write(conn, &seed).await?;
        conn.query(PARTS, &[&big(self.part_events)?]).await?;
        loop {
            match pieces.recv().await {
                Some(Ok(Piece::Rows(rows))) => self.rows(rows, epoch).await?,
                Some(Ok(Piece::End)) => break,
                Some(Err(fault)) => return Err(fault.into()),
                None => return Err(Fault::internal("reading broke off").into()),
            }
        }
        self.run_of_texts().await?;
        self.made_anew(epoch).await?;
        self.tell(epoch, now).await?;
        self.verify().await?;
        Ok(epoch)
    }

    async fn rows(&mut self, mut rows: Rows, epoch: u32) -> Tried<()> {
        let carried = rows.rows.len() as u64;
        match rows.table {
            "journal_heads" => self.floors(&rows).await?,
            table if !TAKEN.contains(&table) => {
                return Err(Fault::internal(format!("nobody knows what {table} is")).into());
            }
            table => {
                self.fit(&mut rows, epoch)?;
                if !self.tables.contains_key(table) {
                    self.tables.insert(table, Table::of(self.conn, &rows).await?);
                }
                if let Some(form) = self.tables.get(table) {
                    form.write(self.conn, &rows, &self.places).await?;
                }
            }
        }
        if rows.table == "orders" {
            self.enter(&rows).await?;
        }
        fault_point::pass("move.mid_copy");
        self.progress.add(carried);
        Ok(())
    }

    /// Makes of rows what they are here.
    fn fit(&mut self, rows: &mut Rows, epoch: u32) -> Tried<()> {
        match rows.table {
            "journal" => {
                let (at, before, of) =
                    (place(rows, "position")?, place(rows, "prev_position")?, place(rows, "order_id")?);
                for row in &mut rows.rows {
                    let next = self.places.next(order_id(&row[of])?, natural(&row[at], "position")?)?;
                    (row[at], row[before]) = (Value::Number(big(next)?), self.moved(&row[before])?);
                }
            }
            "orders" => {
                let last = place(rows, "last_position")?;
                for row in &mut rows.rows {
                    row[last] = self.moved(&row[last])?;
                }
            }
            "followers" => {
                let at = place(rows, "epoch")?;
                for row in &mut rows.rows {
                    // One that stopped in an older history stays there.
                    if row[at] == Value::Number(self.origin.install.epoch.into()) {
                        row[at] = Value::Number(epoch.into());
                    }
                }
            }
            "cursors" => self.cursors(rows)?,
            "endpoints" => self.endpoints(rows)?,
            "webhook_streams" => {
                // Who held them has ended; where their events lie is found again.
                let forgotten = [place(rows, "token")?, place(rows, "place")?];
                rows.rows
                    .iter_mut()
                    .for_each(|row| forgotten.iter().for_each(|at| row[*at] = Value::Nothing));
            }
            _ => {}
        }
        Ok(())
    }

    fn moved(&self, position: &Value) -> Tried<Value> {
        Ok(Value::Number(big(self.places.of(natural(position, "position")?)?)?))
    }

    /// Where endpoints begin to hear of events.
    fn endpoints(&self, rows: &mut Rows) -> Tried<()> {
        let at = place(rows, "start_positions")?;
        if !self.places.are_new() {
            return Ok(());
        }
        for row in &mut rows.rows {
            let start = match &row[at] {
                Value::Text(text) => numbers_from_text(text),
                _ => None,
            };
            let start = start.and_then(|start| start.first().copied());
            let start = start.ok_or_else(|| unreadable("start_positions", "no place"))?;
            row[at] = Value::Text(numbers_text(&self.places.cursor(start)));
        }
        Ok(())
    }

    /// Nobody holds a shard of a follower yet; with other shards than before everyone has a place in each.
    fn cursors(&self, rows: &mut Rows) -> Tried<()> {
        let (shard, token) = (place(rows, "shard")?, place(rows, "token")?);
        let at = [place(rows, "position")?, place(rows, "replay_next")?, place(rows, "replay_up_to")?];
        for row in &mut rows.rows {
            row[token] = Value::Nothing;
        }
        if !self.places.are_new() {
            return Ok(());
        }
        let mut dealt = Vec::new();
        for row in std::mem::take(&mut rows.rows) {
            let mut moved = Vec::new();
            for column in at.iter().filter(|column| row[**column] != Value::Nothing) {
                moved.push((*column, self.places.cursor(natural(&row[*column], "position")?)));
            }
            for of in 0..self.shards {
                let mut row = row.clone();
                row[shard] = Value::Number(of.into());
                for (column, positions) in &moved {
                    row[*column] = Value::Number(big(positions[usize::from(of)])?);
                }
                dealt.push(row);
            }
        }
        rows.rows = dealt;
        Ok(())
    }

    /// The heads are there since the install.
    async fn floors(&self, rows: &Rows) -> Tried<()> {
        let (shard, floor) = (place(rows, "shard")?, place(rows, "floor")?);
        for row in &rows.rows {
            let (of, floor) = (natural(&row[shard], "shard")?, natural(&row[floor], "floor")?);
            if floor > 0 && self.places.are_new() {
                return Err(Fault::internal("events are missing at the beginning of the journal").into());
            }
            let of = i16::try_from(of).unwrap_or(i16::MAX);
            let sql = "UPDATE journal_heads SET floor = $2 WHERE shard = $1";
            self.conn.execute(sql, &[&of, &big(floor)?]).await?;
        }
        Ok(())
    }

    /// Notes the texts of orders.
    async fn enter(&mut self, rows: &Rows) -> Tried<()> {
        let [tenant, id, number, reference, customer] =
            ["tenant", "order_id", "number", "reference", "customer"].map(|column| place(rows, column));
        let (tenant, id, number, reference, customer) = (tenant?, id?, number?, reference?, customer?);
        for row in &rows.rows {
            let text = |column: usize| match &row[column] {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            };
            self.texts.push(Texts {
                tenant: text(tenant).unwrap_or_default().into(),
                order_id: order_id(&row[id])?.0,
                number: big(natural(&row[number], "number")?)?,
                reference: text(reference),
                customer: text(customer),
            });
        }
        if self.texts.len() >= RUN_ORDERS { self.run_of_texts().await } else { Ok(()) }
    }

    async fn run_of_texts(&mut self) -> Tried<()> {
        let texts = std::mem::take(&mut self.texts);
        if texts.is_empty() { Ok(()) } else { terms::write_run(self.conn, texts).await }
    }

    /// What leads to the rows, and what the database says of itself.
    async fn made_anew(&self, epoch: u32) -> Tried<()> {
        let conn = self.conn;
        // What follows is planned by what is there, and so is what nodes ask first.
        let analyze = ["ANALYZE ", &TAKEN.join(", ")].concat();
        conn.answered(conn.client().batch_execute(&analyze)).await?;
        conn.execute(STANDINGS, &[]).await?;
        conn.query_opt(NUMBERS, &[]).await?;
        let (mut shards, mut heads) = (Vec::<i16>::new(), Vec::<i64>::new());
        for row in &conn.query(HEADS, &[]).await? {
            shards.push(row.try_get(0)?);
            heads.push(row.try_get(1)?);
        }
        conn.execute(span::KEEP, &[&shards, &heads]).await?;
        let print = self.origin.pepper_print.map(Vec::from);
        conn.execute(IDENTITY, &[&epoch.cast_signed(), &print]).await?;
        let end = self.origin.action_end.to_bytes();
        conn.execute("UPDATE latches SET value = $1 WHERE name = 'actions'", &[&end]).await.map(drop)
    }

    async fn tell(&self, epoch: u32, now: Timestamp) -> Tried<()> {
        let before = &self.origin.install;
        let details =
            json!({ "from_epoch": before.epoch, "from_shards": before.shards, "shards": self.shards })
                .to_string();
        let (actor, subject) = (Arc::new(action_log::local()), epoch.to_string());
        let action = NewAction { actor, kind: ActionKind::DatabaseMoved, subject, details, now };
        let end = records::action_end(self.conn, before.installation_id).await?;
        let row = action_log::row(&end, (before.installation_id, epoch), &action, (None, None));
        add(self.conn, &row).await.map(drop)
    }

    /// Every table has as many rows as the one that it was filled from.
    async fn verify(&mut self) -> Tried<()> {
        for table in TAKEN {
            let sql = ["SELECT count(*) FROM ", table].concat();
            let counting = self.conn.client().query_one(sql.as_str(), &[]);
            let has: u64 = number::<_, i64>(&self.conn.answered(counting).await?, 0)?;
            let handed = self.origin.count(table);
            let expected = match *table {
                // That it was carried over is the newest.
                "actions" => handed + 1,
                "cursors" if self.places.are_new() => handed * u64::from(self.shards),
                "journal_heads" => self.shards.into(),
                _ => handed,
            };
            if has != expected {
                return Err(Fault::internal(format!("{table} has {has} rows, not {expected}")).into());
            }
            self.counts.push((table, handed));
        }
        Ok(())
    }
}

/// An epoch that no history had: seconds since 1970 are never given out again.
fn later(epoch: u32, now: Timestamp) -> u32 {
    u32::try_from(now.micros() / 1_000_000).unwrap_or(0).max(epoch + 1)
}

/// As it is kept.
fn big(number: u64) -> Tried<i64> {
    i64::try_from(number).map_err(|error| unreadable("number", error))
}
