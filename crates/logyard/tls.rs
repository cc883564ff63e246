//! The certificates of the server and of the agent: read at start, and again when they change.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use logyard_client::TlsFiles;
use logyard_server::{Secret, Tls, TlsPems, TlsSettings};
use logyard_sys::{Disk, Random};
use tokio::net::TcpListener;

use crate::config::PushTlsSettings;
use crate::secrets;

/// Most bytes of a file of certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Pause between two looks at the files: a renewal is due days before the end.
const LOOK_PAUSE: Duration = Duration::from_secs(10);

/// What the server secures its connections with, and the files it is from.
#[derive(Debug)]
pub(crate) struct ServerTls {
    pub(crate) tls: Tls,
    settings: TlsSettings,
    pems: TlsPems,
}

impl ServerTls {
    /// Reads the files, if there are any. Errors name setting and file.
    pub(crate) fn read(settings: &TlsSettings, disk: &dyn Disk) -> anyhow::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let pems = read(settings, disk)?;
        let tls = Tls::new(settings, &pems).map_err(anyhow::Error::msg)?;
        Ok(Some(Self { tls, settings: settings.clone(), pems }))
    }

    /// Looks at the files for ever, and uses them when they have changed. Safe to cancel.
    pub(crate) async fn keep(self, disk: Arc<dyn Disk>) {
        let of = format!("server.tls.cert_file {}", self.settings.cert_file);
        let mut held = self;
        keep(of, move || read(&held.settings, &*disk).and_then(|pems| held.take(pems))).await;
    }

    /// Takes what the files hold now. Returns whether it is new; nothing changes on an error.
    fn take(&mut self, pems: TlsPems) -> anyhow::Result<bool> {
        if pems == self.pems {
            return Ok(false);
        }
        self.tls.renew(&self.settings, &pems).map_err(anyhow::Error::msg)?;
        self.pems = pems;
        Ok(true)
    }
}

/// Has the agent use the files of a destination (its key in the settings) when they have changed, for ever. Safe to cancel.
pub(crate) async fn keep_push(key: String, tls: logyard_client::Tls) {
    let of = format!("{key}.tls");
    let renew = move || tls.renew().with_context(|| format!("cannot use {key}.tls"));
    keep(of, renew).await;
}

/// Calls `look` for ever, on a thread that may block, and tells what comes of it.
async fn keep(of: String, look: impl FnMut() -> anyhow::Result<bool> + Send + 'static) {
    let mut fault = String::new();
    let mut next = Some(look);
    // A look that failed for good is a bug, which its panic has told; nothing is looked at then.
    while let Some(mut look) = next.take() {
        tokio::time::sleep(LOOK_PAUSE).await;
        let looking = tokio::task::spawn_blocking(move || {
            let found = look();
            (look, found)
        });
        let Ok((look, found)) = looking.await else { continue };
        next = Some(look);
        match found {
            Ok(true) => {
                fault.clear();
                tracing::info!(of, "certificates renewed");
            }
            Ok(false) => fault.clear(),
            // Told once: a renewal may be half-way, and the old certificate may last for weeks.
            Err(error) => {
                let text = format!("{error:#}");
                if text != fault {
                    tracing::warn!(error = text, "cannot use the changed certificates; the old ones stay");
                    fault = text;
                }
            }
        }
    }
}

fn read(settings: &TlsSettings, disk: &dyn Disk) -> anyhow::Result<TlsPems> {
    Ok(TlsPems {
        cert: read_file("cert_file", &settings.cert_file, disk)?,
        key: read_file("key_file", &settings.key_file, disk)?,
        client_ca: match settings.client_ca_file.as_str() {
            "" => None,
            path => Some(read_file("client_ca_file", path, disk)?),
        },
    })
}

fn read_file(key: &str, file: &str, disk: &dyn Disk) -> anyhow::Result<Vec<u8>> {
    let at = || format!("cannot read server.tls.{key} {file}");
    let meta = disk.metadata(Path::new(file)).with_context(at)?;
    let meta = meta.with_context(|| format!("{}: no such file", at()))?;
    anyhow::ensure!(meta.bytes <= FILE_BYTES_MAX, "{}: {} bytes are too many", at(), meta.bytes);
    disk.read(Path::new(file)).with_context(at)
}

/// Opens the door of the agent of this process, and makes the token for it.
pub(crate) async fn own_door(random: &Random) -> anyhow::Result<(TcpListener, Secret)> {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on loopback for the agent of this process")?,
    };
    Ok((listener, secrets::made(random)))
}

/// Returns what the agent on its own speaks to a store with; none if nothing is set.
pub(crate) fn of_push(key: &str, settings: &PushTlsSettings) -> anyhow::Result<Option<logyard_client::Tls>> {
    let files = settings.files();
    if files == TlsFiles::default() {
        return Ok(None);
    }
    logyard_client::Tls::read(&files).with_context(|| format!("cannot use {key}.tls")).map(Some)
}

#[cfg(test)]
mod tests {
    use logyard_sys::SimDisk;

    use super::*;

    fn certificate(disk: &SimDisk, cert: &str, key: &str) {
        let made = rcgen::generate_simple_self_signed(["logyard".to_owned()]).unwrap();
        disk.write_atomic(Path::new(cert), made.cert.pem().as_bytes()).unwrap();
        disk.write_atomic(Path::new(key), made.signing_key.serialize_pem().as_bytes()).unwrap();
    }

    #[test]
    fn files_are_taken_again_only_whole() {
        let disk = SimDisk::new();
        certificate(&disk, "/cert", "/key");
        let settings = TlsSettings {
            cert_file: "/cert".to_owned(),
            key_file: "/key".to_owned(),
            client_ca_file: String::new(),
        };
        let mut tls = ServerTls::read(&settings, &disk).unwrap().unwrap();
        assert!(!tls.take(read(&settings, &disk).unwrap()).unwrap());
        // Half of a renewal: the certificate is new, the key is not.
        certificate(&disk, "/cert", "/key-to-come");
        let text = tls.take(read(&settings, &disk).unwrap()).unwrap_err().to_string();
        let want = "cannot use server.tls.cert_file /cert with key_file /key: the key is not that of the certificate";
        assert_eq!(text, want);
        disk.rename(Path::new("/key-to-come"), Path::new("/key")).unwrap();
        assert!(tls.take(read(&settings, &disk).unwrap()).unwrap());
    }

    #[test]
    fn faults_name_setting_and_file() {
        let disk = SimDisk::new();
        certificate(&disk, "/cert", "/key");
        disk.write_atomic(Path::new("/empty"), b"").unwrap();
        disk.write_atomic(
            Path::new("/broken"),
            b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let check = |cert: &str, key: &str, ca: &str, want: &str| {
            let settings = TlsSettings {
                cert_file: cert.to_owned(),
                key_file: key.to_owned(),
                client_ca_file: ca.to_owned(),
            };
            let error = ServerTls::read(&settings, &disk).unwrap_err();
            assert!(format!("{error:#}").starts_with(want), "{error:#}");
        };
        check("/none", "/key", "", "cannot read server.tls.cert_file /none: no such file");
        check("/empty", "/key", "", "cannot use server.tls.cert_file /empty: no certificate in PEM");
        check("/broken", "/key", "", "cannot use server.tls.cert_file /broken: no valid PEM: ");
        check("/cert", "/cert", "", "cannot use server.tls.key_file /cert: no private key in PEM");
        check("/cert", "/key", "/key", "cannot use server.tls.client_ca_file /key: no certificate in PEM");
        assert!(ServerTls::read(&TlsSettings::default(), &disk).unwrap().is_none());
    }
}
