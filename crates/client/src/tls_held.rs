//! What a client trusts and shows at present: asked by every handshake, replaced when the files have changed.
//!
//! One verifier and one resolver stand in the `rustls` configuration for as long as the client lives, and look here.
//! Signatures are checked with the provider's algorithms, whoever is trusted.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, CertificateError, DigitallySignedStruct, SignatureScheme};

/// Whom a client trusts.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Whoever bears a certificate of these authorities, for this name or for that of the address.
    Authorities(Arc<WebPkiServerVerifier>, Option<ServerName<'static>>),
    /// One certificate, whatever its name and date: the other side has its key.
    Pinned(CertificateDer<'static>),
    /// Whoever answers.
    Anybody,
}

/// Whom it trusts, and what it shows of itself.
pub(crate) struct Credentials {
    pub(crate) trust: Trust,
    pub(crate) own: Option<Arc<CertifiedKey>>,
}

/// What counts at present.
pub(crate) struct Held {
    provider: Arc<CryptoProvider>,
    now: RwLock<Arc<Credentials>>,
}

impl fmt::Debug for Held {
    /// Never prints keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Held {
    pub(crate) fn new(provider: Arc<CryptoProvider>, credentials: Credentials) -> Self {
        Self { provider, now: RwLock::new(Arc::new(credentials)) }
    }

    /// Uses others for handshakes from now on.
    pub(crate) fn replace(&self, credentials: Credentials) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }

    fn now(&self) -> Arc<Credentials> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for Held {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        of_address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.now().trust {
            Trust::Authorities(verifier, name) => {
                let name = name.as_ref().unwrap_or(of_address);
                verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
            Trust::Anybody => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pinned) if end_entity == pinned => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ResolvesClientCert for Held {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.now().own.clone()
    }

    fn has_certs(&self) -> bool {
        self.now().own.is_some()
    }
}
