//! The processor `pull`: workers outside claim over HTTP, live on while the server dies, and die themselves.

use crate::harness::{Builder, Home, Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn pull(home: &std::sync::Arc<Home>) -> Builder {
    home.server().env("WELLORDER_PROCESSOR", "pull")
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let reply = server.send("POST", path, &headers, body.to_string().as_bytes()).await;
    (reply.status, reply.json())
}

async fn claim(server: &Server, max: u32, lease_seconds: u32) -> Vec<Value> {
    let body = json!({ "max": max, "lease_seconds": lease_seconds });
    let (status, claimed) = post(server, "/v1/work/claim", &body).await;
    assert_eq!(status, 200, "{claimed}");
    claimed["work"].as_array().unwrap().clone()
}

async fn finish(server: &Server, work: &Value) -> (u16, Value) {
    post(server, "/v1/work/finish", &json!({ "token": work["token"], "outcome": "done" })).await
}

async fn accept(server: &Server, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for index in 0..count {
        let order = server.accept(&json!({ "reference": format!("r-{index}"), "total": 1 })).await;
        ids.insert(order["order_id"].as_str().unwrap().to_owned());
    }
    ids
}

fn id(work: &Value) -> String {
    work["order_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn two_clients_never_get_the_same_work_and_nobody_here_takes_any() {
    let home = Home::new();
    let server = pull(&home).start().await;
    let accepted = accept(&server, 40).await;
    let client = async || {
        let mut seen = Vec::new();
        loop {
            let work = claim(&server, 3, 60).await;
            if work.is_empty() {
                return seen;
            }
            for work in work {
                seen.push(id(&work));
                let (status, order) = finish(&server, &work).await;
                assert_eq!((status, &order["processing"]), (200, &json!("done")));
            }
        }
    };
    let (one, two) = tokio::join!(client(), client());
    let all: BTreeSet<String> = one.iter().chain(&two).cloned().collect();
    assert_eq!(all.len(), one.len() + two.len(), "the same work was handed out twice");
    assert_eq!(all, accepted, "clients did it all, the server none");
    server.terminate().await;
    home.audited();
}

#[tokio::test]
async fn the_work_of_a_client_that_dies_is_done_by_another() {
    let home = Home::new();
    let server = pull(&home).start().await;
    accept(&server, 1).await;
    let dead = claim(&server, 1, 1).await.remove(0);
    let heir = eventually("the lease runs out", async || claim(&server, 1, 60).await.pop()).await;
    assert_eq!((id(&heir), &heir["attempt"]), (id(&dead), &json!(1)), "a lapse is no attempt");
    let (status, late) = finish(&server, &dead).await;
    assert_eq!((status, &late["type"]), (409, &json!("urn:wellorder:problem:lease-lost")));
    assert_eq!(finish(&server, &heir).await.0, 200);
    let (events, _) = server.feed(10).await;
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["order.accepted", "order.processed"], "done once");
}

#[tokio::test]
async fn leases_of_clients_hold_while_the_server_is_killed() {
    let home = Home::new();
    let server = pull(&home).start().await;
    accept(&server, 2).await;
    let long = claim(&server, 1, 600).await.remove(0);
    let short = claim(&server, 1, 1).await.remove(0);
    server.kill().await;
    let server = pull(&home).start().await;
    let heir = eventually("the short lease runs out", async || claim(&server, 2, 60).await.pop()).await;
    assert_eq!(id(&heir), id(&short), "the long one is not handed out again");
    let (status, order) = finish(&server, &long).await;
    assert_eq!(
        (status, &order["processing"]),
        (200, &json!("done")),
        "its worker ends it as if nothing had been"
    );
    assert_eq!(finish(&server, &short).await.0, 409);
    assert_eq!(finish(&server, &heir).await.0, 200);
    assert_eq!(claim(&server, 10, 60).await, Vec::<Value>::new());
    server.terminate().await;
    home.audited();
}

#[tokio::test]
async fn an_incremental_reader_misses_nothing_across_a_kill() {
    let home = Home::new();
    let server = pull(&home).env("WELLORDER_SHARDS", "1").start().await;
    accept(&server, 7).await;
    let page = server.get("/v1/orders?updated_since=beginning&limit=5").await.json();
    let next = page["next"].as_str().unwrap().to_owned();
    let work = claim(&server, 3, 600).await;
    finish(&server, &work[2]).await;
    server.kill().await;
    let server = pull(&home).env("WELLORDER_SHARDS", "1").start().await;
    let rest = server.get(&format!("/v1/orders?updated_since={next}")).await.json();
    let seen: Vec<&str> =
        rest["orders"].as_array().unwrap().iter().map(|order| order["reference"].as_str().unwrap()).collect();
    assert_eq!((seen, &rest["up_to_date"]), (vec!["r-5", "r-6", "r-2"], &json!(true)));
    let found = server.get("/v1/orders?q=r-&limit=200").await.json();
    assert_eq!(
        found["orders"].as_array().unwrap().len(),
        7,
        "what was not written to a run is found after a kill"
    );
}
