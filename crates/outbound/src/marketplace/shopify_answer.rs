//! What Shopify's answers say. Each order is read by itself: one that does not read keeps no other from being read.

use std::time::Duration;

use order_core::marketplace::calls::{
    BudgetHint, Fetched, Imported, Listed, ListedContent, ListedOrder, PAGE_RECEIPTS_MAX, StoreAccess,
};
use order_core::{Money, Reference, Timestamp};
use reqwest::StatusCode;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::said;

/// What comes before an order's number in its id.
const GID: &str = "gid://shopify/Order/";
/// Longest text that is taken over.
const TEXT_BYTES_MAX: usize = 255;

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Too many calls; the wait that was asked for.
    RateLimited(Option<Duration>),
    /// The store is not to be asked with this token.
    AccessRefused(String),
    /// It cannot be reached, or has a fault of its own.
    Unavailable(String),
    /// It is none of Shopify's: no JSON, too long, another schema.
    Unreadable(String),
    /// The cursor leads nowhere.
    CursorGone,
}

/// A page as it was read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) orders: Vec<ListedOrder>,
    pub(super) next: Option<String>,
}

/// What the answer tells of the bucket of cost points.
pub(super) fn hints(body: &Value) -> Vec<BudgetHint> {
    let cost = &body["extensions"]["cost"];
    let status = &cost["throttleStatus"];
    let mut hints: Vec<BudgetHint> =
        units(&cost["actualQueryCost"]).map(BudgetHint::Cost).into_iter().collect();
    let bucket = (
        units(&status["currentlyAvailable"]),
        units(&status["maximumAvailable"]),
        units(&status["restoreRate"]),
    );
    if let (Some(available), Some(capacity), Some(per_second)) = bucket {
        hints.push(BudgetHint::Bucket { available, capacity, per_second });
    }
    hints
}

/// Whole points; Shopify writes some with decimals, which are cut.
fn units(value: &Value) -> Option<u64> {
    value.as_number()?.as_str().split('.').next()?.parse().ok()
}

/// What a status other than 200 means.
pub(super) fn refused(status: StatusCode, wait: Option<Duration>, body: Option<&Value>) -> Trouble {
    let told = body.and_then(|body| message(&body["errors"]));
    let why =
        |plain: &str| told.as_deref().map_or_else(|| plain.to_owned(), |told| format!("{plain}: {told}"));
    match status.as_u16() {
        401 => Trouble::AccessRefused(why("Shopify refuses the access token")),
        402 => Trouble::AccessRefused(why("the shop is frozen")),
        403 => Trouble::AccessRefused(why("the access token may not read orders")),
        404 => Trouble::AccessRefused(why("there is no such shop, or not this version of the API")),
        423 => Trouble::AccessRefused(why("the shop is locked")),
        429 | 430 => Trouble::RateLimited(wait),
        code => Trouble::Unavailable(why(&format!("Shopify answered {code}"))),
    }
}

/// The first message of `errors`, which are a list of objects, or a text.
fn message(errors: &Value) -> Option<String> {
    let text = errors.as_str().or_else(|| errors[0]["message"].as_str())?;
    Some(said(text))
}

/// The data of an answer; errors about parts of it are beside it, and what they are about is null.
pub(super) fn data(mut body: Value) -> Result<Value, Trouble> {
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = |error: &Value| error["extensions"]["code"].as_str().unwrap_or_default().to_owned();
    if errors.iter().any(|error| code(error) == "THROTTLED") {
        return Err(Trouble::RateLimited(refill(&body["extensions"]["cost"])));
    }
    if body["data"].is_object() {
        return Ok(body["data"].take());
    }
    let why = message(&body["errors"]).unwrap_or_else(|| "the answer has neither data nor errors".to_owned());
    let first = errors.first().map(code).unwrap_or_default();
    Err(match first.as_str() {
        "ACCESS_DENIED" | "SHOP_INACTIVE" | "UNAUTHORIZED" | "FORBIDDEN" => Trouble::AccessRefused(why),
        "INTERNAL_SERVER_ERROR" | "TIMEOUT" | "SERVICE_UNAVAILABLE" | "MAX_COST_EXCEEDED" => {
            Trouble::Unavailable(why)
        }
        _ if why.to_ascii_lowercase().contains("invalid cursor") => Trouble::CursorGone,
        _ => Trouble::Unreadable(why),
    })
}

/// When the bucket holds as much as was asked for.
fn refill(cost: &Value) -> Option<Duration> {
    let status = &cost["throttleStatus"];
    let lacking = units(&cost["requestedQueryCost"])?.saturating_sub(units(&status["currentlyAvailable"])?);
    let rate = units(&status["restoreRate"]).filter(|rate| *rate > 0)?;
    Some(Duration::from_secs(lacking.div_ceil(rate).max(1)))
}

/// The order that was asked for; `None` when there is none.
pub(super) fn order(data: &Value, access: &StoreAccess, now: Timestamp) -> Result<Option<Imported>, Trouble> {
    match data.get("order") {
        Some(Value::Null) => Ok(None),
        Some(node) => read(node, access, now).map(Some).map_err(Trouble::Unreadable),
        None => Err(Trouble::Unreadable("the answer holds no order".to_owned())),
    }
}

/// A page of orders.
pub(super) fn page(data: &Value, access: &StoreAccess, now: Timestamp) -> Result<Page, Trouble> {
    listing(data, |node| match read(node, access, now) {
        Ok(imported) => ListedContent::Whole(Box::new(imported)),
        Err(why) => ListedContent::Poisoned { why },
    })
}

/// A page of their ids.
pub(super) fn names(data: &Value) -> Result<Page, Trouble> {
    listing(data, |_| ListedContent::Named)
}

fn listing(data: &Value, content: impl Fn(&Value) -> ListedContent) -> Result<Page, Trouble> {
    let other = || Trouble::Unreadable("the answer holds no page of orders".to_owned());
    let orders = &data["orders"];
    let nodes = orders["nodes"].as_array().ok_or_else(other)?;
    if nodes.len() > PAGE_RECEIPTS_MAX {
        return Err(Trouble::Unreadable("the page holds more orders than were asked for".to_owned()));
    }
    let next = match (&orders["pageInfo"]["hasNextPage"], &orders["pageInfo"]["endCursor"]) {
        (Value::Bool(false), _) => None,
        (Value::Bool(true), Value::String(cursor)) => Some(cursor.clone()),
        _ => return Err(other()),
    };
    let mut listed: Vec<ListedOrder> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let order = match receipt(node) {
            Some(receipt) => ListedOrder { receipt, content: content(node) },
            None => nameless(node)?,
        };
        // An order is on a page once; whatever is said of it last counts.
        listed.retain(|other| other.receipt != order.receipt);
        listed.push(order);
    }
    Ok(Page { orders: listed, next })
}

/// An order without an id is not lost: it lies there under a name made of what there is, for somebody to look at.
fn nameless(node: &Value) -> Result<ListedOrder, Trouble> {
    let hash = Sha256::digest(node.to_string().as_bytes());
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let receipt = Reference::new(&format!("unreadable-{digits}"));
    let receipt = receipt.map_err(|_| Trouble::Unreadable("an order has no id".to_owned()))?;
    let why = "an order of the page has no id that reads".to_owned();
    Ok(ListedOrder { receipt, content: ListedContent::Poisoned { why } })
}

/// The number in an order's id.
fn receipt(node: &Value) -> Option<Reference> {
    let number = node["id"].as_str()?.strip_prefix(GID)?.split('?').next()?;
    let is_number = (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    Reference::new(number).ok().filter(|_| is_number)
}

/// An order; else what is wrong with it.
fn read(node: &Value, access: &StoreAccess, now: Timestamp) -> Result<Imported, String> {
    let receipt = receipt(node).ok_or("the order has no id that reads")?;
    let money = &node["totalPriceSet"]["shopMoney"];
    let amount = money["amount"].as_str().ok_or("totalPriceSet.shopMoney.amount is no text")?;
    let amount = Money::parse(amount).map_err(|error| format!("totalPriceSet.shopMoney.amount: {error}"))?;
    if amount.is_negative() {
        return Err("totalPriceSet.shopMoney.amount is negative".to_owned());
    }
    let currency = money["currencyCode"].as_str().filter(|code| is_currency(code));
    let currency = currency.ok_or("totalPriceSet.shopMoney.currencyCode is no currency")?;
    if currency != access.currency {
        return Err(format!(
            "the order is in {currency}, and the store is registered with {}",
            access.currency
        ));
    }
    let customer = match &node["customer"] {
        // Whoever may not see customers sees none.
        Value::Null => None,
        customer => Some(text(&customer["id"]).ok_or("customer.id does not read")?),
    };
    let mut payload = Map::new();
    for field in ["name", "createdAt"] {
        let value = text(&node[field]).ok_or_else(|| format!("{field} does not read"))?;
        payload.insert(field.to_owned(), Value::String(value));
    }
    Ok(Imported {
        external_order_id: format!("{GID}{}", receipt.as_str()),
        customer,
        amount,
        currency: currency.to_owned(),
        imported_at: now,
        payload,
    })
}

/// A text that is kept: 1 to 255 bytes, none of them U+0000.
fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    ((1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains('\0')).then(|| text.to_owned())
}

fn is_currency(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What trouble means for one order.
pub(super) fn fetched(trouble: Trouble) -> Fetched {
    match trouble {
        Trouble::RateLimited(retry_after) => Fetched::RateLimited { retry_after },
        Trouble::AccessRefused(why) => Fetched::AccessRefused { why },
        Trouble::Unavailable(why) => Fetched::Unavailable { why },
        Trouble::Unreadable(why) => Fetched::Failed { why },
        Trouble::CursorGone => Fetched::Failed { why: "Shopify knows of no such cursor".to_owned() },
    }
}

/// What it means for a page.
pub(super) fn listed(trouble: Trouble, had_cursor: bool) -> Listed {
    match trouble {
        Trouble::RateLimited(retry_after) => Listed::RateLimited { retry_after },
        Trouble::AccessRefused(why) => Listed::AccessRefused { why },
        Trouble::Unavailable(why) | Trouble::Unreadable(why) => Listed::Unavailable { why },
        Trouble::CursorGone if had_cursor => Listed::PageGone,
        Trouble::CursorGone => Listed::Unavailable { why: "Shopify refuses the search".to_owned() },
    }
}
