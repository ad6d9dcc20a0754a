//! A server that answers as Shopify's GraphQL Admin API does: `orders` in pages by cursor, filtered by `updated_at`; `order` by id;
//! a bucket of cost points for the store, told of in `extensions.cost`; access tokens that expire; a clock of its own. And
//! whatever goes wrong there, when a test asks for it.
//!
//! Made after its public documentation: API response codes, rate limits, search syntax, pagination.

use crate::ManualClock;
use order_core::Timestamp;
use order_core::clock::Clock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An order there.
#[derive(Debug, Clone)]
pub struct ShopOrder {
    /// The number in its id.
    pub number: u64,
    /// When it changed last, by the clock of the server.
    pub updated_at: Timestamp,
    /// What is answered of it; [`ShopOrder::new`] makes what is right.
    pub node: Value,
}

impl ShopOrder {
    /// A good one of this amount, in USD.
    pub fn new(number: u64, updated_at: Timestamp, amount: &str) -> Self {
        let node = json!({
            "id": format!("gid://shopify/Order/{number}"),
            "name": format!("#{number}"),
            "createdAt": "2026-01-01T00:00:00Z",
            "customer": {"id": "gid://shopify/Customer/7"},
            "totalPriceSet": {"shopMoney": {"amount": amount, "currencyCode": "USD"}},
        });
        Self { number, updated_at, node }
    }

    /// The same with another value at a JSON pointer.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        *self.node.pointer_mut(pointer).expect("a member of an order") = value;
        self
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Mishap {
    /// This status with these lines of the head and this body.
    Says(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Half of the answer, and the end of the connection.
    BreaksOff,
    /// So many bytes of white space before the answer's end.
    Bloated(usize),
    /// The answer, with these errors beside its data.
    Errors(Value),
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct ShopCall {
    /// Its path.
    pub path: String,
    /// Its token.
    pub token: Option<String>,
    /// The text of its query.
    pub query: String,
    /// The variables of that.
    pub variables: Value,
}

struct Shop {
    orders: BTreeMap<u64, ShopOrder>,
    token: String,
    mishaps: VecDeque<Mishap>,
    calls: Vec<ShopCall>,
    /// Points in the bucket, when it was looked at last.
    bucket: (f64, Timestamp),
    lag: Duration,
}

/// The server. Dropping it ends it.
pub struct ShopifyStandIn {
    address: SocketAddr,
    clock: Arc<ManualClock>,
    shop: Arc<Mutex<Shop>>,
    _serving: JoinSet<()>,
}

/// Points that the bucket holds, and that come back each second: what is told of stores without a plan for more.
const CAPACITY: f64 = 1_000.0;
const RESTORED: f64 = 50.0;

impl ShopifyStandIn {
    /// One without orders, whose token is `shpat_1`.
    pub async fn start(clock: Arc<ManualClock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shop = Arc::new(Mutex::new(Shop {
            orders: BTreeMap::new(),
            token: "shpat_1".to_owned(),
            mishaps: VecDeque::new(),
            calls: Vec::new(),
            bucket: (CAPACITY, clock.now()),
            lag: Duration::ZERO,
        }));
        let mut serving = JoinSet::new();
        let (served, time) = (Arc::clone(&shop), Arc::clone(&clock));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&served), Arc::clone(&time)));
            }
        });
        Self { address, clock, shop, _serving: serving }
    }

    fn shop(&self) -> MutexGuard<'_, Shop> {
        self.shop.lock().expect("no panic in there")
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What time it is there.
    pub fn now(&self) -> Timestamp {
        behind(&self.clock, self.shop().lag)
    }

    /// Puts orders there, in place of those of their numbers.
    pub fn put(&self, orders: impl IntoIterator<Item = ShopOrder>) {
        self.shop().orders.extend(orders.into_iter().map(|order| (order.number, order)));
    }

    /// Puts good orders of these numbers there that changed just now.
    pub fn put_good(&self, numbers: impl IntoIterator<Item = u64>) {
        let now = self.now();
        self.put(numbers.into_iter().map(|number| ShopOrder::new(number, now, "19.90")));
    }

    /// Another access token is good from now on, and no more the one before.
    pub fn expire_token(&self, fresh: &str) {
        fresh.clone_into(&mut self.shop().token);
    }

    /// The next request meets this, the one after it what is asked for next.
    pub fn next(&self, mishap: Mishap) {
        self.shop().mishaps.push_back(mishap);
    }

    /// Its clock is so long behind.
    pub fn lag(&self, lag: Duration) {
        self.shop().lag = lag;
    }

    /// Takes points out of the bucket, as another user of the same app would.
    pub fn spend(&self, points: f64) {
        let now = self.clock.now();
        self.shop().take(now, points);
    }

    /// The requests so far.
    pub fn calls(&self) -> Vec<ShopCall> {
        self.shop().calls.clone()
    }
}

fn behind(clock: &ManualClock, lag: Duration) -> Timestamp {
    let lag = i64::try_from(lag.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(clock.now().micros() - lag)
}

impl Shop {
    fn refilled(&mut self, now: Timestamp) -> f64 {
        let (points, since) = self.bucket;
        let points = (points + now.since(since).as_secs_f64() * RESTORED).min(CAPACITY);
        self.bucket = (points, now);
        points
    }

    fn take(&mut self, now: Timestamp, points: f64) {
        let left = self.refilled(now) - points;
        self.bucket = (left.max(0.0), now);
    }

    fn cost(&mut self, now: Timestamp, requested: f64, actual: Option<f64>) -> Value {
        let left = self.refilled(now);
        json!({"cost": {
            "requestedQueryCost": requested,
            "actualQueryCost": actual,
            "throttleStatus": {"maximumAvailable": CAPACITY, "currentlyAvailable": left.floor(), "restoreRate": RESTORED},
        }})
    }

    /// The bytes of the reply, and whether the connection goes on behind them.
    fn reply(&mut self, call: &ShopCall, clock: &ManualClock) -> (Vec<u8>, bool) {
        let date = behind(clock, self.lag);
        self.calls.push(call.clone());
        if let Some(Mishap::Says(status, head, body)) = self.mishaps.front() {
            let said = reply(*status, head, body, date);
            self.mishaps.pop_front();
            return (said, true);
        }
        let (status, mut answer) = self.answer(clock.now(), call);
        let whole = |answer: &Value| reply(status, &[], &answer.to_string(), date);
        match self.mishaps.pop_front() {
            Some(Mishap::BreaksOff) => {
                let mut half = whole(&answer);
                half.truncate(half.len() / 2);
                (half, false)
            }
            Some(Mishap::Bloated(bytes)) => {
                (reply(status, &[], &format!("{}{answer}", " ".repeat(bytes)), date), true)
            }
            Some(Mishap::Errors(errors)) => {
                answer["errors"] = errors;
                (whole(&answer), true)
            }
            Some(Mishap::Says(..)) | None => (whole(&answer), true),
        }
    }

    fn answer(&mut self, now: Timestamp, call: &ShopCall) -> (u16, Value) {
        if !call.path.starts_with("/admin/api/") || !call.path.ends_with("/graphql.json") {
            return (404, json!({"errors": "Not Found"}));
        }
        if call.token.as_deref() != Some(self.token.as_str()) {
            let why = "[API] Invalid API key or access token (unrecognized login or wrong password)";
            return (401, json!({ "errors": why }));
        }
        let first = call.variables["first"].as_f64();
        let requested = first.map_or(1.0, |first| 2.0 + first);
        if requested > CAPACITY || first.is_some_and(|first| first > 250.0) {
            let why =
                json!({"message": "Query cost is too high", "extensions": {"code": "MAX_COST_EXCEEDED"}});
            return (200, json!({ "errors": [why] }));
        }
        if self.refilled(now) < requested {
            let why = json!({"message": "Throttled", "extensions": {"code": "THROTTLED"}});
            return (200, json!({"errors": [why], "extensions": self.cost(now, requested, None)}));
        }
        let (data, actual) = match self.data(call) {
            Ok(found) => found,
            Err(message) => return (200, json!({"errors": [{ "message": message }]})),
        };
        self.take(now, actual);
        (200, json!({"data": data, "extensions": self.cost(now, requested, Some(actual))}))
    }

    fn data(&self, call: &ShopCall) -> Result<(Value, f64), &'static str> {
        if let Some(id) = call.variables["id"].as_str() {
            let number =
                id.strip_prefix("gid://shopify/Order/").and_then(|number| number.parse::<u64>().ok());
            let order = self.orders.get(&number.ok_or("Invalid global id")?);
            return Ok((json!({ "order": order.map(|order| shown(order, call)) }), 1.0));
        }
        let first = call.variables["first"].as_u64().ok_or("you must provide one of first or last")?;
        let asked = call.variables["query"].as_str().ok_or("no query")?;
        let since = asked.strip_prefix("updated_at:>='").and_then(|rest| rest.strip_suffix('\''));
        let since = since.and_then(|text| Timestamp::parse(text).ok()).ok_or("Invalid date")?;
        let after = match &call.variables["after"] {
            Value::Null => None,
            cursor => Some(
                place(cursor.as_str().unwrap_or("")).ok_or("Invalid cursor for current pagination sort.")?,
            ),
        };
        let mut found: Vec<&ShopOrder> =
            self.orders.values().filter(|order| order.updated_at >= since).collect();
        found.sort_by_key(|order| (order.updated_at, order.number));
        found.retain(|order| after.is_none_or(|after| (order.updated_at.micros(), order.number) > after));
        let has_next = found.len() as u64 > first;
        found.truncate(usize::try_from(first).unwrap_or(usize::MAX));
        let cursor = |order: &ShopOrder| format!("at-{}-{}", order.updated_at.micros(), order.number);
        let end = found.last().map(|order| cursor(order));
        let actual = 2.0 + f64::from(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let nodes: Vec<Value> = found.into_iter().map(|order| shown(order, call)).collect();
        let orders = json!({"nodes": nodes, "pageInfo": {"hasNextPage": has_next, "endCursor": end}});
        Ok((json!({ "orders": orders }), actual))
    }
}

/// What is shown of an order: all of it, or its id where the query wants no more.
fn shown(order: &ShopOrder, call: &ShopCall) -> Value {
    if call.query.contains("totalPriceSet") || order.node.is_null() {
        return order.node.clone();
    }
    json!({ "id": order.node["id"] })
}

fn place(cursor: &str) -> Option<(i64, u64)> {
    let (micros, number) = cursor.strip_prefix("at-")?.split_once('-')?;
    Some((micros.parse().ok()?, number.parse().ok()?))
}

async fn serve(mut stream: TcpStream, shop: Arc<Mutex<Shop>>, clock: Arc<ManualClock>) -> Option<()> {
    let mut ahead = Vec::new();
    loop {
        let call = read(&mut stream, &mut ahead).await?;
        let (bytes, goes_on) = shop.lock().expect("no panic in there").reply(&call, &clock);
        stream.write_all(&bytes).await.ok()?;
        if !goes_on {
            return None;
        }
    }
}

/// The next request on a connection; `None` at its end.
async fn read(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> Option<ShopCall> {
    loop {
        if let Some(end) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&ahead[..end]).into_owned();
            let header = |name: &str| {
                let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
                lines.find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
            };
            let length =
                header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
            if ahead.len() >= end + 4 + length {
                let body: Value =
                    serde_json::from_slice(&ahead[end + 4..end + 4 + length]).unwrap_or_default();
                ahead.drain(..end + 4 + length);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let token = header("x-shopify-access-token");
                let query = body["query"].as_str().unwrap_or_default().to_owned();
                return Some(ShopCall { path, token, query, variables: body["variables"].clone() });
            }
        }
        if stream.read_buf(ahead).await.ok()? == 0 {
            return None;
        }
    }
}

fn reply(status: u16, head: &[(&str, &str)], body: &str, now: Timestamp) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !head.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
        text.push_str(&format!("date: {}\r\n", http_date(now)));
    }
    for (name, value) in head {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// As the header `Date` writes it (RFC 9110 §5.6.7).
fn http_date(now: Timestamp) -> String {
    let text = now.millis_text();
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().expect("digits");
    let days = u64::try_from(now.micros()).expect("after 1970") / 86_400_000_000;
    let weekday =
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).expect("small")];
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months[usize::try_from(number(5..7)).expect("small") - 1];
    format!("{weekday}, {} {month} {} {} GMT", &text[8..10], &text[..4], &text[11..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_as_headers_write_it() {
        let at = |text: &str| http_date(Timestamp::parse(text).unwrap());
        assert_eq!(at("1994-11-06T08:49:37Z"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at("2026-02-28T23:59:59.9Z"), "Sat, 28 Feb 2026 23:59:59 GMT");
    }
}
