//! What a person at a command line may want of a client beyond [`crate::ClientSettings`]: a login, headers, a proxy,
//! answers that travel compressed, calls that are made again.

use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{ClientBuilder, Url};

use crate::error::Error;
use crate::http::without_secrets;
use crate::retry::BackoffSettings;

/// Options of a client; the default is none of them.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Sent as `Authorization: Basic`.
    pub login: Option<Login>,
    /// Name of the header that carries token or login, instead of `Authorization`.
    pub auth_header: Option<String>,
    /// More headers, sent with every call.
    pub headers: Vec<(String, String)>,
    /// Who stands between.
    pub proxy: Proxy,
    /// Whether answers may come compressed by gzip.
    pub is_compressed: bool,
    /// How often a read call is made again.
    pub retries: Retries,
}

/// A user and a password. The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password, which may be empty.
    pub password: String,
}

/// Who stands between client and store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nobody, whatever the environment says.
    #[default]
    None,
    /// Whom `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name.
    Environment,
    /// The proxy at this address.
    Url(String),
}

/// How often a read call that failed for a passing reason is made again, and with which pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts after the first.
    pub count: u32,
    /// Pauses between them; a longer one that the store asks for counts.
    pub backoff: BackoffSettings,
}

impl Default for Retries {
    fn default() -> Self {
        let backoff = BackoffSettings { min: Duration::from_millis(500), max: Duration::from_secs(30) };
        Self { count: 0, backoff }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Login {
    /// Puts the login where an address has it. Errors: the address has one already.
    pub(crate) fn put_into(&self, base: &mut Url) -> Result<(), Error> {
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::invalid(
                "a user is named, and one stands in the address; leave one of them out",
            ));
        }
        let password = Some(self.password.as_str()).filter(|password| !password.is_empty());
        base.set_username(&self.username)
            .and_then(|()| base.set_password(password))
            .map_err(|()| Error::invalid("user and password cannot be sent to this address"))
    }
}

impl ClientOptions {
    /// Adds and renames what is sent with every call.
    pub(crate) fn change(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::invalid(format!("the value of header {name:?} cannot be sent")))?;
            // What people add is as often as not a secret.
            value.set_sensitive(true);
            headers.insert(header_name(name)?, value);
        }
        if self.is_compressed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(name) = &self.auth_header {
            let name = header_name(name)?;
            if let Some(value) = headers.remove(AUTHORIZATION) {
                headers.insert(name, value);
            }
        }
        Ok(())
    }
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::invalid(format!("{name:?} cannot be the name of a header")))
}

impl Proxy {
    pub(crate) fn put_into(&self, builder: ClientBuilder) -> Result<ClientBuilder, Error> {
        match self {
            Self::None => Ok(builder.no_proxy()),
            Self::Environment => Ok(builder),
            Self::Url(url) => {
                let proxy = reqwest::Proxy::all(url).map_err(|_| {
                    let shown = without_secrets(url);
                    Error::invalid(format!("cannot use proxy {shown:?}: want http://host:port"))
                })?;
                Ok(builder.proxy(proxy))
            }
        }
    }
}

/// Unpacks an answer; `None` if it is longer than `bytes_max`.
pub(crate) fn gunzip(bytes: &[u8], bytes_max: usize) -> std::io::Result<Option<Bytes>> {
    let mut plain = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut plain)?;
    Ok((plain.len() <= bytes_max).then(|| plain.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn unpacking_is_bounded() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&[7; 1000]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(gunzip(&packed, 1000).unwrap().unwrap().len(), 1000);
        assert_eq!(gunzip(&packed, 999).unwrap(), None);
        assert!(gunzip(b"no gzip", 1000).is_err());
    }

    #[test]
    fn headers_are_added_and_renamed() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        let options = ClientOptions {
            auth_header: Some("X-Auth".to_owned()),
            headers: vec![("x-query-tags".to_owned(), "source=me".to_owned())],
            is_compressed: true,
            ..ClientOptions::default()
        };
        options.change(&mut headers).unwrap();
        assert_eq!(headers["x-auth"], "Bearer t");
        assert_eq!(headers["x-query-tags"], "source=me");
        assert_eq!(headers[ACCEPT_ENCODING], "gzip");
        assert!(!headers.contains_key(AUTHORIZATION));
        let wrong = ClientOptions { auth_header: Some("a b".to_owned()), ..ClientOptions::default() };
        assert!(wrong.change(&mut headers).unwrap_err().to_string().contains("\"a b\""));
    }

    #[test]
    fn a_login_stands_alone_and_is_not_shown() {
        let login = Login { username: "me".to_owned(), password: "se:same@x".to_owned() };
        assert!(!format!("{login:?}").contains("same"));
        let mut base = Url::parse("http://a:1").unwrap();
        login.put_into(&mut base).unwrap();
        assert_eq!(base.as_str(), "http://me:se%3Asame%40x@a:1/");
        assert!(login.put_into(&mut base).is_err());
    }
}
