//! Cursors as clients carry them: opaque, signed, and good for one purpose of one tenant.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use order_core::Rejection;
use order_core::ids::TenantId;
use order_core::journal::Cursor;
use order_core::query::Install;
use sha2::Sha256;

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
    /// A page of a redrive's results.
    RedriveItems,
    /// A page of API keys.
    ApiKeys,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Orders => "orders",
            Self::RedriveItems => "redrive-items",
            Self::ApiKeys => "api-keys",
        }
    }
}

/// Makes and reads the cursors of one tenant.
pub(crate) struct Signer<'a> {
    install: &'a Install,
    tenant: &'a TenantId,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(install: &'a Install, tenant: &'a TenantId) -> Self {
        Self { install, tenant }
    }

    /// A place in the journal.
    pub(crate) fn journal(&self, cursor: &Cursor) -> String {
        let mut payload = Vec::with_capacity(8 + 3 * cursor.positions.len());
        push_varint(&mut payload, u64::from(cursor.epoch));
        for position in &cursor.positions {
            push_varint(&mut payload, *position);
        }
        self.sign(Purpose::Journal, &payload)
    }

    /// Reads what [`Signer::journal`] made. Whether the journal can be read on from there is another question.
    pub(crate) fn read_journal(&self, text: &str) -> Result<Cursor, Rejection> {
        let payload = self.verify(Purpose::Journal, text)?;
        let mut numbers = read_varints(&payload).ok_or(Rejection::CursorInvalid)?.into_iter();
        let epoch =
            numbers.next().and_then(|epoch| u32::try_from(epoch).ok()).ok_or(Rejection::CursorInvalid)?;
        Ok(Cursor { epoch, positions: numbers.collect() })
    }

    /// A place in a list.
    pub(crate) fn place(&self, purpose: Purpose, place: u64) -> String {
        let mut payload = Vec::with_capacity(10);
        push_varint(&mut payload, place);
        self.sign(purpose, &payload)
    }

    /// Reads what [`Signer::place`] made.
    pub(crate) fn read_place(&self, purpose: Purpose, text: &str) -> Result<u64, Rejection> {
        let payload = self.verify(purpose, text)?;
        match read_varints(&payload).as_deref() {
            Some([place]) => Ok(*place),
            _ => Err(Rejection::CursorInvalid),
        }
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
        for part in [purpose.name().as_bytes(), self.tenant.as_str().as_bytes(), payload] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
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
    use uuid::Uuid;

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
