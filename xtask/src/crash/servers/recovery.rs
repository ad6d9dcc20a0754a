//! Whether everything that needs a server goes on by itself once the server is back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::crash::clients::Stage;
use crate::crash::gather;
use crate::crash::report::Kind;
use crate::http::client::Client;
use crate::services::Service;
use crate::shell::wait_until;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for it; how long it took.
pub(super) fn wait(stage: &Stage, service: Service) -> Duration {
    let began = Instant::now();
    let recovered = match service {
        Service::Kafka | Service::Rabbitmq => carried_on(stage, service.name()),
        Service::Redis => looked_at(stage, service.name()),
        Service::Postgres => true,
    };
    if !recovered {
        let detail = format!("not as before {} s after its return", LIMIT.as_secs());
        stage.violations.add(Kind::Recovery, service.name(), detail);
    }
    began.elapsed()
}

/// Every follower to this server comes as far as the journal was when the server came back.
fn carried_on(stage: &Stage, server: &str) -> bool {
    let mut due: Option<HashMap<(String, u64), u64>> = None;
    wait_until(LIMIT, STEP, || {
        let Ok(all) = gather::followers(stage.address()) else { return false };
        let of_server = all.into_iter().filter(|follower| follower.name.ends_with(server));
        let shards = of_server.flat_map(|follower| {
            let name = follower.name;
            follower.shards.into_iter().map(move |(shard, at, head)| ((name.clone(), shard), at, head))
        });
        let shards: Vec<_> = shards.collect();
        let due =
            due.get_or_insert_with(|| shards.iter().map(|(place, _, head)| (place.clone(), *head)).collect());
        !due.is_empty() && shards.iter().all(|(place, at, _)| due.get(place).is_none_or(|due| at >= due))
    })
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
