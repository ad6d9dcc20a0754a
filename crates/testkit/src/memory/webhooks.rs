//! Webhooks.

use super::MemoryStorage;
use super::state::State;
use async_trait::async_trait;
use order_core::clock::Timestamp;
use order_core::error::{Fault, Rejection};
use order_core::ids::TenantId;
use order_core::marketplace::StoreEvent;
use order_core::query::DUE_COUNT_MAX;
use order_core::webhook::attempt::{
    Attempt, AttemptOutcome, AttemptQuery, GivenUp, StreamQuery, WebhookBacklog,
};
use order_core::webhook::claims::{Candidate, Standing, allot};
use order_core::webhook::command::{
    ClaimStreams, FanOut, SendAgain, SettleStreams, StreamsClaimed, StreamsSettled, SweepWebhooks,
    WebhookCommand, WebhookReply, health, kept_attempts,
};
use order_core::webhook::endpoint::{self, EndpointCommand, EndpointState};
use order_core::webhook::fan_out::{raises, raises_of_store};
use order_core::webhook::reads::WebhookReads;
use order_core::webhook::stream::Stream;
use order_core::webhook::{Endpoint, EndpointId, Subject};
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl State {
    pub(super) fn webhook(&mut self, command: &WebhookCommand) -> Result<WebhookReply, Rejection> {
        Ok(match command {
            WebhookCommand::Endpoint(command) => {
                WebhookReply::Endpoint(Box::new(self.change_endpoint(command)?))
            }
            WebhookCommand::FanOut(fan_out) => WebhookReply::Raised(self.fan_out(fan_out)),
            WebhookCommand::Claim(claim) => WebhookReply::Claimed(self.claim_streams(claim)),
            WebhookCommand::Settle(settle) => WebhookReply::Settled(self.settle_streams(settle)),
            WebhookCommand::Again(again) => WebhookReply::Again(self.send_again(again)),
            WebhookCommand::Sweep(sweep) => WebhookReply::Swept(self.sweep_webhooks(*sweep)),
        })
    }

    /// One endpoint, deleted or not.
    pub(super) fn endpoint(&self, endpoint_id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.values().find(|endpoint| endpoint.endpoint_id == endpoint_id)
    }

    fn change_endpoint(&mut self, command: &EndpointCommand) -> Result<Endpoint, Rejection> {
        let found = self.endpoint(command.endpoint_id).cloned();
        let number = self.endpoints.last_key_value().map_or(1, |(number, _)| number + 1);
        let of = |one: &&Endpoint| one.tenant == command.tenant && one.deleted_at.is_none();
        let count = self.endpoints.values().filter(of).count() as u64;
        let endpoint = endpoint::decide(found, command, number, count)?;
        self.endpoints.insert(endpoint.number, endpoint.clone());
        Ok(endpoint)
    }

    fn fan_out(&mut self, fan_out: &FanOut) -> u64 {
        let endpoints: Vec<Endpoint> = self.endpoints.values().cloned().collect();
        let raises = raises(&endpoints, &fan_out.events);
        for raise in &raises {
            let empty = || Stream::empty(raise.endpoint, raise.subject, raise.tenant.clone(), fan_out.now);
            let key = (raise.endpoint, raise.subject.id);
            self.webhook_streams.entry(key).or_insert_with(empty).raise(raise);
        }
        raises.len() as u64
    }

    pub(super) fn raise_of_store(&mut self, event: &StoreEvent) {
        let endpoints: Vec<Endpoint> = self.endpoints.values().cloned().collect();
        for raise in raises_of_store(&endpoints, event) {
            let empty =
                || Stream::empty(raise.endpoint, raise.subject, raise.tenant.clone(), event.occurred_at);
            let key = (raise.endpoint, raise.subject.id);
            self.webhook_streams.entry(key).or_insert_with(empty).raise(&raise);
        }
    }

    fn claim_streams(&mut self, claim: &ClaimStreams) -> StreamsClaimed {
        let open: BTreeSet<i64> = self.webhook_streams.keys().map(|(endpoint, _)| *endpoint).collect();
        let active = |one: &&Endpoint| one.state == EndpointState::Active && one.deleted_at.is_none();
        let active = self.endpoints.values().filter(|one| open.contains(&one.number)).filter(active);
        let candidates: Vec<Candidate> = active.map(|endpoint| self.candidate(endpoint, claim)).collect();
        let (allotted, next_due) = allot(&candidates, claim);
        let mut claimed = StreamsClaimed { next_due, ..StreamsClaimed::default() };
        for one in allotted {
            let due = self.webhook_streams.values_mut();
            let due = due.filter(|stream| stream.endpoint == one.endpoint && stream.due_at <= claim.now);
            let mut due: Vec<&mut Stream> = due.collect();
            due.sort_by_key(|stream| stream.due_at);
            for stream in due.into_iter().take(one.take as usize) {
                (stream.due_at, stream.token) = (claim.now.plus(claim.lease), Some(claim.token));
                claimed.streams.push(stream.clone());
            }
            let endpoint = self.endpoints.get_mut(&one.endpoint).expect("it was a candidate");
            claimed.endpoints.push(endpoint.clone());
            endpoint.paced_until = one.paced_until.or(endpoint.paced_until);
        }
        claimed
    }

    fn candidate(&self, endpoint: &Endpoint, claim: &ClaimStreams) -> Candidate {
        let streams = || self.webhook_streams.values().filter(|one| one.endpoint == endpoint.number);
        let later = |one: &&Stream| one.due_at > claim.now;
        let leased = streams().filter(later).filter(|one| one.token.is_some()).count();
        let due = streams().filter(|one| one.due_at <= claim.now).count();
        let is_tried = self.webhook_attempts.keys().any(|(number, _)| *number == endpoint.number);
        Candidate {
            endpoint: endpoint.number,
            tenant: endpoint.tenant.clone(),
            standing: Standing::of(endpoint.failing_since, is_tried),
            in_flight: u32::try_from(leased).expect("few are leased"),
            due: u32::try_from(due).unwrap_or(u32::MAX).min(claim.in_flight_max),
            next_due: streams().filter(later).map(|one| one.due_at).min(),
            rate: endpoint.rate,
            paced_until: endpoint.paced_until,
        }
    }

    fn settle_streams(&mut self, command: &SettleStreams) -> StreamsSettled {
        let mut settled = StreamsSettled::default();
        for settle in &command.settles {
            let key = (settle.endpoint, settle.subject.id);
            let held = self.webhook_streams.get_mut(&key).filter(|one| one.token == Some(settle.token));
            let Some(stream) = held else {
                settled.lost.push((settle.endpoint, settle.subject));
                continue;
            };
            stream.settle(settle);
            if stream.head().is_none() {
                self.webhook_streams.remove(&key);
            }
        }
        for attempt in kept_attempts(&command.settles, &settled.lost) {
            self.webhook_attempts.insert((attempt.endpoint, attempt.attempt_id), attempt.clone());
        }
        for (number, has_taken) in health(&command.settles) {
            let Some(endpoint) = self.endpoints.get_mut(&number) else { continue };
            endpoint.failing_since =
                if has_taken { None } else { endpoint.failing_since.or(Some(command.now)) };
            settled.failing.extend(endpoint.failing_since.map(|since| (number, since)));
        }
        settled
    }

    fn send_again(&mut self, again: &SendAgain) -> u64 {
        let mut count = 0;
        for (subject, versions) in &again.versions {
            let empty = || Stream::empty(again.endpoint, *subject, again.tenant.clone(), again.now);
            let key = (again.endpoint, subject.id);
            let stream = self.webhook_streams.entry(key).or_insert_with(empty);
            count += stream.put_again(versions, again.now);
            if stream.head().is_none() {
                self.webhook_streams.remove(&key);
            }
        }
        count
    }

    fn sweep_webhooks(&mut self, sweep: SweepWebhooks) -> u32 {
        let gone: BTreeSet<i64> =
            self.endpoints.values().filter(|one| one.deleted_at.is_some()).map(|one| one.number).collect();
        let before = self.webhook_streams.len() + self.webhook_attempts.len() + self.endpoints.len();
        self.webhook_streams.retain(|(endpoint, _), _| !gone.contains(endpoint));
        self.webhook_attempts
            .retain(|(endpoint, _), attempt| !gone.contains(endpoint) && attempt.at >= sweep.before);
        self.endpoints.retain(|number, _| !gone.contains(number));
        let after = self.webhook_streams.len() + self.webhook_attempts.len() + self.endpoints.len();
        u32::try_from(before - after).expect("few go")
    }

    fn was_delivered(&self, endpoint: i64, subject: Subject, version: u64) -> bool {
        self.webhook_attempts.values().any(|attempt| {
            (attempt.endpoint, attempt.subject, attempt.version) == (endpoint, subject, version)
                && attempt.outcome == AttemptOutcome::Delivered
        })
    }
}

#[async_trait]
impl WebhookReads for MemoryStorage {
    async fn endpoint(&self, tenant: &TenantId, endpoint_id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        let found = self.reading()?.endpoint(endpoint_id).cloned();
        Ok(found.filter(|endpoint| endpoint.tenant == *tenant && endpoint.deleted_at.is_none()))
    }

    async fn endpoints(
        &self,
        tenant: &TenantId,
        organization: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Fault> {
        let asked = |one: &&Endpoint| {
            one.tenant == *tenant
                && one.deleted_at.is_none()
                && before.is_none_or(|before| one.number < before)
                && organization.is_none_or(|wanted| one.organization.as_deref() == Some(wanted))
        };
        let state = self.reading()?;
        let newest_first = state.endpoints.values().rev().filter(asked).cloned();
        Ok(newest_first.take(limit as usize).collect())
    }

    async fn streams(&self, query: &StreamQuery) -> Result<Vec<Stream>, Fault> {
        let state = self.reading()?;
        let is_there = |one: &&Stream| {
            state.endpoints.get(&one.endpoint).is_some_and(|endpoint| endpoint.deleted_at.is_none())
        };
        let asked = state.webhook_streams.values().filter(is_there).filter(|one| query.matches(one));
        Ok(asked.take(query.limit as usize).cloned().collect())
    }

    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, Fault> {
        let state = self.reading()?;
        let asked = state.webhook_attempts.values().filter(|attempt| query.matches(attempt));
        let mut asked: Vec<Attempt> = asked.cloned().collect();
        asked.sort_by_key(|attempt| Reverse(attempt.attempt_id));
        asked.truncate(query.limit as usize);
        Ok(asked)
    }

    async fn given_up(&self, of: &GivenUp) -> Result<Vec<Attempt>, Fault> {
        let state = self.reading()?;
        let asked = state.webhook_attempts.values().filter(|one| {
            one.endpoint == of.endpoint
                && one.outcome == AttemptOutcome::Failed
                && one.at >= of.since
                && of.after.is_none_or(|after| one.attempt_id > after)
                && !state.was_delivered(one.endpoint, one.subject, one.version)
        });
        Ok(asked.take(of.limit as usize).cloned().collect())
    }

    async fn was_or_comes(&self, endpoint: i64, of: &[(Subject, u64)]) -> Result<Vec<bool>, Fault> {
        let state = self.reading()?;
        let comes = |subject: Subject, version: u64| {
            state.webhook_streams.get(&(endpoint, subject.id)).is_some_and(|stream| {
                (stream.next..=stream.upto).contains(&version) || stream.again.contains(&version)
            })
        };
        let either = |(subject, version): &(Subject, u64)| {
            state.was_delivered(endpoint, *subject, *version) || comes(*subject, *version)
        };
        Ok(of.iter().map(either).collect())
    }

    async fn webhook_backlog(&self, now: Timestamp) -> Result<WebhookBacklog, Fault> {
        let state = self.reading()?;
        let mut backlog = WebhookBacklog::default();
        for endpoint in state.endpoints.values().filter(|one| one.deleted_at.is_none()) {
            let index =
                EndpointState::ALL.iter().position(|state| *state == endpoint.state).expect("a state");
            backlog.endpoints[index] += 1;
            let of = || state.webhook_streams.values().filter(|one| one.endpoint == endpoint.number);
            backlog.leased += of().filter(|one| one.token.is_some() && one.due_at > now).count() as u64;
            if endpoint.state == EndpointState::Active {
                backlog.failing += u64::from(endpoint.failing_since.is_some());
                let due = of().filter(|one| one.due_at <= now);
                backlog.due_since = backlog.due_since.into_iter().chain(due.map(|one| one.due_at)).min();
                backlog.due += of().filter(|one| one.due_at <= now).count() as u64;
            }
        }
        backlog.due = backlog.due.min(DUE_COUNT_MAX);
        Ok(backlog)
    }
}
