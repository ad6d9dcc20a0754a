//! `serve`: starts with a login and nothing guessable, or says everything that is missing.

use crate::harness::{Home, Server};
use crate::login::{SECRET, Token, ask, offline_key, serving};
use serde_json::{Value, json};

const PEPPER: &str = "pEppEr-9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq";

/// The problems of a start that was refused, and its exit code.
fn refused(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Vec<String> {
    let ended = home.run_with(variables, &[&["serve"], args, &["--json"]].concat());
    assert_eq!(ended.code(), 2, "{ended:?}");
    let text = |problem: &Value, name: &str| problem[name].as_str().unwrap().to_owned();
    let problems = ended.json()["problems"].as_array().unwrap().clone();
    for problem in &problems {
        assert!(!text(problem, "fix").is_empty(), "{problem}");
    }
    problems.iter().map(|p| format!("{} {} {}", text(p, "place"), text(p, "key"), text(p, "what"))).collect()
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let home = Home::new();
    let problems = refused(&home, &[], &[]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("--listen  is not given"), "{problems:?}");
    assert!(problems[1].starts_with("login  there is none"), "{problems:?}");
    let weak = [("JWT_SECRET", "your-secret-key"), ("WELLORDER_AUTH_KEY_PEPPER", "changeme")];
    let problems = refused(&home, &weak, &["--listen", "0.0.0.0:0"]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("0.0.0.0:0 is not a loopback address"), "{problems:?}");
    assert!(problems[1].contains("auth.jwt_secret is one of the examples"), "{problems:?}");
    assert!(problems[2].contains("auth.key_pepper is one of the examples"), "{problems:?}");
    for text in ["your-secret-key", "changeme"] {
        assert!(!problems.concat().contains(text), "{problems:?}");
    }
    assert!(!home.database().exists(), "nothing was begun");
}

/// What everybody at the machine can read is no secret.
#[tokio::test]
async fn a_file_with_secrets_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let file = home.path().join("wellorder.toml");
    std::fs::write(&file, format!("[auth]\njwt_secret = \"{SECRET}\"\n")).unwrap();
    let mut said = Vec::new();
    for mode in [0o644, 0o600] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let ended = home.server().serving().start().await.terminate().await;
        let doctor = home.run(&["doctor"]);
        said.push((
            ended.stderr.contains("every user of this machine"),
            doctor.stdout.contains("every user can read"),
        ));
    }
    assert_eq!(said, [(true, true), (false, false)]);
}

#[test]
fn weak_secrets_are_refused() {
    for weak in
        ["secret", "changeme", "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sL", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        let problems = refused(&Home::new(), &[("JWT_SECRET", weak)], &["--listen", "127.0.0.1:0"]);
        assert_eq!(problems.len(), 1, "{weak}: {problems:?}");
    }
    for (weak, why) in [
        (
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            "stands in standards, manuals or tutorials",
        ),
        (
            "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
            "stands in standards, manuals or tutorials",
        ),
        ("TaK+HaV^uvCHEFsEVfypW#7g9^k*Z8$V", "stands in standards, manuals or tutorials"),
        (
            "'MDlEMjVFMDk0RkFBNkNBMjU1NkM4MTgxNjZCN0E5NTYzQjkzRjcwOTlGNkYwRjRDQUE2Q0Y2M0I4OEU4RDNFNw=='",
            "stands in standards, manuals or tutorials",
        ),
        ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "is a token or a part of one"),
        ("q1w2e3r4t5y6u7i8o9p0a1s2d3f4g5h6", "is made up of words"),
        ("MySuperSecretJwtSigningKey2024ForProduction!!", "is made up of words"),
        ("Wellorder2026!ProductionKey#Shop42", "is made up of words"),
    ] {
        for name in ["JWT_SECRET", "WELLORDER_AUTH_KEY_PEPPER"] {
            let login = ("JWT_SECRET", if name == "JWT_SECRET" { weak } else { SECRET });
            let problems = refused(&Home::new(), &[login, (name, weak)], &["--listen", "127.0.0.1:0"]);
            assert!(problems.len() == 1 && problems[0].contains(why), "{weak}: {problems:?}");
            let said = Home::new().run_with(&[login, (name, weak)], &["serve", "--listen", "127.0.0.1:0"]);
            assert!(said.stderr.contains("openssl rand -base64 48"), "{said:?}");
            assert!(!said.stderr.contains(weak), "{said:?}");
        }
    }
}

#[test]
fn a_file_of_the_working_directory_opens_no_server() {
    let home = Home::new();
    std::fs::write(home.path().join(".env"), format!("JWT_SECRET={SECRET}\n")).unwrap();
    assert_eq!(refused(&home, &[], &["--listen", "127.0.0.1:0"]).len(), 1);
}

/// The way to the first key: made on the folder before anything serves it.
#[tokio::test]
async fn the_first_key_is_made_before_the_start() {
    let home = Home::new();
    let key = offline_key(&home, "acme", &["orders:read", "orders:write", "keys:admin"]);
    let server = home.server().serving().start().await;
    assert_eq!(server.started["mode"], "serve");
    let bearer = format!("Bearer {key}");
    let order = ask(&server, "POST", "/v1/orders", Some(&bearer), Some(r#"{"total": "1"}"#)).await;
    assert_eq!(order.status, 201, "{}", order.text());
    assert_eq!(ask(&server, "GET", "/v1/orders", None, None).await.status, 401);
    // The command line, with the key, asks the server that holds the folder.
    let with = [("WELLORDER_CLIENT_KEY", key.as_str())];
    let listed = home.run_with(&with, &["keys", "list", "--json"]).json();
    assert_eq!(
        (&listed["keys"][0]["name"], &listed["keys"][0]["created_by"]),
        (&json!("first"), &json!("local"))
    );
    assert_eq!(home.run(&["keys", "list"]).code(), 4, "without a key");
    let tenant = home.run_with(&with, &["keys", "list", "--tenant", "other"]);
    assert_eq!(tenant.code(), 2, "the tenant is the key's: {tenant:?}");
    // What it makes, rotates and revokes holds at once or within seconds.
    let id = listed["keys"][0]["key_id"].as_str().unwrap();
    let rotated = home.run_with(&with, &["keys", "rotate", id, "--grace", "0s"]);
    let new = format!("Bearer {}", rotated.stdout.trim());
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&new), None).await.status, 200);
    crate::harness::eventually("the old secret to end", async || {
        let reply = ask(&server, "GET", "/v1/orders", Some(&bearer), None).await;
        (reply.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_the_command_line_is_good_for_the_server() {
    let home = Home::new();
    let server = serving(&home).start().await;
    let variables = [
        ("JWT_SECRET", SECRET),
        ("WELLORDER_AUTH_JWT_ISSUER", crate::login::ISSUER),
        ("WELLORDER_AUTH_JWT_AUDIENCE", crate::login::AUDIENCE),
    ];
    let args = ["token", "--tenant", "acme", "--scope", "orders:write", "--scope", "orders:read", "--json"];
    let made = home.run_with(&variables, &args);
    let bearer = format!("Bearer {}", made.json()["token"].as_str().unwrap());
    let order = ask(&server, "POST", "/v1/orders", Some(&bearer), Some(r#"{"total": "1"}"#)).await;
    assert_eq!(order.status, 201, "{}", order.text());
    assert_eq!(ask(&server, "GET", "/v1/events", Some(&bearer), None).await.status, 403);
    for (variables, args) in [
        (&[][..], &["token", "--scope", "orders:read"][..]),
        (&variables[..], &["token", "--scope", "orders:all"]),
        (&variables, &["token", "--subject", "key:abc", "--scope", "orders:read"]),
    ] {
        assert_eq!(home.run_with(variables, args).code(), 2, "{args:?}");
    }
    let weak = home.run_with(&[("JWT_SECRET", "secret")], &["token", "--scope", "orders:read"]);
    assert!(weak.code() == 0 && weak.stderr.contains("warning"), "{weak:?}");
}

#[tokio::test]
async fn a_contract_that_is_public_asks_for_no_login_and_the_rest_does() {
    let server = serving(&Home::new()).env("WELLORDER_CONTRACTS_OSCARPS_PUBLIC", "true").start().await;
    let body = r#"{"orderId": "A-1", "customer": "c", "total": 1}"#;
    assert_eq!(ask(&server, "POST", "/oscarps/orders", None, Some(body)).await.status, 201);
    assert_eq!(ask(&server, "GET", "/oscarps/orders/A-1", None, None).await.status, 200);
    // A credential still says who it is, and a bad one is still bad.
    let acme = Token::all("acme").bearer();
    assert_eq!(ask(&server, "GET", "/oscarps/orders/A-1", Some(&acme), None).await.status, 404);
    assert_eq!(ask(&server, "GET", "/oscarps/orders/A-1", Some("Bearer x"), None).await.status, 401);
    for path in ["/parspec/metrics", "/v1/orders"] {
        assert_eq!(ask(&server, "GET", path, None, None).await.status, 401, "{path}");
    }
    let default = Token::all("default").bearer();
    let seen = ask(&server, "GET", "/v1/orders", Some(&default), None).await.json();
    assert_eq!(seen["orders"][0]["source"], "oscarps");
}

#[tokio::test]
async fn health_and_descriptions_need_no_login() {
    let server = serving(&Home::new()).start().await;
    for path in
        ["/livez", "/readyz?verbose", "/v1/openapi.json", "/docs/", "/oscarps/health", "/oscarps/docs/json"]
    {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // What tells of the inside is for operators.
    assert_eq!(server.get("/readyz?verbose").await.json(), json!({ "status": "ready" }));
    let verbose = server.ops().get("/readyz?verbose").await.json();
    assert!(verbose["checks"].is_array(), "{verbose}");
    assert_eq!((server.get("/metrics").await.status, server.ops().get("/metrics").await.status), (404, 200));
}

/// A key is good under the pepper that it was made under, and under no other.
#[tokio::test]
async fn a_server_does_not_start_with_keys_that_its_pepper_makes_worthless() {
    let home = Home::new();
    let key = offline_key(&home, "acme", &["orders:read"]);
    let other = [("WELLORDER_AUTH_KEY_PEPPER", PEPPER)];
    let problems = refused(&home, &other, &["--listen", "127.0.0.1:0"]);
    assert!(
        problems.len() == 1 && problems[0].contains("auth.key_pepper is not what the 1 API keys"),
        "{problems:?}"
    );
    let server = home.server().serving().start().await;
    let bearer = format!("Bearer {key}");
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&bearer), None).await.status, 200);
    server.terminate().await;
    // Once nobody has a key any more, another may be chosen.
    assert_eq!(home.run(&["keys", "revoke", &key[3..19], "--tenant", "acme"]).code(), 0);
    home.server().serving().env(other[0].0, other[0].1).env("JWT_SECRET", SECRET).start().await;
}

/// A server for others is asked by the name that its clients know, not by loopback's alone.
#[tokio::test]
async fn any_host_is_served_and_work_is_left_to_others() {
    let server = serving(&Home::new()).start().await;
    let bearer = Token::all("acme").bearer();
    let request = |method: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} /v1/orders HTTP/1.1\r\nhost: orders.example\r\norigin: https://shop.example\r\nauthorization: {bearer}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    let made = server.raw(request("POST", r#"{"total": "1"}"#).as_bytes()).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("access-control-allow-origin"), None);
    assert_eq!(made.json()["processing"], "queued");
    let shown = server.home().run(&["config", "show", "--for", "serve", "--json"]).json();
    let value = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!((value("processor"), value("worker.max_attempts")), (json!("pull"), json!(20)));
}

/// No login is needed on one's own machine; a credential that is not good is refused there too.
#[tokio::test]
async fn dev_takes_credentials_and_refuses_bad_ones() {
    let server = Server::builder().env("JWT_SECRET", SECRET).start().await;
    assert_eq!(server.started["mode"], "dev");
    let key = server.post("/v1/keys", r#"{"name": "x", "scopes": ["orders:read"]}"#).await.json();
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&bearer), None).await.status, 200);
    assert_eq!(ask(&server, "GET", "/v1/keys", Some(&bearer), None).await.status, 403);
    let token = Token::all("acme").bearer();
    assert_eq!(ask(&server, "GET", "/oscarps/orders/A-1", Some(&token), None).await.status, 404);
    for bad in ["Bearer x", "Basic dTpw", ""] {
        assert_eq!(ask(&server, "GET", "/v1/orders", Some(bad), None).await.status, 401, "{bad:?}");
    }
    assert_eq!(ask(&server, "GET", "/v1/orders", None, None).await.status, 200);
}

/// No part of a credential or secret is in what the program prints, answers or keeps.
#[tokio::test]
async fn secrets_are_told_to_nobody() {
    let home = Home::new();
    let server = serving(&home)
        .env("WELLORDER_AUTH_KEY_PEPPER", PEPPER)
        .env("LOG_LEVEL", "trace")
        .env("WELLORDER_AUTH_JWKS_URL", "https://127.0.0.1:9/keys?jwksQuery9")
        .env("WELLORDER_AUTH_JWKS_ALLOW_PRIVATE", "true")
        .env("WELLORDER_AUTH_JWKS_ISSUER", "https://id.example")
        .env("WELLORDER_AUTH_JWKS_AUDIENCE", "wellorder")
        .start()
        .await;
    let good = Token::all("acme").bearer();
    let body = r#"{"name": "k", "scopes": ["orders:read"]}"#;
    let key = ask(&server, "POST", "/v1/keys", Some(&good), Some(body)).await.json();
    let key = key["key"].as_str().unwrap().to_owned();
    let mut replies = String::new();
    let expired = Token { ago: 3_600, ..Token::all("acme") }.bearer();
    let published = "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImtpZENhbmFyeTkifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    for bearer in
        [&good, &expired, &format!("Bearer {key}"), &format!("Bearer {key}x"), &published.to_owned()]
    {
        for path in ["/v1/orders", "/v1/keys", "/v1/nothing", "/v1/orders?after=x", "/oscarps/orders/1"] {
            replies.push_str(ask(&server, "GET", path, Some(bearer), None).await.text());
        }
    }
    let variables = [
        ("JWT_SECRET", SECRET),
        ("WELLORDER_AUTH_KEY_PEPPER", PEPPER),
        ("WELLORDER_CLIENT_KEY", key.as_str()),
    ];
    for args in
        [&["config", "show"][..], &["config", "show", "--json"], &["doctor", "--json"], &["keys", "list"]]
    {
        let ended = home.run_with(&variables, args);
        replies.push_str(&ended.stdout);
        replies.push_str(&ended.stderr);
    }
    // Keys of the issuer cannot be had, so nobody knows whether its token is good; everybody else gets in.
    let unknown = ask(&server, "GET", "/v1/orders", Some(published), None).await;
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, Some("30")), "{}", unknown.text());
    assert_eq!(ask(&server, "GET", "/v1/orders", Some(&good), None).await.status, 200);
    let ended = server.terminate().await;
    let blamed =
        ["unavailable for now", "cannot fetch the keys of"].map(|what| ended.stderr.matches(what).count());
    assert_eq!(blamed, [0, 1]);
    let signature = |bearer: &str| bearer.rsplit('.').next().unwrap().to_owned();
    let secrets = [
        SECRET.to_owned(),
        PEPPER.to_owned(),
        key[20..].to_owned(),
        signature(&good),
        signature(&expired),
        "jwksQuery9".to_owned(),
        "kidCanary9".to_owned(),
    ];
    assert!(ended.stderr.contains("a credential was refused"), "the log was looked at");
    for secret in &secrets {
        for (place, text) in [("replies", &replies), ("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            assert!(!text.contains(secret.as_str()), "{secret} is in {place}");
        }
    }
    for entry in std::fs::read_dir(home.data()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
}
