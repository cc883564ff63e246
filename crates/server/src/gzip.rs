//! Compressed answers for clients that ask for them, and only for those.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use std::io::Write as _;

/// Smaller answers fit into a packet or two and are sent as they are.
const BYTES_MIN: usize = 1400;

/// Answers up to this size are compressed on the runtime's own thread: about half a millisecond.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Returns whether a request accepts gzip.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| matches!(part.strip_prefix("q="), Some(weight) if weight.parse() == Ok(0.0)));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Compresses an answer whose body is in memory. What cannot be compressed is sent as it is.
pub(crate) async fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    // Handlers answer with whole buffers, so nothing can fail or take memory here.
    let Ok(collected) = body.collect().await else { return Response::from_parts(parts, Body::empty()) };
    let bytes = collected.to_bytes();
    if bytes.len() < BYTES_MIN {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let packed = if bytes.len() <= INLINE_BYTES_MAX {
        pack(&bytes)
    } else {
        let whole = bytes.clone();
        tokio::task::spawn_blocking(move || pack(&whole)).await.unwrap_or(None)
    };
    let Some(packed) = packed else { return Response::from_parts(parts, Body::from(bytes)) };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::from(packed))
}

fn pack(bytes: &Bytes) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_asked() {
        for (value, asked) in
            [("gzip", true), ("deflate, GZIP;q=0.5", true), ("br", false), ("gzip;q=0", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(is_asked(&headers), asked, "{value}");
        }
        assert!(!is_asked(&HeaderMap::new()));
    }
}
