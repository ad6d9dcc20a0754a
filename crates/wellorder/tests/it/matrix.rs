//! Who may do what, for every route there is: generated from what the routes declare, so that a new one cannot be
//! forgotten.

use crate::harness::{Builder, Home, Server};
use crate::login::{SECRETS_KEY, Token, ask, serving, without};
use edge::{Declared, Need, Scope};
use serde_json::{Value, json};
use std::sync::Arc;

/// An order of the contract `sales`.
pub(crate) const SALE: &str = r#"{"user_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":1}"#;

/// A store.
const STORE: &str = r#"{"organization": "org-1", "marketplace": "etsy", "external_id": "ext-1", "name": "s", "currency": "USD", "access_token": "t"}"#;

/// A webhook of the contract `marketplace`, which nobody is at.
const WEBHOOK: &str =
    r#"{"organizationId": "org-1", "event": "sync.completed", "targetUrl": "https://hooks.invalid/"}"#;

/// A server for others that has all that the samples need: a marketplace to ask, a key for what is entrusted to it.
fn serving_all(home: &Arc<Home>) -> Builder {
    serving(home)
        .env("WELLORDER_CONTRACTS_ORDERSTREAM_ACK_WAIT", "0")
        .env("WELLORDER_MARKETPLACE_MOCK", "true")
        .env("MOCK_ETSY_USER", "etsy_user")
        .env("MOCK_ETSY_PASS", "etsy_pass")
        .env("WELLORDER_SECRETS_KEY", SECRETS_KEY)
        // Nobody is at the endpoints.
        .env("WELLORDER_OUTBOUND_CHALLENGE", "false")
}

/// What a route is asked with.
struct Sample {
    /// The path with ids of the tenant `acme` in it.
    path: String,
    body: Option<String>,
    /// What another tenant gets.
    other: Other,
}

/// What another tenant gets for the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// That there is no such thing.
    NotFound,
    /// That it was never given such a token.
    NoToken,
    /// Its own: an empty list, a thing of its own made.
    Own,
    /// The same as everybody.
    Shared,
    /// That it belongs to the installation, not to a tenant.
    Operators,
}

/// Things of a tenant.
struct Things {
    order_id: String,
    /// Another, to be withdrawn and erased.
    spare_id: String,
    number: i64,
    /// An order of the contract `sales`.
    sale_id: String,
    /// An order of `orderstream`.
    stream_id: String,
    redrive_id: String,
    key_id: String,
    /// A store at a marketplace.
    store_id: String,
    /// What it is named by.
    sync_token: String,
    /// A copy of the database.
    backup: String,
    /// Of a lease.
    work_token: String,
    endpoint_id: String,
    /// Another endpoint, to be disabled.
    spare_endpoint_id: String,
    /// Of the order to the endpoint.
    delivery_id: String,
}

/// An endpoint of webhooks that nobody is at.
const ENDPOINT: &str = r#"{"url": "https://hooks.invalid/a", "events": ["order.shipped"]}"#;

const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";

fn stream_order(external: &str) -> Value {
    json!({ "user_id": USER, "payload": { "id": external } })
}

async fn things(server: &Server, tenant: &'static str) -> Things {
    let all = Token::all(tenant).bearer();
    let made = async |path: &str, body: &str| -> Value {
        let reply = ask(server, "POST", path, Some(&all), Some(body)).await;
        assert!((200..300).contains(&reply.status), "{path}: {}", reply.text());
        reply.json()
    };
    made("/oscarps/orders", r#"{"orderId": "A-2", "customer": "c", "total": 1}"#).await;
    let parspec = made("/parspec/orders", r#"{"userId": "u", "itemIds": ["a"], "totalAmount": 1}"#).await;
    let sale = made("/sales/api/v1/orders", SALE).await;
    let stream = made("/orderstream/orders", &stream_order("e-1").to_string()).await;
    let order = made("/v1/orders", r#"{"reference": "A-1", "total": "1"}"#).await;
    let spare = made("/v1/orders", r#"{"reference": "A-4", "total": "1"}"#).await;
    let redrive = made("/v1/redrives", r#"{"filter": {"all": true}, "reason": "x"}"#).await;
    let key = made("/v1/keys", r#"{"name": "k", "scopes": ["keys:admin"]}"#).await;
    let store = made("/v1/stores", STORE).await;
    let receipt = json!({ "store_id": store["store_id"], "receipt": "order-101" });
    made("/v1/imports", &receipt.to_string()).await;
    let work = made("/v1/work/claim", r#"{"max": 1, "lease_seconds": 900}"#).await;
    let endpoint = made("/v1/endpoints", ENDPOINT).await;
    let spare_endpoint = made("/v1/endpoints", ENDPOINT).await;
    let endpoint_id = endpoint["endpoint_id"].as_str().unwrap();
    let delivery_id = format!("{endpoint_id}.{}.1", order["order_id"].as_str().unwrap());
    made(&format!("/v1/deliveries/{delivery_id}/resend"), "").await;
    // A server makes copies with its own tools.
    let backup = match server.home().url() {
        None => made("/v1/backups", "").await,
        Some(_) => json!({ "name": "none" }),
    };
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    Things {
        order_id: text(&order, "order_id"),
        spare_id: text(&spare, "order_id"),
        sale_id: text(&sale, "order_id"),
        number: parspec["order"]["id"].as_i64().unwrap(),
        stream_id: text(&stream, "order_id"),
        redrive_id: text(&redrive, "redrive_id"),
        key_id: text(&key, "key_id"),
        store_id: text(&store, "store_id"),
        sync_token: text(&store, "sync_token"),
        backup: text(&backup, "name"),
        work_token: text(&work["work"][0], "token"),
        endpoint_id: endpoint_id.to_owned(),
        spare_endpoint_id: text(&spare_endpoint, "endpoint_id"),
        delivery_id,
    }
}

/// The path of a route with ids of a tenant's things in it.
fn path_of(mount: &str, route: &Declared, things: &Things) -> String {
    let ends = route.path.ends_with("/withdrawals") || route.path.ends_with("/erasures");
    let path = route
        .path
        .replace("{order_id}", if ends { &things.spare_id } else { &things.order_id })
        .replace("{orderId}", "A-2")
        .replace("{marketplace}", "etsy")
        .replace("/sync-status", &format!("/sync-status?syncToken={}", things.sync_token))
        .replace(
            "/webhooks",
            if route.method == "GET" { "/webhooks?organizationId=org-1" } else { "/webhooks" },
        )
        .replace("{store_id}", &things.store_id)
        .replace("{receipt}", "order-101")
        .replace("{external}", &format!("e-1?user_id={USER}"))
        .replace(
            "{id}",
            &match mount {
                "/parspec" => things.number.to_string(),
                "/sales" => things.sale_id.clone(),
                _ => things.stream_id.clone(),
            },
        )
        .replace("{redrive_id}", &things.redrive_id)
        .replace("{key_id}", &things.key_id)
        .replace("{backup}", &things.backup)
        .replace(
            "{endpoint_id}",
            if route.path.ends_with("/disable") { &things.spare_endpoint_id } else { &things.endpoint_id },
        )
        .replace("{delivery_id}", &things.delivery_id)
        .replace("{name}", "ndjson");
    assert!(!path.contains('{'), "say what {path} is filled with");
    if (route.method.as_str(), route.path) == ("GET", "/imports") {
        return format!("{path}?receipt=order-101");
    }
    path
}

/// A request about webhooks: its body, and what another tenant gets.
fn of_webhooks(mount: &str, route: &Declared, things: &Things) -> Option<(Option<Value>, Other)> {
    Some(match (mount, route.method.as_str(), route.path) {
        ("/v1", "POST", "/endpoints") => (serde_json::from_str(ENDPOINT).ok(), Other::Own),
        ("/v1", "PATCH", "/endpoints/{endpoint_id}") => (Some(json!({ "rate": 5 })), Other::NotFound),
        ("/v1", "POST", "/deliveries/recover") => {
            let since = "2026-01-01T00:00:00Z";
            (Some(json!({ "endpoint_id": things.endpoint_id, "since": since })), Other::NotFound)
        }
        ("/v1", "POST", "/deliveries/replay") => {
            (Some(json!({ "endpoint_id": things.endpoint_id, "from": "beginning" })), Other::NotFound)
        }
        ("/v1", "POST" | "DELETE", path)
            if path.starts_with("/endpoints/{") || path.starts_with("/deliveries/{") =>
        {
            (None, Other::NotFound)
        }
        ("/v1", "GET", "/endpoints" | "/deliveries") => (None, Other::Own),
        _ => return None,
    })
}

/// A request that succeeds for who may make it. A route without one here is a hole in the matrix.
fn sample(mount: &str, route: &Declared, things: &Things) -> Sample {
    let path = path_of(mount, route, things);
    let (body, other) = of_webhooks(mount, route, things).unwrap_or_else(|| asked(mount, route, things));
    Sample { path: format!("{mount}{path}"), body: body.map(|body| body.to_string()), other }
}

fn asked(mount: &str, route: &Declared, things: &Things) -> (Option<Value>, Other) {
    match (mount, route.method.as_str(), route.path) {
        ("/oscarps", "POST", "/orders") => {
            (Some(json!({ "orderId": "A-1", "customer": "c", "total": 1 })), Other::Own)
        }
        ("/parspec", "POST", "/orders") => {
            (Some(json!({ "userId": "u", "itemIds": ["a"], "totalAmount": 1 })), Other::Own)
        }
        ("/sales", "POST", _) => (serde_json::from_str(SALE).ok(), Other::Own),
        ("/orderstream", "POST", "/orders") => (Some(stream_order("e-2")), Other::Own),
        ("/marketplace", "POST", "/stores/register") => (
            Some(
                json!({ "organizationId": "org-1", "marketplace": "etsy", "externalStoreId": "ext-1", "storeName": "s",
                "accessToken": "t", "currency": "USD" }),
            ),
            Other::Own,
        ),
        ("/marketplace", "POST", "/orders/import") => {
            (Some(json!({ "syncToken": things.sync_token, "receipt": "order-101" })), Other::NotFound)
        }
        ("/marketplace", "POST", "/webhooks/register") => (serde_json::from_str(WEBHOOK).ok(), Other::Own),
        ("/v1", "POST", "/stores") => (serde_json::from_str(STORE).ok(), Other::Own),
        ("/v1", "POST", "/imports") => {
            (Some(json!({ "store_id": things.store_id, "receipt": "order-101" })), Other::NotFound)
        }
        ("/v1", "POST", "/imports/{store_id}/{receipt}/retry") => (Some(json!({})), Other::NotFound),
        ("/v1", "POST", "/stores/{store_id}/notifications") => (Some(json!({ "id": 1 })), Other::Shared),
        ("/v1", "POST", "/syncs") => (None, Other::Operators),
        ("/marketplace", "POST", "/mock/{marketplace}/validate") => {
            (Some(json!({ "receipt": "1" })), Other::Shared)
        }
        ("/v1", "POST", "/orders") => (Some(json!({ "reference": "A-1", "total": "1" })), Other::Own),
        ("/v1", "POST", "/orders/bulk") => (Some(json!({ "reference": "A-3", "total": "1" })), Other::Own),
        ("/v1", "PATCH", "/orders/{order_id}") => (Some(json!({ "customer": "c-2" })), Other::NotFound),
        ("/v1", "POST", "/orders/{order_id}/withdrawals") => {
            (Some(json!({ "reason": "x" })), Other::NotFound)
        }
        ("/v1", "POST", "/orders/{order_id}/shipments" | "/orders/{order_id}/deliveries") => {
            (Some(json!({})), Other::NotFound)
        }
        ("/v1", "POST", "/orders/{order_id}/erasures") => (None, Other::NotFound),
        ("/v1", "POST", "/redrives") => {
            (Some(json!({ "filter": { "all": true }, "reason": "x" })), Other::Own)
        }
        ("/v1", "POST", "/keys") => (Some(json!({ "name": "k", "scopes": ["keys:admin"] })), Other::Own),
        ("/v1", "POST", "/work/claim") => (Some(json!({ "max": 1 })), Other::Own),
        ("/v1", "POST", "/work/heartbeat") => (Some(json!({ "token": things.work_token })), Other::NoToken),
        ("/v1", "POST", "/work/finish") => {
            (Some(json!({ "token": things.work_token, "outcome": "done" })), Other::NoToken)
        }
        ("/v1", "POST", "/followers/{name}/replay") => {
            (Some(json!({ "from": "beginning" })), Other::Operators)
        }
        ("/v1", "POST", "/followers/{name}/redrive") => (Some(json!({ "all": true })), Other::Operators),
        (_, _, path) if is_for_operators(path) => (None, Other::Operators),
        ("/v1", "GET", "/orders" | "/parked" | "/events" | "/keys" | "/actions" | "/stores" | "/imports")
        | ("/parspec" | "/marketplace", "GET", "/metrics" | "/webhooks")
        | ("/sales", "GET", "/api/v1/orders") => (None, Other::Own),
        (_, "GET", path) if path.contains('{') || path.ends_with("/sync-status") => (None, Other::NotFound),
        ("/v1", "POST", "/keys/{key_id}/rotate") | ("/v1", "DELETE", "/keys/{key_id}") => {
            (None, Other::NotFound)
        }
        ("/oscarps" | "/orderstream", "GET", "/health") | ("/sales", "GET", "/health" | "/metrics") => {
            (None, Other::Shared)
        }
        (mount, method, path) => {
            panic!("say how {method} {mount}{path} is asked, and what another tenant gets")
        }
    }
}

/// Whether it is about the whole installation.
fn is_for_operators(path: &str) -> bool {
    ["/backups", "/followers", "/secrets"].iter().any(|about| path.starts_with(about))
}

fn routes() -> Vec<(&'static str, Declared)> {
    let mounts = [
        ("/v1", api::declared()),
        ("/oscarps", contracts::oscarps::declared()),
        ("/parspec", contracts::parspec::declared()),
        ("/sales", contracts::sales::declared()),
        ("/marketplace", contracts::marketplace::declared()),
        ("/orderstream", contracts::orderstream::declared()),
    ];
    mounts
        .into_iter()
        .flat_map(|(mount, routes)| routes.into_iter().map(move |route| (mount, route)))
        .collect()
}

#[tokio::test]
async fn every_route_admits_exactly_who_may() {
    // Far more bad credentials than any address may show.
    let server = serving_all(&Home::new())
        .env("WELLORDER_RATE_FAILED_LOGINS_PER_MINUTE", "0")
        .env("WELLORDER_RATE_ADDRESS_PER_SECOND", "0")
        .env("WELLORDER_AUTH_OPERATOR_TENANT", "acme")
        .start()
        .await;
    server_is_ready(&server).await;
    let things = things(&server, "acme").await;
    let mut checked = 0;
    // What ends things comes last.
    let (ends, rest): (Vec<_>, Vec<_>) =
        routes().into_iter().partition(|(_, route)| route.method == "DELETE");
    for (mount, route) in rest.into_iter().chain(ends) {
        let sample = sample(mount, &route, &things);
        let (method, path, body) = (route.method.as_str(), sample.path.as_str(), sample.body.as_deref());
        let Some(scope) = route.need.scope() else {
            // The mock marketplace asks for a login of its own, as those do that it stands for; what marketplaces tell is signed.
            let is_signed = path.starts_with("/marketplace/mock/") || path.ends_with("/notifications");
            let expected = if is_signed { 401 } else { 200 };
            assert_eq!(ask(&server, method, path, None, body).await.status, expected, "{method} {path}");
            continue;
        };
        let only = [scope].into_iter().collect();
        let good = Token::of("acme", only);
        let refused = [
            ("none", None),
            ("no token", Some("Bearer x.y.z".to_owned())),
            ("another scheme", Some("Basic dTpw".to_owned())),
            ("expired", Some(Token { ago: 3_600, ..good.clone() }.bearer())),
            ("another audience", Some(Token { audience: "other", ..good.clone() }.bearer())),
            ("another secret", Some(Token { secret: "another", ..good.clone() }.bearer())),
            ("an API key of nobody", Some(format!("Bearer wo_0123456789abcdef_{}", "A".repeat(43)))),
        ];
        let mut bodies = Vec::new();
        for (what, bearer) in refused {
            let reply = ask(&server, method, path, bearer.as_deref(), body).await;
            assert_eq!(reply.status, 401, "{method} {path} with {what}: {}", reply.text());
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            bodies.push(without_id(reply.json()));
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "one body, whatever was wrong: {bodies:?}");
        let lacking = Token::of("acme", without(scope)).bearer();
        let reply = ask(&server, method, path, Some(&lacking), body).await;
        assert_eq!(reply.status, 403, "{method} {path} without {scope}: {}", reply.text());
        assert!(reply.text().contains(scope.name()), "{}", reply.text());
        other_tenant(&server, &route, &sample, scope).await;
        let reply = ask(&server, method, path, Some(&good.bearer()), body).await;
        let admitted = match (server.home().url(), path.starts_with("/v1/backups")) {
            (Some(_), true) => {
                reply.text().contains("/problems/backup-") || reply.text().contains(":backup-")
            }
            _ => (200..300).contains(&reply.status),
        };
        assert!(admitted, "{method} {path}: {} {}", reply.status, reply.text());
        assert_eq!(
            sample.other == Other::Operators,
            matches!(route.need, Need::Operator(_)),
            "{method} {path}"
        );
        checked += 1;
    }
    assert!(checked >= 20, "only {checked} routes");
}

/// Things of another tenant are not there, in the very words for what never was.
async fn other_tenant(server: &Server, route: &Declared, sample: &Sample, scope: Scope) {
    let other = Token::of("other", [scope].into_iter().collect()).bearer();
    let (method, path, body) = (route.method.as_str(), sample.path.as_str(), sample.body.as_deref());
    let reply = ask(server, method, path, Some(&other), body).await;
    match sample.other {
        Other::NotFound => {
            assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
            let never = ask(server, method, &never_was(path), Some(&other), body).await;
            assert_eq!(never.status, 404);
            assert_eq!(without_id(never.json()), without_id(reply.json()));
        }
        Other::NoToken => {
            assert_eq!(reply.status, 422, "{method} {path}: {}", reply.text());
            let mut never: Value = serde_json::from_str(body.unwrap()).unwrap();
            never["token"] = json!("AAAAAAAAAAAAAAAA");
            let never = ask(server, method, path, Some(&other), Some(&never.to_string())).await;
            assert_eq!(without_id(never.json()), without_id(reply.json()));
        }
        Other::Own => {
            assert!((200..300).contains(&reply.status), "{method} {path}: {}", reply.text());
            if method == "POST" && path.ends_with("/orders") {
                // Nobody works on those of `orderstream` here, so that they stay unacknowledged.
                let made = if path.starts_with("/orderstream") { 202 } else { 201 };
                assert_eq!(reply.status, made, "an order of its own: {}", reply.text());
            }
        }
        Other::Operators => {
            assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
            assert!(reply.text().contains("operators' tenant"), "{}", reply.text());
        }
        Other::Shared => assert!((200..300).contains(&reply.status), "{method} {path}: {}", reply.text()),
    }
}

/// A token that names no tenant is of the tenant `default`, and no operator's though that is the operators': it does what a
/// tenant may, and gains nothing by keys, which are operators' keys there.
#[tokio::test]
async fn whoever_is_no_operator_gets_no_rights_of_operators() {
    let server = serving_all(&Home::new()).start().await;
    let things = things(&server, "default").await;
    let nameless = |scopes| Token { tenant: None, ..Token::of("default", scopes) }.bearer();
    let everything = nameless(edge::Scopes::all());
    let (mut of_operators, mut of_keys) = (0, 0);
    for (mount, route) in routes() {
        let Some(scope) = route.need.scope() else { continue };
        let sample = sample(mount, &route, &things);
        let (method, path, body) = (route.method.as_str(), sample.path.as_str(), sample.body.as_deref());
        for bearer in [&nameless([scope].into_iter().collect()), &everything] {
            let reply = ask(&server, method, path, Some(bearer), body).await;
            let text = reply.text();
            match route.need {
                Need::Operator(_) => {
                    assert!(
                        reply.status == 403 && text.contains("operators' tenant"),
                        "{method} {path}: {text}"
                    );
                    of_operators += 1;
                }
                Need::KeyHolder(_) => {
                    assert!(
                        reply.status == 403 && text.contains("operators' keys"),
                        "{method} {path}: {text}"
                    );
                    assert!(
                        text.contains("claim tenant") && text.contains("wellorder keys"),
                        "how to mend it: {text}"
                    );
                    of_keys += 1;
                }
                Need::Scope(_) | Need::Nothing => assert_ne!(reply.status, 403, "{method} {path}: {text}"),
            }
        }
    }
    assert!(of_operators >= 10 && of_keys == 6, "{of_operators}, {of_keys}: each twice");
    // What makes, changes or ends a key is held to it, whichever routes there will be.
    let changes_keys = |route: &Declared| route.path.starts_with("/keys") && route.method != "GET";
    for route in api::declared().iter().filter(|route| changes_keys(route)) {
        assert_eq!(route.need, Need::KeyHolder(Scope::KeysAdmin), "{} {}", route.method, route.path);
    }
    // The secret of the operators' key is what it was, and it still works.
    let keys = ask(&server, "GET", "/v1/keys", Some(&everything), None).await.json();
    let all: Vec<_> = keys["keys"].as_array().unwrap().iter().collect();
    assert!(all.len() == 1 && all[0]["rotated_at"].is_null() && all[0]["state"] == "active", "{keys}");
}

/// Where another tenant runs the installation, keys of `default` are nobody's but its own; and a key of a tenant that does not
/// is never an operator's, whoever made it.
#[tokio::test]
async fn keys_that_others_make_are_no_operators() {
    for (operators, maker) in [("acme", None), ("default", Some("acme"))] {
        let server = serving(&Home::new()).env("WELLORDER_AUTH_OPERATOR_TENANT", operators).start().await;
        let maker = Token { tenant: maker, ..Token::all("default") }.bearer();
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        let body = json!({ "name": "k", "scopes": scopes }).to_string();
        let made = ask(&server, "POST", "/v1/keys", Some(&maker), Some(&body)).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("/v1/keys/{}/rotate", made.json()["key_id"].as_str().unwrap());
        let rotated = ask(&server, "POST", &path, Some(&maker), None).await.json();
        for key in [&made.json(), &rotated] {
            let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
            for (method, path) in [("GET", "/v1/followers"), ("POST", "/v1/backups")] {
                let reply = ask(&server, method, path, Some(&bearer), None).await;
                assert_eq!(reply.status, 403, "{operators}: {method} {path}: {}", reply.text());
            }
            assert_eq!(ask(&server, "GET", "/v1/orders", Some(&bearer), None).await.status, 200);
        }
    }
}

/// The same path with another id.
fn never_was(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "A-2" => "A-999".to_owned(),
        external if external.starts_with("e-1?") => external.replacen("e-1", "e-999", 1),
        status if status.starts_with("sync-status?") => {
            "sync-status?syncToken=6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52".to_owned()
        }
        "order-101" => "order-999".to_owned(),
        id if id.len() == 36 => "00000000-0000-7000-8000-000000000000".to_owned(),
        delivery if delivery.len() == 75 => format!("{0}.{0}.1", "00000000-0000-7000-8000-000000000000"),
        id if id.len() == 16 => "0000000000000000".to_owned(),
        number if number.parse::<i64>().is_ok() => "999999".to_owned(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn without_id(mut body: Value) -> Value {
    body.as_object_mut().unwrap().remove("request_id");
    body
}

async fn server_is_ready(server: &Server) {
    let all = Token::all("acme").bearer();
    // The follower makes its row behind the start.
    crate::harness::eventually("the follower", async || {
        let reply = ask(server, "GET", "/v1/followers/ndjson", Some(&all), None).await;
        (reply.status == 200).then_some(())
    })
    .await;
}

/// What one tenant put in is in no list, feed or count of another.
#[tokio::test]
async fn nothing_of_one_tenant_is_seen_by_another() {
    let server = serving_all(&Home::new()).env("WELLORDER_AUTH_OPERATOR_TENANT", "acme").start().await;
    let things = things(&server, "acme").await;
    let other = Token::all("other").bearer();
    for (path, list) in
        [("/v1/orders", "orders"), ("/v1/parked", "orders"), ("/v1/events", "events"), ("/v1/keys", "keys")]
    {
        let page = ask(&server, "GET", path, Some(&other), None).await.json();
        assert_eq!(page[list], json!([]), "{path}");
    }
    let metrics = ask(&server, "GET", "/parspec/metrics", Some(&other), None).await;
    assert!(!metrics.text().contains('1'), "{}", metrics.text());
    // A filter by what is another's finds nothing, and its redrive takes nothing.
    let filtered = ask(&server, "GET", "/v1/orders?reference=A-1", Some(&other), None).await.json();
    assert_eq!(filtered["orders"], json!([]));
    let body = json!({ "filter": { "order_ids": [things.order_id] }, "reason": "x", "dry_run": true });
    let dry = ask(&server, "POST", "/v1/redrives", Some(&other), Some(&body.to_string())).await.json();
    assert_eq!(dry["matched"], 0);
    // A cursor is good for its own tenant alone.
    let all = Token::all("acme").bearer();
    let feed = ask(&server, "GET", "/v1/events?limit=1", Some(&all), None).await.json();
    let path = format!("/v1/events?after={}", feed["next"].as_str().unwrap());
    assert_eq!(ask(&server, "GET", &path, Some(&other), None).await.status, 400);
    // All of them are counted together, by source.
    let counted = server.ops().get("/metrics").await;
    assert!(counted.text().contains(r#"wellorder_orders{source="parspec",state="queued"} 1"#));
}
