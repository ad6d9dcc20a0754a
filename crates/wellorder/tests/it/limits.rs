//! How often who may ask, of a real server; and what `serve` must be told before others can reach it.

use crate::harness::{Home, Server};
use crate::login::{Token, ask, serving};
use serde_json::json;

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again_and_others_go_on() {
    let server = serving(&Home::new())
        .env("WELLORDER_RATE_KEY_PER_SECOND", "1")
        .env("WELLORDER_RATE_TENANT_PER_SECOND", "0")
        .env("WELLORDER_RATE_BURST_SECONDS", "100")
        .start()
        .await;
    let (acme, other) = (Token::all("acme").bearer(), Token::all("other").bearer());
    let mut refused = None;
    // A hundred at once; one a second is what comes back meanwhile.
    for _ in 0..20_000 {
        let reply = ask(&server, "GET", "/v1/keys", Some(&acme), None).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{}", refused.text());
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.json()["type"], "urn:wellorder:problem:rate-limited", "{}", refused.text());
    assert_eq!(ask(&server, "GET", "/v1/keys", Some(&other), None).await.status, 200, "another's bucket");
    assert_eq!(server.get("/livez").await.status, 200, "health is not limited");
}

#[tokio::test]
async fn an_address_that_fails_to_log_in_too_often_is_refused_and_its_neighbours_are_not() {
    let server = serving(&Home::new())
        .env("WELLORDER_RATE_FAILED_LOGINS_PER_MINUTE", "3")
        .env("WELLORDER_SERVE_TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let from = async |address: &str, bearer: &str| {
        let headers = [("x-forwarded-for", address), ("authorization", bearer)];
        server.send("GET", "/v1/orders", &headers, b"").await
    };
    let good = Token::all("acme").bearer();
    for _ in 0..2 {
        assert_eq!(from("203.0.113.1", "Bearer x").await.status, 401);
        assert_eq!(from("203.0.113.1", &good).await.status, 200, "a good one counts for nothing");
    }
    assert_eq!(from("203.0.113.1", "Bearer x").await.status, 401);
    let refused = from("203.0.113.1", "Bearer x").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(from("203.0.113.1", &good).await.status, 200, "others may be behind the same address");
    assert_eq!(from("203.0.113.1", "Bearer x").await.status, 429, "and open it for nobody else");
    assert_eq!(from("203.0.113.2", "Bearer x").await.status, 401, "somewhere else");
    let ops = server.ops();
    let metrics = ops.get("/metrics").await;
    let line = "wellorder_rate_limited_total{limit=\"failed-login\"} 2";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

/// Nobody is limited at their own machine, everybody in `serve`.
#[tokio::test]
async fn limits_are_on_in_serve_and_off_in_dev() {
    let home = Home::new();
    for (command, key, address, ops) in [("dev", 0, 0, ""), ("serve", 1000, 20, "127.0.0.1:9090")] {
        let shown = home.run(&["config", "show", "--for", command, "--json"]).json();
        let settings = shown["settings"].as_array().unwrap().clone();
        let value =
            |name: &str| settings.iter().find(|setting| setting["key"] == name).unwrap()["value"].clone();
        assert_eq!(value("rate.key_per_second"), json!(key));
        assert_eq!(value("rate.address_per_second"), json!(address));
        assert_eq!(value("ops"), json!(ops));
    }
    let server = Server::builder().start().await;
    for _ in 0..200 {
        assert_eq!(server.send("GET", "/v1/orders", &[("authorization", "Bearer x")], b"").await.status, 401);
    }
}

/// The main port of a server for others shows no metrics; the port for operators does.
#[tokio::test]
async fn metrics_are_for_operators() {
    let server = serving(&Home::new()).start().await;
    assert_eq!(server.get("/metrics").await.status, 404);
    let ops = server.ops();
    assert_eq!(ops.get("/metrics").await.status, 200);
    assert_eq!(ops.get("/v1/orders").await.status, 404);
    let server = serving(&Home::new()).env("WELLORDER_OPS", "").start().await;
    assert_eq!(server.get("/metrics").await.status, 404, "nor where there is none");
}

/// Off this machine, a way that nobody can read along is stated, or that it need not be.
#[tokio::test]
async fn serve_says_what_makes_a_network_safe_to_listen_on() {
    let home = Home::new();
    let start = async |variables: &[(&str, &str)]| {
        let builder =
            variables.iter().fold(serving(&home), |builder, (name, value)| builder.env(name, value));
        builder.listening("0.0.0.0:0").try_start().await
    };
    let Err(refused) = start(&[]).await else { panic!("it started") };
    assert_eq!(refused.code(), 2, "{refused:?}");
    let said = refused.json().to_string();
    for way in ["tls.cert", "serve.trusted_proxies", "127.0.0.1", "serve.plaintext"] {
        assert!(said.contains(way), "{way}: {said}");
    }
    // The further addresses of contracts are no less on a network.
    for variable in ["WELLORDER_CONTRACTS_ORDERSTREAM_GRPC", "WELLORDER_CONTRACTS_PARSPEC_LISTEN"] {
        let setting = variable.trim_start_matches("WELLORDER_").to_lowercase().replace('_', ".");
        let Err(refused) = serving(&home).env(variable, "0.0.0.0:0").try_start().await else {
            panic!("it started with {variable}")
        };
        assert_eq!(refused.code(), 2, "{refused:?}");
        let problems = refused.json()["problems"].clone();
        assert_eq!(
            (&problems[0]["key"], problems.as_array().unwrap().len()),
            (&setting.into(), 1),
            "{problems}"
        );
    }
    let Err(refused) = start(&[("WELLORDER_TLS_CERT", "cert.pem"), ("WELLORDER_TLS_KEY", "key.pem")]).await
    else {
        panic!("it started without its certificate")
    };
    assert!(refused.json().to_string().contains("cannot read cert.pem"), "{refused:?}");
    let Err(refused) = start(&[("WELLORDER_TLS_CERT", "cert.pem")]).await else { panic!("it started") };
    assert!(refused.json().to_string().contains("tls.key"), "{refused:?}");
    for variable in
        [("WELLORDER_SERVE_PLAINTEXT", "true"), ("WELLORDER_SERVE_TRUSTED_PROXIES", "10.0.0.0/8, ::1")]
    {
        let server = start(&[variable]).await.unwrap_or_else(|ended| panic!("{variable:?}: {ended:?}"));
        assert_eq!(server.terminate().await.code(), 0);
    }
}
