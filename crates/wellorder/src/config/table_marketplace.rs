//! Settings of marketplaces.

use super::{
    marketplace::ShopifyKind,
    settings::Settings,
    shape::Shape::{Count, MaybeUrl, Millis, Secret, Switch, Text, Word},
    sources::{Inputs, Mode},
    table::{
        DAY_MS,
        Default::{Follows, Is},
        HOUR_MS, Setting, number, small,
    },
};
use std::time::Duration;

/// What stands by default where nobody but this machine can call.
const fn here_alone(inputs: &Inputs) -> bool {
    !matches!(inputs.mode, Mode::Serve)
}

fn mock_default(_: &Settings, inputs: &Inputs) -> String {
    here_alone(inputs).to_string()
}

fn known(inputs: &Inputs, text: &str) -> String {
    if here_alone(inputs) { text } else { "" }.to_owned()
}

const SHOPIFY: [ShopifyKind; 2] = [ShopifyKind::Mock, ShopifyKind::Admin];

fn shopify_default(_: &Settings, inputs: &Inputs) -> String {
    if here_alone(inputs) { "mock" } else { "admin" }.to_owned()
}

fn set_chunks(settings: &mut Settings, chunks: u64) {
    let policy = &mut settings.marketplace.policy;
    (policy.batches_max, policy.pages_max) = (number(chunks), number(chunks));
}

const USER: &str = "name that a client of this mock marketplace logs in with";
const PASSWORD: &str = "its password; without one, nobody gets in";

pub(super) const MARKETPLACE: &[Setting] = &[
    Setting::new(
        "marketplace.mock",
        Follows(mock_default),
        Switch { set: |s, v| s.marketplace.mock = v },
        "whether the mock marketplace is served",
    ),
    Setting::new(
        "marketplace.mock_etsy_user",
        Follows(|_, inputs| known(inputs, "etsy_user")),
        Text { set: |s, v| v.clone_into(&mut s.marketplace.etsy.user) },
        USER,
    )
    .or(&["MOCK_ETSY_USER"]),
    Setting::new(
        "marketplace.mock_etsy_password",
        Follows(|_, inputs| known(inputs, "etsy_pass")),
        Secret { set: |s, v| s.marketplace.etsy.password = v },
        PASSWORD,
    )
    .or(&["MOCK_ETSY_PASS"])
    .secret(),
    Setting::new(
        "marketplace.mock_shopify_user",
        Follows(|_, inputs| known(inputs, "shopify_user")),
        Text { set: |s, v| v.clone_into(&mut s.marketplace.shopify.user) },
        USER,
    )
    .or(&["MOCK_SHOPIFY_USER"]),
    Setting::new(
        "marketplace.mock_shopify_password",
        Follows(|_, inputs| known(inputs, "shopify_pass")),
        Secret { set: |s, v| s.marketplace.shopify.password = v },
        PASSWORD,
    )
    .or(&["MOCK_SHOPIFY_PASS"])
    .secret(),
    Setting::new(
        "marketplace.mock_amazon_user",
        Follows(|_, inputs| known(inputs, "amazon_user")),
        Text { set: |s, v| v.clone_into(&mut s.marketplace.amazon.user) },
        USER,
    )
    .or(&["MOCK_AMAZON_USER"]),
    Setting::new(
        "marketplace.mock_amazon_password",
        Follows(|_, inputs| known(inputs, "amazon_pass")),
        Secret { set: |s, v| s.marketplace.amazon.password = v },
        PASSWORD,
    )
    .or(&["MOCK_AMAZON_PASS"])
    .secret(),
    Setting::new(
        "marketplace.mock_url",
        Is(""),
        MaybeUrl { set: |s, v| s.marketplace.mock_url = v },
        "where the mock marketplaces are that stores are asked at; empty is this process",
    ),
    Setting::new(
        "marketplace.shopify",
        Follows(shopify_default),
        Word { words: &["mock", "admin"], set: |s, place| s.marketplace.shopify_kind = SHOPIFY[place] },
        "who is asked about stores at Shopify: the mock marketplace, or its GraphQL Admin API",
    ),
    Setting::new(
        "marketplace.shopify_url",
        Is(""),
        MaybeUrl { set: |s, v| s.marketplace.shopify_url = v },
        "what stands in for https://SHOP.myshopify.com; empty is that",
    ),
    Setting::new(
        "marketplace.shopify_version",
        Is("2026-10"),
        Text { set: |s, v| v.clone_into(&mut s.marketplace.shopify_version) },
        "version of its Admin API",
    ),
    Setting::new(
        "marketplace.lease_ms",
        Is("30000"),
        Millis { min: 1_000, max: HOUR_MS, set: |s, v| s.marketplace.policy.lease = v },
        "how long a receipt or a store stays with a process that shows no life",
    ),
    Setting::new(
        "marketplace.sync_every_ms",
        Is("30000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.marketplace.policy.every = v },
        "how often the role sync looks for stores that are due",
    ),
    Setting::new(
        "marketplace.sync_again_ms",
        Is("60000"),
        Millis { min: 10, max: DAY_MS, set: |s, v| s.marketplace.policy.again = v },
        "how long after a sync a store is due again, if there is something to do",
    ),
    Setting::new(
        "marketplace.shopify_secret",
        Is(""),
        Secret { set: |s, v| s.marketplace.shopify_secret = v },
        "the app's client secret there, which its notifications are signed with; none is believed without",
    )
    .secret(),
    Setting::new(
        "marketplace.sync_chunk_size",
        Is("100"),
        Count { min: 1, max: 1_000, set: |s, v| s.marketplace.policy.batch = small(v) },
        "imports that a sync takes in hands at a time",
    )
    .or(&["SYNC_CHUNK_SIZE"]),
    Setting::new(
        "marketplace.sync_chunks",
        Is("10"),
        Count { min: 1, max: 1_000, set: set_chunks },
        "how often it does before it leaves the rest to the next one; and pages that it reads of what changed",
    ),
    Setting::new(
        "marketplace.sync_stores",
        Is("10"),
        Count { min: 1, max: 100, set: |s, v| s.marketplace.policy.stores_at_once = small(v) },
        "stores that a node syncs at once",
    ),
    Setting::new(
        "marketplace.history_days",
        Is("30"),
        Count {
            min: 7,
            max: 3_650,
            set: |s, v| s.marketplace.policy.history_kept = Duration::from_secs(v * 24 * 3_600),
        },
        "how long the runs of syncs, and the events that tell of them, are kept",
    ),
    Setting::new(
        "marketplace.webhook_secret",
        Is(""),
        Secret { set: |s, v| s.marketplace.webhook_secret = v },
        "what webhooks of the contract are signed with that are registered without a secret of their own",
    )
    .or(&["WEBHOOK_SECRET"])
    .secret(),
];
