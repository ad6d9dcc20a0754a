//! What is set when nobody sets anything.

use super::{Inputs, as_rows, load_ok};

/// Groups that have tests of their own.
const ELSEWHERE: &[&str] = &[
    "catalog.",
    "contracts.",
    "database",
    "follower.heartbeat",
    "follower.lease",
    "journal.",
    "kafka.",
    "limits.",
    "marketplace.",
    "outbound.",
    "postgres.",
    "rabbitmq.",
    "rate.",
    "redis.",
    "secrets.",
    "serve.",
    "tls.",
];

#[test]
fn the_defaults() {
    let config = load_ok(&Inputs::default());
    let rows = as_rows(&config)
        .into_iter()
        .filter(|[key, ..]| !ELSEWHERE.iter().any(|group| key.starts_with(group)))
        .map(|[key, value, ..]| format!("{key} = {value}\n"));
    insta::assert_snapshot!(rows.collect::<String>(), @r"
    listen = 127.0.0.1:3000
    data = ./wellorder-data
    as = 
    role = all
    ops = 
    auth.jwt_secret = 
    auth.jwt_issuer = 
    auth.jwt_audience = 
    auth.jwks_url = 
    auth.jwks_issuer = 
    auth.jwks_audience = 
    auth.jwks_algorithms = RS256,ES256
    auth.jwks_type = 
    auth.token_lifetime_max_ms = 0
    auth.key_pepper = 
    client.key = 
    log.level = info
    log.format = json
    telemetry.otlp_endpoint = 
    telemetry.otlp_headers = 
    telemetry.service_name = wellorder
    telemetry.sample_ratio = 1.0
    telemetry.trust_incoming = true
    processor = simulate
    simulate.delay_ms = 2000
    simulate.fail_rate = 0.0
    http_processor.url = 
    http_processor.connect_timeout_ms = 3000
    http_processor.timeout_ms = 15000
    worker.batch_size = 100
    worker.max_attempts = 3
    worker.poll_interval_ms = 1000
    worker.lease_ms = 30000
    worker.heartbeat_ms = 10000
    worker.backoff_base_ms = 1000
    worker.backoff_cap_ms = 900000
    worker.lapses_max = 10
    follower.batch_size = 2000
    follower.poll_ms = 200
    follower.idle_ms = 1000
    follower.start = beginning
    follower.breaker_calls = 20
    follower.breaker_failures_percent = 50
    follower.breaker_probe_ms = 5000
    ndjson.path = ./wellorder-data/events.ndjson
    ndjson.rotate_mib = 64
    storage.free_space_min_mib = 256
    storage.busy_timeout_ms = 5000
    lane.queue_max = 8192
    lane.queue_mib = 64
    lane.batch_max = 512
    feed.readers_max = 1000
    shutdown.drain_ms = 10000
    auth.jwks_allow_private = true
    auth.operator_tenant = default
    lane.delay_max_ms = 250
    lane.deadline_ms = 1000
    shards = 1
    ");
}

#[test]
fn the_default_limits() {
    let config = load_ok(&Inputs::default());
    let rows = as_rows(&config).into_iter().filter(|[key, ..]| key.starts_with("limits."));
    let rows = rows.map(|[key, value, ..]| format!("{key} = {value}\n"));
    insta::assert_snapshot!(rows.collect::<String>(), @r"
    limits.body_kib = 256
    limits.bulk_mib = 16
    limits.bulk_requests_max = 32
    limits.headers_max = 64
    limits.header_kib = 16
    limits.uri_kib = 8
    limits.header_timeout_ms = 10000
    limits.body_timeout_ms = 30000
    limits.request_timeout_ms = 60000
    limits.stall_timeout_ms = 30000
    limits.connections_max = 10000
    limits.json_depth = 32
    limits.json_items = 20000
    limits.answers_mib = 64
    limits.reads_at_once = 16
    limits.lists_at_once = 3
    limits.read_wait_ms = 1000
    ");
}
