//! The only crate with an HTTP client. Whoever calls out does it from here, so that the rules of calling out hold
//! everywhere: TLS 1.2 or newer with the built-in root certificates and those of [`Trust`], no proxy from the environment, no redirect
//! followed, no cookie kept, a connect and a total timeout, and a bound on what is read of an answer.
//!
//! * [`ApiClient`] speaks our own HTTP API; the command line uses it.
//! * [`DocumentClient`] gets one document at a fixed address: the published keys of an issuer of tokens.
//! * [`check`] and [`is_public`] hold the one rule of which addresses nobody may make a server call.
//! * [`ProcessorClient`] posts an order to the user's URL and says what came of it; [`PostOutcome::verdict`] holds
//!   the one rule of what is done, tried again, or parked.
//! * [`CatalogClient`] asks a product catalogue how many of a product there are.
//! * [`WebhookClient`] delivers webhooks, to where [`Rules`] let it.
//! * [`ShopifyClient`] and [`MockMarketplace`] ask marketplaces for orders.
//! * [`CollectorClient`] sends spans to an OpenTelemetry collector.

mod api_client;
mod catalog;
mod client;
mod collector;
mod deliver;
mod document;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod marketplace;
mod processor;
mod retry_after;
mod rules;
mod tls;

#[cfg(test)]
mod test_server;

pub use api_client::{ApiAnswer, ApiClient, ApiStream};
pub use catalog::{CatalogClient, CatalogTrouble};
pub use client::{BuildError, NoAnswer, Timeouts};
pub use collector::{CollectorAnswer, CollectorClient, collector_headers};
pub use deliver::{Resolver, SystemResolver, WebhookClient};
pub use document::DocumentClient;
pub use guard::{Forbidden, Reach, check, is_public, vetted};
pub use marketplace::{MockLogin, MockMarketplace, ShopifyClient, ShopifyOptions};
pub use processor::{PostOutcome, ProcessorClient, Verdict};
pub use reqwest::{Method, StatusCode, Url, header::HeaderMap};
pub use retry_after::{MAX_RETRY_AFTER, MIN_RETRY_AFTER};
pub use rules::{Opened, PORTS, Refused, Rules};
pub use tls::{InvalidCertificates, Trust, Untrusted};
