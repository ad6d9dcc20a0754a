//! `orders create`.

use std::{
    io::{self, Read as _},
    path::Path,
};

use axum::body::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::{
    api_call::ApiCall,
    args::{CreateArgs, Line},
    failure::{Exit, Failure},
    json::text,
    orders::state,
    shown,
};
use crate::output::{Output, escape};

/// The longest file that is read; the server's own limit is far below.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Hands in one order. A file goes to the server byte for byte: only it judges what is in there.
pub(super) async fn create(
    api: &dyn ApiCall,
    args: &CreateArgs,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let body = match &args.file {
        Some(path) => read(path)?,
        None => Bytes::from(order(args).to_string()),
    };
    let key = args.idempotency_key.iter().map(|key| ("Idempotency-Key", key.clone()));
    let headers: Vec<_> = key.collect();
    let (reply, order) = api.call(Method::POST, "/v1/orders", Some(body), &headers).await?.success()?;
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    let id = text(&order, "order_id");
    let what = if reply.status == 201 { "accepted" } else { "was accepted before" };
    let number = text(&order, "number");
    out.line(&format!("order {} {what}: number {}, {}", escape(&id), escape(&number), state(&order, out)))?;
    if !api.is_server() {
        out.note(if api.holds_folder() {
            "no server runs on this data folder; the order is worked on when one does"
        } else {
            "it was written to the database; whichever node has the role worker works on it"
        });
    }
    let next = out.again.command(&format!("orders get {id}"));
    out.note(&format!("next: {}", escape(&next)));
    Ok(Exit::Ok)
}

/// The order that the flags describe. Amounts stay the text they were given as.
fn order(args: &CreateArgs) -> Value {
    let mut order = Map::new();
    let mut add = |field: &str, value: Option<&String>| {
        if let Some(value) = value {
            order.insert(field.to_owned(), Value::String(value.clone()));
        }
    };
    add("reference", args.reference.as_ref());
    add("source", args.source.as_ref());
    add("customer", args.customer.as_ref());
    add("currency", args.currency.as_ref());
    add("total", args.total.as_ref());
    if !args.lines.is_empty() {
        order.insert("lines".to_owned(), args.lines.iter().map(Line::as_json).collect());
    }
    if let Some(attributes) = &args.attributes {
        order.insert("attributes".to_owned(), attributes.clone());
    }
    Value::Object(order)
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    let result = if path == Path::new("-") {
        io::stdin().lock().take(FILE_BYTES).read_to_end(&mut body)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut body))
    };
    match result {
        Ok(_) => Ok(body.into()),
        Err(error) => {
            let what = format!("cannot read {}: {error}", shown(path));
            Err(Failure::here(Exit::Usage, what, "name a file that holds an order, or - for standard input"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::cli::fake::{Fake, json as reply, problem, said};

    fn accepted() -> Value {
        json!({ "order_id": "0192", "number": 17, "processing": "queued", "fulfilment": "unshipped" })
    }

    #[tokio::test]
    async fn flags_become_an_order() {
        let fake = Fake::new([reply(201, &accepted())]);
        let args = CreateArgs {
            reference: Some("A-1".to_owned()),
            customer: Some("c".to_owned()),
            currency: Some("EUR".to_owned()),
            total: Some("19.90".to_owned()),
            lines: vec!["tea:2:9.95".parse().unwrap()],
            attributes: Some(json!({ "gift": true })),
            idempotency_key: Some("k-1".to_owned()),
            ..CreateArgs::default()
        };
        let said = said(false, async |out| create(fake.api(), &args, out).await).await;
        assert_eq!(said.out, "order 0192 accepted: number 17, queued\n");
        assert_eq!(said.err, "next: wellorder orders get 0192\n");
        let body = r#"{"reference":"A-1","customer":"c","currency":"EUR","total":"19.90","lines":[{"sku":"tea","quantity":2,"unit_price":"9.95"}],"attributes":{"gift":true}}"#;
        assert_eq!(fake.asked(), [format!("POST /v1/orders {body} Idempotency-Key=k-1")]);
    }

    #[tokio::test]
    async fn a_file_goes_out_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.json");
        let body = "{ \"total\": 19.900,\n \"total\": NaN }";
        std::fs::write(&path, body).unwrap();
        let refusal = json!({ "title": "Bad request" });
        let fake = Fake::new([problem(400, &refusal)]);
        let args = CreateArgs { file: Some(path), ..CreateArgs::default() };
        let said = said(true, async |out| create(fake.api(), &args, out).await).await;
        assert_eq!((said.out.as_str(), said.exit), ("", Exit::Refused));
        assert_eq!(fake.asked(), [format!("POST /v1/orders {body}")]);
    }

    #[tokio::test]
    async fn a_repetition_says_so_and_a_file_that_is_not_there_is_usage() {
        let fake = Fake::new([reply(200, &accepted())]).offline();
        let args = CreateArgs { total: Some("1".to_owned()), ..CreateArgs::default() };
        let result = said(false, async |out| create(fake.api(), &args, out).await).await;
        assert_eq!(result.out, "order 0192 was accepted before: number 17, queued\n");
        assert!(result.err.starts_with("no server runs"), "{}", result.err);
        let fake = Fake::new([]);
        let args = CreateArgs { file: Some("/nowhere/at/all".into()), ..CreateArgs::default() };
        let result = said(false, async |out| create(fake.api(), &args, out).await).await;
        assert_eq!(result.exit, Exit::Usage);
    }
}
