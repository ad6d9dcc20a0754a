//! `healthcheck`.

use http::Method;
use serde_json::Value;

use super::{
    api_call::ApiCall,
    failure::{Exit, Failure},
};
use crate::output::{Output, Style, escape};

/// Asks a server whether it is ready: 0 when it is, 1 when it says no, 5 when it does not answer.
pub(super) async fn check(api: &dyn ApiCall, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let reply = api.call(Method::GET, "/readyz?verbose", None, &[]).await?;
    let ready = reply.status == 200;
    if out.json {
        if serde_json::from_slice::<Value>(&reply.body).is_ok_and(|body| body.is_object()) {
            out.json(&reply.body)?;
        } else {
            out.json(format!("{{\"ready\":{ready}}}").as_bytes())?;
        }
    } else if ready {
        out.line(&out.paint(Style::Good, "ready"))?;
    } else {
        out.line(&out.paint(Style::Bad, "not ready"))?;
        for line in String::from_utf8_lossy(&reply.body).lines() {
            out.note(&format!("  {}", escape(line)));
        }
    }
    Ok(if ready { Exit::Ok } else { Exit::Fault })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, reply, said};

    async fn run(status: u16, body: &str, json: bool) -> Said {
        let fake = Fake::new([reply(status, "application/json", body)]);
        let said = said(json, async |out| check(fake.api(), out).await).await;
        assert_eq!(fake.asked(), ["GET /readyz?verbose"]);
        said
    }

    #[tokio::test]
    async fn ready_or_not() {
        let ready = run(200, "ok", false).await;
        assert_eq!((ready.out.as_str(), ready.exit), ("ready\n", Exit::Ok));
        let not = run(503, "storage: disk full\x1b[2J\nworker: ok", false).await;
        assert_eq!((not.out.as_str(), not.exit), ("not ready\n", Exit::Fault));
        assert_eq!(not.err, "  storage: disk full\\u{1b}[2J\n  worker: ok\n");
    }

    #[tokio::test]
    async fn json_is_passed_on_or_made() {
        assert_eq!(run(503, "{\"storage\":\"full\"}", true).await.out, "{\"storage\":\"full\"}\n");
        assert_eq!(run(200, "ok", true).await.out, "{\"ready\":true}\n");
    }
}
