//! TLS for every outgoing connection: one crypto provider, and no way to switch verification off.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::BuildError;

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Mozilla's root certificates as compiled in, and these.
    Authorities(Vec<CertificateDer<'static>>),
    /// This one certificate, whatever name and time it is for.
    Pinned(CertificateDer<'static>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Authorities(Vec::new())
    }
}

/// Why a file of certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificates {
    /// Something in it is no PEM.
    #[error("cannot be read as PEM: {0}")]
    Pem(String),
    /// There is none in it.
    #[error("holds no certificate (PEM)")]
    Empty,
    /// One of them, counted from 1, can be nobody's root.
    #[error("certificate {0} in it cannot be used: {1}")]
    Unfit(usize, String),
}

impl Trust {
    /// The public authorities, and those in `pem` besides.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn also(pem: &[u8]) -> Result<Self, InvalidCertificates> {
        let certificates = read(pem)?;
        let mut store = RootCertStore::empty();
        for (place, certificate) in certificates.iter().enumerate() {
            let added = store.add(certificate.clone());
            added.map_err(|error| InvalidCertificates::Unfit(place + 1, error.to_string()))?;
        }
        Ok(Self(Kind::Authorities(certificates)))
    }

    /// Nobody but who proves to own the certificate with the encoding `der`, by whatever name they are called: for one that
    /// came over a way that is itself to be trusted.
    #[must_use]
    pub fn only(der: Vec<u8>) -> Self {
        Self(Kind::Pinned(der.into()))
    }
}

fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidCertificates> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| InvalidCertificates::Pem(error.to_string()))?;
    if certificates.is_empty() { Err(InvalidCertificates::Empty) } else { Ok(certificates) }
}

/// What is wrong with a certificate that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Nobody who is believed vouches for it.
    Issuer,
    /// It is for another name.
    Name,
    /// Anything else: it has ended, has not begun, is not the one that must be.
    Other,
}

/// The TLS settings of all clients: TLS 1.2 and 1.3.
///
/// The provider is named here and not installed for the process, so nothing depends on the order of start-up.
pub(crate) fn config(trust: &Trust) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls(error.to_string()))?;
    let builder = match &trust.0 {
        Kind::Authorities(more) => {
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            for certificate in more {
                roots.add(certificate.clone()).map_err(|error| BuildError::Tls(error.to_string()))?;
            }
            builder.with_root_certificates(roots)
        }
        Kind::Pinned(certificate) => {
            let verifier = Pinned { certificate: certificate.clone(), provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(builder.with_no_client_auth())
}

/// What is wrong with the certificate, if that is why a call failed.
pub(crate) fn untrusted(error: &(dyn std::error::Error + 'static)) -> Option<Untrusted> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // What an I/O error carries is not among its sources.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = carried.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if let Some(rustls::Error::InvalidCertificate(why)) = found {
            return Some(match why {
                // A namesake of an authority that is believed has another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Untrusted::Issuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Untrusted::Name
                }
                _ => Untrusted::Other,
            });
        }
        cause = match carried {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Believes one certificate, byte for byte, and has its owner prove that they have its key.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
