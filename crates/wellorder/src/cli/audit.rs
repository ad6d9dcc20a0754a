//! `audit`: showing what the proof came to.

use std::io;

use order_core::audit::{Finding, Report};
use serde_json::{Value, json};

use super::failure::Exit;
use crate::output::{Cell, Output, Style};

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
