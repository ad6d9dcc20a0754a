//! Texts lead to orders before they are packed, while they are and afterwards; and what is erased leads nowhere.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::lane::LanePolicy;
use order_core::listing::Search;
use order_core::order::Order;
use order_core::ports::Storage;
use order_core::query::OrderQuery;
use order_core::{App, audit};
use std::sync::Arc;
use storage_postgres::PostgresStorage;
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};

struct Rig {
    url: String,
    app: Arc<App>,
}

async fn rig() -> Rig {
    let url = installed().await;
    let (clock, ids) = (ManualClock::new(), SeededIds::new(5));
    let storage: Arc<dyn Storage> = Arc::new(PostgresStorage::open(&options(&url), &seed()).await.unwrap().0);
    Rig { app: App::start(storage, clock, ids, LanePolicy::default()), url }
}

impl Rig {
    fn query(&self, customer: Option<&str>) -> OrderQuery {
        OrderQuery {
            customer: customer.map(str::to_owned),
            ..OrderQuery::all(tenant("default"), 7, self.app.clock.now())
        }
    }

    /// The references of all orders that a text leads to, in order.
    async fn search(&self, text: &str) -> Vec<String> {
        let mut search = Search { query: self.query(None), text: text.to_owned(), after: None };
        let mut found = Vec::new();
        loop {
            let page = self.app.storage.search(&search).await.unwrap();
            found.extend(page.orders.iter().map(reference));
            search.after = page.next;
            if search.after.is_none() {
                return found;
            }
        }
    }

    /// The references of all orders of a customer, newest first.
    async fn of_customer(&self, customer: &str) -> Vec<String> {
        let mut query = self.query(Some(customer));
        let mut found = Vec::new();
        loop {
            let page = self.app.storage.orders(&query).await.unwrap();
            found.extend(page.orders.iter().map(reference));
            query.before = page.next;
            if page.next.is_none() {
                return found;
            }
        }
    }

    /// Waits until the packer has left no more than so many rows.
    async fn packed(&self, most: i64) -> i64 {
        let admin = client(&self.url).await;
        loop {
            let rows = admin.query_one("SELECT count(*) FROM term_tail", &[]).await.unwrap();
            if rows.get::<_, i64>(0) <= most {
                let runs = admin.query_one("SELECT count(*) FROM term_runs", &[]).await.unwrap();
                return runs.get(0);
            }
            tokio::task::yield_now().await;
        }
    }
}

fn reference(order: &Order) -> String {
    order.reference.as_ref().unwrap().as_str().to_owned()
}

/// More commits than are left unpacked, several times over, so that runs are merged too.
const ORDERS: usize = 1_300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_lead_to_orders_whatever_is_packed() {
    let rig = rig().await;
    let (mut all, mut of_three) = (Vec::new(), Vec::new());
    for index in 0..ORDERS {
        let (name, customer) = (format!("r-{index:05}"), format!("c-{}", index % 7));
        rig.app.accept(intake(&name).no_lines().customer(Some(&customer)).build()).await.unwrap();
        if index % 7 == 3 {
            of_three.push(name.clone());
        }
        all.push(name);
        if index % 211 == 0 {
            assert_eq!(rig.search("r-").await, all, "after {index}");
            let newest_first: Vec<String> = of_three.iter().rev().cloned().collect();
            assert_eq!(rig.of_customer("c-3").await, newest_first, "after {index}");
        }
    }
    let runs = rig.packed(64).await;
    assert!((1..=16).contains(&runs), "{runs} runs of {ORDERS} commits: they are merged");
    assert_eq!(rig.search("r-").await, all);
    assert_eq!(rig.search("r-0007").await, all[70..80]);
    let found: std::collections::BTreeSet<String> = rig.search("c-3").await.into_iter().collect();
    assert_eq!(found, of_three.into_iter().collect());
    let report = audit::audit(&rig.app, |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_customer_is_in_no_entry() {
    let rig = rig().await;
    let mut orders = Vec::new();
    for index in 0..200 {
        let customer = if index % 3 == 0 { "canary" } else { "kept" };
        let sent = intake(&format!("r-{index:03}")).no_lines().customer(Some(customer)).build();
        orders.push(id_of(&sent));
        rig.app.accept(sent).await.unwrap();
    }
    rig.packed(64).await;
    for order_id in orders.iter().step_by(3) {
        let target =
            Target { tenant: tenant("default"), source: None, order_id: *order_id, expected_version: None };
        rig.app.change(target, ChangeKind::Erase).await.unwrap();
    }
    assert_eq!(rig.of_customer("canary").await, Vec::<String>::new());
    assert_eq!(rig.of_customer("kept").await.len(), 133);
    let admin = client(&rig.url).await;
    for sql in [
        "SELECT count(*) FROM term_tail WHERE 'canary' = ANY (customers)",
        "SELECT count(*) FROM term_blocks WHERE 'canary' = ANY (texts) OR last = 'canary'",
    ] {
        assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0, "{sql}");
    }
    let kept = "SELECT count(*) FROM term_blocks WHERE 'kept' = ANY (texts)";
    assert!(admin.query_one(kept, &[]).await.unwrap().get::<_, i64>(0) > 0, "what is kept was packed");
    let report = audit::audit(&rig.app, |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
}
