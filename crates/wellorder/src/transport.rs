//! What a server is reached over: TLS, a proxy that speaks it, or neither.

use crate::config::{Mode, Settings, Transport as Settled};
use crate::trust;
use anyhow::Context;
use edge::{Tls, Transport};
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the settings say.
///
/// # Errors
/// Certificate or key cannot be used.
pub(crate) fn of(mode: Mode, settings: &Settings) -> anyhow::Result<Transport> {
    let settled = &settings.transport;
    if mode != Mode::Serve {
        return Ok(Transport::Plain);
    }
    if let Some((certificates, key)) = files(settled)? {
        return Ok(Transport::Tls(Arc::new(Tls::from_pem(&certificates, &key)?)));
    }
    let behind_proxies = !settled.trusted_proxies.is_empty() && !settled.plaintext;
    Ok(if behind_proxies { Transport::PlainFromProxies } else { Transport::Plain })
}

/// Certificate and key, if they are named.
fn files(settled: &Settled) -> anyhow::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (Some(certificates), Some(key)) = (&settled.tls_cert, &settled.tls_key) else { return Ok(None) };
    let read = |setting: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("{setting}: cannot read {}", path.display()))
    };
    Ok(Some((read("tls.cert", certificates)?, read("tls.key", key)?)))
}

/// Reads certificate and key again at each SIGHUP, until `stop`. Connections that are there keep theirs; what cannot be used
/// changes nothing. What new connections are shown lies in the data folder, for commands on it.
///
/// # Errors
/// The signal cannot be listened to.
pub(crate) fn reload(
    tls: Arc<Tls>,
    settings: &Settings,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let (settled, folder) = (settings.transport.clone(), settings.data.clone());
    show(&folder, &tls);
    let mut hangups = signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                hangup = hangups.recv() => if hangup.is_none() { return },
            }
            let replaced = files(&settled).and_then(|files| {
                let (certificates, key) = files.context("the settings name no certificate")?;
                Ok(tls.replace(&certificates, &key)?)
            });
            match replaced {
                Ok(()) => {
                    show(&folder, &tls);
                    tracing::info!("new connections get the certificate that was read again");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "cannot use the new certificate; the old one stays in use");
                }
            }
        }
    })
}

fn show(folder: &Path, tls: &Tls) {
    if let Err(error) = trust::show(folder, &tls.certificate()) {
        tracing::warn!(%error, "cannot put the certificate into the data folder: commands on it need --url");
    }
}
