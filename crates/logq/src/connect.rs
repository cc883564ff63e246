//! The client, made from the flags or, where they are absent, from the environment.

use std::time::Duration;

use logyard_client::{
    BackoffSettings, Client, ClientOptions, ClientSettings, Login, Proxy, Retries, Tls, TlsFiles, Token,
};
use logyard_model::Tenants;

use crate::args_connect::ConnectFlags;
use crate::time_text::parse_duration_ns;

/// Address asked when none is given.
const ADDRESS: &str = "http://127.0.0.1:3100";

/// Looks up environment variables; an empty one is as good as none.
struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    fn set(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Returns a flag, or the first of the variables that is set.
    fn text(&self, flag: Option<&str>, names: [&str; 2]) -> Option<String> {
        let flag = flag.filter(|value| !value.is_empty()).map(str::to_owned);
        flag.or_else(|| names.into_iter().find_map(|name| self.set(name)))
    }

    /// Returns whether a flag is given, or a variable says so.
    fn is_on(&self, flag: bool, names: [&str; 2]) -> Result<bool, String> {
        if flag {
            return Ok(true);
        }
        for name in names {
            match self.set(name).as_deref() {
                None => {}
                Some("true" | "1" | "yes") => return Ok(true),
                Some("false" | "0" | "no") => return Ok(false),
                Some(other) => return Err(format!("cannot use {name}: {other:?} is neither true nor false")),
            }
        }
        Ok(false)
    }
}

/// Makes the client; connects to nobody yet.
pub(crate) fn connect(flags: &ConnectFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<Client, String> {
    let env = Env(env);
    let addr = env.text(flags.addr.as_deref(), ["LOGQ_ADDR", "LOKI_ADDR"]);
    let org_id = env.text(flags.org_id.as_deref(), ["LOGQ_ORG_ID", "LOKI_ORG_ID"]);
    let org_id = org_id.map(|names| Tenants::parse(&names)).transpose().map_err(|error| error.to_string())?;
    let timeout_ns = parse_duration_ns(&flags.timeout)?;
    let settings = ClientSettings {
        token: token(flags, &env)?,
        tls: tls(flags, &env)?,
        timeout: Duration::from_nanos(u64::try_from(timeout_ns).unwrap_or_default()),
        org_id,
        user_agent: concat!("logq/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let options = options(flags, &env)?;
    Client::with_options(addr.as_deref().unwrap_or(ADDRESS), settings, options)
        .map_err(|error| error.to_string())
}

fn tls(flags: &ConnectFlags, env: &Env<'_>) -> Result<Option<Tls>, String> {
    let text = |flag: &Option<String>, names| env.text(flag.as_deref(), names).unwrap_or_default();
    let files = TlsFiles {
        ca_file: text(&flags.ca_file, ["LOGQ_CA_FILE", "LOKI_CA_CERT_PATH"]),
        cert_file: text(&flags.cert_file, ["LOGQ_CERT_FILE", "LOKI_CLIENT_CERT_PATH"]),
        key_file: text(&flags.key_file, ["LOGQ_KEY_FILE", "LOKI_CLIENT_KEY_PATH"]),
        server_name: flags.server_name.clone().unwrap_or_default(),
    };
    let tls = match env.is_on(flags.tls_skip_verify, ["LOGQ_TLS_SKIP_VERIFY", "LOKI_TLS_SKIP_VERIFY"])? {
        true => Tls::unverified(&files),
        false if files == TlsFiles::default() => return Ok(None),
        false => Tls::read(&files),
    };
    tls.map(Some).map_err(|error| error.to_string())
}

/// Finds the token: by a flag, else by the environment, each of which may hold it or name a file.
fn token(flags: &ConnectFlags, env: &Env<'_>) -> Result<Option<Token>, String> {
    let read = |path: &str| Token::read(path).map(Some).map_err(|error| error.to_string());
    if let Some(path) = &flags.token_file {
        return read(path);
    }
    if let Some(token) = env.text(flags.bearer_token.as_deref(), ["LOGQ_TOKEN", "LOKI_BEARER_TOKEN"]) {
        return Ok(Token::new(&token));
    }
    match env.text(None, ["LOGQ_TOKEN_FILE", "LOKI_BEARER_TOKEN_FILE"]) {
        Some(path) => read(&path),
        None => Ok(None),
    }
}

fn options(flags: &ConnectFlags, env: &Env<'_>) -> Result<ClientOptions, String> {
    let username = env.text(flags.username.as_deref(), ["LOGQ_USERNAME", "LOKI_USERNAME"]);
    let password = env.text(flags.password.as_deref(), ["LOGQ_PASSWORD", "LOKI_PASSWORD"]);
    let login = match (username, password) {
        (None, None) => None,
        (username, password) => {
            Some(Login { username: username.unwrap_or_default(), password: password.unwrap_or_default() })
        }
    };
    let mut headers = Vec::new();
    if let Some(tags) = env.text(flags.query_tags.as_deref(), ["LOGQ_QUERY_TAGS", "LOKI_QUERY_TAGS"]) {
        headers.push((logyard_wire::loki_query::QUERY_TAGS_HEADER.to_owned(), tags));
    }
    if env.is_on(flags.nocache, ["LOGQ_NO_CACHE", "LOKI_NO_CACHE"])? {
        headers.push(("cache-control".to_owned(), "no-cache".to_owned()));
    }
    let proxy = match env.text(flags.proxy_url.as_deref(), ["LOGQ_PROXY_URL", "LOKI_HTTP_PROXY_URL"]) {
        Some(url) => Proxy::Url(url),
        None if env.is_on(flags.envproxy, ["LOGQ_ENV_PROXY", "LOKI_ENV_PROXY"])? => Proxy::Environment,
        None => Proxy::None,
    };
    Ok(ClientOptions {
        login,
        auth_header: env.text(flags.auth_header.as_deref(), ["LOGQ_AUTH_HEADER", "LOKI_AUTH_HEADER"]),
        headers,
        proxy,
        is_compressed: env.is_on(flags.compress, ["LOGQ_COMPRESS", "LOKI_HTTP_COMPRESSION"])?,
        retries: retries(flags, env)?,
    })
}

fn retries(flags: &ConnectFlags, env: &Env<'_>) -> Result<Retries, String> {
    let mut retries = Retries::default();
    let count = flags.retries.map(|count| count.to_string());
    if let Some(text) = env.text(count.as_deref(), ["LOGQ_RETRIES", "LOKI_CLIENT_RETRIES"]) {
        retries.count =
            text.parse().map_err(|_| format!("cannot use {text:?} as number of retries: want a number"))?;
    }
    let pause = |flag: &Option<String>, names, usual: Duration| match env.text(flag.as_deref(), names) {
        // As with Loki's client, 0 means the usual pause.
        Some(text) => parse_pause(&text).map(|pause| if pause.is_zero() { usual } else { pause }),
        None => Ok(usual),
    };
    let BackoffSettings { min, max } = retries.backoff;
    let min = pause(&flags.min_backoff, ["LOGQ_MIN_BACKOFF", "LOKI_CLIENT_MIN_BACKOFF"], min)?;
    let max = pause(&flags.max_backoff, ["LOGQ_MAX_BACKOFF", "LOKI_CLIENT_MAX_BACKOFF"], max)?.max(min);
    retries.backoff = BackoffSettings { min, max };
    Ok(retries)
}

/// Reads a duration; a bare number is seconds, as with Loki's client.
fn parse_pause(text: &str) -> Result<Duration, String> {
    let ns = match text.parse::<u32>() {
        Ok(secs) => return Ok(Duration::from_secs(u64::from(secs))),
        Err(_) => parse_duration_ns(text)?,
    };
    Ok(Duration::from_nanos(u64::try_from(ns).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        flags: ConnectFlags,
    }

    fn made(line: &[&str], vars: &[(&str, &str)]) -> Result<(ClientOptions, Option<Token>), String> {
        let flags = Only::parse_from([&["logq"], line].concat()).flags;
        let env =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        connect(&flags, &env)?;
        Ok((options(&flags, &Env(&env))?, token(&flags, &Env(&env))?))
    }

    #[test]
    fn the_environment_of_lokis_client_counts_and_flags_win() {
        let vars = [
            ("LOKI_USERNAME", "me"),
            ("LOKI_PASSWORD", "sesame"),
            ("LOKI_AUTH_HEADER", "X-Auth"),
            ("LOKI_HTTP_PROXY_URL", "http://proxy:8080"),
            ("LOKI_HTTP_COMPRESSION", "true"),
            ("LOKI_QUERY_TAGS", "source=me"),
            ("LOKI_NO_CACHE", "1"),
            ("LOKI_CLIENT_RETRIES", "3"),
            ("LOKI_CLIENT_MIN_BACKOFF", "2"),
            ("LOKI_CLIENT_MAX_BACKOFF", "1m"),
        ];
        let (found, _) = made(&[], &vars).unwrap();
        assert_eq!(found.login, Some(Login { username: "me".to_owned(), password: "sesame".to_owned() }));
        assert_eq!(found.auth_header.as_deref(), Some("X-Auth"));
        assert_eq!(found.proxy, Proxy::Url("http://proxy:8080".to_owned()));
        assert!(found.is_compressed);
        assert_eq!(found.headers.len(), 2);
        assert_eq!(found.retries.count, 3);
        assert_eq!(found.retries.backoff.min, Duration::from_secs(2));
        assert_eq!(found.retries.backoff.max, Duration::from_secs(60));
        let (found, _) = made(&["--retries", "1", "--username", "you", "--envproxy"], &vars[..1]).unwrap();
        assert_eq!((found.retries.count, found.proxy), (1, Proxy::Environment));
        assert_eq!(found.login.unwrap().username, "you");
    }

    #[test]
    fn names_of_ours_go_before_lokis() {
        let vars = [("LOKI_BEARER_TOKEN", "theirs"), ("LOGQ_TOKEN", "ours")];
        assert_eq!(made(&[], &vars).unwrap().1, Token::new("ours"));
        assert_eq!(made(&["--bearer-token", "mine"], &vars).unwrap().1, Token::new("mine"));
        let fault = made(&[], &[("LOKI_TLS_SKIP_VERIFY", "maybe"), ("LOKI_ADDR", "https://a")]).unwrap_err();
        assert!(fault.contains("LOKI_TLS_SKIP_VERIFY") && fault.contains("maybe"), "{fault}");
        let both = [("LOKI_USERNAME", "me"), ("LOKI_BEARER_TOKEN", "t")];
        assert!(made(&[], &both).unwrap_err().contains("leave one of them out"));
    }

    #[test]
    fn every_variable_is_named_in_the_help_of_its_flag() {
        let help = <Only as clap::CommandFactory>::command().render_long_help().to_string();
        let source = include_str!("connect.rs");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let mut count = 0;
        for name in code.split('"').filter(|word| word.starts_with("LOGQ_") || word.starts_with("LOKI_")) {
            assert!(help.contains(name), "{name}");
            count += 1;
        }
        assert!(count > 30, "{count}");
    }
}
