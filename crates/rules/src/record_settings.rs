//! The settings of those who take the series of recording rules, `rules.remote_write` of the config.

use crate::settings::check_whom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One who takes the series of recording rules by Prometheus' remote write. `name` and an address are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteSettings {
    /// Tells it from others, in metrics and messages.
    pub name: String,
    /// Its address with the path, such as `http://prometheus:9090/api/v1/write`. A user and a password in it are sent as
    /// `Authorization: Basic`.
    pub url: String,
    /// File that holds the address, read at start.
    pub url_file: String,
    /// File that holds the token to show, read at start. Default empty: none.
    pub token_file: String,
    /// File with certificates of the authorities that its certificate may come from, PEM. Default empty: those of the
    /// machine.
    pub ca_file: String,
    /// Most samples that wait in memory while it does not take them; then the oldest are dropped, and counted. They are
    /// lost when the process ends. Default 100000.
    pub samples_max: usize,
}

impl Default for RemoteWriteSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            url_file: String::new(),
            token_file: String::new(),
            ca_file: String::new(),
            samples_max: 100_000,
        }
    }
}

impl RemoteWriteSettings {
    /// Checks what the types do not say. Errors: the text of the first fault, which begins with its key.
    pub(crate) fn check(all: &[Self]) -> Result<(), String> {
        for (number, one) in all.iter().enumerate() {
            let fault = |text: &str| Err(format!("rules.remote_write.{number}: {text}"));
            let others = all.iter().take(number).map(|other| &*other.name);
            check_whom(&one.name, others, (&one.url, &one.url_file)).or_else(|why| fault(&why))?;
            if one.samples_max == 0 {
                return fault("samples_max: 0 is too few; want one at least");
            }
        }
        Ok(())
    }
}
