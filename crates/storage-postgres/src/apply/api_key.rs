//! API keys: the core decides, the row is written whole.

use super::{Applied, Batch};
use crate::records::{self, select_api_keys};
use crate::rows::{Moment, moment, number};
use order_core::api_key::{self, ApiKey, ApiKeyAction, ApiKeyCommand, ApiKeyId};
use order_core::command::Reply;

/// Under the latch of the table, so that no two nodes give one number.
const NEXT: &str = "SELECT (SELECT coalesce(max(number), 0) + 1 FROM api_keys), (SELECT count(*) FROM api_keys \
     WHERE tenant = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2))";

const PUT: &str = "INSERT INTO api_keys (number, key_id, tenant, name, scopes, hash, previous_hash, previous_until, \
     created_at, created_by, expires_at, rotated_at, last_used_at, revoked_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (number) DO UPDATE SET \
     hash = excluded.hash, previous_hash = excluded.previous_hash, previous_until = excluded.previous_until, \
     rotated_at = excluded.rotated_at, last_used_at = excluded.last_used_at, revoked_at = excluded.revoked_at";

impl Batch<'_> {
    pub(super) async fn api_key(&self, command: &ApiKeyCommand) -> Applied {
        let found = self.key(command.key_id).await?;
        let (at, live) = match command.action {
            ApiKeyAction::Create(..) => {
                let row =
                    self.conn.query_one(NEXT, &[&command.tenant.as_str(), &Moment(command.now)]).await?;
                (row.try_get(0)?, number::<_, i64>(&row, 1)?)
            }
            ApiKeyAction::Rotate { .. } | ApiKeyAction::Revoke | ApiKeyAction::Touch => (0, 0),
        };
        let key = api_key::decide(found, command, at, live)?;
        self.put_key(&key).await?;
        Ok(Reply::ApiKey(Box::new(key)))
    }

    pub(super) async fn key(&self, key_id: ApiKeyId) -> Applied<Option<ApiKey>> {
        let row = self.conn.query_opt(select_api_keys!("WHERE key_id = $1"), &[&key_id.0.as_slice()]).await?;
        Ok(row.as_ref().map(records::api_key).transpose()?)
    }

    async fn put_key(&self, key: &ApiKey) -> Applied<()> {
        let previous = key.previous.map(|previous| previous.hash.0);
        self.conn
            .execute(
                PUT,
                &[
                    &key.number,
                    &key.key_id.0.as_slice(),
                    &key.tenant.as_str(),
                    &key.name,
                    &key.scopes,
                    &key.hash.0.as_slice(),
                    &previous.as_ref().map(<[u8; 32]>::as_slice),
                    &moment(key.previous.map(|previous| previous.until)),
                    &Moment(key.created_at),
                    &key.created_by,
                    &moment(key.expires_at),
                    &moment(key.rotated_at),
                    &moment(key.last_used_at),
                    &moment(key.revoked_at),
                ],
            )
            .await?;
        Ok(())
    }
}
