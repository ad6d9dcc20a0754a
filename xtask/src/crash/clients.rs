//! Client threads: each places orders and insists, under the same reference, until it has an answer.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::bulk;
use super::effects::Effects;
use super::history::History;
use super::order::{Door, Order};
use super::report::{Kind, Violations};
use crate::http::client::{Client, Reply};
use crate::rng::Rng;

/// Orders that may wait for their effect before the clients hold back.
const BACKLOG_MAX: usize = 1_000;
/// Orders whose requests other clients repeat.
const RECENT_MAX: usize = 64;
/// Most orders of one bulk request.
const BULK_LINES_MAX: u64 = 60;
/// A connection that was of no use for so long is not used again: a server closes those that idle for 10 s.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A client gives an order up when the server has been away for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// An order on its way.
pub(super) struct Placed {
    pub(super) order: Order,
    /// Set by the first acknowledgement that is on the disk.
    order_id: OnceLock<String>,
    /// Acknowledgements that said "new".
    created: AtomicUsize,
}

/// A time in which every order must be taken in at its first request.
struct Calm {
    /// What is away all the same.
    away: &'static str,
    since: Instant,
}

/// What the client threads share.
pub(crate) struct Stage {
    /// Of every server that takes orders.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The header of orders by the door `sales`; without it there are none.
    pub(crate) bearer: Option<String>,
    pub(crate) run: String,
    pub(crate) orders_per_second: usize,
    pub(crate) history: History,
    pub(crate) effects: Effects,
    pub(crate) violations: Violations,
    pub(crate) stop: AtomicBool,
    /// Whether it is told how far the run is.
    pub(crate) told: bool,
    began: Instant,
    /// What is away, when nothing is that intake needs: every order must be taken in at once.
    calm: Mutex<Option<Calm>>,
    pub(crate) acknowledged: AtomicUsize,
    pub(crate) repeated: AtomicUsize,
    recent: Mutex<VecDeque<Arc<Placed>>>,
}

impl Stage {
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        run: String,
        rate: usize,
        history: History,
        effects: Effects,
    ) -> Self {
        Self {
            addresses,
            bearer: None,
            run,
            orders_per_second: rate,
            history,
            effects,
            violations: Violations::default(),
            stop: AtomicBool::new(false),
            told: false,
            began: Instant::now(),
            calm: Mutex::new(None),
            acknowledged: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
            recent: Mutex::new(VecDeque::new()),
        }
    }

    /// Tells how far the run is.
    pub(crate) fn tell(&self, what: &str) {
        if self.told {
            println!("  {:4.0} s  {what}", self.began.elapsed().as_secs_f64());
        }
    }

    /// Whom to ask about orders.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// From now on every order must be taken in at its first request, though this is away; none: it need not.
    pub(crate) fn set_calm(&self, away: Option<&'static str>) {
        let calm = away.map(|away| Calm { away, since: Instant::now() });
        *self.calm.lock().unwrap_or_else(PoisonError::into_inner) = calm;
    }

    /// A request was refused for now, or broke off on a connection that was last of use at `used`: nothing wrong with
    /// that, but in calm, unless the connection is of a process that was killed before.
    pub(super) fn put_off(&self, subject: &str, why: &str, used: Option<Instant>) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
        if let Some(calm) = &*self.calm.lock().unwrap_or_else(PoisonError::into_inner)
            && used.is_none_or(|used| used > calm.since)
        {
            let detail = format!("{why}, while nothing but {} was away", calm.away);
            self.violations.add(Kind::Intake, subject, detail);
        }
    }

    /// Writes the intent down and lets other clients repeat the order.
    fn place(&self, order: Order) -> Result<Arc<Placed>> {
        self.history.intent(&order)?;
        let placed = Placed { order, order_id: OnceLock::new(), created: AtomicUsize::new(0) };
        let placed = Arc::new(placed);
        self.remember(&placed);
        Ok(placed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn backlog(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed).saturating_sub(self.effects.taken())
    }

    fn remember(&self, placed: &Arc<Placed>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(placed));
    }

    fn some_recent(&self, rng: &mut Rng) -> Option<Arc<Placed>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let last = recent.len().checked_sub(1)?;
        recent.get(rng.between(0, last as u64) as usize).map(Arc::clone)
    }
}

/// Starts `count` clients; they end soon after `stage.stop`, with every order of theirs answered.
pub(crate) fn start(stage: &Arc<Stage>, count: usize, rng: &Rng) -> Vec<thread::JoinHandle<Result<()>>> {
    (0..count)
        .map(|id| {
            let (stage, rng) = (Arc::clone(stage), rng.fork(1_000 + id as u64));
            thread::spawn(move || run(&stage, id, count, rng))
        })
        .collect()
}

/// The servers as one client uses them: one at a time, and the next one when it does not do what is asked.
pub(super) struct Servers {
    /// Each with the moment at which it was last of use.
    clients: Vec<(Client, Instant)>,
    at: usize,
}

impl Servers {
    pub(super) fn new(addresses: &[SocketAddr], first: usize) -> Self {
        let client = |address: &SocketAddr| Client::new(*address, Duration::from_secs(10));
        let clients = addresses.iter().map(|address| (client(address), Instant::now()));
        Self { clients: clients.collect(), at: first }
    }

    fn current(&mut self) -> &mut (Client, Instant) {
        let count = self.clients.len();
        &mut self.clients[self.at % count]
    }

    /// Asks the current one; without an answer, when its connection was last of use.
    pub(super) fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Client) -> io::Result<T>,
    ) -> Result<T, (io::Error, Instant)> {
        let (client, used) = self.current();
        if used.elapsed() > IDLE_MAX {
            client.hang_up();
        }
        let answer = ask(client).map_err(|fault| (fault, *used))?;
        *used = Instant::now();
        Ok(answer)
    }

    pub(super) fn change(&mut self) {
        self.at += 1;
    }
}

fn run(stage: &Stage, id: usize, count: usize, mut rng: Rng) -> Result<()> {
    let mut client = Servers::new(&stage.addresses, id);
    let pause_us = 1_000_000 * count as u64 / stage.orders_per_second.max(1) as u64;
    let mut n = 0;
    while !stage.stopped() {
        // One in twenty repeats an order of another client, which may be in flight at this moment; one in fifty is a
        // bulk request.
        let again = stage.some_recent(&mut rng).filter(|_| rng.chance(5));
        let count = if again.is_none() && rng.chance(2) { rng.between(2, BULK_LINES_MAX) } else { 1 };
        // Else all would stay with the one that was killed least lately.
        if rng.chance(30) {
            client.change();
        }
        let mut new = Vec::new();
        for _ in 0..if again.is_some() { 0 } else { count } {
            let order = Order::generate(&stage.run, id, n, &mut rng);
            n += 1;
            new.push(stage.place(match count {
                1 if stage.bearer.is_some() && rng.chance(30) => order.in_sales(&mut rng),
                1 => order,
                _ => order.in_bulk(),
            })?);
        }
        let (lines, single): (Vec<_>, Vec<_>) =
            new.into_iter().chain(again).partition(|placed| count > 1 && placed.order.door == Door::Bulk);
        if !lines.is_empty() {
            bulk::insist(stage, &mut client, lines)?;
        }
        for placed in single {
            insist(stage, &mut client, &placed)?;
        }
        thread::sleep(Duration::from_micros(rng.between(0, 2 * pause_us * count)));
        while stage.backlog() > BACKLOG_MAX && !stage.stopped() {
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

impl Placed {
    /// Whether an acknowledgement of it is on the disk.
    pub(super) fn known(&self) -> bool {
        self.order_id.get().is_some()
    }
}

/// Sends the order until it is acknowledged or refused for good.
fn insist(stage: &Stage, client: &mut Servers, placed: &Placed) -> Result<()> {
    let (path, body) = placed.order.request();
    let header = placed.order.header(stage.bearer.as_deref().unwrap_or_default());
    let began = Instant::now();
    loop {
        let known_before = placed.known();
        let (why, used) = match client.ask(|client| client.post_with(header, path, &body)) {
            Ok(reply) if placed.order.is_there(reply.status) => {
                return acknowledge(stage, placed, &reply, known_before);
            }
            // Try again later: overload, a database that is away, an outcome that the server does not know.
            Ok(reply) if matches!(reply.status, 408 | 429 | 503 | 504) => {
                thread::sleep(Duration::from_millis(50));
                (format!("{} {}", reply.status, reply.text()), None)
            }
            Ok(reply) => {
                let detail =
                    format!("{} to {}: {}", reply.status, String::from_utf8_lossy(&body), reply.text());
                stage.violations.add(Kind::Refused, &placed.order.reference, detail);
                return Ok(());
            }
            Err((fault, used)) => {
                thread::sleep(Duration::from_millis(10));
                (fault.to_string(), Some(used))
            }
        };
        stage.put_off(&placed.order.reference, &why, used);
        client.change();
        if began.elapsed() > PATIENCE {
            stage.violations.add(Kind::Refused, &placed.order.reference, "no answer for a long time");
            return Ok(());
        }
    }
}

fn acknowledge(stage: &Stage, placed: &Placed, reply: &Reply, known_before: bool) -> Result<()> {
    let order = &placed.order;
    let answer = match reply.json() {
        Ok(answer) => answer,
        Err(fault) => {
            stage.violations.add(Kind::Content, &order.reference, fault.to_string());
            return Ok(());
        }
    };
    let order_id = match order.acknowledged_id(&answer) {
        Ok(order_id) => order_id,
        Err(wrong) => {
            stage.violations.add(Kind::Content, &order.reference, format!("acknowledged with {wrong}"));
            return Ok(());
        }
    };
    acknowledged(stage, placed, order_id, reply.status, known_before)
}

/// Writes down that the order is there, and checks that it is new but once.
pub(super) fn acknowledged(
    stage: &Stage,
    placed: &Placed,
    order_id: String,
    status: u16,
    known_before: bool,
) -> Result<()> {
    let order = &placed.order;
    stage.history.acknowledged(order, &order_id, status)?;
    let first = placed.order_id.set(order_id.clone()).is_ok();
    if first {
        stage.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    if placed.order_id.get() != Some(&order_id) {
        stage.violations.add(Kind::Double, &order.reference, format!("a second order {order_id}"));
    }
    let created = usize::from(status == 201);
    if placed.created.fetch_add(created, Ordering::Relaxed) + created > 1 || (known_before && created > 0) {
        stage.violations.add(Kind::Double, &order.reference, "new (201) after it had been acknowledged");
    }
    Ok(())
}
