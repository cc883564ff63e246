//! TLS of the client: whom it trusts, and what it shows of itself.
//!
//! One `rustls` configuration serves the calls and the live tail. Files are read when the client is made, and again by
//! [`Tls::renew`]: connections that are open keep what they began with. Without a file of authorities those of the
//! machine count. Who has a certificate of its own names the file of its authority, or that certificate itself if it
//! signed it; [`Tls::unverified`] trusts anybody, for people who look at a store by hand, and never for an agent.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::error::Error;
use crate::file;
use crate::tls_held::{Credentials, Held, Trust};

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

/// How a client speaks TLS. Cheap to clone; clones are one. Keys are never printed.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    source: Arc<Source>,
}

/// Where it is from.
#[derive(Debug)]
struct Source {
    wanted: Wanted,
    held: Arc<Held>,
    /// What the files held when they were last taken.
    pems: Mutex<Pems>,
}

/// What the settings name.
#[derive(Debug)]
struct Wanted {
    files: TlsFiles,
    /// File of the one certificate that is trusted, instead of authorities.
    pinned: Option<String>,
    /// Whether anybody is trusted, instead of authorities.
    is_unverified: bool,
}

/// What files hold; of those that are not named, nothing.
#[derive(PartialEq, Eq)]
struct Pems {
    trusted: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Pems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pems").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// Errors: `Kind::Invalid` with the file and what is wrong with it.
    pub fn read(files: &TlsFiles) -> Result<Self, Error> {
        Self::of(Wanted { files: files.clone(), pinned: None, is_unverified: false })
    }

    /// Trusts one certificate and nothing else: that of a store whose files lie on this machine. Only the
    /// client's own certificate and key are taken from `files`.
    ///
    /// Errors: as [`Tls::read`].
    pub fn pinned(cert_file: &str, files: &TlsFiles) -> Result<Self, Error> {
        Self::of(Wanted { files: files.clone(), pinned: Some(cert_file.to_owned()), is_unverified: false })
    }

    /// Trusts whoever answers: what is sent, a token with it, may be read by others. Only the client's own
    /// certificate and key are taken from `files`.
    ///
    /// Errors: as [`Tls::read`].
    pub fn unverified(files: &TlsFiles) -> Result<Self, Error> {
        Self::of(Wanted { files: files.clone(), pinned: None, is_unverified: true })
    }

    fn of(wanted: Wanted) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let pems = wanted.read()?;
        let held = Arc::new(Held::new(Arc::clone(&provider), wanted.credentials(&pems, &provider)?));
        let mut config = builder(provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Held>::clone(&held))
            .with_client_cert_resolver(Arc::<Held>::clone(&held));
        // A session that goes on would go on with what counted when it began.
        config.resumption = Resumption::disabled();
        let source = Source { wanted, held, pems: Mutex::new(pems) };
        Ok(Self { config: Arc::new(config), source: Arc::new(source) })
    }

    /// Reads the files again and uses them for connections from now on; returns whether they have changed. The
    /// authorities of the machine are not read again.
    ///
    /// Errors: as [`Tls::read`], as while a certificate is there and its key is not yet; nothing has changed then.
    /// Cost: the reading of up to three small files; blocks.
    pub fn renew(&self) -> Result<bool, Error> {
        let Source { wanted, held, pems } = &*self.source;
        let found = wanted.read()?;
        let mut pems = pems.lock().unwrap_or_else(PoisonError::into_inner);
        if *pems == found {
            return Ok(false);
        }
        held.replace(wanted.credentials(&found, &ring::default_provider())?);
        *pems = found;
        Ok(true)
    }

    /// A configuration that trusts nobody, for clients that do not speak TLS.
    pub(crate) fn nobody() -> Result<ClientConfig, Error> {
        let builder = builder(Arc::new(ring::default_provider()))?;
        Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }

    /// Does the handshake over a connection to `host`, whose certificate must bear that name or address.
    ///
    /// Errors: what the peer shows is not trusted, or it wants a certificate, or the connection broke.
    pub async fn connect<S>(
        &self,
        host: &str,
        stream: S,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Debug + Send + Unpin + use<S>>
    where
        S: AsyncRead + AsyncWrite + Debug + Send + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl Wanted {
    fn read(&self) -> Result<Pems, Error> {
        let TlsFiles { ca_file, cert_file, key_file, .. } = &self.files;
        match (cert_file.as_str(), key_file.as_str()) {
            ("", "") => {}
            ("", _) => {
                return Err(Error::invalid("key_file without cert_file: a key alone is nothing; name both"));
            }
            (_, "") => {
                return Err(Error::invalid(
                    "cert_file without key_file: a certificate takes its key; name both",
                ));
            }
            _ => {}
        }
        let read = |key: &str, path: &str| match path {
            "" => Ok(Vec::new()),
            path => file::read(key, path, FILE_BYTES_MAX),
        };
        let trusted = match &self.pinned {
            Some(path) => read("cert_file", path)?,
            None if self.is_unverified => Vec::new(),
            None => read("ca_file", ca_file)?,
        };
        Ok(Pems { trusted, cert: read("cert_file", cert_file)?, key: read("key_file", key_file)? })
    }

    fn credentials(&self, pems: &Pems, provider: &CryptoProvider) -> Result<Credentials, Error> {
        Ok(Credentials { trust: self.trust(pems, provider)?, own: self.own(pems, provider)?.map(Arc::new) })
    }

    fn trust(&self, pems: &Pems, provider: &CryptoProvider) -> Result<Trust, Error> {
        let TlsFiles { ca_file, server_name, .. } = &self.files;
        if let Some(path) = &self.pinned {
            return Ok(Trust::Pinned(certificates("cert_file", path, &pems.trusted)?.swap_remove(0)));
        }
        if self.is_unverified {
            return Ok(Trust::Anybody);
        }
        let roots = match ca_file.as_str() {
            "" => roots_of_machine()?,
            path => roots_of_file(path, &pems.trusted)?,
        };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider.clone()))
                .build()
                .map_err(|error| Error::invalid(format!("cannot use ca_file {ca_file}: {error}")))?;
        let name = match server_name.as_str() {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|_| {
                Error::invalid(format!("cannot use server_name {name:?}: want a host name or an address"))
            })?),
        };
        Ok(Trust::Authorities(verifier, name))
    }

    /// What the client shows of itself.
    fn own(&self, pems: &Pems, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, Error> {
        let TlsFiles { cert_file, key_file, .. } = &self.files;
        if cert_file.is_empty() {
            return Ok(None);
        }
        let chain = certificates("cert_file", cert_file, &pems.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|_| {
            Error::invalid(format!(
                "cannot use key_file {key_file}: no private key in PEM, or an encrypted one"
            ))
        })?;
        let own = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let text = match error {
                rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
                other => other.to_string(),
            };
            Error::invalid(format!("cannot use cert_file {cert_file} with key_file {key_file}: {text}"))
        })?;
        Ok(Some(own))
    }
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid(format!("cannot set up TLS: {error}")))
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

fn roots_of_file(path: &str, bytes: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", path, bytes)? {
        roots
            .add(certificate)
            .map_err(|error| Error::invalid(format!("cannot use ca_file {path}: {error}")))?;
    }
    Ok(roots)
}

/// Reads the certificates of a file; there is at least one.
fn certificates(key: &str, path: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match parsed {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::invalid(format!("cannot use {key} {path}: no certificate in PEM"))),
        Err(error) => Err(Error::invalid(format!("cannot use {key} {path}: no valid PEM: {error}"))),
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
