//! `GET /v1/events` as a stream of server-sent events (WHATWG HTML §9.2).

use crate::Api;
use crate::accept::EVENT_STREAM;
use crate::cursor::Signer;
use crate::events::{LIMIT_MAX, LIMIT_UNLESS_SAID};
use crate::params::{Params, after_refused};
use crate::problem::{Failure, Offence, cursor_refused};
use crate::seats::Seat;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use edge::{Caller, Refusal, Stalled, Standing};
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use metrics::Gauge;
use order_core::journal::{Cursor, Event};
use order_core::live::{Batch, End, Reader};
use order_core::{Error, TenantId};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps proxies from holding events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Silence after which something is sent all the same.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Sent first: how long a browser waits before it comes back, in milliseconds. It also gets the head through.
const GREETING: &str = "retry: 1000\n\n";

/// Opens a stream; what is wrong with the cursor is told before it begins.
pub(crate) async fn open(
    api: &Arc<Api>,
    stalled: Option<Stalled>,
    (caller, standing): (Caller, Standing),
    headers: &HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    // What has no meaning here is held to its form all the same.
    let mut params = params.read(&["after", "limit"]);
    params.limit(LIMIT_UNLESS_SAID, LIMIT_MAX);
    let after = params.get("after").map(str::to_owned);
    params.settle()?;
    let install = api.app.storage.install();
    let signer = Signer::new(install, &caller.tenant);
    let (text, refused): (_, fn(Error) -> Failure) = match last_event_id(headers) {
        Some(text) => (Some(text), last_event_id_refused),
        None => (after, after_refused),
    };
    let cursor = match text {
        Some(text) => signer.read_journal(&text).map_err(|rejection| refused(rejection.into()))?,
        None => Cursor::beginning(install.epoch, install.shards),
    };
    let seat = api.readers.take(&caller.tenant)?;
    let reader = Reader::open(Arc::clone(&api.app), cursor.clone()).await.map_err(refused)?;
    let readers = metrics::gauge!("wellorder_feed_readers");
    readers.increment(1.0);
    let stream = Stream {
        api: Arc::clone(api),
        tenant: caller.tenant,
        standing,
        reader,
        told: cursor,
        state: State::Opened,
        heartbeat_at: Instant::now() + HEARTBEAT,
        stalled,
        readers,
        _seat: seat,
    };
    let body = Body::from_stream(unfold(stream, Stream::step));
    let mut response = edge::respond::with_type(StatusCode::OK, HeaderValue::from_static(EVENT_STREAM), body);
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    // Whoever is cut must not take the rest of the connection for more of the stream.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

/// The cursor with which a client comes back. What is no text is no cursor either.
fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(LAST_EVENT_ID)?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    (!text.is_empty()).then_some(text)
}

fn last_event_id_refused(error: Error) -> Failure {
    cursor_refused(error, |code, message| Offence::parameter("Last-Event-ID", code, message))
}

/// One reader's stream.
struct Stream {
    api: Arc<Api>,
    tenant: TenantId,
    /// Whether the caller may still read.
    standing: Standing,
    reader: Reader,
    /// The cursor that the client knows.
    told: Cursor,
    state: State,
    heartbeat_at: Instant,
    stalled: Option<Stalled>,
    readers: Gauge,
    _seat: Seat,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opened,
    Running,
    Over,
}

impl Stream {
    async fn step(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let piece = match self.state {
            State::Opened => {
                self.state = State::Running;
                Bytes::from_static(GREETING.as_bytes())
            }
            State::Running => self.next().await?,
            State::Over => return None,
        };
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        Some((Ok(piece), self))
    }

    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Err(refusal) = self.standing.ask_if_due().await {
                return self.shut_out(&refusal);
            }
            let batch = match self.reader.next(self.heartbeat_at.min(self.standing.due_at())).await {
                Ok(batch) => batch,
                Err(end) => return self.end(end),
            };
            let text: Bytes = match batch {
                Batch::Idle if Instant::now() < self.heartbeat_at => continue,
                Batch::Idle => return Some(self.heartbeat()),
                Batch::Shared(page) => {
                    let render = |page: &order_core::live::Page| self.render(&page.from, &page.events);
                    Bytes::from_owner(Arc::<[u8]>::from(page.text(&self.tenant, render)))
                }
                // Each reader that is behind has such a page of its own.
                Batch::Own(..) if self.api.answers.room(&self.tenant).is_err() => return self.crowded_out(),
                Batch::Own(from, events) => {
                    self.api.answers.counted(&self.tenant, self.render(&from, &events))
                }
            };
            if !text.is_empty() {
                self.told.clone_from(self.reader.cursor());
                return Some(text);
            }
            // Others' events are no sign of life for this reader.
            if Instant::now() >= self.heartbeat_at {
                return Some(self.heartbeat());
            }
        }
    }

    /// This tenant's events, each with the cursor behind it.
    fn render(&self, from: &Cursor, events: &[Event]) -> String {
        let signer = Signer::new(self.api.app.storage.install(), &self.tenant);
        let mut cursor = from.clone();
        let mut text = String::new();
        for event in events {
            cursor.pass(event);
            if event.tenant == self.tenant {
                // Neither names nor JSON hold line breaks.
                let frame = (signer.journal(&cursor), event.kind.as_str(), event.to_json());
                let written = write!(text, "id: {}\nevent: {}\ndata: {}\n\n", frame.0, frame.1, frame.2);
                debug_assert!(written.is_ok());
            }
        }
        text
    }

    /// A comment. Where others' events were passed over, also the cursor behind them: an id without data tells the
    /// client where to come back, and is no event.
    fn heartbeat(&mut self) -> Bytes {
        if self.told == *self.reader.cursor() {
            return Bytes::from_static(b":\n\n");
        }
        self.told.clone_from(self.reader.cursor());
        let signer = Signer::new(self.api.app.storage.install(), &self.tenant);
        format!(":\nid: {}\n\n", signer.journal(&self.told)).into()
    }

    fn shut_out(&mut self, refusal: &Refusal) -> Option<Bytes> {
        self.state = State::Over;
        cut("shut-out");
        Some(match refusal {
            Refusal::Fault(_) => {
                Bytes::from_static(b": cut off: whether the credential is good cannot be found out\n\n")
            }
            _ => Bytes::from_static(b": cut off: the credential is no longer good\n\n"),
        })
    }

    fn crowded_out(&mut self) -> Option<Bytes> {
        self.state = State::Over;
        cut("crowded-out");
        Some(Bytes::from_static(b": cut off: too much waits for clients that take nothing\n\n"))
    }

    fn end(&mut self, end: End) -> Option<Bytes> {
        self.state = State::Over;
        match end {
            End::Stopping => None,
            End::Slow => {
                cut("slow");
                Some(Bytes::from_static(b": cut off: events came faster than they were taken\n\n"))
            }
            End::Failed(error) => {
                tracing::warn!(%error, "a stream of events ended: the journal cannot be read");
                Some(Bytes::from_static(b": the journal cannot be read now\n\n"))
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.readers.decrement(1.0);
        if self.stalled.as_ref().is_some_and(Stalled::is_so) {
            cut("stalled");
        }
    }
}

fn cut(reason: &'static str) {
    metrics::counter!("wellorder_feed_readers_cut_total", "reason" => reason).increment(1);
}

/// Describes what streams count.
pub(crate) fn describe() {
    metrics::describe_gauge!("wellorder_feed_readers", "Readers of the feed as a stream");
    metrics::describe_counter!(
        "wellorder_feed_readers_cut_total",
        "Readers of the feed that were cut off: `slow` ones fell behind, `stalled` ones took nothing, the \
         credential of `shut-out` ones was no longer good, for `crowded-out` ones there was no memory left"
    );
    metrics::describe_counter!("wellorder_bulk_lines_total", "Lines of bulk requests, by how they ended");
    // There from the start: a rate needs a zero to rise from.
    metrics::gauge!("wellorder_feed_readers").increment(0.0);
    for reason in ["slow", "stalled", "shut-out", "crowded-out"] {
        metrics::counter!("wellorder_feed_readers_cut_total", "reason" => reason).increment(0);
    }
    for outcome in ["accepted", "replayed", "refused", "failed"] {
        metrics::counter!("wellorder_bulk_lines_total", "outcome" => outcome).increment(0);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::Streams;
    use edge::{Gate, Need};
    use order_core::desk::Desks;
    use order_core::lane::LanePolicy;
    use order_core::{App, Fault, OrderId};
    use testkit::build::{intake, tenant};
    use testkit::{ManualClock, MemoryStorage, SeededIds};

    async fn stream(app: &Arc<App>, whose: &str) -> Stream {
        let pepper = order_core::Pepper::new([0; 32]);
        let lease = order_core::lease::LeasePolicy::default();
        let api = Api::new(
            Arc::clone(app),
            pepper,
            None,
            (lease, Desks::ALL),
            Streams::default(),
            None,
            true,
            (answers(), None),
        );
        let install = app.storage.install();
        let cursor = Cursor::beginning(install.epoch, install.shards);
        let gate = Arc::new(edge::Open::new(tenant(whose)));
        let (head, ()) = http::Request::new(()).into_parts();
        let caller = gate.admit(&head).await.unwrap();
        Stream {
            reader: Reader::open(Arc::clone(app), cursor.clone()).await.unwrap(),
            standing: Standing::new(gate.clone(), Need::Nothing, caller, &HeaderMap::new()),
            tenant: tenant(whose),
            told: cursor,
            state: State::Running,
            heartbeat_at: Instant::now(),
            stalled: None,
            readers: Gauge::noop(),
            _seat: api.readers.take(&tenant(whose)).unwrap(),
            api,
        }
    }

    fn answers() -> Arc<edge::Answers> {
        Arc::clone(&edge::Reads::new(edge::ReadPolicy::default()).answers)
    }

    async fn text(stream: &mut Stream) -> String {
        String::from_utf8(stream.next().await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_tenant_sees_its_own_events_and_moves_on_over_those_of_others() {
        let (storage, ids) = (MemoryStorage::new(), SeededIds::new(1));
        let app = App::start(storage.port(), ManualClock::new(), ids, LanePolicy::default());
        for (whose, reference) in [("ours", "a"), ("theirs", "b"), ("ours", "c"), ("theirs", "d")] {
            app.accept(intake(reference).tenant(whose).build()).await.unwrap();
        }
        let mut ours = stream(&app, "ours").await;
        let told = text(&mut ours).await;
        assert_eq!(told.matches("event: order.accepted\ndata: {").count(), 2, "{told}");
        let own = |reference: &str| {
            let id: OrderId = testkit::build::id_of(&intake(reference).tenant("ours").build());
            told.contains(&id.to_string())
        };
        assert!(own("a") && own("c"));
        let ids: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        let signer = Signer::new(app.storage.install(), &ours.tenant);
        assert_eq!(ids.len(), 2);
        assert!(ids.iter().all(|id| signer.read_journal(id).is_ok()));
        ours.heartbeat_at = Instant::now();
        assert_eq!(text(&mut ours).await, ":\n\n");

        // Whoever sees nothing of its own is told how far it is all the same, once.
        let mut quiet = stream(&app, "quiet").await;
        let told = text(&mut quiet).await;
        let id = told.strip_prefix(":\nid: ").and_then(|rest| rest.strip_suffix("\n\n")).unwrap();
        let signer = Signer::new(app.storage.install(), &quiet.tenant);
        assert_eq!(signer.read_journal(id), Ok(quiet.reader.cursor().clone()));
        assert_eq!(text(&mut quiet).await, ":\n\n");
    }

    #[tokio::test]
    async fn a_stream_begins_with_a_greeting_and_ends_with_a_word() {
        let (storage, ids) = (MemoryStorage::new(), SeededIds::new(1));
        let app = App::start(storage.port(), ManualClock::new(), ids, LanePolicy::default());
        let mut opened = stream(&app, "ours").await;
        opened.state = State::Opened;
        let Some((Ok(greeting), running)) = opened.step().await else { panic!("no greeting") };
        assert_eq!(greeting, GREETING);
        storage.fail_next_read(Fault::overloaded());
        let Some((Ok(last), over)) = running.step().await else { panic!("no last word") };
        assert!(last.starts_with(b": the journal cannot be read"));
        assert!(over.step().await.is_none());
        let running = stream(&app, "ours").await;
        app.stop();
        assert!(running.step().await.is_none());
    }
}
