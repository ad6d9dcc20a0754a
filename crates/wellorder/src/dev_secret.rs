//! The secret of tokens that `dev` makes when nobody gives it one: a contract asks for tokens in `dev` too. It lies in the data
//! folder, so that tokens outlive a restart and `wellorder token` makes more.

use crate::config::{Hidden, Settings};
use crate::system::{SystemClock, SystemIds};
use anyhow::Context;
use auth::{Mint, Secret, mint};
use edge::Scope;
use order_core::api_key::chance;
use order_core::{Clock, TenantId};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Its file in the data folder.
const FILE: &str = "wellorder.jwt-secret";
/// How long the token is good that a start prints.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Gives the settings the secret of the folder, made if there is none, unless they have one.
///
/// # Errors
/// When its file can be neither read nor made.
pub(crate) fn make(settings: &mut Settings) -> anyhow::Result<()> {
    if settings.auth.jwt_secret.text().is_some() {
        return Ok(());
    }
    let path = settings.data.join(FILE);
    let secret = match found(&settings.data) {
        Some(secret) => secret,
        None => written(&path).with_context(|| {
            format!("cannot make {}: make the folder writable, or set JWT_SECRET", path.display())
        })?,
    };
    settings.auth.jwt_secret = secret;
    settings.auth.jwt_secret_made = true;
    Ok(())
}

/// The secret that `dev` made in this folder, if it did.
pub(crate) fn found(folder: &Path) -> Option<Hidden> {
    let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
    Some(Hidden::new(text.trim())).filter(|secret| secret.text().is_some())
}

fn written(path: &Path) -> std::io::Result<Hidden> {
    let secret: String = chance(&SystemIds).iter().map(|byte| format!("{byte:02x}")).collect();
    // One that broke off, or is empty, is no secret.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())?;
    Ok(Hidden::new(&secret))
}

/// A token for trying things out, where the secret was made here.
pub(crate) fn token(settings: &Settings) -> Option<String> {
    let secret = settings.auth.jwt_secret.text().filter(|_| settings.auth.jwt_secret_made)?;
    let auth = &settings.auth;
    let lifetime = auth.token_lifetime_max.map_or(TOKEN_LIFETIME, |most| most.min(TOKEN_LIFETIME));
    Some(mint(
        &Secret::new(secret.as_bytes()),
        &Mint {
            subject: "developer",
            tenant: Some(&TenantId::default_tenant()),
            scopes: [Scope::OrdersRead, Scope::OrdersWrite].into_iter().collect(),
            now: SystemClock::default().now(),
            lifetime,
            issuer: auth.jwt_issuer.as_deref(),
            audience: auth.jwt_audience.as_deref(),
        },
    ))
}
