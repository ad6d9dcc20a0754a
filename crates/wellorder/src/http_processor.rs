//! The processor behind the user's URL.

use async_trait::async_trait;
use order_core::Clock;
use order_core::lease::Leased;
use order_core::ports::{Processed, Processor};
use order_core::trace;
use outbound::{ProcessorClient, Verdict};
use std::sync::Arc;

/// Characters of an answer that are kept as the reason of a failure.
const REASON_CHARACTERS: usize = 200;

/// Posts the order, as `/v1` shows it but for its `actions`, and goes by the status of the answer.
pub(crate) struct HttpProcessor {
    pub(crate) client: ProcessorClient,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Processor for HttpProcessor {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn process(&self, work: &Leased) -> Processed {
        let mut headers = vec![
            ("Idempotency-Key", work.effect_key.to_string()),
            ("Wellorder-Order-Id", work.order.id.to_string()),
            ("Wellorder-Attempt", work.attempt.to_string()),
        ];
        headers.extend(trace::current().map(|context| ("traceparent", context.to_string())));
        let body = work.order.to_json(self.clock.now()).into_bytes();
        let outcome = self.client.post(body, &headers).await;
        match outcome.verdict() {
            Verdict::Done => Processed::Done,
            Verdict::Retry { after } => {
                Processed::Failed { why: outcome.summary(REASON_CHARACTERS), retry_after: after }
            }
            Verdict::Park => Processed::Hopeless { why: outcome.summary(REASON_CHARACTERS) },
        }
    }
}
