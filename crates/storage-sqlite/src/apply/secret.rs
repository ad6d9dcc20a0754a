//! Secrets at rest: kept, and sealed anew.

use super::{Applied, Batch};
use crate::error::fault;
use crate::secrets;
use order_core::command::Reply;
use order_core::sealing::resealing::SecretsCommand;
use rusqlite::params;

impl Batch<'_> {
    pub(super) fn secrets(&self, command: &SecretsCommand) -> Applied {
        match command {
            SecretsCommand::Keep { tenant, name, sealed, now } => {
                self.conn
                    .prepare_cached("INSERT OR IGNORE INTO named_secrets VALUES (?1, ?2, ?3, ?4)")
                    .and_then(|mut statement| {
                        statement.execute(params![tenant.as_str(), name, sealed.as_bytes(), now.micros()])
                    })
                    .map_err(fault)?;
                let kept = secrets::named(self.conn, tenant, name).map_err(fault)?;
                Ok(Reply::Kept(kept.unwrap_or_else(|| sealed.clone())))
            }
            SecretsCommand::Reseal { column, rows, .. } => {
                let mut resealed = 0;
                for (row, sealed) in rows {
                    resealed += u32::from(secrets::reseal(self.conn, *column, row, sealed).map_err(fault)?);
                }
                Ok(Reply::Resealed(resealed))
            }
        }
    }
}
