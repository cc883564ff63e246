//! Where the settings of this process come from, to be read at the start and again when somebody asks.

use std::path::PathBuf;

use anyhow::Context as _;
use logyard_sys::Disk;

use crate::args::Flags;
use crate::config::{Settings, Sources, load};
use crate::promtail_load::{self, How, Taken};

/// Flags, environment and files.
#[derive(Clone, Debug)]
pub(crate) struct SettingsSource {
    pub(crate) flags: Flags,
    /// Whether the process is an agent on its own: `--listen` is its pages' then.
    pub(crate) is_agent: bool,
}

impl SettingsSource {
    /// Gathers the settings. Errors: what cannot be used, with file and line; nothing is half-applied.
    pub(crate) fn load(&self, disk: &dyn Disk) -> anyhow::Result<(Settings, Taken)> {
        let settings = self.own(disk)?;
        let (mut settings, taken) = match &self.flags.promtail_config {
            None => (settings, Taken::default()),
            Some(path) => promtail_load::take(path, self.how(), settings, disk)?,
        };
        if self.flags.stdin && !settings.agent.stdin.enabled {
            settings.agent.read_stdin();
        }
        Ok((settings, taken))
    }

    /// Returns how a `promtail.yaml` is treated.
    pub(crate) fn how(&self) -> How {
        How { expand_env: self.flags.expand_env, skip_unsupported: self.flags.skip_unsupported }
    }

    /// Gathers the settings from flags, environment and our own file.
    fn own(&self, disk: &dyn Disk) -> anyhow::Result<Settings> {
        let mut sources = Sources { environment: environment(), ..Sources::default() };
        let named = std::env::var_os("LOGYARD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = self.flags.config.clone().or(named) {
            let bytes = disk.read(&path).with_context(|| format!("cannot read config {}", path.display()))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                anyhow::anyhow!("cannot read config {}: no UTF-8: {error}", path.display())
            })?;
            sources.file = Some((path, text));
        }
        self.flags.add_to(&mut sources, self.is_agent);
        Ok(load(&sources)?)
    }
}

/// Returns the variables that are text; others cannot be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect()
}
