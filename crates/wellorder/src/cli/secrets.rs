//! `secrets`: under which keys secrets at rest lie, and bringing them under another.

use serde_json::{Value, json};

use super::{
    api_call::ApiCall,
    args::SecretsCommand,
    failure::{Exit, Failure},
    json::{list, text},
};
use crate::output::{Cell, Output, Style};

/// Shows them, or brings all under the first key.
pub(super) async fn run(
    api: &dyn ApiCall,
    command: &SecretsCommand,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    match command {
        SecretsCommand::Status => {
            let (reply, status) = api.get("/v1/secrets").await?;
            if out.json {
                out.json(&reply.body)?;
            } else {
                show(&status, out)?;
            }
            // What nobody can open is found, by scripts too.
            let lost = |place: &Value| matches!(&*text(place, "state"), "unknown" | "damaged");
            Ok(if list(&status, "secrets").iter().any(lost) { Exit::Findings } else { Exit::Ok })
        }
        SecretsCommand::Rotate => rotate(api, out).await,
    }
}

fn show(status: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    match status["key_id"].as_str() {
        Some(key_id) => out.note(&format!("the key {key_id} seals")),
        None => out.note("no key is set: secrets.key_file, or secrets.key"),
    }
    let places = list(status, "secrets");
    if places.is_empty() {
        out.note("no secrets are stored");
        return Ok(());
    }
    let row = |place: &Value| {
        let state = text(place, "state");
        let style = match &*state {
            "current" => Style::Good,
            "older" => Style::Busy,
            _ => Style::Bad,
        };
        let more = if place["is_more"] == true { "+" } else { "" };
        vec![
            Cell::from(text(place, "place")),
            Cell::from(text(place, "key_id")),
            Cell::new(style, &state),
            Cell::from(format!("{}{more}", text(place, "count"))),
        ]
    };
    let rows: Vec<_> = places.iter().map(row).collect();
    out.table(&["PLACE", "KEY", "STATE", "SECRETS"], &rows)?;
    Ok(())
}

/// Steps until the end; each is a commit of its own, so one that breaks off is begun anew and does the rest.
async fn rotate(api: &dyn ApiCall, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (mut resealed, mut unopened, mut after) = (0, 0, Value::Null);
    let key_id = loop {
        let (_, step) = api.post("/v1/secrets/rotate", Some(&json!({ "after": after }))).await?;
        resealed += step["resealed"].as_u64().unwrap_or(0);
        unopened += step["unopened"].as_u64().unwrap_or(0);
        out.progress(&format!("{resealed} sealed anew"));
        after = step["next"].clone();
        if after.is_null() {
            break text(&step, "key_id");
        }
    };
    out.progress("");
    if out.json {
        let done = json!({ "key_id": key_id, "resealed": resealed, "unopened": unopened });
        out.json(done.to_string().as_bytes())?;
    } else {
        out.line(&format!("{resealed} secrets were sealed anew; all that open lie under the key {key_id}"))?;
        if unopened > 0 {
            out.note(&format!(
                "{unopened} do not open: `{}` names their keys",
                out.again.command("secrets status")
            ));
        }
    }
    Ok(if unopened > 0 { Exit::Findings } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::{Fake, Said, json as reply, said};

    async fn run_one(fake: &Fake, command: SecretsCommand) -> Said {
        said(false, async |out| run(fake.api(), &command, out).await).await
    }

    #[tokio::test]
    async fn all_places() {
        let place = |place: &str, state: &str, count: u64, is_more: bool| json!({ "place": place, "key_id": "00112233aabbccdd", "state": state, "count": count, "is_more": is_more });
        let places = [place("a.b", "current", 3, false), place("stores.token", "older", 100_000, true)];
        let status = json!({ "key_id": "00112233aabbccdd", "older_key_ids": [], "secrets": places });
        let fake = Fake::new([reply(200, &status)]);
        let said = run_one(&fake, SecretsCommand::Status).await;
        insta::assert_snapshot!(said.out, @r"
        PLACE         KEY               STATE    SECRETS
        a.b           00112233aabbccdd  current  3
        stores.token  00112233aabbccdd  older    100000+
        ");
        assert_eq!(said.exit, Exit::Ok);
    }

    #[tokio::test]
    async fn a_rotation_goes_on_to_its_end_and_tells_of_what_stays() {
        let step = |resealed: u64, unopened: u64, next: Option<&str>| {
            reply(
                200,
                &json!({ "key_id": "00112233aabbccdd", "resealed": resealed, "changed": 0, "unopened": unopened, "next": next }),
            )
        };
        let fake = Fake::new([step(500, 0, Some("x")), step(20, 1, None)]);
        let said = run_one(&fake, SecretsCommand::Rotate).await;
        assert_eq!(
            said.out,
            "520 secrets were sealed anew; all that open lie under the key 00112233aabbccdd\n"
        );
        assert!(said.err.contains("1 do not open"), "{}", said.err);
        assert_eq!(said.exit, Exit::Findings);
    }
}
