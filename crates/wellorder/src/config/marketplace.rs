//! Marketplaces, as settings say.

use super::settings::Hidden;
use order_core::marketplace::MarketPolicy;
use order_core::sealing::Secret;

/// Marketplaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marketplace {
    /// Whether the mock marketplace is served.
    pub(crate) mock: bool,
    /// Who may ask it.
    pub(crate) etsy: MockLogin,
    pub(crate) shopify: MockLogin,
    pub(crate) amazon: MockLogin,
    /// Where the mock marketplaces are; `None`: here, where they are served.
    pub(crate) mock_url: Option<String>,
    /// Who is asked about stores at Shopify.
    pub(crate) shopify_kind: ShopifyKind,
    /// What stands in for `https://SHOP.myshopify.com`.
    pub(crate) shopify_url: Option<String>,
    /// The version of its API.
    pub(crate) shopify_version: String,
    /// What it signs notifications with.
    pub(crate) shopify_secret: Hidden,
    /// How stores are synced.
    pub(crate) policy: MarketPolicy,
    /// What webhooks of the contract are signed with that have no secret of their own.
    pub(crate) webhook_secret: Hidden,
}

/// Who is asked about stores at Shopify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ShopifyKind {
    /// The mock marketplace.
    #[default]
    Mock,
    /// Shopify's GraphQL Admin API.
    Admin,
}

/// Who may ask one mock marketplace; nobody where a part is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct MockLogin {
    pub(crate) user: String,
    pub(crate) password: Hidden,
}

impl Marketplace {
    /// How stores are synced, and receipts imported.
    pub(crate) fn policy(&self) -> MarketPolicy {
        MarketPolicy { heartbeat: self.policy.lease / 3, ..self.policy }
    }

    /// Each login, with where it is set.
    pub(crate) fn logins(&self) -> [(&'static str, &MockLogin); 3] {
        [("etsy", &self.etsy), ("shopify", &self.shopify), ("amazon", &self.amazon)]
    }

    /// What the contract needs besides the core.
    pub(crate) fn means(&self) -> contracts::marketplace::Means {
        let webhook_secret = self.webhook_secret.text().map(|text| Secret::new(text.as_bytes().to_vec()));
        contracts::marketplace::Means { mock: self.mock(), webhook_secret }
    }

    /// The mock marketplaces, where they are served.
    pub(crate) fn mock(&self) -> Option<contracts::marketplace::Mock> {
        let login = |login: &MockLogin| {
            let password = login.password.text().filter(|_| !login.user.is_empty())?.to_owned();
            Some(contracts::marketplace::Login { user: login.user.clone(), password })
        };
        self.mock.then(|| contracts::marketplace::Mock {
            etsy: login(&self.etsy),
            shopify: login(&self.shopify),
            amazon: login(&self.amazon),
        })
    }
}
