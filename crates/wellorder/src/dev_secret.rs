//! The secret of tokens that `dev` makes when nobody gives it one: a contract asks for tokens in `dev` too. It lies in the data
//! folder, so that tokens outlive a restart and `wellorder token` makes more.

use crate::config::{Hidden, Settings};
use crate::system::{SystemClock, SystemIds};
use anyhow::Context;
use auth::{Mint, Secret, mint};
use edge::Scope;
use order_core::api_key::chance;
use order_core::{Clock, TenantId};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Its file in the data folder.
const FILE: &str = "wellorder.jwt-secret";
/// How long it is, in hexadecimal digits.
const DIGITS: usize = 64;
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
    let secret = match found(&settings.data) {
        Some(secret) => secret,
        None => made(&settings.data).with_context(|| {
            let path = settings.data.join(FILE);
            format!("cannot make {}: make the folder writable, or set JWT_SECRET", path.display())
        })?,
    };
    settings.auth.jwt_secret = secret;
    settings.auth.jwt_secret_made = true;
    Ok(())
}

/// The secret that `dev` made in this folder, if it did. One that broke off is none.
pub(crate) fn found(folder: &Path) -> Option<Hidden> {
    let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
    let is_whole = |text: &str| text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(text.trim()).filter(|text| is_whole(text)).map(Hidden::new)
}

/// Makes one, unless somebody else does meanwhile: nodes on one database may share a folder, and what one signs the other must
/// take.
fn made(folder: &Path) -> std::io::Result<Hidden> {
    let new = folder.join(format!("{FILE}.new"));
    let mut file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&new)?;
    file.lock()?;
    if let Some(theirs) = found(folder) {
        // What was locked may be that very secret, under its new name; what has the old one is nobody's.
        drop(std::fs::remove_file(&new));
        return Ok(theirs);
    }
    let secret: String = chance(&SystemIds).iter().map(|byte| format!("{byte:02x}")).collect();
    file.set_len(0)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, folder.join(FILE))?;
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_that_broke_off_is_made_anew_and_a_whole_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        for broken in ["", "0123", &"x".repeat(DIGITS), &"0".repeat(DIGITS - 1)] {
            std::fs::write(&file, broken).unwrap();
            assert!(found(folder.path()).is_none(), "{broken:?}");
            let secret = made(folder.path()).unwrap();
            assert_eq!(secret.text().map(str::len), Some(DIGITS));
            assert_eq!(found(folder.path()).unwrap().text(), secret.text());
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn who_start_at_once_have_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let both = std::thread::scope(|scope| {
                let made = [(); 4].map(|()| scope.spawn(|| made(folder.path()).unwrap()));
                made.map(|made| made.join().unwrap().text().unwrap().to_owned())
            });
            assert!(both.iter().all(|secret| *secret == both[0]), "{both:?}");
            std::fs::remove_file(folder.path().join(FILE)).unwrap();
        }
    }
}
