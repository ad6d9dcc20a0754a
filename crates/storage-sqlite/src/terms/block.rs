//! Sorted entries packed into blocks of about a page: each entry says how much it shares with the one before it.

use super::entry::Entry;

/// A block is full with so many bytes; a row of one then fits a page.
const BLOCK_BYTES: usize = 3_800;

/// A block as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its first entry.
    pub(crate) first: Entry,
    /// All of them.
    pub(crate) bytes: Vec<u8>,
}

/// Packs entries that come in order.
pub(crate) fn pack<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut last: &[u8] = &[];
    for entry in entries {
        match blocks.last_mut().filter(|block| block.bytes.len() + entry.len() + 4 <= BLOCK_BYTES) {
            Some(block) => {
                let shared = entry.iter().zip(last).take_while(|(a, b)| a == b).count();
                push(&mut block.bytes, shared, &entry[shared..]);
            }
            None => {
                let mut bytes = Vec::with_capacity(BLOCK_BYTES);
                push(&mut bytes, 0, entry);
                blocks.push(Block { first: entry.clone(), bytes });
            }
        }
        last = entry;
    }
    blocks
}

fn push(bytes: &mut Vec<u8>, shared: usize, rest: &[u8]) {
    // Texts have at most 255 bytes, so entries are far shorter than two bytes can say.
    for length in [shared, rest.len()] {
        bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    }
    bytes.extend_from_slice(rest);
}

/// Reads a block entry by entry.
#[derive(Debug, Default)]
pub(crate) struct Unpack {
    bytes: Vec<u8>,
    at: usize,
    entry: Vec<u8>,
}

impl Unpack {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0, entry: Vec::new() }
    }

    /// The next entry; `None` at the end, or where the bytes are no entry.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let (shared, rest) = (self.length(0)?, self.length(2)?);
        let begin = self.at + 4;
        let rest = self.bytes.get(begin..begin + rest)?;
        if shared > self.entry.len() {
            return None;
        }
        self.entry.truncate(shared);
        self.entry.extend_from_slice(rest);
        self.at = begin + rest.len();
        Some(&self.entry)
    }

    /// Whether it has come to the end of the bytes, rather than to something that is no entry.
    pub(crate) fn is_through(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn length(&self, offset: usize) -> Option<usize> {
        let at = self.at + offset;
        let bytes = self.bytes.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }
}

/// All entries of a block.
pub(crate) fn unpack(bytes: Vec<u8>) -> Vec<Entry> {
    let mut unpack = Unpack::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = unpack.next() {
        entries.push(entry.into());
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let mut entries: Vec<Entry> = (0..2_000_u32)
            .map(|n| format!("tenant\0cc-{:05}", n * 7_919 % 2_000).into_bytes().into())
            .collect();
        entries.push(vec![0xff; 600].into());
        entries.sort();
        let blocks = pack(entries.iter());
        assert!(blocks.len() > 2 && blocks.iter().all(|block| block.bytes.len() <= BLOCK_BYTES));
        assert!(blocks.iter().all(|block| unpack(block.bytes.clone()).first() == Some(&block.first)));
        let read: Vec<Entry> = blocks.into_iter().flat_map(|block| unpack(block.bytes)).collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn what_is_no_block_ends_it() {
        for bytes in [vec![], vec![0], vec![0, 0, 0, 9, 1], vec![0, 3, 0, 1, 1]] {
            assert_eq!(unpack(bytes), Vec::<Entry>::new());
        }
    }
}
