//! Commands about webhooks. Streams are locked in the order of their keys, after the latches and before endpoints; none of
//! these comes to orders or their journal.

use super::{Applied, Batch};
use crate::pipeline::{Pipeline, Value};
use crate::rows::{Moment, big, maybe_time, moment, number, time};
use crate::webhooks::{ENDPOINT_WIDTH, endpoint_row, select_endpoints, stream_columns, stream_row};
use order_core::Timestamp;
use order_core::command::Reply;
use order_core::marketplace::StoreEvent;
use order_core::sealing::Sealed;
use order_core::webhook::attempt::Attempt;
use order_core::webhook::claims::{Allotment, Candidate, Standing, allot};
use order_core::webhook::command::{
    ClaimStreams, FanOut, SendAgain, SettleStreams, StreamsClaimed, StreamsSettled, SweepWebhooks,
    WebhookCommand, WebhookReply, health, kept_attempts,
};
use order_core::webhook::endpoint::{self, Endpoint, EndpointAction, EndpointCommand};
use order_core::webhook::fan_out::{raises, raises_of_store, tenants};
use order_core::webhook::stream::{Raise, Stream, numbers_text};
use std::collections::BTreeMap;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Under the latch, so that no two nodes give one number.
const NEXT: &str = "SELECT (SELECT coalesce(max(number), 0) + 1 FROM endpoints), \
     (SELECT count(*) FROM endpoints WHERE tenant = $1 AND deleted_at IS NULL)";

const LOCK_ENDPOINT: &str = select_endpoints!("FROM endpoints e WHERE e.endpoint_id = $1 FOR UPDATE");

const PUT: &str = "INSERT INTO endpoints (number, endpoint_id, tenant, organization, url, listens, dialect, state, \
     disabled_for, rate, secret, previous_secret, previous_until, start_epoch, start_positions, failing_since, \
     paced_until, created_at, updated_at, deleted_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
     ON CONFLICT (number) DO UPDATE SET url = excluded.url, listens = excluded.listens, state = excluded.state, \
     disabled_for = excluded.disabled_for, rate = excluded.rate, secret = excluded.secret, \
     previous_secret = excluded.previous_secret, previous_until = excluded.previous_until, \
     start_epoch = excluded.start_epoch, start_positions = excluded.start_positions, \
     failing_since = excluded.failing_since, paced_until = excluded.paced_until, updated_at = excluded.updated_at, \
     deleted_at = excluded.deleted_at";

const LISTENING: &str = select_endpoints!(
    "FROM endpoints e WHERE e.tenant = ANY ($1) AND e.deleted_at IS NULL AND e.state <> 'disabled' ORDER BY e.number"
);

/// What is raised comes in the order of its keys, and is locked in it.
pub(super) const RAISE: &str = "INSERT INTO webhook_streams AS s \
     (endpoint, subject, kind, tenant, next, place, upto, again, attempt, due_at) \
     SELECT n.endpoint, n.subject, n.kind, n.tenant, n.next, n.place, n.upto, '', 0, $8 \
     FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
     AS n (endpoint, subject, kind, tenant, next, place, upto) ON CONFLICT (endpoint, subject) DO UPDATE SET \
     next = CASE WHEN s.next > s.upto THEN excluded.next ELSE s.next END, \
     place = CASE WHEN s.next > s.upto THEN excluded.place ELSE s.place END, upto = excluded.upto \
     WHERE s.upto < excluded.upto";

/// Active endpoints with open streams: each is found behind the one before, however many streams they have.
pub const CANDIDATES: &str = concat!(
    "WITH RECURSIVE open (endpoint) AS (SELECT min(endpoint) FROM webhook_streams UNION ALL \
     SELECT (SELECT min(s.endpoint) FROM webhook_streams s WHERE s.endpoint > o.endpoint) \
     FROM open o WHERE o.endpoint IS NOT NULL) ",
    select_endpoints!(
        ", (SELECT count(*) FROM webhook_streams s WHERE s.endpoint = e.number AND s.due_at > $1 AND s.token IS NOT NULL), \
         (SELECT count(*) FROM (SELECT FROM webhook_streams s WHERE s.endpoint = e.number AND s.due_at <= $1 LIMIT $2) d), \
         (SELECT min(s.due_at) FROM webhook_streams s WHERE s.endpoint = e.number AND s.due_at > $1), \
         (SELECT a.attempt_id FROM webhook_attempts a WHERE a.endpoint = e.number ORDER BY a.attempt_id LIMIT 1) IS NOT NULL \
         FROM open o JOIN endpoints e ON e.number = o.endpoint \
         WHERE e.state = 'active' AND e.deleted_at IS NULL ORDER BY e.number"
    )
);

/// What somebody raises or settles at this moment is left for the next claim. Rows are found by where they lie, in the statement
/// that locks them: how many there will be the planner cannot know, and guesses too high to look each up by its key.
pub const CLAIM: &str = concat!(
    "UPDATE webhook_streams s SET due_at = $4, token = $5 WHERE s.ctid = ANY (ARRAY(SELECT d.ctid \
     FROM unnest($1::bigint[], $2::bigint[]) AS a (endpoint, take) CROSS JOIN LATERAL (SELECT w.ctid \
     FROM webhook_streams w WHERE w.endpoint = a.endpoint AND w.due_at <= $3 ORDER BY w.due_at LIMIT a.take \
     FOR UPDATE SKIP LOCKED) d)) RETURNING ",
    stream_columns!()
);

const PACE: &str = "UPDATE endpoints e SET paced_until = n.until FROM unnest($1::bigint[], $2::timestamptz[]) \
     AS n (number, until) WHERE e.number = n.number";

const LOCK_STREAMS: &str = concat!(
    "SELECT ",
    stream_columns!(),
    " FROM unnest($1::bigint[], $2::uuid[]) AS n (endpoint, subject) \
     JOIN webhook_streams s ON s.endpoint = n.endpoint AND s.subject = n.subject \
     ORDER BY s.endpoint, s.subject FOR UPDATE OF s"
);

const MAKE: &str = "INSERT INTO webhook_streams (endpoint, subject, kind, tenant, next, upto, again, attempt, due_at) \
     SELECT $1, n.subject, n.kind, $2, 1, 0, '', 0, $3 FROM unnest($4::uuid[], $5::text[]) AS n (subject, kind) \
     ON CONFLICT DO NOTHING";

const MOVE: &str = "UPDATE webhook_streams s SET next = n.next, place = n.place, again = n.again, attempt = n.attempt, \
     due_at = n.due_at, token = n.token FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], \
     $6::integer[], $7::timestamptz[], $8::uuid[]) \
     AS n (endpoint, subject, next, place, again, attempt, due_at, token) \
     WHERE s.endpoint = n.endpoint AND s.subject = n.subject";

const GO: &str = "DELETE FROM webhook_streams s USING unnest($1::bigint[], $2::uuid[]) AS n (endpoint, subject) \
     WHERE s.endpoint = n.endpoint AND s.subject = n.subject";

const ADD_ATTEMPTS: &str = "INSERT INTO webhook_attempts (endpoint, attempt_id, tenant, subject, kind, version, event_id, \
     type, attempt, at, took_micros, outcome, status, why, answer, retry_at, url) SELECT * FROM unnest($1::bigint[], \
     $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::bigint[], $7::uuid[], $8::text[], $9::integer[], \
     $10::timestamptz[], $11::bigint[], $12::text[], $13::integer[], $14::text[], $15::bytea[], $16::timestamptz[], \
     $17::text[])";

/// Only those that change are written: endpoints that do well are not.
const HEALTH: &str = "UPDATE endpoints e SET failing_since = CASE WHEN n.taken THEN NULL ELSE $3::timestamptz END \
     FROM (SELECT e.number, n.taken FROM unnest($1::bigint[], $2::boolean[]) AS n (number, taken) \
     JOIN endpoints e ON e.number = n.number WHERE (e.failing_since IS NULL) <> n.taken ORDER BY e.number \
     FOR UPDATE OF e) n WHERE e.number = n.number AND (e.failing_since IS NULL) <> n.taken";

const FAILING: &str =
    "SELECT number, failing_since FROM endpoints WHERE number = ANY ($1) AND failing_since IS NOT NULL";

const SWEEP_STREAMS: &str = "DELETE FROM webhook_streams WHERE (endpoint, subject) IN (SELECT endpoint, subject \
     FROM webhook_streams WHERE endpoint = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";

const SWEEP_ATTEMPTS: &str = "DELETE FROM webhook_attempts WHERE (endpoint, attempt_id) IN \
     (SELECT endpoint, attempt_id FROM webhook_attempts WHERE endpoint = $1 LIMIT $2)";

/// The oldest of each endpoint; ids are in the order of time.
const SWEEP_OLD: &str = "DELETE FROM webhook_attempts w USING (SELECT o.endpoint, o.attempt_id FROM endpoints e \
     CROSS JOIN LATERAL (SELECT a.endpoint, a.attempt_id, a.at FROM webhook_attempts a WHERE a.endpoint = e.number \
     ORDER BY a.attempt_id LIMIT $2) o WHERE e.deleted_at IS NULL AND o.at < $1 LIMIT $2) o \
     WHERE w.endpoint = o.endpoint AND w.attempt_id = o.attempt_id";

fn column<'v, R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Value<'v>
where
    T: ToSql + Sync + Send + 'v,
{
    Box::new(rows.iter().map(value).collect::<Vec<T>>())
}

impl Batch<'_> {
    pub(super) async fn webhook(&self, command: &WebhookCommand) -> Applied {
        let reply = match command {
            WebhookCommand::Endpoint(command) => self.change_endpoint(command).await?,
            WebhookCommand::FanOut(fan_out) => self.fan_out(fan_out).await?,
            WebhookCommand::Claim(claim) => self.claim_streams(claim).await?,
            WebhookCommand::Settle(settle) => self.settle_streams(settle).await?,
            WebhookCommand::Again(again) => self.send_again(again).await?,
            WebhookCommand::Sweep(sweep) => self.sweep_webhooks(*sweep).await?,
        };
        Ok(Reply::Webhook(Box::new(reply)))
    }

    async fn change_endpoint(&self, command: &EndpointCommand) -> Applied<WebhookReply> {
        let found = self.conn.query_opt(LOCK_ENDPOINT, &[&command.endpoint_id.0]).await?;
        let found = found.as_ref().map(endpoint_row).transpose()?;
        let (of_list, count) = match command.action {
            EndpointAction::Create(_) => {
                let row = self.conn.query_one(NEXT, &[&command.tenant.as_str()]).await?;
                (row.try_get(0)?, number::<_, i64>(&row, 1)?)
            }
            _ => (0, 0),
        };
        let endpoint = endpoint::decide(found, command, of_list, count)?;
        self.put_endpoint(&endpoint).await?;
        Ok(WebhookReply::Endpoint(Box::new(endpoint)))
    }

    async fn put_endpoint(&self, endpoint: &Endpoint) -> Applied<()> {
        let previous = endpoint.previous.as_ref();
        self.conn
            .execute(
                PUT,
                &[
                    &endpoint.number,
                    &endpoint.endpoint_id.0,
                    &endpoint.tenant.as_str(),
                    &endpoint.organization,
                    &endpoint.url,
                    &endpoint.listens.text(),
                    &endpoint.dialect.word(),
                    &endpoint.state.word(),
                    &endpoint.disabled_for.map(|why| why.word()),
                    &endpoint.rate.map(u32::cast_signed),
                    &endpoint.secret.as_ref().map(Sealed::as_bytes),
                    &previous.map(|previous| previous.sealed.as_bytes()),
                    &moment(previous.map(|previous| previous.until)),
                    &endpoint.start.epoch.cast_signed(),
                    &numbers_text(&endpoint.start.positions),
                    &moment(endpoint.failing_since),
                    &moment(endpoint.paced_until),
                    &Moment(endpoint.created_at),
                    &Moment(endpoint.updated_at),
                    &moment(endpoint.deleted_at),
                ],
            )
            .await?;
        Ok(())
    }

    async fn fan_out(&self, fan_out: &FanOut) -> Applied<WebhookReply> {
        let tenants: Vec<&str> =
            tenants(&fan_out.events).into_iter().map(order_core::TenantId::as_str).collect();
        let listening = self.conn.query(LISTENING, &[&tenants]).await?;
        let listening = listening.iter().map(endpoint_row).collect::<Result<Vec<_>, _>>()?;
        let raises = raises(&listening, &fan_out.events);
        self.raise_streams(&raises, fan_out.now).await?;
        Ok(WebhookReply::Raised(raises.len() as u64))
    }

    /// Raises the streams of whoever listens to an event of a store.
    pub(super) async fn raise_of_store(&self, event: &StoreEvent) -> Applied<()> {
        let listening = self.conn.query(LISTENING, &[&vec![event.tenant.as_str()]]).await?;
        let listening = listening.iter().map(endpoint_row).collect::<Result<Vec<_>, _>>()?;
        self.raise_streams(&raises_of_store(&listening, event), event.occurred_at).await
    }

    /// Raises streams, or makes them; they are to be in the order of their keys.
    pub(super) async fn raise_streams(&self, raises: &[Raise], now: Timestamp) -> Applied<()> {
        if raises.is_empty() {
            return Ok(());
        }
        let mut trip = Pipeline::default();
        let values = vec![
            column(raises, |raise| raise.endpoint),
            column(raises, |raise| raise.subject.id),
            column(raises, |raise| raise.subject.kind.word()),
            column(raises, |raise| raise.tenant.as_str().to_owned()),
            column(raises, |raise| big(raise.next)),
            column(raises, |raise| raise.place.map(big)),
            column(raises, |raise| big(raise.upto)),
            Box::new(Moment(now)),
        ];
        trip.add(self.conn, RAISE, values).await?;
        trip.run(self.conn).await?;
        Ok(())
    }

    async fn claim_streams(&self, claim: &ClaimStreams) -> Applied<WebhookReply> {
        let now = Moment(claim.now);
        let found = self.conn.query(CANDIDATES, &[&now, &i64::from(claim.in_flight_max)]).await?;
        let (mut endpoints, mut candidates) = (BTreeMap::new(), Vec::with_capacity(found.len()));
        for row in &found {
            let endpoint = endpoint_row(row)?;
            candidates.push(candidate(row, &endpoint)?);
            endpoints.insert(endpoint.number, endpoint);
        }
        let (allotted, next_due) = allot(&candidates, claim);
        let mut claimed = StreamsClaimed { next_due, ..StreamsClaimed::default() };
        if allotted.is_empty() {
            return Ok(WebhookReply::Claimed(claimed));
        }
        let numbers: Vec<i64> = allotted.iter().map(|one| one.endpoint).collect();
        let takes: Vec<i64> = allotted.iter().map(|one| one.take.into()).collect();
        let until = Moment(claim.now.plus(claim.lease));
        let values: crate::connect::Values<'_> = &[&numbers, &takes, &now, &until, &claim.token.0];
        for row in &self.conn.query(CLAIM, values).await? {
            claimed.streams.push(stream_row(row)?);
        }
        self.pace(&allotted).await?;
        claimed.endpoints = numbers.iter().filter_map(|number| endpoints.remove(number)).collect();
        Ok(WebhookReply::Claimed(claimed))
    }

    async fn pace(&self, allotted: &[Allotment]) -> Applied<()> {
        let paced: Vec<(i64, Moment)> =
            allotted.iter().filter_map(|one| Some((one.endpoint, Moment(one.paced_until?)))).collect();
        if !paced.is_empty() {
            let (numbers, until): (Vec<i64>, Vec<Moment>) = paced.into_iter().unzip();
            self.conn.execute(PACE, &[&numbers, &until]).await?;
        }
        Ok(())
    }

    /// Locks streams and reads them.
    async fn lock_streams(&self, keys: &[(i64, Uuid)]) -> Applied<BTreeMap<(i64, Uuid), Stream>> {
        let (endpoints, subjects): (Vec<i64>, Vec<Uuid>) = keys.iter().copied().unzip();
        let mut streams = BTreeMap::new();
        for row in &self.conn.query(LOCK_STREAMS, &[&endpoints, &subjects]).await? {
            let stream = stream_row(row)?;
            streams.insert((stream.endpoint, stream.subject.id), stream);
        }
        Ok(streams)
    }

    async fn settle_streams(&self, command: &SettleStreams) -> Applied<WebhookReply> {
        let settles = &command.settles;
        let keys: Vec<_> = settles.iter().map(|settle| (settle.endpoint, settle.subject.id)).collect();
        let mut held = self.lock_streams(&keys).await?;
        let mut settled = StreamsSettled::default();
        let mut moved = Vec::with_capacity(settles.len());
        for settle in settles {
            let found = held.remove(&(settle.endpoint, settle.subject.id));
            match found.filter(|stream| stream.token == Some(settle.token)) {
                Some(mut stream) => {
                    stream.settle(settle);
                    moved.push(stream);
                }
                None => settled.lost.push((settle.endpoint, settle.subject)),
            }
        }
        let mut trip = Pipeline::default();
        self.keep_streams(&moved, &mut trip).await?;
        let attempts: Vec<&Attempt> = kept_attempts(settles, &settled.lost).collect();
        if !attempts.is_empty() {
            trip.add(self.conn, ADD_ATTEMPTS, attempt_columns(&attempts)).await?;
        }
        let health = health(settles);
        let failing = if health.is_empty() {
            None
        } else {
            let (numbers, taken) =
                (column(&health, |(number, _)| *number), column(&health, |(_, taken)| *taken));
            trip.add(self.conn, HEALTH, vec![numbers, taken, Box::new(Moment(command.now))]).await?;
            Some(trip.add(self.conn, FAILING, vec![column(&health, |(number, _)| *number)]).await?)
        };
        if !trip.is_empty() {
            let answers = trip.run(self.conn).await?;
            for row in answers.rows(failing) {
                settled.failing.push((row.try_get(0)?, time(row, 1)?));
            }
        }
        Ok(WebhookReply::Settled(settled))
    }

    /// Writes streams that are locked, or takes away those of which nothing is left.
    async fn keep_streams(&self, streams: &[Stream], trip: &mut Pipeline<'_>) -> Applied<()> {
        let (kept, gone): (Vec<&Stream>, Vec<&Stream>) =
            streams.iter().partition(|stream| stream.head().is_some());
        if !gone.is_empty() {
            let values =
                vec![column(&gone, |stream| stream.endpoint), column(&gone, |stream| stream.subject.id)];
            trip.add(self.conn, GO, values).await?;
        }
        if !kept.is_empty() {
            let values = vec![
                column(&kept, |stream| stream.endpoint),
                column(&kept, |stream| stream.subject.id),
                column(&kept, |stream| big(stream.next)),
                column(&kept, |stream| stream.place.map(big)),
                column(&kept, |stream| numbers_text(&stream.again)),
                column(&kept, |stream| stream.attempt.cast_signed()),
                column(&kept, |stream| Moment(stream.due_at)),
                column(&kept, |stream| stream.token.map(|token| token.0)),
            ];
            trip.add(self.conn, MOVE, values).await?;
        }
        Ok(())
    }

    async fn send_again(&self, again: &SendAgain) -> Applied<WebhookReply> {
        let mut wanted: Vec<_> = again.versions.iter().collect();
        wanted.sort_unstable_by_key(|(subject, _)| subject.id);
        let subjects: Vec<Uuid> = wanted.iter().map(|(subject, _)| subject.id).collect();
        let kinds: Vec<&str> = wanted.iter().map(|(subject, _)| subject.kind.word()).collect();
        let (tenant, now) = (again.tenant.as_str(), Moment(again.now));
        self.conn.execute(MAKE, &[&again.endpoint, &tenant, &now, &subjects, &kinds]).await?;
        let keys: Vec<_> = subjects.into_iter().map(|subject| (again.endpoint, subject)).collect();
        let mut held = self.lock_streams(&keys).await?;
        let (mut count, mut moved) = (0, Vec::with_capacity(wanted.len()));
        for (subject, versions) in wanted {
            // Made above, and nobody takes away what is locked.
            let Some(mut stream) = held.remove(&(again.endpoint, subject.id)) else { continue };
            count += stream.put_again(versions, again.now);
            moved.push(stream);
        }
        let mut trip = Pipeline::default();
        self.keep_streams(&moved, &mut trip).await?;
        if !trip.is_empty() {
            trip.run(self.conn).await?;
        }
        Ok(WebhookReply::Again(count))
    }

    /// First what belongs to a deleted endpoint, then the endpoint; and what is old.
    async fn sweep_webhooks(&self, sweep: SweepWebhooks) -> Applied<WebhookReply> {
        let mut room = i64::from(sweep.limit);
        let deleted = "SELECT min(number) FROM endpoints WHERE deleted_at IS NOT NULL";
        let deleted: Option<i64> = self.conn.query_one(deleted, &[]).await?.try_get(0)?;
        if let Some(of) = deleted {
            for sql in [SWEEP_STREAMS, SWEEP_ATTEMPTS] {
                room -= i64::try_from(self.conn.execute(sql, &[&of, &room]).await?).unwrap_or(room).min(room);
            }
            if room > 0 {
                self.conn.execute("DELETE FROM endpoints WHERE number = $1", &[&of]).await?;
                room -= 1;
            }
        }
        let before = Moment(sweep.before);
        let old = self.conn.execute(SWEEP_OLD, &[&before, &room]).await?;
        room -= i64::try_from(old).unwrap_or(room).min(room);
        let gone = i64::from(sweep.limit) - room;
        Ok(WebhookReply::Swept(u32::try_from(gone).unwrap_or(u32::MAX)))
    }
}

fn candidate(row: &Row, endpoint: &Endpoint) -> Applied<Candidate> {
    Ok(Candidate {
        endpoint: endpoint.number,
        tenant: endpoint.tenant.clone(),
        standing: Standing::of(endpoint.failing_since, row.try_get(ENDPOINT_WIDTH + 3)?),
        in_flight: number::<_, i64>(row, ENDPOINT_WIDTH)?,
        due: number::<_, i64>(row, ENDPOINT_WIDTH + 1)?,
        next_due: maybe_time(row, ENDPOINT_WIDTH + 2)?,
        rate: endpoint.rate,
        paced_until: endpoint.paced_until,
    })
}

fn attempt_columns<'v>(attempts: &[&Attempt]) -> Vec<Value<'v>> {
    vec![
        column(attempts, |one| one.endpoint),
        column(attempts, |one| one.attempt_id),
        column(attempts, |one| one.tenant.as_str().to_owned()),
        column(attempts, |one| one.subject.id),
        column(attempts, |one| one.subject.kind.word()),
        column(attempts, |one| big(one.version)),
        column(attempts, |one| one.event_id.0),
        column(attempts, |one| one.kind.clone()),
        column(attempts, |one| one.attempt.cast_signed()),
        column(attempts, |one| Moment(one.at)),
        column(attempts, |one| i64::try_from(one.took.as_micros()).unwrap_or(i64::MAX)),
        column(attempts, |one| one.outcome.word()),
        column(attempts, |one| one.status.map(i32::from)),
        column(attempts, |one| one.why.clone()),
        column(attempts, |one| (!one.answer.is_empty()).then(|| one.answer.clone())),
        column(attempts, |one| moment(one.retry_at)),
        column(attempts, |one| one.url.clone()),
    ]
}
