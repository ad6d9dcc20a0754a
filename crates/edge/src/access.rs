//! Who may do what. A route is declared with what it needs, and there is no other way to declare one: [`Routes::route`].
//! Who a request comes from is for a [`Gate`] to say; what a route needs is checked here, before its handler runs.

use crate::guard::Guard;
use crate::limit::ClientAddress;
use crate::reads::ReadClass;
use crate::refusal::{Refusal, Refused, RequestId};
use crate::standing::Admitted;
use async_trait::async_trait;
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::request::Parts;
use http::{Method, header};
use order_core::action_log::{self, Actor};
use order_core::{Fault, TenantId};
use std::fmt;
use std::sync::Arc;

macro_rules! scopes {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal,)+) => {
        /// One thing that a credential may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scope {
            $(#[doc = $doc] $variant,)+
        }

        impl Scope {
            /// All of them, in the order of their names' groups.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in tokens, keys and descriptions.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it allows, in a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $doc.trim_ascii(),)+
                }
            }
        }
    };
}

scopes! {
    /// Read orders and their history.
    OrdersRead = "orders:read",
    /// Take orders in, revise, ship and deliver them.
    OrdersWrite = "orders:write",
    /// Withdraw orders, and erase a person's data.
    OrdersCancel = "orders:cancel",
    /// Read the feed.
    EventsRead = "events:read",
    /// Read webhook endpoints and deliveries.
    WebhooksRead = "webhooks:read",
    /// Make and change webhook endpoints, deliver again.
    WebhooksWrite = "webhooks:write",
    /// Read stores and imports.
    StoresRead = "stores:read",
    /// Register stores, import.
    StoresWrite = "stores:write",
    /// Lease work, and end it.
    WorkClaim = "work:claim",
    /// Redrive parked work.
    WorkRedrive = "work:redrive",
    /// Pause, resume and replay followers; for callers of the operators' tenant.
    FollowersWrite = "followers:write",
    /// Make, list, rotate and revoke API keys.
    KeysAdmin = "keys:admin",
    /// Read what people and keys did.
    AuditRead = "audit:read",
    /// Have copies of the whole database made; for callers of the operators' tenant.
    BackupsWrite = "backups:write",
}

impl Scope {
    /// The scope of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.name() == name)
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u32);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);

    /// All.
    pub fn all() -> Self {
        Scope::ALL.iter().copied().collect()
    }

    /// Whether it is one of them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.has(*scope))
    }

    /// Those of a text of names apart by spaces (the claim `scope`, RFC 8693 §4.2); names of others are left out.
    pub fn parse(text: &str) -> Self {
        text.split(' ').filter_map(Scope::from_name).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(" "))
    }
}

/// Who a request comes from. Handlers take it as an argument; a route that needs nothing has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose orders are seen and made.
    pub tenant: TenantId,
    /// Who acts, for histories: the subject of a token, `key:ID`, or `local`.
    pub subject: Arc<str>,
    /// What is allowed.
    pub scopes: Scopes,
    /// Whether the credential itself says which tenant; `false` where it says none, and gets the tenant `default`.
    pub tenant_said: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        // Only a route that needs nothing has no caller: a defect of ours.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| {
            Refused(Refusal::Fault(Fault::internal("a handler asks who calls, its route does not")))
        })
    }
}

/// Says who a request comes from.
#[async_trait]
pub trait Gate: Send + Sync {
    /// The caller; [`Refusal::Unauthenticated`] when there is no good credential.
    async fn admit(&self, head: &Parts) -> Result<Caller, Refusal>;

    /// Whether the caller is of those who run the installation.
    fn is_operator(&self, caller: &Caller) -> bool {
        caller.tenant_said && caller.tenant == TenantId::default_tenant()
    }
}

/// A gate that asks for no credential: whoever calls may do everything, as one tenant.
pub struct Open {
    caller: Caller,
}

impl Open {
    /// Everybody is `tenant`.
    pub fn new(tenant: TenantId) -> Self {
        let caller = Caller { tenant, subject: "local".into(), scopes: Scopes::all(), tenant_said: true };
        Self { caller }
    }
}

#[async_trait]
impl Gate for Open {
    async fn admit(&self, _: &Parts) -> Result<Caller, Refusal> {
        Ok(self.caller.clone())
    }

    /// Whoever has the data folder has all of it.
    fn is_operator(&self, _: &Caller) -> bool {
        true
    }
}

/// What a route needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing at all, not even a name: health, descriptions.
    Nothing,
    /// A caller who may do this.
    Scope(Scope),
    /// The same, of those who run the installation: it touches all tenants.
    Operator(Scope),
    /// The same, of nobody who is less than the API keys of their tenant are: it hands such a key out, or ends one. Whoever
    /// could, would gain by a key what their own credential was denied.
    KeyHolder(Scope),
}

impl Need {
    /// The scope that is needed, if any.
    pub fn scope(self) -> Option<Scope> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) | Self::Operator(scope) | Self::KeyHolder(scope) => Some(scope),
        }
    }

    /// What `caller`, whom `gate` let in, lacks of it.
    pub(crate) fn refuse(self, gate: &dyn Gate, caller: &Caller) -> Result<(), Refusal> {
        match self {
            Self::Operator(_) if !gate.is_operator(caller) => Err(Refusal::NotOperator),
            Self::KeyHolder(_) if is_less_than_a_key(gate, caller) => Err(Refusal::KeysOfOperators),
            _ => match self.scope().filter(|scope| !caller.scopes.has(*scope)) {
                Some(scope) => Err(Refusal::Forbidden { scope }),
                None => Ok(()),
            },
        }
    }
}

/// Whether an API key of the caller's tenant, which says its tenant as all keys do, is an operator's, and the caller is none.
fn is_less_than_a_key(gate: &dyn Gate, caller: &Caller) -> bool {
    let key = Caller { tenant_said: true, ..caller.clone() };
    gate.is_operator(&key) && !gate.is_operator(caller)
}

/// A route as it was declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its method.
    pub method: Method,
    /// Its path, as it is matched.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
}

/// Routes, each with what it needs.
pub struct Routes<S> {
    router: Router<S>,
    gate: Arc<dyn Gate>,
    declared: Vec<Declared>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet; `gate` says who calls.
    pub fn new(gate: Arc<dyn Gate>) -> Self {
        Self { router: Router::new(), gate, declared: Vec::new() }
    }

    /// Adds one. A method that the router does not know is a defect of ours, and served as `GET`.
    #[must_use]
    pub fn route<H, T>(mut self, method: Method, path: &'static str, need: Need, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let mut route = on(filter, handler);
        if need != Need::Nothing {
            let admitted = Admitted { gate: Arc::clone(&self.gate), need };
            let reads = ReadClass::of(&method, path);
            route = route.route_layer(middleware::from_fn_with_state((admitted, reads), admit));
        }
        self.router = self.router.route(path, route);
        self.declared.push(Declared { method, path, need });
        self
    }

    /// What was declared, in order.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// The routes, to be mounted.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

async fn admit(
    State((admitted, class)): State<(Admitted, Option<ReadClass>)>,
    request: Request,
    next: Next,
) -> Response {
    match admitted.answer(class, request, next).await {
        Ok(response) => response,
        Err(refusal) => Refused(refusal).into_response(),
    }
}

impl Admitted {
    async fn answer(
        self,
        class: Option<ReadClass>,
        request: Request,
        next: Next,
    ) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        let caller = limited(self.gate.as_ref(), &parts).await?;
        self.need.refuse(self.gate.as_ref(), &caller)?;
        let reads = parts.extensions.get::<Arc<Guard>>().map(|guard| Arc::clone(&guard.reads));
        let turn = match (&reads, class) {
            (Some(reads), Some(class)) => {
                Some(reads.turn(&caller.tenant, class).await.map_err(Refusal::Fault)?)
            }
            _ => None,
        };
        let actor = (parts.method != Method::GET).then(|| actor(&caller, &parts));
        let tenant = caller.tenant.clone();
        parts.extensions.insert(caller);
        parts.extensions.insert(self);
        // Whatever the handler does is done for them, and told of in the action log.
        let response = action_log::within(actor, next.run(Request::from_parts(parts, body))).await;
        drop(turn);
        Ok(match &reads {
            Some(reads) => reads.answers.counting(&tenant, response),
            None => response,
        })
    }
}

fn actor(caller: &Caller, head: &Parts) -> Arc<Actor> {
    Arc::new(Actor {
        tenant: caller.tenant.clone(),
        by: Arc::clone(&caller.subject),
        address: head.extensions.get::<ClientAddress>().map(|client| client.0),
        request_id: head.extensions.get::<RequestId>().map(|id| id.0.clone()),
    })
}

/// Who calls, unless they have called too often.
async fn limited(gate: &dyn Gate, head: &Parts) -> Result<Caller, Refusal> {
    let (Some(guard), Some(address)) =
        (head.extensions.get::<Arc<Guard>>(), head.extensions.get::<ClientAddress>())
    else {
        // Called without a connection, by a command on its own data folder.
        return gate.admit(head).await;
    };
    let (rates, network) = (&guard.rates, address.network());
    if !head.headers.contains_key(header::AUTHORIZATION) {
        rates.anonymous(network, guard.clock.now())?;
        return gate.admit(head).await;
    }
    let admitted = gate.admit(head).await;
    match &admitted {
        Ok(caller) => rates.caller(caller, guard.clock.now())?,
        // Others may come from the same address: whatever was shown before, a good credential is good.
        Err(Refusal::Unauthenticated) => rates.login_failed(network, guard.clock.now())?,
        Err(_) => {}
    }
    admitted
}
