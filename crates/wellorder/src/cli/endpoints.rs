//! `endpoints`: receivers of webhooks, over the API.

use http::Method;
use serde_json::{Value, json};

use super::{
    api_call::{ApiCall, encode},
    args::EndpointsCommand,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style, escape};

/// Makes, shows, changes or tries out endpoints.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &EndpointsCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let at = |id: &str, verb: &str| format!("/v1/endpoints/{}{verb}", encode(id));
    let (reply, value) = match command {
        EndpointsCommand::Create { address, events, rate } => {
            let body = json!({ "url": address, "events": events, "rate": rate });
            api.post("/v1/endpoints", Some(&body)).await?
        }
        EndpointsCommand::List { limit, cursor } => {
            let mut path = format!("/v1/endpoints?limit={limit}");
            if let Some(cursor) = cursor {
                path.push_str(&format!("&after={}", encode(cursor)));
            }
            api.get(&path).await?
        }
        EndpointsCommand::Get { id } => api.get(&at(id, "")).await?,
        EndpointsCommand::Change { id, address, events, rate, no_rate } => {
            let mut body = json!({});
            if let Some(address) = address {
                body["url"] = address.as_str().into();
            }
            if !events.is_empty() {
                body["events"] = events.clone().into();
            }
            if let Some(rate) = rate {
                body["rate"] = (*rate).into();
            }
            if *no_rate {
                body["rate"] = Value::Null;
            }
            api.call(Method::PATCH, &at(id, ""), Some(body.to_string().into()), &[]).await?.success()?
        }
        EndpointsCommand::Pause { id } => api.post(&at(id, "/pause"), None).await?,
        EndpointsCommand::Enable { id } => api.post(&at(id, "/enable"), None).await?,
        EndpointsCommand::Disable { id } => api.post(&at(id, "/disable"), None).await?,
        EndpointsCommand::Rotate { id, grace, end_previous } => {
            let grace = grace.map(|grace| grace.as_secs());
            let body = json!({ "grace_seconds": grace, "end_previous": end_previous });
            api.post(&at(id, "/rotate"), Some(&body)).await?
        }
        EndpointsCommand::Test { id } => api.post(&at(id, "/test"), None).await?,
        EndpointsCommand::Delete { id } => {
            api.call(Method::DELETE, &at(id, ""), None, &[]).await?.success()?
        }
    };
    let failed = matches!(command, EndpointsCommand::Test { .. }) && value["taken"] != json!(true);
    if out.json {
        out.json(&reply.body)?;
    } else {
        show(command, &value, out)?;
    }
    Ok(if failed { Exit::Findings } else { Exit::Ok })
}

fn show(command: &EndpointsCommand, value: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        EndpointsCommand::List { .. } => table(value, out),
        EndpointsCommand::Create { .. } | EndpointsCommand::Rotate { .. } => secret(value, out),
        EndpointsCommand::Test { .. } => tried(value, out),
        EndpointsCommand::Delete { .. } => {
            Ok(out.line(&format!("{} is deleted", text(value, "endpoint_id")))?)
        }
        EndpointsCommand::Get { .. }
        | EndpointsCommand::Change { .. }
        | EndpointsCommand::Pause { .. }
        | EndpointsCommand::Enable { .. }
        | EndpointsCommand::Disable { .. } => Ok(out.line(&about(value))?),
    }
}

/// One endpoint in a line.
fn about(endpoint: &Value) -> String {
    let why = text(endpoint, "disabled_for");
    let state = text(endpoint, "state");
    let state = if why.is_empty() { state } else { format!("{state} ({why})") };
    let (id, url, events) = (text(endpoint, "endpoint_id"), text(endpoint, "url"), words(endpoint));
    escape(&format!("{id} {state}: {url} hears of {events}")).into_owned()
}

/// The secret alone on standard output, so that it can be taken from there; all about it beside it.
fn secret(endpoint: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    out.note(&about(endpoint));
    let until = text(endpoint, "previous_secret_until");
    if !until.is_empty() {
        out.note(&format!("what is sent is signed with the secret before too, until {until}"));
    }
    out.note("keep it now: nobody can show it again");
    if text(endpoint, "disabled_for") == "unproven" {
        let id = text(endpoint, "endpoint_id");
        out.note(&format!(
            "bring it to the receiver, which must answer a challenge, then: wellorder endpoints enable {id}"
        ));
    }
    out.line(&text(endpoint, "secret"))?;
    Ok(())
}

fn tried(test: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let took = test["took_ms"].as_u64().unwrap_or(0);
    let line = match test["status"].as_u64() {
        Some(status) => format!("answered {status} after {took} ms"),
        None => format!("no answer: {}", text(test, "error")),
    };
    out.line(&escape(&line))?;
    Ok(())
}

fn words(endpoint: &Value) -> String {
    let words: Vec<&str> = list(endpoint, "events").iter().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn table(page: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let endpoints = list(page, "endpoints");
    if endpoints.is_empty() {
        out.note("no endpoints");
        return Ok(());
    }
    let row = |endpoint: &Value| {
        let field = |name: &str| Cell::from(text(endpoint, name));
        let state = text(endpoint, "state");
        let style = match state.as_str() {
            "active" => Style::Good,
            "disabled" => Style::Bad,
            _ => Style::Dim,
        };
        vec![
            field("endpoint_id"),
            Cell::new(style, &state),
            field("url"),
            Cell::from(words(endpoint)),
            field("failing_since"),
        ]
    };
    let rows: Vec<_> = endpoints.iter().map(row).collect();
    out.table(&["ENDPOINT", "STATE", "URL", "HEARS OF", "FAILING SINCE"], &rows)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --cursor {next}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    fn endpoint() -> Value {
        json!({
            "endpoint_id": "0193473d-5c1e-7d51-b0a6-6f2a1c5f2f11", "url": "https://shop.example/hooks",
            "events": ["order.*"], "state": "active", "disabled_for": null, "failing_since": null,
        })
    }

    async fn run_one(fake: &Fake, command: EndpointsCommand) -> Said {
        said(false, async |out| run(fake.api(), &command, out).await).await
    }

    #[tokio::test]
    async fn a_secret_stands_alone_on_standard_output() {
        let mut made = endpoint();
        made["secret"] = "whsec_x".into();
        let fake = Fake::new([reply(201, &made)]);
        let (address, events) = ("https://shop.example/hooks".into(), vec!["order.*".into()]);
        let said = run_one(&fake, EndpointsCommand::Create { address, events, rate: None }).await;
        assert_eq!(said.out, "whsec_x\n");
        assert!(said.err.contains("nobody can show it again"), "{}", said.err);
    }

    #[tokio::test]
    async fn a_test_that_is_not_taken_fails() {
        let refused = json!({ "taken": false, "status": 500, "took_ms": 3, "error": null });
        let fake = Fake::new([reply(200, &refused)]);
        let said = run_one(&fake, EndpointsCommand::Test { id: "x".into() }).await;
        assert_eq!(said.out, "answered 500 after 3 ms\n");
    }
}
