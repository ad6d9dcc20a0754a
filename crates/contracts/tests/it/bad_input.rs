//! Whatever a body holds, a contract answers 4xx in its own form, names the field, and writes nothing.

use crate::harness::{Client, Fixture};
use std::fmt::Write as _;

/// Bodies that are wrong for every contract, whatever its fields are called.
fn wrong_for_all() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty", text("")),
        ("blank", text(" \n")),
        ("cut off", text("{\"a\":")),
        ("trailing comma", text("{\"a\":1,}")),
        ("two values", text("{}{}")),
        ("NaN", text("{\"a\":NaN}")),
        ("Infinity", text("{\"a\":-Infinity}")),
        ("hexadecimal", text("{\"a\":0x10}")),
        ("leading zero", text("{\"a\":01}")),
        ("single quotes", text("{'a':1}")),
        ("comment", text("{/* */}")),
        ("byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"{\0}\0".to_vec()),
        ("no UTF-8", b"{\"a\":\"\xff\"}".to_vec()),
        ("overlong UTF-8", b"{\"a\":\"\xc0\x80\"}".to_vec()),
        ("lone surrogate", text(r#"{"a":"\ud800"}"#)),
        ("raw control character", b"{\"a\":\"\x01\"}".to_vec()),
        ("null", text("null")),
        ("array", text("[1]")),
        ("string", text("\"x\"")),
        ("number", text("1e999999")),
        ("true", text("true")),
        ("duplicate unknown key", text(r#"{"x/y":1,"x/y":2}"#)),
        ("duplicate key inside", text(r#"{"x":[{"a":1,"a":2}]}"#)),
        ("U+0000 in a key", text(r#"{"a\u0000":1}"#)),
        ("U+0000 inside", text(r#"{"x":["\u0000"]}"#)),
        ("deep arrays", text(&format!("{{\"x\":{}", "[".repeat(100_000)))),
        ("deep objects", text(&"{\"x\":".repeat(10_000))),
        ("33 levels", text(&format!("{{\"x\":{}{}}}", "[".repeat(32), "]".repeat(32)))),
        ("too many items", text(&format!("{{\"x\":[{}1]}}", "1,".repeat(20_000)))),
        ("a key of 200 KB, twice", text(&format!("{{\"{0}\":1,\"{0}\":1}}", "k".repeat(100_000)))),
        ("1 MB string", text(&format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)))),
        ("1 MB of digits", text(&format!("{{\"a\":{}}}", "9".repeat(1 << 20)))),
    ]
}

/// Posts every body; one line for each of what came back.
async fn refused(f: &Fixture, client: &Client, path: &str, bodies: Vec<(String, Vec<u8>)>) -> String {
    let mut lines = String::new();
    for (name, body) in bodies {
        let reply = client.post_to(path, body).await;
        assert!(reply.status.is_client_error(), "{name}: {reply}");
        assert!(reply.body.len() < 1_000, "{name}: {reply}");
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"), "{name}");
        writeln!(lines, "{name}\n  {} {}", reply.status.as_u16(), reply.text()).unwrap();
    }
    assert_eq!(f.storage.commits(), 0, "something was written");
    assert_eq!(f.events().await, 0, "something was written");
    lines
}

fn with_all(own: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let all = wrong_for_all().into_iter().map(|(name, body)| (name.to_owned(), body));
    all.chain(own).collect()
}

/// `body` with the JSON of one field replaced; `""` leaves the field out.
fn with(fields: &[(&str, &str)], field: &str, json: &str) -> Vec<u8> {
    let members: Vec<String> = fields
        .iter()
        .map(|(name, value)| (name, if *name == field { json } else { value }))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

fn texts_refused() -> Vec<String> {
    let mut texts: Vec<String> =
        ["", "null", "\"\"", "1", "true", "[]", "{}", r#""a\u0000b""#].map(str::to_owned).into();
    texts.push(format!("\"{}\"", "x".repeat(256)));
    texts.push(format!("\"{}\"", "é".repeat(128)));
    texts.push(format!("\"{}\"", "x".repeat(200_000)));
    texts
}

fn amounts_refused() -> Vec<String> {
    let plain = [
        "",
        "null",
        "\"\"",
        "true",
        "[]",
        "[1]",
        "{}",
        "-1",
        "-0.01",
        "1e400",
        "-1e400",
        "1e-400",
        "1E99999999999",
        "\" 1\"",
        "\"1 \"",
        "\"1e400\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"-Infinity\"",
        "\"0x10\"",
        "\"1,5\"",
        "\"1_000\"",
        "\"+1\"",
        "\".5\"",
        "\"5.\"",
        "\"01\"",
        "\"-5\"",
        "\"--1\"",
        "\"ten\"",
        "\"١\"",
        "\"1\\u0000\"",
    ];
    let mut amounts: Vec<String> = plain.map(str::to_owned).into();
    amounts.push("9".repeat(29));
    amounts.push(format!("\"{}\"", "9".repeat(29)));
    amounts.push(format!("0.{}1", "0".repeat(28)));
    amounts.push("9".repeat(200_000));
    amounts.push(format!("\"{}\"", "9".repeat(200_000)));
    amounts
}

fn shown(json: &str) -> String {
    let start: String = json.chars().take(20).collect();
    if json.len() > 60 { format!("{start}… ({} bytes)", json.len()) } else { json.to_owned() }
}

#[tokio::test]
async fn oscarps_refuses_it_and_names_the_field() {
    let f = Fixture::new();
    let fields = [("orderId", "\"A-1001\""), ("customer", "\"c-42\""), ("total", "199.99")];
    let mut own = Vec::new();
    let mut cases: Vec<(&str, String)> = Vec::new();
    for field in ["orderId", "customer"] {
        cases.extend(texts_refused().into_iter().map(|json| (field, json)));
    }
    cases.extend(amounts_refused().into_iter().map(|json| ("total", json)));
    cases.extend(["0", "0.00", "-0", "\"0\"", "0e5"].map(|json| ("total", json.to_owned())));
    for (field, json) in cases {
        own.push((format!("{field}: {}", shown(&json)), with(&fields, field, &json)));
    }
    own.push(("nothing in it".to_owned(), b"{}".to_vec()));
    own.push(("all wrong".to_owned(), br#"{"orderId":1,"customer":"","total":"x"}"#.to_vec()));
    let twice = br#"{"orderId":"A","customer":"c","total":1,"total":2}"#.to_vec();
    own.push(("total twice".to_owned(), twice));
    assert_text!(refused(&f, &f.oscarps, "/orders", with_all(own)).await);
}

#[tokio::test]
async fn parspec_refuses_it_and_names_the_field() {
    let f = Fixture::new();
    let fields = [("userId", "\"user-123\""), ("itemIds", "[\"item1\"]"), ("totalAmount", "59.99")];
    let mut cases: Vec<(&str, String)> = texts_refused().into_iter().map(|json| ("userId", json)).collect();
    let lists = [
        "",
        "null",
        "\"\"",
        "\"item1\"",
        "1",
        "{}",
        "false",
        "[null]",
        "[true]",
        "[[]]",
        "[{}]",
        "[1.5]",
        "[1.0]",
        "[1e3]",
        "[\"a\",{}]",
        "[\"a\\u0000\"]",
    ];
    cases.extend(lists.map(|json| ("itemIds", json.to_owned())));
    cases.push(("itemIds", format!("[\"{}\"]", "x".repeat(256))));
    cases.push(("itemIds", format!("[{}]", "1".repeat(256))));
    cases.push(("itemIds", format!("[{}1]", "1,".repeat(20_000))));
    cases.extend(amounts_refused().into_iter().map(|json| ("totalAmount", json)));
    let mut own = Vec::new();
    for (field, json) in cases {
        own.push((format!("{field}: {}", shown(&json)), with(&fields, field, &json)));
    }
    own.push(("nothing in it".to_owned(), b"{}".to_vec()));
    own.push(("all wrong".to_owned(), br#"{"userId":1,"itemIds":2,"totalAmount":"x"}"#.to_vec()));
    own.push(("missing before wrong".to_owned(), br#"{"userId":1,"totalAmount":"x"}"#.to_vec()));
    let twice = br#"{"userId":"u","itemIds":[],"totalAmount":1,"totalAmount":2}"#.to_vec();
    own.push(("totalAmount twice".to_owned(), twice));
    assert_text!(refused(&f, &f.parspec, "/orders", with_all(own)).await);
}

#[tokio::test]
async fn the_mock_marketplace_refuses_it_and_names_the_field() {
    let f = Fixture::new();
    let fields = [("receipt", "\"test1\""), ("currency", "\"EUR\"")];
    let currencies = [
        "\"\"",
        "\"EU\"",
        "\"EURO\"",
        "\"E1R\"",
        "\"€\"",
        "\"ÀÀÀ\"",
        "978",
        "true",
        "[]",
        "{}",
        "\"E\\u0000R\"",
    ];
    let cases = texts_refused().into_iter().map(|json| ("receipt", json));
    let cases = cases.chain(currencies.map(|json| ("currency", json.to_owned())));
    let mut own: Vec<_> = cases
        .map(|(field, json)| (format!("{field}: {}", shown(&json)), with(&fields, field, &json)))
        .collect();
    own.push(("receipt twice".to_owned(), br#"{"receipt":"1","receipt":"1"}"#.to_vec()));
    assert_text!(refused(&f, &f.marketplace, "/mock/etsy/validate", with_all(own)).await);
}

#[tokio::test]
async fn stores_imports_and_webhooks_refuse_it_and_name_the_field() {
    let f = Fixture::new();
    let store = [
        ("organizationId", "\"org-1\""),
        ("marketplace", "\"etsy\""),
        ("externalStoreId", "\"ext-1\""),
        ("storeName", "\"My store\""),
        ("accessToken", "\"token\""),
        ("currency", "\"USD\""),
    ];
    let import = [("syncToken", "\"6f1c0d6e-58c9-8a51-9f65-3a4a8ad39b52\""), ("receipt", "\"r-1\"")];
    let url = "\"https://hooks.example.com/\"";
    let webhook = [("organizationId", "\"org-1\""), ("event", "\"sync.failed\""), ("targetUrl", url)];
    let mut lines = String::new();
    for (path, fields) in
        [("/stores/register", &store[..]), ("/orders/import", &import), ("/webhooks/register", &webhook)]
    {
        let mut own = Vec::new();
        for (field, _) in fields {
            // Longer ones, which may be URLs and access tokens, have tests of their own.
            let texts = texts_refused().into_iter().filter(|text| text.len() < 100 || text.len() > 5_000);
            own.extend(texts.map(|json| (format!("{field}: {}", shown(&json)), with(fields, field, &json))));
        }
        own.push(("nothing in it".to_owned(), b"{}".to_vec()));
        writeln!(lines, "{path}").unwrap();
        lines.push_str(&refused(&f, &f.marketplace, path, with_all(own)).await);
    }
    assert_text!(lines);
}
