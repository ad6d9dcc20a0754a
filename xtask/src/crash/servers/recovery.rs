//! Whether everything that needs a server goes on by itself once the server is back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::crash::clients::Stage;
use crate::crash::gather;
use crate::crash::report::Kind;
use crate::http::client::Client;
use crate::services::Service;
use crate::shell::wait_until;

/// How long it may take until it goes on.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it may take besides until what piled up meanwhile is carried on: a machine may have much else to do.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the return of a server everything went on, and was as before.
pub(super) struct Recovered {
    pub(super) resumed: Duration,
    pub(super) whole: Duration,
}

/// Waits for it; notes what takes too long.
pub(super) fn wait(stage: &Stage, service: Service) -> Recovered {
    let (began, name) = (Instant::now(), service.name());
    let at_return = places(stage, name);
    let resumed = match service {
        Service::Kafka | Service::Rabbitmq => wait_until(LIMIT, STEP, || {
            let now = places(stage, name);
            !now.is_empty() && now.iter().all(|(follower, place)| place.moved_since(at_return.get(follower)))
        }),
        Service::Redis => looked_at(stage, name),
        Service::Postgres => true,
    };
    if !resumed {
        let detail = format!("nothing goes on {} s after its return", LIMIT.as_secs());
        stage.violations.add(Kind::Recovery, name, detail);
    }
    let resumed = began.elapsed();
    let due = |follower: &String| at_return.get(follower).map_or(0, |place| place.head);
    let whole = wait_until(CATCH_UP_LIMIT, STEP, || {
        let now = places(stage, name);
        let told = !now.is_empty() || service == Service::Redis;
        told && now.iter().all(|(follower, place)| place.at >= due(follower))
    });
    if !whole {
        stage.violations.add(Kind::Recovery, name, "what piled up while it was away is not carried on");
    }
    Recovered { resumed, whole: began.elapsed() }
}

/// How far a follower is, over all shards, and how far the journal.
struct Place {
    at: u64,
    head: u64,
}

impl Place {
    /// Whether it moved, or had nothing to do.
    fn moved_since(&self, before: Option<&Self>) -> bool {
        self.at == self.head || before.is_some_and(|before| self.at > before.at)
    }
}

/// Of the followers to a server; empty when nobody tells.
fn places(stage: &Stage, server: &str) -> HashMap<String, Place> {
    let all = gather::followers(stage.address()).unwrap_or_default();
    let of_server = all.into_iter().filter(|follower| follower.name.ends_with(server));
    let place = |follower: gather::Follower| {
        let at = follower.shards.iter().map(|(_, at, _)| at).sum();
        let head = follower.shards.iter().map(|(_, _, head)| head).sum();
        (follower.name, Place { at, head })
    };
    of_server.map(place).collect()
}

/// Every node that takes orders finds it well.
fn looked_at(stage: &Stage, server: &str) -> bool {
    wait_until(LIMIT, STEP, || {
        stage.addresses.iter().all(|address| {
            let Ok(ready) = Client::new(*address, TIMEOUT).get_json("/readyz?verbose") else { return false };
            let checks = ready["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
            checks.iter().any(|check| check["name"] == server && check["ok"] == true)
        })
    })
}
