//! The marketplaces that this process asks, and the use cases over them.

use crate::config::{MockLogin, Settings, ShopifyKind};
use crate::trust;
use anyhow::Context;
use order_core::App;
use order_core::clock::Clock;
use order_core::marketplace::{Connectors, Market, MarketplaceName};
use order_core::ports::Marketplace;
use order_core::sealing::Secret;
use outbound::{MockMarketplace, ShopifyClient, ShopifyOptions, Timeouts, Trust};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The use cases of stores. `own` is where this process serves HTTP, if it does without TLS: there its own mock marketplace is.
///
/// # Errors
/// When an address in the settings cannot be used.
pub(crate) fn market(
    settings: &Settings,
    app: &Arc<App>,
    own: Option<SocketAddr>,
) -> anyhow::Result<Arc<Market>> {
    let ours = &settings.marketplace;
    let here = own.filter(|_| ours.mock).map(address);
    let mock = ours.mock_url.clone().or(here);
    let (clock, trust) = (&app.clock, trust::of(settings)?);
    let mut connectors = Connectors::new();
    for (name, login) in [
        (MarketplaceName::Etsy, &ours.etsy),
        (MarketplaceName::Shopify, &ours.shopify),
        (MarketplaceName::Amazon, &ours.amazon),
    ] {
        if name == MarketplaceName::Shopify && ours.shopify_kind == ShopifyKind::Admin {
            let secret = ours.shopify_secret.text().map(|text| Secret::new(text.as_bytes().to_vec()));
            let (base, version) = (ours.shopify_url.clone(), ours.shopify_version.clone());
            let options = ShopifyOptions { base, version, secret };
            let client = ShopifyClient::new(options, Arc::clone(clock), &trust, Timeouts::default());
            connectors.insert(name, Arc::new(client.context("marketplace.shopify_url")?));
        } else if let Some(base) = &mock
            && let Some(connector) = mocked(base, name, login, clock, &trust)?
        {
            connectors.insert(name, connector);
        }
    }
    Ok(Market::new(Arc::clone(app), connectors, ours.policy()))
}

fn mocked(
    base: &str,
    name: MarketplaceName,
    login: &MockLogin,
    clock: &Arc<dyn Clock>,
    trust: &Trust,
) -> anyhow::Result<Option<Arc<dyn Marketplace>>> {
    let Some(password) = login.password.text().filter(|_| !login.user.is_empty()) else { return Ok(None) };
    let login = outbound::MockLogin { user: login.user.clone(), password: password.to_owned() };
    let connector = MockMarketplace::new(base, name, login, Arc::clone(clock), trust, Timeouts::default());
    Ok(Some(Arc::new(connector.context("marketplace.mock_url")?)))
}

/// Where the mock marketplace of a process is that listens at `address`.
fn address(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}/marketplace", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn its_own_mock_is_where_it_listens_on_this_machine() {
        for (listening, at) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000/marketplace"),
            ("0.0.0.0:80", "http://127.0.0.1:80/marketplace"),
            ("[::]:80", "http://[::1]:80/marketplace"),
            ("10.0.0.1:3000", "http://10.0.0.1:3000/marketplace"),
        ] {
            assert_eq!(address(listening.parse().unwrap()), at);
        }
    }
}
