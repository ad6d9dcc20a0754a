//! The OpenAPI document of this API. The operations are described beside their handlers.

mod examples;
mod headers;
mod refusals;

use crate::schema::Problem;
use crate::{
    action_log, api_keys, backups, bulk, create, deliveries, endpoints, erase, events, facts, followers,
    health, imports, list, meters, order, problem, redrives, revise, secrets, stores, streams, timeline,
    work,
};
use edge::{Declared, Need, Scope};
use http::Method;
use utoipa::OpenApi;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{RefOr, Required};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wellorder",
        version = env!("CARGO_PKG_VERSION"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    external_docs(url = "/v1/docs/guides/integrate", description = "Guides: from nothing to a program that bears everything"),
    paths(
        create::create, bulk::bulk, list::list, order::get, order::events, list::parked, events::feed,
        revise::revise, facts::withdraw, facts::ship, facts::deliver, erase::erase, timeline::timeline,
        redrives::start, redrives::get, redrives::items,
        work::claim, work::heartbeat, work::finish,
        followers::list, followers::get, followers::pause, followers::resume, followers::replay,
        streams::list, streams::redrive,
        api_keys::create, api_keys::list, api_keys::get, api_keys::rotate, api_keys::revoke,
        stores::list, stores::register, stores::get, stores::runs, stores::hear, stores::sync,
        imports::list, imports::create, imports::get, imports::retry,
        endpoints::create, endpoints::list, endpoints::get, endpoints::change, endpoints::delete, endpoints::pause,
        endpoints::enable, endpoints::disable, endpoints::rotate, endpoints::test,
        deliveries::list, deliveries::get, deliveries::resend, deliveries::recover, deliveries::replay,
        action_log::list, backups::start, backups::get,
        secrets::status, secrets::rotate,
        health::live, health::ready, meters::metrics,
    ),
    components(schemas(Problem)),
    tags(
        (name = "orders", description = "Orders: taken in once, worked on, shown"),
        (name = "events", description = "The journal: everything that happened, in order"),
        (name = "keys", description = "API keys: who may call, and do what"),
        (name = "stores", description = "Stores at marketplaces, and the orders imported from them"),
        (name = "webhooks", description = "Endpoints that are told of events, and what became of each delivery"),
        (name = "work", description = "Work for workers outside, under leases"),
        (name = "operations", description = "Followers, parked orders, copies, what people did, health"),
    )
)]
struct Document;

/// What every operation has in common.
const DESCRIPTION: &str = "**New here?** [Integrate with wellorder](/v1/docs/guides/integrate) takes ten minutes; \
     [all guides](/v1/docs/guides/) and [the states of an order](/v1/docs/guides/states) are on this server too, offline.\n\n\
     **Key.** `wellorder dev` asks for no login. For `serve`, its operator makes you a key (`wellorder keys create --name \
     shop --scope orders:read --scope orders:write`, or `POST /v1/keys`); send it as `Authorization: Bearer wo_…`.\n\n\
     **Retries.** Hand in each order with a `reference` of yours (kept for ever), or an `Idempotency-Key` (kept for at least \
     24 hours): the same again is the same order, so that retrying is harmless. 408, 429 and 503 are sent again with the same \
     reference or key after `Retry-After` seconds; so are 500, 502, 504, time-outs and connections that broke, after which it is \
     not known whether it happened, as it is not after a 503 of the type `outcome-unknown`. Any other refusal comes again: mend \
     the request.\n\n\
     **Pages.** Lists carry no totals: give `next` of a page as `after`, with the same filters, until it is `null`. The feed \
     `/v1/events` has no end: its `next` is always there, and is kept.\n\n\
     **Forms.** Amounts are decimal strings; times are RFC 3339 in UTC with six decimals. Every reply has `X-Request-Id`. What happens to orders is told in events: \
     [AsyncAPI](/asyncapi.json), and [a JSON Schema for each type](/schemas/events).\n\n\
     **Errors.** Every refusal is `application/problem+json` (RFC 9457); its \
     `type` is `urn:wellorder:problem:` and one of:";

/// How to log in.
const LOGIN: &str = "An API key (`wo_…`) or a JSON Web Token of an issuer that the server knows. Each operation names \
     the scope that it needs; a credential without it gets 403, none or a bad one 401. `wellorder dev` needs none.";

/// What is said of operations that touch all tenants.
const OPERATORS: &str = "It belongs to the whole installation: callers of the operators' tenant alone may do it \
     (`auth.operator_tenant`, `default` unless said); others get 403.";

/// What is said of operations that hand API keys out, or end them.
const KEY_HOLDERS: &str = "Keys of the operators' tenant are operators' keys: a token that names no tenant, which is no operator's, \
     may list them and gets 403 here.";

/// What clients send, and may not add to.
#[rustfmt::skip]
const STRICT: [&str; 25] = [
    "NewOrder", "NewLine", "OrderPatch", "NewWithdrawal", "NewShipment", "NewDelivery", "NewRedrive", "RedriveFilter",
    "Replay", "Claim", "Heartbeat", "WorkResult", "WorkResults", "NewKey", "Rotation",
    "FollowerRedrive", "SecretsRotation", "NewStore", "NewImport", "ImportRetry", "NewEndpoint", "EndpointPatch",
    "EndpointRotation", "Recovery", "MissedDeliveries",
];

/// Operations whose body may be left out.
const BODY_OPTIONAL: [&str; 6] =
    ["claim_work", "ship_order", "deliver_order", "rotate_key", "rotate_endpoint", "rotate_secrets"];

/// The name of the way to log in.
const BEARER: &str = "bearer";

/// The whole document, with what each route of `/v1` needs.
pub(crate) fn document(declared: &[Declared]) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let mut description = DESCRIPTION.to_owned();
    description.push('\n');
    for kind in problem::KINDS {
        description.push_str(&format!("\n* `{}` ({}): {}", kind.name, kind.status, kind.title));
    }
    document.info.description = Some(description);
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let optional = operation.operation_id.as_deref().is_some_and(|id| BODY_OPTIONAL.contains(&id));
            if let Some(RefOr::T(body)) = operation.request_body.as_mut().filter(|_| optional) {
                body.required = Some(Required::False);
            }
            let is =
                |route: &&Declared| route.method == method && path.strip_prefix("/v1") == Some(route.path);
            let need = declared.iter().find(is).map_or(Need::Nothing, |route| route.need);
            let besides = match need {
                Need::Operator(_) => Some(OPERATORS),
                Need::KeyHolder(_) => Some(KEY_HOLDERS),
                Need::Scope(_) | Need::Nothing => None,
            };
            if let Some(besides) = besides {
                let said = operation.description.take().unwrap_or_default();
                operation.description = Some(format!("{said}\n\n{besides}").trim_start().to_owned());
            }
            refusals::add(operation, &method, need);
            headers::add(operation);
            examples::add_to_operation(operation);
            if let Some(scope) = need.scope() {
                operation.security = Some(vec![SecurityRequirement::new(BEARER, [scope.name()])]);
            }
        }
    }
    if let Some(components) = &mut document.components {
        let scopes = Scope::ALL.iter().map(|scope| format!("\n* `{scope}`: {}", scope.about()));
        let login = format!("{LOGIN} There are these scopes:\n{}", scopes.collect::<String>());
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(login)).build();
        examples::add_to_schemas(components);
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
        for name in STRICT {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    document
}
