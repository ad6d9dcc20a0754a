//! Keys that stand in standards, manuals and tutorials: random once, and known to everybody since.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// As they are printed. Compared as text (hexadecimal digits in either case) and as the bytes that they stand for.
const KEYS: &[&str] = &[
    // FastAPI's manual, "OAuth2 with Password (and hashing), Bearer with JWT tokens".
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    // Tutorials on JWT with Spring; the first two are from a generator of keys, see `is_generated`.
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "413F4428472B4B6250655368566D5970337336763979244226452948404D6351",
    "3cfa76ef14937c1c0ea519f8fc057a80fcd04a7420f8e8bcd0a7567c272e007b",
    // Flask's manual, and a much seen tutorial on it.
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "5791628bb0b13ce0c676dfde280ba245",
    // Laravel's tests, and applications begun from them.
    "2fl+Ktvkfl+Fuz4Qp/A75G2RTiWVA/ZoKZvp6fiiM10=",
    // RFC 7515 A.1 (RFC 7517 A.3 and RFC 7519 use it too), A.2 is no secret of this kind, A.3, A.4.
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    // RFC 7520 3.5 and 3.6.
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    "AAPapAv4LbFbiVawEjagUBluYqN5rhna-8nuldDvOx8",
    // RFC 8037 A.1: the private key, and the public one.
    "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    // The manual of a much used library for Node.
    "GQDstcKsx0NHjPOuXOYg5MbeJ1XT0uFiwDVvVBrk",
];

/// Fewest pairs by which a text is judged, and of ten the fewest that must be in step.
const PAIRS_MIN: usize = 10;
const IN_STEP_OF_TEN: usize = 9;

/// Whether it is one of them, however it is written.
pub(super) fn is_published(secret: &str) -> bool {
    let forms = forms(secret);
    KEYS.iter().any(|key| self::forms(key).iter().any(|form| forms.contains(form)))
}

/// What may be meant by a text: itself (hexadecimal digits in small letters, and without the prefix that says base64), and
/// the bytes that it stands for.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let text = text.trim().strip_prefix("base64:").unwrap_or(text.trim());
    let mut forms = vec![text.as_bytes().to_vec()];
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        forms[0].make_ascii_lowercase();
    }
    forms.extend(decoded(text));
    forms
}

/// The bytes that a text stands for, in hexadecimal digits or in base64 of either alphabet.
fn decoded(text: &str) -> Vec<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|one| one.to_digit(16)).collect();
    let pairs = digits.filter(|digits| digits.len() % 2 == 0);
    let hex = pairs.map(|digits| {
        digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
    });
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let base64 = [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .filter_map(|letters| GeneralPurpose::new(letters, lenient).decode(text).ok());
    hex.into_iter().chain(base64).collect()
}

/// The texts that a text stands for, beside itself: people write what they make up in hexadecimal digits and base64 too.
pub(super) fn texts_within(text: &str) -> Vec<String> {
    let is_text = |bytes: &Vec<u8>| bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let texts = decoded(text).into_iter().filter(is_text);
    texts.filter_map(|bytes| String::from_utf8(bytes).ok()).collect()
}

/// Whether a text is of a generator of keys whose keys stand in many tutorials: all of them are pieces of one sequence, in
/// which every other character is a few further in the alphabet than the one before it (`…McQfTjWnZr4u7x!A%D*G-KaPd…`).
pub(super) fn is_generated(text: &str) -> bool {
    let pairs = || text.as_bytes().iter().zip(text.as_bytes().iter().skip(2));
    let kind = |byte: &u8| (byte.is_ascii_uppercase(), byte.is_ascii_lowercase(), byte.is_ascii_digit());
    let alike = || pairs().filter(|(a, b)| kind(a) == kind(b) && a.is_ascii_alphanumeric());
    let in_step = alike().filter(|(a, b)| (2..=5).contains(&(i16::from(**b) - i16::from(**a)))).count();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    !is_hex && alike().count() >= PAIRS_MIN && in_step * 10 >= alike().count() * IN_STEP_OF_TEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    #[test]
    fn a_published_key_is_known_in_every_form() {
        for key in KEYS {
            assert!(is_published(key), "{key}");
            assert!(is_published(&format!(" {key}\n")) && is_published(&format!("base64:{key}")), "{key}");
            for bytes in decoded(key) {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let forms = [
                    hex.to_uppercase(),
                    hex,
                    BASE64_STANDARD.encode(&bytes),
                    BASE64_URL_SAFE_NO_PAD.encode(&bytes),
                ];
                for form in forms {
                    assert!(is_published(&form), "{key} as {form}");
                }
            }
        }
        assert!(!is_published("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e8"));
    }

    #[test]
    fn a_generator_that_is_none_is_known_by_its_steps() {
        for key in [
            "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
            "5367566859703373367639792F423F452848284D6251655468576D5A71347437",
            "59703373357638792F423F4528482B4D6251655468576D5A7134743777397A24",
            "645367566B59703373367639792F423F4528482B4D6251655468576D5A713474",
        ] {
            assert!(texts_within(key).iter().any(|text| is_generated(text)), "{key}");
        }
        assert!(is_generated("@NcRfUjXn2r5u8x/A?D(G+KbPdSgVkYp"));
        assert!(!is_generated("k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq"));
    }
}
