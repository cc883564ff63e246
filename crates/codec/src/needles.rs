//! Texts of which a line is to hold one, made ready to be looked for in many lines at once.

use crate::shred_trigrams::Sought;
use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt::Write as _;
use std::sync::Arc;

/// Whether letters of either case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterCase {
    /// Each byte stands for itself.
    Told,
    /// The letters from A to Z stand for those from a to z, and the other way round; other bytes for themselves.
    Folded,
}

/// Texts of which a line is to hold one. None holds a `\n`, but for a text that is the only one.
#[derive(Debug)]
pub struct Needles<'a> {
    texts: Vec<Vec<u8>>,
    case: LetterCase,
    id: SearchId,
    search: Search<'a>,
    /// The trigrams of each text.
    trigrams: Vec<Sought>,
    /// All places to cut a text in two, by the byte in front of the place.
    by_front: Cuts,
    /// The same by the byte behind it.
    by_back: Cuts,
}

#[derive(Debug)]
enum Search<'a> {
    One(Box<memmem::Finder<'a>>),
    Any(Regex),
}

/// Tells a search from all others for as long as anybody keeps it, even from one for the same texts.
#[derive(Clone, Debug)]
pub(crate) struct SearchId(Arc<()>);

impl PartialEq for SearchId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Places inside texts, by the byte on one side of them.
#[derive(Debug)]
struct Cuts {
    all: Vec<Cut>,
    /// For each byte where its places start among all; after the last byte, their end.
    starts: Box<[u32; 257]>,
}

/// A place inside a text.
#[derive(Clone, Copy, Debug)]
struct Cut {
    byte: u8,
    /// The byte beside it on the far side of the place, if the text goes on so far.
    far: Option<u8>,
    text: u32,
    at: u32,
}

impl Cuts {
    fn new(mut all: Vec<Cut>) -> Self {
        all.sort_by_key(|cut| cut.byte);
        let mut starts = Box::new([0; 257]);
        for (byte, start) in (0usize..).zip(starts.iter_mut()) {
            let before = all.partition_point(|cut| usize::from(cut.byte) < byte);
            *start = u32::try_from(before).unwrap_or(u32::MAX);
        }
        Self { all, starts }
    }

    /// Returns the places beside a byte.
    fn beside(&self, byte: u8) -> &[Cut] {
        let bound = |at: usize| self.starts.get(at).map_or(0, |&bound| bound as usize);
        let byte = usize::from(byte);
        self.all.get(bound(byte)..bound(byte + 1)).unwrap_or_default()
    }
}

impl<'a> Needles<'a> {
    /// Makes a search for one text.
    pub fn one(finder: memmem::Finder<'a>) -> Self {
        let texts = vec![finder.needle().to_vec()];
        Self::new(texts, LetterCase::Told, Search::One(Box::new(finder)))
    }
}

impl Needles<'static> {
    /// Makes a search for any of some texts; in [`LetterCase::Folded`], they may be written in either case.
    ///
    /// `None` if one of them is empty or holds a `\n`, if there are none, or if they are too large to be searched for.
    pub fn any(mut texts: Vec<Vec<u8>>, case: LetterCase) -> Option<Self> {
        if case == LetterCase::Folded {
            texts.iter_mut().for_each(|text| text.make_ascii_lowercase());
        }
        texts.sort_unstable();
        texts.dedup();
        if texts.is_empty() || texts.iter().any(|text| text.is_empty() || text.contains(&b'\n')) {
            return None;
        }
        if let ([text], LetterCase::Told) = (texts.as_slice(), case) {
            return Some(Self::one(memmem::Finder::new(text).into_owned()));
        }
        let mut pattern = String::new();
        for text in &texts {
            pattern.push_str(if pattern.is_empty() { "" } else { "|" });
            for byte in text {
                write!(pattern, "\\x{byte:02x}").ok()?;
            }
        }
        let is_folded = case == LetterCase::Folded;
        let regex = RegexBuilder::new(&pattern).unicode(false).case_insensitive(is_folded).build().ok()?;
        Some(Self::new(texts, case, Search::Any(regex)))
    }
}

impl<'a> Needles<'a> {
    fn new(texts: Vec<Vec<u8>>, case: LetterCase, search: Search<'a>) -> Self {
        let (mut by_front, mut by_back) = (Vec::new(), Vec::new());
        for (number, text) in (0u32..).zip(&texts) {
            for (at, pair) in (1u32..).zip(text.windows(2)) {
                if let [front, back] = *pair {
                    let place = at as usize;
                    let before = place.checked_sub(2).and_then(|before| text.get(before)).copied();
                    let behind = text.get(place + 1).copied();
                    by_front.push(Cut { byte: front, far: before, text: number, at });
                    by_back.push(Cut { byte: back, far: behind, text: number, at });
                }
            }
        }
        let (by_front, by_back) = (Cuts::new(by_front), Cuts::new(by_back));
        let trigrams = texts.iter().map(|text| Sought::of(text)).collect();
        Self { texts, case, id: SearchId(Arc::new(())), search, trigrams, by_front, by_back }
    }

    /// Returns the texts; in [`LetterCase::Folded`] in lower case.
    pub fn texts(&self) -> &[Vec<u8>] {
        &self.texts
    }

    /// Returns whether letters of either case are the same.
    pub fn case(&self) -> LetterCase {
        self.case
    }

    pub(crate) fn id(&self) -> &SearchId {
        &self.id
    }

    /// Returns where the first hit starts that starts at an offset of a text or behind it.
    #[inline]
    pub fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        match &self.search {
            Search::One(finder) => Some(from + finder.find(text.get(from..)?)?),
            Search::Any(regex) => regex.find_at(text, from.min(text.len())).map(|hit| hit.start()),
        }
    }

    /// Returns whether a line holds one of the texts.
    #[inline]
    pub fn are_in(&self, line: &[u8]) -> bool {
        match &self.search {
            Search::One(finder) => finder.find(line).is_some(),
            Search::Any(regex) => regex.is_match(line),
        }
    }

    /// Returns whether every line holds one.
    pub(crate) fn are_empty(&self) -> bool {
        matches!(self.texts.as_slice(), [text] if text.is_empty())
    }

    /// Returns whether a hit could run over the end of a line.
    pub(crate) fn have_line_ends(&self) -> bool {
        self.texts.iter().any(|text| text.contains(&b'\n'))
    }

    /// Returns the trigrams of each text, in their order.
    pub(crate) fn trigrams(&self) -> &[Sought] {
        &self.trigrams
    }

    /// Returns the texts cut in two where a text may end with the front, as far as its last two bytes tell.
    pub(crate) fn with_front(&self, text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let cuts = text.last().map(|&byte| self.by_front.beside(self.case.of(byte))).unwrap_or_default();
        let before = text.len().checked_sub(2).and_then(|before| text.get(before));
        let before = before.map(|&byte| self.case.of(byte));
        let fits = move |cut: &&Cut| cut.far.is_none() || cut.far == before;
        cuts.iter().filter(fits).filter_map(|cut| self.halves(cut))
    }

    /// Returns the texts cut in two where a text may start with the back, or the back with a text that is shorter, as far
    /// as its first two bytes tell.
    pub(crate) fn with_back(&self, text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let cuts = text.first().map(|&byte| self.by_back.beside(self.case.of(byte))).unwrap_or_default();
        let behind = text.get(1).map(|&byte| self.case.of(byte));
        let fits = move |cut: &&Cut| cut.far.is_none() || behind.is_none() || cut.far == behind;
        cuts.iter().filter(fits).filter_map(|cut| self.halves(cut))
    }

    /// Returns the texts cut in two anywhere.
    pub(crate) fn everywhere(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.by_front.all.iter().filter_map(|cut| self.halves(cut))
    }

    fn halves(&self, cut: &Cut) -> Option<(&[u8], &[u8])> {
        self.texts.get(cut.text as usize)?.split_at_checked(cut.at as usize)
    }
}

impl LetterCase {
    /// Returns the byte that stands for this one in texts to look for.
    #[inline]
    pub(crate) fn of(self, byte: u8) -> u8 {
        match self {
            Self::Told => byte,
            Self::Folded => byte.to_ascii_lowercase(),
        }
    }

    /// Returns whether two texts are the same.
    #[inline]
    pub(crate) fn eq(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Told => a == b,
            Self::Folded => a.eq_ignore_ascii_case(b),
        }
    }

    /// Returns whether a text starts with another.
    #[inline]
    pub(crate) fn starts(self, text: &[u8], with: &[u8]) -> bool {
        text.get(..with.len()).is_some_and(|front| self.eq(front, with))
    }

    /// Returns whether a text ends with another.
    #[inline]
    pub(crate) fn ends(self, text: &[u8], with: &[u8]) -> bool {
        let from = text.len().checked_sub(with.len());
        from.and_then(|from| text.get(from..)).is_some_and(|back| self.eq(back, with))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(texts: &[&str], case: LetterCase) -> Option<Needles<'static>> {
        Needles::any(texts.iter().map(|text| text.as_bytes().to_vec()).collect(), case)
    }

    #[test]
    fn one_of_some_texts_is_found() {
        let needles = any(&["b.c", "abd", "é"], LetterCase::Told).unwrap();
        for (text, expect) in
            [("xb.c", Some(1)), ("bxc abd", Some(4)), ("ABD", None), ("É é", Some(3)), ("", None)]
        {
            assert_eq!(needles.find(text.as_bytes(), 0), expect, "{text}");
            assert_eq!(needles.are_in(text.as_bytes()), expect.is_some());
        }
        assert_eq!(needles.find(b"abd abd", 1), Some(4));
        assert_eq!(needles.find(b"abd", 4), None);
        let folded = any(&["Abd", "É1", "k"], LetterCase::Folded).unwrap();
        for (text, expect) in
            [("x ABD", Some(2)), ("É1", Some(0)), ("é1", None), ("K", Some(0)), ("\u{212a}", None)]
        {
            assert_eq!(folded.find(text.as_bytes(), 0), expect, "{text}");
        }
        assert_eq!(folded.texts().first().map(Vec::as_slice), Some(&b"abd"[..]));
        assert_eq!(any(&["a", "a"], LetterCase::Told).unwrap().texts().len(), 1);
        for none in [&["a", ""][..], &["a\n"], &[]] {
            assert!(any(none, LetterCase::Told).is_none(), "{none:?}");
        }
    }

    #[test]
    fn texts_are_cut_beside_a_byte() {
        let needles = any(&["aba", "xb"], LetterCase::Folded).unwrap();
        let cuts = |cuts: Vec<(&[u8], &[u8])>| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            cuts.iter().map(|(front, back)| format!("{}|{}", text(front), text(back))).collect::<Vec<_>>()
        };
        assert_eq!(cuts(needles.with_front(b"xA").collect()), ["a|ba"]);
        assert_eq!(cuts(needles.with_front(b"aB").collect()), ["ab|a"]);
        assert!(needles.with_front(b"cB").next().is_none());
        assert!(needles.with_front(b"b").next().is_none());
        assert_eq!(cuts(needles.with_back(b"b").collect()), ["a|ba", "x|b"]);
        assert_eq!(cuts(needles.with_back(b"bc").collect()), ["x|b"]);
        assert_eq!(cuts(needles.with_back(b"BAc").collect()), ["a|ba", "x|b"]);
        assert_eq!(cuts(needles.with_back(b"a.").collect()), ["ab|a"]);
        assert!(needles.with_front(b"y").next().is_none());
        assert!(needles.with_front(b"").next().is_none());
        assert_eq!(needles.everywhere().count(), 3);
    }
}
