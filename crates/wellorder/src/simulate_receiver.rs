//! `simulate webhook-receiver`: somebody who gets webhooks, to see what arrives and what happens when they fail.

use crate::cli::args::part;
use crate::cli::failure::{Exit, Failure};
use crate::output::{Output, Style, escape};
use crate::system::{SystemClock, SystemIds};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use http::{HeaderMap, StatusCode};
use order_core::sealing::Secret;
use order_core::webhook::body::CHALLENGE;
use order_core::{Clock, Ids};
use ring::hmac;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::future::IntoFuture;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Longest body that is taken.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Things to tell that may wait for a slow terminal.
const TELL_MAX: usize = 1_000;
/// Deliveries that are remembered, to know those that come again.
const KNOWN_MAX: usize = 100_000;
/// How long answers may take to leave at the end.
const ANSWERS: Duration = Duration::from_secs(1);
/// How far the moment of a signature may be from now, in seconds.
const TOLERANCE: u64 = 300;

#[derive(Debug, Clone, Args)]
pub(crate) struct ReceiverArgs {
    /// Port on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 4000)]
    pub(crate) port: u16,
    /// The endpoint's secret: what is not signed with it is answered 401
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Part of the deliveries that are answered 500, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part)]
    pub(crate) fail_rate: f64,
    /// Take what comes and never answer
    #[arg(long)]
    pub(crate) hang: bool,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    /// No secret was given to look at it with.
    Unchecked,
    Good,
    /// There is none.
    Missing,
    /// It is another's, or of other bytes.
    Bad,
    /// Its moment is too far away.
    Stale,
}

impl Signature {
    fn word(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Good => "good",
            Self::Missing => "missing",
            Self::Bad => "bad",
            Self::Stale => "stale",
        }
    }
}

/// What came.
struct Received {
    status: Option<u16>,
    path: String,
    id: String,
    signature: Signature,
    again: bool,
    body: Value,
}

struct Receiver {
    fail_rate: f64,
    hang: bool,
    secret: Option<Secret>,
    ids: SystemIds,
    clock: SystemClock,
    known: Mutex<Known>,
    tell: mpsc::Sender<Received>,
}

/// The ids that came last.
#[derive(Default)]
struct Known {
    ids: BTreeSet<String>,
    in_turn: VecDeque<String>,
}

impl Known {
    /// Whether it was there already.
    fn meets(&mut self, id: &str) -> bool {
        if id.is_empty() || !self.ids.insert(id.to_owned()) {
            return !id.is_empty();
        }
        self.in_turn.push_back(id.to_owned());
        if self.in_turn.len() > KNOWN_MAX
            && let Some(oldest) = self.in_turn.pop_front()
        {
            self.ids.remove(&oldest);
        }
        false
    }
}

/// Takes webhooks until it is stopped, or has seen `--count` of them.
///
/// # Errors
/// When the port cannot be had, or the output cannot be written.
pub(crate) async fn run(args: &ReceiverArgs, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let fix = "free the port, or choose another with --port";
        Failure::here(Exit::Fault, format!("cannot listen on {address}: {error}"), fix)
    })?;
    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    let (tell, mut told) = mpsc::channel(TELL_MAX);
    let receiver = Receiver {
        fail_rate: args.fail_rate,
        hang: args.hang,
        secret: args.secret.as_ref().map(|secret| Secret::new(secret.as_bytes().to_vec())),
        ids: SystemIds,
        clock: SystemClock::default(),
        known: Mutex::default(),
        tell,
    };
    let router = Router::new().fallback(take).with_state(Arc::new(receiver));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { drop(stopped.await) });
    let serving = tokio::spawn(serving.into_future());
    if out.json {
        out.line(&json!({ "listening": address.to_string() }).to_string()).map_err(anyhow::Error::from)?;
    } else {
        out.note(&format!("takes webhooks at http://{address}/webhook, or any other path"));
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            Some(received) = told.recv() => {
                show(&received, out).map_err(anyhow::Error::from)?;
                left -= 1;
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // What was shown is answered too, but for what hangs.
    drop(stop);
    told.close();
    drop(tokio::time::timeout(ANSWERS, serving).await);
    Ok(Exit::Ok)
}

async fn take(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, None);
    };
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let id =
        Some(header("webhook-id")).filter(|id| !id.is_empty()).unwrap_or(header("x-event-id")).to_owned();
    let payload = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    let now = u64::try_from(receiver.clock.now().micros() / 1_000_000).unwrap_or(0);
    let signature = match &receiver.secret {
        None => Signature::Unchecked,
        Some(secret) => verify(secret, &head.headers, &body, now),
    };
    let fails =
        header("x-fail") == "true" || ends_in_five(&payload) || receiver.ids.unit() < receiver.fail_rate;
    let status = match signature {
        _ if receiver.hang => None,
        Signature::Missing | Signature::Bad | Signature::Stale => Some(StatusCode::UNAUTHORIZED),
        _ if fails => Some(StatusCode::INTERNAL_SERVER_ERROR),
        Signature::Good | Signature::Unchecked => Some(StatusCode::OK),
    };
    let again = receiver.known.lock().unwrap_or_else(PoisonError::into_inner).meets(&id);
    let path = head.uri.path().to_owned();
    let told =
        Received { status: status.map(|status| status.as_u16()), path, id, signature, again, body: payload };
    let word = told.body["data"]["challenge"].as_str().filter(|_| told.body["type"] == CHALLENGE);
    let says = word.map(|word| json!({ "challenge": word }).to_string());
    drop(receiver.tell.send(told).await);
    match status {
        Some(status) => answer(status, says),
        // Until whoever sent it has had enough.
        None => std::future::pending().await,
    }
}

/// An answer that says this, if it takes what came.
fn answer(status: StatusCode, says: Option<String>) -> Response {
    let body = if status.is_success() { says.unwrap_or("ok\n".to_owned()) } else { "failed\n".to_owned() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

/// Whether the receipt that the payload tells of, in itself or in its data, ends in 5.
fn ends_in_five(payload: &Value) -> bool {
    let receipt = |at: &Value| at["receipt"].as_str().is_some_and(|receipt| receipt.ends_with('5'));
    receipt(payload) || receipt(&payload["data"])
}

/// As Standard Webhooks asks of a receiver: one of the signatures is of these bytes under this secret, and its moment is near.
fn verify(secret: &Secret, headers: &HeaderMap, body: &[u8], now: u64) -> Signature {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let (Some(id), Some(moment), Some(given)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return Signature::Missing;
    };
    let Ok(seconds) = moment.parse::<u64>() else { return Signature::Bad };
    // Of its own, so that it finds out what is wrong with ours.
    let key = key(secret);
    let signed = [id.as_bytes(), b".", moment.as_bytes(), b".", body].concat();
    let is_it = |one: &str| {
        let tag = one.strip_prefix("v1,").and_then(|tag| BASE64_STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    };
    if !given.split(' ').any(is_it) {
        return Signature::Bad;
    }
    if seconds.abs_diff(now) > TOLERANCE { Signature::Stale } else { Signature::Good }
}

/// The key of Standard Webhooks: what lies in base64 behind `whsec_`, else the very bytes.
fn key(secret: &Secret) -> hmac::Key {
    let coded = secret.text().and_then(|text| text.strip_prefix("whsec_"));
    let decoded = coded.and_then(|coded| BASE64_STANDARD.decode(coded).ok()).map(Secret::new);
    hmac::Key::new(hmac::HMAC_SHA256, decoded.as_ref().unwrap_or(secret).bytes())
}

fn show(received: &Received, out: &mut Output<'_>) -> std::io::Result<()> {
    let Received { status, path, id, signature, again, body } = received;
    if out.json {
        let line = json!({
            "event": "webhook_received", "status": status, "path": path, "id": id, "signature": signature.word(),
            "again": again, "body": body,
        });
        return out.line(&line.to_string());
    }
    let (style, said) = match status {
        Some(status @ 200..=299) => (Style::Good, status.to_string()),
        Some(status) => (Style::Bad, status.to_string()),
        None => (Style::Busy, "hangs".to_owned()),
    };
    let said = out.paint(style, &said);
    let again = if *again { " again" } else { "" };
    let signature = match signature {
        Signature::Unchecked => String::new(),
        other => format!(" signature {}", other.word()),
    };
    let (path, id, body) = (escape(path), escape(id), body.to_string());
    out.line(&format!("webhook_received {said} {path} {id}{again}{signature} {}", escape(&body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_that_end_in_five_fail() {
        for (payload, fails) in [
            (json!({ "receipt": "order-115" }), true),
            (json!({ "data": { "receipt": "RL15" } }), true),
            (json!({ "data": { "receipt": "RL151" } }), false),
            (json!({ "receipt": 5 }), false),
            (json!("5"), false),
            (json!(null), false),
        ] {
            assert_eq!(ends_in_five(&payload), fails, "{payload}");
        }
    }

    fn signed(secret: &Secret, text: &str) -> String {
        format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(&key(secret), text.as_bytes())))
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn what_the_specification_signs_is_good() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let text = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        assert_eq!(signed(&secret, text), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_is_good_for_its_bytes_its_secret_and_its_time() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let (ours, body) = (secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), &b"{\"a\":1}"[..]);
        let headers = |signature: &str| -> HeaderMap {
            let pairs =
                [("webhook-id", "msg_1"), ("webhook-timestamp", "1000"), ("webhook-signature", signature)];
            pairs
                .into_iter()
                .filter_map(|(name, value)| Some((http::HeaderName::from_static(name), value.parse().ok()?)))
                .collect()
        };
        let good = signed(&ours, "msg_1.1000.{\"a\":1}");
        let both = format!("v1,AAAA {good}");
        for (given, secret, body, now, worth) in [
            (&*good, &ours, body, 1_000, Signature::Good),
            (&both, &ours, body, 1_300, Signature::Good),
            (&good, &ours, body, 1_301, Signature::Stale),
            (&good, &ours, b"{\"a\":2}", 1_000, Signature::Bad),
            (&good, &secret("whsec_AAAA"), body, 1_000, Signature::Bad),
            ("v1,", &ours, body, 1_000, Signature::Bad),
        ] {
            assert_eq!(verify(secret, &headers(given), body, now), worth, "{given} {now}");
        }
        assert_eq!(verify(&ours, &HeaderMap::new(), body, 1_000), Signature::Missing);
    }

    #[test]
    fn what_comes_again_is_known_for_a_while() {
        let mut known = Known::default();
        assert!(!known.meets("a") && known.meets("a") && !known.meets("") && !known.meets(""));
        for number in 0..KNOWN_MAX {
            assert!(!known.meets(&number.to_string()));
        }
        assert!(!known.meets("a"), "long ago");
        assert_eq!(known.ids.len(), known.in_turn.len());
    }
}
