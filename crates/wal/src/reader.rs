//! Reading the records of one file in order, within one window of memory.
//!
//! A record may be as long as the rest of its file, whatever limit holds for new ones: a lowered setting
//! must not turn stored records into damage.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use crate::record::{FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RecordHeader, read_file_header};
use logyard_sys::ReadFile;
use std::io;
use std::sync::Arc;

/// Bytes read at a time; records larger than this are read in one piece.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes behind a bad record that are searched for good ones: more than any file that was written by rule.
const RESYNC_BYTES_MAX: usize = 256 << 20;
/// The least a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// Reads the records of one file.
#[derive(Debug)]
pub(crate) struct Reader {
    file: Arc<dyn ReadFile>,
    file_bytes: u64,
    /// Bytes of the file from `window_offset` on.
    window: Vec<u8>,
    window_offset: u64,
    /// Where the next record starts.
    offset: u64,
}

/// What is found where a record should start.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Record { sequence: u64, payload: &'a [u8] },
    End,
    Bad,
}

/// Returns whether a record in the next `rest_bytes` can have this sequence, if `want` comes next: as many may be
/// missing as a file of that length could have held.
fn is_possible(sequence: u64, want: u64, rest_bytes: usize) -> bool {
    let most = (RESYNC_BYTES_MAX.max(rest_bytes) / RECORD_HEADER_BYTES) as u64;
    sequence >= want && sequence - want <= most
}

impl Reader {
    pub(crate) fn new(file: Arc<dyn ReadFile>) -> io::Result<Self> {
        let file_bytes = file.meta()?.bytes;
        Ok(Self { file, file_bytes, window: Vec::new(), window_offset: 0, offset: 0 })
    }

    /// Returns where the next record starts: all before is good.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the length of the file when it was opened.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Reads the file's header and stands at the first record, whatever the header is.
    pub(crate) fn header(&mut self) -> io::Result<FileHeader> {
        let header = read_file_header(self.peek(FILE_HEADER_BYTES)?);
        self.offset = self.file_bytes.min(FILE_HEADER_BYTES as u64);
        Ok(header)
    }

    /// Reads the next record. Its sequence is `want`, or above where damaged records were cut out before.
    pub(crate) fn next(&mut self, want: u64) -> io::Result<Next<'_>> {
        if self.offset >= self.file_bytes {
            return Ok(Next::End);
        }
        let header = match RecordHeader::read(self.peek(RECORD_HEADER_BYTES)?) {
            Some(header) if is_possible(header.sequence, want, self.rest_bytes()) => header,
            _ => return Ok(Next::Bad),
        };
        let record_bytes = header.record_bytes();
        if (record_bytes as u64) > self.file_bytes - self.offset {
            return Ok(Next::Bad);
        }
        let offset = self.offset;
        self.peek(record_bytes)?;
        let start = usize::try_from(offset - self.window_offset).unwrap_or(usize::MAX);
        let record = self.window.get(start..).and_then(|rest| rest.get(..record_bytes)).unwrap_or_default();
        let payload = record.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        if !header.fits(payload) {
            return Ok(Next::Bad);
        }
        self.offset = offset + record_bytes as u64;
        Ok(Next::Record { sequence: header.sequence, payload })
    }

    /// Steps over bad bytes to the next good record. Returns whether there is one; stays in place if not.
    ///
    /// A record is believed if its checksum holds and its sequence is one that could come from `want` on within
    /// the rest of the file. The place behind the bad record is tried first, for the record that comes next: the length
    /// is right unless the damage hit it, and a payload may hold bytes that look like a record. Cost: the rest of the file in memory, a look at
    /// every byte.
    pub(crate) fn resync(&mut self, want: u64) -> io::Result<bool> {
        let rest_bytes = self.rest_bytes();
        let mut rest = vec![0; rest_bytes.min(RESYNC_BYTES_MAX)];
        self.file.read_exact_at(&mut rest, self.offset)?;
        let is_good = |at: &usize| {
            let Some(header) = rest.get(*at..).and_then(RecordHeader::read) else { return false };
            let payload = rest.get(at + RECORD_HEADER_BYTES..at.saturating_add(header.record_bytes()));
            is_possible(header.sequence, want, rest_bytes)
                && payload.is_some_and(|payload| header.fits(payload))
        };
        let behind = RecordHeader::read(&rest).and_then(|header| {
            let at = Some(header.record_bytes()).filter(is_good)?;
            let behind = RecordHeader::read(rest.get(at..)?)?.sequence;
            // A damaged length may lead to any record: only the one that comes next proves it right.
            [want, header.sequence].map(|bad| bad.wrapping_add(1)).contains(&behind).then_some(at)
        });
        let last = rest.len().saturating_sub(RECORD_HEADER_BYTES);
        // Behind a damaged header the first place is good.
        let found = Some(0).filter(is_good).or(behind).or_else(|| (1..=last).find(is_good));
        self.offset += found.unwrap_or(0) as u64;
        Ok(found.is_some())
    }

    /// Returns whether the bytes from here to the end are a record that was written to its end, though it is damaged:
    /// as many as its header speaks of, or all that its checksum is of, with another length.
    ///
    /// Bytes that were never written read as zeros: after a power cut a file may have its length and not all of its
    /// sectors. Cost: the rest of the file in memory.
    pub(crate) fn has_record_bytes(&mut self) -> io::Result<bool> {
        let rest_bytes = self.rest_bytes();
        if !(RECORD_HEADER_BYTES..=RESYNC_BYTES_MAX).contains(&rest_bytes) {
            return Ok(false);
        }
        let mut rest = vec![0; rest_bytes];
        self.file.read_exact_at(&mut rest, self.offset)?;
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let sector_start = usize::try_from(self.offset.next_multiple_of(SECTOR_BYTES as u64) - self.offset);
        let mut sectors = rest.get(sector_start.unwrap_or(0)..).unwrap_or_default().chunks(SECTOR_BYTES);
        // A few zeros at the end may be of the record.
        if is_zero(&rest) || sectors.any(|sector| sector.len() >= RECORD_HEADER_BYTES && is_zero(sector)) {
            return Ok(false);
        }
        let Some(header) = RecordHeader::read(&rest) else { return Ok(false) };
        if header.record_bytes() <= rest_bytes {
            return Ok(true);
        }
        let payload = rest.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Ok(RecordHeader { payload_bytes, ..header }.fits(payload))
    }

    fn rest_bytes(&self) -> usize {
        usize::try_from(self.file_bytes - self.offset).unwrap_or(usize::MAX)
    }

    /// Returns up to `bytes` bytes from the current offset; fewer at the end of the file.
    fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let offset = self.offset;
        let in_window = |reader: &Self| {
            let start = usize::try_from(offset - reader.window_offset).ok()?;
            let rest = reader.window.get(start..)?;
            (rest.len() >= bytes).then_some((start, bytes))
        };
        if in_window(self).is_none() {
            let left = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX);
            let window_bytes = bytes.max(WINDOW_BYTES).min(left);
            self.window.resize(window_bytes, 0);
            self.window_offset = offset;
            self.file.read_exact_at(&mut self.window, offset)?;
        }
        let (start, bytes) = in_window(self).unwrap_or((0, self.window.len()));
        Ok(self.window.get(start..).and_then(|rest| rest.get(..bytes)).unwrap_or_default())
    }
}
