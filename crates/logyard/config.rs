//! The settings of the whole program, and how they come together: flags over environment over file over
//! defaults.
//!
//! Each crate owns the settings of its part; this module composes them and is the only one that reads a
//! config file or the environment. Everything is checked once, at start: afterwards settings are facts.

use std::path::{Path, PathBuf};

use logyard_agent::AgentSettings;
use logyard_engine::EngineSettings;
use logyard_ingest::IngestSettings;
use logyard_rules::{NotifySettings, RulesSettings, Step, line_of, name_of};
use logyard_server::ServerSettings;
use logyard_store::StoreSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use crate::config_check::{Fault, check};
use crate::config_env::{self, Overlay};
pub use crate::config_push::{DeliverySettings, DestinationSettings, PushSettings, PushTlsSettings};
use crate::config_units::Unit;

/// Most bytes of a config file; the largest sensible one has a few thousand.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The settings of Logyard. Every key is optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port of the HTTP server. Default `127.0.0.1:3100`, this machine only: without
    /// server.tokens whoever reaches the port may do everything.
    pub listen: String,
    /// Folder of everything that must survive a restart. Default `./logyard-data`. One process at a time.
    pub data_dir: PathBuf,
    /// Logyard's own log.
    pub log: LogSettings,
    /// Where the agent sends to.
    pub push: PushSettings,
    /// What is read and how it is labelled.
    pub agent: AgentSettings,
    /// What is accepted.
    pub limits: IngestSettings,
    /// How it is kept.
    pub store: StoreSettings,
    /// How queries are evaluated.
    pub engine: EngineSettings,
    /// Which alert and recording rules are evaluated.
    pub rules: RulesSettings,
    /// Who is told of alerts.
    pub notify: NotifySettings,
    /// How HTTP requests are served.
    pub server: ServerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3100".to_owned(),
            data_dir: PathBuf::from("logyard-data"),
            log: LogSettings::default(),
            push: PushSettings::default(),
            agent: AgentSettings::default(),
            limits: IngestSettings::default(),
            store: StoreSettings::default(),
            engine: EngineSettings::default(),
            rules: RulesSettings::default(),
            notify: NotifySettings::default(),
            server: ServerSettings::default(),
        }
    }
}

/// Settings of Logyard's own log, which goes to the error output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Least severe level that is written: `error`, `warn`, `info`, `debug` or `trace`; or one per part,
    /// as in `info,logyard_store=debug`. Default `info`.
    pub level: String,
    /// Form of the lines. Default `logfmt`.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Logfmt }
    }
}

/// Form of the lines of Logyard's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `ts=… level=info target=store msg="…"`.
    #[default]
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Path (for messages) and text of the config file, if one is named.
    pub file: Option<(PathBuf, String)>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Flags given: the flag for messages, the setting's path, the text.
    pub flags: Vec<(&'static str, &'static [&'static str], String)>,
}

/// Why there are no settings; the text names file and line, variable or flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Returns the settings that the sources give, flags over environment over file over defaults.
///
/// Errors: a file that is no YAML, an unknown key, a value of the wrong form; nothing is half-applied.
pub fn load(sources: &Sources) -> Result<Settings, ConfigError> {
    let schema = schemars::schema_for!(Settings).to_value();
    let mut document = match &sources.file {
        Some((path, text)) => read_file(path, text)?,
        None => Value::Null,
    };
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let top: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut overlays = config_env::overlays(sources.environment.iter().cloned(), &top);
    for (flag, path, text) in &sources.flags {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        overlays.push(Overlay { variable: (*flag).to_owned(), path, value: Value::String(text.clone()) });
    }
    // The file is checked alone first: a fault that a variable happens to cover is still a fault.
    check(&document, &schema).map_err(|fault| blame(&fault, sources, &[]))?;
    for overlay in &overlays {
        config_env::set(&mut document, &overlay.path, overlay.value.clone());
    }
    let checked = check(&document, &schema).map_err(|fault| blame(&fault, sources, &overlays))?;
    serde_yaml_ng::from_value(checked.clone()).map_err(|error| {
        let fault = Fault { path: culprit(&checked), text: format!("cannot be read: {error}") };
        blame(&fault, sources, &overlays)
    })
}

/// Finds the key whose value a type refuses though its schema allows it (a text with a form of its own):
/// the one without which the rest is fine. Empty if no single key is to blame.
fn culprit(document: &Value) -> Vec<Step> {
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let Some(Value::Mapping(entries)) = value_at(document, &path) else { continue };
        for (key, value) in entries {
            let inner: Vec<String> = path.iter().cloned().chain(key.as_str().map(str::to_owned)).collect();
            if value.is_mapping() {
                paths.push(inner);
                continue;
            }
            let mut rest = document.clone();
            config_env::remove(&mut rest, &inner);
            if serde_yaml_ng::from_value::<Settings>(rest).is_ok() {
                return inner.into_iter().map(Step::Key).collect();
            }
        }
    }
    Vec::new()
}

fn value_at<'v>(document: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(document, |value, key| value.get(key))
}

/// Writes settings as a config file, numbers with their unit.
pub fn print(settings: &Settings) -> Result<String, ConfigError> {
    let fault = |error| ConfigError(format!("cannot print settings: {error}"));
    let mut document = serde_yaml_ng::to_value(settings).map_err(fault)?;
    add_units(&mut document);
    serde_yaml_ng::to_string(&document).map_err(fault)
}

/// Turns every number whose key names its unit into a text.
fn add_units(document: &mut Value) {
    match document {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                match (key.as_str().and_then(Unit::of_key), value.as_u64()) {
                    (Some(unit), Some(number)) => *value = Value::String(unit.print(number)),
                    _ => add_units(value),
                }
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(add_units),
        _ => {}
    }
}

fn read_file(path: &Path, text: &str) -> Result<Value, ConfigError> {
    if text.len() > FILE_BYTES_MAX {
        let text = format!("cannot read config {}: longer than {FILE_BYTES_MAX} bytes", path.display());
        return Err(ConfigError(text));
    }
    serde_yaml_ng::from_str(text).map_err(|error| {
        ConfigError(format!("cannot read config {}: no valid YAML: {error}", path.display()))
    })
}

/// Says where a fault comes from: the last flag or variable that set it, else the line of the file.
fn blame(fault: &Fault, sources: &Sources, overlays: &[Overlay]) -> ConfigError {
    let name = name_of(&fault.path);
    let culprit = overlays.iter().rev().find(|overlay| config_env::is_to_blame(overlay, &fault.path));
    let place = match (culprit, &sources.file) {
        (Some(overlay), _) => overlay.variable.clone(),
        (None, Some((path, text))) => match line_of(text, &fault.path) {
            Some(line) => format!("config {} line {line}", path.display()),
            None => format!("config {}", path.display()),
        },
        (None, None) => "settings".to_owned(),
    };
    match name.is_empty() {
        true => ConfigError(format!("cannot use {place}: {}", fault.text)),
        false => ConfigError(format!("cannot use {place}: {name:?} {}", fault.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Sources {
        Sources { file: Some((PathBuf::from("logyard.yaml"), text.to_owned())), ..Sources::default() }
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        assert_eq!(load(&Sources::default()), Ok(Settings::default()));
        assert_eq!(load(&file("# nothing\n")), Ok(Settings::default()));
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let mut sources = file("listen: 127.0.0.1:1\ndata_dir: /file\nlog:\n  level: warn\n");
        sources.environment = vec![
            ("LOGYARD_DATA_DIR".to_owned(), "/env".to_owned()),
            ("LOGYARD_LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
        ];
        sources.flags = vec![("--listen", &["listen"], "127.0.0.1:3".to_owned())];
        let settings = load(&sources).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:3");
        assert_eq!(settings.data_dir, PathBuf::from("/env"));
        assert_eq!(settings.log.level, "warn");
    }

    #[test]
    fn faults_name_file_line_and_nearest_key() {
        let text = "listen: 127.0.0.1:1\n\nstore:\n  wal:\n    synk: always\n";
        let want = "cannot use config logyard.yaml line 5: \"store.wal.synk\" is no setting; \
                    the nearest valid key is \"sync\"";
        assert_eq!(load(&file(text)).unwrap_err().to_string(), want);
        let broken = load(&file("listen: [\n")).unwrap_err().to_string();
        assert!(broken.contains("logyard.yaml") && broken.contains("line 2"), "{broken}");
    }

    #[test]
    fn faults_of_the_environment_name_the_variable() {
        let mut sources = file("listen: 127.0.0.1:1\n");
        sources.environment = vec![("LOGYARD_STORE__FLUSH__AGE_SECS".to_owned(), "30m".to_owned())];
        let error = load(&sources).unwrap_err().to_string();
        assert!(error.starts_with("cannot use LOGYARD_STORE__FLUSH__AGE_SECS: "), "{error}");
        assert!(error.contains("\"age_secs_max\""), "{error}");
    }

    #[test]
    fn units_are_understood_everywhere() {
        let settings = load(&file("store: {flush: {age_secs_max: 2h, head_bytes_max: 128MiB}}")).unwrap();
        assert_eq!(settings.store.flush.age_secs_max, 7200);
        assert_eq!(settings.store.flush.head_bytes_max, 128 << 20);
    }

    #[test]
    fn texts_that_their_type_refuses_are_located_too() {
        let error =
            load(&file("listen: 127.0.0.1:1\nlimits:\n  entry_age_max: soon\n")).unwrap_err().to_string();
        let want = "cannot use config logyard.yaml line 3: \"limits.entry_age_max\" cannot be read: ";
        assert!(error.starts_with(want), "{error}");
    }

    #[test]
    fn printed_settings_read_back() {
        let settings = Settings { listen: "127.0.0.1:9".to_owned(), ..Settings::default() };
        let printed = print(&settings).unwrap();
        assert!(printed.contains("age_secs_max: 30m\n"), "{printed}");
        assert_eq!(load(&file(&printed)), Ok(settings));
    }
}
