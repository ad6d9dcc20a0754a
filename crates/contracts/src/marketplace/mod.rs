//! The contract `marketplace`: orders of shops at marketplaces; so far its mock marketplace alone.
//!
//! | call | reply |
//! |---|---|
//! | `POST /mock/{marketplace}/validate` | 200 the order of a receipt, or that there is none; 401 no login; 429 later |
//! | `GET /docs`, `/docs/json` | Swagger UI; the OpenAPI document |

mod map;
mod mock;
mod refuse;
mod wire;

use crate::contract::Mounted;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use edge::{Declared, Gate, Guard, Json, Mount, Need, Refused, Routes};
use http::{HeaderMap, Method};
pub use mock::{Login, Mock};
use order_core::{App, TenantId};
use refuse::No;
use std::sync::Arc;
use utoipa::OpenApi;
use wire::Marketplace;

/// The contract's name: its prefix, its source, its label in metrics.
pub const NAME: &str = "marketplace";
/// How it is mounted.
pub const MOUNT: Mount = Mount { name: NAME, style: refuse::style };

/// The contract under its documented paths; `gate` says who calls. Without a `mock` there is no mock marketplace.
pub fn router(app: Arc<App>, guard: Arc<Guard>, gate: Arc<dyn Gate>, mock: Option<Mock>) -> Router {
    let document = if mock.is_some() { MockDocs::openapi } else { Docs::openapi };
    Mounted::new(app, NAME).mounted(routes(gate, mock), (document, "Refused"), MOUNT, guard)
}

/// What each route needs, those of the mock marketplace among them.
pub fn declared() -> Vec<Declared> {
    let gate = Arc::new(edge::Open::new(TenantId::default_tenant()));
    routes(gate, Some(Mock::default())).declared().to_vec()
}

fn routes(gate: Arc<dyn Gate>, mock: Option<Mock>) -> Routes<Mounted> {
    let routes = Routes::new(gate);
    let Some(mock) = mock.map(Arc::new) else { return routes };
    let validate = move |mounted, marketplace, headers, body| {
        validate_receipt(Arc::clone(&mock), mounted, marketplace, headers, body)
    };
    // It asks for a login of its own, as the marketplaces do that it stands for.
    routes.route(Method::POST, "/mock/{marketplace}/validate", Need::Nothing, validate)
}

/// Ask the mock marketplace about a receipt
///
/// Each marketplace has a name and a password of its own (`MOCK_ETSY_USER`, `MOCK_ETSY_PASS` and so on). What is said of a
/// receipt follows from its end: two digits that sum up to a multiple of 6 are refused for now, an odd digit is an order,
/// anything else is none.
#[utoipa::path(
    post,
    path = "/mock/{marketplace}/validate",
    tag = "mock marketplace",
    params(("marketplace" = String, Path, description = "`etsy`, `shopify` or `amazon`", example = "etsy",
        pattern = "^(etsy|shopify|amazon)$")),
    request_body = wire::Validate,
    responses(
        (status = 200, description = "The order of the receipt, or that there is none", body = wire::Validated),
        (status = 400, description = "The marketplace is unknown, or the body is refused", body = wire::Refused),
        (status = 401, description = "Not the name and password of this marketplace", body = wire::Refused, headers(
            ("WWW-Authenticate" = String, description = "`Basic`"),
        )),
        (status = 413, description = "The body is too large", body = wire::Refused),
        (status = 415, description = "The content type is not `application/json`", body = wire::Refused),
        (status = 429, description = "`rate_limited`: ask later", body = wire::Refused),
        (status = 500, description = "A defect of ours", body = wire::Refused),
        (status = 503, description = "Unavailable: send it again", body = wire::Refused),
    ),
    security(("mock" = [])),
)]
async fn validate_receipt(
    mock: Arc<Mock>,
    State(mounted): State<Mounted>,
    marketplace: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Json, Refused>,
) -> Result<Response, No> {
    let marketplace = marketplace.ok().and_then(|Path(name)| Marketplace::of(&name));
    let marketplace = marketplace.ok_or(No::MarketplaceUnknown)?;
    let asked = wire::Validate::read(body?.0)?;
    if !mock.admits(marketplace, &headers) {
        return Err(No::LoginRefused);
    }
    map::validated(asked, mounted.app().clock.now())
}

/// The contract's OpenAPI document, without the mock marketplace.
#[derive(OpenApi)]
#[openapi(info(
    title = "marketplace",
    description = "Orders of shops at marketplaces.",
    version = "1.0.0",
    license(name = "Apache-2.0", identifier = "Apache-2.0"),
))]
struct Docs;

/// The same with it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "marketplace",
        description = "Orders of shops at marketplaces, and a mock marketplace.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(validate_receipt),
    modifiers(&BasicLogin)
)]
struct MockDocs;

/// Names how clients of the mock marketplace log in.
struct BasicLogin;

impl utoipa::Modify for BasicLogin {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

        let basic = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Basic).build());
        document.components.get_or_insert_default().add_security_scheme("mock", basic);
    }
}
