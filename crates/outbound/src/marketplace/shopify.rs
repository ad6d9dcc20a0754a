//! Shopify, by its GraphQL Admin API: one order by its number, and what changed since, in pages by cursor.
//!
//! Sources: shopify.dev, `docs/api/usage/` (response-codes, rate-limits, search-syntax, pagination-graphql, versioning) and
//! `docs/api/admin-graphql` (queries `order` and `orders`, objects `Order` and `MoneyBag`).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use order_core::budget::{self, Allowance, Limit};
use order_core::clock::Clock;
use order_core::marketplace::MarketplaceName;
use order_core::marketplace::calls::{
    Allowances, Answer, BudgetHint, ChangesAsked, Fetched, Heard, Listed, Notification, Operation,
    PAGE_BYTES_MAX, StoreAccess,
};
use order_core::ports::Marketplace;
use order_core::sealing::Secret;
use order_core::{Reference, Timestamp};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::shopify_answer::{self as answer, Trouble};
use super::shopify_notification as notification;
use super::wait;
use crate::client::{self, Client, Read};
use crate::{BuildError, NoAnswer, Reach, Timeouts, Trust};

/// What we are called in the keys of budgets: one installation is one app there.
const APP: &str = "default";
/// Orders of a page: what such a page costs is within the bucket of the smallest plan.
pub(super) const PAGE: u64 = 50;
/// Longest answer that is read, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 20;
/// What is asked for again at each listing: two clocks are never quite the same, and what changed a moment ago may not be
/// found yet.
pub(super) const OVERLAP: Duration = Duration::from_secs(5 * 60);
/// Longest number in an order's id.
const NUMBER_DIGITS_MAX: usize = 20;

/// What is asked of an order. Nothing in it changes by itself, for what is fetched twice is to be the same.
const FIELDS: &str = "id name createdAt customer { id } totalPriceSet { shopMoney { amount currencyCode } }";

/// Where Shopify is.
#[derive(Debug, Clone)]
pub struct ShopifyOptions {
    /// What stands in for `https://SHOP.myshopify.com`; none in production.
    pub base: Option<String>,
    /// The version of the API, such as `2026-10`.
    pub version: String,
    /// The app's secret there, which notifications are signed with; none is believed without.
    pub secret: Option<Secret>,
}

/// A client of Shopify, for all of its stores.
pub struct ShopifyClient {
    client: Client,
    base: Option<Url>,
    version: String,
    secret: Option<Secret>,
    clock: Arc<dyn Clock>,
    /// How far Shopify's clock was behind ours when it was heard of last, in microseconds.
    lag_micros: AtomicI64,
}

/// An answer to any query.
struct Said {
    of: Result<Value, Trouble>,
    hints: Vec<BudgetHint>,
}

impl ShopifyClient {
    /// A client whose calls go to public addresses alone, unless `options` name a base.
    ///
    /// # Errors
    /// [`BuildError`] when the base is no `http` or `https` URL, or the client cannot be made.
    pub fn new(
        options: ShopifyOptions,
        clock: Arc<dyn Clock>,
        trust: &Trust,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        let base = options.base.as_deref().map(client::parse_address).transpose()?;
        let reach = if base.is_some() { Reach::Anywhere } else { Reach::Public };
        let client = Client::reaching(reach, trust, timeouts)?;
        let ShopifyOptions { version, secret, .. } = options;
        Ok(Self { client, base, version, secret, clock, lag_micros: AtomicI64::new(0) })
    }

    /// Where a store's queries go; `None` when that is no name of a store.
    fn url(&self, access: &StoreAccess) -> Option<Url> {
        let shop = shop(&access.external_id)?;
        let mut url = match &self.base {
            Some(base) => base.clone(),
            None => Url::parse(&format!("https://{shop}.myshopify.com/")).ok()?,
        };
        url.path_segments_mut().ok()?.pop_if_empty().extend(["admin", "api", &self.version, "graphql.json"]);
        Some(url)
    }

    async fn ask(&self, access: &StoreAccess, query: &str, variables: Value) -> Said {
        match self.sent(access, query, variables).await {
            Ok((status, headers, body)) => self.heard(status, &headers, &body),
            Err(trouble) => Said { of: Err(trouble), hints: Vec::new() },
        }
    }

    async fn sent(
        &self,
        access: &StoreAccess,
        query: &str,
        variables: Value,
    ) -> Result<(StatusCode, HeaderMap, bytes::Bytes), Trouble> {
        let refused = |why: &str| Trouble::AccessRefused(why.to_owned());
        let url =
            self.url(access).ok_or_else(|| refused("the store's id is no name of a shop at Shopify"))?;
        let mut token = HeaderValue::from_bytes(access.access_token.bytes())
            .map_err(|_| refused("the store's access token is none of Shopify"))?;
        token.set_sensitive(true);
        let body = json!({ "query": query, "variables": variables }).to_string();
        let request = self.client.http().request(Method::POST, url).body(body);
        let request =
            request.header(CONTENT_TYPE, "application/json").header("x-shopify-access-token", token);
        let request =
            request.build().map_err(|_| Trouble::Unavailable("the address cannot be called".into()))?;
        let away = |NoAnswer { why, .. }: NoAnswer| Trouble::Unavailable(why);
        let mut reply = self.client.send(request).await.map_err(away)?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        self.note_clock(&headers);
        // One byte more tells what is too long from what just fits.
        let body = client::read_body(&mut reply, ANSWER_BYTES_MAX + 1, Read::Start).await.map_err(away)?;
        Ok((status, headers, body))
    }

    fn heard(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Said {
        let asked_wait = wait(headers);
        let parsed = if body.len() > ANSWER_BYTES_MAX {
            Err(Trouble::Unreadable(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")))
        } else {
            serde_json::from_slice::<Value>(body)
                .map_err(|error| Trouble::Unreadable(format!("the answer is no JSON: {error}")))
        };
        let mut hints = parsed.as_ref().map(answer::hints).unwrap_or_default();
        if status != StatusCode::OK {
            hints.extend(asked_wait.map(BudgetHint::NotBefore));
            return Said { of: Err(answer::refused(status, asked_wait, parsed.as_ref().ok())), hints };
        }
        Said { of: parsed.and_then(answer::data), hints }
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date =
            headers.get(DATE).and_then(|date| OffsetDateTime::parse(date.to_str().ok()?, &Rfc2822).ok());
        let micros = date.and_then(|date| i64::try_from(date.unix_timestamp_nanos() / 1_000).ok());
        if let Some(theirs) = micros {
            let behind = self.clock.now().micros().saturating_sub(theirs).max(0);
            self.lag_micros.store(behind, Ordering::Relaxed);
        }
    }

    /// The moment `since` by their clock, or sooner.
    fn by_their_clock(&self, since: Timestamp, lag_micros: i64) -> Timestamp {
        let overlap = i64::try_from(OVERLAP.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(since.micros().saturating_sub(overlap).saturating_sub(lag_micros))
    }

    /// A page of what changed since, by their clock. One that does not read as a whole is asked for once more by its ids
    /// alone: then each of its orders is fetched by itself, and one that does not read keeps nobody else.
    async fn page(&self, access: &StoreAccess, since: Timestamp, cursor: Option<&str>) -> Answer<Listed> {
        let variables = json!({
            "first": PAGE,
            "after": cursor,
            "query": format!("updated_at:>='{}'", since.millis_text()),
        });
        let whole = self.ask(access, &orders(FIELDS), variables.clone()).await;
        let (mut hints, now) = (whole.hints, self.clock.now());
        let read = whole.of.and_then(|data| answer::page(&data, access, now));
        let read = match read {
            Err(Trouble::Unreadable(_)) => {
                let named = self.ask(access, &orders("id"), variables).await;
                hints.extend(named.hints);
                named.of.and_then(|data| answer::names(&data))
            }
            read => read,
        };
        let of = match read {
            Ok(page) => match page.next.map(|next| place(since, &next)) {
                Some(next) if next.len() > PAGE_BYTES_MAX => {
                    Listed::Unavailable { why: "the place of the next page is too long".to_owned() }
                }
                next => Listed::Page { orders: page.orders, next },
            },
            Err(trouble) => answer::listed(trouble, cursor.is_some()),
        };
        Answer { of, hints }
    }
}

#[async_trait]
impl Marketplace for ShopifyClient {
    fn lists(&self) -> bool {
        true
    }

    fn allowances(&self, access: &StoreAccess, operation: Operation) -> Allowances {
        // Shopify counts for an app in a store, whatever is called; 1 000 points and 50 a second are the smallest plan's.
        let key = budget::key(MarketplaceName::Shopify.word(), APP, Some(access.store_id), None);
        vec![Allowance { key, units: points(operation), limit: Limit::per_second(1_000, 50) }]
    }

    async fn fetch(&self, access: &StoreAccess, receipt: &Reference) -> Answer<Fetched> {
        let number = receipt.as_str();
        // Any other text would be the same order under another name, or none.
        let is_number = number.len() <= NUMBER_DIGITS_MAX
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && !number.starts_with('0');
        if !is_number {
            return Answer::bare(Fetched::Invalid);
        }
        let query = format!("query($id: ID!) {{ order(id: $id) {{ {FIELDS} }} }}");
        let variables = json!({ "id": format!("gid://shopify/Order/{number}") });
        let said = self.ask(access, &query, variables).await;
        let of = match said.of.and_then(|data| answer::order(&data, access, self.clock.now())) {
            Ok(Some(imported)) => Fetched::Imported(Box::new(imported)),
            Ok(None) => Fetched::Invalid,
            Err(trouble) => answer::fetched(trouble),
        };
        Answer { of, hints: said.hints }
    }

    fn hear(&self, external_id: &str, told: &Notification<'_>) -> Heard {
        self.secret
            .as_ref()
            .map_or(Heard::Stranger, |secret| notification::heard(secret, shop(external_id), told))
    }

    async fn changed_since(&self, access: &StoreAccess, asked: &ChangesAsked) -> Answer<Listed> {
        if let Some(page) = &asked.page {
            let Some((since, cursor)) = read_place(page) else {
                return Answer::bare(Listed::PageGone);
            };
            return self.page(access, since, Some(cursor)).await;
        }
        let believed = self.lag_micros.load(Ordering::Relaxed);
        let first = self.page(access, self.by_their_clock(asked.since, believed), None).await;
        let seen = self.lag_micros.load(Ordering::Relaxed);
        let overlap = i64::try_from(OVERLAP.as_micros()).unwrap_or(i64::MAX);
        // Who refused once is not asked again.
        let is_page = matches!(first.of, Listed::Page { .. });
        if !is_page || seen.saturating_sub(believed) < overlap / 2 {
            return first;
        }
        // Their clock is further behind than was believed: what changed there since is from before the moment asked for.
        let mut again = self.page(access, self.by_their_clock(asked.since, seen), None).await;
        again.hints.splice(0..0, first.hints);
        again
    }
}

fn orders(fields: &str) -> String {
    format!(
        "query($first: Int!, $after: String, $query: String!) {{ \
         orders(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {{ \
         nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    )
}

/// The pages of one listing go by one moment: a cursor is one of a search.
fn place(since: Timestamp, cursor: &str) -> String {
    format!("{since}|{cursor}")
}

fn read_place(page: &str) -> Option<(Timestamp, &str)> {
    let (since, cursor) = page.split_once('|')?;
    Some((Timestamp::parse(since).ok()?, cursor))
}

/// The name of a shop: what comes before `.myshopify.com`, which may be left out.
fn shop(external_id: &str) -> Option<&str> {
    let name = external_id.strip_suffix(".myshopify.com").unwrap_or(external_id);
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=63).contains(&name.len()) && name.bytes().all(fits);
    (is_name && !name.starts_with('-') && !name.ends_with('-')).then_some(name)
}

/// What a call of this operation uses, at most, in cost points.
fn points(operation: Operation) -> u64 {
    match operation {
        Operation::Fetch => 10,
        // An order is one point and what lies in it three more; the page itself is two.
        Operation::List => 4 * PAGE + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_is_a_name_below_shopifys_own() {
        assert_eq!(shop("my-shop"), Some("my-shop"));
        assert_eq!(shop("my-shop.myshopify.com"), Some("my-shop"));
        for bad in
            ["", "-a", "a-", "A", "a.b", "a/b", "a@evil", "127.0.0.1", "a.myshopify.com.evil.example", "é"]
        {
            assert_eq!(shop(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_place_reads_back() {
        let since = Timestamp::from_micros(1_767_225_600_123_456);
        assert_eq!(read_place(&place(since, "eyJ|x=")), Some((since, "eyJ|x=")));
        assert_eq!(read_place("x|y"), None);
        assert_eq!(read_place(""), None);
    }
}
