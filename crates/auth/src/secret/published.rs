//! Keys that stand in standards, manuals and tutorials: random once, and known to everybody since.

mod keys;

use super::readings::Readings;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keys::KEYS;
use ring::digest;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Fewest pairs by which a text is judged, and of ten the fewest that must be in step.
const PAIRS_MIN: usize = 10;
const IN_STEP_OF_TEN: usize = 9;

/// Characters by which a piece is looked for.
const GRAM: usize = 8;
/// Fewest characters of a part of a token: `e30`, which is `{}`, is in random texts too.
const PART_MIN: usize = 16;
/// Bytes of a digest that are compared: it may be cut, to 16 bytes at least.
const DIGEST_BYTES: usize = 16;

/// Every reading of every key, forwards and backwards, apart by a character that none of them has.
static PRINTED: LazyLock<Printed> = LazyLock::new(Printed::new);

struct Printed {
    all: Vec<char>,
    whole: HashSet<String>,
    /// Where each [`GRAM`] of characters begins.
    grams: HashMap<[char; GRAM], Vec<usize>>,
}

impl Printed {
    fn new() -> Self {
        let whole: HashSet<String> = KEYS.iter().flat_map(|key| Readings::of(key).texts).collect();
        let mut texts: Vec<&String> = whole.iter().collect();
        texts.sort_unstable();
        let mut all = Vec::new();
        for text in texts {
            all.extend(text.chars().chain(['\0']));
            all.extend(text.chars().rev().chain(['\0']));
        }
        let mut grams: HashMap<[char; GRAM], Vec<usize>> = HashMap::new();
        for (at, gram) in all.windows(GRAM).enumerate() {
            if let Ok(gram) = <[char; GRAM]>::try_from(gram) {
                grams.entry(gram).or_default().push(at);
            }
        }
        Self { all, whole, grams }
    }
}

/// Whether it is one of them, however it is written.
pub(super) fn is_published(readings: &Readings) -> bool {
    readings.texts.iter().any(|text| PRINTED.whole.contains(text) || is_generated(text))
        || readings.bytes.iter().any(|bytes| is_digest(bytes))
}

/// How many characters from the beginning on are also found in a row in one of them, and how many places there are to find
/// them in.
pub(super) fn piece(rest: &[char]) -> Option<(usize, usize)> {
    let gram = <[char; GRAM]>::try_from(rest.get(..GRAM)?).ok()?;
    let long = |at: &usize| {
        let there = PRINTED.all[*at..].iter().take_while(|one| **one != '\0');
        there.zip(rest).take_while(|(one, other)| one == other).count()
    };
    let longest = PRINTED.grams.get(&gram)?.iter().map(long).max()?;
    Some((longest, PRINTED.all.len()))
}

/// Whether these are the digest of a word that everybody knows, or of none: `sha256sum <<< secret` makes nothing secret.
fn is_digest(bytes: &[u8]) -> bool {
    static DIGESTS: LazyLock<HashSet<[u8; DIGEST_BYTES]>> = LazyLock::new(digests);
    bytes.first_chunk().is_some_and(|first| DIGESTS.contains(first))
}

fn digests() -> HashSet<[u8; DIGEST_BYTES]> {
    let ways = [&digest::SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA256, &digest::SHA512];
    let words = super::made_up::words().chain(super::KNOWN.iter().copied()).chain([""]);
    let with_end = words.flat_map(|word| [word.to_owned(), format!("{word}\n")]);
    let of =
        |word: String| ways.map(|way| digest::digest(way, word.as_bytes()).as_ref().first_chunk().copied());
    with_end.flat_map(of).flatten().collect()
}

/// Whether a text is of a generator of keys whose keys stand in many tutorials: all of them are pieces of one sequence, in
/// which every other character is a few further in the alphabet than the one before it (`…McQfTjWnZr4u7x!A%D*G-KaPd…`).
fn is_generated(text: &str) -> bool {
    let pairs = || text.as_bytes().iter().zip(text.as_bytes().iter().skip(2));
    let kind = |byte: &u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase(), byte.is_ascii_digit());
    let alike = || pairs().filter(|(a, b)| kind(a) == kind(b) && a.is_ascii_alphanumeric());
    let in_step = alike().filter(|(a, b)| (2..=5).contains(&(i16::from(**b) - i16::from(**a)))).count();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    !is_hex && alike().count() >= PAIRS_MIN && in_step * 10 >= alike().count() * IN_STEP_OF_TEN
}

/// Whether a text is a part of a token, or a whole one: what begins with a header is sent around with every request.
pub(super) fn is_of_a_token(text: &str) -> bool {
    let parts = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '-' && one != '_');
    let is_object = |part: &str| {
        if part.len() < PART_MIN {
            return false;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        bytes.starts_with(b"{") && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
    };
    parts.into_iter().any(is_object)
}

#[cfg(test)]
mod tests {
    use super::super::readings::hex;
    use super::*;
    use base64::prelude::BASE64_STANDARD;

    fn known(text: &str) -> bool {
        is_published(&Readings::of(text))
    }

    #[test]
    fn a_published_key_is_known_in_every_form() {
        for key in KEYS {
            for written in [
                (*key).to_owned(),
                format!(" {key}\n"),
                format!("base64:{key}"),
                format!("\"{key}\""),
                BASE64_STANDARD.encode(key),
                BASE64_STANDARD.encode(BASE64_STANDARD.encode(key)),
            ] {
                let found = known(&written) || super::super::weakness(&written).is_some();
                assert!(found, "{key} as {written}");
            }
            for bytes in Readings::of(key).bytes {
                let digits = hex(&bytes);
                let pairs: Vec<&str> = (0..bytes.len()).map(|at| &digits[at * 2..at * 2 + 2]).collect();
                for form in [
                    digits.to_uppercase(),
                    format!("0x{digits}"),
                    format!("hex:{digits}"),
                    format!("'{digits}'"),
                    pairs.join(":"),
                    BASE64_STANDARD.encode(digits.to_uppercase()),
                    BASE64_STANDARD.encode(&bytes),
                    BASE64_STANDARD.encode(BASE64_STANDARD.encode(&bytes)),
                    BASE64_URL_SAFE_NO_PAD.encode(&bytes),
                    digits.clone(),
                ] {
                    assert!(known(&form), "{key} as {form}");
                }
            }
        }
        assert!(!known("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e8"));
    }

    #[test]
    fn a_digest_of_a_word_is_known() {
        let digest = |way, word: &str| hex(digest::digest(way, word.as_bytes()).as_ref());
        for word in ["", "secret", "password", "secret\n"] {
            assert!(known(&digest(&digest::SHA256, word)) && known(&digest(&digest::SHA512, word)), "{word}");
            assert!(known(&digest(&digest::SHA512, word)[..32]), "{word}");
        }
        assert!(!known(&digest(&digest::SHA256, "a word that nobody knows")));
    }

    #[test]
    fn a_generator_that_is_none_is_known_by_its_steps() {
        for key in [
            "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
            "5367566859703373367639792F423F452848284D6251655468576D5A71347437",
            "59703373357638792F423F4528482B4D6251655468576D5A7134743777397A24",
            "645367566B59703373367639792F423F4528482B4D6251655468576D5A713474",
            "@NcRfUjXn2r5u8x/A?D(G+KbPdSgVkYp",
        ] {
            assert!(known(key), "{key}");
        }
        assert!(!known("k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq"));
    }

    #[test]
    fn a_part_of_a_token_is_told() {
        for part in [
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
        ] {
            assert!(is_of_a_token(part), "{part}");
        }
        for other in ["k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLa", "IVcB`RC|}e30,4k3K8=~/7|_0,1n#:Aq"] {
            assert!(!is_of_a_token(other), "{other}");
        }
    }
}
