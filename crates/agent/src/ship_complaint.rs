//! What the shipper says about a store that does not take batches, without flooding the log.
//!
//! A trouble is told when it begins, when it becomes another, and every ten minutes while it lasts: a refusal that
//! follows an outage is news, since the outage passes by itself and the refusal does not.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use logyard_client::Kind;
use logyard_wire::native_push::PushAnswer;
use tokio::time::Instant;

use crate::ship_send::Body;

/// A trouble that lasts is told again this often.
const REMIND_EVERY: Duration = Duration::from_secs(600);
/// Refused entries are told of this often, for each reason.
const REJECTED_EVERY: Duration = Duration::from_secs(60);
/// Reasons remembered; they come from the store.
const REASONS_MAX: usize = 64;

/// Why nothing is delivered at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody answers, or the store cannot work just now.
    Unreachable,
    /// The store asks for patience.
    Limited,
    /// Somebody answers, but takes no batch at all: the status, 0 if there was none to speak of.
    Setup(u16),
    /// The store refuses this batch for what it holds.
    Batch,
    /// The folder of refused batches is full.
    FolderFull,
    /// The folder of refused batches cannot be used.
    Folder,
    /// The spool cannot be read, or the agent's id not be written.
    Spool,
}

impl Trouble {
    /// Tells what a failed push is about; `is_from_store` says whether the store itself gave the answer.
    pub(crate) fn of(kind: Kind, status: Option<u16>, is_from_store: bool) -> Self {
        match (kind, status) {
            (Kind::Unavailable, _) => Self::Unreachable,
            (Kind::Limited, _) => Self::Limited,
            // A proxy too may find a body too large; its other words say nothing of the batch.
            (Kind::Invalid, Some(413)) => Self::Batch,
            (Kind::Invalid, Some(400 | 422)) if is_from_store => Self::Batch,
            (Kind::Invalid, status) => Self::Setup(status.unwrap_or_default()),
        }
    }
}

/// What was said, and when, about one destination.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    destination: String,
    trouble: Option<(Trouble, Instant)>,
    rejected: HashMap<String, Instant>,
}

impl Complaints {
    pub(crate) fn new(destination: &str) -> Self {
        Self { destination: destination.to_owned(), ..Self::default() }
    }

    /// Says that nothing is delivered, unless that was said lately.
    pub(crate) fn say(&mut self, trouble: Trouble, error: &impl Display, refused_dir: &Path) {
        if !self.is_news(trouble, Instant::now()) {
            return;
        }
        let destination = &*self.destination;
        match trouble {
            Trouble::Unreachable | Trouble::Limited => tracing::warn!(
                destination, %error,
                "cannot push to the store; trying again until it answers, entries wait in the spool"
            ),
            Trouble::Setup(status) => tracing::error!(
                destination, %error, status,
                "the store refuses every push; entries wait in the spool. Check the store's address, tenant, token and version"
            ),
            Trouble::Batch | Trouble::FolderFull => tracing::error!(
                destination, %error, path = %refused_dir.display(),
                "the store refuses a batch, and the folder for such is full, so later entries wait; correct the cause, push the files in it again or remove them, or raise agent.spool.refused_bytes_max"
            ),
            Trouble::Folder => tracing::error!(
                destination, %error, path = %refused_dir.display(),
                "the store refuses a batch, and it cannot be put aside, so later entries wait; free or repair the disk"
            ),
            Trouble::Spool => {
                tracing::error!(destination, %error, "cannot use the spool, so its batches wait; repair the disk");
            }
        }
    }

    /// Says that it works again, if it did not.
    pub(crate) fn over(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!(destination = self.destination, "the store takes batches again");
        }
    }

    /// Says that entries were put aside.
    pub(crate) fn put_aside(
        &mut self,
        path: &Path,
        entries: u32,
        error: &impl Display,
        (base, body): (&str, &Body),
    ) {
        let Body { headers, path: at, .. } = body;
        // Each file is named: a person must look at it. Their number is bounded by the folder.
        tracing::error!(
            destination = self.destination, %error, entries, path = %path.display(),
            "the store refuses entries for good, so they were put aside and later ones go on; correct the cause, then push the file with curl {headers} --data-binary @<path> {base}{at}, or remove it"
        );
    }

    /// Says that the store rejected entries of a batch, once a minute for each reason.
    pub(crate) fn rejected(&mut self, answer: &PushAnswer) {
        let now = Instant::now();
        let mut is_due = answer.reasons.is_empty() && self.is_due("other", now);
        for reason in answer.reasons.keys() {
            is_due |= self.is_due(reason, now);
        }
        if is_due {
            tracing::warn!(
                destination = self.destination, rejected = answer.rejected, reasons = ?answer.reasons, message = %answer.message,
                "the store refused entries for good; told once a minute, all are counted"
            );
        }
    }

    fn is_news(&mut self, trouble: Trouble, now: Instant) -> bool {
        let is_known = self
            .trouble
            .is_some_and(|(known, said)| known == trouble && now.duration_since(said) < REMIND_EVERY);
        if !is_known {
            self.trouble = Some((trouble, now));
        }
        !is_known
    }

    fn is_due(&mut self, reason: &str, now: Instant) -> bool {
        if self.rejected.get(reason).is_some_and(|said| now.duration_since(*said) < REJECTED_EVERY) {
            return false;
        }
        if self.rejected.len() >= REASONS_MAX {
            self.rejected.clear();
        }
        self.rejected.insert(reason.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_when_it_changes_and_every_ten_minutes() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        assert!(complaints.is_news(Trouble::Unreachable, now));
        assert!(!complaints.is_news(Trouble::Unreachable, now));
        assert!(complaints.is_news(Trouble::Setup(401), now), "a refusal after an outage");
        assert!(complaints.is_news(Trouble::Setup(404), now));
        let now = now + REMIND_EVERY;
        assert!(complaints.is_news(Trouble::Setup(404), now));
        assert!(!complaints.is_news(Trouble::Setup(404), now));
        complaints.over();
        assert!(complaints.is_news(Trouble::Setup(404), now));
    }

    #[test]
    fn each_reason_is_told_once_a_minute() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        assert!(complaints.is_due("line_too_long", now));
        assert!(complaints.is_due("too_far_behind", now));
        assert!(!complaints.is_due("line_too_long", now));
        let now = now + REJECTED_EVERY;
        assert!(complaints.is_due("line_too_long", now));
        for number in 0..1_000 {
            complaints.is_due(&number.to_string(), now);
        }
        assert!(complaints.rejected.len() <= REASONS_MAX);
    }
}
