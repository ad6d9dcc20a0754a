//! Settings of marketplaces.

use super::{Inputs, Mode, as_rows, env, load_ok, problems};

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
