//! The refusals that every operation of a contract shares, for its OpenAPI document.

use edge::Declared;
use http::Method;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response, ResponseBuilder};

/// Adds to each operation what it may be refused with whatever the contract; `form` is the schema of a refusal.
pub(crate) fn add_refusals(document: &mut OpenApi, declared: &[Declared], form: &str) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [(Method::GET, &mut item.get), (Method::POST, &mut item.post)] {
            let Some(operation) = operation else { continue };
            let needs_login = |route: &Declared| {
                route.method == method && route.path == path && route.need.scope().is_some()
            };
            if !declared.iter().any(needs_login) {
                continue;
            }
            let any_type = operation.request_body.as_ref().is_some_and(reads_any_type);
            for (status, description) in refusals(&method) {
                if *status == "415" && any_type {
                    continue;
                }
                let response = RefOr::T(refusal(description, form, matches!(*status, "429" | "503")));
                operation.responses.responses.insert((*status).to_owned(), response);
            }
        }
    }
}

/// Whether a body is read whatever it is said to be.
fn reads_any_type(body: &RefOr<RequestBody>) -> bool {
    matches!(body, RefOr::T(body) if body.content.contains_key("*/*"))
}

fn refusals(method: &Method) -> &'static [(&'static str, &'static str)] {
    if *method == Method::POST {
        &[
            ("401", "No credential, or no good one"),
            ("403", "The credential may not do this"),
            ("413", "The body is too large"),
            ("415", "The content type is not `application/json`"),
            ("429", "Too many requests"),
            ("500", "A defect of ours"),
            ("503", "Unavailable: nothing is promised; send it again"),
        ]
    } else {
        &[
            ("401", "No credential, or no good one"),
            ("403", "The credential may not do this"),
            ("429", "Too many requests"),
            ("500", "A defect of ours"),
            ("503", "Temporarily unavailable"),
        ]
    }
}

fn refusal(description: &str, form: &str, comes_again: bool) -> Response {
    let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name(form))).build();
    let mut response = ResponseBuilder::new().description(description);
    if comes_again {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(0))
            .build();
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds")).build();
        response = response.header("Retry-After", header);
    }
    response.content("application/json", schema).build()
}
