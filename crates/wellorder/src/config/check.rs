//! Settings that must fit one another.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    check_kafka, check_marketplace, check_rabbitmq, check_redis,
    problem::Problems,
    processors::ProcessorKind,
    resolve::{Origin, Resolved, origin_of},
    settings::{Role, Settings},
    sources::Mode,
    table_secrets,
};

/// Adds what does not fit together. What is wrong with the settings in `failed` was told already and they stand at
/// their defaults here: comparing those would tell of problems that nobody has.
pub(super) fn together(
    mode: Mode,
    settings: &Settings,
    resolved: &[Resolved],
    failed: &BTreeSet<&str>,
    problems: &mut Problems,
) {
    let beside = |path: &str| format!("{path} ({})", origin_of(resolved, path));
    // The setting to mend comes first in `paths`, then those that it was compared with.
    let mut add = |paths: &[&str], what: &str, fix: &str| {
        if paths.iter().any(|path| failed.contains(path)) {
            return;
        }
        let origin = origin_of(resolved, paths[0]);
        let key = match &origin {
            Origin::Variable(name) => name.as_str(),
            _ => paths[0],
        };
        // What nobody has set stands nowhere: its name says where to set it.
        let place = if origin == Origin::Default { paths[0].to_owned() } else { origin.place() };
        problems.add(place, key, what, fix);
    };
    let not_local = |address: &SocketAddr| !address.ip().is_loopback();
    let outside = "is not a loopback address, and nobody logs in here";
    if mode == Mode::Dev && not_local(&settings.listen) {
        add(&["listen"], outside, "use 127.0.0.1 or [::1]");
    }
    if mode == Mode::Dev && settings.ops.as_ref().is_some_and(not_local) {
        add(&["ops"], outside, "use 127.0.0.1 or [::1]");
    }
    if mode == Mode::Dev {
        further(settings, outside, &mut add);
    }
    if settings.orderstream.grpc.is_some() && !cfg!(feature = "grpc") {
        let fix = "build it with `cargo build --release -p wellorder --features grpc`, or remove this";
        add(&["contracts.orderstream.grpc"], "is set, and this program was built without gRPC", fix);
    }
    addresses(settings, &beside, &mut add);
    let posting = settings.naming(ProcessorKind::Http);
    if !posting.is_empty() && settings.http_processor.url.is_none() {
        let who: Vec<String> = posting.iter().map(|path| format!("{} is http", beside(path))).collect();
        let what = format!("is not set, and {}", who.join(", and "));
        let paths = ["http_processor.url"].into_iter().chain(posting.iter().map(String::as_str));
        add(&paths.collect::<Vec<_>>(), &what, "set it to the URL that takes orders");
    }
    if settings.catalog.url.is_some() && settings.catalog.file.is_some() {
        let what = format!("is set, and {} is too", beside("catalog.url"));
        add(&["catalog.file", "catalog.url"], &what, "keep one of them");
    }
    if outbound::collector_headers(&settings.telemetry.otlp_headers).is_none() {
        add(&["telemetry.otlp_headers"], "is no list of headers", "write name=value,name=value");
    }
    if order_core::TenantId::new(&settings.auth.operator_tenant).is_err() {
        add(&["auth.operator_tenant"], "is no name of a tenant", "name one, such as default");
    }
    table_secrets::check(settings, beside("secrets.key"), &mut add);
    stored(settings, &mut add);
    published_keys(settings, beside("auth.jwks_url"), &mut add);
    check_kafka::kafka(settings, &mut add);
    check_marketplace::marketplace(mode, settings, &mut add);
    check_redis::redis(settings, &mut add);
    check_rabbitmq::rabbitmq(settings, &mut add);
    certificate(settings, &beside, &mut add);
    spans(settings, &beside, &mut add);
}

/// Where orders are kept.
fn stored(settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    if settings.journal.retention.is_some() && settings.database.text().is_none() {
        let what = "is set, and the database is SQLite, which keeps every event";
        add(&["journal.retention_days", "database"], what, "name a PostgreSQL in database, or remove this");
    }
    #[cfg(feature = "postgres")]
    if let Some(url) = settings.database.text()
        && let Err(unfit) = storage_postgres::check_url(url, settings.postgres.insecure)
    {
        add(&["database", "postgres.insecure"], &unfit.why, &unfit.fix);
    }
}

/// What must be shorter, or fewer, than something else.
fn spans(settings: &Settings, beside: &impl Fn(&str) -> String, add: &mut impl FnMut(&[&str], &str, &str)) {
    let worker = &settings.worker;
    if worker.heartbeat >= worker.lease {
        let what = format!("is not below {}", beside("worker.lease_ms"));
        add(&["worker.heartbeat_ms", "worker.lease_ms"], &what, "use a third of it");
    }
    if settings.follower.heartbeat >= settings.follower.lease {
        let what = format!("is not below {}", beside("follower.lease_ms"));
        add(&["follower.heartbeat_ms", "follower.lease_ms"], &what, "use a third of it");
    }
    if worker.backoff_base > worker.backoff_cap {
        let what = format!("is above {}", beside("worker.backoff_cap_ms"));
        let paths = ["worker.backoff_base_ms", "worker.backoff_cap_ms"];
        add(&paths, &what, "make it smaller, or the cap larger");
    }
    if settings.lane.batch_max > settings.lane.queue_max {
        let what = format!("is above {}", beside("lane.queue_max"));
        add(&["lane.batch_max", "lane.queue_max"], &what, "make it smaller, or the queue larger");
    }
}

/// Addresses of contracts are as local as the main one.
fn further(settings: &Settings, outside: &str, add: &mut impl FnMut(&[&str], &str, &str)) {
    for (path, address) in settings.further_addresses() {
        if !address.ip().is_loopback() {
            add(&[&path], outside, "use 127.0.0.1 or [::1]");
        }
    }
}

/// Each listener needs an address that no other one has: that one could not be had.
fn addresses(
    settings: &Settings,
    beside: &impl Fn(&str) -> String,
    add: &mut impl FnMut(&[&str], &str, &str),
) {
    let ops = settings.ops.map(|address| ("ops".to_owned(), address));
    // Contracts are served by this role alone.
    let further = settings.further_addresses().filter(|_| settings.has_role(Role::Api));
    let mut taken = vec![("listen".to_owned(), settings.listen)];
    for (path, address) in ops.into_iter().chain(further) {
        if let Some((other, at)) = taken.iter().find(|(_, at)| meet(*at, address)) {
            let how = if *at == address { "is the same address as" } else { "has the port of" };
            add(&[&path, other], &format!("{how} {}", beside(other)), "use another port");
        }
        taken.push((path, address));
    }
}

/// Whether only one of them can be listened to. Port 0 is another one each time.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let holds = |a: SocketAddr, b: SocketAddr| {
        a.ip() == b.ip() || a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4())
    };
    one.port() != 0 && one.port() == other.port() && (holds(one, other) || holds(other, one))
}

/// Certificate and key go together.
fn certificate(
    settings: &Settings,
    beside: &impl Fn(&str) -> String,
    add: &mut impl FnMut(&[&str], &str, &str),
) {
    let (cert, key) = (&settings.transport.tls_cert, &settings.transport.tls_key);
    for (missing, given, is_missing) in [
        ("tls.key", "tls.cert", cert.is_some() && key.is_none()),
        ("tls.cert", "tls.key", key.is_some() && cert.is_none()),
    ] {
        if is_missing {
            let what = format!("is not set, and {} is", beside(given));
            add(&[missing, given], &what, "set both, or none");
        }
    }
}

/// An issuer that publishes its keys is pinned in all that is known of it.
fn published_keys(settings: &Settings, url: String, add: &mut impl FnMut(&[&str], &str, &str)) {
    let auth = &settings.auth;
    let pinned = [
        ("auth.jwks_issuer", &auth.jwks_issuer, "set it to the iss of its tokens"),
        ("auth.jwks_audience", &auth.jwks_audience, "set it to the aud that its tokens have for this server"),
    ];
    for (path, value, fix) in pinned {
        if auth.jwks_url.is_some() && value.is_none() {
            let what = format!("is not set, and {} is: its tokens would be taken whoever they are for", url);
            add(&[path, "auth.jwks_url"], &what, fix);
        }
        if auth.jwks_url.is_none() && value.is_some() {
            add(
                &[path, "auth.jwks_url"],
                "says something about an issuer without auth.jwks_url",
                "set that too, or remove this",
            );
        }
    }
    let forbidden = auth.jwks_url.as_deref().and_then(|url| outbound::check(url, auth.jwks_reach()).err());
    if let Some(forbidden) = forbidden {
        let fix = match forbidden {
            outbound::Forbidden::Special => {
                "use a public one, or say auth.jwks_allow_private = true for an issuer inside your network"
            }
            outbound::Forbidden::UserInfo => "leave them out: published keys need no login",
            _ => "use https",
        };
        add(&["auth.jwks_url", "auth.jwks_allow_private"], &forbidden.to_string(), fix);
    }
}

/// Whether a host is this machine, so that nobody is on the way there.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        assert!(["127.0.0.1", "::1", "LocalHost", "127.3.0.1"].into_iter().all(is_loopback));
        assert!(!["10.0.0.1", "localhost.example.com", "example.com"].into_iter().any(is_loopback));
    }
}
