//! Webhooks as rows: endpoints, their streams, and what became of each try.

use crate::PostgresStorage;
use crate::connect::Conn;
use crate::error::Tried;
use crate::readers::Readers;
use crate::rows::{Moment, Numbers, big, maybe_text, maybe_time, number, text, time};
use async_trait::async_trait;
use order_core::clock::Timestamp;
use order_core::ids::{EventId, LeaseToken, TenantId};
use order_core::journal::Cursor;
use order_core::sealing::Sealed;
use order_core::webhook::attempt::{
    Attempt, AttemptOutcome, AttemptQuery, GivenUp, StreamQuery, WebhookBacklog,
};
use order_core::webhook::endpoint::{Endpoint, EndpointId, PreviousSecret};
use order_core::webhook::reads::WebhookReads;
use order_core::webhook::stream::{Stream, Subject};
use order_core::{Fault, query};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// The columns that [`endpoint_row`] reads, of `endpoints e`, with what comes after.
macro_rules! select_endpoints {
    ($tail:literal) => {
        concat!(
            "SELECT e.number, e.endpoint_id, e.tenant, e.organization, e.url, e.listens, e.dialect, e.state, \
             e.disabled_for, e.rate, e.secret, e.previous_secret, e.previous_until, e.start_epoch, e.start_positions, \
             e.failing_since, e.paced_until, e.created_at, e.updated_at, e.deleted_at ",
            $tail
        )
    };
}
pub(crate) use select_endpoints;

/// How many those are; what is selected besides comes behind them.
pub(crate) const ENDPOINT_WIDTH: usize = 20;

/// The columns that [`stream_row`] reads, of `webhook_streams s`.
macro_rules! stream_columns {
    () => {
        "s.endpoint, s.subject, s.kind, s.tenant, s.next, s.place, s.upto, s.again, s.attempt, s.due_at, s.token"
    };
}
pub(crate) use stream_columns;

macro_rules! select_attempts {
    ($tail:literal) => {
        concat!(
            "SELECT a.endpoint, a.attempt_id, a.tenant, a.subject, a.kind, a.version, a.event_id, a.type, a.attempt, \
             a.at, a.took_micros, a.outcome, a.status, a.why, a.answer, a.retry_at, a.url ",
            $tail
        )
    };
}

/// One endpoint, whoever owns it, deleted or not.
pub(crate) async fn endpoint(conn: &Conn, endpoint_id: EndpointId) -> Tried<Option<Endpoint>> {
    let sql = select_endpoints!("FROM endpoints e WHERE e.endpoint_id = $1");
    conn.query_opt(sql, &[&endpoint_id.0]).await?.as_ref().map(endpoint_row).transpose()
}

/// A row of [`select_endpoints!`].
pub(crate) fn endpoint_row(row: &Row) -> Tried<Endpoint> {
    let sealed = |index| -> Tried<Option<Sealed>> {
        Ok(row.try_get::<_, Option<Vec<u8>>>(index)?.map(Sealed::from_bytes))
    };
    let previous = match (sealed(11)?, maybe_time(row, 12)?) {
        (Some(sealed), Some(until)) => Some(PreviousSecret { sealed, until }),
        _ => None,
    };
    let rate = match row.try_get::<_, Option<i32>>(9)? {
        Some(_) => Some(number::<_, i32>(row, 9)?),
        None => None,
    };
    Ok(Endpoint {
        number: row.try_get(0)?,
        endpoint_id: EndpointId(row.try_get(1)?),
        tenant: text(row, 2)?,
        organization: row.try_get(3)?,
        url: row.try_get(4)?,
        listens: text(row, 5)?,
        dialect: text(row, 6)?,
        state: text(row, 7)?,
        disabled_for: maybe_text(row, 8)?,
        rate,
        secret: sealed(10)?,
        previous,
        start: Cursor { epoch: number::<_, i32>(row, 13)?, positions: text::<Numbers>(row, 14)?.0 },
        failing_since: maybe_time(row, 15)?,
        paced_until: maybe_time(row, 16)?,
        created_at: time(row, 17)?,
        updated_at: time(row, 18)?,
        deleted_at: maybe_time(row, 19)?,
    })
}

/// A row of [`stream_columns!`].
pub(crate) fn stream_row(row: &Row) -> Tried<Stream> {
    let place = match row.try_get::<_, Option<i64>>(5)? {
        Some(_) => Some(number::<_, i64>(row, 5)?),
        None => None,
    };
    Ok(Stream {
        endpoint: row.try_get(0)?,
        subject: Subject { id: row.try_get(1)?, kind: text(row, 2)? },
        tenant: text(row, 3)?,
        next: number::<_, i64>(row, 4)?,
        place,
        upto: number::<_, i64>(row, 6)?,
        again: text::<Numbers>(row, 7)?.0,
        attempt: number::<_, i32>(row, 8)?,
        due_at: time(row, 9)?,
        token: row.try_get::<_, Option<Uuid>>(10)?.map(LeaseToken),
    })
}

/// A row of `select_attempts!`.
pub(crate) fn attempt_row(row: &Row) -> Tried<Attempt> {
    let status = match row.try_get::<_, Option<i32>>(12)? {
        Some(_) => Some(number::<_, i32>(row, 12)?),
        None => None,
    };
    Ok(Attempt {
        endpoint: row.try_get(0)?,
        attempt_id: row.try_get(1)?,
        tenant: text(row, 2)?,
        subject: Subject { id: row.try_get(3)?, kind: text(row, 4)? },
        version: number::<_, i64>(row, 5)?,
        event_id: EventId(row.try_get(6)?),
        kind: row.try_get(7)?,
        attempt: number::<_, i32>(row, 8)?,
        at: time(row, 9)?,
        took: Duration::from_micros(number::<_, i64>(row, 10)?),
        outcome: text(row, 11)?,
        status,
        why: row.try_get(13)?,
        answer: row.try_get::<_, Option<Vec<u8>>>(14)?.unwrap_or_default(),
        retry_at: maybe_time(row, 15)?,
        url: row.try_get(16)?,
    })
}

async fn of_tenant(
    readers: &Readers,
    tenant: &TenantId,
    organization: Option<&str>,
    (before, limit): (Option<i64>, u32),
) -> Tried<Vec<Endpoint>> {
    let conn = readers.get().await?;
    let sql = select_endpoints!(
        "FROM endpoints e WHERE e.tenant = $1 AND e.deleted_at IS NULL AND e.number < $3 \
         AND ($2::text IS NULL OR e.organization = $2) ORDER BY e.number DESC LIMIT $4"
    );
    let values: crate::connect::Values<'_> =
        &[&tenant.as_str(), &organization, &before.unwrap_or(i64::MAX), &i64::from(limit)];
    conn.query(sql, values).await?.iter().map(endpoint_row).collect()
}

/// The endpoints of a tenant are few: each is asked in turn, along its key.
const STREAMS: &str = concat!(
    "SELECT ",
    stream_columns!(),
    " FROM endpoints e CROSS JOIN LATERAL (SELECT * FROM webhook_streams s WHERE s.endpoint = e.number \
     AND s.subject > CASE WHEN e.number = $3 THEN $4 ELSE '00000000-0000-0000-0000-000000000000'::uuid END \
     ORDER BY s.subject LIMIT $5) s WHERE e.tenant = $1 AND e.deleted_at IS NULL AND e.number >= $3 \
     AND ($2::bigint IS NULL OR e.number = $2) ORDER BY s.endpoint, s.subject LIMIT $5"
);

const STREAMS_OF: &str = concat!(
    "SELECT ",
    stream_columns!(),
    " FROM endpoints e JOIN webhook_streams s ON s.endpoint = e.number AND s.subject = $3 \
     WHERE e.tenant = $1 AND e.deleted_at IS NULL AND ($2::bigint IS NULL OR e.number = $2) \
     AND (s.endpoint, s.subject) > ($4, $5) ORDER BY s.endpoint LIMIT $6"
);

async fn streams(readers: &Readers, query: &StreamQuery) -> Tried<Vec<Stream>> {
    let conn = readers.get().await?;
    let (tenant, limit) = (query.tenant.as_str(), i64::from(query.limit));
    let (endpoint, after) = query.after.unwrap_or((i64::MIN, Uuid::nil()));
    let rows = match query.subject {
        Some(subject) => {
            conn.query(STREAMS_OF, &[&tenant, &query.endpoint, &subject, &endpoint, &after, &limit]).await?
        }
        None => conn.query(STREAMS, &[&tenant, &query.endpoint, &endpoint, &after, &limit]).await?,
    };
    rows.iter().map(stream_row).collect()
}

async fn attempts(readers: &Readers, query: &AttemptQuery) -> Tried<Vec<Attempt>> {
    let conn = readers.get().await?;
    let (tenant, limit) = (query.tenant.as_str(), i64::from(query.limit));
    let before = query.before.unwrap_or_else(Uuid::max);
    let outcomes: Vec<&str> = query.outcomes.iter().map(|outcome| outcome.word()).collect();
    let rows = if let Some(subject) = query.subject {
        let sql = select_attempts!(
            "FROM webhook_attempts a WHERE a.subject = $1 AND a.tenant = $2 AND ($3::bigint IS NULL OR a.endpoint = $3) \
             AND ($4::bigint IS NULL OR a.version = $4) AND a.attempt_id < $5 AND a.outcome = ANY ($6) \
             ORDER BY a.attempt_id DESC LIMIT $7"
        );
        let version = query.version.map(big);
        conn.query(sql, &[&subject, &tenant, &query.endpoint, &version, &before, &outcomes, &limit]).await?
    } else if query.outcomes == [AttemptOutcome::Failed] {
        // What was given up is little, and in an index of its own.
        let sql = select_attempts!(
            "FROM endpoints e CROSS JOIN LATERAL (SELECT * FROM webhook_attempts a WHERE a.endpoint = e.number \
             AND a.attempt_id < $3 AND a.outcome = 'failed' ORDER BY a.attempt_id DESC LIMIT $4) a \
             WHERE e.tenant = $1 AND e.deleted_at IS NULL AND ($2::bigint IS NULL OR e.number = $2) \
             ORDER BY a.attempt_id DESC LIMIT $4"
        );
        conn.query(sql, &[&tenant, &query.endpoint, &before, &limit]).await?
    } else {
        let sql = select_attempts!(
            "FROM endpoints e CROSS JOIN LATERAL (SELECT * FROM webhook_attempts a WHERE a.endpoint = e.number \
             AND a.attempt_id < $3 AND a.outcome = ANY ($5) ORDER BY a.attempt_id DESC LIMIT $4) a \
             WHERE e.tenant = $1 AND e.deleted_at IS NULL AND ($2::bigint IS NULL OR e.number = $2) \
             ORDER BY a.attempt_id DESC LIMIT $4"
        );
        conn.query(sql, &[&tenant, &query.endpoint, &before, &limit, &outcomes]).await?
    };
    rows.iter().map(attempt_row).collect()
}

async fn given_up(readers: &Readers, of: &GivenUp) -> Tried<Vec<Attempt>> {
    let conn = readers.get().await?;
    let sql = select_attempts!(
        "FROM webhook_attempts a WHERE a.endpoint = $1 AND a.attempt_id > $2 AND a.outcome = 'failed' AND a.at >= $3 \
         AND NOT EXISTS (SELECT FROM webhook_attempts d WHERE d.subject = a.subject AND d.version = a.version \
         AND d.endpoint = a.endpoint AND d.outcome = 'delivered') ORDER BY a.attempt_id LIMIT $4"
    );
    let after = of.after.unwrap_or_else(Uuid::nil);
    let values: crate::connect::Values<'_> = &[&of.endpoint, &after, &Moment(of.since), &i64::from(of.limit)];
    conn.query(sql, values).await?.iter().map(attempt_row).collect()
}

const WAS_OR_COMES: &str = "SELECT EXISTS (SELECT FROM webhook_attempts a WHERE a.subject = k.subject \
     AND a.version = k.version AND a.endpoint = $1 AND a.outcome = 'delivered') \
     OR EXISTS (SELECT FROM webhook_streams s WHERE s.endpoint = $1 AND s.subject = k.subject \
     AND (k.version BETWEEN s.next AND s.upto OR k.version::text = ANY (string_to_array(s.again, ' ')))) \
     FROM unnest($2::uuid[], $3::bigint[]) WITH ORDINALITY AS k (subject, version, nth) ORDER BY k.nth";

async fn was_or_comes(readers: &Readers, endpoint: i64, of: &[(Subject, u64)]) -> Tried<Vec<bool>> {
    let conn = readers.get().await?;
    let subjects: Vec<Uuid> = of.iter().map(|(subject, _)| subject.id).collect();
    let versions: Vec<i64> = of.iter().map(|(_, version)| big(*version)).collect();
    let rows = conn.query(WAS_OR_COMES, &[&endpoint, &subjects, &versions]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

const BACKLOG: &str = "SELECT e.state, e.failing_since IS NOT NULL, d.count, d.since, \
     (SELECT count(*) FROM webhook_streams s WHERE s.endpoint = e.number AND s.due_at > $1 AND s.token IS NOT NULL) \
     FROM endpoints e CROSS JOIN LATERAL (SELECT count(*) AS count, min(w.due_at) AS since FROM (SELECT s.due_at \
     FROM webhook_streams s WHERE s.endpoint = e.number AND s.due_at <= $1 ORDER BY s.due_at LIMIT $2) w) d \
     WHERE e.deleted_at IS NULL";

async fn backlog(readers: &Readers, now: Timestamp) -> Tried<WebhookBacklog> {
    let conn = readers.get().await?;
    let most = i64::try_from(query::DUE_COUNT_MAX).unwrap_or(i64::MAX);
    let mut backlog = WebhookBacklog::default();
    for row in &conn.query(BACKLOG, &[&Moment(now), &most]).await? {
        let (state, failing): (&str, bool) = (row.try_get(0)?, row.try_get(1)?);
        let index = ["active", "paused", "disabled"].iter().position(|word| *word == state).unwrap_or(2);
        backlog.endpoints[index] += 1;
        backlog.leased += number::<u64, i64>(row, 4)?;
        if index == 0 {
            backlog.failing += u64::from(failing);
            backlog.due = (backlog.due + number::<u64, i64>(row, 2)?).min(query::DUE_COUNT_MAX);
            backlog.due_since = [backlog.due_since, maybe_time(row, 3)?].into_iter().flatten().min();
        }
    }
    Ok(backlog)
}

#[async_trait]
impl WebhookReads for PostgresStorage {
    async fn endpoint(&self, tenant: &TenantId, endpoint_id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let conn = self.guarded.of(tenant).get().await?;
        let found = endpoint(&conn, endpoint_id).await?;
        Ok(found.filter(|endpoint| endpoint.tenant == *tenant && endpoint.deleted_at.is_none()))
    }

    async fn endpoints(
        &self,
        tenant: &TenantId,
        organization: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Fault> {
        Ok(of_tenant(&self.guarded.of(tenant), tenant, organization, (before, limit)).await?)
    }

    async fn streams(&self, query: &StreamQuery) -> Result<Vec<Stream>, Fault> {
        Ok(streams(&self.guarded.of(&query.tenant), query).await?)
    }

    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, Fault> {
        Ok(attempts(&self.guarded.of(&query.tenant), query).await?)
    }

    async fn given_up(&self, of: &GivenUp) -> Result<Vec<Attempt>, Fault> {
        Ok(given_up(&self.readers, of).await?)
    }

    async fn was_or_comes(&self, endpoint: i64, of: &[(Subject, u64)]) -> Result<Vec<bool>, Fault> {
        Ok(was_or_comes(&self.readers, endpoint, of).await?)
    }

    async fn webhook_backlog(&self, now: Timestamp) -> Result<WebhookBacklog, Fault> {
        Ok(backlog(&self.readers, now).await?)
    }
}
