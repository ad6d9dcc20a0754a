//! Settings of secrets at rest.

use super::{
    settings::{Hidden, Settings},
    shape::Shape::{MaybePath, Secret},
    table::{Default::Is, Setting},
};
use order_core::sealing::Keyring;
use std::path::PathBuf;

/// The keys that secrets at rest are sealed under.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretKeys {
    /// Keys apart by commas or spaces, of which the first seals.
    pub(crate) key: Hidden,
    /// A file that holds them instead.
    pub(crate) key_file: Option<PathBuf>,
}

pub(super) const SECRETS: &[Setting] = &[
    Setting::new(
        "secrets.key",
        Is(""),
        Secret { set: |s: &mut Settings, v| s.secrets.key = v },
        "keys that secrets at rest are kept under, apart by commas; the first seals, all open",
    )
    .secret(),
    Setting::new(
        "secrets.key_file",
        Is(""),
        MaybePath { set: |s: &mut Settings, v| s.secrets.key_file = v },
        "file that holds these keys instead, each in a line of its own; in serve not in the data folder",
    ),
];

/// Keys are keys, and come from one place.
pub(super) fn check(settings: &Settings, beside: String, add: &mut impl FnMut(&[&str], &str, &str)) {
    let Some(text) = settings.secrets.key.text() else { return };
    if settings.secrets.key_file.is_some() {
        let what = format!("is set, and {beside} is too");
        add(&["secrets.key_file", "secrets.key"], &what, "keep one of them");
    }
    if let Err(invalid) = Keyring::parse(text) {
        add(&["secrets.key"], &invalid.to_string(), "make one with `openssl rand -base64 32`");
    }
}
