//! Sends the request of a step and takes its answer.

use crate::answer::Answer;
use crate::case::{Body, Step};
use crate::json_path;
use crate::placeholders::Placeholders;
use serde_json::Value;
use std::io::Write as _;
use std::time::Duration;

/// Deadline of one request: a run cannot hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: u64 = 64 << 20;

/// A server's address and the connections to it, shared between threads.
pub(crate) struct Sender {
    url: String,
    agent: ureq::Agent,
}

/// An answer before it is read.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(ANSWER_WITHIN))
            .build();
        Self { url, agent: config.into() }
    }

    /// Sends one request; an empty body is none.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let failed = |error: ureq::Error| format!("no answer: {error}");
        let sent = match (method, body.is_empty()) {
            ("GET" | "DELETE", true) => self.agent.run(request.body(()).unwrap()),
            _ => self.agent.run(request.body(body).unwrap()),
        };
        let mut response = sent.map_err(failed)?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().map_err(failed)?,
        })
    }
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }
}

/// Asks a step, saves what it saves, and returns its answer with the placeholders back in it.
pub(crate) fn ask(sender: &Sender, step: &Step, placeholders: &mut Placeholders) -> Result<Answer, String> {
    let params = encoded(step, placeholders);
    let mut headers: Vec<(String, String)> =
        step.headers.iter().map(|(name, value)| (name.clone(), placeholders.put(value))).collect();
    let mut path = placeholders.put(&step.path);
    let (mut body, media_type) = match &step.body {
        Body::None => (Vec::new(), None),
        Body::Form => (params.clone().into_bytes(), Some("application/x-www-form-urlencoded")),
        Body::Json(value) => (placeholders.put_all(value).to_string().into_bytes(), Some("application/json")),
        Body::Text(text) => (placeholders.put(text).into_bytes(), None),
        Body::Bytes(bytes) => (bytes.clone(), None),
    };
    if !params.is_empty() && !matches!(step.body, Body::Form) {
        path.push_str(if path.contains('?') { "&" } else { "?" });
        path.push_str(&params);
    }
    if let Some(media_type) = media_type
        && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("Content-Type".to_owned(), media_type.to_owned()));
    }
    if step.gzip {
        body = gzip(&body);
        headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    let reply = sender.send(&step.method, &path, &headers, body)?;
    let mut answer =
        Answer::received(reply.status, reply.header("content-type").unwrap_or_default(), &reply.body);
    for (name, place) in &step.save {
        let value = match place.split_once(':').unwrap() {
            ("header", header) => reply.header(header).map(str::to_owned),
            (_, path) => json_path::find(&answer.body, path).map(plain),
        };
        let text = || {
            format!(
                "nothing to save as {name:?}: no {place} (status {}, {})",
                answer.status,
                answer.error_text()
            )
        };
        placeholders.save(name, value.ok_or_else(text)?);
    }
    answer.body = placeholders.take_all(&answer.body);
    for path in &step.ignore {
        json_path::forget(&mut answer.body, path);
    }
    Ok(answer)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Writes the parameters as a form, in their order.
fn encoded(step: &Step, placeholders: &mut Placeholders) -> String {
    let mut text = String::new();
    for (name, value) in &step.params {
        let one = std::slice::from_ref(value);
        for value in value.as_array().map_or(one, Vec::as_slice) {
            let value = placeholders.put(&plain(value));
            if !text.is_empty() {
                text.push('&');
            }
            push_escaped(&mut text, &placeholders.put(name));
            text.push('=');
            push_escaped(&mut text, &value);
        }
    }
    text
}

fn push_escaped(text: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                text.push(char::from(byte))
            }
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
