//! Behind a proxy: under a prefix, with what Traefik, nginx and those who ask for a login add to a request, over
//! HTTP/1.0 too, and with live tails.

use super::*;
use crate::transport::Serving;
use futures_util::StreamExt as _;
use logyard_server::Route;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a proxy, and the one it asks for a login, tell of a request. Logyard looks at none of it.
const ADDED: &str = "X-Forwarded-For: 203.0.113.9, 172.18.0.1\r\nX-Forwarded-Proto: https\r\n\
                     X-Forwarded-Host: logs.example.org\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /elsewhere\r\n\
                     X-Forwarded-Server: traefik\r\nX-Forwarded-Uri: /loki/api/v1/push\r\nX-Forwarded-Method: POST\r\n\
                     X-Real-Ip: 203.0.113.9\r\nForwarded: for=203.0.113.9;proto=https\r\nRemote-User: john\r\n\
                     Remote-Groups: admins\r\nRemote-Email: john@example.org\r\nCookie: authelia_session=abc\r\n";

/// Passes connections on; the first head of each gets more headers.
struct Proxy {
    address: SocketAddr,
    passing: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

impl Proxy {
    async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passing = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    head.truncate(head.len() - 2);
                    head.extend_from_slice(ADDED.as_bytes());
                    head.extend_from_slice(b"\r\n");
                    let mut server = TcpStream::connect(upstream).await.unwrap();
                    server.write_all(&head).await.unwrap();
                    // One side may leave in the middle; the other is told by the end of its connection.
                    drop(copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        Self { address, passing }
    }

    /// Sends a request whose connection ends with its answer, and returns head and body of that.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("an end").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    async fn push(&self, prefix: &str, ts_ns: i64, line: &str) {
        let body = format!("{{\"streams\":[{}]}}", stream(r#"{"app":"p"}"#, &[(ts_ns, line)]));
        let request = format!(
            "POST {prefix}/loki/api/v1/push HTTP/1.1\r\nHost: logs.example.org\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (head, body) = self.ask(&request).await;
        assert!(head.starts_with("http/1.1 204 "), "{head}\n{body}");
    }
}

async fn serving(prefix: &str) -> Serving {
    let settings = ServerSettings { path_prefix: prefix.to_owned(), ..ServerSettings::default() };
    Serving::start(world_with(IngestSettings::default(), settings).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_queries_pass_a_proxy() {
    for prefix in ["", "/logs"] {
        let serving = serving(prefix).await;
        let proxy = Proxy::start(serving.address).await;
        proxy.push(prefix, NOW_NS - SEC_NS, "through").await;
        let path = format!(
            "{prefix}/loki/api/v1/query_range?query={}&start={}&end={NOW_NS}",
            escape(r#"{app="p"}"#),
            NOW_NS - 60 * SEC_NS
        );
        // nginx asks in the old form unless it is told otherwise, and its answer has no pieces.
        for version in ["1.1", "1.0"] {
            let request = format!("GET {path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
            let (head, body) = proxy.ask(&request).await;
            assert!(head.starts_with(&format!("http/{version} 200 ")), "{head}\n{body}");
            assert!(version == "1.1" || !head.contains("transfer-encoding"), "{head}");
            assert!(body.contains(r#""through"]"#), "{body}");
        }
        let (head, body) = proxy.ask(&format!("GET {prefix}/ready HTTP/1.0\r\n\r\n")).await;
        assert!(head.contains(" 200 ") && body == "ready\n", "{head}\n{body}");
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_tail_passes_a_proxy() {
    for prefix in ["", "/logs"] {
        let serving = serving(prefix).await;
        let proxy = Proxy::start(serving.address).await;
        proxy.push(prefix, NOW_NS - 2 * SEC_NS, "before").await;
        let path = format!("{prefix}/loki/api/v1/tail?query={}&start=0", escape(r#"{app="p"}"#));
        let request = format!("ws://{}{path}", proxy.address).into_client_request().unwrap();
        let connection = TcpStream::connect(proxy.address).await.unwrap();
        let (mut socket, _) = client_async(request, connection).await.unwrap();
        let mut next = async || {
            let said = async {
                loop {
                    match socket.next().await.unwrap().unwrap() {
                        Message::Text(text) => return text.to_string(),
                        Message::Ping(_) | Message::Pong(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
            };
            tokio::time::timeout(PATIENCE, said).await.expect("a frame in time")
        };
        let first = next().await;
        assert!(first.contains(r#""before"]"#), "{first}");
        proxy.push(prefix, NOW_NS - SEC_NS, "after").await;
        let second = next().await;
        assert!(second.contains(r#""after"]"#) && !second.contains("before"), "{second}");
        drop(socket);
        serving.stop().await;
    }
}

#[tokio::test]
async fn every_route_stands_below_the_prefix_and_nowhere_else() {
    let settings = ServerSettings { path_prefix: "/logs/of/home/".to_owned(), ..ServerSettings::default() };
    let below = world_with(IngestSettings::default(), settings).await;
    let plain = world().await;
    let routes: Vec<Route> = below.server.as_ref().unwrap().routes();
    assert!(routes.len() > 60, "{}", routes.len());
    for route in routes {
        let segment = |segment: &str| if segment.starts_with('{') { "x" } else { segment }.to_owned();
        let path = route.path.split('/').map(segment).collect::<Vec<String>>().join("/");
        let send = async |world: &World, path: &str| {
            let request = Request::builder().method(route.method.clone()).uri(path);
            world.send(request.body(Body::empty()).unwrap()).await
        };
        let place = format!("{} {path}", route.method);
        let want = send(&plain, &path).await.status;
        let is_root = path == "/";
        let got = send(&below, &format!("/logs/of/home{}", if is_root { "" } else { &path })).await.status;
        assert_eq!(got, want, "{place}");
        let outside = send(&below, &path).await;
        let found = (outside.status, outside.text().to_owned());
        assert_eq!(found, (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()), "{place}");
    }
}
