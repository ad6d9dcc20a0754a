//! The mock marketplace: ours, or one like it, over HTTP with Basic authentication.

use std::sync::Arc;

use async_trait::async_trait;
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
        let body = client::read_body(&mut reply, ANSWER_BYTES_MAX, Read::All).await?;
        let body = serde_json::from_slice::<Value>(&body).ok();
        let told = body.as_ref().and_then(|body| body["error"].as_str()).map(said);
        let of = match status {
            StatusCode::OK => body.as_ref().map_or_else(no_json, |body| read(body, access, self.clock.now())),
            StatusCode::TOO_MANY_REQUESTS => Fetched::RateLimited { retry_after: asked_wait },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Fetched::AccessRefused { why: told.unwrap_or_else(|| "the login is refused".to_owned()) }
            }
            other if other.is_client_error() => {
                Fetched::Failed { why: told.unwrap_or_else(|| format!("the answer was {}", other.as_u16())) }
            }
            other => Fetched::Unavailable { why: format!("the answer was {}", other.as_u16()) },
        };
        Ok(Answer { of, hints: asked_wait.map(BudgetHint::NotBefore).into_iter().collect() })
    }
}

#[async_trait]
impl Marketplace for MockMarketplace {
    fn lists(&self) -> bool {
        false
    }

    fn allowances(&self, _: &StoreAccess, _: Operation) -> Allowances {
        Allowances::new()
    }

    async fn fetch(&self, access: &StoreAccess, receipt: &Reference) -> Answer<Fetched> {
        let answered = self.asked(access, receipt).await;
        answered.unwrap_or_else(|NoAnswer { why, .. }| Answer::bare(Fetched::Unavailable { why }))
    }

    async fn changed_since(&self, _: &StoreAccess, _: &ChangesAsked) -> Answer<Listed> {
        Answer::bare(Listed::Page { orders: Vec::new(), next: None })
    }
}

fn no_json() -> Fetched {
    Fetched::Failed { why: "the answer is no JSON".to_owned() }
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
