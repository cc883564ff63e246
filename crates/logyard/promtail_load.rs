//! From the path of a `promtail.yaml` to settings and positions; and the settings as a file of ours.

use std::path::Path;

use anyhow::Context as _;
use logyard_agent::{
    FileSettings, GelfSettings, ImportedPositions, JournalSettings, LokiPushSettings, RelabelSettings,
    SyslogSettings,
};
use logyard_rules::{Step, name_of};
use logyard_sys::Disk;
use serde_yaml_ng::Value;

use crate::config::Settings;
use crate::config_push::without_password;
use crate::promtail::{self, Remark, place};
use crate::promtail_env::expand;
use crate::promtail_map::map;

/// How to treat the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Variables are replaced first.
    pub(crate) expand_env: bool,
    /// What is refused is left out instead.
    pub(crate) skip_unsupported: bool,
}

/// What was taken besides settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Keys with another effect.
    pub(crate) notes: Vec<String>,
    /// Keys left out because they cannot be honoured, and jobs left out for them.
    pub(crate) refused: Vec<String>,
    pub(crate) positions: ImportedPositions,
}

/// Puts a file over settings.
///
/// Errors: a file that cannot be read, or holds what is refused; each such key is named with its line.
pub(crate) fn take(
    path: &Path,
    how: How,
    settings: Settings,
    disk: &dyn Disk,
) -> anyhow::Result<(Settings, Taken)> {
    let shown = path.display();
    let bytes = disk.read(path).with_context(|| format!("cannot read {shown}"))?;
    let mut text = String::from_utf8(bytes).with_context(|| format!("cannot read {shown}"))?;
    if how.expand_env {
        text = expand(&text, &|name| std::env::var(name).ok())
            .map_err(|reason| anyhow::anyhow!("cannot read {shown}: {reason}"))?;
    }
    let (file, refused) = promtail::read(path, &text)?;
    let mapped = map(&file, settings, refused);
    let lines =
        |remarks: &[Remark]| remarks.iter().map(|remark| promtail::shown(path, &text, remark)).collect();
    let mut refused: Vec<String> = lines(&mapped.refused);
    if !refused.is_empty() && !how.skip_unsupported {
        anyhow::bail!(
            "cannot use {}\nmend these, or leave them out with --skip-unsupported",
            refused.join("\n")
        );
    }
    refused.extend::<Vec<String>>(lines(&mapped.left_out));
    let positions = match &mapped.positions {
        Some(path) => read_positions(path, &mapped.journals, disk)?,
        None => ImportedPositions::default(),
    };
    Ok((mapped.settings, Taken { notes: lines(&mapped.notes), refused, positions }))
}

/// Reads Promtail's file of positions; one that is not there holds none.
fn read_positions(
    path: &Path,
    journals: &[(String, usize)],
    disk: &dyn Disk,
) -> anyhow::Result<ImportedPositions> {
    if disk.metadata(path).ok().flatten().is_none() {
        return Ok(ImportedPositions::default());
    }
    let what = || {
        format!("cannot take over positions from {}; mend it, or remove positions.filename", path.display())
    };
    let bytes = disk.read(path).with_context(what)?;
    ImportedPositions::parse_promtail(&bytes, journals).map_err(anyhow::Error::msg).with_context(what)
}

/// Writes settings as a config file of ours, with its secrets, without what has its default anyhow.
pub(crate) fn print_short(settings: &Settings) -> anyhow::Result<String> {
    let mut short = short(settings)?;
    for (path, secret) in secrets(settings) {
        let place = path.iter().try_fold(&mut short, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Item(index) => value.get_mut(index),
        });
        *place.context("find a secret")? = secret.into();
    }
    Ok(serde_yaml_ng::to_string(&short)?)
}

/// Writes them with `***` for secrets, and says in front which those are.
pub(crate) fn print_hiding(settings: &Settings) -> anyhow::Result<String> {
    let names: Vec<String> = secrets(settings).into_iter().map(|(path, _)| name_of(&path)).collect();
    let text = serde_yaml_ng::to_string(&short(settings)?)?;
    if names.is_empty() {
        return Ok(text);
    }
    Ok(format!(
        "# Not shown: {}. Fill in where *** stands, name a file as token_file or password_file, or print with --show-secrets.\n{text}",
        names.join(", ")
    ))
}

fn short(settings: &Settings) -> anyhow::Result<Value> {
    let printed = |settings: &Settings| -> anyhow::Result<Value> {
        Ok(serde_yaml_ng::from_str(&crate::config::print(settings)?)?)
    };
    without_defaults(printed(settings)?, &printed(&Settings::default())?)
}

/// Returns the secrets of clients, addresses with a password among them, and where they stand.
fn secrets(settings: &Settings) -> Vec<(Vec<Step>, &str)> {
    let push = &settings.push;
    let mut clients = vec![(place!["push"], &push.url, &push.delivery)];
    let also = push.also.iter().enumerate();
    clients.extend(also.map(|(number, also)| (place!["push", "also", number], &also.url, &also.delivery)));
    let mut all = Vec::new();
    for (at, url, client) in clients {
        let below = |steps: Vec<Step>| [at.clone(), steps].concat();
        let addresses = [("url", url), ("proxy", &client.proxy)];
        let hiding = addresses.into_iter().filter(|(_, address)| without_password(address) != **address);
        all.extend(hiding.map(|(key, address)| (below(place![key]), address.as_str())));
        all.push((below(place!["token"]), client.token.expose()));
        all.push((below(place!["password"]), client.password.expose()));
        let headers = client.headers.iter();
        all.extend(headers.map(|(name, secret)| (below(place!["headers", name.as_str()]), secret.expose())));
    }
    all.retain(|(_, secret)| !secret.is_empty());
    all
}

fn without_defaults(value: Value, default: &Value) -> anyhow::Result<Value> {
    let Value::Mapping(entries) = value else { return Ok(value) };
    let mut short = serde_yaml_ng::Mapping::new();
    for (key, value) in entries {
        let usual = default.get(&key).unwrap_or(&Value::Null);
        if value == *usual || value.is_null() {
            continue;
        }
        let item = match key.as_str() {
            Some("files") => Some(serde_yaml_ng::to_value(FileSettings::default())?),
            Some("syslog") => Some(serde_yaml_ng::to_value(SyslogSettings::default())?),
            Some("gelf") => Some(serde_yaml_ng::to_value(GelfSettings::default())?),
            Some("loki_push") => Some(serde_yaml_ng::to_value(LokiPushSettings::default())?),
            Some("journal") => Some(serde_yaml_ng::to_value(JournalSettings::default())?),
            Some("relabel") => Some(serde_yaml_ng::to_value(RelabelSettings::default())?),
            _ => None,
        };
        let value = match (value, item) {
            (Value::Sequence(items), Some(item)) => {
                let items = items.into_iter().map(|value| without_defaults(value, &item));
                Value::Sequence(items.collect::<anyhow::Result<_>>()?)
            }
            (value, _) => without_defaults(value, usual)?,
        };
        short.insert(key, value);
    }
    Ok(Value::Mapping(short))
}

#[cfg(test)]
mod tests;
