//! The keys for secrets at rest: where they come from, and whether they open what is stored. `dev` makes one when nobody gives
//! it one, in the data folder; a server for others is given one, and it lies elsewhere.

use crate::cli::doctor::{self, Check};
use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Mode, Settings};
use crate::storage;
use crate::system::SystemIds;
use order_core::App;
use order_core::ports::Storage;
use order_core::sealing::Keyring;
use order_core::sealing::resealing::SealedCount;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of `dev` in the data folder.
const FILE: &str = "wellorder.secrets-key";
/// Longest file of keys that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Keys, and where they come from.
#[derive(Debug)]
pub(crate) struct Keys {
    keyring: Arc<Keyring>,
    /// The setting or the file, for people.
    from: String,
    /// The file, if it was made just now.
    made: Option<PathBuf>,
}

/// The keys that the settings give a process; `None` where there are none, and then it keeps no secrets.
///
/// # Errors
/// When they cannot be read, are none, or lie where they must not.
pub(crate) fn keys(mode: Mode, settings: &Settings) -> Result<Option<Keys>, Failure> {
    if let Some(text) = settings.secrets.key.text() {
        return read("secrets.key", text).map(Some);
    }
    if let Some(path) = &settings.secrets.key_file {
        if mode == Mode::Serve && lies_in(path, &settings.data) {
            let what = format!("secrets.key_file {} lies in the data folder", path.display());
            let fix = "move it elsewhere: whoever copies the folder must not get the key with what it opens";
            return Err(Failure::here(Exit::Usage, what, fix));
        }
        return of_file(path).map(Some);
    }
    let path = settings.data.join(FILE);
    match mode {
        // What is found there was made by `dev`, for whoever has the folder.
        Mode::Serve => Ok(None),
        Mode::Client => {
            if path.exists() {
                of_file(&path).map(Some)
            } else {
                Ok(None)
            }
        }
        Mode::Dev if path.exists() => of_file(&path).map(Some),
        Mode::Dev => {
            let cannot = |error: io::Error| {
                let what = format!("cannot make {}: {error}", path.display());
                Failure::here(Exit::Fault, what, "make the folder writable, or set secrets.key_file")
            };
            make(&path).map_err(cannot)?;
            Ok(Some(Keys { made: Some(path.clone()), ..of_file(&path)? }))
        }
    }
}

/// Whether a data folder is `dev`'s: then its key lies in it.
pub(crate) fn is_of_dev(settings: &Settings) -> bool {
    settings.database.text().is_none() && settings.data.join(FILE).exists()
}

fn read(from: &str, text: &str) -> Result<Keys, Failure> {
    match Keyring::parse(text) {
        Ok(keyring) => Ok(Keys { keyring: Arc::new(keyring), from: from.to_owned(), made: None }),
        Err(invalid) => {
            let fix = "put back what it held; a new one is made with `openssl rand -base64 32`";
            Err(Failure::here(Exit::Usage, format!("{from} {invalid}"), fix))
        }
    }
}

fn of_file(path: &Path) -> Result<Keys, Failure> {
    let shown = path.display().to_string();
    let text = (|| {
        let mut text = String::new();
        let file = fs::File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o007 != 0 {
            tracing::warn!(
                file = shown,
                "a file of keys can be read by every user of this machine: chmod o-rwx"
            );
        }
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    })();
    let text = zeroize::Zeroizing::new(text.map_err(|error: io::Error| {
        let what = format!("cannot read the keys for secrets at rest in {shown}: {error}");
        Failure::here(Exit::Usage, what, "make it readable, or name the file in secrets.key_file")
    })?);
    read(&shown, &text)
}

/// Makes a file with a fresh key, whole or not at all, unless somebody else does meanwhile: then theirs stays.
fn make(path: &Path) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(Keyring::fresh_key(&SystemIds).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

/// Whether a file lies in a folder, or below it.
fn lies_in(file: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(file), fs::canonicalize(folder)) {
        (Ok(file), Ok(folder)) => file.starts_with(folder),
        // What is not there yet is not read either.
        _ => file.starts_with(folder),
    }
}

/// Gives an app its keys, once they are known to open all that is stored.
///
/// # Errors
/// When something is stored that they do not open.
pub(crate) async fn hold(app: &App, keys: Option<Keys>) -> Result<(), Failure> {
    check(app.storage.as_ref(), keys.as_ref()).await?;
    if let Some(Keys { keyring, from, made }) = keys {
        if made.is_some() {
            tracing::info!(file = from, "made a key for secrets at rest: keep it, without it they are lost");
        }
        tracing::debug!(key_id = %keyring.current(), from, "secrets are sealed under this key");
        app.hold_keys(keyring);
    }
    Ok(())
}

/// The same for a command, which opens nothing unless it must: whether the keys fit is found out then.
///
/// # Errors
/// As [`keys`].
pub(crate) fn hold_unchecked(app: &App, settings: &Settings) -> Result<(), Failure> {
    if let Some(keys) = keys(Mode::Client, settings)? {
        app.hold_keys(keys.keyring);
    }
    Ok(())
}

async fn check(storage: &dyn Storage, keys: Option<&Keys>) -> Result<(), Failure> {
    let counts = storage.sealed_counts().await.map_err(anyhow::Error::from)?;
    let Some((what, fix)) = unopened(&counts, keys) else { return Ok(()) };
    if let Some(made) = keys.and_then(|keys| keys.made.as_deref()) {
        // It opens nothing, and would lie in the way of the right one.
        drop(fs::remove_file(made));
    }
    Err(Failure::here(Exit::Usage, what, fix))
}

/// What is stored and does not open, with what to do; `None` where everything does.
fn unopened(counts: &[SealedCount], keys: Option<&Keys>) -> Option<(String, String)> {
    let is_open = |count: &&SealedCount| {
        count.key_id.is_none_or(|key_id| keys.is_some_and(|keys| keys.keyring.holds(key_id)))
    };
    let lost = counts.iter().find(|count| !is_open(count))?;
    let key_id = lost.key_id?;
    let (number, column) = (shown(lost), lost.column);
    let what = match keys.filter(|keys| keys.made.is_none()) {
        None => {
            format!("no key for secrets at rest is set, and {number} of {column} lie under the key {key_id}")
        }
        Some(keys) => {
            format!("{number} secrets of {column} lie under the key {key_id}, which is not in {}", keys.from)
        }
    };
    let fix = format!(
        "set secrets.key_file to the file that holds it (or secrets.key to the key itself), behind the newer ones if there are any; \
         `dev` made one in the data folder, {FILE}: for `serve` move it out of there"
    );
    Some((what, fix))
}

fn shown(count: &SealedCount) -> String {
    if count.is_more { format!("over {}", count.count) } else { count.count.to_string() }
}

/// What a doctor finds of them.
pub(crate) async fn examine(config: &Config) -> Check {
    const NAME: &str = "sealing keys";
    let settings = &config.settings;
    let keys = match keys(Mode::Client, settings) {
        Ok(keys) => keys,
        Err(Failure::Here { what, fix, .. }) => return doctor::fail(NAME, what, fix),
        Err(other) => return doctor::fail(NAME, format!("{other:?}"), "set secrets.key_file"),
    };
    let counted = async {
        let opened = storage::of(settings).ok()?.open_to_read().await.ok()?;
        opened.storage.sealed_counts().await.ok()
    };
    // Without a database nothing is stored; why it cannot be had is told elsewhere.
    let counts = counted.await.unwrap_or_default();
    if let Some((what, fix)) = unopened(&counts, keys.as_ref()) {
        return doctor::fail(NAME, what, fix);
    }
    let damaged: u64 = counts.iter().filter(|count| count.key_id.is_none()).map(|count| count.count).sum();
    if damaged > 0 {
        let detail = format!("{damaged} where secrets should be are none");
        return doctor::warn(NAME, detail, "`wellorder audit` names them");
    }
    let Some(keys) = keys else {
        return doctor::ok(NAME, "none are stored, and no key for them is set; `dev` makes one at start");
    };
    let current = keys.keyring.current();
    let older: u64 =
        counts.iter().filter(|count| count.key_id != Some(current)).map(|count| count.count).sum();
    let all: u64 = counts.iter().map(|count| count.count).sum();
    let detail = format!("{all} stored; the key {current} seals ({})", keys.from);
    if older > 0 {
        let detail = format!("{detail}, and {older} lie under older ones");
        return doctor::warn(NAME, detail, "bring them under it with `wellorder secrets rotate`");
    }
    doctor::ok(NAME, detail)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::config::{Flag, Inputs, load};
    use order_core::sealing::{KeyId, SealedColumn};

    fn settings(data: &Path, more: &[(&'static str, &str)]) -> Settings {
        let flag = |path, value: &str| Flag { path, flag: "--x", value: value.to_owned() };
        let mut flags = vec![flag("data", data.to_str().unwrap())];
        flags.extend(more.iter().map(|(path, value)| flag(path, value)));
        load(&Inputs { flags, ..Inputs::default() }).unwrap_or_else(|problems| panic!("{problems}")).settings
    }

    fn said(result: Result<Option<Keys>, Failure>) -> String {
        match result {
            Err(Failure::Here { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dev_makes_a_key_once_and_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        assert!(keys(Mode::Client, &settings).unwrap().is_none(), "a command makes none");
        assert!(keys(Mode::Serve, &settings).unwrap().is_none());
        let first = keys(Mode::Dev, &settings).unwrap().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(first.made.as_deref(), Some(&*file));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = keys(Mode::Dev, &settings).unwrap().unwrap();
        assert_eq!((again.keyring.current(), again.made), (first.keyring.current(), None));
        assert!(keys(Mode::Client, &settings).unwrap().is_some(), "a command finds it");
        assert!(keys(Mode::Serve, &settings).unwrap().is_none(), "a server for others is given one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn who_start_at_once_have_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for _ in 0..50 {
            make(&path).unwrap();
            let first = fs::read_to_string(&path).unwrap();
            make(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), first);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_key_of_serve_lies_outside_of_the_data_folder() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let inside = folder.path().join("sub");
        fs::create_dir(&inside).unwrap();
        let (inside, outside) = (inside.join("key"), elsewhere.path().join("key"));
        make(&inside).unwrap();
        make(&outside).unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        for path in [&inside, &link] {
            let settings = settings(folder.path(), &[("secrets.key_file", path.to_str().unwrap())]);
            assert!(said(keys(Mode::Serve, &settings)).contains("lies in the data folder"), "{path:?}");
            assert!(keys(Mode::Dev, &settings).unwrap().is_some());
        }
        let settings = settings(folder.path(), &[("secrets.key_file", outside.to_str().unwrap())]);
        assert!(keys(Mode::Serve, &settings).unwrap().is_some());
    }

    #[test]
    fn a_file_without_keys_is_told_and_its_content_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let settings = settings(folder.path(), &[("secrets.key_file", file.to_str().unwrap())]);
        assert!(said(keys(Mode::Dev, &settings)).contains("cannot read"));
        fs::write(&file, "canary-canary").unwrap();
        let told = said(keys(Mode::Dev, &settings));
        assert!(told.contains("not 32 bytes") && !told.contains("canary"), "{told}");
    }

    #[test]
    fn what_no_key_opens_is_named_with_what_to_do() {
        let keyring = Arc::new(Keyring::parse(&Keyring::fresh_key(&SystemIds)).unwrap());
        let keys = Keys { keyring, from: "secrets.key".to_owned(), made: None };
        let of =
            |key_id, count| SealedCount { column: SealedColumn::NamedSecret, key_id, count, is_more: false };
        let (ours, theirs) = (Some(keys.keyring.current()), Some(KeyId([7; 8])));
        assert_eq!(unopened(&[of(ours, 3), of(None, 1)], Some(&keys)), None);
        let (what, fix) = unopened(&[of(ours, 3), of(theirs, 2)], Some(&keys)).unwrap();
        assert!(
            what.contains("2 secrets of named_secrets.sealed lie under the key 0707070707070707"),
            "{what}"
        );
        assert!(what.contains("not in secrets.key") && fix.contains("secrets.key_file"), "{what} {fix}");
        let (what, _) = unopened(&[of(ours, 3)], None).unwrap();
        assert!(what.contains("no key for secrets at rest is set"), "{what}");
        assert_eq!(unopened(&[], None), None);
    }
}
