//! Which pepper the API keys of a database were hashed with: its print, never the pepper.

use crate::PostgresStorage;
use crate::connect::{Conn, Purpose};
use crate::error::Tried;
use crate::rows::{Moment, number};
use order_core::{Fault, Timestamp};

/// One statement: nodes that start at once note one after the other.
const NOTE: &str = "UPDATE install SET pepper_print = $1 WHERE pepper_print IS DISTINCT FROM $1 \
     AND (pepper_print IS NULL OR NOT EXISTS \
     (SELECT FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)))";

const LOOK: &str = "SELECT pepper_print, (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL \
     AND (expires_at IS NULL OR expires_at > $1)) FROM install";

/// How many API keys are live, and the print that was noted.
pub(crate) async fn look(conn: &Conn, now: Timestamp) -> Tried<(u64, Option<[u8; 8]>)> {
    let Some(row) = conn.query_opt(LOOK, &[&Moment(now)]).await? else { return Ok((0, None)) };
    let print: Option<Vec<u8>> = row.try_get(0)?;
    Ok((number::<_, i64>(&row, 1)?, print.and_then(|print| print.try_into().ok())))
}

impl PostgresStorage {
    /// Notes the print of the pepper that keys are hashed with from now on. While keys are live that were hashed with
    /// another, that one stays noted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn note_pepper(&self, print: [u8; 8], now: Timestamp) -> Result<(), Fault> {
        let noting = async {
            let conn = self.target.connect(Purpose::Write).await?;
            conn.execute(NOTE, &[&print.as_slice(), &Moment(now)]).await
        };
        noting.await.map(drop).map_err(Fault::from)
    }
}
