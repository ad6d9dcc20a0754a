//! Authorities of a test's own, and the certificates that they sign.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many there were so far.
static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

/// An authority that certifies this machine.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key (PEM).
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than others have, and what it signs: else that would seem to have signed itself.
        let name = format!("Authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The same, encoded as DER.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.0.der().to_vec())
    }

    /// A fresh certificate for `localhost`.
    pub(crate) fn certified(&self) -> Certified {
        self.signed(&Self::of_localhost())
    }

    /// One that was good until a while ago.
    pub(crate) fn expired(&self) -> Certified {
        let mut params = Self::of_localhost();
        (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2025, 1, 1));
        self.signed(&params)
    }

    /// Writes a fresh certificate and its key.
    pub(crate) fn certify(&self, folder: &Path) {
        let Certified { certificate, key } = self.certified();
        std::fs::write(folder.join("cert.pem"), certificate).unwrap();
        std::fs::write(folder.join("key.pem"), key).unwrap();
    }

    fn of_localhost() -> CertificateParams {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params
    }

    fn signed(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Certified { certificate, key: key.serialize_pem() }
    }
}

/// How a server speaks TLS with `cert.pem` and `key.pem` of this folder.
pub(crate) fn tls_of(folder: &Path) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}
