//! Endpoints of webhooks: made, changed, disabled, deleted; and what was not delivered, sent again.

use super::Rig;
use super::webhooks::{Hooks, SECRET, told};
use crate::build;
use crate::receivers::{ScriptedReceiver, header};
use order_core::command::ChangeKind;
use order_core::command::{Command, Reply};
use order_core::error::{Error, Rejection};
use order_core::ids::TenantId;
use order_core::journal::Cursor;
use order_core::sealing::Secret;
use order_core::webhook::attempt::{AttemptOutcome, AttemptQuery, DeliveryId, StreamQuery};
use order_core::webhook::command::{SweepWebhooks, WebhookCommand, WebhookReply};
use order_core::webhook::endpoint::{DisabledFor, EndpointAction, EndpointChange, EndpointState};
use order_core::webhook::missed::MissedFrom;
use order_core::webhook::sending::{Answered, Sending};
use order_core::webhook::signing;
use order_core::webhook::{Endpoint, EndpointId, Listens};
use std::time::Duration;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn read(hooks: &Hooks, endpoint: &Endpoint) -> Option<Endpoint> {
    hooks.rig.storage().endpoint(&endpoint.tenant, endpoint.endpoint_id).await.expect("endpoints can be read")
}

pub(super) async fn change(
    hooks: &Hooks,
    endpoint: &Endpoint,
    action: EndpointAction,
) -> Result<Endpoint, Rejection> {
    match hooks.rig.app.change_endpoint(&endpoint.tenant, endpoint.endpoint_id, action).await {
        Ok(endpoint) => Ok(endpoint),
        Err(Error::Rejection(rejection)) => Err(rejection),
        Err(Error::Fault(fault)) => panic!("nothing is wrong with the storage, but {fault}"),
    }
}

fn versions(got: &[Sending]) -> Vec<u64> {
    got.iter().map(|one| told(one).1).collect()
}

pub(super) fn delivery(endpoint: &Endpoint, subject: Uuid, version: u64) -> DeliveryId {
    DeliveryId { endpoint_id: endpoint.endpoint_id, subject, version }
}

/// What is refused about an endpoint that is not proven, if it is.
fn lack<T: std::fmt::Debug>(asked: Result<T, Error>) -> Option<String> {
    match asked {
        Err(Error::Rejection(Rejection::EndpointUnproven(lack))) => Some(lack),
        Ok(_) => None,
        other => panic!("neither proven nor unproven: {other:?}"),
    }
}

/// Where that is asked for, an endpoint is sent nothing but a challenge until it has answered one, at no other address either.
pub async fn nobody_is_called_who_did_not_say_that_they_want_to_be(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let app = &hooks.rig.app;
    let receiver = std::sync::Arc::<ScriptedReceiver>::clone(&hooks.receiver);
    app.deliver_with(receiver);
    hooks.receiver.challenge();
    let made = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    assert_eq!((made.state, made.disabled_for), (EndpointState::Disabled, Some(DisabledFor::Unproven)));
    hooks.order("before", 1).await;
    assert_eq!(hooks.deliver().await, []);
    for action in [EndpointAction::Pause, EndpointAction::Enable] {
        let refused = change(&hooks, &made, action).await;
        assert!(matches!(refused, Err(Rejection::EndpointUnproven(_))), "{refused:?}");
    }
    let asked = change(&hooks, &made, EndpointAction::Disable(DisabledFor::Asked)).await.expect("it is");
    assert!(asked.is_unproven(), "it is no way around it");
    let (tenant, id) = (&made.tenant, made.endpoint_id);
    let tried = app.test_endpoint(tenant, id, hooks.receiver.as_ref()).await;
    assert_eq!((lack(tried).as_deref(), hooks.receiver.got()), (Some("was not asked yet"), vec![]));
    for (answer, expected) in [
        (ScriptedReceiver::answer(200), "answered 200 without the challenge"),
        (ScriptedReceiver::answer(404), "answered 404"),
        (
            Answered { why: Some("no connection".to_owned()), ..Answered::default() },
            "gave no answer: no connection",
        ),
    ] {
        hooks.receiver.next(answer);
        assert_eq!(lack(app.enable_endpoint(tenant, id).await).as_deref(), Some(expected));
    }
    assert!(read(&hooks, &made).await.is_some_and(|found| found.is_unproven()));
    let elsewhere =
        EndpointAction::Prove { url: "https://two.example/".to_owned(), start: Cursor::beginning(1, 16) };
    assert_eq!(change(&hooks, &made, elsewhere).await, Err(Rejection::EndpointChanged));
    hooks.receiver.got();
    hooks.order("just before", 1).await;
    let enabled = app.enable_endpoint(tenant, id).await.expect("it says the word");
    assert_eq!((enabled.state, enabled.disabled_for), (EndpointState::Active, None));
    let challenge = hooks.receiver.got().remove(0);
    let said = [header(&challenge, "webhook-id"), header(&challenge, "webhook-signature")];
    assert!(said.iter().all(Option::is_some), "it is signed as all that it is sent: {challenge:?}");
    // A proven one moves to where it is wanted alone.
    let to = |url: &str| EndpointChange { url: Some(url.to_owned()), ..EndpointChange::default() };
    hooks.receiver.next(ScriptedReceiver::answer(200));
    let refused = app.edit_endpoint(tenant, id, to("https://stranger.example/")).await;
    assert_eq!(lack(refused).as_deref(), Some("answered 200 without the challenge"));
    assert_eq!(read(&hooks, &made).await, Some(enabled));
    assert_eq!(hooks.receiver.got().remove(0).url, "https://stranger.example/");
    let moved = app.edit_endpoint(tenant, id, to("https://two.example/")).await.expect("it is moved");
    assert_eq!((moved.state, moved.url.as_str()), (EndpointState::Active, "https://two.example/"));
    hooks.receiver.got();
    // From then on as any other, without another challenge.
    change(&hooks, &made, EndpointAction::Pause).await.expect("it is paused");
    let after = hooks.order("after", 1).await;
    app.enable_endpoint(tenant, id).await.expect("it goes on");
    let got: Vec<_> = hooks.deliver().await.iter().map(told).collect();
    assert_eq!(got, [(after.id.to_string(), 1)], "what was before it was proven is not its own");
}

/// An endpoint is kept as it was made and changed.
pub async fn an_endpoint_is_kept_as_it_was_made_and_changed(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let made = hooks.endpoint("default", "https://one.example/é", &["order.parked", "sync.*"]).await;
    assert_eq!(read(&hooks, &made).await, Some(made.clone()));
    assert_eq!((made.number, made.state, made.rate), (1, EndpointState::Active, None));
    let other = hooks.endpoint("default", "https://two.example/", &["*"]).await;
    hooks.endpoint("other", "https://three.example/", &["*"]).await;
    hooks.rig.clock.tick();
    let changes = EndpointChange {
        url: Some("https://else.example/".to_owned()),
        listens: Listens::parse(["*"]).ok(),
        rate: Some(Some(7)),
    };
    let changed = change(&hooks, &made, EndpointAction::Change(changes)).await.expect("it is changed");
    let expected = Endpoint {
        url: "https://else.example/".to_owned(),
        listens: Listens::all(),
        rate: Some(7),
        updated_at: hooks.rig.now(),
        ..made.clone()
    };
    assert_eq!((&changed, read(&hooks, &made).await.as_ref()), (&expected, Some(&expected)));
    let nothing = EndpointChange { rate: Some(None), ..EndpointChange::default() };
    let unpaced = change(&hooks, &made, EndpointAction::Change(nothing)).await.expect("it is changed");
    assert_eq!((unpaced.rate, unpaced.url), (None, expected.url));
    let tenant = TenantId::default_tenant();
    let page = |before, limit| hooks.rig.storage().endpoints(&tenant, None, before, limit);
    let numbers = |page: Vec<Endpoint>| page.iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(numbers(page(None, 10).await.expect("a page")), [other.number, made.number]);
    assert_eq!(numbers(page(Some(other.number), 10).await.expect("a page")), [made.number]);
    assert_eq!(numbers(page(None, 1).await.expect("a page")), [other.number]);
    let of = hooks.rig.storage().endpoints(&tenant, Some("org-1"), None, 10).await.expect("a page");
    assert_eq!(of, [], "of no such organization");
}

/// Another tenants endpoint is unknown.
pub async fn another_tenants_endpoint_is_unknown(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let theirs = hooks.endpoint("other", "https://theirs.example/", &["*"]).await;
    hooks.rig.new_order(build::intake("theirs").tenant("other")).await;
    hooks.fan_out().await;
    let foreign = Endpoint { tenant: TenantId::default_tenant(), ..theirs.clone() };
    assert_eq!(read(&hooks, &foreign).await, None);
    for action in [EndpointAction::Pause, EndpointAction::Delete, EndpointAction::Enable] {
        assert_eq!(change(&hooks, &foreign, action).await, Err(Rejection::EndpointUnknown));
    }
    let tenant = TenantId::default_tenant();
    let unknown = Endpoint { endpoint_id: EndpointId(Uuid::from_u128(7)), ..theirs.clone() };
    assert_eq!(change(&hooks, &unknown, EndpointAction::Pause).await, Err(Rejection::EndpointUnknown));
    let streams = StreamQuery {
        tenant: tenant.clone(),
        endpoint: Some(theirs.number),
        subject: None,
        after: None,
        limit: 10,
    };
    assert_eq!(hooks.rig.storage().streams(&streams).await.expect("a page"), []);
    assert_eq!(hooks.deliver().await.len(), 1);
    assert_eq!(hooks.attempts(&theirs).await.len(), 1);
    assert_eq!(hooks.attempts(&foreign).await, []);
    let resent = hooks.rig.app.resend(&tenant, delivery(&theirs, Uuid::nil(), 1)).await;
    assert!(matches!(resent, Err(Error::Rejection(Rejection::EndpointUnknown))), "{resent:?}");
}

/// A secret is rotated and both sign for a day.
pub async fn a_secret_is_rotated_and_both_sign_for_a_day(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let order = hooks.order("a", 1).await;
    let signed_with = |sending: &Sending, secrets: &[&Secret]| {
        let (id, at) = (header(sending, "webhook-id"), header(sending, "webhook-timestamp"));
        let at: i64 = at.and_then(|at| at.parse().ok()).expect("seconds");
        let expected: Vec<String> = secrets
            .iter()
            .map(|secret| signing::standard(secret, id.expect("an id"), at, &sending.body))
            .collect();
        assert_eq!(header(sending, "webhook-signature"), Some(expected.join(" ").as_str()));
    };
    let first = Secret::new(SECRET.as_bytes().to_vec());
    signed_with(&hooks.deliver().await[0], &[&first]);
    let rotated =
        hooks.rig.app.rotate_endpoint_secret(&endpoint.tenant, endpoint.endpoint_id, DAY, false).await;
    let (now, second) = rotated.expect("it is rotated");
    assert_eq!(now.previous.map(|previous| previous.until), Some(hooks.rig.now().plus(DAY)));
    assert!(second.text().is_some_and(|text| text.starts_with("whsec_") && text.len() == 50));
    hooks.one_more(&order, 1).await;
    signed_with(&hooks.deliver().await[0], &[&second, &first]);
    hooks.rig.clock.advance(DAY);
    hooks.one_more(&order, 2).await;
    signed_with(&hooks.deliver().await[0], &[&second]);
    let rotate =
        |grace, end| hooks.rig.app.rotate_endpoint_secret(&endpoint.tenant, endpoint.endpoint_id, grace, end);
    let (now, third) = rotate(Duration::ZERO, false).await.expect("it is rotated");
    assert_eq!(now.previous, None, "without grace the one before ends at once");
    hooks.one_more(&order, 3).await;
    signed_with(&hooks.deliver().await[0], &[&third]);
    // While one before counts, another would end it before its time.
    let (_, fourth) = rotate(DAY, false).await.expect("it is rotated");
    let until = hooks.rig.now().plus(DAY);
    hooks.rig.clock.advance(Duration::from_secs(1));
    let refused = rotate(DAY, false).await;
    let grace = Rejection::EndpointGrace { until };
    assert!(matches!(refused, Err(Error::Rejection(refused)) if refused == grace), "until {until}");
    hooks.one_more(&order, 4).await;
    signed_with(&hooks.deliver().await[0], &[&fourth, &third]);
    let (_, fifth) = rotate(DAY, true).await.expect("it was said that the one before ends");
    hooks.one_more(&order, 5).await;
    signed_with(&hooks.deliver().await[0], &[&fifth, &fourth]);
}

/// A receiver that is gone is disabled at once and it is told.
pub async fn a_receiver_that_is_gone_is_disabled_at_once_and_it_is_told(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://gone.example/", &["*"]).await;
    let order = hooks.order("a", 2).await;
    hooks.fan_out().await;
    hooks.receiver.next(ScriptedReceiver::answer(410));
    assert_eq!(versions(&hooks.turn().await), [1]);
    let gone = read(&hooks, &endpoint).await.expect("it is there");
    assert_eq!((gone.state, gone.disabled_for), (EndpointState::Disabled, Some(DisabledFor::Gone)));
    let actions = hooks.rig.storage().actions(&endpoint.tenant, None, 10).await.expect("the log");
    assert_eq!((actions[0].kind.as_str(), actions[0].by.as_str()), ("endpoint.disabled", "courier"));
    assert_eq!(actions[0].subject, endpoint.endpoint_id.to_string());
    assert_ne!(actions[0].before, actions[0].after);
    // Nothing more is sent, and what comes now is not kept for it.
    hooks.rig.clock.advance(DAY);
    let missed = hooks.order("b", 1).await;
    assert_eq!(hooks.deliver().await, []);
    change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it is enabled");
    assert_eq!(versions(&hooks.deliver().await), [1, 2], "what was open goes on, in order");
    let streams = hooks.streams().await;
    assert!(streams.iter().all(|one| one.subject.order_id() != Some(missed.id)), "{streams:?}");
    assert_eq!(hooks.rig.order(order.id).await.version, 2);
}

/// An endpoint that takes nothing for five days is disabled.
pub async fn an_endpoint_that_takes_nothing_for_five_days_is_disabled(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let bad = hooks.endpoint("default", "https://bad.example/", &["*"]).await;
    let good = hooks.endpoint("default", "https://good.example/", &["*"]).await;
    hooks.receiver.fail("https://bad.example/");
    let began = hooks.rig.now();
    let mut days = 0;
    while read(&hooks, &bad).await.is_some_and(|one| one.state == EndpointState::Active) {
        assert!(days < 10, "it is never disabled");
        hooks.order(&format!("day-{days}"), 1).await;
        hooks.deliver().await;
        let found = read(&hooks, &bad).await.expect("it is there");
        assert_eq!(found.failing_since, Some(began), "since the first failure");
        hooks.rig.clock.advance(DAY);
        days += 1;
    }
    assert_eq!(days, 6, "at the first failure after five whole days");
    let found = read(&hooks, &bad).await.expect("it is there");
    assert_eq!((found.state, found.disabled_for), (EndpointState::Disabled, Some(DisabledFor::Failing)));
    assert_eq!(read(&hooks, &good).await.expect("it is there").failing_since, None);
    let enabled = change(&hooks, &bad, EndpointAction::Enable).await.expect("it is enabled");
    assert_eq!((enabled.state, enabled.failing_since), (EndpointState::Active, None));
    // Who saw it fail before says so too late.
    let late = change(&hooks, &bad, EndpointAction::Disable(DisabledFor::Failing)).await;
    assert_eq!(late, Err(Rejection::EndpointChanged));
}

/// A paused endpoint gets everything later.
pub async fn a_paused_endpoint_gets_everything_later(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    change(&hooks, &endpoint, EndpointAction::Pause).await.expect("it is paused");
    hooks.order("a", 2).await;
    hooks.order("b", 1).await;
    assert_eq!(hooks.deliver().await, []);
    change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it goes on");
    assert_eq!(hooks.deliver().await.len(), 3);
}

/// What was sent can be sent again.
pub async fn what_was_sent_can_be_sent_again(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["order.accepted"]).await;
    let order = hooks.order("a", 3).await;
    assert_eq!(versions(&hooks.deliver().await), [1]);
    let resend = |version| hooks.rig.app.resend(&endpoint.tenant, delivery(&endpoint, order.id.0, version));
    assert!(resend(1).await.expect("it is there"));
    assert!(!resend(1).await.expect("it is there"), "it is on its way already");
    assert!(resend(3).await.expect("it is there"), "one that it does not listen to, too");
    for unknown in [resend(4).await, resend(0).await] {
        assert!(matches!(unknown, Err(Error::Rejection(Rejection::DeliveryUnknown))), "{unknown:?}");
    }
    let again = hooks.deliver().await;
    assert_eq!(versions(&again), [1, 3], "in order, one by one");
    assert_eq!(hooks.streams().await, []);
    assert_eq!(hooks.attempts(&endpoint).await.len(), 3);
    // What is waiting for its time is tried at once, with a fresh budget, and once.
    hooks.receiver.next(ScriptedReceiver::answer(500));
    let other = hooks.order("b", 1).await;
    assert_eq!(hooks.deliver().await.len(), 1);
    let delivery = delivery(&endpoint, other.id.0, 1);
    assert!(!hooks.rig.app.resend(&endpoint.tenant, delivery).await.expect("it is there"));
    assert_eq!(versions(&hooks.deliver().await), [1]);
}

/// What was given up is recovered.
pub async fn what_was_given_up_is_recovered(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let dialect = order_core::webhook::endpoint::Dialect::Marketplace;
    let endpoint = hooks.endpoint_in("default", "https://one.example/", &["*"], dialect, None).await;
    let give_up = async || {
        for _ in 0..3 {
            hooks.receiver.always(503);
            hooks.deliver().await;
            hooks.rig.clock.advance(Duration::from_secs(301));
        }
        hooks.receiver.always(200);
    };
    hooks.order("early", 1).await;
    give_up().await;
    hooks.rig.clock.advance(DAY);
    let since = hooks.rig.now();
    let order = hooks.order("a", 2).await;
    hooks.order("b", 1).await;
    give_up().await;
    give_up().await;
    assert_eq!(hooks.deliver().await, []);
    let recover = |since, dry_run| hooks.rig.app.recover(&endpoint, since, dry_run);
    let failed = hooks.attempts(&endpoint).await;
    assert_eq!(failed.iter().filter(|one| one.outcome == AttemptOutcome::Failed).count(), 4);
    assert_eq!(recover(since, true).await.expect("a count").count, 3);
    assert_eq!(recover(hooks.rig.now(), true).await.expect("a count").count, 0);
    assert_eq!(hooks.deliver().await, [], "counting sends nothing");
    // One of them was sent by hand meanwhile.
    let by_hand = hooks.rig.app.resend(&endpoint.tenant, delivery(&endpoint, order.id.0, 2)).await;
    assert!(by_hand.expect("it is there"));
    assert_eq!(hooks.deliver().await.len(), 1);
    assert_eq!(recover(since, false).await.expect("a count").count, 2);
    for dry_run in [true, false] {
        assert_eq!(recover(since, dry_run).await.expect("a count").count, 0, "they are on their way");
    }
    let got = hooks.deliver().await;
    assert_eq!(got.len(), 2);
    let of_order: Vec<u64> = hooks
        .attempts(&endpoint)
        .await
        .iter()
        .filter(|one| one.subject.id == order.id.0)
        .take(1)
        .map(|one| one.version)
        .collect();
    assert_eq!(of_order, [1]);
    assert_eq!(recover(since, true).await.expect("a count").count, 0, "they were made");
}

/// What was missed is made up for.
pub async fn what_was_missed_is_made_up_for(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["order.*"]).await;
    let from = Cursor::at_heads(
        hooks.rig.storage().install().epoch,
        &hooks.rig.storage().heads().await.expect("heads"),
    );
    hooks.order("sent", 2).await;
    assert_eq!(hooks.deliver().await.len(), 2);
    change(&hooks, &endpoint, EndpointAction::Disable(DisabledFor::Asked)).await.expect("it is disabled");
    hooks.order("missed", 2).await;
    hooks.rig.new_order(build::intake("foreign").tenant("other")).await;
    assert_eq!(hooks.deliver().await, []);
    let endpoint = change(&hooks, &endpoint, EndpointAction::Enable).await.expect("it is enabled");
    hooks.order("open", 1).await;
    hooks.fan_out().await;
    let from = MissedFrom::new(hooks.rig.now(), from);
    let look = |dry_run| hooks.rig.app.replay_missing(&endpoint, from.clone(), dry_run);
    let found = look(true).await.expect("it is looked for");
    assert_eq!((found.missing, found.next), (2, None));
    assert_eq!(look(false).await.expect("it is looked for").missing, 2);
    assert_eq!(look(true).await.expect("it is looked for").missing, 0, "they are to come");
    assert_eq!(hooks.deliver().await.len(), 3);
    assert_eq!(look(true).await.expect("it is looked for").missing, 0);
}

/// An erasure blanks what receivers answered.
pub async fn an_erasure_blanks_what_receivers_answered(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["order.accepted"]).await;
    let (erased, kept) = (hooks.order("a", 1).await, hooks.order("b", 1).await);
    hooks.deliver().await;
    hooks.rig.changed(erased.id, ChangeKind::Erase).await;
    for attempt in hooks.attempts(&endpoint).await {
        let is_kept = attempt.subject.order_id() == Some(kept.id);
        assert_eq!(attempt.answer.is_empty(), !is_kept, "{attempt:?}");
    }
    // What is sent of it from now on says nothing of the person either.
    let again = hooks.rig.app.resend(&endpoint.tenant, delivery(&endpoint, erased.id.0, 1)).await;
    assert!(again.expect("it is there"));
    let sent = hooks.deliver().await.remove(0);
    let events = hooks.rig.events(erased.id).await;
    assert_eq!(String::from_utf8(sent.body).expect("text"), events[0].to_json());
}

/// What belongs to a deleted endpoint goes.
pub async fn what_belongs_to_a_deleted_endpoint_goes(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let stays = hooks.endpoint("default", "https://two.example/", &["order.accepted"]).await;
    hooks.order("a", 2).await;
    hooks.fan_out().await;
    assert_eq!(hooks.turn().await.len(), 2);
    let deleted = change(&hooks, &endpoint, EndpointAction::Delete).await.expect("it is deleted");
    assert_eq!((deleted.secret, deleted.previous), (None, None));
    assert_eq!(read(&hooks, &endpoint).await, None);
    let again = change(&hooks, &endpoint, EndpointAction::Enable).await;
    assert_eq!(again, Err(Rejection::EndpointUnknown));
    assert_eq!(hooks.streams().await, []);
    assert_eq!(hooks.deliver().await, []);
    let sweep = async |before, limit| {
        let command = WebhookCommand::Sweep(SweepWebhooks { before, limit });
        match hooks.rig.submit(Command::Webhook(Box::new(command))).await {
            Ok(Reply::Webhook(reply)) => match *reply {
                WebhookReply::Swept(count) => count,
                other => panic!("a sweep was answered {other:?}"),
            },
            other => panic!("a sweep was answered {other:?}"),
        }
    };
    let made = hooks.rig.now();
    assert_eq!(sweep(made, 100).await, 3, "a stream, a try and the endpoint");
    assert_eq!((sweep(made, 100).await, hooks.attempts(&stays).await.len()), (0, 1));
    hooks.rig.clock.tick();
    assert_eq!(
        (sweep(hooks.rig.now(), 100).await, hooks.attempts(&stays).await.len()),
        (1, 0),
        "old tries go"
    );
    let next = hooks.endpoint("default", "https://three.example/", &["*"]).await;
    assert!(next.number > stays.number);
}

/// The backlog tells what waits for receivers.
pub async fn the_backlog_tells_what_waits_for_receivers(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let one = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let paused = hooks.endpoint("default", "https://two.example/", &["*"]).await;
    hooks.endpoint("other", "https://three.example/", &["*"]).await;
    change(&hooks, &paused, EndpointAction::Pause).await.expect("it is paused");
    hooks.order("a", 1).await;
    hooks.order("b", 1).await;
    hooks.fan_out().await;
    let began = hooks.rig.now();
    hooks.rig.clock.advance(Duration::from_secs(9));
    assert_eq!(hooks.claim(1).await.streams.len(), 1);
    let backlog = hooks.rig.storage().webhook_backlog(hooks.rig.now()).await.expect("a backlog");
    assert_eq!((backlog.due, backlog.due_since, backlog.leased), (1, Some(began), 1));
    assert_eq!((backlog.endpoints, backlog.failing), ([2, 1, 0], 0));
    hooks.receiver.fail("https://one.example/");
    hooks.turn().await;
    let backlog = hooks.rig.storage().webhook_backlog(hooks.rig.now()).await.expect("a backlog");
    assert_eq!((backlog.due, backlog.due_since, backlog.failing), (0, None, 1));
    let outcomes = vec![AttemptOutcome::Failed, AttemptOutcome::Delivered];
    let query = AttemptQuery {
        tenant: one.tenant.clone(),
        endpoint: None,
        subject: None,
        version: None,
        outcomes,
        before: None,
        limit: 10,
    };
    assert_eq!(hooks.rig.storage().attempts(&query).await.expect("a page"), [], "neither made nor given up");
}
