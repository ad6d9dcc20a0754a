//! All that can be read of a storage, to compare one with another, or with itself after a restart.

use order_core::clock::Timestamp;
use order_core::external::ExternalId;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::{Event, Head};
use order_core::lease::Work;
use order_core::order::Order;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::ports::Storage;
use order_core::query::{Backlog, FollowerRow, OrderDossier, OrderQuery, Tally};
use order_core::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use order_core::state::Processing;
use std::collections::BTreeSet;

/// External ids of customer `c-42` that are looked for.
pub const EXTERNALS: [&str; 2] = ["e-1", "e-2"];

/// What every read of a storage gives at one moment.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "compared as text, so that amounts keep their digits and a difference can be shown"
)]
pub struct Dump {
    heads: Vec<Head>,
    journal: Vec<Event>,
    dossiers: Vec<OrderDossier>,
    work: Vec<(Work, Option<bool>)>,
    followers: Vec<FollowerRow>,
    parked_streams: Vec<ParkedStream>,
    tenants: Vec<TenantDump>,
    tallies: Vec<(String, String, Tally)>,
    redrives: Vec<(Option<Redrive>, Vec<RedriveItem>)>,
    open_redrives: BTreeSet<RedriveId>,
    backlog: Backlog,
}

#[derive(Debug)]
#[expect(dead_code, reason = "compared as text")]
struct TenantDump {
    tenant: TenantId,
    orders: Vec<Order>,
    by_processing: Vec<(Processing, Vec<OrderId>)>,
    by_number: Vec<Option<OrderId>>,
    by_external: Vec<Option<OrderId>>,
    parked: BoundedCount,
    tallies: Vec<(SourceId, Tally)>,
}

impl Dump {
    /// Reads everything; `redrives` names the jobs to read.
    pub async fn of(storage: &dyn Storage, redrives: &[(TenantId, RedriveId)], now: Timestamp) -> Self {
        let mut dump = Self {
            heads: storage.heads().await.expect("heads"),
            journal: Vec::new(),
            dossiers: Vec::new(),
            work: Vec::new(),
            followers: storage.followers().await.expect("followers"),
            parked_streams: Vec::new(),
            tenants: Vec::new(),
            tallies: storage.audit_beginning().await.expect("tallies").tallies,
            redrives: Vec::new(),
            open_redrives: storage.open_redrives().await.expect("redrives").into_iter().collect(),
            // How long a log is, is a storage's own affair.
            backlog: Backlog { log_pages: None, ..storage.backlog(now).await.expect("a backlog") },
        };
        // A tally of nothing may be kept or not.
        dump.tallies.retain(|(_, _, tally)| *tally != Tally::default());
        dump.tallies.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        for shard in (0..storage.install().shards).map(Shard) {
            dump.journal.extend(storage.journal(shard, 0, 1_000_000).await.expect("a journal"));
        }
        for row in &dump.followers {
            let all = WhichStreams::Page { after: None, limit: 1_000_000 };
            dump.parked_streams.extend(storage.parked_streams(&row.name, &all).await.expect("parked orders"));
        }
        dump.dossiers = all_orders(storage).await;
        let work = storage.audit_work(i64::MIN, 1_000_000).await.expect("work").rows;
        dump.work = work.into_iter().map(|fact| (fact.work, fact.wanted)).collect();
        dump.work.sort_by_key(|(work, _)| work.order_id);
        let owners: BTreeSet<TenantId> = dump.dossiers.iter().map(|it| it.order.tenant.clone()).collect();
        for tenant in owners {
            let sources: BTreeSet<SourceId> =
                dump.dossiers.iter().map(|it| it.order.source.clone()).collect();
            let numbers: Vec<i64> = dump.dossiers.iter().map(|it| it.order.number).collect();
            dump.tenants.push(TenantDump::of(storage, tenant, sources, &numbers, now).await);
        }
        for (tenant, redrive_id) in redrives {
            let job = storage.redrive(tenant, *redrive_id).await.expect("a job");
            let items = storage.redrive_items(*redrive_id, 0, 1_000_000).await.expect("items");
            dump.redrives.push((job, items));
        }
        dump
    }

    /// Leaves out where redrive jobs go on, which is each storage's own affair.
    pub fn forget_places(&mut self) {
        for (job, _) in &mut self.redrives {
            *job = job.take().map(crate::model::without_place);
        }
    }

    /// The first lines that differ; `None` when all are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        // The short form is the cheap one; the long one is for people.
        if format!("{self:?}") == format!("{other:?}") {
            return None;
        }
        let (this, that) = (format!("{self:#?}"), format!("{other:#?}"));
        let (mut this_lines, mut that_lines) = (this.lines(), that.lines());
        let mut before: Vec<&str> = Vec::new();
        loop {
            match (this_lines.next(), that_lines.next()) {
                (None, None) => return None,
                (one, another) if one == another => before.extend(one),
                (one, another) => {
                    let near = before.len().saturating_sub(12);
                    let near = before[near..].join("\n");
                    return Some(format!("after\n{near}\none has {one:?}, the other {another:?}"));
                }
            }
        }
    }
}

/// Every order, with all that belongs to it.
async fn all_orders(storage: &dyn Storage) -> Vec<OrderDossier> {
    let (mut dossiers, mut after) = (Vec::new(), i64::MIN);
    loop {
        let page = storage.audit_orders(after, 1_000_000).await.expect("orders");
        assert_eq!(page.unreadable, [], "everything reads");
        dossiers.extend(page.rows.into_iter().map(|audited| audited.dossier));
        let Some(last) = page.last else { return dossiers };
        after = last;
    }
}

impl TenantDump {
    async fn of(
        storage: &dyn Storage,
        tenant: TenantId,
        sources: BTreeSet<SourceId>,
        numbers: &[i64],
        now: Timestamp,
    ) -> Self {
        let parked = storage.count_parked(&tenant, &RedriveFilter::default()).await.expect("a count");
        let (mut tallies, mut by_external) = (Vec::new(), Vec::new());
        for source in sources {
            for text in EXTERNALS {
                let (tenant, source) = (tenant.clone(), source.clone());
                let external =
                    ExternalId { tenant, source, customer: "c-42".to_owned(), text: text.to_owned() };
                let order = storage.order_by_external(&external).await.expect("an order");
                by_external.push(order.map(|order| order.id));
            }
            tallies.push((source.clone(), storage.tally(&tenant, &source, now).await.expect("a tally")));
        }
        let mut by_number = Vec::new();
        for number in numbers {
            let order = storage.order_by_number(&tenant, *number).await.expect("an order");
            by_number.push(order.map(|order| order.id));
        }
        let mut by_processing = Vec::new();
        for &processing in Processing::ALL {
            let orders = list(storage, &tenant, Some(processing), now).await;
            by_processing.push((processing, orders.into_iter().map(|order| order.id).collect()));
        }
        let orders = list(storage, &tenant, None, now).await;
        Self { tenant, orders, by_processing, by_number, by_external, parked, tallies }
    }
}

async fn list(
    storage: &dyn Storage,
    tenant: &TenantId,
    processing: Option<Processing>,
    now: Timestamp,
) -> Vec<Order> {
    let mut query = OrderQuery { processing, ..OrderQuery::all(tenant.clone(), 7, now) };
    let mut orders = Vec::new();
    loop {
        let page = storage.orders(&query).await.expect("a page");
        orders.extend(page.orders);
        query.before = page.next;
        if page.next.is_none() {
            return orders;
        }
    }
}
