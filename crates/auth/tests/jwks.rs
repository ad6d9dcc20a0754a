//! The published keys of an issuer: fetched seldom, kept long enough, never trusted for too long.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use auth::{Algorithm, Bad, Denied};
use rig::{N, Rig, Signer, claims, encode};
use serde_json::{Value, json};
use std::time::Duration;

fn rig() -> Rig {
    Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer)
}

/// A token of `signer` by its key `kid`, good for a day of these tests.
fn token(signer: &Signer, kid: &str) -> String {
    let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
    signer.token("EdDSA", &header, &claims(&[("exp", &(rig::NOW + 20 * 3600).to_string())]))
}

async fn is_unknown(rig: &Rig, token: &str) -> bool {
    matches!(rig.check(token).await, Err(Denied::Unknown(fault)) if fault.retry_after().is_some())
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Lets what goes on behind a request come to its end.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ten_thousand_unknown_keys_are_at_most_two_fetches_a_minute() {
    let rig = rig();
    let good = token(&rig.signer, "ed");
    assert_eq!(rig.bad(&good).await, None);
    let mut before = rig.published.asked();
    for minute in 0..4 {
        for number in 0..2_500 {
            rig.clock.advance(Duration::from_millis(24));
            let random = token_without_signature(&format!("k-{minute}-{number}"));
            assert_eq!(rig.bad(&random).await, Some(Bad::KeyUnknown));
        }
        let asked = rig.published.asked() - before;
        assert!(asked <= 2, "{asked} fetches in minute {minute}");
        before = rig.published.asked();
        assert_eq!(rig.bad(&good).await, None, "and who has a good token gets in all the while");
    }
}

fn token_without_signature(kid: &str) -> String {
    let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
    format!("{}.{}.{}", encode(header), encode(claims(&[])), encode([0; 64]))
}

#[tokio::test]
async fn many_at_once_share_one_fetch() {
    let rig = std::sync::Arc::new(rig());
    let token = token(&rig.signer, "ed");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (rig, token) = (rig.clone(), token.clone());
        tasks.spawn(async move { rig.bad(&token).await });
    }
    while let Some(bad) = tasks.join_next().await {
        assert_eq!(bad.unwrap(), None);
    }
    assert_eq!(rig.published.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_goes() {
    let rig = rig();
    let (old, new) = (token(&rig.signer, "ed"), Signer::new());
    assert_eq!(rig.bad(&old).await, None);
    rig.published.answer(Ok(new.set("-2")));
    assert_eq!(rig.bad(&token(&new, "ed-2")).await, Some(Bad::KeyUnknown), "too soon to ask again");
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.bad(&token(&new, "ed-2")).await, None);
    assert_eq!(rig.bad(&old).await, Some(Bad::KeyUnknown), "it is not published any more");
    assert_eq!(rig.published.asked(), 2);
}

#[tokio::test]
async fn a_set_is_renewed_behind_requests_and_at_the_latest_before_it_is_too_old() {
    let rig = rig();
    let old = token(&rig.signer, "ed");
    assert_eq!(rig.bad(&old).await, None);
    rig.published.answer(Ok(Signer::new().set("-2")));
    rig.clock.advance(minutes(4));
    assert_eq!((rig.bad(&old).await, rig.published.asked()), (None, 1));
    rig.clock.advance(minutes(1));
    assert_eq!(rig.bad(&old).await, None, "used once more, and renewed behind it");
    settle().await;
    assert_eq!((rig.bad(&old).await, rig.published.asked()), (Some(Bad::KeyUnknown), 2));
    // After a long pause nobody gets in with what is ten minutes old.
    let newer = Signer::new();
    rig.published.answer(Ok(newer.set("-3")));
    rig.clock.advance(minutes(50));
    assert_eq!((rig.bad(&token(&newer, "ed-3")).await, rig.published.asked()), (None, 3));
}

#[tokio::test]
async fn an_outage_is_ridden_out_for_an_hour_and_then_nobody_gets_in() {
    let rig = rig();
    let good = token(&rig.signer, "ed");
    assert_eq!(rig.bad(&good).await, None);
    rig.published.answer(Err("503".to_owned()));
    for minute in 1..60 {
        rig.clock.advance(minutes(1));
        assert_eq!(rig.bad(&good).await, None, "minute {minute}");
        settle().await;
    }
    assert!(rig.published.asked() <= 1 + 2 * 56, "{}", rig.published.asked());
    rig.clock.advance(minutes(1));
    assert!(is_unknown(&rig, &good).await, "an hour old");
    assert!(is_unknown(&rig, &token_without_signature("ed")).await, "whatever the token");
    rig.published.answer(Ok(rig.signer.set("")));
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.bad(&good).await, None, "and in again when it is over");
}

#[tokio::test]
async fn keys_that_were_never_had_are_asked_for_in_turn_and_not_in_a_storm() {
    let rig = rig();
    let good = token(&rig.signer, "ed");
    rig.published.answer(Err("no connection".to_owned()));
    for _ in 0..1_000 {
        assert!(is_unknown(&rig, &good).await);
    }
    assert_eq!(rig.published.asked(), 1);
    rig.clock.advance(Duration::from_secs(30));
    rig.published.answer(Ok(rig.signer.set("")));
    assert_eq!((rig.bad(&good).await, rig.published.asked()), (None, 2));
}

/// Time stands still here but for what is waited for.
#[tokio::test(start_paused = true)]
async fn an_address_that_hangs_holds_nobody_for_long() {
    let rig = rig();
    let good = token(&rig.signer, "ed");
    rig.published.hang();
    assert!(is_unknown(&rig, &good).await, "given up after a bounded wait");
    assert_eq!(rig.published.asked(), 1);
    rig.published.answer(Ok(rig.signer.set("")));
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.bad(&good).await, None);
    // With keys at hand it holds nobody at all once it is known to fail.
    rig.published.hang();
    rig.clock.advance(minutes(11));
    assert_eq!(rig.bad(&good).await, None);
    let began = tokio::time::Instant::now();
    rig.clock.advance(minutes(1));
    assert_eq!(rig.bad(&good).await, None);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_fetch_goes_on_though_who_began_it_went_away() {
    let rig = rig();
    let good = token(&rig.signer, "ed");
    {
        let mut check = Box::pin(rig.check(&good));
        let began =
            std::future::poll_fn(|cx| std::task::Poll::Ready(check.as_mut().poll(cx).is_pending())).await;
        assert!(began);
    }
    settle().await;
    assert_eq!((rig.bad(&good).await, rig.published.asked()), (None, 1));
}

/// Each of these is a set in which the key of the token is not, or no set at all.
#[tokio::test]
async fn sets_that_are_refused() {
    let signer = Signer::new();
    let ed = |changes: Value| {
        let mut key = signer.keys("")[2].clone();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        json!({ "keys": [key] }).to_string()
    };
    let filled = |count: usize| {
        let filler: Vec<Value> =
            (0..count).map(|number| json!({ "kty": "RSA", "kid": number.to_string() })).collect();
        let keys = [signer.keys(""), filler].concat();
        json!({ "keys": keys }).to_string()
    };
    for (set, good) in [
        (ed(json!({})), true),
        (ed(json!({ "use": "sig", "key_ops": ["verify"], "alg": "EdDSA" })), true),
        (filled(47), true),
        (filled(48), false),
        (format!("{}{}", ed(json!({})), " ".repeat(65_536)), false),
        (ed(json!({ "use": "enc" })), false),
        (ed(json!({ "use": null })), false),
        (ed(json!({ "key_ops": ["sign"] })), false),
        (ed(json!({ "alg": "ES256" })), false),
        (ed(json!({ "alg": "HS256" })), false),
        (ed(json!({ "alg": "none" })), false),
        (ed(json!({ "kty": "oct", "k": "AAAA" })), false),
        (ed(json!({ "d": "AAAA" })), false),
        (ed(json!({ "crv": "Ed448" })), false),
        (ed(json!({ "x": "AAAA" })), false),
        (ed(json!({ "kid": 1 })), false),
        (ed(json!({})).replacen("\"kty\"", "\"kty\":\"OKP\",\"kty\"", 1), false),
        (r#"{"keys":[]}"#.to_owned(), false),
        (r#"{"keys":{}}"#.to_owned(), false),
        ("[]".to_owned(), false),
        ("<html>".to_owned(), false),
        (String::new(), false),
    ] {
        let rig = Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer);
        rig.published.answer(Ok(set.clone().into_bytes()));
        let admitted = rig.check(&token(&signer, "ed")).await.is_ok();
        assert_eq!(admitted, good, "{}", &set[..set.len().min(300)]);
    }
}

/// Short RSA keys, even or tiny exponents, and points that do not lie on the curve check nothing.
#[tokio::test]
async fn weak_keys_are_left_out() {
    let modulus = rig::decode(N);
    let rsa = |n: &[u8], e: &str| json!({ "keys": [{ "kty": "RSA", "kid": "rsa", "n": encode(n), "e": e }] });
    let padded = [&[0, 0], &modulus[..]].concat();
    for (set, good) in [
        (rsa(&modulus, "AQAB"), true),
        (rsa(&padded, "AQAB"), true),
        (rsa(&modulus[..128], "AQAB"), false),
        (rsa(&modulus[..255], "AQAB"), false),
        (rsa(&[&modulus[..], &[1; 800]].concat(), "AQAB"), false),
        (rsa(&modulus, "AQ"), false),
        (rsa(&modulus, "Ag"), false),
        (rsa(&modulus, "AA"), false),
        (rsa(&[], "AQAB"), false),
        (rsa(&modulus, "AQABAQABAQ"), false),
    ] {
        let rig = Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer);
        rig.published.answer(Ok(set.to_string().into_bytes()));
        let token = rig.signer.token("RS256", r#"{"alg":"RS256","kid":"rsa"}"#, &claims(&[]));
        assert_eq!(rig.check(&token).await.is_ok(), good, "{set}");
    }
    let off = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "ec", "x": encode([1; 32]), "y": encode([1; 32]) }] });
    let rig = Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer);
    rig.published.answer(Ok(off.to_string().into_bytes()));
    let token = rig.signer.token("ES256", r#"{"alg":"ES256","kid":"ec"}"#, &claims(&[]));
    assert_eq!(rig.bad(&token).await, Some(Bad::Signature));
}
