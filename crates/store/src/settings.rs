//! What a user can set about the store. Plain data; the defaults suit one small machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Settings of the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// The write-ahead log.
    pub wal: WalSettings,
    /// When entries move from memory into segment files.
    pub flush: FlushSettings,
    /// How small segment files become large ones, in the background.
    pub compaction: CompactionSettings,
    /// How long entries are kept.
    pub retention: RetentionSettings,
    /// Entries that go because somebody asks for it.
    pub deletes: DeleteSettings,
    /// What stays free on the disk.
    pub disk: DiskSettings,
    /// How many snapshots are kept, and how long.
    pub snapshots: SnapshotSettings,
    /// What queries leave in memory for the next ones.
    pub cache: CacheSettings,
}

/// When an acknowledgement may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// After the batch is on the disk: an acknowledged entry survives a power cut.
    #[default]
    Always,
    /// Before; the disk follows within `sync_interval_ms`. A power cut can lose the entries of that span.
    /// For SD cards, which take 20 to 100 ms per sync and wear.
    Interval,
}

/// Settings of the write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WalSettings {
    /// `always` (default) acknowledges after the sync, `interval` before.
    pub sync: SyncMode,
    /// Longest time between a write and its sync with `sync: interval`, in milliseconds. Default 200.
    pub sync_interval_ms: u64,
    /// Bytes of batches that may wait to be written; beyond it pushes are answered 429. Default 32 MiB.
    pub queue_bytes_max: u64,
}

impl Default for WalSettings {
    fn default() -> Self {
        Self { sync: SyncMode::Always, sync_interval_ms: 200, queue_bytes_max: 32 * MIB }
    }
}

/// When the head becomes segment files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlushSettings {
    /// Raw bytes of entries in memory that start a flush; twice as much is the most there can be.
    /// Default 32 MiB: the store's share of memory, and about what a restart has to replay.
    pub head_bytes_max: u64,
    /// Bytes of the write-ahead log that start a flush. Default 256 MiB.
    pub wal_bytes_max: u64,
    /// Age of the oldest entry in memory that starts a flush, in seconds since it arrived. Default 1800.
    pub age_secs_max: u64,
    /// Whether a clean stop flushes, which makes the next start quick. Default true.
    pub on_close: bool,
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self { head_bytes_max: 32 * MIB, wal_bytes_max: 256 * MIB, age_secs_max: 1800, on_close: true }
    }
}

/// How segments are merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompactionSettings {
    /// Whether there is compaction at all. Without it files stay small and many. Default true.
    pub enabled: bool,
    /// Share of one core that compaction takes at most, 0.01 to 1. Default 0.5; it waits for queries besides.
    pub cpu_share_max: f64,
    /// Bytes that stay free on the disk beside the output of a compaction; with less it waits. Default 256 MiB.
    pub free_bytes_min: u64,
}

impl Default for CompactionSettings {
    fn default() -> Self {
        Self { enabled: true, cpu_share_max: 0.5, free_bytes_min: 256 * MIB }
    }
}

/// How long entries are kept, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Age, in seconds, from which on an entry is not answered any more; its file goes when the whole UTC day is
    /// that old. 0 keeps everything. Default 2592000, which is 30 days, or `limits.entry_age_max` if that is set
    /// longer: what is accepted is kept, unless this says otherwise.
    pub period_secs: Option<u64>,
    /// Periods of their own for some streams or tenants. A change counts for what is stored, too: at once for
    /// queries. What has been too old for an hour is gone for good, also if its period is made longer. Default none.
    pub policies: Vec<RetentionPolicySettings>,
    /// Most bytes of all segment files. Beyond it whole days go early: the oldest day first, of a day the class of
    /// the lowest priority; the newest day stays. 0 for no limit. Default 0.
    pub bytes_max: u64,
}

impl RetentionSettings {
    /// Days that entries are kept where nothing is said.
    const DAYS: u64 = 30;

    /// Returns the age that is meant; `None` to keep everything.
    pub fn period(&self) -> Option<Duration> {
        let secs = self.period_secs.unwrap_or(Self::DAYS * 86_400);
        (secs > 0).then(|| Duration::from_secs(secs))
    }

    /// Makes the default cover entries that are accepted up to an age; `None` for any age.
    #[must_use]
    pub fn covering(mut self, age_max: Option<Duration>) -> Self {
        if self.period_secs.is_none() {
            let default = Duration::from_secs(Self::DAYS * 86_400);
            self.period_secs = Some(age_max.map_or(0, |age| age.max(default).as_secs()));
        }
        self
    }
}

/// How long the entries of some streams are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionPolicySettings {
    /// Which streams, as in `{container="web"}`. Empty, together with `tenant`: the rest of that tenant's.
    pub selector: String,
    /// Whose streams. Default every tenant's; a tenant's own policies come before those.
    pub tenant: Option<String>,
    /// How long their entries are kept, in seconds; 0 for ever.
    pub period_secs: u64,
    /// Of several policies that match, the one of the highest priority wins, of equals the shorter one. Default 0.
    pub priority: i32,
}

/// How requests to delete entries are treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteSettings {
    /// Time, in seconds since a request, within which it can be cancelled. What it means is not answered meanwhile, and
    /// is still there; then its files are written anew without it. 0 begins at once. Default 86400, which is 24 hours.
    pub cancel_secs: u64,
    /// Requests of one tenant that are not done yet, above which no other is taken. Each costs queries over its streams
    /// and times. Default 256.
    pub pending_max: u64,
}

impl Default for DeleteSettings {
    fn default() -> Self {
        Self { cancel_secs: 86_400, pending_max: 256 }
    }
}

/// What stays free on the disk of the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// Free bytes below which nothing is compacted that needs room and a warning is given; below a quarter of
    /// them pushes are answered 503 until there is room again, while queries go on. 0 lets the disk fill up. By
    /// default 1 GiB or 3 % of the disk, whichever is more, but at most a tenth of it.
    pub free_bytes_min: Option<u64>,
    /// Size of a file that is given up when the disk is full, so that what was accepted can be flushed and what is
    /// too old can go. At most a sixteenth of the disk is taken; 0 for none. Default 16 MiB: half of
    /// `flush.head_bytes_max`, of which a flush writes about a sixth. Lines that take more wait in memory and in the
    /// write-ahead log until there is room.
    pub ballast_bytes: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self { free_bytes_min: None, ballast_bytes: 16 * MIB }
    }
}

/// How many snapshots are kept, and how long: they hold on to files that the store has removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotSettings {
    /// Age, in seconds, from which on a snapshot is removed. 0 keeps it until it is deleted. Default 604800, which is
    /// 7 days.
    pub keep_secs: u64,
    /// Number of snapshots from which on no other is made. Default 16.
    pub count_max: u64,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self { keep_secs: 7 * 86_400, count_max: 16 }
    }
}

/// What queries leave in memory for the next ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Bytes of decoded blocks that are kept between queries: those that dashboards ask for again and again. Only queries
    /// fill it; what was used longest ago goes first, and a query over much leaves little. 0 keeps none. Default 32 MiB.
    pub blocks_bytes_max: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { blocks_bytes_max: 32 * MIB }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        let settings: StoreSettings = serde_json::from_str(r#"{"wal":{"sync":"interval"}}"#).unwrap();
        assert_eq!(settings.wal.sync, SyncMode::Interval);
        assert_eq!(settings.flush, FlushSettings::default());
        let period = |secs, age: Option<u64>| {
            RetentionSettings { period_secs: secs, ..RetentionSettings::default() }
                .covering(age.map(Duration::from_secs))
                .period_secs
        };
        let day = 86_400;
        assert_eq!(RetentionSettings::default().period(), Some(Duration::from_secs(30 * day)));
        assert_eq!(period(None, Some(7 * day)), Some(30 * day));
        assert_eq!(period(None, Some(90 * day)), Some(90 * day));
        assert_eq!(period(None, None), Some(0));
        assert_eq!(period(Some(day), None), Some(day));
        let wrong = serde_json::from_str::<StoreSettings>(r#"{"wal":{"synk":"always"}}"#);
        assert!(wrong.unwrap_err().to_string().contains("synk"));
    }
}
