//! Turns a decoded Loki push into what the store appends: streams and their entries, validated.
//!
//! Pure: no I/O apart from one look into the store's head per stream while the out-of-order window is
//! on. Runs on a worker thread for large requests. Each line is copied once, from the request's body
//! into the columns of its stream.

use crate::level;
use crate::metadata_names;
use crate::metrics::{Form, Received};
use crate::reason::Reason;
use crate::settings::IngestSettings;
use crate::stream_labels;
use crate::validate::{EntryFacts, Fault, Validator};
use crate::verdict::{LateEntries, Verdict};
use logyard_codec::Entries;
use logyard_model::{LabelSet, Stream, StreamId, Tenant};
use logyard_store::Encoded;
use logyard_wire::go_time::GoTime;
use logyard_wire::json_text::lossy;
use logyard_wire::loki_push::{Pair, PushRequest};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A validated push, ready to be appended.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) chunks: Vec<(Arc<Stream>, Entries)>,
    /// The batch as it came, if it holds exactly `chunks`.
    pub(crate) encoded: Option<Encoded>,
    /// Where in the unpacked body the lines lie: by chunk, then by entry. `None` if some lie elsewhere.
    pub(crate) starts: Option<Vec<Vec<u32>>>,
    /// Rejections so far; nothing is accepted yet.
    pub(crate) verdict: Verdict,
    pub(crate) received: Received,
    /// Entries in `chunks`.
    pub(crate) entries: u64,
    /// Bytes of lines and metadata in `chunks`.
    pub(crate) bytes: u64,
}

/// What preparing needs to know.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a IngestSettings,
    pub(crate) tenant: &'a Tenant,
    pub(crate) now_ns: i64,
    /// Newest time of a stream in the store's head.
    pub(crate) newest_ns: &'a dyn Fn(StreamId) -> Option<i64>,
}

/// Prepares a Loki push. Errors: label syntax, which fails the request as a whole.
pub(crate) fn prepare(
    ctx: &Context<'_>,
    form: Form,
    request: &PushRequest<'_>,
) -> Result<Prepared, logyard_wire::Error> {
    prepare_noting(ctx, form, request, &mut |_, _, _| {})
}

/// Prepares a push, and tells `note` which entries are rejected: index of the stream, of the entry, and the reason.
pub(crate) fn prepare_noting(
    ctx: &Context<'_>,
    form: Form,
    request: &PushRequest<'_>,
    note: &mut dyn FnMut(usize, usize, Reason),
) -> Result<Prepared, logyard_wire::Error> {
    fill(Builder::new(ctx, form), request, note)
}

/// Prepares a Loki push as [`prepare`] does, and tells where in its unpacked body the lines lie.
pub(crate) fn prepare_with_places(
    ctx: &Context<'_>,
    form: Form,
    request: &PushRequest<'_>,
    body: &[u8],
) -> Result<Prepared, logyard_wire::Error> {
    let places = Places { body, starts: Vec::new() };
    fill(Builder { places: Some(places), ..Builder::new(ctx, form) }, request, &mut |_, _, _| {})
}

fn fill(
    mut builder: Builder<'_>,
    request: &PushRequest<'_>,
    note: &mut dyn FnMut(usize, usize, Reason),
) -> Result<Prepared, logyard_wire::Error> {
    let streams = request.streams.iter().enumerate().filter(|(_, stream)| !stream.entries.is_empty());
    // All labels are read before any entry is looked at: a fault in one fails the request cheaply.
    let labels: Vec<_> =
        streams.clone().map(|(_, stream)| stream_labels::read(&stream.labels)).collect::<Result<_, _>>()?;
    for ((at, stream), labels) in streams.zip(labels) {
        let bytes = |metadata: &[Pair<'_>], line: &[u8]| {
            metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + line.len()
        };
        let stream_bytes: usize = stream.entries.iter().map(|entry| bytes(entry.metadata, entry.line)).sum();
        let mut open = match builder.open_stream(labels, stream.entries.len(), stream_bytes) {
            Ok(open) => open,
            Err(reason) => {
                (0..stream.entries.len()).for_each(|row| note(at, row, reason));
                continue;
            }
        };
        for (row, entry) in stream.entries.iter().enumerate() {
            let entry_bytes = bytes(entry.metadata, entry.line);
            let pairs = entry.metadata.iter().map(|(name, value)| (&**name, &**value));
            if let Err(reason) = open.push(entry.time, entry.line, pairs, None, entry_bytes) {
                note(at, row, reason);
            }
        }
        open.close(stream.entries.len());
    }
    Ok(builder.finish())
}

/// Faults of one request that get a text. A text is as long as the labels of its stream, so millions of bad entries,
/// packed into a few KiB, would keep a core busy for minutes; further ones are only counted.
const EXPLAINED_MAX: u64 = 1000;

/// Collects validated entries by stream.
pub(crate) struct Builder<'a> {
    ctx: &'a Context<'a>,
    validator: Validator<'a>,
    chunks: Vec<(Arc<Stream>, Entries)>,
    places: Option<Places<'a>>,
    index: HashMap<StreamId, usize>,
    verdict: Verdict,
    received: Received,
    entries: u64,
    bytes: u64,
}

/// Where the lines of the chunks lie in a body.
struct Places<'a> {
    body: &'a [u8],
    /// By chunk, then by entry.
    starts: Vec<Vec<u32>>,
}

impl Places<'_> {
    /// Notes where the next line of a chunk lies. Returns whether it lies in the body.
    fn add(&mut self, chunk: usize, line: &[u8]) -> bool {
        if self.starts.len() <= chunk {
            self.starts.resize_with(chunk + 1, Vec::new);
        }
        // What no line is told of lies nowhere.
        let start = match line {
            [] => Some(0),
            _ => line.as_ptr().addr().checked_sub(self.body.as_ptr().addr()),
        };
        let is_inside = |start: &usize| self.body.get(*start..).is_some_and(|rest| rest.len() >= line.len());
        let start = start.filter(is_inside).and_then(|start| u32::try_from(start).ok());
        match (start, self.starts.get_mut(chunk)) {
            (Some(start), Some(starts)) => {
                starts.push(start);
                true
            }
            _ => false,
        }
    }
}

/// A stream of the request while its entries are added.
pub(crate) struct OpenStream<'b, 'a> {
    builder: &'b mut Builder<'a>,
    chunk: usize,
    level: Option<String>,
    newest_ns: Option<i64>,
    late: LateEntries,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(ctx: &'a Context<'a>, form: Form) -> Self {
        Self {
            ctx,
            validator: Validator::new(ctx.settings, ctx.now_ns),
            chunks: Vec::new(),
            places: None,
            index: HashMap::new(),
            verdict: Verdict::default(),
            received: Received { form, entries: 0, bytes: 0, repaired_lines: 0 },
            entries: 0,
            bytes: 0,
        }
    }

    /// Begins a stream of `entries` entries and `bytes` bytes. Errors: it was rejected as a whole.
    pub(crate) fn open_stream(
        &mut self,
        labels: Result<LabelSet, Fault>,
        entries: usize,
        bytes: usize,
    ) -> Result<OpenStream<'_, 'a>, Reason> {
        self.received.entries += entries as u64;
        self.received.bytes += bytes as u64;
        let checked = labels.and_then(|mut labels| {
            let added = stream_labels::complete(&mut labels, self.ctx.settings);
            self.validator.stream(&labels, added)?;
            Ok(labels)
        });
        let labels = match checked {
            Ok(labels) => labels,
            Err(fault) => {
                let reason = fault.reason;
                self.reject(fault, entries as u64, bytes as u64);
                return Err(reason);
            }
        };
        let stream = Stream::new(self.ctx.tenant, labels);
        let id = stream.id;
        let chunk = *self.index.entry(id).or_insert(self.chunks.len());
        if chunk == self.chunks.len() {
            self.chunks.push((Arc::new(stream), Entries::default()));
        }
        if let Some((_, chunk_entries)) = self.chunks.get_mut(chunk) {
            chunk_entries.reserve(entries, bytes);
        }
        let level = self
            .chunks
            .get(chunk)
            .and_then(|(stream, _)| level::of_labels(&stream.labels))
            .map(str::to_owned);
        let newest_ns = match self.ctx.settings.out_of_order_window.limit_ns() {
            Some(_) => (self.ctx.newest_ns)(id),
            None => None,
        };
        Ok(OpenStream { builder: self, chunk, level, newest_ns, late: LateEntries::default() })
    }

    fn reject(&mut self, fault: Fault, entries: u64, bytes: u64) {
        self.verdict.reject(fault, entries, bytes);
        if self.verdict.explained() >= EXPLAINED_MAX {
            self.validator.silence();
        }
    }

    pub(crate) fn finish(mut self) -> Prepared {
        self.chunks.retain(|(_, entries)| !entries.is_empty());
        let starts = self.places.map(|mut places| {
            places.starts.retain(|starts| !starts.is_empty());
            places.starts
        });
        Prepared {
            chunks: self.chunks,
            encoded: None,
            starts,
            verdict: self.verdict,
            received: self.received,
            entries: self.entries,
            bytes: self.bytes,
        }
    }
}

impl OpenStream<'_, '_> {
    /// Adds an entry, or counts why not. `given_level` is a level that was found before, by the agent.
    /// Errors: the entry is rejected and counted.
    pub(crate) fn push<'e>(
        &mut self,
        time: GoTime,
        line: &[u8],
        pairs: impl Iterator<Item = (&'e str, &'e str)> + Clone,
        given_level: Option<&str>,
        bytes: usize,
    ) -> Result<(), Reason> {
        match self.try_push(time, line, pairs, given_level, bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::TooFarBehind),
            Err(fault) => {
                let reason = fault.reason;
                self.builder.reject(fault, 1, bytes as u64);
                Err(reason)
            }
        }
    }

    /// Ends the stream, which had `of` entries in the request.
    pub(crate) fn close(self, of: usize) {
        if let Some((stream, _)) = self.builder.chunks.get(self.chunk) {
            self.builder.verdict.reject_late(self.builder.ctx.tenant.as_str(), &stream.labels, self.late, of);
        }
    }

    /// Returns whether the entry was added; one that is too late was counted.
    fn try_push<'e>(
        &mut self,
        time: GoTime,
        line: &[u8],
        pairs: impl Iterator<Item = (&'e str, &'e str)> + Clone,
        given_level: Option<&str>,
        bytes: usize,
    ) -> Result<bool, Fault> {
        let Some((stream, entries)) = self.builder.chunks.get_mut(self.chunk) else { return Ok(false) };
        let counted = pairs.clone().filter(|(name, _)| *name != level::DETECTED_LEVEL);
        let (metadata_entries, metadata_bytes) = counted
            .fold((0, 0), |(count, bytes), (name, value)| (count + 1, bytes + name.len() + value.len()));
        let facts = EntryFacts { time, line_bytes: line.len(), metadata_bytes, metadata_entries };
        let ts_ns = self.builder.validator.entry(&stream.labels, &facts)?;
        let mut metadata = read_metadata(&self.builder.validator, &stream.labels, pairs)?;
        if let Err(oldest_ns) = self.builder.validator.behind(ts_ns, self.newest_ns) {
            self.late.add(ts_ns, oldest_ns);
            self.builder.verdict.count(Reason::TooFarBehind, 1, bytes as u64);
            return Ok(false);
        }
        self.newest_ns = self.newest_ns.max(Some(ts_ns));
        let line = match lossy(line) {
            Cow::Borrowed(text) => Cow::Borrowed(text),
            Cow::Owned(text) => {
                self.builder.received.repaired_lines += 1;
                Cow::Owned(text)
            }
        };
        if self.builder.places.as_mut().is_some_and(|places| match &line {
            Cow::Borrowed(text) => !places.add(self.chunk, text.as_bytes()),
            Cow::Owned(_) => true,
        }) {
            self.builder.places = None;
        }
        let own = if metadata.is_empty() { None } else { metadata.remove(level::DETECTED_LEVEL) };
        let level = match given_level {
            Some(level) => level,
            None if self.builder.ctx.settings.discover_levels => {
                level::of_entry(self.level.as_deref(), own.as_deref(), &metadata, line.as_bytes())
            }
            None => own.as_deref().unwrap_or(""),
        };
        entries.push(ts_ns, line.as_bytes(), level, &metadata);
        self.builder.entries += 1;
        self.builder.bytes += bytes as u64;
        Ok(true)
    }
}

/// Normalises names and drops pairs with an empty value. Of names that become equal the last wins.
fn read_metadata<'e>(
    validator: &Validator<'_>,
    labels: &LabelSet,
    pairs: impl Iterator<Item = (&'e str, &'e str)>,
) -> Result<LabelSet, Fault> {
    let mut metadata = LabelSet::default();
    for (name, value) in pairs {
        let Some(name) = metadata_names::normalise(name) else {
            let text = || {
                format!(
                    "stream '{labels}' has structured metadata with the name {name:?}; a name needs a letter or digit"
                )
            };
            return Err(validator.fault(Reason::InvalidStructuredMetadata, text));
        };
        if value.is_empty() {
            continue;
        }
        // What was invalid UTF-8 in the request shows as a space, as in Loki.
        let value: Box<str> =
            if value.contains('\u{fffd}') { value.replace('\u{fffd}', " ").into() } else { value.into() };
        metadata.insert(name, value);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use logyard_wire::loki_push::decode_json;

    const NOW_NS: i64 = 1_795_230_000_000_000_000;

    fn run(settings: &IngestSettings, newest_ns: Option<i64>, json: &str) -> Prepared {
        let tenant = Tenant::single();
        let ctx = Context { settings, tenant: &tenant, now_ns: NOW_NS, newest_ns: &move |_| newest_ns };
        let request = decode_json(json.as_bytes()).unwrap();
        let prepared = prepare(&ctx, Form::LokiJson, &request).unwrap();
        assert_eq!(prepared.received.entries, prepared.entries + prepared.verdict.rejected());
        prepared
    }

    fn push(values: &str) -> String {
        format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[{values}]}}]}}"#)
    }

    fn rows(prepared: &Prepared) -> Vec<(String, String, String)> {
        let rows = |entries: &Entries| {
            (0..entries.len())
                .map(|row| {
                    (
                        String::from_utf8(entries.line(row).to_vec()).unwrap(),
                        entries.level(row).to_owned(),
                        entries.metadata(row).to_string(),
                    )
                })
                .collect::<Vec<_>>()
        };
        prepared.chunks.iter().flat_map(|(_, entries)| rows(entries)).collect()
    }

    #[test]
    fn good_entries_pass_with_level_and_clean_metadata() {
        let json = push(&format!(
            r#"["{NOW_NS}","level=info x",{{"trace.id":"1","empty":""}}],["{NOW_NS}","y",{{"detected_level":"ERR"}}]"#
        ));
        let prepared = run(&IngestSettings::default(), None, &json);
        assert_eq!(prepared.chunks[0].0.labels.to_string(), r#"{app="a", service_name="a"}"#);
        assert_eq!(
            rows(&prepared),
            [
                ("level=info x".into(), "info".into(), r#"{trace_id="1"}"#.into()),
                ("y".into(), "error".into(), "{}".into())
            ]
        );
        assert_eq!(prepared.verdict, Verdict::default());
    }

    #[test]
    fn after_a_thousand_faults_the_others_are_only_counted() {
        let values: Vec<String> = (0..1500).map(|secs| format!("[\"{}000000000\",\"\"]", secs + 1)).collect();
        let prepared = run(&IngestSettings::default(), None, &push(&values.join(",")));
        assert_eq!((prepared.verdict.explained(), prepared.verdict.rejected()), (EXPLAINED_MAX, 1500));
        let message = prepared.verdict.message().unwrap();
        assert!(message.ends_with("; 1490 more errors"), "{message}");
    }

    #[test]
    fn bad_entries_are_left_out_and_counted() {
        let settings = IngestSettings { line_bytes_max: 5, ..IngestSettings::default() };
        let json = push(&format!(
            r#"["{NOW_NS}","good"],["{NOW_NS}","too long"],["1","old"],["{NOW_NS}","x",{{"-":"v"}}]"#
        ));
        let prepared = run(&settings, None, &json);
        assert_eq!(rows(&prepared).len(), 1);
        let reasons: Vec<_> = prepared.verdict.reasons().collect();
        assert_eq!(
            reasons,
            [
                (Reason::GreaterThanMaxSampleAge, 1),
                (Reason::LineTooLong, 1),
                (Reason::InvalidStructuredMetadata, 1)
            ]
        );
        let message = prepared.verdict.message().unwrap();
        assert!(
            message.contains("1 errors like: max entry size '5' bytes exceeded")
                && message.contains("limits.line_bytes_max"),
            "{message}"
        );
    }

    #[test]
    fn a_bad_stream_leaves_the_others() {
        let settings = IngestSettings { labels_per_stream_max: 1, ..IngestSettings::default() };
        let json = format!(
            r#"{{"streams":[{{"stream":{{"a":"1","b":"2"}},"values":[["{NOW_NS}","x"],["{NOW_NS}","y"]]}},{{"stream":{{"a":"1"}},"values":[["{NOW_NS}","z"]]}},{{}}]}}"#
        );
        let prepared = run(&settings, None, &json);
        assert_eq!(rows(&prepared)[0].0, "z");
        assert_eq!(prepared.verdict.rejected(), 2);
    }

    #[test]
    fn one_label_set_is_one_chunk() {
        let json = format!(
            r#"{{"streams":[{{"stream":{{"a":"1"}},"values":[["{NOW_NS}","x"]]}},{{"stream":{{"a":"1","b":""}},"values":[["{NOW_NS}","y"]]}}]}}"#
        );
        let prepared = run(&IngestSettings::default(), None, &json);
        assert_eq!((prepared.chunks.len(), prepared.entries), (1, 2));
    }

    #[test]
    fn late_entries_depend_on_the_newest_so_far() {
        let settings =
            IngestSettings { out_of_order_window: "1h".parse().unwrap(), ..IngestSettings::default() };
        let late = NOW_NS - 3_600_000_000_001;
        let json = push(&format!(r#"["{late}","early enough"],["{NOW_NS}","new"],["{late}","late"]"#));
        let prepared = run(&settings, None, &json);
        assert_eq!(rows(&prepared).len(), 2);
        assert!(
            prepared.verdict.message().unwrap().ends_with(
                "user 'fake', total ignored: 1 out of 3 for stream: {app=\"a\", service_name=\"a\"}"
            )
        );
        let behind_head = run(&settings, Some(NOW_NS), &push(&format!(r#"["{late}","late"]"#)));
        assert_eq!(behind_head.verdict.reasons().collect::<Vec<_>>(), [(Reason::TooFarBehind, 1)]);
        assert!(behind_head.chunks.is_empty());
    }

    #[test]
    fn invalid_utf8_is_replaced_and_counted() {
        let mut body = push(&format!(r#"["{NOW_NS}","caf@ x",{{"k":"a"}}]"#)).into_bytes();
        let at = body.iter().position(|&byte| byte == b'@').unwrap();
        body[at] = 0xe9;
        let settings = IngestSettings::default();
        let tenant = Tenant::single();
        let ctx = Context { settings: &settings, tenant: &tenant, now_ns: NOW_NS, newest_ns: &|_| None };
        let request = decode_json(&body).unwrap();
        let prepared = prepare(&ctx, Form::LokiJson, &request).unwrap();
        assert_eq!(rows(&prepared)[0].0, "caf\u{fffd} x");
        assert_eq!(prepared.received.repaired_lines, 1);
    }

    #[test]
    fn places_tell_where_the_lines_that_are_kept_lie() {
        let settings = IngestSettings { line_bytes_max: 5, ..IngestSettings::default() };
        let tenant = Tenant::single();
        let ctx = Context { settings: &settings, tenant: &tenant, now_ns: NOW_NS, newest_ns: &|_| None };
        let run = |json: &str| {
            let request = decode_json(json.as_bytes()).unwrap();
            prepare_with_places(&ctx, Form::LokiJson, &request, json.as_bytes()).unwrap()
        };
        let json = format!(
            r#"{{"streams":[{{"stream":{{"a":"1"}},"values":[["1","old"]]}},{{"stream":{{"a":"2"}},"values":[["{NOW_NS}","one"],["{NOW_NS}","too long"],["{NOW_NS}",""],["{NOW_NS}","two"]]}},{{"stream":{{"a":"3"}},"values":[["{NOW_NS}","three"]]}},{{"stream":{{"a":"2"}},"values":[["{NOW_NS}","four"]]}}]}}"#
        );
        let prepared = run(&json);
        let starts = prepared.starts.unwrap();
        assert_eq!(starts.iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
        for ((_, entries), starts) in prepared.chunks.iter().zip(&starts) {
            for (row, start) in starts.iter().enumerate() {
                assert!(json.as_bytes()[*start as usize..].starts_with(entries.line(row)));
            }
        }
        // With an escape, a line is not as it stands in the body.
        assert_eq!(run(&json.replace("two", "t\\two")).starts, None);
    }

    #[test]
    fn settings_turn_discovery_off() {
        let settings = IngestSettings {
            discover_levels: false,
            discover_service_name: false,
            ..IngestSettings::default()
        };
        let prepared = run(
            &settings,
            None,
            &push(&format!(r#"["{NOW_NS}","error"],["{NOW_NS}","x",{{"detected_level":"Odd"}}]"#)),
        );
        assert_eq!(prepared.chunks[0].0.labels.to_string(), r#"{app="a"}"#);
        assert_eq!(rows(&prepared).into_iter().map(|row| row.1).collect::<Vec<_>>(), ["", "Odd"]);
        let bare = run(&settings, None, &format!(r#"{{"streams":[{{"values":[["{NOW_NS}","x"]]}}]}}"#));
        assert_eq!(
            bare.verdict.message().as_deref(),
            Some("error at least one label pair is required per stream")
        );
    }
}
