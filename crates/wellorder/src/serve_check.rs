//! What a server for others must have before it serves anybody. Everything that is missing is told at once.

use crate::cli::failure::Failure;
use crate::config::{Config, Mode, Origin, Problems, Role, Settings};
use crate::storage::{Database, Stands};
use crate::system::SystemClock;
use crate::{transport, trust};
use auth::weakness;
use order_core::Clock;

/// What is checked before a server for others serves.
#[derive(Clone)]
pub(crate) struct ServeCheck {
    pub(crate) config: Config,
    /// Whether it may bring the schema up to date by itself.
    pub(crate) migrates: bool,
}

impl ServeCheck {
    /// Fails with all that is missing. The data folder must be ours.
    ///
    /// # Errors
    /// When something is missing, or the database cannot be read.
    pub(crate) async fn pass(&self, database: &dyn Database) -> Result<(), Failure> {
        let missing = missing(&self.config, database, self.migrates, &SystemClock::default()).await?;
        if missing.0.is_empty() { Ok(()) } else { Err(missing.into()) }
    }

    /// The same for what the settings say by themselves: the rest is checked when the database can be read.
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn pass_settings(&self) -> Result<(), Failure> {
        let mut problems = Problems::default();
        of_settings(&self.config, &mut problems);
        if problems.0.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

async fn missing(
    config: &Config,
    database: &dyn Database,
    migrates: bool,
    clock: &dyn Clock,
) -> anyhow::Result<Problems> {
    let settings = &config.settings;
    let mut problems = Problems::default();
    of_settings(config, &mut problems);
    let keys = api_keys(database, migrates, clock, &mut problems).await?;
    let auth = &settings.auth;
    let has_login = auth.jwt_secret.text().is_some() || auth.jwks_url.is_some() || keys > 0;
    if settings.has_role(Role::Api) && !has_login {
        let fix = "make an API key (`wellorder keys create --name NAME --scope orders:read --scope orders:write`), \
                   or set auth.jwt_secret, or auth.jwks_url with auth.jwks_issuer and \
                   auth.jwks_audience";
        problems.add("login", "", "there is none: nobody could be told from anybody", fix);
    }
    Ok(problems)
}

fn of_settings(config: &Config, problems: &mut Problems) {
    let settings = &config.settings;
    if config.origin("listen") == Origin::Default {
        let fix = "say where it serves: --listen 127.0.0.1:3000, or listen in wellorder.toml";
        problems.add("--listen", "", "is not given: a server for others does not guess its address", fix);
    }
    transport(config, problems);
    secrets(settings, problems);
}

/// How requests get here. Credentials and orders must not be readable on the way, unless somebody says aloud that they may.
fn transport(config: &Config, problems: &mut Problems) {
    let settings = &config.settings;
    let transport = &settings.transport;
    match transport::of(Mode::Serve, settings) {
        Ok(_) => {}
        Err(error) => {
            let fix = "name PEM files that this user can read and that belong together";
            problems.add("tls", "tls.cert, tls.key", format!("{error:#}"), fix);
        }
    }
    if let Err(Problems(bad)) = trust::of(settings) {
        problems.0.extend(bad);
    }
    let protected =
        transport.tls_cert.is_some() || !transport.trusted_proxies.is_empty() || transport.plaintext;
    if protected {
        return;
    }
    let fix = "set tls.cert and tls.key; or serve.trusted_proxies, where proxies speak TLS; or listen on 127.0.0.1 or \
               [::1]; or say serve.plaintext = true, and everybody on the way can read keys and orders";
    let what = |address| format!("{address} is not a loopback address, and HTTP is plain here");
    if !settings.listen.ip().is_loopback() {
        problems.add("--listen", "", what(settings.listen), fix);
    }
    // Only who takes orders in has these.
    let further = settings.further_addresses().filter(|_| settings.has_role(Role::Api));
    for (path, address) in further.filter(|(_, address)| !address.ip().is_loopback()) {
        problems.add(config.origin(&path).to_string(), path, what(address), fix);
    }
}

/// Secrets that anybody can guess are none.
fn secrets(settings: &Settings, problems: &mut Problems) {
    let auth = &settings.auth;
    let make = "make one with `openssl rand -base64 48`";
    for (path, secret) in [("auth.jwt_secret", &auth.jwt_secret), ("auth.key_pepper", &auth.key_pepper)] {
        if let Some(weak) = secret.text().and_then(weakness) {
            problems.add("secrets", path, weak, make);
        }
    }
}

/// How many API keys could log in. A database that must be migrated first is a problem, unless it may be; then, and when
/// there is none yet, nobody knows of a key.
async fn api_keys(
    database: &dyn Database,
    migrates: bool,
    clock: &dyn Clock,
    problems: &mut Problems,
) -> anyhow::Result<u64> {
    let Some(Stands { schema: (version, newest), live_keys, is_other_pepper }) =
        database.stands(clock.now()).await?
    else {
        return Ok(0);
    };
    if version > 0 && version < newest && !migrates {
        let what = format!("has schema {version}, this program needs {newest}");
        let fix = "run `wellorder migrate`, or start with --migrate (on SQLite either makes a copy first)";
        problems.add("the database", "", what, fix);
    }
    if live_keys > 0 && is_other_pepper {
        let what = format!(
            "is not what the {live_keys} API keys of this database were made under: none of them would be good"
        );
        let fix = "set it to what it was then (nothing, if it was not set), or revoke them all \
                   (`wellorder keys revoke`) and make others";
        problems.add("the database", "auth.key_pepper", what, fix);
    }
    Ok(live_keys)
}
