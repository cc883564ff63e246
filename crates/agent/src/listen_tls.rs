//! TLS of the ports that the agent listens on. The files are read at the start.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use logyard_client::{AcceptFiles, accept_config};
use logyard_sys::Disk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::Error;

/// Longest time for a handshake.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Files of TLS of a port. Default none: plain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenTlsSettings {
    /// File of the certificate, followed by those between it and its authority, in PEM. With it and `key_file` the
    /// port speaks TLS and nothing else. Read at the start. Default empty.
    pub cert_file: String,
    /// File of its private key, in PEM, not encrypted. Default empty.
    pub key_file: String,
    /// File of the authorities whose certificates senders must show, in PEM. Default empty: senders show none.
    pub client_ca_file: String,
}

/// Reads the files; `None`: there are none. Errors name setting and file.
pub(crate) fn acceptor(
    setting: &'static str,
    settings: &ListenTlsSettings,
    disk: &dyn Disk,
) -> Result<Option<TlsAcceptor>, Error> {
    let ListenTlsSettings { cert_file, key_file, client_ca_file } = settings;
    let refused = |reason: String| Error::Setting { setting, reason };
    match (cert_file.is_empty(), key_file.is_empty()) {
        (false, false) => {}
        (true, true) if client_ca_file.is_empty() => return Ok(None),
        _ => return Err(refused("set both cert_file and key_file, or none of the files".to_owned())),
    }
    let read = |key: &str, file: &str| {
        disk.read(Path::new(file)).map_err(|error| refused(format!("{key} {file}: {error}")))
    };
    let cert = read("cert_file", cert_file)?;
    let key = read("key_file", key_file)?;
    let client_ca = match client_ca_file.as_str() {
        "" => None,
        file => Some(read("client_ca_file", file)?),
    };
    let config = accept_config(&AcceptFiles {
        cert_file,
        key_file,
        client_ca_file,
        cert: &cert,
        key: &key,
        client_ca: client_ca.as_deref(),
    });
    Ok(Some(TlsAcceptor::from(Arc::new(config.map_err(refused)?))))
}

/// A connection, secured or not.
#[derive(Debug)]
pub(crate) enum Secured {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Shakes hands, if TLS is wanted. Errors: why there is no connection.
pub(crate) async fn secure(tls: Option<&TlsAcceptor>, stream: TcpStream) -> Result<Secured, String> {
    let Some(acceptor) = tls else { return Ok(Secured::Plain(stream)) };
    match timeout(HANDSHAKE_WAIT_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Ok(Secured::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(format!("no TLS handshake: {error}")),
        Err(_) => Err("no TLS handshake within 10 s".to_owned()),
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
