//! Alert and recording rules: what they say, when they are evaluated, and the state of their alerts.
//!
//! Owns: rule files and the rules that the API keeps, the schedule of groups, the states of alerts and their file,
//! who is told of them.
//! Deliberately absent: evaluating a query (whoever has a store implements [`Evaluate`]), HTTP of the server.
//!
//! Invariants:
//! - A set of rules is taken as a whole or not at all; what is in force has been checked.
//! - What the API acknowledged is on the disk.
//! - Only evaluated time counts: an outage or a jump of the clock neither fires nor resolves an alert.
//! - What a target was told is part of the state: an outage loses nothing, a restart repeats nothing.
//! - Bounded: groups, rules, alerts, evaluations at once and the time of each, all with the name of a setting.
//!
//! The way of a rule: `group_yaml` reads it, `check` and `expand` make sense of it, `namespaces` and `folder` keep it,
//! `ruler` evaluates it when `schedule` says so, `alert` turns samples into states, `state_file` keeps those, `untold` finds
//! in them what a `target` does not know yet, and `notify` tells it, in the words of `notify_text`. Series of recording rules
//! go through `record`. Rules that come along are
//! in `pack`; `own_log` tells of alerts even where nobody else is told.
//!
//! Change a key of rule files, also touch `schemas/rules.md` and `group_yaml` in both directions.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::string_slice))]

mod alert;
mod check;
mod error;
mod evaluate;
mod expand;
mod folder;
mod group;
mod group_run;
mod group_yaml;
pub mod inspect;
mod lines;
mod mask;
mod metrics;
mod namespaces;
mod notify;
mod notify_settings;
mod notify_text;
mod own_log;
mod pack;
mod quiet;
mod record;
mod record_settings;
mod ruler;
mod schedule;
mod settings;
mod state_file;
mod status;
mod target;
mod target_email;
mod tasks;
mod untold;
mod yaml_line;
mod yaml_weight;

pub use alert::{Alert, AlertState};
pub use check::{FileFault, RULE_BYTES_MAX, print_group, print_namespaces, read_file, read_group};
pub use error::{Error, Kind};
pub use evaluate::{Ask, AskLines, Evaluate, Evaluating, ReadingLines, RuleSample};
pub use group::{AlertRule, Pairs, Rule, RuleGroup, RuleKind};
pub use group_yaml::Span;
pub use notify::Notifier;
pub use notify_settings::{NotifySettings, TargetKind, TargetSettings};
pub use pack::PackSettings;
pub use quiet::{Day, QuietSettings};
pub use record::Recorder;
pub use record_settings::RemoteWriteSettings;
pub use ruler::{Listed, Ruler, RulerParts};
pub use schedule::Spread;
pub use settings::RulesSettings;
pub use status::{AlertStatus, GroupStatus, Health, RuleStatus};
pub use target::Target;
pub use yaml_line::{Step, line_of, name_of};
