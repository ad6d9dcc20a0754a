//! Streams, as far as they need no socket: what is refused before they begin.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::TenantId;
use rig::Rig;

async fn streamed(rig: &Rig, path: &str, last: &str) -> rig::Said {
    rig.ask("GET", path, &[("accept", "text/event-stream"), ("last-event-id", last)], "").await
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_on_from_is_refused_before_the_stream_begins() {
    let rig = Rig::new();
    for total in 1..=5 {
        rig.order(&format!(r#"{{"total": {total}}}"#)).await;
    }
    let next = rig.get("/v1/events?limit=3").await.json()["next"].as_str().unwrap().to_owned();
    let restored = Rig::over(rig.storage.restored());
    let said = streamed(&restored, "/v1/events", &next).await;
    assert_eq!((said.status, said.problem().as_str()), (410, "epoch-changed"));
    assert_eq!(said.errors(), ["/Last-Event-ID epoch-changed"]);
    let path = format!("/v1/events?after={next}");
    let said = restored.ask("GET", &path, &[("accept", "text/event-stream")], "").await;
    assert_eq!((said.status, said.errors()), (410, vec!["/after epoch-changed".to_owned()]));
    let other = Rig::of(rig.storage.clone(), TenantId::new("other").unwrap());
    let said = streamed(&other, "/v1/events", &next).await;
    assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "it is another tenant's");
    for (path, offence) in
        [("/v1/events?limit=1001", "/limit form"), ("/v1/events?type=x", "/type unknown-parameter")]
    {
        assert_eq!(streamed(&rig, path, "").await.errors(), [offence]);
    }
}

#[tokio::test]
async fn the_weights_of_accept_say_whether_it_is_a_stream() {
    let rig = Rig::new();
    let opened = async |path: &str, accept: &str| {
        let request = http::Request::builder().uri(path).header("accept", accept);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(rig.router.clone(), request).await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind)
    };
    let (stream, json) = ((200, "text/event-stream".to_owned()), (200, "application/json".to_owned()));
    assert_eq!(opened("/v1/events", "application/json, text/event-stream;q=0.5").await, json);
    assert_eq!(opened("/v1/events", "application/json;q=0.5, text/event-stream").await, stream);
    assert_eq!(opened("/v1/events?limit=1", "text/event-stream").await, stream, "it has no meaning there");
}
