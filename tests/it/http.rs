//! The few HTTP calls the tests make themselves.

use std::time::Duration;

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub text: String,
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build();
    config.into()
}

/// Asks for a path.
pub fn get(url: &str) -> Result<Answer, ureq::Error> {
    get_with(url, &[])
}

/// Asks with query parameters.
pub fn get_with(url: &str, parameters: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    let mut request = agent().get(url);
    for (name, value) in parameters {
        request = request.query(name, value);
    }
    read(request.call()?)
}

/// Deletes what stands at a path.
pub fn delete(url: &str) -> Result<Answer, ureq::Error> {
    read(agent().delete(url).call()?)
}

/// Posts a body.
pub fn post(url: &str, content_type: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
    post_with(url, &[("Content-Type", content_type)], body)
}

/// Posts a body with headers.
pub fn post_with(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    let request =
        headers.iter().fold(agent().post(url), |request, (name, value)| request.header(*name, *value));
    read(request.send(body)?)
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(512 << 20).read_to_string()?;
    Ok(Answer { status, text })
}
