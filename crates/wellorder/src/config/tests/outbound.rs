//! Settings of calls whose addresses others set.

use super::{Inputs, Mode, as_rows, load, load_ok, toml};

#[test]
fn two_ports_and_public_networks_are_called_unless_more_is_named() {
    let serve = Inputs { mode: Mode::Serve, ..Inputs::default() };
    let rows = as_rows(&load_ok(&serve)).into_iter().filter(|[key, ..]| key.starts_with("outbound."));
    let rows: String = rows.map(|[key, value, ..]| format!("{key} = {value}\n")).collect();
    assert_eq!(rows, "outbound.ports = 443,8443\noutbound.open_networks = \noutbound.challenge = true\n");
    assert_eq!(load_ok(&serve).settings.outbound.ports, outbound::PORTS);
    let said =
        toml("[outbound]\nports = [\"443\", \"9443\"]\nopen_networks = [\"10.1.0.0/16\", \"fd00::/16\"]");
    let ours = load_ok(&said).settings.outbound;
    assert_eq!(ours.ports, [443, 9443]);
    assert_eq!(ours.open_networks, ["10.1.0.0/16".parse().unwrap(), "fd00::/16".parse().unwrap()]);
}

#[test]
fn what_names_no_port_or_everybody_is_refused() {
    for (line, what) in [
        ("ports = \"https\"", "names no ports; use ports such as 443,8443"),
        ("ports = \"\"", "outbound.ports is empty"),
        ("open_networks = \"0.0.0.0/0\"", "holds addresses of strangers"),
        ("open_networks = \"shop.internal\"", "names no network"),
    ] {
        let problems = load(&toml(&format!("[outbound]\n{line}"))).err().unwrap().to_string();
        assert!(problems.contains(what), "{problems}");
    }
}
