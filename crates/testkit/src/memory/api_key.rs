//! API keys.

use super::state::State;
use order_core::api_key::{self, ApiKey, ApiKeyCommand};
use order_core::clock::Timestamp;
use order_core::error::Rejection;
use order_core::ids::TenantId;

impl State {
    pub(super) fn api_key(&mut self, command: &ApiKeyCommand) -> Result<ApiKey, Rejection> {
        let found = self.api_keys.get(&command.key_id).cloned();
        let newest = self.api_keys.values().map(|key| key.number).max().unwrap_or(0);
        let live = self.live_api_keys(Some(&command.tenant), command.now);
        let key = api_key::decide(found, command, newest + 1, live)?;
        self.api_keys.insert(key.key_id, key.clone());
        Ok(key)
    }

    pub(super) fn live_api_keys(&self, tenant: Option<&TenantId>, now: Timestamp) -> u64 {
        let of = |key: &&ApiKey| tenant.is_none_or(|tenant| key.tenant == *tenant);
        let live = self.api_keys.values().filter(of).filter(|key| key.is_live(now));
        u64::try_from(live.count()).unwrap_or(u64::MAX)
    }

    pub(super) fn api_keys(&self, tenant: &TenantId, before: Option<i64>) -> Vec<ApiKey> {
        let before = before.unwrap_or(i64::MAX);
        let of = |key: &&ApiKey| key.tenant == *tenant && key.number < before;
        let mut keys: Vec<ApiKey> = self.api_keys.values().filter(of).cloned().collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.number));
        keys
    }
}
