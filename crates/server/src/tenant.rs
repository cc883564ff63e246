//! Which tenant a request belongs to, and which ones a read asks for.
//!
//! What bounds a query holds for it as a whole, however many tenants it reads; how long entries are kept is each
//! tenant's own. A token that is bound to tenants allows every one that is named, or none (see `access`).

use crate::error::HttpError;
use crate::settings::ServerSettings;
use axum::http::{HeaderMap, StatusCode};
use logyard_model::{Tenant, TenantError, Tenants};
use logyard_wire::loki_query::ORG_ID_HEADER;
use std::borrow::Cow;

/// Most tenants that a request reads: each is looked up for itself.
const TENANTS_MAX: usize = 100;

/// Reads the tenants of a request that only reads: as [`of_request`], or several, `a|b`, in order and each once.
pub(crate) fn all_of_request(headers: &HeaderMap, settings: &ServerSettings) -> Result<Tenants, HttpError> {
    let name = named(headers);
    if !settings.auth_enabled || !settings.multi_tenant_queries_enabled || !name.contains('|') {
        return of_request(headers, settings.auth_enabled).map(Tenants::from);
    }
    let tenants = Tenants::parse(&name).map_err(|error| HttpError::bad_request(format!("{error}\n")))?;
    if tenants.len() > TENANTS_MAX {
        let text = format!("too many tenants: {}, limit is {TENANTS_MAX}; ask for fewer\n", tenants.len());
        return Err(HttpError::bad_request(text));
    }
    Ok(tenants)
}

/// Reads the tenant of a request; with tenancy off the header is ignored.
///
/// A suffix `:sub` is cut off, as in Loki. Several tenants, `a|b`, are refused.
pub(crate) fn of_request(headers: &HeaderMap, auth_enabled: bool) -> Result<Tenant, HttpError> {
    if !auth_enabled {
        return Ok(Tenant::single());
    }
    let name = named(headers);
    if name.contains('|') {
        return Err(HttpError::bad_request("multiple org IDs present\n"));
    }
    let name = name.split(':').next().unwrap_or_default();
    Tenant::new(name).map_err(|error| {
        let status =
            if error == TenantError::Empty { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        HttpError::new(status, format!("{error}\n"))
    })
}

fn named(headers: &HeaderMap) -> Cow<'_, str> {
    headers.get(ORG_ID_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default()
}

/// Keeps a tenant away from what is about all of them, while tenants are kept apart: whoever names one is not who
/// runs the store.
pub(crate) fn refuse(headers: &HeaderMap, auth_enabled: bool) -> Result<(), HttpError> {
    let names_one = headers.get(ORG_ID_HEADER).is_some_and(|value| !value.is_empty());
    if auth_enabled && names_one {
        let text = "this is about all tenants, and a request that names one gets no answer; \
                    send it without X-Scope-OrgID, past the proxy that adds it\n";
        return Err(HttpError::new(StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&str>, auth: bool, expect: Result<&str, u16>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(ORG_ID_HEADER, value.parse().unwrap());
        }
        let tenant = of_request(&headers, auth).map_err(|error| error.status.as_u16());
        assert_eq!(tenant.as_ref().map(Tenant::as_str), expect.as_ref().map(|name| *name), "{header:?}");
    }

    #[test]
    fn rules_of_the_header() {
        check(None, false, Ok("fake"));
        check(Some("x"), false, Ok("fake"));
        check(None, true, Err(401));
        check(Some("team"), true, Ok("team"));
        check(Some("team:sub"), true, Ok("team"));
        check(Some("a/b"), true, Err(400));
        check(Some("a|b"), true, Err(400));
    }

    #[test]
    fn reads_may_name_several() {
        let check = |header: &str, (auth, several): (bool, bool), expect: Result<&str, u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(ORG_ID_HEADER, header.parse().unwrap());
            let settings = ServerSettings {
                auth_enabled: auth,
                multi_tenant_queries_enabled: several,
                ..ServerSettings::default()
            };
            let tenants = all_of_request(&headers, &settings).map_err(|error| error.status.as_u16());
            assert_eq!(tenants.map(|tenants| tenants.to_string()), expect.map(str::to_owned), "{header}");
        };
        check("b|a:sub|b", (true, true), Ok("a|b"));
        check("b|b", (true, true), Ok("b"));
        check("b:sub", (true, true), Ok("b"));
        check("", (true, true), Err(401));
        for header in ["|", "a|", "a||b", "a|b/c", "a|.."] {
            check(header, (true, true), Err(400));
        }
        check("a|b", (true, false), Err(400));
        check("a|b", (false, true), Ok("fake"));
        let many = |count: usize| (0..count).map(|n| format!("{n:04}")).collect::<Vec<_>>().join("|");
        check(&many(TENANTS_MAX), (true, true), Ok(&many(TENANTS_MAX)));
        check(&many(TENANTS_MAX + 1), (true, true), Err(400));
    }
}
