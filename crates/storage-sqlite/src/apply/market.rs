//! Stores, imports and budgets: the core decides, rows are written whole.

use super::{Applied, Batch};
use crate::error::fault;
use crate::markets;
use order_core::budget::{self, BudgetCommand};
use order_core::command::Reply;
use order_core::ids::StoreId;
use order_core::marketplace::decide::{self, Decided, Found, Wants};
use order_core::marketplace::{MarketCommand, MarketReply, StoreCommand, SweepStores, SweptStores};
use rusqlite::params;
use uuid::Uuid;

const OLD_RUNS: &str = "SELECT max(run) FROM (SELECT run, started_at FROM sync_runs \
     WHERE store_id = ?1 AND run < ?2 ORDER BY run LIMIT ?3) WHERE started_at < ?4";
const DELETE_RUNS: &str = "DELETE FROM sync_runs WHERE store_id = ?1 AND run <= ?2";
const OLD_EVENTS: &str = "SELECT max(version) FROM (SELECT version, occurred_at FROM store_events \
     WHERE store_id = ?1 AND version < ?2 ORDER BY version LIMIT ?3) WHERE occurred_at < ?4";
const DELETE_EVENTS: &str = "DELETE FROM store_events WHERE store_id = ?1 AND version <= ?2";

impl Batch<'_> {
    pub(super) fn market(&self, command: &MarketCommand) -> Applied {
        let reply = match command {
            MarketCommand::Store(command) => self.change_store(command)?,
            MarketCommand::Budget(command) => self.use_budgets(command).map_err(fault)?,
            MarketCommand::Sweep(sweep) => self.sweep_stores(*sweep).map_err(fault)?,
        };
        Ok(Reply::Market(Box::new(reply)))
    }

    fn change_store(&self, command: &StoreCommand) -> Applied<MarketReply> {
        let found = self.found(command).map_err(fault)?;
        let decided = decide::decide(found, command)?;
        self.write_store(&decided).map_err(fault)?;
        Ok(decided.reply)
    }

    fn found(&self, command: &StoreCommand) -> rusqlite::Result<Found> {
        let Some(store) = markets::store(self.conn, command.store_id)? else { return Ok(Found::default()) };
        let run = match store.run {
            0 => None,
            run => markets::run(self.conn, store.store_id, run)?,
        };
        let imports = match decide::wants(command) {
            Wants::Nothing => Vec::new(),
            Wants::Receipts(receipts) => {
                let one = |receipt: &str| markets::import(self.conn, store.store_id, receipt).transpose();
                receipts.into_iter().filter_map(one).collect::<rusqlite::Result<_>>()?
            }
            Wants::Due(most) => markets::due(self.conn, store.store_id, command.now, most)?,
        };
        Ok(Found { store: Some(store), run, imports })
    }

    fn write_store(&self, decided: &Decided) -> rusqlite::Result<()> {
        if let Some(store) = &decided.store {
            markets::put_store(self.conn, store)?;
        }
        for import in &decided.imports {
            markets::put_import(self.conn, import)?;
        }
        if let Some(run) = &decided.run {
            markets::put_run(self.conn, run)?;
        }
        for event in &decided.events {
            markets::add_event(self.conn, event)?;
            self.raise_of_store(event)?;
        }
        Ok(())
    }

    /// By store, oldest numbers first: what happened before something old is old too, whatever the clock said.
    fn sweep_stores(&self, sweep: SweepStores) -> rusqlite::Result<MarketReply> {
        let after = sweep.after.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default();
        let mut page = self.conn.prepare_cached(
            "SELECT store_id, run, version FROM stores WHERE store_id > ?1 ORDER BY store_id LIMIT ?2",
        )?;
        let mut stores = page.query(params![after, sweep.stores])?;
        let (mut rows, mut seen, mut last) = (0, 0, None);
        while let Some(row) = stores.next()? {
            let store: [u8; 16] = row.get(0)?;
            for (newest, find, delete) in
                [(row.get::<_, i64>(1)?, OLD_RUNS, DELETE_RUNS), (row.get(2)?, OLD_EVENTS, DELETE_EVENTS)]
            {
                let upto: Option<i64> = self
                    .conn
                    .prepare_cached(find)?
                    .query_row(params![store, newest, sweep.limit, sweep.before.micros()], |row| {
                        row.get(0)
                    })?;
                if let Some(upto) = upto {
                    rows += self.conn.prepare_cached(delete)?.execute(params![store, upto])? as u64;
                }
            }
            (seen, last) = (seen + 1, Some(StoreId(Uuid::from_bytes(store))));
        }
        let next = last.filter(|_| seen == sweep.stores);
        Ok(MarketReply::Swept(SweptStores { rows, next }))
    }

    fn use_budgets(&self, command: &BudgetCommand) -> rusqlite::Result<MarketReply> {
        let found = command.keys().map(|key| markets::budget(self.conn, key));
        let (budgets, verdict) = budget::decide(found.collect::<rusqlite::Result<_>>()?, command);
        for budget in &budgets {
            markets::put_budget(self.conn, budget)?;
        }
        Ok(MarketReply::Budget(verdict))
    }
}
