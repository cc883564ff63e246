//! Relabelling: rules that make, change and remove labels, or leave a target out.
//!
//! The rules are Prometheus' (as in Promtail v3.6.15). They run in order over the whole set; a rule that leaves the
//! target out ends it. Labels whose name starts with `__` are for the rules alone: [`without_meta`] removes them.

use std::borrow::Cow;

use logyard_model::{LabelSet, compile_anchored_dotall};
use md5::{Digest, Md5};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Writes `replacement` to `target_label` if `regex` matches; an empty result removes the label.
    #[default]
    Replace,
    /// Leaves targets out whose value does not match.
    Keep,
    /// Leaves targets out whose value matches.
    Drop,
    /// Leaves targets out whose value is not that of `target_label`.
    KeepEqual,
    /// Leaves targets out whose value is that of `target_label`.
    DropEqual,
    /// Writes the value's MD5 modulo `modulus` to `target_label`.
    HashMod,
    /// Copies each label whose name matches to the name that `replacement` gives.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Writes the value in lower case to `target_label`.
    Lowercase,
    /// Writes the value in upper case to `target_label`.
    Uppercase,
}

impl RelabelAction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    fn wants_target(self) -> bool {
        use RelabelAction::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
        matches!(self, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual)
    }
}

/// One rule of relabelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelSettings {
    /// Labels whose values, joined, are the value that the rule looks at. A missing one reads as empty.
    pub source_labels: Vec<String>,
    /// Stands between joined values. Default `;`.
    pub separator: String,
    /// Go regular expression that must match the whole value. Default `(.*)`.
    pub regex: String,
    /// Divisor of `hashmod`.
    pub modulus: u64,
    /// Label that is written; `replace` expands `$1`, `${1}` and `$name` in it.
    pub target_label: String,
    /// What is written; `$1`, `${1}` and `$name` stand for groups of `regex`. Default `$1`.
    pub replacement: String,
    /// What the rule does. Default `replace`.
    pub action: RelabelAction,
}

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

impl Default for RelabelSettings {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            regex: REGEX.to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action: RelabelAction::default(),
        }
    }
}

/// Rules, ready to run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Relabeling {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    settings: RelabelSettings,
    regex: Regex,
}

impl Relabeling {
    /// Compiles rules. Errors: the first rule that cannot be used; its path begins with the rule's number.
    pub fn compile(rules: &[RelabelSettings]) -> Result<Self, Error> {
        let rule = |(index, settings): (usize, &RelabelSettings)| {
            compile_rule(settings).map_err(|error| error.inside(index.to_string()))
        };
        Ok(Self { rules: rules.iter().enumerate().map(rule).collect::<Result<_, _>>()? })
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Runs the rules over a set. Returns whether the target is to be read; if not, the set is of no use.
    pub fn apply(&self, labels: &mut LabelSet) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels))
    }
}

/// Returns the labels that do not start with `__` and whose names a store accepts.
pub fn without_meta(labels: &LabelSet) -> LabelSet {
    let kept = labels
        .iter()
        .filter(|(name, value)| !name.starts_with("__") && is_label_name(name) && !value.is_empty());
    LabelSet::from_pairs(kept)
}

/// Returns whether a text can be the name of a label: letters, digits and `_`, no digit first.
pub fn is_label_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Turns any text into the name of a label: other bytes than letters, digits and `_` become `_`.
pub fn label_name_of(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '_' }).collect()
}

fn compile_rule(settings: &RelabelSettings) -> Result<Rule, Error> {
    use RelabelAction::{
        DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
    };
    let action = settings.action;
    let name = action.as_str();
    let refuse = |key: &str, reason: String| Err(Error::new(reason).inside(key));
    let is_default = |separator: bool, regex: bool, replacement: bool| {
        (!separator || settings.separator == SEPARATOR)
            && (!regex || settings.regex == REGEX)
            && (!replacement || settings.replacement == REPLACEMENT)
            && settings.modulus == 0
    };
    if action == HashMod && settings.modulus == 0 {
        return refuse("modulus", "the action hashmod needs a modulus above 0".to_owned());
    }
    if action.wants_target() && settings.target_label.is_empty() {
        return refuse("target_label", format!("the action {name} needs a target_label"));
    }
    let target = &settings.target_label;
    let takes_groups = action == Replace;
    let is_target = if takes_groups { may_become_name(target) } else { is_label_name(target) };
    if action.wants_target() && !is_target {
        return refuse("target_label", format!("{target:?} is no label name; use letters, digits and _"));
    }
    if matches!(action, Lowercase | Uppercase) && settings.replacement != REPLACEMENT {
        return refuse("replacement", format!("the action {name} takes no replacement; remove it"));
    }
    if action == LabelMap && !may_become_name(&settings.replacement) {
        let reason = format!("{:?} cannot become a label name", settings.replacement);
        return refuse("replacement", reason);
    }
    if matches!(action, KeepEqual | DropEqual) && !is_default(true, true, true) {
        return refuse(
            "action",
            format!("{name} takes source_labels and target_label only; remove the rest"),
        );
    }
    let has_labels = !settings.source_labels.is_empty() || !target.is_empty();
    if matches!(action, LabelDrop | LabelKeep) && (has_labels || !is_default(true, false, true)) {
        return refuse("action", format!("{name} takes regex only; remove the rest"));
    }
    let regex = compile_anchored_dotall(&settings.regex)
        .map_err(|error| Error::new(error.to_string()).inside("regex"))?;
    Ok(Rule { settings: settings.clone(), regex })
}

/// Whether a text with `$1`, `${1}` or `$name` in it may become a label name.
fn may_become_name(text: &str) -> bool {
    let mut rest = text;
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let word = |text: &str| text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        rest = match c {
            '$' => match after.strip_prefix('{') {
                Some(inside) => {
                    let length = word(inside);
                    match inside.get(length..).and_then(|rest| rest.strip_prefix('}')) {
                        Some(rest) if length > 0 => rest,
                        _ => return false,
                    }
                }
                None if word(after) > 0 => after.get(word(after)..).unwrap_or_default(),
                None => return false,
            },
            c if c.is_ascii_alphabetic() || c == '_' || c.is_ascii_digit() && !is_first => after,
            _ => return false,
        };
        is_first = false;
    }
    !is_first
}

impl Rule {
    fn value<'l>(&self, labels: &'l LabelSet) -> Cow<'l, str> {
        match &*self.settings.source_labels {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(labels.get(one).unwrap_or_default()),
            many => {
                let values: Vec<&str> =
                    many.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
                Cow::Owned(values.join(&self.settings.separator))
            }
        }
    }

    fn apply(&self, labels: &mut LabelSet) -> bool {
        let target = &*self.settings.target_label;
        let equals = |labels: &LabelSet| *self.value(labels) == *labels.get(target).unwrap_or_default();
        match self.settings.action {
            RelabelAction::Keep => return self.regex.is_match(&self.value(labels)),
            RelabelAction::Drop => return !self.regex.is_match(&self.value(labels)),
            RelabelAction::KeepEqual => return equals(labels),
            RelabelAction::DropEqual => return !equals(labels),
            RelabelAction::Replace => self.replace(labels),
            RelabelAction::HashMod => {
                let digest = Md5::digest(self.value(labels).as_bytes());
                let number = digest.iter().skip(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                set(labels, target, (number % self.settings.modulus.max(1)).to_string());
            }
            RelabelAction::Lowercase => {
                let value = self.value(labels).to_lowercase();
                set(labels, target, value);
            }
            RelabelAction::Uppercase => {
                let value = self.value(labels).to_uppercase();
                set(labels, target, value);
            }
            RelabelAction::LabelMap => {
                let before = labels.clone();
                for (name, value) in before.iter() {
                    if self.regex.is_match(name) {
                        let name = self.regex.replace_all(name, &*self.settings.replacement).into_owned();
                        set(labels, &name, value.to_owned());
                    }
                }
            }
            RelabelAction::LabelDrop => self.remove_names(labels, true),
            RelabelAction::LabelKeep => self.remove_names(labels, false),
        }
        true
    }

    fn replace(&self, labels: &mut LabelSet) {
        let value = self.value(labels).into_owned();
        let Some(captures) = self.regex.captures(&value) else { return };
        let (mut target, mut text) = (String::new(), String::new());
        captures.expand(&self.settings.target_label, &mut target);
        captures.expand(&self.settings.replacement, &mut text);
        if is_label_name(&target) {
            set(labels, &target, text);
        }
    }

    fn remove_names(&self, labels: &mut LabelSet, matching: bool) {
        let gone = |(name, _): &(&str, &str)| self.regex.is_match(name) == matching;
        let gone: Vec<String> = labels.iter().filter(gone).map(|(name, _)| name.to_owned()).collect();
        for name in gone {
            labels.remove(&name);
        }
    }
}

/// Sets a label; an empty value removes it.
fn set(labels: &mut LabelSet, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
