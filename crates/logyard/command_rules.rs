//! `logyard rules` and `logyard notify`: rules and targets, tried without a store.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use logyard_rules::{RULE_BYTES_MAX, RuleGroup, Target, read_file};
use logyard_sys::{Clock, Disk};

use crate::args::{NotifyCommand, RulesCommand};
use crate::config::Settings;
use crate::rule_trial;

/// Runs `logyard rules`. Returns whether all is good.
pub(crate) fn run_rules(
    command: &RulesCommand,
    settings: &Settings,
    disk: &dyn Disk,
) -> anyhow::Result<bool> {
    match command {
        RulesCommand::Check { files } => check(files, disk),
        RulesCommand::Test { files } => test(files, disk),
        RulesCommand::Pack => {
            settings.rules.check().map_err(anyhow::Error::msg)?;
            std::io::stdout().lock().write_all(settings.rules.pack.text().as_bytes())?;
            Ok(true)
        }
    }
}

fn check(files: &[PathBuf], disk: &dyn Disk) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut is_good = true;
    for path in files {
        match read(path, disk) {
            Ok(groups) => {
                let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                writeln!(out, "{}: {} groups, {rules} rules", path.display(), groups.len())?;
            }
            Err(reason) => {
                is_good = false;
                writeln!(out, "{reason}")?;
            }
        }
    }
    Ok(is_good)
}

fn test(files: &[PathBuf], disk: &dyn Disk) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut is_good = true;
    for path in files {
        match rule_trial::run(path, disk) {
            Ok(faults) if faults.is_empty() => writeln!(out, "{}: passed", path.display())?,
            Ok(faults) => {
                is_good = false;
                writeln!(out, "{}: failed", path.display())?;
                for fault in faults {
                    writeln!(out, "  {fault}")?;
                }
            }
            Err(error) => {
                is_good = false;
                writeln!(out, "cannot run {}: {error:#}", path.display())?;
            }
        }
    }
    Ok(is_good)
}

/// Reads a rule file. Errors: the first fault, with its line.
pub(crate) fn read(path: &Path, disk: &dyn Disk) -> Result<Vec<RuleGroup>, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot use rule file {}: {why}", path.display());
    let meta = disk.metadata(path).map_err(|error| cannot(&error))?.ok_or_else(|| cannot(&"no such file"))?;
    if meta.bytes > RULE_BYTES_MAX as u64 {
        return Err(cannot(&format_args!("{} bytes, at most {RULE_BYTES_MAX} are allowed", meta.bytes)));
    }
    let bytes = disk.read(path).map_err(|error| cannot(&error))?;
    read_file(path, &bytes).map_err(|fault| fault.to_string())
}

/// Runs `logyard notify`. Returns whether every target was told.
pub(crate) fn run_notify(
    command: &NotifyCommand,
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    clock: &dyn Clock,
) -> anyhow::Result<bool> {
    let NotifyCommand::Test { name } = command;
    let mut targets = Target::all(&settings.notify, &**disk).map_err(anyhow::Error::msg)?;
    anyhow::ensure!(!targets.is_empty(), "notify.targets names nobody");
    if let Some(name) = name {
        targets.retain(|target| target.name() == name);
        anyhow::ensure!(!targets.is_empty(), "notify.targets names nobody called {name:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    let mut out = std::io::stdout().lock();
    let mut is_good = true;
    for target in &targets {
        match runtime.block_on(target.test(clock.now_ns())) {
            Ok(()) => writeln!(out, "{}: told", target.name())?,
            Err(reason) => {
                is_good = false;
                writeln!(out, "{}: {reason}", target.name())?;
            }
        }
    }
    Ok(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_rules::{NotifySettings, TargetSettings};
    use logyard_sys::{SimClock, SimDisk};

    #[test]
    fn files_are_checked_one_by_one() {
        let disk = SimDisk::new();
        disk.write_atomic(Path::new("/good"), b"groups: [{name: g}]").unwrap();
        disk.write_atomic(Path::new("/bad"), b"groups:\n- name: g\n  rules: [{alert: A}]").unwrap();
        let check =
            |files: &[&str]| check(&files.iter().map(PathBuf::from).collect::<Vec<_>>(), &disk).unwrap();
        assert!(check(&["/good"]));
        assert!(!check(&["/good", "/bad"]));
        assert!(!check(&["/none"]));
        let fault = read(Path::new("/bad"), &disk).unwrap_err();
        assert_eq!(fault, "cannot use rule file /bad line 3: field 'expr' must be set in rule");
    }

    #[test]
    fn targets_are_tried_by_name() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        // A port on which nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}");
        let target = TargetSettings { name: "phone".to_owned(), url, ..TargetSettings::default() };
        let settings = Settings { notify: NotifySettings { targets: vec![target] }, ..Settings::default() };
        let test = |name: Option<&str>, settings: &Settings| {
            let command = NotifyCommand::Test { name: name.map(str::to_owned) };
            run_notify(&command, settings, &disk, &SimClock::new(0)).map_err(|error| error.to_string())
        };
        assert_eq!(test(None, &settings), Ok(false));
        assert_eq!(
            test(Some("mail"), &settings),
            Err("notify.targets names nobody called \"mail\"".to_owned())
        );
        assert_eq!(test(None, &Settings::default()), Err("notify.targets names nobody".to_owned()));
    }
}
