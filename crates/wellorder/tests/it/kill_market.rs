//! The process is killed while it imports and while it syncs: whoever comes next finds one import and one order of each receipt, and
//! asks nobody who said not to ask.

use crate::KEPT;
use crate::harness::{Builder, Home, Kept, Server, eventually, post_in_peril};
use order_core::{Clock, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use testkit::ManualClock;
use testkit::shopify::{Mishap, ShopOrder, ShopifyStandIn};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A server that takes up what another one had in hands that was killed: at its start what is of its own folder, else as soon
/// as the lease has run out. It syncs when it is asked to.
fn server(home: &Arc<Home>) -> Builder {
    let lease = match KEPT {
        // The lease outlasts the test: what runs again was made due, it did not run out.
        Kept::InFolder => "3600000",
        Kept::OnServer => "2000",
    };
    home.server().args(&["--role", "api"]).env("WELLORDER_MARKETPLACE_LEASE_MS", lease)
}

fn doomed(builder: Builder, point: &str) -> Builder {
    builder.env("WELLORDER_KILLPOINT", &format!("{point}:1"))
}

/// Registers the store; answers its sync token.
async fn token(server: &Server) -> String {
    let said = json!({ "organizationId": "org-1", "marketplace": "etsy", "externalStoreId": "ext-1",
        "storeName": "My store", "accessToken": "token", "currency": "USD" });
    let body = said.to_string();
    let reply = server.send("POST", "/marketplace/stores/register", JSON, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["syncToken"].as_str().unwrap().to_owned()
}

async fn import(server: &Server, token: &str) -> Option<Value> {
    let body = json!({ "syncToken": token, "receipt": "test1" }).to_string();
    let reply = post_in_peril(&mut server.connect().await, "/marketplace/orders/import", &[], &body).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Some(reply.json())
}

async fn killed(point: &str, orders_left: u64) {
    let home = Home::new();
    let dying = doomed(server(&home), point).start().await;
    let first = token(&dying).await;
    assert_eq!(import(&dying, &first).await, None, "{point}");
    assert!(dying.ended().await.was_killed(), "{point}");
    assert_eq!(home.audited()["orders"], orders_left, "{point}");
    let server = server(&home).start().await;
    let again = token(&server).await;
    assert_eq!(again, first, "{point}: a store keeps its token");
    // Where others may be alive, the lease of the dead one runs out first.
    let found = import(&server, &again).await.unwrap();
    assert_eq!(found["success"], true, "{point}: {found}");
    assert_eq!(import(&server, &again).await.unwrap(), found, "{point}: it has its result");
    let orders = server.json("/v1/orders").await["orders"].as_array().unwrap().clone();
    assert_eq!(orders.len(), 1, "{point}");
    assert_eq!(orders[0]["reference"], "test1", "{point}");
    assert_eq!(orders[0]["attributes"]["external_order_id"], found["orderId"], "{point}");
    drop(server);
    assert_eq!(home.audited()["orders"], 1, "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_order_is_there_leaves_none_and_the_receipt_is_imported_once() {
    for point in ["import.after_begin", "import.after_fetch"] {
        killed(point, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_order_is_there_makes_no_second_one() {
    for point in ["import.after_accept", "import.after_settle"] {
        killed(point, 1).await;
    }
}

/// A shop at Shopify, and a server that knows it; whatever else listens there is nobody's business here.
struct AtShopify {
    clock: Arc<ManualClock>,
    shop: ShopifyStandIn,
    home: Arc<Home>,
}

impl AtShopify {
    async fn new() -> Self {
        let clock = ManualClock::new();
        Self { shop: ShopifyStandIn::start(clock.clone()).await, clock, home: Home::new() }
    }

    fn server(&self) -> Builder {
        server(&self.home)
            .env("WELLORDER_MARKETPLACE_SHOPIFY", "admin")
            .env("WELLORDER_MARKETPLACE_SHOPIFY_URL", &self.shop.url())
    }

    /// Registers the store, and puts orders of these numbers there, changed just now.
    async fn store(&self, server: &Server, numbers: std::ops::RangeInclusive<u64>) -> Value {
        let said = json!({ "organization": "org-1", "marketplace": "shopify", "external_id": "shop",
            "name": "My store", "access_token": "shpat_1", "currency": "USD" });
        let store = server.post("/v1/stores", &said.to_string()).await;
        assert!((200..300).contains(&store.status), "{}", store.text());
        let store = store.json();
        let now = Timestamp::parse(store["created_at"].as_str().unwrap()).unwrap();
        // The clocks there and here are the same.
        self.clock.advance(now.since(self.clock.now()));
        self.shop.put(numbers.map(|number| ShopOrder::new(number, now, "19.90")));
        store
    }
}

/// Asks for a round over the stores; `None` when the server is gone before it answers.
async fn sync(server: &Server) -> Option<Value> {
    let reply = post_in_peril(&mut server.connect().await, "/v1/syncs", &[], "").await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Some(reply.json())
}

/// Asks until one store was synced: where others may be alive, the lease of a dead one runs out first.
async fn until_synced(server: &Server) {
    eventually("a sync of the store", async || {
        let round = sync(server).await.unwrap();
        (round["synced"] == 1).then_some(())
    })
    .await;
}

/// The page is read again, and nothing of it is there twice; what is counted, is counted from rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_a_page_and_its_place_makes_nothing_twice() {
    let at = AtShopify::new().await;
    let dying = doomed(at.server(), "sync.after_upsert").start().await;
    let store = at.store(&dying, 1..=60).await;
    assert_eq!(sync(&dying).await, None);
    assert!(dying.ended().await.was_killed());
    assert_eq!(at.home.audited()["orders"], 50, "the orders of the first page");
    assert_eq!(at.shop.calls().len(), 1);
    let server = at.server().start().await;
    until_synced(&server).await;
    let calls = at.shop.calls();
    assert_eq!(calls.len(), 3, "the first page again, and the second");
    assert_eq!(calls[0].variables, calls[1].variables, "from the same place");
    let seen = server.json(&format!("/v1/stores/{}", store["store_id"].as_str().unwrap())).await;
    assert_eq!(seen["imports"]["success"], 60, "{seen}");
    let runs = server.json(&format!("/v1/stores/{}/runs", store["store_id"].as_str().unwrap())).await;
    assert_eq!(
        (runs["runs"].as_array().unwrap().len(), &runs["runs"][0]["success"]),
        (1, &json!(60)),
        "{runs}"
    );
    drop(server);
    let report = at.home.audited();
    assert_eq!(json!([report["orders"], report["events"]]), json!([60, 60]), "each once");
}

/// Who was told to stay away stays away, whoever it was told.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_a_429_forgets_not_that_calls_are_to_stop() {
    let at = AtShopify::new().await;
    let dying = doomed(at.server(), "sync.after_429").start().await;
    let store = at.store(&dying, 1..=3).await;
    at.shop.next(Mishap::Says(429, &[("Retry-After", "3600")], "{}"));
    assert_eq!(sync(&dying).await, None);
    assert!(dying.ended().await.was_killed());
    assert_eq!(at.shop.calls().len(), 1);
    let server = at.server().start().await;
    until_synced(&server).await;
    assert_eq!(at.shop.calls().len(), 1, "no call before the hour is over");
    let seen = server.json(&format!("/v1/stores/{}", store["store_id"].as_str().unwrap())).await;
    let moment = |name: &str| Timestamp::parse(seen[name].as_str().unwrap()).unwrap();
    assert!(moment("next_sync_at") > moment("created_at").plus(Duration::from_secs(3_500)), "{seen}");
    let receipt = json!({ "store_id": store["store_id"], "receipt": "1" }).to_string();
    let asked = server.post("/v1/imports", &receipt).await.json();
    assert_eq!(asked["state"], "rate_limited", "nor for a client: {asked}");
    assert_eq!(at.shop.calls().len(), 1);
    drop(server);
    assert_eq!(at.home.audited()["orders"], 0);
}
