//! The action log: committed with the deed, chained, and each tenant's own.

use super::Rig;
use crate::build;
use order_core::action_log::chain::{Link, follow};
use order_core::action_log::{Action, ActionKind, Actor, NewAction, Recorded, within};
use order_core::api_key::{ApiKeyAction, ApiKeyCommand, ApiKeyId, KeyHash, NewApiKey};
use order_core::change::Target;
use order_core::command::{ChangeKind, Command, FollowerAction, FollowerCommand, Reply};
use order_core::error::{Error, Rejection};
use order_core::ids::TenantId;
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

fn actor(tenant: &str) -> Arc<Actor> {
    Arc::new(Actor {
        tenant: TenantId::new(tenant).expect("a tenant"),
        by: "key:0123456789abcdef".into(),
        address: Some([127, 0, 0, 1].into()),
        request_id: Some("r-1".to_owned()),
    })
}

fn revoke(rig: &Rig, tenant: &str, key: u64) -> Command {
    let (tenant, key_id) = (TenantId::new(tenant).expect("a tenant"), ApiKeyId(key.to_be_bytes()));
    Command::ApiKey(Box::new(ApiKeyCommand { tenant, key_id, now: rig.now(), action: ApiKeyAction::Revoke }))
}

fn create(rig: &Rig, tenant: &str, key: u64) -> Command {
    let new = NewApiKey { name: "n".into(), scopes: "orders:read".into(), by: "b".into(), expires_at: None };
    let (tenant, key_id) = (TenantId::new(tenant).expect("a tenant"), ApiKeyId(key.to_be_bytes()));
    let action = ApiKeyAction::Create(new, KeyHash([1; 32]));
    Command::ApiKey(Box::new(ApiKeyCommand { tenant, key_id, now: rig.now(), action }))
}

fn recorded(rig: &Rig, tenant: &str, kind: ActionKind, command: Option<Command>) -> Command {
    let (subject, details) = ("a subject".to_owned(), r#"{"a":1}"#.to_owned());
    let action = NewAction { actor: actor(tenant), kind, subject, details, now: rig.now() };
    Command::Recorded(Box::new(Recorded { action, command }))
}

async fn rows(rig: &Rig) -> Vec<Action> {
    rig.storage().action_rows(0, 10_000).await.expect("the action log can be read")
}

async fn sound(rig: &Rig) -> Link {
    let followed = follow(rig.storage(), &[]).await.expect("the action log can be read");
    assert_eq!(followed.broken, None);
    followed.end
}

/// A row says who did what, from where, in which history, and what that changed; over a restart too.
pub async fn a_deed_and_its_row_are_committed_together(rig: Rig) {
    assert_eq!(sound(&rig).await, Link::first(rig.storage().install().installation_id));
    let made = recorded(&rig, "acme", ActionKind::KeyCreated, Some(create(&rig, "acme", 1)));
    assert!(matches!(rig.submit(made).await, Ok(Reply::ApiKey(_))), "it is answered as its command is");
    let revoked = recorded(&rig, "acme", ActionKind::KeyRevoked, Some(revoke(&rig, "acme", 1)));
    rig.submit(revoked).await.expect("it is revoked");
    let rig = rig.reopen().await;
    let rows = rows(&rig).await;
    assert_eq!(rows.len(), 2);
    let row = &rows[1];
    assert_eq!((row.number, row.epoch), (2, rig.storage().install().epoch));
    assert_eq!((row.tenant.as_str(), row.by.as_str()), ("acme", "key:0123456789abcdef"));
    assert_eq!((row.address.as_deref(), row.request_id.as_deref()), (Some("127.0.0.1"), Some("r-1")));
    assert_eq!((row.kind.as_str(), row.subject.as_str()), ("key.revoked", "a subject"));
    assert_eq!((row.details.as_str(), row.at), (r#"{"a":1}"#, rig.now()));
    assert_eq!((rows[0].before, rows[0].after.is_some()), (None, true), "there was no key before");
    assert_eq!(row.before, rows[0].after);
    assert!(row.after.is_some_and(|after| Some(after) != row.before));
    assert_eq!(sound(&rig).await, Link { number: 2, hash: row.hash });
}

/// What is rejected, and what changes nothing, leaves no row; its neighbours in the batch do.
pub async fn a_deed_that_is_rejected_or_changes_nothing_leaves_no_row(rig: Rig) {
    let unknown = recorded(&rig, "acme", ActionKind::KeyRevoked, Some(revoke(&rig, "acme", 9)));
    let foreign = recorded(&rig, "acme", ActionKind::BackupStarted, None);
    let (first, second) = tokio::join!(rig.submit(unknown), rig.submit(foreign));
    assert_eq!(first, Err(Rejection::ApiKeyUnknown));
    assert_eq!(second, Ok(Reply::Done));
    assert_eq!(rows(&rig).await.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["backup.started"]);
    let order = rig.new_order(build::intake("A-1")).await;
    let target =
        || Target { tenant: order.tenant.clone(), source: None, order_id: order.id, expected_version: None };
    let withdraw = || ChangeKind::Withdraw { reason: "r".into(), by: "b".into(), requeue: false };
    for _ in 0..2 {
        within(Some(actor("acme")), rig.app.change(target(), withdraw())).await.expect("it is withdrawn");
    }
    let kinds: Vec<String> = rows(&rig).await.into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["backup.started", "order.withdrawn"], "the second one changed nothing");
    sound(&rig).await;
}

/// Whoever acts leaves a row, whichever use case it is; whoever acts for nobody leaves none, nor does taking orders in.
pub async fn what_people_and_keys_do_is_recorded_and_nothing_else(rig: Rig) {
    let app = Arc::clone(&rig.app);
    let order = rig.new_order(build::intake("A-1")).await;
    app.ensure_follower("f", "test", false).await.expect("a follower");
    app.follower("f", FollowerAction::Pause).await.expect("nobody paused it");
    let acting = async {
        app.ensure_follower("g", "test", false).await?;
        app.accept(build::intake("A-2").build()).await?;
        app.follower("f", FollowerAction::Resume).await?;
        let target =
            Target { tenant: order.tenant, source: None, order_id: order.id, expected_version: None };
        let withdraw = ChangeKind::Withdraw { reason: "secret".into(), by: "b".into(), requeue: false };
        app.change(target, withdraw).await?;
        app.record(ActionKind::BackupStarted, "b", &json!({})).await?;
        Ok::<_, Error>(())
    };
    within(Some(actor("acme")), acting).await.expect("all of it is allowed");
    let rows = rows(&rig).await;
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(kinds, ["follower.resumed", "order.withdrawn", "backup.started"]);
    assert!(!format!("{rows:?}").contains("secret"), "what people say is not in it");
    assert!(rows[0].before.is_some() && rows[0].before != rows[0].after);
}

/// A tenant's rows are listed the newest first, page by page, beside those of others.
pub async fn each_tenant_has_its_own_rows(rig: Rig) {
    for number in 0..7_u64 {
        let tenant = if number % 2 == 0 { "acme" } else { "other" };
        let command = create(&rig, tenant, number);
        rig.submit(recorded(&rig, tenant, ActionKind::KeyCreated, Some(command))).await.expect("it is made");
    }
    let acme = TenantId::new("acme").expect("a tenant");
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = rig.storage().actions(&acme, before, 3).await.expect("the action log can be read");
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        assert!(page.iter().all(|row| row.tenant == acme));
        seen.extend(page.iter().map(|row| row.number));
    }
    assert_eq!(seen, [7, 5, 3, 1]);
    assert_eq!(sound(&rig).await.number, 7);
}

/// The chain is one, however many act at once.
pub async fn the_chain_is_one_however_many_act_at_once(rig: Rig) {
    let follower = |action| Command::Follower(FollowerCommand { name: "f".into(), now: rig.now(), action });
    let ensure = FollowerAction::Ensure { sink: "test".into(), from_now: false };
    rig.submit(follower(ensure)).await.expect("a follower");
    let mut acts = JoinSet::new();
    for act in 0..200 {
        let (kind, action) = match act % 2 {
            0 => (ActionKind::FollowerPaused, FollowerAction::Pause),
            _ => (ActionKind::FollowerResumed, FollowerAction::Resume),
        };
        let command = recorded(&rig, "acme", kind, Some(follower(action)));
        let app = Arc::clone(&rig.app);
        acts.spawn(async move { app.lanes.submit(command).await });
    }
    for done in acts.join_all().await {
        done.expect("it is done");
    }
    assert_eq!(sound(&rig).await.number, 200);
}
