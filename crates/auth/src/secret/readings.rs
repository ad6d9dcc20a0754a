//! What a text may stand for: people write the same key in hexadecimal digits, in base64, in quotes and behind a prefix.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// How often a text is decoded again: base64 of hexadecimal digits of a text has two.
const DEPTH_MAX: usize = 3;
/// Most readings of one text.
const READINGS_MAX: usize = 32;
/// What is behind so many characters is not looked at.
const CHARACTERS_MAX: usize = 1024;
/// Fewest bytes of a reading.
const BYTES_MIN: usize = 8;
/// Fewest characters in a row that are looked at as base64, and most that may be around them: what is a small part of a text
/// does not make the whole weak.
const BASE64_MIN: usize = 16;
const AROUND_MAX: usize = 15;

/// What a text may stand for.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Itself, without white space around, and each text that it stands for; then all bytes in small hexadecimal digits.
    pub texts: Vec<String>,
    /// The bytes that it stands for.
    pub bytes: Vec<Vec<u8>>,
}

impl Readings {
    pub(super) fn of(text: &str) -> Self {
        let text: String = text.trim().chars().take(CHARACTERS_MAX).collect();
        let mut readings = Self { texts: vec![text], bytes: Vec::new() };
        let mut fresh = 0..1;
        for _ in 0..DEPTH_MAX {
            for at in fresh.clone() {
                for bytes in decoded(&readings.texts[at].clone()) {
                    readings.add(bytes);
                }
            }
            fresh = fresh.end..readings.texts.len();
        }
        for at in 0..readings.bytes.len() {
            let hex = hex(&readings.bytes[at]);
            readings.add_text(hex);
        }
        readings
    }

    fn add(&mut self, bytes: Vec<u8>) {
        if bytes.len() < BYTES_MIN || self.bytes.len() >= READINGS_MAX || self.bytes.contains(&bytes) {
            return;
        }
        let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        if let (true, Ok(text)) = (is_text, std::str::from_utf8(&bytes)) {
            self.add_text(text.trim().to_owned());
        }
        self.bytes.push(bytes);
    }

    fn add_text(&mut self, text: String) {
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }
}

/// The bytes in small digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that a text stands for, in hexadecimal digits or in base64 of either alphabet.
fn decoded(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::from_iter(of_hex(text));
    // In one piece, however its lines are broken; then what is between quotes, or behind `base64:`.
    let whole: String = text.split_whitespace().collect();
    let parts = text.split(|one: char| !one.is_ascii_alphanumeric() && !"+/-_=".contains(one));
    let parts = [whole.as_str()].into_iter().chain(parts).map(|part| part.trim_matches('='));
    // `=` before is of an assignment, behind it is padding; `whsec_` is a prefix.
    let bare = |part: &str| part.rfind(['=', '_']).map_or(0, |at| at + 1);
    for part in parts.flat_map(|part| [part, &part[bare(part)..]]) {
        if part.len() >= BASE64_MIN && part.len() + AROUND_MAX >= whole.len() {
            found.extend(of_base64(part));
        }
    }
    found
}

/// The bytes of hexadecimal digits: behind `0x` or `hex:`, in quotes, and apart by what people put between them.
fn of_hex(text: &str) -> Option<Vec<u8>> {
    let plain = text.to_ascii_lowercase().replace("hex", "").replace("0x", "").replace("\\x", "");
    let between = |one: &char| one.is_whitespace() || "\"'`:;,.-_{}[]()".contains(*one);
    let digits: Option<Vec<u32>> =
        plain.chars().filter(|one| !between(one)).map(|one| one.to_digit(16)).collect();
    // A digit that is left over does not make a known key another one.
    digits?.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let letters = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(letters, lenient).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    #[test]
    fn the_same_bytes_are_read_however_they_are_written() {
        let bytes: Vec<u8> = (0..24).map(|at| at * 37 + 200).map(|wide: u32| (wide % 256) as u8).collect();
        let digits = hex(&bytes);
        let pairs: Vec<&str> = (0..24).map(|at| &digits[at * 2..at * 2 + 2]).collect();
        let standard = BASE64_STANDARD.encode(&bytes);
        for text in [
            digits.clone(),
            digits.to_uppercase(),
            format!("\"{digits}\""),
            format!("'{digits}'\n"),
            format!("0x{digits}"),
            format!("hex:{digits}"),
            pairs.join(":"),
            pairs.join(" "),
            pairs.iter().map(|pair| format!("\\x{pair}")).collect(),
            format!("[{}]", pairs.iter().map(|pair| format!("0x{pair}")).collect::<Vec<_>>().join(", ")),
            BASE64_URL_SAFE_NO_PAD.encode(&bytes),
            format!("\"{standard}\""),
            format!("base64:{standard}"),
            format!("SECRET={standard}"),
            format!("{}\n{}\n", &standard[..16], &standard[16..]),
            BASE64_STANDARD.encode(&standard),
            BASE64_STANDARD.encode(digits.to_uppercase()),
            BASE64_STANDARD.encode(BASE64_STANDARD.encode(&standard)),
            hex(digits.as_bytes()),
        ] {
            assert!(Readings::of(&text).bytes.contains(&bytes), "{text}");
            assert!(Readings::of(&text).texts.contains(&digits), "{text}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_itself() {
        assert_eq!(Readings::of(" k3Jx!9vQ ").texts, ["k3Jx!9vQ"]);
    }
}
