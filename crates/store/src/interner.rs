//! One `Stream` in memory per stream, however many segments and heads name it.

use logyard_model::{Stream, StreamId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Shares equal streams for as long as somebody holds them.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<StreamId, Weak<Stream>>,
    /// Size at which names that nobody holds are swept out.
    sweep_at: usize,
}

impl Interner {
    /// Returns the shared stream that equals `stream`.
    pub(crate) fn share(&self, stream: Stream) -> Arc<Stream> {
        let mut state = self.state.lock();
        if let Some(known) = state.streams.get(&stream.id).and_then(Weak::upgrade) {
            return known;
        }
        if state.streams.len() >= state.sweep_at {
            state.streams.retain(|_, stream| stream.strong_count() > 0);
            state.sweep_at = (state.streams.len() * 2).max(1024);
        }
        let shared = Arc::new(stream);
        state.streams.insert(shared.id, Arc::downgrade(&shared));
        shared
    }
}
