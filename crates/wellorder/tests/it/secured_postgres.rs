//! PostgreSQL over TLS, with a password.

use crate::harness::database::{count, run};
use crate::harness::{Authority, Home};
use crate::own_server::OwnServer;
use serde_json::json;

const PASSWORD: &str = "swordfish-7";
const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'shop' AND ssl::text = $1";

#[tokio::test]
async fn a_database_is_used_over_tls_with_a_password_and_what_is_wrong_is_named() {
    let (own, right) = (OwnServer::start(), Authority::new());
    let admin = own.url();
    run(&admin, &["CREATE ROLE shop LOGIN PASSWORD '", PASSWORD, "'"].concat());
    run(&admin, "CREATE DATABASE orders OWNER shop");
    own.secured(&right.certified());
    let home = Home::on(None);
    let write = |name: &str, pem: String| {
        std::fs::write(home.path().join(name), pem).unwrap();
        home.path().join(name).display().to_string()
    };
    let (ca, other_ca) = (write("ca.pem", right.pem()), write("other.pem", Authority::new().pem()));
    let port = admin.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
    let at = |host: &str, password: &str, more: &str| {
        ["postgres://shop:", password, "@", host, ":", &port, "/orders", more].concat()
    };
    let verified = "?sslmode=verify-full";
    let good = at("localhost", PASSWORD, verified);

    let known = [("WELLORDER_DATABASE", good.as_str()), ("WELLORDER_TLS_CA_FILE", &ca)];
    let mut builder = home.server();
    for (name, value) in known {
        builder = builder.env(name, value);
    }
    let server = builder.start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&order, "done").await;
    server.carried().await;
    assert!(count(&admin, CONNECTIONS, "true") > 2, "lanes, readers and what listens");
    assert_eq!(count(&admin, CONNECTIONS, "false"), 0);
    assert_eq!(server.terminate().await.code(), 0);
    let audited = home.run_with(&known, &["audit", "--json"]);
    assert_eq!((audited.code(), &audited.json()["orders"]), (0, &json!(1)), "{audited:?}");

    let refused = |url: &str, ca: Option<&str>, says: [&str; 3]| {
        let ca = ca.map(|ca| ("WELLORDER_TLS_CA_FILE", ca));
        let variables: Vec<_> = [Some(("WELLORDER_DATABASE", url)), ca].into_iter().flatten().collect();
        let ended = home.run_with(&variables, &["dev", "--listen", "127.0.0.1:0"]);
        assert_eq!(ended.code(), 1, "{ended:?}");
        let said = ended.stderr;
        assert!(says.iter().all(|part| said.contains(part)), "{says:?}: {said}");
        assert!(!said.contains(PASSWORD) && !said.contains("hidden"), "{said}");
    };
    let place = ["PostgreSQL at localhost:", &port, "/orders"].concat();
    refused(&good, None, [&place, "UnknownIssuer", "authority of its certificate with tls.ca_file"]);
    refused(&good, Some(&other_ca), [&place, "UnknownIssuer", "tls.ca_file"]);
    let elsewhere = at("127.0.0.1", PASSWORD, verified);
    refused(&elsewhere, Some(&ca), ["127.0.0.1", "not valid for name", "`database` as its certificate does"]);
    let bad = at("localhost", "hidden", verified);
    refused(&bad, Some(&ca), [&place, "password authentication failed", "password in `database`"]);
    let plain = at("localhost", PASSWORD, "");
    refused(&plain, Some(&ca), [&place, "no encryption", "sslmode=require"]);
    own.secured(&right.expired());
    refused(&good, Some(&ca), [&place, "certificate expired", "a certificate that is good now"]);
}
