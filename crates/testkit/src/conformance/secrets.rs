//! Secrets at rest: kept once, bound to their rows, counted by key, sealed anew while others change.

use super::Rig;
use order_core::action_log::{Actor, within};
use order_core::command::{Command, Reply};
use order_core::error::{Error, Rejection};
use order_core::ids::TenantId;
use order_core::sealing::resealing::{ResealPlace, RowKey, SealedCount, SealedRow, SecretsCommand};
use order_core::sealing::{KeyId, Keyring, SealFault, Sealed, SealedColumn};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

const COLUMN: SealedColumn = SealedColumn::NamedSecret;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

/// Two keys, as text.
fn keys(rig: &Rig) -> (String, String) {
    let key = || Keyring::fresh_key(rig.ids.as_ref()).to_string();
    (key(), key())
}

fn ring(text: &str) -> Arc<Keyring> {
    Arc::new(Keyring::parse(text).expect("keys"))
}

async fn keep(rig: &Rig, ring: &Keyring, owner: &str, name: &str, plain: &[u8]) -> Sealed {
    let (tenant, now) = (tenant(owner), rig.now());
    let sealed = ring.seal(&COLUMN.of(&tenant, name), plain, rig.ids.as_ref()).expect("it is sealed");
    let keep = SecretsCommand::Keep { tenant, name: name.to_owned(), sealed, now };
    match rig.submit(Command::Secrets(Box::new(keep))).await {
        Ok(Reply::Kept(kept)) => kept,
        other => panic!("keeping a secret was answered {other:?}"),
    }
}

async fn kept(rig: &Rig, owner: &str, name: &str) -> Option<Sealed> {
    rig.storage().named_secret(&tenant(owner), name).await.expect("a secret can be read")
}

async fn counts(rig: &Rig) -> Vec<SealedCount> {
    rig.storage().sealed_counts().await.expect("secrets are counted")
}

async fn page(rig: &Rig, besides: KeyId, after: (&str, &str), limit: u32) -> Vec<SealedRow> {
    let after = RowKey { tenant: after.0.to_owned(), row: after.1.to_owned() };
    rig.storage().sealed_rows(COLUMN, besides, &after, limit).await.expect("secrets can be read")
}

async fn reseal(rig: &Rig, key_id: KeyId, rows: Vec<(SealedRow, Sealed)>) -> u32 {
    let command = SecretsCommand::Reseal { column: COLUMN, key_id, rows };
    match rig.submit(Command::Secrets(Box::new(command))).await {
        Ok(Reply::Resealed(count)) => count,
        other => panic!("a resealing was answered {other:?}"),
    }
}

/// What is kept first under a name stays, whoever asks at once, over a restart too; another tenant has names of its own.
pub async fn a_named_secret_is_made_once(rig: Rig) {
    let (key, _) = keys(&rig);
    rig.app.hold_keys(ring(&key));
    let mut asking = JoinSet::new();
    for number in 0..20 {
        let app = Arc::clone(&rig.app);
        let owner = tenant(if number % 2 == 0 { "acme" } else { "other" });
        asking.spawn(async move {
            let secret = app.named_secret(&owner, "naïve").await.expect("it is made");
            (owner.as_str().to_owned(), secret.bytes().to_vec())
        });
    }
    let made: BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!(made.len(), 2, "one for each tenant");
    assert!(made.iter().all(|(_, secret)| secret.len() == 32));
    let rig = rig.reopen().await;
    rig.app.hold_keys(ring(&key));
    for (owner, secret) in made {
        let again = rig.app.named_secret(&tenant(&owner), "naïve").await.expect("it is there");
        assert_eq!(again.bytes(), secret);
    }
    assert_eq!(kept(&rig, "third", "naïve").await, None);
    assert_eq!(kept(&rig, "acme", "other").await, None);
}

/// A process without keys neither makes nor opens secrets, and says so.
pub async fn without_keys_no_secret_is_kept(rig: Rig) {
    let refused = rig.app.named_secret(&tenant("acme"), "a").await;
    assert!(matches!(refused, Err(Error::Rejection(Rejection::SecretsKeyMissing))), "{refused:?}");
    let refused = rig.app.reseal(ResealPlace::default(), 10).await;
    assert!(matches!(refused, Err(Error::Rejection(Rejection::SecretsKeyMissing))), "{refused:?}");
    assert_eq!(counts(&rig).await, []);
}

/// Whoever can write the rows cannot make one tenant's secret, or another row's, open in a place that it is not of.
pub async fn a_secret_that_was_moved_to_another_row_does_not_open(rig: Rig) {
    let (key, _) = keys(&rig);
    let ring = ring(&key);
    rig.app.hold_keys(Arc::clone(&ring));
    let mut rows = Vec::new();
    for (owner, name) in [("acme", "a"), ("acme", "b"), ("other", "a")] {
        let sealed = keep(&rig, &ring, owner, name, format!("{owner}/{name}").as_bytes()).await;
        rows.push(SealedRow { tenant: tenant(owner), row: name.to_owned(), sealed });
    }
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        let swapped = vec![(rows[to].clone(), rows[from].sealed.clone())];
        assert_eq!(reseal(&rig, ring.current(), swapped).await, 1, "it lies there now");
        let opened = rig.app.named_secret(&rows[to].tenant, &rows[to].row).await;
        let forged = SealFault::Forged.to_string();
        assert!(opened.is_err_and(|error| error.to_string().contains(&forged)));
        let back = SealedRow { sealed: rows[from].sealed.clone(), ..rows[to].clone() };
        assert_eq!(reseal(&rig, ring.current(), vec![(back, rows[to].sealed.clone())]).await, 1);
        let opened = rig.app.named_secret(&rows[to].tenant, &rows[to].row).await.expect("it opens again");
        let name = format!("{}/{}", rows[to].tenant, rows[to].row);
        assert_eq!(opened.text(), Some(&*name));
    }
}

/// How many lie under which key is told of all tenants; what was never sealed is told too.
pub async fn secrets_are_counted_by_their_keys(rig: Rig) {
    let (old, new) = keys(&rig);
    let (before, after) = (ring(&old), ring(&format!("{new}\n{old}")));
    for number in 0..5 {
        keep(&rig, &before, "acme", &format!("a{number}"), b"x").await;
        keep(&rig, &after, if number < 2 { "acme" } else { "other" }, &format!("b{number}"), b"x").await;
    }
    keep(&rig, &before, "other", "c", b"x").await;
    let count = |key_id, count| SealedCount { column: COLUMN, key_id, count, is_more: false };
    let mut expected = vec![count(Some(before.current()), 6), count(Some(after.current()), 5)];
    expected.sort_by_key(|counted| counted.key_id);
    assert_eq!(counts(&rig).await, expected);
    let bare = Sealed::from_bytes(b"whsec_not_sealed_at_all_but_long_enough_to_be".to_vec());
    let (owner, now) = (tenant("acme"), rig.now());
    let keep = SecretsCommand::Keep { tenant: owner, name: "bare".to_owned(), sealed: bare, now };
    rig.submit(Command::Secrets(Box::new(keep))).await.expect("a storage does not look into it");
    expected.insert(0, count(None, 1));
    assert_eq!(counts(&rig).await, expected);
}

/// Pages go on behind a row, in the order of tenants and rows, over all that lie under another key and nothing else.
pub async fn secrets_under_other_keys_are_read_in_pages(rig: Rig) {
    let (old, new) = keys(&rig);
    let (before, after) = (ring(&old), ring(&new));
    let mut meant = Vec::new();
    for owner in ["b", "a", "é", "a b"] {
        for name in ["2", "10", "Z", "a", "ä"] {
            meant.push((owner.to_owned(), name.to_owned()));
            keep(&rig, &before, owner, name, b"x").await;
            keep(&rig, &after, owner, &format!("{name}new"), b"x").await;
        }
    }
    meant.sort();
    let names = |rows: &[SealedRow]| -> Vec<(String, String)> {
        rows.iter().map(|row| (row.tenant.as_str().to_owned(), row.row.clone())).collect()
    };
    assert_eq!(names(&page(&rig, after.current(), ("", ""), 100).await), meant);
    let mut seen = Vec::new();
    loop {
        let last: (String, String) = seen.last().cloned().unwrap_or_default();
        let rows = page(&rig, after.current(), (&last.0, &last.1), 3).await;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let opened = before.open(&COLUMN.of(&row.tenant, &row.row), &row.sealed).expect("it opens");
            assert_eq!(opened.bytes(), b"x");
        }
        seen.extend(names(&rows));
    }
    assert_eq!(seen, meant);
}

/// A secret that somebody changed meanwhile stays as they left it; its neighbours are replaced.
pub async fn what_changed_meanwhile_is_not_replaced(rig: Rig) {
    let (old, new) = keys(&rig);
    let (before, after) = (ring(&old), ring(&new));
    let mut rows = Vec::new();
    for name in ["a", "b"] {
        let sealed = keep(&rig, &before, "acme", name, b"first").await;
        rows.push(SealedRow { tenant: tenant("acme"), row: name.to_owned(), sealed });
    }
    let seal = |name: &str, plain: &[u8]| {
        after.seal(&COLUMN.of(&tenant("acme"), name), plain, rig.ids.as_ref()).expect("it is sealed")
    };
    let changed = seal("a", b"second");
    assert_eq!(reseal(&rig, after.current(), vec![(rows[0].clone(), changed.clone())]).await, 1);
    let late = vec![(rows[0].clone(), seal("a", b"first")), (rows[1].clone(), seal("b", b"first"))];
    let of_nobody = SealedRow { tenant: tenant("other"), ..rows[1].clone() };
    let late = late.into_iter().chain([(of_nobody, seal("b", b"forged"))]).collect();
    assert_eq!(reseal(&rig, after.current(), late).await, 1);
    assert_eq!(kept(&rig, "acme", "a").await, Some(changed));
    let second = kept(&rig, "acme", "b").await.expect("it is there");
    let opened = after.open(&COLUMN.of(&tenant("acme"), "b"), &second).expect("it opens");
    assert_eq!(opened.bytes(), b"first");
    assert_eq!(kept(&rig, "other", "b").await, None);
}

/// All secrets come under the new key in steps while others are made; what no key opens stays and is told.
pub async fn a_key_is_replaced_while_secrets_are_made(rig: Rig) {
    let (old, new) = keys(&rig);
    let before = ring(&old);
    for number in 0..40 {
        keep(&rig, &before, if number % 3 == 0 { "acme" } else { "other" }, &format!("n{number:02}"), b"x")
            .await;
    }
    let foreign = ring(&keys(&rig).0);
    keep(&rig, &foreign, "acme", "n20 lost", b"x").await;
    let rig = rig.behind(|storage| storage);
    let both = ring(&format!("{new}\n{old}"));
    rig.app.hold_keys(Arc::clone(&both));
    let making = {
        let app = Arc::clone(&rig.app);
        tokio::spawn(async move {
            for number in 0..40 {
                app.named_secret(&tenant("acme"), &format!("made{number}")).await.expect("it is made");
            }
        })
    };
    let actor = Actor { tenant: tenant("default"), by: "local".into(), address: None, request_id: None };
    let (mut place, mut resealed, mut unopened) = (Some(ResealPlace::default()), 0, 0);
    while let Some(next) = place {
        let step = within(Some(Arc::new(actor.clone())), rig.app.reseal(next, 7)).await.expect("a step");
        (resealed, unopened) = (resealed + step.resealed, unopened + step.unopened);
        assert_eq!((step.key_id, step.changed), (both.current(), 0));
        place = step.next;
    }
    making.await.expect("all were made");
    assert_eq!((resealed, unopened), (40, 1));
    let mut left: Vec<_> = counts(&rig).await.into_iter().map(|count| (count.key_id, count.count)).collect();
    left.sort_by_key(|(_, count)| *count);
    assert_eq!(left, [(Some(foreign.current()), 1), (Some(both.current()), 80)]);
    let again = rig.app.reseal(ResealPlace::default(), 500).await.expect("a step");
    let next_column =
        (SealedColumn::ALL.len() > 1).then(|| ResealPlace { column: 1, after: RowKey::default() });
    assert_eq!((again.resealed, again.unopened, again.next), (0, 1, next_column), "nothing is left to do");
    let rows = rig.storage().action_rows(0, 100).await.expect("the action log can be read");
    assert!(rows.iter().all(|row| row.kind == "secrets.resealed" && row.subject == COLUMN.to_string()));
    assert!(rows.len() >= 6, "each step that did something is told of: {rows:?}");
    assert_eq!(rig.app.named_secret(&tenant("acme"), "n00").await.expect("it opens").bytes(), b"x");
}
