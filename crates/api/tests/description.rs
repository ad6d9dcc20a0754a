//! The OpenAPI document says what the API does.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rig;

use metrics_exporter_prometheus::PrometheusBuilder;
use order_core::TenantId;
use order_core::sealing::Keyring;
use rig::Rig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an endpoint is made of.
const ENDPOINT: &str = r#"{"url": "https://hooks.example/", "events": ["*"]}"#;

fn rig() -> Rig {
    let handle = PrometheusBuilder::new().build_recorder().handle();
    let rig = Rig::with(
        |options| {
            (options.metrics, options.serves_metrics) = (Some(handle), true);
            // Ids and time are the same in every run.
            let folder = format!("{}/copies-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
            options.backups = Some(folder.into());
        },
        TenantId::default_tenant(),
    );
    let key = Keyring::fresh_key(rig.app.ids.as_ref());
    rig.app.hold_keys(Arc::new(Keyring::parse(&key).unwrap()));
    rig
}

async fn document(rig: &Rig) -> Value {
    rig.get("/v1/openapi.json").await.json()
}

/// Every path with its methods, as described.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn every_operation_that_is_described_exists() {
    let rig = rig();
    let document = document(&rig).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        (&document["info"]["title"], &document["info"]["license"]["identifier"]),
        (&json!("wellorder"), &json!("Apache-2.0"))
    );
    let operations = operations(&document);
    assert_eq!(operations.len(), 64);
    let mut ids = BTreeSet::new();
    for (method, path) in operations {
        let operation = &document["paths"][&path][&method];
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        assert!(operation["summary"].is_string(), "{path}");
        let refused =
            &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(refused, "#/components/schemas/Problem", "{path}");
        let asked = path
            .replace("{order_id}", "x")
            .replace("{redrive_id}", "x")
            .replace("{name}", "x")
            .replace("{backup}", "x")
            .replace("{key_id}", "x")
            .replace("{endpoint_id}", "x")
            .replace("{delivery_id}", "x");
        let said = rig.ask(&method.to_uppercase(), &asked, &[], "").await;
        assert_ne!(said.status, 405, "{method} {path}");
        assert!(said.status != 404 || said.problem() != "route-unknown", "{method} {path}");
        // A method that is not described is not there either.
        if method == "get" && document["paths"][&path].get("post").is_none() {
            assert_eq!(rig.ask("POST", &asked, &[], "").await.status, 405, "{path}");
        }
    }
}

#[tokio::test]
async fn replies_have_the_members_that_are_described() {
    let rig = rig();
    let document = document(&rig).await;
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let order = rig.order(r#"{"lines": [{"sku": "a", "quantity": 1, "unit_price": 1}]}"#).await;
    let id = order["order_id"].as_str().unwrap();
    rig.work(&[(&order, "no")]).await;
    let job = rig.post("/v1/redrives", r#"{"filter": {"all": true}, "reason": "x"}"#).await;
    let address = job.header("location").unwrap().to_owned();
    while rig.get(&address).await.json()["state"] != "finished" {
        tokio::task::yield_now().await;
    }
    let lines =
        format!("{{\"reference\": \"b\", \"total\": 1}}\n{{}}\n{}", r#"{"reference": "b", "total": 1}"#);
    let bulk = rig.ask("POST", "/v1/orders/bulk", &[("content-type", "application/x-ndjson")], &lines).await;
    let answers: Vec<Value> = bulk.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| &answer["status"]).collect();
    assert_eq!(json!(statuses), json!([201, 422, 200]));
    for answer in answers {
        fits(&document, &json!({ "$ref": "#/components/schemas/BulkAnswer" }), &answer, "BulkAnswer");
    }
    let claimed = rig.post("/v1/work/claim", "{}").await.json();
    // Of the order that nothing else happens to here.
    let token = claimed["work"][1]["token"].as_str().unwrap().to_owned();
    let finish = json!({ "results": [{ "token": token, "outcome": "done" }] });
    let started = rig.post("/v1/backups", "").await.json();
    let copy = format!("/v1/backups/{}", started["name"].as_str().unwrap());
    let made = loop {
        let copy = rig.get(&copy).await.json();
        if copy["state"] != "running" {
            break copy;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(made["state"], "done");
    for (schema, reply) in [
        ("Order", rig.get(&format!("/v1/orders/{id}")).await.json()),
        ("OrderList", rig.get("/v1/orders").await.json()),
        ("Timeline", rig.get(&format!("/v1/orders/{id}/timeline")).await.json()),
        ("Problem", rig.post(&format!("/v1/orders/{id}/deliveries"), r#"{"delivered_at": 1}"#).await.json()),
        ("Order", rig.post(&format!("/v1/orders/{id}/withdrawals"), r#"{"reason": "x"}"#).await.json()),
        ("Problem", rig.post(&format!("/v1/orders/{id}/shipments"), "{}").await.json()),
        ("Problem", rig.post(&format!("/v1/orders/{id}/withdrawals"), r#"{"reason": "y"}"#).await.json()),
        ("Erasure", rig.post(&format!("/v1/orders/{id}/erasures"), "{}").await.json()),
        ("EventList", rig.get("/v1/events").await.json()),
        ("OrderEventList", rig.get(&format!("/v1/orders/{id}/events")).await.json()),
        ("FollowerList", rig.get("/v1/followers").await.json()),
        ("Redrive", job.json()),
        ("RedriveItemList", rig.get(&format!("{address}/items")).await.json()),
        ("OrderList", rig.get("/v1/orders?updated_since=beginning").await.json()),
        ("ClaimedWork", claimed),
        ("Extended", rig.post("/v1/work/heartbeat", &json!({ "token": token }).to_string()).await.json()),
        ("EndedList", rig.post("/v1/work/finish", &finish.to_string()).await.json()),
        ("DryRun", rig.post("/v1/redrives", r#"{"filter": {"all": true}, "dry_run": true}"#).await.json()),
        ("Problem", rig.get("/v1/orders?limit=0").await.json()),
        ("Problem", rig.post("/v1/orders", "{}").await.json()),
        ("Key", rig.post("/v1/keys", r#"{"name": "x", "scopes": ["events:read"]}"#).await.json()),
        ("KeyList", rig.get("/v1/keys").await.json()),
        ("ActionList", rig.get("/v1/actions").await.json()),
        ("SecretsStatus", rig.get("/v1/secrets").await.json()),
        ("SecretsRotated", rig.post("/v1/secrets/rotate", "").await.json()),
        ("Backup", started),
        ("Backup", made),
        ("Ready", rig.get("/readyz?verbose").await.json()),
        ("Alive", rig.get("/livez").await.json()),
    ] {
        fits(&document, &json!({ "$ref": format!("#/components/schemas/{schema}") }), &reply, schema);
    }
}

#[tokio::test]
async fn replies_about_webhooks_have_the_members_that_are_described() {
    let rig = rig();
    let document = document(&rig).await;
    let order = rig.order(r#"{"total": 1}"#).await;
    let id = order["order_id"].as_str().unwrap();
    let endpoint = rig.post("/v1/endpoints", ENDPOINT).await.json();
    let endpoint_id = endpoint["endpoint_id"].as_str().unwrap().to_owned();
    let delivery = format!("/v1/deliveries/{endpoint_id}.{id}.1");
    let since = json!({ "endpoint_id": endpoint_id, "since": "2026-01-01T00:00:00Z" }).to_string();
    let missed = json!({ "endpoint_id": endpoint_id, "from": "beginning", "dry_run": true }).to_string();
    for (schema, reply) in [
        ("Endpoint", endpoint),
        ("Endpoint", rig.post(&format!("/v1/endpoints/{endpoint_id}/rotate"), "").await.json()),
        ("EndpointList", rig.get("/v1/endpoints").await.json()),
        ("EndpointTest", rig.post(&format!("/v1/endpoints/{endpoint_id}/test"), "").await.json()),
        ("Resent", rig.post(&format!("{delivery}/resend"), "").await.json()),
        ("Delivery", rig.get(&delivery).await.json()),
        ("DeliveryList", rig.get("/v1/deliveries?state=waiting").await.json()),
        ("Recovered", rig.post("/v1/deliveries/recover", &since).await.json()),
        ("Missed", rig.post("/v1/deliveries/replay", &missed).await.json()),
    ] {
        fits(&document, &json!({ "$ref": format!("#/components/schemas/{schema}") }), &reply, schema);
    }
}

/// Every body that may be left out may be left out by clients that name its type all the same, and that is none at all too.
#[tokio::test]
async fn where_a_body_may_be_left_out_no_byte_is_none() {
    let rig = rig();
    let document = document(&rig).await;
    rig.app.ensure_follower("ndjson", "file", false).await.unwrap();
    let mut optional = 0;
    for (method, path) in operations(&document) {
        let body = &document["paths"][&path][&method]["requestBody"];
        if method != "post" || body["required"] == true {
            continue;
        }
        optional += usize::from(body.is_object());
        let order = rig.order(r#"{"total": 1}"#).await;
        let key = rig.post("/v1/keys", r#"{"name": "x", "scopes": ["events:read"]}"#).await.json();
        let endpoint =
            rig.post("/v1/endpoints", ENDPOINT).await.json()["endpoint_id"].as_str().unwrap().to_owned();
        let order_id = order["order_id"].as_str().unwrap();
        let asked = path
            .replace("{delivery_id}", &format!("{endpoint}.{order_id}.1"))
            .replace("{endpoint_id}", &endpoint)
            .replace("{order_id}", order_id)
            .replace("{key_id}", key["key_id"].as_str().unwrap())
            .replace("{name}", "ndjson");
        let blank = if optional % 2 == 0 { "" } else { " \n" };
        let said =
            rig.ask(&method.to_uppercase(), &asked, &[("content-type", "application/json")], blank).await;
        assert!((200..300).contains(&said.status), "{path}: {} {}", said.status, said.text);
    }
    assert_eq!(optional, 6, "claim, shipments, deliveries, rotations of keys, secrets and endpoints");
}

/// No number goes below what is described, so each says what that is.
#[tokio::test]
async fn every_whole_number_has_a_least() {
    fn integers(at: &str, schema: &Value, found: &mut Vec<(String, bool)>) {
        let kind = &schema["type"];
        if kind == "integer" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("integer"))) {
            found.push((at.to_owned(), schema["minimum"].is_number()));
        }
        let inner = schema.as_object().into_iter().flatten().map(|(name, inner)| (name.clone(), inner));
        let items = schema.as_array().into_iter().flatten().enumerate();
        for (name, inner) in inner.chain(items.map(|(index, inner)| (index.to_string(), inner))) {
            if !name.starts_with("example") {
                integers(&format!("{at}/{name}"), inner, found);
            }
        }
    }
    let document = document(&rig()).await;
    let mut found = Vec::new();
    integers("", &document["components"], &mut found);
    integers("", &document["paths"], &mut found);
    assert!(found.len() > 20, "{found:?}");
    found.retain(|(_, has)| !has);
    assert!(found.is_empty(), "{found:?}");
}

/// What every reply has is described with every reply; what tells of an order's version, where it does.
#[tokio::test]
async fn headers_of_replies_are_described() {
    let rig = rig();
    let document = document(&rig).await;
    for (method, path) in operations(&document) {
        for (status, response) in document["paths"][&path][&method]["responses"].as_object().unwrap() {
            assert!(response["headers"]["X-Request-Id"].is_object(), "{method} {path} {status}");
            for (of, name) in [("401", "WWW-Authenticate"), ("415", "Accept-Encoding")] {
                let is = response["headers"][name].is_object();
                assert_eq!(is, status == of, "{method} {path} {status} {name}");
            }
        }
    }
    let described = |path: &str, status: &str| {
        let response = &document["paths"][path]["post"]["responses"][status];
        response["headers"]["ETag"].is_object()
    };
    let order = rig.order(r#"{"total": 1}"#).await;
    let address = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let token = rig.post("/v1/work/claim", "").await.json()["work"][0]["token"].clone();
    let done = rig.post("/v1/work/finish", &json!({ "token": token, "outcome": "done" }).to_string()).await;
    assert_eq!((done.status, done.header("etag").is_some()), (200, true), "{}", done.text);
    assert!(described("/v1/work/finish", "200"));
    for (what, body) in
        [("withdrawals", r#"{"reason": "x"}"#), ("withdrawals", r#"{"reason": "y"}"#), ("shipments", "")]
    {
        let said = rig.post(&format!("{address}/{what}"), body).await;
        let described = described(&format!("/v1/orders/{{order_id}}/{what}"), &said.status.to_string());
        assert!(described, "{what}: {} {}", said.status, said.text);
        // It is not why, where the state does not allow the change.
        let tells = said.status == 200 || said.problem() == "already-differs";
        assert_eq!(said.header("etag").is_some(), tells, "{what}: {} {}", said.status, said.text);
    }
    let coded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let said = rig.ask("POST", "/v1/orders", &coded, "x").await;
    assert_eq!((said.status, said.header("accept-encoding")), (415, Some("identity")), "{}", said.text);
    let said =
        rig.ask("PATCH", &address, &[("content-type", "text/plain"), ("if-match", "\"1\"")], "{}").await;
    assert_eq!((said.status, said.header("accept-patch").is_some()), (415, true), "{}", said.text);
    let patch = &document["paths"]["/v1/orders/{order_id}"]["patch"]["responses"]["415"];
    assert!(patch["headers"]["Accept-Patch"].is_object());
    let stale = [("content-type", "application/json"), ("if-match", "\"99\"")];
    let said = rig.ask("POST", &format!("{address}/deliveries"), &stale, "{}").await;
    assert_eq!((said.status, said.header("etag").is_some()), (412, true), "{}", said.text);
    assert!(described("/v1/orders/{order_id}/deliveries", "412"));
}

/// Holds a value against a schema: types, members, enumerations; as much as is used here.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let has_members = |schema: &Value| {
            let required = schema["required"].as_array().into_iter().flatten();
            !value.is_object() || required.into_iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        };
        let may_be = |schema: &Value| has_type(schema, value) && has_members(schema);
        let fitting = choices.iter().filter(|choice| may_be(resolved(document, choice)));
        return match fitting.collect::<Vec<_>>().as_slice() {
            [one] => fits(document, one, value, at),
            _ => panic!("{at}: {value} fits not one of {choices:?}"),
        };
    }
    assert!(has_type(schema, value), "{at}: {value} is no {}", schema["type"]);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let (Some(described), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, value) in members {
            let schema = described.get(name).unwrap_or_else(|| panic!("{at}/{name} is not described"));
            fits(document, schema, value, &format!("{at}/{name}"));
        }
        for name in schema["required"].as_array().unwrap_or(&Vec::new()) {
            assert!(members.contains_key(name.as_str().unwrap()), "{at}/{name} is missing");
        }
    }
    for item in value.as_array().unwrap_or(&Vec::new()) {
        fits(document, &schema["items"], item, &format!("{at}/*"));
    }
}

/// What a reference stands for.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let Some(name) = schema["$ref"].as_str() else { return schema };
    let name = name.strip_prefix("#/components/schemas/").unwrap();
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "{name} is not described");
    schema
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => return true,
        one => vec![one.clone()],
    };
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    types.iter().any(|one| one == name)
}

#[tokio::test]
async fn what_clients_send_is_described_as_strict() {
    let rig = rig();
    let document = document(&rig).await;
    for name in [
        "NewOrder",
        "NewLine",
        "OrderPatch",
        "NewWithdrawal",
        "NewShipment",
        "NewDelivery",
        "NewRedrive",
        "RedriveFilter",
        "Replay",
        "Claim",
        "Heartbeat",
        "WorkResult",
        "WorkResults",
        "NewKey",
        "Rotation",
        "SecretsRotation",
    ] {
        assert_eq!(document["components"]["schemas"][name]["additionalProperties"], false, "{name}");
    }
    assert_eq!(document["components"]["schemas"]["NewOrder"].get("required"), None);
    for (what, required) in [("withdrawals", true), ("shipments", false), ("deliveries", false)] {
        let path = format!("/v1/orders/{{order_id}}/{what}");
        assert_eq!(document["paths"][path]["post"]["requestBody"]["required"], required, "{what}");
    }
    let example = &document["components"]["schemas"]["NewOrder"]["example"];
    let order = rig.order(&example.to_string()).await;
    fits(&document, &json!({ "$ref": "#/components/schemas/Order" }), &order, "Order");
    // What an order is shown as is true but for ids and times.
    let shown = &document["components"]["schemas"]["Order"]["example"];
    assert_eq!(
        shown.as_object().unwrap().keys().collect::<Vec<_>>(),
        order.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    assert_eq!(shown["actions"], order["actions"]);
    let timeline = &document["components"]["schemas"]["Timeline"]["example"];
    fits(&document, &json!({ "$ref": "#/components/schemas/Timeline" }), timeline, "Timeline");
    let example = |name: &str| document["components"]["schemas"][name]["example"].to_string();
    let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", "*")];
    let said = rig.ask("PATCH", &path, &headers, &example("OrderPatch")).await;
    assert_eq!((said.status, &said.json()["total"]), (200, &json!("29.85")), "{}", said.text);
    // The goods of the examples were sent, and arrived, before now.
    rig.clock.advance(std::time::Duration::from_secs(10 * 365 * 86_400));
    for (what, name) in
        [("shipments", "NewShipment"), ("deliveries", "NewDelivery"), ("withdrawals", "NewWithdrawal")]
    {
        let said = rig.post(&format!("{path}/{what}"), &example(name)).await;
        assert_eq!((said.status, said.header("idempotent-replayed")), (200, None), "{}", said.text);
    }
}

/// Whoever reads the description sees what each body looks like, and what each answer may be.
#[tokio::test]
async fn every_body_has_an_example_that_fits_and_every_parameter_says_what_it_is() {
    let document = document(&rig()).await;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        if !schema["example"].is_null() {
            fits(
                &document,
                &json!({ "$ref": format!("#/components/schemas/{name}") }),
                &schema["example"],
                name,
            );
        }
    }
    let has_example = |body: &Value| {
        let name = body["schema"]["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        !body["example"].is_null() || name.is_some_and(|name| !schemas[name]["example"].is_null())
    };
    for (method, path) in operations(&document) {
        let operation = &document["paths"][&path][&method];
        let answers = operation["responses"].as_object().unwrap().values();
        for body in answers.chain([&operation["requestBody"]]) {
            for (kind, body) in body["content"].as_object().into_iter().flatten() {
                assert!(has_example(body), "{method} {path}: {kind} has no example");
            }
        }
        let summary = operation["summary"].as_str().unwrap();
        assert!(summary.len() < 90 && !summary.contains('\n'), "{method} {path}: {summary}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let said = parameter["description"].as_str().unwrap_or_default();
            assert!(said.len() >= 15, "{method} {path}: {parameter}");
            assert!(
                parameter["in"] != "path" || !parameter["example"].is_null(),
                "{method} {path}: {parameter}"
            );
        }
    }
}

/// A client knows from the description which refusals it must be ready for.
#[tokio::test]
async fn the_refusals_of_each_operation_are_listed() {
    let document = document(&rig()).await;
    let statuses = |method: &str, path: &str| -> Vec<String> {
        document["paths"][path][method]["responses"].as_object().unwrap().keys().cloned().collect()
    };
    let create = ["200", "201", "400", "401", "403", "413", "415", "422", "429", "500", "503", "default"];
    assert_eq!(statuses("post", "/v1/orders"), create);
    let revise = [
        "200", "400", "401", "403", "404", "409", "412", "413", "415", "422", "428", "429", "500", "503",
        "default",
    ];
    assert_eq!(statuses("patch", "/v1/orders/{order_id}"), revise);
    let feed = ["200", "400", "401", "403", "410", "429", "500", "503", "default"];
    assert_eq!(statuses("get", "/v1/events"), feed);
    let said = &document["paths"]["/v1/orders"]["post"]["responses"];
    assert!(said["422"]["description"].as_str().unwrap().contains("`key-reused`"), "{said}");
    for status in ["429", "503"] {
        assert!(said[status]["headers"]["Retry-After"].is_object(), "{status}");
    }
    let login = document["components"]["securitySchemes"]["bearer"]["description"].as_str().unwrap();
    for scope in edge::Scope::ALL {
        assert!(login.contains(&format!("* `{scope}`: ")), "{scope}");
    }
}

#[tokio::test]
async fn parameters_are_described_with_their_forms() {
    let rig = rig();
    let document = document(&rig).await;
    let schema = |path: &str, method: &str, name: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let found = parameters.iter().find(|parameter| parameter["name"] == name);
        found.unwrap_or_else(|| panic!("{method} {path} has no {name}"))["schema"].clone()
    };
    // No `null`: a header is absent or a text.
    assert_eq!(
        schema("/v1/orders", "post", "Idempotency-Key"),
        json!({"type": "string", "pattern": "^[!-~]{1,255}$"})
    );
    for path in ["/v1/orders", "/v1/parked", "/v1/events", "/v1/redrives/{redrive_id}/items"] {
        assert_eq!(
            schema(path, "get", "after"),
            json!({"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9_-]+$"})
        );
    }
    for path in ["/v1/orders", "/v1/parked"] {
        assert_eq!(schema(path, "get", "source")["pattern"], "^[a-z0-9-]{1,64}$");
        assert_eq!(schema(path, "get", "customer")["minLength"], 1);
    }
}

/// Every route of `/v1` that asks for a scope says so, and names it as keys and tokens do.
#[tokio::test]
async fn what_each_operation_needs_is_described() {
    let document = document(&rig()).await;
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for route in api::declared() {
        let operation =
            &document["paths"][format!("/v1{}", route.path)][route.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{} {} is not described", route.method, route.path);
        let Some(scope) = route.need.scope() else { continue };
        assert_eq!(operation["security"], json!([{ "bearer": [scope.name()] }]), "{}", route.path);
    }
}
