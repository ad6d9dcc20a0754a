//! Settings of the contract `sales`.

use super::{Inputs, as_rows, env, load_ok, problems, toml};

#[test]
fn the_defaults() {
    let ours = |key: &str| key.starts_with("catalog.") || key.starts_with("contracts.sales.");
    let rows = as_rows(&load_ok(&Inputs::default())).into_iter().filter(|[key, ..]| ours(key));
    let rows = rows.map(|[key, value, ..]| format!("{key} = {value}\n"));
    insta::assert_snapshot!(rows.collect::<String>(), @r"
    contracts.sales.public = false
    contracts.sales.listen = 
    catalog.url = 
    catalog.file = 
    catalog.connect_timeout_ms = 3000
    catalog.timeout_ms = 5000
    catalog.calls_max = 256
    ");
}

#[test]
fn there_is_one_catalogue() {
    let both = toml("[catalog]\nurl = \"http://h/\"\nfile = \"catalog.json\"");
    assert!(problems(&both).contains("catalog.file"), "{}", problems(&both));
    let config = load_ok(&env([("PRODUCT_SERVICE_URL", "http://u:secret@h/")]));
    assert_eq!(config.settings.catalog.url.as_deref(), Some("http://u:secret@h/"));
    let shown = as_rows(&config).into_iter().find(|[key, ..]| *key == "catalog.url").unwrap();
    assert!(!shown.concat().contains("secret@"), "{shown:?}");
    assert!(problems(&env([("PRODUCT_SERVICE_URL", "ftp://h/")])).contains("PRODUCT_SERVICE_URL"));
}
