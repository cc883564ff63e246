//! Answers as Grafana's data source reads them: key by key, without looking back and without skipping what it does
//! not know, so that an answer which any JSON library takes may still break a panel.

use super::*;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// One row as Grafana shows it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    stream: Labels,
    ts_ns: i64,
    line: String,
    metadata: Labels,
    parsed: Labels,
}

/// Pulls values out of a text one after the other; whatever is not as expected is a fault.
struct Pull<'t> {
    text: &'t [u8],
}

impl Pull<'_> {
    fn next(&mut self) -> u8 {
        let (&first, rest) = self.text.trim_ascii_start().split_first().expect("the answer goes on");
        self.text = rest;
        first
    }

    fn peek(&self) -> u8 {
        *self.text.trim_ascii_start().first().expect("the answer goes on")
    }

    /// Returns whether there is another element.
    fn more(&mut self, open: u8, close: u8) -> bool {
        match self.next() {
            byte if byte == open && self.peek() == close => {
                self.next();
                false
            }
            byte if byte == open || byte == b',' => true,
            byte if byte == close => false,
            other => panic!("want {:?} or its like, got {:?}", open as char, other as char),
        }
    }

    fn array(&mut self) -> bool {
        self.more(b'[', b']')
    }

    /// Returns the next key.
    fn object(&mut self) -> Option<String> {
        let key = self.more(b'{', b'}').then(|| self.string());
        if key.is_some() {
            assert_eq!(self.next(), b':');
        }
        key
    }

    fn string(&mut self) -> String {
        assert_eq!(self.peek(), b'"', "want a text at {}", String::from_utf8_lossy(self.text));
        let mut values = serde_json::Deserializer::from_slice(self.text).into_iter::<String>();
        let value = values.next().unwrap().unwrap();
        self.text = &self.text[values.byte_offset()..];
        value
    }

    fn skip(&mut self) {
        let mut values = serde_json::Deserializer::from_slice(self.text).into_iter::<serde_json::Value>();
        values.next().unwrap().unwrap();
        self.text = &self.text[values.byte_offset()..];
    }

    fn labels(&mut self) -> Labels {
        let mut labels = Labels::new();
        while let Some(name) = self.object() {
            labels.insert(name, self.string());
        }
        labels
    }

    /// Reads a whole answer.
    fn answer(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        while let Some(key) = self.object() {
            match key.as_str() {
                "data" => rows = self.data(),
                "status" => assert_eq!(self.string(), "success"),
                _ => self.skip(),
            }
        }
        rows
    }

    fn data(&mut self) -> Vec<Row> {
        let (mut kind, mut has_categories, mut rows) = (String::new(), false, Vec::new());
        while let Some(key) = self.object() {
            match key.as_str() {
                "resultType" => kind = self.string(),
                "encodingFlags" => {
                    while self.array() {
                        has_categories |= self.string() == "categorize-labels";
                    }
                }
                "result" => {
                    // What comes later is too late.
                    assert_eq!(kind, "streams");
                    rows = self.streams(has_categories);
                }
                _ => self.skip(),
            }
        }
        rows
    }

    fn streams(&mut self, has_categories: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        while self.array() {
            let mut stream = Labels::new();
            while let Some(key) = self.object() {
                match key.as_str() {
                    "stream" => stream = self.labels(),
                    "values" => {
                        while self.array() {
                            rows.push(self.entry(&stream, has_categories));
                        }
                    }
                    other => panic!("{other:?} is not skipped"),
                }
            }
        }
        rows
    }

    fn entry(&mut self, stream: &Labels, has_categories: bool) -> Row {
        assert!(self.array());
        let ts = self.string();
        assert!(self.array());
        let line = self.string();
        let (mut metadata, mut parsed) = (Labels::new(), Labels::new());
        if has_categories {
            assert!(self.array(), "the flag announced a third element");
            while let Some(key) = self.object() {
                match key.as_str() {
                    "structuredMetadata" => metadata = self.labels(),
                    "parsed" => parsed = self.labels(),
                    other => panic!("{other:?} is not skipped"),
                }
            }
        }
        assert!(!self.array(), "more elements than announced");
        // The first ten digits are the seconds.
        let (secs, rest) = ts.split_at_checked(10).expect("ten digits or more");
        let ts_ns = secs.parse::<i64>().unwrap() * SEC_NS + rest.parse::<i64>().unwrap();
        Row { stream: stream.clone(), ts_ns, line, metadata, parsed }
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn rows(world: &World, query: &str, flags: &str) -> Vec<Row> {
    let request = Request::get(format!("/loki/api/v1/query_range?query={}&direction=forward", escape(query)))
        .header("X-Loki-Response-Encoding-Flags", flags);
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut pull = Pull { text: &answer.body };
    let rows = pull.answer();
    assert_eq!(pull.text.trim_ascii(), b"", "nothing stands behind the answer");
    rows
}

#[tokio::test]
async fn check_30_answers_are_read_as_grafana_reads_them() {
    let world = world().await;
    let at = NOW_NS - SEC_NS;
    let body = format!(
        r#"{{"stream":{{"app":"a"}},"values":[["{at}","k=v",{{"trace":"7"}}],["{}","{{\"broken\" <b>\u2028"]]}}"#,
        at + 1
    );
    assert_eq!(world.push_json(&body).await.status, StatusCode::NO_CONTENT);
    let stream = [("app", "a"), ("service_name", "a")];
    let (first, second) = ("k=v", "{\"broken\" <b>\u{2028}");
    let row = |index: i64, metadata: &[(&str, &str)], parsed: &[(&str, &str)]| Row {
        stream: labels(&stream),
        ts_ns: at + index,
        line: if index == 0 { first.to_owned() } else { second.to_owned() },
        metadata: labels(metadata),
        parsed: labels(parsed),
    };
    let (unknown, traced) = (("detected_level", "unknown"), ("trace", "7"));
    let broken = [("__error__", "JSONParserErr"), ("__error_details__", "")];
    for (query, want) in [
        ("{app=\"none\"}", vec![]),
        ("{app=\"a\"}", vec![row(0, &[unknown, traced], &[]), row(1, &[unknown], &[])]),
        ("{app=\"a\"} | drop detected_level, trace", vec![row(0, &[], &[]), row(1, &[], &[])]),
        ("{app=\"a\"} | logfmt | k=\"v\"", vec![row(0, &[unknown, traced], &[("k", "v")])]),
        ("{app=\"a\"} | logfmt | drop detected_level, trace | k=\"v\"", vec![row(0, &[], &[("k", "v")])]),
        ("{app=\"a\"} | json", vec![row(0, &[unknown, traced], &broken), row(1, &[unknown], &broken)]),
    ] {
        let mut found = rows(&world, query, "categorize-labels").await;
        // The details are the decoder's own words.
        for row in &mut found {
            if let Some(details) = row.parsed.get_mut("__error_details__") {
                assert!(!details.is_empty());
                details.clear();
            }
        }
        found.sort_by_key(|row| row.ts_ns);
        assert_eq!(found, want, "{query}");
        // Without the flag all of it is in the stream, and a reader that knows of no flag reads the same rows.
        let mut folded = rows(&world, query, "").await;
        folded.sort_by_key(|row| row.ts_ns);
        for (plain, row) in folded.iter().zip(&found) {
            assert!(plain.metadata.is_empty() && plain.parsed.is_empty(), "{query}");
            let kept = row.stream.iter().chain(&row.metadata).chain(&row.parsed).map(|(name, _)| name);
            assert!(kept.into_iter().all(|name| plain.stream.contains_key(name)), "{query}: {plain:?}");
        }
        assert_eq!(rows(&world, query, "other").await.len(), found.len());
    }
}
