//! Where in a trace things happened: kept with events and work, for whoever goes on with them.

use super::Rig;
use super::rig::LEASE;
use crate::build::intake;
use order_core::command::ChangeKind;
use order_core::journal::Event;
use order_core::lease::Outcome;
use order_core::redrive::RedriveFilter;
use order_core::trace::{self, TraceContext};
use order_core::{Order, TenantId};

fn place(number: u8) -> Option<TraceContext> {
    let mut bytes = [number; trace::BYTES];
    bytes[24] = number & 1;
    TraceContext::from_bytes(&bytes)
}

async fn newest(rig: &Rig, order: &Order) -> Event {
    let events = rig.events_of(&order.tenant, order.id).await;
    events.and_then(|mut events| events.pop()).expect("an order has events")
}

/// An event keeps where it happened, work where it was made, over retries and restarts of its lease.
pub async fn the_trace_of_a_request_travels_with_its_events_and_its_work(rig: Rig) {
    let order = trace::within(place(1), rig.new_order(intake("a"))).await;
    assert_eq!(newest(&rig, &order).await.trace, place(1));
    let leased = rig.claim_one().await;
    assert_eq!(leased.trace, place(1));
    let again = Outcome::Retry { at: rig.now(), why: "no".to_owned() };
    trace::within(place(2), rig.settle(&leased, again)).await.expect("the lease is held");
    assert_eq!(newest(&rig, &order).await.trace, place(2), "the try's own place");
    let leased = rig.claim_one().await;
    assert_eq!(leased.trace, place(1), "the work's is that of what made it");
    rig.clock.advance(LEASE * 2);
    assert_eq!(rig.claim_one().await.trace, place(1));
}

/// Whatever makes work anew gives it its own place, none included.
pub async fn work_that_is_made_anew_is_of_the_trace_that_made_it(rig: Rig) {
    let order = trace::within(place(1), rig.new_order(intake("a"))).await;
    rig.park("no").await;
    assert_eq!(newest(&rig, &order).await.trace, None);
    let redrive = ChangeKind::Redrive { reason: "mended".to_owned(), by: "op".to_owned() };
    trace::within(place(3), rig.changed(order.id, redrive.clone())).await;
    assert_eq!(newest(&rig, &order).await.trace, place(3));
    let leased = rig.claim_one().await;
    assert_eq!(leased.trace, place(3));
    rig.settle(&leased, Outcome::Park { why: "no".to_owned() }).await.expect("the lease is held");
    rig.changed(order.id, redrive).await;
    assert_eq!(rig.park("no").await.id, order.id);
    let job = rig.start_redrive(&TenantId::default_tenant(), RedriveFilter::default()).await;
    trace::within(place(4), rig.step_redrive(job.redrive_id, 10)).await.expect("the job is there");
    assert_eq!((newest(&rig, &order).await.trace, rig.claim_one().await.trace), (place(4), place(4)));
    rig.assert_sound().await;
}
