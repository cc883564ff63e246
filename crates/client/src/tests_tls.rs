//! What a client trusts, shows and says, against a TLS server of a few lines.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logyard_model::TimeRange;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::{Client, ClientSettings, Error, Kind, TailQuery, Tls, TlsFiles};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 33\r\nconnection: close\r\n\r\n{\"status\":\"success\",\"data\":[\"a\"]}";

/// A folder with an authority's certificate `NAME.ca`, and what it signed.
struct Folder(TempDir);

impl Folder {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    #[allow(clippy::disallowed_methods, reason = "files of a test")]
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "files of a test")]
    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        self.write(&format!("{name}.ca"), &issuer.pem());
        issuer
    }

    /// Writes `NAME.cert` and `NAME.key`.
    fn sign(&self, issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, host: &str, until: i32) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        self.write(&format!("{name}.cert"), &params.signed_by(&key, issuer).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Serves `ANSWER` to whoever comes, with a certificate of the folder; asks for one of `clients`.
    async fn serve(&self, name: &str, clients: Option<&str>) -> String {
        let parse = |name: &str| CertificateDer::from_pem_slice(&self.read(name)).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&self.read(&format!("{name}.key"))).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(parse(&format!("{authority}.ca"))).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(vec![parse(&format!("{name}.cert"))], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that does not like the certificate ends the handshake.
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                drop(socket.write_all(ANSWER).await);
                drop(socket.shutdown().await);
            }
        });
        format!("https://localhost:{port}")
    }

    fn files(&self, ca: &str, own: &str) -> TlsFiles {
        let path = |name: &str, end: &str| match name {
            "" => String::new(),
            name => self.path(&format!("{name}.{end}")),
        };
        TlsFiles {
            ca_file: path(ca, "ca"),
            cert_file: path(own, "cert"),
            key_file: path(own, "key"),
            server_name: String::new(),
        }
    }
}

fn client(base: &str, tls: Option<Tls>) -> Result<Client, Error> {
    let settings = ClientSettings {
        timeout: Duration::from_secs(20),
        org_id: None,
        token: None,
        tls,
        user_agent: "logyard-test/1".to_owned(),
    };
    Client::new(base, settings)
}

/// Asks for labels; `want` is in the text of the error, or empty if there is none.
async fn check(base: &str, tls: Tls, want: &str) {
    let asked = client(base, Some(tls)).unwrap().labels(TimeRange { start_ns: 0, end_ns: 1 }).await;
    match asked {
        Ok(labels) => assert_eq!((labels, want), (vec!["a".to_owned()], "")),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.to_string().contains(want) && !want.is_empty(), "want {want:?}, got {error}");
        }
    }
}

#[tokio::test]
async fn a_server_is_trusted_for_a_reason() {
    let folder = Folder(TempDir::new().unwrap());
    let (ours, other) = (folder.authority("ours"), folder.authority("other"));
    folder.sign(&ours, "good", "localhost", 2100);
    folder.sign(&ours, "old", "localhost", 2001);
    folder.sign(&ours, "elsewhere", "logs.example", 2100);
    folder.sign(&other, "foreign", "localhost", 2100);
    let with = |name: &str| {
        let files = TlsFiles { server_name: name.to_owned(), ..folder.files("ours", "") };
        Tls::read(&files).unwrap()
    };
    let good = folder.serve("good", None).await;
    check(&good, with(""), "").await;
    let foreign = folder.serve("foreign", None).await;
    check(&foreign, with(""), "an authority that is not trusted here; name the authority's certificate")
        .await;
    check(&folder.serve("old", None).await, with(""), "its certificate has expired; renew it").await;
    let elsewhere = folder.serve("elsewhere", None).await;
    check(&elsewhere, with(""), "its certificate is for another name").await;
    check(&elsewhere, with("logs.example"), "").await;
    check(&good, with("logs.example"), "its certificate is for another name").await;
    // One certificate alone, whatever stands in it.
    let pinned = |name: &str| Tls::pinned(&folder.path(name), &TlsFiles::default()).unwrap();
    for (base, name) in [(&good, "good.cert"), (&foreign, "foreign.cert"), (&elsewhere, "elsewhere.cert")] {
        check(base, pinned(name), "").await;
    }
    check(&good, pinned("foreign.cert"), "is it another store?").await;
    // The other protocol on the port.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = plain.accept().await.unwrap();
        socket.read_buf(&mut Vec::new()).await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket.shutdown().await.unwrap();
    });
    let speaks_plain = format!("https://localhost:{port}");
    check(&speaks_plain, with(""), "if the store speaks plain HTTP, use http://").await;
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let folder = Folder(TempDir::new().unwrap());
    let (ours, other) = (folder.authority("ours"), folder.authority("other"));
    folder.sign(&ours, "server", "localhost", 2100);
    folder.sign(&ours, "me", "agent", 2100);
    folder.sign(&ours, "old", "agent", 2001);
    folder.sign(&other, "stranger", "agent", 2100);
    let base = folder.serve("server", Some("ours")).await;
    let with = |own: &str| Tls::read(&folder.files("ours", own)).unwrap();
    check(&base, with("me"), "").await;
    check(&base, with(""), "it asks for a certificate of the client; name cert_file and key_file").await;
    check(&base, with("old"), "does not accept the certificate of this client (CertificateExpired)").await;
    check(&base, with("stranger"), "does not accept the certificate of this client (UnknownCA)").await;
    // The live tail says the same.
    let tail = TailQuery { query: "{a=\"b\"}".to_owned(), start_ns: 0, limit: 1 };
    let refused = client(&base, Some(with(""))).unwrap().tail(&tail).await.unwrap_err();
    assert!(refused.to_string().contains("it asks for a certificate of the client"), "{refused}");
    let none = client(&base, Some(with("me"))).unwrap().tail(&tail).await.unwrap_err();
    assert!(none.to_string().contains("success"), "{none}");
}

#[tokio::test]
async fn files_are_taken_again_when_they_change() {
    let folder = Folder(TempDir::new().unwrap());
    let (ours, other) = (folder.authority("ours"), folder.authority("other"));
    folder.sign(&ours, "server", "localhost", 2100);
    folder.sign(&other, "foreign", "localhost", 2100);
    folder.sign(&ours, "next", "agent", 2100);
    folder.sign(&ours, "me", "agent", 2001);
    let base = folder.serve("server", Some("ours")).await;
    let foreign = folder.serve("foreign", None).await;
    let tls = Tls::read(&folder.files("ours", "me")).unwrap();
    let copy = |from: &str, to: &str| folder.write(to, &String::from_utf8(folder.read(from)).unwrap());
    assert!(!tls.renew().unwrap());
    check(&base, tls.clone(), "(CertificateExpired)").await;
    check(&foreign, tls.clone(), "not trusted here").await;
    // Half of a renewal changes nothing.
    copy("next.cert", "me.cert");
    let half = tls.renew().unwrap_err().to_string();
    assert!(half.ends_with("the key is not that of the certificate"), "{half}");
    check(&base, tls.clone(), "(CertificateExpired)").await;
    copy("next.key", "me.key");
    // Asked through one client, it counts for all that have it.
    assert!(client(&base, Some(tls.clone())).unwrap().renew_certificates().unwrap());
    assert!(!tls.renew().unwrap());
    check(&base, tls.clone(), "").await;
    copy("other.ca", "ours.ca");
    assert!(tls.renew().unwrap());
    check(&foreign, tls.clone(), "").await;
    check(&base, tls, "not trusted here").await;
    // So does a certificate that is trusted alone.
    let pinned = Tls::pinned(&folder.path("server.cert"), &TlsFiles::default()).unwrap();
    check(&foreign, pinned.clone(), "is it another store?").await;
    copy("foreign.cert", "server.cert");
    assert!(pinned.renew().unwrap());
    check(&foreign, pinned, "").await;
}

#[test]
fn faults_of_files_are_named() {
    let folder = Folder(TempDir::new().unwrap());
    let authority = folder.authority("ours");
    folder.sign(&authority, "me", "agent", 2100);
    folder.sign(&authority, "other", "agent", 2100);
    folder.write("empty.cert", "");
    folder.write("empty.key", "");
    let fault = |files: &TlsFiles| Tls::read(files).unwrap_err().to_string();
    let good = folder.files("ours", "me");
    let (no_key, no_cert) = (
        TlsFiles { key_file: String::new(), ..good.clone() },
        TlsFiles { cert_file: String::new(), ..good.clone() },
    );
    assert!(fault(&no_key).starts_with("cert_file without key_file"));
    assert!(fault(&no_cert).starts_with("key_file without cert_file"));
    let missing = Path::new(&good.ca_file).with_file_name("nosuch").display().to_string();
    let want = format!("cannot read ca_file {missing}: no such file");
    assert_eq!(fault(&TlsFiles { ca_file: missing, ..good.clone() }), want);
    let crossed = TlsFiles { key_file: folder.path("other.key"), ..good.clone() };
    assert!(fault(&crossed).ends_with("the key is not that of the certificate"));
    let empty = folder.files("ours", "empty");
    assert!(fault(&empty).ends_with("empty.cert: no certificate in PEM"), "{}", fault(&empty));
    let no_key = TlsFiles { key_file: folder.path("empty.key"), ..good.clone() };
    assert!(fault(&no_key).contains("no private key in PEM"), "{}", fault(&no_key));
    let no_name = TlsFiles { server_name: "a b".to_owned(), ..good.clone() };
    assert!(fault(&no_name).contains("cannot use server_name \"a b\""));
    let plain = client("http://localhost:1", Some(Tls::read(&good).unwrap())).unwrap_err().to_string();
    assert!(plain.contains("certificates are named, but the address"), "{plain}");
}

#[tokio::test]
async fn anybody_is_trusted_when_asked_for() {
    let folder = Folder(TempDir::new().unwrap());
    let ours = folder.authority("ours");
    folder.sign(&ours, "old", "elsewhere.example", 2001);
    let base = folder.serve("old", None).await;
    check(&base, Tls::unverified(&folder.files("", "")).unwrap(), "").await;
    check(&base, Tls::read(&folder.files("ours", "")).unwrap(), "certificate").await;
}
