//! What a start prints: what runs where, where the data lies, what to try next.

use crate::config::{Mode, NdjsonSink, ProcessorKind, Role, Settings};
use crate::invocation::Invocation;
use crate::output::Output;
use crate::storage::Done;
use crate::{dev_secret, kafka, rabbitmq, serve};
use order_core::desk::Desk;
use serde_json::json;
use std::io;
use std::net::SocketAddr;

/// What was started.
pub(crate) struct Started<'a> {
    pub(crate) mode: Mode,
    pub(crate) settings: &'a Settings,
    pub(crate) address: SocketAddr,
    pub(crate) ops_address: Option<SocketAddr>,
    pub(crate) ephemeral: bool,
    pub(crate) done: &'a Done,
    pub(crate) followers: Vec<Carries>,
}

/// A follower, and the kind of the sink that it carries events to.
pub(crate) struct Carries {
    pub(crate) name: String,
    pub(crate) sink: &'static str,
}

/// Prints it: one JSON object with `--json`, else lines for people. With events on standard output, it goes to
/// standard error.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn show(started: &Started<'_>, out: &mut Output<'_>) -> io::Result<()> {
    let to_stderr = started.settings.ndjson.sink == NdjsonSink::Stdout;
    if out.json && !to_stderr {
        return out.json(as_json(started).to_string().as_bytes());
    }
    for (head, text) in rows(started, out) {
        let line = if head.is_empty() { text } else { format!("  {:<10} {text}", head) };
        if to_stderr { out.note(&line) } else { out.line(&line)? }
    }
    Ok(())
}

fn as_json(started: &Started<'_>) -> serde_json::Value {
    let Started { mode, settings, address, ops_address, ephemeral, done, .. } = started;
    json!({
        "mode": mode_name(*mode),
        "address": address.to_string(),
        "ops": ops_address.map(|address| address.to_string()),
        "pid": std::process::id(),
        "data": settings.data.display().to_string(),
        "database": settings.database.text().map(|_| &done.place),
        "ephemeral": ephemeral,
        "as": settings.mounted,
        "schema": done.to,
        "leases_expired": done.leases_expired,
        "token": token(settings),
    })
}

fn rows(started: &Started<'_>, out: &Output<'_>) -> Vec<(&'static str, String)> {
    let Started { mode, settings, address, ephemeral, .. } = started;
    let scheme = if settings.transport.tls_cert.is_some() && *mode == Mode::Serve { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let version = env!("CARGO_PKG_VERSION");
    let mut rows = vec![("", format!("wellorder {version} ({}) on {url}", mode_name(*mode)))];
    rows.push(("login", login(started)));
    if settings.has_role(Role::Api) {
        rows.push(("api", format!("{url}/v1   docs {url}/v1/docs")));
        for name in serve::CONTRACTS {
            let at_root = settings.mounted.as_deref() == Some(name);
            let root = if at_root { format!("{url}/ and ") } else { String::new() };
            rows.push(("contract", format!("{name}: {root}{url}/{name}   docs {url}/{name}/docs")));
        }
    }
    rows.extend(tokens(started, out).map(|text| ("token", text)));
    rows.extend(workers(settings).into_iter().map(|text| ("worker", text)));
    rows.extend(followers(started).into_iter().map(|text| ("follower", text)));
    rows.push(("health", health(started, &url)));
    let kept = if *ephemeral { "removed at the end" } else { "kept" };
    rows.push(("data", format!("{} ({kept}; {})", started.done.place, started.done.engine)));
    if started.done.leases_expired > 0 {
        rows.push((
            "recovered",
            format!("{} leases of an earlier process are due again", started.done.leases_expired),
        ));
    }
    if let Some(backup) = &started.done.copy {
        rows.push((
            "migrated",
            format!("to schema {}; a copy of what was there: {}", started.done.to, backup.display()),
        ));
    }
    // What there is to try asks the API.
    if settings.has_role(Role::Api) {
        rows.push(("", "Try next:".to_owned()));
        rows.extend(next(started, &url, &out.again).into_iter().map(|text| ("", format!("  {text}"))));
    }
    rows
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dev => "dev",
        Mode::Serve => "serve",
        Mode::Client => "client",
    }
}

fn login(started: &Started<'_>) -> String {
    let Started { mode, settings, .. } = started;
    if *mode == Mode::Dev {
        return "none, but for sales: loopback only. Do not forward this port.".to_owned();
    }
    let mut ways = vec!["API keys"];
    if settings.auth.jwt_secret.text().is_some() {
        ways.push("tokens by secret (HS256)");
    }
    if settings.auth.jwks_url.is_some() {
        ways.push("tokens by published keys");
    }
    let public: Vec<&str> = settings.public.iter().copied().collect();
    let public = if public.is_empty() { String::new() } else { format!("; none for {}", public.join(", ")) };
    format!("{}{public}", ways.join(", "))
}

/// How to come by a token for the contract that asks for one in `dev` too.
fn tokens(started: &Started<'_>, out: &Output<'_>) -> Option<String> {
    let more = out.again.command("token --scope orders:read --scope orders:write");
    match token(started.settings) {
        Some(token) => Some(format!("{token} (good for a week; others: {more})")),
        None if started.mode == Mode::Dev && started.settings.has_role(Role::Api) => {
            Some(format!("sales asks for one: {more}"))
        }
        None => None,
    }
}

/// A token that opens the contract at the root, where it asks for one and nobody else can make it.
fn token(settings: &Settings) -> Option<String> {
    let wanted = settings.mounted.as_deref() == Some(contracts::sales::NAME);
    wanted.then(|| dev_secret::token(settings))?
}

/// Who does the work of orders, then a line for each who does that of some contracts' instead.
fn workers(settings: &Settings) -> Vec<String> {
    if !settings.has_role(Role::Worker) {
        return vec!["not in this process".to_owned()];
    }
    let mut lines = vec![worker(settings, settings.processor)];
    for kind in ProcessorKind::VALUES.into_iter().filter(|kind| *kind != settings.processor) {
        let contracts: Vec<&str> = settings.desks_of(kind).iter().filter_map(Desk::contract).collect();
        if !contracts.is_empty() {
            lines.push(format!("{}: {}", contracts.join(", "), worker(settings, kind)));
        }
    }
    lines
}

fn worker(settings: &Settings, kind: ProcessorKind) -> String {
    let worker = &settings.worker;
    let processor = match kind {
        ProcessorKind::Simulate => format!("simulate ({} ms an order)", settings.simulate.delay.as_millis()),
        ProcessorKind::Http => "http (http_processor.url)".to_owned(),
        ProcessorKind::Pull => {
            return format!("yours (POST /v1/work/claim), {} attempts, then parked", worker.max_attempts);
        }
        ProcessorKind::Kafka => {
            let (events, acks) = (&settings.orderstream.events_topic, &settings.orderstream.ack_topic);
            return format!("another program (Kafka: told in {events}, acknowledges in {acks})");
        }
    };
    format!("{processor}, {} at once, {} attempts, then parked", worker.batch_size, worker.max_attempts)
}

/// Who carries events on, a line for each place.
fn followers(started: &Started<'_>) -> Vec<String> {
    let settings = started.settings;
    if !settings.has_role(Role::Relay) {
        return vec!["not in this process".to_owned()];
    }
    let mut places: Vec<(String, Vec<&str>)> = Vec::new();
    for Carries { name, sink } in &started.followers {
        let to = place(settings, sink);
        match places.iter_mut().find(|(place, _)| *place == to) {
            Some((_, names)) => names.push(name),
            None => places.push((to, vec![name])),
        }
    }
    if places.is_empty() {
        return vec!["none".to_owned()];
    }
    places.into_iter().map(|(place, names)| format!("{} -> {place}", names.join(", "))).collect()
}

/// Where a sink of this kind is.
fn place(settings: &Settings, sink: &str) -> String {
    let (server, remote) = match (sink, &settings.ndjson.sink) {
        ("kafka", _) => ("Kafka", kafka::remote(settings)),
        ("rabbitmq", _) => ("RabbitMQ", rabbitmq::remote(settings)),
        (_, NdjsonSink::File(path)) => return path.display().to_string(),
        (_, NdjsonSink::Stdout | NdjsonSink::Off) => return "standard output".to_owned(),
    };
    let address = remote.ok().flatten().map(|remote| remote.address());
    address.map_or_else(|| server.to_owned(), |address| format!("{server} at {address}"))
}

fn health(started: &Started<'_>, url: &str) -> String {
    let ops = started.ops_address.map(|address| format!("http://{address}"));
    let base = ops.as_deref().unwrap_or(url);
    if ops.is_none() && started.mode == Mode::Serve {
        return format!("{url}/readyz   (metrics and checks: on a port of their own, with --ops ADDR)");
    }
    if ops.is_some() || serve::metrics_are_here(started.mode, started.settings) {
        return format!("{base}/readyz?verbose   metrics {base}/metrics");
    }
    format!(
        "{url}/readyz?verbose   (/metrics is the contract's: give ours a port of its own with --ops ADDR)"
    )
}

fn next(started: &Started<'_>, url: &str, again: &Invocation) -> Vec<String> {
    if started.mode != Mode::Dev {
        return vec![
            format!(r#"curl -s {url}/v1/orders -H "Authorization: Bearer $KEY""#),
            format!("WELLORDER_KEY=$KEY {}", again.command("orders list")),
        ];
    }
    vec![
        format!(
            r#"curl -s {url}/v1/orders -H 'Content-Type: application/json' -d '{{"reference":"A-1001","total":"19.90"}}'"#
        ),
        again.command("orders list"),
        again.command("events tail --follow"),
    ]
}
