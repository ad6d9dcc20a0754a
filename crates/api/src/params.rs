//! Reads paths and query strings strictly: a parameter that is unknown, given twice or not valid is refused.

use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences};
use crate::problem::{Failure, INVALID_PARAMETER, Offence, Problem, cursor_refused};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use edge::MaybeJson;
use http::request::Parts;
use order_core::ids::check_text;
use order_core::{Error, Fault, Rejection, Timestamp};
use std::convert::Infallible;
use uuid::Uuid;

/// The parameters of a query, decoded, in the order in which they came.
pub(crate) struct Params(pub(crate) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // Any query can be read as pairs.
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        Ok(Self(pairs.map(|Query(pairs)| pairs).unwrap_or_default()))
    }
}

/// The query of a route that takes no parameters: any is refused.
pub(crate) struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Ok(params) = Params::from_request_parts(parts, state).await;
        params.read(&[]).settle().map(|()| Self)
    }
}

/// The body of a route that takes none: every member of one is refused, for whoever sends it expects something of it.
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let MaybeJson(body) = MaybeJson::from_request(request, state).await.map_err(Failure::Refused)?;
        let mut offences = Offences::default();
        Object::read(&body, "", &[], &mut offences);
        offences.settle().map(|()| Self)
    }
}

/// The one id in a route's path, in the form that is shown (8-4-4-4-12 hexadecimal digits).
pub(crate) struct PathId(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|error| Fault::internal(format!("a path that is no text: {error}")))?;
        let (name, text) = params.iter().next().ok_or_else(|| Fault::internal("the route has no id"))?;
        uuid(text).map(Self).ok_or_else(|| {
            let offence = Offence::parameter(name, "form", "must be a UUID");
            Problem::new(INVALID_PARAMETER, format!("{name} must be a UUID")).offences(vec![offence]).into()
        })
    }
}

/// Reads parameters and collects what is wrong with them.
pub(crate) struct Reader {
    params: Params,
    offences: Vec<Offence>,
}

impl Params {
    /// Refuses parameters other than `known`, and those given twice.
    pub(crate) fn read(self, known: &[&str]) -> Reader {
        let mut offences = Vec::new();
        for (index, (name, value)) in self.0.iter().enumerate() {
            // What bytes that are no UTF-8 were read as: nobody has such a name, and a filter by it would find nothing.
            if [name, value].iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
                offences.push(Offence::parameter(name, "encoding", "must be percent-encoded UTF-8"));
            } else if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("is no parameter that is known here; there are: {known}");
                offences.push(Offence::parameter(name, "unknown-parameter", message));
            } else if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                offences.push(Offence::parameter(name, "given-twice", "must be given once"));
            }
        }
        Reader { params: self, offences }
    }
}

impl Reader {
    /// A parameter, if it is given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Notes that a parameter is not valid.
    pub(crate) fn refuse(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.offences.push(Offence::parameter(name, code, message));
    }

    /// A parameter that `parse` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        message: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.get(name)?);
        if parsed.is_none() {
            self.refuse(name, "form", message);
        }
        parsed
    }

    /// A text of 1 to 255 bytes.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let text = self.get(name)?.to_owned();
        match check_text(&text) {
            Ok(()) => Some(text),
            Err(invalid) => {
                self.refuse(name, "form", invalid.to_string());
                None
            }
        }
    }

    /// How many rows to show: from 1 to `max`.
    pub(crate) fn limit(&mut self, unless_said: u32, max: u32) -> u32 {
        self.count("limit", max).unwrap_or(unless_said)
    }

    /// A number from 1 to `max`.
    pub(crate) fn count(&mut self, name: &str, max: u32) -> Option<u32> {
        let fits = |text: &str| whole_number(text).filter(|count| (1..=max).contains(count));
        self.parsed(name, &format!("must be from 1 to {max}"), fits)
    }

    /// Where the page begins, from the parameter `after`.
    pub(crate) fn place(&self, signer: &Signer<'_>, purpose: Purpose) -> Result<Option<u64>, Failure> {
        self.after(|text| signer.read_place(purpose, text))
    }

    /// Where the page before ended, in a list that is in the order of other keys than numbers.
    pub(crate) fn key(&self, signer: &Signer<'_>, purpose: Purpose) -> Result<Option<Vec<u8>>, Failure> {
        self.after(|text| signer.read_key(purpose, text))
    }

    /// The parameter `after`, if it is given, as `read` reads it.
    pub(crate) fn after<T>(
        &self,
        read: impl FnOnce(&str) -> Result<T, Rejection>,
    ) -> Result<Option<T>, Failure> {
        self.get("after").map(read).transpose().map_err(after_refused)
    }

    /// The moment that a parameter names (RFC 3339).
    pub(crate) fn moment(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "must be an RFC 3339 date-time such as 2026-11-20T10:00:00Z", |text| {
            Timestamp::parse(text).ok()
        })
    }

    /// What the parameters ask for, those aside that say where a page begins and how long it is.
    pub(crate) fn filters(&self) -> String {
        let place = |name: &str| matches!(name, "limit" | "after" | "updated_since");
        let mut filters: Vec<_> = self.params.0.iter().filter(|(name, _)| !place(name)).collect();
        filters.sort();
        filters.into_iter().map(|(name, value)| format!("{name}={}:{value};", value.len())).collect()
    }

    /// Fails when anything was found.
    pub(crate) fn settle(self) -> Result<(), Failure> {
        if self.offences.is_empty() {
            return Ok(());
        }
        let problem = Problem::new(INVALID_PARAMETER, "A parameter is unknown or not valid; see errors");
        Err(problem.offences(self.offences).into())
    }
}

/// A refusal of the cursor in the parameter `after`, which it names; any other failure as it is.
pub(crate) fn after_refused(error: impl Into<Error>) -> Failure {
    cursor_refused(error, |code, message| Offence::parameter("after", code, message))
}

/// A number in digits alone: no sign, no space.
fn whole_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A UUID in the form that is shown, and in no other.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}
