//! Carrying webhooks: fan-out, and the courier that delivers. Both begin with the first endpoint there is: an installation
//! without any pays nothing for them.

use crate::config::{Mode, Role, Settings};
use crate::seldom::Seldom;
use crate::shutdown::Stop;
use crate::{following, trust};
use futures_util::future::join_all;
use order_core::App;
use order_core::follow::{Follower, FollowerPolicy};
use order_core::ports::Deliverer;
use order_core::webhook::FOLLOWER;
use order_core::webhook::courier::{Courier, CourierPolicy};
use order_core::webhook::fan_out::FanOut;
use outbound::{Opened, Rules, SystemResolver, WebhookClient};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Between two looks for the first endpoint.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest wait for the addresses of a server's name.
const LOOK_UP_MAX: Duration = Duration::from_secs(2);

/// Between two lines of the log about looks that fail.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Where this process listens, and where the servers are that it uses, `database` among them (`HOST:PORT/NAME`): nobody makes it
/// call those. Their names are looked up once, all together.
pub(crate) async fn own(
    settings: &Settings,
    database: &str,
    listener: &TcpListener,
    ops: Option<&TcpListener>,
) -> Vec<SocketAddr> {
    let listening = std::iter::once(listener).chain(ops).filter_map(|listener| listener.local_addr().ok());
    let listening = listening.chain(settings.further_addresses().map(|(_, address)| address));
    let found = join_all(servers(settings, database).iter().map(|server| look_up(server))).await;
    listening.chain(found.into_iter().flatten()).collect()
}

async fn look_up(server: &str) -> Vec<SocketAddr> {
    match timeout(LOOK_UP_MAX, lookup_host(server)).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            tracing::warn!(server, %error, "has no address: webhooks are not kept from it");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(server, "is not looked up in time: webhooks are not kept from it");
            Vec::new()
        }
    }
}

/// The database, the brokers and Redis, each as `HOST:PORT`.
fn servers(settings: &Settings, database: &str) -> Vec<String> {
    // One that is reached through a socket of this machine has a path for its host.
    let database = database.split('/').next().filter(|_| settings.database.text().is_some());
    let lists = [database.unwrap_or_default(), &settings.kafka.brokers];
    let lists = lists.into_iter().flat_map(|list| list.split(',')).map(str::trim);
    let urls = [(&settings.rabbitmq.url, 5672), (&settings.redis.url, 6379)];
    let urls = urls.into_iter().filter_map(|(url, port)| {
        let uri: http::Uri = url.text()?.parse().ok()?;
        Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(port)))
    });
    lists.filter(|server| !server.is_empty()).map(str::to_owned).chain(urls).collect()
}

/// What carries deliveries, called by nobody yet. A server for others calls `https` on public addresses and what
/// `outbound.open_networks` names, a developer's own also `http` and loopback; neither calls `own`.
///
/// # Errors
/// When `tls.ca_file` cannot be used.
pub(crate) fn deliverer(
    mode: Mode,
    settings: &Settings,
    own: Vec<SocketAddr>,
) -> anyhow::Result<Arc<dyn Deliverer>> {
    let open = &settings.outbound.open_networks;
    let opened = (!open.is_empty()).then(|| {
        let open = open.clone();
        Arc::new(move |ip: IpAddr| open.iter().any(|network| network.holds(ip))) as Opened
    });
    let rules = match mode {
        Mode::Dev => Rules::of_dev(opened, own),
        Mode::Serve | Mode::Client => {
            let rules = Rules::strict(settings.outbound.ports.clone(), opened, own);
            if settings.outbound.challenge { rules } else { rules.unchallenged() }
        }
    };
    Ok(Arc::new(WebhookClient::new(rules, Arc::new(SystemResolver), &trust::of(settings)?)?))
}

/// Gives the process its way to receivers, and where it has the role, starts to carry.
///
/// # Errors
/// As [`deliverer`].
pub(crate) fn start(
    mode: Mode,
    settings: &Settings,
    own: Vec<SocketAddr>,
    app: &Arc<App>,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let open = &settings.outbound.open_networks;
    if mode == Mode::Serve && !open.is_empty() {
        tracing::warn!(networks = ?open, "receivers of webhooks are called in networks that are not public");
    }
    let deliverer = deliverer(mode, settings, own)?;
    app.deliver_with(Arc::clone(&deliverer));
    if settings.has_role(Role::Relay) {
        let (app, policy, drain) = (Arc::clone(app), following::policy(settings), settings.shutdown_drain);
        tasks.spawn(carry(app, deliverer, policy, drain, stop.subscribe()));
    }
    Ok(())
}

/// Carries webhooks until `stop`; what is on its way then is waited for, for at most `drain`.
async fn carry(
    app: Arc<App>,
    deliverer: Arc<dyn Deliverer>,
    policy: FollowerPolicy,
    drain: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut said = Seldom::every(SAY_EVERY);
    loop {
        match app.storage.follower(FOLLOWER).await {
            Ok(Some(_)) => break,
            Ok(None) => {}
            Err(error) if said.due(Instant::now()) => {
                tracing::warn!(%error, "cannot look for endpoints of webhooks yet");
            }
            Err(_) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = app.wakes.deliveries.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    let sink = Arc::new(FanOut::new(Arc::clone(&app)));
    let follower = Follower::new(Arc::clone(&app), FOLLOWER, sink, policy);
    let courier = Courier::new(app, deliverer, CourierPolicy::default());
    tokio::join!(follower.run(stop.clone()), courier.run(stop, drain));
}
