//! Requests that are wrong whatever their body: paths, methods, types, framing, hosts.

use crate::bad_input::{APIS, Api, OSCARPS, PARSPEC, V1, Ward, is_refusal};
use crate::harness::{Home, Server};
use crate::login::serving;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn unknown_ids_and_paths_are_not_found_in_each_apis_own_words() {
    let ward = Ward::new().await;
    let uuid = "00000000-0000-8000-8000-000000000000";
    for (api, path, status) in [
        (&V1, format!("/v1/orders/{uuid}"), 404),
        (&V1, format!("/v1/orders/{uuid}/events"), 404),
        (&V1, "/v1/orders/nope".to_owned(), 400),
        (&V1, format!("/v1/orders/{{{uuid}}}"), 400),
        (&V1, format!("/v1/redrives/{uuid}"), 404),
        (&V1, "/v1/redrives/nope".to_owned(), 400),
        (&V1, "/v1/followers/nobody".to_owned(), 404),
        (&V1, "/v1/nope".to_owned(), 404),
        (&V1, "/v1".to_owned(), 404),
        (&V1, "/v1/".to_owned(), 404),
        (&V1, "/v1/orders/".to_owned(), 404),
        (&OSCARPS, "/oscarps".to_owned(), 404),
        (&OSCARPS, "/oscarps/".to_owned(), 404),
        (&OSCARPS, "/oscarps/orders/".to_owned(), 404),
        (&PARSPEC, "/parspec".to_owned(), 404),
        (&PARSPEC, "/parspec/".to_owned(), 404),
        (&PARSPEC, "/parspec/orders/".to_owned(), 404),
        (&V1, "/nope".to_owned(), 404),
        (&V1, "/orders".to_owned(), 404),
        (&V1, "/v1/orders?colour=red".to_owned(), 400),
        (&V1, "/v1/orders?limit=0".to_owned(), 400),
        (&V1, "/v1/orders?limit=201".to_owned(), 400),
        (&V1, "/v1/orders?limit=99999999999999999999".to_owned(), 400),
        (&V1, "/v1/orders?processing=lost".to_owned(), 400),
        (&V1, "/v1/orders?limit=1&limit=1".to_owned(), 400),
        (&V1, "/v1/events?limit=1001".to_owned(), 400),
        (&V1, "/v1/events?after=x%27%20OR%201=1".to_owned(), 400),
        (&V1, "/readyz?colour=red".to_owned(), 400),
        (&OSCARPS, "/oscarps/orders/nope".to_owned(), 404),
        (&OSCARPS, format!("/oscarps/orders/{}", "x".repeat(256)), 404),
        (&OSCARPS, "/oscarps/orders/a%27%20OR%20%271%27=%271".to_owned(), 404),
        (&OSCARPS, "/oscarps/orders/..%2F..%2Fetc%2Fpasswd".to_owned(), 404),
        (&OSCARPS, "/oscarps/nope".to_owned(), 404),
        (&OSCARPS, "/oscarps/orders/a/b".to_owned(), 404),
        (&PARSPEC, "/parspec/orders/999999".to_owned(), 404),
        (&PARSPEC, format!("/parspec/orders/{}", "9".repeat(200)), 404),
        (&PARSPEC, "/parspec/nope".to_owned(), 404),
    ] {
        let reply = ward.server.get(&path).await;
        is_refusal(api, &reply, status, None, &path);
    }
    for id in ["abc", "1.5", "-1", "+1", "1e3", "0x1", "%201", "1%20", "%D9%A1", "1%2F2", uuid] {
        let path = format!("/parspec/orders/{id}");
        is_refusal(&PARSPEC, &ward.server.get(&path).await, 400, Some("Invalid order ID"), &path);
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn wrong_methods_name_the_right_ones() {
    let ward = Ward::new().await;
    let order = |api: &Api| match api.path {
        "/v1/orders" => "/v1/orders/00000000-0000-8000-8000-000000000000".to_owned(),
        path => format!("{path}/1"),
    };
    for api in &APIS {
        for (path, method, allowed) in [
            (api.path.to_owned(), "DELETE", "POST"),
            (api.path.to_owned(), "PUT", "POST"),
            (api.path.to_owned(), "PATCH", "POST"),
            (order(api), "DELETE", "GET"),
            (order(api), "POST", "GET"),
            (order(api), "BREW", "GET"),
        ] {
            let reply = ward.server.send(method, &path, &[JSON], b"{}").await;
            is_refusal(api, &reply, 405, None, &format!("{method} {path}"));
            assert!(reply.header("allow").unwrap().contains(allowed), "{method} {path}: {reply:?}");
        }
    }
    is_refusal(&OSCARPS, &ward.server.get("/oscarps/orders").await, 405, None, "no list here");
    ward.is_unharmed().await;
}

#[tokio::test]
async fn content_types_other_than_json_are_refused() {
    let ward = Ward::new().await;
    for api in &APIS {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "application/json; charset=latin1",
            "application/jsonp",
            "",
        ] {
            let headers = [("content-type", content_type)];
            let reply = ward.server.send("POST", api.path, &headers, api.valid.as_bytes()).await;
            is_refusal(api, &reply, 415, None, content_type);
        }
        let reply = ward.server.send("POST", api.path, &[], api.valid.as_bytes()).await;
        is_refusal(api, &reply, 415, None, "no content type");
        let twice = [JSON, ("content-type", "text/plain")];
        is_refusal(api, &ward.server.send("POST", api.path, &twice, b"{}").await, 415, None, "two types");
        let packed = [JSON, ("content-encoding", "gzip")];
        is_refusal(api, &ward.server.send("POST", api.path, &packed, b"\x1f\x8b").await, 415, None, "gzip");
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn paths_that_are_no_text_are_refused() {
    let ward = Ward::new().await;
    for (api, base) in [(&V1, "/v1/orders"), (&OSCARPS, "/oscarps/orders"), (&PARSPEC, "/parspec/orders")] {
        for bad in ["%ff", "%C3", "%00", "a%00b", "%c0%80", "%ED%A0%80", "%", "100%", "%zz", "%2"] {
            let path = format!("{base}/{bad}");
            is_refusal(api, &ward.server.get(&path).await, 400, None, &path);
        }
        let long = format!("{base}/{}", "x".repeat(9 * 1024));
        is_refusal(api, &ward.server.get(&long).await, 414, None, "9 KiB of path");
        let long = format!("{base}?q={}", "x".repeat(9 * 1024));
        is_refusal(api, &ward.server.get(&long).await, 414, None, "9 KiB of query");
        // Bytes that are no UTF-8 make no request line at all.
        let raw =
            [b"GET ".as_slice(), base.as_bytes(), b"/\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat();
        is_refusal(&V1, &ward.server.raw(&raw).await.expect("a reply"), 400, None, base);
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let ward = Ward::new().await;
    for api in &APIS {
        let names: Vec<String> = (0..65).map(|number| format!("x-{number}")).collect();
        let mut many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        many.push(JSON);
        let reply = ward.server.send("POST", api.path, &many, api.valid.as_bytes()).await;
        is_refusal(api, &reply, 431, None, "68 headers");
        let large = "x".repeat(17 * 1024);
        let reply =
            ward.server.send("POST", api.path, &[JSON, ("x-large", &large)], api.valid.as_bytes()).await;
        is_refusal(api, &reply, 431, None, "17 KiB of headers");
        let huge = "x".repeat(1 << 20);
        let mut connection = ward.server.connect().await;
        connection.write_request("POST", api.path, &[JSON, ("x-huge", &huge)], b"{}", false).await;
        // Beyond what is read at all, what is at the root refuses it.
        let reply = connection.reply().await.expect("a reply");
        is_refusal(&V1, &reply, 431, None, "1 MiB of headers");
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn ambiguous_or_broken_framing_is_refused() {
    let ward = Ward::new().await;
    for api in &APIS {
        let head =
            format!("POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n", api.path);
        let body = api.valid;
        let smuggled = "GET /v1/orders HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for framing in [
            format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", body.len()),
            format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", body.len()),
            "transfer-encoding: chunked, chunked\r\n".to_owned(),
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(),
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n".to_owned(),
            "transfer-encoding: chunked,gzip,chunked\r\n".to_owned(),
        ] {
            let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n{smuggled}", body.len());
            let mut connection = ward.server.connect().await;
            connection.write(format!("{head}{framing}\r\n{chunked}").as_bytes()).await;
            let reply = connection.reply().await.expect("a reply");
            is_refusal(api, &reply, 400, None, &framing);
            assert!(connection.reply().await.is_none(), "what lies behind it is not taken for a request");
        }
        for framing in [
            "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n",
        ] {
            let reply = ward.server.raw(format!("{head}{framing}").as_bytes()).await.expect("a reply");
            is_refusal(api, &reply, 400, None, framing);
        }
    }
    ward.is_unharmed().await;
}

/// RFC 9112 §3.2: of none or two hosts, a proxy in front may have gone by another than is meant here.
#[tokio::test]
async fn a_request_names_one_host() {
    let ward = Ward::new().await;
    let serving = serving(&Home::new()).start().await;
    for (server, api) in APIS.iter().flat_map(|api| [(&ward.server, api), (&serving, api)]) {
        for hosts in [
            "",
            "host: localhost\r\nhost: localhost\r\n",
            "host: localhost\r\nHOST: example.com\r\n",
            "host:\r\n",
            "host: localhost, example.com\r\n",
            "host: localhost/x\r\n",
            "host: me@localhost\r\n",
            "host: localhost:80x\r\n",
        ] {
            let smuggled = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let request = format!("GET {} HTTP/1.1\r\n{hosts}\r\n{smuggled}", api.path);
            let mut connection = server.connect().await;
            connection.write(request.as_bytes()).await;
            is_refusal(api, &connection.reply().await.expect("a reply"), 400, None, hosts);
            assert!(connection.rest().await.is_empty(), "{hosts:?}: nothing follows it");
        }
    }
    // HTTP/1.0 has no such rule, and `serve` is for any name.
    assert_eq!(serving.raw(b"GET /livez HTTP/1.0\r\n\r\n").await.expect("a reply").status, 200);
    let named = b"GET /livez HTTP/1.1\r\nhost: orders.example:8443\r\n\r\n";
    assert_eq!(serving.raw(named).await.expect("a reply").status, 200);
    ward.is_unharmed().await;
}

/// Heads that are no HTTP which can be parsed, and the status of their refusals.
fn unparsable(path: &str) -> Vec<(String, u16)> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let fields: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
    let mut all = vec![
        (format!("{head}{fields}\r\n"), 431),
        (format!("{head}x: {}\r\n\r\n", "y".repeat(3 * 24 * 1024)), 431),
        (format!("POST {path}{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "q".repeat(100_000)), 431),
    ];
    for lines in [
        "content-length: 5\r\ncontent-length: 6\r\n\r\n{\"a\":",
        "content-length: -1\r\n\r\n",
        "content-length: 0x10\r\n\r\n",
        "content-length: 99999999999999999999\r\n\r\n",
        "transfer-encoding: gzip\r\n\r\n{}",
        "x-folded: a\r\n b: c\r\ncontent-length: 0\r\n\r\n",
        "content-length : 2\r\n\r\n{}",
        "no colon\r\n\r\n",
    ] {
        all.push((format!("{head}{lines}"), 400));
    }
    for nonsense in [
        "NONSENSE\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        // The preface of HTTP/2 to the letter begins HTTP/2, which is for gRPC; anything else that looks like it is nonsense.
        "PRI * HTTP/2.0\r\n\r\nMS\r\n\r\n",
    ] {
        all.push((nonsense.to_owned(), 400));
    }
    all
}

/// Each is refused in the form of `root`, alone and behind a good request, and ends its connection.
async fn unparsable_is_refused(server: &Server, root: &Api, path: &str) {
    for (request, status) in unparsable(path) {
        let what = &request[..request.len().min(200)];
        let mut connection = server.connect().await;
        connection.write(request.as_bytes()).await;
        is_refusal(root, &connection.reply().await.expect("a reply"), status, None, what);
        assert!(connection.rest().await.is_empty(), "{what}");
        let mut connection = server.connect().await;
        let good = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write(format!("{good}{request}").as_bytes()).await;
        assert_eq!(connection.reply().await.expect("a reply").status, 200, "{what}");
        is_refusal(root, &connection.reply().await.expect("a reply"), status, None, what);
        assert!(connection.rest().await.is_empty(), "{what}");
    }
    // Without an end, they may go on.
    let mut connection = server.connect().await;
    connection.write(b"\r\n\r\n\r\n").await;
    connection.write_request("GET", "/livez", &[], b"", false).await;
    assert_eq!(connection.reply().await.expect("a reply").status, 200, "empty lines before it");
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_understood_is_refused() {
    let ward = Ward::new().await;
    for api in &APIS {
        for coding in ["gzip, chunked", "gzip,chunked", "x, CHUNKED"] {
            let (size, body) = (api.valid.len(), api.valid);
            let request = format!(
                "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 transfer-encoding: {coding}\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n",
                api.path
            );
            let mut connection = ward.server.connect().await;
            connection.write(request.as_bytes()).await;
            is_refusal(api, &connection.reply().await.expect("a reply"), 501, None, coding);
            assert!(connection.rest().await.is_empty(), "{coding}: nothing follows it");
        }
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_the_words_of_what_is_at_the_root() {
    let ward = Ward::new().await;
    for api in &APIS {
        unparsable_is_refused(&ward.server, &V1, api.path).await;
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn every_reply_keeps_browsers_from_guessing_keeping_and_sharing() {
    let server = Server::builder().api_alone().start().await;
    let post = |path| ("POST", path, 201);
    let get = |path, status| ("GET", path, status);
    let options = |path, status| ("OPTIONS", path, status);
    for (method, path, status) in [
        post("/v1/orders"),
        post("/oscarps/orders"),
        post("/parspec/orders"),
        get("/v1/orders", 200),
        get("/v1/events", 200),
        get("/v1/followers", 200),
        get("/v1/openapi.json", 200),
        get("/oscarps/docs", 200),
        get("/parspec/docs", 200),
        get("/", 200),
        get("/livez", 200),
        get("/readyz", 200),
        get("/metrics", 200),
        get("/nope", 404),
        get("/v1/orders/nope", 400),
        get("/oscarps/orders/nope", 404),
        ("DELETE", "/v1/orders", 405),
        options("/v1/orders", 405),
        options("/oscarps/orders", 405),
        options("/parspec/orders", 405),
        options("*", 404),
        ("CONNECT", "localhost:1", 404),
    ] {
        let body = APIS.iter().find(|api| api.path == path && method == "POST").map_or("", |api| api.valid);
        // A page of another origin on this machine asks, and may not read.
        let headers = [JSON, ("origin", "http://localhost:1"), ("access-control-request-method", "POST")];
        let reply = server.send(method, path, &headers, body.as_bytes()).await;
        let what = format!("{method} {path}: {reply:?}");
        assert_eq!(reply.status, status, "{what}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        assert!(reply.header("x-request-id").is_some(), "{what}");
        let tells = |name: &str| {
            ["server", "x-powered-by", "via"].contains(&name) || name.starts_with("access-control-")
        };
        assert!(!reply.headers.iter().any(|(name, _)| tells(name)), "{what}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_all_there_makes_no_order() {
    let ward = Ward::new().await;
    for api in &APIS {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            api.path,
            api.valid.len() + 1
        );
        let mut connection = ward.server.connect().await;
        connection.write(head.as_bytes()).await;
        connection.write(api.valid.as_bytes()).await;
        drop(connection);
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn foreign_hosts_and_writes_of_foreign_pages_are_refused() {
    let ward = Ward::new().await;
    for api in &APIS {
        let length = api.valid.len();
        for head in [
            "host: example.com",
            "host: localhost.example.com",
            "host: 10.0.0.1",
            "host: 127.0.0.1.nip.io",
            "host: x@localhost",
            "host: 0.0.0.0",
            "host: ",
            "host: localhost\r\nhost: example.com",
            "x-none: no host at all",
            "host: localhost\r\norigin: https://example.com",
            "host: localhost\r\norigin: null",
            "host: localhost\r\norigin: http://localhost.example.com",
        ] {
            let request = format!(
                "POST {} HTTP/1.1\r\n{head}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{}",
                api.path, api.valid
            );
            let reply = ward.server.raw(request.as_bytes()).await.expect("a reply");
            is_refusal(api, &reply, 400, None, head);
        }
        let absolute = format!("GET http://example.com{} HTTP/1.1\r\nhost: localhost\r\n\r\n", api.path);
        is_refusal(api, &ward.server.raw(absolute.as_bytes()).await.unwrap(), 400, None, "a foreign target");
        let reading = [("origin", "https://example.com")];
        let reply = ward.server.send("GET", api.path, &reading, b"").await;
        assert_eq!(
            reply.header("access-control-allow-origin"),
            None,
            "no page of another origin may read it"
        );
    }
    ward.is_unharmed().await;
}

#[tokio::test]
async fn at_the_root_the_contract_refuses_in_its_own_words() {
    for (name, mut api) in [("oscarps", OSCARPS), ("parspec", PARSPEC)] {
        let server = Server::builder().args(&["--as", name]).api_alone().start().await;
        api.path = "/orders";
        is_refusal(&api, &server.get("/nope").await, 404, None, "an unknown path");
        is_refusal(&api, &server.post("/", "{}").await, 404, None, "the root itself");
        is_refusal(&api, &server.send("PUT", "/orders", &[JSON], b"{}").await, 405, None, "PUT");
        is_refusal(&api, &server.send("POST", "/orders", &[], b"{}").await, 415, None, "no content type");
        is_refusal(&api, &server.post("/orders", "{").await, 400, None, "no JSON");
        is_refusal(&api, &server.post("/orders", &"x".repeat(300 << 10)).await, 413, None, "300 KiB");
        is_refusal(&api, &server.get("/orders/%ff").await, 400, None, "no text");
        unparsable_is_refused(&server, &api, "/orders").await;
        is_refusal(&V1, &server.get("/v1/nope").await, 404, None, "ours stays ours");
        is_refusal(&V1, &server.get("/v1/").await, 404, None, "so does its root");
        is_refusal(&api, &server.get(&format!("/{name}/")).await, 404, None, "and that of the contract");
        assert_eq!(server.home().audited()["orders"], 0);
    }
}

#[tokio::test]
async fn a_request_that_dribbles_in_is_cut_off() {
    let server = Server::builder()
        .api_alone()
        .env("WELLORDER_LIMITS_HEADER_TIMEOUT_MS", "50")
        .env("WELLORDER_LIMITS_BODY_TIMEOUT_MS", "50")
        .start()
        .await;
    for api in &APIS {
        let mut connection = server.connect().await;
        connection.write(format!("POST {} HTTP/1.1\r\nhost: local", api.path).as_bytes()).await;
        assert!(connection.reply().await.is_none_or(|reply| reply.status == 408), "half a head");
        let mut connection = server.connect().await;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{",
            api.path
        );
        connection.write(head.as_bytes()).await;
        let reply = connection.reply().await.expect("a reply");
        is_refusal(api, &reply, 408, None, "half a body");
        assert!(connection.reply().await.is_none(), "and the connection ends");
    }
    assert_eq!(server.home().audited()["orders"], 0);
}

#[tokio::test]
async fn over_the_limit_connections_wait_and_are_served_when_there_is_room() {
    let server = Server::builder().api_alone().env("WELLORDER_LIMITS_CONNECTIONS_MAX", "2").start().await;
    let (mut first, second) = (server.connect().await, server.connect().await);
    first.write_request("GET", "/livez", &[], b"", true).await;
    assert_eq!(first.reply().await.unwrap().status, 200);
    let mut third = server.connect().await;
    third.write_request("GET", "/livez", &[], b"", false).await;
    drop(second);
    assert_eq!(third.reply().await.unwrap().status, 200);
}
