//! API keys: the core decides, the row is written whole.

use super::{Applied, Batch};
use crate::api_keys;
use crate::error::fault;
use order_core::api_key::{self, ApiKeyAction, ApiKeyCommand};
use order_core::command::Reply;

impl Batch<'_> {
    pub(super) fn api_key(&self, command: &ApiKeyCommand) -> Applied {
        let found = api_keys::by_id(self.conn, command.key_id).map_err(fault)?;
        let (number, live) = match command.action {
            ApiKeyAction::Create(..) => (
                api_keys::next_number(self.conn).map_err(fault)?,
                api_keys::live(self.conn, Some(&command.tenant), command.now).map_err(fault)?,
            ),
            ApiKeyAction::Rotate { .. } | ApiKeyAction::Revoke | ApiKeyAction::Touch => (0, 0),
        };
        let key = api_key::decide(found, command, number, live)?;
        api_keys::put(self.conn, &key).map_err(fault)?;
        Ok(Reply::ApiKey(Box::new(key)))
    }
}
