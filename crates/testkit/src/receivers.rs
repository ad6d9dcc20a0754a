//! A receiver of webhooks that answers as it is told, and remembers what it got.

use crate::build::intake;
use async_trait::async_trait;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ports::Deliverer;
use order_core::webhook::endpoint::Dialect;
use order_core::webhook::fan_out::FanOut;
use order_core::webhook::manage::{AskedEndpoint, AskedSecret};
use order_core::webhook::sending::{Answered, Sending, UrlRefused};
use order_core::webhook::{FOLLOWER, Listens};
use order_core::{App, TenantId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Stands for the way to all receivers, and for them.
#[derive(Debug, Default)]
pub struct ScriptedReceiver(Mutex<Script>);

#[derive(Debug, Default)]
struct Script {
    got: Vec<Sending>,
    answers: VecDeque<Answered>,
    usual: Option<Answered>,
    failing: Vec<String>,
    challenges: bool,
}

impl ScriptedReceiver {
    /// One that takes everything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An answer of this status.
    pub fn answer(status: u16) -> Answered {
        let took = Duration::from_millis(7);
        Answered { status: Some(status), took, body: b"so it is".to_vec(), ..Answered::default() }
    }

    /// The next delivery is answered so; call it several times for several.
    pub fn next(&self, answered: Answered) {
        self.script().answers.push_back(answered);
    }

    /// From now on every delivery is answered with this status.
    pub fn always(&self, status: u16) {
        self.script().usual = Some(Self::answer(status));
    }

    /// From now on every delivery to this URL gets no answer.
    pub fn fail(&self, url: &str) {
        self.script().failing.push(url.to_owned());
    }

    /// From now on whoever is registered has to say first that they want to be called; unless it is to answer otherwise, it does.
    pub fn challenge(&self) {
        self.script().challenges = true;
    }

    /// What it got since this was asked last, in order.
    pub fn got(&self) -> Vec<Sending> {
        std::mem::take(&mut self.script().got)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Deliverer for ScriptedReceiver {
    async fn deliver(&self, sending: Sending) -> Answered {
        let mut script = self.script();
        let failing = script.failing.contains(&sending.url);
        let word = script.challenges.then(|| challenge_in(&sending.body)).flatten();
        script.got.push(sending);
        if failing {
            let why = Some("connection refused".to_owned());
            return Answered { why, ..Answered::default() };
        }
        let next = script.answers.pop_front().or_else(|| script.usual.clone());
        next.unwrap_or_else(|| match word {
            Some(word) => Answered { body: word.into_bytes(), ..Self::answer(200) },
            None => Self::answer(200),
        })
    }

    fn check(&self, url: &str) -> Result<(), UrlRefused> {
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(());
        }
        Err(UrlRefused { rule: "https-only", detail: "is no https:// URL".to_owned() })
    }

    fn challenges(&self) -> bool {
        self.script().challenges
    }
}

/// The word that is to be said back, if this asks for one.
fn challenge_in(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["data"]["challenge"].as_str().map(str::to_owned)
}

/// The header of a delivery.
pub fn header<'s>(sending: &'s Sending, name: &str) -> Option<&'s str> {
    sending.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

/// Makes an endpoint, takes an order in (`owed`), and fans out: one stream is due, and nothing is sent.
pub async fn owed(app: &Arc<App>) {
    let asked = AskedEndpoint {
        url: "https://hooks.example/".to_owned(),
        listens: Listens::parse(["*"]).expect("a type of event"),
        dialect: Dialect::Marketplace,
        organization: None,
        rate: None,
        secret: AskedSecret::None,
    };
    app.create_endpoint(&TenantId::default_tenant(), asked).await.expect("an endpoint is made");
    app.accept(intake("owed").build()).await.expect("it is taken in");
    let sink = Arc::new(FanOut::new(Arc::clone(app)));
    let follower = Follower::new(Arc::clone(app), FOLLOWER, sink, FollowerPolicy::default());
    while follower.step().await.expect("fan-out works") != Progress::UpToDate {}
}
