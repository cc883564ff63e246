//! TLS of the client: whom it trusts, and what it shows of itself.
//!
//! One `rustls` configuration serves the calls and the live tail. Files are read once, when the client is
//! made. Without a file of authorities those of the machine count. There is no way to trust anybody: who
//! has a certificate of its own names the file of its authority, or that certificate itself if it signed it.

use std::error::Error as StdError;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    self, CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::error::Error;
use crate::file;

/// Most bytes of a file of certificates; a distribution's list of all authorities has 220 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files that name whom to trust and who calls; an empty path names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted, PEM; none: those of the machine.
    pub ca_file: String,
    /// The client's own certificate with those between it and the authority, PEM.
    pub cert_file: String,
    /// Its private key, PEM.
    pub key_file: String,
    /// Name that the store's certificate must bear, if it is not that of the address.
    pub server_name: String,
}

/// How a client speaks TLS. Cheap to clone. Keys are never printed.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// Errors: `Kind::Invalid` with the file and what is wrong with it.
    pub fn read(files: &TlsFiles) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let roots = match files.ca_file.as_str() {
            "" => roots_of_machine()?,
            path => roots_of_file(path)?,
        };
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::invalid(format!("cannot use ca_file {}: {error}", files.ca_file)))?;
        let verifier: Arc<dyn ServerCertVerifier> = match files.server_name.as_str() {
            "" => inner,
            name => {
                let name = ServerName::try_from(name.to_owned()).map_err(|_| {
                    Error::invalid(format!("cannot use server_name {name:?}: want a host name or an address"))
                })?;
                Arc::new(Named { inner, name })
            }
        };
        Self::with(provider, verifier, identity(files)?)
    }

    /// Trusts one certificate and nothing else: that of a store whose files lie on this machine. Only the
    /// client's own certificate and key are taken from `files`.
    ///
    /// Errors: as [`Tls::read`].
    pub fn pinned(cert_file: &str, files: &TlsFiles) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let pinned = certificates("cert_file", cert_file)?.swap_remove(0);
        let verifier = Arc::new(Pinned { pinned, provider: Arc::clone(&provider) });
        Self::with(provider, verifier, identity(files)?)
    }

    /// A configuration that trusts nobody, for clients that do not speak TLS.
    pub(crate) fn none() -> Result<Self, Error> {
        let config = builder(Arc::new(ring::default_provider()))?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    fn with(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let builder = builder(provider)?.dangerous().with_custom_certificate_verifier(verifier);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key, files }) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let text = match error {
                        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".into(),
                        other => other.to_string(),
                    };
                    Error::invalid(format!("cannot use {files}: {text}"))
                })?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid(format!("cannot set up TLS: {error}")))
}

/// What a client shows of itself.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// For texts of errors.
    files: String,
}

fn identity(files: &TlsFiles) -> Result<Option<Identity>, Error> {
    match (files.cert_file.as_str(), files.key_file.as_str()) {
        ("", "") => Ok(None),
        ("", _) => Err(Error::invalid("key_file without cert_file: a key alone is nothing; name both")),
        (_, "") => Err(Error::invalid("cert_file without key_file: a certificate takes its key; name both")),
        (cert, key) => {
            let chain = certificates("cert_file", cert)?;
            let found = PrivateKeyDer::from_pem_slice(&file::read("key_file", key, FILE_BYTES_MAX)?);
            let parsed = found.map_err(|_| {
                Error::invalid(format!(
                    "cannot use key_file {key}: no private key in PEM, or an encrypted one"
                ))
            })?;
            Ok(Some(Identity { chain, key: parsed, files: format!("cert_file {cert} with key_file {key}") }))
        }
    }
}

fn roots_of_machine() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Lists of distributions hold certificates of old forms; what cannot be used is not trusted.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::invalid(
            "no certificates of authorities on this machine; install ca-certificates or name a ca_file",
        ));
    }
    Ok(roots)
}

fn roots_of_file(path: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path)? {
        roots
            .add(certificate)
            .map_err(|error| Error::invalid(format!("cannot use ca_file {path}: {error}")))?;
    }
    Ok(roots)
}

/// Reads a file of certificates; there is at least one.
fn certificates(key: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = file::read(key, path, FILE_BYTES_MAX)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match parsed {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::invalid(format!("cannot use {key} {path}: no certificate in PEM"))),
        Err(error) => Err(Error::invalid(format!("cannot use {key} {path}: no valid PEM: {error}"))),
    }
}

/// Checks as usual, but for another name than that of the address.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts one certificate, whatever its name and date: the other side has its key.
#[derive(Debug)]
struct Pinned {
    pinned: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn algorithms(&self) -> &crypto::WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
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
        match *end_entity == self.pinned {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
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

/// Says what TLS found wrong, and what to do about it; `None` if it was not TLS.
pub(crate) fn fault(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(fault) = error.downcast_ref::<rustls::Error>() {
        return Some(explain(fault));
    }
    // An `io::Error` leaves out of its chain of sources what it holds.
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    held.and_then(|held| fault(held)).or_else(|| error.source().and_then(fault))
}

fn explain(error: &rustls::Error) -> String {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            C::UnknownIssuer | C::BadSignature => {
                "its certificate is of an authority that is not trusted here; name the \
                                 authority's certificate as ca_file"
                    .to_owned()
            }
            C::Expired | C::ExpiredContext { .. } => {
                "its certificate has expired; renew it, or correct the clock here".to_owned()
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "its certificate is not valid yet; correct the clock".to_owned()
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => format!(
                "its certificate is for another name ({fault}); use a name that it bears, or set server_name"
            ),
            C::ApplicationVerificationFailure => {
                "its certificate is not that of server.tls.cert_file; is it another store?".to_owned()
            }
            other => format!("its certificate cannot be used: {other}"),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate of the client; name cert_file and key_file".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError),
        ) => format!(
            "it does not accept the certificate of this client ({alert:?}); use one of an authority in its \
             server.tls.client_ca_file that has not expired"
        ),
        rustls::Error::InvalidMessage(_) => {
            format!("no TLS there ({error}); if the store speaks plain HTTP, use http://")
        }
        other => format!("no TLS connection: {other}"),
    }
}
