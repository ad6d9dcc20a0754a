//! Secrets at rest through the front door: the key of `dev`, a start with the wrong one, another key while the server works, and
//! nothing of them in any file.

use crate::KEPT;
use crate::harness::{Builder, Ended, Home, Kept, eventually};
use crate::login::SECRET;
use order_core::command::Command;
use order_core::desk::Desks;
use order_core::lane::LanePolicy;
use order_core::sealing::resealing::SecretsCommand;
use order_core::sealing::{Keyring, SealedColumn};
use order_core::{App, Clock, Ids, TenantId};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::conformance::released;
use testkit::{ManualClock, SeededIds};

const CANARY: &str = "canary-8c1f-of-a-marketplace";
/// More than one step of a rotation brings under another key.
const MANY: usize = 600;

/// The use cases over the database of a home that nobody serves.
async fn app(home: &Home) -> Arc<App> {
    let (clock, ids) = (ManualClock::new(), SeededIds::new(u64::from(std::process::id())));
    #[cfg(feature = "postgres")]
    if let Some(url) = home.url() {
        let installation_id = ids.uuid_v4();
        let seed =
            storage_postgres::Seed { installation_id, cursor_key: [1; 32], key_pepper: [2; 32], shards: 16 };
        let options = storage_postgres::Options { readers: 4, ..storage_postgres::Options::new(url) };
        let (storage, _) = storage_postgres::PostgresStorage::open(&options, &seed).await.unwrap();
        return App::start(Arc::new(storage), clock, ids, LanePolicy::default());
    }
    let options = storage_sqlite::Options {
        path: home.database(),
        busy_timeout: Duration::from_secs(5),
        free_bytes_min: 0,
        leases_outlive: Desks::NONE,
    };
    let seed = storage_sqlite::Seed {
        installation_id: ids.uuid_v4(),
        cursor_key: [1; 32],
        key_pepper: [2; 32],
        shards: 1,
    };
    let (storage, _) = storage_sqlite::SqliteStorage::open(&options, &seed, clock.now()).unwrap();
    App::start(Arc::new(storage), clock, ids, LanePolicy::default())
}

/// Lets go of a database.
async fn close(app: Arc<App>) {
    let storage = Arc::clone(&app.storage);
    drop(app);
    released(storage).await;
}

/// Keeps secrets as the server would, under these keys.
async fn plant(home: &Home, keys: &str, count: usize) {
    let (app, keyring) = (app(home).await, Keyring::parse(keys).unwrap());
    let tenant = TenantId::default_tenant();
    for number in 0..count {
        let name = format!("planted-{number:04}");
        let place = SealedColumn::NamedSecret.of(&tenant, &name);
        let sealed = keyring.seal(&place, format!("{CANARY}-{number}").as_bytes(), app.ids.as_ref()).unwrap();
        let (tenant, now) = (tenant.clone(), app.clock.now());
        let keep = SecretsCommand::Keep { tenant, name, sealed, now };
        app.lanes.submit(Command::Secrets(Box::new(keep))).await.unwrap();
    }
    close(app).await;
}

/// Whether each opens under these keys and is what it was.
async fn all_open(home: &Home, keys: &str, count: usize) {
    let app = app(home).await;
    app.hold_keys(Arc::new(Keyring::parse(keys).unwrap()));
    for number in 0..count {
        let secret = app.named_secret(&TenantId::default_tenant(), &format!("planted-{number:04}")).await;
        assert_eq!(secret.unwrap().text(), Some(&*format!("{CANARY}-{number}")));
    }
    close(app).await;
}

fn fresh_keys() -> (String, String) {
    let ids = SeededIds::new(7);
    let key = || Keyring::fresh_key(ids.as_ref()).to_string();
    (key(), key())
}

fn serving(home: &Arc<Home>, keys: &str) -> Builder {
    home.server().serving().env("JWT_SECRET", SECRET).env("WELLORDER_SECRETS_KEY", keys)
}

/// What a start that is refused says.
fn refusal(ended: &Ended) -> String {
    assert_eq!(ended.code(), 2, "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("fix"), "{said}");
    said
}

/// Every file below a folder that has this in it.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_start_with_a_wrong_or_missing_key_names_the_setting_and_the_fix() {
    let home = Home::new();
    let (right, wrong) = fresh_keys();
    home.server().start().await.terminate().await;
    let made = home.data().join("wellorder.secrets-key");
    let key = std::fs::read_to_string(&made).unwrap();
    plant(&home, &key, 1).await;
    home.server().start().await.terminate().await;
    // Its key is gone: another one opens nothing, and is not left lying there.
    std::fs::remove_file(&made).unwrap();
    let said = refusal(&home.server().try_start().await.err().unwrap());
    assert!(
        said.contains("no key for secrets at rest is set") && said.contains("secrets.key_file"),
        "{said}"
    );
    assert!(!made.exists());
    let missing = home.server().serving().env("JWT_SECRET", SECRET).try_start().await;
    assert!(refusal(&missing.err().unwrap()).contains("1 of named_secrets.sealed lie under the key"));
    let other = serving(&home, &wrong).try_start().await;
    assert!(refusal(&other.err().unwrap()).contains("which is not in secrets.key"));
    let bad = serving(&home, "changeme").try_start().await;
    let said = refusal(&bad.err().unwrap());
    assert!(
        said.contains("SECRETS_KEY") && said.contains("32 bytes") && !said.contains("changeme"),
        "{said}"
    );
    // A server for others takes none from its data folder.
    std::fs::write(&made, &key).unwrap();
    let inside = home.server().serving().env("JWT_SECRET", SECRET);
    let inside = inside.env("WELLORDER_SECRETS_KEY_FILE", made.to_str().unwrap()).try_start().await;
    assert!(refusal(&inside.err().unwrap()).contains("lies in the data folder"));
    let outside = home.path().join("key");
    std::fs::rename(&made, &outside).unwrap();
    let server = home.server().serving().env("JWT_SECRET", SECRET);
    server.env("WELLORDER_SECRETS_KEY_FILE", outside.to_str().unwrap()).start().await.terminate().await;
    // Behind a newer one it opens too.
    serving(&home, &format!("{right},{}", key.trim())).start().await;
    let doctor = home.run_with(&[("WELLORDER_SECRETS_KEY", &wrong)], &["doctor", "--json"]).json();
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "sealing keys").unwrap();
    assert_eq!(check["result"], "fail", "{check}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_while_orders_come_in() {
    let home = Home::new();
    let (old, new) = fresh_keys();
    serving(&home, &old).start().await.terminate().await;
    plant(&home, &old, MANY).await;
    let both = format!("{new},{old}");
    let server = home.server().env("WELLORDER_SECRETS_KEY", &both).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let posting = {
        let (client, stop) = (server.client(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut taken = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let body = json!({ "reference": format!("r-{taken}"), "total": 1 }).to_string();
                assert_eq!(client.post("/v1/orders", &body).await.status, 201);
                taken += 1;
            }
            taken
        })
    };
    eventually("an order", async || server.by_reference("r-0").await).await;
    let run = async |args: &'static [&'static str]| {
        let (home, both) = (Arc::clone(&home), both.clone());
        let run = move || home.run_with(&[("WELLORDER_SECRETS_KEY", &both)], args);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let count = |status: &Value| -> Vec<(String, u64)> {
        let places = status["secrets"].as_array().unwrap();
        places
            .iter()
            .map(|p| (p["state"].as_str().unwrap().to_owned(), p["count"].as_u64().unwrap()))
            .collect()
    };
    let before = run(&["secrets", "status", "--json"]).await.json();
    assert_eq!(count(&before), [("older".to_owned(), MANY as u64)], "{before}");
    let rotated = run(&["secrets", "rotate", "--json"]).await;
    assert_eq!((rotated.code(), &rotated.json()["resealed"]), (0, &json!(MANY)), "{rotated:?}");
    let after = run(&["secrets", "status", "--json"]).await.json();
    assert_eq!(count(&after), [("current".to_owned(), MANY as u64)], "{after}");
    assert_eq!(run(&["secrets", "rotate", "--json"]).await.json()["resealed"], 0);
    stop.store(true, Ordering::Relaxed);
    assert!(posting.await.unwrap() > 0);
    let actions = server.json("/v1/actions").await["actions"].clone();
    let told = actions.as_array().unwrap().iter().filter(|action| action["action"] == "secrets.resealed");
    assert_eq!(told.map(|action| &action["by"]).collect::<Vec<_>>(), ["local", "local"], "{actions}");
    if KEPT == Kept::InFolder {
        let copy = home.path().join("copy.db").display().to_string();
        let copied = {
            let home = Arc::clone(&home);
            tokio::task::spawn_blocking(move || home.run(&["backup", "--to", &copy])).await.unwrap()
        };
        assert_eq!(copied.code(), 0, "{copied:?}");
        // The database, its log, the copy, the events, the lock: none has a secret, and none has a key.
        assert_eq!(files_with(home.path(), CANARY.as_bytes()), [""; 0]);
        assert!(!files_with(home.path(), b"planted-0000").is_empty(), "what was looked at is the database");
        assert_eq!(files_with(home.path(), old.as_bytes()), [""; 0]);
    }
    let ended = server.terminate().await;
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!said.contains(CANARY) && !said.contains(&old) && !said.contains(&new), "{said}");
    assert_eq!(files_with(home.path(), CANARY.as_bytes()), [""; 0]);
    // The old key is of no use any more.
    serving(&home, &new).start().await.terminate().await;
    all_open(&home, &new, MANY).await;
}

#[tokio::test]
async fn a_command_on_a_folder_that_nobody_serves_finds_the_key_of_dev() {
    let home = Home::new();
    home.server().start().await.terminate().await;
    let made = home.data().join("wellorder.secrets-key");
    let old = std::fs::read_to_string(&made).unwrap();
    plant(&home, &old, 3).await;
    let (new, _) = fresh_keys();
    std::fs::write(&made, format!("# the newest first\n{new}\n{old}")).unwrap();
    let rotated = home.run(&["secrets", "rotate"]);
    assert_eq!(rotated.code(), 0, "{rotated:?}");
    assert!(rotated.stdout.starts_with("3 secrets were sealed anew"), "{rotated:?}");
    std::fs::write(&made, &new).unwrap();
    home.server().start().await.terminate().await;
    all_open(&home, &new, 3).await;
    // Without the key there is nothing to open them with, and that is found.
    std::fs::remove_file(&made).unwrap();
    let status = home.run(&["secrets", "status"]);
    assert_eq!(status.code(), 6, "{status:?}");
    assert!(status.stdout.contains("unknown") && status.stderr.contains("no key is set"), "{status:?}");
    assert_eq!(home.run(&["secrets", "rotate"]).code(), 4);
}
