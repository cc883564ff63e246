//! How a subcommand reaches the store that runs with the same settings.

use std::time::Duration;

use anyhow::Context as _;
use logyard_client::{Client, ClientSettings, Error, Tls, Token};
use logyard_model::{Tenant, Tenants};
use logyard_sys::RealDisk;

use crate::config::Settings;
use crate::secrets;

/// Returns a client of the store that these settings start, on this machine, which may do everything there.
pub(crate) fn client(settings: &Settings, tenant: Option<Tenant>, wait: Duration) -> anyhow::Result<Client> {
    let mut settings = settings.clone();
    secrets::read_files(&mut settings, &RealDisk)?;
    with_token(&settings, tenant, secrets::operator(&settings.server), wait)
}

/// Returns such a client without any token, for what needs none.
pub(crate) fn client_without_token(settings: &Settings, wait: Duration) -> anyhow::Result<Client> {
    with_token(settings, None, None, wait)
}

fn with_token(
    settings: &Settings,
    tenant: Option<Tenant>,
    token: Option<Token>,
    wait: Duration,
) -> anyhow::Result<Client> {
    let tls = match settings.server.tls.is_on() {
        false => None,
        // The certificate is at hand, so the name on it does not matter, nor who signed it.
        true => Some(
            Tls::pinned(&settings.server.tls.cert_file, &settings.push.delivery.tls.files())
                .context("cannot use server.tls and push.tls")?,
        ),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = own_address(scheme, &settings.listen, &settings.server.path_prefix);
    Client::new(
        &address,
        ClientSettings {
            timeout: wait,
            org_id: tenant.map(Tenants::from),
            token,
            tls,
            user_agent: user_agent(),
        },
    )
    .context("cannot use listen")
}

/// Returns what subcommands call themselves.
pub(crate) fn user_agent() -> String {
    concat!("logyard/", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Tells whether nobody answered at all.
pub(crate) fn is_silent(error: &Error) -> bool {
    error.status().is_none() && error.kind() == logyard_client::Kind::Unavailable
}

/// Returns where a store with these settings is reached from its own machine.
fn own_address(scheme: &str, listen: &str, path_prefix: &str) -> String {
    let reachable = match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    };
    format!("{scheme}://{reachable}{}", path_prefix.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_store_is_reached_over_loopback() {
        let check =
            |listen: &str, prefix: &str, want: &str| assert_eq!(own_address("http", listen, prefix), want);
        check("127.0.0.1:3100", "", "http://127.0.0.1:3100");
        check("0.0.0.0:1", "/logs/", "http://127.0.0.1:1/logs");
        check("[::]:2", "", "http://[::1]:2");
    }
}
