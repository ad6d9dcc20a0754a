//! TLS for every outgoing connection: one crypto provider, the built-in roots, no way to switch verification off.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::BuildError;

/// The TLS settings of all clients: TLS 1.2 and 1.3, Mozilla's root certificates as compiled in.
///
/// The provider is named here and not installed for the process, so nothing depends on the order of start-up.
pub(crate) fn config() -> Result<ClientConfig, BuildError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
