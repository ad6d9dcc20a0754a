//! `POST /v1/orders/bulk`: one order a line, one answer a line, both streamed.
//!
//! One side reads lines and queues orders, the other waits for their commits and writes the answers, in order. Between
//! them is a window: when it is full, nothing is read. Answers that the client does not take pile up to a bound; then
//! the window fills, and the client must read before it can send on.

use crate::Api;
use crate::create::{IDEMPOTENCY_KEY, duplicate_differs, read};
use crate::params::NoParams;
use crate::problem::{BODY_TOO_LARGE, Failure, INVALID_KEY, MEDIA_TYPE_UNSUPPORTED, Problem, UNAVAILABLE};
use crate::seats::Seat;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use edge::{Caller, Line, Lines, Refusal, Refused, RequestId, Standing};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::try_unfold;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use order_core::action_log;
use order_core::intake::Accepted;
use order_core::{Error, TenantId, json, trace};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

/// Most lines of one request that are read and not answered: two of the largest commits.
const WINDOW_LINES: usize = 1_024;
/// Most bytes of them, or one line.
const WINDOW_BYTES: u32 = 1 << 20;
/// Most bytes of answers that the client has not taken.
const ANSWERS_BYTES_MAX: usize = 2 << 20;
/// Answers are handed on in pieces of about so many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Take many orders in.
///
/// Lines are answered in their order, each once its order is committed; one bad line harms no other.
/// Read answers while you send: what is not taken holds the request up. Once the credential is no longer good, the next
/// line is answered with 401 and the request ends.
#[utoipa::path(
    post,
    path = "/v1/orders/bulk",
    tag = "orders",
    operation_id = "create_orders",
    request_body(content = crate::schema::NewOrder, content_type = "application/x-ndjson",
        description = "One order a line. A line has at most 256 KiB, all of them 16 MiB. Give each order a `reference`: \
            then the request may be sent again"),
    responses((status = 200, description = "One answer a line, as it comes; blank lines are counted and not answered",
        body = crate::schema::BulkAnswer, content_type = "application/x-ndjson"))
)]
pub(crate) async fn bulk(
    State(api): State<Arc<Api>>,
    caller: Caller,
    standing: Standing,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    _: NoParams,
    lines: Result<Lines, Refused>,
) -> Result<Response, Failure> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let why = "A key is for one order: give each line a reference instead, and leave the header out";
        return Err(Problem::new(INVALID_KEY, why).into());
    }
    let mut lines = lines.map_err(|refused| match refused {
        Refused(Refusal::MediaTypeUnsupported) => {
            Problem::new(MEDIA_TYPE_UNSUPPORTED, "Content-Type must be application/x-ndjson").into()
        }
        other => Failure::Refused(other),
    })?;
    let seat = api.bulks.take(&caller.tenant)?;
    if headers.contains_key(header::EXPECT) {
        // Such a client sends nothing before it is told to go on, which a reply would not tell.
        lines.begun().await?;
    }
    let (ours, theirs) = duplex(ANSWERS_BYTES_MAX);
    let bulk = Bulk::new(api, caller.tenant, standing, request_id);
    let mut task = JoinSet::new();
    let running = bulk.run(lines, ours, seat).in_current_span();
    // Whoever asked brought every line.
    let running = action_log::within(action_log::current(), running);
    task.spawn(trace::within(trace::current(), running));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    Ok(edge::respond::with_type(StatusCode::OK, content_type, answers(theirs, task)))
}

/// The reply's body: what the task writes, to its orderly end.
fn answers(answers: DuplexStream, task: JoinSet<()>) -> Body {
    Body::from_stream(try_unfold((answers, task), async |(mut answers, mut task)| {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if answers.read_buf(&mut piece).await? > 0 {
            return Ok(Some((piece.freeze(), (answers, task))));
        }
        match task.join_next().await {
            Some(Ok(())) => Ok::<_, io::Error>(None),
            died => {
                // A reply that breaks off is not taken for a whole one.
                tracing::error!(?died, "a bulk request was not read to its end");
                Err(io::Error::other("the request was not read to its end"))
            }
        }
    }))
}

struct Bulk {
    api: Arc<Api>,
    tenant: TenantId,
    /// Whether the caller may still write.
    standing: Standing,
    request_id: RequestId,
    stopping: watch::Receiver<bool>,
}

/// A line on its way.
struct Pending {
    line: u64,
    answer: Answer,
    /// Its place in the window.
    _room: Option<OwnedSemaphorePermit>,
}

enum Answer {
    /// It was not queued.
    Refused(Box<Problem>),
    /// What its commit will say.
    Queued(BoxFuture<'static, Result<Accepted, Error>>),
}

impl Bulk {
    fn new(api: Arc<Api>, tenant: TenantId, standing: Standing, request_id: RequestId) -> Self {
        let stopping = api.app.stopping.subscribe();
        Self { api, tenant, standing, request_id, stopping }
    }

    async fn run(mut self, lines: Lines, out: DuplexStream, seat: Seat) {
        let (window, pending) = mpsc::channel(WINDOW_LINES);
        let answers =
            Answers { out, text: String::new(), request_id: self.request_id.clone(), failed: false };
        tokio::join!(self.read(lines, window), answers.write(pending));
        drop(seat);
    }

    /// Reads lines and queues their orders, as the window allows.
    async fn read(&mut self, mut lines: Lines, window: mpsc::Sender<Pending>) {
        let room = Arc::new(Semaphore::new(WINDOW_BYTES as usize));
        let limits = lines.limits();
        let mut number = 0;
        loop {
            number += 1;
            let line = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => Some(Err(stopped())),
                line = lines.next() => line.map(|line| line.map_err(Failure::from)),
            };
            let Some(line) = line else { return };
            let mut last = line.is_err();
            let (answer, room) = match line {
                Ok(Line::Blank) => continue,
                Ok(Line::TooLong) => (Answer::Refused(Box::new(too_long(limits.body_bytes_max))), None),
                Ok(Line::Text(text)) => {
                    let bytes = u32::try_from(text.len()).unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
                    let room = Arc::clone(&room).acquire_many_owned(bytes).await.ok();
                    // After the wait for room: whoever was shut out meanwhile writes no more.
                    match self.standing.ask_if_due().await {
                        Ok(()) => (self.queue(&text, limits.json).await, room),
                        Err(refusal) => {
                            last = true;
                            (Answer::Refused(Box::new(Failure::from(refusal).into_problem())), room)
                        }
                    }
                }
                Err(failure) => (Answer::Refused(Box::new(failure.into_problem())), None),
            };
            // Nobody is left to be answered once the other side has ended.
            if window.send(Pending { line: number, answer, _room: room }).await.is_err() || last {
                return;
            }
        }
    }

    async fn queue(&self, text: &Bytes, limits: json::JsonLimits) -> Answer {
        let intake = json::parse(text, limits)
            .map_err(|invalid| Refusal::InvalidJson(invalid).into())
            .and_then(|order| read(&order, self.tenant.clone(), None));
        let intake = match intake {
            Ok(intake) => intake,
            Err(failure) => return Answer::Refused(Box::new(failure.into_problem())),
        };
        match self.api.app.queue_accept(intake).await {
            Ok(accepted) => Answer::Queued(Box::pin(accepted)),
            Err(fault) => Answer::Refused(Box::new(Failure::from(fault).into_problem())),
        }
    }
}

fn too_long(bytes_max: usize) -> Problem {
    Problem::new(BODY_TOO_LARGE, format!("Line longer than {bytes_max} bytes"))
}

fn stopped() -> Failure {
    let why = "The server is stopping: from this line on nothing was read; send it again";
    Problem::new(UNAVAILABLE, why).with("retry_after", 1).into()
}

struct Answers {
    out: DuplexStream,
    /// What is written and not handed on.
    text: String,
    request_id: RequestId,
    /// Whether a fault was logged: one line a request is enough.
    failed: bool,
}

impl Answers {
    /// Answers lines in their order, until there are no more, or nobody listens.
    async fn write(mut self, mut pending: mpsc::Receiver<Pending>) {
        while let Some(Pending { line, answer, _room }) = self.next(&mut pending).await {
            let answered = match answer {
                Answer::Refused(problem) => self.refuse(line, &problem),
                Answer::Queued(mut commit) => {
                    let accepted = match (&mut commit).now_or_never() {
                        Some(accepted) => accepted,
                        None => {
                            if self.hand_on().await.is_err() {
                                return;
                            }
                            commit.await
                        }
                    };
                    self.answer(line, accepted)
                }
            };
            metrics::counter!("wellorder_bulk_lines_total", "outcome" => answered).increment(1);
            if self.text.len() >= PIECE_BYTES && self.hand_on().await.is_err() {
                return;
            }
        }
        // Whether anybody has heard of it does not matter any more.
        drop(self.hand_on().await);
    }

    /// The next line to answer; while there is none, the client has all answers so far.
    async fn next(&mut self, pending: &mut mpsc::Receiver<Pending>) -> Option<Pending> {
        if let Ok(next) = pending.try_recv() {
            return Some(next);
        }
        self.hand_on().await.ok()?;
        pending.recv().await
    }

    async fn hand_on(&mut self) -> io::Result<()> {
        self.out.write_all(self.text.as_bytes()).await?;
        self.text.clear();
        Ok(())
    }

    fn answer(&mut self, line: u64, accepted: Result<Accepted, Error>) -> &'static str {
        let (status, order_id, replayed) = match accepted {
            Ok(Accepted::New(order)) => (201, order.id, ""),
            Ok(Accepted::Duplicate { order, differs }) if differs.is_empty() => {
                (200, order.id, r#","replayed":true"#)
            }
            Ok(Accepted::Duplicate { order, differs }) => {
                return self.refuse(line, &duplicate_differs(&order, &differs));
            }
            Err(error) => {
                self.log(&error);
                return self.refuse(line, &Failure::from(error).into_problem());
            }
        };
        let answer = format!(r#"{{"line":{line},"status":{status},"order_id":"{order_id}"{replayed}}}"#);
        self.text.push_str(&answer);
        self.text.push('\n');
        if status == 201 { "accepted" } else { "replayed" }
    }

    fn refuse(&mut self, line: u64, problem: &Problem) -> &'static str {
        let status = problem.status();
        let answer =
            format!(r#"{{"line":{line},"status":{status},"problem":{}}}"#, problem.to_json(&self.request_id));
        self.text.push_str(&answer);
        self.text.push('\n');
        if status >= 500 { "failed" } else { "refused" }
    }

    fn log(&mut self, error: &Error) {
        let Error::Fault(fault) = error else { return };
        if !std::mem::replace(&mut self.failed, true) {
            tracing::warn!(%fault, "a line of a bulk request failed; no more of this request are logged");
        }
    }
}
