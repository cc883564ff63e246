//! Validates the batch of a native push with the same rules as any other push.
//!
//! A batch of Logyard's own agent usually needs no change; then its chunks and its encoded bytes are
//! handed on as they are, and the entries are only looked at. Otherwise they are built anew.

use crate::level;
use crate::metadata_names;
use crate::metrics::{Form, Received};
use crate::prepare::{Builder, Context, Prepared};
use crate::stream_labels;
use crate::validate::{EntryFacts, Validator};
use crate::verdict::Verdict;
use bytes::Bytes;
use logyard_codec::{Batch, Chunk, Entries};
use logyard_model::{Label, LabelSet, Stream};
use logyard_store::Encoded;
use logyard_wire::go_time::GoTime;
use logyard_wire::label_text;
use std::collections::HashSet;
use std::sync::Arc;

/// Prepares a decoded batch. `encoded` are the bytes it was decoded from. Errors: bad label names.
pub(crate) fn prepare(
    ctx: &Context<'_>,
    batch: Batch,
    encoded: Bytes,
) -> Result<Prepared, logyard_wire::Error> {
    for chunk in &batch.chunks {
        if let Some((name, _)) = chunk.labels.iter().find(|(name, _)| !label_text::is_name(name)) {
            return Err(label_text::bad_name(name));
        }
    }
    let mut validator = Validator::new(ctx.settings, ctx.now_ns);
    validator.silence();
    let window_off = ctx.settings.out_of_order_window.0.is_zero();
    if window_off
        && batch.chunks.iter().all(|chunk| is_clean(ctx, &validator, chunk))
        && all_different(&batch.chunks)
    {
        return Ok(pass_on(ctx, batch, encoded));
    }
    Ok(rebuild(ctx, &batch))
}

fn all_different(chunks: &[Chunk]) -> bool {
    let mut seen = HashSet::new();
    chunks.iter().all(|chunk| seen.insert(&chunk.labels))
}

fn is_clean(ctx: &Context<'_>, validator: &Validator<'_>, chunk: &Chunk) -> bool {
    let mut completed = chunk.labels.clone();
    let added = stream_labels::complete(&mut completed, ctx.settings);
    let labels_are_final = !added && chunk.labels.iter().all(|(_, value)| !value.is_empty());
    labels_are_final
        && !chunk.entries.is_empty()
        && validator.stream(&chunk.labels, false).is_ok()
        && entries_are_clean(ctx, validator, chunk)
}

fn entries_are_clean(ctx: &Context<'_>, validator: &Validator<'_>, chunk: &Chunk) -> bool {
    let entries = &chunk.entries;
    entries.ts_ns().iter().enumerate().all(|(row, &ts_ns)| {
        let (line, metadata) = (entries.line(row), entries.metadata(row));
        let facts = EntryFacts {
            time: GoTime::from_ns(ts_ns),
            line_bytes: line.len(),
            metadata_bytes: metadata.text_bytes(),
            metadata_entries: metadata.len(),
        };
        let level_is_known = !ctx.settings.discover_levels || !entries.level(row).is_empty();
        let metadata_is_final = metadata.iter().all(|(name, value)| {
            name != level::DETECTED_LEVEL
                && !value.is_empty()
                && metadata_names::normalise(name).as_deref() == Some(name)
        });
        level_is_known
            && metadata_is_final
            && std::str::from_utf8(line).is_ok()
            && validator.entry(&chunk.labels, &facts).is_ok()
    })
}

fn pass_on(ctx: &Context<'_>, batch: Batch, encoded: Bytes) -> Prepared {
    let chunks: Vec<(Arc<Stream>, Entries)> = batch
        .chunks
        .into_iter()
        .map(|chunk| (Arc::new(Stream::new(ctx.tenant, chunk.labels)), chunk.entries))
        .collect();
    let entries = chunks.iter().map(|(_, entries)| entries.len() as u64).sum();
    let bytes = chunks.iter().map(|(_, entries)| entries.raw_bytes()).sum();
    let received = Received { form: Form::Native, entries, bytes, repaired_lines: 0 };
    let encoded = Some(Encoded::Batch(encoded));
    Prepared { chunks, encoded, starts: None, verdict: Verdict::default(), received, entries, bytes }
}

fn rebuild(ctx: &Context<'_>, batch: &Batch) -> Prepared {
    let mut builder = Builder::new(ctx, Form::Native);
    for chunk in &batch.chunks {
        let entries = &chunk.entries;
        let labels: Vec<Label> = chunk
            .labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        // Names were unique before some were left out.
        let labels = LabelSet::new(labels).unwrap_or_default();
        let bytes: usize =
            (0..entries.len()).map(|row| entries.line(row).len() + entries.metadata(row).text_bytes()).sum();
        let Ok(mut open) = builder.open_stream(Ok(labels), entries.len(), bytes) else { continue };
        for (row, &ts_ns) in entries.ts_ns().iter().enumerate() {
            let (line, metadata) = (entries.line(row), entries.metadata(row));
            let level = Some(entries.level(row)).filter(|level| !level.is_empty());
            let bytes = line.len() + metadata.text_bytes();
            // A rejected entry is counted; the answer to a batch has counts only.
            open.push(GoTime::from_ns(ts_ns), line, metadata.iter(), level, bytes).unwrap_or_default();
        }
        open.close(entries.len());
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::IngestSettings;
    use logyard_model::Tenant;

    const NOW_NS: i64 = 1_795_230_000_000_000_000;

    fn run(labels: &[(&str, &str)], rows: &[(i64, &[u8], &str)]) -> Prepared {
        let mut entries = Entries::default();
        for (ts_ns, line, level) in rows {
            entries.push(*ts_ns, line, level, &LabelSet::default());
        }
        let batch =
            Batch { chunks: vec![Chunk { labels: LabelSet::from_pairs(labels.iter().copied()), entries }] };
        let (settings, tenant) = (IngestSettings::default(), Tenant::single());
        let ctx = Context { settings: &settings, tenant: &tenant, now_ns: NOW_NS, newest_ns: &|_| None };
        let prepared = prepare(&ctx, batch, Bytes::from_static(b"encoded")).unwrap();
        assert_eq!(prepared.received.entries, prepared.entries + prepared.verdict.rejected());
        prepared
    }

    const FINAL: &[(&str, &str)] = &[("app", "a"), ("service_name", "a")];

    #[test]
    fn clean_batches_pass_untouched() {
        let prepared = run(FINAL, &[(NOW_NS, b"x", "info")]);
        assert!(matches!(prepared.encoded, Some(Encoded::Batch(bytes)) if *bytes == *b"encoded"));
        assert_eq!((prepared.entries, prepared.chunks.len()), (1, 1));
    }

    #[test]
    fn others_are_built_anew() {
        let labels = run(&[("app", "a"), ("empty", "")], &[(NOW_NS, b"x", "info")]);
        assert_eq!(labels.chunks[0].0.labels.to_string(), r#"{app="a", service_name="a"}"#);
        let level = run(FINAL, &[(NOW_NS, b"ERROR x", "")]);
        assert_eq!(level.chunks[0].1.level(0), "error");
        let line = run(FINAL, &[(NOW_NS, b"\xff", "info")]);
        assert_eq!(line.chunks[0].1.line(0), "\u{fffd}".as_bytes());
        let old = run(FINAL, &[(1, b"x", "info"), (NOW_NS, b"y", "info")]);
        assert_eq!((old.entries, old.verdict.rejected()), (1, 1));
        for prepared in [labels, level, line, old] {
            assert!(prepared.encoded.is_none());
        }
    }
}
