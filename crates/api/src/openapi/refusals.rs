//! Which refusals each operation has, derived from what it takes; what only some have is named here.

use crate::problem::{self as kinds, Kind};
use edge::Need;
use http::Method;
use std::collections::BTreeMap;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

/// What an order, or whatever a path names, may be missing.
const UNKNOWN: [(&str, Kind); 9] = [
    ("order_id", kinds::ORDER_UNKNOWN),
    ("redrive_id", kinds::REDRIVE_UNKNOWN),
    ("name", kinds::FOLLOWER_UNKNOWN),
    ("backup", kinds::BACKUP_UNKNOWN),
    ("key_id", kinds::API_KEY_UNKNOWN),
    ("store_id", kinds::STORE_UNKNOWN),
    ("receipt", kinds::IMPORT_UNKNOWN),
    ("endpoint_id", kinds::ENDPOINT_UNKNOWN),
    ("delivery_id", kinds::DELIVERY_UNKNOWN),
];

/// What single operations refuse besides.
const BESIDES: [(&str, &[Kind]); 25] = [
    ("create_order", &[kinds::INVALID_KEY, kinds::DUPLICATE_DIFFERS, kinds::KEY_REUSED]),
    ("create_orders", &[kinds::INVALID_KEY]),
    ("revise_order", &[kinds::ILLEGAL_CHANGE, kinds::PRECONDITION_REQUIRED]),
    ("withdraw_order", &[kinds::ILLEGAL_CHANGE, kinds::ALREADY_DIFFERS]),
    ("ship_order", &[kinds::ILLEGAL_CHANGE, kinds::ALREADY_DIFFERS]),
    ("deliver_order", &[kinds::ILLEGAL_CHANGE, kinds::ALREADY_DIFFERS]),
    ("claim_work", &[kinds::WORK_NOT_PULLED]),
    ("extend_work", &[kinds::LEASE_LOST]),
    ("finish_work", &[kinds::LEASE_LOST]),
    ("start_backup", &[kinds::BACKUP_ELSEWHERE]),
    ("create_endpoint", &[kinds::ENDPOINTS_TOO_MANY, kinds::SECRETS_KEY_MISSING]),
    ("enable_endpoint", &[kinds::ENDPOINT_UNPROVEN, kinds::ENDPOINT_CHANGED, kinds::SECRETS_KEY_MISSING]),
    ("change_endpoint", &[kinds::ENDPOINT_UNPROVEN, kinds::SECRETS_KEY_MISSING]),
    ("pause_endpoint", &[kinds::ENDPOINT_UNPROVEN]),
    ("rotate_endpoint", &[kinds::ENDPOINT_GRACE, kinds::ENDPOINT_CHANGED, kinds::SECRETS_KEY_MISSING]),
    ("test_endpoint", &[kinds::ENDPOINT_UNPROVEN, kinds::SECRETS_KEY_MISSING]),
    ("list_deliveries", &[kinds::ENDPOINT_UNKNOWN]),
    ("resend_delivery", &[kinds::ENDPOINT_DISABLED]),
    ("recover_deliveries", &[kinds::ENDPOINT_UNKNOWN, kinds::ENDPOINT_DISABLED]),
    ("replay_deliveries", &[kinds::ENDPOINT_UNKNOWN, kinds::ENDPOINT_DISABLED]),
    ("create_key", &[kinds::API_KEYS_TOO_MANY]),
    ("rotate_secrets", &[kinds::SECRETS_KEY_MISSING, kinds::CURSOR_INVALID]),
    ("register_store", &[kinds::MARKETPLACE_UNKNOWN, kinds::SECRETS_KEY_MISSING]),
    ("import_order", &[kinds::STORE_UNKNOWN, kinds::MARKETPLACE_UNKNOWN, kinds::SECRETS_KEY_MISSING]),
    ("rotate_key", &[kinds::API_KEY_ENDED, kinds::API_KEY_GRACE]),
];

/// Adds to an operation every refusal that it has, by status, and one for what any request may get.
pub(super) fn add(operation: &mut Operation, method: &Method, need: Need) {
    let mut by_status = BTreeMap::<u16, Vec<Kind>>::new();
    for kind in of(operation, method, need) {
        by_status.entry(kind.status).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        let said = kinds.iter().map(|kind| format!("{} (`{}`)", kind.title, kind.name));
        let response = refusal(&said.collect::<Vec<_>>().join(", or: "), matches!(status, 429 | 503));
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(response));
    }
    let response = refusal("Any other refusal, in the same form", false);
    operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
}

/// What a request may be answered that is signed instead of bearing a credential.
const SIGNED: [Kind; 8] = [
    kinds::INVALID_PARAMETER,
    kinds::UNAUTHENTICATED,
    kinds::BODY_TOO_LARGE,
    kinds::RATE_LIMITED,
    kinds::INTERNAL,
    kinds::UNAVAILABLE,
    kinds::REQUEST_TIMEOUT,
    kinds::OUTCOME_UNKNOWN,
];

fn of(operation: &Operation, method: &Method, need: Need) -> Vec<Kind> {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if need == Need::Nothing {
        // Health and metrics ask for nothing that could be refused; whoever tells of a store signs it.
        return if id == "hear_of_store" { SIGNED.to_vec() } else { Vec::new() };
    }
    let parameters: Vec<_> = operation
        .parameters
        .iter()
        .flatten()
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
        .collect();
    let takes = |name: &str| parameters.iter().any(|parameter| parameter.name == name);
    let mut found = vec![kinds::INVALID_PARAMETER, kinds::UNAUTHENTICATED, kinds::FORBIDDEN];
    found.extend([kinds::RATE_LIMITED, kinds::INTERNAL, kinds::UNAVAILABLE, kinds::REQUEST_TIMEOUT]);
    let in_path = |name: &str| {
        parameters.iter().any(|one| one.name == name && matches!(one.parameter_in, ParameterIn::Path))
    };
    found.extend(UNKNOWN.iter().filter(|(name, _)| in_path(name)).map(|(_, kind)| *kind));
    // An erasure takes an empty object, which is not worth describing.
    if operation.request_body.is_some() || id == "erase_order" {
        found.extend([kinds::INVALID_JSON, kinds::INVALID_BODY]);
        found.extend([kinds::BODY_TOO_LARGE, kinds::MEDIA_TYPE_UNSUPPORTED, kinds::CONTENT_CODED]);
    }
    if operation.request_body.is_some() && id != "create_orders" {
        found.push(kinds::VALUE_REFUSED);
    }
    // What was written when the storage broke off, nobody knows.
    if method != Method::GET {
        found.push(kinds::OUTCOME_UNKNOWN);
    }
    if takes("after") || ["replay_follower", "replay_deliveries"].contains(&id) {
        found.extend([kinds::CURSOR_INVALID, kinds::CURSOR_EXPIRED, kinds::EPOCH_CHANGED]);
    }
    if takes("If-Match") {
        found.push(kinds::VERSION_MISMATCH);
    }
    found.extend(BESIDES.iter().filter(|(name, _)| *name == id).flat_map(|(_, kinds)| *kinds));
    found
}

fn refusal(description: &str, comes_again: bool) -> Response {
    let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new().description(description);
    if comes_again {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let about = "Seconds after which to try again";
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some(about)).build();
        response = response.header("Retry-After", header);
    }
    response.content("application/problem+json", schema).build()
}
