//! Layers, origins and messages, without a process environment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod addresses;
mod defaults;
mod documented;
mod issuer;
mod kafka;
mod marketplace;
mod orderstream;
mod outbound;
mod processors;
mod rabbitmq;
mod redis;
mod sales;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{
    sources::Text,
    table::{Default as Unset, every_setting},
    *,
};

fn text(name: &str, text: &str) -> Option<Text> {
    Some(Text { name: name.to_owned(), text: text.to_owned() })
}

fn flag(path: &'static str, flag: &'static str, value: &str) -> Flag {
    Flag { path, flag, value: value.to_owned() }
}

fn toml(toml: &str) -> Inputs {
    Inputs { file: text("wellorder.toml", toml), ..Inputs::default() }
}

fn env<const N: usize>(pairs: [(&str, &str); N]) -> Inputs {
    Inputs { environment: Environment::from(pairs), ..Inputs::default() }
}

fn load_ok(inputs: &Inputs) -> Config {
    load(inputs).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(inputs: &Inputs) -> String {
    load(inputs).err().map_or_else(String::new, |problems| problems.to_string())
}

fn origin(inputs: &Inputs, path: &str) -> String {
    load_ok(inputs).origin(path).to_string()
}

#[test]
fn the_table_is_sound() {
    let paths: BTreeSet<_> = every_setting().map(|setting| setting.path).collect();
    assert_eq!(paths.len(), every_setting().count(), "a path twice");
    let mut names = BTreeSet::new();
    for setting in every_setting() {
        let variable = setting.variable();
        for name in setting.aliases.iter().copied().chain([variable.as_str()]) {
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
        let inside = format!("{}.", setting.path);
        assert!(!paths.iter().any(|path| path.starts_with(&inside)), "{inside} is a setting and a table");
        if let Unset::Is(default) = setting.default {
            assert_eq!(setting.shape.set(&mut Settings::blank(), default), Ok(()), "{}", setting.path);
        }
        assert!(!setting.about.is_empty() && !setting.about.ends_with('.'), "{}", setting.path);
    }
}

#[test]
fn the_defaults_are_typed() {
    let config = load_ok(&Inputs::default());
    let Settings { mounted, roles, ops, shards, .. } = &config.settings;
    assert_eq!((mounted, roles.as_slice(), ops, *shards), (&None, &[Role::All][..], &None, 1));
    assert!(config.settings.has_role(Role::Worker));
}

/// What `serve` has besides, and what differs there.
#[test]
fn the_defaults_of_serve() {
    let config = load_ok(&Inputs { mode: Mode::Serve, ..Inputs::default() });
    let groups = ["ops", "rate.", "tls.", "serve."];
    let rows = as_rows(&config).into_iter();
    let rows = rows.filter(|[key, ..]| groups.iter().any(|group| key.starts_with(group)));
    insta::assert_snapshot!(rows.map(|[key, value, ..]| format!("{key} = {value}\n")).collect::<String>(), @r"
    ops = 127.0.0.1:9090
    tls.cert = 
    tls.key = 
    tls.ca_file = 
    serve.trusted_proxies = 
    serve.proxy_header = x-forwarded-for
    serve.plaintext = false
    rate.key_per_second = 1000
    rate.tenant_per_second = 4000
    rate.address_per_second = 20
    rate.failed_logins_per_minute = 60
    rate.burst_seconds = 5
    rate.tracked_max = 100000
    ");
}

#[test]
fn certificate_and_key_go_together() {
    let config = load_ok(&toml("[tls]\ncert = \"c.pem\"\nkey = \"k.pem\""));
    let transport = config.settings.transport;
    assert_eq!((transport.tls_cert, transport.tls_key), (Some("c.pem".into()), Some("k.pem".into())));
    for (alone, other) in [("cert", "tls.key"), ("key", "tls.cert")] {
        let problems = load(&toml(&format!("[tls]\n{alone} = \"x.pem\""))).err().unwrap().to_string();
        assert!(problems.contains(&format!("{other}: is not set, and tls.{alone}")), "{problems}");
    }
}

#[test]
fn proxies_are_networks() {
    let proxies = |text: &str| load(&toml(&format!("[serve]\ntrusted_proxies = {text}")));
    let read = proxies("[\"10.0.0.0/8\", \"::1\"]").unwrap().settings.transport.trusted_proxies;
    assert_eq!(read, ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
    for everybody in ["0.0.0.0/0", "::/0", "10.0.0.0/8, 0.0.0.0/1", "2000::/3"] {
        let problems = proxies(&format!("{everybody:?}")).err().unwrap().to_string();
        assert!(
            problems.contains("serve.trusted_proxies") && problems.contains("holds addresses of strangers"),
            "{problems}"
        );
        assert!(problems.contains("/8 or longer"), "{problems}");
    }
    assert!(proxies("\"\"").unwrap().settings.transport.trusted_proxies.is_empty());
    for bad in ["\"example.com\"", "\"10.0.0.0/33\"", "\"10.0.0.0/8 ::1\""] {
        assert!(proxies(bad).err().unwrap().to_string().contains("names no network"), "{bad}");
    }
}

/// Every setting reaches a field: setting it to something else changes the typed result.
#[test]
fn every_setting_fills_its_field() {
    let blank = format!("{:?}", load_ok(&Inputs::default()).settings);
    for setting in every_setting() {
        let other = match setting.path {
            "listen" | "ops" => "127.0.0.1:4567",
            "data" => "/elsewhere",
            "as" => "parspec",
            "role" => "worker",
            "log.level" => "trace",
            "log.format" => "text",
            "follower.start" => "now",
            // Each needs the others; `an_issuer_with_published_keys_is_pinned` has them.
            "auth.jwks_url" | "auth.jwks_issuer" | "auth.jwks_audience" => continue,
            "auth.jwks_algorithms" => "PS256",
            "auth.jwks_allow_private" => "false",
            "catalog.file" => "catalog.json",
            path if path.starts_with("contracts.") && path.ends_with(".public") => "true",
            path if path.starts_with("contracts.") && path.ends_with(".processor") => "pull",
            "marketplace.shopify" => "admin",
            "contracts.orderstream.grpc" => "127.0.0.1:4568",
            path if path.starts_with("contracts.") && path.ends_with(".listen") => "127.0.0.1:4568",
            "contracts.orderstream.ack_wait" => "5s",
            "catalog.url" | "http_processor.url" => "http://h/",
            path if path.starts_with("marketplace.") && path.ends_with("_url") => "http://h/",
            // Each needs the other; `certificate_and_key_go_together` has them.
            "tls.cert" | "tls.key" => continue,
            "tls.ca_file" | "secrets.key_file" => "some.pem",
            "serve.trusted_proxies" | "outbound.open_networks" => "10.0.0.0/8",
            "serve.proxy_header" => "forwarded",
            "serve.plaintext" => "true",
            "processor" => continue, // needs the URL; `settings_must_fit_one_another` has it
            "ndjson.path" => "-",
            "telemetry.otlp_endpoint" => "http://h/",
            "telemetry.otlp_headers" => "a=b",
            "telemetry.trust_incoming" => "false",
            "simulate.fail_rate" | "telemetry.sample_ratio" => "0.5",
            "worker.backoff_cap_ms" => "1000",
            "lane.queue_max" => "512",
            "worker.lease_ms" | "marketplace.lease_ms" => "10001",
            "limits.uri_kib" => "33",
            "kafka.brokers" => "localhost:9092",
            "kafka.security" => "tls",
            // Each needs brokers; `what_is_said_of_nobody_is_told` has them without.
            "kafka.sasl_mechanism" | "kafka.username" | "kafka.password" | "redis.ca_file" => continue,
            path if path.starts_with("kafka.") && path.ends_with("_file") => continue,
            "kafka.insecure" => "true",
            "kafka.create_topics" | "marketplace.mock" | "outbound.challenge" => "false",
            "kafka.delivery_timeout_ms" => "7000",
            "redis.url" => "127.0.0.1:6379",
            "redis.insecure" | "rabbitmq.insecure" | "postgres.insecure" => "true",
            // It needs a server; `rabbitmq::what_does_not_fit_is_named_with_its_fix` has it without.
            "rabbitmq.ca_file" => continue,
            "rabbitmq.url" => "amqp://127.0.0.1",
            "rabbitmq.retry_ms" => "1,2",
            "secrets.key" => "tk6Rut5jFn7485x3gVa8IGE+9gBLff6u1avibb8SQzc=",
            "database" => "postgres://wellorder@127.0.0.1/orders",
            "postgres.lanes" | "postgres.readers" => "7",
            "journal.part_events" => "7777",
            // It needs a server; `what_only_a_server_does_is_told_without_one` has it without.
            "journal.retention_days" => continue,
            path if path.starts_with("postgres.") && path.ends_with("_ms") => "7777",
            "follower.lease_ms" => "20000",
            "follower.heartbeat_ms" => "7777",
            path if path.starts_with("rabbitmq.") && path.ends_with("_timeout_ms") => "7777",
            _ => "77",
        };
        let changed = load_ok(&Inputs { flags: vec![flag(setting.path, "--x", other)], ..Inputs::default() });
        assert_ne!(format!("{:?}", changed.settings), blank, "{}", setting.path);
    }
}

#[test]
fn what_only_a_server_does_is_told_without_one() {
    let kept = || flag("journal.retention_days", "--x", "30");
    let said = problems(&Inputs { flags: vec![kept()], ..Inputs::default() });
    assert!(said.contains("journal.retention_days is set, and the database is SQLite"), "{said}");
    let database = flag("database", "--database", "postgres://wellorder@127.0.0.1/orders");
    let settings = load_ok(&Inputs { flags: vec![kept(), database], ..Inputs::default() }).settings;
    assert_eq!(settings.journal.retention, Some(Duration::from_secs(30 * 24 * 3_600)));
}

/// Who names an authority or a login wants somebody to be trusted or logged in to.
#[test]
fn what_is_said_of_nobody_is_told() {
    for (path, value, main) in [
        ("kafka.ca_file", "ca.pem", "kafka.brokers"),
        ("kafka.cert_file", "cert.pem", "kafka.brokers"),
        ("kafka.key_file", "key.pem", "kafka.brokers"),
        ("kafka.sasl_mechanism", "plain", "kafka.brokers"),
        ("kafka.username", "shop", "kafka.brokers"),
        ("kafka.password", "hidden", "kafka.brokers"),
        ("kafka.password_file", "password", "kafka.brokers"),
        ("redis.ca_file", "ca.pem", "redis.url"),
        ("rabbitmq.ca_file", "ca.pem", "rabbitmq.url"),
    ] {
        let said = problems(&Inputs { flags: vec![flag(path, "--x", value)], ..Inputs::default() });
        assert!(said.contains(&format!("{path} is set, and {main} is not")), "{path}: {said}");
        assert!(!said.contains("hidden"), "{said}");
    }
}

/// No two listeners can have one address, whatever they are for.
#[test]
fn addresses_are_each_for_one_listener() {
    for (one, other) in [
        ("listen", "ops"),
        ("listen", "contracts.parspec.listen"),
        ("ops", "contracts.orderstream.grpc"),
        ("contracts.sales.listen", "contracts.orderstream.listen"),
    ] {
        let at = |port: &str| {
            let address = format!("127.0.0.1:{port}");
            problems(&Inputs {
                flags: vec![flag(one, "--x", &address), flag(other, "--x", &address)],
                ..Inputs::default()
            })
        };
        assert!(at("4567").contains(&format!("{other} is the same address as {one}")), "{}", at("4567"));
        assert_eq!(at("0"), "", "each gets one of its own");
    }
}

#[test]
fn units_are_converted() {
    let config =
        load_ok(&toml("[limits]\nbody_kib = 2\n[ndjson]\nrotate_mib = 3\n[worker]\npoll_interval_ms = 50"));
    assert_eq!(config.settings.limits.body_bytes, 2048);
    assert_eq!(config.settings.lane.queue_bytes, 64 * 1024 * 1024);
    assert_eq!(config.settings.ndjson.rotate_bytes, 3 * 1024 * 1024);
    assert_eq!(config.settings.worker.poll_interval, Duration::from_millis(50));
}

#[test]
fn a_stronger_layer_goes_first_and_is_named() {
    let mut inputs = toml("# settings\n\n[worker]\nbatch_size = 1\n");
    let batch = |inputs: &Inputs| load_ok(inputs).settings.worker.batch_size;
    assert_eq!(
        (batch(&Inputs::default()), origin(&Inputs::default(), "worker.batch_size")),
        (100, "default".into())
    );
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (1, "wellorder.toml:4".into()));
    inputs.dotenv = text(".env", "A=b\nWORKER_BATCH_SIZE=2\n");
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (2, ".env:2".into()));
    inputs.dotenv = text(".env", "WORKER_BATCH_SIZE=2\nWELLORDER_WORKER_BATCH_SIZE=3\n");
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (3, ".env:2".into()));
    inputs.environment = Environment::from([("WORKER_BATCH_SIZE", "4")]);
    let from = "environment WORKER_BATCH_SIZE";
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (4, from.into()));
    let both = [("WORKER_BATCH_SIZE", "4"), ("WELLORDER_WORKER_BATCH_SIZE", "5")];
    inputs.environment = Environment::from(both);
    let from = "environment WELLORDER_WORKER_BATCH_SIZE";
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (5, from.into()));
    inputs.flags = vec![flag("worker.batch_size", "--batch", "6")];
    assert_eq!((batch(&inputs), origin(&inputs, "worker.batch_size")), (6, "--batch".into()));
}

#[test]
fn ports_alone_are_addresses_on_loopback() {
    let listen = |inputs: &Inputs| load_ok(inputs).settings.listen.to_string();
    assert_eq!(listen(&env([("PORT", "8080")])), "127.0.0.1:8080");
    assert_eq!(listen(&env([("API_PORT", "8081")])), "127.0.0.1:8081");
    assert_eq!(listen(&env([("PORT", "8080"), ("API_PORT", "8080")])), "127.0.0.1:8080");
    assert_eq!(listen(&env([("PORT", ""), ("API_PORT", "8081")])), "127.0.0.1:8081", "empty is not set");
    assert_eq!(listen(&env([("WELLORDER_LISTEN", "[::1]:9")])), "[::1]:9");
}

#[test]
fn plain_names_that_contradict_each_other_are_told() {
    let inputs = env([("PORT", "1"), ("API_PORT", "2")]);
    insta::assert_snapshot!(problems(&inputs), @r"
    the settings have 1 problem:
      environment: PORT and API_PORT contradict each other; keep one of them, or set WELLORDER_LISTEN
    ");
    let settled = env([("PORT", "1"), ("API_PORT", "2"), ("WELLORDER_LISTEN", "127.0.0.1:3")]);
    assert_eq!(load_ok(&settled).settings.listen.port(), 3);
}

/// Other programs use plain names too (`API_PORT=tcp://…` comes from an orchestrator): with ours set they are ignored.
#[test]
fn plain_names_of_others_are_left_alone_once_ours_is_set() {
    let foreign = ("API_PORT", "tcp://10.0.0.1:80");
    let shown = problems(&env([foreign]));
    assert!(
        shown.contains("API_PORT `tcp://10.0.0.1:80` is no address")
            && shown.contains("or set WELLORDER_LISTEN")
    );
    load_ok(&env([foreign, ("WELLORDER_LISTEN", "127.0.0.1:1")]));
    load_ok(&Inputs { flags: vec![flag("listen", "--listen", "127.0.0.1:1")], ..env([foreign]) });
}

#[test]
fn defaults_that_follow_from_others() {
    let inputs = Inputs { flags: vec![flag("data", "--data", "/srv/w")], ..Inputs::default() };
    let sink = load_ok(&inputs).settings.ndjson.sink;
    assert_eq!(sink, NdjsonSink::File("/srv/w/events.ndjson".into()));
    assert_eq!(origin(&inputs, "ndjson.path"), "default");
    let watched = Inputs { stderr_is_terminal: true, ..Inputs::default() };
    assert_eq!(load_ok(&watched).settings.log.format, LogFormat::Text);
    let off = env([("WELLORDER_NDJSON_PATH", "")]);
    assert_eq!(load_ok(&off).settings.ndjson.sink, NdjsonSink::Off, "empty is a value here");
    assert_eq!(load_ok(&toml("ndjson.path = \"-\"")).settings.ndjson.sink, NdjsonSink::Stdout);
}

#[test]
fn lists_and_words() {
    let roles = |inputs: &Inputs| load_ok(inputs).settings.roles;
    assert_eq!(roles(&toml("role = [\"api\", \"worker\"]")), [Role::Api, Role::Worker]);
    assert_eq!(roles(&env([("WELLORDER_ROLE", "relay, sync")])), [Role::Relay, Role::Sync]);
    assert!(!load_ok(&toml("role = \"api\"")).settings.has_role(Role::Worker));
    assert_eq!(load_ok(&env([("LOG_LEVEL", "DEBUG")])).settings.log.level, LogLevel::Debug);
    assert_eq!(load_ok(&toml("as = \"oscarps\"")).settings.mounted.as_deref(), Some("oscarps"));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let inputs = Inputs {
        mode: Mode::Dev,
        flags: vec![flag("listen", "--listen", "somewhere")],
        environment: Environment::from([
            ("HOME", "/root"),
            ("WELLORDER_LISTN", "127.0.0.1:1"),
            ("WELLORDER_TEST_DATABASE_URL", "postgres://of.tests/"),
            ("WELLORDER_WORKER_LEASE_MS", "soon"),
            ("WORKER_MAX_ATTEMPTS", "0"),
        ]),
        dotenv: text(".env", "WELLORDER_DATA=\nPORT=1\nPORT=2\nthis is no variable\nWELLORDER_QUUX=1\n"),
        file: text(
            "etc/w.toml",
            "role = [\"api\", \"cook\"]\nwroker.batch_size = 5\n\n[worker]\nbatch_size = \"100\"\n\
             max_attempts = -1\n[log]\nlevel = true\n[limits]\nbody_kib = 99999999\nworker = 1\n[[store]]\nx = 1\n",
        ),
        stderr_is_terminal: false,
    };
    insta::assert_snapshot!(problems(&inputs), @r"
    the settings have 16 problems:
      --listen: `somewhere` is no address; use IP:PORT such as 127.0.0.1:3000, or a port
      environment: WELLORDER_LISTN is no setting; did you mean WELLORDER_LISTEN?
      environment: WELLORDER_WORKER_LEASE_MS `soon` is no whole number; use whole milliseconds from 100 to 3600000
      environment: WORKER_MAX_ATTEMPTS `0` is out of range; use a whole number from 1 to 1000, or set WELLORDER_WORKER_MAX_ATTEMPTS
      .env:1: WELLORDER_DATA is empty; use the path of a folder
      .env:3: PORT is given a second time; keep one of them
      .env:4: this line is no variable; write NAME=value, or NAME='a value'
      .env:5: WELLORDER_QUUX is no setting; remove it; `wellorder config show` lists what there is
      etc/w.toml:1: role `api,cook` is not known; use one or more of api, worker, relay, sync, all
      etc/w.toml:2: wroker.batch_size is no setting; did you mean worker.batch_size?
      etc/w.toml:5: worker.batch_size has the wrong type; write a number without quotes
      etc/w.toml:6: worker.max_attempts `-1` is out of range; use a whole number from 1 to 1000
      etc/w.toml:8: log.level has the wrong type; write a string in quotes
      etc/w.toml:10: limits.body_kib `99999999` is out of range; use a whole number from 1 to 65536
      etc/w.toml:11: limits.worker is no setting; remove it; `wellorder config show` lists what there is
      etc/w.toml:12: store is no setting; remove it; `wellorder config show` lists what there is
    ");
}

/// The crash tests name a place by these; a build without the feature does not pretend to know them.
#[test]
fn names_of_the_crash_tests() {
    for name in ["WELLORDER_KILLPOINT", "WELLORDER_PLANT"] {
        assert_eq!(problems(&env([(name, "api.after_commit:1")])).is_empty(), cfg!(feature = "killpoints"));
    }
}

#[test]
fn a_file_that_is_no_toml_is_one_problem() {
    insta::assert_snapshot!(problems(&toml("listen = \"127.0.0.1:1\"\n\n[worker\nlease_ms = 1\n")), @r"
    the settings have 1 problem:
      wellorder.toml:3: is no TOML (unclosed table, expected `]`); mend this line
    ");
    insta::assert_snapshot!(problems(&toml("shards = 1\nshards = 2\n")), @r"
    the settings have 1 problem:
      wellorder.toml:2: is no TOML (duplicate key); mend this line
    ");
    insta::assert_snapshot!(problems(&toml("[worker]\nlease_ms = 100\n[worker]\n")), @r"
    the settings have 1 problem:
      wellorder.toml:3: is no TOML (duplicate key); mend this line
    ");
}

#[test]
fn tables_and_settings_are_not_confused() {
    insta::assert_snapshot!(problems(&toml("worker = 5\n[listen]\nport = 1\n[empty]\n")), @r"
    the settings have 3 problems:
      wellorder.toml:1: worker is no setting; it is a table: write [worker] and under it settings such as batch_size
      wellorder.toml:3: listen.port is no setting; remove it; `wellorder config show` lists what there is
      wellorder.toml:4: empty is no setting; remove it; `wellorder config show` lists what there is
    ");
}

#[test]
fn settings_must_fit_one_another() {
    let file = "processor = \"http\"\nlisten = \"0.0.0.0:1\"\nops = \"192.168.1.1:2\"\n\
                [worker]\nlease_ms = 100\nheartbeat_ms = 100\nbackoff_base_ms = 2\nbackoff_cap_ms = 1\n\
                [lane]\nqueue_max = 5\n";
    insta::assert_snapshot!(problems(&toml(file)), @r"
    the settings have 6 problems:
      wellorder.toml:2: listen is not a loopback address, and nobody logs in here; use 127.0.0.1 or [::1]
      wellorder.toml:3: ops is not a loopback address, and nobody logs in here; use 127.0.0.1 or [::1]
      wellorder.toml:6: worker.heartbeat_ms is not below worker.lease_ms (wellorder.toml:5); use a third of it
      wellorder.toml:7: worker.backoff_base_ms is above worker.backoff_cap_ms (wellorder.toml:8); make it smaller, or the cap larger
      http_processor.url: is not set, and processor (wellorder.toml:1) is http; set it to the URL that takes orders
      lane.batch_max: is above lane.queue_max (wellorder.toml:10); make it smaller, or the queue larger
    ");
    let same = problems(&toml("listen = \"127.0.0.1:5\"\nops = \"127.0.0.1:5\""));
    assert!(same.contains("ops is the same address as listen (wellorder.toml:1)"), "{same}");
    let fits = toml("processor = \"http\"\nhttp_processor.url = \"http://127.0.0.1:9/\"");
    assert_eq!(load_ok(&fits).settings.processor, ProcessorKind::Http);
}

#[test]
fn what_does_not_fit_is_told_beside_everything_else_that_is_wrong() {
    let file =
        "shards = 0\nlisten = \"0.0.0.0:1\"\nnonsense = 1\n[worker]\nlease_ms = 100\nheartbeat_ms = 100\n";
    insta::assert_snapshot!(problems(&toml(file)), @r"
    the settings have 4 problems:
      wellorder.toml:1: shards `0` is out of range; use a whole number from 1 to 1024
      wellorder.toml:2: listen is not a loopback address, and nobody logs in here; use 127.0.0.1 or [::1]
      wellorder.toml:3: nonsense is no setting; remove it; `wellorder config show` lists what there is
      wellorder.toml:6: worker.heartbeat_ms is not below worker.lease_ms (wellorder.toml:5); use a third of it
    ");
}

/// A value that failed stands at its default: what does not fit that default is nobody's mistake.
#[test]
fn what_failed_already_is_not_told_again() {
    for (file, failed) in [
        ("processor = \"http\"\nhttp_processor.url = \"h\"", "http_processor.url has a value that is no URL"),
        ("processor = \"htpp\"\nhttp_processor.url = \"\"", "processor `htpp` is not known"),
        ("worker.lease_ms = -1\nworker.heartbeat_ms = 40000", "worker.lease_ms `-1` is out of range"),
        ("worker.lease_ms = \"99\"\nworker.heartbeat_ms = 40000", "worker.lease_ms has the wrong type"),
        ("lane.batch_max = 0\nlane.queue_max = 5", "lane.batch_max `0` is out of range"),
    ] {
        let shown = problems(&toml(file));
        assert!(shown.starts_with("the settings have 1 problem:") && shown.contains(failed), "{shown}");
    }
    // In a file that cannot be read may stand what makes the rest fit.
    let queue = ("WELLORDER_LANE_QUEUE_MAX", "5");
    let perhaps = problems(&Inputs { file: text("wellorder.toml", "[lane"), ..env([queue]) });
    assert!(perhaps.starts_with("the settings have 1 problem:"), "{perhaps}");
    let both = env([queue, ("WELLORDER_LANE_BATCH_MAX", "6")]);
    let surely = problems(&Inputs { file: text("wellorder.toml", "[lane"), ..both });
    assert!(surely.contains("LANE_BATCH_MAX is above lane.queue_max"), "{surely}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "https://user:hunter2@shop.example:8443/hook/hunter2?token=hunter2";
    let config = load_ok(&env([("WELLORDER_HTTP_PROCESSOR_URL", secret)]));
    assert_eq!(config.settings.http_processor.url.as_deref(), Some(secret));
    let rows = format!("{:?}", as_rows(&config));
    assert!(rows.contains("https://shop.example:8443/(hidden)"), "{rows}");
    let everything = format!("{rows} {}", as_json(&config));
    assert!(!everything.contains("hunter2"), "{everything}");
    for bad in ["hunter2", "ftp://hunter2/", "http://hunter2 /"] {
        let shown = problems(&toml(&format!("http_processor.url = {bad:?}")));
        assert!(shown.contains("has a value that is no URL") && !shown.contains("hunter2"), "{shown}");
    }
    let shown = problems(&toml("password = \"hunter2\"\nx = 'hunter2\n"));
    assert!(!shown.contains("hunter2"), "{shown}");
    let shown = problems(&env([("WELLORDER_SECRET", "hunter2")]));
    assert!(shown.contains("WELLORDER_SECRET is no setting") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn messages_cannot_command_the_terminal() {
    let shown = problems(&env([("WELLORDER_SHARDS", "1\u{1b}[2J\n2")]));
    assert!(shown.contains(r"`1\u{1b}[2J\n2` is no whole number"), "{shown}");
}

#[test]
fn json_has_numbers_as_numbers_and_names_every_origin() {
    let config = load_ok(&env([("PORT", "8080")]));
    let json = as_json(&config);
    let find = |key: &str| json["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap();
    insta::assert_json_snapshot!(find("listen"), @r#"
    {
      "key": "listen",
      "value": "127.0.0.1:8080",
      "origin": "environment PORT",
      "is_default": false,
      "environment": "WELLORDER_LISTEN",
      "also": [
        "PORT",
        "API_PORT"
      ],
      "allowed": "IP:PORT such as 127.0.0.1:3000, or a port",
      "about": "address that serves HTTP"
    }
    "#);
    assert_eq!((&find("shards")["value"], &find("shards")["is_default"]), (&1.into(), &true.into()));
    assert_eq!(find("simulate.fail_rate")["value"].to_string(), "0.0");
}

#[test]
fn an_address_is_shown_whole() {
    let config = load_ok(&Inputs { flags: vec![flag("ops", "--ops", "9090")], ..Inputs::default() });
    assert_eq!(config.settings.ops, Some(SocketAddr::from(([127, 0, 0, 1], 9090))));
    let rows = as_rows(&config);
    let [_, value, origin] = rows.iter().find(|row| row[0] == "ops").unwrap();
    assert_eq!((value.as_str(), origin.as_str()), ("127.0.0.1:9090", "--ops"));
}

/// What a server for others has otherwise than one on a developer's machine.
#[test]
fn serve_has_defaults_of_its_own() {
    let mut inputs = env([("WELLORDER_LISTEN", "10.1.2.3:80")]);
    assert!(problems(&inputs).contains("is not a loopback address"), "in dev");
    inputs.mode = Mode::Serve;
    let config = load_ok(&inputs);
    assert_eq!(config.settings.processor, ProcessorKind::Pull);
    assert_eq!(config.settings.worker.max_attempts, 20);
    assert!(!config.settings.telemetry.trust_incoming, "anybody may call");
    inputs.mode = Mode::Client;
    let config = load_ok(&inputs);
    assert_eq!(
        (config.settings.processor, config.settings.worker.max_attempts),
        (ProcessorKind::Simulate, 3)
    );
}

#[test]
fn secrets_are_hidden_wherever_settings_are_shown() {
    let canary = "canary-7f3a";
    let config = load_ok(&env([
        ("JWT_SECRET", canary),
        ("WELLORDER_AUTH_KEY_PEPPER", canary),
        ("WELLORDER_CLIENT_KEY", canary),
    ]));
    assert!(!format!("{:?}", config.settings).contains(canary));
    assert!(!as_json(&config).to_string().contains(canary));
    assert!(!format!("{:?}", as_rows(&config)).contains(canary));
    assert_eq!(config.settings.auth.jwt_secret.text(), Some(canary));
    let said =
        problems(&env([("JWT_SECRET", canary), ("WELLORDER_AUTH_JWKS_URL", &format!("ftp://{canary}"))]));
    assert!(said.contains("WELLORDER_AUTH_JWKS_URL") && !said.contains(canary), "{said}");
}

#[test]
fn a_switch_is_true_or_false() {
    let public = |inputs: &Inputs| load_ok(inputs).settings.public.into_iter().collect::<Vec<_>>();
    assert_eq!(public(&toml("[contracts.oscarps]\npublic = true")), ["oscarps"]);
    assert_eq!(public(&env([("WELLORDER_CONTRACTS_PARSPEC_PUBLIC", "true")])), ["parspec"]);
    assert!(problems(&toml("[contracts.oscarps]\npublic = \"true\"")).contains("has the wrong type"));
    assert!(
        problems(&env([("WELLORDER_CONTRACTS_OSCARPS_PUBLIC", "yes")])).contains("is neither true nor false")
    );
}
