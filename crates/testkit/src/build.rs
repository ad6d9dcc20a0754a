//! Builders: a test says what matters to it, the rest has plain values.

use order_core::Money;
use order_core::app::App;
use order_core::clock::Timestamp;
use order_core::command::{Accept, Advance, AdvancePart, Command};
use order_core::ids::{EventId, Ids, OrderId, Reference, SourceId, TenantId};
use order_core::intake::{IdempotencyKey, Intake, derived_id, digest};
use order_core::order::{Content, Line};
use order_core::parking::{ParkedStream, RefusedFor};
use order_core::share::Share;
use serde_json::Value;
use std::time::Duration;

/// The tenant of that name.
pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant's name of 1 to 255 bytes")
}

/// The source of that name.
pub fn source(name: &str) -> SourceId {
    SourceId::new(name).expect("a source's name of 1 to 255 bytes")
}

/// The amount of that text.
pub fn money(text: &str) -> Money {
    Money::parse(text).expect("an amount of at most 28 digits")
}

/// An order of the tenant `default` from the source `api`, with one line: 2 × 9.95 of `tea`, total 19.90 EUR.
pub fn intake(reference: &str) -> IntakeBuilder {
    let line =
        Line { sku: "tea".to_owned(), name: Some("Tea".to_owned()), quantity: 2, unit_price: money("9.95") };
    IntakeBuilder(Intake {
        tenant: TenantId::default_tenant(),
        source: source("api"),
        reference: Some(Reference::new(reference).expect("a reference of 1 to 255 bytes")),
        content: Content {
            customer: Some("c-42".to_owned()),
            currency: Some("EUR".to_owned()),
            lines: vec![line],
            total: money("19.90"),
            attributes: serde_json::Map::new(),
        },
        key: None,
    })
}

/// See [`intake`].
#[derive(Debug, Clone)]
pub struct IntakeBuilder(Intake);

impl IntakeBuilder {
    /// Another tenant's.
    #[must_use]
    pub fn tenant(mut self, name: &str) -> Self {
        self.0.tenant = tenant(name);
        self
    }

    /// From another source.
    #[must_use]
    pub fn source(mut self, name: &str) -> Self {
        self.0.source = source(name);
        self
    }

    /// Without a reference: its id is fresh.
    #[must_use]
    pub fn no_reference(mut self) -> Self {
        self.0.reference = None;
        self
    }

    /// Whose order it is.
    #[must_use]
    pub fn customer(mut self, customer: Option<&str>) -> Self {
        self.0.content.customer = customer.map(str::to_owned);
        self
    }

    /// ISO 4217 code, or none.
    #[must_use]
    pub fn currency(mut self, currency: Option<&str>) -> Self {
        self.0.content.currency = currency.map(str::to_owned);
        self
    }

    /// The sum; lines stay as they are.
    #[must_use]
    pub fn total(mut self, total: &str) -> Self {
        self.0.content.total = money(total);
        self
    }

    /// Without lines.
    #[must_use]
    pub fn no_lines(mut self) -> Self {
        self.0.content.lines.clear();
        self
    }

    /// One line more, without a name; the total stays as it is.
    #[must_use]
    pub fn line(mut self, sku: &str, quantity: u32, unit_price: &str) -> Self {
        let unit_price = money(unit_price);
        self.0.content.lines.push(Line { sku: sku.to_owned(), name: None, quantity, unit_price });
        self
    }

    /// One attribute more, given as JSON.
    #[must_use]
    pub fn attribute(mut self, key: &str, json: &str) -> Self {
        let value: Value = serde_json::from_str(json).expect("JSON");
        self.0.content.attributes.insert(key.to_owned(), value);
        self
    }

    /// Other content altogether.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.0.content = content;
        self
    }

    /// With an idempotency key on the route `test`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.key_on("test", key)
    }

    /// With an idempotency key on `route`.
    #[must_use]
    pub fn key_on(mut self, route: &'static str, key: &str) -> Self {
        self.0.key = Some(IdempotencyKey { route, key: key.to_owned() });
        self
    }

    /// The intake.
    pub fn build(self) -> Intake {
        self.0
    }
}

impl From<IntakeBuilder> for Intake {
    fn from(builder: IntakeBuilder) -> Self {
        builder.build()
    }
}

/// The id that `intake` gets when it is new, if that is certain.
pub fn id_of(intake: &Intake) -> OrderId {
    derived_id(intake).expect("an intake with a reference")
}

/// The command that takes `intake` in at `now`.
pub fn accept(intake: impl Into<Intake>, ids: &dyn Ids, now: Timestamp) -> Command {
    let intake = intake.into();
    let order_id = derived_id(&intake).unwrap_or_else(|| OrderId(ids.uuid_v7(now)));
    let digest = digest(&intake.content);
    let event_id = EventId(ids.uuid_v7(now));
    let (trace, by) = (order_core::trace::current(), order_core::action_log::current_name());
    let withdrawal = None;
    Command::Accept(Box::new(Accept { order_id, digest, event_id, now, intake, trace, by, withdrawal }))
}

/// Parks an order for a follower, as if its sink had refused the order's first event, and has it sent again. This process
/// carries the follower from then on.
pub async fn park(app: &App, follower: &str, order_id: OrderId) {
    let (install, now, token) = (app.storage.install(), app.clock.now(), app.node());
    let (follower, until) = (follower.to_owned(), now.plus(Duration::from_secs(30)));
    let share = Share {
        follower: follower.clone(),
        token,
        now,
        until: Some(until),
        fault: None,
        extends_only: false,
        stands_back: false,
    };
    app.lanes.submit(Command::Share(share)).await.expect("there is such a follower");
    let stream = ParkedStream {
        shard: order_id.shard(install.shards),
        order_id,
        tenant: tenant("default"),
        from_version: 1,
        reason: RefusedFor::TooLarge,
        detail: "too large".to_owned(),
        parked_at: now,
        redriving: true,
    };
    let (part, epoch, moves) = (AdvancePart::Cursor, install.epoch, Vec::new());
    let (resent, parked) = (Vec::new(), vec![stream]);
    let advance = Advance { follower, part, epoch, moves, token, until, resent, parked, now };
    app.lanes.submit(Command::Advance(advance)).await.expect("all of its shards are free");
}
