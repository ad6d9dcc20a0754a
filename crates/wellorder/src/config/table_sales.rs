//! Settings of the contract `sales`.

use super::{
    shape::Shape::{Count, MaybePath, MaybeUrl, Millis, Text},
    table::{Default::Is, HOUR_MS, Setting, small},
};
use contracts::sales::message::{CREATED, DELIVERED, SHIPPED, TOPIC};

pub(super) const SALES: &[Setting] = &[
    Setting::new(
        "catalog.url",
        Is(""),
        MaybeUrl { set: |s, v| s.catalog.url = v },
        "product catalogue of the contract sales, asked at URL/products/ID",
    )
    .or(&["PRODUCT_SERVICE_URL"])
    .secret(),
    Setting::new(
        "catalog.file",
        Is(""),
        MaybePath { set: |s, v| s.catalog.file = v },
        "its products as JSON instead; with neither, everything can be had",
    ),
    Setting::new(
        "catalog.connect_timeout_ms",
        Is("3000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.catalog.connect_timeout = v },
        "longest wait for a connection to the catalogue",
    ),
    Setting::new(
        "catalog.timeout_ms",
        Is("5000"),
        Millis { min: 1, max: HOUR_MS, set: |s, v| s.catalog.timeout = v },
        "longest wait for its answer; it is asked three times at most",
    ),
    Setting::new(
        "catalog.calls_max",
        Is("256"),
        Count { min: 1, max: 10_000, set: |s, v| s.catalog.calls_max = small(v) },
        "orders that wait for its answer at once; more are refused with 503",
    ),
    Setting::new(
        "contracts.sales.topic",
        Is(TOPIC),
        Text { set: |s, v| v.clone_into(&mut s.sales.topic) },
        "topic of Kafka that tells what happens to its orders; empty is none",
    ),
    Setting::new(
        "contracts.sales.created",
        Is(CREATED),
        Text { set: |s, v| v.clone_into(&mut s.sales.created) },
        "topic exchange of RabbitMQ, and queue bound to it, that get its new orders; empty is none",
    ),
    Setting::new(
        "contracts.sales.shipped",
        Is(SHIPPED),
        Text { set: |s, v| v.clone_into(&mut s.sales.shipped) },
        "queue that says which of its orders were sent; empty is none",
    ),
    Setting::new(
        "contracts.sales.delivered",
        Is(DELIVERED),
        Text { set: |s, v| v.clone_into(&mut s.sales.delivered) },
        "queue that says which of them arrived; empty is none",
    ),
];
