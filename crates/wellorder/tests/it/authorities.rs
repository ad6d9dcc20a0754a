//! Authorities that are believed besides the public ones: by everything that calls out, and by the command line.

#[path = "../../../auth/tests/rig/mod.rs"]
mod rig;

use self::rig::Signer;
use crate::harness::{Authority, Ended, Home, Server, eventually, tls_of};
use crate::login::{AUDIENCE, ISSUER, Token, ask, now};
use crate::tls::over_tls;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Answers over TLS as `localhost`: `/keys` with these keys, anything else with 200 and nothing.
struct Others {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Others {
    async fn start(folder: &Path, keys: Vec<u8>) -> Self {
        let acceptor = TlsAcceptor::from(tls_of(folder));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (seen, keys) = (Arc::clone(&asked), Arc::new(keys));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(acceptor.clone(), stream, Arc::clone(&seen), Arc::clone(&keys)));
            }
        });
        Self { address, asked, _serving: serving }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream, seen: Arc<Mutex<Vec<String>>>, keys: Arc<Vec<u8>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let mut stream = BufReader::new(stream);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line.is_empty() {
            let mut body = vec![0; length];
            drop(stream.read_exact(&mut body).await);
            let body = if path == "/keys" { keys.as_slice() } else { b"" };
            seen.lock().unwrap().push(std::mem::take(&mut path));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            drop(stream.write_all(&[head.as_bytes(), body].concat()).await);
            drop(stream.flush().await);
            length = 0;
        }
    }
}

fn at(home: &Home, name: &str) -> String {
    home.path().join(name).display().to_string()
}

fn text(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

#[tokio::test]
async fn the_command_line_believes_an_authority_that_is_named_and_says_so_when_none_is() {
    let (home, authority) = (Home::new(), Authority::new());
    authority.certify(home.path());
    std::fs::write(home.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(home.path().join("other.pem"), Authority::new().pem()).unwrap();
    let server = over_tls(&home).start().await;
    let url = format!("https://localhost:{}", server.address.port());
    let token = Token::all("acme").bearer().replace("Bearer ", "");
    let variables = [("WELLORDER_KEY", token.as_str())];
    let list = |more: &[&str], url: &str, variables: &[(&str, &str)]| {
        home.run_bare(variables, &[&["orders", "list", "--url", url], more].concat())
    };
    for more in [&[] as &[&str], &["--ca-file", "other.pem"]] {
        let refused = list(more, &url, &variables);
        assert_eq!(refused.code(), 5, "{refused:?}");
        let said = text(&refused);
        assert!(said.contains("not believed here"), "{said}");
        assert!(!more.is_empty() || said.contains("UnknownIssuer"), "{said}");
        assert!(said.contains("--ca-file") && !said.contains("is it running"), "{said}");
    }
    for more in [&["--ca-file", "ca.pem"] as &[&str], &["--ca-file", &at(&home, "ca.pem")]] {
        assert_eq!(list(more, &url, &variables).code(), 0, "{more:?}");
    }
    let before =
        home.run_bare(&variables, &["--ca-file", "ca.pem", "--url", &url, "orders", "list", "--json"]);
    assert_eq!(before.code(), 0, "{before:?}");
    let by_variable = [variables[0], ("WELLORDER_TLS_CA_FILE", "ca.pem")];
    assert_eq!(list(&[], &url, &by_variable).code(), 0);
    let by_address = list(&[], &format!("https://{}", server.address), &by_variable);
    assert_eq!(by_address.code(), 5);
    assert!(text(&by_address).contains("a certificate for another name"), "{by_address:?}");
    let bad = list(&["--ca-file", "key.pem"], &url, &variables);
    assert_eq!(bad.code(), 2, "{bad:?}");
    assert!(text(&bad).contains("tls.ca_file") && text(&bad).contains("holds no certificate"), "{bad:?}");
}

/// The address in the folder is an IP address, for which there is no certificate: the one in the folder is believed.
#[tokio::test]
async fn commands_on_the_folder_of_a_server_with_tls_reach_that_server_and_no_other() {
    let (home, authority) = (Home::new(), Authority::new());
    authority.certify(home.path());
    let server = over_tls(&home).start().await;
    let token = Token::all("acme").bearer().replace("Bearer ", "");
    let list = || home.run_with(&[("WELLORDER_KEY", &token)], &["orders", "list", "--json"]);
    assert_eq!(list().code(), 0, "{:?}", list());
    assert_eq!(home.run(&["healthcheck"]).code(), 0);
    authority.certify(home.path());
    server.signal(Signal::HUP);
    server.stderr().until("the certificate that was read again").await;
    assert_eq!(list().code(), 0, "with the new certificate: {:?}", list());
    let mode = std::fs::metadata(home.data().join("wellorder.cert")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    // Who is there in its place has another certificate, by whomever it is signed.
    let shown = std::fs::read(home.data().join("wellorder.cert")).unwrap();
    authority.certify(home.path());
    let other = CertificateDer::from_pem_file(home.path().join("cert.pem")).unwrap();
    std::fs::write(home.data().join("wellorder.cert"), &other).unwrap();
    let refused = list();
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(text(&refused).contains("shows a certificate that is not good"), "{refused:?}");
    std::fs::write(home.data().join("wellorder.cert"), shown).unwrap();
    assert_eq!(list().code(), 0);
}

#[test]
fn a_bad_file_of_authorities_is_told_at_start() {
    let home = Home::new();
    std::fs::write(home.path().join("empty.pem"), "").unwrap();
    let torn = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    std::fs::write(home.path().join("torn.pem"), torn).unwrap();
    for file in ["none.pem", "empty.pem", "torn.pem"] {
        let variables = [("WELLORDER_TLS_CA_FILE", file), ("JWT_SECRET", crate::login::SECRET)];
        for command in ["dev", "serve"] {
            let ended = home.run_with(&variables, &[command, "--listen", "127.0.0.1:0"]);
            assert_eq!(ended.code(), 2, "{command} {file}: {ended:?}");
            let said = text(&ended);
            assert!(said.contains("tls.ca_file") && said.contains(file), "{command}: {said}");
        }
    }
    assert!(!home.database().exists(), "nothing was begun");
}

/// Keys of an issuer, the processor, the collector of traces.
#[tokio::test]
async fn everything_that_calls_out_believes_an_authority_that_is_named() {
    let (home, authority, signer) = (Home::new(), Authority::new(), Signer::new());
    authority.certify(home.path());
    std::fs::write(home.path().join("ca.pem"), authority.pem()).unwrap();
    let others = Others::start(home.path(), signer.set("")).await;
    let builder = |home: &Arc<Home>| {
        home.server()
            .serving()
            .env("JWT_SECRET", crate::login::SECRET)
            .env("WELLORDER_AUTH_JWKS_URL", &others.url("/keys"))
            .env("WELLORDER_AUTH_JWKS_ISSUER", ISSUER)
            .env("WELLORDER_AUTH_JWKS_AUDIENCE", AUDIENCE)
            .env("WELLORDER_AUTH_JWKS_ALGORITHMS", "RS256,PS256,ES256,EdDSA")
            .env("WELLORDER_AUTH_JWKS_ALLOW_PRIVATE", "true")
            .env("WELLORDER_TELEMETRY_OTLP_ENDPOINT", &others.url(""))
            .processor(&others.url("/work"))
    };
    let seconds = now().micros() / 1_000_000;
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "iat": seconds, "exp": seconds + 600,
        "scope": "orders:read orders:write", "tenant": "acme" });
    let bearer = |algorithm: &str, kid: &str| {
        let header = json!({ "alg": algorithm, "kid": kid }).to_string();
        format!("Bearer {}", signer.token(algorithm, &header, &claims.to_string()))
    };
    let ask_with = async |server: &Server, bearer: &str| {
        ask(server, "POST", "/v1/orders", Some(bearer), Some(r#"{"total": "1"}"#)).await
    };
    let stranger = builder(&Home::new()).start().await;
    let refused = ask_with(&stranger, &bearer("ES256", "ec")).await;
    assert_eq!(refused.status, 503, "its keys cannot be had: {}", refused.text());
    assert!(others.asked.lock().unwrap().is_empty());
    drop(stranger);

    let server = builder(&home).env("WELLORDER_TLS_CA_FILE", &at(&home, "ca.pem")).start().await;
    for (algorithm, kid) in [("RS256", "rsa"), ("PS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        let taken = ask_with(&server, &bearer(algorithm, kid)).await;
        assert_eq!(taken.status, 201, "{algorithm}: {}", taken.text());
    }
    let forged = bearer("ES256", "ec").replace('.', "..");
    assert_eq!(ask_with(&server, &forged).await.status, 401);
    for path in ["/keys", "/work", "/v1/traces"] {
        eventually(path, async || others.was_asked(path).then_some(())).await;
    }
}
