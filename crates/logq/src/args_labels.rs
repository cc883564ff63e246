//! Which labels of an entry are printed, and how.

use std::collections::BTreeMap;

use clap::Args;

/// Which labels are printed.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct LabelFlags {
    /// Print every label on every line, also those that all entries share
    #[arg(long, global = true, hide_short_help = true, alias = "include-common-labels")]
    pub(crate) all_labels: bool,

    /// Print no labels
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_labels: bool,

    /// Print this label also if all entries share it; may be given several times
    #[arg(long = "include-label", global = true, hide_short_help = true, value_name = "LABEL")]
    pub(crate) include: Vec<String>,

    /// Leave this label out; may be given several times
    #[arg(long = "exclude-label", global = true, hide_short_help = true, value_name = "LABEL")]
    pub(crate) exclude: Vec<String>,

    /// Give labels at least so many columns, so that lines begin below each other
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "COLUMNS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) labels_length: usize,
}

impl LabelFlags {
    /// Takes out of the labels that all entries share those that are to be printed nevertheless.
    pub(crate) fn choose_common(&self, common: &mut BTreeMap<String, String>) {
        if self.all_labels || self.no_labels {
            common.clear();
        }
        common.retain(|name, _| !self.include.contains(name) && !self.exclude.contains(name));
    }

    /// Takes out of the labels of an entry those that are not to be printed.
    pub(crate) fn choose(&self, labels: &mut BTreeMap<&str, &str>) {
        if self.no_labels {
            labels.clear();
        }
        labels.retain(|name, _| !self.exclude.iter().any(|excluded| excluded == name));
    }
}
