//! Stores, imports and budgets: the core decides, rows are written whole. The rows of stores and budgets are locked.

use super::{Applied, Batch};
use crate::markets::{self, select_imports, select_runs, select_stores};
use crate::pipeline::Pipeline;
use crate::rows::{Moment, big, maybe_text};
use order_core::Fault;
use order_core::budget::{self, Budget, BudgetCommand};
use order_core::command::Reply;
use order_core::ids::StoreId;
use order_core::marketplace::decide::{self, Decided, Found, Wants};
use order_core::marketplace::{Import, MarketCommand, MarketReply, StoreCommand, SweepStores, SweptStores};
use std::collections::HashMap;
use uuid::Uuid;

const NAMED: &str = select_imports!("WHERE store_id = $1 AND receipt = ANY ($2::text[])");

const DUE: &str = select_imports!("WHERE store_id = $1 AND due_at <= $2 ORDER BY due_at, number LIMIT $3");

const PUT_BUDGET: &str = "UPDATE budgets SET state = $2 WHERE key = $1";

/// Deletes by place: a join would walk the table as soon as that seems to cost less.
macro_rules! sweep {
    ($table:literal, $number:literal, $newest:literal, $at:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ctid = ANY (ARRAY(SELECT h.place FROM \
               (SELECT store_id, ",
            $newest,
            " AS newest FROM stores WHERE store_id > $1 ORDER BY store_id LIMIT $2) s \
               CROSS JOIN LATERAL (SELECT max(number) FILTER (WHERE at < $4) AS upto FROM \
                 (SELECT ",
            $number,
            " AS number, ",
            $at,
            " AS at FROM ",
            $table,
            " WHERE store_id = s.store_id AND ",
            $number,
            " < s.newest ORDER BY ",
            $number,
            " LIMIT $3) n) o \
               CROSS JOIN LATERAL (SELECT ctid AS place FROM ",
            $table,
            " WHERE store_id = s.store_id AND ",
            $number,
            " <= o.upto ORDER BY ",
            $number,
            " LIMIT $3) h))"
        )
    };
}

/// Forgets old runs of a page of stores.
pub const SWEEP_RUNS: &str = sweep!("sync_runs", "run", "run", "started_at");
/// Forgets old events of a page of stores.
pub const SWEEP_EVENTS: &str = sweep!("store_events", "version", "version", "occurred_at");

impl Batch<'_> {
    pub(super) async fn market(&self, command: &MarketCommand) -> Applied {
        let reply = match command {
            MarketCommand::Store(command) => self.change_store(command).await?,
            MarketCommand::Budget(command) => self.use_budgets(command).await?,
            MarketCommand::Sweep(sweep) => self.sweep_stores(*sweep).await?,
        };
        Ok(Reply::Market(Box::new(reply)))
    }

    async fn change_store(&self, command: &StoreCommand) -> Applied<MarketReply> {
        let decided = decide::decide(self.found(command).await?, command)?;
        self.write_store(&decided).await?;
        Ok(decided.reply)
    }

    async fn found(&self, command: &StoreCommand) -> Applied<Found> {
        let id = &command.store_id.0;
        let row = self.conn.query_opt(select_stores!("WHERE store_id = $1"), &[id]).await?;
        let Some(row) = row else { return Ok(Found::default()) };
        let store = markets::read_store(&row)?;
        let run = match store.run {
            0 => None,
            run => {
                let sql = select_runs!("WHERE store_id = $1 AND run = $2");
                let row = self.conn.query_opt(sql, &[id, &big(run)]).await?;
                row.as_ref().map(markets::read_run).transpose()?
            }
        };
        let rows = match decide::wants(command) {
            Wants::Nothing => Vec::new(),
            Wants::Receipts(receipts) => self.conn.query(NAMED, &[id, &receipts]).await?,
            Wants::Due(most) => {
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                self.conn.query(DUE, &[id, &Moment(command.now), &most]).await?
            }
        };
        let imports: Result<Vec<Import>, _> = rows.iter().map(markets::read_import).collect();
        Ok(Found { store: Some(store), run, imports: imports? })
    }

    async fn write_store(&self, decided: &Decided) -> Applied<()> {
        let mut trip = Pipeline::default();
        if let Some(store) = &decided.store {
            markets::put_store(&mut trip, self.conn, store).await?;
        }
        for import in &decided.imports {
            markets::put_import(&mut trip, self.conn, import).await?;
        }
        if let Some(run) = &decided.run {
            markets::put_run(&mut trip, self.conn, run).await?;
        }
        for event in &decided.events {
            markets::add_event(&mut trip, self.conn, event).await?;
        }
        if !trip.is_empty() {
            trip.run(self.conn).await?;
        }
        for event in &decided.events {
            self.raise_of_store(event).await?;
        }
        Ok(())
    }

    /// By store, oldest numbers first: what happened before something old is old too, whatever the clock said.
    async fn sweep_stores(&self, sweep: SweepStores) -> Applied<MarketReply> {
        let after = sweep.after.map_or(Uuid::nil(), |id| id.0);
        let (stores, limit) = (i64::from(sweep.stores), i64::from(sweep.limit));
        let mut rows = 0;
        for sql in [SWEEP_RUNS, SWEEP_EVENTS] {
            rows += self.conn.execute(sql, &[&after, &stores, &limit, &Moment(sweep.before)]).await?;
        }
        let last = "SELECT store_id FROM stores WHERE store_id > $1 ORDER BY store_id OFFSET $2 LIMIT 1";
        let last = self.conn.query_opt(last, &[&after, &(stores - 1).max(0)]).await?;
        let next = last.map(|row| row.try_get(0)).transpose()?.map(StoreId);
        Ok(MarketReply::Swept(SweptStores { rows, next }))
    }

    async fn use_budgets(&self, command: &BudgetCommand) -> Applied<MarketReply> {
        let keys: Vec<&str> = command.keys().collect();
        let sql = "SELECT key, state FROM budgets WHERE key = ANY ($1::text[])";
        let mut kept: HashMap<String, Option<Budget>> = HashMap::new();
        for row in self.conn.query(sql, &[&keys]).await? {
            kept.insert(row.try_get(0)?, maybe_text(&row, 1)?);
        }
        let found = keys.iter().map(|key| kept.remove(*key).flatten()).collect();
        let (budgets, verdict) = budget::decide(found, command);
        for budget in &budgets {
            let state = budget.to_text().map_err(Fault::internal)?;
            self.conn.execute(PUT_BUDGET, &[&budget.key, &state]).await?;
        }
        Ok(MarketReply::Budget(verdict))
    }
}
