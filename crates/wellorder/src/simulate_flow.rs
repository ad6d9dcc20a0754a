//! `simulate marketplace-flow`: a client of the contract `marketplace`, which registers a store, imports receipts, looks at how
//! that went, and asks to be told of syncs.

use crate::cli::args::FlowArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::Settings;
use crate::output::{Output, escape};
use crate::trust;
use http::Method;
use outbound::{ApiAnswer, ApiClient, Timeouts};
use serde_json::{Value, json};

/// What syncs tell of.
const EVENTS: [&str; 3] = ["sync.started", "sync.completed", "sync.failed"];
/// Most receipts of one run.
const RECEIPTS_MAX: usize = 1_000;

struct Flow<'a, 'o> {
    client: ApiClient,
    base: &'a str,
    out: &'a mut Output<'o>,
    /// What was asked and answered, for JSON.
    steps: Vec<Value>,
}

/// Goes through the calls one after the other, each with what the one before gave.
///
/// # Errors
/// Nobody answers, or a call is refused.
pub(crate) async fn run(args: &FlowArgs, settings: &Settings, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let receipts: Vec<&str> =
        args.receipts.iter().map(|receipt| receipt.trim()).filter(|text| !text.is_empty()).collect();
    if receipts.len() > RECEIPTS_MAX {
        let what = format!("more than {RECEIPTS_MAX} receipts");
        return Err(Failure::here(Exit::Usage, what, "name fewer"));
    }
    let client = ApiClient::new(&args.base_url, &trust::of(settings)?, Timeouts::default())
        .map_err(|error| Failure::here(Exit::Usage, error.to_string(), "name the server with --base-url"))?;
    let mut flow = Flow { client, base: &args.base_url, out, steps: Vec::new() };
    let store = json!({
        "organizationId": args.org_id,
        "marketplace": args.marketplace,
        "externalStoreId": args.external_store_id,
        "storeName": args.store_name,
        "accessToken": args.access_token,
        "currency": args.currency,
    });
    let registered = flow.call(Method::POST, "/stores/register", Some(store)).await?;
    let token = registered["syncToken"].as_str().unwrap_or_default().to_owned();
    for receipt in receipts {
        let import = json!({ "syncToken": token, "receipt": receipt });
        flow.call(Method::POST, "/orders/import", Some(import)).await?;
    }
    flow.call(Method::GET, &format!("/stores/sync-status?syncToken={}", encoded(&token)), None).await?;
    flow.webhooks(args).await?;
    if flow.out.json {
        let told = json!({ "syncToken": token, "steps": flow.steps }).to_string();
        flow.out.json(told.as_bytes())?;
    } else {
        flow.out.line(&format!("syncToken {}", escape(&token)))?;
    }
    Ok(Exit::Ok)
}

impl Flow<'_, '_> {
    /// Asks to be told of syncs.
    async fn webhooks(&mut self, args: &FlowArgs) -> Result<(), Failure> {
        for event in EVENTS {
            let webhook =
                json!({ "organizationId": args.org_id, "event": event, "targetUrl": args.webhook_url });
            self.call(Method::POST, "/webhooks/register", Some(webhook)).await?;
        }
        let query = format!("/webhooks?organizationId={}", encoded(&args.org_id));
        self.call(Method::GET, &query, None).await?;
        Ok(())
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let sent = body.map(|body| body.to_string().into_bytes().into());
        let answered = self.client.call(method.clone(), path, sent, &[]).await;
        let ApiAnswer { status, body, .. } = answered.map_err(|no| {
            let what = format!("{} does not answer: {}", escape(self.base), no.why);
            Failure::here(
                Exit::Unreachable,
                what,
                "start `wellorder dev --as marketplace`, or name another with --base-url",
            )
        })?;
        // What is in a query may be a token.
        let path = path.split('?').next().unwrap_or(path);
        let answer = String::from_utf8_lossy(&body).into_owned();
        let value: Value = serde_json::from_str(&answer).unwrap_or(Value::String(answer.clone()));
        if !(200..300).contains(&status) {
            let what = format!("{method} {path} was answered with {status}: {}", escape(&answer));
            return Err(Failure::here(Exit::Refused, what, "see docs/contracts/marketplace.md"));
        }
        if !self.out.json {
            self.out.line(&format!("{method} {path} -> {status} {}", escape(&answer)))?;
        }
        self.steps.push(json!({ "call": format!("{method} {path}"), "status": status, "answer": value }));
        Ok(value)
    }
}

fn encoded(text: &str) -> String {
    crate::cli::api_call::encode(text)
}
