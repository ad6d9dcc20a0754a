//! Many orders in one request: each line that is answered is acknowledged, however the request ends.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::clients::{PATIENCE, Placed, Servers, Stage, acknowledged};
use super::report::Kind;

/// Sends the orders until each is acknowledged or refused for good.
pub(super) fn insist(stage: &Stage, client: &mut Servers, mut open: Vec<Arc<Placed>>) -> Result<()> {
    let began = Instant::now();
    loop {
        let used = send(stage, client, &mut open)?;
        if open.is_empty() {
            return Ok(());
        }
        stage.put_off("/v1/orders/bulk", "lines were left open", used);
        client.change();
        if began.elapsed() > PATIENCE {
            for placed in open {
                let reference = &placed.order.reference;
                stage.violations.add(Kind::Refused, reference, "no answer to its line for a long time");
            }
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends what is open once; what was answered for good is open no more. Without any answer, when the connection was last
/// of use.
fn send(stage: &Stage, client: &mut Servers, open: &mut Vec<Arc<Placed>>) -> Result<Option<Instant>> {
    let mut lines = Vec::new();
    for placed in open.iter() {
        lines.extend(placed.order.request().1);
        lines.push(b'\n');
    }
    let known_before: Vec<bool> = open.iter().map(|placed| placed.known()).collect();
    let (reply, whole) = match client.ask(|client| client.post_lines("/v1/orders/bulk", &lines)) {
        Ok(answer) => answer,
        Err((_, used)) => return Ok(Some(used)),
    };
    let subject = "/v1/orders/bulk";
    match reply.status {
        200 => {}
        408 | 429 | 503 | 504 => return Ok(None),
        status => {
            stage.violations.add(Kind::Refused, subject, format!("{status}: {}", reply.text()));
            open.clear();
            return Ok(None);
        }
    }
    // A line without its end was torn by the kill: it says nothing.
    let ended = reply.body.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    // What became of each line: none without an answer, else whether that was for good.
    let mut answered: Vec<Option<bool>> = vec![None; open.len()];
    for line in reply.body[..ended].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let answer: Value = serde_json::from_slice(line).unwrap_or_default();
        let place = answer["line"].as_u64().and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
        let Some(place) = place.filter(|place| answered.get(*place) == Some(&None)) else {
            let line = String::from_utf8_lossy(line);
            stage.violations.add(Kind::Content, subject, format!("an answer to no line: {line}"));
            continue;
        };
        answered[place] = Some(settle(stage, &open[place], &answer, known_before[place])?);
    }
    if whole && answered.contains(&None) {
        stage.violations.add(Kind::Content, subject, "a whole reply that leaves lines out");
    }
    let mut answered = answered.into_iter();
    open.retain(|_| answered.next().flatten() != Some(true));
    Ok(None)
}

/// Whether the line was answered for good.
fn settle(stage: &Stage, placed: &Placed, answer: &Value, known_before: bool) -> Result<bool> {
    let reference = &placed.order.reference;
    let status = answer["status"].as_u64().unwrap_or_default() as u16;
    match (status, answer["order_id"].as_str()) {
        (200 | 201, Some(order_id)) => {
            acknowledged(stage, placed, order_id.to_owned(), status, known_before)?;
            Ok(true)
        }
        (408 | 429 | 503 | 504, _) => Ok(false),
        _ => {
            stage.violations.add(Kind::Refused, reference, format!("its line: {answer}"));
            Ok(true)
        }
    }
}
