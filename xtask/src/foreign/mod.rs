//! `cargo xtask foreign`: programs that know nothing of us read and write what the contracts say. `kcat` does so with the topics,
//! `grpcurl` with the methods of gRPC, a client of AMQP in Python with the queues, and the reference library of Standard Webhooks with
//! signatures.

mod grpcurl;
mod kcat;
mod webhooks;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::http::client::Client;
use crate::http::server::free_address;
use crate::server::{self, Binary, Launch, Wellorder, log_tail};
use crate::services::{self, Service, Up};
use crate::shell::{capture, run as sh, wait_until};
use crate::{venv, workspace};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// Longest wait for anything to come to be.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const STEP: Duration = Duration::from_millis(200);

/// A program by its name, and what it finds: what holds, or what does not.
type Part<'p> = (&'static str, &'p dyn Fn(&Scene) -> Result<String>);

/// A server, and what is around it.
struct Scene {
    server: Wellorder,
    launch: Launch,
    brokers: String,
    amqp: String,
    /// At the end of all names of topics and queues.
    mark: String,
}

impl Scene {
    fn named(&self, what: &str) -> String {
        named(&self.mark, what)
    }

    fn http(&self) -> Client {
        Client::new(self.server.address, PATIENCE)
    }
}

fn named(mark: &str, what: &str) -> String {
    format!("foreign.{what}.{mark}")
}

/// Starts a server and what it needs, and lets every program have its turn; false when one of them finds something.
pub(crate) fn run(binary: &Binary) -> Result<bool> {
    services::need("kcat", &["kcat"]).context("kcat")?;
    let (grpcurl, python) = (grpcurl::installed_program()?, venv::programs("foreign")?.join("python"));
    let binary = binary.or_built()?;
    let servers = Up::only(&[Service::Rabbitmq, Service::Kafka])?;
    let folder = std::env::temp_dir().join(format!("wellorder-foreign-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut scene = start(&servers, &binary, &folder)?;
    let parts: [Part<'_>; 4] = [
        ("grpcurl", &|scene| grpcurl::check(&grpcurl, scene)),
        ("kcat", &kcat::check),
        ("pika", &|scene| pika(&python, scene)),
        ("standardwebhooks", &|scene| webhooks::check(&python, scene)),
    ];
    let mut green = true;
    for (name, part) in parts {
        let began = Instant::now();
        let found = part(&scene);
        let seconds = began.elapsed().as_secs_f64();
        green &= found.is_ok();
        let said = found.unwrap_or_else(|fault| format!("FAILED: {fault:#}"));
        println!("{name}: {said} ({seconds:.1} s)");
    }
    let ended = scene.server.terminate(STOP_LIMIT)?;
    forget(&python, &scene)?;
    if !green || ended != Some(0) {
        println!("the server ended with {ended:?}; the end of its log:\n{}", log_tail(&scene.launch.log, 20));
        return Ok(false);
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(true)
}

fn start(servers: &Up, binary: &Path, folder: &Path) -> Result<Scene> {
    let place = |service: Service| {
        let found = servers.variables().find(|(variable, _)| *variable == service.variable());
        found.map(|(_, url)| url.to_owned()).with_context(|| format!("{} is nowhere", service.name()))
    };
    let (amqp, brokers) = (place(Service::Rabbitmq)?, place(Service::Kafka)?);
    let mark = server::secret()?[..8].to_owned();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let name = |variable: &str, what: &str| setting(variable, &named(&mark, what));
    let launch = Launch {
        binary: binary.to_owned(),
        data: folder.join("data"),
        address: free_address()?,
        args: ["--as", "orderstream"].map(str::to_owned).to_vec(),
        env: vec![
            setting("WELLORDER_PROCESSOR", "simulate"),
            setting("WELLORDER_SIMULATE_DELAY_MS", "10"),
            setting("JWT_SECRET", &server::secret()?),
            setting("KAFKA_BROKERS", &brokers),
            setting("RABBITMQ_URL", &amqp),
            setting("WELLORDER_KAFKA_PARTITIONS", "2"),
            setting("WELLORDER_RABBITMQ_RETRY_MS", "100,200"),
            name("WELLORDER_KAFKA_TOPIC", "all"),
            name("ORDERS_EVENTS_TOPIC", "events"),
            name("ORDERS_ACK_TOPIC", "acks"),
            name("WORKER_GROUP", "group"),
            name("WELLORDER_CONTRACTS_SALES_TOPIC", "sales"),
            name("WELLORDER_RABBITMQ_EXCHANGE", "exchange"),
            name("WELLORDER_CONTRACTS_SALES_CREATED", "created"),
            name("WELLORDER_CONTRACTS_SALES_SHIPPED", "shipped"),
            name("WELLORDER_CONTRACTS_SALES_DELIVERED", "delivered"),
        ],
        log: folder.join("log"),
    };
    let mut server = launch.start(&[])?;
    if !server.ready_within(START_LIMIT) || !wait_until(START_LIMIT, STEP, || consumes(&server)) {
        bail!("the server does not start, or reads nothing:\n{}", log_tail(&launch.log, 20));
    }
    Ok(Scene { server, launch, brokers, amqp, mark })
}

/// Whether it reads its topic and both of its queues: what others write before that would be passed over.
fn consumes(server: &Wellorder) -> bool {
    let connected = |line: &str| line.starts_with("wellorder_consumer_connected{") && line.ends_with(" 1");
    let metrics = Client::new(server.address, PATIENCE).get("/metrics");
    metrics.is_ok_and(|reply| {
        String::from_utf8_lossy(&reply.body).lines().filter(|line| connected(line)).count() == 3
    })
}

/// The queues of `sales`: what the client in Python says of them.
fn pika(python: &Path, scene: &Scene) -> Result<String> {
    let mut token = scene.launch.command();
    token.arg("token").arg("--data").arg(&scene.launch.data);
    token.args(["--scope", "orders:read", "--scope", "orders:write"]);
    let (code, token) = capture(&mut token)?;
    ensure!(code == Some(0), "no token (exit code {code:?}): {token}");
    let address = format!("http://{}/sales", scene.server.address);
    let (code, said) = capture(&mut sales(python, scene, &address, token.trim()))?;
    ensure!(code == Some(0), "{said}(exit code {code:?})");
    Ok(said.trim().to_owned())
}

/// Takes away what is in RabbitMQ, once nobody makes it anew.
fn forget(python: &Path, scene: &Scene) -> Result<()> {
    sh(&mut sales(python, scene, "forget", &scene.named("exchange")))
}

fn sales(python: &Path, scene: &Scene, what: &str, with: &str) -> Command {
    let mut client = Command::new(python);
    client.arg(workspace::root().join("xtask/foreign/sales.py")).args([&scene.amqp, what, with]);
    client.args(["created", "shipped", "delivered"].map(|what| scene.named(what)));
    client
}
