//! What the agent counts about itself.
//!
//! Balance: read + replayed = acked + rejected + dropped + discarded + waiting. Entries that are neither read nor waiting
//! (repeats, cut bytes, gaps) are counted apart. Updated per batch or per read, never per entry.
//!
//! What becomes of entries is counted for each destination, and once more, without its name, for the first: with one
//! destination, the usual case, that is all there is to know.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::spool_mark::Backlog;

type Count = Counter<u64, AtomicU64>;

/// Label `reason`, from a bounded list of this crate or of the store's answers.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: String,
}

/// Label `destination`: a name of the settings.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ByDestination {
    destination: String,
}

/// Labels `destination` and `reason`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ByDestinationReason {
    destination: String,
    reason: String,
}

/// Handles of all metrics; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) entries_read: Count,
    pub(crate) entries_replayed: Count,
    pub(crate) entries_acked: Count,
    pub(crate) entries_rejected: Family<Reason, Count>,
    pub(crate) entries_dropped: Family<Reason, Count>,
    pub(crate) entries_discarded: Family<Reason, Count>,
    pub(crate) entries_waiting: Gauge,
    pub(crate) lines_cut: Count,
    pub(crate) lines_undecodable: Count,
    pub(crate) lines_joined: Count,
    pub(crate) times_refused: Count,
    pub(crate) parts_unreadable: Count,
    pub(crate) repeats_suppressed: Count,
    pub(crate) gaps: Family<Reason, Count>,
    pub(crate) clock_steps: Count,
    pub(crate) reopens: Count,
    pub(crate) left_open: Count,
    pub(crate) catch_ups: Count,
    pub(crate) stalls: Count,
    pub(crate) targets: Gauge,
    pub(crate) targets_lagging: Gauge,
    pub(crate) batches_pushed: Count,
    pub(crate) push_failures: Count,
    pub(crate) spool_bytes: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Count,
    pub(crate) messages_refused: Family<Reason, Count>,
    pub(crate) messages_dropped: Family<Reason, Count>,
    destination_entries_acked: Family<ByDestination, Count>,
    destination_entries_rejected: Family<ByDestinationReason, Count>,
    destination_entries_dropped: Family<ByDestinationReason, Count>,
    destination_entries_waiting: Family<ByDestination, Gauge>,
    destination_bytes_waiting: Family<ByDestination, Gauge>,
    destination_batches_pushed: Family<ByDestination, Count>,
    destination_push_failures: Family<ByDestination, Count>,
}

/// What becomes of entries at one destination.
#[derive(Clone, Debug)]
pub(crate) struct DestinationMetrics {
    name: String,
    /// The metrics of the whole, if this is the first destination.
    first: Option<Metrics>,
    all: Metrics,
    entries_acked: Count,
    entries_waiting: Gauge,
    bytes_waiting: Gauge,
    batches_pushed: Count,
    push_failures: Count,
}

impl DestinationMetrics {
    /// Returns the name of the settings.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a batch that is done with: entries taken, and those refused for good by their reasons.
    pub(crate) fn delivered(&self, acked: u64, rejected: &[(&str, u64)]) {
        self.entries_acked.inc_by(acked);
        self.batches_pushed.inc();
        let mut sum = acked;
        for (reason, count) in rejected {
            let labels = ByDestinationReason { destination: self.name.clone(), reason: (*reason).to_owned() };
            self.all.destination_entries_rejected.get_or_create(&labels).inc_by(*count);
            sum += count;
        }
        let Some(first) = &self.first else { return };
        first.entries_acked.inc_by(acked);
        first.batches_pushed.inc();
        rejected.iter().for_each(|(reason, count)| first.rejected(reason, *count));
        first.entries_waiting.dec_by(i64::try_from(sum).unwrap_or(i64::MAX));
    }

    /// Counts a push that will be tried again.
    pub(crate) fn failed(&self) {
        self.push_failures.inc();
        if let Some(first) = &self.first {
            first.push_failures.inc();
        }
    }

    /// Counts entries that waited too long for this destination.
    pub(crate) fn dropped(&self, entries: u64) {
        let reason = "spool_full".to_owned();
        let labels = ByDestinationReason { destination: self.name.clone(), reason: reason.clone() };
        self.all.destination_entries_dropped.get_or_create(&labels).inc_by(entries);
        if let Some(first) = &self.first {
            first.entries_dropped.get_or_create(&Reason { reason }).inc_by(entries);
            first.entries_waiting.dec_by(i64::try_from(entries).unwrap_or(i64::MAX));
        }
    }

    /// Notes what waits in the spool.
    pub(crate) fn waiting(&self, backlog: Backlog) {
        self.entries_waiting.set(i64::try_from(backlog.entries).unwrap_or(i64::MAX));
        self.bytes_waiting.set(i64::try_from(backlog.bytes).unwrap_or(i64::MAX));
    }
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        let r = registry.sub_registry_with_prefix("logyard_agent");
        r.register("entries_read", "Entries read from targets and accepted as new", m.entries_read.clone());
        r.register(
            "entries_replayed",
            "Unacknowledged entries found in the spool at start",
            m.entries_replayed.clone(),
        );
        r.register("entries_acked", "Entries acknowledged by the store", m.entries_acked.clone());
        r.register("entries_rejected", "Entries refused for good, by reason", m.entries_rejected.clone());
        r.register(
            "entries_dropped",
            "Entries that waited for the store until there was no room for more, by reason",
            m.entries_dropped.clone(),
        );
        r.register(
            "entries_discarded",
            "Entries left out by rules and stages, by reason",
            m.entries_discarded.clone(),
        );
        r.register(
            "entries_waiting",
            "Entries read and not yet answered by the store",
            m.entries_waiting.clone(),
        );
        r.register("lines_cut", "Lines cut at agent.line_bytes_max", m.lines_cut.clone());
        r.register(
            "lines_undecodable",
            "Lines with bytes that agent.files[].encoding has not, which became U+FFFD",
            m.lines_undecodable.clone(),
        );
        r.register("lines_joined", "Lines that stages made part of another's entry", m.lines_joined.clone());
        r.register(
            "times_refused",
            "Times that a timestamp stage read and that lie too far ahead; the entry keeps its own",
            m.times_refused.clone(),
        );
        r.register(
            "parts_unreadable",
            "Parts of lines without a timestamp, left out",
            m.parts_unreadable.clone(),
        );
        r.register(
            "repeats_suppressed",
            "Entries that the engine showed again",
            m.repeats_suppressed.clone(),
        );
        r.register(
            "gaps",
            "Places where entries vanished before they could be read, by reason",
            m.gaps.clone(),
        );
        r.register(
            "clock_steps",
            "Times a target's clock was found set back; its entries go on from the new time",
            m.clock_steps.clone(),
        );
        r.register("reopens", "Log responses opened again after they ended or broke", m.reopens.clone());
        r.register(
            "left_open",
            "Log responses that the engine left open after the container had ended; read anew to the end",
            m.left_open.clone(),
        );
        r.register(
            "catch_ups",
            "Log responses left because they fell behind a log that is rotated, or may have skipped a file of it; the log is read as it is instead",
            m.catch_ups.clone(),
        );
        r.register(
            "stalls",
            "Log responses in which the engine did not go on though the log did; the log is read as it is instead",
            m.stalls.clone(),
        );
        r.register("targets", "Targets being read", m.targets.clone());
        r.register(
            "targets_lagging",
            "Targets with bytes that are read later than 2 s",
            m.targets_lagging.clone(),
        );
        r.register("batches_pushed", "Batches acknowledged by the store", m.batches_pushed.clone());
        r.register("push_failures", "Pushes that will be tried again", m.push_failures.clone());
        r.register("spool_bytes", "Bytes of the spool on disk", m.spool_bytes.clone());
        r.register("connections", "Connections open that send entries", m.connections.clone());
        r.register(
            "connections_refused",
            "Connections refused since connections_max were open",
            m.connections_refused.clone(),
        );
        r.register(
            "messages_refused",
            "Messages received that cannot be read, or only in part, by reason",
            m.messages_refused.clone(),
        );
        r.register(
            "messages_dropped",
            "Datagrams lost since nobody could take them in time, by reason",
            m.messages_dropped.clone(),
        );
        m.register_destinations(r);
        m
    }

    fn register_destinations(&self, r: &mut Registry) {
        let m = self;
        r.register(
            "destination_entries_acked",
            "Entries acknowledged, by destination",
            m.destination_entries_acked.clone(),
        );
        r.register(
            "destination_entries_rejected",
            "Entries refused for good, by destination and reason",
            m.destination_entries_rejected.clone(),
        );
        r.register(
            "destination_entries_dropped",
            "Entries that waited until there was no room for more, by destination and reason",
            m.destination_entries_dropped.clone(),
        );
        r.register(
            "destination_entries_waiting",
            "Entries in the spool not yet answered, by destination",
            m.destination_entries_waiting.clone(),
        );
        r.register(
            "destination_bytes_waiting",
            "Bytes of encoded batches not yet answered, by destination",
            m.destination_bytes_waiting.clone(),
        );
        r.register(
            "destination_batches_pushed",
            "Batches acknowledged, by destination",
            m.destination_batches_pushed.clone(),
        );
        r.register(
            "destination_push_failures",
            "Pushes that will be tried again, by destination",
            m.destination_push_failures.clone(),
        );
    }

    /// Returns the handles of one destination; `is_first` counts for the whole too.
    pub(crate) fn destination(&self, name: &str, is_first: bool) -> DestinationMetrics {
        let labels = ByDestination { destination: name.to_owned() };
        DestinationMetrics {
            name: name.to_owned(),
            first: is_first.then(|| self.clone()),
            all: self.clone(),
            entries_acked: self.destination_entries_acked.get_or_create(&labels).clone(),
            entries_waiting: self.destination_entries_waiting.get_or_create(&labels).clone(),
            bytes_waiting: self.destination_bytes_waiting.get_or_create(&labels).clone(),
            batches_pushed: self.destination_batches_pushed.get_or_create(&labels).clone(),
            push_failures: self.destination_push_failures.get_or_create(&labels).clone(),
        }
    }

    /// Counts entries refused for good.
    pub(crate) fn rejected(&self, reason: &str, count: u64) {
        self.entries_rejected.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
    }

    /// Counts entries read and left out on purpose.
    pub(crate) fn discarded(&self, reason: &str, count: u64) {
        if count > 0 {
            self.entries_read.inc_by(count);
            self.entries_discarded.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
        }
    }

    /// Counts messages that cannot be read, or only in part.
    pub(crate) fn refused(&self, reason: &str, count: u64) {
        self.messages_refused.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
    }

    /// Counts datagrams that are lost.
    pub(crate) fn dropped(&self, reason: &str, count: u64) {
        if count > 0 {
            self.messages_dropped.get_or_create(&Reason { reason: reason.to_owned() }).inc_by(count);
        }
    }

    /// Counts one place where entries vanished.
    pub(crate) fn gap(&self, reason: &str) {
        self.gaps.get_or_create(&Reason { reason: reason.to_owned() }).inc();
    }
}
