//! Who may do what: tokens with scopes, bound to tenants or not.
//!
//! A request shows its token as `Authorization: Bearer TOKEN`, or as the password of `Basic`, whose user is the
//! token's name. Each handler says what it needs ([`Need`]) where it is put into the router, so none can be forgotten.
//! All tokens are compared in full, whatever was shown. Without tokens in the settings nobody is asked.
//!
//! With `server.auth_enabled` a token may be bound to tenants: then `X-Scope-OrgID` must name one of them, and if there
//! is one only, it need not be named. What concerns the whole store asks for a token that is not bound.

use crate::error::HttpError;
use crate::secret::{SECRET_BYTES_MAX, Secret};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use logyard_model::Tenant;
use logyard_wire::loki_query::ORG_ID_HEADER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// With padding or without: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Queries, labels, metrics, rules and alerts.
    Read,
    /// Pushes.
    Write,
    /// Everything: also changes of rules, deletes, flushes and, unless bound to tenants, snapshots and imports.
    Admin,
}

/// A token. `name` and a secret are required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// Tells tokens apart, in texts; the user of basic authentication.
    pub name: String,
    /// The token itself, 1 to 512 bytes. Better kept in a file.
    pub token: Secret,
    /// File that holds the token, read at start; white space around it does not count.
    pub token_file: String,
    /// What it allows: `read`, `write`, `admin` (which is all of them). Default none.
    pub scopes: Vec<Scope>,
    /// Tenants it is bound to, with `server.auth_enabled`. Default empty: all.
    pub tenants: Vec<String>,
}

/// What a handler asks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Open,
    /// A token of any scope.
    Any,
    /// A token that may read.
    Read,
    /// A token that may write.
    Write,
    /// A token that may do everything.
    Admin,
    /// The same, and not bound to tenants, nor naming one: what is asked for concerns all of them.
    Operator,
}

impl Need {
    fn scope(self) -> Option<Scope> {
        match self {
            Self::Open | Self::Any => None,
            Self::Read => Some(Scope::Read),
            Self::Write => Some(Scope::Write),
            Self::Admin | Self::Operator => Some(Scope::Admin),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// Checks the settings of tokens. Errors: the text of the first fault, which begins with its key.
pub(crate) fn check_settings(tokens: &[TokenSettings], auth_enabled: bool) -> Result<(), String> {
    for (number, token) in tokens.iter().enumerate() {
        let fault = |text: &str| Err(format!("server.tokens.{number}: {text}"));
        let length = token.token.expose().len();
        if token.name.is_empty() || token.name.trim() != token.name || token.name.contains(':') {
            return fault("want a name without colons, and without blanks around it");
        }
        if tokens.iter().take(number).any(|other| other.name == token.name) {
            return fault(&format!("the name {:?} occurs twice", token.name));
        }
        if length == 0 {
            return fault("no token; set token or token_file");
        }
        if let Some(other) = tokens.iter().take(number).find(|other| other.token == token.token) {
            return fault(&format!("its token is that of {:?}; give each its own", other.name));
        }
        if length > SECRET_BYTES_MAX {
            return fault(&format!("its token has {length} bytes, at most {SECRET_BYTES_MAX} are allowed"));
        }
        if token.scopes.is_empty() {
            return fault("allows nothing; set scopes to read, write or admin");
        }
        if !token.tenants.is_empty() && !auth_enabled {
            return fault(
                "bound to tenants, but there is only one; set server.auth_enabled or remove tenants",
            );
        }
        for tenant in &token.tenants {
            if let Err(error) = Tenant::new(tenant) {
                return fault(&format!("cannot use tenant {tenant:?}: {error}"));
            }
        }
    }
    Ok(())
}

/// Lets a request pass, or says why not. Names the tenant in the headers if the token has only one.
pub(crate) fn admit(
    tokens: &[TokenSettings],
    auth_enabled: bool,
    need: Need,
    headers: &mut HeaderMap,
) -> Result<(), HttpError> {
    if tokens.is_empty() || need == Need::Open {
        return Ok(());
    }
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| Shown::read(value.as_bytes()));
    let Some(shown) = shown else {
        return Err(unknown("no token: want Authorization with Bearer, or Basic with a token as password"));
    };
    let Some(token) = find(tokens, &shown) else { return Err(unknown("token not known")) };
    let forbidden = |text: String| Err(HttpError::new(StatusCode::FORBIDDEN, text + "\n"));
    let name = &token.name;
    if let Some(scope) = need.scope()
        && !token.scopes.iter().any(|have| *have == scope || *have == Scope::Admin)
    {
        return forbidden(format!("token {name:?} does not allow this; it takes the scope {scope}"));
    }
    if token.tenants.is_empty() {
        return Ok(());
    }
    if need == Need::Operator {
        return forbidden(format!("token {name:?} is bound to tenants, and this concerns all of them"));
    }
    if !auth_enabled {
        return Ok(());
    }
    match (headers.get(ORG_ID_HEADER).filter(|value| !value.is_empty()), token.tenants.as_slice()) {
        (None, [tenant]) => {
            // Names of tenants were checked: they are all visible characters.
            if let Ok(value) = HeaderValue::from_str(tenant) {
                headers.insert(ORG_ID_HEADER, value);
            }
        }
        // Whoever reads the tenant refuses the request.
        (None, _) => {}
        (Some(value), tenants) => {
            let asked = String::from_utf8_lossy(value.as_bytes());
            let foreign = asked
                .split('|')
                .map(|part| part.split(':').next().unwrap_or_default())
                .find(|part| !tenants.iter().any(|tenant| tenant == part));
            if let Some(tenant) = foreign {
                return forbidden(format!("token {name:?} is not bound to tenant {tenant:?}"));
            }
        }
    }
    Ok(())
}

/// What a request shows.
struct Shown {
    /// Given with basic authentication alone.
    user: Option<Vec<u8>>,
    token: Vec<u8>,
}

impl Shown {
    fn read(value: &[u8]) -> Option<Self> {
        let at = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = value.split_at_checked(at)?;
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Self { user: None, token: rest.to_vec() });
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let decoded = BASE64.decode(rest).ok()?;
        let at = decoded.iter().position(|byte| *byte == b':')?;
        let (user, token) = decoded.split_at_checked(at)?;
        Some(Self { user: Some(user.to_vec()), token: token.get(1..)?.to_vec() })
    }
}

fn find<'t>(tokens: &'t [TokenSettings], shown: &Shown) -> Option<&'t TokenSettings> {
    let mut found = None;
    for token in tokens {
        // No early end: the time must not tell which token was nearly right.
        let is_same = token.token.is(&shown.token);
        let is_user = shown.user.as_deref().is_none_or(|user| user == token.name.as_bytes());
        if is_same & is_user {
            found = Some(token);
        }
    }
    found
}

fn unknown(text: &str) -> HttpError {
    HttpError::new(StatusCode::UNAUTHORIZED, format!("{text}\n"))
}

/// Makes the answer to a request that is not let in: a 401 says how to come back.
pub(crate) fn refuse(error: HttpError) -> Response {
    let mut response = error.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        for scheme in ["Bearer realm=\"logyard\"", "Basic realm=\"logyard\", charset=\"UTF-8\""] {
            response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str, scopes: &[Scope], tenants: &[&str]) -> TokenSettings {
        TokenSettings {
            name: name.to_owned(),
            token: Secret::new(secret),
            token_file: String::new(),
            scopes: scopes.to_vec(),
            tenants: tenants.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// The status of a refusal, else the tenant that the request names afterwards.
    fn check(
        tokens: &[TokenSettings],
        need: Need,
        shown: &str,
        tenant: Option<&str>,
        want: Result<&str, u16>,
    ) {
        let mut headers = HeaderMap::new();
        if !shown.is_empty() {
            headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
        }
        if let Some(tenant) = tenant {
            headers.insert(ORG_ID_HEADER, tenant.parse().unwrap());
        }
        let admitted = admit(tokens, true, need, &mut headers).map_err(|error| error.status.as_u16());
        let named = headers.get(ORG_ID_HEADER).map(|value| value.to_str().unwrap()).unwrap_or_default();
        assert_eq!(admitted.map(|()| named), want, "{need:?} {shown:?} {tenant:?}");
    }

    #[test]
    fn tokens_are_shown_as_bearer_or_as_a_password() {
        let tokens = [token("grafana", "open:sesame", &[Scope::Read], &[])];
        check(&[], Need::Operator, "", None, Ok(""));
        check(&tokens, Need::Open, "", None, Ok(""));
        check(&tokens, Need::Read, "", None, Err(401));
        check(&tokens, Need::Read, "Bearer open:sesame", None, Ok(""));
        check(&tokens, Need::Read, "bearer  open:sesame ", None, Ok(""));
        check(&tokens, Need::Read, "Bearer open", None, Err(401));
        check(&tokens, Need::Read, "Bearer", None, Err(401));
        check(&tokens, Need::Read, "Digest open:sesame", None, Err(401));
        // grafana:open:sesame, then other:open:sesame, grafana:open, and what is no base64.
        check(&tokens, Need::Read, "Basic Z3JhZmFuYTpvcGVuOnNlc2FtZQ==", None, Ok(""));
        check(&tokens, Need::Read, "Basic b3RoZXI6b3BlbjpzZXNhbWU=", None, Err(401));
        check(&tokens, Need::Read, "Basic Z3JhZmFuYTpvcGVu", None, Err(401));
        check(&tokens, Need::Read, "Basic *", None, Err(401));
    }

    #[test]
    fn scopes_and_tenants_bind() {
        let tokens = [
            token("r", "read", &[Scope::Read], &["a"]),
            token("w", "write", &[Scope::Write, Scope::Read], &["a", "b"]),
            token("m", "admin", &[Scope::Admin], &["a"]),
            token("o", "operator", &[Scope::Admin], &[]),
        ];
        check(&tokens, Need::Read, "Bearer read", None, Ok("a"));
        check(&tokens, Need::Read, "Bearer read", Some("a:sub"), Ok("a:sub"));
        check(&tokens, Need::Read, "Bearer read", Some("b"), Err(403));
        check(&tokens, Need::Read, "Bearer read", Some("a|b"), Err(403));
        check(&tokens, Need::Write, "Bearer read", Some("a"), Err(403));
        check(&tokens, Need::Any, "Bearer read", Some("a"), Ok("a"));
        check(&tokens, Need::Write, "Bearer write", None, Ok(""));
        check(&tokens, Need::Read, "Bearer write", Some("a|b"), Ok("a|b"));
        check(&tokens, Need::Admin, "Bearer write", Some("a"), Err(403));
        check(&tokens, Need::Write, "Bearer admin", Some("a"), Ok("a"));
        check(&tokens, Need::Operator, "Bearer admin", Some("a"), Err(403));
        check(&tokens, Need::Operator, "Bearer operator", Some("z"), Ok("z"));
    }

    #[test]
    fn faults_of_settings_are_named() {
        let good = || token("a", "x", &[Scope::Read], &[]);
        let check = |tokens: &[TokenSettings], auth: bool, want: &str| {
            let text = check_settings(tokens, auth).err().unwrap_or_default();
            assert!(text.contains(want) && text.is_empty() == want.is_empty(), "{text}");
        };
        check(&[good(), token("b", "y", &[Scope::Admin], &["t"])], true, "");
        check(&[good(), good()], false, "server.tokens.1: the name \"a\" occurs twice");
        check(&[good(), token("b", "x", &[Scope::Admin], &[])], false, "its token is that of \"a\"");
        check(&[token("", "x", &[Scope::Read], &[])], false, "want a name");
        check(&[token("a", "", &[Scope::Read], &[])], false, "token_file");
        check(&[token("a", &"x".repeat(513), &[Scope::Read], &[])], false, "513 bytes");
        check(&[token("a", "x", &[], &[])], false, "allows nothing");
        check(&[token("a", "x", &[Scope::Read], &["t"])], false, "server.auth_enabled");
        check(&[token("a", "x", &[Scope::Read], &["a/b"])], true, "cannot use tenant");
    }
}
