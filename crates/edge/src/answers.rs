//! Answers on their way to clients that take them slowly, or not at all: how much memory they hold is counted, and beyond
//! a limit nothing more is read for them.

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use order_core::{Fault, TenantId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// Answers of fewer bytes are not counted: the system's own buffers take them.
const COUNTED_MIN: usize = 8 * 1024;
/// Bytes that the HTTP library is handed at once.
const PIECE: usize = 64 * 1024;

/// The bytes of all answers that are being written.
#[derive(Debug)]
pub struct Answers {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Whose they are, of whoever has any.
    by_tenant: HashMap<TenantId, usize>,
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
struct Count {
    answers: Arc<Answers>,
    tenant: TenantId,
    bytes: usize,
}

impl Answers {
    /// None yet.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    /// Whether something may be read for `tenant`: not while as much as may, or half of it for this one tenant, has not been
    /// taken.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] if not.
    pub fn room(&self, tenant: &TenantId) -> Result<(), Fault> {
        let held = self.held();
        let own = held.by_tenant.get(tenant).copied().unwrap_or(0);
        if held.all >= self.bytes_max || own >= (self.bytes_max / 2).max(1) {
            return Err(Fault::overloaded());
        }
        Ok(())
    }

    /// The same bytes, counted for as long as anybody has some of them.
    pub fn counted(self: &Arc<Self>, tenant: &TenantId, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        if bytes.len() < COUNTED_MIN {
            return bytes;
        }
        let count = Arc::new(self.count(tenant, bytes.len()));
        owned(bytes, count)
    }

    /// The same response. What is known of its length is counted until the connection has got rid of it.
    pub(crate) fn counting(self: &Arc<Self>, tenant: &TenantId, response: Response) -> Response {
        let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        match bytes.filter(|bytes| *bytes >= COUNTED_MIN) {
            Some(bytes) => {
                let count = Arc::new(self.count(tenant, bytes));
                response.map(|inner| Body::new(Counted { inner, count, rest: Bytes::new() }))
            }
            None => response,
        }
    }

    fn count(self: &Arc<Self>, tenant: &TenantId, bytes: usize) -> Count {
        let mut held = self.held();
        held.all = held.all.saturating_add(bytes);
        let own = held.by_tenant.entry(tenant.clone()).or_default();
        *own = own.saturating_add(bytes);
        tell(&held);
        Count { answers: Arc::clone(self), tenant: tenant.clone(), bytes }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut held = self.answers.held();
        held.all = held.all.saturating_sub(self.bytes);
        match held.by_tenant.get_mut(&self.tenant) {
            Some(own) if *own > self.bytes => *own -= self.bytes,
            _ => drop(held.by_tenant.remove(&self.tenant)),
        }
        tell(&held);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; no memory has 2^53 bytes")]
fn tell(held: &Held) {
    metrics::gauge!("wellorder_answers_bytes").set(held.all as f64);
}

/// Bytes that are counted as long as any part of them is there: also after the body is gone, in the buffers of the HTTP
/// library.
fn owned(bytes: Bytes, count: Arc<Count>) -> Bytes {
    struct Owned {
        bytes: Bytes,
        /// Held, for its end is what is waited for.
        _count: Arc<Count>,
    }
    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Owned { bytes, _count: count })
}

/// A body that is counted, in pieces.
struct Counted {
    inner: Body,
    count: Arc<Count>,
    rest: Bytes,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = owned(data, Arc::clone(&this.count)),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http_body_util::BodyExt;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_byte_is_gone() {
        let answers = Answers::new(1_000_000);
        let body = vec![b'x'; 200_000];
        let response = answers.counting(&tenant("ours"), Response::new(Body::from(body.clone())));
        assert_eq!(response.body().size_hint().exact(), Some(200_000), "its length is still told");
        let mut body_of = response.into_body();
        let mut taken = Vec::new();
        let mut last = Bytes::new();
        while let Some(frame) = body_of.frame().await {
            last = frame.unwrap().into_data().unwrap();
            assert!(last.len() <= PIECE);
            taken.extend_from_slice(&last);
        }
        assert_eq!(taken, body);
        drop(body_of);
        assert_eq!(answers.held().all, 200_000, "somebody has its end");
        drop(last);
        assert_eq!(answers.held().all, 0);
        assert!(answers.held().by_tenant.is_empty());
    }

    #[test]
    fn one_tenant_has_half_of_the_room_and_small_answers_are_free() {
        let answers = Answers::new(100_000);
        let (ours, theirs) = (tenant("ours"), tenant("theirs"));
        let held = answers.counted(&ours, vec![0; 50_000]);
        assert!(answers.room(&ours).is_err() && answers.room(&theirs).is_ok());
        let more = answers.counted(&theirs, vec![0; 50_000]);
        assert!(answers.room(&tenant("others")).is_err(), "there is no more");
        drop(held);
        assert!(answers.room(&ours).is_ok() && answers.room(&theirs).is_err());
        drop(more);
        let _small = answers.counted(&ours, vec![0; COUNTED_MIN - 1]);
        assert_eq!(answers.held().all, 0);
    }
}
