//! Changes of an order, and what may be done with it next.

use super::{NewLine, NewMoney, Order};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What to change of an order (JSON merge patch): what is named is replaced, `null` removes, the rest stays.
#[derive(ToSchema)]
#[schema(example = json!({
    "lines": [{"sku": "tea", "quantity": 3, "unit_price": "9.95", "name": "Green tea"}], "attributes": {"gift": null}
}))]
pub struct OrderPatch {
    /// Whose it is, in your words, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub customer: Option<String>,
    /// ISO 4217 code.
    #[schema(pattern = "^[A-Z]{3}$")]
    pub currency: Option<String>,
    /// What was bought, all of it.
    pub lines: Option<Vec<NewLine>>,
    /// The sum. Unless it is given, new lines say what it is; if it is given, it must agree with the lines.
    pub total: Option<NewMoney>,
    /// Merged, member by member, with what is there.
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Map<String, Value>>,
}

/// A withdrawal.
#[derive(ToSchema)]
#[schema(example = json!({"reason": "the customer changed their mind"}))]
pub struct NewWithdrawal {
    /// Why, in your words, 1 to 1000 bytes.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// A shipment.
#[derive(ToSchema)]
#[schema(example = json!({"shipped_at": "2026-11-20T16:30:00Z", "tracking_number": "1Z999AA10123456784"}))]
pub struct NewShipment {
    /// When the goods were sent; now unless given. No later than five minutes from now, for clocks differ.
    #[schema(format = DateTime)]
    pub shipped_at: Option<String>,
    /// The carrier's number, 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub tracking_number: Option<String>,
}

/// A delivery.
#[derive(ToSchema)]
#[schema(example = json!({"delivered_at": "2026-11-21T09:12:00Z"}))]
pub struct NewDelivery {
    /// When the goods arrived; now unless given. No later than five minutes from now, for clocks differ.
    #[schema(format = DateTime)]
    pub delivered_at: Option<String>,
}

/// What an erasure did.
#[derive(ToSchema)]
pub struct Erasure {
    /// JSON pointers of what was blanked, in the order or in its earlier events; `*` stands for each line.
    pub pointers: Vec<String>,
    /// What this does not reach: where this installation keeps earlier data of the order, or has carried it to.
    pub remains: Vec<Remaining>,
    /// The order as it is now.
    pub order: Order,
}

/// A place that an erasure does not reach.
#[derive(ToSchema)]
#[schema(example = json!({
    "where": "follower", "name": "ndjson", "sink": "ndjson",
    "advice": "Its sink may hold earlier events of this order: blank the same there, or delete them"
}))]
pub struct Remaining {
    /// `follower`: one whose sink may hold earlier events of the order; `redrives`: reasons of redrives that took the order;
    /// `copies`: copies of the database. There may be more kinds later.
    pub r#where: String,
    /// The follower's name.
    #[schema(required)]
    pub name: Option<String>,
    /// The kind of its sink.
    #[schema(required)]
    pub sink: Option<String>,
    /// What to do about it, for people.
    pub advice: String,
}

/// Something that may be done with an order now, by whoever asked.
#[derive(ToSchema)]
pub struct Action {
    /// What.
    pub name: ActionName,
    /// The method of the request.
    pub method: String,
    /// The path of the request.
    pub href: String,
}

/// What may be done with an order.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ActionName {
    /// Change its content.
    Revise,
    /// Delete it softly, or cancel it.
    Withdraw,
    /// Tell that the goods were sent.
    Ship,
    /// Tell that the goods arrived.
    Deliver,
    /// Give its parked work a fresh budget of attempts: name it in `filter.order_ids`.
    Redrive,
    /// Erase a person's data.
    Erase,
}
