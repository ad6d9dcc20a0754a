//! Bodies that no order can be made of: each API refuses them in its own words, names the field, and writes nothing.

use crate::harness::{Home, Server};
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::http::Reply;

/// What no reply to anybody may say.
const INTERNAL: [&str; 6] = ["panicked", "src/", "SQLITE", "sqlite", "rusqlite", "unwrap"];

/// A server with one order of each API in it, and what the audit counted.
pub(crate) struct Ward {
    pub(crate) server: Server,
    pub(crate) home: Arc<Home>,
    before: Value,
}

impl Ward {
    pub(crate) async fn new() -> Self {
        let server = Server::builder().args(&["--role", "api", "--role", "relay"]).start().await;
        for api in &APIS {
            let reply = server.post(api.path, api.valid).await;
            assert_eq!(reply.status, 201, "{}", reply.text());
        }
        let home = server.home();
        let before = home.audited();
        Self { server, home, before }
    }

    /// Nothing was written since, and orders are still taken in.
    pub(crate) async fn is_unharmed(&self) {
        assert_eq!(self.home.audited(), self.before, "something was written");
        for path in ["/livez", "/readyz"] {
            assert_eq!(self.server.get(path).await.status, 200, "{path}");
        }
        let reply = self.server.post("/v1/orders", r#"{"total":"1"}"#).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
}

/// A refusal in an API's own form; `named` must be said where the API names what it refuses.
#[track_caller]
pub(crate) fn is_refusal(api: &Api, reply: &Reply, status: u16, named: Option<&str>, what: &str) {
    let text = reply.text();
    assert_eq!(reply.status, status, "{}: {what}: {text}", api.path);
    assert!(reply.header("x-request-id").is_some(), "{}: {what}", api.path);
    let everything = format!("{:?} {text}", reply.headers);
    for word in INTERNAL {
        assert!(!everything.contains(word), "{}: {what} tells of {word:?}: {everything}", api.path);
    }
    let body = reply.json();
    match api.form {
        Form::Problem => {
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}: {text}");
            assert_eq!(body["status"], status, "{what}");
            assert!(body["type"].as_str().unwrap().starts_with("urn:wellorder:problem:"), "{what}: {text}");
            assert!(body["title"].is_string() && body["detail"].is_string(), "{what}: {text}");
            assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"), "{what}");
            let names = |error: &Value| named.is_none_or(|named| error["pointer"] == named);
            let errors = body["errors"].as_array().cloned().unwrap_or_default();
            assert!(named.is_none() || errors.iter().any(names), "{what}: {named:?} is not named: {text}");
        }
        Form::Message => {
            assert!(body["message"].is_string(), "{what}: {text}");
            let named = named.is_none_or(|named| body["issues"][named]["_errors"][0].is_string());
            assert!(named, "{what}: the field is not named: {text}");
        }
        Form::Error => {
            let error = body["error"].as_str().unwrap_or_else(|| panic!("{what}: {text}"));
            assert!(
                named.is_none_or(|named| error.contains(named)),
                "{what}: {named:?} is not named: {text}"
            );
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// RFC 9457.
    Problem,
    /// `{"message"}`, with `issues` for a body.
    Message,
    /// `{"error"}`.
    Error,
}

pub(crate) struct Api {
    pub(crate) path: &'static str,
    pub(crate) valid: &'static str,
    pub(crate) form: Form,
}

pub(crate) const V1: Api =
    Api { path: "/v1/orders", valid: r#"{"reference":"a","customer":"c","total":"1"}"#, form: Form::Problem };
pub(crate) const OSCARPS: Api = Api {
    path: "/oscarps/orders",
    valid: r#"{"orderId":"a","customer":"c","total":1}"#,
    form: Form::Message,
};
pub(crate) const PARSPEC: Api = Api {
    path: "/parspec/orders",
    valid: r#"{"userId":"u","itemIds":["i"],"totalAmount":1}"#,
    form: Form::Error,
};
pub(crate) const APIS: [Api; 3] = [V1, OSCARPS, PARSPEC];

/// Texts that are no JSON, or not one value of it, or none that is read.
fn no_json() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str, depth: usize| [open.repeat(depth), close.repeat(depth)].concat();
    let mut bodies: Vec<(&str, Vec<u8>)> = [
        ("nothing", ""),
        ("a blank", " "),
        ("cut off", r#"{"total":"1""#),
        ("a comma too many", r#"{"total":"1",}"#),
        ("two values", r#"{"total":"1"}{"total":"1"}"#),
        ("single quotes", "{'total':'1'}"),
        ("a comment", r#"{"total":"1"/* */}"#),
        ("bare words", "{total:1}"),
        ("NaN", r#"{"total":NaN,"totalAmount":NaN}"#),
        ("Infinity", r#"{"total":Infinity}"#),
        ("-Infinity", r#"{"total":-Infinity}"#),
        ("a leading zero", r#"{"total":01}"#),
        ("a leading plus", r#"{"total":+1}"#),
        ("a lonely point", r#"{"total":1.}"#),
        ("hexadecimal", r#"{"total":0x10}"#),
        ("half a surrogate pair", r#"{"customer":"\ud800"}"#),
        ("a raw line break in a string", "{\"customer\":\"a\nb\"}"),
        ("an unknown escape", r#"{"customer":"\x41"}"#),
        ("HTML", "<html></html>"),
        ("a form", "total=1&customer=c"),
        ("an array", r#"[{"total":"1"}]"#),
        ("a string", r#""order""#),
        ("a number", "1"),
        ("null", "null"),
        ("true", "true"),
    ]
    .map(|(what, body)| (what, body.as_bytes().to_vec()))
    .to_vec();
    bodies.push(("invalid UTF-8 in a string", b"{\"customer\":\"\xff\xfe\"}".to_vec()));
    bodies.push(("invalid UTF-8 in a key", b"{\"\xc3\x28\":1}".to_vec()));
    bodies.push(("an overlong encoding", b"{\"customer\":\"\xc0\xaf\"}".to_vec()));
    bodies.push(("UTF-16", b"\xff\xfe{\x00}\x00".to_vec()));
    bodies.push(("zero bytes", vec![0; 16]));
    bodies.push(("endless arrays", deep("[", "]", 50_000).into_bytes()));
    bodies.push(("endless objects", deep(r#"{"a":"#, "}", 40_000).into_bytes()));
    bodies.push(("arrays that never close", "[".repeat(100_000).into_bytes()));
    bodies
}

#[tokio::test]
async fn what_is_no_json_object_is_refused_by_every_api() {
    let ward = Ward::new().await;
    for api in &APIS {
        for (what, body) in no_json() {
            let reply =
                ward.server.send("POST", api.path, &[("content-type", "application/json")], &body).await;
            is_refusal(api, &reply, 400, None, what);
        }
    }
    ward.is_unharmed().await;
}

/// One member of a valid body replaced, or added, by raw JSON.
fn with(valid: &str, member: &str, json: &str) -> String {
    let mut body: serde_json::Map<String, Value> = serde_json::from_str(valid).unwrap();
    body.remove(member);
    let mut text = Value::Object(body).to_string();
    text.pop();
    format!("{text},{}:{json}}}", Value::from(member))
}

fn long(bytes: usize) -> String {
    json!("x".repeat(bytes)).to_string()
}

/// Amounts that are none for anybody.
fn no_amounts() -> Vec<String> {
    let mut amounts: Vec<String> = [
        r#""""#,
        r#"" ""#,
        r#""abc""#,
        r#""NaN""#,
        r#""nan""#,
        r#""Infinity""#,
        r#""-inf""#,
        r#""0x10""#,
        r#""1,5""#,
        r#"".5""#,
        r#""5.""#,
        r#""+5""#,
        r#"" 5""#,
        r#""5 ""#,
        r#""1_000""#,
        r#""１""#,
        r#""1\u0000""#,
        "true",
        "[]",
        "[1]",
        "{}",
        "1e400",
        "-1e400",
        r#""1e400""#,
        "-1",
        r#""-0.01""#,
        "-99999999999999999999999999999999999",
    ]
    .map(str::to_owned)
    .to_vec();
    amounts.push("9".repeat(29));
    amounts.push(format!("0.{}", "1".repeat(29)));
    amounts.push("9".repeat(100_000));
    amounts.push(long(200_000));
    amounts
}

/// Texts that are none for anybody: the wrong type, too short, too long, with U+0000.
fn no_texts() -> Vec<String> {
    let mut texts: Vec<String> =
        [r#""""#, "5", "true", "[]", "{}", r#"["a"]"#, r#""a\u0000b""#, r#""\u0000""#]
            .map(str::to_owned)
            .to_vec();
    texts.push(long(256));
    texts.push(json!("é".repeat(128)).to_string());
    texts.push(long(200_000));
    texts
}

#[tokio::test]
async fn v1_names_the_pointer_of_every_value_that_it_refuses() {
    let ward = Ward::new().await;
    let mut bodies = Vec::new();
    for member in ["reference", "customer", "source"] {
        bodies
            .extend(no_texts().into_iter().map(|text| (format!("/{member}"), with(V1.valid, member, &text))));
    }
    bodies.extend(
        no_amounts().into_iter().map(|amount| ("/total".to_owned(), with(V1.valid, "total", &amount))),
    );
    for source in [r#""Shop""#, r#""a b""#, r#""oscarps""#, r#""parspec""#, r#""../x""#] {
        bodies.push(("/source".to_owned(), with(V1.valid, "source", source)));
    }
    for currency in [r#""eur""#, r#""EU""#, r#""EURO""#, r#""€€€""#, "978"] {
        bodies.push(("/currency".to_owned(), with(V1.valid, "currency", currency)));
    }
    for attributes in ["[]", r#""x""#, "1"] {
        bodies.push(("/attributes".to_owned(), with(V1.valid, "attributes", attributes)));
    }
    for (pointer, lines) in [
        ("/lines", "{}"),
        ("/lines", r#""x""#),
        ("/lines/0", "[1]"),
        ("/lines/0/sku", r#"[{"quantity":1,"unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","quantity":0,"unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","quantity":-1,"unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","quantity":1.5,"unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","quantity":2147483648,"unit_price":"1"}]"#),
        ("/lines/0/quantity", r#"[{"sku":"a","quantity":"1","unit_price":"1"}]"#),
        ("/lines/0/unit_price", r#"[{"sku":"a","quantity":1,"unit_price":"-1"}]"#),
        ("/lines/1/unit_price", r#"[{"sku":"a","quantity":1,"unit_price":"1"},{"sku":"a","quantity":1}]"#),
        ("/lines/0/colour", r#"[{"sku":"a","quantity":1,"unit_price":"1","colour":"red"}]"#),
        ("/total", r#"[{"sku":"a","quantity":2,"unit_price":"9.95"}]"#),
    ] {
        bodies.push((pointer.to_owned(), with(V1.valid, "lines", lines)));
    }
    for unknown in
        ["status", "order_id", "tenant", "number", "processing", "accepted_at", "Total", "__proto__"]
    {
        bodies.push((format!("/{unknown}"), with(V1.valid, unknown, "1")));
    }
    bodies.push(("/total".to_owned(), r#"{"customer":"c"}"#.to_owned()));
    bodies.push(("/total".to_owned(), r#"{"total":"1","total":"1"}"#.to_owned()));
    bodies
        .push(("/attributes/a/b".to_owned(), r#"{"total":"1","attributes":{"a":{"b":1,"b":2}}}"#.to_owned()));
    bodies.push(("/attributes/a".to_owned(), r#"{"total":"1","attributes":{"a":"\u0000"}}"#.to_owned()));
    for (pointer, body) in bodies {
        let reply = ward.server.post(V1.path, &body).await;
        let what: String = body.chars().take(200).collect();
        assert!([400, 422].contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        is_refusal(&V1, &reply, reply.status, Some(&pointer), &what);
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn oscarps_names_every_field_at_fault() {
    let ward = Ward::new().await;
    let mut bodies = Vec::new();
    for field in ["orderId", "customer"] {
        bodies.extend(no_texts().into_iter().map(|text| (field, with(OSCARPS.valid, field, &text))));
        bodies.push((field, with(OSCARPS.valid, field, "null")));
    }
    bodies.extend(no_amounts().into_iter().map(|amount| ("total", with(OSCARPS.valid, "total", &amount))));
    bodies.extend(
        ["null", "0", "-0", "0.00", r#""0""#].map(|zero| ("total", with(OSCARPS.valid, "total", zero))),
    );
    bodies.push(("total", r#"{"orderId":"b","customer":"c"}"#.to_owned()));
    bodies.push(("total", r#"{"orderId":"b","customer":"c","total":1,"total":1}"#.to_owned()));
    bodies.push(("other", r#"{"orderId":"b","customer":"c","total":1,"other":{"a":"\u0000"}}"#.to_owned()));
    for (field, body) in bodies {
        let what: String = body.chars().take(200).collect();
        let reply = ward.server.post(OSCARPS.path, &body).await;
        is_refusal(&OSCARPS, &reply, 400, Some(field), &what);
        assert_eq!(reply.json()["message"], "Invalid request body", "{what}");
    }
    let reply = ward.server.post(OSCARPS.path, "{}").await;
    for field in ["orderId", "customer", "total"] {
        is_refusal(&OSCARPS, &reply, 400, Some(field), "all at once");
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn parspec_names_the_field_at_fault() {
    let ward = Ward::new().await;
    let mut bodies = Vec::new();
    let missing = "Missing required fields";
    for field in ["userId", "itemIds", "totalAmount"] {
        for nothing in ["null", r#""""#] {
            bodies.push((missing, with(PARSPEC.valid, field, nothing)));
        }
    }
    bodies.push((missing, "{}".to_owned()));
    bodies.push((missing, r#"{"userId":"u","totalAmount":1}"#.to_owned()));
    let texts = no_texts().into_iter().filter(|text| text != r#""""#);
    bodies.extend(texts.map(|text| ("Invalid userId", with(PARSPEC.valid, "userId", &text))));
    let amounts = no_amounts().into_iter().filter(|text| text != r#""""#);
    bodies.extend(amounts.map(|amount| ("Invalid totalAmount", with(PARSPEC.valid, "totalAmount", &amount))));
    for items in
        ["{}", r#""item1""#, "5", "[null]", "[true]", "[[]]", "[{}]", "[1.5]", "[1e3]", r#"["a\u0000"]"#]
    {
        bodies.push(("Invalid itemIds", with(PARSPEC.valid, "itemIds", items)));
    }
    let many = format!("[{}1]", "1,".repeat(20_000));
    bodies.push(("Invalid itemIds", with(PARSPEC.valid, "itemIds", &many)));
    bodies.push(("Invalid itemIds", with(PARSPEC.valid, "itemIds", &format!("[{}]", long(256)))));
    bodies.push(("totalAmount", r#"{"userId":"u","itemIds":[],"totalAmount":1,"totalAmount":2}"#.to_owned()));
    for (named, body) in bodies {
        let what: String = body.chars().take(200).collect();
        let reply = ward.server.post(PARSPEC.path, &body).await;
        is_refusal(&PARSPEC, &reply, 400, Some(named), &what);
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whatever_it_holds() {
    let ward = Ward::new().await;
    for api in &APIS {
        let (member, other) =
            (if matches!(api.form, Form::Error) { "userId" } else { "customer" }, "unknown");
        for member in [member, other] {
            let body = with(api.valid, member, &long(1 << 20));
            let reply = ward.server.post(api.path, &body).await;
            is_refusal(api, &reply, 413, None, "1 MB");
        }
        let mut connection = ward.server.connect().await;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
            api.path
        );
        connection.write(head.as_bytes()).await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..6 {
            connection.write(chunk.as_bytes()).await;
        }
        let reply = connection.reply().await.expect("a reply");
        is_refusal(api, &reply, 413, None, "chunks without end");
    }
    ward.is_unharmed().await;
}
