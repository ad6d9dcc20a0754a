//! Which tokens are good, and why the others are not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rig;

use auth::{Algorithm, Bad, Issuer, Mint, Secret, Tokens, mint};
use edge::{Scope, Scopes};
use order_core::{Clock, TenantId};
use rig::{AUDIENCE, ISSUER, N, NOW, Rig, SECRET, Signer, claims, decode, encode, hmac};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use testkit::ManualClock;

#[tokio::test]
async fn a_good_token_of_each_algorithm_names_its_caller() {
    let rig = Rig::new();
    for (algorithm, kid) in [
        ("HS256", None),
        ("RS256", Some("rsa")),
        ("PS256", Some("rsa")),
        ("ES256", Some("ec")),
        ("EdDSA", Some("ed")),
    ] {
        let header = json!({ "alg": algorithm, "typ": "JWT", "kid": kid.unwrap_or("any") }).to_string();
        let token = rig.signer.token(algorithm, &header, &claims(&[]));
        let caller = rig.check(&token).await.unwrap_or_else(|denied| panic!("{algorithm}: {denied:?}"));
        assert_eq!((caller.tenant.as_str(), &*caller.subject), ("acme", "u-1"));
        assert_eq!(caller.scopes, [Scope::OrdersRead, Scope::OrdersWrite].into_iter().collect());
    }
    assert_eq!(rig.published.asked(), 1);
}

#[tokio::test]
async fn what_a_token_may_leave_out() {
    let rig = Rig::new();
    let minimal = claims(&[("iat", ""), ("tenant", ""), ("scope", "")]);
    let caller = rig.check(&rig.hs(&minimal)).await.unwrap();
    assert_eq!((caller.tenant, caller.scopes), (TenantId::default_tenant(), Scopes::NONE));
    for good in [
        claims(&[("aud", &format!(r#"["other","{AUDIENCE}"]"#))]),
        claims(&[("scope", "\"orders:read unknown:word\"")]),
        claims(&[("exp", &(NOW - 29).to_string())]),
        claims(&[("nbf", &(NOW + 30).to_string())]),
        claims(&[("iat", &(NOW + 30).to_string())]),
    ] {
        assert_eq!(rig.bad(&rig.hs(&good)).await, None, "{good}");
    }
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"typ":"at+JWT","alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"application/jwt","x":1}"#,
    ] {
        assert_eq!(rig.bad(&rig.hs_header(header)).await, None, "{header}");
    }
}

/// The secret may go without a name for its issuer and its audience: then neither is looked at.
#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_given() {
    let secret = || Secret::new(SECRET.as_bytes());
    let rig = Rig::with(vec![Issuer::sharing(secret(), None, None)], &[], |issuer| issuer);
    for claims in [claims(&[("iss", ""), ("aud", "")]), claims(&[("iss", "\"x\""), ("aud", "\"y\"")])] {
        assert_eq!(rig.bad(&rig.hs(&claims)).await, None);
    }
}

/// Why a token is not good, by what is wrong with its claims.
#[tokio::test]
async fn claims_that_are_refused() {
    let rig = Rig::new();
    let past = (NOW - 31).to_string();
    let future = (NOW + 31).to_string();
    let long = format!("\"{}\"", "s".repeat(256));
    let cases: &[(&str, &str, Bad)] = &[
        ("exp", "", Bad::Time),
        ("exp", "null", Bad::Time),
        ("exp", "\"1893456000\"", Bad::Time),
        ("exp", "1893456000.5", Bad::Time),
        ("exp", "1893456000.0", Bad::Time),
        ("exp", "1.9e9", Bad::Time),
        ("exp", "-1", Bad::Time),
        ("exp", "9223372036854775807", Bad::Time),
        ("exp", "9223372036854775808", Bad::Time),
        ("exp", "18446744073709551616", Bad::Time),
        ("exp", "1e999", Bad::Time),
        ("exp", "253402300800", Bad::Time),
        ("exp", "true", Bad::Time),
        ("exp", "[1893456000]", Bad::Time),
        ("exp", "0", Bad::Expired),
        ("exp", &past, Bad::Expired),
        ("nbf", &future, Bad::TooEarly),
        ("nbf", "\"0\"", Bad::Time),
        ("nbf", "-5", Bad::Time),
        ("nbf", "0.5", Bad::Time),
        ("nbf", "null", Bad::Time),
        ("iat", &future, Bad::TooEarly),
        ("iat", "\"0\"", Bad::Time),
        ("iss", "", Bad::Issuer),
        ("iss", "null", Bad::Issuer),
        ("iss", "\"https://login.example/\"", Bad::Issuer),
        ("iss", "\"HTTPS://login.example\"", Bad::Issuer),
        ("iss", "[\"https://login.example\"]", Bad::Issuer),
        ("aud", "", Bad::Audience),
        ("aud", "null", Bad::Audience),
        ("aud", "\"other\"", Bad::Audience),
        ("aud", "\"wellorder2\"", Bad::Audience),
        ("aud", "[]", Bad::Audience),
        ("aud", "[\"other\"]", Bad::Audience),
        ("aud", "[\"wellorder\", 1]", Bad::Audience),
        ("aud", "{\"wellorder\": true}", Bad::Audience),
        ("sub", "", Bad::Subject),
        ("sub", "\"\"", Bad::Subject),
        ("sub", "null", Bad::Subject),
        ("sub", "17", Bad::Subject),
        ("sub", &long, Bad::Subject),
        ("sub", "\"a\\nb\"", Bad::Subject),
        ("sub", "\"key:0123456789abcdef\"", Bad::Subject),
        ("sub", "\"local\"", Bad::Subject),
        ("sub", "\" tester\"", Bad::Subject),
        ("tenant", "\"\"", Bad::Tenant),
        ("tenant", "\"acme \"", Bad::Tenant),
        ("tenant", "\"ac\\nme\"", Bad::Tenant),
        ("tenant", "\"ac\\u0085me\"", Bad::Tenant),
        ("tenant", "null", Bad::Tenant),
        ("tenant", "[\"acme\"]", Bad::Tenant),
        ("tenant", &long, Bad::Tenant),
        ("scope", "[\"orders:read\"]", Bad::Scope),
        ("scope", "null", Bad::Scope),
        ("sub", "\"\\u0000\"", Bad::Claims),
    ];
    for (name, value, bad) in cases {
        assert_eq!(rig.bad(&rig.hs(&claims(&[(name, value)]))).await, Some(*bad), "{name}: {value}");
    }
}

/// Claims in which a name is given twice, or that are no object.
#[tokio::test]
async fn claims_that_are_no_plain_object_are_refused() {
    let rig = Rig::new();
    let good = claims(&[]);
    let twice = |name: &str, value: &str| good.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    for (claims, bad) in [
        (twice("exp", "9999999999"), Bad::Claims),
        (twice("tenant", "\"other\""), Bad::Claims),
        (twice("sub", "\"root\""), Bad::Claims),
        ("[]".to_owned(), Bad::Claims),
        ("null".to_owned(), Bad::Claims),
        (String::new(), Bad::Claims),
        (good.replace('}', ""), Bad::Claims),
        (format!("{good}{good}"), Bad::Claims),
        (claims(&[("x", &"[".repeat(20))]), Bad::Claims),
        (claims(&[("x", &format!("{}{}", "[".repeat(20), "]".repeat(20)))]), Bad::Claims),
    ] {
        assert_eq!(rig.bad(&rig.hs(&claims)).await, Some(bad), "{claims}");
    }
}

/// Signed as they should be, but with a header that is refused.
#[tokio::test]
async fn headers_that_are_refused() {
    let rig = Rig::new();
    let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(256));
    let cases: &[(&str, Bad)] = &[
        (r#"{"typ":"JWT"}"#, Bad::Algorithm),
        (r#"{"alg":"none"}"#, Bad::Algorithm),
        (r#"{"alg":"None"}"#, Bad::Algorithm),
        (r#"{"alg":"NONE"}"#, Bad::Algorithm),
        (r#"{"alg":""}"#, Bad::Algorithm),
        (r#"{"alg":"hs256"}"#, Bad::Algorithm),
        (r#"{"alg":"Hs256"}"#, Bad::Algorithm),
        (r#"{"alg":"HS256 "}"#, Bad::Algorithm),
        (r#"{"alg":"HS384"}"#, Bad::Algorithm),
        (r#"{"alg":"HS512"}"#, Bad::Algorithm),
        (r#"{"alg":"RS512"}"#, Bad::Algorithm),
        (r#"{"alg":["HS256"]}"#, Bad::Algorithm),
        (r#"{"alg":null}"#, Bad::Algorithm),
        (r#"{"alg":"dir","enc":"A256GCM"}"#, Bad::Parameter),
        (r#"{"alg":"HS256","zip":"DEF"}"#, Bad::Parameter),
        (r#"{"alg":"HS256","cty":"JWT"}"#, Bad::Parameter),
        (r#"{"alg":"HS256","crit":["exp"]}"#, Bad::Parameter),
        (r#"{"alg":"HS256","crit":[]}"#, Bad::Parameter),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, Bad::Parameter),
        (r#"{"alg":"HS256","b64":false}"#, Bad::Parameter),
        (r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#, Bad::Parameter),
        (r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#, Bad::Parameter),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#, Bad::Parameter),
        (r#"{"alg":"HS256","x5c":["MIIB"]}"#, Bad::Parameter),
        (r#"{"alg":"HS256","kid":17}"#, Bad::Parameter),
        (r#"{"alg":"HS256","kid":""}"#, Bad::Parameter),
        (r#"{"alg":"HS256","typ":1}"#, Bad::Parameter),
        (&long, Bad::Parameter),
        (r#"{"alg":"HS256","typ":"logout+jwt"}"#, Bad::Type),
        (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, Bad::Type),
        (r#"{"alg":"HS256","typ":"JWE"}"#, Bad::Type),
        (r#"{"alg":"HS256","alg":"none"}"#, Bad::Header),
        (r#"{"alg":"none","alg":"HS256"}"#, Bad::Header),
        (r#"{"alg":"HS256""#, Bad::Header),
        (r#""HS256""#, Bad::Header),
        ("[]", Bad::Header),
        ("", Bad::Header),
        ("\u{feff}{\"alg\":\"HS256\"}", Bad::Header),
    ];
    for (header, bad) in cases {
        assert_eq!(rig.bad(&rig.hs_header(header)).await, Some(*bad), "{header}");
    }
    assert_eq!(rig.published.asked(), 0, "nothing of this leads to the other issuer");
}

/// The form of the text, and signatures of others.
#[tokio::test]
async fn forged_and_mangled_tokens_are_refused() {
    let rig = Rig::new();
    let good = rig.hs(&claims(&[]));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let tampered = encode(claims(&[("tenant", "\"other\"")]));
    let mut flipped = decode(signature);
    flipped[31] ^= 1;
    let cases = [
        (String::new(), Bad::Form),
        ("x".to_owned(), Bad::Form),
        ("..".to_owned(), Bad::Form),
        (format!("{signed}."), Bad::Form),
        (signed.to_owned(), Bad::Form),
        (format!(".{payload}.{signature}"), Bad::Header),
        (format!("{header}..{signature}"), Bad::Signature),
        (format!("{good}.{signature}"), Bad::Form),
        (format!("{good}.x.y"), Bad::Form),
        (format!("{good}="), Bad::Form),
        (format!("{good}\n"), Bad::Form),
        (format!("{header}=.{payload}.{signature}"), Bad::Form),
        (format!("{header}.{payload}.+/{}", &signature[2..]), Bad::Form),
        (format!("{header}.{tampered}.{signature}"), Bad::Signature),
        (format!("{signed}.{}", encode(&flipped)), Bad::Signature),
        (format!("{signed}.{}", encode(&decode(signature)[..16])), Bad::Signature),
        (format!("{signed}.{}", encode([decode(signature), vec![0]].concat())), Bad::Signature),
        (format!("{signed}.{}", encode(hmac(b"secret", signed.as_bytes()))), Bad::Signature),
        (format!("{signed}.{}", encode(hmac(b"", signed.as_bytes()))), Bad::Signature),
        (format!("{}{good}", "A".repeat(1_000_000)), Bad::TooLong),
        (rig.hs(&claims(&[("x", &format!("\"{}\"", "A".repeat(9_000)))])), Bad::TooLong),
    ];
    for (token, bad) in cases {
        assert_eq!(rig.bad(&token).await, Some(bad), "{}", &token[..token.len().min(100)]);
    }
}

/// What is public about a key is no secret of an HMAC, and a key of one kind checks no signature of another.
#[tokio::test]
async fn a_key_is_used_for_its_own_algorithm_alone() {
    // The issuer with published keys alone: HS256 is no algorithm of it, whatever the key.
    let published = Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer);
    let confused = |secret: &[u8]| {
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"rsa"}"#), encode(claims(&[])));
        format!("{signed}.{}", encode(hmac(secret, signed.as_bytes())))
    };
    let jwk = published.signer.keys("")[0].to_string();
    for secret in [decode(N), N.as_bytes().to_vec(), jwk.into_bytes(), decode("AQAB")] {
        assert_eq!(published.bad(&confused(&secret)).await, Some(Bad::Algorithm));
        assert_eq!(Rig::new().bad(&confused(&secret)).await, Some(Bad::Signature));
    }
    let rig = Rig::new();
    for (says, kid, signs, bad) in [
        ("RS256", "ec", "RS256", Bad::KeyUnknown),
        ("RS256", "ed", "RS256", Bad::KeyUnknown),
        ("ES256", "rsa", "ES256", Bad::KeyUnknown),
        ("EdDSA", "ec", "EdDSA", Bad::KeyUnknown),
        ("RS256", "rsa", "PS256", Bad::Signature),
        ("PS256", "rsa", "RS256", Bad::Signature),
        ("RS256", "rsa", "HS256", Bad::Signature),
        ("ES256", "ec", "EdDSA", Bad::Signature),
        ("EdDSA", "ed", "HS256", Bad::Signature),
        ("HS256", "rsa", "RS256", Bad::Signature),
    ] {
        let header = json!({ "alg": says, "kid": kid }).to_string();
        let token = rig.signer.token(signs, &header, &claims(&[]));
        assert_eq!(rig.bad(&token).await, Some(bad), "{says} with {kid}, signed with {signs}");
    }
    // A signature of ECDSA that is all zeros fits every text in readers that do not check it.
    let signed = format!("{}.{}", encode(r#"{"alg":"ES256","kid":"ec"}"#), encode(claims(&[])));
    for signature in [vec![0; 64], vec![0; 63], vec![0; 0], vec![255; 64]] {
        let bad = if signature.is_empty() { Bad::Form } else { Bad::Signature };
        assert_eq!(rig.bad(&format!("{signed}.{}", encode(signature))).await, Some(bad));
    }
    // Pinned to one of them, the others of the same kind of key are no algorithms of it.
    let pinned = Rig::with(vec![], &[Algorithm::Rs256, Algorithm::Hs256], |issuer| issuer);
    let token = |algorithm: &str, kid: &str| {
        let header = json!({ "alg": algorithm, "kid": kid }).to_string();
        pinned.signer.token(algorithm, &header, &claims(&[]))
    };
    assert_eq!(pinned.bad(&token("RS256", "rsa")).await, None);
    for (algorithm, kid) in [("PS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed"), ("HS256", "rsa")] {
        assert_eq!(pinned.bad(&token(algorithm, kid)).await, Some(Bad::Algorithm), "{algorithm}");
    }
}

/// An id of a key is looked up in a list and nowhere else.
#[tokio::test]
async fn ids_of_keys_lead_nowhere_but_to_the_set() {
    let rig = Rig::new();
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "' OR '1'='1",
        "rsa' UNION SELECT 'AAAA'--",
        "rsa\u{0}",
        "RSA",
        "rsa ",
        "https://evil.example/key",
        "| cat /etc/passwd",
        "rsa/../ec",
    ] {
        let header = json!({ "alg": "RS256", "kid": kid }).to_string();
        let bad = rig.bad(&rig.signer.token("RS256", &header, &claims(&[]))).await;
        let expected = if kid.contains('\0') { Bad::Header } else { Bad::KeyUnknown };
        assert_eq!(bad, Some(expected), "{kid:?}");
    }
    let nameless = rig.signer.token("RS256", r#"{"alg":"RS256"}"#, &claims(&[]));
    assert_eq!(rig.bad(&nameless).await, None, "there is only one that it can be");
}

#[tokio::test]
async fn tokens_live_no_longer_than_they_may() {
    let rig = Rig::new();
    let day = 24 * 3600;
    let of = |claims: &str| rig.signer.token("ES256", r#"{"alg":"ES256","kid":"ec"}"#, claims);
    let ends = |seconds: i64| (NOW + seconds).to_string();
    assert_eq!(rig.bad(&of(&claims(&[("exp", &ends(day))]))).await, None);
    assert_eq!(rig.bad(&of(&claims(&[("exp", &ends(day + 60))]))).await, Some(Bad::Lifetime));
    assert_eq!(rig.bad(&of(&claims(&[("exp", &ends(day + 60)), ("iat", "")]))).await, Some(Bad::Lifetime));
    let early = (NOW - day).to_string();
    assert_eq!(
        rig.bad(&of(&claims(&[("iat", &early)]))).await,
        Some(Bad::Lifetime),
        "from when it was issued"
    );
    assert_eq!(
        rig.bad(&rig.hs(&claims(&[("exp", &ends(400 * day))]))).await,
        None,
        "the secret's may, unless said"
    );
    let secret = Secret::new(SECRET.as_bytes());
    let short = Issuer::sharing(secret, None, None).living_at_most(Duration::from_secs(300));
    let rig = Rig::with(vec![short], &[], |issuer| issuer);
    assert_eq!(rig.bad(&rig.hs(&claims(&[]))).await, Some(Bad::Lifetime));
}

#[tokio::test]
async fn a_type_that_is_asked_for_must_be_said() {
    let rig = Rig::with(vec![], Algorithm::PUBLIC.as_slice(), |issuer| issuer.of_type("AT+jwt"));
    let typed = |typ: &str| {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed"{typ}}}"#);
        rig.signer.token("EdDSA", &header, &claims(&[]))
    };
    for good in [r#","typ":"at+jwt""#, r#","typ":"application/at+JWT""#] {
        assert_eq!(rig.bad(&typed(good)).await, None, "{good}");
    }
    for bad in ["", r#","typ":"JWT""#, r#","typ":"id+jwt""#] {
        assert_eq!(rig.bad(&typed(bad)).await, Some(Bad::Type), "{bad}");
    }
}

#[tokio::test]
async fn without_issuers_no_token_is_good() {
    let tokens = Tokens::new(vec![], ManualClock::new());
    let rig = Rig::new();
    assert!(tokens.check(&rig.hs(&claims(&[]))).await.is_err());
}

#[tokio::test]
async fn a_token_that_is_minted_here_is_good_here_until_it_expires() {
    let rig = Rig::new();
    let (secret, tenant) = (Secret::new(SECRET.as_bytes()), TenantId::new("acme \"x\"").unwrap());
    let scopes: Scopes = [Scope::KeysAdmin].into_iter().collect();
    let token = mint(
        &secret,
        &Mint {
            subject: "ops",
            tenant: Some(&tenant),
            scopes,
            now: rig.clock.now(),
            lifetime: Duration::from_secs(60),
            issuer: Some(ISSUER),
            audience: Some(AUDIENCE),
        },
    );
    let caller = rig.check(&token).await.unwrap();
    assert_eq!((caller.tenant, caller.scopes, &*caller.subject), (tenant, scopes, "ops"));
    rig.clock.advance(Duration::from_secs(91));
    assert_eq!(rig.bad(&token).await, Some(Bad::Expired));
}

/// Another program's signatures: the examples of RFC 7515 §A.1 to §A.3 and RFC 8037 §A.4. Their claims are no login's,
/// so what is seen is that the signature holds: the next reason is about the claims.
#[tokio::test]
async fn signatures_of_others_hold() {
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let clock: Arc<dyn Clock> = ManualClock::new();
    let key =
        decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
    let sharing = Issuer::sharing(Secret::new(&key), None, None);
    let keys = json!({ "keys": [
        { "kty": "RSA", "n": N, "e": "AQAB" },
        { "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
          "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
        { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
    ]});
    let published = rig::Published::new(keys.to_string().into_bytes());
    let jwks = auth::Jwks::new(published.fetch(), Arc::clone(&clock));
    let publishing = Issuer::publishing(jwks, Algorithm::PUBLIC.as_slice(), "joe".to_owned(), "x".to_owned());
    let tokens = Tokens::new(vec![sharing, publishing], clock);
    for (header, payload, signature, bad) in [
        (
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            payload,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            Bad::Expired,
        ),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            payload,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            Bad::Expired,
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9",
            payload,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            Bad::Expired,
        ),
        (
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            Bad::Claims,
        ),
    ] {
        let token = format!("{header}.{payload}.{signature}");
        let denied = tokens.check(&token).await.unwrap_err();
        assert!(matches!(denied, auth::Denied::Bad(why) if why == bad), "{header}: {denied:?}");
        let forged = format!("{header}.{payload}A.{signature}");
        assert!(tokens.check(&forged).await.is_err());
    }
    // Whoever signs with another key of the same kind does not get in.
    let other = Signer::new().token("EdDSA", r#"{"alg":"EdDSA"}"#, &claims(&[]));
    assert!(matches!(tokens.check(&other).await, Err(auth::Denied::Bad(Bad::Signature))));
}
