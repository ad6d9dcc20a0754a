//! The product catalogue: another system's over HTTP, kept from harm when it is in trouble, or a list in a file.

use crate::config::{Problems, Role, Settings};
use crate::output::escape;
use crate::seldom::Seldom;
use crate::{files, trust};
use async_trait::async_trait;
use metrics::{Counter, Gauge, Histogram};
use order_core::breaker::{Breaker, BreakerPolicy, Call};
use order_core::catalog::{Available, Catalog, CatalogAway, RetryBudget};
use order_core::remote::{Remote, Trouble};
use order_core::{App, Clock, Ids, Timestamp};
use outbound::{CatalogClient, CatalogTrouble};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

/// Most tries of one look-up.
const TRIES_MAX: u32 = 3;
/// The wait before the second try, and twice that before the third, of which half is chance.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// When a client may ask again, where nobody says.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Between two lines of the log about a catalogue that gives no answer.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The longest time for which a catalogue is left alone because it says so (`Retry-After`): whoever says a day may be well
/// again in a minute, and one call does no harm.
const NOT_BEFORE_MAX: Duration = Duration::from_secs(60);

/// The server behind a catalogue, if there is one.
type Shops = Option<Arc<dyn Remote>>;

/// The catalogue that the settings ask for, and the server behind it for health checks. Who takes no orders in needs none.
///
/// # Errors
/// When its address or its file cannot be used.
pub(crate) fn of(settings: &Settings, app: &App) -> Result<(Arc<dyn Catalog>, Shops), Problems> {
    if let Some(client) = client(settings)? {
        let served = HttpCatalog::new(client.clone(), settings.catalog.calls_max, app);
        return Ok((Arc::new(served), Some(Arc::new(Shop(client)))));
    }
    let listed: Arc<dyn Catalog> = match listed(settings)? {
        Some(listed) => Arc::new(listed),
        None => Arc::new(Everything),
    };
    Ok((listed, None))
}

/// Refuses what cannot be used whatever a server says.
///
/// # Errors
/// As [`of`].
pub(crate) fn check(settings: &Settings) -> Result<(), Problems> {
    client(settings)?;
    listed(settings).map(drop)
}

/// The server of the catalogue, for health checks.
///
/// # Errors
/// When its address cannot be used.
pub(crate) fn remote(settings: &Settings) -> anyhow::Result<Shops> {
    Ok(client(settings)?.map(|client| Arc::new(Shop(client)) as Arc<dyn Remote>))
}

fn client(settings: &Settings) -> Result<Option<CatalogClient>, Problems> {
    let catalog = &settings.catalog;
    let Some(url) = catalog.url.as_ref().filter(|_| settings.has_role(Role::Api)) else { return Ok(None) };
    let timeouts = outbound::Timeouts { connect: catalog.connect_timeout, total: catalog.timeout };
    let client = CatalogClient::new(url, &trust::of(settings)?, timeouts);
    client.map(Some).map_err(|error| {
        Problems::one("catalog.url", error.to_string(), "set it to the address of the catalogue")
    })
}

fn listed(settings: &Settings) -> Result<Option<Listed>, Problems> {
    let file = settings.catalog.file.as_ref().filter(|_| settings.has_role(Role::Api));
    file.map(|file| Listed::read(file)).transpose()
}

/// A catalogue in which everything can be had.
struct Everything;

#[async_trait]
impl Catalog for Everything {
    async fn available(&self, _: Uuid) -> Result<Option<Available>, CatalogAway> {
        Ok(Some(Available::Any))
    }
}

/// The products of a file, as it was at the start. What is bought takes nothing from it.
struct Listed(HashMap<Uuid, u64>);

/// A product of the file; other members are ignored.
#[derive(Deserialize)]
struct Product {
    product_id: Uuid,
    quantity: u64,
}

impl Listed {
    fn read(path: &Path) -> Result<Self, Problems> {
        const FORM: &str = r#"write [{"product_id": "UUID", "name": "…", "quantity": 7}]"#;
        const SETTING: &str = "catalog.file";
        let named = || escape(&path.display().to_string()).into_owned();
        let products: Vec<Product> =
            serde_json::from_slice(&files::read(SETTING, path)?).map_err(|error| {
                Problems::one(SETTING, format!("{} is no list of products: {error}", named()), FORM)
            })?;
        let mut listed = HashMap::new();
        for Product { product_id, quantity } in products {
            if listed.insert(product_id, quantity).is_some() {
                let what = format!("{} lists the product {product_id} twice", named());
                return Err(Problems::one(SETTING, what, "leave one of them out"));
            }
        }
        Ok(Self(listed))
    }
}

#[async_trait]
impl Catalog for Listed {
    async fn available(&self, product_id: Uuid) -> Result<Option<Available>, CatalogAway> {
        Ok(self.0.get(&product_id).copied().map(Available::Count))
    }
}

/// What was counted of look-ups.
struct Meters {
    found: Counter,
    unknown: Counter,
    failed: Counter,
    kept_away: Counter,
    retries: Counter,
    duration: Histogram,
    open: Gauge,
}

impl Meters {
    fn new() -> Self {
        metrics::describe_counter!(
            "wellorder_catalog_lookups_total",
            "Look-ups in the product catalogue, by how they ended"
        );
        metrics::describe_counter!(
            "wellorder_catalog_retries_total",
            "Calls to the product catalogue that were made once more"
        );
        metrics::describe_histogram!(
            "wellorder_catalog_call_duration_seconds",
            metrics::Unit::Seconds,
            "How long a call to the product catalogue took"
        );
        metrics::describe_gauge!(
            "wellorder_catalog_breaker_open",
            "Whether calls are kept away from the product catalogue (1), because too many failed"
        );
        let lookups = |outcome: &'static str| {
            let counter = metrics::counter!("wellorder_catalog_lookups_total", "outcome" => outcome);
            // There from the start: a rate needs a zero to rise from.
            counter.increment(0);
            counter
        };
        let retries = metrics::counter!("wellorder_catalog_retries_total");
        retries.increment(0);
        let open = metrics::gauge!("wellorder_catalog_breaker_open");
        open.set(0.0);
        Self {
            found: lookups("found"),
            unknown: lookups("unknown"),
            failed: lookups("failed"),
            kept_away: lookups("kept-away"),
            retries,
            duration: metrics::histogram!("wellorder_catalog_call_duration_seconds"),
            open,
        }
    }
}

/// What is known of a catalogue's health.
struct Health {
    breaker: Breaker,
    budget: RetryBudget,
    said: Seldom,
    failing: bool,
    /// When it said to ask again.
    not_before: Option<Timestamp>,
}

/// A catalogue over HTTP. A look-up is tried at most three times, as long as one call in ten is a retry; a catalogue that fails
/// too often is left alone but for a probe now and then; and only so many look-ups wait for it at once.
struct HttpCatalog {
    client: CatalogClient,
    health: Mutex<Health>,
    room: Semaphore,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    meters: Meters,
}

impl HttpCatalog {
    fn new(client: CatalogClient, calls_max: usize, app: &App) -> Self {
        let health = Health {
            breaker: Breaker::new(BreakerPolicy::default()),
            budget: RetryBudget::default(),
            said: Seldom::every(SAY_EVERY),
            failing: false,
            not_before: None,
        };
        Self {
            client,
            health: Mutex::new(health),
            room: Semaphore::new(calls_max),
            clock: Arc::clone(&app.clock),
            ids: Arc::clone(&app.ids),
            meters: Meters::new(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call, if neither the catalogue itself nor the breaker keeps it away.
    async fn call(&self, product_id: &str) -> Result<Option<u64>, Failed> {
        let call = self.health().ask(self.clock.now()).map_err(Failed::KeptAway)?;
        let began = Instant::now();
        let answered = self.client.quantity(product_id).await;
        self.meters.duration.record(began.elapsed().as_secs_f64());
        let mut health = self.health();
        health.breaker.ended(call, answered.is_ok(), self.clock.now());
        self.meters.open.set(if health.breaker.is_open() { 1.0 } else { 0.0 });
        let wait = answered.as_ref().err().and_then(|trouble| trouble.retry_after);
        health.not_before = wait.map(|wait| self.clock.now().plus(wait.min(NOT_BEFORE_MAX)));
        health.tell(&answered);
        answered.map_err(Failed::Trouble)
    }

    async fn look_up(&self, product_id: &str) -> Result<Option<u64>, Failed> {
        self.health().budget.earn();
        let mut tries = 1;
        loop {
            match self.call(product_id).await {
                Err(Failed::Trouble(trouble))
                    if trouble.again && tries < TRIES_MAX && self.health().budget.spend() =>
                {
                    let wait = AGAIN_AFTER * tries;
                    tokio::time::sleep(wait / 2 + (wait / 2).mul_f64(self.ids.unit())).await;
                    self.meters.retries.increment(1);
                    tries += 1;
                }
                ended => return ended,
            }
        }
    }
}

/// Why a look-up brought nothing.
enum Failed {
    Trouble(CatalogTrouble),
    KeptAway(CatalogAway),
}

impl Health {
    /// Asks for a call at `now`.
    fn ask(&mut self, now: Timestamp) -> Result<Call, CatalogAway> {
        let wait = self.not_before.map(|at| at.since(now)).unwrap_or_default();
        // A clock that was set back must not keep calls away for longer than that.
        if !wait.is_zero() && wait <= NOT_BEFORE_MAX {
            return Err(away("it said to ask later", Some(wait)));
        }
        self.not_before = None;
        self.breaker.ask(now).map_err(|wait| away("it failed too often", Some(wait)))
    }

    /// Logs when trouble begins, now and then while it lasts, and when it is over.
    fn tell(&mut self, answered: &Result<Option<u64>, CatalogTrouble>) {
        match answered {
            Err(trouble) => {
                self.failing = true;
                if self.said.due(Instant::now()) {
                    tracing::warn!(
                        why = trouble.why,
                        "the product catalogue gives no answer; orders that need it are refused"
                    );
                }
            }
            Ok(_) if self.failing => {
                self.failing = false;
                tracing::info!("the product catalogue answers again");
            }
            Ok(_) => {}
        }
    }
}

fn away(why: &str, retry_after: Option<Duration>) -> CatalogAway {
    CatalogAway { why: why.to_owned(), retry_after: retry_after.unwrap_or(RETRY_AFTER) }
}

#[async_trait]
impl Catalog for HttpCatalog {
    async fn available(&self, product_id: Uuid) -> Result<Option<Available>, CatalogAway> {
        let Ok(_turn) = self.room.try_acquire() else {
            self.meters.kept_away.increment(1);
            return Err(away("too many look-ups wait for it", None));
        };
        let product_id = product_id.to_string();
        match self.look_up(&product_id).await {
            Ok(Some(quantity)) => {
                self.meters.found.increment(1);
                Ok(Some(Available::Count(quantity)))
            }
            Ok(None) => {
                self.meters.unknown.increment(1);
                Ok(None)
            }
            Err(Failed::Trouble(trouble)) => {
                self.meters.failed.increment(1);
                Err(away(&trouble.why, trouble.retry_after))
            }
            Err(Failed::KeptAway(away)) => {
                self.meters.kept_away.increment(1);
                Err(away)
            }
        }
    }
}

/// The server of a catalogue, for health checks.
struct Shop(CatalogClient);

#[async_trait]
impl Remote for Shop {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn address(&self) -> String {
        self.0.address()
    }

    fn setting(&self) -> &'static str {
        "catalog.url"
    }

    /// Asks for a product that there is none of.
    async fn look(&self) -> Result<String, Trouble> {
        let asked = self.0.quantity(&Uuid::nil().to_string()).await;
        let fix = || format!("check that it runs, and {}", self.setting());
        asked.map(|_| "answers".to_owned()).map_err(|trouble| Trouble { why: trouble.why, fix: fix() })
    }
}
