//! Which tenant a request belongs to.

use crate::error::HttpError;
use axum::http::{HeaderMap, StatusCode};
use logyard_model::{Tenant, TenantError};
use logyard_wire::loki_query::ORG_ID_HEADER;

/// Reads the tenant of a request; with tenancy off the header is ignored.
///
/// A suffix `:sub` is cut off, as in Loki. Several tenants, `a|b`, are refused.
pub(crate) fn of_request(headers: &HeaderMap, auth_enabled: bool) -> Result<Tenant, HttpError> {
    if !auth_enabled {
        return Ok(Tenant::single());
    }
    let name =
        headers.get(ORG_ID_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
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
}
