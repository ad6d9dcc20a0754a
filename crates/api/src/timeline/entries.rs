//! The entries of a timeline: each event, and what led to it.

use order_core::Timestamp;
use order_core::event::EventBody;
use order_core::journal::Event;
use serde_json::{Value, json};
use std::time::Duration;

/// Pointers that a summary names.
const POINTERS_MAX: usize = 5;

/// What is known of the order's work on the way through its events.
#[derive(Default)]
struct Work {
    /// The version that asked for the present work.
    asked_for: Option<u64>,
    /// Attempts that it used up; `None` where the events that would tell are not shown.
    used: Option<u32>,
    /// The version that parked it.
    parked: Option<u64>,
}

/// What an entry says beyond its event.
struct Told {
    summary: String,
    by: Option<String>,
    caused_by: Option<u64>,
    attempt: Option<Value>,
}

/// One entry for each event, oldest first.
pub(super) fn entries(events: &[Event]) -> Vec<Value> {
    let mut work = Work::default();
    events.iter().map(|event| entry(event, &mut work)).collect()
}

fn entry(event: &Event, work: &mut Work) -> Value {
    let told = match EventBody::parse(event) {
        Ok(body) => tell(event, &body, work),
        Err(_) => plain("An event that cannot be read: run wellorder audit".to_owned()),
    };
    json!({
        "version": event.version,
        "at": event.occurred_at.to_string(),
        "type": event.kind.as_str(),
        "summary": told.summary,
        "by": told.by,
        "caused_by": told.caused_by,
        "attempt": told.attempt,
        "event_id": event.event_id.to_string(),
        "position": event.position,
        "data": serde_json::from_str::<Value>(&event.data).unwrap_or_default(),
    })
}

fn plain(summary: String) -> Told {
    Told { summary, by: None, caused_by: None, attempt: None }
}

/// What somebody did, where it is known who.
fn told_by(by: Option<&str>, summary: String) -> Told {
    Told { by: by.map(str::to_owned), ..plain(summary) }
}

/// What happened, in the order of the event's kinds.
fn tell(event: &Event, body: &EventBody, work: &mut Work) -> Told {
    match body {
        EventBody::Accepted(accepted) => {
            work.asked(event.version);
            let named = accepted.reference.as_ref().map(|reference| format!(" as {reference}"));
            let summary = format!("Taken in from {}{}", accepted.source, named.unwrap_or_default());
            // Earlier events do not say who: what is known is where it came from.
            let by = accepted.by.as_deref().map_or_else(|| accepted.source.to_string(), str::to_owned);
            Told { by: Some(by), ..plain(summary) }
        }
        EventBody::Revised { changed, requeued, by, .. } => {
            let again = if *requeued { "; its work starts anew" } else { "" };
            if *requeued {
                work.asked(event.version);
            }
            told_by(by.as_deref(), format!("Revised: {}{again}", some_of(changed)))
        }
        EventBody::Processed { attempt, started_at } => {
            let took = took(*started_at, event.occurred_at);
            let end = json!({ "number": attempt, "outcome": "done", "began_at": started_at.to_string(),
                "ended_at": event.occurred_at.to_string(), "error": null, "retry_at": null });
            work.ended(*attempt, format!("Attempt {attempt} succeeded after {took}"), end)
        }
        EventBody::Failed { attempt, started_at, error, retry_at } => {
            let took = took(*started_at, event.occurred_at);
            let end = json!({ "number": attempt, "outcome": "failed", "began_at": started_at.to_string(),
                "ended_at": event.occurred_at.to_string(), "error": error, "retry_at": retry_at.to_string() });
            let summary =
                format!("Attempt {attempt} failed after {took}: {error}; the next is due at {retry_at}");
            work.ended(*attempt, summary, end)
        }
        EventBody::Parked { attempt, lapses, error, started_at } => {
            parked(event, work, *attempt, *lapses, error, *started_at)
        }
        EventBody::Redriven { reason, by } => {
            let caused_by = work.parked;
            work.asked(event.version);
            Told { caused_by, by: Some(by.clone()), ..plain(format!("Redriven by {by}: {reason}")) }
        }
        EventBody::Withdrawn { reason, by, requeued } => {
            *work = Work::default();
            if *requeued {
                work.asked(event.version);
            }
            Told { by: Some(by.clone()), ..plain(format!("Withdrawn by {by}: {reason}")) }
        }
        EventBody::Shipped { shipped_at, tracking_number, by } => {
            let number = tracking_number.as_ref().map(|number| format!(", tracking number {number}"));
            told_by(by.as_deref(), format!("Shipped at {shipped_at}{}", number.unwrap_or_default()))
        }
        EventBody::Delivered { delivered_at, by } => {
            told_by(by.as_deref(), format!("Delivered at {delivered_at}"))
        }
        EventBody::Erased { pointers, by } => {
            told_by(by.as_deref(), format!("Personal data erased: {}", some_of(pointers)))
        }
        EventBody::Unknown => plain(format!("{}: of a later version of the program", event.kind.as_str())),
    }
}

/// Parked by the end of an attempt, or by the claim that found that its leases keep running out: that uses up none.
fn parked(
    event: &Event,
    work: &mut Work,
    attempt: u32,
    lapses: u32,
    error: &str,
    began_at: Option<Timestamp>,
) -> Told {
    let lapsed = lapses > 0 && work.used.is_none_or(|used| used == attempt);
    work.parked = Some(event.version);
    if lapsed {
        let summary = format!("Parked without an end of attempt {}: {error}", attempt.saturating_add(1));
        return Told { by: Some("worker".to_owned()), caused_by: work.asked_for, ..plain(summary) };
    }
    // Earlier events do not say when it began.
    let began_at = began_at.map(|at| at.to_string());
    let end = json!({ "number": attempt, "outcome": "parked", "began_at": began_at,
        "ended_at": event.occurred_at.to_string(), "error": error, "retry_at": null });
    work.ended(attempt, format!("Attempt {attempt} was the last, the order is parked: {error}"), end)
}

impl Work {
    fn asked(&mut self, version: u64) {
        *self = Self { asked_for: Some(version), used: Some(0), parked: None };
    }

    fn ended(&mut self, attempt: u32, summary: String, end: Value) -> Told {
        self.used = Some(attempt);
        let by = Some("worker".to_owned());
        Told { summary, by, caused_by: self.asked_for, attempt: Some(end) }
    }
}

fn took(began: Timestamp, ended: Timestamp) -> String {
    let took: Duration = ended.since(began);
    format!("{}.{:03} s", took.as_secs(), took.subsec_millis())
}

fn some_of(pointers: &[String]) -> String {
    let shown = pointers.iter().take(POINTERS_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match pointers.len().saturating_sub(POINTERS_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
