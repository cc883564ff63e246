//! Real SMTP on real sockets, with a server that takes down what it hears.

use super::*;
use logyard_sys::SimDisk;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Answers of a server, and how it speaks TLS.
struct Server {
    security: Security,
    /// What it answers to the end of a message.
    verdict: &'static str,
}

/// A certificate for `localhost`: that of its authority as PEM, and the configuration of a server.
fn certificate() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (authority.pem(), Arc::new(config))
}

/// Serves one connection. Returns the commands it heard, and the message.
async fn serve(server: Server, listener: TcpListener, config: Arc<ServerConfig>) -> Vec<String> {
    let (socket, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    let acceptor = TlsAcceptor::from(config);
    match server.security {
        Security::Plain => drop(talk(BufReader::new(socket), &mut heard, &server, true, true).await),
        Security::Tls => match acceptor.accept(socket).await {
            Ok(tls) => drop(talk(BufReader::new(tls), &mut heard, &server, true, true).await),
            Err(error) => heard.push(format!("no TLS: {error}")),
        },
        Security::StartTls => {
            if let Some(plain) = talk(BufReader::new(socket), &mut heard, &server, true, false).await {
                match acceptor.accept(plain.into_inner()).await {
                    Ok(tls) => drop(talk(BufReader::new(tls), &mut heard, &server, false, true).await),
                    Err(error) => heard.push(format!("no TLS: {error}")),
                }
            }
        }
    }
    heard
}

/// Talks until the client leaves, or wants TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: BufReader<S>,
    heard: &mut Vec<String>,
    server: &Server,
    greets: bool,
    is_safe: bool,
) -> Option<BufReader<S>> {
    if greets {
        socket.write_all(b"220 sink ready\r\n").await.ok()?;
    }
    let mut is_data = false;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        let answer = match line.split(' ').next().unwrap_or_default() {
            "." if is_data => {
                is_data = false;
                server.verdict
            }
            _ if is_data => "",
            "EHLO" if is_safe => "250-sink\r\n250 AUTH PLAIN LOGIN\r\n",
            "EHLO" => "250-sink\r\n250 STARTTLS\r\n",
            "STARTTLS" => "220 go on\r\n",
            "AUTH" => "235 welcome\r\n",
            "DATA" => {
                is_data = true;
                "354 go on\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        let wants_tls = line == "STARTTLS";
        heard.push(line);
        socket.write_all(answer.as_bytes()).await.ok()?;
        socket.flush().await.ok()?;
        if wants_tls {
            return Some(socket);
        }
    }
}

/// Sends a letter to a server. Returns what came of it, and what the server heard.
async fn send(
    server: Server,
    change: impl FnOnce(&mut TargetSettings),
) -> (Result<(), Refusal>, Vec<String>) {
    let (authority, config) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let disk = SimDisk::new();
    disk.write_atomic(Path::new("/ca"), authority.as_bytes()).unwrap();
    disk.write_atomic(Path::new("/password"), b"sesame\n").unwrap();
    let scheme = match server.security {
        Security::StartTls => "smtp",
        Security::Tls => "smtps",
        Security::Plain => "smtp+plain",
    };
    let mut settings = TargetSettings {
        ca_file: "/ca".to_owned(),
        user: "me".to_owned(),
        password_file: "/password".to_owned(),
        from: "Logyard <logyard@lan>".to_owned(),
        to: vec!["Ann <ann@lan>".to_owned(), "bob@lan".to_owned()],
        ..TargetSettings::default()
    };
    change(&mut settings);
    let email = Email::new(&settings, &format!("{scheme}://localhost:{port}"), &disk).unwrap();
    assert!(!format!("{email:?}").contains("sesame"));
    let serving = tokio::spawn(serve(server, listener, config));
    let body = "a line\n.\n. of dots, and ünicode\n".to_owned();
    let sent = email.send(Letter { subject: "[FIRING] Ä".to_owned(), body }).await;
    drop(email);
    (sent, serving.await.unwrap())
}

const TAKEN: &str = "250 taken\r\n";

#[tokio::test]
async fn a_message_arrives_whole_over_either_kind_of_tls() {
    for security in [Security::StartTls, Security::Tls] {
        let (sent, heard) = send(Server { security, verdict: TAKEN }, |_| ()).await;
        assert_eq!(sent, Ok(()), "{heard:?}");
        let has = |line: &str| heard.iter().any(|heard| heard == line);
        // NUL, me, NUL, sesame.
        assert!(has("AUTH PLAIN AG1lAHNlc2FtZQ=="), "{heard:?}");
        assert!(heard.iter().any(|line| line.starts_with("MAIL FROM:<logyard@lan>")), "{heard:?}");
        assert!(has("RCPT TO:<ann@lan>") && has("RCPT TO:<bob@lan>"), "{heard:?}");
        assert!(has("From: Logyard <logyard@lan>") && has("Auto-Submitted: auto-generated"), "{heard:?}");
        assert!(has("Subject: [FIRING] =?utf-8?b?w4Q=?="), "{heard:?}");
        assert!(heard.iter().any(|line| line.starts_with("Date: ")), "{heard:?}");
        assert!(heard.iter().any(|line| line.starts_with("Message-ID: <")), "{heard:?}");
        if security == Security::StartTls {
            let tls = heard.iter().position(|line| line == "STARTTLS").unwrap();
            assert!(heard[..tls].iter().all(|line| line.starts_with("EHLO")), "{heard:?}");
        }
    }
}

#[tokio::test]
async fn without_tls_nothing_secret_is_sent() {
    let (sent, heard) = send(Server { security: Security::Plain, verdict: TAKEN }, |settings| {
        (settings.user, settings.password_file, settings.ca_file) = Default::default();
    })
    .await;
    assert_eq!(sent, Ok(()), "{heard:?}");
    let disk = SimDisk::new();
    let settings = TargetSettings { user: "me".to_owned(), ..TargetSettings::default() };
    let text = Email::new(&settings, "smtp+plain://a", &disk).unwrap_err();
    assert!(text.contains("no password is sent in plain"), "{text}");
}

#[tokio::test]
async fn what_is_refused_says_whether_it_is_for_good() {
    let refused = |verdict| async move {
        let (sent, _) = send(Server { security: Security::Tls, verdict }, |_| ()).await;
        let refusal = sent.unwrap_err();
        assert!(refusal.text.starts_with("cannot send mail by localhost: "), "{refusal:?}");
        (refusal.is_final, refusal.is_answer, refusal.text.contains("busy") || refusal.text.contains("spam"))
    };
    assert_eq!(refused("451 busy\r\n").await, (false, true, true));
    assert_eq!(refused("550 spam\r\n").await, (false, true, true));
    assert_eq!(refused("554 spam\r\n").await, (true, true, true));
    // A certificate of somebody else.
    let (sent, heard) = send(Server { security: Security::Tls, verdict: TAKEN }, |settings| {
        settings.ca_file = String::new();
    })
    .await;
    let refusal = sent.unwrap_err();
    assert!(!refusal.is_final && !refusal.is_answer, "{refusal:?}");
    assert!(heard.iter().all(|line| line.starts_with("no TLS")), "{heard:?}");
}

#[test]
fn addresses_of_mail_servers() {
    let check = |url: &str, want: Option<(Security, &str, u16)>| {
        assert_eq!(
            split(url).ok(),
            want.map(|(security, host, port)| (security, host.to_owned(), port)),
            "{url}"
        );
    };
    check("smtp://mail.lan", Some((Security::StartTls, "mail.lan", 587)));
    check("smtps://mail.lan/", Some((Security::Tls, "mail.lan", 465)));
    check("smtps://[::1]:2465", Some((Security::Tls, "::1", 2465)));
    check("smtp+plain://localhost", Some((Security::Plain, "localhost", 25)));
    check("smtp://me:sesame@mail.lan", None);
    check("smtp://", None);
    check("smtp://a:b", None);
    check("http://a", None);
    let fault = |change: &dyn Fn(&mut TargetSettings), want: &str| {
        let mut settings = TargetSettings {
            from: "a@b".to_owned(),
            to: vec!["c@d".to_owned()],
            ..TargetSettings::default()
        };
        change(&mut settings);
        let text = Email::new(&settings, "smtps://mail.lan", &SimDisk::new()).unwrap_err();
        assert!(text.contains(want), "{text}");
    };
    fault(&|settings| settings.from = "me".to_owned(), "from: \"me\" is no address");
    fault(&|settings| settings.to = vec!["you".to_owned()], "to: \"you\" is no address");
    fault(&|settings| settings.to = vec!["c@d".to_owned(); 51], "51 addresses");
    fault(&|settings| settings.ca_file = "/none".to_owned(), "ca_file: cannot use /none: no such file");
    fault(&|settings| settings.user = "me".to_owned(), "password_file: cannot read");
}
