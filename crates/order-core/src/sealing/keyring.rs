//! The keys: one seals, others open what was sealed before.

use super::{
    HEAD_BYTES, KEY_ID_BYTES, KeyId, NONCE_BYTES, Place, SECRET_BYTES_MAX, SealFault, Sealed, Secret,
};
use super::{TAG_BYTES, VERSION};
use crate::api_key::chance;
use crate::ids::Ids;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use std::fmt;
use zeroize::Zeroizing;

/// Most keys that are held at once.
pub const KEYS_MAX: usize = 16;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Fewest different bytes among them: 32 random ones have about 30, and fewer than these never.
const DISTINCT_MIN: usize = 16;

struct Key {
    id: KeyId,
    cipher: LessSafeKey,
}

/// The keys of a process. The first seals; all of them open.
pub struct Keyring {
    current: Key,
    older: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

/// Why a text holds no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is nothing in it.
    #[error("holds no key")]
    Empty,
    /// The key with this number, from 1, is not 32 bytes in base64 or in hexadecimal digits.
    #[error("its key {0} is not 32 bytes in base64 (44 characters) or in hexadecimal digits (64)")]
    Form(usize),
    /// The key with this number was not made by chance.
    #[error("its key {0} is not random")]
    Guessable(usize),
    /// A key is there twice.
    #[error("its key {0} is there twice")]
    Twice(usize),
    /// There are more than [`KEYS_MAX`].
    #[error("holds more than 16 keys")]
    TooMany,
}

impl Keyring {
    /// Reads keys, apart by commas or white space, of which the first seals. A line that begins with `#` is passed over.
    ///
    /// # Errors
    /// What is wrong with them; nothing of them is in it.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split([',', ' ', '\t', '\r'])).filter(|word| !word.is_empty());
        let mut keys: Vec<Key> = Vec::new();
        for (place, word) in (1..).zip(words) {
            if place > KEYS_MAX {
                return Err(InvalidKeys::TooMany);
            }
            let bytes = decoded(word).ok_or(InvalidKeys::Form(place))?;
            let mut distinct = [false; 256];
            bytes.iter().for_each(|byte| distinct[usize::from(*byte)] = true);
            if distinct.iter().filter(|seen| **seen).count() < DISTINCT_MIN {
                return Err(InvalidKeys::Guessable(place));
            }
            let key = Key::new(&bytes).ok_or(InvalidKeys::Form(place))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(InvalidKeys::Twice(place));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        Ok(Self { current: keys.next().ok_or(InvalidKeys::Empty)?, older: keys.collect() })
    }

    /// A fresh key as [`Keyring::parse`] reads it.
    pub fn fresh_key(ids: &dyn Ids) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(chance(ids)))
    }

    /// The key that seals.
    pub fn current(&self) -> KeyId {
        self.current.id
    }

    /// All of them, the one that seals first.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        std::iter::once(&self.current).chain(&self.older).map(|key| key.id)
    }

    /// Whether it opens what is sealed under this key.
    pub fn holds(&self, key_id: KeyId) -> bool {
        self.key_ids().any(|held| held == key_id)
    }

    /// Seals `plain` for `place`.
    ///
    /// # Errors
    /// [`SealFault::TooLong`].
    pub fn seal(&self, place: &Place<'_>, plain: &[u8], ids: &dyn Ids) -> Result<Sealed, SealFault> {
        if plain.len() > SECRET_BYTES_MAX {
            return Err(SealFault::TooLong);
        }
        let key = &self.current;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&chance(ids)[..NONCE_BYTES]);
        // Encrypted in place, so nothing of it is left behind in memory.
        let mut bytes = Vec::with_capacity(HEAD_BYTES + plain.len() + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&key.id.0);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(place.bytes(key.id)));
        let tag = key.cipher.seal_in_place_separate_tag(nonce, aad, &mut bytes[HEAD_BYTES..]);
        let tag = tag.map_err(|_| SealFault::TooLong)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(Sealed::from_bytes(bytes))
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// Every other [`SealFault`].
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, SealFault> {
        let key_id = sealed.key_id().ok_or(SealFault::Malformed)?;
        let mut keys = std::iter::once(&self.current).chain(&self.older);
        let key = keys.find(|key| key.id == key_id).ok_or(SealFault::KeyUnknown(key_id))?;
        let (head, body) = sealed.as_bytes().split_at(HEAD_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + KEY_ID_BYTES..]);
        let nonce = nonce.map_err(|_| SealFault::Malformed)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let opened = key.cipher.open_in_place(nonce, Aad::from(place.bytes(key_id)), &mut plain);
        let length = opened.map_err(|_| SealFault::Forged)?.len();
        plain.truncate(length);
        Ok(Secret(plain))
    }
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let print = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"wellorder/sealing-key/1");
        let id = KeyId(print.as_ref().get(..KEY_ID_BYTES)?.try_into().ok()?);
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        Some(Self { id, cipher })
    }
}

fn decoded(word: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if word.len() == 2 * KEY_BYTES {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        for (byte, pair) in bytes.iter_mut().zip(word.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
    } else {
        let read = Zeroizing::new(BASE64_STANDARD.decode(word).ok()?);
        bytes.copy_from_slice(read.get(..).filter(|read| read.len() == KEY_BYTES)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::TenantId;
    use crate::clock::Timestamp;
    use crate::sealing::SealedColumn;
    use uuid::Uuid;

    struct Counting(std::sync::atomic::AtomicU64);

    impl Ids for Counting {
        fn uuid_v7(&self, _: Timestamp) -> Uuid {
            self.uuid_v4()
        }
        fn uuid_v4(&self) -> Uuid {
            Uuid::from_u64_pair(9, self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
        }
        fn unit(&self) -> f64 {
            0.5
        }
    }

    fn ids() -> Counting {
        Counting(0.into())
    }

    #[test]
    fn what_is_sealed_opens_where_it_lies_and_nowhere_else() {
        let (ids, tenant, other) = (ids(), TenantId::default_tenant(), TenantId::new("other").unwrap());
        let ring = Keyring::parse(&Keyring::fresh_key(&ids)).unwrap();
        let place = SealedColumn::NamedSecret.of(&tenant, "row");
        for plain in [&b""[..], b"x", "whsec_é".as_bytes(), &[7; SECRET_BYTES_MAX]] {
            let sealed = ring.seal(&place, plain, &ids).unwrap();
            assert_eq!(sealed.key_id(), Some(ring.current()));
            assert_eq!(ring.open(&place, &sealed).unwrap().bytes(), plain);
            for elsewhere in [
                Place { tenant: &other, ..place },
                Place { table: "stores", ..place },
                Place { row: "row2", ..place },
                Place { column: "other", ..place },
                Place { table: "named_secretsr", row: "ow", ..place },
            ] {
                assert_eq!(ring.open(&elsewhere, &sealed).unwrap_err(), SealFault::Forged);
            }
        }
        assert_eq!(
            ring.seal(&place, &[7; SECRET_BYTES_MAX + 1], &ids).unwrap_err(),
            SealFault::TooLong,
            "and no more is kept"
        );
    }

    #[test]
    fn a_bit_that_is_turned_opens_nothing() {
        let (ids, tenant) = (ids(), TenantId::default_tenant());
        let ring = Keyring::parse(&Keyring::fresh_key(&ids)).unwrap();
        let place = SealedColumn::NamedSecret.of(&tenant, "row");
        let sealed = ring.seal(&place, b"secret", &ids).unwrap();
        for bit in 0..sealed.as_bytes().len() * 8 {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(&place, &Sealed::from_bytes(bytes)).is_err(), "bit {bit}");
        }
        for length in 0..sealed.as_bytes().len() {
            let cut = Sealed::from_bytes(sealed.as_bytes()[..length].to_vec());
            assert!(ring.open(&place, &cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let (ids, tenant) = (ids(), TenantId::default_tenant());
        let ring = Keyring::parse(&Keyring::fresh_key(&ids)).unwrap();
        let place = SealedColumn::NamedSecret.of(&tenant, "row");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let sealed = ring.seal(&place, b"secret", &ids).unwrap();
            assert!(
                seen.insert(sealed.as_bytes()[1 + KEY_ID_BYTES..HEAD_BYTES].to_vec()),
                "a nonce came again"
            );
        }
    }

    #[test]
    fn older_keys_open_and_the_first_seals() {
        let (ids, tenant) = (ids(), TenantId::default_tenant());
        let (old, new) = (Keyring::fresh_key(&ids), Keyring::fresh_key(&ids));
        let place = SealedColumn::NamedSecret.of(&tenant, "row");
        let before = Keyring::parse(&old).unwrap();
        let sealed = before.seal(&place, b"secret", &ids).unwrap();
        let both = Keyring::parse(&format!("# the newest first\n{}\n{}\n", *new, *old)).unwrap();
        assert_eq!(both.open(&place, &sealed).unwrap().text(), Some("secret"));
        let again = both.seal(&place, b"secret", &ids).unwrap();
        assert_eq!(before.open(&place, &again).unwrap_err(), SealFault::KeyUnknown(both.current()));
        let after = Keyring::parse(&new).unwrap();
        assert_eq!(after.open(&place, &again).unwrap().bytes(), b"secret");
        assert_eq!(after.open(&place, &sealed).unwrap_err(), SealFault::KeyUnknown(before.current()));
    }

    #[test]
    fn a_key_is_32_random_bytes_in_one_of_two_forms() {
        let ids = ids();
        let key = Keyring::fresh_key(&ids);
        let hex: String =
            BASE64_STANDARD.decode(&*key).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let same = Keyring::parse(&hex).unwrap();
        assert_eq!(same.current(), Keyring::parse(&key).unwrap().current());
        let zeros = BASE64_STANDARD.encode([0; 32]);
        for (text, why) in [
            ("", InvalidKeys::Empty),
            ("# nothing", InvalidKeys::Empty),
            ("changeme", InvalidKeys::Form(1)),
            (&key[1..], InvalidKeys::Form(1)),
            (&hex[1..], InvalidKeys::Form(1)),
            (&format!("{hex}00"), InvalidKeys::Form(1)),
            (&format!("{},x", *key), InvalidKeys::Form(2)),
            (&zeros, InvalidKeys::Guessable(1)),
            (&format!("{} {hex}", *key), InvalidKeys::Twice(2)),
        ] {
            assert_eq!(Keyring::parse(text).unwrap_err(), why, "{text}");
        }
        let many: Vec<String> = (0..=KEYS_MAX).map(|_| Keyring::fresh_key(&ids).to_string()).collect();
        assert_eq!(Keyring::parse(&many[..KEYS_MAX].join("\n")).unwrap().key_ids().count(), KEYS_MAX);
        assert_eq!(Keyring::parse(&many.join(",")).unwrap_err(), InvalidKeys::TooMany);
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let (ids, tenant) = (ids(), TenantId::default_tenant());
        let key = Keyring::fresh_key(&ids);
        let ring = Keyring::parse(&key).unwrap();
        let place = SealedColumn::NamedSecret.of(&tenant, "row");
        let sealed = ring.seal(&place, b"canary", &ids).unwrap();
        let opened = ring.open(&place, &sealed).unwrap();
        let shown = format!("{ring:?} {sealed:?} {opened:?} {}", SealFault::KeyUnknown(ring.current()));
        assert!(!shown.contains("canary") && !shown.contains(&key[..8]), "{shown}");
    }
}
