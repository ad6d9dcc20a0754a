//! Refused logins as rows of the action log: behind the requests, once a minute, a bounded number of rows.

use auth::{FailedLogin, FailedLogins};
use order_core::action_log::{self, ActionKind};
use order_core::{App, Error, TenantId};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks for logins that were refused.
const EVERY: Duration = Duration::from_secs(60);
/// What a row of various addresses or reasons says in the place of a reason.
const VARIOUS: &str = "various";

/// Keeps what is refused until `stop`; what was refused before it then, too.
pub(crate) async fn keep(
    app: Arc<App>,
    failed: Arc<FailedLogins>,
    operators: TenantId,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stopped = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let mut refused = failed.take().into_iter();
        while let Some(next) = refused.next() {
            if let Err(error) = record(&app, &operators, &next).await {
                tracing::warn!(%error, "cannot record refused logins yet");
                std::iter::once(next).chain(refused.by_ref()).for_each(|again| failed.add(again));
            }
        }
        if stopped {
            return;
        }
    }
}

async fn record(app: &App, operators: &TenantId, refused: &FailedLogin) -> Result<(), Error> {
    let actor = action_log::nobody(operators.clone(), refused.address);
    let details = json!({
        "count": refused.count,
        "first_at": refused.first_at.to_string(),
        "last_at": refused.last_at.to_string(),
    });
    let subject = refused.why.unwrap_or(VARIOUS);
    let recording = app.record(ActionKind::LoginsRefused, subject, &details);
    action_log::within(Some(Arc::new(actor)), recording).await
}
