//! What is kept of the times of blocks of events leads to what looking at every event gives, though clocks are set.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use order_core::clock::Timestamp;
use order_core::ids::Shard;
use order_core::lane::LanePolicy;
use order_core::order::Order;
use order_core::ports::Storage;
use order_core::query::OrderQuery;
use order_core::{App, Clock, audit};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{PostgresStorage, Seed};
use testkit::build::{intake, tenant};
use testkit::{ManualClock, SeededIds};

/// One shard, so that blocks fill: three, and some events behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_lead_to_places_and_numbers() {
    let url = empty().await;
    let (clock, ids) = (ManualClock::new(), SeededIds::new(5));
    let storage = PostgresStorage::open(&options(&url), &Seed { shards: 1, ..seed() }).await.unwrap().0;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let app = App::start(Arc::clone(&storage), clock.clone(), ids, LanePolicy::default());
    let start = clock.now();
    let minute = |minute: u64| start.plus(Duration::from_secs(60 * minute));
    for (round, at) in [1, 2, 3, 9, 4, 5, 2, 6, 7, 8, 10].into_iter().enumerate() {
        clock.set(minute(at));
        let sending = (0..300).map(|index| {
            let (app, sent) = (Arc::clone(&app), intake(&format!("{round}-{index}")).no_lines().build());
            tokio::spawn(async move { app.accept(sent).await.unwrap() })
        });
        for sent in sending.collect::<Vec<_>>() {
            sent.await.unwrap();
        }
    }
    let admin = client(&url).await;
    let kept = admin.query_one("SELECT count(*) FROM spans", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 3, "blocks of 1,024 among {} positions", 11 * 300);
    let events = storage.journal(Shard(0), 0, 100_000).await.unwrap();
    for at in 0..=12 {
        let moment = minute(at);
        let first = events.iter().find(|event| event.occurred_at >= moment);
        let expected = first.map_or(11 * 300, |event| event.position - 1);
        assert_eq!(storage.place_of(moment).await.unwrap().positions, [expected], "minute {at}");
    }
    let all = listed(&storage, None, None, start).await;
    assert_eq!(all.len(), 11 * 300);
    for (from, to) in
        [(None, Some(2)), (Some(2), Some(3)), (Some(9), Some(10)), (Some(4), Some(6)), (Some(10), None)]
    {
        let (from, to): (Option<Timestamp>, Option<Timestamp>) = (from.map(minute), to.map(minute));
        let fits = |order: &&Order| {
            from.is_none_or(|from| order.accepted_at >= from) && to.is_none_or(|to| order.accepted_at < to)
        };
        let expected: Vec<&Order> = all.iter().filter(fits).collect();
        assert!(!expected.is_empty());
        let found = listed(&storage, from, to, start).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{from:?} to {to:?}");
    }
    assert_eq!(audit::audit(&app, |_| {}).await.unwrap().findings, []);
    for damage in [
        "UPDATE spans SET latest = latest + interval '1 hour' WHERE block = 1",
        "DELETE FROM spans WHERE block = 1",
    ] {
        assert_eq!(admin.execute(damage, &[]).await.unwrap(), 1);
        let report = audit::audit(&app, |_| {}).await.unwrap();
        assert!(report.findings.iter().all(|finding| finding.check == "spans"), "{:?}", report.findings);
        assert!(!report.findings.is_empty(), "{damage}");
    }
}

/// All pages of a list by time.
async fn listed(
    storage: &Arc<dyn Storage>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Order> {
    let all = OrderQuery::all(tenant("default"), 200, now);
    let mut query = OrderQuery { accepted_from: from, accepted_to: to, ..all };
    let mut orders = Vec::new();
    loop {
        let page = storage.orders(&query).await.unwrap();
        orders.extend(page.orders);
        query.before = page.next;
        if page.next.is_none() {
            return orders;
        }
    }
}
