//! The settings as types. Every field is filled from the table; nothing here has a default of its own.

use super::{
    marketplace::Marketplace, processors::ProcessorKind, table_outbound::Outbound, table_secrets::SecretKeys,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

/// All settings of a process.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where HTTP is served.
    pub(crate) listen: SocketAddr,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The URL of a database on a server; none: it is in the data folder. Holds a password.
    pub(crate) database: Hidden,
    /// How that server is used.
    pub(crate) postgres: Postgres,
    /// How the journal is kept there.
    pub(crate) journal: Journal,
    /// The contract at the root of the port.
    pub(crate) mounted: Option<String>,
    /// What this process does; never empty, `All` stands for itself.
    pub(crate) roles: Vec<Role>,
    /// A second address for health and metrics.
    pub(crate) ops: Option<SocketAddr>,
    /// Who may call.
    pub(crate) auth: Auth,
    /// Contracts that ask for no login.
    pub(crate) public: BTreeSet<&'static str>,
    /// Contracts that are served at an address of their own too.
    pub(crate) contract_listen: Vec<(&'static str, SocketAddr)>,
    /// What the contract `sales` has with brokers.
    pub(crate) sales: Sales,
    /// The contract `orderstream`.
    pub(crate) orderstream: Orderstream,
    /// Marketplaces.
    pub(crate) marketplace: Marketplace,
    /// Calls whose addresses others set.
    pub(crate) outbound: Outbound,
    /// Certificates of authorities that are believed besides the public ones, by everything that calls out.
    pub(crate) ca_file: Option<PathBuf>,
    /// What client commands log in with.
    pub(crate) client_key: Hidden,
    /// What secrets at rest are sealed under.
    pub(crate) secrets: SecretKeys,
    /// Logs.
    pub(crate) log: Log,
    /// Traces.
    pub(crate) telemetry: Telemetry,
    /// Number of shards; fixed when the data folder is made.
    pub(crate) shards: u16,
    /// Whether somebody said how many; else a database that is there is taken as it is.
    pub(crate) shards_said: bool,
    /// Who does the work of an order.
    pub(crate) processor: ProcessorKind,
    /// Who does that of a contract's orders instead.
    pub(crate) contract_processors: BTreeMap<&'static str, ProcessorKind>,
    /// The simulated processor.
    pub(crate) simulate: Simulate,
    /// The processor behind a URL.
    pub(crate) http_processor: HttpProcessor,
    /// Where products are looked up.
    pub(crate) catalog: Catalog,
    /// Claiming, leases and retries.
    pub(crate) worker: Worker,
    /// Followers of the journal.
    pub(crate) follower: Follower,
    /// The file of events.
    pub(crate) ndjson: Ndjson,
    /// The topic of events.
    pub(crate) kafka: Kafka,
    /// What nodes share.
    pub(crate) redis: Redis,
    pub(crate) rabbitmq: RabbitMq,
    /// The embedded database.
    pub(crate) storage: Storage,
    /// Group commit.
    pub(crate) lane: Lane,
    /// What a request may be.
    pub(crate) limits: Limits,
    /// How often who may ask.
    pub(crate) rates: RateLimits,
    /// What `serve` is reached over.
    pub(crate) transport: Transport,
    /// Readers of the feed as a stream at once.
    pub(crate) feed_readers_max: usize,
    /// How long running requests and work may take to end at shutdown.
    pub(crate) shutdown_drain: Duration,
}

/// What the contract `sales` has with brokers; an empty name is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sales {
    /// The topic that tells what happens to its orders.
    pub(crate) topic: String,
    /// The exchange that new orders go to, and the queue that is bound to it.
    pub(crate) created: String,
    /// The queue that says which orders were sent.
    pub(crate) shipped: String,
    /// The queue that says which orders arrived.
    pub(crate) delivered: String,
}

/// The contract `orderstream`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orderstream {
    /// An address for gRPC alone.
    pub(crate) grpc: Option<SocketAddr>,
    /// How long a request waits for its acknowledgement.
    pub(crate) ack_wait: Duration,
    /// The topic that tells of orders, here and elsewhere.
    pub(crate) events_topic: String,
    /// The topic that tells of the end of their work.
    pub(crate) ack_topic: String,
    /// The group of Kafka that shares the work of others' events.
    pub(crate) worker_group: String,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves HTTP.
    Api,
    /// Processes orders.
    Worker,
    /// Follows the journal.
    Relay,
    /// Talks to marketplaces.
    Sync,
    /// All of these.
    All,
}

impl Settings {
    /// Whether this process has `role`.
    pub(crate) fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::All)
    }

    /// Addresses for contracts besides the main one, each with the setting that names it.
    pub(crate) fn further_addresses(&self) -> impl Iterator<Item = (String, SocketAddr)> + '_ {
        let listen =
            self.contract_listen.iter().map(|(name, address)| (format!("contracts.{name}.listen"), *address));
        let grpc = self.orderstream.grpc.map(|address| ("contracts.orderstream.grpc".to_owned(), address));
        listen.chain(grpc)
    }

    /// A blank to fill from the table.
    pub(super) fn blank() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: PathBuf::new(),
            database: Hidden::default(),
            postgres: Postgres::default(),
            journal: Journal::default(),
            mounted: None,
            roles: Vec::new(),
            ops: None,
            auth: Auth::default(),
            public: BTreeSet::new(),
            contract_listen: Vec::new(),
            sales: Sales::default(),
            orderstream: Orderstream::default(),
            marketplace: Marketplace::default(),
            outbound: Outbound::default(),
            ca_file: None,
            client_key: Hidden::default(),
            secrets: SecretKeys::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            shards: 0,
            shards_said: false,
            processor: ProcessorKind::default(),
            contract_processors: BTreeMap::new(),
            simulate: Simulate::default(),
            http_processor: HttpProcessor::default(),
            catalog: Catalog::default(),
            worker: Worker::default(),
            follower: Follower::default(),
            ndjson: Ndjson::default(),
            kafka: Kafka::default(),
            redis: Redis::default(),
            rabbitmq: RabbitMq::default(),
            storage: Storage::default(),
            lane: Lane::default(),
            limits: Limits::default(),
            rates: RateLimits::default(),
            transport: Transport::default(),
            feed_readers_max: 0,
            shutdown_drain: Duration::ZERO,
        }
    }
}

/// The product catalogue: behind a URL, in a file, or neither, and then everything can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// Below which its products lie. May hold a password.
    pub(crate) url: Option<String>,
    /// Its products.
    pub(crate) file: Option<PathBuf>,
    /// Until the connection stands.
    pub(crate) connect_timeout: Duration,
    /// One call.
    pub(crate) timeout: Duration,
    /// Look-ups at once.
    pub(crate) calls_max: usize,
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, unless it is empty.
    pub(crate) fn text(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(hidden, {} bytes)", self.0.len())
    }
}

/// Who may call: issuers of tokens, and how API keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Auth {
    /// Shared with an issuer of tokens (HS256).
    pub(crate) jwt_secret: Hidden,
    /// Whether it was made at the start of `dev`, for nobody gave one.
    pub(crate) jwt_secret_made: bool,
    /// What that issuer is called; checked where it is given.
    pub(crate) jwt_issuer: Option<String>,
    /// Whom its tokens are for; checked where it is given.
    pub(crate) jwt_audience: Option<String>,
    /// Where another issuer publishes its keys.
    pub(crate) jwks_url: Option<String>,
    /// Whether that may be inside a private network.
    pub(crate) jwks_allow_private: bool,
    /// What that issuer is called; there when the URL is.
    pub(crate) jwks_issuer: Option<String>,
    /// Whom its tokens are for; there when the URL is.
    pub(crate) jwks_audience: Option<String>,
    /// What it signs with; never empty.
    pub(crate) jwks_algorithms: Vec<auth::Algorithm>,
    /// The type that its tokens must have.
    pub(crate) jwks_type: Option<String>,
    /// Longest life of a token.
    pub(crate) token_lifetime_max: Option<Duration>,
    /// What API keys are hashed with; else a random one of the database.
    pub(crate) key_pepper: Hidden,
    /// Whose callers run the installation; a tenant's name.
    pub(crate) operator_tenant: String,
}

impl Auth {
    /// Where the issuer that publishes its keys may be.
    pub(crate) fn jwks_reach(&self) -> outbound::Reach {
        if self.jwks_allow_private { outbound::Reach::Anywhere } else { outbound::Reach::Public }
    }
}

/// Logs go to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
}

/// Traces, as an OpenTelemetry collector gets them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Telemetry {
    /// The collector's base address; none: no traces are made. May hold a password.
    pub(crate) otlp_endpoint: Option<String>,
    /// Headers for it, `name=value` apart by commas. May hold a key.
    pub(crate) otlp_headers: String,
    /// What this process is called there.
    pub(crate) service_name: String,
    /// Which part of the traces that begin here is recorded, 0.0–1.0.
    pub(crate) sample_ratio: f64,
    /// Whether whoever sends a request with a trace decides whether that is recorded.
    pub(crate) trust_incoming: bool,
}

/// The least important message that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The form of the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The simulated processor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Simulate {
    /// How long an order takes.
    pub(crate) delay: Duration,
    /// Which part of attempts fails, 0.0–1.0.
    pub(crate) fail_rate: f64,
}

/// The processor behind a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HttpProcessor {
    /// Where orders are posted; always there when some processor is `Http`. May hold a password.
    pub(crate) url: Option<String>,
    /// Until the connection stands.
    pub(crate) connect_timeout: Duration,
    /// The whole call.
    pub(crate) timeout: Duration,
}

/// Claiming, leases and retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Worker {
    /// Orders claimed at a time.
    pub(crate) batch_size: usize,
    /// Attempts before an order is parked.
    pub(crate) max_attempts: u32,
    /// How often due work is looked for when nothing wakes the worker.
    pub(crate) poll_interval: Duration,
    /// How long a claim holds.
    pub(crate) lease: Duration,
    /// How often a claim is extended; shorter than `lease`.
    pub(crate) heartbeat: Duration,
    /// Wait after the first failure.
    pub(crate) backoff_base: Duration,
    /// The longest wait.
    pub(crate) backoff_cap: Duration,
    /// Leases in a row that run out before an order is parked.
    pub(crate) lapses_max: u32,
}

/// Followers of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Follower {
    /// Events sent at a time.
    pub(crate) batch_size: usize,
    /// Wait between looks while there is traffic.
    pub(crate) poll: Duration,
    /// Wait between looks when there is none.
    pub(crate) idle: Duration,
    /// Where a new follower starts.
    pub(crate) start: FollowerStart,
    /// Deliveries that are looked at before a sink is left alone.
    pub(crate) breaker_calls: usize,
    /// So many in a hundred of them must have failed.
    pub(crate) breaker_failures_percent: u32,
    /// How often a sink that is left alone is probed.
    pub(crate) breaker_probe: Duration,
    /// How long a node that is not heard of holds its part.
    pub(crate) lease: Duration,
    /// How often that is extended.
    pub(crate) heartbeat: Duration,
}

/// Where a new follower starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FollowerStart {
    /// With the first event.
    #[default]
    Beginning,
    /// With the next event.
    Now,
}

/// The file of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ndjson {
    /// Where the lines go.
    pub(crate) sink: NdjsonSink,
    /// Bytes after which a new file is begun.
    pub(crate) rotate_bytes: u64,
}

/// Where the lines of events go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NdjsonSink {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
}

/// Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kafka {
    /// `HOST:PORT` apart by commas; empty: no Kafka.
    pub(crate) brokers: String,
    /// Where every event goes.
    pub(crate) topic: String,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Authorities that vouch for brokers.
    pub(crate) ca_file: Option<PathBuf>,
    /// Our certificate.
    pub(crate) cert_file: Option<PathBuf>,
    /// Its key; there when the certificate is.
    pub(crate) key_file: Option<PathBuf>,
    /// How a login is proved.
    pub(crate) sasl: Option<KafkaLogin>,
    /// Whose login it is.
    pub(crate) username: String,
    /// Its password, here or in a file.
    pub(crate) password: Hidden,
    pub(crate) password_file: Option<PathBuf>,
    /// Whether it was said aloud that events may go over a network as they are.
    pub(crate) insecure: bool,
    /// Largest record.
    pub(crate) record_bytes_max: usize,
    /// Longest time for a record to be safe.
    pub(crate) delivery_timeout: Duration,
    /// Whether a topic that is missing is made; with so many partitions, and copies of each (0: as the brokers say).
    pub(crate) create_topics: bool,
    pub(crate) partitions: u16,
    pub(crate) replication: u16,
}

/// Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redis {
    /// `redis://…` or `rediss://…`, with a password perhaps; empty: no Redis.
    pub(crate) url: Hidden,
    /// Authorities that vouch for it.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether it was said aloud that it may be reached over a network as it is.
    pub(crate) insecure: bool,
    /// Longest wait for an answer.
    pub(crate) timeout: Duration,
}

/// RabbitMQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RabbitMq {
    /// Where it is, with the login; empty: no RabbitMQ.
    pub(crate) url: Hidden,
    /// The exchange that gets every event; empty: none.
    pub(crate) exchange: String,
    /// Authorities that vouch for the server, besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether it was said aloud that events may go over a network as they are.
    pub(crate) insecure: bool,
    /// Longest time to connect.
    pub(crate) connect_timeout: Duration,
    /// Longest time for the server to confirm.
    pub(crate) confirm_timeout: Duration,
    /// Most messages that a consumer has in hand.
    pub(crate) prefetch: u16,
    /// How long a message waits before each retry; `None` when it is no such list.
    pub(crate) retries: Option<Vec<Duration>>,
}

/// How a login at Kafka is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KafkaLogin {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// The embedded database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Free bytes on the disk below which nothing is written.
    pub(crate) free_space_min_bytes: u64,
    /// How long a locked database is waited for.
    pub(crate) busy_timeout: Duration,
}

/// How a database on a PostgreSQL server is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Postgres {
    /// Connections that commit.
    pub(crate) lanes: usize,
    /// Connections that read, at most; and as many again for requests.
    pub(crate) readers: usize,
    /// Longest wait of a read for a connection.
    pub(crate) pool_wait: Duration,
    /// Longest that a statement may take.
    pub(crate) statement_timeout: Duration,
    /// Longest wait for a lock.
    pub(crate) lock_timeout: Duration,
    /// Longest that a transaction may stand still.
    pub(crate) idle_in_transaction_timeout: Duration,
    /// Longest that what was sent may be left unacknowledged.
    pub(crate) tcp_user_timeout: Duration,
    /// Whether it was said aloud that orders go to it over a network in the clear.
    pub(crate) insecure: bool,
}

/// The journal on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    /// Events of a part of a shard.
    pub(crate) part_events: u64,
    /// How long events are kept at least; none: for ever.
    pub(crate) retention: Option<Duration>,
}

/// Group commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Commands that may wait; more are refused.
    pub(crate) queue_max: usize,
    /// Bytes that they may hold; more are refused.
    pub(crate) queue_bytes: usize,
    /// Commands in one commit.
    pub(crate) batch_max: usize,
    /// Longest that a write may be about to wait; else it is refused at once.
    pub(crate) delay_max: Duration,
    /// Longest that it may have waited when its turn comes; else it is refused.
    pub(crate) deadline: Duration,
}

/// What `serve` is reached over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    /// The certificates that TLS is spoken with.
    pub(crate) tls_cert: Option<PathBuf>,
    /// Their key; there when the certificates are.
    pub(crate) tls_key: Option<PathBuf>,
    /// Proxies that speak TLS instead, and whose word about a client's address is taken.
    pub(crate) trusted_proxies: Vec<edge::Network>,
    /// What they write.
    pub(crate) proxy_header: edge::ProxyHeader,
    /// Whether it was said aloud that HTTP goes over a network as it is.
    pub(crate) plaintext: bool,
}

/// How often who may ask; 0 is as often as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimits {
    pub(crate) key_per_second: u32,
    pub(crate) tenant_per_second: u32,
    pub(crate) address_per_second: u32,
    pub(crate) failed_logins_per_minute: u32,
    /// As much at once as comes in this time.
    pub(crate) burst: Duration,
    /// How many of each kind are remembered.
    pub(crate) tracked_max: usize,
}

/// What a request may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) bulk_bytes: usize,
    pub(crate) bulk_requests_max: usize,
    pub(crate) headers_max: usize,
    pub(crate) header_bytes: usize,
    pub(crate) uri_bytes: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) answers_bytes: usize,
    pub(crate) reads_at_once: usize,
    pub(crate) lists_at_once: usize,
    pub(crate) read_wait: Duration,
    pub(crate) connections_max: usize,
    pub(crate) json_depth: usize,
    pub(crate) json_items: usize,
}
