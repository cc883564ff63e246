//! Queries, their canonical text, and what is refused.

use super::*;

/// Checks the canonical text, and that it means the same.
fn check(text: &str, expect: &str) {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(expr.to_string(), expect, "{text}");
    assert_eq!(parse(expect).as_ref(), Ok(&expr), "{text}");
}

fn same(text: &str) {
    check(text, text);
}

fn check_error(text: &str, expect: &str) {
    match parse(text) {
        Ok(expr) => panic!("{text} was accepted as {expr}"),
        Err(error) => {
            let first = error.to_string().lines().next().map(str::to_owned);
            assert_eq!(first, Some(format!("parse error {expect}")), "{text}");
        }
    }
}

#[test]
fn log_queries() {
    check(r#"{ a = "b" , c=~"d.*" }"#, r#"{a="b", c=~"d.*"}"#);
    check(r#"{a="b"} |= `raw "q"`"#, r#"{a="b"} |= "raw \"q\"""#);
    same(r#"{a="b"} |= "x" or "y" or "z""#);
    check(r#"{a="b"} != "x" or "y""#, r#"{a="b"} != "x" != "y""#);
    same(r#"{a="b"} |~ "x" !~ "y" |> "<_> x" !> "z" |= ip("10.0.0.0/8") != ip("::1")"#);
    check(r#"{a="b"}|logfmt --strict --keep-empty"#, r#"{a="b"} | logfmt --strict --keep-empty"#);
    same(r#"{a="b"} | json --arrays | x="y""#);
    assert!(parse(r#"{a="b"} | json --arrays x="y""#).is_err());
    assert!(parse(r#"{a="b"} | logfmt --arrays"#).is_err());
    assert!(parse(r#"{a="b"} | json --strict"#).is_err());
    check(r#"{a="b"} | JSON x, y="z[0]""#, r#"{a="b"} | json x="x",y="z[0]""#);
    same(r#"{a="b"} | regexp "(?P<x>.*)" | pattern "<x> <_>" | unpack | decolorize"#);
    same(r#"{a="b"} | line_format "{{.x}}" | label_format x=y,z="{{.x}}""#);
    same(r#"{a="b"} | drop x,y="z" | keep w,v!~"u""#);
    check(r#"{a="x"} /* c */ |= "x" # y"#, r#"{a="x"} |= "x""#);
    same(r#"{été="x"}"#);
    same(r#"{rate="x"} | duration>1s | count==5"#);
    check(r#"({a="b"})"#, r#"{a="b"}"#);
    same(r#"{a="é\n\t\"q\""}"#);
}

#[test]
fn label_filters() {
    let filter = |text: &str, expect: &str| {
        check(&format!(r#"{{s="t"}} | {text}"#), &format!(r#"{{s="t"}} | {expect}"#))
    };
    let (a, b, c, d) = (r#"a="1""#, r#"b="2""#, r#"c="3""#, r#"d="4""#);
    filter(&format!("{a} or {b} and {c}"), &format!("( {a} or ( {b} , {c} ) )"));
    filter(&format!("{a} and {b} or {c}"), &format!("( ( {a} , {b} ) or {c} )"));
    filter(&format!("{a} , {b} or {c}"), &format!("( {a} , ( {b} or {c} ) )"));
    filter(&format!("{a} {b} or {c}"), &format!("( {a} , ( {b} or {c} ) )"));
    filter(&format!("{a} or {b} , {c}"), &format!("( {a} or ( {b} , {c} ) )"));
    filter(&format!("{a} or {b} , {c} or {d}"), &format!("( {a} or ( {b} , ( {c} or {d} ) ) )"));
    filter(&format!("{a} and {b} , {c} or {d}"), &format!("( {a} , ( {b} , ( {c} or {d} ) ) )"));
    filter(&format!("{a} | {b} or {c}"), &format!("{a} | ( {b} or {c} )"));
    filter("x>1KB|y<1.5h", "x>1.0kB | y<1h30m0s");
    filter("x=-5 y!=1234567B", "( x==-5 , y!=1.2MB )");
    filter(r#"x=ip("1.2.3.4") or y!=ip("::1")"#, r#"( x=ip("1.2.3.4") or y!=ip("::1") )"#);
    filter("(x>5,y=\"1\")", "( x>5 , y=\"1\" )");
    filter("x>1e21", "x>1e+21");
    filter("x == y and z<=on or w != rate", "( ( x==y , z<=on ) or w!=rate )");
    filter(r#""a.b">c d<e"#, r#"( "a.b">c , d<e )"#);
    check_error(r#"{s="t"} | x=y"#, "at line 1, col 13: syntax error: unexpected IDENTIFIER");
    check_error(r#"{s="t"} | x>or"#, "at line 1, col 13: syntax error: unexpected or");
}

#[test]
fn metric_queries() {
    same(r#"count_over_time({a="b"}[5m])"#);
    check(r#"rate({a="b"}|="x"[300s])"#, r#"rate({a="b"} |= "x"[5m])"#);
    check(r#"rate({a="b"}[5m] |="x")"#, r#"rate({a="b"} |= "x"[5m])"#);
    check(r#"rate(({a="b"} |="x")[5m])"#, r#"rate({a="b"} |= "x"[5m])"#);
    check(r#"rate({a="b"}[1h30m]offset 5m)"#, r#"rate({a="b"}[1h30m] offset 5m0s)"#);
    same(r#"rate({a="b"}[5m] offset -1.5s)"#);
    check(
        r#"quantile_over_time(0.99,{a="b"}|json|unwrap x[5m])by(y)"#,
        r#"quantile_over_time(0.99,{a="b"} | json | unwrap x[5m]) by (y)"#,
    );
    same(r#"avg_over_time({a="b"} | unwrap duration(x) | ( y>1 or __error__="" ) | z="1"[5m]) by ()"#);
    same(r#"sum_over_time({a="b"} | unwrap bytes[5m])"#);
    check(r#"SUM(RATE({a="b"}[5m])) BY (x,y)"#, r#"sum by (x, y)(rate({a="b"}[5m]))"#);
    check(r#"sum by () (rate({a="b"}[5m]))"#, r#"sum(rate({a="b"}[5m]))"#);
    same(r#"max without ()(rate({a="b"}[5m]))"#);
    same(r#"topk by (x)(3,rate({a="b"}[5m]))"#);
    same(r#"label_replace(rate({a="b"}[5m]),"x","$1","y","(.*)")"#);
    same("vector(5.000000)");
    check("vector(1)+vector(1)", "(vector(1.000000) + vector(1.000000))");
    check("sum(vector(1)) or vector(0.0000001)", "(sum(vector(1.000000)) or vector(1e-07))");
    check(
        r#"rate({a="b"}[5m])/on(x)group_left(y)rate({a="b"}[5m])"#,
        r#"(rate({a="b"}[5m]) / on (x) group_left (y) rate({a="b"}[5m]))"#,
    );
    check(
        "vector(1) > bool ignoring (a) group_right (vector(2))",
        "(vector(1.000000) > bool ignoring (a) group_right () vector(2.000000))",
    );
    same(r#"variants(count_over_time({a="b"}[5m]), rate({a="b"}[5m])) of ({a="b"}[5m])"#);
}

#[test]
fn precedence_and_folding() {
    for (text, expect) in [
        ("-2 ^ 2", "4"),
        ("2^3^2", "512"),
        ("1-2-3", "-4"),
        ("1 -1", "0"),
        ("1 -0", "1"),
        ("1/0", "(0 / 0)"),
        ("1 == bool 1", "1"),
        ("1 > 2", "0"),
        ("-1", "-1"),
        ("1e308*10", "(1e+308 * 10)"),
        ("1 + 2 * vector(3)", "(1 + (2 * vector(3.000000)))"),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), expect, "{text}");
    }
    check(
        "vector(1) or vector(2) unless vector(3) > vector(4) + vector(5) * vector(6)",
        "(vector(1.000000) or (vector(2.000000) unless (vector(3.000000) > (vector(4.000000) + (vector(5.000000) * vector(6.000000))))))",
    );
}

#[test]
fn places_of_faults() {
    for (text, expect) in [
        (" ", "at line 1, col 2: syntax error: unexpected $end"),
        ("{", "at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
        ("}", "at line 1, col 1: syntax error: unexpected }"),
        (r#"{a="x",}"#, "at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER"),
        ("{a='x'}", "at line 1, col 4: syntax error: unexpected IDENTIFIER, expecting STRING"),
        (r#"{a="\q"}"#, "at line 1, col 4: invalid char escape"),
        (r#"{a="b}"#, "at line 1, col 4: literal not terminated"),
        (r#"{a=="b"}"#, "at line 1, col 3: syntax error: unexpected ==, expecting = or =~ or !~ or !="),
        (r#"{a="b"} |= "#, "at line 1, col 12: syntax error: unexpected $end, expecting STRING or ip"),
        (r#"{a="b"} |= "x" and "y""#, "at line 1, col 20: syntax error: unexpected STRING"),
        (r#"{a="b"} | x"#, "at line 1, col 12: syntax error: unexpected $end"),
        (
            r#"{a="b"} | x=~ip("10.0.0.1")"#,
            "at line 1, col 14: syntax error: unexpected ip, expecting STRING",
        ),
        (
            r#"{a="b"} | x>5 and"#,
            "at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER or (",
        ),
        (r#"{a="b"} | unwrap x"#, "at line 1, col 11: syntax error: unexpected unwrap"),
        (r#"{a="b"} | x>5m5"#, "at line 1, col 16: syntax error: unexpected $end"),
        (r#"count_over_time({a="b"}[])"#, "at line 1, col 24: empty duration string"),
        (r#"rate({a="x"}[5m]) offset 5m"#, "at line 1, col 19: syntax error: unexpected offset"),
        (
            r#"rate({a="x"} | json [5m] | c="d")"#,
            "at line 1, col 26: syntax error: unexpected |, expecting )",
        ),
        (r#"sum({a="b"})"#, "at line 1, col 12: syntax error: unexpected )"),
        (r#"sum({a="b"}[5m])"#, "at line 1, col 12: syntax error: unexpected RANGE"),
        (r#"sum(rate({a="b"}[5m])) by (x) by (y)"#, "at line 1, col 31: syntax error: unexpected by"),
        (
            r#"rate(rate({a="b"}[5m])[5m])"#,
            "at line 1, col 6: syntax error: unexpected RATE, expecting NUMBER or { or (",
        ),
        (r#"+ rate({a="b"}[5m])"#, "at line 1, col 3: syntax error: unexpected RATE, expecting NUMBER"),
        (
            "{a=\"b\"}\n  |=\n é",
            "at line 3, col 2: syntax error: unexpected IDENTIFIER, expecting STRING or ip",
        ),
        ("1) \"", "at line 1, col 2: syntax error: unexpected )"),
    ] {
        check_error(text, expect);
    }
}

#[test]
fn faults_without_a_place() {
    let empty = r#": queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~".*" does not meet this requirement, but app=~".+" will"#;
    for text in ["{}", r#"{a=""}"#, r#"{a!="x"}"#, r#"{a=~".*"}"#, r#"1 + rate({a=~"b|"}[1m])"#] {
        check_error(text, empty);
    }
    assert!(parse(r#"{a!=""}"#).is_ok());
    for (text, expect) in [
        ("", ": syntax error: unexpected $end"),
        (r#"{a=~"("}"#, ": error parsing regexp: missing closing ): `(`"),
        (r#"{a="b"} | regexp ".*""#, ": invalid regexp parser: at least one named capture must be supplied"),
        (
            r#"{a="b"} | regexp "(?P<x>a)(?P<x>b)""#,
            ": invalid regexp parser: duplicate extracted label name 'x'",
        ),
        (r#"{a="b"} | regexp "(""#, ": invalid regexp parser: error parsing regexp: missing closing ): `(`"),
        (r#"{a="b"} | pattern "abc""#, ": invalid pattern parser: at least one capture is required"),
        (
            r#"{a="b"} | pattern "<a><b>""#,
            ": invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
        ),
        (
            r#"{a="b"} | pattern "<a> <a>""#,
            ": invalid pattern parser: duplicate capture name (a): invalid expression",
        ),
        (r#"{a="x"} + 1"#, ": unexpected type for left leg of binary operation (+): *syntax.MatchersExpr"),
        (
            r#"1 + {a="x"} |= "y""#,
            ": unexpected type for right leg of binary operation (+): *syntax.PipelineExpr",
        ),
        (
            "vector(1) or 1",
            ": unexpected literal for right leg of logical/set binary operation (or): 1.000000",
        ),
        (r#"avg_over_time({a="b"}[5m])"#, ": invalid aggregation avg_over_time without unwrap"),
        (r#"count_over_time({a="b"} | unwrap x [5m])"#, ": invalid aggregation count_over_time with unwrap"),
        (r#"count_over_time({a="b"}[5m]) by (x)"#, ": grouping not allowed for count_over_time aggregation"),
        (
            r#"quantile_over_time({a="b"} | unwrap x [5m])"#,
            ": parameter required for operation quantile_over_time",
        ),
        (r#"rate(5, {a="b"}[5m])"#, ": parameter 5 not supported for operation rate"),
        ("topk(vector(1))", ": parameter required for operation topk"),
        ("topk(1.5, vector(1))", ": invalid parameter topk(1.5,"),
        ("topk(0, vector(1))", ": invalid parameter (must be greater than 0) topk(0"),
        ("sum(5, vector(1))", ": unsupported parameter for operation sum(5,"),
        ("sort by (x) (vector(1))", ": sort and sort_desc doesn't allow grouping by "),
        ("sum(1)", ": unexpected literal in sum: 1.000000; wrap it in vector()"),
        (
            r#"label_replace(vector(1), "a", "b", "c", "(")"#,
            ": invalid regex in label_replace: error parsing regexp: missing closing ): `(`",
        ),
    ] {
        check_error(text, expect);
    }
    let long = format!(r#"{{a="{}"}}"#, "x".repeat(INPUT_BYTES_MAX));
    check_error(&long, &format!(": input size too long ({} > 131072)", long.len()));
}

#[test]
fn spans_point_at_the_text() {
    let text = r#"{a="b"} |= "é" | x>5"#;
    let Expr::Log(log) = parse(text).unwrap() else { panic!("a log query") };
    let parts: Vec<_> =
        log.stages.iter().map(|stage| text.get(stage.span.start..stage.span.end).unwrap()).collect();
    assert_eq!(parts, [r#"|= "é""#, "| x>5"]);
    let span = parse("{a=b}").unwrap_err().span().unwrap();
    assert_eq!((span.start, span.end), (3, 4));
}

fn repeated(open: &str, inner: &str, close: &str, count: usize) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

#[test]
fn what_is_too_deep_is_refused_before_the_rest_is_read() {
    let filter = |filter: String| format!(r#"{{a="b"}} | {filter}"#);
    for text in [
        repeated("(", "1", ")", 60_000),
        repeated("sum(", "vector(1)", ")", 10_000),
        repeated("2^", "2", "", 60_000),
        repeated("vector(1)+", "vector(1)", "", 10_000),
        filter(repeated("(", "x>1", ")", 50_000)),
        filter(repeated("x>1,", "x>1", "", 30_000)),
        filter(repeated("x>1 or ", "x>1", "", 15_000)),
        format!("rate({}", "(".repeat(100_000)),
    ] {
        let mut parser = Parser::new(&text);
        let error = parser.parse_query().unwrap_err();
        assert!(error.message().contains("nests too deeply"), "{error}");
        let read = parser.words.read().len();
        assert!(read < 6 * DEPTH_MAX, "{read} words read of {}", text.get(..20).unwrap());
    }
    // Long but flat is fine.
    assert!(parse(&repeated("1+", "1", "", 60_000)).is_ok());
    assert!(parse(&format!(r#"{{a="b"}}{}"#, r#"|="x""#.repeat(20_000))).is_ok());
}

/// Whatever is accepted has a canonical text, and lines, that are accepted, at the bound too.
#[test]
fn what_is_printed_is_never_too_deep() {
    let sum = r#"sum by (x) (rate({a="b"} | x=ip("::1") [5m]))"#;
    // What is repeated and what stands inside, with the most repetitions.
    for (open, inner, close, most) in [
        (r#"{a="b"} | "#, "x>1,", "x>1", 100),
        (r#"{a="b"} | "#, "x>1 ", "x>1", 100),
        (r#"{a="b"} | "#, "x>1 and ", "x>1", 100),
        (r#"{a="b"} | "#, r#"x=ip("::1") or "#, "x>1", 99),
        (r#"{a="b"} | "#, "x>1 and y>2 or ", "x>1", 99),
        (r#"{a="b"} | "#, "x>1 or y>2,", "x>1", 50),
        (r#"rate({a="b"} | "#, "x>1 or ", "x>1 [5m])", 99),
        (r#"sum_over_time({a="b"} | unwrap x | "#, "x>1,", "x>1 [5m])", 99),
        ("", "vector(1)+", "vector(1)", 99),
        ("", "vector(1)^", "vector(1)", 99),
        ("", "vector(1)^", "5", 99),
        ("", "time() + on (x) vector(2)*", "vector(1)", 98),
        ("", "vector(1) or ", sum, 99),
        ("", "vector(1)-", "1e308*10", 99),
        ("", "sum(", "vector(1)", 99),
        ("", "abs(-1 + ", "vector(1)", 49),
        ("", "label_replace(", sum, 97),
        ("rate(", "(", r#"{a="b"}"#, 99),
        ("", "(", "2", 100),
    ] {
        let text = |count: usize| {
            let closed = inner.matches('(').count() - inner.matches(')').count();
            let end = match inner {
                "label_replace(" => r#","a","b","c","d")"#.to_owned(),
                "(" if open == "rate(" => ")".to_owned(),
                _ => ")".repeat(closed),
            };
            let tail = if open == "rate(" { "[5m])" } else { "" };
            format!("{open}{}{close}{}{tail}", inner.repeat(count), end.repeat(count))
        };
        let at_bound = text(most);
        let tree = parse(&at_bound).unwrap_or_else(|error| panic!("{inner} {most}: {error}"));
        for printed in [tree.to_string(), crate::pretty(&tree)] {
            match parse(&printed) {
                Ok(again) if at_bound.contains("1e308") => assert_eq!(again.to_string(), tree.to_string()),
                again => assert_eq!(again.as_ref(), Ok(&tree), "{inner}"),
            }
        }
        let error = parse(&text(most + 1)).unwrap_err();
        assert!(error.message().contains("nests too deeply"), "{inner}: {error}");
    }
}

#[test]
fn streams_have_ascii_names() {
    let check = |text: &str, expect: &str| {
        let told = crate::check_stream_names(text, &parse(text).unwrap()).map_err(|error| error.to_string());
        match expect {
            "" => assert_eq!(told, Ok(()), "{text}"),
            expect => assert!(told.as_ref().is_err_and(|told| told.starts_with(expect)), "{text}: {told:?}"),
        }
    };
    check(r#"{ä="c"}"#, "parse error at line 1, col 2: syntax error: unexpected ä, ");
    check(
        "sum(rate({a=\"b\"}[5m])) /\n sum(rate({a=\"b\", b_é=\"c\"}[5m]))",
        "parse error at line 2, col 19: syntax",
    );
    check(r#"{a="ä"} | ä="c""#, "");
    check(r#"{"a.b"="c"}"#, "");
}
