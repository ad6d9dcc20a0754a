//! Stores, imports and budgets: the core decides, rows are written whole. The rows of stores and budgets are locked.

use super::{Applied, Batch};
use crate::markets::{self, select_imports, select_runs, select_stores};
use crate::pipeline::Pipeline;
use crate::rows::{Moment, big, maybe_text};
use order_core::Fault;
use order_core::budget::{self, Budget, BudgetCommand};
use order_core::command::Reply;
use order_core::marketplace::decide::{self, Decided, Found, Wants};
use order_core::marketplace::{Import, MarketCommand, MarketReply, StoreCommand};
use std::collections::HashMap;

const NAMED: &str = select_imports!("WHERE store_id = $1 AND receipt = ANY ($2::text[])");

const DUE: &str = select_imports!("WHERE store_id = $1 AND due_at <= $2 ORDER BY due_at, number LIMIT $3");

const PUT_BUDGET: &str = "UPDATE budgets SET state = $2 WHERE key = $1";

impl Batch<'_> {
    pub(super) async fn market(&self, command: &MarketCommand) -> Applied {
        let reply = match command {
            MarketCommand::Store(command) => self.change_store(command).await?,
            MarketCommand::Budget(command) => self.use_budgets(command).await?,
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
