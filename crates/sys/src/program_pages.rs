//! The pages of the program's own file that are mapped into its memory, and how to be rid of those it does not use.
//!
//! A start runs code that nothing runs afterwards: the command line, the settings. The system maps what ran, with 64 KiB
//! around each function, and leaves it mapped while memory is plenty. Letting go takes the pages out of the process, and
//! nothing else: they stay in the system's cache, from where those that are used come back, at about a microsecond for 64 KiB.
//!
//! Rejected: `MADV_RANDOM`, which does not narrow what is mapped around a function (Linux 6.18), and `MADV_PAGEOUT`, which has
//! what is used read from the disk again.

#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

use std::io::{self, Read as _};
use std::ops::Range;

/// Most bytes of the system's list of mappings that are read; a process that starts has some 60, of 700 bytes each.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// Where a process is told of its mappings, each with the pages that are its own.
const LIST: &str = "/proc/self/smaps";

/// What is told of a mapping's pages that are not, or not any more, those of its file.
const OWN_PAGES: [&str; 2] = ["Anonymous", "Swap"];

/// The parts of this process's memory that are as they are in the files of the program and its libraries: code and constants.
#[derive(Debug)]
pub struct ProgramPages {
    ranges: Vec<Range<usize>>,
}

impl ProgramPages {
    /// Finds the parts. To be called at the start: what is loaded by then is never unloaded.
    ///
    /// Errors: where the system does not tell.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is no file of the disk: the system tells of this process"
    )]
    pub fn at_start() -> io::Result<Self> {
        let mut list = String::new();
        std::fs::File::open(LIST)?.take(LIST_BYTES_MAX).read_to_string(&mut list)?;
        Ok(Self { ranges: unchanged(&list) })
    }

    /// Lets go of all pages of these parts; those that are used come back by themselves.
    ///
    /// Errors: where the system does not know how; nothing has changed then.
    /// Cost: one call for each part, no reading and no writing; then a fault for each 64 KiB that are used again, some hundred
    /// of them in a process at rest.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "the system takes addresses; why they are sound stands below")]
    pub fn let_go(&self) -> io::Result<()> {
        use rustix::mm::{Advice, madvise};
        for range in &self.ranges {
            let begin = std::ptr::without_provenance_mut(range.start);
            // SAFETY: the range is a mapping of a file of the program, or of a library that was loaded with it. Those are never
            // unmapped, so it is still that. It was never writable, holds no page that differs from the file and is relocated
            // by now, so each page is read from the file again as it was: no byte that anybody can see changes.
            unsafe { madvise(begin, range.len(), Advice::LinuxDontNeed) }?;
        }
        Ok(())
    }

    /// Tells that this system does not know how.
    #[cfg(not(target_os = "linux"))]
    pub fn let_go(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "pages cannot be let go of here"))
    }
}

/// Picks the mappings of files that nobody can write to and that hold nothing but what is in the file. What was relocated at the
/// start, and made unwritable after, is not among them: its pages are the process's own, in memory or swapped out.
fn unchanged(list: &str) -> Vec<Range<usize>> {
    let (mut found, mut candidate, mut told) = (Vec::new(), None, 0);
    for line in list.lines() {
        if let Some(range) = mapping(line) {
            (candidate, told) = (range, 0);
            continue;
        }
        let Some((name, size)) = line.split_once(':') else { continue };
        if !OWN_PAGES.contains(&name) {
            continue;
        }
        told += 1;
        if size.trim() != "0 kB" {
            candidate = None;
        }
        // Where one of them is missing nothing is known, so nothing is taken.
        if told == OWN_PAGES.len() {
            found.extend(candidate.take());
        }
    }
    found
}

/// Reads the line with which a mapping begins, as in `55d0-55f0 r-xp 00000000 08:02 173521 /usr/bin/logyard`. Returns `None` for
/// other lines, and nothing within for mappings that can be written to or are of no file.
fn mapping(line: &str) -> Option<Option<Range<usize>>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let rights = fields.next()?;
    let path = fields.nth(3).unwrap_or_default();
    let is_of_file = path.starts_with('/') && matches!(rights, "r--p" | "r-xp") && start < end;
    Some(is_of_file.then_some(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPINGS: &str = "\
55d0000-55d2000 r--p 00000000 fe:00 1 /usr/bin/logyard
Size:                  8 kB
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
SwapPss:               0 kB
VmFlags: rd mr mw me
55d2000-55d6000 r-xp 00002000 fe:00 1 /usr/bin/logyard
Anonymous:             0 kB
Swap:                  0 kB
55d6000-55d7000 r--p 00006000 fe:00 1 /usr/bin/logyard
Anonymous:             4 kB
Swap:                  0 kB
55d7000-55d8000 r--p 00007000 fe:00 1 /usr/bin/logyard
Anonymous:             0 kB
Swap:                  4 kB
55d8000-55d9000 rw-p 00007000 fe:00 1 /usr/bin/logyard
Anonymous:             0 kB
Swap:                  0 kB
56000000-56010000 rw-p 00000000 00:00 0 [heap]
Anonymous:            20 kB
Swap:                  0 kB
7f0000-7f1000 r--s 00000000 fe:00 9 /shared
Anonymous:             0 kB
Swap:                  0 kB
7f1000-7f2000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
Swap:                  0 kB
7f2000-7f4000 r--p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
7f4000-7f8000 r-xp 00001000 fe:00 2 /usr/lib/libc with a space.so (deleted)
Anonymous:             0 kB
Swap:                  0 kB
7f8000-7f9000 r-xp 00001000 fe:00 2 /usr/lib/old
Anonymous:             0 kB
";

    #[test]
    fn only_what_is_as_in_its_file_is_taken() {
        assert_eq!(
            unchanged(MAPPINGS),
            [0x55d_0000..0x55d_2000, 0x55d_2000..0x55d_6000, 0x7f_4000..0x7f_8000]
        );
        assert_eq!(unchanged(""), []);
        assert_eq!(unchanged("2-1 r-xp 0 0 0 /a\nAnonymous: 0 kB\nSwap: 0 kB\n"), []);
    }
}
