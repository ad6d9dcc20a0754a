//! What is parked, and sending it to work again: over HTTP and from the command line.

use crate::harness::Server;
use serde_json::{Value, json};

/// Fails its only attempt, and succeeds when it is redriven.
fn failing(reference: &str) -> Value {
    json!({ "reference": reference, "total": 1, "attributes": { "simulate": { "fail": 1 } } })
}

async fn with_parked(references: &[&str]) -> (Server, Vec<Value>) {
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "1").start().await;
    let mut orders = Vec::new();
    for reference in references {
        orders.push(server.accept(&failing(reference)).await);
    }
    for order in &orders {
        server.until_order(order, "parked").await;
    }
    (server, orders)
}

#[tokio::test]
async fn parked_orders_are_listed_counted_and_redriven_over_http() {
    let (server, orders) = with_parked(&["a", "b", "c"]).await;
    server.accept(&json!({ "reference": "fine", "total": 1 })).await;
    let parked = server.json("/v1/parked?limit=2").await;
    assert_eq!(parked["orders"][0]["last_error"], "simulated failure");
    let rest = server.json(&format!("/v1/parked?after={}", parked["next"].as_str().unwrap())).await;
    assert_eq!(rest["orders"].as_array().unwrap().len(), 1);

    let count = async |filter: Value| {
        let body = json!({ "filter": filter, "dry_run": true }).to_string();
        let reply = server.post("/v1/redrives", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["matched"].clone()
    };
    assert_eq!(count(json!({ "all": true })).await, 3);
    assert_eq!(count(json!({ "order_ids": [orders[0]["order_id"]] })).await, 1);
    assert_eq!(count(json!({ "error_contains": "simulated" })).await, 3);
    assert_eq!(count(json!({ "source": "parspec" })).await, 0);
    assert_eq!(count(json!({ "q": "a" })).await, 1);
    assert_eq!(count(json!({ "customer": "c-42" })).await, 0);
    assert_eq!(count(json!({ "accepted_from": orders[1]["accepted_at"], "withdrawn": false })).await, 2);
    assert_eq!(count(json!({ "fulfilment": "shipped" })).await, 0);
    let wrong = json!({ "filter": { "fulfilment": "lost", "accepted_to": "soon" }, "dry_run": true });
    let wrong = server.post("/v1/redrives", &wrong.to_string()).await;
    let pointers: Vec<Value> =
        wrong.json()["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(
        (wrong.status, pointers),
        (422, vec![json!("/filter/fulfilment"), json!("/filter/accepted_to")])
    );
    assert_eq!(
        server.json("/v1/parked").await["orders"].as_array().unwrap().len(),
        3,
        "a dry run does nothing"
    );

    let body = json!({ "filter": { "order_ids": [orders[0]["order_id"]] }, "reason": "one" });
    let started = server.post("/v1/redrives", &body.to_string()).await;
    assert_eq!(started.status, 202, "{}", started.text());
    let place = started.header("location").unwrap().to_owned();
    let finished = server.until(&place, |redrive| redrive["state"] == "finished").await;
    assert_eq!(json!([finished["redriven"], finished["refused"], finished["reason"]]), json!([1, 0, "one"]));
    let items = server.json(&format!("{place}/items")).await;
    assert_eq!(items["items"], json!([{ "order_id": orders[0]["order_id"], "result": "redriven" }]));
    let done = server.until_order(&orders[0], "done").await;
    assert_eq!(json!([done["attempt"], done["last_error"]]), json!([1, null]), "a fresh budget");
    let history = server.history(&orders[0]).await;
    assert_eq!(history, ["order.accepted", "order.parked", "order.redriven", "order.processed"]);

    let again = server.post("/v1/redrives", &body.to_string()).await;
    let place = again.header("location").unwrap().to_owned();
    let finished = server.until(&place, |redrive| redrive["state"] == "finished").await;
    assert_eq!(json!([finished["redriven"], finished["refused"]]), json!([0, 1]), "it is done");
    server.home().audited();
}

#[tokio::test]
async fn the_command_line_redrives_on_a_running_server() {
    let (server, orders) = with_parked(&["a", "b"]).await;
    let home = server.home();
    let dry = home.run(&["orders", "redrive", "--all", "--reason", "x", "--dry-run"]);
    assert_eq!((dry.code(), dry.stdout.as_str()), (0, "2 parked orders would be redriven\n"));
    let since = orders[1]["accepted_at"].as_str().unwrap();
    for (filter, many) in [
        (&["--search", "a"][..], "1 parked order would"),
        (&["--accepted-from", since, "--withdrawn", "false"], "1 parked order would"),
        (&["--fulfilment", "shipped"], "0 parked orders would"),
        (&["--customer", "c-42"], "0 parked orders would"),
        (&["--accepted-to", "2999-01-01T00:00:00Z"], "2 parked orders would"),
    ] {
        let dry = home.run(&[&["orders", "redrive", "--dry-run"], filter].concat());
        assert!(dry.code() == 0 && dry.stdout.starts_with(many), "{filter:?}: {dry:?}");
        let listed = home.run(&[&["parked", "--json"], filter].concat());
        let listed = listed.json()["orders"].as_array().unwrap().len().to_string();
        assert!(many.starts_with(&listed), "{filter:?}: {listed}");
    }
    let one = home.run(&["orders", "redrive", orders[0]["order_id"].as_str().unwrap(), "--reason", "x"]);
    assert_eq!((one.code(), one.stdout.as_str()), (0, "1 redriven\n"), "{one:?}");
    let all = home.run(&["orders", "redrive", "--all", "--reason", "stock is back", "--yes", "--json"]);
    assert_eq!(all.code(), 0, "{all:?}");
    assert_eq!(json!([all.json()["redriven"], all.json()["refused"]]), json!([1, 0]));
    for order in &orders {
        server.until_order(order, "done").await;
    }
    let events = server.json(&format!("/v1/orders/{}/events", orders[1]["order_id"].as_str().unwrap())).await;
    assert_eq!(events["events"][2]["data"]["reason"], "stock is back");
    let refused = home.run(&["orders", "redrive", orders[0]["order_id"].as_str().unwrap(), "--reason", "x"]);
    assert_eq!((refused.code(), refused.stdout.contains("1 refused")), (4, true), "{refused:?}");
}

#[tokio::test]
async fn a_redrive_without_a_server_is_carried_out_and_worked_on_at_the_next_start() {
    let (server, orders) = with_parked(&["a"]).await;
    let home = server.home();
    server.terminate().await;
    let redriven = home.run(&["orders", "redrive", "--all", "--reason", "x", "--yes"]);
    assert_eq!((redriven.code(), redriven.stdout.as_str()), (0, "1 redriven\n"), "{redriven:?}");
    let server = home.server().start().await;
    server.until_order(&orders[0], "done").await;
    assert_eq!(server.json("/v1/parked").await["orders"], json!([]));
}
