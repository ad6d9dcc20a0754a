//! Commands about webhooks. One thread writes, so what is read here nobody else changes meanwhile.

use super::{Applied, Batch};
use crate::error::fault;
use crate::rows::{blob, collect, micros};
use crate::webhooks::{self, endpoint_row, endpoints, stream_row, streams};
use order_core::Timestamp;
use order_core::command::Reply;
use order_core::ids::TenantId;
use order_core::marketplace::StoreEvent;
use order_core::webhook::claims::{Candidate, Standing, allot};
use order_core::webhook::command::{
    ClaimStreams, FanOut, SendAgain, SettleStreams, StreamsClaimed, StreamsSettled, SweepWebhooks,
    WebhookCommand, WebhookReply, health, kept_attempts,
};
use order_core::webhook::endpoint::{self, Endpoint, EndpointAction, EndpointCommand};
use order_core::webhook::fan_out::{raises, raises_of_store, tenants};
use order_core::webhook::stream::{Raise, Stream};
use rusqlite::{OptionalExtension, params};

impl Batch<'_> {
    pub(super) fn webhook(&self, command: &WebhookCommand) -> Applied {
        let reply = match command {
            WebhookCommand::Endpoint(command) => self.change_endpoint(command)?,
            WebhookCommand::FanOut(fan_out) => self.fan_out(fan_out).map_err(fault)?,
            WebhookCommand::Claim(claim) => self.claim_streams(claim).map_err(fault)?,
            WebhookCommand::Settle(settle) => self.settle_streams(settle).map_err(fault)?,
            WebhookCommand::Again(again) => self.send_again(again).map_err(fault)?,
            WebhookCommand::Sweep(sweep) => self.sweep_webhooks(*sweep).map_err(fault)?,
        };
        Ok(Reply::Webhook(Box::new(reply)))
    }

    fn change_endpoint(&self, command: &EndpointCommand) -> Applied<WebhookReply> {
        let found = webhooks::endpoint(self.conn, command.endpoint_id).map_err(fault)?;
        let (number, count) = match command.action {
            EndpointAction::Create(_) => self
                .conn
                .prepare_cached(
                    "SELECT (SELECT coalesce(max(number), 0) + 1 FROM endpoints), \
                     (SELECT count(*) FROM endpoints WHERE tenant = ?1 AND deleted_at IS NULL)",
                )
                .and_then(|mut statement| {
                    statement.query_row([command.tenant.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .map_err(fault)?,
            _ => (0, 0),
        };
        let endpoint = endpoint::decide(found, command, number, count)?;
        webhooks::put(self.conn, &endpoint).map_err(fault)?;
        Ok(WebhookReply::Endpoint(Box::new(endpoint)))
    }

    fn fan_out(&self, fan_out: &FanOut) -> rusqlite::Result<WebhookReply> {
        let mut listening: Vec<Endpoint> = Vec::new();
        for tenant in tenants(&fan_out.events) {
            listening.extend(self.listening(tenant)?);
        }
        let raises = raises(&listening, &fan_out.events);
        raises.iter().try_for_each(|raise| self.raise_stream(raise, fan_out.now))?;
        Ok(WebhookReply::Raised(raises.len() as u64))
    }

    /// Raises the streams of whoever listens to an event of a store.
    pub(super) fn raise_of_store(&self, event: &StoreEvent) -> rusqlite::Result<()> {
        let listening = self.listening(&event.tenant)?;
        let raises = raises_of_store(&listening, event);
        raises.iter().try_for_each(|raise| self.raise_stream(raise, event.occurred_at))
    }

    fn listening(&self, tenant: &TenantId) -> rusqlite::Result<Vec<Endpoint>> {
        let mut of_tenant = self.conn.prepare_cached(endpoints!(
            "INDEXED BY endpoints_by_tenant WHERE tenant = ?1 AND deleted_at IS NULL AND state <> 'disabled'"
        ))?;
        collect(&mut of_tenant, params![tenant.as_str()], endpoint_row)
    }

    /// Raises a stream, or makes it.
    pub(super) fn raise_stream(&self, raise: &Raise, now: Timestamp) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO webhook_streams (endpoint, subject, kind, tenant, next, place, upto, again, attempt, due_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', 0, ?8) ON CONFLICT (endpoint, subject) DO UPDATE SET \
                 next = CASE WHEN next > upto THEN ?5 ELSE next END, \
                 place = CASE WHEN next > upto THEN ?6 ELSE place END, upto = ?7 WHERE upto < ?7",
            )?
            .execute(params![
                raise.endpoint,
                blob(&raise.subject.id),
                raise.subject.kind.word(),
                raise.tenant.as_str(),
                raise.next,
                raise.place,
                raise.upto,
                now.micros(),
            ])?;
        Ok(())
    }

    fn claim_streams(&self, claim: &ClaimStreams) -> rusqlite::Result<WebhookReply> {
        let now = claim.now;
        let endpoints = self.open_endpoints()?;
        let mut candidates = Vec::with_capacity(endpoints.len());
        for endpoint in &endpoints {
            candidates.push(self.candidate(endpoint, claim)?);
        }
        let (allotted, next_due) = allot(&candidates, claim);
        let mut claimed = StreamsClaimed { next_due, ..StreamsClaimed::default() };
        let mut due = self.conn.prepare_cached(streams!(
            "FROM webhook_streams s INDEXED BY webhook_streams_due WHERE s.endpoint = ?1 AND s.due_at <= ?2 \
             ORDER BY s.due_at LIMIT ?3"
        ))?;
        let mut lease = self.conn.prepare_cached(
            "UPDATE webhook_streams SET due_at = ?3, token = ?4 WHERE endpoint = ?1 AND subject = ?2",
        )?;
        let until = now.plus(claim.lease);
        for one in allotted {
            let values = params![one.endpoint, now.micros(), one.take];
            for mut stream in collect(&mut due, values, stream_row)? {
                let key = (one.endpoint, blob(&stream.subject.id));
                lease.execute(params![key.0, key.1, until.micros(), blob(&claim.token.0)])?;
                (stream.due_at, stream.token) = (until, Some(claim.token));
                claimed.streams.push(stream);
            }
            if one.paced_until.is_some() {
                self.conn
                    .prepare_cached("UPDATE endpoints SET paced_until = ?2 WHERE number = ?1")?
                    .execute(params![one.endpoint, micros(one.paced_until)])?;
            }
            claimed.endpoints.extend(endpoints.iter().find(|each| each.number == one.endpoint).cloned());
        }
        Ok(WebhookReply::Claimed(claimed))
    }

    /// Active endpoints with open streams: each is found behind the one before, however many streams they have.
    fn open_endpoints(&self) -> rusqlite::Result<Vec<Endpoint>> {
        let mut next =
            self.conn.prepare_cached("SELECT min(endpoint) FROM webhook_streams WHERE endpoint > ?1")?;
        let mut active = self
            .conn
            .prepare_cached(endpoints!("WHERE number = ?1 AND state = 'active' AND deleted_at IS NULL"))?;
        let (mut endpoints, mut last) = (Vec::new(), i64::MIN);
        while let Some(number) = next.query_row([last], |row| row.get::<_, Option<i64>>(0))? {
            endpoints.extend(active.query_row([number], endpoint_row).optional()?);
            last = number;
        }
        Ok(endpoints)
    }

    fn candidate(&self, endpoint: &Endpoint, claim: &ClaimStreams) -> rusqlite::Result<Candidate> {
        let counts = self
            .conn
            .prepare_cached(
                "SELECT (SELECT count(*) FROM webhook_streams INDEXED BY webhook_streams_leased \
                 WHERE endpoint = ?1 AND due_at > ?2 AND token IS NOT NULL), \
                 (SELECT count(*) FROM (SELECT 1 FROM webhook_streams WHERE endpoint = ?1 AND due_at <= ?2 LIMIT ?3)), \
                 (SELECT min(due_at) FROM webhook_streams WHERE endpoint = ?1 AND due_at > ?2), \
                 EXISTS (SELECT 1 FROM webhook_attempts WHERE endpoint = ?1)",
            )?
            .query_row(params![endpoint.number, claim.now.micros(), claim.in_flight_max], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
            })?;
        Ok(Candidate {
            endpoint: endpoint.number,
            tenant: endpoint.tenant.clone(),
            standing: Standing::of(endpoint.failing_since, counts.3),
            in_flight: counts.0,
            due: counts.1,
            next_due: counts.2.map(Timestamp::from_micros),
            rate: endpoint.rate,
            paced_until: endpoint.paced_until,
        })
    }

    fn settle_streams(&self, command: &SettleStreams) -> rusqlite::Result<WebhookReply> {
        let mut settled = StreamsSettled::default();
        for settle in &command.settles {
            let found = webhooks::stream(self.conn, settle.endpoint, settle.subject.id)?;
            let Some(mut stream) = found.filter(|stream| stream.token == Some(settle.token)) else {
                settled.lost.push((settle.endpoint, settle.subject));
                continue;
            };
            stream.settle(settle);
            self.keep_stream(&stream)?;
        }
        for attempt in kept_attempts(&command.settles, &settled.lost) {
            webhooks::add_attempt(self.conn, attempt)?;
        }
        for (number, has_taken) in health(&command.settles) {
            settled.failing.extend(self.keep_health(number, has_taken, command.now)?);
        }
        Ok(WebhookReply::Settled(settled))
    }

    /// Writes a stream, or takes away one of which nothing is left.
    fn keep_stream(&self, stream: &Stream) -> rusqlite::Result<()> {
        if stream.head().is_some() {
            return webhooks::put_stream(self.conn, stream);
        }
        self.conn
            .prepare_cached("DELETE FROM webhook_streams WHERE endpoint = ?1 AND subject = ?2")?
            .execute(params![stream.endpoint, blob(&stream.subject.id)])?;
        Ok(())
    }

    /// Notes since when an endpoint takes nothing; answers that, if it does not.
    fn keep_health(
        &self,
        number: i64,
        has_taken: bool,
        now: Timestamp,
    ) -> rusqlite::Result<Option<(i64, Timestamp)>> {
        if has_taken {
            self.conn
                .prepare_cached(
                    "UPDATE endpoints SET failing_since = NULL WHERE number = ?1 AND failing_since IS NOT NULL",
                )?
                .execute([number])?;
            return Ok(None);
        }
        self.conn
            .prepare_cached(
                "UPDATE endpoints SET failing_since = ?2 WHERE number = ?1 AND failing_since IS NULL",
            )?
            .execute(params![number, now.micros()])?;
        self.conn
            .prepare_cached("SELECT failing_since FROM endpoints WHERE number = ?1")?
            .query_row([number], |row| row.get::<_, i64>(0))
            .optional()
            .map(|since| since.map(|since| (number, Timestamp::from_micros(since))))
    }

    fn send_again(&self, again: &SendAgain) -> rusqlite::Result<WebhookReply> {
        let mut count = 0;
        for (subject, versions) in &again.versions {
            let found = webhooks::stream(self.conn, again.endpoint, subject.id)?;
            let mut stream = found
                .unwrap_or_else(|| Stream::empty(again.endpoint, *subject, again.tenant.clone(), again.now));
            count += stream.put_again(versions, again.now);
            self.keep_stream(&stream)?;
        }
        Ok(WebhookReply::Again(count))
    }

    /// First what belongs to a deleted endpoint, then the endpoint; and what is old.
    fn sweep_webhooks(&self, sweep: SweepWebhooks) -> rusqlite::Result<WebhookReply> {
        let mut room = sweep.limit;
        let deleted: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(number) FROM endpoints WHERE deleted_at IS NOT NULL")?
            .query_row([], |row| row.get(0))?;
        if let Some(number) = deleted {
            for sql in [
                "DELETE FROM webhook_streams WHERE endpoint = ?1 AND subject IN \
                 (SELECT subject FROM webhook_streams WHERE endpoint = ?1 LIMIT ?2)",
                "DELETE FROM webhook_attempts WHERE endpoint = ?1 AND attempt_id IN \
                 (SELECT attempt_id FROM webhook_attempts WHERE endpoint = ?1 LIMIT ?2)",
            ] {
                let gone = self.conn.prepare_cached(sql)?.execute(params![number, room])?;
                room -= u32::try_from(gone).unwrap_or(room).min(room);
            }
            if room > 0 {
                self.conn.prepare_cached("DELETE FROM endpoints WHERE number = ?1")?.execute([number])?;
                room -= 1;
            }
        }
        let mut numbers =
            self.conn.prepare_cached("SELECT number FROM endpoints WHERE deleted_at IS NULL")?;
        let numbers: Vec<i64> = collect(&mut numbers, &[], |row| row.get(0))?;
        for number in numbers {
            let gone = self
                .conn
                .prepare_cached(
                    "DELETE FROM webhook_attempts WHERE endpoint = ?1 AND attempt_id IN (SELECT attempt_id FROM \
                     (SELECT attempt_id, at FROM webhook_attempts WHERE endpoint = ?1 ORDER BY attempt_id LIMIT ?2) \
                     WHERE at < ?3)",
                )?
                .execute(params![number, room, sweep.before.micros()])?;
            room -= u32::try_from(gone).unwrap_or(room).min(room);
        }
        Ok(WebhookReply::Swept(sweep.limit - room))
    }
}
