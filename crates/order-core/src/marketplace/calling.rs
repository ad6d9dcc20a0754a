//! Calls to marketplaces: opened with the store's access token, made within the budgets, and what they give made orders.

use super::calls::{
    Answer, BudgetHint, ChangesAsked, Fetched, Imported, Listed, Operation, PAGE_BYTES_MAX,
    PAGE_RECEIPTS_MAX, StoreAccess,
};
use super::command::{ImportOutcome, MarketCommand, MarketReply};
use super::{ImportResult, Market, Store, source_of};
use crate::app::unexpected;
use crate::budget::{ALLOWANCES_MAX, Allowance, BudgetAction, BudgetCommand, Class, Verdict};
use crate::change::Target;
use crate::clock::Timestamp;
use crate::command::{ChangeKind, Command, Reply};
use crate::error::{Error, Fault, Rejection};
use crate::fault_point;
use crate::ids::{Reference, StoreId, check_text};
use crate::intake::{Accepted, Intake};
use crate::order::Content;
use crate::order::money::Money;
use crate::ports::Marketplace;
use crate::sealing::SealedColumn;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Deepest nesting of what a marketplace says of an order.
const DEPTH_MAX: usize = 32;
/// Most bytes of it, in memory.
const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// A call that may not be made before then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotBefore(pub(crate) Timestamp);

/// What came of asking for one order, as an import takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Called {
    /// That.
    Outcome(ImportOutcome),
    /// The marketplace does not let the store in; why.
    AccessRefused(String),
    /// No call was made: the budgets allow none before.
    NotAllowed(Timestamp),
}

impl Market {
    /// The connector of a store's marketplace.
    ///
    /// # Errors
    /// [`Rejection::MarketplaceUnknown`].
    pub(crate) fn connector(&self, store: &Store) -> Result<Arc<dyn Marketplace>, Error> {
        let found = self.connectors.get(&store.marketplace);
        Ok(Arc::clone(found.ok_or(Rejection::MarketplaceUnknown)?))
    }

    /// What opens a store at its marketplace.
    pub(crate) fn access(&self, store: &Store) -> Result<StoreAccess, Error> {
        let row = store.store_id.to_string();
        let place = SealedColumn::StoreAccess.of(&store.tenant, &row);
        Ok(StoreAccess {
            store_id: store.store_id,
            tenant: store.tenant.clone(),
            marketplace: store.marketplace,
            external_id: store.external_id.clone(),
            access_token: self.app.keyring()?.open(&place, &store.access_token)?,
            currency: store.currency.clone(),
        })
    }

    /// Takes what a call uses out of its budgets; waits for that at most `patience`.
    async fn allowed(
        &self,
        store_id: StoreId,
        allowances: &[Allowance],
        class: Class,
        patience: Duration,
    ) -> Result<Option<NotBefore>, Error> {
        if allowances.is_empty() {
            return Ok(None);
        }
        let give_up = self.app.clock.now().plus(patience);
        loop {
            let verdict = self.budget(store_id, allowances, BudgetAction::Take(class)).await?;
            let Verdict::Wait { until } = verdict else { return Ok(None) };
            self.stats.budget_waits.fetch_add(1, Ordering::Relaxed);
            if until > give_up || *self.app.stopping.borrow() {
                return Ok(Some(NotBefore(until)));
            }
            tokio::time::sleep(until.since(self.app.clock.now())).await;
        }
    }

    async fn budget(
        &self,
        store_id: StoreId,
        allowances: &[Allowance],
        action: BudgetAction,
    ) -> Result<Verdict, Error> {
        let allowances = allowances.iter().take(ALLOWANCES_MAX).cloned().collect();
        let command = BudgetCommand { now: self.app.clock.now(), store_id, allowances, action };
        let command = Command::Market(Box::new(MarketCommand::Budget(command)));
        match self.app.lanes.submit(command).await? {
            Reply::Market(reply) => match *reply {
                MarketReply::Budget(verdict) => Ok(verdict),
                other => Err(unexpected("a budget", &Reply::Market(Box::new(other)))),
            },
            other => Err(unexpected("a budget", &other)),
        }
    }

    /// Notes what an answer told of limits, before anything else comes of it: no crash forgets that calls are to stop.
    async fn learn<T>(
        &self,
        store_id: StoreId,
        allowances: &[Allowance],
        answer: &Answer<T>,
        limited: Option<Duration>,
    ) -> Result<(), Error> {
        let mut hints = answer.hints.clone();
        hints.extend(limited.map(BudgetHint::NotBefore));
        if !hints.is_empty() && !allowances.is_empty() {
            self.budget(store_id, allowances, BudgetAction::Learn(hints)).await?;
        }
        if limited.is_some() {
            fault_point::pass("sync.after_429");
        }
        Ok(())
    }

    /// Asks for one order, and makes it an order here.
    pub(crate) async fn call(
        &self,
        store: &Store,
        access: &StoreAccess,
        receipt: &Reference,
        (class, patience): (Class, Duration),
    ) -> Result<Called, Error> {
        let connector = self.connector(store)?;
        let allowances = connector.allowances(access, Operation::Fetch);
        if let Some(NotBefore(at)) = self.allowed(store.store_id, &allowances, class, patience).await? {
            return Ok(Called::NotAllowed(at));
        }
        self.stats.calls.fetch_add(1, Ordering::Relaxed);
        let answer = connector.fetch(access, receipt).await;
        fault_point::pass("import.after_fetch");
        let limited = match answer.of {
            Fetched::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        self.learn(store.store_id, &allowances, &answer, limited).await?;
        Ok(match answer.of {
            Fetched::Imported(imported) => Called::Outcome(self.taken_in(store, receipt, *imported).await?),
            Fetched::Invalid => Called::Outcome(ImportOutcome::Invalid),
            Fetched::Failed { why } => Called::Outcome(ImportOutcome::Failed { why }),
            Fetched::RateLimited { retry_after } => {
                Called::Outcome(ImportOutcome::RateLimited { retry_after })
            }
            Fetched::AccessRefused { why } => Called::AccessRefused(why),
            Fetched::Unavailable { why } => {
                tracing::warn!(store_id = %store.store_id, why, "the marketplace cannot be reached");
                Called::Outcome(ImportOutcome::Unavailable)
            }
        })
    }

    /// Asks for a page of what changed; `Err` within when the budgets allow no call before then.
    pub(crate) async fn call_list(
        &self,
        store: &Store,
        access: &StoreAccess,
        asked: &ChangesAsked,
        (class, patience): (Class, Duration),
    ) -> Result<Result<Listed, NotBefore>, Error> {
        let connector = self.connector(store)?;
        let allowances = connector.allowances(access, Operation::List);
        if let Some(not_before) = self.allowed(store.store_id, &allowances, class, patience).await? {
            return Ok(Err(not_before));
        }
        self.stats.calls.fetch_add(1, Ordering::Relaxed);
        let answer = connector.changed_since(access, asked).await;
        let limited = match answer.of {
            Listed::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        self.learn(store.store_id, &allowances, &answer, limited).await?;
        Ok(Ok(match answer.of {
            Listed::Page { orders, next } if orders.len() > PAGE_RECEIPTS_MAX => {
                let why = format!("a page of {} orders, more than are read, before {next:?}", orders.len());
                Listed::Unavailable { why }
            }
            Listed::Page { next: Some(next), .. } if next.len() > PAGE_BYTES_MAX || next.contains('\0') => {
                Listed::Unavailable { why: "the place of the next page is no text that is kept".to_owned() }
            }
            listed => listed,
        }))
    }

    /// Makes an order of what a marketplace gave; it is one order however often that is done. One that is here already, and of which the
    /// marketplace says otherwise than before, is revised.
    pub(crate) async fn taken_in(
        &self,
        store: &Store,
        receipt: &Reference,
        imported: Imported,
    ) -> Result<ImportOutcome, Error> {
        if let Err(why) = check(&imported) {
            return Ok(ImportOutcome::Failed { why: why.to_owned() });
        }
        let Imported { external_order_id, customer, amount, currency, imported_at, payload } = imported;
        let mut attributes = payload;
        attributes.insert("marketplace".to_owned(), store.marketplace.word().into());
        attributes.insert("organization".to_owned(), store.organization.as_str().into());
        attributes.insert("external_order_id".to_owned(), external_order_id.as_str().into());
        let lines = Vec::new();
        let content =
            Content { customer, currency: Some(currency.clone()), lines, total: amount, attributes };
        let source = source_of(store.store_id).map_err(Fault::internal)?;
        let (tenant, reference) = (store.tenant.clone(), Some(receipt.clone()));
        let said = content.clone();
        let intake = Intake { tenant, source, reference, content, key: None };
        let by = crate::action_log::current_name().unwrap_or_else(|| "sync".into());
        let (order, differs) = match self.app.accept_by(intake, Arc::clone(&by)).await {
            Ok(Accepted::New(order)) => (order, false),
            Ok(Accepted::Duplicate { order, differs }) => (order, !differs.is_empty()),
            // The receipt is to blame, and nobody else.
            Err(Error::Fault(Fault::Data { why })) => {
                tracing::warn!(store_id = %store.store_id, why, "the database refuses what a marketplace gave");
                return Ok(ImportOutcome::Failed { why: "holds what cannot be kept".to_owned() });
            }
            Err(error) => return Err(error),
        };
        fault_point::pass("import.after_accept");
        let order_id = order.id;
        let result = ImportResult { external_order_id, amount, currency, imported_at, order_id };
        let result = if differs { self.revised(store, receipt, said, result, by).await? } else { result };
        Ok(ImportOutcome::Imported(result))
    }

    /// Gives an order the content that its marketplace says now, if that is other than what it said before: what differs else was changed
    /// here, and stays. What is done already is not done again. Returns what the order is now, as its marketplace said it.
    async fn revised(
        &self,
        store: &Store,
        receipt: &Reference,
        content: Content,
        said: ImportResult,
        by: Arc<str>,
    ) -> Result<ImportResult, Error> {
        let import = self.app.storage.markets().import(store.store_id, receipt.as_str()).await?;
        let before = import.and_then(|import| import.result);
        if let Some(before) = before.as_ref().filter(|before| before.says_as(&said)) {
            return Ok(before.clone());
        }
        let source = Some(source_of(store.store_id).map_err(Fault::internal)?);
        let (tenant, order_id) = (store.tenant.clone(), said.order_id);
        let target = Target { tenant, source, order_id, expected_version: None };
        let revise = ChangeKind::Revise { content: Box::new(content), requeue: false };
        match self.app.change_by(target, revise, by).await {
            Ok(_) => Ok(said),
            // It was shipped, or withdrawn: what went out cannot be another any more.
            Err(Error::Rejection(Rejection::IllegalChange { .. })) => {
                let store_id = store.store_id;
                tracing::warn!(%store_id, %order_id, "an order changed at its marketplace too late to be revised");
                Ok(before.unwrap_or(said))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether what a marketplace gave is what an order may hold: it is input as any other.
fn check(imported: &Imported) -> Result<(), &'static str> {
    check_text(&imported.external_order_id).map_err(|_| "its id is empty, or longer than is kept")?;
    if imported.customer.as_deref().is_some_and(|customer| check_text(customer).is_err()) {
        return Err("its customer is empty, or longer than is kept");
    }
    let letters = imported.currency.bytes().all(|byte| byte.is_ascii_uppercase());
    if imported.currency.len() != 3 || !letters {
        return Err("its currency is not three capital letters");
    }
    if imported.amount < Money::ZERO {
        return Err("its amount is below zero");
    }
    let mut bytes = 0;
    let members = imported.payload.iter();
    for (key, value) in members {
        weigh(key, value, 1, &mut bytes)?;
    }
    Ok(())
}

fn weigh(key: &str, value: &Value, depth: usize, bytes: &mut usize) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("is nested too deeply");
    }
    *bytes += key.len() + size_of::<Value>();
    let nul = match value {
        Value::String(text) => {
            *bytes += text.len();
            text.contains('\0')
        }
        Value::Array(items) => {
            items.iter().try_for_each(|item| weigh("", item, depth + 1, bytes))?;
            false
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(key, value)| weigh(key, value, depth + 1, bytes))?;
            false
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    if nul || key.contains('\0') {
        return Err("holds the character U+0000");
    }
    if *bytes > PAYLOAD_BYTES_MAX { Err("is larger than is kept") } else { Ok(()) }
}
