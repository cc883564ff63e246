//! One file being read: whole lines from an offset, and what became of the file meanwhile.
//!
//! Offsets stand at line starts. An unfinished last line stays unread until its newline comes, or until
//! the file was rotated away and nobody writes to it any more. Entries bear the time of their reading,
//! strictly ascending, so that two equal lines stay two entries. Lines that a stage holds back are read and not sent:
//! the position that is sent stands before the oldest of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use logyard_codec::Entries;
use logyard_model::LabelSet;
use logyard_sys::{Disk, FileMeta, ReadFile};
use xxhash_rust::xxh3::xxh3_64;

use crate::file_form::FileForm;
use crate::log_join::{bounded, without_line_end};
use crate::position::FilePosition;
use crate::staging::{Line, Staging};

/// Bytes read in one turn.
const TURN_BYTES: usize = 64 << 10;
/// Times of entries further ahead of the clock than this show that it was set back.
const CLOCK_AHEAD_NS_MAX: i64 = 1_000_000_000;
/// First bytes that tell a file from its successors.
const FINGERPRINT_BYTES_MAX: usize = 1 << 10;

/// A file as the disk numbers it.
pub(crate) type FileIdentity = (u64, u64);

/// An open file and how far it was read.
#[derive(Debug)]
pub(crate) struct FileTarget {
    pub(crate) file: Arc<dyn ReadFile>,
    /// The file as lines are read of it.
    text: Arc<dyn ReadFile>,
    form: FileForm,
    /// The end of a packed file was reached.
    is_unpacked: bool,
    /// How far it was read.
    pub(crate) position: FilePosition,
    pub(crate) labels: Arc<LabelSet>,
    /// Number of the job that it is read for.
    pub(crate) job: usize,
    /// Not read before this time of the monotonic clock: a stage wants it so.
    pub(crate) paused_until_ns: u64,
    /// Offset last handed over: at most that of `position`.
    sent_offset: u64,
    staging: Staging<u64>,
    line_bytes_max: usize,
    last_ns: i64,
    /// Bytes behind the offset that are known to hold no newline.
    scanned_bytes: u64,
    /// When the file was written to, as of the last look at its first bytes.
    seen_modified_ns: i64,
    /// Where the last turn met the end of the file; 0 if it met none.
    seen_end: u64,
}

/// What one turn yielded.
#[derive(Debug, Default)]
pub(crate) struct FileTurn {
    pub(crate) chunks: Vec<(Arc<LabelSet>, Entries)>,
    /// The position after it, if there is something to hand over.
    pub(crate) position: Option<FilePosition>,
    /// Lines read; stages may have held them back or discarded them.
    pub(crate) lines: u64,
    /// How long stages want the file to wait.
    pub(crate) pause: Duration,
    pub(crate) lines_cut: u64,
    /// Lines with bytes that their encoding has not.
    pub(crate) lines_undecodable: u64,
    /// Times the clock was found set back.
    pub(crate) clock_steps: u64,
}

/// What the name of a file shows, against the open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFate {
    /// It is the open file.
    Same,
    /// It is the open file, cut behind our back or written anew.
    Truncated,
    /// Another file, or none, has the name.
    Renamed,
}

impl FileTarget {
    pub(crate) fn new(
        (file, form): (Arc<dyn ReadFile>, FileForm),
        position: FilePosition,
        labels: Arc<LabelSet>,
        line_bytes_max: usize,
        staging: Staging<u64>,
    ) -> Self {
        Self {
            text: form.text(&file),
            file,
            form,
            is_unpacked: false,
            sent_offset: position.offset,
            position,
            labels,
            job: 0,
            paused_until_ns: 0,
            staging,
            line_bytes_max,
            last_ns: i64::MIN,
            scanned_bytes: 0,
            seen_modified_ns: i64::MIN,
            seen_end: 0,
        }
    }

    /// Returns the open file under another job, from where it was handed over: what stages hold is read again.
    pub(crate) fn under(
        self,
        (form, job): (FileForm, usize),
        labels: Arc<LabelSet>,
        line_bytes_max: usize,
        staging: Staging<u64>,
    ) -> Self {
        let position = FilePosition { offset: self.sent_offset, ..self.position };
        let mut target = Self::new((self.file, form), position, labels, line_bytes_max, staging);
        target.job = job;
        // Times go on ascending.
        target.last_ns = self.last_ns;
        target
    }

    /// Returns whether another form counts its offsets as its own does.
    pub(crate) fn has_offsets_of(&self, form: &FileForm) -> bool {
        self.form.is_packed() == form.is_packed()
    }

    pub(crate) fn identity(&self) -> FileIdentity {
        (self.position.device, self.position.inode)
    }

    /// Returns whether it is packed and not read to its end: then it takes memory once it is read.
    pub(crate) fn is_unpacking(&self) -> bool {
        self.form.is_packed() && !self.is_unpacked
    }

    /// Returns what the disk says of the file, if all of it was seen and stages hold nothing of it back.
    pub(crate) fn at_rest(&self) -> Option<FileMeta> {
        let meta = self.file.meta().ok()?;
        let is_seen = if self.form.is_packed() { self.is_unpacked } else { meta.bytes == self.seen_end };
        (is_seen && self.sent_offset == self.position.offset).then_some(meta)
    }

    /// Compares the open file with what has its name now.
    pub(crate) fn fate(&mut self, disk: &dyn Disk) -> io::Result<FileFate> {
        let Some(named) = disk.metadata(std::path::Path::new(&self.position.path))? else {
            return Ok(FileFate::Renamed);
        };
        if (named.device, named.inode) != self.identity() {
            return Ok(FileFate::Renamed);
        }
        // Offsets of a packed file are those of what it unpacks to.
        let is_shorter = !self.form.is_packed() && named.bytes < self.position.offset;
        // Reading the first bytes again costs a page of cache. One that was cut may have grown to the same length again,
        // which its time tells.
        let is_written = named.bytes > self.position.offset || named.modified_ns != self.seen_modified_ns;
        let is_replaced = is_written && !is_same_content(&*self.file, &self.position)?;
        self.seen_modified_ns = named.modified_ns;
        Ok(if is_shorter || is_replaced { FileFate::Truncated } else { FileFate::Same })
    }

    /// Starts over at the beginning: the file holds other bytes now.
    pub(crate) fn restart(&mut self, now_ns: i64) {
        self.staging.cut(now_ns);
        self.position.offset = 0;
        self.position.fingerprint_bytes = 0;
        self.position.fingerprint = xxh3_64(&[]);
        self.scanned_bytes = 0;
        self.is_unpacked = false;
    }

    /// Reads the next whole lines, about 64 KiB; no lines: the end is reached for now.
    pub(crate) fn turn(&mut self, now_ns: i64) -> io::Result<FileTurn> {
        let mut buffer = vec![0; TURN_BYTES];
        let read = read_up_to(&*self.text, &mut buffer, self.position.offset)?;
        buffer.truncate(read);
        self.seen_end = if read < TURN_BYTES { self.position.offset + read as u64 } else { 0 };
        let mut turn = FileTurn::default();
        let mut entries = Entries::new();
        match self.form.last_end(&buffer) {
            Some(last) => {
                buffer.truncate(last);
                let mut rest = &buffer[..];
                let mut start = self.position.offset;
                while let Some(end) = self.form.first_end(rest) {
                    let (line, after) = rest.split_at(end);
                    rest = after;
                    self.push(&mut turn, &mut entries, start, line, 0, now_ns);
                    start += line.len() as u64;
                }
                self.advance(buffer.len() as u64)?;
            }
            None if read == TURN_BYTES => self.long_line(&mut turn, &mut entries, now_ns)?,
            // Nobody adds to a packed file: its last line needs no end.
            None if self.form.is_packed() && read > 0 => {
                self.take_long(&mut turn, &mut entries, read as u64, now_ns)?;
            }
            None => {}
        }
        self.is_unpacked |= self.form.is_packed() && turn.lines == 0;
        let everything = self.form.is_packed() && self.is_unpacked;
        self.finish(&mut turn, entries, everything, now_ns);
        Ok(turn)
    }

    /// Takes the unfinished last line, and what stages hold: nobody will finish it.
    pub(crate) fn last_line(&mut self, now_ns: i64) -> io::Result<FileTurn> {
        let end = if self.form.is_packed() { 0 } else { self.file.meta()?.bytes };
        let rest_bytes = end.saturating_sub(self.position.offset);
        let mut turn = FileTurn::default();
        let mut entries = Entries::new();
        if rest_bytes > 0 {
            self.take_long(&mut turn, &mut entries, rest_bytes, now_ns)?;
        }
        self.finish(&mut turn, entries, true, now_ns);
        Ok(turn)
    }

    /// Settles what the turn hands over, and up to where.
    fn finish(&mut self, turn: &mut FileTurn, entries: Entries, everything: bool, now_ns: i64) {
        let mut done_offset = self.position.offset;
        if self.staging.is_idle() {
            if !entries.is_empty() {
                turn.chunks.push((Arc::clone(&self.labels), entries));
            }
        } else {
            let staged = self.staging.take(everything, now_ns);
            turn.chunks = staged.chunks;
            turn.pause = staged.pause;
            done_offset = staged.mark.unwrap_or(done_offset);
        }
        if !turn.chunks.is_empty() || done_offset != self.sent_offset {
            self.sent_offset = done_offset;
            turn.position = Some(FilePosition { offset: done_offset, ..self.position.clone() });
        }
    }

    /// Looks for the end of a line longer than a turn, and takes the line once the end is there.
    fn long_line(&mut self, turn: &mut FileTurn, entries: &mut Entries, now_ns: i64) -> io::Result<()> {
        let mut buffer = vec![0; TURN_BYTES];
        loop {
            let read = read_up_to(&*self.text, &mut buffer, self.position.offset + self.scanned_bytes)?;
            let seen = buffer.get(..read).unwrap_or_default();
            if let Some(end) = self.form.first_end(seen) {
                let line_bytes = self.scanned_bytes + end as u64;
                return self.take_long(turn, entries, line_bytes, now_ns);
            }
            // Units of two bytes are looked at whole.
            let whole = if self.form.is_wide() { read & !1 } else { read };
            self.scanned_bytes += whole as u64;
            if whole == 0 {
                return match self.form.is_packed() {
                    true => self.take_long(turn, entries, self.scanned_bytes, now_ns),
                    false => Ok(()),
                };
            }
        }
    }

    fn take_long(
        &mut self,
        turn: &mut FileTurn,
        entries: &mut Entries,
        line_bytes: u64,
        now_ns: i64,
    ) -> io::Result<()> {
        // A few bytes more than are kept: the end of the line is stripped first. An even number: units may have two bytes.
        let kept_bytes = usize::try_from(line_bytes)
            .unwrap_or(usize::MAX)
            .min(self.line_bytes_max.next_multiple_of(2) + 4);
        let mut line = vec![0; kept_bytes];
        let read = read_up_to(&*self.text, &mut line, self.position.offset)?;
        line.truncate(read);
        let beyond = usize::try_from(line_bytes - read as u64).unwrap_or(usize::MAX);
        self.push(turn, entries, self.position.offset, &line, beyond, now_ns);
        self.advance(line_bytes)
    }

    fn push(
        &mut self,
        turn: &mut FileTurn,
        entries: &mut Entries,
        start: u64,
        line: &[u8],
        beyond: usize,
        now_ns: i64,
    ) {
        // A turn's lines run ahead of the clock by less than a millisecond: more means that it was set back,
        // and waiting for it to catch up would give lines of hours one and the same time.
        if self.last_ns > now_ns.saturating_add(CLOCK_AHEAD_NS_MAX) {
            self.last_ns = now_ns.saturating_sub(1);
            turn.clock_steps += 1;
        }
        self.last_ns = now_ns.max(self.last_ns.saturating_add(1));
        let (line, has_errors) = self.form.decode(line, start == 0);
        turn.lines_undecodable += u64::from(has_errors);
        let line = bounded(self.last_ns, without_line_end(&line), beyond, self.line_bytes_max);
        turn.lines_cut += u64::from(line.cut_bytes > 0);
        turn.lines += 1;
        let metadata = &LabelSet::default();
        if self.staging.is_idle() {
            entries.push(line.ts_ns, line.text, "", metadata);
            return;
        }
        let text = line.text.into();
        let line = Line { labels: &self.labels, ts_ns: line.ts_ns, text, metadata, output: 0 };
        self.staging.push(line, start, now_ns);
    }

    fn advance(&mut self, bytes: u64) -> io::Result<()> {
        self.position.offset += bytes;
        self.scanned_bytes = 0;
        let covered = self.position.fingerprint_bytes as usize;
        if covered < FINGERPRINT_BYTES_MAX && (covered as u64) < self.position.offset {
            (self.position.fingerprint_bytes, self.position.fingerprint) = fingerprint(&*self.file)?;
        }
        Ok(())
    }
}

/// Describes a file that was never read: offset 0.
pub(crate) fn new_position(path: &str, meta: &FileMeta, file: &dyn ReadFile) -> io::Result<FilePosition> {
    let (fingerprint_bytes, fingerprint) = fingerprint(file)?;
    Ok(FilePosition {
        path: path.to_owned(),
        device: meta.device,
        inode: meta.inode,
        fingerprint_bytes,
        fingerprint,
        offset: 0,
    })
}

/// Returns whether the file begins with the bytes that the position was taken in.
pub(crate) fn is_same_content(file: &dyn ReadFile, position: &FilePosition) -> io::Result<bool> {
    let mut first = vec![0; (position.fingerprint_bytes as usize).min(FINGERPRINT_BYTES_MAX)];
    let read = read_up_to(file, &mut first, 0)?;
    Ok(read == first.len() && xxh3_64(&first) == position.fingerprint)
}

/// Returns whether the file holds bytes that no text has.
pub(crate) fn is_binary(file: &Arc<dyn ReadFile>, form: &FileForm) -> io::Result<bool> {
    if form.is_wide() {
        return Ok(false);
    }
    let mut first = [0; FINGERPRINT_BYTES_MAX];
    let read = read_up_to(&*form.text(file), &mut first, 0)?;
    Ok(first.get(..read).is_some_and(|bytes| bytes.contains(&0)))
}

fn fingerprint(file: &dyn ReadFile) -> io::Result<(u32, u64)> {
    let mut first = [0; FINGERPRINT_BYTES_MAX];
    let read = read_up_to(file, &mut first, 0)?;
    let bytes = first.get(..read).unwrap_or_default();
    Ok((u32::try_from(bytes.len()).unwrap_or_default(), xxh3_64(bytes)))
}

/// Fills the buffer as far as the file reaches.
fn read_up_to(file: &dyn ReadFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, offset + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_form::encoding_of;
    use crate::file_form::tests::packed;
    use crate::metrics::Metrics;
    use crate::staging::{StageParts, compile_stages};
    use logyard_pipeline::LinesFrom;
    use logyard_sys::{Random, SimDisk};
    use std::path::Path;

    const PATH: &str = "/log/a.log";

    fn write(disk: &SimDisk, bytes: &[u8]) {
        disk.append_file(Path::new(PATH)).unwrap().write_all(bytes).unwrap();
    }

    fn target(disk: &SimDisk) -> FileTarget {
        let file = disk.open_file(Path::new(PATH)).unwrap();
        let position = new_position(PATH, &file.meta().unwrap(), &*file).unwrap();
        FileTarget::new((file, FileForm::plain()), position, Arc::default(), 100 << 10, staging("[]"))
    }

    fn staging(stages: &str) -> Staging<u64> {
        let stages: Vec<_> = serde_json::from_str(stages).unwrap();
        let parts = StageParts {
            line_bytes_max: 100 << 10,
            random: Arc::new(Random::seeded(1)),
            metrics: Metrics::default(),
        };
        Staging::new(&compile_stages("files.stages", &stages, LinesFrom::Files, 100 << 10).unwrap(), parts)
    }

    fn entries(turn: &FileTurn) -> Entries {
        let mut all = Entries::new();
        turn.chunks.iter().for_each(|(_, entries)| all.append(entries));
        all
    }

    fn lines(turn: &FileTurn) -> Vec<String> {
        let all = entries(turn);
        (0..all.len()).map(|row| String::from_utf8_lossy(all.line(row)).into_owned()).collect()
    }

    fn offset(turn: &FileTurn) -> Option<u64> {
        turn.position.as_ref().map(|position| position.offset)
    }

    #[test]
    fn positions_stand_before_what_stages_hold() {
        let disk = disk();
        write(&disk, b"first\n two\n");
        let mut target = target(&disk);
        target.staging =
            staging(r#"[{"drop": {"expression": "noise"}}, {"multiline": {"firstline": "^\\S"}}]"#);
        let turn = target.turn(0).unwrap();
        assert_eq!((turn.lines, turn.chunks.len(), offset(&turn)), (2, 0, None));
        write(&disk, b" three\nsecond\nnoise\n");
        let turn = target.turn(1).unwrap();
        assert_eq!((lines(&turn), offset(&turn)), (vec!["first\n two\n three".to_owned()], Some(18)));
        // The open entry is let go by time; what was discarded behind it counts as read then.
        assert_eq!(offset(&target.turn(2).unwrap()), None);
        let turn = target.turn(4_000_000_000).unwrap();
        assert_eq!((lines(&turn), offset(&turn)), (vec!["second".to_owned()], Some(31)));
        write(&disk, b"noise\n");
        let turn = target.turn(5_000_000_000).unwrap();
        assert_eq!((turn.chunks.len(), offset(&turn)), (0, Some(37)));
        // A file cut behind our back: what was read of it comes out, and the position is its new beginning.
        write(&disk, b"third\n");
        assert_eq!(target.turn(6_000_000_000).unwrap().lines, 1);
        disk.truncate(Path::new(PATH), 0).unwrap();
        target.restart(7_000_000_000);
        let turn = target.turn(7_000_000_000).unwrap();
        assert_eq!((lines(&turn), offset(&turn)), (vec!["third".to_owned()], Some(0)));
    }

    fn disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("/log")).unwrap();
        disk
    }

    #[test]
    fn whole_lines_only_and_times_ascend() {
        let disk = disk();
        write(&disk, b"one\none\r\n\nunfin");
        let mut target = target(&disk);
        let turn = target.turn(5).unwrap();
        assert_eq!(lines(&turn), ["one", "one", ""]);
        assert_eq!(entries(&turn).ts_ns(), [5, 6, 7]);
        assert!(target.turn(6).unwrap().chunks.is_empty());
        write(&disk, b"ished\n");
        let turn = target.turn(6).unwrap();
        assert_eq!(lines(&turn), ["unfinished"]);
        assert_eq!(entries(&turn).ts_ns(), [8]);
        write(&disk, b"last");
        assert_eq!(lines(&target.last_line(9).unwrap()), ["last"]);
        assert!(target.last_line(9).unwrap().chunks.is_empty());
    }

    #[test]
    fn a_clock_set_back_is_followed_and_counted() {
        let disk = disk();
        let (late_ns, early_ns) = (50_000_000_000, 10_000_000_000);
        write(&disk, b"one\n");
        let mut target = target(&disk);
        assert_eq!(entries(&target.turn(late_ns).unwrap()).ts_ns(), [late_ns]);
        write(&disk, b"two\nthree\n");
        let turn = target.turn(early_ns).unwrap();
        assert_eq!(entries(&turn).ts_ns(), [early_ns, early_ns + 1]);
        assert_eq!(turn.clock_steps, 1);
        // A little is no step: entries stay in order.
        write(&disk, b"four\n");
        let turn = target.turn(early_ns - 500_000_000).unwrap();
        assert_eq!((entries(&turn).ts_ns(), turn.clock_steps), (&[early_ns + 2][..], 0));
    }

    #[test]
    fn long_lines_are_cut_once_their_end_is_there() {
        let disk = disk();
        write(&disk, &vec![b'x'; 90 << 10]);
        let mut target = target(&disk);
        assert!(target.turn(1).unwrap().chunks.is_empty());
        write(&disk, &vec![b'x'; 90 << 10]);
        assert!(target.turn(1).unwrap().chunks.is_empty());
        write(&disk, b"\nnext\n");
        let turn = target.turn(1).unwrap();
        assert_eq!(lines(&turn)[0].len(), 100 << 10);
        assert_eq!(turn.lines_cut, 1);
        assert_eq!(lines(&target.turn(1).unwrap()), ["next"]);
    }

    #[test]
    fn fates() {
        let disk = disk();
        write(&disk, b"one\ntwo\n");
        let mut target = target(&disk);
        target.turn(1).unwrap();
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Same);
        // Copied and truncated, then grown past our offset.
        disk.truncate(Path::new(PATH), 0).unwrap();
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Truncated);
        write(&disk, b"other and longer\n");
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Truncated);
        target.restart(2);
        assert_eq!(lines(&target.turn(2).unwrap()), ["other and longer"]);
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Same);
        // Cut, and grown to the very length that was read.
        disk.truncate(Path::new(PATH), 0).unwrap();
        write(&disk, b"OTHER and longer\n");
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Truncated);
        target.restart(2);
        assert_eq!(lines(&target.turn(2).unwrap()), ["OTHER and longer"]);
        disk.rename(Path::new(PATH), Path::new("/log/a.log.1")).unwrap();
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Renamed);
        write(&disk, b"new\n");
        assert_eq!(target.fate(&disk).unwrap(), FileFate::Renamed);
    }

    #[test]
    fn binary_files_are_told_by_their_zeros() {
        let disk = disk();
        write(&disk, b"LPKSHHRH\0\0");
        let target = target(&disk);
        assert!(is_binary(&target.file, &FileForm::plain()).unwrap());
        let wide = FileForm::of(&target.file, false, encoding_of("utf-16le").unwrap()).unwrap();
        assert!(!is_binary(&target.file, &wide).unwrap());
    }

    #[test]
    fn packed_files_are_read_to_the_end_of_their_last_line() {
        let long = "x".repeat(200 << 10);
        let text = format!("one\n{long}\ntwo\nlast");
        for (name, bytes) in packed(text.as_bytes()) {
            let disk = disk();
            write(&disk, &bytes);
            let file = disk.open_file(Path::new(PATH)).unwrap();
            let form = FileForm::of(&file, true, encoding_of("").unwrap()).unwrap();
            let position = new_position(PATH, &file.meta().unwrap(), &*file).unwrap();
            let mut target =
                FileTarget::new((file, form), position, Arc::default(), 100 << 10, staging("[]"));
            let (mut read, mut end) = (Vec::new(), None);
            while target.is_unpacking() {
                let turn = target.turn(1).unwrap();
                read.extend(lines(&turn).into_iter().map(|line| line.len()));
                end = offset(&turn).or(end);
                assert_eq!(target.fate(&disk).unwrap(), FileFate::Same, "{name}");
            }
            assert_eq!((read, end), (vec![3, 100 << 10, 3, 4], Some(text.len() as u64)), "{name}");
        }
    }

    #[test]
    fn lines_of_other_encodings_become_utf8() {
        for (encoding, bytes, want, end, bad) in [
            ("utf-16le", &b"\xff\xfea\0\xe9\0\r\0\n\0b\0\n\0c\0"[..], ["a\u{e9}", "b"], 14, 0),
            ("utf-16be", b"\0a\xd8\0\0\n\0b\0\n", ["a\u{fffd}", "b"], 10, 1),
            ("latin1", b"caf\xe9\nb\n\xe9", ["caf\u{e9}", "b"], 7, 0),
            ("shift_jis", b"\x83e\x83X\nb\n", ["\u{30c6}\u{30b9}", "b"], 7, 0),
        ] {
            let disk = disk();
            write(&disk, bytes);
            let file = disk.open_file(Path::new(PATH)).unwrap();
            let form = FileForm::of(&file, false, encoding_of(encoding).unwrap()).unwrap();
            let position = new_position(PATH, &file.meta().unwrap(), &*file).unwrap();
            let mut target =
                FileTarget::new((file, form), position, Arc::default(), 100 << 10, staging("[]"));
            let turn = target.turn(1).unwrap();
            assert_eq!(
                (lines(&turn), offset(&turn)),
                (want.map(str::to_owned).to_vec(), Some(end)),
                "{encoding}"
            );
            assert_eq!(turn.lines_undecodable, bad, "{encoding}");
        }
        // A line longer than a turn, of units of two bytes.
        let disk = disk();
        write(&disk, &[&b"y\0".repeat(100 << 10)[..], b"\n\0z\0\n\0"].concat());
        let file = disk.open_file(Path::new(PATH)).unwrap();
        let form = FileForm::of(&file, false, encoding_of("utf-16le").unwrap()).unwrap();
        let position = new_position(PATH, &file.meta().unwrap(), &*file).unwrap();
        let mut target = FileTarget::new((file, form), position, Arc::default(), 100 << 10, staging("[]"));
        let first = target.turn(1).unwrap();
        assert_eq!((lines(&first)[0].len(), first.lines_cut), ((100 << 10) / 2 + 2, 1));
        assert_eq!(lines(&target.turn(2).unwrap()), ["z"]);
    }
}
