//! Settings of marketplaces.

use super::{Inputs, Mode, as_rows, env, load_ok, problems};
use order_core::marketplace::MarketPolicy;
use std::time::Duration;

fn ours(inputs: &Inputs) -> String {
    let rows = as_rows(&load_ok(inputs)).into_iter().filter(|[key, ..]| key.starts_with("marketplace."));
    rows.map(|[key, value, ..]| format!("{key} = {value}\n")).collect()
}

#[test]
fn the_mock_marketplace_is_there_for_this_machine_and_for_others_when_it_is_named() {
    insta::assert_snapshot!(ours(&Inputs::default()), @r"
    marketplace.mock = true
    marketplace.mock_etsy_user = etsy_user
    marketplace.mock_etsy_password = (hidden)
    marketplace.mock_shopify_user = shopify_user
    marketplace.mock_shopify_password = (hidden)
    marketplace.mock_amazon_user = amazon_user
    marketplace.mock_amazon_password = (hidden)
    marketplace.mock_url = 
    marketplace.shopify = mock
    marketplace.shopify_url = 
    marketplace.shopify_version = 2026-10
    marketplace.lease_ms = 30000
    marketplace.sync_every_ms = 30000
    marketplace.sync_again_ms = 60000
    marketplace.shopify_secret = 
    marketplace.sync_chunk_size = 100
    marketplace.sync_chunks = 10
    marketplace.sync_stores = 10
    marketplace.history_days = 30
    marketplace.webhook_secret = 
    ");
    let serve = |inputs: Inputs| Inputs { mode: Mode::Serve, ..inputs };
    assert!(load_ok(&serve(Inputs::default())).settings.marketplace.mock().is_none());
    let on = ("WELLORDER_MARKETPLACE_MOCK", "true");
    let with_login = env([on, ("MOCK_ETSY_USER", "u"), ("MOCK_ETSY_PASS", "p")]);
    let mock = load_ok(&serve(with_login)).settings.marketplace.mock().unwrap();
    assert_eq!(mock.etsy.map(|login| (login.user, login.password)), Some(("u".into(), "p".into())));
    assert!(mock.shopify.is_none() && mock.amazon.is_none(), "no login that everybody knows");
    let said = problems(&serve(env([on])));
    assert!(said.contains("nobody has a login there") && said.contains("MOCK_ETSY_PASS"), "{said}");
}

#[test]
fn a_login_has_both_of_its_parts() {
    for (name, said) in
        [("USER", "is empty, and its password is not"), ("PASSWORD", "is empty, and its user is not")]
    {
        let name = format!("WELLORDER_MARKETPLACE_MOCK_ETSY_{name}");
        let problems = problems(&env([(name.as_str(), "")]));
        assert!(problems.contains(&format!("{name} {said}")), "{problems}");
    }
    let colon = problems(&env([("MOCK_SHOPIFY_USER", "a:b")]));
    assert!(colon.contains("MOCK_SHOPIFY_USER holds a colon"), "{colon}");
}

/// What nobody sets is as the core has it.
#[test]
fn syncs_are_as_the_core_has_them_unless_somebody_says_otherwise() {
    let policy = |inputs: &Inputs| load_ok(inputs).settings.marketplace.policy();
    assert_eq!(policy(&Inputs::default()), MarketPolicy::default());
    let set = env([
        ("SYNC_CHUNK_SIZE", "7"),
        ("WELLORDER_MARKETPLACE_SYNC_CHUNKS", "6"),
        ("WELLORDER_MARKETPLACE_SYNC_STORES", "5"),
        ("WELLORDER_MARKETPLACE_SYNC_EVERY_MS", "4000"),
        ("WELLORDER_MARKETPLACE_SYNC_AGAIN_MS", "9000"),
        ("WELLORDER_MARKETPLACE_LEASE_MS", "6000"),
        ("WELLORDER_MARKETPLACE_HISTORY_DAYS", "8"),
    ]);
    let expected = MarketPolicy {
        batch: 7,
        batches_max: 6,
        pages_max: 6,
        stores_at_once: 5,
        every: Duration::from_secs(4),
        again: Duration::from_secs(9),
        lease: Duration::from_secs(6),
        heartbeat: Duration::from_secs(2),
        history_kept: Duration::from_secs(8 * 24 * 3_600),
        ..MarketPolicy::default()
    };
    assert_eq!(policy(&set), expected);
}

#[test]
fn the_secret_of_webhooks_is_taken_as_it_is_and_no_weak_one_by_a_server_for_others() {
    let secret = |inputs: &Inputs| load_ok(inputs).settings.marketplace.means().webhook_secret.is_some();
    assert!(!secret(&Inputs::default()));
    assert!(secret(&env([("WEBHOOK_SECRET", "short")])));
    let serve = |text| Inputs { mode: Mode::Serve, ..env([("WEBHOOK_SECRET", text)]) };
    assert!(secret(&serve("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")));
    let said = problems(&serve("short"));
    assert!(said.contains("is not 24 to 64 bytes") && !said.contains("short"), "{said}");
}
