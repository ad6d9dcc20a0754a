//! A secret that is shared with an issuer, and how one that anybody can guess is told.

mod made_up;
mod order;
mod published;
mod readings;
mod sentence;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use readings::Readings;
use sha2::Sha256;
use std::fmt;

/// Fewest bytes of a strong secret: as many as its hash has (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Fewest different bytes among them: 32 random small letters have 18 of 26 on average, and fewer than these once in 10^8.
const DISTINCT_MIN: usize = 10;
/// The same where all are hexadecimal digits: 32 random ones have 14 of 16 on average.
const DISTINCT_HEX_MIN: usize = 7;
/// Most decimal digits alone: 32 hexadecimal ones are such once in 3 million times, and more than these never.
const DIGITS_MAX: usize = 44;
/// Most neighbours in a row that are equal, or each one more (or less) than the one before.
const RUN_MAX: usize = 10;
/// Fewest characters beside words that everybody knows. A random text has one of them by chance once in a million times.
const REST_MIN: usize = 16;

/// What is said of what gets much shorter when it is told so.
const MADE_UP: &str = "is made up of words, years, repeats, rows of keys and the like, which can be guessed";

/// What secrets in examples are called. Compared without regard to case, `-`, `_`, `.` and spaces. Each has six characters or
/// more: shorter words are in random texts too.
const KNOWN: &[&str] = &[
    "secret",
    "signing",
    "jsonwebtoken",
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "placeholder",
    "example",
    "default",
    "insecure",
    "notsecure",
    "supersecure",
    "donotuse",
    "password",
    "passwd",
    "passphrase",
    "qwerty",
    "letmein",
    "keyboardcat",
    "0123456789abcdef",
    "1234567890",
    "abcdefghijklmnop",
];

/// A secret for HMAC.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// Of any length; see [`weakness`].
    pub fn new(secret: &[u8]) -> Self {
        // A longer key is hashed first, a shorter one padded (RFC 2104): neither can fail.
        let mut block = [0_u8; 64];
        if secret.len() > block.len() {
            use sha2::Digest;
            block[..32].copy_from_slice(&Sha256::digest(secret));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        Self(<Hmac<Sha256> as KeyInit>::new(&block.into()))
    }

    /// The signature of `text`.
    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// Whether `signature` is that of `text`, whole; takes the same time whatever differs where.
    pub(crate) fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(text);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What is weak about a secret, if anything; never the secret itself. What it stands for, in hexadecimal digits or base64, is
/// judged too.
pub fn weakness(secret: &str) -> Option<&'static str> {
    let readings = Readings::of(secret);
    if published::is_published(&readings) {
        return Some("stands in standards, manuals or tutorials, so that everybody knows it");
    }
    if published::is_of_a_token(secret) {
        return Some("is a token or a part of one, which others have seen");
    }
    let bits_max = made_up::bits(secret.trim());
    let is_made_up = || {
        let mut texts = readings.texts.iter();
        texts.any(|text| made_up::is_made_up(text, bits_max) || sentence::is_sentence(text))
    };
    weakness_of(secret).or_else(|| is_made_up().then_some(MADE_UP))
}

fn weakness_of(secret: &str) -> Option<&'static str> {
    let plain: String = secret
        .chars()
        .filter(|letter| !matches!(letter, '-' | '_' | '.' | ' '))
        .flat_map(char::to_lowercase)
        .collect();
    if is_known(&plain) {
        return Some("is one of the examples that everybody knows");
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Some("has fewer than 32 bytes");
    }
    let mut seen = [false; 256];
    secret.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    // Those of a UUID are apart by `-`.
    let is_hex = secret.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_digits = secret.len() > DIGITS_MAX && secret.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits || distinct < if is_hex { DISTINCT_HEX_MIN } else { DISTINCT_MIN } {
        return Some("has too few different characters to be random");
    }
    is_in_order(secret.as_bytes()).then_some("has characters in a row that are no chance")
}

/// What begins the keys that Django makes for a start, and calls no good itself.
const NO_GOOD: &str = "djangoinsecure";

/// Whether a text is words that everybody knows, rather than a random one that has such a word in it by chance.
fn is_known(plain: &str) -> bool {
    if plain.starts_with(NO_GOOD) {
        return true;
    }
    let rest = KNOWN.iter().fold(plain.to_owned(), |rest, known| rest.replace(known, ""));
    rest.len() < plain.len() && rest.len() < REST_MIN
}

/// Whether many neighbours are equal or follow each other: in a row, or most of all.
fn is_in_order(text: &[u8]) -> bool {
    let (mut run, mut steps, mut before) = (0, 0, None);
    for pair in text.windows(2) {
        let step = i16::from(pair[1]) - i16::from(pair[0]);
        if step.abs() > 1 {
            (run, before) = (0, None);
            continue;
        }
        steps += 1;
        run = if before == Some(step) { run + 1 } else { 1 };
        before = Some(step);
        if run >= RUN_MAX {
            return true;
        }
    }
    steps * 5 > text.len() * 3
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
    use sha2::Digest;

    #[test]
    fn what_everybody_knows_or_can_guess_is_weak() {
        for weak in [
            "",
            "secret",
            "Secret",
            "your-secret-key",
            "your_secret_key",
            "your-256-bit-secret-your-256-bit-secret-changeme",
            "CHANGEME",
            "change-me-change-me-change-me-change-me",
            "please.change.this.please.change.this.now",
            "secretsecretsecretsecretsecretsecret",
            "password-password-password-password-password",
            "0123456789abcdef0123456789abcdef",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababababababab",
            "jwt-secret-of-the-production-server-2026",
            "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sL",
            "a-string-secret-at-least-256-bits-long",
            "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
            "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
            "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor",
            "loremipsumdolorsitametconsecteturadipiscing",
            "your-256-bit-secret-your-256-bit-secret",
            "GQDstcKsx0NHjPOuXOYg5MbeJ1XT0uFiwDVvVBrk",
            "this-is-my-very-long-and-secure-secret!!",
            "secret-secret-secret-secret-1234-secret",
            "my_super_long_jwt_signing_key_12345",
            "00000000000000000000000001234567",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabcdefgh",
            "k3Jx9vQ2mZ7pR5tW8yB4nC6dabcdefghijkl",
            "my-very-long-secret-for-the-production-environment-of-our-company",
            "31415926535897932384626433832795028841971693993751",
            "3.1415926535897932384626433832795",
            "correct horse battery staple and some more words",
            "09D25E094FAA6CA2556C818166B7A9563B93F7099F6F0F4CAA6CF63B88E8D3E7",
            "CdJeCU+qbKJVbIGBZrepVjuT9wmfbw9Mqmz2O4jo0+c=",
            "MySuperSecretJwtSigningKey2024ForProduction!!",
            "TXlTdXBlclNlY3JldEp3dFNpZ25pbmdLZXkyMDI0Rm9yUHJvZHVjdGlvbiEh",
            "TaK+HaV^uvCHEFsEVfypW#7g9^k*Z8$V",
            "3.14159265358979323846264338327950288419716939937510",
            "2718281828459045235360287471352662497757",
            "django-insecure-k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq",
            "2b7e151628aed2a6abf7158809cf4f3c",
            "\"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7\"",
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e709d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLa",
            "123e4567-e89b-12d3-a456-426614174000",
            "Y2xlYXJseS1hLXNlY3JldC1vZi1zb21lYm9keQ==",
            "5ebe2294ecd0e0f08eab7690d2a6ee69",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for strong in [
            "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLa",
            "c41f8a07d3925be66e0b7f1dd89a35c2410e96f7ba53d8027c6fe1945ab3d06e",
            // Hexadecimal, none of it a letter by chance; and apart by `-`.
            "19110016580048429644363285712367",
            "4bb06f8e-4e3a-7715-d201-d573d0aa4237",
            "4dcba5af-4dec-45e5-b7ec-c1984ab37658",
            "61d35741-1937-4dd6-b44f-bc4191237ce0",
            "48ec7012-2076-48ec-b40f-6391937e8ec6",
            // Many years in the digits of the bytes that it stands for.
            "OYZSCSXUXMKGGXBDGVQSCQQRJOIJOIAZ",
        ] {
            assert_eq!(weakness(strong), None, "{strong}");
        }
    }

    /// Texts of every generator that is in use, of 122 bits of chance and more. Optimized, a million of each:
    /// `cargo test --release -p auth`.
    #[test]
    fn what_is_random_is_never_weak() {
        let rounds = if cfg!(debug_assertions) { 300 } else { 250_000 };
        let threads = [1_u8, 2, 3, 4].map(|seed| {
            std::thread::spawn(move || {
                let mut block = [seed; 32];
                for _ in 0..rounds {
                    block = Sha256::digest(block).into();
                    for text in of_chance(block) {
                        assert_eq!(weakness(&text), None, "{text}");
                    }
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn of_chance(block: [u8; 32]) -> [String; 16] {
        let more: [u8; 32] = Sha256::digest([block, [1; 32]].concat()).into();
        let wide = [block, more].concat();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Each byte as one of so many letters; the bytes are more than are needed, those that would favour some are left out.
        let of = |letters: &[u8], count: usize| {
            let fair = 256 - 256 % letters.len();
            let chance = (0_u8..4).flat_map(|part| Sha256::digest([&block[..], &[part]].concat()));
            let kept = chance.filter(|byte| usize::from(*byte) < fair).take(count);
            kept.map(|byte| char::from(letters[usize::from(byte) % letters.len()])).collect::<String>()
        };
        // The fourth kind: six bits tell so.
        let uuid = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            (bytes[6], bytes[8]) = (bytes[6] & 15 | 64, bytes[8] & 63 | 128);
            let text = hex(&bytes);
            [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
        };
        let small: Vec<u8> = (b'a'..=b'z').collect();
        let alphanumeric: Vec<u8> = (b'0'..=b'z').filter(u8::is_ascii_alphanumeric).collect();
        let graphic: Vec<u8> = (b'!'..=b'~').collect();
        [
            hex(&block),
            hex(&block).to_uppercase(),
            hex(&block[..16]),
            hex(&block[..16]).to_uppercase(),
            STANDARD.encode(block),
            STANDARD.encode(&wide[..48]),
            URL_SAFE_NO_PAD.encode(block),
            URL_SAFE_NO_PAD.encode(&wide),
            of(&alphanumeric, 43),
            of(&alphanumeric, 32),
            of(&small, 32),
            of(&small, 32).to_uppercase(),
            of(&graphic, 32),
            of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32),
            uuid(&block[..16]) + &uuid(&block[16..]),
            uuid(&block[..16]),
        ]
    }

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Secret(hidden)");
    }
}
