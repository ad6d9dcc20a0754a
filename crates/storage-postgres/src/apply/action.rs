//! Deeds with who did them, in one commit.

use super::{Applied, Batch};
use crate::connect::Conn;
use crate::error::Tried;
use crate::records;
use crate::rows::{Moment, big};
use crate::webhooks;
use order_core::action_log::chain::Link;
use order_core::action_log::{self, Action, Recorded, Touched};
use order_core::command::{Command, Reply};

const ADD: &str = "INSERT INTO actions (number, epoch, tenant, by, address, request_id, kind, subject, details, \
     state_before, state_after, at, previous, hash) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

impl Batch<'_> {
    pub(super) async fn record(&mut self, recorded: &Recorded) -> Applied {
        let touched = recorded.command.as_ref().and_then(Command::touched);
        let before = self.state_of(touched.as_ref()).await?;
        let reply = match &recorded.command {
            Some(command) => self.command(command).await?,
            None => Reply::Done,
        };
        if !reply.changed() {
            return Ok(reply);
        }
        let after = self.state_of(touched.as_ref()).await?;
        let of = (self.install.installation_id, self.install.epoch);
        let end = records::action_end(self.conn, self.install.installation_id).await?;
        let row = action_log::row(&end, of, &recorded.action, (before, after));
        let link = add(self.conn, &row).await?;
        self.recorded.push((recorded.action.kind, link));
        Ok(reply)
    }

    async fn state_of(&mut self, touched: Option<&Touched>) -> Applied<Option<[u8; 32]>> {
        Ok(match touched {
            None => None,
            Some(Touched::Key(key_id)) => self.key(*key_id).await?.as_ref().map(action_log::key_state),
            Some(Touched::Follower(name)) => {
                self.follower_row(name).await?.as_ref().map(action_log::follower_state)
            }
            Some(Touched::Endpoint(endpoint_id)) => {
                let found = webhooks::endpoint(self.conn, *endpoint_id).await?;
                found.as_ref().map(action_log::endpoint_state)
            }
            Some(Touched::Order(order_id)) => {
                self.find(*order_id).await?.map(|held| action_log::order_state(&held.order))
            }
        })
    }
}

/// Adds a row at the end of the chain, whose latch the transaction holds.
pub(crate) async fn add(conn: &Conn, row: &Action) -> Tried<Link> {
    let link = Link { number: row.number, hash: row.hash };
    conn.execute(
        ADD,
        &[
            &big(row.number),
            &row.epoch.cast_signed(),
            &row.tenant.as_str(),
            &row.by,
            &row.address,
            &row.request_id,
            &row.kind,
            &row.subject,
            &row.details,
            &row.before.as_ref().map(<[u8; 32]>::as_slice),
            &row.after.as_ref().map(<[u8; 32]>::as_slice),
            &Moment(row.at),
            &row.previous.as_slice(),
            &row.hash.as_slice(),
        ],
    )
    .await?;
    conn.execute("UPDATE latches SET value = $1 WHERE name = 'actions'", &[&link.to_bytes()]).await?;
    Ok(link)
}
