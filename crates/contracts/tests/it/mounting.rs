//! The contracts beside each other under their prefixes, and one of them at the root.

use crate::harness::{Client, Fixture};
use axum::Router;

const OSCARPS: &str = r#"{"orderId":"a/b","customer":"c-42","total":199.99}"#;
const PARSPEC: &str = r#"{"userId":"user-123","itemIds":["item1","item2"],"totalAmount":59.99}"#;

fn prefixed(f: &Fixture) -> Router {
    Router::new().nest("/oscarps", f.oscarps.router()).nest("/parspec", f.parspec.router())
}

#[tokio::test]
async fn under_prefixes_each_keeps_its_paths_and_its_words() {
    let f = Fixture::new();
    let client = Client::new(prefixed(&f));
    client.post_to("/oscarps/orders", OSCARPS).await.expect(201);
    client.post_to("/parspec/orders", PARSPEC).await.expect(201);
    client.get("/oscarps/orders/a%2Fb").await.expect(200);
    client.get("/oscarps/health").await.expect(200);
    client.get("/parspec/orders/2").await.expect(200);
    client.get("/parspec/metrics").await.expect(200);
    assert_eq!(client.get("/oscarps/metrics").await.expect(404).text(), r#"{"message":"No such route"}"#);
    assert_eq!(client.get("/parspec/health").await.expect(404).text(), r#"{"error":"No such route"}"#);
    assert_eq!(client.get("/oscarps/orders").await.expect(405).text(), r#"{"message":"Method not allowed"}"#);
    assert_eq!(client.get("/parspec/orders").await.expect(405).text(), r#"{"error":"Method not allowed"}"#);
}

#[tokio::test]
async fn at_the_root_the_other_is_still_under_its_prefix() {
    let f = Fixture::new();
    let client = Client::new(prefixed(&f).merge(f.parspec.router()));
    client.post_to("/orders", PARSPEC).await.expect(201);
    client.get("/orders/1").await.expect(200);
    client.get("/parspec/orders/1").await.expect(200);
    client.post_to("/oscarps/orders", OSCARPS).await.expect(201);
    assert_eq!(client.get("/nothing").await.expect(404).text(), r#"{"error":"No such route"}"#);
    assert_eq!(client.get("/oscarps/nothing").await.expect(404).text(), r#"{"message":"No such route"}"#);
}

#[tokio::test]
async fn a_document_names_where_it_is_served() {
    let f = Fixture::new();
    let client = Client::new(prefixed(&f).merge(f.oscarps.router()));
    for (path, server) in
        [("/docs/json", "/"), ("/oscarps/docs/json", "/oscarps"), ("/parspec/docs/json", "/parspec")]
    {
        assert_eq!(client.get(path).await.expect(200).json()["servers"][0]["url"], server);
    }
}
