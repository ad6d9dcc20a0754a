//! Against a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test code"
)]

use redis_kv::{Error, Options, RedisKv, SPENDS_MAX, Spend};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::chaos::{Chaos, Harm, Protocol, Side};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3_600);

fn url() -> String {
    std::env::var("WELLORDER_TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:16379".to_owned())
}

fn redis(url: &str) -> RedisKv {
    RedisKv::open(&Options { url: url.to_owned(), authorities: None, timeout: TIMEOUT }).unwrap()
}

async fn shared() -> RedisKv {
    let redis = redis(&url());
    redis.ping().await.unwrap_or_else(|error| {
        panic!("no Redis at {}: {error}; start one: cargo xtask services up redis", url())
    });
    redis
}

fn installation() -> String {
    Uuid::new_v4().to_string()
}

fn spend(name: u64, cost: Duration) -> Spend {
    Spend { limit: "key", name, cost, ago: Duration::ZERO, owed_max: 10 * HOUR }
}

/// Whether `owed` is `expected`, less what went by while the test ran; hours are owed, and a test takes none.
fn about(owed: Duration, expected: Duration) -> bool {
    owed <= expected && owed > expected.saturating_sub(HOUR / 2)
}

#[tokio::test]
async fn what_all_nodes_spend_adds_up() {
    let (one, other, installation) = (shared().await, shared().await, installation());
    let first = one.spend(&installation, &[spend(1, HOUR), spend(2, 3 * HOUR)]).await.unwrap();
    assert!(about(first[0], HOUR) && about(first[1], 3 * HOUR), "{first:?}");
    let second = other.spend(&installation, &[spend(2, HOUR), spend(1, HOUR)]).await.unwrap();
    assert!(about(second[0], 4 * HOUR) && about(second[1], 2 * HOUR), "{second:?}");
    let look = one.spend(&installation, &[spend(1, Duration::ZERO)]).await.unwrap();
    assert!(about(look[0], 2 * HOUR), "{look:?}");
}

#[tokio::test]
async fn installations_and_limits_are_apart() {
    let (redis, ours, theirs) = (shared().await, installation(), installation());
    redis.spend(&ours, &[spend(1, HOUR)]).await.unwrap();
    let nothing = redis.spend(&theirs, &[spend(1, Duration::ZERO)]).await.unwrap();
    assert_eq!(nothing, [Duration::ZERO]);
    let other_limit = Spend { limit: "tenant", ..spend(1, Duration::ZERO) };
    assert_eq!(redis.spend(&ours, &[other_limit]).await.unwrap(), [Duration::ZERO]);
}

#[tokio::test]
async fn what_was_drawn_a_while_ago_has_filled_up_since() {
    let (redis, installation) = (shared().await, installation());
    let late = Spend { ago: HOUR, ..spend(1, 3 * HOUR) };
    let owed = redis.spend(&installation, &[late]).await.unwrap();
    assert!(about(owed[0], 2 * HOUR), "{owed:?}");
    let owed = redis.spend(&installation, &[late]).await.unwrap();
    assert!(about(owed[0], 5 * HOUR), "what is owed already is owed all the same: {owed:?}");
    let long_full = Spend { ago: 9 * HOUR, ..spend(2, HOUR) };
    assert_eq!(redis.spend(&installation, &[long_full]).await.unwrap(), [Duration::ZERO]);
}

#[tokio::test]
async fn nobody_owes_more_than_the_most() {
    let (redis, installation) = (shared().await, installation());
    let spend = Spend { owed_max: 2 * HOUR, ..spend(1, 100 * HOUR) };
    for _ in 0..2 {
        let owed = redis.spend(&installation, &[spend]).await.unwrap();
        assert!(about(owed[0], 2 * HOUR), "{owed:?}");
    }
}

#[tokio::test]
async fn many_are_told_at_once() {
    let (redis, installation) = (shared().await, installation());
    let spends: Vec<Spend> = (0..SPENDS_MAX as u64).map(|name| spend(name, HOUR)).collect();
    for _ in 0..2 {
        assert_eq!(redis.spend(&installation, &spends).await.unwrap().len(), SPENDS_MAX);
    }
    assert!(redis.spend(&installation, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_result_is_kept_for_its_time() {
    let (redis, key) = (shared().await, format!("order_result:{}", Uuid::new_v4()));
    redis.keep(&key, br#"{"status":"created"}"#, Duration::from_secs(600)).await.unwrap();
    redis.keep(&key, br#"{"status":"updated"}"#, Duration::from_secs(600)).await.unwrap();
    let server = ::redis::Client::open(url()).unwrap();
    let mut connection = server.get_multiplexed_async_connection().await.unwrap();
    let value: String = ::redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
    let ttl: u64 = ::redis::cmd("TTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert_eq!(value, r#"{"status":"updated"}"#);
    assert!((500..=600).contains(&ttl), "{ttl}");
}

/// A server of this test's own, stopped when dropped.
struct Server(Child);

impl Server {
    fn start(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(port.to_string()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("no redis-server; install it: apt-get install redis-server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until it answers; a server takes its time to start, and a connection to be made anew.
async fn comes(redis: &RedisKv) {
    let answers = async {
        while redis.ping().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answers).await.expect("it does not come");
}

#[tokio::test]
async fn it_is_found_again_after_it_was_away() {
    let port = free_port();
    let redis = redis(&format!("redis://127.0.0.1:{port}"));
    let away = redis.ping().await.unwrap_err();
    assert!(matches!(&away, Error::Unavailable(why) if why.contains("refused")), "{away}");
    let installation = installation();
    for _ in 0..2 {
        let server = Server::start(port, &[]);
        comes(&redis).await;
        // Its memory is empty, its scripts are gone: both come anew.
        let owed = redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap();
        assert!(about(owed[0], HOUR), "{owed:?}");
        drop(server);
        redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap_err();
    }
}

#[tokio::test]
async fn the_first_result_after_a_restart_is_kept() {
    let port = free_port();
    let open = || redis(&format!("redis://127.0.0.1:{port}"));
    let (redis, key) = (open(), "order_result:1");
    let server = Server::start(port, &[]);
    comes(&redis).await;
    redis.keep(key, b"1", Duration::from_secs(600)).await.unwrap();
    drop(server);
    let _server = Server::start(port, &[]);
    comes(&open()).await;
    redis.keep(key, b"2", Duration::from_secs(600)).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_repeated() {
    let port = free_port();
    let _server = Server::start(port, &["--requirepass", "right-one"]);
    comes(&redis(&format!("redis://:right-one@127.0.0.1:{port}"))).await;
    let error = redis(&format!("redis://:wrong-one@127.0.0.1:{port}")).ping().await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("password"), "{error}");
    assert!(!error.to_string().contains("wrong-one"), "{error}");
    let error = redis(&format!("redis://127.0.0.1:{port}")).ping().await.unwrap_err();
    assert!(error.to_string().contains("NOAUTH"), "{error}");
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(50);
    let redis = RedisKv::open(&Options { url, authorities: None, timeout }).unwrap();
    assert_eq!(redis.ping().await.unwrap_err(), Error::TimedOut(timeout));
}

/// A way to the server that all tests share, and whoever goes by it.
async fn on_the_way() -> (Chaos, RedisKv) {
    shared().await;
    let (way, url) = Chaos::on_the_way(&url(), Protocol::Redis).await;
    let timeout = Duration::from_millis(500);
    (way, RedisKv::open(&Options { url, authorities: None, timeout }).unwrap())
}

#[tokio::test]
async fn what_was_asked_in_vain_is_answered_to_nobody_else() {
    let ((way, redis), installation) = (on_the_way().await, installation());
    redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap();
    way.hang(&[Side::Server]);
    redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap_err();
    redis.spend(&installation, &[spend(2, 5 * HOUR)]).await.unwrap_err();
    way.release();
    comes(&redis).await;
    // The answers that came late are not taken for these.
    let owed = redis.spend(&installation, &[spend(2, Duration::ZERO), spend(1, HOUR)]).await.unwrap();
    assert!(about(owed[0], 5 * HOUR) && about(owed[1], 3 * HOUR), "{owed:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_an_error_and_what_was_asked_may_be_done() {
    let ((way, redis), installation) = (on_the_way().await, installation());
    redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap();
    way.harm(1, |frame| frame.is(Side::Server, "EVALSHA").then_some(Harm::Cut));
    redis.spend(&installation, &[spend(1, HOUR)]).await.unwrap_err();
    comes(&redis).await;
    let owed = redis.spend(&installation, &[spend(1, Duration::ZERO)]).await.unwrap();
    assert!(about(owed[0], 2 * HOUR), "{owed:?}");
    let key = format!("order_result:{}", Uuid::new_v4());
    way.harm(2, |frame| frame.is(Side::Client, "SET").then_some(Harm::Cut));
    redis.keep(&key, b"1", Duration::from_secs(600)).await.unwrap_err();
    comes(&redis).await;
    redis.keep(&key, b"2", Duration::from_secs(600)).await.unwrap();
}

#[tokio::test]
async fn one_that_lets_nobody_in_is_found_again_by_itself() {
    let (way, redis) = on_the_way().await;
    redis.ping().await.unwrap();
    way.close();
    assert_eq!(way.cut(), 1);
    redis.ping().await.unwrap_err();
    way.open();
    comes(&redis).await;
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for url in [
        "",
        "127.0.0.1:6379",
        "http://127.0.0.1",
        "redis://:secret@",
        "unix:///tmp/redis.sock",
        "rediss://localhost/#insecure",
    ] {
        let error = RedisKv::open(&Options { url: url.to_owned(), authorities: None, timeout: TIMEOUT });
        let error = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("redis://HOST:PORT") && !error.contains("secret"), "{url}: {error}");
    }
}
