//! Webhooks as rows: endpoints, their streams, and what became of each try.

use crate::SqliteStorage;
use crate::rows::{Numbers, blob, collect, maybe_text, micros, text, time, uuid};
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
use order_core::webhook::stream::{Stream, Subject, numbers_text};
use order_core::{Fault, query};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::time::Duration;
use uuid::Uuid;

macro_rules! endpoints {
    ($rest:literal) => {
        concat!(
            "SELECT number, endpoint_id, tenant, organization, url, listens, dialect, state, disabled_for, rate, secret, \
             previous_secret, previous_until, start_epoch, start_positions, failing_since, paced_until, created_at, \
             updated_at, deleted_at FROM endpoints ",
            $rest
        )
    };
}
pub(crate) use endpoints;

macro_rules! streams {
    ($rest:literal) => {
        concat!(
            "SELECT s.endpoint, s.subject, s.kind, s.tenant, s.next, s.place, s.upto, s.again, s.attempt, s.due_at, s.token ",
            $rest
        )
    };
}
pub(crate) use streams;

macro_rules! attempts {
    ($rest:literal) => {
        concat!(
            "SELECT a.endpoint, a.attempt_id, a.tenant, a.subject, a.kind, a.version, a.event_id, a.type, a.attempt, a.at, \
             a.took_micros, a.outcome, a.status, a.why, a.answer, a.retry_at, a.url ",
            $rest
        )
    };
}

/// One endpoint, whoever owns it, deleted or not.
pub(crate) fn endpoint(conn: &Connection, endpoint_id: EndpointId) -> rusqlite::Result<Option<Endpoint>> {
    conn.prepare_cached(endpoints!("WHERE endpoint_id = ?1"))?
        .query_row([blob(&endpoint_id.0)], endpoint_row)
        .optional()
}

/// Writes an endpoint whole.
pub(crate) fn put(conn: &Connection, endpoint: &Endpoint) -> rusqlite::Result<()> {
    let previous = endpoint.previous.as_ref();
    conn.prepare_cached(
        "INSERT OR REPLACE INTO endpoints (number, endpoint_id, tenant, organization, url, listens, dialect, state, \
         disabled_for, rate, secret, previous_secret, previous_until, start_epoch, start_positions, failing_since, \
         paced_until, created_at, updated_at, deleted_at) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
    )?
    .execute(params![
        endpoint.number,
        blob(&endpoint.endpoint_id.0),
        endpoint.tenant.as_str(),
        endpoint.organization,
        endpoint.url,
        endpoint.listens.text(),
        endpoint.dialect.word(),
        endpoint.state.word(),
        endpoint.disabled_for.map(|why| why.word()),
        endpoint.rate,
        endpoint.secret.as_ref().map(Sealed::as_bytes),
        previous.map(|previous| previous.sealed.as_bytes()),
        previous.map(|previous| previous.until.micros()),
        endpoint.start.epoch,
        numbers_text(&endpoint.start.positions),
        micros(endpoint.failing_since),
        micros(endpoint.paced_until),
        endpoint.created_at.micros(),
        endpoint.updated_at.micros(),
        micros(endpoint.deleted_at),
    ])?;
    Ok(())
}

/// A row of `endpoints`.
pub(crate) fn endpoint_row(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let previous = match (row.get::<_, Option<Vec<u8>>>(11)?, time(row, 12)?) {
        (Some(sealed), Some(until)) => Some(PreviousSecret { sealed: Sealed::from_bytes(sealed), until }),
        _ => None,
    };
    Ok(Endpoint {
        number: row.get(0)?,
        endpoint_id: EndpointId(uuid(row, 1)?),
        tenant: text(row, 2)?,
        organization: row.get(3)?,
        url: row.get(4)?,
        listens: text(row, 5)?,
        dialect: text(row, 6)?,
        state: text(row, 7)?,
        disabled_for: maybe_text(row, 8)?,
        rate: row.get(9)?,
        secret: row.get::<_, Option<Vec<u8>>>(10)?.map(Sealed::from_bytes),
        previous,
        start: Cursor { epoch: row.get(13)?, positions: text::<Numbers>(row, 14)?.0 },
        failing_since: time(row, 15)?,
        paced_until: time(row, 16)?,
        created_at: Timestamp::from_micros(row.get(17)?),
        updated_at: Timestamp::from_micros(row.get(18)?),
        deleted_at: time(row, 19)?,
    })
}

/// A row of `webhook_streams`.
pub(crate) fn stream_row(row: &Row<'_>) -> rusqlite::Result<Stream> {
    let token: Option<Vec<u8>> = row.get(10)?;
    Ok(Stream {
        endpoint: row.get(0)?,
        subject: Subject { id: uuid(row, 1)?, kind: text(row, 2)? },
        tenant: text(row, 3)?,
        next: row.get(4)?,
        place: row.get(5)?,
        upto: row.get(6)?,
        again: text::<Numbers>(row, 7)?.0,
        attempt: row.get(8)?,
        due_at: Timestamp::from_micros(row.get(9)?),
        token: token.is_some().then(|| uuid(row, 10)).transpose()?.map(LeaseToken),
    })
}

/// Writes a stream whole.
pub(crate) fn put_stream(conn: &Connection, stream: &Stream) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO webhook_streams (endpoint, subject, kind, tenant, next, place, upto, again, attempt, due_at, \
         token) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
    )?
    .execute(params![
        stream.endpoint,
        blob(&stream.subject.id),
        stream.subject.kind.word(),
        stream.tenant.as_str(),
        stream.next,
        stream.place,
        stream.upto,
        numbers_text(&stream.again),
        stream.attempt,
        stream.due_at.micros(),
        stream.token.as_ref().map(|token| *token.0.as_bytes()),
    ])?;
    Ok(())
}

/// One stream.
pub(crate) fn stream(conn: &Connection, endpoint: i64, subject: Uuid) -> rusqlite::Result<Option<Stream>> {
    conn.prepare_cached(streams!("FROM webhook_streams s WHERE s.endpoint = ?1 AND s.subject = ?2"))?
        .query_row(params![endpoint, blob(&subject)], stream_row)
        .optional()
}

/// A row of `webhook_attempts`.
pub(crate) fn attempt_row(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        endpoint: row.get(0)?,
        attempt_id: uuid(row, 1)?,
        tenant: text(row, 2)?,
        subject: Subject { id: uuid(row, 3)?, kind: text(row, 4)? },
        version: row.get(5)?,
        event_id: EventId(uuid(row, 6)?),
        kind: row.get(7)?,
        attempt: row.get(8)?,
        at: Timestamp::from_micros(row.get(9)?),
        took: Duration::from_micros(row.get(10)?),
        outcome: text(row, 11)?,
        status: row.get(12)?,
        why: row.get(13)?,
        answer: row.get::<_, Option<Vec<u8>>>(14)?.unwrap_or_default(),
        retry_at: time(row, 15)?,
        url: row.get(16)?,
    })
}

/// Adds what became of a try.
pub(crate) fn add_attempt(conn: &Connection, attempt: &Attempt) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO webhook_attempts (endpoint, attempt_id, tenant, subject, kind, version, event_id, type, attempt, at, \
         took_micros, outcome, status, why, answer, retry_at, url) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)",
    )?
    .execute(params![
        attempt.endpoint,
        blob(&attempt.attempt_id),
        attempt.tenant.as_str(),
        blob(&attempt.subject.id),
        attempt.subject.kind.word(),
        attempt.version,
        blob(&attempt.event_id.0),
        attempt.kind,
        attempt.attempt,
        attempt.at.micros(),
        u64::try_from(attempt.took.as_micros()).unwrap_or(u64::MAX),
        attempt.outcome.word(),
        attempt.status,
        attempt.why,
        (!attempt.answer.is_empty()).then_some(&attempt.answer),
        micros(attempt.retry_at),
        attempt.url,
    ])?;
    Ok(())
}

fn of_tenant(
    conn: &Connection,
    tenant: &TenantId,
    organization: Option<&str>,
    (before, limit): (i64, u32),
) -> rusqlite::Result<Vec<Endpoint>> {
    let mut statement = conn.prepare_cached(endpoints!(
        "INDEXED BY endpoints_by_tenant WHERE tenant = ?1 AND deleted_at IS NULL AND number < ?3 \
         AND (?2 IS NULL OR organization = ?2) ORDER BY number DESC LIMIT ?4"
    ))?;
    collect(&mut statement, params![tenant.as_str(), organization, before, limit], endpoint_row)
}

/// The endpoints of a tenant are few: each is asked in turn.
fn streams_of(conn: &Connection, query: &StreamQuery) -> rusqlite::Result<Vec<Stream>> {
    let mut one = conn.prepare_cached(streams!(
        "FROM webhook_streams s WHERE s.endpoint = ?1 AND s.subject > ?2 AND (?3 IS NULL OR s.subject = ?3) \
         ORDER BY s.subject LIMIT ?4"
    ))?;
    let mut found = Vec::new();
    for number in numbers_of(conn, &query.tenant, query.endpoint)? {
        let after = match query.after {
            Some((endpoint, _)) if number < endpoint => continue,
            Some((endpoint, subject)) if number == endpoint => subject.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let room = (query.limit as usize).saturating_sub(found.len());
        if room == 0 {
            break;
        }
        let subject = query.subject.map(|subject| *subject.as_bytes());
        found.extend(collect(&mut one, params![number, after, subject, room], stream_row)?);
    }
    Ok(found)
}

/// The numbers of a tenant's endpoints, or of the one that is asked for if it is the tenant's.
fn numbers_of(conn: &Connection, tenant: &TenantId, one: Option<i64>) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT number FROM endpoints WHERE tenant = ?1 AND deleted_at IS NULL AND (?2 IS NULL OR number = ?2) \
         ORDER BY number",
    )?;
    collect(&mut statement, params![tenant.as_str(), one], |row| row.get(0))
}

fn attempts_of(conn: &Connection, query: &AttemptQuery) -> rusqlite::Result<Vec<Attempt>> {
    let before = query.before.map(|before| *before.as_bytes());
    let outcomes: Vec<&str> = query.outcomes.iter().map(|outcome| outcome.word()).collect();
    let has = |outcome: AttemptOutcome| query.outcomes.contains(&outcome);
    let (delivered, retry, failed) =
        (has(AttemptOutcome::Delivered), has(AttemptOutcome::Retry), has(AttemptOutcome::Failed));
    debug_assert!(!outcomes.is_empty());
    if let Some(subject) = query.subject {
        let mut statement = conn.prepare_cached(attempts!(
            "FROM webhook_attempts a INDEXED BY webhook_attempts_of WHERE a.subject = ?1 AND a.tenant = ?2 \
             AND (?3 IS NULL OR a.endpoint = ?3) AND (?4 IS NULL OR a.version = ?4) \
             AND (?5 IS NULL OR a.attempt_id < ?5) \
             AND ((?6 AND a.outcome = 'delivered') OR (?7 AND a.outcome = 'retry') OR (?8 AND a.outcome = 'failed')) \
             ORDER BY a.attempt_id DESC LIMIT ?9"
        ))?;
        let values = params![
            blob(&subject),
            query.tenant.as_str(),
            query.endpoint,
            query.version,
            before,
            delivered,
            retry,
            failed,
            query.limit
        ];
        return collect(&mut statement, values, attempt_row);
    }
    let mut found = Vec::new();
    for number in numbers_of(conn, &query.tenant, query.endpoint)? {
        // Those that were given up are few, and in an index of their own.
        let mut statement = conn.prepare_cached(if has(AttemptOutcome::Failed) && outcomes.len() == 1 {
            attempts!(
                "FROM webhook_attempts a INDEXED BY webhook_attempts_failed WHERE a.endpoint = ?1 \
                 AND (?2 IS NULL OR a.attempt_id < ?2) AND a.outcome = 'failed' AND ?3 + ?4 + ?5 > 0 \
                 ORDER BY a.attempt_id DESC LIMIT ?6"
            )
        } else {
            attempts!(
                "FROM webhook_attempts a WHERE a.endpoint = ?1 AND (?2 IS NULL OR a.attempt_id < ?2) \
                 AND ((?3 AND a.outcome = 'delivered') OR (?4 AND a.outcome = 'retry') OR (?5 AND a.outcome = 'failed')) \
                 ORDER BY a.attempt_id DESC LIMIT ?6"
            )
        })?;
        let values = params![number, before, delivered, retry, failed, query.limit];
        found.extend(collect(&mut statement, values, attempt_row)?);
    }
    found.sort_by_key(|attempt: &Attempt| std::cmp::Reverse(attempt.attempt_id));
    found.truncate(query.limit as usize);
    Ok(found)
}

fn given_up(conn: &Connection, of: &GivenUp) -> rusqlite::Result<Vec<Attempt>> {
    let mut statement = conn.prepare_cached(attempts!(
        "FROM webhook_attempts a INDEXED BY webhook_attempts_failed WHERE a.endpoint = ?1 AND a.attempt_id > ?2 \
         AND a.outcome = 'failed' AND a.at >= ?3 AND NOT EXISTS (SELECT 1 FROM webhook_attempts d \
         WHERE d.subject = a.subject AND d.version = a.version AND d.endpoint = a.endpoint AND d.outcome = 'delivered') \
         ORDER BY a.attempt_id LIMIT ?4"
    ))?;
    let after = of.after.unwrap_or_else(Uuid::nil);
    collect(&mut statement, params![of.endpoint, blob(&after), of.since.micros(), of.limit], attempt_row)
}

fn was_or_comes(conn: &Connection, endpoint: i64, of: &[(Subject, u64)]) -> rusqlite::Result<Vec<bool>> {
    let mut was = conn.prepare_cached(
        "SELECT 1 FROM webhook_attempts WHERE subject = ?1 AND version = ?2 AND endpoint = ?3 AND outcome = 'delivered'",
    )?;
    let mut found = Vec::with_capacity(of.len());
    for (subject, version) in of {
        let comes =
            |stream: Stream| (stream.next..=stream.upto).contains(version) || stream.again.contains(version);
        let delivered = was.exists(params![blob(&subject.id), version, endpoint])?;
        found.push(delivered || stream(conn, endpoint, subject.id)?.is_some_and(comes));
    }
    Ok(found)
}

fn backlog(conn: &Connection, now: Timestamp) -> rusqlite::Result<WebhookBacklog> {
    let mut backlog = WebhookBacklog::default();
    let mut endpoints = conn.prepare_cached(
        "SELECT number, state, failing_since IS NOT NULL FROM endpoints WHERE deleted_at IS NULL",
    )?;
    let mut rows = endpoints.query([])?;
    let mut due = conn.prepare_cached(
        "SELECT count(*), min(due_at) FROM (SELECT due_at FROM webhook_streams WHERE endpoint = ?1 AND due_at <= ?2 LIMIT ?3)",
    )?;
    let mut leased = conn.prepare_cached(
        "SELECT count(*) FROM webhook_streams INDEXED BY webhook_streams_leased \
         WHERE endpoint = ?1 AND due_at > ?2 AND token IS NOT NULL",
    )?;
    while let Some(row) = rows.next()? {
        let (number, state, failing): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let index = ["active", "paused", "disabled"].iter().position(|word| *word == state).unwrap_or(2);
        backlog.endpoints[index] += 1;
        let on_way: u64 = leased.query_row(params![number, now.micros()], |row| row.get(0))?;
        backlog.leased += on_way;
        if index != 0 {
            continue;
        }
        backlog.failing += u64::from(failing);
        let room = query::DUE_COUNT_MAX.saturating_sub(backlog.due);
        let (count, since): (u64, Option<i64>) =
            due.query_row(params![number, now.micros(), room.max(1)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        backlog.due = (backlog.due + count).min(query::DUE_COUNT_MAX);
        backlog.due_since =
            [backlog.due_since, since.map(Timestamp::from_micros)].into_iter().flatten().min();
    }
    Ok(backlog)
}

#[async_trait]
impl WebhookReads for SqliteStorage {
    async fn endpoint(&self, tenant: &TenantId, endpoint_id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let found = self.readers.with(move |conn| endpoint(conn, endpoint_id)).await?;
        Ok(found.filter(|endpoint| endpoint.tenant == *tenant && endpoint.deleted_at.is_none()))
    }

    async fn endpoints(
        &self,
        tenant: &TenantId,
        organization: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Fault> {
        let (tenant, organization) = (tenant.clone(), organization.map(str::to_owned));
        let page = (before.unwrap_or(i64::MAX), limit);
        self.readers.with(move |conn| of_tenant(conn, &tenant, organization.as_deref(), page)).await
    }

    async fn streams(&self, query: &StreamQuery) -> Result<Vec<Stream>, Fault> {
        let query = query.clone();
        self.readers.with(move |conn| streams_of(conn, &query)).await
    }

    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, Fault> {
        let query = query.clone();
        self.readers.with(move |conn| attempts_of(conn, &query)).await
    }

    async fn given_up(&self, of: &GivenUp) -> Result<Vec<Attempt>, Fault> {
        let of = of.clone();
        self.readers.with(move |conn| given_up(conn, &of)).await
    }

    async fn was_or_comes(&self, endpoint: i64, of: &[(Subject, u64)]) -> Result<Vec<bool>, Fault> {
        let of = of.to_vec();
        self.readers.with(move |conn| was_or_comes(conn, endpoint, &of)).await
    }

    async fn webhook_backlog(&self, now: Timestamp) -> Result<WebhookBacklog, Fault> {
        self.readers.with(move |conn| backlog(conn, now)).await
    }
}
