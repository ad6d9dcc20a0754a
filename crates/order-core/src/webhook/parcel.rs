//! What a claimed stream is sent: its event, read when it is sent, so that an erasure is seen.

use super::body::{self, Told};
use super::command::{Settle, SettleAs};
use super::endpoint::{self, Endpoint};
use super::schedule;
use super::sending::Sending;
use super::stream::{Head, Stream, Subject};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Fault};
use crate::ids::{LeaseToken, OrderId, StoreId};
use crate::journal::Event;
use crate::sealing::Secret;
use crate::trace::TraceContext;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events of one order that are looked at in one go, for the first that is wanted.
const EVENTS_MAX: u32 = 50;

/// A claimed stream with what it is sent.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) stream: Stream,
    pub(super) head: Head,
    pub(super) token: LeaseToken,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) told: Told,
}

impl Parcel {
    /// Where in a trace the event happened.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        match &self.told {
            Told::Order(event) => event.trace,
            Told::Store(_) | Told::Test { .. } | Told::Challenge { .. } => None,
        }
    }

    /// How it is settled.
    pub(super) fn settle(&self, how: SettleAs) -> Settle {
        Settle {
            endpoint: self.stream.endpoint,
            subject: self.stream.subject,
            token: self.token,
            head: self.head,
            version: self.told.version(),
            how,
            attempt: None,
        }
    }
}

/// What becomes of a claimed stream.
#[derive(Debug)]
pub(super) enum Prepared {
    /// It is sent.
    Send(Box<Parcel>),
    /// Nothing of it is: it goes on, or is given back.
    Settle(Settle),
}

/// Reads what each stream is sent. What there is no room for in one page is given back.
///
/// # Errors
/// When storage cannot be read: then all of them are to be given back.
pub(super) async fn prepare(
    app: &App,
    streams: Vec<Stream>,
    endpoints: Vec<Endpoint>,
) -> Result<Vec<Prepared>, Fault> {
    let endpoints: BTreeMap<i64, Arc<Endpoint>> =
        endpoints.into_iter().map(|endpoint| (endpoint.number, Arc::new(endpoint))).collect();
    let mut placed = at_their_places(app, &streams).await?;
    let mut prepared = Vec::with_capacity(streams.len());
    for (index, stream) in streams.into_iter().enumerate() {
        let (Some(head), Some(token)) = (stream.head(), stream.token) else { continue };
        let Some(endpoint) = endpoints.get(&stream.endpoint) else { continue };
        let read = match placed.remove(&index) {
            Some(Placed::Is(event)) if endpoint.listens.hears(event.kind.as_str()) => {
                Read::Found(Told::Order(event))
            }
            Some(Placed::Later) => Read::Later,
            _ => read(app, &stream, head, endpoint).await?,
        };
        prepared.push(match read {
            Read::Found(told) => {
                let endpoint = Arc::clone(endpoint);
                Prepared::Send(Box::new(Parcel { stream, head, token, endpoint, told }))
            }
            Read::Nothing(version) => {
                let how = SettleAs::Passed { at: app.clock.now() };
                Prepared::Settle(settle(&stream, head, token, version, how))
            }
            Read::Later => {
                let how = SettleAs::Release { at: app.clock.now() };
                Prepared::Settle(settle(&stream, head, token, 0, how))
            }
        });
    }
    Ok(prepared)
}

/// A stream of which nothing was sent.
pub(super) fn settle(stream: &Stream, head: Head, token: LeaseToken, version: u64, how: SettleAs) -> Settle {
    let (endpoint, subject) = (stream.endpoint, stream.subject);
    Settle { endpoint, subject, token, head, version, how, attempt: None }
}

/// What is read of a stream.
enum Read {
    Found(Told),
    /// The endpoint wants nothing up to this version.
    Nothing(u64),
    /// There was no room for it.
    Later,
}

/// The event whose place a stream knows.
enum Placed {
    Is(Arc<Event>),
    Later,
}

/// The events of those streams that know the places of theirs, in one go, each place once: most streams hold one event, and
/// several endpoints hear of the same.
async fn at_their_places(app: &App, streams: &[Stream]) -> Result<BTreeMap<usize, Placed>, Fault> {
    let shards = app.storage.install().shards;
    let (mut wanted, mut known) = (Vec::new(), BTreeMap::new());
    for (index, stream) in streams.iter().enumerate() {
        let (Some(place), Some(order_id)) = (stream.place, stream.subject.order_id()) else { continue };
        if let Some(Head::Next(version)) = stream.head() {
            let place = (order_id.shard(shards), place);
            known.insert(place, 0);
            wanted.push((index, place, order_id, version));
        }
    }
    if known.is_empty() {
        return Ok(BTreeMap::new());
    }
    let places: Vec<_> = known.keys().copied().collect();
    known.values_mut().enumerate().for_each(|(at, known)| *known = at);
    let read: Vec<_> =
        app.storage.events_at(&places).await?.into_iter().map(|event| event.map(Arc::new)).collect();
    let mut placed = BTreeMap::new();
    for (index, place, order_id, version) in wanted {
        let at = known.get(&place).copied().unwrap_or(usize::MAX);
        match read.get(at) {
            Some(Some(event)) if event.order_id == order_id && event.version == version => {
                placed.insert(index, Placed::Is(Arc::clone(event)));
            }
            // It is looked for where the order's events are.
            Some(_) => {}
            None => {
                placed.insert(index, Placed::Later);
            }
        }
    }
    Ok(placed)
}

async fn read(app: &App, stream: &Stream, head: Head, endpoint: &Endpoint) -> Result<Read, Fault> {
    let (first, last) = match head {
        Head::Again(version) => (version, version),
        Head::Next(version) => (version, stream.upto),
    };
    // What is sent again was asked for, whatever the endpoint listens to now.
    let wanted = |kind: &str| matches!(head, Head::Again(_)) || endpoint.listens.hears(kind);
    let found = match stream.subject.order_id() {
        Some(order_id) => order_event(app, (stream, order_id), (first, last), wanted).await?,
        None => store_event(app, (stream, stream.subject), (first, last), wanted).await?,
    };
    Ok(found.map_or(Read::Nothing(last), Read::Found))
}

async fn order_event(
    app: &App,
    (stream, order_id): (&Stream, OrderId),
    (first, last): (u64, u64),
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<Told>, Fault> {
    let mut after = first.saturating_sub(1);
    loop {
        let limit = u32::try_from(last - after).unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
        let page = app.storage.order_events(&stream.tenant, order_id, after, limit).await?;
        // What is not kept any more can be sent no more.
        let Some(end) = page.as_ref().and_then(|page| page.events.last()).map(|event| event.version) else {
            return Ok(None);
        };
        let events = page.into_iter().flat_map(|page| page.events);
        let mut events = events.filter(|event| event.version <= last);
        if let Some(event) = events.find(|event| wanted(event.kind.as_str())) {
            return Ok(Some(Told::Order(Arc::new(event))));
        }
        if end >= last || end <= after {
            return Ok(None);
        }
        after = end;
    }
}

async fn store_event(
    app: &App,
    (stream, store): (&Stream, Subject),
    (first, last): (u64, u64),
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<Told>, Fault> {
    let mut from = first.max(1);
    while from <= last {
        let found = app.storage.markets().store_events(StoreId(store.id), from - 1, 1).await?.pop();
        let Some(event) = found.filter(|event| event.tenant == stream.tenant && event.version <= last) else {
            break;
        };
        if wanted(event.kind.word()) {
            return Ok(Some(Told::Store(Box::new(event))));
        }
        from = event.version + 1;
    }
    Ok(None)
}

/// The POST that tells an endpoint of something, as it leaves at `now`.
///
/// # Errors
/// When a secret does not open: nothing is sent that a receiver could not trust.
pub(super) fn sending(app: &App, endpoint: &Endpoint, told: &Told, now: Timestamp) -> Result<Sending, Error> {
    let secrets = secrets(app, endpoint, now)?;
    let body = told.body(endpoint);
    Ok(Sending {
        url: endpoint.url.clone(),
        headers: body::headers(endpoint.dialect, told.event_id(), now, &secrets, &body),
        body,
        timeout: schedule::timeout(endpoint.dialect),
        endpoint: endpoint.endpoint_id,
    })
}

/// The secrets that count now, the newest first.
fn secrets(app: &App, endpoint: &Endpoint, now: Timestamp) -> Result<Vec<Secret>, Error> {
    let row = endpoint.endpoint_id.to_string();
    let mut secrets = Vec::new();
    if let Some(sealed) = &endpoint.secret {
        secrets.push(app.keyring()?.open(&endpoint::place(&endpoint.tenant, &row), sealed)?);
    }
    if let Some(previous) = endpoint.previous.as_ref().filter(|previous| now < previous.until) {
        let place = endpoint::previous_place(&endpoint.tenant, &row);
        secrets.push(app.keyring()?.open(&place, &previous.sealed)?);
    }
    Ok(secrets)
}
