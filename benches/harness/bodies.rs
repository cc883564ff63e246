//! Bodies of pushes.

/// Returns the body of a push in JSON: a stream for each group of lines, each line with metadata, a microsecond apart.
pub(crate) fn json(streams: &[Vec<String>], start_ns: i64) -> Vec<u8> {
    let streams = streams.iter().enumerate().map(|(number, lines)| {
        let rows = lines.iter().enumerate();
        let values: Vec<serde_json::Value> = rows
            .map(|(row, line)| {
                let ts_ns = (start_ns + row as i64 * 1_000).to_string();
                serde_json::json!([ts_ns, line, {"trace_id": format!("{row:032x}")}])
            })
            .collect();
        let labels = serde_json::json!({"app": "shop", "container": format!("c{number}")});
        serde_json::json!({"stream": labels, "values": values})
    });
    let streams: Vec<serde_json::Value> = streams.collect();
    serde_json::to_vec(&serde_json::json!({"streams": streams})).unwrap()
}
