//! The chain through the action log: each row's hash covers the row, the installation and the hash of the row before.
//!
//! A changed row no longer fits its hash; a row that was taken away, put in or moved no longer fits its neighbour; rows
//! that were cut off at the end no longer fit the end that the storage keeps apart. Whoever can write the database can
//! also write all of it anew, end included: no chain within it tells of that. A [`Link`] that was noted elsewhere does.

use super::Action;
use crate::error::Fault;
use crate::ports::Storage;
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

/// Rows that are read at a time.
const PAGE: u32 = 1_000;

/// A place in the chain: how many rows, and the hash of the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The row's number; 0 before the first.
    pub number: u64,
    /// The row's hash.
    pub hash: [u8; 32],
}

impl Link {
    /// Before the first row of an installation.
    pub fn first(installation_id: Uuid) -> Self {
        let mut hash = Sha256::new();
        put(&mut hash, b"wellorder/actions/1");
        put(&mut hash, installation_id.as_bytes());
        Self { number: 0, hash: hash.finalize().into() }
    }

    /// Reads `NUMBER:HASH`, as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, digits) = text.split_once(':')?;
        let mut hash = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self { number: number.parse().ok()?, hash })
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.number.to_be_bytes().as_slice(), &self.hash].concat()
    }

    /// Reads back what was kept.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, hash) = bytes.split_first_chunk()?;
        Some(Self { number: u64::from_be_bytes(*number), hash: hash.try_into().ok()? })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, hex(&self.hash))
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

/// The hash that a row must have.
pub fn hash(installation_id: Uuid, row: &Action) -> [u8; 32] {
    let mut hash = Sha256::new();
    put(&mut hash, b"wellorder/action/1");
    put(&mut hash, installation_id.as_bytes());
    put(&mut hash, &row.previous);
    put(&mut hash, &row.number.to_be_bytes());
    put(&mut hash, &row.epoch.to_be_bytes());
    put(&mut hash, &row.at.micros().to_be_bytes());
    for text in [row.tenant.as_str(), &row.by, &row.kind, &row.subject, &row.details] {
        put(&mut hash, text.as_bytes());
    }
    for text in [&row.address, &row.request_id] {
        optional(&mut hash, text.as_deref().map(str::as_bytes));
    }
    for state in [&row.before, &row.after] {
        optional(&mut hash, state.as_ref().map(<[u8; 32]>::as_slice));
    }
    hash.finalize().into()
}

fn put(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// What is missing differs from what is empty.
fn optional(hash: &mut Sha256, part: Option<&[u8]>) {
    put(hash, &[u8::from(part.is_some())]);
    put(hash, part.unwrap_or_default());
}

/// Where the chain breaks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The number of the row at which it shows.
    pub number: u64,
    /// How.
    pub why: &'static str,
}

/// What following the chain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The last row that fits.
    pub end: Link,
    /// The first that does not.
    pub broken: Option<Broken>,
}

/// Follows the chain from its beginning to its end, and through `noted`, links that were noted elsewhere.
///
/// # Errors
/// Faults of storage.
pub async fn follow(storage: &dyn Storage, noted: &[Link]) -> Result<Followed, Fault> {
    let install = storage.install();
    // The end first: rows that come behind it meanwhile are no harm.
    let kept = match storage.action_end().await {
        Err(Fault::Internal { .. }) => {
            let why = "cannot be told: the end of the log does not read back";
            return Ok(Followed {
                end: Link::first(install.installation_id),
                broken: Some(Broken { number: 0, why }),
            });
        }
        kept => kept?,
    };
    let mut ends: Vec<(Link, &'static str)> = noted.iter().map(|link| (*link, NOTED)).collect();
    ends.push((kept, KEPT));
    ends.sort_by_key(|(link, _)| link.number);
    let mut chain = Chain {
        installation_id: install.installation_id,
        end: Link::first(install.installation_id),
        epoch: 0,
        ends,
    };
    if let Err(broken) = chain.passes() {
        return Ok(Followed { end: chain.end, broken: Some(broken) });
    }
    let mut page = PAGE;
    loop {
        let rows = match storage.action_rows(chain.end.number, page).await {
            // One row of them does not read back: which one?
            Err(Fault::Internal { .. }) if page > 1 => {
                page = 1;
                continue;
            }
            Err(Fault::Internal { .. }) => {
                let broken = Broken { number: chain.end.number + 1, why: "does not read back" };
                return Ok(Followed { end: chain.end, broken: Some(broken) });
            }
            rows => rows?,
        };
        for row in &rows {
            if let Err(broken) = chain.step(row) {
                return Ok(Followed { end: chain.end, broken: Some(broken) });
            }
        }
        if rows.is_empty() {
            let missing = (!chain.ends.is_empty()).then_some("is missing");
            // Rows and end are committed together, so an end that is read after the rows is never before them.
            let last = storage.action_end().await?.number;
            let broken = match missing {
                Some(why) => Some(Broken { number: chain.end.number + 1, why }),
                None if last < chain.end.number => {
                    Some(Broken { number: last + 1, why: "lies behind the end of the log" })
                }
                None => None,
            };
            return Ok(Followed { end: chain.end, broken });
        }
    }
}

const NOTED: &str = "is not the one that was noted";
const KEPT: &str = "is not the one that the end of the log names";

struct Chain {
    installation_id: Uuid,
    end: Link,
    epoch: u32,
    /// Links to be passed still, by number.
    ends: Vec<(Link, &'static str)>,
}

impl Chain {
    fn step(&mut self, row: &Action) -> Result<(), Broken> {
        let next = self.end.number + 1;
        let broken = |why| Err(Broken { number: next, why });
        if row.number != next {
            return broken("is missing");
        }
        if row.hash != hash(self.installation_id, row) {
            return broken("was changed");
        }
        if row.previous != self.end.hash {
            return broken("does not follow the one before");
        }
        if row.epoch < self.epoch {
            return broken("belongs to an earlier epoch than the one before");
        }
        (self.end, self.epoch) = (Link { number: row.number, hash: row.hash }, row.epoch);
        self.passes()
    }

    /// Checks the links at the present place.
    fn passes(&mut self) -> Result<(), Broken> {
        while let Some((link, why)) =
            self.ends.first().copied().filter(|(link, _)| link.number <= self.end.number)
        {
            if link != self.end {
                return Err(Broken { number: self.end.number, why });
            }
            self.ends.remove(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::action_log::{ActionKind, NewAction, local, row};
    use crate::clock::Timestamp;
    use std::sync::Arc;

    fn rows() -> Vec<Action> {
        let mut end = Link::first(Uuid::nil());
        let mut rows = Vec::new();
        for number in 1..=3 {
            let action = NewAction {
                actor: Arc::new(local()),
                kind: ActionKind::KeyRevoked,
                subject: number.to_string(),
                details: "{}".to_owned(),
                now: Timestamp::from_micros(number),
            };
            let row = row(&end, (Uuid::nil(), 1), &action, (None, Some([7; 32])));
            end = Link { number: row.number, hash: row.hash };
            rows.push(row);
        }
        rows
    }

    fn broken(rows: &[Action], ends: &[Link]) -> Option<Broken> {
        let ends = ends.iter().map(|end| (*end, KEPT)).collect();
        let mut chain = Chain { installation_id: Uuid::nil(), end: Link::first(Uuid::nil()), epoch: 0, ends };
        rows.iter().find_map(|row| chain.step(row).err())
    }

    #[test]
    fn every_change_of_a_row_shows() {
        let sound = rows();
        assert_eq!(broken(&sound, &[]), None);
        let changes: [fn(&mut Action); 12] = [
            |row| row.epoch += 1,
            |row| row.by.push('x'),
            |row| row.tenant = crate::TenantId::new("other").unwrap(),
            |row| row.address = Some(String::new()),
            |row| row.request_id = Some(String::new()),
            |row| row.kind = "key.created".to_owned(),
            |row| row.subject.push('x'),
            |row| row.details = "{ }".to_owned(),
            |row| row.before = Some([0; 32]),
            |row| row.after = None,
            |row| row.at = row.at.plus(std::time::Duration::from_micros(1)),
            |row| row.previous[0] ^= 1,
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut rows = sound.clone();
            change(&mut rows[1]);
            assert_eq!(broken(&rows, &[]), Some(Broken { number: 2, why: "was changed" }), "change {at}");
            // Whoever computes its hash anew breaks the next link.
            rows[1].hash = hash(Uuid::nil(), &rows[1]);
            assert!(broken(&rows, &[]).is_some(), "change {at} with its hash");
        }
    }

    #[test]
    fn rows_that_go_come_or_move_show() {
        let sound = rows();
        let mut gone = sound.clone();
        gone.remove(1);
        assert_eq!(broken(&gone, &[]), Some(Broken { number: 2, why: "is missing" }));
        let mut moved = sound.clone();
        moved.swap(1, 2);
        (moved[1].number, moved[2].number) = (2, 3);
        assert_eq!(broken(&moved, &[]), Some(Broken { number: 2, why: "was changed" }));
        let mut twice = sound.clone();
        twice.insert(1, sound[0].clone());
        assert_eq!(broken(&twice, &[]), Some(Broken { number: 2, why: "is missing" }));
        let foreign = Link { number: 3, hash: [1; 32] };
        assert_eq!(broken(&sound, &[foreign]), Some(Broken { number: 3, why: KEPT }));
    }

    #[test]
    fn a_link_reads_back() {
        let link = Link { number: 17, hash: [0xab; 32] };
        assert_eq!(Link::parse(&link.to_string()), Some(link));
        assert_eq!(Link::from_bytes(&link.to_bytes()), Some(link));
        for bad in ["", "17", "17:", "x:00", "17:zz", &format!("17:{}", "é".repeat(32))] {
            assert_eq!(Link::parse(bad), None, "{bad}");
        }
        assert_eq!(Link::from_bytes(&[1; 39]), None);
    }
}
