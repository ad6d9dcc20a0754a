//! The one list of settings.

use super::{
    processors::ProcessorKind,
    settings::{FollowerStart, LogFormat, LogLevel, NdjsonSink, Role, Settings},
    shape::Shape::{
        self, Address, Count, Folder, MaybeAddress, MaybeUrl, MaybeWord, Millis, Part, Secret, Switch, Text,
        Word, Words,
    },
    sources::{Inputs, Mode},
    table_contracts::CONTRACTS as CONTRACT_SETTINGS,
    table_kafka::KAFKA,
    table_marketplace::MARKETPLACE,
    table_outbound::OUTBOUND,
    table_rabbitmq::RABBITMQ,
    table_redis::REDIS,
    table_sales::SALES,
    table_secrets::SECRETS,
    table_serve::SERVE,
    table_share::SHARE,
    table_storage::STORAGE,
};

/// One setting.
pub(super) struct Setting {
    /// Its key in `wellorder.toml`; the environment name follows from it.
    pub(super) path: &'static str,
    /// Plain environment names that are honoured too, the first before the second.
    pub(super) aliases: &'static [&'static str],
    /// The same, for processes with a role.
    pub(super) role_aliases: &'static [(Role, &'static str)],
    pub(super) default: Default,
    pub(super) shape: Shape,
    /// Never shown whole.
    pub(super) secret: bool,
    /// What it is, in one line.
    pub(super) about: &'static str,
}

/// What a setting is when nobody says anything.
pub(super) enum Default {
    /// This text.
    Is(&'static str),
    /// What follows from the other settings and from where the process runs.
    Follows(fn(&Settings, &Inputs) -> String),
}

use Default::{Follows, Is};

impl Setting {
    /// `WELLORDER_` and the path in capitals, dots as underscores.
    pub(super) fn variable(&self) -> String {
        format!("WELLORDER_{}", self.path.to_uppercase().replace('.', "_"))
    }

    pub(super) const fn new(path: &'static str, default: Default, shape: Shape, about: &'static str) -> Self {
        Self { path, aliases: &[], role_aliases: &[], default, shape, secret: false, about }
    }

    /// Every plain environment name that is honoured, in a process with any role.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.aliases.iter().copied().chain(self.role_aliases.iter().map(|(_, name)| *name))
    }

    pub(super) const fn or_of(mut self, aliases: &'static [(Role, &'static str)]) -> Self {
        self.role_aliases = aliases;
        self
    }

    pub(super) const fn or(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// The contracts that can be at the root of the port, and the port each is used to.
const CONTRACTS: &[(&str, u16)] =
    &[("oscarps", 3000), ("parspec", 3000), ("sales", 3000), ("marketplace", 3000), ("orderstream", 8080)];
const CONTRACT_NAMES: &[&str] =
    &[CONTRACTS[0].0, CONTRACTS[1].0, CONTRACTS[2].0, CONTRACTS[3].0, CONTRACTS[4].0];

const ROLES: &[&str] = &["api", "worker", "relay", "sync", "all"];
const ROLE_VALUES: [Role; 5] = [Role::Api, Role::Worker, Role::Relay, Role::Sync, Role::All];
const ALGORITHMS: &[&str] = &["RS256", "PS256", "ES256", "EdDSA"];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const LEVEL_VALUES: [LogLevel; 5] =
    [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

pub(super) const HOUR_MS: u64 = 60 * 60 * 1000;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;
const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * 1024;
/// A tebibyte, in MiB.
const TIB_MIB: u64 = 1024 * 1024;

/// The table's ranges keep every count within 32 bits; this says so to the compiler.
pub(super) fn small(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn listen_default(settings: &Settings, _: &Inputs) -> String {
    let mounted = settings.mounted.as_deref();
    let port = CONTRACTS.iter().find(|(name, _)| Some(*name) == mounted).map_or(3000, |(_, port)| *port);
    format!("127.0.0.1:{port}")
}

fn log_format_default(_: &Settings, inputs: &Inputs) -> String {
    if inputs.stderr_is_terminal { "text" } else { "json" }.to_owned()
}

fn ndjson_path_default(settings: &Settings, _: &Inputs) -> String {
    settings.data.join("events.ndjson").display().to_string()
}

fn processor_default(_: &Settings, inputs: &Inputs) -> String {
    if inputs.mode == Mode::Serve { "pull" } else { "simulate" }.to_owned()
}

fn max_attempts_default(_: &Settings, inputs: &Inputs) -> String {
    if inputs.mode == Mode::Serve { "20" } else { "3" }.to_owned()
}

fn trust_incoming_default(_: &Settings, inputs: &Inputs) -> String {
    (inputs.mode != Mode::Serve).to_string()
}

/// A text that may be left out.
fn maybe(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn set_ndjson_path(settings: &mut Settings, text: &str) {
    settings.ndjson.sink = match text {
        "" => NdjsonSink::Off,
        "-" => NdjsonSink::Stdout,
        path => NdjsonSink::File(path.into()),
    };
}

fn ops_default(_: &Settings, inputs: &Inputs) -> String {
    if inputs.mode == Mode::Serve { "127.0.0.1:9090" } else { "" }.to_owned()
}

/// Every setting there is, in the order in which they are shown.
pub(super) fn every_setting() -> impl Iterator<Item = &'static Setting> {
    let servers = KAFKA.iter().chain(RABBITMQ).chain(REDIS);
    let contracts = CONTRACT_SETTINGS.iter().chain(SALES).chain(MARKETPLACE).chain(OUTBOUND);
    SETTINGS.iter().chain(SHARE).chain(contracts).chain(servers).chain(SERVE).chain(SECRETS).chain(STORAGE)
}

static SETTINGS: &[Setting] = &[
    Setting::new(
        "listen",
        Follows(listen_default),
        Address { set: |s, v| s.listen = v },
        "address that serves HTTP",
    )
    .or(&["PORT", "API_PORT"]),
    Setting::new("data", Is("./wellorder-data"), Folder { set: |s, v| s.data = v }, "data folder"),
    Setting::new(
        "as",
        Is(""),
        MaybeWord { words: CONTRACT_NAMES, set: |s, v| s.mounted = v.map(str::to_owned) },
        "contract served at the root of the port",
    ),
    Setting::new(
        "role",
        Is("all"),
        Words {
            words: ROLES,
            set: |s, places| s.roles = places.into_iter().map(|place| ROLE_VALUES[place]).collect(),
        },
        "what this process does",
    ),
    Setting::new(
        "ops",
        Follows(ops_default),
        MaybeAddress { set: |s, v| s.ops = v },
        "second address, for health and metrics alone; 127.0.0.1:9090 in serve",
    ),
    Setting::new(
        "auth.jwt_secret",
        Is(""),
        Secret { set: |s, v| s.auth.jwt_secret = v },
        "secret shared with an issuer of tokens (HS256), at least 32 random bytes",
    )
    .or(&["JWT_SECRET"])
    .secret(),
    Setting::new(
        "auth.jwt_issuer",
        Is(""),
        Text { set: |s, v| s.auth.jwt_issuer = maybe(v) },
        "iss that its tokens must have",
    ),
    Setting::new(
        "auth.jwt_audience",
        Is(""),
        Text { set: |s, v| s.auth.jwt_audience = maybe(v) },
        "aud that its tokens must have",
    ),
    Setting::new(
        "auth.jwks_url",
        Is(""),
        MaybeUrl { set: |s, v| s.auth.jwks_url = v },
        "where an issuer of tokens publishes its keys",
    )
    .secret(),
    Setting::new(
        "auth.jwks_issuer",
        Is(""),
        Text { set: |s, v| s.auth.jwks_issuer = maybe(v) },
        "iss that its tokens must have",
    ),
    Setting::new(
        "auth.jwks_audience",
        Is(""),
        Text { set: |s, v| s.auth.jwks_audience = maybe(v) },
        "aud that its tokens must have",
    ),
    Setting::new(
        "auth.jwks_algorithms",
        Is("RS256,ES256"),
        Words {
            words: ALGORITHMS,
            set: |s, places| {
                s.auth.jwks_algorithms =
                    places.into_iter().map(|place| auth::Algorithm::PUBLIC[place]).collect();
            },
        },
        "what it signs with; nothing else is taken",
    ),
    Setting::new(
        "auth.jwks_type",
        Is(""),
        Text { set: |s, v| s.auth.jwks_type = maybe(v) },
        "typ that its tokens must have, such as at+jwt",
    ),
    Setting::new(
        "auth.token_lifetime_max_ms",
        Is("0"),
        Millis {
            min: 0,
            max: 3650 * DAY_MS,
            set: |s, v| s.auth.token_lifetime_max = Some(v).filter(|v| !v.is_zero()),
        },
        "longest life of a token; 0 is a day for published keys, and no bound for the secret",
    ),
    Setting::new(
        "auth.key_pepper",
        Is(""),
        Secret { set: |s, v| s.auth.key_pepper = v },
        "what API keys are hashed with, else a random one in the database; changing it ends every key",
    )
    .secret(),
    Setting::new(
        "client.key",
        Is(""),
        Secret { set: |s, v| s.client_key = v },
        "API key or token that client commands send",
    )
    .or(&["WELLORDER_KEY"])
    .secret(),
    Setting::new(
        "log.level",
        Is("info"),
        Word { words: LEVELS, set: |s, place| s.log.level = LEVEL_VALUES[place] },
        "least important message that is logged",
    )
    .or(&["LOG_LEVEL"]),
    Setting::new(
        "log.format",
        Follows(log_format_default),
        Word {
            words: &["json", "text"],
            set: |s, place| s.log.format = [LogFormat::Json, LogFormat::Text][place],
        },
        "form of the logs; text on a terminal, else json",
    ),
    Setting::new(
        "telemetry.otlp_endpoint",
        Is(""),
        MaybeUrl { set: |s, v| s.telemetry.otlp_endpoint = v },
        "OpenTelemetry collector that gets traces (OTLP over HTTP); empty is off",
    )
    .or(&["OTEL_EXPORTER_OTLP_ENDPOINT"])
    .secret(),
    Setting::new(
        "telemetry.otlp_headers",
        Is(""),
        Text { set: |s, v| v.clone_into(&mut s.telemetry.otlp_headers) },
        "headers for the collector, name=value apart by commas",
    )
    .or(&["OTEL_EXPORTER_OTLP_HEADERS"])
    .secret(),
    Setting::new(
        "telemetry.service_name",
        Is("wellorder"),
        Text { set: |s, v| v.clone_into(&mut s.telemetry.service_name) },
        "what this process is called in traces",
    )
    .or(&["OTEL_SERVICE_NAME"]),
    Setting::new(
        "telemetry.sample_ratio",
        Is("1.0"),
        Part { set: |s, v| s.telemetry.sample_ratio = v },
        "part of the traces that begin here that is recorded",
    ),
    Setting::new(
        "telemetry.trust_incoming",
        Follows(trust_incoming_default),
        Switch { set: |s, v| s.telemetry.trust_incoming = v },
        "whether a request that brings a trace says if it is recorded",
    ),
    Setting::new(
        "processor",
        Follows(processor_default),
        Word { words: ProcessorKind::WORDS, set: |s, place| s.processor = ProcessorKind::VALUES[place] },
        "who does the work of orders, unless their contract says otherwise; pull in serve, else simulate",
    ),
    Setting::new(
        "simulate.delay_ms",
        Is("2000"),
        Millis { min: 0, max: HOUR_MS, set: |s, v| s.simulate.delay = v },
        "how long a simulated order takes",
    )
    .or(&["WORKER_PROCESSING_DELAY_MS"]),
    Setting::new(
        "simulate.fail_rate",
        Is("0.0"),
        Part { set: |s, v| s.simulate.fail_rate = v },
        "part of simulated attempts that fails",
    ),
    Setting::new(
        "http_processor.url",
        Is(""),
        MaybeUrl { set: |s, v| s.http_processor.url = v },
        "where the processor http posts orders",
    )
    .secret(),
    Setting::new(
        "http_processor.connect_timeout_ms",
        Is("3000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.http_processor.connect_timeout = v },
        "until the connection to it stands",
    ),
    Setting::new(
        "http_processor.timeout_ms",
        Is("15000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.http_processor.timeout = v },
        "the whole call to it",
    ),
    Setting::new(
        "worker.batch_size",
        Is("100"),
        Count { min: 1, max: 10_000, set: |s, v| s.worker.batch_size = small(v) },
        "orders claimed at a time",
    )
    .or(&["WORKER_BATCH_SIZE"]),
    Setting::new(
        "worker.max_attempts",
        Follows(max_attempts_default),
        Count { min: 1, max: 1000, set: |s, v| s.worker.max_attempts = number(v) },
        "attempts before an order is parked; 20 in serve, else 3",
    )
    .or(&["WORKER_MAX_ATTEMPTS"]),
    Setting::new(
        "worker.poll_interval_ms",
        Is("1000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.worker.poll_interval = v },
        "how often due work is looked for when nothing wakes the worker",
    )
    .or(&["WORKER_POLL_INTERVAL_MS"]),
    Setting::new(
        "worker.lease_ms",
        Is("30000"),
        Millis { min: 100, max: HOUR_MS, set: |s, v| s.worker.lease = v },
        "how long a claim holds",
    ),
    Setting::new(
        "worker.heartbeat_ms",
        Is("10000"),
        Millis { min: 50, max: HOUR_MS, set: |s, v| s.worker.heartbeat = v },
        "how often a claim is extended",
    ),
    Setting::new(
        "worker.backoff_base_ms",
        Is("1000"),
        Millis { min: 1, max: DAY_MS, set: |s, v| s.worker.backoff_base = v },
        "wait after the first failed attempt; doubles with each",
    ),
    Setting::new(
        "worker.backoff_cap_ms",
        Is("900000"),
        Millis { min: 1, max: DAY_MS, set: |s, v| s.worker.backoff_cap = v },
        "longest wait between attempts",
    ),
    Setting::new(
        "worker.lapses_max",
        Is("10"),
        Count { min: 1, max: 1000, set: |s, v| s.worker.lapses_max = number(v) },
        "claims in a row that run out before an order is parked",
    ),
    Setting::new(
        "follower.batch_size",
        Is("2000"),
        Count { min: 1, max: 10_000, set: |s, v| s.follower.batch_size = small(v) },
        "events sent at a time",
    ),
    Setting::new(
        "follower.poll_ms",
        Is("200"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.follower.poll = v },
        "first wait after a sink failed; doubles up to 5 s",
    ),
    Setting::new(
        "follower.idle_ms",
        Is("1000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.follower.idle = v },
        "wait between looks at the journal when there is none",
    ),
    Setting::new(
        "follower.start",
        Is("beginning"),
        Word {
            words: &["beginning", "now"],
            set: |s, place| s.follower.start = [FollowerStart::Beginning, FollowerStart::Now][place],
        },
        "where a new follower starts",
    ),
    Setting::new(
        "follower.breaker_calls",
        Is("20"),
        Count { min: 1, max: 1000, set: |s, v| s.follower.breaker_calls = small(v) },
        "deliveries to a sink by which it is judged, the last so many",
    ),
    Setting::new(
        "follower.breaker_failures_percent",
        Is("50"),
        Count { min: 1, max: 100, set: |s, v| s.follower.breaker_failures_percent = number(v) },
        "part of them that must fail, in percent, for the sink to be left alone",
    ),
    Setting::new(
        "follower.breaker_probe_ms",
        Is("5000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.follower.breaker_probe = v },
        "how often a sink that is left alone is tried",
    ),
    Setting::new(
        "ndjson.path",
        Follows(ndjson_path_default),
        Text { set: set_ndjson_path },
        "file that gets every event as a line; - is standard output, empty is off",
    ),
    Setting::new(
        "ndjson.rotate_mib",
        Is("64"),
        Count { min: 1, max: TIB_MIB, set: |s, v| s.ndjson.rotate_bytes = v * MIB },
        "size after which a new file is begun",
    ),
    Setting::new(
        "storage.free_space_min_mib",
        Is("256"),
        Count { min: 0, max: TIB_MIB, set: |s, v| s.storage.free_space_min_bytes = v * MIB },
        "free disk space below which nothing is written",
    ),
    Setting::new(
        "storage.busy_timeout_ms",
        Is("5000"),
        Millis { min: 0, max: HOUR_MS, set: |s, v| s.storage.busy_timeout = v },
        "how long a locked database is waited for",
    ),
    Setting::new(
        "lane.queue_max",
        Is("8192"),
        Count { min: 1, max: 1_000_000, set: |s, v| s.lane.queue_max = small(v) },
        "writes that may wait for their commit; more are refused with 503",
    ),
    Setting::new(
        "lane.queue_mib",
        Is("64"),
        Count { min: 1, max: 65_536, set: |s, v| s.lane.queue_bytes = small(v * MIB) },
        "memory that writes may hold until they are committed; more are refused with 503",
    ),
    Setting::new(
        "lane.batch_max",
        Is("512"),
        Count { min: 1, max: 10_000, set: |s, v| s.lane.batch_max = small(v) },
        "writes in one commit",
    ),
    Setting::new(
        "limits.body_kib",
        Is("256"),
        Count { min: 1, max: 65_536, set: |s, v| s.limits.body_bytes = small(v * KIB) },
        "longest body of a request",
    ),
    Setting::new(
        "limits.bulk_mib",
        Is("16"),
        Count { min: 1, max: 1024, set: |s, v| s.limits.bulk_bytes = small(v * MIB) },
        "longest body of a bulk request; each of its lines may be limits.body_kib long",
    ),
    Setting::new(
        "limits.bulk_requests_max",
        Is("32"),
        Count { min: 1, max: 10_000, set: |s, v| s.limits.bulk_requests_max = small(v) },
        "bulk requests at once; more are refused with 503",
    ),
    Setting::new(
        "limits.headers_max",
        Is("64"),
        Count { min: 8, max: 1000, set: |s, v| s.limits.headers_max = small(v) },
        "most headers of a request",
    ),
    Setting::new(
        "limits.header_kib",
        Is("16"),
        Count { min: 8, max: 1024, set: |s, v| s.limits.header_bytes = small(v * KIB) },
        "longest head of a request",
    ),
    Setting::new(
        "limits.uri_kib",
        Is("8"),
        Count { min: 1, max: 64, set: |s, v| s.limits.uri_bytes = small(v * KIB) },
        "longest address of a request",
    ),
    Setting::new(
        "limits.header_timeout_ms",
        Is("10000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.limits.header_timeout = v },
        "until the head of a request is here",
    ),
    Setting::new(
        "limits.body_timeout_ms",
        Is("30000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.limits.body_timeout = v },
        "until the body of a request is here, or the next line of a bulk request",
    ),
    Setting::new(
        "limits.request_timeout_ms",
        Is("60000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.limits.request_timeout = v },
        "until a request is answered",
    ),
    Setting::new(
        "limits.stall_timeout_ms",
        Is("30000"),
        Millis { min: 10, max: HOUR_MS, set: |s, v| s.limits.stall_timeout = v },
        "until a client takes more of its answer, before it is cut off",
    ),
    Setting::new(
        "limits.connections_max",
        Is("10000"),
        Count { min: 1, max: 1_000_000, set: |s, v| s.limits.connections_max = small(v) },
        "connections open at once",
    ),
    Setting::new(
        "limits.json_depth",
        Is("32"),
        Count { min: 2, max: 128, set: |s, v| s.limits.json_depth = small(v) },
        "how deep JSON may nest",
    ),
    Setting::new(
        "limits.json_items",
        Is("20000"),
        Count { min: 1, max: 1_000_000, set: |s, v| s.limits.json_items = small(v) },
        "most items of one array, and members of one object, in a request's JSON",
    ),
    Setting::new(
        "feed.readers_max",
        Is("1000"),
        Count { min: 1, max: 1_000_000, set: |s, v| s.feed_readers_max = small(v) },
        "readers of the feed as a stream at once; more are refused with 503",
    ),
    Setting::new(
        "shutdown.drain_ms",
        Is("10000"),
        Millis { min: 0, max: HOUR_MS, set: |s, v| s.shutdown_drain = v },
        "how long running requests and work may take to end at shutdown",
    ),
];
