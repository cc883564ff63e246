//! The rules that come along: one text with places for what the settings say.
//!
//! The text is a rule file in paragraphs, one for a group's head or a rule; what people print and what is in force is the
//! same. A rule begins with a comment that names its section of the settings, and goes with it as a whole.
//!
//! Add a rule, also touch [`PackSettings`], its lines in `crates/logyard/rule_pack_tests.yaml`, and `schemas/rules.md`.

use logyard_logql::PrometheusDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The namespace of the rules that come along.
pub(crate) const PACK_NAMESPACE: &str = "logyard";

const TEXT: &str = include_str!("../pack/logyard.yaml");

/// What the comment of a rule begins with; the name of its section follows.
const SECTION: &str = "# rules.pack.";

/// Widest window: the rule about silence looks back 25 of them.
const WINDOW_SECS_MAX: u64 = 7 * 86400;

/// The rules that come along: whether they are in force, and from when on each fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PackSettings {
    /// Whether they are in force, for the tenant that the agent of this process pushes to. They are the namespace
    /// `logyard`, and `logyard rules pack` prints them. Default: true in the process that does everything (`logyard` or
    /// `logyard all`), false in a store on its own.
    pub enabled: Option<bool>,
    /// Seconds from one evaluation to the next; of the rule about silence ten times as many. Default 30.
    pub interval_secs: u64,
    /// See its type.
    pub errors: PackErrors,
    /// See its type.
    pub fatal: PackFatal,
    /// See its type.
    pub panics: PackPanics,
    /// See its type.
    pub auth_failures: PackAuthFailures,
    /// See its type.
    pub access_denied: PackAccessDenied,
    /// See its type.
    pub disk_full: PackDiskFull,
    /// See its type.
    pub out_of_memory: PackOutOfMemory,
    /// See its type.
    pub crash_loops: PackCrashLoops,
    /// See its type.
    pub own_trouble: PackOwnTrouble,
    /// See its type.
    pub silent: PackSilent,
}

impl Default for PackSettings {
    fn default() -> Self {
        Self {
            enabled: None,
            interval_secs: 30,
            errors: PackErrors::default(),
            fatal: PackFatal::default(),
            panics: PackPanics::default(),
            auth_failures: PackAuthFailures::default(),
            access_denied: PackAccessDenied::default(),
            disk_full: PackDiskFull::default(),
            out_of_memory: PackOutOfMemory::default(),
            crash_loops: PackCrashLoops::default(),
            own_trouble: PackOwnTrouble::default(),
            silent: PackSilent::default(),
        }
    }
}

/// One rule's settings with their section's name.
#[derive(Clone, Copy, Debug)]
struct Section {
    name: &'static str,
    enabled: bool,
    threshold: u64,
    window_secs: u64,
}

/// Makes a section of settings for each rule. They differ in their defaults alone, which serde wants types for.
macro_rules! rule_sections {
    ($($(#[$doc:meta])* $type:ident($threshold:literal, $window_secs:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $type {
            /// Whether the rule is there. Default true.
            pub enabled: bool,
            /// From how many on it fires.
            pub threshold: u64,
            /// Within how long they are counted; it goes on firing for as long after the last of them.
            pub window_secs: u64,
        }

        impl Default for $type {
            fn default() -> Self {
                Self { enabled: true, threshold: $threshold, window_secs: $window_secs }
            }
        }

        impl $type {
            fn section(&self, name: &'static str) -> Section {
                let Self { enabled, threshold, window_secs } = *self;
                Section { name, enabled, threshold, window_secs }
            }
        }
    )*};
}

rule_sections! {
    /// The alert `ErrorsLogged`: lines of level error from one container.
    PackErrors(10, 300);
    /// The alert `FatalLogged`: lines of level fatal or critical from one container.
    PackFatal(1, 300);
    /// The alert `Panicked`: panics of Go, Rust, Postgres or the kernel.
    PackPanics(1, 300);
    /// The alert `LoginsFailed`: failed logins at one service.
    PackAuthFailures(3, 300);
    /// The alert `AccessDenied`: requests that a web server answered with 401 or 403.
    PackAccessDenied(30, 300);
    /// The alert `DiskFull`: lines that say that a disk is full.
    PackDiskFull(1, 300);
    /// The alert `OutOfMemory`: lines that say that memory ran out.
    PackOutOfMemory(1, 300);
    /// The alert `CrashLoop`: ends of a container that nobody asked for.
    PackCrashLoops(3, 600);
    /// The alert `LogyardTrouble`: lines of Logyard's own log that want somebody to act.
    PackOwnTrouble(1, 300);
    /// The alert `WentSilent`: containers that write nothing for as long as the window is. `threshold` is how many lines at
    /// least one writes in such a time while all is well: in ten such times of the last 24 it must have done so.
    PackSilent(5, 3600);
}

impl PackSettings {
    fn sections(&self) -> [Section; 10] {
        [
            self.errors.section("errors"),
            self.fatal.section("fatal"),
            self.panics.section("panics"),
            self.auth_failures.section("auth_failures"),
            self.access_denied.section("access_denied"),
            self.disk_full.section("disk_full"),
            self.out_of_memory.section("out_of_memory"),
            self.crash_loops.section("crash_loops"),
            self.own_trouble.section("own_trouble"),
            self.silent.section("silent"),
        ]
    }

    /// Checks what the types do not say. Errors: the text of a fault, which begins with its key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=WINDOW_SECS_MAX).contains(&self.interval_secs) {
            let got = self.interval_secs;
            return Err(format!("rules.pack.interval_secs: got {got}, want 1 to {WINDOW_SECS_MAX}"));
        }
        for Section { name, threshold, window_secs, .. } in self.sections() {
            if threshold == 0 {
                return Err(format!(
                    "rules.pack.{name}.threshold: 0 would fire always; want 1 at least, or set enabled to false"
                ));
            }
            if !(1..=WINDOW_SECS_MAX).contains(&window_secs) {
                return Err(format!(
                    "rules.pack.{name}.window_secs: got {window_secs}, want 1 to {WINDOW_SECS_MAX}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the rules that come along as a rule file, commented, with those that are switched off left out.
    pub fn text(&self) -> String {
        let sections = self.sections();
        let mut text = String::new();
        // The head of a group waits for its first rule.
        let mut head: Option<String> = None;
        let seconds = |times: u64| seconds(self.interval_secs.saturating_mul(times));
        for paragraph in TEXT.split("\n\n") {
            let section = sections.iter().find(|section| {
                let rest = paragraph.trim_start().strip_prefix(SECTION);
                rest.and_then(|rest| rest.strip_prefix(section.name))
                    .is_some_and(|rest| rest.starts_with(':'))
            });
            match section {
                None if text.is_empty() => text.push_str(paragraph),
                None => {
                    let often = paragraph.replace("${interval}", &seconds(1));
                    head = Some(often.replace("${interval*10}", &seconds(10)));
                }
                Some(section) if section.enabled => {
                    for part in head.take().into_iter().chain([section.fill(paragraph)]) {
                        text.push_str("\n\n");
                        text.push_str(part.trim_end());
                    }
                }
                Some(_) => {}
            }
        }
        text.push('\n');
        text
    }
}

impl Section {
    /// Puts numbers into the places of a rule: `${name.threshold}`, `${name.window}`, `${name.window*8}`.
    fn fill(self, paragraph: &str) -> String {
        let mut parts = paragraph.split("${");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (place, rest) = part.split_once('}').unwrap_or((part, ""));
            let what = place.strip_prefix(self.name).and_then(|what| what.strip_prefix('.')).unwrap_or(place);
            let (what, times) = what.split_once('*').unwrap_or((what, "1"));
            if what == "threshold" {
                filled.push_str(&self.threshold.to_string());
            } else {
                filled.push_str(&seconds(self.window_secs.saturating_mul(times.parse().unwrap_or(1))));
            }
            filled.push_str(rest);
        }
        filled
    }
}

/// Writes a span as rule files have it.
fn seconds(count: u64) -> String {
    let ns = i64::try_from(Duration::from_secs(count).as_nanos()).unwrap_or(i64::MAX);
    PrometheusDuration(ns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::read_file;
    use std::path::Path;

    fn names(settings: &PackSettings) -> Vec<(String, Vec<String>)> {
        let groups = read_file(Path::new("pack.yaml"), settings.text().as_bytes()).unwrap();
        let rules =
            |group: &crate::RuleGroup| group.rules.iter().map(|rule| rule.name().to_owned()).collect();
        groups.iter().map(|group| (group.name.clone(), rules(group))).collect()
    }

    #[test]
    fn every_section_is_a_rule() {
        let settings = PackSettings::default();
        let text = settings.text();
        assert!(!text.contains("${"), "{text}");
        let rules: usize = names(&settings).iter().map(|(_, rules)| rules.len()).sum();
        assert_eq!(rules, settings.sections().len());
        for section in settings.sections() {
            assert!(text.contains(&format!("{SECTION}{}: ", section.name)), "{}", section.name);
        }
        // Each is documented with a line that fires it and one that must not.
        assert_eq!((text.matches("# fires: ").count(), text.matches("# silent: ").count()), (rules, rules));
    }

    #[test]
    fn numbers_are_those_of_the_settings() {
        let mut settings = PackSettings::default();
        settings.auth_failures.threshold = 7;
        settings.auth_failures.window_secs = 90;
        settings.silent.window_secs = 60;
        settings.interval_secs = 7;
        let text = settings.text();
        assert_eq!(
            (text.matches("interval: 7s\n").count(), text.matches("interval: 1m10s\n").count()),
            (3, 1)
        );
        assert!(text.contains("[1m30s])\n          ) >= 7\n"), "{text}");
        assert!(text.contains("keep_firing_for: 1m30s"), "{text}");
        assert!(text.contains("[1m] offset 24m)"), "{text}");
        assert!(text.contains(">= 10\n"), "the others stay");
    }

    #[test]
    fn rules_are_switched_off_one_by_one() {
        let mut settings = PackSettings::default();
        let count =
            |settings: &PackSettings| names(settings).iter().map(|(_, rules)| rules.len()).sum::<usize>();
        let all = count(&settings);
        settings.fatal.enabled = false;
        settings.silent.enabled = false;
        let left = names(&settings);
        assert_eq!(count(&settings), all - 2);
        assert_eq!(left[0], ("errors".to_owned(), vec!["ErrorsLogged".to_owned(), "Panicked".to_owned()]));
        assert!(left.iter().all(|(group, _)| group != "silence"), "a group without rules is left out");
    }

    #[test]
    fn numbers_without_sense_are_refused() {
        let mut settings = PackSettings::default();
        assert_eq!(settings.check(), Ok(()));
        settings.errors.window_secs = 0;
        assert!(
            settings.check().unwrap_err().starts_with("rules.pack.errors.window_secs: got 0, want 1 to ")
        );
        settings = PackSettings::default();
        settings.disk_full.threshold = 0;
        assert!(settings.check().unwrap_err().starts_with("rules.pack.disk_full.threshold: 0 would fire"));
    }
}
