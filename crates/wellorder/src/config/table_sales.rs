//! Settings of the contract `sales`.

use super::{
    shape::Shape::{Count, MaybePath, MaybeUrl, Millis},
    table::{Default::Is, HOUR_MS, Setting, small},
};

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
];
