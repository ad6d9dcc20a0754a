//! `audit`: showing what the proof came to.

use std::io;

use clap::Args;
use order_core::action_log::chain::{Followed, Link};
use order_core::audit::{Finding, Report};
use serde_json::{Value, json};

use super::failure::Exit;
use crate::output::{Cell, Output, Style};

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Follow the chain through what people and keys did, instead
    #[arg(long)]
    pub(crate) actions: bool,
    /// An end of the chain that was noted earlier, and must be in it still; may be repeated
    #[arg(long, value_name = "NUMBER:HASH", requires = "actions", value_parser = link)]
    pub(crate) noted: Vec<Link>,
}

fn link(text: &str) -> Result<Link, String> {
    Link::parse(text).ok_or_else(|| "a link is a number, a colon and 64 hexadecimal digits".to_owned())
}

/// Prints how far the chain through the action log goes, and where it breaks.
///
/// # Errors
/// The reader is gone or the disk is full.
pub(crate) fn show_actions(followed: &Followed, out: &mut Output<'_>) -> io::Result<Exit> {
    let Followed { end, broken } = followed;
    let exit = if broken.is_none() { Exit::Ok } else { Exit::Findings };
    if out.json {
        let broken = broken.as_ref().map(|broken| json!({ "number": broken.number, "why": broken.why }));
        let json = json!({
            "ok": exit == Exit::Ok, "actions": end.number, "end": end.to_string(), "broken": broken,
        });
        out.json(json.to_string().as_bytes())?;
        return Ok(exit);
    }
    match broken {
        None => {
            out.line(&format!("{}: actions {}, end {end}", out.paint(Style::Good, "sound"), end.number))?
        }
        Some(broken) => {
            let word = out.paint(Style::Bad, "broken");
            out.line(&format!("{word}: action {} {}", broken.number, broken.why))?;
            out.note(&format!("sound up to {end}"));
        }
    }
    Ok(exit)
}

/// Prints a report and says how to end: 0 when nothing was found, 6 when something was.
///
/// # Errors
/// The reader is gone or the disk is full.
pub(crate) fn show(report: &Report, out: &mut Output<'_>) -> io::Result<Exit> {
    out.progress("");
    let exit = if report.found == 0 { Exit::Ok } else { Exit::Findings };
    if out.json {
        out.json(as_json(report).to_string().as_bytes())?;
        return Ok(exit);
    }
    let Report { orders, events, work, followers, findings, found } = report;
    let scope = format!("orders {orders}, events {events}, work {work}, followers {followers}");
    if exit == Exit::Ok {
        out.line(&format!("{}: {scope}", out.paint(Style::Good, "sound")))?;
        return Ok(exit);
    }
    let noun = if *found == 1 { "finding" } else { "findings" };
    out.line(&format!("{}: {scope}", out.paint(Style::Bad, &format!("{found} {noun}"))))?;
    out.line("")?;
    let row = |finding: &Finding| {
        let shard = finding.shard.map_or_else(String::new, |shard| shard.to_string());
        vec![
            finding.check.into(),
            shard.into(),
            finding.subject.clone().into(),
            finding.detail.clone().into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = findings.iter().map(row).collect();
    out.table(&["CHECK", "SHARD", "SUBJECT", "FOUND"], &rows)?;
    let more = found.saturating_sub(findings.len() as u64);
    if more > 0 {
        out.note(&format!("and {more} more"));
    }
    Ok(exit)
}

/// `{"ok", "orders", "events", "work", "followers", "found", "findings": [{"check", "shard", "subject", "detail"}]}`; `found`
/// counts also the findings that are too many to list.
fn as_json(report: &Report) -> Value {
    let Report { orders, events, work, followers, findings, found } = report;
    let finding = |it: &Finding| {
        let shard = it.shard.map(|shard| shard.0);
        json!({ "check": it.check, "shard": shard, "subject": it.subject, "detail": it.detail })
    };
    json!({
        "ok": *found == 0,
        "orders": orders,
        "events": events,
        "work": work,
        "followers": followers,
        "found": found,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::said;

    fn sound() -> Report {
        Report { orders: 5, events: 12, work: 1, followers: 2, ..Report::default() }
    }

    #[tokio::test]
    async fn a_sound_folder() {
        let said = said(false, async |out| Ok(show(&sound(), out)?)).await;
        assert_eq!(said.out, "sound: orders 5, events 12, work 1, followers 2\n");
        assert_eq!(said.exit, Exit::Ok);
    }

    #[tokio::test]
    async fn one_that_is_not() {
        let finding = Finding {
            check: "positions",
            shard: None,
            subject: "17".to_owned(),
            detail: "a gap\u{7}".to_owned(),
        };
        let report = Report { findings: vec![finding], found: 3, ..sound() };
        let result = said(false, async |out| Ok(show(&report, out)?)).await;
        insta::assert_snapshot!(result.out, @r"
        3 findings: orders 5, events 12, work 1, followers 2

        CHECK      SHARD  SUBJECT  FOUND
        positions         17       a gap\u{7}
        ");
        assert_eq!((result.err.as_str(), result.exit), ("and 2 more\n", Exit::Findings));
        let result = said(true, async |out| Ok(show(&report, out)?)).await;
        insta::assert_snapshot!(result.out, @r#"{"ok":false,"orders":5,"events":12,"work":1,"followers":2,"found":3,"findings":[{"check":"positions","shard":null,"subject":"17","detail":"a gap\u0007"}]}"#);
        assert_eq!(result.exit, Exit::Findings);
    }
}
