//! Settings of marketplaces that must fit one another.

use super::{settings::Settings, sources::Mode};
use order_core::sealing::Secret;
use order_core::webhook::signing;

/// Adds what does not fit together.
pub(super) fn marketplace(mode: Mode, settings: &Settings, add: &mut impl FnMut(&[&str], &str, &str)) {
    let ours = &settings.marketplace;
    for (name, login) in ours.logins() {
        let (user, password) =
            (format!("marketplace.mock_{name}_user"), format!("marketplace.mock_{name}_password"));
        if login.user.contains(':') {
            add(&[&user], "holds a colon, which ends the name in a login", "use another name");
        }
        if login.user.is_empty() && login.password.text().is_some() {
            add(&[&user, &password], "is empty, and its password is not", "set both, or none");
        }
        if !login.user.is_empty() && login.password.text().is_none() {
            add(&[&password, &user], "is empty, and its user is not", "set both, or none");
        }
    }
    let is_weak = |secret: &str| !signing::is_long_enough(&Secret::new(secret.as_bytes().to_vec()));
    if mode == Mode::Serve && ours.webhook_secret.text().is_some_and(is_weak) {
        let what = "is not 24 to 64 bytes, as they are or in base64 behind whsec_";
        add(&["marketplace.webhook_secret"], what, "make one with `openssl rand -base64 32`");
    }
    let nobody = ours.logins().into_iter().all(|(_, login)| login.password.text().is_none());
    if mode == Mode::Serve && ours.mock && nobody {
        let fix = "set MOCK_ETSY_USER and MOCK_ETSY_PASS (or those of SHOPIFY or AMAZON), or remove this";
        add(&["marketplace.mock"], "is true, and nobody has a login there", fix);
    }
}
