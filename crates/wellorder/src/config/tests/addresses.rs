//! Addresses that listeners cannot have beside one another.

use super::*;

const GRPC: &str = "WELLORDER_CONTRACTS_ORDERSTREAM_GRPC";
const SALES: &str = "WELLORDER_CONTRACTS_SALES_LISTEN";

#[test]
fn an_address_that_is_taken_is_told_with_who_has_it() {
    let served = Inputs { mode: Mode::Serve, ..env([(GRPC, "127.0.0.1:9090")]) };
    let said = problems(&served);
    assert!(
        said.contains(&format!("{GRPC} is the same address as ops (default); use another port")),
        "{said}"
    );
    let two = problems(&env([(GRPC, "4000"), (SALES, "4000")]));
    assert!(two.contains("is the same address as contracts.sales.listen"), "{two}");
    let main = problems(&env([(SALES, "3000")]));
    assert!(main.contains("is the same address as listen (default)"), "{main}");
}

#[test]
fn an_address_of_every_interface_has_the_port_of_each() {
    let serving = |listen: &str, ops: &str| Inputs {
        mode: Mode::Serve,
        ..env([("WELLORDER_LISTEN", listen), ("WELLORDER_OPS", ops)])
    };
    for (listen, ops) in
        [("0.0.0.0:9090", "127.0.0.1:9090"), ("127.0.0.1:9090", "[::]:9090"), ("[::]:9090", "[::1]:9090")]
    {
        let said = problems(&serving(listen, ops));
        assert!(said.contains("WELLORDER_OPS has the port of listen"), "{listen} {ops}: {said}");
    }
    for (listen, ops) in
        [("127.0.0.1:9090", "127.0.0.2:9090"), ("0.0.0.0:9090", "[::1]:9090"), ("127.0.0.1:0", "127.0.0.1:0")]
    {
        assert_eq!(problems(&serving(listen, ops)), "", "{listen} {ops}");
    }
}

/// Nodes share a file of settings; who serves no contracts does not listen for them.
#[test]
fn who_serves_no_contracts_has_no_address_for_them() {
    let node = |role| env([("WELLORDER_ROLE", role), (SALES, "3000")]);
    assert_eq!(problems(&node("worker")), "");
    assert!(problems(&node("api,worker")).contains("is the same address as listen"));
}
