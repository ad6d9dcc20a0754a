//! Every table is filled by a move, or made by it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, delete, installed};
use std::collections::BTreeSet;
use storage_postgres::{MADE, TAKEN};

/// Whoever adds a table says in `carry` where a move gets its rows from.
#[tokio::test]
async fn every_table_is_taken_over_or_made() {
    let url = installed().await;
    let client = client(&url).await;
    // Parts of `journal` are not tables of their own.
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
               AND relkind IN ('r', 'p') AND NOT relispartition";
    let rows = client.query(sql, &[]).await.unwrap();
    let tables: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let named = TAKEN.iter().copied().chain(MADE.iter().map(|(table, _)| *table));
    assert_eq!(tables, named.map(str::to_owned).collect());
    assert_eq!(tables.len(), TAKEN.len() + MADE.len());
    delete(&url);
}
