//! What the `server:` of a `promtail.yaml` becomes here: where the agent's pages are, and how it logs.

use logyard_agent::AgentSettings;
use serde_yaml_ng::Value;

use crate::config::{LogFormat, LogSettings};
use crate::promtail::{Anything, place};
use crate::promtail_map::{Mapped, put};

/// Port of the pages where none is given. Promtail's is 80, which seldom is free and takes rights to open.
const PORT: u64 = 9080;

impl Mapped {
    /// Takes keys about the program's own server and log.
    pub(crate) fn server(&mut self, server: Option<&Anything>) {
        let Some(Anything(Value::Mapping(keys))) = server else { return };
        let defaults = LogSettings::default();
        let (mut host, mut port, mut is_off) = (None, None, false);
        for (key, value) in keys {
            let (Some(key), text) = (key.as_str(), value.as_str().unwrap_or_default()) else { continue };
            match key {
                "log_level" => put(&mut self.settings.log.level, &defaults.level, text.to_owned()),
                "log_format" if text == "json" => {
                    put(&mut self.settings.log.format, &defaults.format, LogFormat::Json);
                }
                "log_format" => {}
                "http_listen_address" => host = Some(text).filter(|host| !host.is_empty()),
                "http_listen_port" => port = Some(value),
                "disable" => is_off = value.as_bool() == Some(true),
                key if is_server_key(key) => {
                    self.note(place!["server", key], "has no effect: the agent's pages are at agent.listen");
                }
                _ => self.refuse(place!["server", key], UNKNOWN_SERVER_KEY),
            }
        }
        let listen = match is_off {
            true => Some(String::new()),
            false => self.listen(host, port),
        };
        if let Some(listen) = listen {
            put(&mut self.settings.agent.listen, &AgentSettings::default().listen, listen);
        }
    }

    /// Returns where the pages are; `None`: where they are anyhow.
    fn listen(&mut self, host: Option<&str>, port: Option<&Value>) -> Option<String> {
        let given = port.map(|port| match port {
            Value::String(text) => text.parse().ok(),
            port => port.as_u64(),
        });
        let port = match given {
            Some(Some(port)) if port <= 65_535 => port,
            Some(_) => {
                let text = "is refused: it is no port; want one such as 9080, or 0 for any that is free";
                self.refuse(place!["server", "http_listen_port"], text);
                return None;
            }
            None if host.is_some() => {
                let text =
                    "is taken with port 9080, since port 80 is seldom free; set http_listen_port for another";
                self.note(place!["server", "http_listen_address"], text);
                PORT
            }
            None => return None,
        };
        let host = host.unwrap_or_else(|| {
            let text = "is taken on this machine only, since whoever reaches the pages reads them; set http_listen_address: 0.0.0.0 for others";
            self.note(place!["server", "http_listen_port"], text);
            "127.0.0.1"
        });
        Some(match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        })
    }
}

/// Of a key that is not Promtail's.
pub(crate) const UNKNOWN_SERVER_KEY: &str =
    "is refused: a server of Promtail's has no such key; remove it, or look at how it is written";

/// Tells whether a server of Promtail's has this key. Most have no counterpart.
pub(crate) fn is_server_key(key: &str) -> bool {
    const KEYS: [&str; 24] = [
        "disable",
        "enable_runtime_reload",
        "external_url",
        "graceful_shutdown_timeout",
        "health_check_target",
        "http_listen_address",
        "http_listen_conn_limit",
        "http_listen_network",
        "http_listen_port",
        "http_log_closed_connections_without_response_enabled",
        "http_path_prefix",
        "http_tls_config",
        "log_format",
        "log_level",
        "log_request_at_info_level_enabled",
        "log_request_exclude_headers_list",
        "log_request_headers",
        "profiling_enabled",
        "proxy_protocol_enabled",
        "register_instrumentation",
        "reload",
        "report_grpc_codes_in_instrumentation_label_enabled",
        "tls_cipher_suites",
        "tls_min_version",
    ];
    const FAMILIES: [&str; 3] = ["grpc_", "http_server_", "log_source_ips_"];
    KEYS.contains(&key) || FAMILIES.iter().any(|family| key.starts_with(family))
}
