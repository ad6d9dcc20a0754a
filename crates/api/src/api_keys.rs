//! API keys of the caller's tenant. Nobody makes or takes over a key that may do what they themselves may not.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences, typed, whole};
use crate::params::{NoParams, Params};
use crate::problem::Failure;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use edge::{Caller, Json, MaybeJson, Refusal, Refused, Scope, Scopes};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use order_core::api_key::{ApiKey, ApiKeyAction, ApiKeyId, GRACE_MAX, GRACE_UNLESS_SAID, KeyText, NewApiKey};
use order_core::{Fault, Rejection, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const KEYS_UNLESS_SAID: u32 = 50;
const KEYS_MAX: u32 = 200;

/// The key in the route's path: an id that cannot be one is nobody's key.
pub(crate) struct KeyId(ApiKeyId);

impl<S: Send + Sync> FromRequestParts<S> for KeyId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Rejection::ApiKeyUnknown)?;
        Ok(Self(ApiKeyId::parse(&text).ok_or(Rejection::ApiKeyUnknown)?))
    }
}

/// Make an API key.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "keys",
    operation_id = "create_key",
    request_body = crate::schema::keys::NewKey,
    responses((status = 201, description = "The key; `key` is shown this once", body = crate::schema::keys::Key,
        headers(("Location" = String, description = "The key's address"))))
)]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let (name, scopes, expires_at) = read_new(&body, api.app.clock.now())?;
    may_grant(&caller, scopes)?;
    let by = caller.subject.as_ref().to_owned();
    let new = NewApiKey { name, scopes: scopes.to_string(), by, expires_at };
    let (key, text) = api.app.create_api_key(&caller.tenant, new, &api.pepper).await?;
    let mut response = shown_once(&api, StatusCode::CREATED, &key, &text);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/keys/{}", key.key_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// List the API keys.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "keys",
    operation_id = "list_keys",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "Keys, the newest first, ended ones too", body = crate::schema::keys::KeyList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["limit", "after"]);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let before =
        params.place(&signer, Purpose::ApiKeys)?.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
    let limit = params.limit(KEYS_UNLESS_SAID, KEYS_MAX);
    params.settle()?;
    let keys = api.app.storage.api_keys(&caller.tenant, before, limit).await?;
    let last = keys.last().filter(|_| keys.len() as u64 == u64::from(limit));
    let next = last.map(|key| signer.place(Purpose::ApiKeys, u64::try_from(key.number).unwrap_or(0)));
    let now = api.app.clock.now();
    let keys: Vec<Value> = keys.iter().map(|key| show(key, now)).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "keys": keys, "next": next }).to_string()))
}

/// Show an API key.
#[utoipa::path(
    get,
    path = "/v1/keys/{key_id}",
    tag = "keys",
    operation_id = "get_key",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "The key, without its secret", body = crate::schema::keys::Key))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    KeyId(key_id): KeyId,
    _: NoParams,
) -> Result<Response, Failure> {
    let key = find(&api, &caller, key_id).await?;
    Ok(edge::respond::json(StatusCode::OK, show(&key, api.app.clock.now()).to_string()))
}

/// Give an API key another secret.
///
/// The present secret keeps working for a day, or as long as is said: time to bring the new one to where it is used. While
/// one before it does, this is refused (409), unless `end_grace` ends that.
#[utoipa::path(
    post,
    path = "/v1/keys/{key_id}/rotate",
    tag = "keys",
    operation_id = "rotate_key",
    params(("key_id" = String, Path, description = "The key's id")),
    request_body(content = crate::schema::keys::Rotation, description = "May be left out"),
    responses((status = 200, description = "The key; `key` is shown this once", body = crate::schema::keys::Key))
)]
pub(crate) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    KeyId(key_id): KeyId,
    _: NoParams,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let (grace, end_grace) = read_rotation(&body)?;
    let found = find(&api, &caller, key_id).await?;
    // Whoever gets the secret can do what the key may. Scopes of a key never change, so this holds when it is rotated.
    may_grant(&caller, Scopes::parse(&found.scopes))?;
    let (key, text) = api.app.rotate_api_key(&caller.tenant, key_id, grace, end_grace, &api.pepper).await?;
    Ok(shown_once(&api, StatusCode::OK, &key, &text))
}

/// Revoke an API key, for ever.
#[utoipa::path(
    delete,
    path = "/v1/keys/{key_id}",
    tag = "keys",
    operation_id = "revoke_key",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "The key, which opens nothing any more within 5 seconds", body = crate::schema::keys::Key))
)]
pub(crate) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    KeyId(key_id): KeyId,
    _: NoParams,
) -> Result<Response, Failure> {
    let key = api.app.change_api_key(&caller.tenant, key_id, ApiKeyAction::Revoke).await?;
    Ok(edge::respond::json(StatusCode::OK, show(&key, api.app.clock.now()).to_string()))
}

async fn find(api: &Api, caller: &Caller, key_id: ApiKeyId) -> Result<ApiKey, Failure> {
    let found = api.app.storage.api_key(key_id).await?;
    Ok(found.filter(|key| key.tenant == caller.tenant).ok_or(Rejection::ApiKeyUnknown)?)
}

/// Refuses to hand out what the caller itself lacks, naming the first of it.
fn may_grant(caller: &Caller, scopes: Scopes) -> Result<(), Failure> {
    match scopes.iter().find(|scope| !caller.scopes.has(*scope)) {
        Some(scope) => Err(Failure::Refused(Refused(Refusal::Forbidden { scope }))),
        None => Ok(()),
    }
}

fn shown_once(api: &Api, status: StatusCode, key: &ApiKey, text: &KeyText) -> Response {
    let mut body = show(key, api.app.clock.now());
    body["key"] = text.shown().into();
    let mut response = edge::respond::json(status, body.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn show(key: &ApiKey, now: Timestamp) -> Value {
    let state = match (key.revoked_at, key.is_live(now)) {
        (Some(_), _) => "revoked",
        (None, false) => "expired",
        (None, true) => "active",
    };
    let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    let previous = key.previous.map(|previous| previous.until).filter(|until| now < *until);
    json!({
        "key_id": key.key_id.to_string(),
        "name": key.name,
        "scopes": Scopes::parse(&key.scopes).iter().map(Scope::name).collect::<Vec<_>>(),
        "state": state,
        "created_at": key.created_at.to_string(),
        "created_by": key.created_by,
        "expires_at": text(key.expires_at),
        "rotated_at": text(key.rotated_at),
        "previous_until": text(previous),
        "last_used_at": text(key.last_used_at),
        "revoked_at": text(key.revoked_at),
    })
}

fn read_new(body: &Value, now: Timestamp) -> Result<(String, Scopes, Option<Timestamp>), Failure> {
    let mut offences = Offences::default();
    let read = Object::read(body, "", &["name", "scopes", "expires_at"], &mut offences).map(|body| {
        body.required("name", &mut offences);
        let name = body.text("name", &mut offences).unwrap_or_default().to_owned();
        body.required("scopes", &mut offences);
        let scopes = body.array("scopes", &mut offences).map(|list| read_scopes(&body, list, &mut offences));
        let expires_at = body.text("expires_at", &mut offences).and_then(|text| {
            let moment = Timestamp::parse(text).ok().filter(|moment| *moment > now);
            if moment.is_none() {
                offences.refused(body.at("expires_at"), "form", "must be an RFC 3339 date-time to come");
            }
            moment
        });
        (name, scopes.unwrap_or_default(), expires_at)
    });
    offences.settle()?;
    read.ok_or_else(|| Fault::internal("a new key was neither read nor refused").into())
}

fn read_scopes(body: &Object<'_>, list: &[Value], offences: &mut Offences) -> Scopes {
    let at = body.at("scopes");
    if list.is_empty() {
        offences.refused(at.clone(), "empty", "must name at least one scope");
    }
    let mut scopes = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = || format!("{at}/{index}");
        let Some(name) = typed(value.as_str(), place, "must be a string", offences) else { continue };
        match Scope::from_name(name) {
            Some(scope) => scopes.push(scope),
            None => {
                let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
                offences.refused(place(), "unknown", format!("is no scope; there are {}", all.join(", ")));
            }
        }
    }
    scopes.into_iter().collect()
}

fn read_rotation(body: &Value) -> Result<(Duration, bool), Failure> {
    let mut offences = Offences::default();
    let rotation = Object::read(body, "", &["grace_seconds", "end_grace"], &mut offences).map(|body| {
        let end_grace = body.flag("end_grace", &mut offences).unwrap_or(false);
        (read_grace(&body, &mut offences), end_grace)
    });
    offences.settle()?;
    Ok(rotation.unwrap_or((GRACE_UNLESS_SAID, false)))
}

fn read_grace(body: &Object<'_>, offences: &mut Offences) -> Duration {
    let Some(value) = body.get("grace_seconds") else { return GRACE_UNLESS_SAID };
    let place = || body.at("grace_seconds");
    let Some(number) = typed(value.as_number(), place, "must be a number", offences) else {
        return GRACE_UNLESS_SAID;
    };
    let most = GRACE_MAX.as_secs();
    let seconds = whole(number).filter(|seconds| *seconds <= most);
    if seconds.is_none() {
        offences.refused(place(), "range", format!("must be whole seconds from 0 to {most}"));
    }
    Duration::from_secs(seconds.unwrap_or(0))
}
