//! The marketplaces that stores are at, as other programs are. One answers receipts as the contract says that the mock does, but
//! that a receipt it refuses for now is an order when it is asked for again; one speaks as Shopify's GraphQL Admin API. Both keep
//! account of what they are asked, which nobody else knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::http::server::{Answer, Request, Server};

/// Who may ask the mock; `dev` logs in so unless somebody says otherwise.
const LOGINS: [(&str, &str); 2] = [("etsy", "etsy_user:etsy_pass"), ("amazon", "amazon_user:amazon_pass")];
/// Orders of a page, which is less than is asked for.
const PAGE: usize = 8;
/// One listing in so many is refused for now.
const BUSY_ONE_IN: usize = 6;
/// How long a shop is to be left alone then.
const BUSY: Duration = Duration::from_secs(3);
/// What was asked before the refusal was read is no fault, nor is what was asked a little early by another clock.
const UNDER_WAY: Duration = Duration::from_secs(1);
const CLOCKS: Duration = Duration::from_millis(50);

/// What there is to say of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is this order, of this amount.
    Order { id: String, amount: String },
    /// There is none.
    Nothing,
    /// Not now; the next time it is an order.
    Busy,
}

/// The contract's rules: the last two digits, then the last one.
pub(crate) fn verdict(receipt: &str) -> Verdict {
    let end = |back: usize| receipt.chars().rev().nth(back).and_then(|end| end.to_digit(10));
    match (end(1), end(0)) {
        (Some(tens), Some(ones)) if (tens + ones) % 6 == 0 => Verdict::Busy,
        (_, Some(ones)) if ones % 2 == 1 => order(receipt),
        _ => Verdict::Nothing,
    }
}

/// The order that a receipt stands for.
pub(crate) fn order(receipt: &str) -> Verdict {
    let sum: u64 = receipt.encode_utf16().map(u64::from).sum();
    let hash = Sha256::digest(receipt.as_bytes());
    let id = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Verdict::Order { id, amount: (sum % 1_000 + 10).to_string() }
}

/// The order of a number at Shopify, of this amount.
pub(crate) fn listed(number: u64, amount: &str) -> Verdict {
    Verdict::Order { id: format!("gid://shopify/Order/{number}"), amount: amount.to_owned() }
}

/// A shop at Shopify, as its orders are put there.
#[derive(Default)]
struct Shop {
    /// By number: amount, and when it changed last.
    orders: BTreeMap<u64, (String, OffsetDateTime)>,
    listings: usize,
    /// When it refused last.
    refused: Option<Instant>,
}

/// A shop was asked again before it was to be.
#[derive(Clone, Debug)]
pub(crate) struct Early {
    pub(crate) shop: String,
    /// When it had said so.
    pub(crate) refused: Instant,
    pub(crate) asked: Instant,
}

#[derive(Default)]
struct Ledger {
    /// By receipt: how often it was asked for.
    calls: HashMap<String, usize>,
    /// By access token.
    shops: HashMap<String, Shop>,
    early: Vec<Early>,
    refusals: usize,
}

/// Both of them.
pub(crate) struct Shops {
    ledger: Arc<Mutex<Ledger>>,
    server: Server,
}

impl Shops {
    pub(crate) fn start() -> Result<Self> {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let shared = Arc::clone(&ledger);
        let server = Server::start(move |request| answer(&shared, request)).context("marketplaces")?;
        Ok(Self { ledger, server })
    }

    /// The settings that lead to them.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let url = format!("http://{}", self.server.address());
        let of = |name: &str, value: &str| (format!("WELLORDER_MARKETPLACE_{name}"), value.to_owned());
        vec![of("MOCK_URL", &url), of("SHOPIFY", "admin"), of("SHOPIFY_URL", &url)]
    }

    /// How often each receipt was asked for.
    pub(crate) fn calls(&self) -> HashMap<String, usize> {
        lock(&self.ledger).calls.clone()
    }

    /// Puts an order into a shop.
    pub(crate) fn put(&self, shop: &str, number: u64, amount: &str) {
        let mut ledger = lock(&self.ledger);
        let shop = ledger.shops.entry(shop.to_owned()).or_default();
        shop.orders.insert(number, (amount.to_owned(), OffsetDateTime::now_utc()));
    }

    /// Who was asked too early, and how often somebody refused.
    pub(crate) fn early(&self) -> (Vec<Early>, usize) {
        let ledger = lock(&self.ledger);
        (ledger.early.clone(), ledger.refusals)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(ledger: &Mutex<Ledger>, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let parts: Vec<&str> = request.path.split('/').collect();
    match parts[..] {
        ["", "mock", marketplace, "validate"] => validate(ledger, request, marketplace, &body),
        ["", "admin", "api", _, "graphql.json"] => graphql(ledger, request, &body),
        _ => said(404, &json!({ "error": "no such path" })),
    }
}

fn said(status: u16, body: &Value) -> Answer {
    Answer::new(status, body.to_string().into_bytes())
}

fn validate(ledger: &Mutex<Ledger>, request: &Request, marketplace: &str, body: &Value) -> Answer {
    let login = LOGINS.iter().find(|(name, _)| *name == marketplace).map(|(_, login)| STANDARD.encode(login));
    let shown = request.headers.get("authorization").and_then(|login| login.strip_prefix("Basic "));
    if login.is_none() || login.as_deref() != shown {
        return said(401, &json!({ "error": "Unauthorized" }));
    }
    let receipt = body["receipt"].as_str().unwrap_or_default();
    let times = {
        let mut ledger = lock(ledger);
        let times = ledger.calls.entry(receipt.to_owned()).or_default();
        *times += 1;
        *times
    };
    // Some take their time, so that others come meanwhile.
    thread::sleep(Duration::from_millis(u64::from(Sha256::digest(receipt)[0]) / 2));
    let verdict = match verdict(receipt) {
        Verdict::Busy if times > 1 => order(receipt),
        verdict => verdict,
    };
    match verdict {
        Verdict::Busy => said(429, &json!({ "error": "rate_limited" })).with("retry-after", "1"),
        Verdict::Nothing => said(200, &json!({ "status": false })),
        Verdict::Order { id, amount } => {
            let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
            let (currency, amount) = (&body["currency"], amount.parse::<u64>().unwrap_or_default());
            let found = json!({ "status": true, "orderId": id, "amount": amount, "currency": currency, "importedAtUTC": at });
            said(200, &found)
        }
    }
}

fn graphql(ledger: &Mutex<Ledger>, request: &Request, body: &Value) -> Answer {
    let token = request.headers.get("x-shopify-access-token").unwrap_or_default();
    let mut ledger = lock(ledger);
    let Some(shop) = ledger.shops.get_mut(token) else {
        return said(401, &json!({ "errors": "[API] Invalid API key or access token" }));
    };
    let now = Instant::now();
    if let Some(refused) = shop.refused {
        let since = now - refused;
        if since > UNDER_WAY && since + CLOCKS < BUSY {
            ledger.early.push(Early { shop: token.to_owned(), refused, asked: now });
            return said(429, &json!({ "errors": "Throttled" })).with("retry-after", "1");
        }
    }
    let variables = &body["variables"];
    let data = match variables["id"].as_str() {
        Some(id) => {
            let number = id.rsplit('/').next().and_then(|number| number.parse::<u64>().ok());
            let order = number.and_then(|number| Some((number, shop.orders.get(&number)?)));
            json!({ "order": order.map(|(number, (amount, _))| node(number, amount)) })
        }
        None => {
            shop.listings += 1;
            if shop.listings.is_multiple_of(BUSY_ONE_IN) {
                shop.refused = Some(now);
                ledger.refusals += 1;
                let wait = BUSY.as_secs().to_string();
                return said(429, &json!({ "errors": "Throttled" })).with("retry-after", &wait);
            }
            json!({ "orders": page(shop, variables) })
        }
    };
    let bucket = json!({ "maximumAvailable": 2000.0, "currentlyAvailable": 1900, "restoreRate": 100.0 });
    let cost = json!({ "requestedQueryCost": 40, "actualQueryCost": 12, "throttleStatus": bucket });
    said(200, &json!({ "data": data, "extensions": { "cost": cost } }))
}

fn node(number: u64, amount: &str) -> Value {
    json!({
        "id": format!("gid://shopify/Order/{number}"), "name": format!("#{number}"),
        "createdAt": "2026-01-01T00:00:00Z", "customer": null,
        "totalPriceSet": { "shopMoney": { "amount": amount, "currencyCode": "EUR" } },
    })
}

/// The next orders that changed since the moment asked for, the oldest change first.
fn page(shop: &Shop, variables: &Value) -> Value {
    let asked = variables["query"].as_str().unwrap_or_default();
    let since = asked.split('\'').nth(1).and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
    let place = |at: OffsetDateTime, number: u64| (at.unix_timestamp_nanos(), number);
    let after = variables["after"].as_str().and_then(|cursor| {
        let (at, number) = cursor.split_once('-')?;
        Some((at.parse().ok()?, number.parse().ok()?))
    });
    let mut found: Vec<((i128, u64), &str)> = shop
        .orders
        .iter()
        .filter(|(_, (_, at))| since.is_none_or(|since| *at >= since))
        .map(|(number, (amount, at))| (place(*at, *number), amount.as_str()))
        .filter(|(place, _)| after.is_none_or(|after| *place > after))
        .collect();
    found.sort_unstable();
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let end = found.last().map(|((at, number), _)| format!("{at}-{number}"));
    let nodes: Vec<Value> = found.iter().map(|((_, number), amount)| node(*number, amount)).collect();
    json!({ "nodes": nodes, "pageInfo": { "hasNextPage": more, "endCursor": end } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Headers;

    fn request(path: &str, header: (&str, &str), body: &Value) -> Request {
        let (method, headers) = ("POST".to_owned(), Headers::of(&[header]));
        Request { method, path: path.to_owned(), headers, body: body.to_string().into_bytes() }
    }

    fn asked(ledger: &Mutex<Ledger>, receipt: &str) -> (u16, Value) {
        let login = format!("Basic {}", STANDARD.encode("etsy_user:etsy_pass"));
        let body = json!({ "receipt": receipt, "currency": "USD" });
        answer(ledger, &request("/mock/etsy/validate", ("authorization", &login), &body)).read()
    }

    #[test]
    fn receipts_are_answered_by_the_rules_and_counted() {
        let ledger = Mutex::default();
        let (status, found) = asked(&ledger, "test1");
        assert_eq!((status, &found["amount"], &found["status"]), (200, &json!(507), &json!(true)));
        assert_eq!(asked(&ledger, "test2").1, json!({ "status": false }));
        assert_eq!(asked(&ledger, "RL15").0, 429);
        assert_eq!(asked(&ledger, "RL15").1["status"], true, "the second time it is an order");
        assert_eq!(
            lock(&ledger).calls,
            HashMap::from([("test1", 1), ("test2", 1), ("RL15", 2)].map(|(r, n)| (r.to_owned(), n)))
        );
        let stranger =
            request("/mock/etsy/validate", ("authorization", "Basic x"), &json!({ "receipt": "1" }));
        assert_eq!(answer(&ledger, &stranger).read().0, 401);
    }

    #[test]
    fn a_shop_is_listed_in_pages_and_refuses_for_a_while() {
        let server = Shops::start().unwrap();
        (1..=9).for_each(|number| server.put("token", number, "1.10"));
        let list = |after: Value| {
            let body = json!({ "variables": { "first": 50, "after": after, "query": "updated_at:>='2020-01-01T00:00:00.000Z'" } });
            answer(
                &server.ledger,
                &request("/admin/api/1/graphql.json", ("x-shopify-access-token", "token"), &body),
            )
            .read()
        };
        let (_, first) = list(Value::Null);
        let orders = &first["data"]["orders"];
        assert_eq!(
            (orders["nodes"].as_array().unwrap().len(), &orders["pageInfo"]["hasNextPage"]),
            (PAGE, &json!(true))
        );
        let (_, second) = list(orders["pageInfo"]["endCursor"].clone());
        let nodes = second["data"]["orders"]["nodes"].as_array().unwrap();
        assert_eq!((nodes.len(), &nodes[0]["id"]), (1, &json!("gid://shopify/Order/9")));
        let refused: Vec<u16> = (2..BUSY_ONE_IN).map(|_| list(Value::Null).0).collect();
        assert_eq!(refused.last(), Some(&429));
        assert_eq!(server.early().0.len(), 0, "what comes at once may have been under way");
        let before = Instant::now().checked_sub(UNDER_WAY * 2);
        lock(&server.ledger).shops.get_mut("token").unwrap().refused = before;
        assert_eq!((list(Value::Null).0, server.early().0.len(), server.early().1), (429, 1, 1));
    }
}
