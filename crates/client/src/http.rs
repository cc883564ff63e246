//! One connection pool to one store, and the reading of its answers.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use logyard_model::Tenants;
use logyard_wire::{loki_query, native_push};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{RequestBuilder, Response, Url};

use crate::error::Error;
use crate::file;
use crate::options::{self, ClientOptions, Proxy, Retries};
use crate::push_foreign;
use crate::tls::{self, Tls, TlsFiles};

/// Longest text taken over from a refusal, in characters.
const REASON_CHARS_MAX: usize = 2000;

/// Most bytes of a refusal that are read at all.
const REASON_BYTES_MAX: usize = 64 << 10;

/// Most bytes of a file that holds a token.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Idle connections are closed after this time, shorter than the usual 75 s of proxies, so that a
/// request rarely meets a connection the other side just closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// Longest wait for a connection, whatever the timeout of the whole call.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What a call shows to be let in. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Keeps a token; `None` if it is empty.
    pub fn new(token: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self(token.to_owned()))
    }

    /// Reads a token from a file; white space around it does not count.
    ///
    /// Errors: `Kind::Invalid` with the path, never with what the file holds.
    pub fn read(path: &str) -> Result<Self, Error> {
        let bytes = file::read("token file", path, TOKEN_FILE_BYTES_MAX)?;
        let token = std::str::from_utf8(&bytes).ok().and_then(|text| Self::new(text.trim()));
        token.ok_or_else(|| Error::invalid(format!("cannot use token file {path}: no text, or an empty one")))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How calls are made; every field is spelled out by the caller.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Longest time for one call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Tenant named in `X-Scope-OrgID`, or several for reads; none sends no header.
    pub org_id: Option<Tenants>,
    /// Sent as `Authorization: Bearer`; none sends no header.
    pub token: Option<Token>,
    /// Whom to trust and what to show where the address begins with `https`; none: the machine's authorities.
    pub tls: Option<Tls>,
    /// Sent as `User-Agent`, such as `logyard-agent/0.1.0`.
    pub user_agent: String,
}

/// Calls one store over kept-alive connections.
///
/// Cost: cheap to clone, clones share the connections. Dropping a returned future drops the call; the
/// store may have carried it out all the same.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// Sent with every call.
    headers: HeaderMap,
    timeout: Duration,
    /// Of an address that begins with `https`.
    tls: Option<Tls>,
    /// Whether no proxy stands between, which a live tail could not pass.
    is_direct: bool,
    retries: Retries,
}

impl Client {
    /// Makes a client for the store at `base`, such as `http://127.0.0.1:3100` or `https://host/prefix`.
    ///
    /// A user and a password in the address are sent as `Authorization: Basic` and never shown.
    ///
    /// Errors: `Kind::Invalid` for an address that is neither `http` nor `https`, for `http` where TLS is set up,
    /// and for a machine without authorities where they are needed. Connects to nobody yet.
    pub fn new(base: &str, settings: ClientSettings) -> Result<Self, Error> {
        Self::with_options(base, settings, ClientOptions::default())
    }

    /// Makes a client as [`Client::new`], with what else a person at a command line may want.
    ///
    /// Errors: as [`Client::new`]; also for options that cannot be sent or used.
    pub fn with_options(base: &str, settings: ClientSettings, options: ClientOptions) -> Result<Self, Error> {
        let mut base = parse_base(base)?;
        if let Some(login) = &options.login {
            login.put_into(&mut base)?;
        }
        let password = take_password(&mut base)?;
        let tls = match (base.scheme(), settings.tls) {
            ("https", Some(tls)) => Some(tls),
            ("https", None) => Some(Tls::read(&TlsFiles::default())?),
            (_, Some(_)) => {
                return Err(Error::invalid(format!(
                    "certificates are named, but the address {base} is plain http; use https, or leave them out"
                )));
            }
            (_, None) => None,
        };
        let mut headers = HeaderMap::new();
        if let Some(tenants) = &settings.org_id {
            let value = HeaderValue::from_str(&tenants.to_string())
                .map_err(|_| Error::invalid(format!("tenant {tenants} cannot be sent as a header")))?;
            headers.insert(loki_query::ORG_ID_HEADER, value);
        }
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|_| Error::invalid(format!("{:?} cannot be sent as a header", settings.user_agent)))?;
        headers.insert(USER_AGENT, user_agent);
        if let Some(Token(token)) = &settings.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Error::invalid("the token holds characters that cannot be sent as a header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        match password {
            Some(_) if settings.token.is_some() => {
                return Err(Error::invalid(format!(
                    "a token, and a password in the address of {base}; leave one of them out"
                )));
            }
            Some(password) => drop(headers.insert(AUTHORIZATION, password)),
            None => {}
        }
        options.change(&mut headers)?;
        let config = match &tls {
            Some(tls) => tls.config().as_ref().clone(),
            None => Tls::nobody()?,
        };
        let builder = reqwest::Client::builder()
            .default_headers(headers.clone())
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT_MAX))
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A push that is redirected would lose its body, and a proxy named in the environment is
            // rarely meant for the log store next door.
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(config);
        let http =
            options.proxy.put_into(builder)?.build().map_err(|error| {
                Error::invalid(format!("cannot set up the HTTP client: {}", root(&error)))
            })?;
        let is_direct = options.proxy == Proxy::None;
        let retries = options.retries;
        Ok(Self { http, base, headers, timeout: settings.timeout, tls, is_direct, retries })
    }

    /// Returns the address the client was made for.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Returns what is sent with every call, for those that are not HTTP all along.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns how TLS is spoken, if it is.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Reads the files of certificates again and uses them for new connections; returns whether they have changed.
    ///
    /// Errors and cost: as [`Tls::renew`]. Nothing to do for plain HTTP.
    pub fn renew_certificates(&self) -> Result<bool, Error> {
        self.tls.as_ref().map_or(Ok(false), Tls::renew)
    }

    /// Returns whether no proxy stands between.
    pub(crate) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Returns how often a read call is made again.
    pub(crate) fn retries(&self) -> Retries {
        self.retries
    }

    /// Returns the longest time for one call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the full address of `path`, whose segments are joined to the base and escaped.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Starts a GET.
    pub(crate) fn get(&self, path: &[&str]) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    /// Starts a POST.
    pub(crate) fn post(&self, path: &[&str]) -> RequestBuilder {
        self.http.post(self.url(path))
    }

    /// Starts a POST to a path as it is, a query allowed. Errors: `Invalid`, without the path, which may be secret.
    pub(crate) fn post_to(&self, path: &str) -> Result<RequestBuilder, Error> {
        let url = format!("{}{path}", self.base());
        let url = Url::parse(&url)
            .map_err(|_| Error::invalid(format!("the path behind {} is none", self.base())))?;
        Ok(self.http.post(url))
    }

    /// Starts a DELETE.
    pub(crate) fn delete(&self, path: &[&str]) -> RequestBuilder {
        self.http.delete(self.url(path))
    }

    /// Makes the call and returns the body of a 2xx answer, at most `bytes_max` long.
    pub(crate) async fn call(&self, request: RequestBuilder, bytes_max: usize) -> Result<Bytes, Error> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        if status.is_success() {
            let is_gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
            let whole = match self.body(response, bytes_max).await? {
                (body, true) if is_gzip => options::gunzip(&body, bytes_max).map_err(|error| {
                    Error::unavailable(format!("the answer of {} cannot be unpacked: {error}", self.base()))
                })?,
                (body, true) => Some(body),
                (_, false) => None,
            };
            return whole.ok_or_else(|| {
                Error::invalid(format!(
                    "the answer of {} is longer than {bytes_max} bytes; ask for fewer entries or a shorter range",
                    self.base()
                ))
            });
        }
        let is_from_store = response.headers().contains_key(native_push::VERSION_HEADER);
        let retry_after = retry_after(response.headers());
        let media_type = response.headers().get(CONTENT_TYPE).cloned();
        let (body, _) = self.body(response, REASON_BYTES_MAX).await.unwrap_or_default();
        let told = push_foreign::reason(media_type.as_ref(), &body);
        let reason = told.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        if status.is_redirection() {
            return Err(Error::from_status(
                status.as_u16(),
                &format!("{} redirects elsewhere ({status}); give the final address", self.base()),
                None,
            ));
        }
        Err(Error::from_status(status.as_u16(), &reason, retry_after).with_mark(is_from_store))
    }

    /// Reads a body up to a bound; the flag says whether all of it was read.
    async fn body(&self, mut response: Response, bytes_max: usize) -> Result<(Bytes, bool), Error> {
        let mut body = BytesMut::new();
        loop {
            let piece = response.chunk().await.map_err(|error| self.no_answer(&error))?;
            let Some(piece) = piece else { return Ok((body.freeze(), true)) };
            if body.len() + piece.len() > bytes_max {
                return Ok((body.freeze(), false));
            }
            body.extend_from_slice(&piece);
        }
    }

    pub(crate) fn no_answer(&self, error: &reqwest::Error) -> Error {
        let base = self.base();
        if error.is_builder() {
            return Error::invalid(format!("cannot form a request for {base}: {}", root(error)));
        }
        if let Some(fault) = tls::fault(error) {
            return Error::unavailable(format!("cannot connect to {base}: {fault}"));
        }
        if error.is_connect() {
            return Error::unavailable(format!(
                "cannot connect to {base}: {}; start the store or correct the address",
                root(error)
            ));
        }
        if error.is_timeout() {
            return Error::unavailable(format!(
                "no answer from {base} in time; raise the timeout or ask for less"
            ));
        }
        Error::unavailable(format!("connection to {base} broke: {}", root(error)))
    }
}

/// Checks a base address: `http` or `https`, with a host, without query or fragment.
fn parse_base(base: &str) -> Result<Url, Error> {
    let with_scheme = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let shown = without_secrets(base);
    let url = Url::parse(&with_scheme).map_err(|error| {
        Error::invalid(format!("cannot read address {shown:?}: {error}; want http://host:port"))
    })?;
    match url.scheme() {
        "http" | "https" => {}
        other => {
            return Err(Error::invalid(format!(
                "cannot use address {shown:?}: scheme {other:?} is unknown; want http://host:port"
            )));
        }
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::invalid(format!(
            "cannot use address {shown:?}: it has a query or fragment; want http://host:port"
        )));
    }
    Ok(url)
}

/// Returns an address as it may be shown: without what stands before its host or behind its path.
pub fn without_secrets(base: &str) -> String {
    let plain = base.split(['?', '#']).next().unwrap_or_default();
    match plain.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…@{host}"),
            None => format!("…@{host}"),
        },
        None => plain.to_owned(),
    }
}

/// Takes user and password out of an address, as the header that carries them.
fn take_password(base: &mut Url) -> Result<Option<HeaderValue>, Error> {
    if base.username().is_empty() && base.password().is_none() {
        return Ok(None);
    }
    let fault = || Error::invalid("user and password of the address cannot be sent as a header");
    // The HTTP client knows how they are written; this one connects to nobody.
    let writer =
        reqwest::Client::builder().tls_backend_preconfigured(Tls::nobody()?).build().map_err(|_| fault())?;
    let request = writer.get(base.clone()).build().map_err(|_| fault())?;
    let mut value = request.headers().get(AUTHORIZATION).cloned().ok_or_else(fault)?;
    value.set_sensitive(true);
    base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| fault())?;
    Ok(Some(value))
}

/// Reads `Retry-After` in its form of whole seconds; stores do not send the form of a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Returns the innermost cause: the outer ones repeat the address in other words.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Result<Client, Error> {
        let settings = ClientSettings {
            timeout: Duration::from_secs(1),
            org_id: None,
            token: None,
            tls: None,
            user_agent: "logyard-test".to_owned(),
        };
        Client::new(base, settings)
    }

    #[test]
    fn bases_are_checked() {
        assert_eq!(client("http://a:1/").unwrap().base(), "http://a:1");
        assert_eq!(client("localhost:3100").unwrap().base(), "http://localhost:3100");
        assert_eq!(client("https://a/b").unwrap().base(), "https://a/b");
        assert!(client("ftp://a").unwrap_err().to_string().contains("\"ftp\""));
        assert!(client("http://").is_err());
        assert!(client("http://a?x=1").is_err());
        assert!(!client("http://me:sesame@a?key=sesame").unwrap_err().to_string().contains("sesame"));
        assert!(!client("http://me:sesame@a b").unwrap_err().to_string().contains("sesame"));
        assert!(!client("ftp://me:sesame@a").unwrap_err().to_string().contains("sesame"));
    }

    #[test]
    fn paths_join_the_prefix_and_are_escaped() {
        let client = client("http://a/prefix/").unwrap();
        let url = client.url(&["loki", "api", "v1", "label", "a/b c", "values"]);
        assert_eq!(url.as_str(), "http://a/prefix/loki/api/v1/label/a%2Fb%20c/values");
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let headers =
            |text: &str| HeaderMap::from_iter([("retry-after".parse().unwrap(), text.parse().unwrap())]);
        assert_eq!(retry_after(&headers("3")), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&headers("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (address, want) in [
            ("http://me:sesame@a:1/x?y#z", "http://…@a:1/x"),
            ("me:ses@me@a", "…@a"),
            ("https://a/b", "https://a/b"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(address), want);
        }
    }

    #[test]
    fn a_password_in_the_address_is_sent_and_never_shown() {
        let client = client("http://me:se%40same@a:1/x").unwrap();
        assert_eq!(client.base(), "http://a:1/x");
        let sent = client.headers()[AUTHORIZATION].to_str().unwrap();
        // me:se@same
        assert_eq!(sent, "Basic bWU6c2VAc2FtZQ==");
        assert!(!format!("{client:?}").contains("same") && !format!("{client:?}").contains("bWU6"));
        let settings = ClientSettings {
            timeout: Duration::from_secs(1),
            org_id: None,
            token: Token::new("t"),
            tls: None,
            user_agent: "logyard-test".to_owned(),
        };
        let text = Client::new("http://me:sesame@a", settings).unwrap_err().to_string();
        assert!(text.contains("leave one of them out") && !text.contains("sesame"), "{text}");
    }
}
