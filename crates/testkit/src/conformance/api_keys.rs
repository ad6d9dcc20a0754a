//! API keys: made, rotated, revoked and touched by their own tenant alone.

use super::Rig;
use order_core::Timestamp;
use order_core::api_key::{
    API_KEYS_MAX, ApiKey, ApiKeyAction, ApiKeyCommand, ApiKeyId, KeyHash, NewApiKey, Previous,
};
use order_core::command::{Command, Reply};
use order_core::error::Rejection;
use order_core::ids::TenantId;
use std::time::Duration;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

fn hash(byte: u8) -> KeyHash {
    KeyHash([byte; 32])
}

fn id(number: u64) -> ApiKeyId {
    ApiKeyId(number.to_be_bytes())
}

fn command(rig: &Rig, owner: &str, key_id: ApiKeyId, action: ApiKeyAction) -> Command {
    Command::ApiKey(Box::new(ApiKeyCommand { tenant: tenant(owner), key_id, now: rig.now(), action }))
}

async fn act(rig: &Rig, owner: &str, key_id: ApiKeyId, action: ApiKeyAction) -> Result<ApiKey, Rejection> {
    match rig.submit(command(rig, owner, key_id, action)).await? {
        Reply::ApiKey(key) => Ok(*key),
        other => panic!("a command about an API key was answered {other:?}"),
    }
}

fn create(key_hash: u8, expires_at: Option<Timestamp>) -> ApiKeyAction {
    let (name, scopes) = ("naïve ‘name’".to_owned(), "orders:read orders:write".to_owned());
    ApiKeyAction::Create(NewApiKey { name, scopes, by: "local".to_owned(), expires_at }, hash(key_hash))
}

async fn kept(rig: &Rig, key_id: ApiKeyId) -> Option<ApiKey> {
    rig.storage().api_key(key_id).await.expect("an API key can be read")
}

async fn list(rig: &Rig, owner: &str, before: Option<i64>, limit: u32) -> Vec<ApiKey> {
    rig.storage().api_keys(&tenant(owner), before, limit).await.expect("API keys can be read")
}

/// Everything that is said of a key is kept, over a restart too; its moments are those of the commands.
pub async fn an_api_key_is_kept_as_it_was_made(rig: Rig) {
    let expires_at = rig.now().plus(Duration::from_secs(3600));
    let made = act(&rig, "acme", id(1), create(1, Some(expires_at))).await.expect("it is made");
    assert_eq!((made.hash, made.previous, made.created_at), (hash(1), None, rig.now()));
    assert_eq!((made.name.as_str(), made.created_by.as_str()), ("naïve ‘name’", "local"));
    assert_eq!((made.expires_at, made.last_used_at, made.revoked_at), (Some(expires_at), None, None));
    let plain = act(&rig, "acme", id(u64::MAX), create(2, None)).await.expect("it is made");
    assert!(plain.number > made.number, "numbers rise");
    let rig = rig.reopen().await;
    assert_eq!(kept(&rig, id(1)).await, Some(made));
    assert_eq!(kept(&rig, id(u64::MAX)).await, Some(plain));
    assert_eq!(kept(&rig, id(3)).await, None);
}

/// The secret before the last rotation works until it is told to end; meanwhile there is no other rotation, unless it ends
/// the one before that.
pub async fn a_rotated_api_key_opens_with_both_secrets_for_a_while(rig: Rig) {
    act(&rig, "acme", id(1), create(1, None)).await.expect("it is made");
    let until = rig.now().plus(Duration::from_secs(60));
    let rotate = |key_hash, end_grace| {
        let hash = hash(key_hash);
        ApiKeyAction::Rotate { hash, previous_until: until, end_grace }
    };
    let rotated = act(&rig, "acme", id(1), rotate(2, false)).await.expect("it is rotated");
    assert_eq!(rotated.previous, Some(Previous { hash: hash(1), until }));
    assert_eq!((rotated.hash, rotated.rotated_at), (hash(2), Some(rig.now())));
    assert_eq!(kept(&rig, id(1)).await.as_ref(), Some(&rotated));
    let before = Timestamp::from_micros(until.micros() - 1);
    assert!(rotated.opens(&hash(1), before) && rotated.opens(&hash(2), before));
    assert!(!rotated.opens(&hash(1), until) && rotated.opens(&hash(2), until));
    let early = act(&rig, "acme", id(1), rotate(3, false)).await;
    assert_eq!(early, Err(Rejection::ApiKeyGrace { until }), "the first secret was promised more time");
    assert_eq!(kept(&rig, id(1)).await, Some(rotated));
    let again = act(&rig, "acme", id(1), rotate(3, true)).await.expect("it is rotated");
    assert!(!again.opens(&hash(1), before) && again.opens(&hash(2), before) && again.opens(&hash(3), before));
}

/// A revoked key opens nothing any more, and cannot be brought back.
pub async fn a_revoked_api_key_has_ended_for_ever(rig: Rig) {
    act(&rig, "acme", id(1), create(1, None)).await.expect("it is made");
    let revoked = act(&rig, "acme", id(1), ApiKeyAction::Revoke).await.expect("it is revoked");
    assert_eq!(revoked.revoked_at, Some(rig.now()));
    assert!(!revoked.opens(&hash(1), rig.now()));
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(act(&rig, "acme", id(1), ApiKeyAction::Revoke).await, Ok(revoked.clone()), "once is enough");
    let rotate = ApiKeyAction::Rotate { hash: hash(2), previous_until: rig.now(), end_grace: false };
    assert_eq!(act(&rig, "acme", id(1), rotate).await, Err(Rejection::ApiKeyEnded));
    assert_eq!(
        act(&rig, "acme", id(1), create(3, None)).await,
        Err(Rejection::ApiKeysTooMany),
        "its id is taken"
    );
    assert_eq!(kept(&rig, id(1)).await, Some(revoked));
}

/// From its moment on an expired key opens nothing and is not counted.
pub async fn an_expired_api_key_has_ended(rig: Rig) {
    let end = rig.now().plus(Duration::from_secs(10));
    let key = act(&rig, "acme", id(1), create(1, Some(end))).await.expect("it is made");
    assert_eq!(rig.storage().live_api_keys(rig.now()).await.expect("keys are counted"), 1);
    assert!(key.opens(&hash(1), Timestamp::from_micros(end.micros() - 1)) && !key.opens(&hash(1), end));
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(rig.storage().live_api_keys(rig.now()).await.expect("keys are counted"), 0);
    let rotate = ApiKeyAction::Rotate { hash: hash(2), previous_until: end, end_grace: false };
    assert_eq!(act(&rig, "acme", id(1), rotate).await, Err(Rejection::ApiKeyEnded));
}

/// Another tenant's key is not there: not to be changed, and in no list.
pub async fn another_tenants_api_key_is_unknown(rig: Rig) {
    let key = act(&rig, "acme", id(1), create(1, None)).await.expect("it is made");
    let rotate = ApiKeyAction::Rotate { hash: hash(2), previous_until: rig.now(), end_grace: false };
    for action in [rotate, ApiKeyAction::Revoke, ApiKeyAction::Touch] {
        let refused = act(&rig, "other", id(1), action.clone()).await;
        assert_eq!(refused, Err(Rejection::ApiKeyUnknown), "{action:?}");
        assert_eq!(act(&rig, "acme", id(9), action).await, Err(Rejection::ApiKeyUnknown));
    }
    assert!(act(&rig, "other", id(1), create(2, None)).await.is_err(), "nor can it be overwritten");
    assert_eq!(list(&rig, "other", None, 10).await, []);
    assert_eq!(kept(&rig, id(1)).await, Some(key), "and nothing of this changed it");
}

/// Lists go from the newest to the oldest, page by page.
pub async fn api_keys_are_listed_the_newest_first(rig: Rig) {
    let mut made = Vec::new();
    for number in 1..=5 {
        // Ids say nothing about the order.
        made.push(act(&rig, "acme", id(100 - number), create(1, None)).await.expect("it is made"));
        act(&rig, "other", id(200 + number), create(1, None)).await.expect("it is made");
    }
    made.reverse();
    assert_eq!(list(&rig, "acme", None, 10).await, made);
    assert_eq!(list(&rig, "acme", None, 2).await, made[..2]);
    assert_eq!(list(&rig, "acme", Some(made[1].number), 2).await, made[2..4]);
    assert_eq!(list(&rig, "acme", Some(made[4].number), 2).await, []);
}

/// When it was used last never goes back.
pub async fn a_touch_notes_the_latest_use(rig: Rig) {
    act(&rig, "acme", id(1), create(1, None)).await.expect("it is made");
    let later = rig.clock.advance(Duration::from_secs(60));
    let touched = act(&rig, "acme", id(1), ApiKeyAction::Touch).await.expect("it is touched");
    assert_eq!(touched.last_used_at, Some(later));
    rig.clock.set(Timestamp::from_micros(later.micros() - 5));
    let touched = act(&rig, "acme", id(1), ApiKeyAction::Touch).await.expect("it is touched");
    assert_eq!(touched.last_used_at, Some(later), "not by a clock that was set back either");
}

/// A tenant has room for so many live keys; ended ones take none, and another tenant has room of its own.
pub async fn a_tenant_has_room_for_so_many_api_keys(rig: Rig) {
    let batch: Vec<Command> =
        (0..API_KEYS_MAX).map(|number| command(&rig, "acme", id(number), create(1, None))).collect();
    let committed = rig.storage().commit(0, batch.into()).await.expect("a batch is committed");
    assert!(committed.replies.iter().all(Result::is_ok));
    let more = id(5_000);
    assert_eq!(act(&rig, "acme", more, create(1, None)).await, Err(Rejection::ApiKeysTooMany));
    assert_eq!(kept(&rig, more).await, None);
    act(&rig, "other", more, create(1, None)).await.expect("another tenant has room");
    act(&rig, "acme", id(7), ApiKeyAction::Revoke).await.expect("it is revoked");
    act(&rig, "acme", id(5_001), create(1, None)).await.expect("there is room again");
}
