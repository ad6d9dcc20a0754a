//! Who asks too often, and writes that would wait too long: refused before their bodies are read.
#![expect(clippy::unwrap_used, reason = "tests")]

use async_trait::async_trait;
use axum::response::Response;
use edge::{
    Caller, Gate, Guard, Limits, Mount, Need, Proxies, Rate, RatePolicy, RawBody, Refusal, RequestId, Room,
    Routes, Scope, Scopes,
};
use http::Method;
use http::request::Parts;
use order_core::{Fault, TenantId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::http::{Client, Reply};
use testkit::{ManualClock, SeededIds};
use tokio::sync::watch;

/// Knows `key:TENANT:NAME`.
struct Keys;

#[async_trait]
impl Gate for Keys {
    async fn admit(&self, head: &Parts) -> Result<Caller, Refusal> {
        let credential =
            head.headers.get("authorization").map_or("key:public:p", |value| value.to_str().unwrap());
        let mut parts = credential.split(':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("key"), Some(tenant), Some(name)) => Ok(Caller {
                tenant: TenantId::new(tenant).unwrap(),
                subject: name.into(),
                scopes: Scopes::all(),
                tenant_said: true,
            }),
            _ => Err(Refusal::Unauthenticated),
        }
    }
}

fn style(refusal: &Refusal, _: &RequestId) -> Response {
    edge::respond::text(refusal.status(), refusal.detail())
}

struct Server {
    client: Client,
    clock: Arc<ManualClock>,
    /// Whether writes would wait too long.
    busy: Arc<AtomicBool>,
    /// Whether a handler of a write ran.
    wrote: Arc<AtomicBool>,
    _stop: watch::Sender<bool>,
}

async fn server(policy: RatePolicy) -> Server {
    let clock = ManualClock::new();
    let (busy, wrote) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let pressed = Arc::clone(&busy);
    let proxies = Proxies { networks: vec!["127.0.0.0/8".parse().unwrap()], ..Proxies::default() };
    let guard = Guard::new(Limits::default(), false, clock.clone(), SeededIds::new(1))
        .limiting(policy)
        .behind(proxies)
        .under(Arc::new(
            move || if pressed.load(Ordering::SeqCst) { Err(Fault::overloaded()) } else { Ok(()) },
        ));
    let guard = Arc::new(guard);
    let write = {
        let wrote = Arc::clone(&wrote);
        async move |_: Room, _: RawBody| {
            wrote.store(true, Ordering::SeqCst);
            "written"
        }
    };
    let routes = Routes::<()>::new(Arc::new(Keys))
        .route(Method::GET, "/read", Need::Scope(Scope::OrdersRead), async || "read")
        .route(Method::POST, "/write", Need::Scope(Scope::OrdersWrite), write)
        .route(Method::GET, "/health", Need::Nothing, async || "well");
    let router = edge::mount(routes.into_router(), Mount { name: "test", style }, Arc::clone(&guard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(edge::serve(listener, router, guard, stopped, Duration::from_secs(30)));
    Server { client, clock, busy, wrote, _stop: stop }
}

impl Server {
    async fn read(&self, credential: &str, address: &str) -> Reply {
        let mut headers = vec![("x-forwarded-for", address)];
        headers.extend((!credential.is_empty()).then_some(("authorization", credential)));
        self.client.send("GET", "/read", &headers, b"").await
    }

    async fn status(&self, credential: &str, address: &str) -> u16 {
        self.read(credential, address).await.status
    }
}

/// Two at once, then one a minute.
fn rate() -> Option<Rate> {
    Some(Rate::new(1, Duration::from_secs(60), 2))
}

fn policy() -> RatePolicy {
    RatePolicy { tracked_max: 100, ..RatePolicy::default() }
}

#[tokio::test]
async fn a_key_has_a_bucket_of_its_own_wherever_it_is_used() {
    let server = server(RatePolicy { key: rate(), ..policy() }).await;
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200);
    assert_eq!(server.status("key:a:1", "203.0.113.2").await, 200);
    let refused = server.read("key:a:1", "203.0.113.3").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")), "{}", refused.text());
    assert_eq!(server.status("key:a:2", "203.0.113.1").await, 200, "another key");
    assert_eq!(server.status("key:b:1", "203.0.113.1").await, 200, "another tenant's of the same name");
    assert_eq!(server.client.get("/health").await.status, 200, "what needs nothing is not limited");
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200, "who waits as told is served");
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 429);
}

#[tokio::test]
async fn keys_of_a_tenant_share_what_the_tenant_has() {
    let server = server(RatePolicy { tenant: rate(), ..policy() }).await;
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200);
    assert_eq!(server.status("key:a:2", "203.0.113.1").await, 200);
    assert_eq!(server.status("key:a:3", "203.0.113.1").await, 429);
    assert_eq!(server.status("key:b:1", "203.0.113.1").await, 200);
}

#[tokio::test]
async fn a_key_that_asks_too_often_uses_up_nothing_of_its_tenants() {
    let tenant = Some(Rate::new(1, Duration::from_secs(60), 4));
    let server = server(RatePolicy { key: rate(), tenant, ..policy() }).await;
    for _ in 0..10 {
        server.status("key:a:1", "203.0.113.1").await;
    }
    assert_eq!(server.status("key:a:2", "203.0.113.1").await, 200);
}

#[tokio::test]
async fn who_names_nobody_is_known_by_address_and_an_ipv6_customer_by_network() {
    let server = server(RatePolicy { address: rate(), ..policy() }).await;
    for (address, status) in [
        ("203.0.113.1", 200),
        ("203.0.113.1", 200),
        ("198.51.100.9, 203.0.113.1", 429),
        ("203.0.113.2", 200),
        ("2001:db8:1:2::1", 200),
        ("2001:db8:1:2::2", 200),
        ("2001:db8:1:2:ffff::3", 429),
        ("2001:db8:1:3::1", 200),
    ] {
        assert_eq!(server.status("", address).await, status, "{address}");
    }
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200, "a credential is not an address's");
}

#[tokio::test]
async fn too_many_bad_credentials_are_refused_and_a_good_one_of_the_same_address_never() {
    let server = server(RatePolicy { failed_login: rate(), ..policy() }).await;
    for _ in 0..5 {
        assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200, "good ones do not count");
    }
    assert_eq!(server.status("bad", "203.0.113.1").await, 401);
    assert_eq!(server.status("bad", "203.0.113.1").await, 401);
    for _ in 0..5 {
        let refused = server.read("bad", "203.0.113.1").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")), "{}", refused.text());
        assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200, "a neighbour behind the same address");
    }
    assert_eq!(server.status("bad", "203.0.113.2").await, 401, "another address");
    server.clock.advance(Duration::from_secs(60));
    assert_eq!(server.status("bad", "203.0.113.1").await, 401);
}

#[tokio::test]
async fn a_write_that_would_wait_is_refused_before_its_body_comes_and_reads_go_on() {
    let server = server(policy()).await;
    server.busy.store(true, Ordering::SeqCst);
    let mut connection = server.client.connect().await;
    // The body is announced and never sent.
    connection
        .write(
            b"POST /write HTTP/1.1\r\nhost: localhost\r\nauthorization: key:a:1\r\ncontent-length: 9\r\n\r\n",
        )
        .await;
    let refused = connection.reply().await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(server.status("key:a:1", "203.0.113.1").await, 200, "who reads is served");
    assert!(!server.wrote.load(Ordering::SeqCst));
    server.busy.store(false, Ordering::SeqCst);
    let headers = [("authorization", "key:a:1")];
    assert_eq!(server.client.send("POST", "/write", &headers, b"some body").await.status, 200);
}
