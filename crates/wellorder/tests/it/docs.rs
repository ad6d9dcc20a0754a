//! The description of each API: readable without any other host.

use crate::harness::Server;
use testkit::http::Reply;

/// What a browser gets: redirects within this server are followed, the address it ends at is returned.
async fn browse(server: &Server, path: &str) -> (String, Reply) {
    let reply = server.get(path).await;
    if reply.status != 307 {
        return (path.to_owned(), reply);
    }
    let place = resolve(path, reply.header("location").unwrap());
    let reply = server.get(&place).await;
    (place, reply)
}

/// A relative reference against the path that it was found at (RFC 3986 §5.2, without dots).
fn resolve(base: &str, reference: &str) -> String {
    assert!(!reference.contains("//"), "no other host: {reference}");
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let (folder, _) = base.rsplit_once('/').unwrap();
    format!("{folder}/{reference}")
}

/// What the page loads.
fn references(html: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        found.extend(html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()));
    }
    found
}

async fn is_offline_documentation(server: &Server, path: &str, json_path: &str, server_url: &str) {
    let (place, page) = browse(server, path).await;
    assert_eq!(page.status, 200, "{path}");
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{path}: {page:?}");
    let html = page.text();
    assert!(!html.contains("http://") && !html.contains("https://"), "{path} names another host: {html}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{path}: {policy}");
    let found = references(html);
    assert!(found.len() >= 3, "{path} loads nothing: {html}");
    for reference in found {
        let asset = server.get(&resolve(&place, reference)).await;
        assert_eq!(asset.status, 200, "{path}: {reference}");
        assert!(!asset.body.is_empty(), "{path}: {reference} is empty");
        if reference.ends_with("start.js") {
            let script = asset.text();
            assert!(script.contains(&format!("{json_path:?}")), "{path} shows another document: {script}");
            assert!(script.contains("validatorUrl: null") && !script.contains("http"), "{script}");
        }
    }
    let document = server.json(json_path).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{path}: {}", document["openapi"]);
    assert_eq!(document["servers"][0]["url"], server_url, "{path}");
    assert!(!document["paths"].as_object().unwrap().is_empty());
}

/// From the description to a guide, and from guide to guide, without another host and without a credential.
async fn guides_are_linked(server: &Server, folder: &str, json_path: &str) {
    let document = server.json(json_path).await;
    let description = document["info"]["description"].as_str().unwrap();
    let described = document["externalDocs"]["url"].as_str().unwrap();
    assert!(description.contains(&format!("]({described})")), "{description}");
    assert_eq!(server.get(described).await.status, 200, "{described}");
    for link in description.split("](/").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert_eq!(browse(server, &format!("/{link}")).await.1.status, 200, "{link}");
    }
    for said in ["Idempotency-Key", "Retry-After", "outcome-unknown", "keys create", "`next`", "problem+json"]
    {
        assert!(description.contains(said), "{said}: {description}");
    }
    let mut seen = vec![format!("{folder}/")];
    let mut at = 0;
    while let Some(place) = seen.get(at).cloned() {
        at += 1;
        let page = server.get(&place).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{place}"
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
        assert!(!page.text().contains("<script") && !page.text().contains("<!-- "), "{place}");
        for link in references(page.text()) {
            let link = link.split('#').next().unwrap();
            let found = resolve(&place, link);
            if !link.is_empty() && !link.starts_with('.') && !seen.contains(&found) {
                seen.push(found);
            }
        }
    }
    assert_eq!(seen.len(), 17, "{seen:?}");
    let markdown = server.get(&format!("{folder}/integrate.md")).await;
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    assert_eq!(markdown.text(), include_str!("../../../../docs/guides/integrate.md"));
    assert_eq!(server.get(&format!("{folder}/none")).await.status, 404);
    assert_eq!(server.get(folder).await.status, 200, "without a slash");
}

#[tokio::test]
async fn without_a_contract_at_the_root_our_own_documentation_is_there() {
    let server = Server::builder().api_alone().start().await;
    is_offline_documentation(&server, "/docs", "/openapi.json", "/").await;
    is_offline_documentation(&server, "/v1/docs", "/v1/openapi.json", "/").await;
    is_offline_documentation(&server, "/oscarps/docs", "/oscarps/docs/json", "/oscarps").await;
    is_offline_documentation(&server, "/parspec/docs", "/parspec/docs/json", "/parspec").await;
    is_offline_documentation(&server, "/sales/docs", "/sales/docs/json", "/sales").await;
    is_offline_documentation(&server, "/marketplace/docs", "/marketplace/docs/json", "/marketplace").await;
    is_offline_documentation(&server, "/orderstream/docs", "/orderstream/docs/json", "/orderstream").await;
    guides_are_linked(&server, "/docs/guides", "/openapi.json").await;
    guides_are_linked(&server, "/v1/docs/guides", "/v1/openapi.json").await;
    let index = server.get("/").await;
    assert_eq!(index.status, 200);
    assert!(index.header("content-type").unwrap().starts_with("text/html"));
    for link in references(index.text()) {
        let status = browse(&server, link).await.1.status;
        assert_eq!(status, 200, "the first page links to {link}");
    }
}

#[tokio::test]
async fn a_contract_at_the_root_has_its_own_there_and_ours_stays() {
    for (name, orders) in [
        ("oscarps", "/orders"),
        ("parspec", "/orders"),
        ("sales", "/api/v1/orders"),
        ("marketplace", "/mock/{marketplace}/validate"),
    ] {
        let server = Server::builder().args(&["--as", name]).api_alone().start().await;
        is_offline_documentation(&server, "/docs", "/docs/json", "/").await;
        let (page, document) = (format!("/{name}/docs"), format!("/{name}/docs/json"));
        is_offline_documentation(&server, &page, &document, &format!("/{name}")).await;
        is_offline_documentation(&server, "/v1/docs", "/v1/openapi.json", "/").await;
        let paths = server.json("/docs/json").await["paths"].clone();
        assert!(paths.get(orders).is_some_and(|path| path.get("post").is_some()), "{name}: {paths}");
        let ours = server.json("/openapi.json").await;
        guides_are_linked(&server, "/v1/docs/guides", "/v1/openapi.json").await;
        assert!(ours["paths"].get("/v1/orders").is_some(), "no contract takes this path: {name}");
    }
}
