//! Functions that only the agent's templates have: Promtail's hashes, and more of sprig.

use crate::call::{Function, Param, check_length, function, int, text, variadic};
use crate::print::{print, quoted};
use crate::value::Value;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use std::fmt::Write as _;
use std::rc::Rc;

const ONE: &[Param] = &[Param::Text];
const TWO: &[Param] = &[Param::Text, Param::Text];
const ANY: &[Param] = &[Param::Any];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("Hash", TWO, |_, args| {
        Ok(hex(&Sha3_256::new().chain_update(text(args, 0)).chain_update(text(args, 1)).finalize()))
    }),
    function("Sha2Hash", TWO, |_, args| {
        Ok(hex(&Sha256::new().chain_update(text(args, 0)).chain_update(text(args, 1)).finalize()))
    }),
    function("sha256sum", ONE, |_, args| Ok(hex(&Sha256::digest(text(args, 0))))),
    function("empty", ANY, |_, args| Ok(Value::Bool(!args.first().is_some_and(Value::is_true)))),
    variadic("coalesce", &[], Param::Any, |_, args| {
        Ok(args.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))
    }),
    function("ternary", &[Param::Any, Param::Any, Param::Any], |_, args| {
        let chosen = if args.get(2).is_some_and(Value::is_true) { args.first() } else { args.get(1) };
        Ok(chosen.cloned().unwrap_or(Value::Nil))
    }),
    function("toString", ANY, |_, args| Ok(Value::Text(args.first().map(print).unwrap_or_default()))),
    function("atoi", ONE, |_, args| {
        let digits = String::from_utf8_lossy(text(args, 0)).into_owned();
        Ok(Value::int(digits.parse().unwrap_or_default()))
    }),
    function("int64", &[Param::Int], |_, args| Ok(Value::int64(int(args, 0)))),
    variadic("quote", &[], Param::Any, |_, args| {
        joined(args, " ", |value| quoted(&print(value)).into_bytes())
    }),
    variadic("squote", &[], Param::Any, |_, args| {
        joined(args, " ", |value| [b"\'", &*print(value), b"\'"].concat())
    }),
    variadic("cat", &[], Param::Any, |_, args| joined(args, " ", print)),
    variadic("list", &[], Param::Any, |_, args| Ok(Value::List(Rc::new(args.to_vec())))),
    function("first", ANY, |_, args| Ok(items(args, 0).first().cloned().unwrap_or(Value::Nil))),
    function("last", ANY, |_, args| Ok(items(args, 0).last().cloned().unwrap_or(Value::Nil))),
    function("join", &[Param::Text, Param::Any], |_, args| {
        joined(items(args, 1), &String::from_utf8_lossy(text(args, 0)), print)
    }),
    function("splitList", TWO, |_, args| {
        let (separator, whole) =
            (String::from_utf8_lossy(text(args, 0)), String::from_utf8_lossy(text(args, 1)));
        let parts = match separator.is_empty() {
            true => whole.chars().map(|c| Value::text(c.to_string())).collect(),
            false => whole.split(&*separator).map(Value::text).collect(),
        };
        Ok(Value::List(Rc::new(parts)))
    }),
    function("nospace", ONE, |_, args| {
        let kept: String =
            String::from_utf8_lossy(text(args, 0)).chars().filter(|c| !c.is_whitespace()).collect();
        Ok(Value::text(kept))
    }),
];

fn hex(digest: &[u8]) -> Value {
    let mut out = String::with_capacity(2 * digest.len());
    for byte in digest {
        // Writing to a text cannot fail.
        write!(out, "{byte:02x}").unwrap_or_default();
    }
    Value::text(out)
}

/// The list at a position; any other value is an empty one.
fn items(args: &[Value], index: usize) -> &[Value] {
    match args.get(index) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// Joins the values that are there.
fn joined(values: &[Value], separator: &str, write: impl Fn(&Value) -> Vec<u8>) -> Result<Value, String> {
    let mut out = Vec::new();
    for value in values.iter().filter(|value| !matches!(value, Value::Nil)) {
        if !out.is_empty() {
            out.extend_from_slice(separator.as_bytes());
        }
        out.extend_from_slice(&write(value));
        check_length(out.len())?;
    }
    Ok(Value::Text(out))
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Entry, Fields, Template, Value};

    /// As what was extracted of a line: an absent name has no value.
    #[derive(Debug)]
    struct Extracted;

    impl Fields for Extracted {
        fn field(&self, name: &str) -> Value {
            match name {
                "Value" => Value::text("a b"),
                "number" => Value::Float(1.5),
                _ => Value::Nil,
            }
        }

        fn text(&self, name: &str) -> Option<&[u8]> {
            (name == "Value").then_some(b"a b")
        }

        fn all(&self) -> Value {
            Value::Nil
        }
    }

    #[track_caller]
    fn check(template: &str, want: &str) {
        let template = Template::compile("pipeline_template", template, Dialect::Agent).unwrap();
        let entry = Entry { line: b"", ts_ns: 0, now_ns: 0 };
        assert_eq!(String::from_utf8(template.run(entry, &Extracted).unwrap()).unwrap(), want);
    }

    #[test]
    fn hashes_are_promtails() {
        // Salt and text are put together before hashing.
        check(
            "{{ Sha2Hash `a` `bc` }}{{ eq (Sha2Hash `a` `bc`) (sha256sum `abc`) }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015adtrue",
        );
        check("{{ Hash `a` `bc` }}", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
    }

    #[test]
    fn functions_of_sprig() {
        check(
            "{{ coalesce .none `` `x` }}{{ empty `` }}{{ ternary 1 2 true }}{{ ternary 1 2 false }}",
            "xtrue12",
        );
        check(
            "{{ quote .Value 1 }}|{{ squote .Value }}|{{ nospace .Value }}|{{ cat `a` .none 2 }}",
            "\"a b\" \"1\"|'a b'|ab|a 2",
        );
        check(
            "{{ join `-` (splitList ` ` .Value) }}{{ first (list 1 2) }}{{ last (list 1 2) }}{{ add (atoi `4`) 1 }}",
            "a-b125",
        );
        check(
            "{{ .number }} {{ .none }} {{ toString .number }} {{ .Value | ToUpper }}",
            "1.5 <no value> 1.5 A B",
        );
    }

    #[test]
    fn each_dialect_has_its_functions() {
        let of = |text: &str, dialect| Template::compile("t", text, dialect).map(drop);
        assert!(of("{{ __line__ }}", Dialect::Query).is_ok());
        let refused = of("{{ __line__ }}", Dialect::Agent).unwrap_err();
        assert_eq!(refused, "template: t:1: function \"__line__\" not defined");
        assert!(of("{{ Hash `a` `b` }}", Dialect::Agent).is_ok());
        assert!(of("{{ Hash `a` `b` }}", Dialect::Query).is_err());
    }
}
