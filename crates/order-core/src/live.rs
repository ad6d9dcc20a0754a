//! Reading the journal on and on. Far behind, each reader reads pages of its own; at the end it takes the pages that the
//! tail reads once for all. Those are kept for a while, in bounded memory: who is slower than that is cut, and comes
//! back with its cursor.

use crate::app::App;
use crate::error::{Error, Fault};
use crate::follow::feed;
use crate::ids::TenantId;
use crate::journal::{Cursor, Event};
use crate::tail::Joined;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// Most events of a page that a reader reads for itself.
const PAGE_MAX: u32 = 100;
/// Bytes of events after which such a page is full; one event more may be in it.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of events that are kept for readers at the end of the journal; one page more may be.
pub const KEPT_BYTES_MAX: usize = 16 << 20;
/// Pages that are kept for them.
const KEPT_PAGES_MAX: usize = 16_384;

/// Events that came in between two looks at the journal.
#[derive(Debug)]
pub struct Page {
    /// Where the journal had been read to.
    pub from: Cursor,
    /// The events behind it, per shard in the order of their positions.
    pub events: Vec<Event>,
    to: Cursor,
    texts: Mutex<Vec<(TenantId, Arc<str>)>>,
}

impl Page {
    pub(crate) fn new(from: Cursor, events: Vec<Event>) -> Self {
        let mut to = from.clone();
        events.iter().for_each(|event| to.pass(event));
        Self { from, events, to, texts: Mutex::default() }
    }

    /// What readers of one tenant are sent for this page: `render` makes it for the first of them.
    pub fn text(&self, tenant: &TenantId, render: impl FnOnce(&Self) -> String) -> Arc<str> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = texts.iter().find(|(whose, _)| whose == tenant) {
            return Arc::clone(text);
        }
        let text: Arc<str> = render(self).into();
        texts.push((tenant.clone(), Arc::clone(&text)));
        text
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(bytes).sum()
    }
}

fn bytes(event: &Event) -> usize {
    size_of::<Event>() + event.data.len()
}

/// The newest pages, by number.
pub(crate) struct Kept {
    pages: Mutex<Pages>,
    /// The number of the next page.
    end: watch::Sender<u64>,
}

#[derive(Default)]
struct Pages {
    first: u64,
    pages: VecDeque<Arc<Page>>,
    bytes: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { pages: Mutex::default(), end: watch::Sender::new(0) }
    }
}

impl Kept {
    /// Keeps a page, and lets go of the oldest.
    pub(crate) fn push(&self, page: Page) {
        let mut kept = self.lock();
        kept.bytes += page.bytes();
        kept.pages.push_back(Arc::new(page));
        while kept.pages.len() > 1 && (kept.bytes > KEPT_BYTES_MAX || kept.pages.len() > KEPT_PAGES_MAX) {
            kept.drop_oldest();
        }
        let end = kept.end();
        drop(kept);
        self.end.send_replace(end);
    }

    /// Lets go of all: nobody reads them.
    pub(crate) fn clear(&self) {
        let mut kept = self.lock();
        while !kept.pages.is_empty() {
            kept.drop_oldest();
        }
    }

    /// The number of the next page, and the news of it.
    pub(crate) fn subscribe(&self) -> (u64, watch::Receiver<u64>) {
        let end = self.end.subscribe();
        let next = *end.borrow();
        (next, end)
    }

    /// The page of this number, if it is there by now; [`End::Slow`] when it is gone.
    fn page(&self, number: u64) -> Result<Option<Arc<Page>>, End> {
        let kept = self.lock();
        let index = number.checked_sub(kept.first).ok_or(End::Slow)?;
        Ok(usize::try_from(index).ok().and_then(|index| kept.pages.get(index)).map(Arc::clone))
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn end(&self) -> u64 {
        self.first + self.pages.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(page) = self.pages.pop_front() {
            self.first += 1;
            self.bytes -= page.bytes();
        }
    }
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Batch {
    /// A page that other readers at the end of the journal get too.
    Shared(Arc<Page>),
    /// Events that it alone reads, and the cursor before them.
    Own(Cursor, Vec<Event>),
    /// Nothing until the time that was given.
    Idle,
}

/// Why a reader gets no more.
#[derive(Debug)]
pub enum End {
    /// It took longer than the pages are kept.
    Slow,
    /// The process stops.
    Stopping,
    /// The journal cannot be read.
    Failed(Error),
}

/// Reads the journal on and on.
pub struct Reader {
    app: Arc<App>,
    cursor: Cursor,
    stopping: watch::Receiver<bool>,
    place: Place,
}

enum Place {
    /// It reads for itself.
    Behind,
    /// It takes what the tail reads.
    AtEnd(Joined),
}

impl Reader {
    /// A reader that begins behind `cursor`.
    ///
    /// # Errors
    /// When the journal cannot be read from there; see [`Cursor::check`].
    pub async fn open(app: Arc<App>, cursor: Cursor) -> Result<Self, Error> {
        let heads = app.storage.heads().await?;
        cursor.check(app.storage.install().epoch, &heads)?;
        let stopping = app.stopping.subscribe();
        Ok(Self { app, cursor, stopping, place: Place::Behind })
    }

    /// How far it has read.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What comes next, of all tenants; waits for it until `until`.
    ///
    /// # Errors
    /// When this was the end. What was read before stays read.
    pub async fn next(&mut self, until: Instant) -> Result<Batch, End> {
        loop {
            if *self.stopping.borrow() {
                return Err(End::Stopping);
            }
            let batch = match &mut self.place {
                Place::Behind => self.catch_up().await?,
                // What lies between its own pages and those of the tail it reads for itself too.
                Place::AtEnd(joined) if !self.cursor.has_reached(&joined.at) => {
                    let batch = read_page(&self.app, &mut self.cursor).await?;
                    if batch.is_none() {
                        // Nothing does: those positions are no longer kept.
                        self.cursor.reach(&joined.at);
                    }
                    batch
                }
                Place::AtEnd(joined) => {
                    tokio::select! {
                        biased;
                        _ = self.stopping.wait_for(|stopping| *stopping) => return Err(End::Stopping),
                        page = next_page(&self.app, joined) => take(page?, &mut self.cursor),
                        () = tokio::time::sleep_until(until) => return Ok(Batch::Idle),
                    }
                }
            };
            if let Some(batch) = batch {
                return Ok(batch);
            }
        }
    }

    /// A page of its own; at the end of the journal it joins the others.
    async fn catch_up(&mut self) -> Result<Option<Batch>, End> {
        let batch = read_page(&self.app, &mut self.cursor).await?;
        if batch.is_none() {
            self.place = Place::AtEnd(self.app.tail.join().await.ok_or(End::Stopping)?);
        }
        Ok(batch)
    }
}

/// The events behind `cursor`, which moves along, as many as one reader may hold.
async fn read_page(app: &App, cursor: &mut Cursor) -> Result<Option<Batch>, End> {
    let from = cursor.clone();
    let turn = app.tail.turn().await;
    let (mut events, _) = feed(app, from.clone(), PAGE_MAX).await.map_err(End::Failed)?;
    drop(turn);
    let mut room = PAGE_BYTES_MAX;
    let mut fits = |event: &Event| {
        let fits = room > 0;
        room = room.saturating_sub(bytes(event));
        fits
    };
    let count = events.iter().take_while(|event| fits(event)).count();
    events.truncate(count);
    events.iter().for_each(|event| cursor.pass(event));
    Ok((!events.is_empty()).then_some(Batch::Own(from, events)))
}

async fn next_page(app: &App, joined: &mut Joined) -> Result<Arc<Page>, End> {
    loop {
        if let Some(page) = app.tail.kept().page(joined.next)? {
            joined.next += 1;
            return Ok(page);
        }
        let gone = joined.end.wait_for(|end| *end > joined.next).await.is_err();
        if gone {
            return Err(End::Failed(Fault::ShuttingDown.into()));
        }
    }
}

/// What a reader has not seen yet of a page.
fn take(page: Arc<Page>, cursor: &mut Cursor) -> Option<Batch> {
    if page.from == *cursor {
        cursor.clone_from(&page.to);
        return Some(Batch::Shared(page));
    }
    let from = cursor.clone();
    let events: Vec<Event> = page.events.iter().filter(|event| !from.has_passed(event)).cloned().collect();
    events.iter().for_each(|event| cursor.pass(event));
    (!events.is_empty()).then_some(Batch::Own(from, events))
}
