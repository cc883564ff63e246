//! One entry of an answer, and what makes two of them the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use logyard_model::Direction;
use logyard_wire::loki_query::{Labels, StreamAnswer};

/// One entry as the store answered it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// Nanoseconds since the Unix epoch.
    pub(crate) ts_ns: i64,
    /// Labels of its stream.
    pub(crate) stream: Arc<Labels>,
    /// Structured metadata.
    pub(crate) metadata: Labels,
    /// Labels that the query's pipeline made.
    pub(crate) parsed: Labels,
    /// The line.
    pub(crate) line: String,
}

/// 128 bits over everything an entry consists of: equal for equal entries, and different for different
/// ones as far as this run of the program can meet.
pub(crate) type Identity = (u64, u64);

impl Entry {
    /// Returns what tells this entry from others.
    pub(crate) fn identity(&self) -> Identity {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.hash(&mut hasher);
            hasher.finish()
        };
        (half(0), half(1))
    }

    /// Returns all labels of the entry together; of equal names the pipeline's wins.
    pub(crate) fn all_labels(&self) -> BTreeMap<&str, &str> {
        let parts = [&*self.stream, &self.metadata, &self.parsed];
        parts.iter().flat_map(|labels| labels.iter()).map(|(name, value)| (&**name, &**value)).collect()
    }

    #[cfg(test)]
    pub(crate) fn sample(ts_ns: i64, line: &str) -> Self {
        let stream = Arc::new(Labels::from([("container".to_owned(), "web".to_owned())]));
        Self { ts_ns, stream, metadata: Labels::new(), parsed: Labels::new(), line: line.to_owned() }
    }
}

/// Merges the streams of an answer into one list, in the order of the direction; entries of one
/// timestamp keep the order in which the store gave them.
pub(crate) fn merge(streams: Vec<StreamAnswer>, direction: Direction) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(streams.iter().map(|stream| stream.values.len()).sum());
    for answer in streams {
        let stream = Arc::new(answer.stream);
        entries.extend(answer.values.into_iter().map(|value| Entry {
            ts_ns: value.ts_ns,
            stream: Arc::clone(&stream),
            metadata: value.categories.structured_metadata,
            parsed: value.categories.parsed,
            line: value.line,
        }));
    }
    match direction {
        Direction::Forward => entries.sort_by_key(|entry| entry.ts_ns),
        Direction::Backward => entries.sort_by_key(|entry| std::cmp::Reverse(entry.ts_ns)),
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_sees_every_part() {
        let entry = Entry::sample(1, "x");
        assert_eq!(entry.identity(), entry.clone().identity());
        let mut others =
            vec![Entry::sample(2, "x"), Entry::sample(1, "y"), entry.clone(), entry.clone(), entry.clone()];
        others[2].metadata.insert("a".to_owned(), "b".to_owned());
        others[3].parsed.insert("a".to_owned(), "b".to_owned());
        others[4].stream = Arc::new(Labels::new());
        for other in others {
            assert_ne!(entry.identity(), other.identity(), "{other:?}");
        }
    }

    #[test]
    fn streams_are_merged_in_order_of_time() {
        let text = r#"{"data":{"resultType":"streams","result":[
            {"stream":{"a":"1"},"values":[["3","c",{}],["1","a",{"structuredMetadata":{"k":"v"}}]]},
            {"stream":{"a":"2"},"values":[["2","b"]]}]}}"#;
        let answer: logyard_wire::loki_query::QueryAnswer =
            logyard_wire::loki_query::decode(text.as_bytes()).unwrap();
        let logyard_wire::loki_query::QueryData::Streams(streams) = answer.data else {
            panic!("not streams")
        };
        let lines = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.line).collect::<String>();
        assert_eq!(lines(merge(streams.clone(), Direction::Backward)), "cba");
        assert_eq!(lines(merge(streams.clone(), Direction::Forward)), "abc");
        let first = merge(streams, Direction::Forward).remove(0);
        assert_eq!(first.all_labels(), BTreeMap::from([("a", "1"), ("k", "v")]));
    }
}
