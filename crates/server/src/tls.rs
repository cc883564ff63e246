//! TLS of the server: certificate, key, and the authorities of clients.
//!
//! The files are read outside: this crate gets what they hold, and may get it again when they change;
//! connections that are open keep what they began with. Every handshake stands under [`HANDSHAKE_WAIT_MAX`]
//! and under the place that its connection took among `server.connections_max`.

use logyard_client::{AcceptFiles, accept_config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, AlertDescription, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Longest time for a handshake.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest time for which a client that was refused is listened to, so that the reason reaches it.
const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(2);

/// Most bytes of it.
const FAREWELL_BYTES_MAX: u64 = 64 << 10;

/// First byte of a TLS connection: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Answer to a client that speaks plain HTTP to a port with TLS.
const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 54\r\nConnection: close\r\n\r\nthis port speaks TLS: use https:// instead of http://\n";

/// Files of TLS. Default none: plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// File of the certificate, followed by those between it and its authority, in PEM. With it and
    /// `key_file` the port speaks HTTPS and nothing else. Read again when it changes. Default empty.
    pub cert_file: String,
    /// File of its private key, in PEM, not encrypted. Default empty.
    pub key_file: String,
    /// File of the authorities whose certificates clients must show, in PEM; tokens are asked for besides.
    /// Default empty: clients show none.
    pub client_ca_file: String,
}

impl TlsSettings {
    /// Returns whether TLS is wanted.
    pub fn is_on(&self) -> bool {
        !self.cert_file.is_empty()
    }

    /// Checks what the types do not say. Errors: the text of a fault, which begins with its key.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (self.cert_file.is_empty(), self.key_file.is_empty(), self.client_ca_file.is_empty()) {
            (false, true, _) => Err("server.tls: cert_file without key_file; set both".to_owned()),
            (true, false, _) => Err("server.tls: key_file without cert_file; set both".to_owned()),
            (true, true, false) => Err(
                "server.tls: client_ca_file takes a certificate of the server; set cert_file and key_file"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// What the files of [`TlsSettings`] hold.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsPems {
    /// Of `cert_file`.
    pub cert: Vec<u8>,
    /// Of `key_file`.
    pub key: Vec<u8>,
    /// Of `client_ca_file`, if there is one.
    pub client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsPems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsPems").finish_non_exhaustive()
    }
}

/// How connections are secured. Clones are one.
#[derive(Clone, Debug)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Takes the contents of the files. Errors: the text of the first fault, with setting and file.
    pub fn new(settings: &TlsSettings, pems: &TlsPems) -> Result<Self, String> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(config(settings, pems)?)))))
    }

    /// Uses other contents for connections from now on. Errors: as [`Tls::new`]; nothing has changed then.
    pub fn renew(&self, settings: &TlsSettings, pems: &TlsPems) -> Result<(), String> {
        let config = Arc::new(config(settings, pems)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Takes a connection over; `None` if there is no handshake: then `failed` was called, and the client was told.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        failed: impl FnOnce(&io::Error),
    ) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE_WAIT_MAX, self.handshake(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err((error, stream))) => {
                failed(&error);
                if let Some(stream) = stream {
                    farewell(stream).await;
                }
            }
            Err(_) => failed(&io::ErrorKind::TimedOut.into()),
        }
        None
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (io::Error, Option<TcpStream>)> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first == [HANDSHAKE_RECORD] => {}
            Ok(1) => {
                let written = stream.write_all(PLAIN_REFUSAL).await;
                let error = io::Error::new(io::ErrorKind::Unsupported, "no TLS");
                return Err((written.err().unwrap_or(error), Some(stream)));
            }
            Ok(_) => return Err((io::ErrorKind::UnexpectedEof.into(), None)),
            Err(error) => return Err((error, None)),
        }
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
        accepting.await.map_err(|(error, stream)| (error, Some(stream)))
    }

    /// Sorts failed handshakes for the metrics.
    pub(crate) fn reason(error: &io::Error) -> &'static str {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(rustls::Error::NoCertificatesPresented), _) => "no_client_certificate",
            (Some(rustls::Error::InvalidCertificate(_)), _) => "bad_client_certificate",
            (
                Some(rustls::Error::AlertReceived(
                    AlertDescription::UnknownCA
                    | AlertDescription::BadCertificate
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateUnknown,
                )),
                _,
            ) => "refused_by_client",
            (None, io::ErrorKind::TimedOut) => "timeout",
            (None, io::ErrorKind::Unsupported) => "plain_http",
            _ => "other",
        }
    }
}

/// Closes a connection of which bytes may be unread: without reading them, the close would be a reset, which
/// can overtake what was said.
async fn farewell(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(FAREWELL_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whatever it comes to, the connection is over.
    drop(tokio::time::timeout(FAREWELL_WAIT_MAX, rest).await);
}

fn config(settings: &TlsSettings, pems: &TlsPems) -> Result<ServerConfig, String> {
    let files = AcceptFiles {
        cert_file: &settings.cert_file,
        key_file: &settings.key_file,
        client_ca_file: &settings.client_ca_file,
        cert: &pems.cert,
        key: &pems.key,
        client_ca: pems.client_ca.as_deref(),
    };
    let mut config = accept_config(&files).map_err(|fault| format!("cannot use server.tls.{fault}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
