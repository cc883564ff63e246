//! Variables in a `promtail.yaml`, as its flag `-config.expand-env` replaces them, before YAML is read.
//!
//! The forms are those of a shell: `${VAR}`, `${VAR:-default}`, `${VAR/a/b}`, `${#VAR}` and their like. An unset
//! variable is empty. Two backslashes become one, as in Promtail.

/// Replaces variables. `lookup` says what a variable holds.
///
/// Errors: a form that is not closed.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = found.strip_prefix("\\\\") {
            out.push('\\');
            rest = after;
        } else if let Some(after) = found.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = found.strip_prefix("${") {
            let end = closing(after).ok_or_else(|| {
                let line = text.len() - found.len();
                let line = text.bytes().take(line).filter(|byte| *byte == b'\n').count() + 1;
                format!("line {line}: a ${{ without its }}; write $$ for a dollar sign")
            })?;
            let (inner, behind) = after.split_at(end);
            out.push_str(&value(inner, lookup)?);
            rest = behind.strip_prefix('}').unwrap_or(behind);
        } else {
            let mut chars = found.chars();
            out.extend(chars.next());
            rest = chars.as_str();
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Finds the brace that closes a form; forms may stand inside forms.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn value(inner: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let get = |name: &str| lookup(name).unwrap_or_default();
    if let Some(name) = inner.strip_prefix('#') {
        return Ok(get(name).chars().count().to_string());
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, form) = inner.split_at(end);
    let held = get(name);
    for operator in [":-", ":=", ":?", ":+", "=", "-"] {
        let Some(other) = form.strip_prefix(operator) else { continue };
        return match (operator, held.is_empty()) {
            (":+", true) => Ok(String::new()),
            (":+", false) | (_, true) => expand(other, lookup),
            (_, false) => Ok(held),
        };
    }
    let expanded = |text: &str| expand(text, lookup);
    let longest_first = [
        ("^^", Form::Upper),
        (",,", Form::Lower),
        ("^", Form::UpperFirst),
        (",", Form::LowerFirst),
        ("##", Form::PrefixLong),
        ("#", Form::Prefix),
        ("%%", Form::SuffixLong),
        ("%", Form::Suffix),
        ("//", Form::ReplaceAll),
        ("/#", Form::ReplacePrefix),
        ("/%", Form::ReplaceSuffix),
        ("/", Form::Replace),
        (":", Form::Slice),
    ];
    for (operator, kind) in longest_first {
        if let Some(argument) = form.strip_prefix(operator) {
            return Ok(kind.apply(&held, &expanded(argument)?));
        }
    }
    Ok(held)
}

/// What a form does with the value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Upper,
    Lower,
    UpperFirst,
    LowerFirst,
    Prefix,
    PrefixLong,
    Suffix,
    SuffixLong,
    Replace,
    ReplaceAll,
    ReplacePrefix,
    ReplaceSuffix,
    Slice,
}

impl Form {
    fn apply(self, held: &str, argument: &str) -> String {
        let (from, to) = argument.split_once('/').unwrap_or((argument, ""));
        let first = |change: fn(char) -> String| {
            let mut chars = held.chars();
            chars.next().map(change).unwrap_or_default() + chars.as_str()
        };
        match self {
            Self::Upper => held.to_uppercase(),
            Self::Lower => held.to_lowercase(),
            Self::UpperFirst => first(|c| c.to_uppercase().collect()),
            Self::LowerFirst => first(|c| c.to_lowercase().collect()),
            Self::Prefix => cut_front(held, argument, false),
            Self::PrefixLong => cut_front(held, argument, true),
            Self::Suffix => cut_back(held, argument, false),
            Self::SuffixLong => cut_back(held, argument, true),
            Self::Replace => held.replacen(from, to, 1),
            Self::ReplaceAll => held.replace(from, to),
            Self::ReplacePrefix => {
                held.strip_prefix(from).map_or(held.to_owned(), |rest| format!("{to}{rest}"))
            }
            Self::ReplaceSuffix => {
                held.strip_suffix(from).map_or(held.to_owned(), |rest| format!("{rest}{to}"))
            }
            Self::Slice => slice(held, argument),
        }
    }
}

/// Cuts the shortest or longest front that a pattern with `*` and `?` matches.
fn cut_front(held: &str, pattern: &str, longest: bool) -> String {
    let mut ends: Vec<usize> = held.char_indices().map(|(at, _)| at).chain([held.len()]).collect();
    if longest {
        ends.reverse();
    }
    let cut = ends.into_iter().map(|at| held.split_at(at)).find(|(front, _)| matches(front, pattern));
    cut.map_or(held, |(_, back)| back).to_owned()
}

/// Cuts the shortest or longest end that a pattern matches.
fn cut_back(held: &str, pattern: &str, longest: bool) -> String {
    let mut starts: Vec<usize> = held.char_indices().map(|(at, _)| at).chain([held.len()]).collect();
    if !longest {
        starts.reverse();
    }
    let cut = starts.into_iter().map(|at| held.split_at(at)).find(|(_, back)| matches(back, pattern));
    cut.map_or(held, |(front, _)| front).to_owned()
}

/// Whether a pattern matches a whole text: `*` is any characters, `?` is one.
fn matches(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for wanted in pattern.chars() {
        let mut next = vec![false; reached.len()];
        let mut was_any = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let is_here = reached.get(at).copied().unwrap_or_default();
            if wanted == '*' {
                was_any |= is_here;
                *slot = was_any;
            } else if let Some(before) = at.checked_sub(1) {
                let fits = text.get(before).is_some_and(|c| wanted == '?' || *c == wanted);
                *slot = fits && reached.get(before).copied().unwrap_or_default();
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

/// `position` or `position:length`, in characters.
fn slice(held: &str, argument: &str) -> String {
    let (position, length) = argument.split_once(':').unwrap_or((argument, ""));
    let skipped = position.trim().parse().unwrap_or(0);
    let taken = length.trim().parse().unwrap_or(usize::MAX);
    held.chars().skip(skipped).take(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        let lookup = |name: &str| match name {
            "HOST" => Some("nas.local".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(expand(text, &lookup).unwrap(), want, "{text}");
    }

    #[test]
    fn forms_of_a_shell() {
        for (text, want) in [
            ("url: http://${HOST}:3100", "url: http://nas.local:3100"),
            ("${NONE}${EMPTY}|${NONE:-a}|${EMPTY:-b}|${HOST:-c}", "|a|b|nas.local"),
            ("${NONE:=d}|${NONE=e}|${NONE:-${HOST}}", "d|e|nas.local"),
            ("${HOST^}|${HOST^^}|${HOST,}|${HOST,,}|${#HOST}", "Nas.local|NAS.LOCAL|nas.local|nas.local|9"),
            ("${HOST:4}|${HOST:0:3}", "local|nas"),
            ("${HOST#*.}|${HOST%.*}|${HOST##*a}|${HOST%%a*}", "local|nas|l|n"),
            ("${HOST/a/A}|${HOST//a/A}|${HOST/#nas/x}|${HOST/%local/y}", "nAs.local|nAs.locAl|x.local|nas.y"),
            ("regex: '(.*)$' \\\\d \\d $1 $${x}", "regex: '(.*)$' \\d \\d $1 ${x}"),
        ] {
            check(text, want);
        }
        let error = expand("a\nb: ${HOST", &|_| None).unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
