//! The contract `sales`, as a client of it finds it.

use crate::harness::{Answer, Home, Receiver, Server};
use crate::login::{SECRET, Token, ask};
use crate::{is_moment, names};
use serde_json::{Value, json};
use testkit::http::Reply;

const PRODUCT: &str = "16fd2706-8baf-433b-82eb-8c7fada847da";
const STOCK: &str = r#"{"product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","name":"Tea","quantity":7}"#;
const ORDER: [&str; 10] = [
    "order_id",
    "user_id",
    "product_id",
    "quantity",
    "status",
    "idempotency_key",
    "created_at",
    "shipped_at",
    "delivered_at",
    "updated_at",
];

pub(crate) fn body(key: &str, quantity: u32) -> String {
    json!({
        "idempotency_key": key,
        "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "product_id": PRODUCT,
        "quantity": quantity,
    })
    .to_string()
}

fn code(reply: &Reply) -> String {
    let entry = reply.json()["errors"][0].clone();
    assert_eq!(entry["error_severity"], "error", "{}", reply.text());
    entry["error_code"].as_str().unwrap().to_owned()
}

/// Posts an order as somebody of the tenant `default`.
async fn sell(server: &Server, base: &str, body: &str) -> Reply {
    let bearer = Token::all("default").bearer();
    ask(server, "POST", &format!("{base}/api/v1/orders"), Some(&bearer), Some(body)).await
}

#[tokio::test]
async fn every_documented_request_works_at_the_root_and_under_the_prefix() {
    let server = Server::builder().args(&["--as", "sales"]).env("JWT_SECRET", SECRET).start().await;
    assert!(server.started["token"].is_null(), "who has the secret makes tokens");
    let bearer = Token::all("default").bearer();
    for (base, key) in [("", "k-1"), ("/sales", "k-2")] {
        let created = sell(&server, base, &body(key, 2)).await;
        assert_eq!(created.status, 201, "{}", created.text());
        let made = created.json();
        assert_eq!(names(&made), ["order_id", "status", "created_at"]);
        assert_eq!(made["status"], "Pending Shipment");
        let path = format!("{base}/api/v1/orders/{}", made["order_id"].as_str().unwrap());
        let read = ask(&server, "GET", &path, Some(&bearer), None).await;
        assert_eq!(read.status, 200, "{}", read.text());
        let order = read.json();
        assert_eq!(names(&order), ORDER);
        assert!(is_moment(&order["created_at"], 3) && order["created_at"] == made["created_at"], "{order}");
        assert_eq!(json!([order["quantity"], order["shipped_at"]]), json!([2, null]));
        let listed = ask(&server, "GET", &format!("{base}/api/v1/orders"), Some(&bearer), None).await.json();
        assert_eq!(listed[0]["order_id"], order["order_id"]);

        let again = sell(&server, base, &body(key, 2)).await;
        assert_eq!((again.status, code(&again)), (409, "DUPLICATE_IDEMPOTENCY_KEY".to_owned()));
        assert_eq!(again.json()["errors"][0]["order_id"], made["order_id"]);
        let lacking =
            sell(&server, base, r#"{"user_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","quantity":1}"#).await;
        assert_eq!(
            (lacking.status, lacking.json()["errors"][0]["error_description"].clone()),
            (400, "Product ID is required".into())
        );
        let nobody = ask(&server, "GET", &path, None, None).await;
        assert_eq!((nobody.status, code(&nobody)), (401, "UNAUTHORIZED".to_owned()));
        let never = format!("{base}/api/v1/orders/00000000-0000-0000-0000-000000000000");
        let missing = ask(&server, "GET", &never, Some(&bearer), None).await;
        assert_eq!((missing.status, code(&missing)), (404, "ORDER_NOT_FOUND".to_owned()));
        let foreign = ask(&server, "GET", &path, Some(&Token::all("other").bearer()), None).await;
        assert_eq!((foreign.status, code(&foreign)), (404, "ORDER_NOT_FOUND".to_owned()));

        let health = server.json(&format!("{base}/health")).await;
        assert_eq!(health, json!({ "status": "healthy", "database": true, "rabbitmq": null, "kafka": null }));
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"), "{metrics:?}");
    let counted =
        r#"wellorder_http_requests_total{mount="sales",method="POST",route="/api/v1/orders",status="201"}"#;
    for shown in [counted, "wellorder_http_request_duration_seconds_bucket", "wellorder_lane_queue_depth "] {
        assert!(metrics.text().contains(shown), "{shown}: {}", metrics.text());
    }
    assert!(!metrics.text().contains("mount=\"v1\""), "{}", metrics.text());
}

#[tokio::test]
async fn without_a_secret_dev_makes_one_that_outlives_it_and_prints_a_token() {
    let home = Home::new();
    let server = home.server().args(&["--as", "sales"]).start().await;
    let bearer = format!("Bearer {}", server.started["token"].as_str().unwrap());
    let post = async |server: &Server, bearer: &str, key: &str| {
        ask(server, "POST", "/api/v1/orders", Some(bearer), Some(&body(key, 1))).await.status
    };
    assert_eq!(post(&server, &bearer, "k-1").await, 201);
    assert_eq!(ask(&server, "GET", "/api/v1/orders", None, None).await.status, 401, "in dev too");
    let server = server.restart().await;
    assert_eq!(post(&server, &bearer, "k-2").await, 201);
    let more = home.run(&["token", "--scope", "orders:write", "--json"]);
    assert_eq!(more.code(), 0, "{more:?}");
    let more = format!("Bearer {}", more.json()["token"].as_str().unwrap());
    assert_eq!(post(&server, &more, "k-3").await, 201);
}

#[tokio::test]
async fn a_catalogue_in_a_file_says_what_can_be_had() {
    let home = Home::new();
    let file = home.path().join("catalog.json");
    std::fs::write(&file, format!("[{STOCK}]")).unwrap();
    let server =
        home.server().env("JWT_SECRET", SECRET).env("WELLORDER_CATALOG_FILE", &file.display().to_string());
    let server = server.start().await;
    assert_eq!(sell(&server, "/sales", &body("a", 7)).await.status, 201);
    let short = sell(&server, "/sales", &body("b", 8)).await;
    assert_eq!((short.status, code(&short)), (409, "PRODUCT_UNAVAILABLE".to_owned()));
    let other = body("c", 1).replace(PRODUCT, "00000000-0000-0000-0000-000000000001");
    assert_eq!(code(&sell(&server, "/sales", &other).await), "PRODUCT_UNAVAILABLE");
}

#[tokio::test]
async fn a_catalogue_that_is_no_list_of_products_is_named_at_the_start() {
    for (text, why) in
        [("{", "no list of products"), ("[{}]", "no list of products"), ("", "no list of products")]
    {
        let home = Home::new();
        let file = home.path().join("catalog.json");
        std::fs::write(&file, text).unwrap();
        let ended =
            home.server().env("WELLORDER_CATALOG_FILE", &file.display().to_string()).try_start().await;
        let ended = ended.err().expect("it must not start");
        assert!(format!("{ended:?}").contains(why), "{ended:?}");
        // What a setting must mend is told before anything is begun, and a supervisor need not start it again.
        assert_eq!((ended.code(), home.database().exists()), (2, false), "{ended:?}");
        let worker = home.server().env("WELLORDER_CATALOG_FILE", &file.display().to_string());
        let worker = worker.args(&["--role", "worker"]).start().await;
        assert_eq!(worker.terminate().await.code(), 0, "who takes no orders in needs no catalogue");
    }
}

/// A server whose catalogue answers so.
async fn beside(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> (Server, Receiver) {
    let shop = Receiver::start(move |call| answer(call.before)).await;
    let server = Server::builder()
        .env("JWT_SECRET", SECRET)
        .env("PRODUCT_SERVICE_URL", &shop.url())
        .env("WELLORDER_CATALOG_TIMEOUT_MS", "200")
        .start()
        .await;
    (server, shop)
}

/// That an order is refused for want of a catalogue, and that nothing was written.
async fn unavailable(server: &Server) -> Reply {
    let refused = sell(server, "/sales", &body("k", 1)).await;
    assert_eq!(
        (refused.status, code(&refused)),
        (503, "CATALOG_UNAVAILABLE".to_owned()),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let (events, _) = server.feed(10).await;
    assert_eq!(events, Vec::<Value>::new());
    refused
}

#[tokio::test]
async fn a_catalogue_is_asked_before_and_not_for_what_was_made() {
    let (server, shop) = beside(|_| Answer::Tells(200, STOCK)).await;
    assert_eq!(sell(&server, "/sales", &body("a", 7)).await.status, 201);
    assert_eq!(sell(&server, "/sales", &body("b", 8)).await.status, 409);
    assert_eq!(code(&sell(&server, "/sales", &body("a", 7)).await), "DUPLICATE_IDEMPOTENCY_KEY");
    assert_eq!(shop.calls().len(), 2);
}

#[tokio::test]
async fn a_catalogue_that_stumbles_is_asked_three_times() {
    let (server, shop) = beside(|before| match before {
        0 => Answer::Says(500, ""),
        1 => Answer::Says(503, ""),
        _ => Answer::Tells(200, STOCK),
    })
    .await;
    assert_eq!(sell(&server, "/sales", &body("a", 1)).await.status, 201);
    assert_eq!(shop.calls().len(), 3);
}

#[tokio::test]
async fn a_catalogue_that_hangs_is_down_or_talks_nonsense_keeps_orders_out() {
    let (server, shop) = beside(|_| Answer::Nothing).await;
    unavailable(&server).await;
    assert_eq!(shop.calls().len(), 3, "silence may be chance");
    for nonsense in ["<html>hello</html>", "{}", r#"{"product_id":"x","quantity":7}"#] {
        let (server, shop) = beside(move |_| Answer::Tells(200, nonsense)).await;
        unavailable(&server).await;
        assert_eq!(shop.calls().len(), 1, "it would say the same again");
    }
    let (server, shop) = beside(|_| Answer::Says(503, "retry-after: 7\r\n")).await;
    assert_eq!(unavailable(&server).await.header("retry-after"), Some("7"));
    unavailable(&server).await;
    assert_eq!(shop.calls().len(), 1, "it said when, for whatever order");
    let url = shop.url();
    drop(shop);
    let server = Server::builder().env("JWT_SECRET", SECRET).env("PRODUCT_SERVICE_URL", &url).start().await;
    unavailable(&server).await;
    let ready = server.get("/readyz?verbose").await;
    assert_eq!(ready.status, 200, "orders of others are taken in");
    assert!(ready.text().contains("catalog.url"), "{}", ready.text());
}

#[tokio::test]
async fn a_catalogue_that_fails_too_often_is_left_alone() {
    let (server, shop) = beside(|_| Answer::Says(500, "")).await;
    for _ in 0..40 {
        unavailable(&server).await;
    }
    let calls = shop.calls().len();
    assert!((20..30).contains(&calls), "it was called {calls} times");
}
