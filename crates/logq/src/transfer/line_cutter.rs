//! Cuts bytes into lines, of bounded length however they come.

/// Cuts bytes into lines without their line ends.
#[derive(Debug)]
pub(crate) struct LineCutter {
    held: Vec<u8>,
    /// Whether a line has begun, though perhaps nothing of it is held.
    is_open: bool,
    bytes_max: usize,
}

impl LineCutter {
    /// Keeps one byte more of a line than `bytes_max`, so that whoever takes it sees that it is too long.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { held: Vec::new(), is_open: false, bytes_max }
    }

    /// Hands over the lines that end within `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8], visit: &mut dyn FnMut(&[u8])) {
        let pieces = bytes.split_inclusive(|byte| *byte == b'\n');
        for piece in pieces {
            let Some(end) = piece.strip_suffix(b"\n") else {
                self.hold(piece);
                return;
            };
            if self.held.is_empty() && end.len() <= self.bytes_max {
                visit(end);
            } else {
                self.hold(end);
                visit(&self.held);
                self.held.clear();
            }
            self.is_open = false;
        }
    }

    /// Returns what stands behind the last line end, if anything does.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.is_open).then(|| std::mem::take(&mut self.held))
    }

    fn hold(&mut self, piece: &[u8]) {
        self.is_open = true;
        let room = (self.bytes_max + 1).saturating_sub(self.held.len());
        self.held.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]], bytes_max: usize) -> Vec<String> {
        let mut cutter = LineCutter::new(bytes_max);
        let mut lines = Vec::new();
        let mut keep = |line: &[u8]| lines.push(String::from_utf8(line.to_vec()).unwrap());
        pieces.iter().for_each(|piece| cutter.feed(piece, &mut keep));
        lines.extend(cutter.finish().map(|line| String::from_utf8(line).unwrap()));
        lines
    }

    #[test]
    fn however_the_bytes_are_divided() {
        let text = b"one\n\ntwo and a half\nend";
        let want = ["one", "", "two and a half", "end"];
        for at in 0..=text.len() {
            let (front, back) = text.split_at(at);
            assert_eq!(cut(&[front, back], 100), want, "{at}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(cut(&single, 100), want);
        assert_eq!(cut(&[b"a\n", b"b\n"], 100), ["a", "b"]);
    }

    #[test]
    fn long_lines_are_held_up_to_a_byte_too_many() {
        assert_eq!(cut(&[b"abcdefgh\nij\nklmnopq"], 3), ["abcd", "ij", "klmn"]);
        assert_eq!(cut(&[b"ab", b"cd", b"ef\nx\n"], 3), ["abcd", "x"]);
    }
}
