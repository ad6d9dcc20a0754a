//! Runs: characters that follow one another in the alphabet, by counting, or on a keyboard, one by one or several of them in
//! turn.

use std::sync::LazyLock;

/// Most runs that take turns: `a1b2c3` has two.
const TURNS_MAX: usize = 8;
/// Most characters of a run: longer ones are told as several.
const RUN_MAX: usize = 64;
/// Which characters follow one another. After the last comes the first.
const ORDERS: [&str; 7] = [
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789",
    "0123456789abcdef",
    "abcdef",
    "qwertyuiopasdfghjklzxcvbnm",
    "1234567890-=qwertyuiop[]asdfghjkl;'zxcvbnm,./",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
];
/// Most places from one character to the next, either way.
const STEP_MAX: usize = 3;
/// What it costs to tell one of the orders and a step in it.
const STEP_BITS: f64 = 5.7;
/// What it costs to tell that such runs begin, and how many.
const TURNS_BITS: f64 = 11.0;
/// What it costs to tell that a walk over neighbouring keys begins, and each key in it: there are seven at most.
const WALK_BITS: f64 = 8.0;
const KEY_BITS: f64 = 2.81;

/// The rows of a keyboard, each half a key further right than the one above it, more or less.
const ROWS: [&str; 4] = ["1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"];
/// Each key with shift, and without.
const SHIFTED: (&str, &str) = ("!@#$%^&*()_+{}:\"<>?", "1234567890-=[];',./");

/// For each pair of characters the orders and steps by which the second follows the first: a bit for each.
static FOLLOWS: LazyLock<Vec<u64>> = LazyLock::new(follows);
/// Whether two keys are neighbours.
static NEIGHBOURS: LazyLock<Vec<bool>> = LazyLock::new(neighbours);

fn follows() -> Vec<u64> {
    let mut follows = vec![0_u64; 128 * 128];
    let mut bit = 0;
    for order in ORDERS {
        let order = order.as_bytes();
        for step in 0..=STEP_MAX * 2 {
            for (at, one) in order.iter().enumerate() {
                let next = order[(at + step + order.len() - STEP_MAX) % order.len()];
                follows[pair(*one, next)] |= 1_u64 << bit;
            }
            bit += 1;
        }
    }
    follows
}

fn neighbours() -> Vec<bool> {
    let mut neighbours = vec![false; 128 * 128];
    let mut join = |one: Option<&u8>, other: Option<&u8>| {
        if let (Some(one), Some(other)) = (one, other) {
            neighbours[pair(*one, *other)] = true;
            neighbours[pair(*other, *one)] = true;
        }
    };
    for (row, keys) in ROWS.iter().enumerate() {
        let keys = keys.as_bytes();
        for at in 0..keys.len() {
            join(keys.get(at), keys.get(at));
            join(keys.get(at), keys.get(at + 1));
            if let Some(below) = ROWS.get(row + 1).map(|below| below.as_bytes()) {
                join(keys.get(at), below.get(at));
                join(keys.get(at + 1), below.get(at));
            }
        }
    }
    neighbours
}

fn pair(one: u8, other: u8) -> usize {
    usize::from(one & 127) * 128 + usize::from(other & 127)
}

/// The key of a character, and whether it has shift; `None` where there is none.
type Key = Option<(u8, bool)>;

/// The key of each character.
pub(super) fn keys(text: &[char]) -> Vec<Key> {
    text.iter().map(|one| key(*one)).collect()
}

fn key(one: char) -> Key {
    let byte = u8::try_from(one).ok().filter(u8::is_ascii_graphic)?;
    match SHIFTED.0.bytes().position(|shifted| shifted == byte) {
        Some(at) => Some((SHIFTED.1.as_bytes()[at], true)),
        None => Some((byte.to_ascii_lowercase(), byte.is_ascii_uppercase())),
    }
}

/// Each beginning that is such runs, with its bits: `reach(count, bits, chance)`. `one` is what a character costs.
pub(super) fn runs(rest: &[Key], one: f64, mut reach: impl FnMut(usize, f64, f64)) {
    let keys = &rest[..rest.len().min(RUN_MAX)];
    let length_bits = (rest.len() as f64).log2();
    for turns in 1..=TURNS_MAX {
        let firsts = one * turns as f64;
        let bits = TURNS_BITS + length_bits + firsts + STEP_BITS * turns as f64;
        let mut ways = [u64::MAX; TURNS_MAX];
        for at in turns..keys.len() {
            let (Some((before, shift_before)), Some((key, shift))) = (keys[at - turns], keys[at]) else {
                break;
            };
            ways[at % turns] &= FOLLOWS[pair(before, key)];
            if ways[at % turns] == 0 || shift_before != shift {
                break;
            }
            if at + 1 >= turns * 2 {
                reach(at + 1, bits, firsts);
            }
        }
    }
    let mut bits = WALK_BITS + length_bits + one;
    for (at, two) in keys.windows(2).enumerate() {
        let (Some((before, shift_before)), Some((key, shift))) = (two[0], two[1]) else { break };
        if !NEIGHBOURS[pair(before, key)] || shift_before != shift {
            break;
        }
        bits += KEY_BITS;
        reach(at + 2, bits, one);
    }
}
