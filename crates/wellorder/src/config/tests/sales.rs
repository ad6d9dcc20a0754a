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
    contracts.sales.processor = 
    catalog.url = 
    catalog.file = 
    catalog.connect_timeout_ms = 3000
    catalog.timeout_ms = 5000
    catalog.calls_max = 256
    contracts.sales.topic = order-events
    contracts.sales.created = orders.created
    contracts.sales.shipped = orders.shipped
    contracts.sales.delivered = orders.delivered
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

#[test]
fn a_topic_or_a_queue_has_one_meaning() {
    let queues = "[contracts.sales]\nshipped = \"orders.created\"\n[rabbitmq]\nurl = \"amqp://localhost\"";
    let said = problems(&toml(queues));
    assert!(said.contains("contracts.sales.shipped") && said.contains("contracts.sales.created"), "{said}");
    let topics = "[contracts.sales]\ntopic = \"wellorder.events\"\n[kafka]\nbrokers = \"localhost:9092\"";
    assert!(
        problems(&toml(topics)).contains("is the topic of kafka.topic too"),
        "{}",
        problems(&toml(topics))
    );
    let none = "[contracts.sales]\ntopic = \"\"\nshipped = \"\"\ndelivered = \"\"\n[kafka]\nbrokers = \"localhost:9092\"";
    assert_eq!(problems(&toml(none)), "");
}
