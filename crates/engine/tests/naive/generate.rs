//! Random log queries as text.

use crate::dice::Dice;

const SELECTORS: [&str; 11] = [
    r#"{app=~".+"}"#,
    r#"{app=~".+"}"#,
    r#"{app=~".+"}"#,
    r#"{app="a"}"#,
    r#"{env=~"p|q"}"#,
    r#"{app!="a", env="p"}"#,
    r#"{app=~"a|b", pod=""}"#,
    r#"{app=~"a.b"}"#,
    r#"{app!~"fo+", app=~".+"}"#,
    r#"{env="p", env!="q", level=~".*"}"#,
    r#"{app="nowhere"}"#,
];

const NAMES: [&str; 19] = [
    "a",
    "a",
    "b",
    "n",
    "n",
    "d",
    "s",
    "ip",
    "app",
    "app_extracted",
    "trace",
    "a_b",
    "_9x",
    "level",
    "detected_level",
    "o_a",
    "o_o_n",
    "user",
    "env",
];

/// Patterns that mean the same in Go and in Rust.
const REGEXES: [&str; 17] = [
    "x",
    "x.*",
    ".*foo",
    "f(oo|ar)",
    "x|y",
    "foo|food",
    ".+",
    "",
    "a|",
    "(?i)FOO",
    "[0-9]+",
    "^b",
    "o$",
    "a.b",
    "(?s)i.l",
    "(?i)été",
    "(?m)^line",
];

const TEXTS: [&str; 14] =
    ["x", "foo", "", "a", "=", "\\\"", "GET", "error", "10.0.0", "é", "\\n", "\\u001b", "bar", "b"];

const ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.0/24",
    "10.0.0.2-10.0.0.8",
    "1.2.3.4",
    "192.168.4.5/16",
    "::1",
    "fe80::/10",
    "0.0.0.0/0",
];

const TEMPLATES: [&str; 16] = [
    "{{.a}}",
    "{{ .n }}",
    "{{.nowhere}}",
    "{{.__error__}}",
    "a={{.a}} n={{.n}}",
    "{{.app}} {{ __line__ }}",
    "{{ __line__ | lower }}",
    "{{ .a | upper }}x",
    r#"{{ .b | default \"none\" }}"#,
    r#"{{ replace \"x\" \"zz\" .a }}"#,
    r#"{{ .a | trimPrefix \"x\" | upper }}"#,
    "text",
    "",
    "{{ div 1 0 }}",
    r#"{\"a\":\"{{.b}}\",\"n\":{{.n}}}"#,
    "{{.detected_level}}{{.trace}}",
];

fn text(dice: &mut Dice) -> String {
    format!("\"{}\"", dice.pick(&TEXTS))
}

fn pattern(dice: &mut Dice) -> String {
    dice.pick(&[
        r#""<_> bar""#,
        r#""abc""#,
        r#""a<_>b<_>b""#,
        r#""""#,
        r#""<_>""#,
        r#""<_>foo<_>""#,
        r#""GET<_>""#,
        r#""<_>=<_>""#,
    ])
    .to_owned()
}

fn selector(dice: &mut Dice) -> String {
    dice.pick(&SELECTORS).to_owned()
}

fn line_filter(dice: &mut Dice) -> String {
    let (op, kind) =
        dice.pick(&[("|=", 0), ("!=", 0), ("|=", 0), ("|~", 1), ("!~", 1), ("|>", 2), ("!>", 2)]);
    let count = if dice.once_in(3) { 2 + dice.below(2) } else { 1 };
    let args: Vec<String> = (0..count)
        .map(|_| match kind {
            0 if dice.once_in(5) => format!("ip(\"{}\")", dice.pick(&ADDRESSES)),
            0 => text(dice),
            1 => format!("\"{}\"", dice.pick(&REGEXES)),
            _ => pattern(dice),
        })
        .collect();
    format!("{op} {}", args.join(" or "))
}

fn matcher(dice: &mut Dice, name: &str) -> String {
    match dice.below(4) {
        0 => format!("{name}=\"{}\"", dice.pick(&["x", "", "foo", "1", "a", "info"])),
        1 => format!("{name}!=\"{}\"", dice.pick(&["x", "", "foo", "1", "a", "info"])),
        2 => format!("{name}=~\"{}\"", dice.pick(&REGEXES)),
        _ => format!("{name}!~\"{}\"", dice.pick(&REGEXES)),
    }
}

pub(crate) fn label_filter(dice: &mut Dice, depth: usize) -> String {
    let name = dice.pick(&NAMES);
    match dice.below(if depth < 2 { 10 } else { 6 }) {
        0 | 1 => matcher(dice, name),
        2 => dice
            .pick(&[
                r#"__error__="""#,
                r#"__error__="""#,
                r#"__error__!="""#,
                r#"__error__="JSONParserErr""#,
                r#"__error_details__=~".+""#,
                "__error__ > 5",
            ])
            .to_owned(),
        3 | 4 => {
            let op = dice.pick(&["=", "==", "!=", ">", ">=", "<", "<="]);
            let constant = dice.pick(&[
                "1", "2", "2.5", "-3", "0", "1e1", "10ms", "1s", "5s", "2m", "-1s", "2KB", "1KiB", "0B",
            ]);
            format!("{name} {op} {constant}")
        }
        5 => format!("{name} {} ip(\"{}\")", dice.pick(&["=", "!="]), dice.pick(&ADDRESSES)),
        6 => format!("({})", label_filter(dice, depth + 1)),
        _ => {
            let connective = dice.pick(&[" and ", " or ", " or ", ", ", " "]);
            let left = label_filter(dice, depth + 1);
            format!("{left}{connective}{}", label_filter(dice, depth + 1))
        }
    }
}

fn parser(dice: &mut Dice) -> String {
    match dice.below(14) {
        0..=3 => "json".to_owned(),
        4 => {
            let paths = [
                "x=\"a\"",
                "n=\"o.n\"",
                "a",
                "app=\"a\"",
                "y=\"[\\\"a-b\\\"]\"",
                "b=\"o\"",
                "z=\"o.o[\\\"a\\\"]\"",
                "trace",
            ];
            format!("json {}", dice.some(&paths, 3).join(", "))
        }
        5..=7 => dice
            .pick(&[
                "logfmt",
                "logfmt",
                "logfmt --strict",
                "logfmt --keep-empty",
                "logfmt --strict --keep-empty",
            ])
            .to_owned(),
        8 => {
            let keys =
                ["x=\"a\"", "n", "a=\"b\"", "app=\"a\"", "trace", "d=\"\\\"d\\\"\"", "q=\"nowhere\"", "_9x"];
            format!("logfmt {}{}", dice.pick(&["", "--strict "]), dice.some(&keys, 3).join(", "))
        }
        9 | 10 => dice
            .pick(&[
                r#"regexp "(?P<a>[a-z]+)( (?P<b>[a-z]+))?""#,
                r#"regexp "(?P<app>[A-Z]+) /(?P<s>.)""#,
                r#"regexp "n=\"?(?P<n>[0-9.]+)""#,
            ])
            .replace("=\"?", "="),
        11 => dice
            .pick(&[
                r#"pattern "<a> <b>""#,
                r#"pattern "<a>,<b>,<s>""#,
                r#"pattern "GET <app> <_>""#,
                r#"pattern "<_>=<n> <a>=""#,
                r#"pattern "<a>=<trace>""#,
            ])
            .to_owned(),
        _ => "unpack".to_owned(),
    }
}

fn picks(dice: &mut Dice, is_metric: bool) -> String {
    let mut picks: Vec<String> = dice
        .some(&NAMES, 3)
        .into_iter()
        .map(|name| if dice.once_in(2) { matcher(dice, name) } else { name.to_owned() })
        .collect();
    if dice.once_in(3) {
        picks.push("__error__, __error_details__".to_owned());
    } else if !is_metric && dice.once_in(3) {
        picks.push(dice.pick(&["__error__", "__error_details__", r#"__error__="JSONParserErr""#]).to_owned());
    }
    picks.join(", ")
}

fn label_format(dice: &mut Dice) -> String {
    let items: Vec<String> = dice
        .some(&["a", "b", "n", "app", "x", "level", "a_b", "trace"], 3)
        .into_iter()
        .map(|name| {
            if dice.once_in(2) {
                format!("{name}={}", dice.pick(&NAMES))
            } else {
                format!("{name}=\"{}\"", dice.pick(&TEMPLATES))
            }
        })
        .collect();
    items.join(", ")
}

fn stage(dice: &mut Dice, is_metric: bool) -> String {
    match dice.below(20) {
        0..=4 => line_filter(dice),
        5..=8 => format!("| {}", parser(dice)),
        9..=13 => format!("| {}", label_filter(dice, 0)),
        14 => format!("| line_format \"{}\"", dice.pick(&TEMPLATES)),
        15 | 16 => format!("| label_format {}", label_format(dice)),
        17 => "| decolorize".to_owned(),
        18 => format!("| drop {}", picks(dice, is_metric)),
        _ => format!("| keep {}", picks(dice, is_metric)),
    }
}

/// A selector and up to five stages, more often with a parser early than not.
pub(crate) fn log_query(dice: &mut Dice, is_metric: bool) -> String {
    let mut parts = vec![selector(dice)];
    let count = dice.below(6);
    for index in 0..count {
        if index < 2 && dice.once_in(3) {
            parts.push(format!("| {}", parser(dice)));
        } else {
            let stage = stage(dice, is_metric);
            // Behind a list of labels, `!=` would make a matcher of its last name.
            let is_list = |part: &String| part.starts_with("| drop") || part.starts_with("| keep");
            if stage.starts_with('!') && parts.last().is_some_and(is_list) {
                parts.push(r#"|= """#.to_owned());
            }
            parts.push(stage);
        }
    }
    parts.join(" ")
}
