//! Whether groups make sense, with Loki's texts (v3.7.6) where it has one.
//!
//! Unlike Loki, an expression must be a metric query: any other can never give a sample.

use crate::error::Error;
use crate::expand::Texts;
use crate::group::{AlertRule, Pairs, Rule, RuleGroup, RuleKind};
use crate::group_yaml::{RawFile, RawFileOut, RawGroup, RawRule};
use crate::yaml_line::{Step, line_of};
use crate::yaml_weight::weigh;
use logyard_logql::{Expr, check_stream_names, parse};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a group, or of a file.
pub const RULE_BYTES_MAX: usize = 1 << 20;

/// Shortest interval of a group.
const INTERVAL_NS_MIN: i64 = 1_000_000_000;

/// What is wrong, and where below the group, or the file.
#[derive(Debug)]
struct Fault {
    path: Vec<Step>,
    text: String,
}

impl Fault {
    fn at(text: impl Into<String>, key: &str) -> Self {
        Self { path: vec![Step::Key(key.to_owned())], text: text.into() }
    }

    fn below(mut self, key: &str, index: usize) -> Self {
        self.path.splice(..0, [Step::Key(key.to_owned()), Step::Item(index)]);
        self
    }
}

/// Why a rule file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The file.
    pub path: String,
    /// The line, from 1, as far as it is known.
    pub line: Option<usize>,
    /// The reason.
    pub text: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use rule file {}", self.path)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        write!(f, ": {}", self.text.replace('\n', "; "))
    }
}

impl std::error::Error for FileFault {}

/// Reads one group, as the API takes it.
///
/// Errors: `Invalid`, with Loki's text.
pub fn read_group(yaml: &[u8]) -> Result<RuleGroup, Error> {
    let undecoded = |why: &dyn fmt::Display| Error::invalid(format!("unable to decoded rule group: {why}"));
    if yaml.len() > RULE_BYTES_MAX {
        return Err(undecoded(&format_args!("{} bytes, at most {RULE_BYTES_MAX} are allowed", yaml.len())));
    }
    let text = std::str::from_utf8(yaml).map_err(|error| undecoded(&error))?;
    weigh(text).map_err(|error| undecoded(&error))?;
    match serde_yaml_ng::from_str::<Option<RawGroup>>(text) {
        Ok(raw) => check_group(raw.unwrap_or_default(), 0).map_err(|fault| Error::invalid(fault.text)),
        // A whole file instead of a group, for one: Loki sees a group without a name in it.
        Err(_) if is_nameless(text) => Err(Error::invalid(nameless(0))),
        Err(error) => Err(undecoded(&error)),
    }
}

fn is_nameless(text: &str) -> bool {
    let name = |value: &serde_yaml_ng::Value| value.get("name").is_some_and(|name| !name.is_null());
    serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text)
        .is_ok_and(|value| value.is_mapping() && !name(&value))
}

fn nameless(index: usize) -> String {
    format!("group {index}: Groupname must not be empty")
}

/// Reads a file of groups; `path` is what errors call it.
///
/// Errors: the first fault, with its line.
pub fn read_file(path: &Path, yaml: &[u8]) -> Result<Vec<RuleGroup>, FileFault> {
    let fault = |line, text| FileFault { path: path.display().to_string(), line, text };
    if yaml.len() > RULE_BYTES_MAX {
        return Err(fault(None, format!("{} bytes, at most {RULE_BYTES_MAX} are allowed", yaml.len())));
    }
    let weighed = std::str::from_utf8(yaml).map_or(Ok(()), weigh);
    weighed.map_err(|error| no_yaml(path, &error))?;
    read_printed(path, yaml)
}

/// Reads a file of groups of any length, as [`print_file`] writes it. Errors: as [`read_file`].
pub(crate) fn read_printed(path: &Path, yaml: &[u8]) -> Result<Vec<RuleGroup>, FileFault> {
    let fault = |line, text| FileFault { path: path.display().to_string(), line, text };
    let text = std::str::from_utf8(yaml).map_err(|error| fault(None, format!("no UTF-8: {error}")))?;
    let raw: Option<RawFile> = serde_yaml_ng::from_str(text).map_err(|error| no_yaml(path, &error))?;
    let groups = raw.unwrap_or_default().groups.unwrap_or_default();
    check_groups(groups).map_err(|found| {
        // A key that is missing has no line: the list that its group is in has one.
        let around = found.path.split_last().map(|(_, around)| around).unwrap_or_default();
        fault(line_of(text, &found.path).or_else(|| line_of(text, around)), found.text)
    })
}

fn no_yaml(path: &Path, error: &serde_yaml_ng::Error) -> FileFault {
    let line = error.location().map(|place| place.line());
    FileFault { path: path.display().to_string(), line, text: error.to_string() }
}

fn check_groups(raws: Vec<RawGroup>) -> Result<Vec<RuleGroup>, Fault> {
    let mut names = HashSet::new();
    let mut groups = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        let group = check_group(raw, index).map_err(|fault| fault.below("groups", index))?;
        if !names.insert(group.name.clone()) {
            let text = format!("groupname: \"{}\" is repeated in the same file", group.name);
            return Err(Fault::at(text, "name").below("groups", index));
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Writes a group as the API shows it.
pub fn print_group(group: &RuleGroup) -> String {
    serde_yaml_ng::to_string(&RawGroup::of(group, |_| true)).unwrap_or_default()
}

/// Writes a file of groups.
pub(crate) fn print_file<'a>(groups: impl Iterator<Item = &'a RuleGroup>) -> String {
    serde_yaml_ng::to_string(&RawFileOut {
        groups: groups.map(|group| RawGroup::of(group, |_| true)).collect(),
    })
    .unwrap_or_default()
}

/// Writes groups by namespace as the API lists them: of their rules those that have all labels of `having`. Groups and
/// namespaces in which none is left are left out.
pub fn print_namespaces<'a>(
    namespaces: impl IntoIterator<Item = (&'a str, Vec<&'a RuleGroup>)>,
    having: &Pairs,
) -> String {
    let group = |group: &RuleGroup| {
        let has_all = |rule: &Rule| {
            let label = |name| rule.labels.get(name).or_else(|| group.labels.get(name));
            having.iter().all(|(name, value)| label(name) == Some(value))
        };
        let raw = RawGroup::of(group, has_all);
        (having.is_empty() || !raw.rules.is_empty()).then_some(raw)
    };
    let raws: BTreeMap<&str, Vec<RawGroup>> = namespaces
        .into_iter()
        .map(|(namespace, groups)| (namespace, groups.into_iter().filter_map(group).collect::<Vec<_>>()))
        .filter(|(_, groups)| !groups.is_empty())
        .collect();
    serde_yaml_ng::to_string(&raws).unwrap_or_default()
}

fn check_group(raw: RawGroup, index: usize) -> Result<RuleGroup, Fault> {
    if raw.name.is_empty() {
        return Err(Fault::at(nameless(index), "name"));
    }
    let interval_ns = raw.interval.map(|span| span.0).filter(|ns| *ns > 0);
    if interval_ns.is_some_and(|ns| ns < INTERVAL_NS_MIN) {
        let text = format!("group '{}': the interval is shorter than 1s", raw.name);
        return Err(Fault::at(text, "interval"));
    }
    let limit = raw.limit.unwrap_or_default();
    let limit = usize::try_from(limit)
        .map_err(|_| Fault::at(format!("group '{}': the limit is below 0", raw.name), "limit"))?;
    check_labels(&raw.labels)?;
    let mut rules = Vec::with_capacity(raw.rules.len());
    for (number, rule) in raw.rules.into_iter().enumerate() {
        rules.push(check_rule(rule, &raw.name, &raw.labels).map_err(|fault| fault.below("rules", number))?);
    }
    Ok(RuleGroup {
        name: raw.name,
        interval_ns,
        query_offset_ns: raw.query_offset.map_or(0, |span| span.0),
        limit,
        labels: raw.labels,
        rules,
    })
}

fn check_rule(raw: RawRule, group: &str, group_labels: &Pairs) -> Result<Rule, Fault> {
    let key = if raw.record.is_empty() { "alert" } else { "record" };
    match (raw.record.is_empty(), raw.alert.is_empty()) {
        (false, false) => return Err(Fault::at("only one of 'record' and 'alert' must be set", "record")),
        (true, true) => return Err(Fault::at("one of 'record' or 'alert' must be set", "expr")),
        _ => {}
    }
    if raw.expr.is_empty() {
        return Err(Fault::at("field 'expr' must be set in rule", key));
    }
    let name = if raw.record.is_empty() { &raw.alert } else { &raw.record };
    let query = check_query(&raw.expr)
        .map_err(|why| format!("could not parse expression for {key} '{name}' in group '{group}': {why}"))
        .map_err(|text| Fault::at(text, "expr"))?;
    if key == "record" {
        check_record(&raw)?;
    }
    check_labels(&raw.labels)?;
    if let Some(name) = raw.annotations.keys().find(|name| !is_label_name(name)) {
        return Err(Fault::at(format!("invalid annotation name: {name}"), "annotations"));
    }
    let merged = group_labels.iter().chain(&raw.labels).map(|(name, text)| (name.clone(), text.clone()));
    let label_texts = Texts::compile(&merged.collect())
        .map_err(|(name, why)| Fault::at(format!("label \"{name}\": {why}"), "labels"))?;
    let kind = if key == "record" {
        RuleKind::Record { name: raw.record }
    } else {
        let annotation_texts = Texts::compile(&raw.annotations)
            .map_err(|(name, why)| Fault::at(format!("annotation \"{name}\": {why}"), "annotations"))?;
        RuleKind::Alert(AlertRule {
            name: raw.alert,
            for_ns: raw.hold.map_or(0, |span| span.0),
            keep_firing_for_ns: raw.keep_firing_for.map_or(0, |span| span.0),
            annotations: raw.annotations,
            annotation_texts,
        })
    };
    Ok(Rule { kind, expr: raw.expr, query: Arc::new(query), labels: raw.labels, label_texts })
}

fn check_query(text: &str) -> Result<Expr, String> {
    let expr = parse(text).map_err(|error| error.to_string())?;
    check_stream_names(text, &expr).map_err(|error| error.to_string())?;
    match expr {
        Expr::Metric(_) => Ok(expr),
        Expr::Log(_) | Expr::Variants(_) => {
            Err("parse error : a rule wants a metric query, as in sum(count_over_time({…}[5m])) > 0"
                .to_owned())
        }
    }
}

fn check_record(raw: &RawRule) -> Result<(), Fault> {
    if !raw.annotations.is_empty() {
        return Err(Fault::at("invalid field 'annotations' in recording rule", "annotations"));
    }
    if raw.hold.is_some_and(|span| span.0 != 0) {
        return Err(Fault::at("invalid field 'for' in recording rule", "for"));
    }
    if raw.keep_firing_for.is_some_and(|span| span.0 != 0) {
        return Err(Fault::at("invalid field 'keep_firing_for' in recording rule", "keep_firing_for"));
    }
    if !is_metric_name(&raw.record) {
        return Err(Fault::at(format!("invalid recording rule name: {}", raw.record), "record"));
    }
    Ok(())
}

fn check_labels(labels: &Pairs) -> Result<(), Fault> {
    match labels.keys().find(|name| !is_label_name(name) || *name == "__name__") {
        Some(name) => Err(Fault::at(format!("invalid label name: {name}"), "labels")),
        None => Ok(()),
    }
}

fn is_label_name(name: &str) -> bool {
    !name.contains(':') && is_metric_name(name)
}

fn is_metric_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
