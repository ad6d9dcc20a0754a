//! Programs that register stores and import receipts, some of them twice at once and at two nodes; and the people of two shops
//! at Shopify, who say nothing: what they sell is found by the syncs. What was refused for now is asked for again as an operator does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::clients::{PATIENCE, Servers, Stage};
use super::imported::{Answer, Asked, Imported, Kept, Row};
use super::report::Kind;
use super::shops::{self, Shops, Verdict};
use crate::http::client::Client;
use crate::rng::Rng;
use crate::shell::wait_until;

/// Programs that import receipts, and how long each waits between two.
const ASKERS: usize = 3;
const EVERY: Duration = Duration::from_millis(250);
/// Receipts of a store, before the next one is registered.
const OF_A_STORE: u64 = 25;
/// Shops at Shopify, orders of each, and how long it takes to the next one.
const SHOPS: u64 = 2;
const OF_A_SHOP: u64 = 40;
const SOLD_EVERY: Duration = Duration::from_millis(500);
/// How long what is still to be done may take once nothing more is asked for.
const DONE_LIMIT: Duration = Duration::from_secs(90);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Leases that end, and syncs that come, within the run. A lease is longer than any pause of a process.
pub(super) const SETTINGS: [(&str, &str); 3] = [
    ("WELLORDER_MARKETPLACE_LEASE_MS", "5000"),
    ("WELLORDER_MARKETPLACE_SYNC_EVERY_MS", "500"),
    ("WELLORDER_MARKETPLACE_SYNC_AGAIN_MS", "3000"),
];

pub(super) struct Imports {
    stop: Arc<AtomicBool>,
    shops: Arc<Shops>,
    running: Vec<JoinHandle<Vec<Asked>>>,
}

/// A store as it was registered.
#[derive(Clone, PartialEq, Eq)]
struct Store {
    store_id: String,
    sync_token: String,
}

/// Somebody who asks.
struct Asker {
    stage: Arc<Stage>,
    nodes: Servers,
    rng: Rng,
    stop: Arc<AtomicBool>,
}

impl Imports {
    pub(super) fn start(stage: &Arc<Stage>, shops: &Arc<Shops>, rng: &Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asker = |id: usize| Asker {
            stage: Arc::clone(stage),
            nodes: Servers::new(&stage.addresses, id),
            rng: rng.fork(2_000 + id as u64),
            stop: Arc::clone(&stop),
        };
        let mut running = Vec::new();
        for id in 0..ASKERS {
            let mut asker = asker(id);
            running.push(thread::spawn(move || asker.ask(id)));
        }
        let (mut keeper, shelves) = (asker(ASKERS), Arc::clone(shops));
        running.push(thread::spawn(move || keeper.sell(&shelves)));
        Self { stop, shops: Arc::clone(shops), running }
    }

    /// Ends them, and waits until nothing is to be done any more, or time is up: then the checks say so. So it is when nothing was done
    /// for `stall`.
    pub(super) fn end(self, stage: &Stage, stall: Duration) -> Result<Imported> {
        self.stop.store(true, Ordering::Relaxed);
        let mut imported = Imported::default();
        for one in self.running {
            let asked = one.join().map_err(|_| anyhow!("a program that imports panicked"))?;
            imported.asked.extend(asked.into_iter().map(|asked| (asked.key(), asked)));
        }
        let mut operator = Servers::new(&stage.addresses, 0);
        for row in imported.refused() {
            imported.tried_again(&row.key(), retry(stage, &mut operator, &row));
        }
        let mut moved = (usize::MAX, Instant::now());
        wait_until(DONE_LIMIT, Duration::from_millis(500), || {
            let Ok(rows) = rows(stage, &imported) else { return false }; // they are read again
            imported.rows = rows;
            imported.count(&self.shops.calls());
            for row in imported.failed() {
                imported.tried_again(&row.key(), retry(stage, &mut operator, &row));
                imported.failures.push(row);
            }
            let open = imported.open().len();
            if open < moved.0 {
                moved = (open, Instant::now());
            }
            open == 0 || moved.1.elapsed() > stall
        });
        imported.count(&self.shops.calls());
        Ok(imported.with_account(self.shops.early(), stage.history.kills()))
    }
}

/// What is there of the receipts and shops, and the orders of the core.
pub(super) fn look(stage: &Stage, imported: &mut Imported) -> Result<()> {
    imported.rows = rows(stage, imported)?;
    for store in imported.stores() {
        let source = format!("store-{store}");
        for order in pages(stage, &format!("/v1/orders?source={source}&"), "orders")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            imported.orders.push(Kept {
                store: store.clone(),
                receipt: text(&order["reference"]),
                order_id: text(&order["order_id"]),
                total: text(&order["total"]),
                currency: text(&order["currency"]),
                external_id: text(&order["attributes"]["external_order_id"]),
            });
        }
    }
    Ok(())
}

/// How many events the syncs of stores had: one for the beginning of each, one for its end.
pub(super) fn told(stage: &Stage, stores: BTreeSet<String>) -> Result<BTreeMap<String, u64>> {
    let mut told = BTreeMap::new();
    for store in stores {
        let runs = pages(stage, &format!("/v1/stores/{store}/runs?"), "runs")?;
        let of = |run: &Value| if run["ended_at"].is_null() { 1 } else { 2 };
        told.insert(store, runs.iter().map(of).sum());
    }
    Ok(told)
}

fn rows(stage: &Stage, imported: &Imported) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for store in imported.stores() {
        for row in pages(stage, &format!("/v1/imports?store_id={store}&"), "imports")? {
            rows.push(Row::read(&row));
        }
    }
    Ok(rows)
}

/// All of a list; `path` ends where a query goes on.
fn pages(stage: &Stage, path: &str, of: &str) -> Result<Vec<Value>> {
    let mut client = Client::new(stage.address(), TIMEOUT);
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get_json(&format!("{path}limit=200{after}"))?;
        all.extend(page[of].as_array().with_context(|| format!("no `{of}`"))?.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}

/// Sends it until it is answered with 200; how often there was no answer before.
fn insist(stage: &Stage, nodes: &mut Servers, path: &str, body: &Value) -> (Option<Value>, usize) {
    let (began, body, mut broken) = (Instant::now(), body.to_string(), 0);
    loop {
        let (why, used) = match nodes.ask(|client| client.post(path, body.as_bytes())) {
            Ok(reply) if reply.status == 200 => return (reply.json().ok(), broken),
            Ok(reply) if matches!(reply.status, 408 | 429 | 503 | 504) => {
                thread::sleep(Duration::from_millis(50));
                (format!("{} {}", reply.status, reply.text()), None)
            }
            Ok(reply) => {
                let detail = format!("{} to {body}: {}", reply.status, reply.text());
                stage.violations.add(Kind::Refused, path, detail);
                return (None, broken);
            }
            Err((fault, used)) => {
                thread::sleep(Duration::from_millis(10));
                (fault.to_string(), Some(used))
            }
        };
        stage.put_off(path, &why, used);
        broken += 1;
        nodes.change();
        if began.elapsed() > PATIENCE {
            stage.violations.add(Kind::Refused, path, format!("no answer for a long time to {body}"));
            return (None, broken);
        }
    }
}

/// Has a receipt imported again by the next sync, as an operator does; how often there was no answer before.
fn retry(stage: &Stage, nodes: &mut Servers, row: &Row) -> usize {
    let path = format!("/v1/imports/{}/{}/retry", row.store, row.receipt);
    insist(stage, nodes, &path, &json!({ "now": true })).1
}

impl Asker {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Registers a store, some twice at once: it is the same both times.
    fn register(&mut self, marketplace: &str, external: &str, token: &str) -> Option<Store> {
        let new = json!({
            "organizationId": self.stage.run, "marketplace": marketplace, "externalStoreId": external,
            "storeName": external, "accessToken": token, "currency": "EUR",
        });
        let times = if self.rng.chance(30) { 2 } else { 1 };
        let mut said =
            self.at_once(times, "/marketplace/stores/register", &new).into_iter().map(|(said, _)| said);
        let read = |said: Option<Value>| {
            let text = |name: &str| Some(said.as_ref()?[name].as_str()?.to_owned());
            Some(Store { store_id: text("storeId")?, sync_token: text("syncToken")? })
        };
        let store = said.next().and_then(read);
        if said.any(|other| read(other) != store) {
            self.stage.violations.add(Kind::Identity, external, "registered twice, and two stores");
        }
        store
    }

    /// The same request so often at once, each at another node if there is one.
    fn at_once(&mut self, times: usize, path: &str, body: &Value) -> Vec<(Option<Value>, usize)> {
        if times == 1 {
            return vec![insist(&self.stage, &mut self.nodes, path, body)];
        }
        let stage = &self.stage;
        let one = |number: usize| insist(stage, &mut Servers::new(&stage.addresses, number), path, body);
        thread::scope(|scope| {
            let asking: Vec<_> = (0..times).map(|number| scope.spawn(move || one(number))).collect();
            asking.into_iter().map(|one| one.join().unwrap_or_default()).collect()
        })
    }

    /// Asks for a receipt of a store, so often at once.
    fn give(&mut self, store: &Store, asked: &mut Asked, times: usize) {
        let body = json!({ "syncToken": store.sync_token, "receipt": asked.receipt });
        for (said, broken) in self.at_once(times, "/marketplace/orders/import", &body) {
            asked.broken += broken;
            asked.answers.extend(said.as_ref().map(Answer::read));
        }
    }

    /// Imports receipts, of one store after another.
    fn ask(&mut self, id: usize) -> Vec<Asked> {
        let mut done: Vec<(Store, Asked)> = Vec::new();
        let (mut n, mut store) = (0, None);
        while !self.stopped() {
            if n % OF_A_STORE == 0 {
                let marketplace = if self.rng.chance(50) { "etsy" } else { "amazon" };
                store = self.register(marketplace, &format!("ext-{id}-{n}"), "token");
            }
            let Some(store) = store.clone() else { break }; // that is a violation already
            // Any two digits at the end: all that can be said of a receipt is said of some.
            let receipt = format!("{}-{id}-{n}-{}", self.stage.run, self.rng.between(100, 199));
            let mut asked = Asked::new(&store.store_id, &receipt, shops::verdict(&receipt));
            let times = if self.rng.chance(50) { self.rng.between(2, 3) as usize } else { 1 };
            self.give(&store, &mut asked, times);
            asked.answered();
            let again = match asked.verdict {
                Verdict::Busy => self.rng.chance(70),
                Verdict::Nothing => self.rng.chance(20),
                Verdict::Order { .. } => false,
            };
            if again {
                let row = Row::of(&asked);
                asked.tried_again(retry(&self.stage, &mut self.nodes, &row));
                if self.rng.chance(50) {
                    self.give(&store, &mut asked, 1); // beside the sync, perhaps
                }
            }
            done.push((store, asked));
            if self.rng.chance(20) {
                let old = self.rng.between(0, done.len() as u64 - 1) as usize;
                if let Some((store, mut asked)) = done.get(old).cloned() {
                    self.give(&store, &mut asked, 1);
                    done[old].1 = asked;
                }
            }
            n += 1;
            thread::sleep(EVERY);
        }
        done.into_iter().map(|(_, asked)| asked).collect()
    }

    /// Sells orders in shops that the syncs list, and imports some of them besides.
    fn sell(&mut self, shelves: &Shops) -> Vec<Asked> {
        let mut done = Vec::new();
        let mut stores = Vec::new();
        for shop in 0..SHOPS {
            let token = format!("shpat-{shop}");
            // One that is there before it is registered.
            done.push((shop, 1, self.put(shelves, &token, 1)));
            stores.extend(self.register("shopify", &format!("shop-{shop}"), &token));
        }
        let mut asked: Vec<Asked> = Vec::new();
        for (shop, number, verdict) in done {
            asked.extend(
                stores.get(shop as usize).map(|store| Asked::listed(&store.store_id, number, verdict)),
            );
        }
        for number in 2..=OF_A_SHOP {
            for (shop, store) in stores.clone().iter().enumerate() {
                if self.stopped() {
                    return asked;
                }
                let verdict = self.put(shelves, &format!("shpat-{shop}"), number);
                let mut sold = Asked::listed(&store.store_id, number, verdict);
                if self.rng.chance(20) {
                    self.give(store, &mut sold, 1);
                }
                asked.push(sold);
                thread::sleep(SOLD_EVERY);
            }
        }
        asked
    }

    fn put(&mut self, shelves: &Shops, token: &str, number: u64) -> Verdict {
        let amount = format!("{}.{:02}", self.rng.between(1, 99_999), self.rng.between(0, 99));
        shelves.put(token, number, &amount);
        shops::listed(number, &amount)
    }
}
