//! Which segments are compacted next: a pure function of the catalog's records and the time.
//!
//! A *partition* is the segments of one tenant, day and retention class. Entries of equal time are told in
//! order of arrival by the `order` of their segments, and a merged segment has one `order`; so only segments
//! that are neighbours in that order are merged. A lost segment may come back and keeps its place: it is a
//! wall between its neighbours. So is a change of policies: a stream may lie in another class behind it, whose
//! segments stand between these.
//!
//! Levels: 0 as flushed, 1 merged once, 2 merged twice or more. Each entry is thus written about three times
//! after the WAL. Old days first, since they are complete; within a day the smallest job first, since it frees
//! the most files for its bytes.

use crate::catalog_record::{LostRecord, SegmentRecord};
use crate::folder::day_last_ns;
use std::collections::{BTreeMap, HashSet};

/// Flushed segments that are merged at once if their day is not over.
const FLUSHED_MIN: usize = 8;

/// Bytes of flushed segments that are merged although there are fewer.
const FLUSHED_BYTES_MIN: u64 = 64 << 20;

/// Segments of level 1 that are merged if their day is not over.
const MERGED_MIN: usize = 6;

/// Segments that one job reads: each costs a decoded block of memory.
pub(crate) const INPUTS_MAX: usize = 12;

/// Files of a partition whose day is over.
const FILES_MAX: usize = 12;

/// Bytes of the largest segment that is written.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// A day counts as over this long after its end, if nothing of it waits in memory: what comes later is merged again.
const QUIET_NS: i64 = 3_600_000_000_000;

/// Highest level.
const LEVEL_TOP: u32 = 2;

/// Tenant, day and class.
pub(crate) type Partition = (String, i32, String);

/// Segments to be written as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) partition: Partition,
    /// Names, in order of arrival; never empty.
    pub(crate) inputs: Vec<String>,
    /// Level of the output.
    pub(crate) level: u16,
    /// Bytes of the inputs: about the most that the output takes.
    pub(crate) bytes: u64,
}

/// Returns the jobs that are due, the first to be done first; no two share a partition.
///
/// `damaged` names segments with damaged blocks: those are written anew without them. `growing` holds the tenants'
/// days that have entries in memory, which the next flush adds to them; `walls` are the last places in order of
/// arrival before policies changed. Cost: a sort of the records.
pub(crate) fn plan(
    segments: &[SegmentRecord],
    lost: &[LostRecord],
    damaged: &HashSet<String>,
    growing: &HashSet<(String, i32)>,
    walls: &[u64],
    now_ns: i64,
) -> Vec<Job> {
    let mut partitions: BTreeMap<Partition, Vec<(&SegmentRecord, bool)>> = BTreeMap::new();
    let live = segments.iter().map(|record| (record, false));
    for (record, is_lost) in live.chain(lost.iter().map(|lost| (&lost.segment, true))) {
        let partition = (record.tenant.clone(), record.day, record.class.clone());
        partitions.entry(partition).or_default().push((record, is_lost));
    }
    let mut jobs = Vec::new();
    for (partition, mut records) in partitions {
        records.sort_by(|(left, _), (right, _)| (left.order, &left.ulid).cmp(&(right.order, &right.ulid)));
        let (tenant, day, _) = &partition;
        let is_over = is_over(*day, now_ns) && !growing.contains(&(tenant.clone(), *day));
        // Neighbours without a wall between them.
        let stretches = records.split(|(_, is_lost)| *is_lost);
        let era = |record: &SegmentRecord| walls.iter().filter(|wall| **wall < record.order).count();
        let stretches: Vec<Vec<&SegmentRecord>> = stretches
            .flat_map(|stretch| stretch.chunk_by(|(left, _), (right, _)| era(left) == era(right)))
            .map(|stretch| stretch.iter().map(|(record, _)| *record).collect())
            .collect();
        let chosen = repair(&stretches, damaged)
            .or_else(|| merge_level(&stretches, 0, is_over))
            .or_else(|| merge_level(&stretches, 1, is_over))
            .or_else(|| is_over.then(|| merge_cheapest(&stretches)).flatten());
        let Some((inputs, level)) = chosen else { continue };
        let bytes = inputs.iter().map(|record| record.bytes).sum();
        let inputs = inputs.into_iter().map(|record| record.ulid.clone()).collect();
        // Levels are at most LEVEL_TOP.
        jobs.push(Job { partition, inputs, level: level as u16, bytes });
    }
    jobs.sort_by_key(|job| (job.partition.1, job.bytes));
    jobs
}

/// Returns whether a day is over, so that what is flushed of it is merged at once.
pub(crate) fn is_over(day: i32, now_ns: i64) -> bool {
    now_ns >= day_last_ns(day).saturating_add(QUIET_NS)
}

impl Job {
    /// Returns the job that writes a segment anew. It rises above flushed ones, so that its lineage is looked at.
    pub(crate) fn rewrite(record: &SegmentRecord) -> Self {
        Self {
            partition: (record.tenant.clone(), record.day, record.class.clone()),
            inputs: vec![record.ulid.clone()],
            // Levels are at most LEVEL_TOP.
            level: rewritten(record) as u16,
            bytes: record.bytes,
        }
    }
}

/// Returns the level of a segment that is written anew.
fn rewritten(record: &SegmentRecord) -> u32 {
    record.level.clamp(1, LEVEL_TOP)
}

type Chosen<'a> = (Vec<&'a SegmentRecord>, u32);

fn repair<'a>(stretches: &[Vec<&'a SegmentRecord>], damaged: &HashSet<String>) -> Option<Chosen<'a>> {
    let found = stretches.iter().flatten().find(|record| damaged.contains(&record.ulid))?;
    Some((vec![*found], rewritten(found)))
}

/// Chooses neighbours of one level, the oldest first.
fn merge_level<'a>(stretches: &[Vec<&'a SegmentRecord>], level: u32, is_over: bool) -> Option<Chosen<'a>> {
    let of_level = |record: &&SegmentRecord| record.level == level;
    for stretch in stretches {
        for same in stretch.chunk_by(|left, right| of_level(left) == of_level(right)) {
            if !same.first().is_some_and(of_level) {
                continue;
            }
            let bytes: u64 = same.iter().map(|record| record.bytes).sum();
            // A flushed segment of a day that is over is written anew even if it is alone: smaller.
            let (is_due, least) = match level {
                0 => (same.len() >= FLUSHED_MIN || bytes >= FLUSHED_BYTES_MIN || is_over, 1),
                _ => (same.len() >= MERGED_MIN || is_over, 2),
            };
            if !is_due {
                continue;
            }
            for start in 0..same.len() {
                let fits = fitting(&same[start..]);
                if fits.len() >= least {
                    return Some((fits.to_vec(), level + 1));
                }
            }
        }
    }
    None
}

/// Chooses the neighbours whose merge brings a day that is over to its number of files at the least cost.
fn merge_cheapest<'a>(stretches: &[Vec<&'a SegmentRecord>]) -> Option<Chosen<'a>> {
    let files: usize = stretches.iter().map(Vec::len).sum();
    if files <= FILES_MAX {
        return None;
    }
    let width = (files - FILES_MAX + 1).min(INPUTS_MAX);
    for width in (2..=width).rev() {
        let windows = stretches.iter().flat_map(|stretch| stretch.windows(width));
        let bytes = |window: &&[&SegmentRecord]| window.iter().map(|record| record.bytes).sum::<u64>();
        let cheapest = windows.filter(|window| bytes(window) <= SEGMENT_BYTES_MAX).min_by_key(bytes);
        if let Some(window) = cheapest {
            return Some((window.to_vec(), LEVEL_TOP));
        }
    }
    None
}

/// Returns as many of the first segments as one job may read and one segment may hold.
fn fitting<'a, 'b>(segments: &'b [&'a SegmentRecord]) -> &'b [&'a SegmentRecord] {
    let mut bytes = 0;
    let fits = segments.iter().take(INPUTS_MAX).take_while(|record| {
        bytes += record.bytes;
        bytes <= SEGMENT_BYTES_MAX
    });
    // One that is too large by itself is written anew all the same.
    let count = fits.count().max(1);
    segments.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i32 = 20_000;
    const MIB: u64 = 1 << 20;

    /// Noon of the day, or of the day after.
    fn noon(day: i32) -> i64 {
        day_last_ns(day) - 12 * QUIET_NS
    }

    fn record(order: u64, level: u32, bytes: u64) -> SegmentRecord {
        let millis = u64::try_from(noon(DAY) / 1_000_000).unwrap();
        SegmentRecord {
            ulid: ulid::Ulid::from_parts(millis, u128::from(order)).to_string(),
            tenant: "fake".to_owned(),
            day: DAY,
            class: "30d".to_owned(),
            level,
            order,
            min_ns: 1,
            max_ns: 2,
            rows: 3,
            raw_bytes: 4,
            streams: 5,
            bytes,
            tail_bytes: 2,
        }
    }

    /// Plans for segments given as (level, MiB), and returns the orders and the level of the first job.
    fn first(segments: &[(u32, u64)], day: i32) -> Option<(Vec<u64>, u16)> {
        let records: Vec<_> =
            (1..).zip(segments).map(|(order, (level, mib))| record(order, *level, mib * MIB)).collect();
        let jobs = plan(&records, &[], &HashSet::new(), &HashSet::new(), &[], noon(day));
        let job = jobs.into_iter().next()?;
        let order = |ulid: &String| records.iter().find(|record| record.ulid == *ulid).unwrap().order;
        Some((job.inputs.iter().map(order).collect(), job.level))
    }

    #[test]
    fn flushed_segments_are_merged_when_they_are_many_or_large_or_the_day_is_over() {
        assert_eq!(first(&[(0, 1); 7], DAY), None);
        assert_eq!(first(&[(0, 1); 8], DAY), Some(((1..=8).collect(), 1)));
        assert_eq!(first(&[(0, 1); 20], DAY), Some(((1..=12).collect(), 1)));
        assert_eq!(first(&[(0, 32); 2], DAY), Some((vec![1, 2], 1)));
        assert_eq!(first(&[(0, 1); 2], DAY + 1), Some((vec![1, 2], 1)));
        assert_eq!(first(&[(2, 9), (0, 1)], DAY + 1), Some((vec![2], 1)), "smaller when written anew");
        assert_eq!(first(&[], DAY + 1), None);
    }

    #[test]
    fn merged_segments_are_merged_again() {
        assert_eq!(first(&[(1, 1); 5], DAY), None);
        assert_eq!(first(&[(1, 1); 6], DAY), Some(((1..=6).collect(), 2)));
        assert_eq!(first(&[(1, 1), (1, 9)], DAY + 1), Some((vec![1, 2], 2)));
        assert_eq!(first(&[(1, 9)], DAY + 1), None, "nothing is won");
        assert_eq!(first(&[(1, 1), (2, 9), (1, 9)], DAY + 1), None, "no neighbours");
    }

    #[test]
    fn segments_do_not_pass_their_bound() {
        assert_eq!(first(&[(1, 1500), (1, 1500), (1, 400), (1, 1)], DAY + 1), Some((vec![2, 3, 4], 2)));
        assert_eq!(first(&[(1, 1500), (1, 1500)], DAY + 1), None);
    }

    #[test]
    fn a_day_that_is_over_ends_with_few_files() {
        let mut segments = [(2, 100), (1, 1)].repeat(7);
        assert_eq!(first(&segments, DAY), None);
        assert_eq!(first(&segments, DAY + 1), Some((vec![2, 3, 4], 2)));
        segments.truncate(12);
        assert_eq!(first(&segments, DAY + 1), None);
    }

    #[test]
    fn a_lost_segment_is_a_wall_and_a_damaged_one_is_written_anew() {
        let records: Vec<_> = (1..=9).map(|order| record(order, 0, MIB)).collect();
        let mut live = records.clone();
        let lost = [LostRecord { segment: live.remove(4), reason: "gone".to_owned() }];
        assert_eq!(plan(&live, &lost, &HashSet::new(), &HashSet::new(), &[], noon(DAY)), []);
        let over = plan(&live, &lost, &HashSet::new(), &HashSet::new(), &[], noon(DAY + 1));
        assert_eq!(over[0].inputs.len(), 4);
        let damaged = HashSet::from([records[6].ulid.clone()]);
        let repair = plan(&live, &lost, &damaged, &HashSet::new(), &[], noon(DAY));
        assert_eq!(repair, [Job::rewrite(&records[6])]);
        assert_eq!(repair[0].level, 1, "a file that was made of another is none that was flushed");
    }

    #[test]
    fn a_change_of_policies_is_a_wall() {
        let records: Vec<_> = (1..=9).map(|order| record(order, 0, MIB)).collect();
        let jobs = |walls: &[u64]| {
            let jobs = plan(&records, &[], &HashSet::new(), &HashSet::new(), walls, noon(DAY));
            jobs.first().map(|job| job.inputs.len())
        };
        assert_eq!((jobs(&[]), jobs(&[1]), jobs(&[0, 9]), jobs(&[4])), (Some(9), Some(8), Some(9), None));
    }

    #[test]
    fn days_that_still_grow_wait_and_the_newest_day_comes_last() {
        let mut old = record(1, 0, 9 * MIB);
        old.day -= 3;
        let new: Vec<_> = (2..=9).map(|order| record(order, 0, 100)).collect();
        let mut all = vec![old];
        all.extend(new);
        let days = |growing: &[(&str, i32)]| {
            let growing = growing.iter().map(|(tenant, day)| ((*tenant).to_owned(), *day)).collect();
            let jobs = plan(&all, &[], &HashSet::new(), &growing, &[], noon(DAY));
            jobs.iter().map(|job| job.partition.1).collect::<Vec<_>>()
        };
        assert_eq!(days(&[]), [DAY - 3, DAY]);
        assert_eq!(days(&[("fake", DAY - 3)]), [DAY], "the next flush adds to it");
        assert_eq!(days(&[("other", DAY - 3), ("fake", DAY)]), [DAY - 3, DAY]);
    }
}
