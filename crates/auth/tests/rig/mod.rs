//! Issuers that a test holds in its hands.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "shared by tests, each with its own share")]

use auth::{Algorithm, Bad, Denied, Fetch, Issuer, Jwks, Secret, Tokens};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge::Caller;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use order_core::Clock;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::{Arc, Mutex};
use testkit::ManualClock;

/// What [`ManualClock`] starts at, in seconds.
pub(crate) const NOW: i64 = 1_740_218_400;
pub(crate) const SECRET: &str = "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq";
pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "wellorder";

/// The key of RFC 7515 §A.2: public to everybody, so fit for tests and for nothing else.
pub(crate) const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const D: &str = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ";
const P: &str = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc";
const Q: &str = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc";
const DP: &str = "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0";
const DQ: &str = "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU";
const QI: &str = "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U";

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Signs with keys of each kind.
pub(crate) struct Signer {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let part = |text: &str| decode(text);
        let public = rsa::PublicKeyComponents { n: part(N), e: part("AQAB") };
        let components = rsa::KeyPairComponents {
            public_key: public,
            d: part(D),
            p: part(P),
            q: part(Q),
            dP: part(DP),
            dQ: part(DQ),
            qInv: part(QI),
        };
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: rsa::KeyPair::from_components(&components).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    /// What this issuer publishes: `rsa`, `ec` and `ed`, each with `suffix` behind its name.
    pub(crate) fn keys(&self, suffix: &str) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        vec![
            json!({ "kty": "RSA", "kid": format!("rsa{suffix}"), "use": "sig", "n": N, "e": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "kid": format!("ec{suffix}"), "alg": "ES256",
                "x": encode(&point[1..33]), "y": encode(&point[33..]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": format!("ed{suffix}"),
                "x": encode(self.ed.public_key().as_ref()) }),
        ]
    }

    pub(crate) fn set(&self, suffix: &str) -> Vec<u8> {
        json!({ "keys": self.keys(suffix) }).to_string().into_bytes()
    }

    /// A token with this very header and these very claims, signed by `algorithm` whatever the header says.
    pub(crate) fn token(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    pub(crate) fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let mut rsa = vec![0; self.rsa.public().modulus_len()];
        match algorithm {
            "HS256" => hmac(SECRET.as_bytes(), text),
            "RS256" => self.rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut rsa).map(|()| rsa).unwrap(),
            "PS256" => self.rsa.sign(&RSA_PSS_SHA256, &random, text, &mut rsa).map(|()| rsa).unwrap(),
            "ES256" => self.ec.sign(&random, text).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(text).as_ref().to_vec(),
            other => panic!("no such algorithm: {other}"),
        }
    }
}

pub(crate) fn hmac(secret: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// What the address of the keys answers next, and how often it was asked.
#[derive(Clone, Default)]
pub(crate) struct Published(Arc<Mutex<(Option<Answer>, u32)>>);

type Answer = Result<Vec<u8>, String>;

impl Published {
    pub(crate) fn new(set: Vec<u8>) -> Self {
        let published = Self::default();
        published.answer(Ok(set));
        published
    }

    /// From here on it answers so.
    pub(crate) fn answer(&self, answer: Answer) {
        self.0.lock().unwrap().0 = Some(answer);
    }

    /// From here on it never answers.
    pub(crate) fn hang(&self) {
        self.0.lock().unwrap().0 = None;
    }

    pub(crate) fn asked(&self) -> u32 {
        self.0.lock().unwrap().1
    }

    pub(crate) fn fetch(&self) -> Fetch {
        let this = self.clone();
        Box::new(move || {
            let mut state = this.0.lock().unwrap();
            state.1 += 1;
            let answer = state.0.clone();
            Box::pin(async move {
                // As a real one, it does not answer at once.
                tokio::task::yield_now().await;
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        })
    }
}

/// Checks tokens of both kinds of issuers.
pub(crate) struct Rig {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) signer: Signer,
    pub(crate) published: Published,
    pub(crate) tokens: Tokens,
}

impl Rig {
    /// Both check issuer and audience.
    pub(crate) fn new() -> Self {
        let secret = Secret::new(SECRET.as_bytes());
        let sharing = Issuer::sharing(secret, Some(ISSUER.to_owned()), Some(AUDIENCE.to_owned()));
        Self::with(vec![sharing], Algorithm::PUBLIC.as_slice(), |issuer| issuer)
    }

    pub(crate) fn with(
        mut issuers: Vec<Issuer>,
        algorithms: &[Algorithm],
        change: impl FnOnce(Issuer) -> Issuer,
    ) -> Self {
        let (clock, signer) = (ManualClock::new(), Signer::new());
        let published = Published::new(signer.set(""));
        let port: Arc<dyn Clock> = clock.clone();
        let jwks = Jwks::new(published.fetch(), Arc::clone(&port));
        let publishing = Issuer::publishing(jwks, algorithms, ISSUER.to_owned(), AUDIENCE.to_owned());
        issuers.push(change(publishing));
        Self { clock, signer, published, tokens: Tokens::new(issuers, port) }
    }

    pub(crate) async fn check(&self, token: &str) -> Result<Caller, Denied> {
        self.tokens.check(token).await
    }

    /// Why it is not good, or `None`.
    pub(crate) async fn bad(&self, token: &str) -> Option<Bad> {
        match self.check(token).await {
            Ok(_) => None,
            Err(Denied::Bad(bad)) => Some(bad),
            Err(Denied::Unknown(fault)) => panic!("unknown: {fault}"),
        }
    }

    /// A token of the secret with these very claims.
    pub(crate) fn hs(&self, claims: &str) -> String {
        self.signer.token("HS256", r#"{"alg":"HS256","typ":"JWT"}"#, claims)
    }

    /// A token of the secret with this very header and good claims.
    pub(crate) fn hs_header(&self, header: &str) -> String {
        self.signer.token("HS256", header, &claims(&[]))
    }
}

/// Good claims, with some set to other JSON, or to nothing.
pub(crate) fn claims(changes: &[(&str, &str)]) -> String {
    let expires = (NOW + 600).to_string();
    let mut members = vec![
        ("iss", format!("\"{ISSUER}\"")),
        ("aud", format!("\"{AUDIENCE}\"")),
        ("sub", "\"u-1\"".to_owned()),
        ("exp", expires),
        ("iat", NOW.to_string()),
        ("tenant", "\"acme\"".to_owned()),
        ("scope", "\"orders:read orders:write\"".to_owned()),
    ];
    for (name, value) in changes {
        members.retain(|(member, _)| member != name);
        if !value.is_empty() {
            members.push((name, (*value).to_owned()));
        }
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}
