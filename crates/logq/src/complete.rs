//! What may be written next on a command line of `logq`, for the shells.
//!
//! A shell hands over its line as far as the cursor (`line` reads it); `place` walks over the words by the declaration
//! of the flags and says what stands at the cursor; `propose` lists what may stand there, out of the declaration, of the
//! language, and of the store; `write` writes that as the shell wants it. Only `propose` asks anybody, and its caller
//! bounds the time.

pub(crate) mod line;
pub(crate) mod place;
pub(crate) mod propose;
pub(crate) mod write;
