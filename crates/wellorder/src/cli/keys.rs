//! `keys`: API keys, over the API.

use http::Method;
use order_core::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

use super::{
    api_call::{ApiCall, encode},
    args::KeysCommand,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style};

/// Makes, shows or ends keys. `now` is for keys that are to expire some time from now.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &KeysCommand,
    now: Timestamp,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let at = |id: &str, verb: &str| format!("/v1/keys/{}{verb}", encode(id));
    let (reply, value) = match command {
        KeysCommand::Create { name, scope, expires_in } => {
            let expires_at = expires_in.map(|span| now.plus(span).to_string());
            let body = json!({ "name": name, "scopes": scope, "expires_at": expires_at });
            api.post("/v1/keys", Some(&body)).await?
        }
        KeysCommand::List { limit, cursor } => {
            let mut path = format!("/v1/keys?limit={limit}");
            if let Some(cursor) = cursor {
                path.push_str(&format!("&after={}", encode(cursor)));
            }
            api.get(&path).await?
        }
        KeysCommand::Rotate { id, grace, end_grace } => {
            let grace = grace.unwrap_or(order_core::api_key::GRACE_UNLESS_SAID).as_secs();
            api.post(&at(id, "/rotate"), Some(&json!({ "grace_seconds": grace, "end_grace": end_grace })))
                .await?
        }
        KeysCommand::Revoke { id } => api.call(Method::DELETE, &at(id, ""), None, &[]).await?.success()?,
    };
    if out.json {
        out.json(&reply.body)?;
        return Ok(Exit::Ok);
    }
    match command {
        KeysCommand::List { .. } => table(&value, out)?,
        KeysCommand::Create { .. } | KeysCommand::Rotate { .. } => secret(&value, out)?,
        KeysCommand::Revoke { .. } => out.line(&format!("{} is revoked", text(&value, "key_id")))?,
    }
    Ok(Exit::Ok)
}

/// The key alone on standard output, so that it can be taken from there; all about it beside it.
fn secret(key: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let scopes = words(key);
    let about = format!("{} ({}): {scopes}", text(key, "key_id"), text(key, "name"));
    out.note(&crate::output::escape(&about));
    if !text(key, "previous_until").is_empty() {
        out.note(&format!("the secret before works until {}", text(key, "previous_until")));
    }
    out.note("keep it now: nobody can show it again");
    out.line(&text(key, "key"))?;
    Ok(())
}

fn words(key: &Value) -> String {
    let words: Vec<&str> = list(key, "scopes").iter().filter_map(Value::as_str).collect();
    words.join(" ")
}

fn table(page: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let keys = list(page, "keys");
    if keys.is_empty() {
        out.note("no API keys");
        return Ok(());
    }
    let row = |key: &Value| {
        let field = |name: &str| Cell::from(text(key, name));
        let state = text(key, "state");
        let style = if state == "active" { Style::Good } else { Style::Dim };
        let state = Cell::new(style, &state);
        vec![
            field("key_id"),
            field("name"),
            state,
            Cell::from(words(key)),
            field("expires_at"),
            field("last_used_at"),
            field("created_by"),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    out.table(&["KEY", "NAME", "STATE", "SCOPES", "EXPIRES", "LAST USED", "MADE BY"], &rows)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --cursor {next}"));
    }
    Ok(())
}

/// A span such as `90d`, `12h`, `15m` or `30s`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let bad = || "a span is a number and s, m, h or d, such as 90d".to_owned();
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    fn key() -> Value {
        json!({
            "key_id": "0123456789abcdef", "name": "shop", "scopes": ["orders:read", "orders:write"],
            "state": "active", "expires_at": null, "last_used_at": "2026-01-01T00:00:00.000000Z",
            "created_by": "key:fedcba9876543210",
        })
    }

    async fn run_one(fake: &Fake, command: KeysCommand) -> Said {
        let now = Timestamp::from_micros(0);
        said(false, async |out| run(fake.api(), &command, now, out).await).await
    }

    #[tokio::test]
    async fn a_secret_stands_alone_on_standard_output() {
        let mut made = key();
        made["key"] = "wo_0123456789abcdef_x".into();
        let fake = Fake::new([reply(201, &made)]);
        let command = KeysCommand::Create {
            name: "shop".into(),
            scope: vec!["orders:read".into()],
            expires_in: Some(Duration::from_secs(60)),
        };
        let said = run_one(&fake, command).await;
        assert_eq!(said.out, "wo_0123456789abcdef_x\n");
        assert!(said.err.contains("nobody can show it again"), "{}", said.err);
    }

    #[tokio::test]
    async fn all_keys() {
        let fake = Fake::new([reply(200, &json!({ "keys": [key()], "next": null }))]);
        let said = run_one(&fake, KeysCommand::List { limit: 50, cursor: None }).await;
        insta::assert_snapshot!(said.out, @r"
        KEY               NAME  STATE   SCOPES                    EXPIRES  LAST USED                    MADE BY
        0123456789abcdef  shop  active  orders:read orders:write           2026-01-01T00:00:00.000000Z  key:fedcba9876543210
        ");
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000), ("0s", 0)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "1", "1w", "-1d", "1.5h", "99999999999999999999d", "1é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
