//! HTTPS: who is let in, what who is not is told, and that a handshake that never comes costs a place for a while.

use super::transport::Serving;
use super::{World, world_of, world_with};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use logyard_ingest::IngestSettings;
use logyard_server::{OwnDoor, Secret, ServerSettings, Tls, TlsPems, TlsSettings, TokenSettings};
use logyard_store::StoreSettings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::ServiceExt as _;

/// An authority that signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both PEM.
struct Signed {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Signs a certificate that holds until the given year.
    fn sign(&self, until: i32) -> Signed {
        let mut params = CertificateParams::new(vec!["logyard.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        Signed { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Returns what a server with a certificate of this authority is set to.
    fn server(&self, clients: Option<&Authority>) -> (TlsSettings, TlsPems) {
        let Signed { cert, key } = self.sign(2100);
        let settings = TlsSettings {
            cert_file: "cert.pem".to_owned(),
            key_file: "key.pem".to_owned(),
            client_ca_file: clients.map(|_| "ca.pem".to_owned()).unwrap_or_default(),
        };
        let client_ca = clients.map(|authority| authority.0.pem().into_bytes());
        (settings, TlsPems { cert: cert.into_bytes(), key: key.into_bytes(), client_ca })
    }
}

fn client(trusts: &Authority, shows: Option<&Signed>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match shows {
        None => builder.with_no_client_auth(),
        Some(Signed { cert, key }) => {
            let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A server over TLS, with a door for the agent of its process if there is one.
async fn secured(
    settings: ServerSettings,
    (files, pems): &(TlsSettings, TlsPems),
    door: Option<OwnDoor>,
) -> (World, Tls) {
    let tls = Tls::new(files, pems).unwrap();
    let (limits, used) = (IngestSettings::default(), tls.clone());
    let world = world_of(StoreSettings::default(), limits, settings, |parts| {
        (parts.tls, parts.own_door) = (Some(used), door);
    });
    (world.await, tls)
}

const REQUEST: &[u8] = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Asks whether the server is ready, and returns all that comes back.
async fn ask(serving: &Serving, config: &Arc<ClientConfig>) -> io::Result<String> {
    let name = ServerName::try_from("logyard.test").unwrap();
    let plain = serving.connect().await;
    let mut socket = TlsConnector::from(Arc::clone(config)).connect(name, plain).await?;
    socket.write_all(REQUEST).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn check(serving: &Serving, config: &Arc<ClientConfig>, want: &str) {
    let told = match ask(serving, config).await {
        Ok(answer) => answer,
        Err(error) => error.to_string(),
    };
    assert!(told.contains(want), "want {want:?}, got {told:?}");
}

#[tokio::test]
async fn https_is_answered_and_nothing_else() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let (world, tls) = secured(ServerSettings::default(), &authority.server(None), None).await;
    let serving = Serving::start(world).await;
    let trusting = client(&authority, None);
    check(&serving, &trusting, "HTTP/1.1 200 OK").await;
    check(&serving, &client(&other, None), "UnknownIssuer").await;
    let mut plain = serving.connect().await;
    plain.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    assert!(body.starts_with("this port speaks TLS"), "{body}");
    // Half of a renewal is refused, a whole one counts for the next connection.
    let (settings, fresh) = other.server(None);
    let (_, old) = authority.server(None);
    let half = TlsPems { cert: fresh.cert.clone(), key: old.key, client_ca: None };
    let fault = tls.renew(&settings, &half).unwrap_err();
    assert!(
        fault.ends_with("cert.pem with key_file key.pem: the key is not that of the certificate"),
        "{fault}"
    );
    check(&serving, &trusting, "HTTP/1.1 200 OK").await;
    tls.renew(&settings, &fresh).unwrap();
    check(&serving, &client(&other, None), "HTTP/1.1 200 OK").await;
    check(&serving, &trusting, "UnknownIssuer").await;
    serving.stop().await;
}

#[tokio::test]
async fn clients_show_certificates_where_asked() {
    let (authority, clients, others) = (Authority::new("a"), Authority::new("b"), Authority::new("c"));
    let (world, _) = secured(ServerSettings::default(), &authority.server(Some(&clients)), None).await;
    let metrics = world.router.clone();
    let serving = Serving::start(world).await;
    check(&serving, &client(&authority, Some(&clients.sign(2100))), "HTTP/1.1 200 OK").await;
    check(&serving, &client(&authority, None), "CertificateRequired").await;
    check(&serving, &client(&authority, Some(&clients.sign(2001))), "CertificateExpired").await;
    check(&serving, &client(&authority, Some(&others.sign(2100))), "UnknownCA").await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let metrics = metrics.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for (reason, count) in [("no_client_certificate", 1), ("bad_client_certificate", 2)] {
        let line = format!("logyard_server_tls_failed_handshakes_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    serving.stop().await;
}

#[tokio::test]
async fn the_agent_of_the_process_has_a_door_of_its_own() {
    let authority = Authority::new("a");
    let tokens =
        vec![TokenSettings { name: "a".into(), token: Secret::new("a"), ..TokenSettings::default() }];
    let settings = ServerSettings { tokens, ..ServerSettings::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = OwnDoor { listener, token: Secret::new("own") };
    let (world, _) = secured(settings, &authority.server(None), Some(door)).await;
    let serving = Serving::start(world).await;
    let ask = |method: &str, path: &str, token: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer.split(' ').nth(1).unwrap().to_owned()
        }
    };
    let push = "/loki/api/v1/push";
    // An empty push: 422 is the answer to who may push.
    assert_eq!(ask("POST", push, "own").await, "422");
    assert_eq!(ask("POST", push, "a").await, "401");
    assert_eq!(ask("GET", "/loki/api/v1/labels", "own").await, "403");
    assert_eq!(ask("GET", "/ready", "").await, "200");
    serving.stop().await;
}

/// The clock runs by itself whenever nothing else happens: only what never comes may be waited for.
#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_nothing_frees_its_place() {
    let authority = Authority::new("a");
    let one = || ServerSettings { connections_max: 1, ..ServerSettings::default() };
    for is_secured in [false, true] {
        let world = match is_secured {
            true => secured(one(), &authority.server(None), None).await.0,
            false => world_with(IngestSettings::default(), one()).await,
        };
        let serving = Serving::start(world).await;
        let begun = tokio::time::Instant::now();
        let mut silent = serving.connect().await;
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        assert!(begun.elapsed().as_secs() >= if is_secured { 10 } else { 60 });
        tokio::time::resume();
        match is_secured {
            true => check(&serving, &client(&authority, None), "HTTP/1.1 200 OK").await,
            false => {
                let mut socket = serving.connect().await;
                socket.write_all(REQUEST).await.unwrap();
                let mut answer = String::new();
                socket.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            }
        }
        serving.stop().await;
        tokio::time::pause();
    }
}
