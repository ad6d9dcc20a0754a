//! Webhooks: who listens is told of every event in order, whatever receivers do.

use super::Rig;
use crate::build;
use crate::receivers::{ScriptedReceiver, header};
use order_core::clock::Timestamp;
use order_core::command::{ChangeKind, Command, Reply};
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ids::{LeaseToken, TenantId};
use order_core::order::Order;
use order_core::sealing::{Keyring, Secret};
use order_core::webhook::attempt::{Attempt, AttemptOutcome, AttemptQuery, StreamQuery};
use order_core::webhook::command::{
    ClaimStreams, Settle, SettleAs, SettleStreams, StreamsClaimed, StreamsSettled, WebhookCommand,
    WebhookReply,
};
use order_core::webhook::courier::{Courier, CourierPolicy};
use order_core::webhook::endpoint::Dialect;
use order_core::webhook::fan_out::FanOut;
use order_core::webhook::manage::{AskedEndpoint, AskedSecret};
use order_core::webhook::sending::{Answered, Sending};
use order_core::webhook::stream::{Head, Stream};
use order_core::webhook::{Endpoint, FOLLOWER, Listens};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The secret of endpoints here.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What webhooks need besides a storage.
pub struct Hooks {
    /// The storage and its lanes.
    pub rig: Rig,
    /// All receivers.
    pub receiver: Arc<ScriptedReceiver>,
    courier: Courier,
    follower: Follower,
}

impl Hooks {
    /// With a key for secrets, and receivers that take everything.
    pub async fn new(rig: Rig) -> Self {
        let key = Keyring::fresh_key(rig.ids.as_ref());
        rig.app.hold_keys(Arc::new(Keyring::parse(&key).expect("a key")));
        rig.app.ensure_follower(FOLLOWER, "webhooks", true).await.expect("a follower");
        let receiver = ScriptedReceiver::new();
        // Endpoints are new here, and many are sent to at once all the same.
        let policy = CourierPolicy { unproven_in_flight_max: 16, ..CourierPolicy::default() };
        let courier = Courier::new(Arc::clone(&rig.app), Arc::<ScriptedReceiver>::clone(&receiver), policy);
        let sink = Arc::new(FanOut::new(Arc::clone(&rig.app)));
        let follower = Follower::new(Arc::clone(&rig.app), FOLLOWER, sink, FollowerPolicy::default());
        Self { rig, receiver, courier, follower }
    }

    /// An endpoint of `tenant` that listens to these.
    pub async fn endpoint(&self, tenant: &str, url: &str, listens: &[&str]) -> Endpoint {
        self.endpoint_in(tenant, url, listens, Dialect::V1, None).await
    }

    /// The same, in a dialect and with a rate.
    pub async fn endpoint_in(
        &self,
        tenant: &str,
        url: &str,
        listens: &[&str],
        dialect: Dialect,
        rate: Option<u32>,
    ) -> Endpoint {
        let asked = AskedEndpoint {
            url: url.to_owned(),
            listens: Listens::parse(listens.iter().copied()).expect("types of events"),
            dialect,
            organization: None,
            rate,
            secret: AskedSecret::Given(Secret::new(SECRET.as_bytes().to_vec())),
        };
        let tenant = TenantId::new(tenant).expect("a tenant");
        self.rig.app.create_endpoint(&tenant, asked).await.expect("an endpoint is made").0
    }

    /// Raises streams for all that has happened.
    pub async fn fan_out(&self) {
        while self.follower.step().await.expect("fan-out works") != Progress::UpToDate {}
    }

    /// One turn of the courier: what is due now is sent once.
    pub async fn turn(&self) -> Vec<Sending> {
        self.courier.step().await.expect("the courier works");
        self.receiver.got()
    }

    /// Fans out, and sends until nothing is due any more.
    pub async fn deliver(&self) -> Vec<Sending> {
        self.fan_out().await;
        let mut got = Vec::new();
        while self.courier.step().await.expect("the courier works").0 > 0 {
            got.extend(self.receiver.got());
        }
        got
    }

    /// Claims streams as another node does.
    pub async fn claim(&self, room: usize) -> StreamsClaimed {
        self.claim_as(room, |_| {}).await
    }

    /// The same, by other rules.
    pub async fn claim_as(&self, room: usize, rules: impl FnOnce(&mut ClaimStreams)) -> StreamsClaimed {
        let mut claim = ClaimStreams {
            token: self.rig.token(),
            room,
            pool: 1_000,
            held: BTreeMap::new(),
            turn: 0,
            in_flight_max: 16,
            unproven_max: 16,
            now: self.rig.now(),
            lease: Duration::from_secs(30),
        };
        rules(&mut claim);
        match self.submit(WebhookCommand::Claim(claim)).await {
            WebhookReply::Claimed(claimed) => claimed,
            other => panic!("a claim was answered {other:?}"),
        }
    }

    /// Settles what was claimed as another node does.
    pub async fn settle(&self, settles: Vec<Settle>) -> StreamsSettled {
        let now = self.rig.now();
        match self.submit(WebhookCommand::Settle(SettleStreams { settles, now })).await {
            WebhookReply::Settled(settled) => settled,
            other => panic!("a settle was answered {other:?}"),
        }
    }

    async fn submit(&self, command: WebhookCommand) -> WebhookReply {
        match self.rig.submit(Command::Webhook(Box::new(command))).await {
            Ok(Reply::Webhook(reply)) => *reply,
            other => panic!("a command about webhooks was answered {other:?}"),
        }
    }

    /// The open streams of the tenant `default`.
    pub async fn streams(&self) -> Vec<Stream> {
        let tenant = TenantId::default_tenant();
        let query = StreamQuery { tenant, endpoint: None, subject: None, after: None, limit: 1_000 };
        self.rig.storage().streams(&query).await.expect("streams can be read")
    }

    /// What became of tries of the tenant `default`, the newest first.
    pub async fn attempts(&self, endpoint: &Endpoint) -> Vec<Attempt> {
        let query = AttemptQuery {
            tenant: endpoint.tenant.clone(),
            endpoint: Some(endpoint.number),
            subject: None,
            version: None,
            outcomes: AttemptOutcome::ALL.to_vec(),
            before: None,
            limit: 1_000,
        };
        self.rig.storage().attempts(&query).await.expect("attempts can be read")
    }

    /// A new order of the tenant `default` with so many events: it ships, and is revised.
    pub async fn order(&self, reference: &str, events: usize) -> Order {
        let order = self.rig.new_order(build::intake(reference)).await;
        for event in 1..events {
            self.rig.clock.tick();
            self.one_more(&order, event).await;
        }
        order
    }

    /// One more event of an order.
    pub async fn one_more(&self, order: &Order, mark: usize) {
        let mut content = self.rig.order(order.id).await.content;
        content.customer = Some(format!("c-{mark}"));
        let kind = ChangeKind::Revise { content: Box::new(content), requeue: false };
        self.rig.changed(order.id, kind).await;
    }
}

/// The settle of a claimed stream whose head was sent.
pub fn settle(stream: &Stream, token: LeaseToken, version: u64, how: SettleAs) -> Settle {
    let (endpoint, subject) = (stream.endpoint, stream.subject);
    let head = stream.head().expect("it is claimed");
    Settle { endpoint, subject, token, head, version, how, attempt: None }
}

/// Order and version of what was sent.
pub fn told(sending: &Sending) -> (String, u64) {
    let body: serde_json::Value = serde_json::from_slice(&sending.body).expect("JSON");
    let version = body["version"].as_u64().expect("a version");
    (body["order_id"].as_str().expect("an order").to_owned(), version)
}

/// Versions by order, in the order in which they came.
fn by_order(got: &[Sending]) -> BTreeMap<String, Vec<u64>> {
    let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for sending in got {
        let (order, version) = told(sending);
        orders.entry(order).or_default().push(version);
    }
    orders
}

/// Events reach those who listen in order and once.
pub async fn events_reach_those_who_listen_in_order_and_once(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let all = hooks.endpoint("default", "https://all.example/", &["*"]).await;
    let some = hooks.endpoint("default", "https://some.example/", &["order.revised"]).await;
    hooks.endpoint("other", "https://other.example/", &["*"]).await;
    hooks.endpoint("default", "https://sync.example/", &["sync.*"]).await;
    let (one, two) = (hooks.order("one", 4).await, hooks.order("two", 2).await);
    let got = hooks.deliver().await;
    let of = |url: &str| -> Vec<Sending> { got.iter().filter(|one| one.url == url).cloned().collect() };
    let expected = |from: u64| {
        let versions = |last: u64| (from..=last).collect::<Vec<u64>>();
        BTreeMap::from([(one.id.to_string(), versions(4)), (two.id.to_string(), versions(2))])
    };
    assert_eq!(by_order(&of("https://all.example/")), expected(1));
    assert_eq!(by_order(&of("https://some.example/")), expected(2), "those that it listens to");
    assert_eq!(got.len(), 6 + 4, "nobody else hears of them");
    assert_eq!(hooks.streams().await, [], "what is sent leaves no stream");
    for (endpoint, count) in [(&all, 6), (&some, 4)] {
        let attempts = hooks.attempts(endpoint).await;
        assert_eq!(attempts.len(), count);
        assert!(attempts.iter().all(|one| one.outcome == AttemptOutcome::Delivered && one.attempt == 1));
    }
    let events = hooks.rig.events(one.id).await;
    let first = of("https://all.example/").into_iter().find(|sent| told(sent).0 == one.id.to_string());
    let first = first.expect("it was sent");
    assert_eq!(
        String::from_utf8(first.body.clone()).expect("text"),
        events[0].to_json(),
        "as the feed shows it"
    );
    assert_eq!(header(&first, "webhook-id"), Some(events[0].event_id.to_string().as_str()));
    assert!(header(&first, "webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    // The same events come again when a node dies before its cursor moves: what was sent is sent once more, no more.
    let cursor = order_core::journal::Cursor::beginning(
        hooks.rig.storage().install().epoch,
        hooks.rig.storage().install().shards,
    );
    let replay = order_core::command::FollowerAction::Replay(cursor);
    hooks.rig.app.follower(FOLLOWER, replay).await.expect("a replay");
    assert_eq!(
        by_order(
            &hooks
                .deliver()
                .await
                .into_iter()
                .filter(|one| one.url == "https://all.example/")
                .collect::<Vec<_>>()
        ),
        expected(1)
    );
}

/// An endpoint hears of what comes after it.
pub async fn an_endpoint_hears_of_what_comes_after_it(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let before = hooks.order("before", 2).await;
    let endpoint = hooks.endpoint("default", "https://late.example/", &["*"]).await;
    assert_eq!(
        endpoint.start.positions.iter().sum::<u64>(),
        2,
        "it begins behind all that there is, though fan-out has not come so far"
    );
    hooks.one_more(&before, 9).await;
    let after = hooks.order("after", 1).await;
    let expected = BTreeMap::from([(before.id.to_string(), vec![3]), (after.id.to_string(), vec![1])]);
    assert_eq!(by_order(&hooks.deliver().await), expected);
}

/// One event of an order is on its way at a time.
pub async fn one_event_of_an_order_is_on_its_way_at_a_time(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let orders = [hooks.order("a", 3).await, hooks.order("b", 3).await, hooks.order("c", 3).await];
    hooks.fan_out().await;
    for version in 1..=3 {
        let got = hooks.turn().await;
        let expected: BTreeMap<String, Vec<u64>> =
            orders.iter().map(|order| (order.id.to_string(), vec![version])).collect();
        assert_eq!(by_order(&got), expected, "the next of each, beside each other");
    }
    let claimed = hooks.claim(10).await;
    assert_eq!(claimed.streams, [], "nothing is left");
}

/// Raising and settling lose nothing between them.
pub async fn raising_and_settling_lose_nothing_between_them(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let order = hooks.order("a", 1).await;
    hooks.fan_out().await;
    let held = hooks.claim(1).await.streams.remove(0);
    // An event comes while the one before is on its way.
    hooks.one_more(&order, 1).await;
    hooks.fan_out().await;
    let raised = hooks.streams().await.remove(0);
    assert_eq!((raised.next, raised.upto, raised.token), (1, 2, held.token), "the lease stays");
    let token = held.token.expect("it is held");
    let settled = hooks.settle(vec![settle(&held, token, 1, SettleAs::Passed { at: hooks.rig.now() })]).await;
    assert_eq!(settled, StreamsSettled::default());
    let left = hooks.streams().await.remove(0);
    assert_eq!((left.head(), left.token), (Some(Head::Next(2)), None));
    assert_eq!(by_order(&hooks.turn().await), BTreeMap::from([(order.id.to_string(), vec![2])]));
    assert_eq!(hooks.streams().await, []);
    // And both at once, many times.
    for round in 0..20 {
        hooks.one_more(&order, 100 + round).await;
        let (fanned, sent) = tokio::join!(hooks.fan_out(), hooks.turn());
        let () = fanned;
        let mut versions: Vec<u64> = sent.iter().map(|one| told(one).1).collect();
        versions.extend(hooks.deliver().await.iter().map(|one| told(one).1));
        assert_eq!(versions, [3 + round as u64], "in round {round}");
    }
}

/// A lease that was lost settles nothing.
pub async fn a_lease_that_was_lost_settles_nothing(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    hooks.order("a", 2).await;
    hooks.fan_out().await;
    let held = hooks.claim(1).await.streams.remove(0);
    assert_eq!(hooks.claim(1).await.streams, [], "it is in other hands");
    hooks.rig.clock.advance(Duration::from_secs(31));
    let again = hooks.claim(1).await.streams.remove(0);
    assert_eq!((again.subject, again.attempt), (held.subject, 0), "a lapse is no attempt");
    let late = hooks.settle(vec![settle(
        &held,
        held.token.expect("a token"),
        1,
        SettleAs::Passed { at: hooks.rig.now() },
    )]);
    assert_eq!(late.await.lost, [(endpoint.number, held.subject)]);
    let stream = hooks.streams().await.remove(0);
    assert_eq!((stream.next, stream.token), (1, again.token));
    assert_eq!(hooks.attempts(&endpoint).await, []);
}

/// What is not taken comes again by the schedule.
pub async fn what_is_not_taken_comes_again_by_the_schedule(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let order = hooks.order("a", 2).await;
    hooks.fan_out().await;
    let asked = Some(Duration::from_secs(90));
    hooks.receiver.next(ScriptedReceiver::answer(500));
    hooks.receiver.next(Answered { retry_after: asked, ..ScriptedReceiver::answer(429) });
    let (first, began) = (hooks.turn().await.remove(0), hooks.rig.now());
    assert_eq!(hooks.turn().await, [], "it waits, and what comes behind it too");
    let due = |stream: &Stream| stream.due_at.since(began);
    let stream = hooks.streams().await.remove(0);
    assert!((4_500..=5_500).contains(&due(&stream).as_millis()), "{stream:?}");
    hooks.rig.clock.set(stream.due_at);
    let second = hooks.turn().await.remove(0);
    assert_eq!(header(&second, "webhook-id"), header(&first, "webhook-id"), "the same id");
    assert_ne!(header(&second, "webhook-timestamp"), header(&first, "webhook-timestamp"));
    assert_ne!(header(&second, "webhook-signature"), header(&first, "webhook-signature"));
    assert_eq!(second.body, first.body);
    let stream = hooks.streams().await.remove(0);
    // 5 min by the schedule, which is longer than what was asked for.
    assert!((270..=330).contains(&stream.due_at.since(hooks.rig.now()).as_secs()), "{stream:?}");
    hooks.rig.clock.set(stream.due_at);
    let got: Vec<(String, u64)> = hooks.deliver().await.iter().map(told).collect();
    assert_eq!(got, [(order.id.to_string(), 1), (order.id.to_string(), 2)]);
    let attempts = hooks.attempts(&endpoint).await;
    let seen: Vec<_> =
        attempts.iter().rev().map(|one| (one.version, one.attempt, one.outcome, one.status)).collect();
    let (retry, delivered) = (AttemptOutcome::Retry, AttemptOutcome::Delivered);
    let expected = [
        (1, 1, retry, Some(500)),
        (1, 2, retry, Some(429)),
        (1, 3, delivered, Some(200)),
        (2, 1, delivered, Some(200)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        (attempts[3].answer.as_slice(), attempts[3].took),
        (&b"so it is"[..], Duration::from_millis(7))
    );
    assert!(attempts[3].why.is_some() && attempts[3].retry_at.is_some());
}

/// Out of attempts the stream goes on.
pub async fn out_of_attempts_the_stream_goes_on(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint =
        hooks.endpoint_in("default", "https://one.example/", &["*"], Dialect::Marketplace, None).await;
    hooks.order("a", 2).await;
    hooks.fan_out().await;
    hooks.receiver.fail("https://one.example/");
    let mut waits = Vec::new();
    for _ in 0..3 {
        assert_eq!(hooks.turn().await.len(), 1);
        let stream = hooks.streams().await.remove(0);
        waits.push((stream.next, stream.attempt, stream.due_at.since(hooks.rig.now()).as_secs()));
        hooks.rig.clock.set(stream.due_at);
    }
    assert_eq!(waits, [(1, 1, 60), (1, 2, 300), (2, 0, 0)], "the second goes on at once");
    let attempts = hooks.attempts(&endpoint).await;
    let failed = &attempts[0];
    assert_eq!((failed.outcome, failed.attempt, failed.status), (AttemptOutcome::Failed, 3, None));
    assert_eq!(failed.why.as_deref(), Some("connection refused"));
}

/// An endpoint has so many places and no other waits for it.
pub async fn an_endpoint_has_so_many_places_and_no_other_waits_for_it(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let slow = hooks.endpoint("default", "https://slow.example/", &["*"]).await;
    hooks.rig.new_orders((0..40).map(|index| build::intake(&format!("o-{index}")).build()).collect()).await;
    hooks.fan_out().await;
    let hanging = hooks.claim(100).await;
    assert_eq!(hanging.streams.len(), 16, "so many of one endpoint");
    let quick = hooks.endpoint("default", "https://quick.example/", &["*"]).await;
    hooks.order("late", 1).await;
    hooks.fan_out().await;
    let claimed = hooks.claim(100).await;
    let of: BTreeSet<i64> = claimed.streams.iter().map(|stream| stream.endpoint).collect();
    assert_eq!((of, claimed.streams.len()), (BTreeSet::from([quick.number]), 1));
    let token = hanging.streams[0].token.expect("a token");
    let at = hooks.rig.now();
    hooks.settle(vec![settle(&hanging.streams[0], token, 1, SettleAs::Passed { at })]).await;
    let next = hooks.claim(100).await.streams;
    assert_eq!(next.iter().map(|one| one.endpoint).collect::<Vec<_>>(), [slow.number], "a place became free");
}

/// An endpoint has one place until it has taken something, and again when it fails; a part of all is for such endpoints.
pub async fn an_endpoint_has_few_places_until_it_takes_something(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let rules = |claim: &mut ClaimStreams| (claim.pool, claim.unproven_max) = (16, 1);
    let mut endpoints = Vec::new();
    for index in 0..6 {
        endpoints
            .push(hooks.endpoint("default", &format!("https://new-{index}.example/"), &["*"]).await.number);
    }
    hooks.rig.new_orders((0..20).map(|index| build::intake(&format!("o-{index}")).build()).collect()).await;
    hooks.fan_out().await;
    let of = |claimed: &StreamsClaimed| claimed.streams.iter().map(|one| one.endpoint).collect::<Vec<_>>();
    let first = hooks.claim_as(16, rules).await;
    let one_each: BTreeSet<i64> = of(&first).into_iter().collect();
    assert_eq!(first.streams.len(), 3, "of one tenant three of four");
    assert_eq!(one_each, endpoints[..3].iter().copied().collect(), "one each");
    let held: BTreeMap<i64, usize> = endpoints[..3].iter().map(|number| (*number, 1)).collect();
    let holding = |claim: &mut ClaimStreams| (claim.pool, claim.unproven_max, claim.held) = (16, 1, held);
    assert_eq!(
        hooks.claim_as(13, holding).await.streams,
        [],
        "nothing more as long as these are on their way"
    );
    // Nobody ends these. Of what is sent then, one is taken.
    hooks.rig.clock.advance(Duration::from_secs(31));
    [200, 500, 500].into_iter().for_each(|status| hooks.receiver.next(ScriptedReceiver::answer(status)));
    let policy = CourierPolicy { in_flight_max: 16, ..CourierPolicy::default() };
    let courier =
        Courier::new(Arc::clone(&hooks.rig.app), Arc::<ScriptedReceiver>::clone(&hooks.receiver), policy);
    assert_eq!(courier.step().await.expect("the courier works").0, 3);
    let got = hooks.receiver.got();
    let taking = (0..endpoints.len()).find(|index| got[0].url == format!("https://new-{index}.example/"));
    let taking = endpoints[taking.expect("one of them")];
    let next = hooks.claim_as(100, |claim| (claim.pool, claim.unproven_max) = (100, 1)).await;
    let mut counts = BTreeMap::<i64, usize>::new();
    of(&next).into_iter().for_each(|endpoint| *counts.entry(endpoint).or_default() += 1);
    assert_eq!(counts.remove(&taking), Some(16), "it took what it was sent");
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [1; 5], "those that failed, and those that are new");
}

/// Claims of streams never overlap.
pub async fn claims_of_streams_never_overlap(rig: Rig) {
    let hooks = Arc::new(Hooks::new(rig).await);
    for index in 0..4 {
        hooks.endpoint("default", &format!("https://e{index}.example/"), &["*"]).await;
    }
    hooks.rig.new_orders((0..30).map(|index| build::intake(&format!("o-{index}")).build()).collect()).await;
    hooks.fan_out().await;
    let claims: Vec<_> = (0..8)
        .map(|_| {
            let hooks = Arc::clone(&hooks);
            tokio::spawn(async move { hooks.claim(12).await.streams })
        })
        .collect();
    let (mut seen, mut of_endpoint) = (BTreeSet::new(), BTreeMap::<i64, usize>::new());
    for claim in claims {
        for stream in claim.await.expect("the task ends") {
            *of_endpoint.entry(stream.endpoint).or_default() += 1;
            assert!(seen.insert((stream.endpoint, stream.subject)), "{stream:?} is in two hands");
        }
    }
    assert_eq!(
        of_endpoint.values().copied().collect::<Vec<_>>(),
        [16; 4],
        "each has its places, whoever claims"
    );
}

/// A rate is kept.
pub async fn a_rate_is_kept(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    hooks.endpoint_in("default", "https://paced.example/", &["*"], Dialect::V1, Some(2)).await;
    hooks.rig.new_orders((0..7).map(|index| build::intake(&format!("o-{index}")).build()).collect()).await;
    let mut got = vec![hooks.deliver().await.len()];
    for _ in 0..4 {
        hooks.rig.clock.advance(Duration::from_millis(500));
        got.push(hooks.deliver().await.len());
    }
    hooks.rig.clock.advance(Duration::from_secs(60));
    got.push(hooks.deliver().await.len());
    assert_eq!(got, [2, 1, 1, 1, 1, 1], "two at first, then two a second");
}

/// A restart leaves what is open to be sent.
pub async fn a_restart_leaves_what_is_open_to_be_sent(rig: Rig) {
    let hooks = Hooks::new(rig).await;
    let endpoint = hooks.endpoint("default", "https://one.example/", &["*"]).await;
    let order = hooks.order("a", 3).await;
    hooks.fan_out().await;
    let first = hooks.turn().await.remove(0);
    assert_eq!(told(&first).1, 1);
    let held = hooks.claim(1).await.streams.remove(0);
    let attempts = hooks.attempts(&endpoint).await;
    let Hooks { rig, courier, follower, .. } = hooks;
    drop((courier, follower));
    let expires = rig.reopening_expires_leases();
    let rig = rig.reopen().await;
    if !expires {
        rig.clock.set(held.due_at.max(Timestamp::from_micros(0)));
    }
    let hooks = Hooks::new(rig).await;
    let found = hooks.rig.storage().endpoint(&endpoint.tenant, endpoint.endpoint_id).await.expect("it reads");
    assert_eq!(found.expect("it is there").secret, endpoint.secret);
    assert_eq!(hooks.attempts(&endpoint).await, attempts);
    let streams = hooks.streams().await;
    assert_eq!((streams.len(), streams[0].next, streams[0].upto), (1, 2, 3));
    // The first commit makes leases due, where a start does so; that another order is there changes nothing for this one.
    hooks.rig.new_order(build::intake("b")).await;
    let claimed = hooks.claim(10).await.streams;
    assert!(claimed.iter().any(|stream| stream.subject.order_id() == Some(order.id) && stream.next == 2));
}
