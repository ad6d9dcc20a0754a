//! `serve` over TLS: what it speaks, what it refuses, and certificates that change.

use crate::harness::{Authority, Builder, Home, Server, eventually};
use crate::login::{Token, ask, serving};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client that trusts an authority.
fn client_of(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    config.with_root_certificates(roots).with_no_client_auth()
}

pub(crate) fn over_tls(home: &Arc<Home>) -> Builder {
    let path = |name: &str| home.path().join(name).display().to_string();
    serving(home).env("WELLORDER_TLS_CERT", &path("cert.pem")).env("WELLORDER_TLS_KEY", &path("key.pem"))
}

async fn connect(server: &Server, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// What the server answers on a connection of its own.
async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_plain_http_is_refused() {
    let (home, authority) = (Home::new(), Authority::new());
    authority.certify(home.path());
    let server = over_tls(&home).start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = client_of(&authority, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut stream = connect(&server, config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "whoever speaks it");
        let mut of_grpc = client_of(&authority, &[version]);
        of_grpc.alpn_protocols = vec![b"h2".to_vec()];
        let other = connect(&server, of_grpc).await.unwrap();
        assert_eq!(other.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "who speaks nothing else");
        let reply = get(&mut stream, "/v1/orders").await;
        assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
        assert!(reply.contains("\r\nstrict-transport-security: max-age="), "{reply}");
    }
    let plain = server.get("/v1/orders").await;
    assert_eq!((plain.status, plain.header("connection")), (400, Some("close")));
    assert!(plain.text().contains("use https") && plain.header("x-request-id").is_some(), "{}", plain.text());
    // Whoever trusts other authorities goes away by themselves; the server goes on.
    assert!(connect(&server, client_of(&Authority::new(), rustls::ALL_VERSIONS)).await.is_err());
    assert!(connect(&server, client_of(&authority, rustls::ALL_VERSIONS)).await.is_ok());
    let ops = server.ops();
    assert_eq!(ops.get("/readyz").await.status, 200);
    let metrics = ops.get("/metrics").await;
    for line in ["why=\"plain\"} 1", "why=\"refused\"} 1", "why=\"timeout\"} 0"] {
        let line = format!("wellorder_tls_handshakes_failed_total{{{line}");
        assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
    }
    assert_eq!(server.terminate().await.code(), 0);
}

/// The time for a handshake and the room for connections hold before TLS is spoken.
#[tokio::test]
async fn a_slow_handshake_is_cut_and_gives_its_room_back() {
    let (home, authority) = (Home::new(), Authority::new());
    authority.certify(home.path());
    let server = over_tls(&home)
        .env("WELLORDER_LIMITS_HEADER_TIMEOUT_MS", "300")
        .env("WELLORDER_LIMITS_CONNECTIONS_MAX", "1")
        .start()
        .await;
    // The beginning of a handshake, and of nothing at all: each has the only room until it is cut.
    for begun in [&b"\x16\x03\x01\x02\x00\x01"[..], b""] {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        // Cut is cut: with an end or with a reset.
        drop(slow.read_to_end(&mut rest).await);
        assert!(rest.is_empty(), "{rest:?}");
    }
    let mut stream = connect(&server, client_of(&authority, rustls::ALL_VERSIONS)).await.unwrap();
    assert!(get(&mut stream, "/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_new_certificate_is_used_after_a_hangup_and_a_bad_one_never() {
    let (home, old, new) = (Home::new(), Authority::new(), Authority::new());
    old.certify(home.path());
    let server = over_tls(&home).start().await;
    let mut kept = connect(&server, client_of(&old, rustls::ALL_VERSIONS)).await.unwrap();
    std::fs::write(home.path().join("cert.pem"), "no certificate").unwrap();
    server.signal(Signal::HUP);
    server.stderr().until("the old one stays in use").await;
    assert!(connect(&server, client_of(&old, rustls::ALL_VERSIONS)).await.is_ok());
    new.certify(home.path());
    server.signal(Signal::HUP);
    eventually("the new certificate", async || {
        connect(&server, client_of(&new, rustls::ALL_VERSIONS)).await.ok().map(drop)
    })
    .await;
    assert!(connect(&server, client_of(&old, rustls::ALL_VERSIONS)).await.is_err());
    assert!(get(&mut kept, "/livez").await.starts_with("HTTP/1.1 200 "), "who was there goes on");
}

/// Without TLS, only a proxy that was stated may come, and who it says is asking is who is asking.
#[tokio::test]
async fn behind_a_stated_proxy_its_word_is_taken() {
    let server = serving(&Home::new())
        .env("WELLORDER_SERVE_TRUSTED_PROXIES", "127.0.0.0/8")
        .env("WELLORDER_RATE_ADDRESS_PER_SECOND", "1")
        .env("WELLORDER_RATE_BURST_SECONDS", "1")
        .start()
        .await;
    let from = async |address: &str| {
        let headers = [("x-forwarded-for", address), ("forwarded", "for=192.0.2.1")];
        server.send("GET", "/v1/orders", &headers, b"").await.status
    };
    // One a second of each address; the proxy's own is not what counts.
    for last in 1..100 {
        assert_eq!(from(&format!("198.51.100.7, 203.0.113.{last}")).await, 401, "{last}");
    }
    let bearer = Token::all("acme").bearer();
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&bearer), None).await.status, 200);
}
