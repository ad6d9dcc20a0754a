//! API keys: looked up by id, compared in constant time, kept in memory for seconds.

use crate::bad::{Bad, Denied};
use edge::{Caller, Scopes};
use order_core::api_key::{ApiKey, ApiKeyAction, ApiKeyId, KeyText, Pepper};
use order_core::{App, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a key is known without another look: what was revoked works no longer than this.
const FRESH: Duration = Duration::from_secs(3);
/// Between two notes that a key was used.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Most keys in memory.
const CACHE_MAX: usize = 10_000;

/// Checks API keys.
pub struct ApiKeys {
    app: Arc<App>,
    pepper: Pepper,
    cache: Mutex<HashMap<ApiKeyId, Known>>,
}

#[derive(Clone)]
struct Known {
    key: Arc<ApiKey>,
    caller: Caller,
    read_at: Timestamp,
    touched_at: Option<Timestamp>,
}

impl ApiKeys {
    /// The keys of an installation.
    pub fn new(app: Arc<App>, pepper: Pepper) -> Self {
        Self { app, pepper, cache: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// That it is not good; faults of storage.
    pub(crate) async fn check(&self, text: &str) -> Result<Caller, Denied> {
        let text = KeyText::parse(text).ok_or(Bad::ApiKey)?;
        let hash = self.pepper.hash(&text);
        let now = self.app.clock.now();
        let opens = |known: &Known| known.key.opens(&hash, now);
        let known = match self.fresh(text.key_id, now).filter(opens) {
            Some(known) => known,
            // A secret that is not known yet may be a new one: whoever rotated a key can use it at once.
            None => self.read(text.key_id, now).await?.filter(opens).ok_or(Bad::ApiKey)?,
        };
        self.touch(&known, now);
        Ok(known.caller)
    }

    fn fresh(&self, key_id: ApiKeyId, now: Timestamp) -> Option<Known> {
        let cache = self.cache();
        // Ids that lead nowhere are not kept: there is no end of them.
        cache.get(&key_id).filter(|known| now.since(known.read_at) < FRESH).cloned()
    }

    async fn read(&self, key_id: ApiKeyId, now: Timestamp) -> Result<Option<Known>, Denied> {
        let Some(key) = self.app.storage.api_key(key_id).await? else { return Ok(None) };
        let caller = Caller {
            tenant: key.tenant.clone(),
            subject: format!("key:{key_id}").into(),
            scopes: Scopes::parse(&key.scopes),
            tenant_said: true,
        };
        let mut cache = self.cache();
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, known| now.since(known.read_at) < FRESH);
        }
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        // A note on its way to the storage is not sent again.
        let touched_at = cache.get(&key_id).and_then(|known| known.touched_at).max(key.last_used_at);
        let known = Known { key: Arc::new(key), caller, read_at: now, touched_at };
        cache.insert(key_id, known.clone());
        Ok(Some(known))
    }

    /// Notes that a key was used, once in a while and behind the request.
    fn touch(&self, known: &Known, now: Timestamp) {
        if known.touched_at.is_some_and(|touched_at| now.since(touched_at) < TOUCH_EVERY) {
            return;
        }
        let key_id = known.key.key_id;
        let mut cache = self.cache();
        let Some(kept) = cache.get_mut(&key_id) else { return };
        // Whoever is first notes it for all.
        if kept.touched_at.is_some_and(|touched_at| now.since(touched_at) < TOUCH_EVERY) {
            return;
        }
        kept.touched_at = Some(now);
        drop(cache);
        let (app, tenant) = (Arc::clone(&self.app), known.caller.tenant.clone());
        tokio::spawn(async move {
            if let Err(error) = app.change_api_key(&tenant, key_id, ApiKeyAction::Touch).await {
                tracing::debug!(%error, %key_id, "cannot note that an API key was used");
            }
        });
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<ApiKeyId, Known>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
