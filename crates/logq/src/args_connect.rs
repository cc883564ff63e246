//! Whom to ask, and how to get there: flags that every command takes. Each may come from the environment as well, by a
//! name of ours or by that of Loki's client; a flag wins.

use clap::Args;

/// Whom to ask.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectFlags {
    /// Address of the store [default: http://127.0.0.1:3100] [env: LOGQ_ADDR, LOKI_ADDR]
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(crate) addr: Option<String>,

    /// Tenant, sent as X-Scope-OrgID; several to read from, as a|b [env: LOGQ_ORG_ID, LOKI_ORG_ID]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) org_id: Option<String>,

    /// User of a store or proxy that asks for a login [env: LOGQ_USERNAME, LOKI_USERNAME]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// Their password; others on this machine see it in a flag, so better by the environment [env: LOGQ_PASSWORD,
    /// LOKI_PASSWORD]
    #[arg(long, global = true, hide_short_help = true, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,

    /// File of the token that the store asks for; white space around it does not count [env: LOGQ_TOKEN_FILE,
    /// LOKI_BEARER_TOKEN_FILE]
    #[arg(long, alias = "bearer-token-file", global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) token_file: Option<String>,

    /// The token itself; others on this machine see it in a flag [env: LOGQ_TOKEN, LOKI_BEARER_TOKEN]
    #[arg(long, global = true, hide_short_help = true, value_name = "TOKEN")]
    pub(crate) bearer_token: Option<String>,

    /// Header that carries token or login [default: Authorization] [env: LOGQ_AUTH_HEADER, LOKI_AUTH_HEADER]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) auth_header: Option<String>,

    /// File of the authorities to trust with https, in PEM [default: those of this machine] [env: LOGQ_CA_FILE,
    /// LOKI_CA_CERT_PATH]
    #[arg(long, alias = "ca-cert", global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) ca_file: Option<String>,

    /// File of the own certificate, for a store that asks for one, in PEM [env: LOGQ_CERT_FILE,
    /// LOKI_CLIENT_CERT_PATH]
    #[arg(long, alias = "cert", global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) cert_file: Option<String>,

    /// File of its private key, in PEM [env: LOGQ_KEY_FILE, LOKI_CLIENT_KEY_PATH]
    #[arg(long, alias = "key", global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) key_file: Option<String>,

    /// Name that the store's certificate must bear [default: that of the address]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) server_name: Option<String>,

    /// Trust any certificate: whoever stands between can read all that is sent [env: LOGQ_TLS_SKIP_VERIFY,
    /// LOKI_TLS_SKIP_VERIFY]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) tls_skip_verify: bool,

    /// Proxy to go through [env: LOGQ_PROXY_URL, LOKI_HTTP_PROXY_URL]
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(crate) proxy_url: Option<String>,

    /// Go through the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name [env: LOGQ_ENV_PROXY, LOKI_ENV_PROXY]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) envproxy: bool,

    /// Let answers travel compressed [env: LOGQ_COMPRESS, LOKI_HTTP_COMPRESSION]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) compress: bool,

    /// What the store's own log says of these queries, such as source=me [env: LOGQ_QUERY_TAGS, LOKI_QUERY_TAGS]
    #[arg(long, global = true, hide_short_help = true, value_name = "TAGS")]
    pub(crate) query_tags: Option<String>,

    /// Ask for answers that come from no cache [env: LOGQ_NO_CACHE, LOKI_NO_CACHE]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) nocache: bool,

    /// Make a call again that failed for a passing reason, so many times [default: 0] [env: LOGQ_RETRIES,
    /// LOKI_CLIENT_RETRIES]
    #[arg(long, global = true, hide_short_help = true, value_name = "COUNT")]
    pub(crate) retries: Option<u32>,

    /// Shortest pause before it is made again; a bare number is seconds [default: 500ms] [env: LOGQ_MIN_BACKOFF,
    /// LOKI_CLIENT_MIN_BACKOFF]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION")]
    pub(crate) min_backoff: Option<String>,

    /// Longest pause [default: 30s] [env: LOGQ_MAX_BACKOFF, LOKI_CLIENT_MAX_BACKOFF]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION")]
    pub(crate) max_backoff: Option<String>,

    /// Longest time for one call
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION", default_value = "1m")]
    pub(crate) timeout: String,
}
