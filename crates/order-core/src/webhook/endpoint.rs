//! An endpoint: a receiver of events, and what may become of it.

use super::listens::Listens;
use super::schedule::FAILING_MAX;
use crate::clock::Timestamp;
use crate::error::Rejection;
use crate::ids::TenantId;
use crate::journal::{Cursor, Event};
use crate::sealing::{Place, Sealed, SealedColumn};
use std::cmp::Ordering;
use std::fmt;
use uuid::Uuid;

/// Most endpoints of one tenant.
pub const ENDPOINTS_MAX: u64 = 1_000;
/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Most deliveries a second that an endpoint can be held to.
pub const RATE_MAX: u32 = 10_000;

/// The id of an endpoint (UUIDv7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub Uuid);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in rows and on the wire.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one of that name.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// In whose words an endpoint is told.
    Dialect {
        /// Our own: the event as the feed shows it, by Standard Webhooks.
        V1 = "v1",
        /// The contract `marketplace`: its body and headers, and those of Standard Webhooks beside them.
        Marketplace = "marketplace",
    }
}

words! {
    /// Whether an endpoint is sent what it listens to.
    EndpointState {
        /// It is.
        Active = "active",
        /// It is not; what it listens to waits for it.
        Paused = "paused",
        /// It is not, and nothing new is kept for it.
        Disabled = "disabled",
    }
}

words! {
    /// Why an endpoint is disabled.
    DisabledFor {
        /// An operator said so.
        Asked = "asked",
        /// It answered 410.
        Gone = "gone",
        /// It took nothing for five days.
        Failing = "failing",
        /// Whoever is there has not said yet that they want to be called: see [`super::challenge`].
        Unproven = "unproven",
    }
}

/// The secret before a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// As it is kept.
    pub sealed: Sealed,
    /// Until when what is sent is signed with it too.
    pub until: Timestamp,
}

/// An endpoint as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its place in lists; rises with each endpoint of the installation, and leads the keys of what belongs to it.
    pub number: i64,
    /// Its id.
    pub endpoint_id: EndpointId,
    /// Whose.
    pub tenant: TenantId,
    /// Of the contract `marketplace`: whose stores it hears of, within the tenant; of all when there is none.
    pub organization: Option<String>,
    /// Where it is.
    pub url: String,
    /// What it hears of.
    pub listens: Listens,
    /// In whose words.
    pub dialect: Dialect,
    /// Whether it is sent anything.
    pub state: EndpointState,
    /// Why not, when it is disabled.
    pub disabled_for: Option<DisabledFor>,
    /// Deliveries a second at most; as many as it takes when there is none.
    pub rate: Option<u32>,
    /// What is sent is signed with it; `None` for an endpoint of the contract `marketplace` without one.
    pub secret: Option<Sealed>,
    /// The one before, while that still counts.
    pub previous: Option<PreviousSecret>,
    /// It hears of orders' events behind this place.
    pub start: Cursor,
    /// Since when it has failed without one success.
    pub failing_since: Option<Timestamp>,
    /// How far its rate is used up: see [`super::claims`].
    pub paced_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was deleted: then it is nowhere, until what belongs to it is gone too.
    pub deleted_at: Option<Timestamp>,
}

impl Endpoint {
    /// Whether it is to be told of an event of an order.
    pub fn wants(&self, event: &Event) -> bool {
        let is_new = match event.epoch.cmp(&self.start.epoch) {
            Ordering::Less => false,
            Ordering::Equal => !self.start.has_passed(event),
            Ordering::Greater => true,
        };
        self.keeps() && is_new && self.hears_of(event)
    }

    /// Whether it listens to an event of an order, now and then. Orders are of no organization: whoever hears of one alone hears
    /// of none.
    pub fn hears_of(&self, event: &Event) -> bool {
        self.tenant == event.tenant && self.organization.is_none() && self.listens.hears(event.kind.as_str())
    }

    /// Whether it is to be told of an event of a store.
    pub fn wants_of_store(&self, tenant: &TenantId, organization: &str, kind: &str) -> bool {
        self.keeps() && self.hears_of_store(tenant, organization, kind)
    }

    /// Whether it listens to an event of a store, now and then.
    pub fn hears_of_store(&self, tenant: &TenantId, organization: &str, kind: &str) -> bool {
        let of_it = self.organization.as_deref().is_none_or(|own| own == organization);
        self.tenant == *tenant && of_it && self.listens.hears(kind)
    }

    /// Whether whoever is there is yet to say that they want to be called.
    pub fn is_unproven(&self) -> bool {
        self.disabled_for == Some(DisabledFor::Unproven)
    }

    /// Whether what it listens to is kept for it.
    fn keeps(&self) -> bool {
        self.deleted_at.is_none() && self.state != EndpointState::Disabled
    }
}

/// Where the secret of an endpoint lies; `row` is its id as text.
pub fn place<'a>(tenant: &'a TenantId, row: &'a str) -> Place<'a> {
    SealedColumn::EndpointSecret.of(tenant, row)
}

/// Where the secret before lies.
pub fn previous_place<'a>(tenant: &'a TenantId, row: &'a str) -> Place<'a> {
    SealedColumn::EndpointPreviousSecret.of(tenant, row)
}

/// Makes or changes an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointCommand {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub endpoint_id: EndpointId,
    /// When.
    pub now: Timestamp,
    /// What.
    pub action: EndpointAction,
}

/// What to do with an endpoint.
#[derive(Debug, Clone)]
pub enum EndpointAction {
    /// Make it.
    Create(Box<NewEndpoint>),
    /// Change what it says.
    Change(EndpointChange),
    /// Keep for it what it listens to, and send nothing.
    Pause,
    /// Send again, whatever state it is in; but not before it is proven.
    Enable,
    /// Send: whoever is at this URL has said that they want to be called.
    Prove {
        /// Where they were asked.
        url: String,
        /// The end of the journal then: it hears of what is behind that.
        start: Cursor,
    },
    /// Send nothing, and keep nothing new.
    Disable(DisabledFor),
    /// Give it another secret.
    Rotate {
        /// The new one.
        secret: Sealed,
        /// The present one, sealed for its new place, and until when it counts; `None` when it ends now.
        previous: Option<PreviousSecret>,
        /// The present one as it was read: another is there when somebody was faster.
        was: Option<Sealed>,
    },
    /// Take it away, with its secrets.
    Delete,
}

impl EndpointAction {
    /// Bytes that it holds in memory, roughly.
    pub(crate) fn footprint(&self) -> usize {
        match self {
            Self::Create(new) => size_of_val(&**new) + new.url.len() + size_of_val(&*new.start.positions),
            Self::Change(change) => change.url.as_ref().map_or(0, String::len),
            Self::Prove { url, start } => url.len() + size_of_val(&*start.positions),
            Self::Rotate { secret, .. } => 3 * secret.as_bytes().len(),
            Self::Pause | Self::Enable | Self::Disable(_) | Self::Delete => 0,
        }
    }
}

/// What the maker of an endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Where it is.
    pub url: String,
    /// What it hears of.
    pub listens: Listens,
    /// In whose words.
    pub dialect: Dialect,
    /// See [`Endpoint::organization`].
    pub organization: Option<String>,
    /// See [`Endpoint::rate`].
    pub rate: Option<u32>,
    /// See [`Endpoint::secret`].
    pub secret: Option<Sealed>,
    /// Whether it has to be proven first.
    pub unproven: bool,
    /// The end of the journal when it was asked for.
    pub start: Cursor,
}

/// What is to be changed; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointChange {
    /// Where it is.
    pub url: Option<String>,
    /// What it hears of.
    pub listens: Option<Listens>,
    /// Its rate; `Some(None)` takes it away.
    pub rate: Option<Option<u32>>,
}

/// Decides what a command makes of the endpoint `found` under its id. `number` and `count` are for a new one: its number, and
/// how many its tenant has.
///
/// # Errors
/// [`Rejection::EndpointUnknown`] for another tenant's too, [`Rejection::EndpointsTooMany`], [`Rejection::EndpointChanged`],
/// [`Rejection::EndpointUnproven`].
pub fn decide(
    found: Option<Endpoint>,
    command: &EndpointCommand,
    number: i64,
    count: u64,
) -> Result<Endpoint, Rejection> {
    if let EndpointAction::Create(new) = &command.action {
        // An id is fresh: it is never taken, and if it were, nobody's endpoint may be overwritten.
        if found.is_some() || count >= ENDPOINTS_MAX {
            return Err(Rejection::EndpointsTooMany);
        }
        return Ok(created(command, new, number));
    }
    let own = |endpoint: &Endpoint| endpoint.tenant == command.tenant && endpoint.deleted_at.is_none();
    let mut endpoint = found.filter(own).ok_or(Rejection::EndpointUnknown)?;
    match &command.action {
        EndpointAction::Create(_) => {}
        EndpointAction::Change(change) => {
            let EndpointChange { url, listens, rate } = change.clone();
            endpoint.url = url.unwrap_or(endpoint.url);
            endpoint.listens = listens.unwrap_or(endpoint.listens);
            if let Some(rate) = rate {
                (endpoint.rate, endpoint.paced_until) = (rate, None);
            }
        }
        EndpointAction::Prove { url, .. } if *url != endpoint.url => return Err(Rejection::EndpointChanged),
        EndpointAction::Prove { start, .. } => {
            endpoint.start = start.clone();
            set_state(&mut endpoint, EndpointState::Active, None);
        }
        // It is disabled, and stays so.
        EndpointAction::Disable(DisabledFor::Asked) if endpoint.is_unproven() => {}
        EndpointAction::Pause | EndpointAction::Enable if endpoint.is_unproven() => {
            return Err(Rejection::EndpointUnproven("was not asked yet".to_owned()));
        }
        EndpointAction::Pause => set_state(&mut endpoint, EndpointState::Paused, None),
        // It is not blamed for what was before.
        EndpointAction::Enable => set_state(&mut endpoint, EndpointState::Active, None),
        EndpointAction::Disable(why) => {
            if !may_be_disabled(&endpoint, *why, command.now) {
                return Err(Rejection::EndpointChanged);
            }
            set_state(&mut endpoint, EndpointState::Disabled, Some(*why));
        }
        EndpointAction::Rotate { secret, previous, was } => {
            if endpoint.secret != *was {
                return Err(Rejection::EndpointChanged);
            }
            (endpoint.secret, endpoint.previous) = (Some(secret.clone()), previous.clone());
        }
        EndpointAction::Delete => {
            (endpoint.secret, endpoint.previous) = (None, None);
            endpoint.deleted_at = Some(command.now);
            set_state(&mut endpoint, EndpointState::Disabled, Some(DisabledFor::Asked));
        }
    }
    endpoint.updated_at = command.now;
    Ok(endpoint)
}

/// Whoever saw it fail saw it as it was: it may have been enabled again since.
fn may_be_disabled(endpoint: &Endpoint, why: DisabledFor, now: Timestamp) -> bool {
    let is_active = endpoint.state == EndpointState::Active;
    match why {
        DisabledFor::Asked => true,
        DisabledFor::Gone | DisabledFor::Unproven => is_active,
        DisabledFor::Failing => is_active && has_failed_too_long(endpoint.failing_since, now),
    }
}

/// Whether an endpoint that fails since then is to be disabled.
pub fn has_failed_too_long(failing_since: Option<Timestamp>, now: Timestamp) -> bool {
    failing_since.is_some_and(|since| now.since(since) >= FAILING_MAX)
}

fn set_state(endpoint: &mut Endpoint, state: EndpointState, disabled_for: Option<DisabledFor>) {
    if state == EndpointState::Active {
        endpoint.failing_since = None;
    }
    (endpoint.state, endpoint.disabled_for) = (state, disabled_for);
}

fn created(command: &EndpointCommand, new: &NewEndpoint, number: i64) -> Endpoint {
    let NewEndpoint { url, listens, dialect, organization, rate, secret, unproven, start } = new.clone();
    let state = if unproven { EndpointState::Disabled } else { EndpointState::Active };
    Endpoint {
        number,
        endpoint_id: command.endpoint_id,
        tenant: command.tenant.clone(),
        organization,
        url,
        listens,
        dialect,
        state,
        disabled_for: unproven.then_some(DisabledFor::Unproven),
        rate,
        secret,
        previous: None,
        start,
        failing_since: None,
        paced_until: None,
        created_at: command.now,
        updated_at: command.now,
        deleted_at: None,
    }
}
