//! The client, made from the flags or, where they are absent, from the environment.

use std::time::Duration;

use logyard_client::{Client, ClientSettings, Tls, TlsFiles, Token};
use logyard_model::Tenants;

use crate::args_shared::SharedFlags;
use crate::time_text::parse_duration_ns;

/// Address asked when none is given.
const ADDRESS: &str = "http://127.0.0.1:3100";

/// Makes the client; connects to nobody yet.
pub(crate) fn connect(shared: &SharedFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<Client, String> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let either = |flag: &Option<String>, names: [&str; 2]| {
        flag.clone().filter(|value| !value.is_empty()).or_else(|| names.into_iter().find_map(set))
    };
    let addr = either(&shared.addr, ["LOGQ_ADDR", "LOKI_ADDR"]);
    let org_id = either(&shared.org_id, ["LOGQ_ORG_ID", "LOKI_ORG_ID"]);
    let org_id = org_id.map(|names| Tenants::parse(&names)).transpose().map_err(|error| error.to_string())?;
    let timeout_ns = parse_duration_ns(&shared.timeout)?;
    let token = token(shared.token_file.as_deref(), &set)?;
    let files = TlsFiles {
        ca_file: either(&shared.ca_file, ["LOGQ_CA_FILE", "LOKI_CA_CERT_PATH"]).unwrap_or_default(),
        cert_file: either(&shared.cert_file, ["LOGQ_CERT_FILE", "LOKI_CLIENT_CERT_PATH"]).unwrap_or_default(),
        key_file: either(&shared.key_file, ["LOGQ_KEY_FILE", "LOKI_CLIENT_KEY_PATH"]).unwrap_or_default(),
        server_name: shared.server_name.clone().unwrap_or_default(),
    };
    let tls = match files == TlsFiles::default() {
        true => None,
        false => Some(Tls::read(&files).map_err(|error| error.to_string())?),
    };
    let settings = ClientSettings {
        token,
        tls,
        timeout: Duration::from_nanos(u64::try_from(timeout_ns).unwrap_or_default()),
        org_id,
        user_agent: concat!("logq/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Client::new(addr.as_deref().unwrap_or(ADDRESS), settings).map_err(|error| error.to_string())
}

/// Finds the token: a file named by a flag, else the environment, which may hold it or name a file.
fn token(flag: Option<&str>, set: &dyn Fn(&str) -> Option<String>) -> Result<Option<Token>, String> {
    let read = |path: &str| Token::read(path).map(Some).map_err(|error| error.to_string());
    if let Some(path) = flag {
        return read(path);
    }
    if let Some(token) = set("LOGQ_TOKEN").or_else(|| set("LOKI_BEARER_TOKEN")) {
        return Ok(Token::new(&token));
    }
    match set("LOGQ_TOKEN_FILE").or_else(|| set("LOKI_BEARER_TOKEN_FILE")) {
        Some(path) => read(&path),
        None => Ok(None),
    }
}
