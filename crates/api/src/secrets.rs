//! Secrets at rest: under which keys they lie, and bringing them under another. Nobody is shown one.

use crate::Api;
use crate::object::{Object, Offences};
use crate::params::NoParams;
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge::{Caller, MaybeJson};
use http::StatusCode;
use order_core::Rejection;
use order_core::sealing::resealing::{ResealPlace, RowKey, STEP_MAX, SealedCount};
use order_core::sealing::{KeyId, SealedColumn};
use serde_json::{Value, json};
use std::sync::Arc;

/// Parts of a place on the wire are apart by this, which is in none of them.
const BETWEEN: char = '\0';
/// Longest place on the wire: two texts of 255 bytes in base64, and a number.
const PLACE_CHARS_MAX: usize = 800;

/// Show under which keys secrets lie.
///
/// Of every place that holds secrets of any tenant, how many lie under which key. A key under which none lie any more may be taken
/// out of `secrets.key` or `secrets.key_file`.
#[utoipa::path(
    get,
    path = "/v1/secrets",
    tag = "operations",
    operation_id = "get_secrets",
    responses((status = 200, description = "Keys and counts", body = crate::schema::operate::SecretsStatus))
)]
pub(crate) async fn status(State(api): State<Arc<Api>>, _: Caller, _: NoParams) -> Result<Response, Failure> {
    let counts = api.app.storage.sealed_counts().await?;
    let keyring = api.app.keyring().ok();
    let current = keyring.map(|keyring| keyring.current());
    let held: Vec<KeyId> = keyring.map(|keyring| keyring.key_ids().collect()).unwrap_or_default();
    let shown = counts.iter().map(|count| show(count, current, &held));
    let body = json!({
        "key_id": current.map(|key_id| key_id.to_string()),
        "older_key_ids": held.iter().skip(1).map(KeyId::to_string).collect::<Vec<_>>(),
        "secrets": shown.collect::<Vec<_>>(),
    });
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

fn show(count: &SealedCount, current: Option<KeyId>, held: &[KeyId]) -> Value {
    let state = match count.key_id {
        None => "damaged",
        key_id if key_id == current => "current",
        Some(key_id) if held.contains(&key_id) => "older",
        Some(_) => "unknown",
    };
    json!({
        "place": count.column.to_string(),
        "key_id": count.key_id.map(|key_id| key_id.to_string()),
        "state": state,
        "count": count.count,
        "is_more": count.is_more,
    })
}

/// Bring secrets under the first key.
///
/// Seals up to 500 of them anew that lie under another key, while everything goes on. Give `next` of the answer as `after` until it
/// is `null`. What does not open stays as it is and is counted.
#[utoipa::path(
    post,
    path = "/v1/secrets/rotate",
    tag = "operations",
    operation_id = "rotate_secrets",
    request_body(content = crate::schema::operate::SecretsRotation, description = "May be left out"),
    responses((status = 200, description = "What was done", body = crate::schema::operate::SecretsRotated))
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    _: Caller,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let mut offences = Offences::default();
    let after = Object::read(&body, "", &["after"], &mut offences)
        .and_then(|body| body.text_within("after", PLACE_CHARS_MAX, &mut offences).map(str::to_owned));
    offences.settle()?;
    let place = match after {
        Some(text) => read_place(&text).ok_or(Rejection::CursorInvalid)?,
        None => ResealPlace::default(),
    };
    let done = api.app.reseal(place, STEP_MAX).await?;
    let body = json!({
        "key_id": done.key_id.to_string(),
        "resealed": done.resealed,
        "changed": done.changed,
        "unopened": done.unopened,
        "next": done.next.as_ref().map(write_place),
    });
    Ok(edge::respond::json(StatusCode::OK, body.to_string()))
}

fn write_place(place: &ResealPlace) -> String {
    let parts = [&*place.column.to_string(), &place.after.tenant, &place.after.row];
    BASE64_URL_SAFE_NO_PAD.encode(parts.join(&BETWEEN.to_string()))
}

/// Whoever makes one up begins in another place, and finds what is left there all the same.
fn read_place(text: &str) -> Option<ResealPlace> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let mut parts = text.split(BETWEEN);
    let (column, tenant, row) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let after = RowKey { tenant: tenant.to_owned(), row: row.to_owned() };
    (parts.next().is_none() && column < SealedColumn::ALL.len()).then_some(ResealPlace { column, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_what_is_made_up_is_none() {
        let after = RowKey { tenant: "naïve".into(), row: "a b".into() };
        for place in [ResealPlace::default(), ResealPlace { column: 0, after }] {
            assert_eq!(read_place(&write_place(&place)), Some(place));
        }
        let made_up = ["", "!", "AAAA", "MQ", "OTkAYQBi", "MABhAGIAYw"];
        assert!(made_up.iter().all(|text| read_place(text).is_none()));
    }
}
