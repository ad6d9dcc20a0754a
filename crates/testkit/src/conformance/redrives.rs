//! Redrive jobs: recorded first, done in steps, each order with its result.

use super::Rig;
use crate::build::{intake, source, tenant};
use order_core::clock::Timestamp;
use order_core::command::ChangeKind;
use order_core::error::Rejection;
use order_core::event::EventType;
use order_core::ids::{OrderId, RedriveId, TenantId};
use order_core::listing::Search;
use order_core::order::Order;
use order_core::query::OrderQuery;
use order_core::redrive::{Redrive, RedriveFilter, RedriveItem};
use order_core::state::{Fulfilment, Processing};
use std::time::Duration;

async fn park_many(rig: &Rig, names: std::ops::Range<u32>, why: &str) -> Vec<Order> {
    let mut orders = Vec::new();
    for index in names {
        orders.push(rig.parked(intake(&format!("p-{index}")), why).await);
    }
    orders
}

async fn finish(rig: &Rig, redrive_id: RedriveId, step: usize) -> Redrive {
    for _ in 0..1_000 {
        let job = rig.step_redrive(redrive_id, step).await.expect("a step");
        if job.finished {
            return job;
        }
    }
    panic!("a job must come to its end");
}

async fn items(rig: &Rig, redrive_id: RedriveId) -> Vec<RedriveItem> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = rig.storage().redrive_items(redrive_id, after, 3).await.expect("a page");
        assert!(page.len() <= 3, "a page holds at most as many as asked for");
        if page.is_empty() {
            return all;
        }
        after += page.len() as u64;
        all.extend(page);
    }
}

fn default() -> TenantId {
    TenantId::default_tenant()
}

/// In steps, across a restart, until all are redriven; those parked later are left alone.
pub async fn a_job_goes_on_in_steps_across_a_restart(rig: Rig) {
    let orders = park_many(&rig, 0..7, "down").await;
    rig.clock.advance(Duration::from_secs(1));
    let job = rig.start_redrive(&default(), RedriveFilter::default()).await;
    assert_eq!((job.finished, job.redriven, job.refused), (false, 0, 0), "recorded first");
    assert_eq!((job.created_at, job.reason.as_str(), job.by.as_str()), (rig.now(), "mended", "op"));
    let later = rig.parked(intake("later"), "down").await;
    let first = rig.step_redrive(job.redrive_id, 3).await.expect("a step");
    assert_eq!((first.finished, first.redriven), (false, 3), "one step takes as many as it may");
    let rig = rig.reopen().await;
    assert_eq!(
        rig.storage().open_redrives().await.expect("a list"),
        [job.redrive_id],
        "the job is still open"
    );
    let read = rig.storage().redrive(&default(), job.redrive_id).await.expect("a read");
    assert_eq!(read, Some(first), "its progress outlives the process");
    let done = finish(&rig, job.redrive_id, 3).await;
    assert_eq!((done.redriven, done.refused), (7, 0));
    assert_eq!(rig.storage().open_redrives().await.expect("a list"), [], "a finished job is not open");
    let expected: Vec<RedriveItem> = orders
        .iter()
        .map(|order| RedriveItem { order_id: order.id, result: "redriven".to_owned() })
        .collect();
    assert_eq!(
        items(&rig, job.redrive_id).await,
        expected,
        "each order has its result, in the order of numbers"
    );
    for order in &orders {
        let redriven = rig.order(order.id).await;
        assert_eq!((redriven.processing, redriven.attempt, redriven.version), (Processing::Queued, 0, 3));
        assert_eq!(rig.events(order.id).await[2].kind, EventType::OrderRedriven);
    }
    assert_eq!(
        rig.order(later.id).await.processing,
        Processing::Parked,
        "parked after the job was asked for"
    );
    assert_eq!(rig.step_redrive(job.redrive_id, 3).await, Ok(done), "a finished job does nothing more");
    assert_eq!(rig.claim(100).await.leased.len(), 7, "each redriven order has work");
    rig.assert_sound().await;
}

/// Orders named one by one: unknown ones and ones that are not parked get their result too.
pub async fn a_job_of_named_orders_answers_for_each(rig: Rig) {
    let parked = park_many(&rig, 0..3, "down").await;
    let theirs = rig.parked(intake("theirs").tenant("acme"), "down").await;
    let queued = rig.new_order(intake("queued")).await;
    let nobody = OrderId(uuid::Uuid::from_u128(7));
    let order_ids = vec![parked[2].id, nobody, queued.id, theirs.id, parked[0].id, parked[2].id];
    let filter = RedriveFilter { order_ids: Some(order_ids.clone()), ..RedriveFilter::default() };
    let job = rig.start_redrive(&default(), filter).await;
    let done = finish(&rig, job.redrive_id, 4).await;
    assert_eq!((done.redriven, done.refused), (2, 4));
    let results: Vec<String> =
        items(&rig, job.redrive_id).await.into_iter().map(|item| item.result).collect();
    assert_eq!(results, ["redriven", "unknown", "not_parked", "unknown", "redriven", "not_parked"]);
    let ids: Vec<OrderId> = items(&rig, job.redrive_id).await.into_iter().map(|item| item.order_id).collect();
    assert_eq!(ids, order_ids, "results come in the order of the request");
    assert_eq!(rig.order(parked[1].id).await, parked[1], "who was not named is left alone");
    rig.assert_sound().await;
}

/// Source and error narrow a job and a count alike; texts are texts, not patterns.
pub async fn filters_narrow_jobs_and_counts(rig: Rig) {
    let errors = ["timeout after 30 s", "HTTP 404: 100% no", "HTTP 500", "http 500", "a_b", "axb"];
    for (index, error) in errors.iter().enumerate() {
        let from = if index % 2 == 0 { "api" } else { "shop" };
        rig.parked(intake(&format!("p-{index}")).source(from), error).await;
    }
    let filters = [
        (None, None, 6),
        (Some("api"), None, 3),
        (Some("nowhere"), None, 0),
        (None, Some("HTTP"), 2),
        (Some("shop"), Some("404"), 1),
        (None, Some("100% no"), 1),
        (None, Some("a_b"), 1),
        (None, Some("%"), 1),
        (None, Some(""), 6),
        (None, Some("no such error"), 0),
    ];
    let filter = |from: Option<&str>, text: Option<&str>| RedriveFilter {
        source: from.map(source),
        error_contains: text.map(str::to_owned),
        ..RedriveFilter::default()
    };
    for (from, text, expected) in filters {
        let count = rig.storage().count_parked(&default(), &filter(from, text)).await.expect("a count");
        assert_eq!((count.count, count.more), (expected, false), "{from:?} {text:?}");
    }
    for (from, text, expected) in [filters[4], filters[6], filters[1]] {
        let job = rig.start_redrive(&default(), filter(from, text)).await;
        let done = finish(&rig, job.redrive_id, 1).await;
        assert_eq!((done.redriven, done.refused), (expected.min(2), 0), "{from:?} {text:?}");
    }
    let left = rig.storage().count_parked(&default(), &filter(None, None)).await.expect("a count");
    assert_eq!(
        left.count, 2,
        "two of shop were not asked for, one of api was redriven before its source was"
    );
}

/// All conditions that are given must hold, for named orders too.
pub async fn named_orders_are_narrowed_by_the_other_conditions(rig: Rig) {
    let api = rig.parked(intake("a"), "timeout").await;
    let shop = rig.parked(intake("b").source("shop"), "timeout").await;
    let other = rig.parked(intake("c"), "refused").await;
    let filter = RedriveFilter {
        order_ids: Some(vec![shop.id, other.id, api.id]),
        source: Some(source("api")),
        error_contains: Some("timeout".to_owned()),
        ..RedriveFilter::default()
    };
    let count = rig.storage().count_parked(&default(), &filter).await.expect("a count");
    assert_eq!(count.count, 1, "one order meets all three conditions");
    let job = rig.start_redrive(&default(), filter).await;
    let done = finish(&rig, job.redrive_id, 10).await;
    assert_eq!((done.redriven, done.refused), (1, 2), "{:?}", items(&rig, job.redrive_id).await);
    assert_eq!(rig.order(shop.id).await, shop, "another source's order is left alone");
    assert_eq!(rig.order(other.id).await, other, "an order with another error is left alone");
    assert_eq!(rig.order(api.id).await.processing, Processing::Queued);
}

/// What a job answers for another tenant's or source's order does not depend on that order: nobody can feel for it.
pub async fn a_foreign_order_is_unknown_whatever_its_error_says(rig: Rig) {
    let theirs = rig.parked(intake("theirs").tenant("acme"), "secret reason").await;
    let shop = rig.parked(intake("mine").source("shop"), "secret reason").await;
    let nobody = OrderId(uuid::Uuid::from_u128(7));
    for text in [None, Some("secret"), Some("other")] {
        let filter = RedriveFilter {
            order_ids: Some(vec![nobody, theirs.id, shop.id]),
            source: Some(source("api")),
            error_contains: text.map(str::to_owned),
            ..RedriveFilter::default()
        };
        let job = rig.start_redrive(&default(), filter).await;
        finish(&rig, job.redrive_id, 10).await;
        let results: Vec<String> =
            items(&rig, job.redrive_id).await.into_iter().map(|item| item.result).collect();
        assert_eq!(results, ["unknown", "unknown", "unknown"], "with the error {text:?}");
    }
}

/// Jobs are found by their tenant only; unknown ones are refused.
pub async fn unknown_jobs_are_refused(rig: Rig) {
    let unknown = RedriveId(uuid::Uuid::from_u128(7));
    assert_eq!(rig.step_redrive(unknown, 3).await, Err(Rejection::RedriveUnknown));
    assert_eq!(rig.storage().redrive(&default(), unknown).await.expect("a read"), None);
    assert_eq!(rig.storage().redrive_items(unknown, 0, 10).await.expect("a page"), []);
    let filter = RedriveFilter {
        order_ids: Some(vec![OrderId(uuid::Uuid::from_u128(9))]),
        source: Some(source("é 'shop'")),
        text: Some("' OR 1=1 --".to_owned()),
        fulfilment: Some(Fulfilment::Delivered),
        withdrawn: Some(false),
        customer: Some("é \"c\"".to_owned()),
        accepted_from: Some(Timestamp::from_micros(-1)),
        accepted_to: Some(Timestamp::from_micros(i64::MAX)),
        error_contains: Some("\"%_\\".to_owned()),
    };
    let job = rig.start_redrive(&tenant("acme"), filter.clone()).await;
    let read =
        rig.storage().redrive(&tenant("acme"), job.redrive_id).await.expect("a read").expect("it is there");
    assert_eq!((&read, &read.filter), (&job, &filter), "a job is kept as it was asked for");
    assert_eq!(
        rig.storage().redrive(&default(), job.redrive_id).await.expect("a read"),
        None,
        "a foreign job"
    );
}

/// Parked orders of several kinds, each a minute after the one before, by number.
async fn many_kinds(rig: &Rig) -> Vec<Order> {
    let kinds = [
        ("A-1", Some("c-1")),
        ("A-2", Some("c-2")),
        ("b-3", None),
        ("A-4", Some("A-1")),
        ("c-15", Some("c-1")),
    ];
    let mut orders = Vec::new();
    for (index, (reference, customer)) in kinds.into_iter().enumerate() {
        rig.clock.advance(Duration::from_secs(60));
        let order = rig.parked(intake(reference).customer(customer), "down").await;
        match index {
            1 => {
                let shipped_at = rig.now();
                rig.changed(
                    order.id,
                    ChangeKind::Ship { shipped_at: Some(shipped_at), tracking_number: None },
                )
                .await;
            }
            2 => {
                let (reason, by) = ("no more".to_owned(), "op".to_owned());
                rig.changed(order.id, ChangeKind::Withdraw { reason, by, requeue: true }).await;
                rig.park("down").await;
            }
            _ => {}
        }
        orders.push(rig.order(order.id).await);
    }
    orders
}

/// Filters, and which of [`many_kinds`] each is about.
fn kinds_of_filters(orders: &[Order]) -> Vec<(RedriveFilter, Vec<usize>)> {
    let with = |change: &dyn Fn(&mut RedriveFilter)| {
        let mut filter = RedriveFilter::default();
        change(&mut filter);
        filter
    };
    let text = |text: &str| with(&|filter| filter.text = Some(text.to_owned()));
    let customer = |customer: &str| with(&|filter| filter.customer = Some(customer.to_owned()));
    let between = |from: Option<usize>, to: Option<usize>| {
        let at = |index: Option<usize>| index.map(|index| orders[index].accepted_at);
        with(&|filter| (filter.accepted_from, filter.accepted_to) = (at(from), at(to)))
    };
    let id = orders[3].id.to_string();
    vec![
        (customer("c-1"), vec![0, 4]),
        (customer("c"), vec![]),
        (text("A-"), vec![0, 1, 3]),
        (text("A-1"), vec![0, 3]),
        (text("c-1"), vec![0, 4]),
        (text("a-1"), vec![]),
        (text("%"), vec![]),
        (text(&id), vec![3]),
        (text(&id[..30].to_ascii_uppercase()), vec![3]),
        (with(&|filter| filter.fulfilment = Some(Fulfilment::Shipped)), vec![1]),
        (with(&|filter| filter.fulfilment = Some(Fulfilment::Unshipped)), vec![0, 2, 3, 4]),
        (with(&|filter| filter.withdrawn = Some(true)), vec![2]),
        (with(&|filter| filter.withdrawn = Some(false)), vec![0, 1, 3, 4]),
        (between(Some(1), Some(3)), vec![1, 2]),
        (between(Some(4), None), vec![4]),
        (between(None, Some(0)), vec![]),
        (
            RedriveFilter { text: Some("A-".to_owned()), withdrawn: Some(false), ..between(Some(1), None) },
            vec![1, 3],
        ),
    ]
}

/// The orders that a list shows under the conditions of a filter, by number.
async fn listed(rig: &Rig, filter: &RedriveFilter) -> Vec<OrderId> {
    let query = OrderQuery {
        source: filter.source.clone(),
        processing: Some(Processing::Parked),
        fulfilment: filter.fulfilment,
        withdrawn: filter.withdrawn,
        customer: filter.customer.clone(),
        accepted_from: filter.accepted_from,
        accepted_to: filter.accepted_to,
        error_contains: filter.error_contains.clone(),
        ..OrderQuery::all(default(), 200, rig.now())
    };
    let mut orders = match &filter.text {
        Some(text) => {
            let search = Search { query, text: text.clone(), after: None };
            rig.storage().search(&search).await.expect("a page").orders
        }
        None => rig.storage().orders(&query).await.expect("a page").orders,
    };
    orders.sort_by_key(|order| order.number);
    orders.into_iter().map(|order| order.id).collect()
}

/// What a list of what is parked shows under some conditions is what a count counts and a job takes under the same; named
/// orders are narrowed by them too.
pub async fn what_a_list_shows_is_what_a_job_takes(rig: Rig) {
    let orders = many_kinds(&rig).await;
    let mine: Vec<OrderId> = orders.iter().map(|order| order.id).collect();
    rig.parked(intake("A-1").tenant("acme").customer(Some("c-1")), "down").await;
    let mut round = 0;
    for (filter, about) in kinds_of_filters(&orders) {
        let ids: Vec<OrderId> = about.iter().map(|index| mine[*index]).collect();
        assert_eq!(listed(&rig, &filter).await, ids, "{filter:?}");
        let named = RedriveFilter { order_ids: Some(mine.clone()), ..filter.clone() };
        for filter in [&filter, &named] {
            let count = rig.storage().count_parked(&default(), filter).await.expect("a count");
            assert_eq!((count.count, count.more), (ids.len() as u64, false), "{filter:?}");
        }
        round += 1;
        let filter = if round % 2 == 0 { filter } else { named };
        let job = rig.start_redrive(&default(), filter.clone()).await;
        let done = finish(&rig, job.redrive_id, 1 + round % 3).await;
        assert_eq!(done.redriven, ids.len() as u64, "{filter:?}");
        let results = items(&rig, job.redrive_id).await;
        let taken = results.iter().filter(|item| item.result == "redriven");
        assert_eq!(taken.map(|item| item.order_id).collect::<Vec<_>>(), ids, "{filter:?}");
        let refused = filter.order_ids.as_ref().map_or(0, |named| named.len() - ids.len());
        assert_eq!(results.iter().filter(|item| item.result == "not_parked").count(), refused, "{filter:?}");
        for _ in &ids {
            rig.park("down").await;
        }
    }
    rig.assert_sound().await;
}
