//! What rules send: messages to people and series to Prometheus, by POST to an address that may be a secret.

use crate::error::Error;
use crate::http::Client;
use logyard_wire::remote_write;
use reqwest::header::{HeaderName, HeaderValue};

/// Most bytes of an answer that are read; nobody looks at it.
const ANSWER_BYTES_MAX: usize = 64 << 10;

impl Client {
    /// Sends JSON to a path below the client's address, which is named in errors while the path is not.
    ///
    /// `path` begins with a slash and may have a query; it, and the values of `headers`, may be secrets.
    ///
    /// Errors: `Invalid` when it would fail again, `Limited` and `Unavailable` when it may succeed later.
    pub async fn notify(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        json: String,
    ) -> Result<(), Error> {
        let mut request = self.post_to(path)?.header("content-type", "application/json").body(json);
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::invalid(format!("the value of {name} cannot be sent as a header")))?;
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static(name), value);
        }
        self.call(request, ANSWER_BYTES_MAX).await.map(drop)
    }

    /// Sends samples, encoded as a remote write, to a path below the client's address.
    ///
    /// `path` begins with a slash and may have a query; it may be a secret.
    ///
    /// Errors: `Invalid` when it would fail again, `Limited` and `Unavailable` when it may succeed later.
    pub async fn write_samples(&self, path: &str, body: Vec<u8>) -> Result<(), Error> {
        let (version, number) = remote_write::VERSION_HEADER;
        let request = self
            .post_to(path)?
            .header("content-type", remote_write::CONTENT_TYPE)
            .header("content-encoding", remote_write::CONTENT_ENCODING)
            .header(version, number)
            .body(body);
        self.call(request, ANSWER_BYTES_MAX).await.map(drop)
    }
}
