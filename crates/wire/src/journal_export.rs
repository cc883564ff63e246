//! Entries of systemd's journal in its export form, as `journalctl -o export` writes it.
//!
//! Fields are lines `NAME=value`, or, where the value holds line ends or is no text, the name alone, its length in 8
//! bytes, and its bytes; an empty line ends an entry. Source: "Journal Export Format" of systemd. A field longer than the
//! bound is cut; more fields than [`FIELDS_MAX`] and what they hold are passed over.

/// Most fields that are kept of an entry.
const FIELDS_MAX: usize = 256;
/// Longest name of a field; the journal allows 64 bytes.
const NAME_BYTES_MAX: usize = 256;
/// Most bytes that are kept of an entry's fields besides its message.
const FIELDS_BYTES_MAX: usize = 256 << 10;

/// Names of priorities, by number, as Promtail has them.
const PRIORITIES: [&str; 8] = ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];
/// Fields that become structured metadata, and under which names.
const METADATA: [(&str, &str); 8] = [
    ("_PID", "pid"),
    ("_UID", "uid"),
    ("SYSLOG_IDENTIFIER", "identifier"),
    ("_SYSTEMD_USER_UNIT", "user_unit"),
    ("_SYSTEMD_UNIT", "systemd_unit"),
    ("CONTAINER_ID", "container_id"),
    ("MESSAGE_ID", "message_id"),
    ("_BOOT_ID", "boot_id"),
];

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEntry {
    /// Names and values, in the order of the journal; a name may come twice.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Bytes of the message that were cut.
    pub cut_bytes: usize,
    bytes: usize,
}

impl JournalEntry {
    /// Returns the first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// Returns a value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Returns when the journal took it, in ns since the Unix epoch.
    pub fn ts_ns(&self) -> Option<i64> {
        let micros: i64 = self.text("__REALTIME_TIMESTAMP")?.parse().ok()?;
        micros.checked_mul(1_000)
    }

    /// Returns the labels that entries of a journal have: `host`, `container`, and `unit` or `app`.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        // Scopes are made for each session: the program in them says more, and makes fewer streams.
        let unit = self.text("_SYSTEMD_UNIT").filter(|unit| !unit.ends_with(".scope"));
        let of_unit = match (unit, self.text("SYSLOG_IDENTIFIER")) {
            (Some(unit), _) => Some(("unit", unit)),
            (None, program) => program.map(|program| ("app", program)),
        };
        let host = self.text("_HOSTNAME").map(|host| ("host", host));
        let container = self.text("CONTAINER_NAME").map(|container| ("container", container));
        [host, container, of_unit].into_iter().flatten().filter(|(_, value)| !value.is_empty())
    }

    /// Returns the structured metadata that entries of a journal have; the level is in `severity`.
    pub fn metadata(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = METADATA.iter().filter_map(|(name, own)| Some((*own, self.text(name)?)));
        let severity = self.priority().map(|priority| ("severity", priority));
        fields.chain(severity).filter(|(_, value)| !value.is_empty())
    }

    /// Returns the name of its priority.
    pub fn priority(&self) -> Option<&'static str> {
        let number: usize = self.text("PRIORITY")?.parse().ok()?;
        PRIORITIES.get(number).copied()
    }
}

#[derive(Clone, Debug)]
enum State {
    /// Within a line: name and value, or a name.
    Line { held: Vec<u8>, beyond: usize },
    /// Within the length of a binary value.
    Length { name: Vec<u8>, bytes: [u8; 8], count: usize },
    /// Within a binary value.
    Value { name: Vec<u8>, held: Vec<u8>, left: u64, beyond: usize },
    /// At the line end behind it.
    End,
}

/// Cuts the output of `journalctl -o export` into entries, however it is divided.
#[derive(Debug)]
pub struct JournalExport {
    state: State,
    entry: JournalEntry,
    line_bytes_max: usize,
}

impl JournalExport {
    /// Starts in front of an entry; messages longer than `line_bytes_max` are cut.
    pub fn new(line_bytes_max: usize) -> Self {
        let state = State::Line { held: Vec::new(), beyond: 0 };
        Self { state, entry: JournalEntry::default(), line_bytes_max }
    }

    /// Takes the next bytes and hands over the entries that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], visit: &mut dyn FnMut(JournalEntry)) {
        while !bytes.is_empty() {
            // One that is cut is kept up to here: name, sign and message.
            let room = self.line_bytes_max + NAME_BYTES_MAX;
            match &mut self.state {
                State::Line { held, beyond } => {
                    let end = memchr::memchr(b'\n', bytes);
                    let (own, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    *beyond += hold(held, own, room);
                    bytes = rest.get(1..).unwrap_or_default();
                    if end.is_some() {
                        let (line, beyond) = (std::mem::take(held), std::mem::take(beyond));
                        self.line(line, beyond, visit);
                    }
                }
                State::Length { name, bytes: length, count } => {
                    if let (Some(slot), Some((first, rest))) = (length.get_mut(*count), bytes.split_first()) {
                        *slot = *first;
                        *count += 1;
                        bytes = rest;
                    }
                    if *count == length.len() {
                        let left = u64::from_le_bytes(*length);
                        let name = std::mem::take(name);
                        self.state = State::Value { name, held: Vec::new(), left, beyond: 0 };
                        self.end_of_value();
                    }
                }
                State::Value { held, left, beyond, .. } => {
                    let there = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (own, rest) = bytes.split_at(there);
                    *beyond += hold(held, own, room);
                    *left -= own.len() as u64;
                    bytes = rest;
                    self.end_of_value();
                }
                State::End => {
                    bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
                    self.state = State::Line { held: Vec::new(), beyond: 0 };
                }
            }
        }
    }

    /// Settles a binary value that has come whole.
    fn end_of_value(&mut self) {
        if let State::Value { name, held, left: 0, beyond } = &mut self.state {
            let (name, held, beyond) = (std::mem::take(name), std::mem::take(held), *beyond);
            self.state = State::End;
            self.field(name, held, beyond);
        }
    }

    fn line(&mut self, mut line: Vec<u8>, beyond: usize, visit: &mut dyn FnMut(JournalEntry)) {
        if line.is_empty() {
            let entry = std::mem::take(&mut self.entry);
            if !entry.fields.is_empty() {
                visit(entry);
            }
            return;
        }
        match memchr::memchr(b'=', &line) {
            Some(sign) => {
                let value = line.split_off(sign + 1);
                line.pop();
                self.field(line, value, beyond);
            }
            None => self.state = State::Length { name: line, bytes: [0; 8], count: 0 },
        }
    }

    fn field(&mut self, name: Vec<u8>, mut value: Vec<u8>, beyond: usize) {
        let is_message = name == b"MESSAGE";
        let Ok(name) = String::from_utf8(name) else { return };
        if is_message && self.entry.get("MESSAGE").is_none() {
            self.entry.cut_bytes = beyond + value.len().saturating_sub(self.line_bytes_max);
            value.truncate(self.line_bytes_max);
        } else {
            let has_room = self.entry.bytes + value.len() <= FIELDS_BYTES_MAX;
            if !has_room || self.entry.fields.len() >= FIELDS_MAX || name.len() > NAME_BYTES_MAX {
                return;
            }
            self.entry.bytes += value.len();
        }
        self.entry.fields.push((name, value));
    }
}

/// Adds bytes up to a bound; returns how many were left out.
fn hold(held: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) -> usize {
    let room = bytes_max.saturating_sub(held.len());
    let kept = bytes.get(..room).unwrap_or(bytes);
    held.extend_from_slice(kept);
    bytes.len() - kept.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two entries as journalctl 252 wrote them, shortened: the message of the second holds a line end.
    const RECORDED: &[u8] = b"__CURSOR=s=739ad463;i=4ece7;b=6c7c\n__REALTIME_TIMESTAMP=1423944916375353\n\
        __MONOTONIC_TIMESTAMP=104\nPRIORITY=6\n_SYSTEMD_UNIT=ssh.service\n_HOSTNAME=nas\nMESSAGE=Accepted publickey\n\
        \n__CURSOR=s=739ad463;i=4ece8;b=6c7c\n__REALTIME_TIMESTAMP=1423944916372858\nMESSAGE\n\x07\0\0\0\0\0\0\0foo\nbar\n\
        CODE_FUNC=manager_reload\n\n";

    fn read(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<JournalEntry> {
        let mut export = JournalExport::new(line_bytes_max);
        let mut found = Vec::new();
        pieces.iter().for_each(|piece| export.feed(piece, &mut |entry| found.push(entry)));
        found
    }

    #[test]
    fn recorded_entries_however_they_are_divided() {
        let found = read(&[RECORDED], 100);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].text("_SYSTEMD_UNIT"), found[0].ts_ns()),
            (Some("ssh.service"), Some(1_423_944_916_375_353_000))
        );
        assert_eq!(found[0].text("__CURSOR"), Some("s=739ad463;i=4ece7;b=6c7c"));
        assert_eq!(
            (found[1].text("MESSAGE"), found[1].text("CODE_FUNC")),
            (Some("foo\nbar"), Some("manager_reload"))
        );
        let pairs = |pairs: &mut dyn Iterator<Item = (&'static str, &str)>| {
            pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(pairs(&mut found[0].labels()), "host=nas unit=ssh.service");
        assert_eq!(pairs(&mut found[0].metadata()), "systemd_unit=ssh.service severity=info");
        assert_eq!(pairs(&mut found[1].labels()), "");
        for at in 0..RECORDED.len() {
            let (front, back) = RECORDED.split_at(at);
            assert_eq!(read(&[front, back], 100), found, "divided at {at}");
        }
        let single: Vec<&[u8]> = RECORDED.chunks(1).collect();
        assert_eq!(read(&single, 100), found);
    }

    #[test]
    fn long_messages_are_cut() {
        let found = read(&[RECORDED], 3);
        assert_eq!(
            found.iter().map(|entry| (entry.text("MESSAGE").unwrap(), entry.cut_bytes)).collect::<Vec<_>>(),
            [("Acc", 15), ("foo", 4)]
        );
        let long = [&b"MESSAGE\n"[..], &1_000_u64.to_le_bytes(), &[b'x'; 1_000], b"\nA=b\n\n"].concat();
        let found = read(&[&long], 3);
        assert_eq!(
            (found[0].text("MESSAGE"), found[0].cut_bytes, found[0].text("A")),
            (Some("xxx"), 997, Some("b"))
        );
        // A length that is a lie waits for its bytes, without memory for them.
        assert_eq!(read(&[b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffabc\n\n"], 3), []);
    }
}
