//! Every route of the router, asked badly: wrong methods, parameters that are repeated or hostile, bodies that are
//! bombs, junk, too deep or cut off. The answer is a refusal that is described, never a fault of ours, and the next good
//! request is answered.

use super::{Answer, NOW_NS, SEC_NS, World, escape, gzip, openapi, stream, world_with};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use http_body_util::StreamBody;
use hyper::body::Frame;
use logyard_ingest::IngestSettings;
use logyard_server::{Route, ServerSettings};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Most that a body may unpack to in these tests; bombs are four times as large.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
];

async fn world() -> World {
    let limits = IngestSettings { push_unpacked_bytes_max: UNPACKED_BYTES_MAX, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    assert_eq!(good(&world).await, StatusCode::NO_CONTENT);
    world
}

async fn good(world: &World) -> StatusCode {
    world.push_json(&stream(r#"{"app":"a"}"#, &[(NOW_NS - SEC_NS, "level=info n=1")])).await.status
}

fn routes(world: &World) -> Vec<(Route, String)> {
    let fill = |path: &str| {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "app" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let routes = world.server.as_ref().unwrap().routes();
    assert!(routes.len() > 60, "{}", routes.len());
    routes.into_iter().map(|route| (route.clone(), fill(route.path))).collect()
}

/// Sends a request and returns its answer, which must not be a fault of ours, and must say something if it refuses.
async fn ask(world: &World, request: Request<Body>, place: &str) -> Answer {
    let answer = world.send(request).await;
    let status = answer.status.as_u16();
    assert!(status < 500, "{place}: {status} {}", String::from_utf8_lossy(&answer.body));
    assert!(status < 400 || status == 405 || !answer.body.is_empty(), "{place}: {status} says nothing");
    answer
}

#[tokio::test]
async fn check_02_every_path_refuses_the_methods_that_it_has_not() {
    let world = world().await;
    let mut methods: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for (route, path) in routes(&world) {
        methods.entry(path).or_default().push(route.method);
    }
    let mut refused = 0;
    for (path, has) in methods {
        let is_elastic = path == "/" || path.contains("/_");
        for method in METHODS {
            let answers_head = is_elastic && method == Method::HEAD && has.contains(&Method::GET);
            if has.contains(&method) || answers_head {
                continue;
            }
            let request = Request::builder().method(method.clone()).uri(&path).body(Body::from("x")).unwrap();
            let answer = world.send(request).await;
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::METHOD_NOT_ALLOWED, ""),
                "{method} {path}"
            );
            refused += 1;
        }
    }
    assert!(refused > 250, "{refused}");
}

/// Values that no parameter means, or that ask for more than there is.
fn hostile_values() -> Vec<String> {
    let mut values: Vec<String> = [
        "",
        " ",
        "-1",
        "0",
        "1e400",
        "NaN",
        "-Inf",
        "0x10",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551616",
        "../../etc/passwd",
        "\u{0}",
        "\u{feff}",
        "{",
        "}{",
        "\"",
        "%",
        "'; drop table",
        "{a=\"b\"",
        "{app=~\"(\"}",
        "{app=~\"(a|aa)+$\"}",
        "rate({app=\"a\"}[1m])",
        "{app=\"a\"} | json | logfmt",
        "count_over_time({app=\"a\"}[100y])",
        "2026-99-99T99:99:99Z",
        "9999-12-31T23:59:59Z",
        "1ns",
        "999999y",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("9".repeat(5000));
    values.push("x".repeat(5000));
    values.push("(".repeat(5000));
    values.push("{app=\"a\"} |= \"x\"".to_owned() + &" or \"y\"".repeat(700));
    values.push("-".repeat(2000) + "vector(1)");
    values.push(format!("{{app=~\"{}a{}\"}}", "(".repeat(1500), ")".repeat(1500)));
    values
}

/// The parameters of a described operation.
fn parameters(route: &Route) -> Vec<String> {
    let document = openapi::described();
    let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
    let listed = operation["parameters"].as_array().unwrap().iter();
    listed
        .filter_map(|parameter| parameter["$ref"].as_str())
        .filter_map(|target| document.pointer(target.trim_start_matches('#')))
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A request with parameters, which stand in the address, and in a form as well if the route reads one.
fn request(route: &Route, path: &str, params: &[(&str, &str)]) -> Request<Body> {
    let pairs: Vec<String> =
        params.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let (query, builder) = (pairs.join("&"), Request::builder().method(route.method.clone()));
    let is_form = route.method == Method::POST && route.need == logyard_server::Need::Read;
    let request = match is_form {
        true => builder
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(query)),
        false => builder.uri(format!("{path}?{query}")).body(Body::empty()),
    };
    request.unwrap()
}

#[tokio::test]
async fn hostile_and_repeated_parameters_are_no_fault_of_ours() {
    let world = world().await;
    let values = hostile_values();
    let (mut asked, mut first_counts) = (0, 0);
    for (route, path) in routes(&world) {
        let names = parameters(&route);
        for name in &names {
            // A form is read like an address, so some will do.
            for value in values.iter().step_by(if route.method == Method::POST { 5 } else { 1 }) {
                let mut params = vec![(name.as_str(), value.as_str())];
                if name != "query" && names.iter().any(|name| name == "query") {
                    params.push(("query", "{app=\"a\"}"));
                }
                let shown: String = value.chars().take(40).collect();
                let place = format!("{} {path} {name}={shown:?}", route.method);
                let once = ask(&world, request(&route, &path, &params), &place).await;
                asked += 1;
                // Lists take every value; of the others the first one counts.
                if name.ends_with("[]") || route.method != Method::GET || value.is_empty() {
                    continue;
                }
                let mut twice = params.clone();
                twice.insert(1, (name.as_str(), "1"));
                let twice = ask(&world, request(&route, &path, &twice), &place).await;
                let is_list = ["file", "rule_group", "rule_name"].contains(&name.as_str());
                assert!(once.status == twice.status || is_list, "{place}: {} {}", once.status, twice.status);
                first_counts += 1;
            }
        }
        // A broken escape is a fault of the request as a whole wherever parameters are read.
        if !names.is_empty() {
            let broken = Request::builder().method(route.method.clone()).uri(format!("{path}?query=%zz&a;b"));
            let answer = ask(&world, broken.body(Body::empty()).unwrap(), &path).await;
            assert!(
                answer.status.is_client_error() || path.contains("format_query"),
                "{path} {}",
                answer.status
            );
        }
    }
    assert!(asked > 2000 && first_counts > 1000, "{asked} {first_counts}");
    assert_eq!(good(&world).await, StatusCode::NO_CONTENT);
}

/// A zstd frame whose blocks each say that one byte comes 128 KiB times.
fn zstd_bomb(blocks: u32) -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 << 10;
    // The magic number; a frame with neither checksum nor size; a window of 1 MiB.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    for block in 1..=blocks {
        let header = u32::from(block == blocks) | 1 << 1 | BLOCK_BYTES << 3;
        bytes.extend_from_slice(&header.to_le_bytes()[..3]);
        bytes.push(b' ');
    }
    bytes
}

/// Encodings, and bodies that unpack to four times what may be.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let spaces = vec![b' '; 4 * UNPACKED_BYTES_MAX];
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&spaces).unwrap();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(&spaces).unwrap();
    vec![
        ("gzip", gzip(&spaces)),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
        ("zstd", zstd_bomb(32)),
    ]
}

/// Routes that take a body, with each type that is described.
fn with_bodies(world: &World) -> Vec<(Route, String, String)> {
    let mut found = Vec::new();
    for (route, path) in routes(world) {
        let document = openapi::described();
        let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
        let types = operation["requestBody"]["content"].as_object().cloned().unwrap_or_default();
        found.extend(types.keys().map(|media| (route.clone(), path.clone(), media.clone())));
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

fn posted(route: &Route, path: &str, media: &str, encoding: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(route.method.clone()).uri(path).header("content-type", media);
    if !encoding.is_empty() {
        request = request.header("content-encoding", encoding);
    }
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn bombs_and_deep_bodies_are_refused() {
    let world = world().await;
    let mut bombed = 0;
    let deep = |open: &str| open.repeat(200_000);
    let snappy_that_lies = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    let junk: Vec<Vec<u8>> = vec![
        b"\xff\xfe\x00junk".to_vec(),
        deep("[").into_bytes(),
        deep("{\"a\":").into_bytes(),
        (String::from("{\"index\":{}}\n") + &deep("{\"a\":")).into_bytes(),
        (String::from("{\"streams\":") + &deep("[")).into_bytes(),
        (String::from("{\"resourceLogs\":") + &deep("[{\"scopeLogs\":")).into_bytes(),
        snappy_that_lies,
        // Groups of protobuf within groups.
        vec![0x0b; 100_000],
    ];
    for (route, path, media) in with_bodies(&world) {
        let takes_encodings = route.need == logyard_server::Need::Write && path != "/logyard/v1/push";
        for (encoding, bomb) in bombs() {
            let place = format!("{} {path} {media} {encoding}", route.method);
            let answer = ask(&world, posted(&route, &path, &media, encoding, bomb.clone()), &place).await;
            if takes_encodings {
                assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{place} {:?}", answer.body);
                bombed += 1;
            }
            // Half of it.
            let half = bomb[..bomb.len() / 2].to_vec();
            ask(&world, posted(&route, &path, &media, encoding, half), &place).await;
        }
        for body in &junk {
            let shown = String::from_utf8_lossy(&body[..10.min(body.len())]).into_owned();
            let place = format!("{} {path} {media} {shown:?}", route.method);
            ask(&world, posted(&route, &path, &media, "", body.clone()), &place).await;
        }
        for encoding in ["br", "gzip, gzip", "x", "\u{7f}"] {
            let Ok(value) = axum::http::HeaderValue::from_str(encoding) else { continue };
            let place = format!("{} {path} {media} {encoding}", route.method);
            let mut request = posted(&route, &path, &media, "", "{}");
            request.headers_mut().insert("content-encoding", value);
            ask(&world, request, &place).await;
        }
    }
    assert!(bombed >= 40, "{bombed}");
    assert_eq!(good(&world).await, StatusCode::NO_CONTENT);
}

/// A body that ends before it is whole: whatever was read counts for nothing.
#[tokio::test]
async fn bodies_that_are_cut_off_are_refused() {
    let world = world().await;
    let before = world.lines("{app=~\".+\"}", "").await;
    let streams = stream(r#"{"app":"cut"}"#, &[(NOW_NS - SEC_NS, "never")]);
    let body = format!("{{\"streams\":[{streams}]}}");
    for (route, path, media) in with_bodies(&world) {
        let pieces = [
            Ok(Frame::data(Bytes::from(body.clone()))),
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
        ];
        let broken = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
        let place = format!("{} {path} {media}", route.method);
        let answer = ask(&world, posted(&route, &path, &media, "", broken), &place).await;
        assert!(answer.status.is_client_error(), "{place} {}", answer.status);
    }
    assert_eq!(world.lines("{app=~\".+\"}", "").await, before);
}
