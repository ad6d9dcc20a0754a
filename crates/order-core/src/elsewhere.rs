//! Orders whose work is done elsewhere: another program learns of them by itself, and says when it is done with one, without a
//! lease ([`ChangeKind::Finish`](crate::command::ChangeKind::Finish)).
//!
//! Their work has a row as all open work has. Whoever claims it here puts it off and goes on with the rest: two writes of a
//! narrow row each [`PUT_OFF`], whatever the storage, and nothing that other claims pay for. So work that was left
//! elsewhere is taken up here, at most that much later, once the settings no longer leave it there.

use crate::app::App;
use crate::error::{Error, Rejection};
use crate::ids::SourceId;
use crate::lease::{Leased, Outcome};
use crate::order::Order;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

/// For how long such work is left alone. Less than what an audit takes for lost.
pub const PUT_OFF: Duration = Duration::from_secs(3_600);

/// Which orders those are. The same on every node, or some of them do the work all the same.
#[derive(Debug, Default)]
pub struct Elsewhere {
    sources: OnceLock<BTreeSet<SourceId>>,
    orders: OnceLock<fn(&Order) -> bool>,
}

impl Elsewhere {
    /// Says, once, before anything is claimed, that all orders of some sources are.
    pub fn set(&self, sources: impl IntoIterator<Item = SourceId>) {
        // Who comes second has come too late to be heard: what was claimed cannot be taken back.
        drop(self.sources.set(sources.into_iter().collect()));
    }

    /// Says, once, before anything is claimed, which orders are besides, whatever their source: those of which whoever took
    /// them in has not done all yet that must be done before anybody works on them.
    pub fn set_orders(&self, are: fn(&Order) -> bool) {
        self.orders.get_or_init(|| are);
    }

    /// Whether this order is worked on elsewhere.
    pub fn has(&self, order: &Order) -> bool {
        self.sources.get().is_some_and(|sources| sources.contains(&order.source))
            || self.orders.get().is_some_and(|are| are(order))
    }

    /// Takes such work out of what was leased.
    pub(crate) fn split(&self, leased: &mut Vec<Leased>) -> Vec<Leased> {
        leased.extract_if(.., |leased| self.has(&leased.order)).collect()
    }
}

impl App {
    /// Gives back what is done elsewhere, due later.
    pub(crate) async fn put_off(&self, leased: &[Leased]) {
        let now = self.clock.now();
        let put_off = |leased: &Leased| {
            let outcome = Outcome::PutOff { at: now.plus(PUT_OFF) };
            self.settle(leased.order.id, leased.token, outcome, now)
        };
        // All at once, so that they share a commit.
        for settled in futures_util::future::join_all(leased.iter().map(put_off)).await {
            match settled {
                // It was done meanwhile.
                Ok(_) | Err(Error::Rejection(Rejection::LeaseLost | Rejection::OrderUnknown)) => {}
                Err(error) => tracing::warn!(%error, "cannot put work off; its lease runs out by itself"),
            }
        }
    }
}
