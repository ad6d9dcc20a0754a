//! Headers of replies that stand at no single operation.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Response};

/// Operations that are refused with the version that the order has, and the statuses of those refusals.
const VERSIONED: [(&str, &[&str]); 5] = [
    ("revise_order", &["412"]),
    ("withdraw_order", &["409", "412"]),
    ("ship_order", &["409", "412"]),
    ("deliver_order", &["409", "412"]),
    ("erase_order", &["412"]),
];

/// What refusals of one status carry.
const OF_STATUS: [(&str, &str, &str); 2] = [
    ("401", "WWW-Authenticate", "`Bearer`: how to log in"),
    (
        "415",
        "Accept-Encoding",
        "`identity`, where the body came compressed, or coded otherwise: none is decoded here",
    ),
];

/// Adds them to every reply of an operation that has them.
pub(super) fn add(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    let versioned = VERSIONED.iter().find(|(name, _)| *name == id).map_or(&[][..], |(_, statuses)| *statuses);
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        put(
            response,
            "X-Request-Id",
            "The request's id: the one that it brought, if it has 1 to 128 printable ASCII characters",
        );
        for (_, name, about) in OF_STATUS.iter().filter(|(of, ..)| of == status) {
            put(response, name, about);
        }
        if id == "revise_order" && status == "415" {
            put(response, "Accept-Patch", "The patches that are read here, where the body was none of them");
        }
        if versioned.contains(&status.as_str()) {
            put(response, "ETag", "The version that the order has, where that is why");
        }
    }
}

fn put(response: &mut Response, name: &str, about: &str) {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let header: Header = HeaderBuilder::new().schema(Some(text)).description(Some(about)).build();
    response.headers.entry(name.to_owned()).or_insert(header.into());
}
