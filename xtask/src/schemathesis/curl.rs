//! A recorded request as a line for the shell.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// `curl …` that sends the request again.
pub(super) fn line(request: &Value) -> String {
    let method = request["method"].as_str().unwrap_or("GET");
    let uri = request["uri"].as_str().unwrap_or_default();
    let mut line = format!("curl -i -X {method}");
    for (name, values) in request["headers"].as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            // curl takes `Name;` for a header without a value.
            let header = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
            line.push_str(&format!(" -H {}", quoted(&header)));
        }
    }
    let body = body(request);
    let piped = match std::str::from_utf8(&body) {
        _ if body.is_empty() => None,
        Ok(text) if !text.contains(['\0', '\r']) => {
            line.push_str(&format!(" --data-binary {}", quoted(text)));
            None
        }
        _ => Some(BASE64_STANDARD.encode(&body)),
    };
    // Square brackets and braces are patterns to curl unless it is told otherwise.
    line.push_str(&format!(" -g {}", quoted(uri)));
    match piped {
        Some(encoded) => format!("echo {encoded} | base64 -d | {line} --data-binary @-"),
        None => line,
    }
}

/// The bytes of the recorded body.
pub(super) fn body(message: &Value) -> Vec<u8> {
    let encoded = message["body"]["$base64"].as_str().or_else(|| message["content"]["$base64"].as_str());
    encoded.and_then(|text| BASE64_STANDARD.decode(text).ok()).unwrap_or_default()
}

/// In single quotes: the shell changes nothing in there.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_becomes_a_line_that_sends_it_again() {
        let request = json!({
            "method": "POST", "uri": "http://127.0.0.1:1/v1/orders?a=[1]",
            "headers": {"Content-Type": ["application/json"], "Idempotency-Key": [""]},
            "body": {"$base64": BASE64_STANDARD.encode("{\"a\":\"it's\"}")},
        });
        assert_eq!(
            line(&request),
            "curl -i -X POST -H 'Content-Type: application/json' -H 'Idempotency-Key;' \
             --data-binary '{\"a\":\"it'\\''s\"}' -g 'http://127.0.0.1:1/v1/orders?a=[1]'"
        );
        let bytes = json!({"method": "PUT", "uri": "u", "body": {"$base64": "/wA="}});
        assert_eq!(line(&bytes), "echo /wA= | base64 -d | curl -i -X PUT -g 'u' --data-binary @-");
        assert_eq!(line(&json!({"method": "GET", "uri": "u"})), "curl -i -X GET -g 'u'");
    }
}
