//! Cursors as clients carry them: opaque, signed, and good for one purpose of one tenant.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use order_core::ids::{StoreId, TenantId};
use order_core::journal::Cursor;
use order_core::listing::{SearchField, SearchPlace};
use order_core::pull::Held;
use order_core::query::Install;
use order_core::trace::{self, Begun, TraceContext};
use order_core::webhook::missed::{MissedFrom, StoresFrom};
use order_core::{LeaseToken, OrderId, Rejection, Timestamp};
use sha2::Sha256;
use std::cmp::Ordering;
use uuid::Uuid;

/// The form of cursors that this version makes.
const VERSION: u8 = 1;
/// Bytes of the signature: HMAC-SHA-256, cut to its first half.
const TAG_BYTES: usize = 16;
/// Longest text that is looked at; a cursor over 1 000 shards is shorter.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What a cursor is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A place in the journal: the feed, and where followers are.
    Journal,
    /// A page of orders.
    Orders,
    /// A page of the events of one order.
    OrderEvents,
    /// A page of a search.
    Search,
    /// How far a reader of changed orders has come.
    Changes,
    /// A piece of work in the hands of a worker outside.
    Work,
    /// A page of a redrive's results.
    RedriveItems,
    /// A page of API keys.
    ApiKeys,
    /// A page of the action log.
    Actions,
    /// A page of imports.
    Imports,
    /// A page of what syncs did.
    SyncRuns,
    /// A page of endpoints.
    Endpoints,
    /// A page of deliveries.
    Deliveries,
    /// How far it was looked for missed deliveries.
    Missed,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Orders => "orders",
            Self::OrderEvents => "order-events",
            Self::Search => "search",
            Self::Changes => "changes",
            Self::Work => "work",
            Self::RedriveItems => "redrive-items",
            Self::ApiKeys => "api-keys",
            Self::Actions => "actions",
            Self::Imports => "imports",
            Self::SyncRuns => "sync-runs",
            Self::Endpoints => "endpoints",
            Self::Deliveries => "deliveries",
            Self::Missed => "missed",
        }
    }
}

/// Makes and reads the cursors of one tenant, and the tokens of its work.
pub(crate) struct Signer<'a> {
    install: &'a Install,
    tenant: &'a TenantId,
    filters: String,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(install: &'a Install, tenant: &'a TenantId) -> Self {
        Self { install, tenant, filters: String::new() }
    }

    /// A signer of cursors that are good with these filters alone.
    #[must_use]
    pub(crate) fn with_filters(self, filters: String) -> Self {
        Self { filters, ..self }
    }

    /// A place in the journal.
    pub(crate) fn journal(&self, cursor: &Cursor) -> String {
        self.positions(Purpose::Journal, cursor)
    }

    /// A place in every shard.
    pub(crate) fn positions(&self, purpose: Purpose, cursor: &Cursor) -> String {
        let mut payload = Vec::with_capacity(8 + 3 * cursor.positions.len());
        push_varint(&mut payload, u64::from(cursor.epoch));
        for position in &cursor.positions {
            push_varint(&mut payload, *position);
        }
        self.sign(purpose, &payload)
    }

    /// Reads what [`Signer::journal`] made. Whether the journal can be read on from there is another question.
    pub(crate) fn read_journal(&self, text: &str) -> Result<Cursor, Rejection> {
        self.read_positions(Purpose::Journal, text)
    }

    /// Reads what [`Signer::positions`] made.
    pub(crate) fn read_positions(&self, purpose: Purpose, text: &str) -> Result<Cursor, Rejection> {
        let payload = self.verify(purpose, text)?;
        let mut numbers = read_varints(&payload).ok_or(Rejection::CursorInvalid)?.into_iter();
        let epoch =
            numbers.next().and_then(|epoch| u32::try_from(epoch).ok()).ok_or(Rejection::CursorInvalid)?;
        Ok(Cursor { epoch, positions: numbers.collect() })
    }

    /// A payload that begins with the epoch.
    fn begin(&self, more: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(5 + more);
        push_varint(&mut payload, u64::from(self.install.epoch));
        payload
    }

    /// What follows the epoch of a payload, which must be the present one.
    fn of_this_history<'p>(&self, payload: &'p [u8]) -> Result<&'p [u8], Rejection> {
        let end = payload.iter().position(|byte| byte & 0x80 == 0).ok_or(Rejection::CursorInvalid)?;
        let (epoch, rest) = payload.split_at(end + 1);
        let epoch = read_varints(epoch).and_then(|epoch| epoch.first().copied());
        let epoch = epoch.ok_or(Rejection::CursorInvalid)?;
        match epoch.cmp(&u64::from(self.install.epoch)) {
            Ordering::Equal => Ok(rest),
            Ordering::Less => Err(Rejection::EpochChanged),
            Ordering::Greater => Err(Rejection::CursorInvalid),
        }
    }

    /// A place in a list.
    pub(crate) fn place(&self, purpose: Purpose, place: u64) -> String {
        let mut payload = self.begin(10);
        push_varint(&mut payload, place);
        self.sign(purpose, &payload)
    }

    /// Reads what [`Signer::place`] made.
    pub(crate) fn read_place(&self, purpose: Purpose, text: &str) -> Result<u64, Rejection> {
        let payload = self.verify(purpose, text)?;
        match read_varints(self.of_this_history(&payload)?).as_deref() {
            Some([place]) => Ok(*place),
            _ => Err(Rejection::CursorInvalid),
        }
    }

    /// A place in a list that is in the order of other keys than numbers.
    pub(crate) fn key(&self, purpose: Purpose, key: &[u8]) -> String {
        let mut payload = self.begin(key.len());
        payload.extend_from_slice(key);
        self.sign(purpose, &payload)
    }

    /// Reads what [`Signer::key`] made.
    pub(crate) fn read_key(&self, purpose: Purpose, text: &str) -> Result<Vec<u8>, Rejection> {
        let payload = self.verify(purpose, text)?;
        Ok(self.of_this_history(&payload)?.to_vec())
    }

    /// A place in the look for missed deliveries.
    pub(crate) fn missed(&self, from: &MissedFrom) -> String {
        let mut payload = Vec::with_capacity(64 + 3 * from.orders.positions.len());
        push_varint(&mut payload, u64::from(from.orders.epoch));
        match &from.stores {
            None => payload.push(0),
            Some(StoresFrom { since, behind: None }) => {
                payload.push(1);
                payload.extend_from_slice(&since.micros().to_be_bytes());
            }
            Some(StoresFrom { since, behind: Some(((made_at, store_id), version)) }) => {
                payload.push(2);
                payload.extend_from_slice(&since.micros().to_be_bytes());
                payload.extend_from_slice(&made_at.micros().to_be_bytes());
                payload.extend_from_slice(store_id.0.as_bytes());
                payload.extend_from_slice(&version.to_be_bytes());
            }
        }
        for position in &from.orders.positions {
            push_varint(&mut payload, *position);
        }
        self.sign(Purpose::Missed, &payload)
    }

    /// Reads what [`Signer::missed`] made. Whether the journal can be read on from there is another question.
    pub(crate) fn read_missed(&self, text: &str) -> Result<MissedFrom, Rejection> {
        let payload = self.verify(Purpose::Missed, text)?;
        let rest = self.of_this_history(&payload)?;
        read_missed(rest, self.install.epoch).ok_or(Rejection::CursorInvalid)
    }

    /// A place in a search.
    pub(crate) fn search(&self, place: &SearchPlace) -> String {
        let field = match place.field {
            SearchField::Id => 0,
            SearchField::Reference => 1,
            SearchField::Customer => 2,
        };
        let mut payload = self.begin(9 + place.value.len());
        payload.push(field);
        payload.extend_from_slice(&place.number.to_be_bytes());
        payload.extend_from_slice(place.value.as_bytes());
        self.sign(Purpose::Search, &payload)
    }

    /// Reads what [`Signer::search`] made.
    pub(crate) fn read_search(&self, text: &str) -> Result<SearchPlace, Rejection> {
        let payload = self.verify(Purpose::Search, text)?;
        let (field, rest) = self.of_this_history(&payload)?.split_first().ok_or(Rejection::CursorInvalid)?;
        let field = match field {
            0 => SearchField::Id,
            1 => SearchField::Reference,
            2 => SearchField::Customer,
            _ => return Err(Rejection::CursorInvalid),
        };
        let (number, value) = rest.split_first_chunk().ok_or(Rejection::CursorInvalid)?;
        let value = String::from_utf8(value.to_vec()).map_err(|_| Rejection::CursorInvalid)?;
        Ok(SearchPlace { field, value, number: i64::from_be_bytes(*number) })
    }

    /// The token of a piece of work. Whoever has it may end the work; nobody can guess one, or use another tenant's.
    pub(crate) fn work(&self, held: &Held) -> String {
        let mut payload = held.order_id.0.as_bytes().to_vec();
        payload.extend_from_slice(held.token.0.as_bytes());
        payload.extend_from_slice(&held.attempt.to_be_bytes());
        if let Some(begun) = &held.begun {
            payload.extend_from_slice(&begun.context.to_bytes());
            // No span has the id zero.
            payload.extend_from_slice(&begun.parent.unwrap_or_default());
            payload.extend_from_slice(&begun.began_at.micros().to_be_bytes());
        }
        self.sign(Purpose::Work, &payload)
    }

    /// Reads what [`Signer::work`] made; `None` for anything else.
    pub(crate) fn read_work(&self, text: &str) -> Option<Held> {
        let payload = self.verify(Purpose::Work, text).ok()?;
        let (order_id, rest) = payload.split_first_chunk()?;
        let (token, rest) = rest.split_first_chunk()?;
        let (attempt, rest) = rest.split_first_chunk()?;
        let begun = if rest.is_empty() { None } else { Some(read_begun(rest)?) };
        let (order_id, token) = (Uuid::from_bytes(*order_id), Uuid::from_bytes(*token));
        let attempt = u32::from_be_bytes(*attempt);
        Some(Held { order_id: OrderId(order_id), token: LeaseToken(token), attempt, begun })
    }

    pub(crate) fn sign(&self, purpose: Purpose, payload: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(1 + payload.len() + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(payload);
        let tag = self.mac(purpose, payload).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn verify(&self, purpose: Purpose, text: &str) -> Result<Vec<u8>, Rejection> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Rejection::CursorInvalid);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejection::CursorInvalid)?;
        let (payload, tag) = bytes
            .strip_prefix(&[VERSION])
            .and_then(|rest| rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?))
            .ok_or(Rejection::CursorInvalid)?;
        // Compares in constant time.
        let signed = self.mac(purpose, payload).verify_truncated_left(tag);
        signed.map_err(|_| Rejection::CursorInvalid)?;
        Ok(payload.to_vec())
    }

    fn mac(&self, purpose: Purpose, payload: &[u8]) -> Hmac<Sha256> {
        // A key shorter than a block is padded with zeros (RFC 2104): done here, it cannot fail.
        let mut key = [0_u8; 64];
        key[..self.install.cursor_key.len()].copy_from_slice(&self.install.cursor_key);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        let bound = [purpose.name(), self.tenant.as_str(), self.filters.as_str()].map(str::as_bytes);
        for part in bound.into_iter().chain([payload]) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// The span of a try, as the token of its work carries it.
fn read_begun(bytes: &[u8]) -> Option<Begun> {
    let (context, rest) = bytes.split_at_checked(trace::BYTES)?;
    let (parent, rest) = rest.split_first_chunk()?;
    let began_at = Timestamp::from_micros(i64::from_be_bytes(rest.try_into().ok()?));
    let parent = Some(*parent).filter(|parent| *parent != [0; 8]);
    Some(Begun { context: TraceContext::from_bytes(context)?, parent, began_at })
}

/// What follows the epoch of [`Signer::missed`].
fn read_missed(bytes: &[u8], epoch: u32) -> Option<MissedFrom> {
    let (form, rest) = bytes.split_first()?;
    let moment = |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes));
    let (stores, rest) = match form {
        0 => (None, rest),
        1 => {
            let (since, rest) = rest.split_first_chunk()?;
            (Some(StoresFrom { since: moment(since), behind: None }), rest)
        }
        2 => {
            let (since, rest) = rest.split_first_chunk()?;
            let (made_at, rest) = rest.split_first_chunk()?;
            let (store_id, rest) = rest.split_first_chunk()?;
            let (version, rest) = rest.split_first_chunk()?;
            let place = (moment(made_at), StoreId(Uuid::from_bytes(*store_id)));
            let behind = Some((place, u64::from_be_bytes(*version)));
            (Some(StoresFrom { since: moment(since), behind }), rest)
        }
        _ => return None,
    };
    Some(MissedFrom { stores, orders: Cursor { epoch, positions: read_varints(rest)? } })
}

/// LEB128: seven bits a byte, the lowest first.
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read_varints(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    let (mut value, mut shift) = (0_u64, 0_u32);
    for byte in bytes {
        let bits = u64::from(byte & 0x7f);
        value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        shift += 7;
        if byte & 0x80 == 0 {
            values.push(value);
            (value, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(values)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn install(key: u8) -> Install {
        Install {
            installation_id: Uuid::nil(),
            shards: 3,
            epoch: 1,
            cursor_key: [key; 32],
            key_pepper: order_core::Pepper::new([0; 32]),
            schema_version: 1,
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let (install, tenant) = (install(1), TenantId::default_tenant());
        let signer = Signer::new(&install, &tenant);
        for positions in [vec![], vec![0, 0, 0], vec![1, 127, 128], vec![u64::MAX, 1 << 35, 300]] {
            let cursor = Cursor { epoch: u32::MAX, positions };
            assert_eq!(signer.read_journal(&signer.journal(&cursor)), Ok(cursor));
        }
        for place in [0, 17, u64::MAX] {
            let text = signer.place(Purpose::Orders, place);
            assert_eq!(signer.read_place(Purpose::Orders, &text), Ok(place));
        }
    }

    #[test]
    fn a_place_among_missed_deliveries_comes_back_as_it_was() {
        let (install, tenant) = (install(1), TenantId::default_tenant());
        let signer = Signer::new(&install, &tenant);
        let (since, made_at) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(7));
        let store = (made_at, StoreId(Uuid::from_u128(9)));
        for behind in [None, Some((store, u64::MAX)), Some((store, 0))] {
            for stores in [None, Some(StoresFrom { since, behind })] {
                let orders = Cursor { epoch: 1, positions: vec![0, 300, u64::MAX] };
                let from = MissedFrom { stores, orders };
                let text = signer.missed(&from);
                assert_eq!(signer.read_missed(&text), Ok(from));
                assert_eq!(signer.read_journal(&text), Err(Rejection::CursorInvalid));
            }
        }
    }

    #[test]
    fn a_cursor_is_good_with_the_filters_that_it_was_made_with() {
        let (install, tenant) = (install(1), TenantId::default_tenant());
        let of = |filters: &str| Signer::new(&install, &tenant).with_filters(filters.to_owned());
        let text = of("a").place(Purpose::Orders, 300);
        assert_eq!(of("a").read_place(Purpose::Orders, &text), Ok(300));
        assert_eq!(of("b").read_place(Purpose::Orders, &text), Err(Rejection::CursorInvalid));
        assert_eq!(of("").read_place(Purpose::Orders, &text), Err(Rejection::CursorInvalid));
    }

    #[test]
    fn a_place_in_a_list_is_good_in_its_own_history_alone() {
        let (tenant, before, now) =
            (TenantId::default_tenant(), install(1), Install { epoch: 300, ..install(1) });
        let of = |install| Signer::new(install, &tenant);
        let place = of(&before).place(Purpose::Orders, 17);
        assert_eq!(of(&now).read_place(Purpose::Orders, &place), Err(Rejection::EpochChanged));
        let found = SearchPlace { field: SearchField::Customer, value: "c".to_owned(), number: 1 };
        assert_eq!(of(&now).read_search(&of(&before).search(&found)), Err(Rejection::EpochChanged));
        assert_eq!(of(&now).read_search(&of(&now).search(&found)), Ok(found));
        let later = of(&now).place(Purpose::Orders, 17);
        assert_eq!(of(&before).read_place(Purpose::Orders, &later), Err(Rejection::CursorInvalid));
    }

    #[test]
    fn places_of_searches_and_tokens_come_back_as_they_were() {
        let (install, tenant) = (install(1), TenantId::default_tenant());
        let signer = Signer::new(&install, &tenant);
        for field in [SearchField::Id, SearchField::Reference, SearchField::Customer] {
            for (value, number) in [("", i64::MIN), ("é-1", 17), ("x", i64::MAX)] {
                let place = SearchPlace { field, value: value.to_owned(), number };
                assert_eq!(signer.read_search(&signer.search(&place)), Ok(place));
            }
        }
        let held = Held {
            order_id: OrderId(Uuid::from_u128(1)),
            token: LeaseToken(Uuid::from_u128(2)),
            attempt: u32::MAX,
            begun: None,
        };
        let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let begun = |parent| Some(Begun { context, parent, began_at: Timestamp::from_micros(-17) });
        for begun in [None, begun(None), begun(Some([7; 8]))] {
            let held = Held { begun, ..held };
            assert_eq!(signer.read_work(&signer.work(&held)), Some(held));
        }
        let token = signer.work(&held);
        let other = TenantId::new("other").unwrap();
        assert_eq!(Signer::new(&install, &other).read_work(&token), None, "another tenant's");
        assert_eq!(signer.read_work(&signer.place(Purpose::Orders, 1)), None, "a cursor");
        assert_eq!(signer.read_work(""), None);
    }

    #[test]
    fn any_change_and_any_other_use_is_refused() {
        let (ours, theirs, tenant) = (install(1), install(2), TenantId::default_tenant());
        let signer = Signer::new(&ours, &tenant);
        let text = signer.place(Purpose::Orders, 300);
        let other_tenant = TenantId::new("other").unwrap();
        assert!(Signer::new(&theirs, &tenant).read_place(Purpose::Orders, &text).is_err());
        assert!(Signer::new(&ours, &other_tenant).read_place(Purpose::Orders, &text).is_err());
        assert!(signer.read_place(Purpose::RedriveItems, &text).is_err());
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(signer.read_place(Purpose::Orders, &changed), Err(Rejection::CursorInvalid));
        }
        for bad in ["", "x", "AQ", "====", "\u{e9}", &text[..text.len() - 1], &"A".repeat(20_000)] {
            assert_eq!(signer.read_place(Purpose::Orders, bad), Err(Rejection::CursorInvalid), "{bad}");
        }
    }
}
