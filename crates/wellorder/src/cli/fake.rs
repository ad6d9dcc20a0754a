//! An API for the tests: it answers from a list and remembers what it was asked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::VecDeque, sync::Mutex};

use async_trait::async_trait;
use axum::body::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

use futures_util::{StreamExt as _, stream};

use super::api_call::{ApiCall, ApiReply, Call, Lines, Streamed, Unreachable};
use crate::{
    cli::failure::{self, Exit, Failure},
    output::Output,
};

pub(super) fn reply(status: u16, kind: &str, body: &str) -> ApiReply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
    ApiReply { status, headers, body: Bytes::from(body.to_owned()) }
}

pub(super) fn json(status: u16, body: &Value) -> ApiReply {
    reply(status, "application/json", &body.to_string())
}

pub(super) fn problem(status: u16, body: &Value) -> ApiReply {
    reply(status, "application/problem+json", &body.to_string())
}

/// An answer that breaks off behind `body`.
pub(super) fn broken(status: u16, body: &str) -> ApiReply {
    let mut reply = reply(status, "text/plain", body);
    reply.headers.insert(BROKEN, "true".parse().unwrap());
    reply
}

const BROKEN: &str = "broken";

/// Answers in the order given; more questions than answers fail the test.
pub(super) struct Fake {
    replies: Mutex<VecDeque<ApiReply>>,
    asked: Mutex<Vec<String>>,
    is_server: bool,
}

impl Fake {
    pub(super) fn new(replies: impl IntoIterator<Item = ApiReply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect());
        Self { replies, asked: Mutex::default(), is_server: true }
    }

    pub(super) fn offline(self) -> Self {
        Self { is_server: false, ..self }
    }

    pub(super) fn api(&self) -> &(dyn ApiCall + '_) {
        self
    }

    /// `METHOD path {body} header=value`, one for each call; every answer must have been fetched.
    pub(super) fn asked(&self) -> Vec<String> {
        assert!(self.replies.lock().unwrap().is_empty(), "answers are left");
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl ApiCall for Fake {
    async fn send(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let Call { method, path_and_query, body, headers } = call;
        let mut asked = format!("{method} {path_and_query}");
        if let Some(body) = body {
            asked = format!("{asked} {}", String::from_utf8_lossy(&body));
        }
        for (name, value) in headers {
            asked = format!("{asked} {name}={value}");
        }
        let reply = self.replies.lock().unwrap().pop_front();
        let reply = reply.unwrap_or_else(|| panic!("nothing to answer to {asked}"));
        self.asked.lock().unwrap().push(asked);
        Ok(reply)
    }

    /// Remembers that somebody has patience.
    async fn send_patiently(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let reply = self.send(call).await;
        self.asked.lock().unwrap().last_mut().unwrap().push_str(" patiently");
        reply
    }

    /// Takes the whole body in before it answers; an answer with status 0 is none.
    async fn open(&self, call: Call<'_>, body: Option<Lines>) -> Result<Streamed, Unreachable> {
        let mut whole = Vec::new();
        if let Some(mut body) = body {
            while let Some(bytes) = body.recv().await {
                whole.extend_from_slice(&bytes);
            }
        }
        let body = (!whole.is_empty()).then(|| Bytes::from(whole));
        let ApiReply { status, headers, body } = self.send(Call { body, ..call }).await?;
        let unreachable = || Unreachable::because("fake", "gone");
        if status == 0 {
            return Err(unreachable());
        }
        let end = headers.contains_key(BROKEN).then(|| Err(unreachable()));
        // In pieces that are no lines.
        let pieces: Vec<_> = body.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(Streamed { status, headers, chunks: stream::iter(pieces.into_iter().chain(end)).boxed() })
    }

    fn is_server(&self) -> bool {
        self.is_server
    }

    fn holds_folder(&self) -> bool {
        !self.is_server
    }
}

/// What a command wrote to standard output, then to standard error; what is said of a failure; and how it ended.
pub(super) struct Said {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) why: String,
    pub(super) exit: Exit,
}

/// Runs a command with an output to read afterwards.
pub(super) async fn said(
    json: bool,
    run: impl AsyncFnOnce(&mut Output<'_>) -> Result<Exit, Failure>,
) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let result = run(&mut Output::to(&mut out, &mut err, json)).await;
    let mut why = Vec::new();
    let exit = result.unwrap_or_else(|failure| {
        failure::report(&failure, &mut Output::to(&mut Vec::new(), &mut why, false))
    });
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { out: text(out), err: text(err), why: text(why), exit }
}
