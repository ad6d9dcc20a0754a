//! Tenants side by side: what one reads is neither longer nor slower for what another has, and tells nothing of it.

use super::Rig;
use crate::build::{intake, tenant};
use order_core::ids::TenantId;
use order_core::intake::Intake;
use order_core::listing::Search;
use order_core::order::Order;
use order_core::query::OrderQuery;
use order_core::state::Processing;

/// More than a page looks at, however it looks.
const MANY: usize = 5_200;

async fn take_in(rig: &Rig, owner: &str, count: usize) {
    let intakes = (0..count).map(|_| intake("none").no_reference().no_lines().tenant(owner).build());
    let intakes: Vec<Intake> = intakes.collect();
    // Not all at once: a slow machine sheds what waits for too long.
    for some in intakes.chunks(400) {
        rig.new_orders(some.to_vec()).await;
    }
}

fn ids(orders: &[Order]) -> Vec<String> {
    orders.iter().map(|order| order.id.to_string()).collect()
}

/// However many of others' ids begin as one's own do: no page is spent on them, and none is named by a cursor.
pub async fn a_search_by_id_walks_along_ones_own_ids_alone(rig: Rig) {
    // Ids without a reference begin with the time, which stands still here.
    take_in(&rig, "acme", 700).await;
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(rig.new_order(intake("none").no_reference()).await);
    }
    take_in(&rig, "acme", 700).await;
    let mut expected = ids(&own);
    expected.sort();
    let time = &expected[0][..13];
    for text in [&time[..1], &time[..4], &time[..8], time, &time.to_uppercase()] {
        for limit in [1, 2, 3, 200] {
            let query = OrderQuery::all(TenantId::default_tenant(), limit, rig.now());
            let mut search = Search { query, text: text.to_owned(), after: None };
            let (mut found, mut pages) = (Vec::new(), 0);
            loop {
                let page = rig.storage().search(&search).await.expect("a page");
                found.extend(ids(&page.orders));
                pages += 1;
                search.after = page.next;
                let Some(next) = &search.after else { break };
                assert!(expected.contains(&next.value), "{text}: a cursor names another's order");
            }
            assert_eq!(found, expected, "{text}, {limit} a page");
            assert!(pages <= 3, "{text}, {limit} a page: {pages} pages of three orders");
        }
    }
}

/// One page shows a few orders, and that there are none, however many others have, whichever sources they came from.
pub async fn a_list_is_as_long_as_ones_own_orders(rig: Rig) {
    let mut own: Vec<Order> = Vec::new();
    for index in 0..20 {
        own.push(rig.new_order(intake("o").source(&format!("s-{index}")).tenant("small")).await);
    }
    take_in(&rig, "acme", MANY).await;
    own.reverse();
    for (owner, expected) in [("small", own), ("none", Vec::new())] {
        let all = OrderQuery::all(tenant(owner), 200, rig.now());
        let page = rig.storage().orders(&all).await.expect("a page");
        assert_eq!((&page.orders, page.next), (&expected, None), "{owner}");
        for query in [
            OrderQuery { processing: Some(Processing::Queued), ..all.clone() },
            OrderQuery { withdrawn: Some(false), ..all.clone() },
        ] {
            let page = rig.storage().orders(&query).await.expect("a page");
            assert_eq!((&page.orders, page.next), (&expected, None), "{owner}: {query:?}");
        }
        for query in [
            OrderQuery { processing: Some(Processing::Done), ..all.clone() },
            OrderQuery { processing: Some(Processing::Running), ..all.clone() },
            OrderQuery { processing: Some(Processing::Parked), ..all.clone() },
            OrderQuery { withdrawn: Some(true), ..all.clone() },
        ] {
            let page = rig.storage().orders(&query).await.expect("a page");
            assert_eq!((page.orders, page.next), (Vec::new(), None), "{owner}: {query:?}");
        }
    }
}
