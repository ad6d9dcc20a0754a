//! The mock marketplace: ours, or one like it, over HTTP with Basic authentication.

use std::sync::Arc;

use async_trait::async_trait;
use order_core::budget::{self, Allowance, Limit};
use order_core::clock::Clock;
use order_core::marketplace::MarketplaceName;
use order_core::marketplace::calls::{
    Allowances, Answer, BudgetHint, ChangesAsked, Fetched, Imported, Listed, Operation, StoreAccess,
};
use order_core::ports::Marketplace;
use order_core::{Money, Reference, Timestamp};
use reqwest::{Method, StatusCode, Url, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::{said, wait};
use crate::client::{self, Client, Read};
use crate::{BuildError, NoAnswer, Timeouts, Trust};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What we are called in the keys of budgets: whoever stands in for a marketplace shares none with it.
const APP: &str = "mock";
/// More calls than are ever made: nobody waits for this budget but where it was told to.
const CALLS_PER_SECOND: u64 = 100_000;
/// Longest id of an order.
const ID_BYTES_MAX: usize = 255;

/// A name and a password there.
#[derive(Clone)]
pub struct MockLogin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// A client of one mock marketplace, for all of its stores.
pub struct MockMarketplace {
    client: Client,
    url: Url,
    login: MockLogin,
    clock: Arc<dyn Clock>,
}

impl MockMarketplace {
    /// A client of `marketplace` below `base` (`http` or `https`).
    ///
    /// # Errors
    /// [`BuildError`] when `base` is no such address, or the client cannot be made.
    pub fn new(
        base: &str,
        marketplace: MarketplaceName,
        login: MockLogin,
        clock: Arc<dyn Clock>,
        trust: &Trust,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        let mut url = client::parse_address(base)?;
        let path = ["mock", marketplace.word(), "validate"];
        url.path_segments_mut().map_err(|()| BuildError::Address)?.pop_if_empty().extend(path);
        Ok(Self { client: Client::new(trust, timeouts)?, url, login, clock })
    }

    async fn asked(&self, access: &StoreAccess, receipt: &Reference) -> Result<Answer<Fetched>, NoAnswer> {
        let body = json!({ "receipt": receipt.as_str(), "currency": access.currency }).to_string();
        let request = self.client.http().request(Method::POST, self.url.clone()).body(body);
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.basic_auth(&self.login.user, Some(&self.login.password)).build();
        let request = request.map_err(|_| NoAnswer::because("the address cannot be called"))?;
        let mut reply = self.client.send(request).await?;
        let (status, asked_wait) = (reply.status(), wait(reply.headers()));
        // One byte more tells what is too long from what just fits.
        let bytes = client::read_body(&mut reply, ANSWER_BYTES_MAX + 1, Read::Start).await?;
        let body = parsed(&bytes);
        let told = body.as_ref().ok().and_then(|body| body["error"].as_str()).map(said);
        let answered = || format!("the answer was {}", status.as_u16());
        let of = match status {
            StatusCode::OK => match body {
                Ok(body) => read(&body, access, self.clock.now()),
                Err(why) => Fetched::Failed { why },
            },
            StatusCode::TOO_MANY_REQUESTS => Fetched::RateLimited { retry_after: asked_wait },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Fetched::AccessRefused { why: told.unwrap_or_else(|| "the login is refused".to_owned()) }
            }
            fault if fault.is_server_error() => Fetched::Unavailable { why: answered() },
            // Whatever else it says, it says of this receipt: a redirect too, which is not followed.
            _ => Fetched::Failed { why: told.unwrap_or_else(answered) },
        };
        Ok(Answer { of, hints: asked_wait.map(BudgetHint::NotBefore).into_iter().collect() })
    }
}

#[async_trait]
impl Marketplace for MockMarketplace {
    fn lists(&self) -> bool {
        false
    }

    fn allowances(&self, access: &StoreAccess, _: Operation) -> Allowances {
        // It tells of no limits but by `Retry-After`, which holds for all calls for a store, whoever makes them.
        let key = budget::key(access.marketplace.word(), APP, Some(access.store_id), None);
        vec![Allowance { key, units: 1, limit: Limit::per_second(CALLS_PER_SECOND, CALLS_PER_SECOND) }]
    }

    async fn fetch(&self, access: &StoreAccess, receipt: &Reference) -> Answer<Fetched> {
        let answered = self.asked(access, receipt).await;
        answered.unwrap_or_else(|NoAnswer { why, .. }| Answer::bare(Fetched::Unavailable { why }))
    }

    async fn changed_since(&self, _: &StoreAccess, _: &ChangesAsked) -> Answer<Listed> {
        Answer::bare(Listed::Page { orders: Vec::new(), next: None })
    }
}

/// What an answer holds; why it does not read.
fn parsed(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the answer is no JSON: {error}"))
}

/// What the marketplace says of a receipt.
fn read(body: &Value, access: &StoreAccess, now: Timestamp) -> Fetched {
    match &body["status"] {
        Value::Bool(false) => Fetched::Invalid,
        Value::Bool(true) => match imported(body, access, now) {
            Ok(imported) => Fetched::Imported(Box::new(imported)),
            Err(field) => Fetched::Failed { why: format!("the answer's {field} does not read") },
        },
        _ => Fetched::Failed { why: "the answer's status does not read".to_owned() },
    }
}

fn imported(body: &Value, access: &StoreAccess, now: Timestamp) -> Result<Imported, &'static str> {
    let text = |field: &'static str| body[field].as_str().ok_or(field);
    let id = text("orderId")?;
    if !(1..=ID_BYTES_MAX).contains(&id.len()) || id.contains('\0') {
        return Err("orderId");
    }
    let amount = match &body["amount"] {
        Value::Number(number) => Money::parse(number.as_str()),
        Value::String(text) => Money::parse(text),
        _ => return Err("amount"),
    };
    let amount = amount.ok().filter(|amount| !amount.is_negative()).ok_or("amount")?;
    if text("currency")? != access.currency {
        return Err("currency");
    }
    let imported_at = match &body["importedAtUTC"] {
        Value::Null => now,
        value => value.as_str().and_then(|text| Timestamp::parse(text).ok()).ok_or("importedAtUTC")?,
    };
    Ok(Imported {
        external_order_id: id.to_owned(),
        customer: None,
        amount,
        currency: access.currency.clone(),
        imported_at,
        payload: Map::new(),
    })
}
