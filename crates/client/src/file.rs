//! The small files that a client is told to read: tokens and certificates.

use std::path::Path;

use logyard_sys::{Disk as _, RealDisk};

use crate::error::Error;

/// Reads a file of at most `bytes_max`; `what` names it in the text of an error.
pub(crate) fn read(what: &str, path: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let fault = |text: String| Error::invalid(format!("cannot read {what} {path}: {text}"));
    let meta = RealDisk.metadata(Path::new(path)).map_err(|error| fault(error.to_string()))?;
    match meta {
        None => Err(fault("no such file".to_owned())),
        Some(meta) if meta.bytes > bytes_max => {
            Err(fault(format!("{} bytes, at most {bytes_max} are read", meta.bytes)))
        }
        Some(_) => RealDisk.read(Path::new(path)).map_err(|error| fault(error.to_string())),
    }
}
