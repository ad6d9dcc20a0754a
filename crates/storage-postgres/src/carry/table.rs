//! A table of the target: its columns, as the server names them, and what goes into each of a row that is carried.

use super::places::Places;
use crate::connect::Conn;
use crate::error::{Tried, Trouble};
use crate::rows::unreadable;
use bytes::Bytes;
use futures_util::SinkExt;
use order_core::action_log::chain::hex;
use order_core::carry::{Rows, Value};
use order_core::{Fault, OrderId, Timestamp};
use std::fmt::Write;
use uuid::Uuid;

/// About how many bytes leave at once.
const PIECE: usize = 1 << 16;

/// Columns that the other storage has beside those that are here, and what they say is known without them.
const KNOWN_OTHERWISE: &[(&str, &str)] = &[("journal", "place"), ("journal", "number")];

const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute \
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Switch,
    Text,
    Bytes,
    Id,
    Moment,
    Amount,
}

/// What goes into a column.
#[derive(Debug, Clone, Copy)]
enum Filled {
    /// What this column of the other storage holds.
    Column(usize),
    /// The shard of the order whose id this column of the other storage holds.
    Shard(usize),
    /// The first shard: the row is about all of them.
    AnyShard,
}

/// How rows of a table with certain columns are carried.
pub(super) struct Table {
    copy: String,
    columns: Vec<(Kind, Filled)>,
}

fn misfit(table: &str, column: &str, why: &str) -> Trouble {
    Fault::internal(format!(
        "the column {column} of {table} {why}: this program does not know how to carry it"
    ))
    .into()
}

/// Where a column is among those of the rows.
pub(super) fn place(rows: &Rows, column: &str) -> Tried<usize> {
    rows.columns
        .iter()
        .position(|name| name == column)
        .ok_or_else(|| misfit(rows.table, column, "is not there"))
}

/// A number that is none below zero.
pub(super) fn natural(value: &Value, column: &str) -> Tried<u64> {
    match value {
        Value::Number(number) => u64::try_from(*number).map_err(|error| unreadable(column, error)),
        other => Err(unreadable(column, format!("{other:?}"))),
    }
}

/// An order's id.
pub(super) fn order_id(value: &Value) -> Tried<OrderId> {
    match value {
        Value::Bytes(bytes) => {
            Uuid::from_slice(bytes).map(OrderId).map_err(|error| unreadable("order_id", error))
        }
        _ => Err(unreadable("order_id", "leads to no order: run `wellorder audit`")),
    }
}

impl Table {
    /// The table that is called as that of the rows.
    pub(super) async fn of(conn: &Conn, rows: &Rows) -> Tried<Self> {
        let found = conn.query(COLUMNS, &[&rows.table]).await?;
        let source = |name: &str| rows.columns.iter().position(|column| column == name);
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        for row in &found {
            let (name, kind): (String, &str) = (row.try_get(0)?, row.try_get(1)?);
            let kind = match kind {
                "smallint" | "integer" | "bigint" => Kind::Number,
                "boolean" => Kind::Switch,
                "text" => Kind::Text,
                "bytea" => Kind::Bytes,
                "uuid" => Kind::Id,
                "timestamp with time zone" => Kind::Moment,
                "numeric" => Kind::Amount,
                _ => return Err(misfit(rows.table, &name, "is of another type")),
            };
            let from = match (name.as_str(), source("order_id"), source(&name)) {
                ("shard", Some(order_id), _) => Filled::Shard(order_id),
                (_, _, Some(column)) => Filled::Column(column),
                ("shard", None, None) => Filled::AnyShard,
                _ => return Err(misfit(rows.table, &name, "has no counterpart")),
            };
            names.push(name);
            columns.push((kind, from));
        }
        let is_known = |column: &str| names.iter().any(|name| name == column);
        let lost =
            |column: &&String| !is_known(column) && !KNOWN_OTHERWISE.contains(&(rows.table, column.as_str()));
        if let Some(column) = rows.columns.iter().find(lost) {
            return Err(misfit(rows.table, column, "has no counterpart"));
        }
        // Names of our own schema, out of the server's catalog: `by` is one, so all are quoted.
        let names: Vec<String> = names.iter().map(|name| ["\"", name, "\""].concat()).collect();
        let copy = ["COPY ", rows.table, " (", &names.join(", "), ") FROM STDIN"].concat();
        Ok(Self { copy, columns })
    }

    /// Writes rows.
    pub(super) async fn write(&self, conn: &Conn, rows: &Rows, places: &Places) -> Tried<()> {
        let copying = async {
            let sink = conn.client().copy_in::<_, Bytes>(self.copy.as_str()).await?;
            tokio::pin!(sink);
            let mut text = String::new();
            for row in &rows.rows {
                self.line(&mut text, row, places)?;
                if text.len() >= PIECE {
                    sink.send(Bytes::from(std::mem::take(&mut text))).await?;
                }
            }
            sink.send(Bytes::from(text)).await?;
            Ok::<u64, Trouble>(sink.as_mut().finish().await?)
        };
        conn.answered(copying).await.map(drop)
    }

    /// A row as COPY reads it: <https://www.postgresql.org/docs/current/sql-copy.html>.
    fn line(&self, text: &mut String, row: &[Value], places: &Places) -> Tried<()> {
        for (index, (kind, from)) in self.columns.iter().enumerate() {
            if index > 0 {
                text.push('\t');
            }
            let value = match from {
                Filled::Column(column) => row.get(*column).unwrap_or(&Value::Nothing),
                Filled::Shard(column) => {
                    let id = order_id(row.get(*column).unwrap_or(&Value::Nothing))?;
                    &Value::Number(places.shard(id).0.into())
                }
                Filled::AnyShard => &Value::Number(0),
            };
            put(text, *kind, value)?;
        }
        text.push('\n');
        Ok(())
    }
}

fn put(text: &mut String, kind: Kind, value: &Value) -> Tried<()> {
    match (kind, value) {
        (_, Value::Nothing) => text.push_str("\\N"),
        (Kind::Switch, Value::Number(0 | 1)) => text.push(if *value == Value::Number(1) { 't' } else { 'f' }),
        (Kind::Number | Kind::Amount, Value::Number(number)) => {
            let _ = write!(text, "{number}");
        }
        (Kind::Moment, Value::Number(micros)) => {
            let moment = Timestamp::from_micros(*micros);
            if moment.micros() != *micros {
                return Err(unreadable("moment", micros));
            }
            let _ = write!(text, "{moment}");
        }
        (Kind::Text | Kind::Amount, Value::Text(value)) => escape(text, value),
        (Kind::Bytes, Value::Bytes(bytes)) => {
            text.push_str("\\\\x");
            text.push_str(&hex(bytes));
        }
        (Kind::Id, Value::Bytes(bytes)) => text.push_str(&hex(bytes)),
        (kind, _) => return Err(unreadable("value", format!("is no {kind:?}"))),
    }
    Ok(())
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn shown(kind: Kind, value: Value) -> Option<String> {
        let mut text = String::new();
        put(&mut text, kind, &value).ok().map(|()| text)
    }

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(shown(Kind::Text, Value::Nothing).unwrap(), "\\N");
        assert_eq!(shown(Kind::Text, text("\\N\t\r\n\\.é")).unwrap(), "\\\\N\\t\\r\\n\\\\.é");
        assert_eq!(shown(Kind::Switch, Value::Number(1)).unwrap(), "t");
        assert_eq!(shown(Kind::Switch, Value::Number(2)), None);
        assert_eq!(shown(Kind::Amount, text("19.90")).unwrap(), "19.90");
        assert_eq!(shown(Kind::Bytes, Value::Bytes(vec![0, 255])).unwrap(), "\\\\x00ff");
        assert_eq!(shown(Kind::Id, Value::Bytes(vec![1; 16])).unwrap(), "01".repeat(16));
        assert_eq!(shown(Kind::Moment, Value::Number(1)).unwrap(), "1970-01-01T00:00:00.000001Z");
        assert_eq!(shown(Kind::Moment, Value::Number(-1)), None, "it would be another moment");
        assert_eq!(shown(Kind::Number, text("1")), None);
    }
}
