//! Go's dialect once more, read and matched in the plainest way: a check on the translation.
//!
//! A backtracking matcher over characters, leftmost-first, that shares no code with the translation;
//! it knows the constructs that the patterns of `differential` are made of. Letters fold within
//! [`ALPHABET`], which holds whole sets of letters that fold into each other.

/// All characters of patterns and texts.
pub(super) const ALPHABET: [char; 22] = [
    'a', 'A', 'b', 'B', 'k', 'K', '\u{212a}', 's', 'S', 'ſ', 'é', 'É', 'α', 'Α', '0', '7', '_', '-', ' ',
    '\n', '{', '\u{b}',
];

/// Steps after which a match is given up.
const STEPS_MAX: usize = 20_000;

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_all: bool,
    lazy: bool,
}

/// A set of characters, and whether it is all others.
type Set = (Vec<(char, char)>, bool);

enum Node {
    Set(Set),
    Begin { lines: bool },
    End { lines: bool },
    Word(bool),
    Group(Vec<Vec<Node>>),
    Repeat { inner: Box<Node>, min: usize, max: usize, lazy: bool },
}

/// A pattern, ready to match.
pub(super) struct Interpreter {
    root: Node,
}

impl Interpreter {
    /// Reads a pattern; `None` if Go refuses it.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let mut reader = Reader { chars: pattern.chars().collect(), at: 0, flags: Flags::default() };
        let root = reader.alternatives()?;
        (reader.at == reader.chars.len()).then_some(Self { root })
    }

    /// Returns bytes of the leftmost match; the outer `None` if it takes too long.
    pub(super) fn find(&self, text: &str) -> Option<Option<(usize, usize)>> {
        let chars: Vec<char> = text.chars().collect();
        let bytes = |count: usize| chars.iter().take(count).map(|c| c.len_utf8()).sum();
        let mut matcher = Matcher { text: &chars, steps: 0 };
        for start in 0..=chars.len() {
            let end = matcher.node(&self.root, start, &mut |_, end| Some(end));
            if matcher.steps > STEPS_MAX {
                return None;
            }
            if let Some(end) = end {
                return Some(Some((bytes(start), bytes(end))));
            }
        }
        Some(None)
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    flags: Flags,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.peek(0) == Some(c);
        self.at += usize::from(found);
        found
    }

    /// Reads up to the end of the group; flags that it sets end with it.
    fn alternatives(&mut self) -> Option<Node> {
        let flags = self.flags;
        let mut all = vec![Vec::new()];
        let mut repeated = false;
        while let Some(c) = self.peek(0) {
            let before = std::mem::take(&mut repeated);
            let row = all.last_mut()?;
            match c {
                ')' => break,
                '|' => {
                    self.at += 1;
                    all.push(Vec::new());
                }
                '*' | '+' | '?' => {
                    self.at += 1;
                    let (min, max) = match c {
                        '*' => (0, usize::MAX),
                        '+' => (1, usize::MAX),
                        _ => (0, 1),
                    };
                    self.repeat(row, min, max, before)?;
                    repeated = true;
                }
                '{' => match self.counts() {
                    Some((min, max, length)) => {
                        self.at += length;
                        (min <= 1000 && (max <= 1000 || max == usize::MAX) && min <= max).then_some(())?;
                        self.repeat(row, min, max, before)?;
                        repeated = true;
                    }
                    None => {
                        self.at += 1;
                        row.push(self.one('{'));
                    }
                },
                '(' => {
                    self.at += 1;
                    if let Some(group) = self.group()? {
                        row.push(group);
                    }
                }
                _ => {
                    let atom = self.atom()?;
                    row.extend(atom);
                }
            }
        }
        self.flags = flags;
        Some(Node::Group(all))
    }

    fn repeat(&mut self, row: &mut Vec<Node>, min: usize, max: usize, before: bool) -> Option<()> {
        let lazy = self.accept('?') != self.flags.lazy;
        if before {
            return None;
        }
        let inner = Box::new(row.pop()?);
        row.push(Node::Repeat { inner, min, max, lazy });
        Some(())
    }

    /// Returns the numbers between braces and the length of it all.
    fn counts(&self) -> Option<(usize, usize, usize)> {
        let rest: String = self.chars.get(self.at + 1..)?.iter().collect();
        let (inside, _) = rest.split_once('}')?;
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let padded = text.len() > 1 && text.starts_with('0');
            (plain && !padded).then(|| text.parse::<usize>().unwrap_or(1001))
        };
        let (min, max) = match inside.split_once(',') {
            None => (number(inside)?, number(inside)?),
            Some((min, "")) => (number(min)?, usize::MAX),
            Some((min, max)) => (number(min)?, number(max)?),
        };
        Some((min, max, inside.chars().count() + 2))
    }

    /// Reads behind a parenthesis; flags alone are no group.
    fn group(&mut self) -> Option<Option<Node>> {
        let outer = self.flags;
        if self.accept('?') {
            if self.accept('P') {
                (self.peek(0) == Some('<')).then_some(())?;
            }
            if self.accept('<') {
                let start = self.at;
                while !self.accept('>') {
                    let c = self.peek(0)?;
                    (c.is_ascii_alphanumeric() || c == '_').then_some(())?;
                    self.at += 1;
                }
                (self.at > start + 1).then_some(())?;
            } else if !self.set_flags()? {
                return Some(None);
            }
        }
        let inner = self.alternatives()?;
        self.flags = outer;
        self.accept(')').then_some(Some(inner))
    }

    /// Reads `i-s:` or `i-s)`; returns whether a group follows.
    fn set_flags(&mut self) -> Option<bool> {
        let (mut set, mut any) = (true, true);
        loop {
            let c = self.peek(0)?;
            self.at += 1;
            match c {
                'i' => self.flags.fold = set,
                'm' => self.flags.lines = set,
                's' => self.flags.dot_all = set,
                'U' => self.flags.lazy = set,
                '-' if set => set = false,
                ':' if any => return Some(true),
                ')' if any => return Some(false),
                _ => return None,
            }
            any = c != '-';
        }
    }

    fn one(&self, c: char) -> Node {
        self.set(vec![(c, c)], false)
    }

    fn set(&self, ranges: Vec<(char, char)>, negated: bool) -> Node {
        Node::Set((self.folded(ranges), negated))
    }

    fn folded(&self, mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
        if self.flags.fold {
            let within = |c: char| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
            let folded: Vec<char> = ALPHABET.into_iter().filter(|c| within(*c)).map(fold).collect();
            ranges.extend(ALPHABET.into_iter().filter(|c| folded.contains(&fold(*c))).map(|c| (c, c)));
        }
        ranges
    }

    fn atom(&mut self) -> Option<Vec<Node>> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(vec![match c {
            '.' if self.flags.dot_all => Node::Set((Vec::new(), true)),
            '.' => Node::Set((vec![('\n', '\n')], true)),
            '^' => Node::Begin { lines: self.flags.lines },
            '$' => Node::End { lines: self.flags.lines },
            '[' => self.class()?,
            '\\' => match self.peek(0)? {
                'A' => self.passed(Node::Begin { lines: false }),
                'z' => self.passed(Node::End { lines: false }),
                'b' => self.passed(Node::Word(true)),
                'B' => self.passed(Node::Word(false)),
                'Q' => {
                    self.at += 1;
                    let mut row = Vec::new();
                    while let Some(c) = self.peek(0) {
                        if c == '\\' && self.peek(1) == Some('E') {
                            self.at += 2;
                            break;
                        }
                        self.at += 1;
                        row.push(self.one(c));
                    }
                    return Some(row);
                }
                _ => match self.class_escape() {
                    Some((ranges, negated)) => self.set(ranges, negated),
                    None => {
                        let c = self.escape()?;
                        self.one(c)
                    }
                },
            },
            c => self.one(c),
        }])
    }

    fn passed(&mut self, node: Node) -> Node {
        self.at += 1;
        node
    }

    /// Reads the letter of `\d` and its kin.
    fn class_escape(&mut self) -> Option<Set> {
        let c = self.peek(0)?;
        let ranges = match c.to_ascii_lowercase() {
            'd' => vec![('0', '9')],
            'w' => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
            's' => vec![('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
            'p' if self.peek(1) == Some('L') => {
                self.at += 1;
                ALPHABET.into_iter().filter(|c| c.is_alphabetic()).map(|c| (c, c)).collect()
            }
            _ => return None,
        };
        self.at += 1;
        Some((ranges, c.is_ascii_uppercase()))
    }

    /// Reads behind a backslash what stands for one character.
    fn escape(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        match c {
            'n' => Some('\n'),
            'v' => Some('\u{b}'),
            'x' => {
                let digits: String = self.chars.get(self.at..self.at + 2)?.iter().collect();
                self.at += 2;
                char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
            }
            c => (c.is_ascii() && !c.is_ascii_alphanumeric()).then_some(c),
        }
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.accept('^');
        let (mut ranges, mut first) = (Vec::new(), true);
        while first || self.peek(0)? != ']' {
            first = false;
            if self.peek(0)? == '[' && self.peek(1) == Some(':') {
                let rest: String = self.chars.get(self.at..)?.iter().collect();
                if let Some((name, _)) = rest.split_once(":]") {
                    ranges.extend(match name {
                        "[:alpha" => self.folded(vec![('A', 'Z'), ('a', 'z')]),
                        "[:^digit" => vec![('\0', '/'), (':', char::MAX)],
                        _ => return None,
                    });
                    self.at += name.chars().count() + 2;
                    continue;
                }
            }
            if self.peek(0) == Some('\\') {
                self.at += 1;
                if let Some((inner, others)) = self.class_escape() {
                    // Letters fold before the set is turned round.
                    let inner = self.folded(inner);
                    ranges.extend(if others { complement(inner) } else { inner });
                    continue;
                }
                self.at -= 1;
            }
            let low = self.class_char()?;
            let is_range = self.peek(0) == Some('-') && self.peek(1).is_some_and(|c| c != ']');
            self.at += usize::from(is_range);
            let high = if is_range { self.class_char()? } else { low };
            (low <= high).then_some(())?;
            ranges.extend(self.folded(vec![(low, high)]));
        }
        self.at += 1;
        Some(Node::Set((ranges, negated)))
    }

    fn class_char(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        if c == '\\' { self.escape() } else { Some(c) }
    }
}

fn fold(c: char) -> char {
    let upper = c.to_uppercase().next().unwrap_or(c);
    upper.to_lowercase().next().unwrap_or(upper)
}

fn complement(ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    let within = |c: char| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
    ALPHABET.into_iter().filter(|c| !within(*c)).map(|c| (c, c)).collect()
}

struct Matcher<'t> {
    text: &'t [char],
    steps: usize,
}

/// What has to match behind a node; gives the end of the match.
type Then<'c, 't> = &'c mut dyn FnMut(&mut Matcher<'t>, usize) -> Option<usize>;

impl<'t> Matcher<'t> {
    fn node(&mut self, node: &Node, at: usize, then: Then<'_, 't>) -> Option<usize> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let before = at.checked_sub(1).and_then(|at| self.text.get(at)).copied();
        let next = self.text.get(at).copied();
        let holds = match node {
            Node::Set((ranges, negated)) => {
                let c = next?;
                let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                return if within != *negated { then(self, at + 1) } else { None };
            }
            Node::Begin { lines } => before.is_none() || *lines && before == Some('\n'),
            Node::End { lines } => next.is_none() || *lines && next == Some('\n'),
            Node::Word(wanted) => {
                let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
                (is_word(before) != is_word(next)) == *wanted
            }
            Node::Group(rows) => return rows.iter().find_map(|row| self.row(row, at, then)),
            Node::Repeat { inner, min, max, lazy } => {
                return self.repeat(inner, (*min, *max, *lazy), at, then);
            }
        };
        if holds { then(self, at) } else { None }
    }

    fn row(&mut self, row: &[Node], at: usize, then: Then<'_, 't>) -> Option<usize> {
        match row.split_first() {
            None => then(self, at),
            Some((first, rest)) => self.node(first, at, &mut |matcher, at| matcher.row(rest, at, &mut *then)),
        }
    }

    fn repeat(
        &mut self,
        inner: &Node,
        (min, max, lazy): (usize, usize, bool),
        at: usize,
        then: Then<'_, 't>,
    ) -> Option<usize> {
        if max == usize::MAX && min == 1 {
            // A first round that takes nothing is the only one.
            return self.node(inner, at, &mut |matcher, end| {
                if end == at { then(matcher, end) } else { matcher.round(inner, lazy, end, &mut *then) }
            });
        }
        if max == 0 || lazy && min == 0 {
            let end = then(self, at);
            if max == 0 || end.is_some() {
                return end;
            }
        }
        let more = match (min, max) {
            (0, usize::MAX) => self.repeat(inner, (1, max, lazy), at, then),
            _ => {
                let left = (min.saturating_sub(1), if max == usize::MAX { max } else { max - 1 }, lazy);
                self.node(inner, at, &mut |matcher, end| matcher.repeat(inner, left, end, &mut *then))
            }
        };
        if more.is_some() || min > 0 || lazy { more } else { then(self, at) }
    }

    /// A further round of a repetition without end; one that takes nothing leads nowhere.
    fn round(&mut self, inner: &Node, lazy: bool, at: usize, then: Then<'_, 't>) -> Option<usize> {
        if lazy && let Some(end) = then(self, at) {
            return Some(end);
        }
        let more = self.node(inner, at, &mut |matcher, end| {
            if end == at { None } else { matcher.round(inner, lazy, end, &mut *then) }
        });
        if more.is_some() || lazy { more } else { then(self, at) }
    }
}
