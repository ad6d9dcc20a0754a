//! Messages that others sent: remembered in the commit of what they cause.

use super::{Applied, Batch};
use crate::error::fault;
use crate::rows::blob;
use order_core::clock::Timestamp;
use order_core::command::Reply;
use order_core::fault_point;
use order_core::inbox::{Consume, Consumed};
use rusqlite::params;

impl Batch<'_> {
    pub(super) fn consume(&mut self, consume: &Consume) -> Applied {
        if self.is_consumed(consume).map_err(fault)? {
            return Ok(Reply::Consumed(Consumed::Before));
        }
        let (order, _) = self.load(consume.change.order_id)?;
        // A message that is refused is not remembered.
        let changed = self.change_loaded(order, &consume.change)?;
        self.remember(consume).map_err(fault)?;
        fault_point::pass("inbox.after_dedup");
        Ok(Reply::Consumed(Consumed::Now(changed)))
    }

    fn is_consumed(&self, consume: &Consume) -> rusqlite::Result<bool> {
        self.conn
            .prepare_cached("SELECT 1 FROM inbox WHERE tenant = ?1 AND consumer = ?2 AND message_id = ?3")?
            .exists(params![consume.change.tenant.as_str(), consume.message.consumer(), consume.message.id()])
    }

    fn remember(&self, consume: &Consume) -> rusqlite::Result<()> {
        self.conn.prepare_cached("INSERT INTO inbox VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
            consume.change.tenant.as_str(),
            consume.message.consumer(),
            consume.message.id(),
            blob(&consume.change.order_id.0),
            consume.change.now.micros(),
        ])?;
        Ok(())
    }

    pub(super) fn sweep_inbox(&self, before: Timestamp, limit: u32) -> Applied {
        let swept = self
            .conn
            .prepare_cached(
                "DELETE FROM inbox WHERE (tenant, consumer, message_id) IN (SELECT tenant, consumer, message_id \
                 FROM inbox WHERE consumed_at < ?1 ORDER BY consumed_at LIMIT ?2)",
            )
            .and_then(|mut statement| statement.execute(params![before.micros(), limit]))
            .map_err(fault)?;
        Ok(Reply::Swept(u32::try_from(swept).unwrap_or(u32::MAX)))
    }
}
