//! What one storage hands another when all of it is carried over: rows as they lie, under the names of their tables and
//! columns, and what the database says of itself. Neither side knows the other; a name that one of them does not know ends it.

use crate::action_log::chain::Link;
use crate::query::Install;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a column holds in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nothing,
    /// A number; a moment, in microseconds since 1970; whether something is so, as 1 or 0.
    Number(i64),
    /// A text; an amount of money.
    Text(String),
    /// Bytes; an id.
    Bytes(Vec<u8>),
}

/// Some rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Its name.
    pub table: &'static str,
    /// The names of its columns.
    pub columns: Arc<[String]>,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<Value>>,
}

/// What is handed over, piece by piece: table after table, that of events before that of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some rows.
    Rows(Rows),
    /// That was all. Without it something is missing.
    End,
}

/// What a database says of itself to the one that takes it over.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What was written at its install.
    pub install: Install,
    /// What the pepper left that its API keys were made under.
    pub pepper_print: Option<[u8; 8]>,
    /// The end of the chain through its action log.
    pub action_end: Link,
    /// How many rows each table has that is carried.
    pub counts: Vec<(&'static str, u64)>,
}

impl Origin {
    /// How many rows there are to carry.
    pub fn rows(&self) -> u64 {
        self.counts.iter().map(|(_, rows)| rows).sum()
    }

    /// How many rows a table has.
    pub fn count(&self, table: &str) -> u64 {
        self.counts.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows)
    }
}

/// How many rows were carried, for whoever looks on.
#[derive(Debug, Default)]
pub struct CarryProgress(AtomicU64);

impl CarryProgress {
    /// So many.
    pub fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that so many more were.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}
