//! Templates over one entry: its line is `GET /a?x=1`, its labels are below.

use super::*;
use logyard_model::LabelSet;
use std::rc::Rc;

#[derive(Debug)]
struct Labels(LabelSet);

impl Fields for Labels {
    fn field(&self, name: &str) -> Value {
        Value::text(self.0.get(name).unwrap_or_default())
    }

    fn text(&self, name: &str) -> Option<&[u8]> {
        Some(self.0.get(name).unwrap_or_default().as_bytes())
    }

    fn all(&self) -> Value {
        Value::Labels(Rc::new(self.0.clone()))
    }
}

fn run(template: &str) -> Result<String, String> {
    let labels = [("a", "5"), ("app", "foo"), ("path", "/b"), ("word", "hELLO wörld")];
    let template = Template::compile("line", template, Dialect::Query)?;
    let entry = Entry { line: b"GET /a?x=1", ts_ns: 1_700_000_000_000_000_000, now_ns: 0 };
    let out = template.run(entry, &Labels(LabelSet::from_pairs(labels)))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn check(template: &str, expect: &str) {
    assert_eq!(run(template).unwrap(), expect, "{template}");
}

fn fails(template: &str, at: &str, reason: &str) {
    let expect = format!("template: line:1:{at}: {reason}");
    let (column, shown) = at.split_once(' ').unwrap();
    let expect_text = format!("template: line:1:{column}: executing \"line\" at <{shown}>: {reason}");
    assert_eq!(run(template).unwrap_err(), expect_text, "{template}, not {expect}");
}

#[test]
fn labels_and_text() {
    check("plain", "plain");
    check("{{.a}}|{{ .none }}|{{.app}}", "5||foo");
    check("{{__line__}} {{ __line__ | lower }}", "GET /a?x=1 get /a?x=1");
    check("{{ . }}", "map[a:5 app:foo path:/b word:hELLO wörld]");
    check("a {{- .a -}} b", "a5b");
    check("{{/* nothing */}}x", "x");
    check("{{ $.a }}{{ $ | len }}", "54");
}

#[test]
fn conditions_and_scopes() {
    check(r#"{{if eq .app "foo" "bar"}}A{{else if .none}}B{{else}}C{{end}}"#, "A");
    check("{{if .none}}A{{else if .a}}B{{else}}C{{end}}", "B");
    check("{{with .app}}{{.}}{{$.a}}{{else}}none{{end}}", "foo5");
    check("{{with .none}}x{{else with .a}}{{.}}{{end}}", "5");
    check("{{$x := .a}}{{if true}}{{$x := 1}}{{$x}}{{end}}{{$x}}", "15");
    check("{{$x := .a}}{{if true}}{{$x = `y`}}{{end}}{{$x}}", "y");
    check("{{if and .a .none}}A{{end}}{{or .none .a}}{{not .a}}", "5false");
    check("{{define `t`}}T{{.a}}{{end}}{{template `t` .}}{{template `t` $}}", "T5T5");
    check("{{block `b` .app}}[{{.}}]{{end}}", "[foo]");
}

#[test]
fn loops() {
    check("{{range $k, $v := .}}{{$k}}={{$v}};{{end}}", "a=5;app=foo;path=/b;word=hELLO wörld;");
    check(r#"{{range $i, $e := fromJson "[1,2,3]"}}{{if eq $i 1}}{{continue}}{{end}}{{$e}}{{end}}"#, "13");
    check(r#"{{range fromJson "[1,2,3]"}}{{if eq . 2.0}}{{break}}{{end}}{{.}}{{end}}"#, "1");
    check(r#"{{range fromJson "[]"}}x{{else}}empty{{end}}"#, "empty");
    check("{{range 3}}{{.}}{{end}}", "012");
    check(
        r#"{{range $k, $v := fromJson "{\"b\":null,\"a\":{\"x\":1}}"}}{{$k}}={{$v}};{{end}}"#,
        "a=map[x:1];b=<no value>;",
    );
}

#[test]
fn values_as_go_prints_them() {
    check(
        "{{ 1.5 }} {{ 0x1F }} {{ 'x' }} {{ true }} {{ 1e6 }} {{ 1000000.5 }}",
        "1.5 31 120 true 1e+06 1.0000005e+06",
    );
    check("{{ print 1 2 `a` 3 }}|{{ println `x` 1 }}", "1 2a3|x 1\n");
    check(r#"{{ printf "%5.1f|%q|%x" 2.25 .app .app }}"#, "  2.2|\"foo\"|666f6f");
    check("{{ len .path }} {{ index .path 0 }} {{ slice .app 1 }} {{ index . `a` }}", "2 47 oo 5");
    check(
        "{{ html `<a href=\"x\">` }} {{ urlquery `a b` }} {{ js `'` }}",
        "&lt;a href=&#34;x&#34;&gt; a+b \\'",
    );
    check(
        "{{ lt 1 2 }}{{ le `b` `a` }}{{ gt 2.5 1.5 }}{{ ge 1 1 }}{{ ne .a `5` }}",
        "truefalsetruetruefalse",
    );
}

#[test]
fn texts() {
    check("{{ title .word }} {{ upper .word }} {{ ToLower `ÄB` }}", "HELLO Wörld HELLO WÖRLD äb");
    check("{{ trim `  x ` }}|{{ trimAll `/` .path }}|{{ Trim .path `/` }}|{{ TrimSpace ` s ` }}", "x|b|b|s");
    check("{{ trimPrefix `f` .app }}{{ TrimSuffix .app `o` }}{{ TrimLeft `aab` `a` }}", "oofob");
    check(
        "{{ replace `o` `0` .app }} {{ Replace .app `o` `0` 1 }} {{ Replace .app `` `-` -1 }}",
        "f00 f0o -f-o-o-",
    );
    check("{{ trunc 2 .app }} {{ trunc -2 .app }} {{ trunc 1 `é` | printf `%x` }}", "fo oo c3");
    check("{{ substr 1 2 .app }} {{ substr 1 9 .app }} {{ substr -1 2 .app }}", "o oo fo");
    check(
        "{{ alignLeft 5 .app }}|{{ alignRight 5 .app }}|{{ alignLeft 2 .app }}|{{ alignRight 2 .app }}|{{ alignLeft -1 .app }}",
        "foo  |  foo|fo|oo|foo",
    );
    check("{{ indent 2 `a\nb` }}|{{ nindent 1 `x` }}|{{ repeat 2 .app }}", "  a\n  b|\n x|foofoo");
    check("{{ contains `o` .app }}{{ hasPrefix `o` .app }}{{ hasSuffix `o` .app }}", "truefalsetrue");
    check("{{ default `d` .none }}{{ .app | default `d` }}{{ default 1 0 }}", "dfoo1");
    check(
        "{{ regexReplaceAll `(.)(.)` .app `${2}$1` }} {{ regexReplaceAllLiteral `o` .app `$1` }} {{ count `o` .app }}",
        "ofo f$1$1 2",
    );
    check("{{ regexReplaceAll `(?P<n>f)` .app `<$n>$1x` }}", "<f>oo");
    check(
        "{{ b64enc .app }} {{ b64dec `Zm9v` }} {{ b64dec `!` }}",
        "Zm9v foo illegal base64 data at input byte 0",
    );
    check("{{ urlencode .path }} {{ urldecode `a%20b+c` }}", "%2Fb a b c");
    check(r#"{{ (fromJson "{\"x\":{\"y\":2}}").x.y }} {{ fromJson "broken" }}"#, "2 <no value>");
}

#[test]
fn numbers() {
    check("{{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 3 }}", "6 3 24 3 1");
    check("{{ add .a 1.9 }} {{ mul .a `2` }} {{ add `abc` 1 }} {{ max 1 5 2 }} {{ min 3 2 }}", "6 10 1 5 2");
    check(
        "{{ addf 0.1 0.2 }} {{ subf 5 0.5 }} {{ mulf 1.1 1.1 }} {{ divf 1 3 }}",
        "0.3 4.5 1.21 0.3333333333333333",
    );
    check("{{ maxf 1 2.5 }} {{ minf 1 2.5 }} {{ ceil 1.2 }} {{ floor `1.8` }}", "2.5 1 2 1");
    check("{{ round 2.345 2 }} {{ round 2.5 0 }} {{ round -2.5 0 }} {{ round 2.3 0 0.2 }}", "2.35 3 -3 3");
    check(
        "{{ int `0x10` }} {{ int `010` }} {{ int `4.9` }} {{ int `1e3` }} {{ int true }} {{ float64 `2.5` }}",
        "16 8 4 0 1 2.5",
    );
    check(
        "{{ bytes `2KiB` }} {{ bytes `10GB` }} {{ duration `1m30s` }} {{ duration_seconds `250ms` }}",
        "2048 1e+10 90 0.25",
    );
}

#[test]
fn times() {
    check("{{ __timestamp__ }}", "2023-11-14 22:13:20 +0000 UTC");
    check("{{ __timestamp__ | unixEpoch }} {{ unixEpochMillis __timestamp__ }}", "1700000000 1700000000000");
    check("{{ date `15:04` __timestamp__ }} {{ now | date `2006` }} {{ date `2006` 0 }}", "22:13 1970 1970");
    check(
        "{{ (__timestamp__).Hour }} {{ __timestamp__.Month }} {{ __timestamp__.Weekday | printf `%d` }}",
        "22 November 2",
    );
    check("{{ unixToTime `1768089600123456789` | unixEpochNanos }}", "1768089600123456789");
    check("{{ unixToTime `20463` | date `2006-01-02` }}", "2026-01-10");
    check(
        "{{ toDate `2006-01-02` `2026-01-11` | unixEpoch }} {{ toDate `x` `y` }}",
        "1768089600 0001-01-01 00:00:00 +0000 UTC",
    );
    check(
        "{{ toDateInZone `2006-01-02 15:04` `Europe/Berlin` `2026-01-11 12:00` }}",
        "2026-01-11 12:00:00 +0100 CET",
    );
    check("{{ toDateInZone `2006-01-02` `Nowhere/Land` `2026-01-11` | unixEpoch }}", "1768089600");
}

#[test]
fn failures_tell_where() {
    fails("{{ div 1 0 }}", "3 div 1 0", "error calling div: runtime error: integer divide by zero");
    fails("{{ .path | int | substr 0 1 }}", "26 1", "wrong type for value; expected string; got int");
    fails("{{ 1 }} {{ nil | printf \"%v\" }}", "11 nil", "nil is not a command");
    fails("{{ call .app }}", "3 call .app", "error calling call: non-function .app of type string");
    fails(
        "{{ eq .a 5 }}",
        "3 eq .a 5",
        "error calling eq: incompatible types for comparison: string and int",
    );
    fails(
        "{{ lt .app 5 }}",
        "3 lt .app 5",
        "error calling lt: incompatible types for comparison: string and int",
    );
    fails("{{ index .path 99 }}", "3 index .path 99", "error calling index: index out of range: 99");
    fails(
        "{{ substr 5 1 .path }}",
        "3 substr 5 1 .path",
        "error calling substr: runtime error: slice bounds out of range [5:1]",
    );
    fails("{{ divf .a 10 | round 2 }}", "22 2", "wrong type for value; expected int; got float64");
    fails("{{ .a.b }}", "5 .a.b", "can't evaluate field b in type string");
    fails("{{ lower 1 }}", "9 1", "expected string; found 1");
    fails("{{ trunc `x` .a }}", "9 `x`", "expected integer; found `x`");
    fails("{{ lower }}", "3 lower", "wrong number of args for lower: want 1 got 0");
    fails("{{ range .a }}{{end}}", "9 .a", "range can't iterate over 5");
    fails(
        "{{ regexReplaceAll \"(\" .a \"x\" }}",
        "3 regexReplaceAll \"(\" .a \"x\"",
        "error calling regexReplaceAll: error parsing regexp: missing closing ): `(`",
    );
    fails(
        "{{ unixToTime \"123\" }}",
        "3 unixToTime \"123\"",
        "error calling unixToTime: unable to parse time '123': %!w(<nil>)",
    );
    fails("{{ duration .app }}", "3 duration .app", "error calling duration: time: invalid duration \"foo\"");
    fails("{{ divf 1 0 }}", "3 divf 1 0", "error calling divf: decimal division by 0");
}

#[test]
fn bounds() {
    assert!(run("{{ repeat 1000000000 `x` }}").unwrap_err().contains("text is longer than"));
    assert!(run("{{ alignLeft 1000000000 `x` }}").unwrap_err().contains("text is longer than"));
    assert!(
        run("{{define `t`}}{{template `t`}}{{end}}{{template `t`}}")
            .unwrap_err()
            .contains("exceeded maximum template depth")
    );
    assert!(run("{{range 100000}}{{range 100000}}{{end}}{{end}}").unwrap_err().contains("parts to run"));
    assert!(run("{{range 30000}}{{printf `%0200d` 1}}{{end}}").unwrap_err().contains("text is longer than"));
    assert!(
        run("{{$x := repeat 4000000 `x`}}{{range 100}}{{len $x}}{{end}}").unwrap_err().contains("to work on")
    );
    assert!(run(&format!("{{{{printf `%1000000d{}` 1 1 1 1 1 1}}}}", "%1000000d".repeat(5))).is_err());
    let nested = |open: &str| format!("{}{{{{template `t` .}}}}{}", open.repeat(90), "{{end}}".repeat(90));
    let deep = format!("{{{{define `t`}}}}{}{{{{end}}}}{{{{template `t` .}}}}", nested("{{if .a}}"));
    assert!(run(&deep).unwrap_err().contains("exceeded maximum template depth"));
    let parens = format!("{{{{{}.a{}}}}}", "(".repeat(95), ")".repeat(95));
    check(&parens, "5");
}

#[test]
fn nothing_panics() {
    const PIECES: [&str; 44] = [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "define `t`",
        "template `t` ",
        "break",
        ".",
        ".a ",
        "$x ",
        ":= ",
        "= ",
        "| ",
        "(",
        ")",
        "1 ",
        "-1 ",
        "0x7fffffffffffffff ",
        "1e300 ",
        "`é` ",
        "\"%*.*d\" ",
        "'x' ",
        "nil ",
        "true ",
        "printf ",
        "substr ",
        "index ",
        "round ",
        "divf ",
        "date ",
        "toDate ",
        "__timestamp__ ",
        "fromJson ",
        "trunc ",
        "\n",
        "regexReplaceAll ",
        "urldecode ",
        ", ",
        "/* x */",
    ];
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut compiled = 0;
    for round in 0..60_000 {
        let mut text: String = (0..1 + below(9)).map(|_| PIECES[below(PIECES.len())]).collect();
        if round % 2 == 0 {
            text = format!("{{{{ {text} }}}}");
        }
        compiled += usize::from(run(&text).is_ok());
    }
    assert!(compiled > 500, "{compiled}");
}

#[test]
fn names_read() {
    let mut names = Vec::new();
    template_names(
        "{{.a}}{{if .b}}{{.c | lower}}{{end}}{{(len .d)}}{{$x := .e}}{{range .}}{{end}}",
        &mut names,
    );
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

/// Templates in text files, `tests/cases/*.txt`: a line with the template, then `= ` and its
/// text with newlines as `\n`, or `! ` and how the error starts; `## ` is a comment.
#[test]
#[allow(clippy::disallowed_methods)]
fn answers_are_as_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (mut count, mut differences) = (0, Vec::new());
    for item in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(item.unwrap().path()).unwrap();
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with("## ")).collect();
        for pair in lines.chunks(2) {
            let [template, expect] = pair else { panic!("{pair:?}") };
            let found = match run(template) {
                Ok(out) => format!("= {}", out.replace('\n', "\\n")),
                Err(error) => format!("! {error}"),
            };
            let agrees = found == *expect || expect.starts_with("! ") && found.starts_with(expect);
            if !agrees {
                differences.push(format!("{template}\n  found {found}\n  expected {expect}"));
            }
            count += 1;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(count > 60, "{count} templates");
}

#[test]
fn long_chains_are_no_deep_nesting() {
    let arms = |from: usize| -> String {
        (from..5000).map(|number| format!("{{{{else if eq .a `{number}`}}}}<{number}>")).collect()
    };
    check(&format!("{{{{if eq .a `x`}}}}x{}{{{{end}}}}", arms(0)), "<5>");
    check(&format!("{{{{if eq .a `x`}}}}x{}{{{{else}}}}none{{{{end}}}}", arms(6)), "none");
}
