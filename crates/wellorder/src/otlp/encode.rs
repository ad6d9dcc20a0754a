//! Spans as OTLP has them.

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use order_core::Timestamp;
use order_core::trace::{Attribute, Recorded, SpanName, TraceContext, Value};
use prost::Message;

/// Set when the parent's place in the trace is known to be remote or not (OTLP, `SpanFlags`).
const FLAG_HAS_REMOTE: u32 = 0x100;

/// Who the spans are of.
pub(super) struct Resource(Vec<KeyValue>);

impl Resource {
    pub(super) fn new(service_name: &str) -> Self {
        Self(vec![
            attribute("service.name", Value::Text(service_name.to_owned())),
            attribute("service.version", Value::Text(env!("CARGO_PKG_VERSION").to_owned())),
        ])
    }
}

/// The request that carries `spans`.
pub(super) fn request(resource: &Resource, spans: &[Recorded]) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "wellorder".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans =
        ScopeSpans { scope: Some(scope), spans: spans.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource = OtlpResource { attributes: resource.0.clone(), ..OtlpResource::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// How many spans a collector that took a request says it refused.
pub(super) fn refused(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

fn span(recorded: &Recorded) -> Span {
    let links = recorded.links.iter().map(|link| Link {
        trace_id: link.trace_id().to_vec(),
        span_id: link.span_id().to_vec(),
        flags: flags(*link),
        ..Link::default()
    });
    // Where all went well the status is left to the receiver.
    let status = recorded.failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() });
    Span {
        trace_id: recorded.context.trace_id().to_vec(),
        span_id: recorded.context.span_id().to_vec(),
        parent_span_id: recorded.parent.map_or_else(Vec::new, |parent| parent.to_vec()),
        flags: flags(recorded.context),
        name: name(recorded),
        kind: kind(recorded.name).into(),
        start_time_unix_nano: nanos(recorded.began_at),
        end_time_unix_nano: nanos(recorded.ended_at),
        attributes: recorded.attributes.iter().map(|said| attribute(said.key(), said.value())).collect(),
        links: links.collect(),
        status,
        ..Span::default()
    }
}

fn flags(context: TraceContext) -> u32 {
    FLAG_HAS_REMOTE | u32::from(context.flags())
}

/// A request is called by its method and route, as OpenTelemetry has it.
fn name(recorded: &Recorded) -> String {
    let said = |find: fn(&Attribute) -> Option<&str>| recorded.attributes.iter().find_map(find);
    match recorded.name {
        SpanName::Request => {
            let method = said(|said| if let Attribute::Method(method) = said { Some(method) } else { None });
            let route = said(|said| if let Attribute::Route(route) = said { Some(route) } else { None });
            [method.unwrap_or("HTTP"), route.unwrap_or_default()].join(" ").trim_end().to_owned()
        }
        SpanName::LaneCommit => "lane commit".to_owned(),
        SpanName::StorageCommit => "storage commit".to_owned(),
        SpanName::Process => "process".to_owned(),
        SpanName::Heartbeat => "heartbeat".to_owned(),
        SpanName::Deliver => "deliver".to_owned(),
        SpanName::Consume => "consume".to_owned(),
    }
}

fn kind(name: SpanName) -> SpanKind {
    match name {
        SpanName::Request => SpanKind::Server,
        SpanName::LaneCommit | SpanName::StorageCommit | SpanName::Heartbeat => SpanKind::Internal,
        SpanName::Process | SpanName::Consume => SpanKind::Consumer,
        SpanName::Deliver => SpanKind::Producer,
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or(0).saturating_mul(1_000)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(text),
        Value::Number(number) => Any::IntValue(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
