//! What is found out at most once a second, however many ask: health and metrics need no login.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long what was found is told again.
const KEPT: Duration = Duration::from_secs(1);

/// Something that was found out a moment ago.
#[derive(Clone)]
pub(super) struct Kept<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Kept<T> {
    /// What was found, or what `find` finds now; whoever asks meanwhile waits for that.
    pub(super) async fn get(&self, find: impl Future<Output = T>) -> T {
        let mut kept = self.0.lock().await;
        if let Some((at, found)) = &*kept
            && at.elapsed() < KEPT
        {
            return found.clone();
        }
        let found = find.await;
        *kept = Some((Instant::now(), found.clone()));
        found
    }
}
