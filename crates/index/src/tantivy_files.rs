//! Finished tantivy indexes as parts of a bundle, and calls into them that end in an error at worst.

use crate::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tantivy::Index;
use tantivy::directory::{Directory as _, RamDirectory};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};

const META: &str = "meta.json";

/// Name of the tantivy segment inside every bundle, in place of a random one: same input, same bytes.
const SEGMENT_NAME: &str = "00000000000000000000000000000000";
const SEGMENT_NAME_DASHED: &str = "00000000-0000-0000-0000-000000000000";

pub(crate) fn internal(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("cannot build index: {error}"))
}

pub(crate) fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("cannot read index: {error}"))
}

/// Calls into tantivy; a panic in there is an error about the bytes it reads.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // Nothing is changed by a read that could be left half done.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(corrupt("the search library fails on its bytes")))
}

/// Returns the schema of an index of whole terms, with nothing but documents by term, and its field.
pub(crate) fn term_schema(name: &str) -> (Schema, Field) {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let mut builder = Schema::builder();
    let field = builder.add_text_field(name, TextOptions::default().set_indexing_options(indexing));
    (builder.build(), field)
}

/// Returns the files of a finished index, renamed so that equal indexes are equal bytes.
pub(crate) fn index_files(index: &Index, directory: &RamDirectory) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let metas = index.load_metas().map_err(internal)?;
    let [segment] = metas.segments.as_slice() else {
        return Err(internal(format!("got {} tantivy segments, want 1", metas.segments.len())));
    };
    let name = segment.id().uuid_string();
    let dashed = dashed(&name);
    let meta = directory.atomic_read(Path::new(META)).map_err(internal)?;
    let meta = String::from_utf8(meta).map_err(internal)?;
    let meta = meta.replace(&name, SEGMENT_NAME).replace(&dashed, SEGMENT_NAME_DASHED);
    let mut files = vec![(META.to_owned(), meta.into_bytes())];
    let mut paths: Vec<_> = metas.list_segment_files().into_iter().collect();
    paths.sort();
    for path in paths {
        // Components that this index does not use are listed and do not exist.
        if directory.exists(&path).map_err(internal)? {
            let bytes = directory.atomic_read(&path).map_err(internal)?;
            files.push((path.to_string_lossy().replace(&name, SEGMENT_NAME), bytes));
        }
    }
    Ok(files)
}

/// Writes 32 hexadecimal digits in the five groups of a UUID.
fn dashed(name: &str) -> String {
    let mut text = String::with_capacity(36);
    for (index, c) in name.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(c);
    }
    text
}
