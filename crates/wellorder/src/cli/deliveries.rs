//! `deliveries`: what became of what endpoints were sent, over the API.

use serde_json::{Value, json};

use super::{
    api_call::{ApiCall, encode},
    args::{DeliveriesCommand, DeliveriesList},
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style, escape};

/// Shows deliveries, or has some made again.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &DeliveriesCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (reply, value) = match command {
        DeliveriesCommand::List(args) => api.get(&asked(args)).await?,
        DeliveriesCommand::Get { id } => api.get(&format!("/v1/deliveries/{}", encode(id))).await?,
        DeliveriesCommand::Resend { id } => {
            api.post(&format!("/v1/deliveries/{}/resend", encode(id)), None).await?
        }
        DeliveriesCommand::Recover { endpoint, since, dry_run } => {
            let body = json!({ "endpoint_id": endpoint, "since": since, "dry_run": dry_run });
            api.post("/v1/deliveries/recover", Some(&body)).await?
        }
        DeliveriesCommand::Replay { endpoint, from, dry_run } => {
            let body = json!({ "endpoint_id": endpoint, "from": from, "dry_run": dry_run });
            api.post("/v1/deliveries/replay", Some(&body)).await?
        }
    };
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    match command {
        DeliveriesCommand::List(_) => table(&value, out)?,
        DeliveriesCommand::Get { .. } => one(&value, out)?,
        DeliveriesCommand::Resend { .. } => {
            let is = if value["queued"] == json!(true) { "is on its way" } else { "was on its way already" };
            out.line(&escape(&format!("{} {is}", text(&value, "delivery_id"))))?;
        }
        DeliveriesCommand::Recover { dry_run, .. } => {
            let count = value["count"].as_str().map_or_else(|| value["count"].to_string(), str::to_owned);
            let what = if *dry_run { "were given up" } else { "are on their way again" };
            out.line(&format!("{count} {what}"))?;
        }
        DeliveriesCommand::Replay { dry_run, .. } => {
            let (missing, seen) = (&value["missing"], &value["looked_at"]);
            let what = if *dry_run { "were missed" } else { "were missed, and are on their way" };
            out.line(&format!("{missing} {what}, of {seen} events"))?;
            if let Some(next) = value["next"].as_str() {
                out.note(&format!("more events: --from {next}"));
            }
        }
    }
    Ok(Exit::Ok)
}

fn asked(args: &DeliveriesList) -> String {
    let mut path = format!("/v1/deliveries?limit={}", args.limit);
    let filters = [
        ("endpoint_id", &args.endpoint),
        ("order_id", &args.order),
        ("store_id", &args.store),
        ("state", &args.state),
        ("after", &args.cursor),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    path
}

fn table(page: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let deliveries = list(page, "deliveries");
    if deliveries.is_empty() {
        out.note("no deliveries");
        return Ok(());
    }
    let row = |delivery: &Value| {
        let field = |name: &str| Cell::from(text(delivery, name));
        let state = text(delivery, "state");
        let style = match state.as_str() {
            "delivered" => Style::Good,
            "failed" => Style::Bad,
            _ => Style::Dim,
        };
        let ended = text(delivery, "ended_at");
        let when = if ended.is_empty() { text(delivery, "due_at") } else { ended };
        vec![
            field("delivery_id"),
            Cell::new(style, &state),
            field("type"),
            Cell::from(delivery["attempt"].to_string()),
            Cell::from(when),
            field("error"),
        ]
    };
    let rows: Vec<_> = deliveries.iter().map(row).collect();
    out.table(&["DELIVERY", "STATE", "TYPE", "ATTEMPT", "WHEN", "ERROR"], &rows)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --cursor {next}"));
    }
    Ok(())
}

fn one(delivery: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let (id, state) = (text(delivery, "delivery_id"), text(delivery, "state"));
    out.line(&escape(&format!("{id} {state} {}", text(delivery, "type"))))?;
    let row = |attempt: &Value| {
        let field = |name: &str| Cell::from(text(attempt, name));
        let status = attempt["status"].as_u64().map_or(String::new(), |status| status.to_string());
        let took = attempt["took_ms"].to_string();
        vec![
            Cell::from(attempt["attempt"].to_string()),
            field("at"),
            field("outcome"),
            Cell::from(status),
            Cell::from(took),
            field("error"),
            field("retry_at"),
        ]
    };
    let rows: Vec<_> = list(delivery, "attempts").iter().map(row).collect();
    if rows.is_empty() {
        out.note("nothing was tried yet");
        return Ok(());
    }
    out.table(&["TRY", "AT", "OUTCOME", "STATUS", "MS", "ERROR", "NEXT"], &rows)?;
    for attempt in list(delivery, "attempts") {
        exchange(attempt, out)?;
    }
    if let Some(body) = delivery["body"].as_str() {
        out.line(&escape(&format!("body: {body}")))?;
    }
    Ok(())
}

/// What was sent in a try, and the beginning of what came back.
fn exchange(attempt: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let request = &attempt["request"];
    let headers = &request["headers"];
    out.line(&escape(&format!(
        "try {}: {} {} webhook-id: {} webhook-timestamp: {}",
        attempt["attempt"],
        text(request, "method"),
        text(request, "url"),
        text(headers, "webhook-id"),
        text(headers, "webhook-timestamp"),
    )))?;
    let answer = text(attempt, "answer");
    if !answer.is_empty() {
        out.line(&escape(&format!("  answer: {answer}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, json as reply, said};

    #[tokio::test]
    async fn a_recovery_counts_first() {
        let fake = Fake::new([reply(200, &json!({ "dry_run": true, "count": "10000+" }))]);
        let (endpoint, since) = ("e".to_owned(), "2026-01-01T00:00:00Z".to_owned());
        let command = DeliveriesCommand::Recover { endpoint, since, dry_run: true };
        let said = said(false, async |out| run(fake.api(), &command, out).await).await;
        assert_eq!(said.out, "10000+ were given up\n");
    }

    #[tokio::test]
    async fn a_delivery_is_shown_with_what_was_sent_and_what_came_back() {
        let headers = json!({ "webhook-id": "e-1", "webhook-timestamp": "1767225600" });
        let request = json!({ "method": "POST", "url": "https://shop.example/hooks", "headers": headers });
        let attempt = json!({
            "attempt": 1, "at": "2026-01-01T00:00:00Z", "request": request, "took_ms": 7, "outcome": "failed",
            "status": 500, "error": "the receiver answered 500", "answer": "no \u{1b}[2Jroom\n", "retry_at": null
        });
        let delivery = json!({
            "delivery_id": "e.o.1", "state": "failed", "type": "order.accepted", "body": r#"{"type":"order.accepted"}"#,
            "attempts": [attempt]
        });
        let fake = Fake::new([reply(200, &delivery)]);
        let command = DeliveriesCommand::Get { id: "e.o.1".to_owned() };
        let said = said(false, async |out| run(fake.api(), &command, out).await).await.out;
        let sent = "try 1: POST https://shop.example/hooks webhook-id: e-1 webhook-timestamp: 1767225600\n";
        assert!(said.contains(sent), "{said}");
        assert!(said.contains("  answer: no ") && said.contains("[2Jroom"), "{said}");
        assert!(!said.contains('\u{1b}') && !said.contains("room\n\n"), "{said:?}");
        assert!(said.ends_with("body: {\"type\":\"order.accepted\"}\n"), "{said}");
    }

    #[test]
    fn filters_are_asked_for() {
        let args = DeliveriesList { state: Some("failed".to_owned()), limit: 7, ..DeliveriesList::default() };
        assert_eq!(asked(&args), "/v1/deliveries?limit=7&state=failed");
    }
}
