//! P6: from the journal on PostgreSQL to Kafka: a backlog carried on, beside the producer of Kafka's own tools; and the time
//! from a commit until a consumer has the record.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::super::figure::{Goal, Report};
use super::super::latency::order;
use super::super::{Bench, fill, quietly_with};
use super::database_of;
use super::work::ready;
use crate::http::client::Client;
use crate::server::log_tail;
use crate::services::{Service, Up, kafka_tool};
use crate::shell::{capture, run as sh, wait_until};
use crate::stats::{percentile, sorted};

/// Of every topic.
const PARTITIONS: &str = "4";
/// Bytes of a record of the peer.
const RECORD: &str = "300";
/// Debezium 3.3.1, tuned, on the machine of the goals on another day: rows a second.
const DEBEZIUM: f64 = 22_000.0;
/// Orders a second whose records are timed, and who places them.
const PER_SECOND: usize = 500;
const SENDERS: usize = 8;
/// Longest wait for a backlog to be carried on, and for a record.
const CARRIED_LIMIT: Duration = Duration::from_secs(300);
const RECORD_LIMIT: Duration = Duration::from_secs(30);

/// How far the follower is, in events.
const CARRIED: &str = "SELECT coalesce(sum(position), 0) FROM cursors WHERE follower = 'kafka'";
/// As if there had never been one.
const FORGET: &str = "DELETE FROM cursors; DELETE FROM relays; DELETE FROM followers";

/// Where Kafka is.
struct Kafka {
    brokers: String,
    /// Its process, when it is one of ours.
    pid: Vec<u32>,
    /// Part of the names of topics, new for each run of the bench.
    run: u32,
    /// Stops it at the end, if it was started for this.
    _up: Up,
}

impl Kafka {
    fn up() -> Result<Self> {
        let up = Up::only(&[Service::Kafka])?;
        let brokers = up.variables().next().map(|(_, brokers)| brokers.to_owned()).context("no Kafka")?;
        let pid = Up::process(Service::Kafka).into_iter().collect();
        Ok(Self { brokers, pid, run: std::process::id(), _up: up })
    }

    fn topic(&self, name: &str) -> Result<String> {
        let topic = format!("bench-{}-{name}", self.run);
        let partitions =
            ["--create", "--topic", &topic, "--partitions", PARTITIONS, "--replication-factor", "1"];
        self.tool("org.apache.kafka.tools.TopicCommand", &partitions)?;
        Ok(topic)
    }

    fn delete(&self, topic: &str) -> Result<()> {
        self.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", topic])
    }

    fn tool(&self, class: &str, args: &[&str]) -> Result<()> {
        let mut command = kafka_tool()?;
        command.args([class, "--bootstrap-server", &self.brokers]).args(args);
        sh(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn env<'e>(&'e self, topic: &'e str) -> [(&'e str, &'e str); 4] {
        [
            ("WELLORDER_KAFKA_BROKERS", &self.brokers),
            ("WELLORDER_KAFKA_TOPIC", topic),
            ("WELLORDER_KAFKA_PARTITIONS", PARTITIONS),
            ("WELLORDER_NDJSON_PATH", ""),
        ]
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    println!("P6: journal → Kafka");
    let kafka = Kafka::up()?;
    let events = if bench.quick { 50_000 } else { 400_000 };
    let backlog = bench.launch("p6", &["--role", "api"], &[])?;
    let mut server = ready(&backlog)?;
    fill::place(server.address, "events", events)?;
    server.terminate(Duration::from_secs(30))?;
    let (mut peers, mut ours, mut default, mut noisy) = (Vec::new(), Vec::new(), Vec::new(), false);
    for run in 0..bench.runs {
        for (values, measure) in [
            (&mut peers, &(|| producer(bench, &kafka, &format!("peer-{run}"))) as &dyn Fn() -> Result<f64>),
            (&mut ours, &|| carried(bench, &kafka, &format!("carried-{run}"), events, "2000")),
            (&mut default, &|| carried(bench, &kafka, &format!("default-{run}"), events, "500")),
        ] {
            let once = quietly_with(&kafka.pid, measure)?;
            noisy |= once.noisy;
            values.push(once.value);
        }
    }
    bench.discard(&backlog)?;
    let to_peer = ours.iter().zip(&peers).map(|(ours, peer)| ours / peer).collect();
    let to_debezium = ours.iter().map(|ours| ours / DEBEZIUM).collect();
    let mut add = |what: &str, unit, values, goal| report.add("P6", what, unit, values, goal, noisy);
    add("ProducerPerformance, 300 bytes, acks=all, idempotent", "records/s", peers, Goal::None);
    add("a backlog carried on, follower.batch_size 2000, the default", "events/s", ours, Goal::None);
    add("… with 500", "events/s", default, Goal::None);
    add("… (2000) ÷ ProducerPerformance", "", to_peer, Goal::AtLeast(0.5));
    add("… (2000) ÷ Debezium tuned, as measured another day", "", to_debezium, Goal::AtLeast(5.0));
    latencies(bench, &kafka, report)
}

/// What Kafka's own producer gets through, in records a second.
fn producer(bench: &Bench, kafka: &Kafka, name: &str) -> Result<f64> {
    let topic = kafka.topic(name)?;
    let records = if bench.quick { "500000" } else { "2000000" };
    let mut command = kafka_tool()?;
    command
        .arg("org.apache.kafka.tools.ProducerPerformance")
        .args(["--topic", &topic, "--num-records", records, "--record-size", RECORD, "--throughput", "-1"])
        .args(["--producer-props", &format!("bootstrap.servers={}", kafka.brokers)])
        .args(["acks=all", "enable.idempotence=true", "batch.size=16384", "linger.ms=0"])
        .stderr(Stdio::null());
    let (code, out) = capture(&mut command)?;
    kafka.delete(&topic)?;
    if code != Some(0) {
        bail!("ProducerPerformance failed: {out}");
    }
    rate_of(&out)
}

/// The last line: `2000000 records sent, 243700.5 records/sec (69.7 MB/sec), …`.
fn rate_of(out: &str) -> Result<f64> {
    let line = out.lines().rfind(|line| line.contains("records/sec")).unwrap_or_default();
    let number = line.split(',').nth(1).and_then(|part| part.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("ProducerPerformance printed no rate: {out}"))
}

/// Events a second that a relay carries on which finds all of them waiting.
fn carried(bench: &Bench, kafka: &Kafka, name: &str, events: usize, batch: &str) -> Result<f64> {
    let (postgres, database) = (bench.postgres()?, database_of("p6"));
    postgres.ask(&database, FORGET)?;
    let topic = kafka.topic(name)?;
    let mut env = kafka.env(&topic).to_vec();
    env.push(("WELLORDER_FOLLOWER_BATCH_SIZE", batch));
    let launch = bench.launch_on("p6", name, &["--role", "relay"], &env)?;
    let mut session = postgres.session(&database)?;
    let mut relay = launch.start(&[])?;
    let started = Instant::now();
    let mut first = None;
    let rate = loop {
        let carried = session.number(CARRIED)?;
        let now = Instant::now();
        if carried > 0.0 && first.is_none() {
            first = Some((now, carried));
        }
        if let Some((since, had)) = first.filter(|_| carried + 0.5 > events as f64) {
            break (carried - had) / (now - since).as_secs_f64().max(0.001);
        }
        if started.elapsed() > CARRIED_LIMIT {
            bail!("{carried} of {events} events were carried on:\n{}", log_tail(&launch.log, 20));
        }
        thread::sleep(Duration::from_millis(10));
    };
    relay.terminate(Duration::from_secs(30))?;
    kafka.delete(&topic)?;
    if launch.data.exists() {
        std::fs::remove_dir_all(&launch.data).context("cannot remove the data of the relay")?;
    }
    Ok(rate)
}

fn latencies(bench: &Bench, kafka: &Kafka, report: &mut Report) -> Result<()> {
    let (mut p50, mut p99, mut sent_p50, mut noisy) = (Vec::new(), Vec::new(), Vec::new(), false);
    for run in 0..bench.runs {
        let once = quietly_with(&kafka.pid, || timed(bench, kafka, &format!("timed-{run}")))?;
        noisy |= once.noisy;
        let (from_answer, from_sending) = once.value;
        p50.push(percentile(&from_answer, 50.0));
        p99.push(percentile(&from_answer, 99.0));
        sent_p50.push(percentile(&from_sending, 50.0));
    }
    let mut add = |what: &str, values, goal| {
        report.add("P6", format!("{PER_SECOND} orders/s: {what}"), "ms", values, goal, noisy);
    };
    add("acknowledged → record received, p50", p50, Goal::AtMost(10.0));
    add("acknowledged → record received, p99", p99, Goal::AtMost(30.0));
    add("sent → record received, p50", sent_p50, Goal::None);
    Ok(())
}

/// When orders were sent and acknowledged, by id.
type Placed = HashMap<String, (Instant, Instant)>;

/// Milliseconds until the record of each order came, from the answer and from the request; sorted. What comes before the
/// answer counts as nothing.
fn timed(bench: &Bench, kafka: &Kafka, name: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let topic = kafka.topic(name)?;
    let api = bench.launch(name, &["--role", "api"], &[])?;
    let mut server = ready(&api)?;
    let relay = bench.launch_on(name, &format!("{name}-relay"), &["--role", "relay"], &kafka.env(&topic))?;
    let mut relay_node = ready(&relay)?;
    let consumer = Consumer::start(kafka, &topic)?;
    warm_up(server.address, &consumer)?;
    let placed = place(server.address, name, PER_SECOND * bench.seconds() as usize)?;
    let all_came = wait_until(RECORD_LIMIT, Duration::from_millis(20), || consumer.has_all(&placed));
    let received = consumer.end();
    server.terminate(Duration::from_secs(20))?;
    relay_node.terminate(Duration::from_secs(20))?;
    kafka.delete(&topic)?;
    bench.discard(&api)?;
    if !all_came {
        bail!("records are missing: {} of {} came", received.len(), placed.len());
    }
    let times = |of: fn(&(Instant, Instant)) -> Instant| {
        let after = |(id, when): (&String, &(Instant, Instant))| {
            let came = received.get(id)?;
            Some(came.saturating_duration_since(of(when)).as_secs_f64() * 1000.0)
        };
        sorted(placed.iter().filter_map(after).collect())
    };
    Ok((times(|when| when.1), times(|when| when.0)))
}

/// Places orders until the record of one has come.
fn warm_up(address: SocketAddr, consumer: &Consumer) -> Result<()> {
    let mut client = Client::new(address, Duration::from_secs(10));
    let mut n = 0;
    let came = wait_until(RECORD_LIMIT, Duration::from_millis(100), || {
        let sent = client.post("/v1/orders", order("warm", n).as_bytes());
        n += 1;
        sent.is_ok() && consumer.has_any()
    });
    if came { Ok(()) } else { bail!("no record came to the consumer within {} s", RECORD_LIMIT.as_secs()) }
}

/// Places orders by the clock.
fn place(address: SocketAddr, run: &str, orders: usize) -> Result<Placed> {
    let start = Instant::now() + Duration::from_millis(100);
    let parts: Vec<Result<Placed>> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                scope.spawn(move || {
                    let mut client = Client::new(address, Duration::from_secs(10));
                    (id..orders).step_by(SENDERS).map(|n| place_one(&mut client, run, n, start)).collect()
                })
            })
            .collect();
        senders.into_iter().map(|s| s.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked")))).collect()
    });
    let mut placed = Placed::new();
    for part in parts {
        placed.extend(part?);
    }
    Ok(placed)
}

fn place_one(
    client: &mut Client,
    run: &str,
    n: usize,
    start: Instant,
) -> Result<(String, (Instant, Instant))> {
    let due = start + Duration::from_micros(1_000_000 / PER_SECOND as u64 * n as u64);
    if let Some(early) = due.checked_duration_since(Instant::now()) {
        thread::sleep(early);
    }
    let sent = Instant::now();
    let reply = client.post("/v1/orders", order(run, n).as_bytes())?;
    let acknowledged = Instant::now();
    if reply.status != 201 {
        bail!("an order was answered with {}: {}", reply.status, reply.text());
    }
    let id = reply.json()?["order_id"].as_str().context("no order_id")?.to_owned();
    Ok((id, (sent, acknowledged)))
}

/// Kafka's own consumer, which prints the key of each record as it comes.
struct Consumer {
    child: Child,
    received: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Consumer {
    fn start(kafka: &Kafka, topic: &str) -> Result<Self> {
        let mut command: Command = kafka_tool()?;
        command
            .arg("org.apache.kafka.tools.consumer.ConsoleConsumer")
            .args(["--bootstrap-server", &kafka.brokers, "--topic", topic, "--from-beginning"])
            .args(["--property", "print.key=true", "--property", "print.value=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start Kafka's consumer")?;
        let out = child.stdout.take().context("the consumer has no output")?;
        let received = Arc::<Mutex<HashMap<String, Instant>>>::default();
        let keep = Arc::clone(&received);
        thread::spawn(move || keys(BufReader::new(out), &keep));
        Ok(Self { child, received })
    }

    fn has_any(&self) -> bool {
        !lock(&self.received).is_empty()
    }

    fn has_all(&self, placed: &Placed) -> bool {
        let received = lock(&self.received);
        placed.keys().all(|id| received.contains_key(id))
    }

    /// When each came first.
    fn end(self) -> HashMap<String, Instant> {
        std::mem::take(&mut *lock(&self.received))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended
        self.child.wait().ok();
    }
}

fn keys(out: BufReader<impl Read>, received: &Mutex<HashMap<String, Instant>>) {
    for line in out.lines() {
        let Ok(line) = line else { return };
        lock(received).entry(line.trim().to_owned()).or_insert_with(Instant::now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_whole_run_is_read() {
        let out = "500000 records sent, 99999.0 records/sec (28.61 MB/sec), 10.0 ms avg latency\n\
                   2000000 records sent, 243700.5 records/sec (69.73 MB/sec), 12.1 ms avg latency, 99 ms max latency.\n";
        assert_eq!(rate_of(out).unwrap().to_string(), "243700.5");
        assert!(rate_of("no").is_err());
    }

    #[test]
    fn the_first_time_counts_at_which_a_key_comes() {
        let received = Mutex::default();
        keys(BufReader::new(&b"a\nb\n"[..]), &received);
        let first = lock(&received)["a"];
        keys(BufReader::new(&b"a\n"[..]), &received);
        assert_eq!(lock(&received)["a"], first);
        assert_eq!(lock(&received).len(), 2);
    }
}
