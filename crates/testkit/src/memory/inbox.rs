//! Messages that were consumed.

use super::state::State;
use order_core::clock::Timestamp;
use order_core::error::Rejection;
use order_core::inbox::{Consume, Consumed};

impl State {
    pub(super) fn consume(&mut self, consume: &Consume) -> Result<Consumed, Rejection> {
        let change = &consume.change;
        let key = (change.tenant.clone(), consume.message.clone());
        if self.inbox.contains_key(&key) {
            return Ok(Consumed::Before);
        }
        let changed = self.change(change)?;
        self.inbox.insert(key, (change.order_id, change.now));
        Ok(Consumed::Now(changed))
    }

    pub(super) fn sweep_inbox(&mut self, before: Timestamp, limit: u32) -> u32 {
        let old = self.inbox.iter().filter(|(_, (_, at))| *at < before);
        let mut old: Vec<_> = old.map(|(key, (_, at))| (*at, key.clone())).collect();
        old.sort();
        old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, key) in &old {
            self.inbox.remove(key);
        }
        u32::try_from(old.len()).unwrap_or(u32::MAX)
    }
}
