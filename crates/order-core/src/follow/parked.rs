//! Sending parked events again, and parking what the sink refuses.

use super::Follower;
use super::place::{self, Place};
use super::stretch::{Move, Page};
use crate::error::Fault;
use crate::journal::Event;
use crate::parking::{self, ParkedStream, Resent, WhichStreams};
use crate::ports::{RefusedEvent, SinkFault};
use crate::query::{FollowerRow, PageWeight};

/// Parked orders that are sent again in one step at most.
const STREAMS_MAX: u32 = 100;

impl Follower {
    /// What is to be sent again because an operator asked for it, as far as the cursor has passed it: what lies behind that
    /// comes anyway. `None` when there is nothing.
    pub(super) async fn redriven(&self, place: &Place) -> Result<Option<Page>, Fault> {
        let (row, held) = (&place.row, &place.held);
        if row.parked == 0 {
            return Ok(None);
        }
        // What is carried on once more lies before what waits.
        let shards = held.iter().copied().filter(|shard| !place::replays(row, &[*shard])).collect();
        let which = WhichStreams::Redriving { shards, limit: STREAMS_MAX };
        let streams = self.app.storage.parked_streams(&self.name, &which).await?;
        if streams.is_empty() {
            return Ok(None);
        }
        let (mut events, mut resent, mut weight) = (Vec::new(), Vec::new(), PageWeight::default());
        for stream in &streams {
            let room = self.policy.batch_size.saturating_sub(events.len());
            if room == 0 || weight.is_full() {
                break;
            }
            let (some, next) = self.waiting(row, stream, room).await?;
            some.iter().for_each(|event| weight.add_event(event));
            events.extend(some);
            resent.push(Resent { order_id: stream.order_id, from_version: stream.from_version, next });
        }
        Ok(Some(Page { events, go: Move { resent, ..Move::default() } }))
    }

    /// The next events of a parked order, at most `room` of them, and from which version on there are more.
    async fn waiting(
        &self,
        row: &FollowerRow,
        stream: &ParkedStream,
        room: usize,
    ) -> Result<(Vec<Event>, Option<u64>), Fault> {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let after = stream.from_version.saturating_sub(1);
        let page = self.app.storage.order_events(&stream.tenant, stream.order_id, after, limit).await?;
        let Some(page) = page else { return Ok((Vec::new(), None)) };
        let passed = row.cursor.positions.get(usize::from(stream.shard.0)).copied().unwrap_or(0);
        let (mut events, found) = (page.events, page.next);
        let more = events.last().is_some_and(|event| event.position <= passed) && found.is_some();
        events.retain(|event| event.position <= passed);
        let next = events.last().map(|event| event.version + 1).filter(|_| more);
        Ok((events, next))
    }

    /// What is not parked of `events`.
    pub(super) async fn unparked(&self, row: &FollowerRow, events: Vec<Event>) -> Result<Vec<Event>, Fault> {
        if row.parked == 0 {
            return Ok(events);
        }
        let mut orders: Vec<_> = events.iter().map(|event| event.order_id).collect();
        orders.sort_unstable();
        orders.dedup();
        let streams = self.app.storage.parked_streams(&self.name, &WhichStreams::Of(orders)).await?;
        Ok(parking::without_parked(events, &streams))
    }

    /// What is parked after a delivery that ended so; or why the sink failed all the same.
    ///
    /// # Errors
    /// When storage fails.
    pub(super) async fn refused(
        &self,
        row: &FollowerRow,
        events: &[Event],
        refused: &[RefusedEvent],
    ) -> Result<Result<Vec<ParkedStream>, Fault>, Fault> {
        let streams = match parking::parked(events, refused, self.app.clock.now()) {
            Ok(streams) => streams,
            Err(fault) => return Ok(Err(fault)),
        };
        if self.are_too_many(row, &streams).await? {
            let why = format!("it refuses events of more than {} orders for good", self.policy.parked_max);
            return Ok(Err(self.fault(&SinkFault::Transient(why))));
        }
        for stream in &streams {
            tracing::error!(
                follower = %self.name, order_id = %stream.order_id, version = stream.from_version,
                reason = stream.reason.name(), detail = stream.detail,
                "the sink refuses an event for good; its order waits until it is redriven"
            );
        }
        Ok(Ok(streams))
    }

    /// Whether more orders would be parked than may be. Those that are parked by now are no more of them: however many there
    /// are, what is sent again may be refused again.
    async fn are_too_many(&self, row: &FollowerRow, streams: &[ParkedStream]) -> Result<bool, Fault> {
        if row.parked + streams.len() as u64 <= self.policy.parked_max {
            return Ok(false);
        }
        let orders = WhichStreams::Of(streams.iter().map(|stream| stream.order_id).collect());
        let known = self.app.storage.parked_streams(&self.name, &orders).await?.len();
        let new = streams.len().saturating_sub(known) as u64;
        Ok(new > 0 && row.parked + new > self.policy.parked_max)
    }
}
