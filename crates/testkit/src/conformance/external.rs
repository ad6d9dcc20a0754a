//! External ids lead to the newest order that bears them now.

use super::Rig;
use crate::build::{IntakeBuilder, intake, source, tenant};
use order_core::Order;
use order_core::command::ChangeKind;
use order_core::external::ExternalId;
use order_core::order::Content;

fn bearing(external: &str) -> IntakeBuilder {
    let json = serde_json::Value::from(external).to_string();
    intake("A").no_reference().attribute("external_id", &json)
}

fn external(text: &str) -> ExternalId {
    ExternalId {
        tenant: tenant("default"),
        source: source("api"),
        customer: "c-42".to_owned(),
        text: text.to_owned(),
    }
}

async fn found(rig: &Rig, external: &ExternalId) -> Option<Order> {
    rig.storage().order_by_external(external).await.expect("a read")
}

/// Of several the newest; of another tenant, source or customer, or with another text, none.
pub async fn the_newest_order_with_an_external_id_is_found(rig: Rig) {
    let ext = external("ext-1");
    rig.new_order(intake("A-1")).await;
    assert_eq!(found(&rig, &ext).await, None);
    let first = rig.new_order(bearing("ext-1")).await;
    assert_eq!(found(&rig, &ext).await, Some(first));
    let orders = vec![bearing("ext-1").into(), bearing("ext-1").into(), bearing("ext-2").into()];
    // Taken in at once, over all lanes: which of the two is the newer one is told by its number.
    let both = rig.new_orders(orders).await.into_iter().take(2);
    let newest = both.max_by_key(|order| order.number).expect("two orders");
    for other in [
        bearing("ext-1").tenant("acme"),
        bearing("ext-1").source("shop"),
        bearing("ext-1").customer(Some("c-43")),
        bearing("ext-1").customer(None),
        bearing("EXT-1"),
        bearing(""),
    ] {
        rig.new_order(other).await;
    }
    assert_eq!(found(&rig, &ext).await.as_ref(), Some(&newest));
    let long = "\u{1F600}'\"".repeat(5_000);
    let of_long_text = rig.new_order(bearing(&long)).await;
    assert_eq!(found(&rig, &external(&long)).await, Some(of_long_text));
    assert_eq!(found(&rig, &external("")).await, None);
    let rig = rig.reopen().await;
    assert_eq!(found(&rig, &ext).await.map(|order| order.id), Some(newest.id));
    rig.assert_sound().await;
}

/// A revision that changes it, takes it away, or leaves it; an erasure.
pub async fn an_external_id_leads_to_who_bears_it_now(rig: Rig) {
    let older = rig.new_order(bearing("ext-1")).await;
    let newer = rig.new_order(bearing("ext-1")).await;
    let revise = |order: &Order, json: Option<&str>| {
        let mut content = Content { total: crate::build::money("1"), ..order.content.clone() };
        content.attributes.remove("external_id");
        if let Some(json) = json {
            content.attributes.insert("external_id".to_owned(), serde_json::from_str(json).expect("JSON"));
        }
        ChangeKind::Revise { content: Box::new(content), requeue: false }
    };
    let id_of = async |text: &str| found(&rig, &external(text)).await.map(|order| order.id);
    rig.changed(newer.id, revise(&newer, Some("\"ext-2\""))).await;
    assert_eq!((id_of("ext-1").await, id_of("ext-2").await), (Some(older.id), Some(newer.id)));
    rig.changed(newer.id, revise(&newer, Some("2"))).await;
    assert_eq!((id_of("ext-2").await, id_of("2").await), (None, None), "a number is no text");
    rig.changed(newer.id, revise(&newer, Some("\"ext-1\""))).await;
    assert_eq!(id_of("ext-1").await, Some(newer.id));
    let withdraw = ChangeKind::Withdraw { reason: String::new(), by: "me".to_owned(), requeue: true };
    let withdrawn = rig.changed(newer.id, withdraw).await;
    assert_eq!(found(&rig, &external("ext-1")).await, Some(withdrawn));
    rig.changed(newer.id, ChangeKind::Erase).await;
    assert_eq!(id_of("ext-1").await, Some(older.id));
    rig.assert_sound().await;
}
