//! The action log.

use super::state::State;
use order_core::action_log::chain::Link;
use order_core::action_log::{self, Action, Recorded, Touched};
use order_core::command::{Command, Reply};
use order_core::error::Rejection;
use order_core::ids::TenantId;

impl State {
    pub(super) fn record(&mut self, recorded: &Recorded) -> Result<Reply, Rejection> {
        let touched = recorded.command.as_ref().and_then(Command::touched);
        let before = touched.as_ref().and_then(|touched| self.state_of(touched));
        let reply = recorded.command.as_ref().map_or(Ok(Reply::Done), |command| self.apply(command))?;
        if reply.changed() {
            let after = touched.as_ref().and_then(|touched| self.state_of(touched));
            let of = (self.installation_id, self.epoch);
            let row = action_log::row(&self.action_end(), of, &recorded.action, (before, after));
            self.actions.push(row);
        }
        Ok(reply)
    }

    fn state_of(&self, touched: &Touched) -> Option<[u8; 32]> {
        match touched {
            Touched::Key(key_id) => self.api_keys.get(key_id).map(action_log::key_state),
            Touched::Follower(name) => self.followers.get(name).map(action_log::follower_state),
            Touched::Endpoint(endpoint_id) => self.endpoint(*endpoint_id).map(action_log::endpoint_state),
            Touched::Order(order_id) => self.order(*order_id).as_ref().map(action_log::order_state),
        }
    }

    pub(super) fn action_end(&self) -> Link {
        let last = self.actions.last().map(|row| Link { number: row.number, hash: row.hash });
        last.unwrap_or_else(|| Link::first(self.installation_id))
    }

    pub(super) fn actions(&self, tenant: &TenantId, before: Option<u64>, limit: u32) -> Vec<Action> {
        let before = before.unwrap_or(u64::MAX);
        let of = |row: &&Action| row.tenant == *tenant && row.number < before;
        let newest_first = self.actions.iter().rev().filter(of).cloned();
        newest_first.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    pub(super) fn action_rows(&self, after: u64, limit: u32) -> Vec<Action> {
        let behind = self.actions.iter().filter(|row| row.number > after).cloned();
        behind.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }
}
