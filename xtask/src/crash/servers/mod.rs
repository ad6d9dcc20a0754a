//! A run on PostgreSQL: two nodes of each role, Kafka, RabbitMQ and Redis beside them, all of which are killed.

mod acts;
mod delivery;
mod nodes;
mod own;
mod play;
mod recovery;
mod sinks;
mod stream;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::check::{Facts, check};
use super::clients::{self, Stage};
use super::imports::Imports;
use super::killer::Killed;
use super::receiver::Receiver;
use super::report::{Kind, Summary};
use super::scene::{self, Crashes, Setup};
use super::streamed::Streamed;
use crate::rng::Rng;
use crate::services::{Instance, Service};
use crate::shell::wait_until;
use delivery::Delivery;
pub(crate) use nodes::Role;
use nodes::{EACH, Node, Nodes};
pub(crate) use own::Own;
use play::Play;
use stream::Stream;

/// Load after the last kill, before the drain.
const LAST_LOAD: Duration = Duration::from_secs(2);

/// What belongs to one run alone, in servers that several runs use.
struct Names {
    database: String,
    /// The topic of Kafka, and the exchange of RabbitMQ.
    events: String,
    /// The driver's own, of all events.
    queue: String,
    /// Events and acknowledgements of `orderstream`.
    orders: String,
    acks: String,
    /// Whether orders are sold too, and delivered by messages.
    sells: bool,
    /// Whether other programs speak `orderstream`.
    streams: bool,
}

impl Names {
    fn new(setup: &Setup, own: &Own) -> Result<Self> {
        let name = setup.plant.map_or("run", |plant| plant.name);
        let database = own.of(Service::Postgres)?.create_database(name)?;
        let sells = setup.plant.is_none();
        Ok(Self {
            database,
            events: format!("{name}.events"),
            queue: format!("{name}.all"),
            orders: format!("{name}.orders.events"),
            acks: format!("{name}.orders.ack"),
            sells,
            streams: sells || setup.plant.is_some_and(|plant| plant.streams),
        })
    }

    fn env(&self) -> Vec<(String, String)> {
        let mut env = vec![
            ("WELLORDER_DATABASE", self.database.as_str()),
            ("WELLORDER_KAFKA_TOPIC", &self.events),
            ("WELLORDER_RABBITMQ_EXCHANGE", &self.events),
            ("ORDERS_EVENTS_TOPIC", &self.orders),
            ("ORDERS_ACK_TOPIC", &self.acks),
            // Those of another run must not share in its events.
            ("WORKER_GROUP", &self.orders),
            ("ACK_WAIT_TIMEOUT", "2s"),
        ];
        if !self.sells {
            env.extend([
                ("WELLORDER_CONTRACTS_SALES_TOPIC", ""),
                ("WELLORDER_CONTRACTS_SALES_CREATED", ""),
                ("WELLORDER_CONTRACTS_SALES_SHIPPED", ""),
                ("WELLORDER_CONTRACTS_SALES_DELIVERED", ""),
            ]);
        }
        env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Orders that a run has at least, unless they take too long.
const ORDERS_MIN: usize = 1_000;
const ORDERS_LIMIT: Duration = Duration::from_secs(60);
/// Longer than the leases of followers.
const RELAY_PAUSE: Duration = Duration::from_secs(6);

/// Plays it on these servers and sums it up.
pub(super) fn play(setup: &Setup, crashes: Crashes, own: &mut Own) -> Result<Summary> {
    let began = Instant::now();
    let folder = setup.folder()?;
    let names = Names::new(setup, own)?;
    let broker = own.of(Service::Rabbitmq)?.address();
    sinks::bind(broker, &names)?;
    let effects = setup.effects()?;
    let shops = setup.shops()?;
    let nodes = Nodes::new(setup, &folder, (&*own, &names), (&effects, shops.as_deref()))?;
    let addresses = nodes.0.iter().filter(|node| node.role == Role::Api).map(|node| node.launch.address);
    let run = format!("crash-{}", setup.seed);
    let history = setup.history(&folder)?;
    let mut stage = Stage::new(addresses.collect(), run.clone(), setup.rate, history, effects);
    stage.told = setup.is_told();
    stage.bearer = names.sells.then(|| nodes.bearer()).transpose()?;
    let stage = Arc::new(stage);
    let mut rng = Rng::new(setup.seed);
    let acts = match setup.plant {
        Some(plant) => acts::plan_for(plant, &mut rng),
        None => acts::plan(setup.kills, setup.points, crashes, &mut rng),
    };
    let killed = Killed::default();
    let (outages, taken_over) = (Vec::new(), (0, Duration::ZERO));
    let mut play = Play { stage: &stage, own, nodes, killed, outages, taken_over };

    let mut facts = Facts::default();
    let points = setup.points && setup.plant.is_none();
    if (!points || play.first_start()?) && play.start_all()? {
        let receiver = setup.receiver()?;
        if let Some(receiver) = &receiver {
            receiver.listen(stage.address())?;
        }
        let delivery = names.sells.then(|| Delivery::start(broker, &run, rng.fork(1))).transpose()?;
        let kafka = play.own.of(Service::Kafka)?.url();
        let stream =
            names.streams.then(|| Stream::start(kafka.clone(), &names, stage.addresses.clone(), &rng));
        let imports = shops.map(|shops| Imports::start(&stage, &shops, &rng));
        let clients = clients::start(&stage, setup.connections, &rng);
        if play.all(&acts)? {
            let others = Others { delivery, stream, imports, receiver, kafka: &kafka, names: &names };
            last_act(setup, &mut play, clients, others, &mut facts)?;
            sunk(&play, &names, &mut facts);
        }
    }
    facts.kills = play.killed.total();
    facts.history = stage.history.read()?;
    facts.effects = stage.effects.snapshot();
    if !facts.feed.is_empty() || !facts.orders.is_empty() {
        check(&facts, &stage.violations);
    }
    let Play { nodes, killed, outages, taken_over, .. } = play;
    let mut summary = scene::sum_up(setup, &facts, &stage, killed);
    summary.outages = outages;
    (summary.taken_over, summary.taken_over_seconds) = (taken_over.0, taken_over.1.as_secs_f64());
    summary.parked = facts.parked.len();
    summary.streamed = facts.streamed.as_ref().map(Streamed::counts);
    summary.seconds = began.elapsed().as_secs_f64();
    drop(nodes);
    scene::leave(setup, &folder, &summary)?;
    Ok(summary)
}

/// Other programs beside the clients.
struct Others<'n> {
    delivery: Option<Delivery>,
    stream: Option<Stream>,
    imports: Option<Imports>,
    receiver: Option<Receiver>,
    kafka: &'n str,
    names: &'n Names,
}

/// After the last kill: zombies, audit under load, drain, read everything, audit idle, stop, audit what is left.
fn last_act(
    setup: &Setup,
    play: &mut Play<'_>,
    clients: Vec<JoinHandle<Result<()>>>,
    others: Others<'_>,
    facts: &mut Facts,
) -> Result<()> {
    let stage = play.stage;
    stage.tell("the last act");
    for number in 0..setup.pauses() {
        // Others take over what it had; then it goes on, and must not finish anything. So must a relay not move anything.
        let role = if setup.plant.is_none() && number % 2 == 1 { Role::Relay } else { Role::Worker };
        let length = if role == Role::Relay { RELAY_PAUSE } else { scene::PAUSE };
        scene::pause(play.nodes.of(role, number / EACH)?.process()?, length)?;
    }
    thread::sleep(LAST_LOAD);
    // A bug that a shard shows once in 50 events needs some events in each.
    let enough = || stage.acknowledged.load(Ordering::Relaxed) >= ORDERS_MIN;
    wait_until(ORDERS_LIMIT, Duration::from_millis(50), enough);
    if setup.plant.is_none() {
        scene::audit(&play.nodes.any()?.launch, &stage.violations, "under load");
    }
    scene::end(stage, clients)?;
    stage.tell("the clients ended");
    let streamed =
        others.stream.map(|stream| stream.end(others.kafka, others.names, setup.stall())).transpose()?;
    stage.tell("what others told over Kafka is acknowledged");
    facts.imported = others.imports.map(|imports| imports.end(stage, setup.stall())).transpose()?;
    stage.tell("every receipt is at its end");
    scene::drain(setup, stage);
    stage.tell("everything is processed");
    if let Some(delivery) = others.delivery {
        facts.poison = delivery.end()?;
    }
    scene::read_all(stage, facts)?;
    if let Some(mut streamed) = streamed {
        stream::look(stage, others.kafka, others.names, &mut streamed)?;
        facts.streamed = Some(streamed);
    }
    stage.tell("everything is read");
    if setup.plant.is_none() {
        scene::audit(&play.nodes.any()?.launch, &stage.violations, "idle");
    }
    if let Some(receiver) = others.receiver {
        scene::hear(setup, stage, &receiver, facts)?;
    }
    if setup.plant.is_some() {
        return Ok(()); // what gives a planted bug away is known by now
    }
    let processes = play.nodes.0.iter_mut().map(Node::process).collect::<Result<Vec<_>>>()?;
    scene::stop(processes, &stage.violations);
    stage.tell("all nodes stopped");
    scene::audit(&play.nodes.any()?.launch, &stage.violations, "stopped");
    Ok(())
}

/// Reads what the sinks were sent, and what lies among the parked; what cannot be read is a violation.
fn sunk(play: &Play<'_>, names: &Names, facts: &mut Facts) {
    let found = &play.stage.violations;
    let kafka = play.own.of(Service::Kafka).and_then(|kafka| sinks::kafka(&kafka.url(), names));
    let broker = play.own.of(Service::Rabbitmq).map(Instance::address);
    let rabbitmq = broker.as_ref().map_err(|fault| anyhow!("{fault:#}"));
    let rabbitmq = rabbitmq.and_then(|broker| sinks::rabbitmq(*broker, names));
    for (name, lines) in [("Kafka", kafka), ("RabbitMQ", rabbitmq)] {
        match lines {
            Ok(lines) => drop(facts.sinks.insert(name.to_owned(), lines)),
            Err(fault) => found.add(Kind::Sink, name, format!("cannot be read: {fault:#}")),
        }
    }
    if !names.sells {
        return;
    }
    match broker.and_then(sinks::parked) {
        Ok(letters) => facts.parked = letters,
        Err(fault) => found.add(Kind::Message, "parked messages", format!("{fault:#}")),
    }
}
