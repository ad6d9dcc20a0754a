//! Stores, imports and budgets: the core decides, rows are written whole.

use super::{Applied, Batch};
use crate::error::fault;
use crate::markets;
use order_core::budget::{self, BudgetCommand};
use order_core::command::Reply;
use order_core::marketplace::decide::{self, Decided, Found, Wants};
use order_core::marketplace::{MarketCommand, MarketReply, StoreCommand};

impl Batch<'_> {
    pub(super) fn market(&self, command: &MarketCommand) -> Applied {
        let reply = match command {
            MarketCommand::Store(command) => self.change_store(command)?,
            MarketCommand::Budget(command) => self.use_budgets(command).map_err(fault)?,
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

    fn use_budgets(&self, command: &BudgetCommand) -> rusqlite::Result<MarketReply> {
        let found = command.keys().map(|key| markets::budget(self.conn, key));
        let (budgets, verdict) = budget::decide(found.collect::<rusqlite::Result<_>>()?, command);
        for budget in &budgets {
            markets::put_budget(self.conn, budget)?;
        }
        Ok(MarketReply::Budget(verdict))
    }
}
