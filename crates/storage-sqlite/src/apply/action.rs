//! Deeds with who did them, in one commit.

use super::{Applied, Batch, load_number};
use crate::error::fault;
use crate::{actions, api_keys, read, webhooks};
use order_core::action_log::{self, Recorded, Touched};
use order_core::command::{Command, Reply};

impl Batch<'_> {
    pub(super) fn record(&mut self, recorded: &Recorded) -> Applied {
        let touched = recorded.command.as_ref().and_then(Command::touched);
        let before = self.state_of(touched.as_ref())?;
        let reply = match &recorded.command {
            Some(command) => self.command(command)?,
            None => Reply::Done,
        };
        if !reply.changed() {
            return Ok(reply);
        }
        let after = self.state_of(touched.as_ref())?;
        let install = self.install;
        let end = actions::end(self.conn, install.installation_id).map_err(fault)?;
        let of = (install.installation_id, install.epoch);
        let row = action_log::row(&end, of, &recorded.action, (before, after));
        let link = actions::add(self.conn, &row)?;
        self.recorded.push((recorded.action.kind, link));
        Ok(reply)
    }

    fn state_of(&self, touched: Option<&Touched>) -> Applied<Option<[u8; 32]>> {
        let state = match touched {
            None => Ok(None),
            Some(Touched::Key(key_id)) => {
                api_keys::by_id(self.conn, *key_id).map(|found| found.map(|key| action_log::key_state(&key)))
            }
            Some(Touched::Follower(name)) => read::follower(self.conn, name, self.install.shards)
                .map(|found| found.map(|row| action_log::follower_state(&row))),
            Some(Touched::Endpoint(endpoint_id)) => webhooks::endpoint(self.conn, *endpoint_id)
                .map(|found| found.map(|endpoint| action_log::endpoint_state(&endpoint))),
            Some(Touched::Order(order_id)) => self.number(*order_id).and_then(|number| match number {
                Some(number) => load_number(self.conn, number)
                    .map(|found| found.map(|(order, _)| action_log::order_state(&order))),
                None => Ok(None),
            }),
        };
        Ok(state.map_err(fault)?)
    }
}
