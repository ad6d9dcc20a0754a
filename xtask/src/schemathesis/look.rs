//! What we ask of every answer beyond what a description can say.

use serde_json::Value;

use super::curl;

/// What an answer must never show: the insides of the program, of its database, of the machine.
const INSIDES: &[&str] =
    &["panicked", "src/", ".rs:", "RUST_BACKTRACE", "SQLSTATE", "rusqlite", "sqlite3", "SELECT ", "INSERT "];

const PROBLEM: &str = "urn:wellorder:problem:";

/// Everything that is wrong with one answer; `kinds` are the problems that the description lists, if it has any.
pub(super) fn faults(request: &Value, response: &Value, kinds: &[(String, u64)]) -> Vec<String> {
    let mut faults = Vec::new();
    let status = response["status_code"].as_u64().unwrap_or(0);
    if status >= 500 && !tells_of_a_stall(request, status) {
        faults.push(format!("a server error: {status}"));
    }
    for (name, wanted) in [("x-request-id", None), ("x-content-type-options", Some("nosniff"))] {
        let value = response["headers"][name][0].as_str();
        if value.is_none_or(|value| wanted.is_some_and(|wanted| wanted != value)) {
            faults.push(format!("the header {name} is {value:?}"));
        }
    }
    let (sent, got) = (text(request), text(response));
    let shown = INSIDES.iter().filter(|word| got.contains(**word) && !sent.contains(**word));
    faults.extend(shown.map(|word| format!("the answer shows insides: {word:?}")));
    // What a method that has no body cannot show cannot be asked of it.
    if status >= 400 && !kinds.is_empty() && request["method"] != "HEAD" {
        faults.extend(unlike_a_problem(response, status, kinds));
    }
    faults
}

/// Whether it is a load balancer's question, answered as described while a disk holds up writes, as that of a busy machine does.
/// Whatever else needs the disk waits for it and is answered.
fn tells_of_a_stall(request: &Value, status: u64) -> bool {
    let path = request["uri"].as_str().and_then(|uri| uri.split_once("://")?.1.split_once('/'));
    status == 503 && path.is_some_and(|(_, path)| path.split('?').next() == Some("readyz"))
}

/// A refusal is a problem whose kind the description lists with this status.
fn unlike_a_problem(response: &Value, status: u64, kinds: &[(String, u64)]) -> Option<String> {
    let body: Value = serde_json::from_slice(&curl::body(response)).unwrap_or_default();
    let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix(PROBLEM)).unwrap_or_default();
    let listed = kinds.iter().any(|(name, of)| name == kind && *of == status);
    let agrees = body["status"].as_u64() == Some(status);
    (!listed || !agrees).then(|| format!("no listed problem of status {status}: {body}"))
}

/// The kinds of problems that a description lists: ``* `name` (404): title``.
pub(super) fn kinds(document: &Value) -> Vec<(String, u64)> {
    let description = document["info"]["description"].as_str().unwrap_or_default();
    let kind = |line: &str| {
        let (name, rest) = line.strip_prefix("* `")?.split_once("` (")?;
        Some((name.to_owned(), rest.split_once(')')?.0.parse().ok()?))
    };
    description.lines().filter_map(kind).collect()
}

fn text(message: &Value) -> String {
    let body = String::from_utf8_lossy(&curl::body(message)).into_owned();
    format!("{}\n{}\n{body}", message["uri"].as_str().unwrap_or_default(), message["headers"])
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::json;

    use super::*;

    fn found(status: u64, body: &str) -> Vec<String> {
        let document = json!({"info": {"description": "x\n* `order-unknown` (404): There is none\n* bad"}});
        let kinds = kinds(&document);
        assert_eq!(kinds, [("order-unknown".to_owned(), 404)]);
        let request = json!({"method": "GET", "uri": "http://h/v1/orders?customer=src/"});
        let response = json!({
            "status_code": status,
            "headers": {"x-request-id": ["1"], "x-content-type-options": ["nosniff"]},
            "content": {"$base64": BASE64_STANDARD.encode(body)},
        });
        faults(&request, &response, &kinds)
    }

    #[test]
    fn a_refusal_must_be_a_listed_problem() {
        let problem = r#"{"type": "urn:wellorder:problem:order-unknown", "status": 404}"#;
        assert_eq!(found(200, "{}"), Vec::<String>::new());
        assert_eq!(found(404, problem), Vec::<String>::new());
        assert_eq!(found(400, problem).len(), 1);
        assert_eq!(found(404, "{}").len(), 1);
    }

    #[test]
    fn insides_are_noticed_unless_they_were_sent() {
        assert_eq!(found(200, "thread 'main' panicked at x").len(), 1);
        assert_eq!(found(200, "src/ came from the client").len(), 0);
        assert_eq!(found(500, "").len(), 2);
    }

    #[test]
    fn a_server_may_say_that_it_is_not_ready() {
        let answer = |uri: &str, status: u64| {
            let headers = json!({"x-request-id": ["1"], "x-content-type-options": ["nosniff"]});
            let response = json!({"status_code": status, "headers": headers, "content": {"$base64": ""}});
            faults(&json!({"method": "GET", "uri": uri}), &response, &[])
        };
        assert_eq!(answer("http://h:1/readyz?verbose=", 503), Vec::<String>::new());
        assert_eq!(answer("http://h:1/readyz", 500), ["a server error: 500"]);
        assert_eq!(answer("http://h:1/v1/orders?customer=/readyz", 503), ["a server error: 503"]);
    }

    #[test]
    fn headers_that_every_answer_has_are_missed() {
        assert_eq!(faults(&json!({}), &json!({"status_code": 200}), &[]).len(), 2);
    }
}
