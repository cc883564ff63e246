//! What the files that a `promtail.yaml` names, itself or in lists, become here.

use logyard_agent::FileSettings;

use crate::promtail::{PromtailJob, place};
use crate::promtail_map::Mapped;

impl Mapped {
    /// Takes the files of a job. `with` has its rules and stages.
    pub(crate) fn files(&mut self, index: usize, job: &PromtailJob, with: &FileSettings) {
        for (number, group) in job.static_configs.iter().flatten().enumerate() {
            let at = place!["scrape_configs", index, "static_configs", number];
            let mut labels = group.labels.clone().unwrap_or_default();
            let Some(pattern) = labels.remove("__path__").filter(|pattern| !pattern.is_empty()) else {
                self.note(at, "reads nothing: it has no label __path__");
                continue;
            };
            if !pattern.starts_with('/') {
                let text = format!("is refused: {pattern:?} is no absolute path");
                self.refuse_source([at, place!["labels", "__path__"]].concat(), text);
                continue;
            }
            if labels.contains_key("__host__") {
                let text = "is held against the machine's name, or agent.host if that is set";
                self.note([at, place!["labels", "__host__"]].concat(), text);
            }
            let exclude = labels.remove("__path_exclude__").filter(|pattern| !pattern.is_empty());
            self.settings.agent.files.push(FileSettings {
                path: vec![pattern],
                exclude: exclude.into_iter().collect(),
                labels,
                ..with.clone()
            });
        }
        for (number, lists) in job.file_sd_configs.iter().flatten().enumerate() {
            let at = place!["scrape_configs", index, "file_sd_configs", number];
            if lists.refresh_interval.is_some() {
                let text = "has no effect: lists are looked at once a second";
                self.note([at.clone(), place!["refresh_interval"]].concat(), text);
            }
            let count = self.refused.len();
            for (file, pattern) in lists.files.iter().enumerate() {
                if let Err(reason) = FileSettings::check_list(pattern) {
                    let at = [at.clone(), place!["files", file]].concat();
                    self.refuse_source(at, format!("is refused: {reason}"));
                }
            }
            if lists.files.is_empty() {
                self.refuse_source(
                    [at, place!["files"]].concat(),
                    "is refused: it is empty; want files such as /etc/targets/*.yml",
                );
            } else if self.refused.len() == count {
                let files = FileSettings { target_lists: lists.files.clone(), ..with.clone() };
                self.settings.agent.files.push(files);
            }
        }
    }
}
