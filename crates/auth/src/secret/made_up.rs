//! Whether a text was made up by a person: how much shorter it gets when it is told as words, years, repeats, runs of the
//! alphabet and of a keyboard, pieces of keys that are printed, and letters that follow one another as in words. A random text
//! gets hardly shorter: that it gets `k` bits shorter by any such way of telling has a chance of some 2^-k.

use super::{order, published};
use std::collections::HashSet;
use std::sync::LazyLock;

/// Words that people put together, of 3 letters and more.
const WORDS: &str = include_str!("words.txt");
/// What naming one of them costs, in bits: there are fewer than 4096.
const WORD_BITS: f64 = 12.0;
const WORD_MIN: usize = 3;
const WORD_MAX: usize = 12;
/// What beginning a run of letters that read like a word costs, beside its letters.
const RUN_BITS: f64 = 6.0;
/// Fewest letters of such a run.
const RUN_MIN: usize = 4;
/// What a year costs.
const YEAR_BITS: f64 = 8.0;
/// What it costs, beside its first character, to tell how many follow that are equal or in order.
const ORDER_BITS: f64 = 5.0;
/// What it costs to tell that a piece of what was before, or of a key that is printed, follows; beside where it is and how long.
const PIECE_BITS: f64 = 6.0;
/// Fewest and most characters of a piece of what was before: longer ones are told as several.
const AGAIN_MIN: usize = 3;
const AGAIN_MAX: usize = 64;
/// What a UUID costs that is not of chance: of a clock and a machine, or of a name. Of the seventh kind 74 bits are chance.
const UUID_BITS: f64 = 74.0;
const UUID_CHARACTERS: usize = 36;
/// A text that is told by this much fewer bits, and by this part of what it has, is none of chance.
const GAIN_MIN: f64 = 40.0;
const PART_MAX: f64 = 0.8;
/// Unless this much of it is told by no words: a random text is not made weak by a name before it.
const CHANCE_BITS: f64 = 128.0;

/// How many bits a letter takes after another in words, in halves from `a` (none) on: a row for each letter, the last one for
/// the beginning of a word; a column for each letter that follows.
const AFTER: [&[u8; 26]; 27] = [
    b"pjhjqnkqjqmgjhsjpgifmmoomq",
    b"hmlmglmmhlnfmninojimhnomlp",
    b"hokogpqhjpjjopeoqjmgjoponq",
    b"imokdnmqfnolnmimpkjnjnoomp",
    b"joigllmqorrjkgoknfgjqlojpr",
    b"hmlmhhnpfnnjmmgnmillipmmkn",
    b"inlmfnjihnokkijknhjljplonm",
    b"fpnnfnpngonkklgnojliknmmln",
    b"kkikjkkqqspjjehlqlihqkrnsl",
    b"iklkhlljkjijlkiklljkhijjll",
    b"imnkfkkngkmjkjjlmmhkjmkmnm",
    b"hpokfnoqfpphpnhmqpjjknpphq",
    b"fkonfnnognnkkoigoojnkmqpoo",
    b"iqihhlfoipmnomjoqohflmpqns",
    b"mmjjomlpmqmjiekjqfjkikjoqo",
    b"gqmngookjqphophinfkikooolp",
    b"lmljkjkkkknjmllkjiklekkkkj",
    b"golkenmqgrmmklhnpkiilnqqkr",
    b"kqjnfnpjgpmknnjjonhfiooplr",
    b"hpmneoqifsqlooinrhikkpppkq",
    b"jjimjmkqjooiigmimghgonopoo",
    b"gonodomngmnmmnjommmlllmnmn",
    b"hmmkhllhhllllihlliilnljlmn",
    b"klikhmlkinmmillgllhglmmkkm",
    b"klknimllikljjijglkhjllklkk",
    b"ikklekkkjjokkjkkjnlkkjklkj",
    b"ikhijjkljmmjjkkimihjklkmmm",
];

static KNOWN_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| words().collect());

/// The beginnings of these words: most of what is looked at begins as none of them.
static BEGINNINGS: LazyLock<HashSet<[u8; WORD_MIN]>> =
    LazyLock::new(|| words().filter_map(|word| word.as_bytes().first_chunk().copied()).collect());

/// How a text is told by the fewest bits.
#[derive(Debug, Clone, Copy)]
struct Told {
    bits: f64,
    /// Those of them that tell single characters.
    chance: f64,
}

/// The words that people put together.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.split_ascii_whitespace()
}

/// Whether a text is words and the like rather than chance. It is what a secret of so many bits stands for: base64 of capital
/// letters alone has more bits than they have, and is no more of chance.
pub(super) fn is_made_up(text: &str, bits_max: f64) -> bool {
    let whole = bits(text).min(bits_max);
    let told = told(text);
    whole - told.bits >= GAIN_MIN && told.bits <= whole * PART_MAX && told.chance < CHANCE_BITS
}

/// The bits of a text that is chance.
pub(super) fn bits(text: &str) -> f64 {
    bits_of_one(text) * text.chars().count() as f64
}

/// What each character costs of a text that is chance, from the kinds of characters that are in it.
fn bits_of_one(text: &str) -> f64 {
    let has = |kind: fn(char) -> bool| text.chars().any(kind);
    // A UUID has its digits apart by `-`: counted as punctuation, one of chance would have half as much again as there is.
    let lower = |digit: char| matches!(digit, '0'..='9' | 'a'..='f' | '-');
    let upper = |digit: char| matches!(digit, '0'..='9' | 'A'..='F' | '-');
    if text.chars().all(lower) || text.chars().all(upper) {
        return if text.contains('-') { 17_f64.log2() } else { 4.0 };
    }
    let kinds = [
        (has(|one| one.is_ascii_lowercase()), 26.0),
        (has(|one| one.is_ascii_uppercase()), 26.0),
        (has(|one| one.is_ascii_digit()), 10.0),
        (has(|one| one.is_ascii_punctuation() || one == ' '), 33.0),
        (has(|one| !one.is_ascii_graphic() && one != ' '), 100.0),
    ];
    let all: f64 = kinds.iter().filter(|(has, _)| *has).map(|(_, count)| count).sum();
    all.max(10.0).log2()
}

fn told(text: &str) -> Told {
    let one = bits_of_one(text);
    let text: Vec<char> = text.chars().collect();
    let keys = order::keys(&text);
    // The fewest for each beginning of it.
    let mut fewest = vec![Told { bits: f64::INFINITY, chance: 0.0 }; text.len() + 1];
    fewest[0].bits = 0.0;
    for at in 0..text.len() {
        let (so_far, rest) = (fewest[at], &text[at..]);
        let mut reach = |count: usize, bits: f64, chance: f64| {
            if so_far.bits + bits < fewest[at + count].bits {
                fewest[at + count] = Told { bits: so_far.bits + bits, chance: so_far.chance + chance };
            }
        };
        reach(1, one, one);
        order::runs(&keys[at..], one, &mut reach);
        if is_uuid_of_no_chance(rest) {
            reach(UUID_CHARACTERS, UUID_BITS, UUID_BITS);
        }
        let mut reach = |count: usize, bits: f64| reach(count, bits, 0.0);
        if is_year(rest) {
            reach(4, YEAR_BITS);
        }
        in_order(rest, |count| reach(count, one + ORDER_BITS));
        again(&text, at, &mut reach);
        if let Some((longest, places)) = published::piece(rest) {
            reach(longest, PIECE_BITS + (places as f64).log2() + (longest as f64).log2());
        }
        known_words(rest, &mut reach);
        like_words(rest, &mut reach);
    }
    fewest[text.len()]
}

/// Each piece of what was before `at` that follows there again, over and over too.
fn again(text: &[char], at: usize, reach: &mut impl FnMut(usize, f64)) {
    let rest = &text[at..];
    let bits = PIECE_BITS + (at as f64).log2() + (rest.len() as f64).log2();
    let rest = &rest[..rest.len().min(AGAIN_MAX)];
    let same = |from: usize| text[from..].iter().zip(rest).take_while(|(one, other)| one == other).count();
    let longest = (0..at).map(same).max().unwrap_or(0);
    for count in AGAIN_MIN..=longest {
        reach(count, bits);
    }
}

/// Whether it begins with a UUID (RFC 9562) of a kind that is not of chance: any but the fourth, and the eighth, which is
/// anything.
fn is_uuid_of_no_chance(rest: &[char]) -> bool {
    let is_one = |(at, one): (usize, &char)| match at {
        8 | 13 | 18 | 23 => *one == '-',
        14 => matches!(one, '1' | '2' | '3' | '5' | '6' | '7'),
        19 => matches!(one, '8' | '9' | 'a' | 'b' | 'A' | 'B'),
        _ => one.is_ascii_hexdigit(),
    };
    rest.len() >= UUID_CHARACTERS && rest.iter().take(UUID_CHARACTERS).enumerate().all(is_one)
}

fn is_year(rest: &[char]) -> bool {
    let is = |four: &[char]| matches!((four[0], four[1]), ('1', '9') | ('2', '0'));
    rest.len() >= 4 && is(rest) && rest[2..4].iter().all(char::is_ascii_digit)
}

/// Each beginning, of 3 characters and more, whose characters are equal, or each one more (or less) than the one before.
fn in_order(rest: &[char], mut reach: impl FnMut(usize)) {
    let step = |at: usize| i64::from(u32::from(rest[at])) - i64::from(u32::from(rest[at - 1]));
    for at in 1..rest.len() {
        if step(at).abs() > 1 || step(at) != step(1) {
            return;
        }
        if at >= 2 {
            reach(at + 1);
        }
    }
}

/// Each known word that it begins with, in one case or with a capital, letters written as digits included.
fn known_words(rest: &[char], reach: &mut impl FnMut(usize, f64)) {
    let (mut word, mut disguised) = (String::new(), 0.0);
    for (at, one) in rest.iter().take(WORD_MAX).enumerate() {
        let Some(letter) = letter(*one) else { return };
        disguised += if one.is_ascii_alphabetic() { 0.0 } else { 2.0 };
        word.push(letter);
        let count = at + 1;
        if count == WORD_MIN && !word.as_bytes().first_chunk().is_some_and(|first| BEGINNINGS.contains(first))
        {
            return;
        }
        if let Some(bits) = case_bits(&rest[..count])
            && count >= WORD_MIN
            && KNOWN_WORDS.contains(word.as_str())
        {
            reach(count, WORD_BITS + bits + disguised);
        }
    }
}

/// The letter that a character is, or stands for.
fn letter(one: char) -> Option<char> {
    Some(match one {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other if other.is_ascii_alphabetic() => other.to_ascii_lowercase(),
        _ => return None,
    })
}

/// What it costs to tell the case of a word: small throughout, with a capital, or capital throughout; nothing for others.
fn case_bits(word: &[char]) -> Option<f64> {
    let mut letters = word.iter().filter(|one| one.is_ascii_alphabetic());
    let first = letters.next()?;
    let capitals = letters.clone().filter(|one| one.is_ascii_uppercase()).count();
    match (first.is_ascii_uppercase(), capitals) {
        (false, 0) => Some(0.0),
        (true, 0) => Some(1.0),
        (true, all) if all == letters.count() => Some(1.0),
        _ => None,
    }
}

/// Each beginning of letters that may follow one another in a word.
fn like_words(rest: &[char], reach: &mut impl FnMut(usize, f64)) {
    let (mut bits, mut before) = (RUN_BITS, 26);
    for (at, one) in rest.iter().enumerate() {
        if !one.is_ascii_alphabetic() || case_bits(&rest[..=at]).is_none() {
            return;
        }
        let index = usize::from(one.to_ascii_lowercase() as u8 - b'a');
        bits += f64::from(AFTER[before][index] - b'a') / 2.0;
        before = index;
        if at + 1 >= RUN_MIN {
            reach(at + 1, bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_make_up_is_told() {
        for made_up in [
            "MySuperSecretJwtSigningKey2024ForProduction!!",
            "Wellorder2026!ProductionKey#Shop42",
            "CokGizliVeUzunBirAnahtarKelimesiHalisahaProjesiIcin123456789",
            "YourSecureAndLongJWTSecretKeyForSigning",
            "thisisaverysecretkeyforjwtvalidationthisisaverysecretkeyforjwtvalidation",
            "YourSecretKeyforJWTMustBeComplex",
            "shopping-secret-key-1234-5678-90",
            "test-secret-key-for-jwt-signing-must-be-long-enough-32",
            "YOUR_SUPER_SECRET_KEY_MAKE_SURE_IT_IS_LONG_ENOUGH",
            "mySecretKeyForAdminDashboardServiceJwtAuthenticationToken123456789",
            "correct horse battery staple and some more words",
            "P@ssw0rdP@ssw0rdP@ssw0rdP@ssw0rd",
            "GeheimesPasswortFuerDenOnlineShop2026",
            "unserGeheimerSchluesselFuerDieProduktion1",
            "tu_clave_secreta_muy_larga_y_segura_para_produccion",
            "TheQuickBrownFoxJumpsOverTheLazyDog1",
            "Acme-Corp-Webshop-Login-Token-2025-v2",
            "MyC0mp@nyS3cr3tK3y!2024#Pr0duct10n",
            "whoever-reads-this-is-a-fool-and-will-be-fired",
            "kubernetes-cluster-eu-west-1-prod-jwt-hmac-key",
            "JohnSmith1985&JaneSmith1987&Rex2015!!",
            "Liverpool4Ever!YouWillNeverWalkAlone#96",
            "our-shop-is-the-best-shop-in-the-city-of-york",
            // Again and again, with fewer than 128 bits in what is told again.
            "Kq7!xZ2#mPw4Kq7!xZ2#mPw4Kq7!xZ2#mPw4",
            "5b0c7e9a41f3d8625b0c7e9a41f3d862",
            "aZ1!aZ1!aZ1!aZ1!aZ1!aZ1!aZ1!aZ1!",
            // Over the keyboard.
            "qwertyuiopasdfghjklzxcvbnm123456",
            "!QAZ2wsx#EDC4rfv%TGB6yhn&UJM8ik,",
            "zaq12wsxcde34rfvbgt56yhnmju78ik,",
            "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,",
            "asdfghjkl;lkjhgfdsasdfghjkl;lkjh",
            // In turn.
            "q1w2e3r4t5y6u7i8o9p0a1s2d3f4g5h6",
            "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
            "1a2b3c4d5e6f7g8h9i0j1k2l3m4n5o6p",
            "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6",
            "9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d",
            "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "00112233445566778899aabbccddeeff",
            // Of a clock, and of a name.
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "5df41881-3aed-3515-88a7-2f4a814cf09e",
            "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
            // Pieces of what is printed, backwards too, with less than 128 bits of anything else.
            "09d25e094faa6ca2556c818166b7a956",
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e71",
            "7e3d8e88b36fc6aac4f0f6f9907f39b3659a7b661818c6552ac6aaf490e52d90",
        ] {
            assert!(is_made_up(made_up, bits(made_up)), "{made_up}");
        }
    }

    /// A name before enough chance does no harm.
    #[test]
    fn a_random_text_under_a_name_is_none() {
        for strong in [
            "wellorder-production-9WkP3vXqZ0tL7mBf2RjHs8YcNdGe4UaTxV6oKi1Q5Eg",
            "jwt_secret_2026_5b0c7e9a41f3d862b7e0c59d13fa6482",
            "prod:q8Zt/3rVfW0yK+LxB1mHc7PjU5aNd9GsEoR2iTkX4Yw=",
            // Twice enough is enough; so is enough behind a printed key.
            "5b0c7e9a41f3d862b7e0c59d13fa64825b0c7e9a41f3d862b7e0c59d13fa6482",
            "09d25e094faa6ca2556c818166b7a9565b0c7e9a41f3d862b7e0c59d13fa6482",
            // A UUID of chance.
            "f81d4fae-7dec-41d0-a765-50a0c91e6bf6",
        ] {
            assert!(!is_made_up(strong, bits(strong)), "{strong}: {:?}", told(strong));
        }
    }

    #[test]
    fn the_words_are_words() {
        let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
        assert!((words.len() as f64).log2() <= WORD_BITS && words.len() == KNOWN_WORDS.len());
        for word in words {
            assert!((WORD_MIN..=WORD_MAX).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
    }
}
