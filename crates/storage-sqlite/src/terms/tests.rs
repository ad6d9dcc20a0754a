#![expect(clippy::unwrap_used, reason = "tests")]

use super::entry::{Field, beginning, entry, number, whole};
use super::*;

use order_core::TenantId;
use uuid::Uuid;

struct Bed {
    conn: Connection,
    terms: Terms,
    newest: i64,
    /// What must be found.
    model: BTreeSet<Entry>,
}

impl Bed {
    fn new() -> Self {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../migrations/0001_init.sql")).unwrap();
        Self { conn, terms: Terms::default(), newest: 0, model: BTreeSet::new() }
    }

    /// Orders of some customers, each with a reference of its own: their rows, in a transaction that commits.
    fn accept(&mut self, orders: usize) {
        let mut entered = Vec::new();
        for _ in 0..orders {
            self.newest += 1;
            let (number, tenant) = (self.newest, ["a", "ab"][usize::from(self.newest % 5 == 0)]);
            let reference = Reference::new(&format!("r-{}", number.wrapping_mul(7_919) % 1_000_003)).unwrap();
            let id = OrderId(Uuid::from_u128(u128::from(number.unsigned_abs()).wrapping_mul(u128::MAX / 97)));
            let (customer, source) = (format!("c-{}", number % 97), SourceId::new("api").unwrap());
            self.conn
                .execute(
                    "INSERT INTO orders (number, shard, order_id, tenant, source, reference, digest, customer, lines, total, \
                     attributes, version, processing, fulfilment, withdrawn, attempt, accepted_at, updated_at, cause, \
                     last_position) VALUES (?1, 0, ?5, ?2, 'api', ?3, x'', ?4, '[]', '1', '{}', 1, 'done', 'unshipped', \
                     0, 0, 0, 0, x'', 1)",
                    params![number, tenant, reference.as_str(), customer, id.0.as_bytes()],
                )
                .unwrap();
            let tenant = TenantId::new(tenant).unwrap();
            entered.extend(of_texts(&tenant, id, &source, Some(reference.as_str()), Some(&customer), number));
        }
        self.model.extend(entered.iter().cloned());
        self.terms.enter(orders, self.newest, entered);
    }

    fn write(&self, orders: usize) -> bool {
        let slice = self.terms.slice(orders, &BTreeSet::new());
        slice.write(&self.conn).unwrap();
        self.terms.written(&slice);
        !slice.is_empty()
    }

    fn walked(&self, beginning: &[u8], from: &[u8], limit: usize) -> Vec<Entry> {
        let waiting = self.terms.begin(&self.conn, beginning.to_vec(), from.to_vec(), limit).unwrap();
        let mut walk = waiting.walk(&self.conn).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = walk.next().unwrap() {
            entries.push(entry.into());
        }
        assert_eq!(walk.is_cut(), entries.len() == limit);
        entries
    }

    fn check(&self) {
        for (tenant, field, text) in [
            ("a", Field::Customer, "c-1"),
            ("ab", Field::Customer, "c-1"),
            ("a", Field::Reference, "r-77"),
            ("a", Field::Source, "api"),
            ("a", Field::Source, ""),
            ("a", Field::Tenant, ""),
            ("ab", Field::Id, ""),
            ("b", Field::Customer, ""),
        ] {
            let tenant = TenantId::new(tenant).unwrap();
            for begins in [beginning(&tenant, field, text), whole(&tenant, field, text)] {
                let all = self.model.range::<[u8], _>((Bound::Included(&begins[..]), Bound::Unbounded));
                let all: Vec<_> = all.take_while(|entry| entry.starts_with(&begins)).cloned().collect();
                assert_eq!(self.walked(&begins, &begins, 100_000), all, "{tenant} {field:?} {text}");
                let middle = all.get(all.len() / 2).map_or(begins.clone(), |entry| entry.to_vec());
                let behind: Vec<_> = all.into_iter().filter(|entry| **entry >= *middle).take(7).collect();
                assert_eq!(self.walked(&begins, &middle, 7), behind, "from the middle of {field:?} {text}");
            }
        }
    }

    fn runs(&self) -> i64 {
        self.conn.query_row("SELECT count(*) FROM term_runs", [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn entries_are_found_before_during_and_after_they_are_written() {
    let mut bed = Bed::new();
    bed.accept(RUN - 1);
    assert!(!bed.write(1), "a run that fills is left alone");
    bed.check();
    bed.accept(1);
    let mut slices = 0;
    while bed.write(100) {
        slices += 1;
        if slices % 10 == 1 {
            bed.accept(20);
            bed.check();
        }
    }
    assert!(slices > 10 && bed.runs() == 1, "{slices} slices");
    bed.check();
    for _ in 0..2 {
        bed.accept(RUN);
        while bed.write(5_000) {}
    }
    assert_eq!(bed.runs(), 3);
    bed.check();
}

#[test]
fn what_was_not_written_is_read_again() {
    let mut bed = Bed::new();
    bed.accept(RUN + 10);
    bed.write(100);
    bed.write(100);
    // The process dies in the middle of a run, and again in the middle of its second try.
    for _ in 0..2 {
        bed.terms = Terms::load(&bed.conn).unwrap();
        bed.check();
        bed.write(100);
    }
    while bed.write(1_000) {}
    assert_eq!(bed.runs(), 1);
    bed.check();
    bed.terms = Terms::load(&bed.conn).unwrap();
    bed.check();
    bed.terms = Terms::following();
    bed.check();
}

#[test]
fn an_audit_sees_that_a_text_leads_nowhere() {
    let mut bed = Bed::new();
    bed.accept(RUN + 5);
    while bed.write(5_000) {}
    let sql = "UPDATE orders SET digest = zeroblob(32), cause = zeroblob(16)";
    bed.conn.execute(sql, []).unwrap();
    let order = |number| crate::apply::load_number(&bed.conn, number).unwrap().unwrap().0;
    assert!(
        [1, 77, RUN_ORDERS, RUN_ORDERS + 5]
            .map(order)
            .iter()
            .all(|order| bed.terms.lead_to(&bed.conn, order).unwrap())
    );
    bed.conn.execute("DELETE FROM term_blocks", []).unwrap();
    let found = [1, 77, RUN_ORDERS, RUN_ORDERS + 5]
        .map(|number| bed.terms.lead_to(&bed.conn, &order(number)).unwrap());
    assert_eq!(found, [false; 4]);
}

#[test]
fn what_is_erased_is_nowhere() {
    let mut bed = Bed::new();
    bed.accept(RUN);
    bed.write(100);
    bed.accept(100);
    let tenant = TenantId::new("a").unwrap();
    // Written already, to be written, waiting; the first of a block too.
    let first: Vec<u8> =
        bed.conn.query_row("SELECT max(first) FROM term_blocks", [], |row| row.get(0)).unwrap();
    let of = |order: i64| entry(&tenant, Field::Customer, &format!("c-{}", order % 97), order).into();
    let mut erased: BTreeSet<Entry> = [1, 97, 8_004, 16_383, RUN_ORDERS - 2, RUN_ORDERS + 1].map(of).into();
    erased.insert(first.into());
    for entry in &erased {
        erase(&bed.conn, entry, number(entry).unwrap()).unwrap();
        bed.model.remove(entry);
    }
    let slice = bed.terms.slice(100, &erased);
    slice.write(&bed.conn).unwrap();
    bed.terms.written(&slice);
    bed.terms.forget(&erased);
    while bed.write(1_000) {}
    bed.check();
    let kept: Vec<Vec<u8>> = {
        let mut rows = bed.conn.prepare("SELECT first, entries FROM term_blocks ORDER BY first").unwrap();
        let rows =
            rows.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
        rows.flat_map(|row| {
            let (first, entries) = row.unwrap();
            let entries = unpack(entries);
            assert_eq!(*entries[0], *first, "a row's key is its first entry");
            entries.into_iter().map(Vec::from)
        })
        .collect()
    };
    assert!(kept.iter().all(|entry| !erased.contains(&entry[..])), "nothing of it is kept");
}

const RUN_ORDERS: i64 = 16_384;
