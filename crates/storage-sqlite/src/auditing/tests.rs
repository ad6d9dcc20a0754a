#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::terms::entry::of_texts;

/// An order of version 2 of the customer `new`, and what leads to it.
fn revised() -> (Connection, OrderIds, Terms) {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(include_str!("../../migrations/0001_init.sql")).unwrap();
    conn.execute(
        "INSERT INTO orders (number, shard, order_id, tenant, source, digest, customer, lines, total, attributes, version, \
         processing, fulfilment, withdrawn, attempt, accepted_at, updated_at, cause, last_position) VALUES \
         (1, 0, zeroblob(16), 'a', 'api', zeroblob(32), 'new', '[]', '1', '{}', 2, 'done', 'unshipped', 0, 0, 0, 0, \
         zeroblob(16), 0)",
        [],
    )
    .unwrap();
    let (ids, terms) = (OrderIds::default(), Terms::default());
    let order = read(&conn, &ids, &terms);
    ids.enter(vec![(order.id, 1)]);
    terms.enter(
        1,
        1,
        of_texts(&order.tenant, order.id, &order.source, None, Some("new"), 1).into_iter().collect(),
    );
    (conn, ids, terms)
}

fn read(conn: &Connection, ids: &OrderIds, terms: &Terms) -> Order {
    orders(conn, ids, terms, 1, 0, 1).unwrap().rows.remove(0).dossier.order
}

#[test]
fn an_order_that_was_revised_since_it_was_read_is_looked_up_as_it_is_now() {
    let (conn, ids, terms) = revised();
    let mut order = read(&conn, &ids, &terms);
    assert!(found(&conn, &ids, &terms, &order).unwrap());
    order.content.customer = Some("old".to_owned());
    order.version = 1;
    assert!(found(&conn, &ids, &terms, &order).unwrap(), "it was of another customer when it was read");
    order.version = 2;
    assert!(!found(&conn, &ids, &terms, &order).unwrap(), "nothing happened to it, and nothing leads to it");
}
