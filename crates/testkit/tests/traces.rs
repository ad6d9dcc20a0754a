//! Spans: which are made, what they are part of, and that nobody waits for them.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::trace::{Attribute, SPANS_WAIT_MAX, SpanName, TraceContext, Tracer, Value};
use std::sync::Arc;
use std::time::Duration;
use testkit::{ManualClock, SeededIds};

fn given(flags: &str) -> TraceContext {
    TraceContext::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}")).unwrap()
}

#[test]
fn a_span_is_sent_when_it_is_dropped_with_its_place_its_times_and_what_was_said() {
    let clock = ManualClock::new();
    let (tracer, mut spans) = Tracer::on(Arc::clone(&clock) as _, SeededIds::new(1), 1.0);
    let mut span = tracer.begin(SpanName::Request, Some(given("01")));
    let began_at = order_core::Clock::now(clock.as_ref());
    span.say(|| Attribute::Status(201));
    span.fail();
    (0..100).for_each(|_| span.link(given("01")));
    let child = tracer.child(SpanName::LaneCommit, span.context());
    assert_ne!(child.context(), span.context());
    let ended_at = clock.advance(Duration::from_millis(5));
    let (of_span, of_child) = (span.context().unwrap(), child.context().unwrap());
    assert!(spans.try_recv().is_err(), "it is under way");
    drop((child, span));
    let (child, span) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
    assert_eq!((child.context, child.parent), (of_child, Some(of_span.span_id())));
    assert_eq!((span.context, span.parent), (of_span, Some(given("01").span_id())));
    assert_eq!(span.context.trace_id(), given("01").trace_id());
    assert_eq!((span.began_at, span.ended_at, span.failed, child.failed), (began_at, ended_at, true, false));
    assert_eq!(span.attributes[0].value(), Value::Number(201));
    assert_eq!(span.links.len(), 32, "a bound on everything");
}

#[test]
fn what_is_not_recorded_keeps_its_place_and_makes_nothing() {
    let (tracer, mut spans) = Tracer::on(ManualClock::new(), SeededIds::new(1), 1.0);
    for tracer in [&tracer, &Tracer::off()] {
        let mut span = tracer.begin(SpanName::Request, Some(given("00")));
        span.say(|| unreachable!("nobody asks"));
        assert_eq!((span.context(), span.recorded()), (Some(given("00")), None));
        assert_eq!(tracer.child(SpanName::Deliver, None).context(), None);
    }
    assert_eq!(Tracer::off().begin(SpanName::Request, Some(given("01"))).context(), Some(given("01")));
    assert_eq!(Tracer::off().begin(SpanName::Request, None).context(), None);
    assert!(spans.try_recv().is_err());
}

#[test]
fn a_strangers_trace_goes_on_and_is_recorded_by_our_own_word() {
    for (ratio, least, most) in [(0.0, 0, 0), (0.25, 150, 350), (1.0, 1_000, 1_000)] {
        let (tracer, _spans) = Tracer::on(ManualClock::new(), SeededIds::new(7), ratio);
        for flags in ["00", "01"] {
            let decided: Vec<_> = (0..1_000).map(|_| tracer.decide(given(flags))).collect();
            let place = |context: &TraceContext| (context.trace_id(), context.span_id());
            assert!(decided.iter().all(|context| place(context) == place(&given(flags))));
            let recorded = decided.iter().filter(|context| context.is_sampled()).count();
            assert!((least..=most).contains(&recorded), "{ratio}: {recorded}");
        }
    }
    assert_eq!(Tracer::off().decide(given("01")), given("01"));
}

#[test]
fn the_ratio_says_how_many_of_the_traces_that_begin_here_are_recorded() {
    for (ratio, least, most) in [(0.0, 0, 0), (0.25, 150, 350), (1.0, 1_000, 1_000)] {
        let (tracer, _spans) = Tracer::on(ManualClock::new(), SeededIds::new(7), ratio);
        let begin = |_: &i32| tracer.begin(SpanName::Request, None).context().unwrap().is_sampled();
        let recorded = (0..1_000).filter(begin).count();
        assert!((least..=most).contains(&recorded), "{ratio}: {recorded}");
    }
}

#[test]
fn spans_that_nobody_takes_are_dropped_and_counted() {
    let (tracer, spans) = Tracer::on(ManualClock::new(), SeededIds::new(1), 1.0);
    (0..SPANS_WAIT_MAX + 5).for_each(|_| drop(tracer.begin(SpanName::Request, None)));
    assert_eq!((spans.len(), tracer.dropped()), (SPANS_WAIT_MAX, 5));
    drop(spans);
    drop(tracer.begin(SpanName::Request, None));
    assert_eq!(tracer.dropped(), 6);
}
