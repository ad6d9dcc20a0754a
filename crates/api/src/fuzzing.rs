//! What the fuzz targets see of this crate besides its interface.

use crate::cursor::{Purpose, Signer};
use crate::if_match::IfMatch;
use crate::params::Params;
use crate::problem::Failure;
use crate::{create, params, prefer, redrives};
use axum::extract::Query;
use edge::RequestId;
use http::{HeaderMap, Uri};
use order_core::intake::Intake;
use order_core::journal::Cursor;
use order_core::query::Install;
use order_core::redrive::RedriveFilter;
use order_core::{Rejection, TenantId};
use serde_json::Value;
use uuid::Uuid;

/// The body of `POST /v1/orders`.
///
/// # Errors
/// The problem as it is shown.
pub fn order(body: &Value) -> Result<Intake, Value> {
    create::read(body, TenantId::default_tenant(), None).map_err(shown)
}

/// The body of `POST /v1/redrives`: which orders, why, and whether it is a dry run.
///
/// # Errors
/// The problem as it is shown.
pub fn redrive(body: &Value) -> Result<(RedriveFilter, String, bool), Value> {
    let asked = redrives::read(body).map_err(shown)?;
    Ok((asked.filter, asked.reason, asked.dry_run))
}

/// The pairs of a query; `None` when it cannot be read as pairs.
pub fn query(uri: &Uri) -> Option<Vec<(String, String)>> {
    Query::<Vec<(String, String)>>::try_from_uri(uri).ok().map(|Query(pairs)| pairs)
}

/// The parameters `limit` (1 to 200; 50 unless said) and `customer` of a query that knows these two alone.
///
/// # Errors
/// The problem as it is shown.
pub fn parameters(pairs: Vec<(String, String)>) -> Result<(u32, Option<String>), Value> {
    let mut reader = Params(pairs).read(&["limit", "customer"]);
    let read = (reader.limit(50, 200), reader.text("customer"));
    reader.settle().map_err(shown)?;
    Ok(read)
}

/// The seconds that the headers `Prefer` ask to wait.
pub fn wait(headers: &HeaderMap) -> Option<u64> {
    prefer::wait(headers)
}

/// The strong tags of the headers `If-Match`, `None` in their place for `*`; nothing when they are refused, or not there.
pub fn if_match(headers: &HeaderMap) -> Option<Option<Vec<Vec<u8>>>> {
    match IfMatch::read(headers).ok()?? {
        IfMatch::Any => Some(None),
        IfMatch::Tags(tags) => Some(Some(tags)),
    }
}

/// A UUID in the form that is shown.
pub fn uuid(text: &str) -> Option<Uuid> {
    params::uuid(text)
}

/// Makes and reads cursors under a key that is always the same.
pub struct Cursors(Install, TenantId);

impl Default for Cursors {
    fn default() -> Self {
        let install = Install {
            installation_id: Uuid::nil(),
            shards: 3,
            epoch: 1,
            cursor_key: [7; 32],
            key_pepper: order_core::Pepper::new([7; 32]),
            schema_version: 1,
        };
        Self(install, TenantId::default_tenant())
    }
}

impl Cursors {
    /// The text of a place in the journal.
    pub fn journal(&self, cursor: &Cursor) -> String {
        Signer::new(&self.0, &self.1).journal(cursor)
    }

    /// The place in the journal that a text names.
    ///
    /// # Errors
    /// When it was not made here, or not for this.
    pub fn read_journal(&self, text: &str) -> Result<Cursor, Rejection> {
        Signer::new(&self.0, &self.1).read_journal(text)
    }

    /// The place in the list of orders that a text names.
    ///
    /// # Errors
    /// When it was not made here, or not for this.
    pub fn read_place(&self, text: &str) -> Result<u64, Rejection> {
        Signer::new(&self.0, &self.1).read_place(Purpose::Orders, text)
    }

    /// Signs any bytes, as if a place in the journal or in the list of orders had been written so.
    pub fn signed(&self, payload: &[u8], journal: bool) -> String {
        let purpose = if journal { Purpose::Journal } else { Purpose::Orders };
        Signer::new(&self.0, &self.1).sign(purpose, payload)
    }
}

fn shown(failure: Failure) -> Value {
    match failure {
        Failure::Problem(problem) => problem.to_json(&RequestId("0".to_owned())),
        Failure::Refused(refused) => Value::from(format!("{refused:?}")),
    }
}
