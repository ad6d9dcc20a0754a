//! The client against servers that answer as a marketplace should not.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{MockLogin, MockMarketplace};
use crate::test_server::Server;
use crate::{Timeouts, Trust};
use order_core::marketplace::MarketplaceName;
use order_core::marketplace::calls::{Fetched, StoreAccess};
use order_core::ports::Marketplace;
use order_core::sealing::Secret;
use order_core::{Reference, StoreId, TenantId};
use std::time::Duration;
use testkit::ManualClock;

fn access() -> StoreAccess {
    StoreAccess {
        store_id: StoreId(uuid::Uuid::from_u128(1)),
        tenant: TenantId::default_tenant(),
        marketplace: MarketplaceName::Etsy,
        external_id: "ext-1".to_owned(),
        access_token: Secret::new(b"token".to_vec()),
        currency: "USD".to_owned(),
    }
}

/// What comes of a receipt where the marketplace answers so.
async fn fetched(status: &str, headers: &str, body: &str) -> Fetched {
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    fetched_at(&Server::answering(answer).await.url("")).await
}

async fn fetched_at(base: &str) -> Fetched {
    let login = MockLogin { user: "u".to_owned(), password: "p".to_owned() };
    let (clock, trust, timeouts) = (ManualClock::new(), Trust::default(), Timeouts::default());
    let marketplace =
        MockMarketplace::new(base, MarketplaceName::Etsy, login, clock, &trust, timeouts).unwrap();
    marketplace.fetch(&access(), &Reference::new("r-1").unwrap()).await.of
}

fn failed(why: &str) -> Fetched {
    Fetched::Failed { why: why.to_owned() }
}

const GOOD: &str = r#"{"status":true,"orderId":"x","amount":12.50,"currency":"USD"}"#;

#[tokio::test]
async fn an_answer_that_does_not_read_is_the_receipts_failure_and_says_why() {
    let padded = |bytes: usize| format!("{GOOD}{}", " ".repeat(bytes - GOOD.len()));
    assert!(matches!(fetched("200 OK", "", &padded(65_536)).await, Fetched::Imported(_)), "it just fits");
    for (body, why) in [
        (padded(65_537), "the answer is longer than 65536 bytes"),
        ("[".repeat(60_000), "the answer is no JSON: recursion limit exceeded at line 1 column 128"),
        ("{\"status\":".to_owned(), "the answer is no JSON: EOF while parsing a value at line 1 column 10"),
        ("[]".to_owned(), "the answer's status does not read"),
        (r#"{"status":"yes"}"#.to_owned(), "the answer's status does not read"),
        (GOOD.replace("12.50", "{}"), "the answer's amount does not read"),
        (GOOD.replace("USD", "EUR"), "the answer's currency does not read"),
    ] {
        assert_eq!(fetched("200 OK", "", &body).await, failed(why));
    }
}

#[tokio::test]
async fn only_a_fault_of_its_own_or_no_answer_at_all_says_that_a_marketplace_is_away() {
    let away = |why: &str| Fetched::Unavailable { why: why.to_owned() };
    for (status, headers, body, expected) in [
        ("302 Found", "location: http://127.0.0.1:1/\r\n", "", failed("the answer was 302")),
        ("204 No Content", "", "", failed("the answer was 204")),
        ("410 Gone", "", r#"{"error":"gone\nfor good"}"#, failed("gone for good")),
        ("422 Unprocessable Entity", "", &*"x".repeat(70_000), failed("the answer was 422")),
        ("500 Internal Server Error", "", &*"x".repeat(70_000), away("the answer was 500")),
        ("503 Service Unavailable", "", "", away("the answer was 503")),
        (
            "429 Too Many Requests",
            "retry-after: 7\r\n",
            &*"x".repeat(70_000),
            Fetched::RateLimited { retry_after: Some(Duration::from_secs(7)) },
        ),
    ] {
        assert_eq!(fetched(status, headers, body).await, expected, "{status}");
    }
    assert!(matches!(fetched_at("http://127.0.0.1:1").await, Fetched::Unavailable { .. }));
    // What breaks off said nothing.
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".to_owned();
    let server = Server::answering(short).await;
    assert!(matches!(fetched_at(&server.url("")).await, Fetched::Unavailable { .. }));
}
