//! Spans. They are made here and sent off elsewhere: a span that has ended goes into a queue of bounded length, and is
//! dropped and counted when that is full. Nobody ever waits for it.
//!
//! What a span may say is the closed list [`Attribute`]: nothing that a client put into a body, a path or a query.

use super::TraceContext;
use crate::clock::{Clock, Timestamp};
use crate::ids::{Ids, OrderId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Spans that may wait to be sent off; more are dropped. About 2 MiB.
pub const SPANS_WAIT_MAX: usize = 8_192;
/// Most links of one span.
const LINKS_MAX: usize = 32;
/// How many of a trace id's bits are chance for certain (W3C Trace Context Level 2 §3.2.2.5).
const RANDOM_BITS: u32 = 56;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanName {
    /// A request, from its head to its reply's head.
    Request,
    /// A command, from the moment when it is queued to its commit.
    LaneCommit,
    /// A batch of commands in the storage; in the trace of its first command, linked to the others.
    StorageCommit,
    /// One try of the processor, settlement included.
    Process,
    /// A worker outside says that it still works.
    Heartbeat,
    /// An event on its way to a sink, in the delivery that it was part of.
    Deliver,
    /// A message of another program, until it is dealt with.
    Consume,
}

/// What may be said of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// Method of a request, of a bounded list.
    Method(&'static str),
    /// Pattern of a request's route, never its path.
    Route(String),
    /// Status of a reply.
    Status(u16),
    /// The order.
    OrderId(OrderId),
    /// Which try it is, from 1.
    Attempt(u32),
    /// How a try ended.
    Outcome(&'static str),
    /// Commands of a commit, or events of a delivery.
    BatchSize(usize),
    /// The kind of processor.
    Processor(&'static str),
    /// The follower's name.
    Follower(String),
    /// The kind of sink.
    Sink(&'static str),
    /// The type of an event.
    EventType(String),
    /// The queue or topic of a message.
    Queue(String),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl Attribute {
    /// Its key: OpenTelemetry's own name where there is one.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Method(_) => "http.request.method",
            Self::Route(_) => "http.route",
            Self::Status(_) => "http.response.status_code",
            Self::OrderId(_) => "wellorder.order_id",
            Self::Attempt(_) => "wellorder.attempt",
            Self::Outcome(_) => "wellorder.outcome",
            Self::BatchSize(_) => "wellorder.batch_size",
            Self::Processor(_) => "wellorder.processor",
            Self::Follower(_) => "wellorder.follower",
            Self::Sink(_) => "wellorder.sink",
            Self::EventType(_) => "wellorder.event_type",
            Self::Queue(_) => "messaging.destination.name",
        }
    }

    /// Its value.
    pub fn value(&self) -> Value {
        match self {
            Self::Method(text) | Self::Outcome(text) | Self::Processor(text) | Self::Sink(text) => {
                Value::Text((*text).to_owned())
            }
            Self::Route(text) | Self::Follower(text) | Self::EventType(text) | Self::Queue(text) => {
                Value::Text(text.clone())
            }
            Self::OrderId(order_id) => Value::Text(order_id.to_string()),
            Self::Status(status) => Value::Number(i64::from(*status)),
            Self::Attempt(attempt) => Value::Number(i64::from(*attempt)),
            Self::BatchSize(size) => Value::Number(i64::try_from(*size).unwrap_or(i64::MAX)),
        }
    }
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place.
    pub context: TraceContext,
    /// The span that it is part of; `None` at the root of its trace.
    pub parent: Option<[u8; 8]>,
    /// What it is about.
    pub name: SpanName,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What is said of it.
    pub attributes: Vec<Attribute>,
    /// Places in other traces that it is about too.
    pub links: Vec<TraceContext>,
    /// Whether what it is about failed.
    pub failed: bool,
}

/// A span that began elsewhere, and is to end here: in another request, perhaps of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its place, as [`Tracer::place`] said.
    pub context: TraceContext,
    /// The span that it is part of; `None` at the root of its trace.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub began_at: Timestamp,
}

/// Makes spans, or none when it is off. Clones share everything.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// Trace ids whose random bits are below this are recorded.
    threshold: u64,
    ended: mpsc::Sender<Recorded>,
    dropped: AtomicU64,
}

impl Tracer {
    /// Makes no spans: contexts are handed on as they came.
    pub fn off() -> Self {
        Self(None)
    }

    /// Makes spans, which come out of the receiver. Of the traces that begin here the part `ratio` (0.0–1.0) is
    /// recorded; of others those that came recorded.
    pub fn on(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, ratio: f64) -> (Self, mpsc::Receiver<Recorded>) {
        let (ended, spans) = mpsc::channel(SPANS_WAIT_MAX);
        let whole = (1_u64 << RANDOM_BITS) as f64;
        // A float to an integer saturates.
        let threshold = (ratio.clamp(0.0, 1.0) * whole) as u64;
        let inner = Inner { clock, ids, threshold, ended, dropped: AtomicU64::new(0) };
        (Self(Some(Arc::new(inner))), spans)
    }

    /// Whether it makes spans.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Spans that wait to be sent off.
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.ended.max_capacity() - inner.ended.capacity())
    }

    /// Spans that were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.dropped.load(Ordering::Relaxed))
    }

    /// Begins a span below `parent`, or at the root of a new trace.
    pub fn begin(&self, name: SpanName, parent: Option<TraceContext>) -> Span {
        let Some((inner, context)) = self.0.as_ref().zip(self.place(parent)) else {
            return Span { context: parent, recording: None };
        };
        let parent = parent.map(|parent| parent.span_id);
        self.resume(name, &Begun { context, parent, began_at: inner.clock.now() })
    }

    /// Where a span below `parent`, or at the root of a new trace, will have been when it ends ([`Tracer::resume`]).
    pub fn place(&self, parent: Option<TraceContext>) -> Option<TraceContext> {
        let Some(inner) = &self.0 else { return parent };
        Some(match parent {
            Some(parent) if !parent.is_sampled() => parent,
            Some(parent) => TraceContext { span_id: inner.span_id(), ..parent },
            None => inner.root(),
        })
    }

    /// Takes a span up that began elsewhere.
    pub fn resume(&self, name: SpanName, begun: &Begun) -> Span {
        let Begun { context, parent, began_at } = *begun;
        let Some(inner) = self.0.as_ref().filter(|_| context.is_sampled()) else {
            return Span { context: Some(context), recording: None };
        };
        // Where no spans were made when it began, its place is that of its parent.
        let own = parent != Some(context.span_id);
        let record = Recorded {
            context: if own { context } else { TraceContext { span_id: inner.span_id(), ..context } },
            parent,
            name,
            began_at,
            ended_at: Timestamp::from_micros(0),
            attributes: Vec::new(),
            links: Vec::new(),
            failed: false,
        };
        let context = Some(record.context);
        let recording = Recording { tracer: Arc::clone(inner), record };
        Span { context, recording: Some(Box::new(recording)) }
    }

    /// A place in a trace that came from a stranger, with our own word on whether the trace is recorded: by chance alone,
    /// for the stranger chose the trace's id too. Where no spans are made it stays as it came.
    pub fn decide(&self, context: TraceContext) -> TraceContext {
        let Some(inner) = &self.0 else { return context };
        let sampled = inner.sampled(&inner.ids.uuid_v4().into_bytes());
        TraceContext { flags: sampled | (context.flags & !super::SAMPLED), ..context }
    }

    /// Begins a span below `parent` if that is recorded; none otherwise.
    pub fn child(&self, name: SpanName, parent: Option<TraceContext>) -> Span {
        match parent.filter(TraceContext::is_sampled) {
            Some(parent) => self.begin(name, Some(parent)),
            None => Span { context: parent, recording: None },
        }
    }
}

impl Inner {
    fn root(&self) -> TraceContext {
        let trace_id = self.ids.uuid_v4().into_bytes();
        let sampled = self.sampled(&trace_id);
        TraceContext { trace_id, span_id: self.span_id(), flags: sampled | (super::FLAGS & !super::SAMPLED) }
    }

    /// The flag of a trace with this id.
    fn sampled(&self, trace_id: &[u8; 16]) -> u8 {
        let mut random = [0; 8];
        random.copy_from_slice(&trace_id[8..]);
        let random = u64::from_be_bytes(random) & ((1 << RANDOM_BITS) - 1);
        u8::from(random < self.threshold) * super::SAMPLED
    }

    /// Never all zeros: the half of a UUID that is taken holds its variant.
    fn span_id(&self) -> [u8; 8] {
        let mut span_id = [0; 8];
        span_id.copy_from_slice(&self.ids.uuid_v4().as_bytes()[8..]);
        span_id
    }
}

struct Recording {
    tracer: Arc<Inner>,
    record: Recorded,
}

/// A span under way. It ends when it is dropped.
#[derive(Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    context: Option<TraceContext>,
    recording: Option<Box<Recording>>,
}

impl Span {
    /// Its place, or its parent's when it is not recorded: what goes on with whatever it causes.
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// Its place, if it is recorded.
    pub fn recorded(&self) -> Option<TraceContext> {
        self.recording.as_ref().and(self.context)
    }

    /// Says something of it; `attribute` is only asked when it is recorded.
    pub fn say(&mut self, attribute: impl FnOnce() -> Attribute) {
        if let Some(recording) = &mut self.recording {
            recording.record.attributes.push(attribute());
        }
    }

    /// Says that it is about this place too; beyond 32 nothing is said.
    pub fn link(&mut self, other: TraceContext) {
        if let Some(recording) = &mut self.recording
            && recording.record.links.len() < LINKS_MAX
        {
            recording.record.links.push(other);
        }
    }

    /// It did not end: whoever asked will ask again.
    pub fn forget(&mut self) {
        self.recording = None;
    }

    /// Says that what it is about failed.
    pub fn fail(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.record.failed = true;
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let Recording { tracer, mut record } = *recording;
        record.ended_at = tracer.clock.now();
        if tracer.ended.try_send(record).is_err() {
            tracer.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context).field(&self.recording.is_some()).finish()
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.is_on()).finish()
    }
}
