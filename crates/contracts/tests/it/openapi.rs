//! The contracts' OpenAPI documents: complete, and true.

use crate::harness::{Client, Fixture};
use serde_json::Value;

async fn document(client: &Client) -> Value {
    client.get("/docs/json").await.expect(200).json()
}

fn example<'d>(document: &'d Value, schema: &str) -> &'d Value {
    let example = &document["components"]["schemas"][schema]["examples"][0];
    assert!(!example.is_null(), "{schema} has no example");
    example
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[tokio::test]
async fn the_document_of_oscarps() {
    let f = Fixture::new();
    assert_text!(format!("{:#}", document(&f.oscarps).await));
}

#[tokio::test]
async fn the_document_of_parspec() {
    let f = Fixture::new();
    assert_text!(format!("{:#}", document(&f.parspec).await));
}

#[tokio::test]
async fn the_document_of_sales() {
    let f = Fixture::new();
    assert_text!(format!("{:#}", document(&f.sales).await));
}

#[tokio::test]
async fn the_document_of_marketplace() {
    let f = Fixture::new();
    assert_text!(format!("{:#}", document(&f.marketplace).await));
}

#[tokio::test]
async fn the_document_of_orderstream() {
    let f = Fixture::new();
    assert_text!(format!("{:#}", document(&f.orderstream).await));
}

/// Who reads an answer by the document finds one branch of a union that it fits, and no more.
#[tokio::test]
async fn the_branches_of_a_union_of_marketplace_exclude_one_another() {
    let document = document(&Fixture::new().marketplace).await;
    let schemas = &document["components"]["schemas"];
    for (member, branches) in [
        ("status", [("Found", true), ("NotFound", false)]),
        ("success", [("ImportSuccess", true), ("ImportFailure", false)]),
    ] {
        for (schema, value) in branches {
            let told = &schemas[schema];
            assert_eq!(told["properties"][member]["enum"], serde_json::json!([value]), "{schema}: {told}");
            let required = told["required"].as_array().expect("a list");
            assert!(required.contains(&member.into()), "{schema}: {told}");
        }
    }
}

#[tokio::test]
async fn a_document_is_called_as_its_contract() {
    let f = Fixture::new();
    for (client, name) in [
        (&f.oscarps, contracts::oscarps::NAME),
        (&f.parspec, contracts::parspec::NAME),
        (&f.sales, contracts::sales::NAME),
        (&f.marketplace, contracts::marketplace::NAME),
        (&f.orderstream, contracts::orderstream::NAME),
    ] {
        assert_eq!(document(client).await["info"]["title"], name);
    }
}

#[tokio::test]
async fn the_examples_are_true() {
    let f = Fixture::new();
    let oscarps = document(&f.oscarps).await;
    let row = f.oscarps.post(example(&oscarps, "CreateOrder").to_string()).await.expect(201).json();
    assert_eq!(keys(&row), keys(example(&oscarps, "Row")));
    assert_eq!(&f.oscarps.get("/health").await.json(), example(&oscarps, "Health"));
    assert_eq!(&f.oscarps.get("/orders/none").await.json(), example(&oscarps, "Message"));
    let refused = f.oscarps.post(r#"{"orderId":"A","customer":"c","total":0}"#).await.json();
    assert_eq!(&refused, example(&oscarps, "InvalidBody"));

    let parspec = document(&f.parspec).await;
    let reply = f.parspec.post(example(&parspec, "CreateOrder").to_string()).await.expect(201).json();
    assert_eq!(keys(&reply["order"]), keys(&example(&parspec, "OrderReply")["order"]));
    assert_eq!(keys(&f.parspec.get("/metrics").await.json()), keys(example(&parspec, "Metrics")));
    assert_eq!(&f.parspec.post("{}").await.json(), example(&parspec, "Refused"));

    let sales = document(&f.sales).await;
    let made = f.sales.sell(example(&sales, "CreateOrder").to_string()).await.expect(201).json();
    assert_eq!(keys(&made), keys(example(&sales, "Created")));
    let path = format!("/api/v1/orders/{}", made["order_id"].as_str().unwrap());
    assert_eq!(keys(&f.sales.get(&path).await.expect(200).json()), keys(example(&sales, "Order")));
    assert_eq!(&f.sales.get("/health").await.json(), example(&sales, "Health"));
    let lacking = r#"{"user_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","quantity":1}"#;
    assert_eq!(&f.sales.sell(lacking).await.json(), example(&sales, "Refused"));

    let market = document(&f.marketplace).await;
    let asked = http::Request::post("/mock/etsy/validate")
        .header("content-type", "application/json")
        .header("authorization", "Basic ZXRzeV91c2VyOmV0c3lfcGFzcw==")
        .body(example(&market, "Validate").to_string().into_bytes());
    let found = f.marketplace.send(asked.unwrap()).await.expect(200).json();
    let shown = example(&market, "Found");
    assert_eq!(keys(&found), keys(shown));
    assert_eq!((&found["orderId"], &found["amount"]), (&shown["orderId"], &shown["amount"]));
    let lacking = f.marketplace.post_to("/mock/etsy/validate", "{}").await.json();
    assert_eq!(&lacking, example(&market, "Refused"));

    let store = example(&market, "RegisterStore").to_string();
    let registered = f.marketplace.post_to("/stores/register", store).await.expect(200).json();
    assert_eq!(keys(&registered), keys(example(&market, "Registered")));
    let token = registered["syncToken"].as_str().unwrap();
    let import = |receipt: &str| {
        let mut import = example(&market, "ImportOrder").clone();
        (import["syncToken"], import["receipt"]) = (token.into(), receipt.into());
        import.to_string()
    };
    let imported = f.marketplace.post_to("/orders/import", import("good-1")).await.expect(200).json();
    assert_eq!(keys(&imported), keys(example(&market, "ImportSuccess")));
    let none = f.marketplace.post_to("/orders/import", import("none-1")).await.expect(200).json();
    assert_eq!(&none, example(&market, "ImportFailure"));
    let state = f.marketplace.get(&format!("/stores/sync-status?syncToken={token}")).await.expect(200).json();
    assert_eq!(keys(&state), keys(example(&market, "SyncState")));
    let asked = example(&market, "RegisterWebhook").to_string();
    let webhook = f.marketplace.post_to("/webhooks/register", asked).await.expect(200).json();
    let mut shown = example(&market, "Webhook").clone();
    shown["id"] = webhook["id"].clone();
    assert_eq!(webhook, shown);
    let wrong = example(&market, "RegisterStore").to_string().replace("USD", "EURO");
    let refused = f.marketplace.post_to("/stores/register", wrong).await.expect(400).json();
    assert_eq!(&refused, example(&market, "Invalid"));

    let stream = document(&f.orderstream).await;
    let done = f.orderstream.post(example(&stream, "PutOrder").to_string()).await.expect(202).json();
    assert_eq!(keys(&done), keys(example(&stream, "Done")));
    let path = format!("/orders/{}", done["order_id"].as_str().unwrap());
    let reply = f.orderstream.get(&path).await.expect(200).json();
    assert_eq!(keys(&reply["order"]), keys(&example(&stream, "OrderReply")["order"]));
    let unknown = f.orderstream.get("/orders/00000000-0000-4000-8000-000000000000").await.expect(404).json();
    assert_eq!(&unknown, example(&stream, "Refused"));
}

#[tokio::test]
async fn every_documented_path_is_served_and_the_page_is_there() {
    let f = Fixture::new();
    for client in [&f.oscarps, &f.parspec, &f.marketplace, &f.orderstream] {
        let document = document(client).await;
        for path in keys(&document["paths"]) {
            let concrete = path
                .replace("{orderId}", "1")
                .replace("{id}", "1")
                .replace("{external}", "1")
                .replace("{marketplace}", "etsy");
            let reply = client.get(&concrete).await;
            if reply.text() == "ok" {
                continue;
            }
            assert_ne!(reply.json(), client.get("/no/such/route").await.json(), "{path}");
        }
        let page = client.get("/docs/").await.expect(200);
        assert!(page.text().contains("swagger-ui"), "{page}");
    }
}
