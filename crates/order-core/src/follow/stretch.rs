//! From where a follower begins until it has nothing more to carry, or something is in its way. Three things go on at once:
//! while the sink takes a page, the next one is read, and the commit is under way that moves the place behind the ones before.
//! Pages are delivered one after the other; the place never moves behind what is not safe.
//!
//! At most two pages are in memory besides what the sink makes of one: that which is delivered, and the next, which grows while
//! it waits for its turn.

use super::place::Place;
use super::{Follower, Progress, read_fairly, read_of};
use crate::breaker::Call;
use crate::command::{Advance, AdvancePart, Command};
use crate::error::{Error, Fault};
use crate::fault_point;
use crate::ids::Shard;
use crate::journal::{Event, Head};
use crate::parking::{ParkedStream, Resent};
use crate::query::PageWeight;
use crate::replay::Replay;
use crate::trace::Span;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

/// How the follower is moved.
#[derive(Default)]
pub(super) struct Move {
    pub(super) moves: Vec<(Shard, u64, u64)>,
    pub(super) resent: Vec<Resent>,
    pub(super) parked: Vec<ParkedStream>,
}

impl Move {
    fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.resent.is_empty() && self.parked.is_empty()
    }

    /// Takes in what the sink refused of what was sent: of what was parked before, no more than lies before it was sent.
    fn park(&mut self, parked: Vec<ParkedStream>) {
        for stream in &parked {
            let again = self.resent.iter_mut().find(|resent| resent.order_id == stream.order_id);
            if let Some(again) = again {
                again.next = Some(stream.from_version);
            }
        }
        self.parked = parked;
    }

    /// Goes on behind this with the move of the next page.
    fn go_on(&mut self, next: Self) {
        for (shard, from, to) in next.moves {
            match self.moves.iter_mut().find(|(moved, _, _)| *moved == shard) {
                Some((_, _, end)) => *end = to,
                None => self.moves.push((shard, from, to)),
            }
        }
        self.resent.extend(next.resent);
        self.parked.extend(next.parked);
    }
}

/// Events that are delivered together, and how the follower moves once they are safe.
#[derive(Default)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) go: Move,
}

impl Page {
    /// How many events more belong into it.
    fn room(&self, batch_size: usize) -> usize {
        let mut weight = PageWeight::default();
        self.events.iter().for_each(|event| weight.add_event(event));
        if weight.is_full() { 0 } else { batch_size.saturating_sub(self.events.len()) }
    }

    fn go_on(&mut self, next: Self) {
        self.events.extend(next.events);
        self.go.go_on(next.go);
    }
}

/// What was read: the place as it is known now, and what lies behind what was read before, if anything.
struct Read {
    place: Arc<Place>,
    page: Option<Page>,
    /// How far each shard is read now.
    to: Vec<u64>,
}

/// Until when a stretch goes on. Without it, it has one page.
pub(super) struct Until<'u> {
    /// Tells that there may be more.
    pub(super) grew: &'u mut watch::Receiver<u64>,
    pub(super) stop: &'u mut watch::Receiver<bool>,
}

/// What became of a stretch.
pub(super) struct Ended {
    /// Whether the place was moved.
    pub(super) has_moved: bool,
    /// Whether there was nothing behind what was read.
    pub(super) is_at_end: bool,
    pub(super) how: Result<Progress, Error>,
}

impl Ended {
    /// It has not begun.
    fn at_once(how: Result<Progress, Error>) -> Self {
        Self { has_moved: false, is_at_end: false, how }
    }
}

/// Something that goes on, if it does.
type Hand<'f, T> = Option<BoxFuture<'f, T>>;

/// The end of what goes on; never, if nothing does.
async fn ended<T>(hand: &mut Hand<'_, T>) -> T {
    let Some(going) = hand else { return std::future::pending().await };
    let end = going.await;
    *hand = None;
    end
}

async fn grown(grew: &mut Option<&mut watch::Receiver<u64>>) {
    if let Some(grew) = grew
        && grew.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn stopped(stop: &mut Option<&mut watch::Receiver<bool>>) {
    match stop {
        Some(stop) => drop(stop.wait_for(|stop| *stop).await),
        None => std::future::pending().await,
    }
}

struct Stretch<'f> {
    follower: &'f Follower,
    place: Arc<Place>,
    /// The heads that the place was found with.
    heads: Option<Vec<Head>>,
    /// How far each shard is read.
    read: Vec<u64>,
    /// Pages that may be read yet.
    left: usize,
    /// Whether there may be something behind what is read.
    more: bool,
    ahead: Option<Page>,
    /// What the place is to be moved behind.
    safe: Move,
    /// Events that are safe.
    carried: usize,
    has_moved: bool,
    /// Whether a move was refused, or failed: whatever is safe behind it cannot be moved behind.
    has_failed_to_move: bool,
    /// Whether nothing more is to be read or delivered.
    is_over: bool,
    /// Why, where that is to be told.
    how: Option<Result<Progress, Error>>,
    reading: Hand<'f, Result<Option<Read>, Error>>,
    delivering: Hand<'f, (Move, Result<usize, Fault>)>,
    moving: Hand<'f, Result<(), Error>>,
}

impl Follower {
    /// Carries on what is behind the place, or that which is to be sent again.
    pub(super) async fn carry(&self, until: Option<Until<'_>>) -> Ended {
        let (place, heads) = match self.place().await {
            Ok(Ok(found)) => found,
            Ok(Err(progress)) => return Ended::at_once(Ok(progress)),
            Err(error) => return Ended::at_once(Err(error)),
        };
        let ahead = match self.redriven(&place).await {
            Ok(ahead) => ahead,
            Err(fault) => return Ended::at_once(Err(fault.into())),
        };
        // What waits for an operator is looked at before each page.
        let left = match until {
            _ if ahead.is_some() => 0,
            Some(_) if place.row.parked == 0 => usize::MAX,
            _ => 1,
        };
        let stretch = Stretch {
            follower: self,
            read: place.begin().to_vec(),
            place: Arc::new(place),
            heads: Some(heads),
            left,
            more: true,
            ahead,
            safe: Move::default(),
            carried: 0,
            has_moved: false,
            has_failed_to_move: false,
            is_over: false,
            how: None,
            reading: None,
            delivering: None,
            moving: None,
        };
        stretch.run(until).await
    }

    /// Reads what is behind `from`, at most `room` events; `None` when the stretch must end.
    async fn read(
        &self,
        mut place: Arc<Place>,
        heads: Option<Vec<Head>>,
        (from, room): (Vec<u64>, usize),
    ) -> Result<Option<Read>, Error> {
        if place.is_old() {
            let Some(looked) = self.looked(&place).await? else { return Ok(None) };
            place = Arc::new(looked);
        }
        let storage = self.app.storage.as_ref();
        let heads = match heads {
            Some(heads) => heads,
            None => storage.heads().await?,
        };
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let mut to = from.clone();
        let heads = place.within(&heads);
        let events = match &self.sources {
            None => read_fairly(storage, &heads, &mut to, limit).await?.into_iter().flatten().collect(),
            Some(sources) => read_of(storage, &heads, &mut to, (limit, sources)).await?,
        };
        let moves = moves(&from, &to);
        if moves.is_empty() {
            return Ok(Some(Read { place, page: None, to }));
        }
        let mut events = self.unparked(&place.row, events).await?;
        if events.len() > 1 && fault_point::planted("cursor-past-gap") {
            events.pop();
        }
        let page = Page { events, go: Move { moves, ..Move::default() } };
        Ok(Some(Read { place, page: Some(page), to }))
    }

    /// Delivers `page`; tells how many events that were.
    async fn delivered(&self, call: Call, place: Arc<Place>, page: Page) -> (Move, Result<usize, Fault>) {
        let Page { events, mut go } = page;
        let mut spans = self.spans(&events);
        let taken = self.deliver(call, &place.row, &events).await.map(|parked| {
            go.park(parked);
            events.len()
        });
        match taken {
            Ok(_) => fault_point::pass("follower.after_send"),
            Err(_) => spans.iter_mut().for_each(Span::fail),
        }
        (go, taken)
    }

    async fn advance(&self, place: Arc<Place>, go: Move) -> Result<(), Error> {
        let now = self.app.clock.now();
        let advance = Advance {
            follower: self.name.clone(),
            part: if go.moves.is_empty() { AdvancePart::Cursor } else { place.part },
            epoch: place.row.cursor.epoch,
            moves: go.moves,
            token: self.app.node(),
            until: now.plus(self.policy.lease),
            resent: go.resent,
            parked: go.parked,
            now,
        };
        self.app.lanes.submit(Command::Advance(advance)).await.map(drop)
    }
}

impl Stretch<'_> {
    async fn run(mut self, until: Option<Until<'_>>) -> Ended {
        let (mut grew, mut stop) = until.map(|until| (until.grew, until.stop)).unzip();
        loop {
            self.begin();
            let is_idle = self.reading.is_none() && self.delivering.is_none() && self.moving.is_none();
            if is_idle {
                break;
            }
            tokio::select! {
                biased;
                moved = ended(&mut self.moving) => self.moved(moved),
                (go, taken) = ended(&mut self.delivering) => self.taken(go, taken),
                read = ended(&mut self.reading) => self.came(read),
                () = grown(&mut grew), if !self.more && !self.is_over => self.more = true,
                () = stopped(&mut stop), if !self.is_over => self.is_over = true,
            }
        }
        let progress = match self.carried {
            0 if self.has_moved => Progress::Moved,
            0 => Progress::UpToDate,
            carried => Progress::Carried(carried),
        };
        Ended {
            has_moved: self.has_moved,
            is_at_end: !self.more && !self.is_over,
            how: self.how.unwrap_or(Ok(progress)),
        }
    }

    /// Begins whatever can be.
    fn begin(&mut self) {
        let follower = self.follower;
        // While a commit takes its time, one more page is delivered: all that is not moved behind may come again.
        let may_deliver = self.moving.is_none() || self.safe.is_empty();
        if self.delivering.is_none() && may_deliver && !self.is_over {
            self.deliver_ahead();
        }
        if self.is_over {
            (self.ahead, self.reading) = (None, None);
        } else if self.more && self.left > 0 && self.reading.is_none() {
            let batch_size = follower.policy.batch_size;
            let room = self.ahead.as_ref().map_or(batch_size, |ahead| ahead.room(batch_size));
            if room > 0 {
                self.left -= 1;
                let (place, heads) = (Arc::clone(&self.place), self.heads.take());
                self.reading = Some(Box::pin(follower.read(place, heads, (self.read.clone(), room))));
            }
        }
        if self.moving.is_none() && !self.safe.is_empty() && !self.has_failed_to_move {
            let go = std::mem::take(&mut self.safe);
            self.moving = Some(Box::pin(follower.advance(Arc::clone(&self.place), go)));
        }
    }

    fn deliver_ahead(&mut self) {
        let follower = self.follower;
        let Some(page) = self.ahead.take() else { return };
        if page.events.is_empty() {
            // All of it waits for an operator, or is not kept.
            self.safe.go_on(page.go);
            return;
        }
        let call = follower.breaker().ask(follower.app.clock.now());
        match call {
            Ok(call) => {
                let place = Arc::clone(&self.place);
                self.delivering = Some(Box::pin(follower.delivered(call, place, page)));
            }
            Err(wait) => self.end(Ok(Progress::Held(wait))),
        }
    }

    fn end(&mut self, how: Result<Progress, Error>) {
        self.is_over = true;
        self.how.get_or_insert(how);
    }

    fn came(&mut self, read: Result<Option<Read>, Error>) {
        match read {
            Ok(Some(Read { place, page, to })) => {
                self.more = page.is_some();
                match page {
                    Some(page) => self.ahead.get_or_insert_default().go_on(page),
                    None if self.read == place.begin() => self.end_replay(&place),
                    None => {}
                }
                (self.place, self.read) = (place, to);
            }
            Ok(None) => self.is_over = true,
            Err(error) => self.end(Err(error)),
        }
    }

    /// Moves to the end of what is to be carried on once more, if that is what is left: it is not kept any more.
    fn end_replay(&mut self, place: &Place) {
        let replay = place.row.replay.as_ref().filter(|_| place.part == AdvancePart::Replay);
        let Some(mut moves) = replay.map(Replay::rest) else { return };
        moves.retain(|(shard, _, _)| place.held.contains(shard));
        self.safe.go_on(Move { moves, ..Move::default() });
        self.is_over = true;
    }

    fn taken(&mut self, go: Move, taken: Result<usize, Fault>) {
        match taken {
            Ok(events) => {
                self.carried += events;
                // Later events of what is parked now must not be sent: what was read ahead is read again.
                self.is_over |= !go.parked.is_empty();
                self.safe.go_on(go);
            }
            Err(fault) => self.end(Err(fault.into())),
        }
    }

    fn moved(&mut self, moved: Result<(), Error>) {
        fault_point::pass("follower.after_cursor");
        match moved {
            Ok(()) => {
                self.has_moved = true;
                self.follower.recovered();
            }
            Err(error) => {
                self.has_failed_to_move = true;
                self.end(self.follower.not_moved(error));
            }
        }
    }
}

/// How far each shard moves.
fn moves(from: &[u64], to: &[u64]) -> Vec<(Shard, u64, u64)> {
    let places = (0..).map(Shard).zip(from.iter().zip(to));
    places.filter(|(_, (from, to))| from < to).map(|(shard, (from, to))| (shard, *from, *to)).collect()
}
