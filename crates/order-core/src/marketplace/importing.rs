//! One receipt now: stores are registered, receipts are imported, each by one call, one row and one order, however many ask.

use super::calling::Called;
use super::calls::{Heard, Notification};
use super::command::{
    Begun, ImportOutcome, MarketCommand, MarketReply, SettleImport, StoreAction, StoreCommand,
};
use super::decide::UNAVAILABLE;
use super::rules::SYNC_AGAIN;
use super::token::KEY_NAME;
use super::{Import, ImportState, MarketplaceName, Registration, Store, SyncToken, TokenKey};
use crate::app::{App, unexpected};
use crate::budget::Class;
use crate::clock::Timestamp;
use crate::command::{Command, Reply};
use crate::error::{Error, Fault, Rejection};
use crate::fault_point;
use crate::ids::{Ids, LeaseToken, Reference, StoreId, TenantId};
use crate::ports::Marketplace;
use crate::sealing::SealedColumn;
use crate::{action_log, trace};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often the result of an import that another node is at is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How stores are synced, and receipts imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketPolicy {
    /// How long a lease of an import or a sync lasts.
    pub lease: Duration,
    /// How often it is extended while work goes on.
    pub heartbeat: Duration,
    /// Longest that a client waits for its turn at a marketplace.
    pub patience: Duration,
    /// Longest that a sync waits for its turn before it leaves the store to a later one.
    pub sync_patience: Duration,
    /// Imports that a sync leases at once.
    pub batch: usize,
    /// Batches of one sync.
    pub batches_max: u32,
    /// Pages of one sync.
    pub pages_max: u32,
    /// Stores that are synced at once.
    pub stores_at_once: usize,
    /// How often it is looked which stores are to be synced.
    pub every: Duration,
    /// How long after a sync a store is synced again, if there is something to do.
    pub again: Duration,
    /// How far back the first listing of a store goes before its registration.
    pub first_listing: Duration,
    /// By how much a listing begins before the one before it began: clocks differ, and changes may be seen late.
    pub overlap: Duration,
    /// How long runs of syncs, and events of stores, are kept at least.
    pub history_kept: Duration,
}

impl Default for MarketPolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            patience: Duration::from_secs(2),
            sync_patience: Duration::from_secs(5),
            batch: 100,
            batches_max: 10,
            pages_max: 10,
            stores_at_once: 10,
            every: Duration::from_secs(30),
            again: SYNC_AGAIN,
            first_listing: Duration::from_secs(30 * 24 * 3600),
            overlap: Duration::from_secs(10 * 60),
            history_kept: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What was done with marketplaces since the process started; read by metrics.
#[derive(Debug, Default)]
pub struct MarketStats {
    /// Calls to marketplaces.
    pub calls: AtomicU64,
    /// Times that a call had to wait for its budget.
    pub budget_waits: AtomicU64,
    /// Imports that ended, by [`ImportState`].
    pub imports: [AtomicU64; ImportState::ALL.len()],
    /// Syncs that ended, by [`super::SyncEnd`].
    pub syncs: [AtomicU64; super::SyncEnd::ALL.len()],
    /// Leases of syncs or imports that were lost while the work ran.
    pub leases_lost: AtomicU64,
}

/// The connectors of a process, by marketplace.
pub type Connectors = BTreeMap<MarketplaceName, Arc<dyn Marketplace>>;

/// The use cases of stores. Shared behind an `Arc`.
pub struct Market {
    /// The installation.
    pub app: Arc<App>,
    /// How it works.
    pub policy: MarketPolicy,
    /// What it did.
    pub stats: Arc<MarketStats>,
    pub(crate) connectors: Connectors,
    /// Counts imports that ended in this process.
    settled: watch::Sender<u64>,
}

/// What is said of a store by whoever registers it.
#[derive(Debug, Clone)]
pub struct NewStore {
    /// Whose.
    pub tenant: TenantId,
    /// Which organization of the tenant's: 1 to 255 bytes.
    pub organization: String,
    /// Where.
    pub marketplace: MarketplaceName,
    /// What the marketplace calls it: 1 to 255 bytes.
    pub external_id: String,
    /// What people call it: 1 to 255 bytes.
    pub name: String,
    /// Three letters.
    pub currency: String,
    /// What opens it at the marketplace; kept sealed.
    pub access_token: String,
}

impl Market {
    /// The use cases of `app`, with these connectors.
    pub fn new(app: Arc<App>, connectors: Connectors, policy: MarketPolicy) -> Arc<Self> {
        let (stats, settled) = (Arc::clone(&app.market_stats), watch::Sender::new(0));
        Arc::new(Self { app, policy, stats, connectors, settled })
    }

    /// The marketplaces that there are connectors for.
    pub fn marketplaces(&self) -> impl Iterator<Item = MarketplaceName> + '_ {
        self.connectors.keys().copied()
    }

    /// Makes a store, or changes what is said of it; with its sync token, which is the same each time.
    ///
    /// # Errors
    /// [`Rejection::MarketplaceUnknown`], [`Rejection::SecretsKeyMissing`]; faults of storage.
    pub async fn register(&self, new: NewStore) -> Result<(Store, SyncToken), Error> {
        let connector = self.connectors.get(&new.marketplace).ok_or(Rejection::MarketplaceUnknown)?;
        let store_id =
            StoreId::derived(&new.tenant, &new.organization, new.marketplace.word(), &new.external_id);
        let token = self.token_key().await?.token(store_id);
        let (row, ids) = (store_id.to_string(), self.app.ids.as_ref());
        let place = SealedColumn::StoreAccess.of(&new.tenant, &row);
        let access_token = self.app.keyring()?.seal(&place, new.access_token.as_bytes(), ids)?;
        let registration = Registration {
            tenant: new.tenant,
            organization: new.organization,
            marketplace: new.marketplace,
            external_id: new.external_id,
            name: new.name,
            currency: new.currency,
            access_token,
            token_hash: token.hash(),
            lists: connector.lists(),
        };
        match self.give(store_id, StoreAction::Register(Box::new(registration))).await? {
            MarketReply::Store(store) => Ok((*store, token)),
            other => Err(odd("a registration", other)),
        }
    }

    async fn token_key(&self) -> Result<TokenKey, Error> {
        let secret = self.app.named_secret(&TenantId::default_tenant(), KEY_NAME).await?;
        let key = TokenKey::from_bytes(secret.bytes());
        key.ok_or_else(|| Fault::internal("the key of sync tokens is of another length").into())
    }

    /// The sync token of a store, for its owner.
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`]; faults of storage.
    pub async fn sync_token(&self, store_id: StoreId) -> Result<SyncToken, Error> {
        Ok(self.token_key().await?.token(store_id))
    }

    /// The store of a sync token.
    ///
    /// # Errors
    /// [`Rejection::StoreUnknown`]; faults of storage.
    pub async fn store_of_token(&self, token: &SyncToken) -> Result<Store, Error> {
        let found = self.app.storage.markets().store_of_token(&token.hash()).await?;
        Ok(found.ok_or(Rejection::StoreUnknown)?)
    }

    /// A store of a tenant.
    ///
    /// # Errors
    /// [`Rejection::StoreUnknown`] for another tenant's too; faults of storage.
    pub async fn store(&self, tenant: &TenantId, store_id: StoreId) -> Result<Store, Error> {
        let found = self.app.storage.markets().store(store_id).await?;
        Ok(found.filter(|store| store.tenant == *tenant).ok_or(Rejection::StoreUnknown)?)
    }

    /// Imports a receipt, unless that was done before; returns what came of it, then or now. Who comes while somebody is at
    /// it, here or on another node, waits for that result. Goes on to its end when the asker goes away.
    ///
    /// # Errors
    /// [`Rejection::MarketplaceUnknown`], [`Rejection::SecretsKeyMissing`]; faults of storage.
    pub async fn import(self: &Arc<Self>, store: &Store, receipt: Reference) -> Result<Import, Error> {
        let (market, store) = (Arc::clone(self), store.clone());
        let (actor, context) = (action_log::current(), trace::current());
        let importing = async move { market.import_here(&store, &receipt).await };
        let importing = action_log::within(actor, trace::within(context, importing));
        tokio::spawn(importing).await.map_err(|error| Error::from(Fault::internal(error)))?
    }

    async fn import_here(&self, store: &Store, receipt: &Reference) -> Result<Import, Error> {
        let token = LeaseToken(self.app.ids.uuid_v4());
        loop {
            // Before anything is looked at: what ends from here on is noticed.
            let mut settled = self.settled.subscribe();
            let until = self.app.clock.now().plus(self.policy.lease);
            let action = StoreAction::Begin { receipt: receipt.clone(), token, until };
            let begun = match self.give(store.store_id, action).await? {
                MarketReply::Begun(begun) => begun,
                other => return Err(odd("an import", other)),
            };
            match begun {
                Begun::Yours(import) => {
                    let import = self.try_import(store, *import, token).await?;
                    // Where the lease was lost, somebody else is at it now: what comes of that counts.
                    if import.state != ImportState::Pending {
                        return Ok(import);
                    }
                }
                Begun::Stored(import) => return Ok(*import),
                Begun::InFlight { until } => {
                    if let Some(import) = self.wait(store.store_id, receipt, until, &mut settled).await? {
                        return Ok(import);
                    }
                }
            }
        }
    }

    /// Waits for the result of an import that somebody else is at; `None` when that lease ran out.
    async fn wait(
        &self,
        store_id: StoreId,
        receipt: &Reference,
        until: Timestamp,
        settled: &mut watch::Receiver<u64>,
    ) -> Result<Option<Import>, Error> {
        loop {
            let import = self.app.storage.markets().import(store_id, receipt.as_str()).await?;
            let ended = import.as_ref().is_none_or(|import| import.state != ImportState::Pending);
            if ended || self.app.clock.now() >= until {
                return Ok(import.filter(|_| ended));
            }
            tokio::select! {
                // Never closed: this very market holds the other end.
                _ = settled.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn try_import(&self, store: &Store, import: Import, token: LeaseToken) -> Result<Import, Error> {
        fault_point::pass("import.after_begin");
        let access = self.access(store);
        let called = match access {
            Ok(access) => {
                self.call(store, &access, &import.receipt, (Class::Live, self.policy.patience)).await
            }
            Err(error) => Err(error),
        };
        let now = self.app.clock.now();
        let outcome = match called {
            Ok(Called::Outcome(outcome)) => outcome,
            Ok(Called::NotAllowed(at)) => ImportOutcome::RateLimited { retry_after: Some(at.since(now)) },
            Ok(Called::AccessRefused(why)) => refused(store.store_id, &why),
            Err(error) => {
                // Through no fault of the receipt's: it is due again at once.
                let given_back = ImportOutcome::Released { at: now };
                drop(self.settle(store.store_id, &import.receipt, token, given_back, false).await);
                return Err(error);
            }
        };
        self.settle(store.store_id, &import.receipt, token, outcome, false).await
    }

    /// Ends a try of an import.
    pub(crate) async fn settle(
        &self,
        store_id: StoreId,
        receipt: &Reference,
        token: LeaseToken,
        outcome: ImportOutcome,
        of_sync: bool,
    ) -> Result<Import, Error> {
        let released = matches!(outcome, ImportOutcome::Released { .. });
        let settle = SettleImport { receipt: receipt.clone(), token, outcome, of_sync };
        let settled = self.give(store_id, StoreAction::Settle(Box::new(settle))).await;
        fault_point::pass("import.after_settle");
        self.settled.send_modify(|count| *count += 1);
        match settled {
            Ok(MarketReply::Import(import)) => {
                if !released {
                    self.count(import.state);
                }
                Ok(*import)
            }
            Ok(other) => Err(odd("the end of an import", other)),
            Err(Error::Rejection(Rejection::LeaseLost)) => {
                self.stats.leases_lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%store_id, "lost the lease of an import; what came of this try is dropped");
                let import = self.app.storage.markets().import(store_id, receipt.as_str()).await?;
                Ok(import.ok_or(Rejection::ImportUnknown)?)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn count(&self, state: ImportState) {
        let place = ImportState::ALL.iter().position(|one| *one == state);
        if let Some(count) = place.and_then(|place| self.stats.imports.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a receipt tried again by the next sync of its store, which is due at once. Until then what came of it stands.
    ///
    /// # Errors
    /// [`Rejection::StoreUnknown`], [`Rejection::ImportUnknown`]; faults of storage.
    pub async fn retry(
        &self,
        tenant: &TenantId,
        store_id: StoreId,
        receipt: Reference,
    ) -> Result<Import, Error> {
        self.store(tenant, store_id).await?;
        match self.give(store_id, StoreAction::Retry { receipt }).await? {
            MarketReply::Import(import) => Ok(*import),
            other => Err(odd("an import again", other)),
        }
    }

    /// Takes notice of what somebody tells of a store, if that is its marketplace; `false` if it is not, or there is no such store. What
    /// happened is found out by the next sync, which is due at once.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn hear(&self, store_id: StoreId, told: &Notification<'_>) -> Result<bool, Error> {
        let Some(store) = self.app.storage.markets().store(store_id).await? else { return Ok(false) };
        let Some(connector) = self.connectors.get(&store.marketplace) else { return Ok(false) };
        let receipt = match connector.hear(&store.external_id, told) {
            Heard::Stranger => return Ok(false),
            Heard::Order(receipt) => Some(receipt),
            Heard::Other => None,
        };
        self.give(store_id, StoreAction::Hear { receipt }).await.map(|_| true)
    }

    /// Has storage carry out something about a store.
    pub(crate) async fn give(&self, store_id: StoreId, action: StoreAction) -> Result<MarketReply, Error> {
        let command = StoreCommand { store_id, now: self.app.clock.now(), again: self.policy.again, action };
        let command = Command::Market(Box::new(MarketCommand::Store(command)));
        match self.app.lanes.submit(self.app.recorded(command)).await? {
            Reply::Market(reply) => Ok(*reply),
            other => Err(unexpected("something about a store", &other)),
        }
    }
}

/// What becomes of an import whose store is not let in: it waits for another access token.
pub(crate) fn refused(store_id: StoreId, why: &str) -> ImportOutcome {
    tracing::warn!(%store_id, why, "the marketplace refuses the store's access token");
    ImportOutcome::Failed { why: "access_refused".to_owned() }
}

/// A fresh token.
pub(crate) fn fresh(ids: &dyn Ids) -> LeaseToken {
    LeaseToken(ids.uuid_v4())
}

pub(crate) fn odd(command: &str, reply: MarketReply) -> Error {
    unexpected(command, &Reply::Market(Box::new(reply)))
}

impl Import {
    /// What is said of it to clients where it failed: the marketplace's message, or one of our words.
    pub fn refusal(&self) -> &str {
        self.error.as_deref().unwrap_or(UNAVAILABLE)
    }
}
