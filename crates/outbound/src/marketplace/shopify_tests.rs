//! The client against a server that answers as Shopify does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::shopify::{ANSWER_BYTES_MAX, OVERLAP, PAGE};
use super::{ShopifyClient, ShopifyOptions};
use crate::{Timeouts, Trust};
use order_core::clock::Clock;
use order_core::marketplace::MarketplaceName;
use order_core::marketplace::calls::{
    Answer, BudgetHint, ChangesAsked, Fetched, Imported, Listed, ListedContent, ListedOrder, Operation,
    StoreAccess,
};
use order_core::ports::Marketplace;
use order_core::sealing::Secret;
use order_core::{Reference, StoreId, TenantId, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use testkit::ManualClock;
use testkit::shopify::{Mishap, ShopOrder, ShopifyStandIn};

struct Rig {
    clock: Arc<ManualClock>,
    shop: ShopifyStandIn,
    client: ShopifyClient,
}

impl Rig {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let shop = ShopifyStandIn::start(clock.clone()).await;
        let options = ShopifyOptions { base: Some(shop.url()), version: "2026-10".to_owned(), secret: None };
        let timeouts = Timeouts { total: Duration::from_secs(5), ..Timeouts::default() };
        let client = ShopifyClient::new(options, clock.clone(), &Trust::default(), timeouts).unwrap();
        Self { clock, shop, client }
    }

    async fn fetch(&self, receipt: &str) -> Answer<Fetched> {
        self.client.fetch(&access("shpat_1"), &Reference::new(receipt).unwrap()).await
    }

    async fn fetched(&self, receipt: &str) -> Fetched {
        self.fetch(receipt).await.of
    }

    async fn list(&self, since: Timestamp, page: Option<String>) -> Answer<Listed> {
        self.client.changed_since(&access("shpat_1"), &ChangesAsked { since, page }).await
    }

    /// All pages since, one after the other.
    async fn listed(&self, since: Timestamp) -> Vec<ListedOrder> {
        let (mut all, mut page) = (Vec::new(), None);
        loop {
            match self.list(since, page).await.of {
                Listed::Page { orders, next } => {
                    all.extend(orders);
                    page = next;
                }
                other => panic!("no page: {other:?}"),
            }
            if page.is_none() {
                return all;
            }
        }
    }
}

fn access(token: &str) -> StoreAccess {
    StoreAccess {
        store_id: StoreId(uuid()),
        tenant: TenantId::default_tenant(),
        marketplace: MarketplaceName::Shopify,
        external_id: "my-shop".to_owned(),
        access_token: Secret::new(token.as_bytes().to_vec()),
        currency: "USD".to_owned(),
    }
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}

fn whole(order: &ListedOrder) -> &Imported {
    match &order.content {
        ListedContent::Whole(imported) => imported,
        other => panic!("not whole: {other:?}"),
    }
}

fn numbers(orders: &[ListedOrder]) -> Vec<u64> {
    orders.iter().map(|order| order.receipt.as_str().parse().unwrap()).collect()
}

#[tokio::test]
async fn an_order_is_fetched_by_its_number_with_the_digits_of_its_amount() {
    let rig = Rig::new().await;
    rig.shop.put([ShopOrder::new(1001, rig.shop.now(), "12345678901234567890.10")]);
    let Fetched::Imported(order) = rig.fetched("1001").await else { panic!("no order") };
    assert_eq!(order.external_order_id, "gid://shopify/Order/1001");
    assert_eq!(
        (order.amount.to_string().as_str(), order.currency.as_str()),
        ("12345678901234567890.10", "USD")
    );
    assert_eq!(order.customer.as_deref(), Some("gid://shopify/Customer/7"));
    assert_eq!(order.imported_at, rig.clock.now());
    assert_eq!(json!(order.payload), json!({"name": "#1001", "createdAt": "2026-01-01T00:00:00Z"}));
    let calls = rig.shop.calls();
    assert_eq!(calls[0].path, "/admin/api/2026-10/graphql.json");
    assert_eq!(calls[0].token.as_deref(), Some("shpat_1"));
    let again = rig.fetched("1001").await;
    assert_eq!(again, Fetched::Imported(order), "what is fetched twice is the same");
}

#[tokio::test]
async fn a_receipt_is_a_number_and_nothing_else_is_asked_for() {
    let rig = Rig::new().await;
    assert_eq!(rig.fetched("404").await, Fetched::Invalid);
    assert_eq!(rig.shop.calls().len(), 1);
    for none in ["#1001", "gid://shopify/Order/1", "01", "1 ", "x", "123456789012345678901", "-1", "１"] {
        assert_eq!(rig.fetched(none).await, Fetched::Invalid, "{none}");
    }
    assert_eq!(rig.shop.calls().len(), 1);
}

#[tokio::test]
async fn an_order_that_does_not_read_says_where() {
    let rig = Rig::new().await;
    let good = ShopOrder::new(1, rig.shop.now(), "19.90");
    for (pointer, value, why) in [
        ("/totalPriceSet/shopMoney/amount", json!(19.9), "amount is no text"),
        ("/totalPriceSet/shopMoney/amount", json!("1,5"), "totalPriceSet.shopMoney.amount: "),
        ("/totalPriceSet/shopMoney/amount", json!("-1"), "is negative"),
        ("/totalPriceSet/shopMoney/amount", json!("1".repeat(40)), "totalPriceSet.shopMoney.amount: "),
        ("/totalPriceSet/shopMoney", json!(null), "amount is no text"),
        ("/totalPriceSet/shopMoney/currencyCode", json!("usd"), "is no currency"),
        (
            "/totalPriceSet/shopMoney/currencyCode",
            json!("EUR"),
            "in EUR, and the store is registered with USD",
        ),
        ("/name", json!("a\u{0}b"), "name does not read"),
        ("/name", json!("x".repeat(256)), "name does not read"),
        ("/createdAt", json!(7), "createdAt does not read"),
        ("/customer", json!({"id": 7}), "customer.id does not read"),
        ("/id", json!("gid://shopify/DraftOrder/1"), "no id that reads"),
    ] {
        rig.shop.put([good.clone().with(pointer, value)]);
        match rig.fetched("1").await {
            Fetched::Failed { why: said } => assert!(said.contains(why), "{pointer}: {said}"),
            other => panic!("{pointer}: {other:?}"),
        }
    }
    rig.shop.put([good.with("/customer", json!(null))]);
    assert!(matches!(rig.fetched("1").await, Fetched::Imported(order) if order.customer.is_none()));
}

#[tokio::test]
async fn pages_are_gone_through_to_the_end_and_each_order_comes_once() {
    let rig = Rig::new().await;
    let since = rig.clock.now();
    for number in 0..2 * PAGE + 7 {
        rig.clock.advance(Duration::from_millis(1_500));
        rig.shop.put_good([number + 1]);
    }
    let all = rig.listed(since).await;
    assert_eq!(numbers(&all), (1..=2 * PAGE + 7).collect::<Vec<_>>(), "the oldest change first");
    assert!(all.iter().all(|order| whole(order).amount.to_string() == "19.90"));
    let calls = rig.shop.calls();
    assert_eq!(calls.len(), 3);
    let searched: Vec<&str> = calls.iter().map(|call| call.variables["query"].as_str().unwrap()).collect();
    assert!(searched.windows(2).all(|two| two[0] == two[1]), "a cursor is one of a search: {searched:?}");
}

#[tokio::test]
async fn what_changed_shortly_before_is_asked_for_again() {
    let rig = Rig::new().await;
    rig.clock.advance(Duration::from_secs(86_400));
    rig.shop.put_good([1]);
    rig.clock.advance(Duration::from_secs(60));
    rig.shop.put_good([2]);
    rig.clock.advance(OVERLAP - Duration::from_secs(30));
    assert_eq!(numbers(&rig.listed(rig.clock.now()).await), [2]);
}

/// A clock there that is behind ours is heard of with the first answer, and then the question is put right.
#[tokio::test]
async fn a_clock_that_is_behind_hides_nothing() {
    let rig = Rig::new().await;
    rig.clock.advance(Duration::from_secs(86_400));
    rig.shop.lag(Duration::from_secs(3_600));
    let since = rig.clock.now();
    rig.clock.advance(Duration::from_secs(10));
    rig.shop.put_good([1]);
    assert_eq!(numbers(&rig.listed(since).await), [1]);
    assert_eq!(rig.shop.calls().len(), 2, "once by the wrong clock, once by the right one");
    assert_eq!(numbers(&rig.listed(since).await), [1]);
    assert_eq!(rig.shop.calls().len(), 3, "it is known by now");
    // One that is ahead needs nothing: what changes there after a moment of ours is dated later still.
}

#[tokio::test]
async fn who_says_not_to_ask_is_not_asked_again_by_the_right_clock() {
    let rig = Rig::new().await;
    rig.shop.lag(Duration::from_secs(3_600));
    rig.shop.next(Mishap::Says(429, &[("Retry-After", "60")], "{}"));
    let said = rig.list(rig.clock.now(), None).await;
    assert_eq!(said.of, Listed::RateLimited { retry_after: Some(Duration::from_secs(60)) });
    assert_eq!(rig.shop.calls().len(), 1);
}

#[tokio::test]
async fn an_order_that_does_not_read_keeps_no_other_of_its_page() {
    let rig = Rig::new().await;
    let now = rig.shop.now();
    rig.shop.put_good([1, 4]);
    rig.shop.put([
        ShopOrder::new(2, now, "x"),
        ShopOrder::new(3, now, "1").with("/totalPriceSet", json!(null)),
        ShopOrder::new(5, now, "1").with("/id", json!(null)),
        ShopOrder { node: json!(null), ..ShopOrder::new(6, now, "1") },
    ]);
    let all = rig.listed(now).await;
    let poisoned: Vec<&str> = all
        .iter()
        .filter(|order| matches!(order.content, ListedContent::Poisoned { .. }))
        .map(|order| order.receipt.as_str())
        .collect();
    assert_eq!(poisoned[..2], ["2", "3"]);
    assert!(poisoned[2..].iter().all(|receipt| receipt.starts_with("unreadable-")), "{poisoned:?}");
    assert_eq!((all.len(), poisoned.len()), (6, 4));
    assert_eq!(rig.shop.calls().len(), 1);
}

/// Errors about parts of a page are beside what could be read of it.
#[tokio::test]
async fn a_partial_page_is_read_as_far_as_it_goes() {
    let rig = Rig::new().await;
    let now = rig.shop.now();
    rig.shop.put_good([1]);
    rig.shop.put([ShopOrder::new(2, now, "1").with("/totalPriceSet", json!(null))]);
    rig.shop.next(Mishap::Errors(json!([
        {"message": "Internal error", "path": ["orders", "nodes", 1, "totalPriceSet"],
         "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
    ])));
    let all = rig.listed(now).await;
    assert_eq!(numbers(&all), [1, 2]);
    assert!(matches!(all[0].content, ListedContent::Whole(_)));
    assert!(matches!(all[1].content, ListedContent::Poisoned { .. }));
}

/// Where a page does not read as a whole, its ids are asked for, and each order is left to be fetched by itself.
#[tokio::test]
async fn a_page_that_is_malformed_or_too_long_is_taken_apart() {
    let rig = Rig::new().await;
    let now = rig.shop.now();
    rig.shop.put_good([1, 2, 3]);
    for mishap in [
        Mishap::Says(200, &[], "{\"data\": {\"orders\": {\"nodes\": [{\"id\": "),
        Mishap::Says(200, &[], "<html>"),
        Mishap::Says(200, &[], r#"{"data": {"orders": {"edges": []}}}"#),
        Mishap::Says(200, &[], r#"{"data": {"orders": {"nodes": [], "pageInfo": {"hasNextPage": true}}}}"#),
        Mishap::Bloated(ANSWER_BYTES_MAX),
    ] {
        let before = rig.shop.calls().len();
        rig.shop.next(mishap.clone());
        let all = rig.listed(now).await;
        assert_eq!(numbers(&all), [1, 2, 3], "{mishap:?}");
        assert!(all.iter().all(|order| order.content == ListedContent::Named));
        assert_eq!(rig.shop.calls().len() - before, 2);
    }
    // An order that is too long by itself fails by itself.
    rig.shop.next(Mishap::Bloated(ANSWER_BYTES_MAX));
    assert!(matches!(rig.fetched("1").await, Fetched::Failed { why } if why.contains("longer than")));
    rig.shop.next(Mishap::Says(200, &[], "<html>"));
    rig.shop.next(Mishap::Says(200, &[], "<html>"));
    assert!(matches!(rig.list(now, None).await.of, Listed::Unavailable { why } if why.contains("no JSON")));
}

#[tokio::test]
async fn what_a_call_cost_and_what_is_left_is_told() {
    let rig = Rig::new().await;
    rig.shop.put_good([1, 2, 3]);
    let answer = rig.list(rig.shop.now(), None).await;
    let bucket = BudgetHint::Bucket { available: 995, capacity: 1_000, per_second: 50 };
    assert_eq!(answer.hints, [BudgetHint::Cost(5), bucket]);
    let uses = rig.client.allowances(&access("shpat_1"), Operation::List);
    assert_eq!((uses.len(), uses[0].units), (1, 4 * PAGE + 2));
    let one = rig.client.allowances(&access("shpat_1"), Operation::Fetch);
    assert_eq!(one[0].key, uses[0].key, "one bucket, whatever is called");
}

#[tokio::test]
async fn a_call_that_is_throttled_says_when_there_is_enough_again() {
    let rig = Rig::new().await;
    rig.shop.put_good([1]);
    rig.shop.spend(1_000.0);
    let answer = rig.list(rig.shop.now(), None).await;
    // 52 points are asked for, 50 come back each second.
    assert_eq!(answer.of, Listed::RateLimited { retry_after: Some(Duration::from_secs(2)) });
    assert_eq!(answer.hints, [BudgetHint::Bucket { available: 0, capacity: 1_000, per_second: 50 }]);
    assert_eq!(rig.fetched("1").await, Fetched::RateLimited { retry_after: Some(Duration::from_secs(1)) });
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(numbers(&rig.listed(rig.shop.now()).await), [1]);
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let rig = Rig::new().await;
    rig.shop.put_good([1]);
    let access = |why: &str| Some(why.to_owned());
    for (status, head, refused) in [
        (401, &[][..], access("Shopify refuses the access token: why")),
        (402, &[], access("the shop is frozen: why")),
        (403, &[], access("the access token may not read orders: why")),
        (404, &[], access("there is no such shop, or not this version of the API: why")),
        (423, &[], access("the shop is locked: why")),
        (500, &[], None),
        (502, &[], None),
        (503, &[], None),
        (301, &[("location", "http://169.254.169.254/")], None),
        (400, &[], None),
    ] {
        rig.shop.next(Mishap::Says(status, head, r#"{"errors": "why"}"#));
        let fetched = rig.fetched("1").await;
        rig.shop.next(Mishap::Says(status, head, r#"{"errors": [{"message": "why"}]}"#));
        let listed = rig.list(rig.shop.now(), None).await.of;
        let away = format!("Shopify answered {status}: why");
        match refused {
            Some(why) => {
                assert_eq!(fetched, Fetched::AccessRefused { why: why.clone() });
                assert_eq!(listed, Listed::AccessRefused { why });
            }
            None => {
                assert_eq!(fetched, Fetched::Unavailable { why: away.clone() });
                assert_eq!(listed, Listed::Unavailable { why: away });
            }
        }
    }
    for (head, seconds) in
        [(&[("retry-after", "7")][..], Some(7)), (&[("retry-after", "2.0")], Some(2)), (&[], None)]
    {
        let wait = seconds.map(Duration::from_secs);
        rig.shop.next(Mishap::Says(429, head, ""));
        let answer = rig.fetch("1").await;
        assert_eq!(answer.of, Fetched::RateLimited { retry_after: wait });
        assert_eq!(answer.hints, wait.map(BudgetHint::NotBefore).into_iter().collect::<Vec<_>>());
    }
    rig.shop.next(Mishap::BreaksOff);
    assert!(matches!(rig.fetched("1").await, Fetched::Unavailable { .. }));
    assert!(matches!(rig.fetched("1").await, Fetched::Imported(_)), "none of it lasts");
}

#[tokio::test]
async fn errors_of_the_query_are_told_apart() {
    let rig = Rig::new().await;
    for (code, refused) in
        [("ACCESS_DENIED", true), ("SHOP_INACTIVE", true), ("INTERNAL_SERVER_ERROR", false)]
    {
        let body: &'static str =
            format!(r#"{{"errors": [{{"message": "m", "extensions": {{"code": "{code}"}}}}]}}"#).leak();
        rig.shop.next(Mishap::Says(200, &[], body));
        let fetched = rig.fetched("1").await;
        let why = "m".to_owned();
        let expected = if refused { Fetched::AccessRefused { why } } else { Fetched::Unavailable { why } };
        assert_eq!(fetched, expected, "{code}");
    }
}

#[tokio::test]
async fn a_token_that_expired_is_refused_until_there_is_another() {
    let rig = Rig::new().await;
    rig.shop.put_good([1]);
    rig.shop.expire_token("shpat_2");
    assert!(matches!(rig.fetched("1").await, Fetched::AccessRefused { .. }));
    let since = rig.shop.now();
    assert!(matches!(rig.list(since, None).await.of, Listed::AccessRefused { .. }));
    let receipt = Reference::new("1").unwrap();
    let renewed = rig.client.fetch(&access("shpat_2"), &receipt).await.of;
    assert!(matches!(renewed, Fetched::Imported(_)));
    let calls = rig.shop.calls().len();
    assert!(matches!(
        rig.client.fetch(&access("shpat\n2"), &receipt).await.of,
        Fetched::AccessRefused { why } if !why.contains("shpat")
    ));
    assert_eq!(rig.shop.calls().len(), calls, "what is no token is not sent");
}

#[tokio::test]
async fn a_store_whose_id_is_no_name_of_a_shop_is_not_called() {
    let rig = Rig::new().await;
    for id in ["evil.example/x", "a.b", "", "127.0.0.1"] {
        let store = StoreAccess { external_id: id.to_owned(), ..access("shpat_1") };
        let fetched = rig.client.fetch(&store, &Reference::new("1").unwrap()).await.of;
        assert!(matches!(fetched, Fetched::AccessRefused { .. }), "{id}");
    }
    assert!(rig.shop.calls().is_empty());
}

#[tokio::test]
async fn a_place_that_leads_nowhere_begins_anew() {
    let rig = Rig::new().await;
    let since = rig.shop.now();
    for page in ["", "nonsense", &format!("{since}|nonsense")] {
        assert_eq!(rig.list(since, Some(page.to_owned())).await.of, Listed::PageGone, "{page}");
    }
}
