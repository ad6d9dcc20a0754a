//! Makes a new input of old ones.

use crate::rng::Rng;

/// Longest input, in bytes.
pub(crate) const LENGTH_MAX: usize = 4096;

/// Bytes that mean something to most parsers.
const BYTES: &[u8] =
    b"\0\t\n\r \"#%&'+,-./0123456789:;<=>?@AEZ[\\]_`aez{|}~\x7f\x80\xbf\xc0\xc3\xe2\xed\xf0\xff";

/// Changes `input` in one to eight places. `words` are what the target's grammar is made of, `other` is any other input.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&str], rng: &mut Rng) {
    for _ in 0..=rng.below(8) {
        once(input, other, words, rng);
        // Most of the value lies in few changes.
        if rng.below(2) == 0 {
            break;
        }
    }
    input.truncate(LENGTH_MAX);
}

fn once(input: &mut Vec<u8>, other: &[u8], words: &[&str], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    match rng.below(13) {
        0 if at < input.len() => input[at] ^= 1 << rng.below(8),
        1 if at < input.len() => input[at] = rng.pick(BYTES).copied().unwrap_or(0),
        2 => input.insert(at, rng.pick(BYTES).copied().unwrap_or(0)),
        3 => insert(input, at, rng.pick(words).map_or(&b""[..], |word| word.as_bytes())),
        4 => {
            let word = rng.pick(words).map_or(&b""[..], |word| word.as_bytes());
            let end = (at + word.len()).min(input.len());
            input.splice(at..end, word.iter().copied());
        }
        5 => {
            let end = at + rng.below((input.len() - at).min(16) + 1);
            input.drain(at..end);
        }
        6 => input.truncate(at),
        7 => {
            let part = part(input, rng).to_vec();
            insert(input, at, &part);
        }
        8 => insert(input, at, part(other, rng)),
        9 => {
            let tail = rng.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[tail..]);
        }
        // Long runs find what is cut, counted or added up.
        10 => {
            let byte = input.get(at).copied().unwrap_or(b'0');
            let run = vec![byte; 1 << rng.below(10)];
            insert(input, at, &run);
        }
        11 => nudge(input, at, rng),
        _ => insert(input, at, &rng.next().to_le_bytes()[..=rng.below(8)]),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}

/// A short part of an input.
fn part<'a>(of: &'a [u8], rng: &mut Rng) -> &'a [u8] {
    let from = rng.below(of.len() + 1);
    let length = rng.below((of.len() - from).min(64) + 1);
    &of[from..from + length]
}

/// Changes the next number to one at the edge of something.
fn nudge(input: &mut Vec<u8>, from: usize, rng: &mut Rng) {
    const EDGES: &[&str] = &[
        "0",
        "-0",
        "1",
        "-1",
        "127",
        "128",
        "255",
        "256",
        "65535",
        "65536",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "9999999999999999999999999999",
        "10000000000000000000000000000",
        "1e9",
        "1.0",
        "0.1",
    ];
    let Some(start) = input.iter().skip(from).position(u8::is_ascii_digit).map(|after| from + after) else {
        return;
    };
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let edge = rng.pick(EDGES).copied().unwrap_or("0");
    input.splice(start..start + length, edge.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_differ_stay_bounded_and_come_again() {
        let run = |seed| {
            let mut rng = Rng::new(seed, "x");
            let mut input = b"{\"a\": 12}".to_vec();
            for _ in 0..5_000 {
                mutate(&mut input, b"[1, 2, 3]", &["null", "true"], &mut rng);
                assert!(input.len() <= LENGTH_MAX);
            }
            input
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        mutate(&mut Vec::new(), b"", &[], &mut Rng::new(1, "empty"));
    }
}
