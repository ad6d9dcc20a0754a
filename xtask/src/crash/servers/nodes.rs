//! The nodes of a run: two of each role, on one database.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Names;
use super::own::Own;
use crate::crash::clients::Stage;
use crate::crash::effects::Effects;
use crate::crash::killer;
use crate::crash::scene::Setup;
use crate::crash::shops::Shops;
use crate::http::server::free_addresses;
use crate::server::{Launch, Wellorder};
use crate::services::Service;
use crate::shell::capture;

/// What seals the secrets that all nodes share.
const SEALING_KEY: &str = "tk6Rut5jFn7485x3gVa8IGE+9gBLff6u1avibb8SQzc=";
/// Signs the tokens of the orders that are sold.
const SECRET: &str = "kq7Vx2Zr9LmT4wBn8cYh3PdGf6JsA5uE1oQiXtKv";

/// On top of the settings of every run: short leases of followers, rates that are shared and never reached.
const SETTINGS: &[(&str, &str)] = &[
    ("JWT_SECRET", SECRET),
    ("WELLORDER_SECRETS_KEY", SEALING_KEY),
    // Each relay would have a file of its own, in no order between them.
    ("WELLORDER_NDJSON_PATH", ""),
    // Longer than a delivery takes on a machine that has much else to do.
    ("WELLORDER_FOLLOWER_LEASE_MS", "5000"),
    ("WELLORDER_FOLLOWER_HEARTBEAT_MS", "1000"),
    ("WELLORDER_FOLLOWER_BATCH_SIZE", "100"),
    ("WELLORDER_RATE_ADDRESS_PER_SECOND", "100000"),
];

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Api,
    Worker,
    Relay,
    Sync,
}

/// In the order in which they are started.
pub(super) const ROLES: [Role; 4] = [Role::Api, Role::Worker, Role::Relay, Role::Sync];
/// Nodes with the same role.
pub(super) const EACH: usize = 2;

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Relay => "relay",
            Self::Sync => "sync",
        }
    }
}

/// One process with one role; it may be dead.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) launch: Launch,
    running: Option<Wellorder>,
}

impl Node {
    pub(super) fn start(&mut self, extra: &[(&str, &str)]) -> Result<()> {
        self.running = Some(self.launch.start(extra)?);
        Ok(())
    }

    /// The process; an error when there is none.
    pub(super) fn process(&mut self) -> Result<&mut Wellorder> {
        self.running.as_mut().with_context(|| format!("{} is not running", self.name))
    }

    /// SIGKILL; whether it had lived until then.
    pub(super) fn kill(&mut self, stage: &Stage) -> Result<bool> {
        let process = self.running.as_mut().with_context(|| format!("{} is not running", self.name))?;
        let ended = process.ended();
        if let Some(status) = ended {
            self.running = None;
            return Ok(killer::ended_by_itself(&self.launch, stage, status));
        }
        stage.history.kill(&self.name)?;
        process.kill()?;
        self.running = None;
        Ok(true)
    }

    /// Waits until it is ready; otherwise notes why not.
    pub(super) fn ready(&mut self, stage: &Stage) -> bool {
        match self.running.as_mut() {
            Some(process) => killer::ready(&self.launch, stage, process),
            None => true, // it is dead on purpose
        }
    }
}

pub(super) struct Nodes(pub(super) Vec<Node>);

impl Nodes {
    /// How to start them; none runs yet.
    pub(super) fn new(
        setup: &Setup,
        folder: &Path,
        (own, names): (&Own, &Names),
        (effects, shops): (&Effects, Option<&Shops>),
    ) -> Result<Self> {
        let mut addresses = free_addresses(ROLES.len() * EACH)?.into_iter();
        let mut nodes = Vec::new();
        // Without marketplaces there is nothing to sync.
        for role in ROLES.into_iter().filter(|role| *role != Role::Sync || shops.is_some()) {
            for number in 1..=EACH {
                let name = format!("{}-{number}", role.name());
                let mut env = names.env();
                for (service, variable) in [
                    (Service::Redis, "REDIS_URL"),
                    (Service::Rabbitmq, "RABBITMQ_URL"),
                    (Service::Kafka, "KAFKA_BROKERS"),
                ] {
                    env.push((variable.to_owned(), own.of(service)?.url()));
                }
                env.extend(SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
                env.push(("WELLORDER_HTTP_PROCESSOR_URL".to_owned(), effects.url_of(&name)));
                env.extend(setup.env());
                env.extend(shops.map(Shops::env).unwrap_or_default());
                let launch = Launch {
                    binary: setup.binary.clone(),
                    data: folder.join(&name),
                    address: addresses.next().context("too few addresses")?,
                    args: vec!["--role".to_owned(), role.name().to_owned()],
                    env,
                    log: folder.join(format!("{name}.log")),
                };
                nodes.push(Node { name, role, launch, running: None });
            }
        }
        Ok(Self(nodes))
    }

    /// The node `which` of those with a role.
    pub(super) fn of(&mut self, role: Role, which: usize) -> Result<&mut Node> {
        let mut alike = self.0.iter_mut().filter(|node| node.role == role);
        alike.nth(which % EACH).context("there is no such node")
    }

    pub(super) fn any(&self) -> Result<&Node> {
        self.0.first().context("there are no nodes")
    }

    /// Waits until all that live are ready.
    pub(super) fn ready(&mut self, stage: &Stage) -> bool {
        self.0.iter_mut().all(|node| node.ready(stage))
    }

    /// The header that opens orders by the door `sales`.
    pub(super) fn bearer(&self) -> Result<String> {
        let mut command = self.any()?.launch.command();
        command.args(["token", "--lifetime", "24h", "--scope", "orders:read", "--scope", "orders:write"]);
        let (code, token) = capture(&mut command)?;
        if code != Some(0) || token.trim().is_empty() {
            bail!("`wellorder token` failed with exit code {code:?}");
        }
        Ok(format!("Bearer {}", token.trim()))
    }
}
