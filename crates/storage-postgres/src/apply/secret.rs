//! Secrets at rest: kept, and sealed anew.

use super::{Applied, Batch};
use crate::rows::Moment;
use crate::secrets;
use order_core::Fault;
use order_core::command::Reply;
use order_core::sealing::resealing::SecretsCommand;

const KEEP: &str = "INSERT INTO named_secrets (tenant, name, sealed, created_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING";

impl Batch<'_> {
    pub(super) async fn secrets(&self, command: &SecretsCommand) -> Applied {
        match command {
            SecretsCommand::Keep { tenant, name, sealed, now } => {
                let bytes = sealed.as_bytes();
                self.conn.execute(KEEP, &[&tenant.as_str(), name, &bytes, &Moment(*now)]).await?;
                let kept = secrets::named(self.conn, tenant, name).await?;
                Ok(Reply::Kept(kept.ok_or_else(|| Fault::internal("a secret that was kept is gone"))?))
            }
            SecretsCommand::Reseal { column, rows, .. } => {
                let resealed = secrets::reseal(self.conn, *column, rows).await?;
                Ok(Reply::Resealed(u32::try_from(resealed).unwrap_or(u32::MAX)))
            }
        }
    }
}
