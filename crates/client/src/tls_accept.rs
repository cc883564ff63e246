//! TLS of a side that accepts connections: certificate, key, and the authorities of clients.
//!
//! Here, beside the TLS of the side that connects, since both the server and the agent's receivers accept some. The
//! files are read by the caller.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Paths of files and what they hold.
#[derive(Clone, Copy)]
pub struct AcceptFiles<'a> {
    /// Path of the certificate, for errors; so are the next two.
    pub cert_file: &'a str,
    /// Path of the key.
    pub key_file: &'a str,
    /// Path of the authorities of clients.
    pub client_ca_file: &'a str,
    /// The certificate and those between it and its authority, PEM.
    pub cert: &'a [u8],
    /// Its private key, PEM.
    pub key: &'a [u8],
    /// The authorities whose certificates clients must show, PEM; `None`: they show none.
    pub client_ca: Option<&'a [u8]>,
}

impl std::fmt::Debug for AcceptFiles<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptFiles").field("cert_file", &self.cert_file).finish_non_exhaustive()
    }
}

/// Makes the configuration of the side that accepts, without protocols to choose from.
///
/// Errors: the text of the first fault; it begins with the key of the setting and the file.
pub fn accept_config(files: &AcceptFiles<'_>) -> Result<ServerConfig, String> {
    let AcceptFiles { cert_file, key_file, client_ca_file, .. } = files;
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("cert_file", cert_file, files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(files.key)
        .map_err(|_| format!("key_file {key_file}: no private key in PEM, or an encrypted one"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cert_file {cert_file}: cannot set up TLS: {error}"))?;
    let builder = match files.client_ca {
        None => builder.with_no_client_auth(),
        Some(bytes) => {
            let fault = |error: String| format!("client_ca_file {client_ca_file}: {error}");
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca_file", client_ca_file, bytes)? {
                roots.add(certificate).map_err(|error| fault(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| fault(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(|error| {
        let text = match error {
            rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
            other => other.to_string(),
        };
        format!("cert_file {cert_file} with key_file {key_file}: {text}")
    })
}

/// Reads a file of certificates; there is at least one.
fn certificates(key: &str, path: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match parsed {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{key} {path}: no certificate in PEM")),
        Err(error) => Err(format!("{key} {path}: no valid PEM: {error}")),
    }
}
