//! Who does the work of which orders.

use super::*;
use order_core::desk::{Desk, Desks};

fn at(contract: &str) -> Desk {
    Desk::reserved(contract).unwrap()
}

#[test]
fn a_contract_has_the_processor_of_all_unless_it_says_otherwise() {
    let settings = load_ok(&Inputs::default()).settings;
    assert_eq!(settings.desks_of(ProcessorKind::Simulate), Desks::ALL);
    let file = "processor = \"pull\"\n[http_processor]\nurl = \"http://127.0.0.1:9/\"\n\
                [contracts.sales]\nprocessor = \"http\"\n[contracts.parspec]\nprocessor = \"simulate\"\n\
                [contracts.orderstream]\nprocessor = \"\"\n";
    let settings = load_ok(&toml(file)).settings;
    let kinds =
        ["oscarps", "parspec", "sales", "orderstream"].map(|name| settings.processor_at(at(name)).word());
    assert_eq!(kinds, ["pull", "simulate", "http", "pull"]);
    assert_eq!(settings.processor_at(Desk::COMMON), ProcessorKind::Pull, "all that came by no contract");
    assert_eq!(settings.desks_of(ProcessorKind::Http), at("sales").into());
    assert!(!settings.left_to_kafka());
}

/// The last that is said counts, whichever layer says it.
#[test]
fn the_environment_goes_before_the_file() {
    let mut inputs =
        toml("[contracts.oscarps]\nprocessor = \"pull\"\n[contracts.sales]\nprocessor = \"pull\"");
    let said = env([
        ("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "simulate"),
        ("WELLORDER_CONTRACTS_SALES_PROCESSOR", ""),
    ]);
    inputs.environment = said.environment;
    let settings = load_ok(&inputs).settings;
    assert_eq!(settings.desks_of(ProcessorKind::Simulate), Desks::ALL);
}

#[test]
fn whoever_posts_orders_is_told_where() {
    let file = "[contracts.sales]\nprocessor = \"http\"\n[contracts.oscarps]\nprocessor = \"http\"";
    let problems = problems(&toml(file));
    let wanted = "http_processor.url: is not set, and contracts.oscarps.processor (wellorder.toml:4) is http, and \
                  contracts.sales.processor (wellorder.toml:2) is http; set it to the URL that takes orders";
    assert!(problems.contains(wanted), "{problems}");
}

#[test]
fn only_what_is_told_of_over_kafka_can_be_left_to_it() {
    for name in ["OSCARPS", "PARSPEC", "SALES"] {
        let variable = format!("WELLORDER_CONTRACTS_{name}_PROCESSOR");
        let problems = problems(&env([(variable.as_str(), "kafka"), ("KAFKA_BROKERS", "localhost:9092")]));
        assert!(problems.contains(&variable) && problems.contains("is not known"), "{problems}");
        assert!(problems.contains("simulate, http, pull"), "{problems}");
    }
    assert!(problems(&env([("WELLORDER_PROCESSOR", "kafka")])).contains("is not known"));
}
